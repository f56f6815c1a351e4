"""V3's door, its keys and their turning, refunds, bill and echo, over real HTTP."""

import base64
import gzip
import hashlib
import json

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.x509 import load_pem_x509_certificate

from simulators.wechat import WeChat
from tests.simulators.pay.merchant import Shop, hand, hmac_sign, look, place, query, refused_hand
from tests.simulators.pay.v3 import Client, unsealed

SHA1_OAEP = OAEP(MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303
ECHO = "/v3/security/echo"


async def test_a_signed_question_has_a_signed_answer(client: Client) -> None:
    response = await client.send("POST", ECHO, {"echo_message": "面"})

    serial = client.verify(dict(response.headers), response.content)
    assert response.json() == {"echo_message": "面"}
    assert serial == client.wechat.pay.platform.signing.serial
    assert response.headers["Request-Id"].endswith("-0")


@pytest.mark.parametrize(
    "changes",
    [
        {"mchid": "1900000109"},
        {"serial_no": "0" * 40},
        {"signature": "AAAA"},
        {"signature": "WECHATPAY/SIGNTEST/!"},
        {"timestamp": "1795147501"},
        {"timestamp": "1795146899"},
        {"timestamp": "now"},
        {"nonce_str": ""},
        {"extra": "1"},
    ],
)
async def test_a_wrong_authorization_is_a_sign_error(
    client: Client, changes: dict[str, str]
) -> None:
    body = b'{"echo_message": "a"}'
    header = client.authorization("POST", ECHO, body, **changes)

    response = await client.caller.post(
        ECHO,
        content=body,
        headers={"Authorization": header, "Content-Type": "application/json"},
    )

    assert (response.status_code, response.json()["code"]) == (401, "SIGN_ERROR")
    assert response.headers["Request-Id"].endswith("-270924332")


async def test_what_was_signed_must_be_what_is_sent(client: Client) -> None:
    good = client.authorization("POST", ECHO, b"{}")
    uri = client.authorization("POST", ECHO + "?a=1", b"{}")
    statuses = [
        (await client.caller.post(ECHO, content=body, headers=headers)).status_code
        for body, headers in (
            (b"{} ", {"Authorization": good}),
            (b"{}", {"Authorization": uri}),
            (b"{}", {"Authorization": good.replace("WECHATPAY2", "WECHATPAY3")}),
            (b"{}", {}),
        )
    ]

    assert statuses == [401] * 4


async def test_the_same_question_is_not_answered_twice(client: Client, wechat: WeChat) -> None:
    headers = {
        "Authorization": client.authorization("POST", ECHO, b'{"echo_message":"a"}'),
        "Content-Type": "application/json",
    }

    first = await client.caller.post(ECHO, content=b'{"echo_message":"a"}', headers=headers)
    again = await client.caller.post(ECHO, content=b'{"echo_message":"a"}', headers=headers)
    wechat.clock.advance(601)
    await client.ask("POST", ECHO, {"echo_message": "b"})

    assert (first.status_code, again.status_code) == (200, 401)
    assert len(wechat.pay.nonces) == 1


async def test_the_headers_of_json_are_wanted(client: Client) -> None:
    for headers in ({"Accept": "text/html"}, {"User-Agent": ""}, {"Content-Type": "text/plain"}):
        response = await client.send("POST", ECHO, {"echo_message": "a"}, **headers)

        assert (response.status_code, response.json()["code"]) == (400, "PARAM_ERROR")

    assert await client.refused("POST", ECHO, {}) == (400, "PARAM_ERROR", 268435464)


async def test_certificates_are_sealed_and_verify_the_answer_they_came_in(client: Client) -> None:
    client.ring.clear()

    response = await client.send("GET", "/v3/certificates")
    (given,) = response.json()["data"]
    client.trust(given["serial_no"], unsealed(given["encrypt_certificate"]))

    assert client.verify(dict(response.headers), response.content) == given["serial_no"]
    assert given["effective_time"].endswith("+08:00")


async def test_a_certificate_turns_in_three_steps(client: Client) -> None:
    first = client.wechat.pay.platform.signing.serial

    async def serials() -> list[str]:
        data = (await client.ask("GET", "/v3/certificates"))["data"]
        for item in data:
            client.trust(item["serial_no"], unsealed(item["encrypt_certificate"]))
        return [item["serial_no"] for item in data]

    early = await refused_hand(client.caller, "certificate", stage="switch")
    published = await hand(client.caller, "certificate", stage="publish")
    both = await serials()
    switched = await hand(client.caller, "certificate", stage="switch")
    old = await client.send("GET", "/v3/certificates", **{"Wechatpay-Serial": first})
    await hand(client.caller, "certificate", stage="retire")
    last = await serials()

    assert "publish" in early
    assert (published["signing"], both[0]) == (first, first)
    assert switched["signing"] == both[1] != first
    assert client.verify(dict(old.headers), old.content) == first
    assert last == [both[1]]


async def test_the_public_key_works_at_the_same_time_and_alone(client: Client) -> None:
    named = await client.send(
        "POST", ECHO, {"echo_message": "a"}, **{"Wechatpay-Serial": client.public_key_id}
    )
    await hand(client.caller, "settings", certificates_available=False)
    unnamed = await client.send("POST", ECHO, {"echo_message": "a"})
    none = await client.refused("GET", "/v3/certificates")

    serials = {client.verify(dict(r.headers), r.content) for r in (named, unnamed)}
    assert serials == {client.public_key_id}
    assert none == (404, "RESOURCE_NOT_EXISTS", 0)


async def test_the_echo_opens_seals_and_calls_back(client: Client, shop: Shop) -> None:
    shop.usual = (204, "")
    sealed = client.ring[client.public_key_id].encrypt("秘密".encode(), SHA1_OAEP)
    asked = {
        "echo_message": "hello",
        "encrypted_echo_message": base64.b64encode(sealed).decode(),
        "notify_url": shop.url,
    }

    answer = await client.ask("POST", ECHO, asked, **{"Wechatpay-Serial": client.public_key_id})
    unnamed = await client.refused("POST", ECHO, asked)
    wrong_key = await client.send(
        "POST",
        ECHO,
        asked,
        **{"Wechatpay-Serial": client.wechat.pay.platform.signing.serial},
    )
    bad_url = await client.refused("POST", ECHO, asked | {"notify_url": "https://a/?b"})
    await hand(client.caller, "idle")

    returned = base64.b64decode(answer["encrypted_echo_message"])
    assert client.key.decrypt(returned, SHA1_OAEP).decode() == "秘密"
    assert unnamed[:2] == bad_url[:2] == (400, "PARAM_ERROR")
    assert wrong_key.status_code == 400
    event_type, resource = client.opened(shop.told[0])
    assert (event_type, resource["echo_message"]) == ("SECURITY_ECHO.SUCCESS", "hello")


async def test_the_keys_say_that_they_are_simulated(wechat: WeChat) -> None:
    told = wechat.pay.introduction(wechat.url)
    merchant = wechat.pay.keys.pair("merchant")

    certificate = load_pem_x509_certificate(merchant.cert_file.read_bytes())
    assert "Simulated" in certificate.subject.rfc4514_string()
    assert f"{certificate.serial_number:X}" == told["merchant_serial"]
    assert str(told["merchant_serial"]).startswith("51A1")
    assert str(told["public_key_id"]).startswith("PUB_KEY_ID_51A1")
    assert len(str(told["merchant_serial"])) == 40
    assert len(str(told["public_key_id"])) == 39
    assert [len(str(told[n])) for n in ("api_v2_key", "api_v3_key", "payscore_service_id")] == [
        *(32, 32, 32),
    ]
    assert merchant.key_file.stat().st_mode & 0o077 == 0


# ---------------------------------------------------------------- refunds


def refund_body(transaction_id: str, **changes: object) -> dict[str, object]:
    return {
        "transaction_id": transaction_id,
        "out_refund_no": "R-0001",
        "reason": "卖完了",
        "amount": {"refund": 880, "total": 1880, "currency": "CNY"},
    } | changes


async def paid(caller: httpx.AsyncClient) -> str:
    await place(caller)
    await hand(caller, "pay", out_trade_no="T-0001")
    return (await query(caller))["transaction_id"]


REFUNDS = "/v3/refund/domestic/refunds"


async def test_v3_refunds_what_v2_took(client: Client, shop: Shop) -> None:
    transaction_id = await paid(client.caller)

    accepted = await client.ask("POST", REFUNDS, refund_body(transaction_id, notify_url=shop.url))
    again = await client.ask("POST", REFUNDS, refund_body(transaction_id, notify_url=shop.url))
    await hand(client.caller, "idle")
    found = await client.ask("GET", REFUNDS + "/R-0001")

    event_type, resource = client.opened(shop.told[0])
    assert (accepted["status"], found["status"]) == ("PROCESSING", "SUCCESS")
    assert again["refund_id"] == accepted["refund_id"]
    assert found["success_time"] == "2026-11-20T12:00:00+08:00"
    assert found["amount"]["refund"] == 880
    assert event_type == "REFUND.SUCCESS"
    assert (resource["refund_status"], resource["amount"]["refund"]) == ("SUCCESS", 880)
    assert (await look(client.caller, "ledger"))["orders"]["T-0001"]["left_fen"] == 1000


async def test_v3_refuses_what_cannot_be_refunded(client: Client) -> None:
    transaction_id = await paid(client.caller)
    body = refund_body(transaction_id)
    refused = [
        await client.refused("POST", REFUNDS, body | changes)
        for changes in (
            {"amount": {"refund": 1881, "total": 1880}},
            {"amount": {"refund": 1, "total": 1881}},
            {"amount": {"refund": 0, "total": 1880}},
            {"out_trade_no": "T-0001"},
            {"transaction_id": "4" * 28},
            {"out_refund_no": "R 1"},
            {"reason": "r" * 81},
            {"notify_url": "http://127.0.0.1/" + "n" * 250},
        )
    ]

    assert [code for _, code, _ in refused] == [
        *("INVALID_REQUEST", "INVALID_REQUEST", "PARAM_ERROR", "PARAM_ERROR"),
        *("RESOURCE_NOT_EXISTS", "PARAM_ERROR", "PARAM_ERROR", "PARAM_ERROR"),
    ]
    assert (await client.refused("GET", REFUNDS + "/R-none"))[0] == 404


async def test_a_refund_that_went_wrong_can_go_another_way(client: Client, shop: Shop) -> None:
    await paid(client.caller)
    await hand(client.caller, "refunds", result="CHANGE")
    body = refund_body("", out_trade_no="T-0001", notify_url=shop.url)
    refund_id = (await client.ask("POST", REFUNDS, body))["refund_id"]
    await hand(client.caller, "idle")
    abnormal = (await client.ask("GET", REFUNDS + "/R-0001"))["status"]

    path = f"{REFUNDS}/{refund_id}/apply-abnormal-refund"
    asked = {"out_refund_no": "R-0001", "type": "MERCHANT_BANK_CARD"}
    await client.ask("POST", path, asked)
    await hand(client.caller, "idle")
    twice = await client.refused("POST", path, asked)
    unknown = await client.refused("POST", path, asked | {"out_refund_no": "R-2"})

    assert abnormal == "ABNORMAL"
    assert [client.opened(told)[0] for told in shop.told] == ["REFUND.ABNORMAL", "REFUND.SUCCESS"]
    assert (twice[0], unknown[0]) == (400, 404)


# ---------------------------------------------------------------- the bill


async def test_the_bill_is_fetched_by_a_signed_link_and_vouched_for_by_its_hash(
    client: Client, wechat: WeChat
) -> None:
    await paid(client.caller)
    wechat.clock.advance(86400)
    uri = "/v3/bill/tradebill?bill_date=2026-11-20&bill_type=ALL"

    link = await client.ask("GET", uri)
    zipped = await client.ask("GET", uri + "&tar_type=GZIP")
    files = [
        await client.send("GET", item["download_url"].removeprefix(wechat.url))
        for item in (link, zipped)
    ]
    decoded = link["download_url"].replace("%3D", "=").removeprefix(wechat.url)
    header = client.authorization("GET", decoded, b"")
    raw_uri = link["download_url"].removeprefix(wechat.url)
    unsigned = await client.caller.get(raw_uri, headers={"Authorization": header})
    wechat.clock.advance(300)
    late = await client.refused("GET", raw_uri)

    plain, packed = files
    assert "Wechatpay-Signature" not in plain.headers
    assert hashlib.sha1(plain.content, usedforsecurity=False).hexdigest() == link["hash_value"]
    assert gzip.decompress(packed.content) == plain.content
    assert "T-0001" in plain.text
    assert unsigned.status_code == 401
    assert late[:2] == (400, "INVALID_REQUEST")


async def test_a_day_without_a_bill_is_refused_by_name(client: Client, wechat: WeChat) -> None:
    await paid(client.caller)
    wechat.clock.advance(13 * 3600)
    refused = [
        (await client.refused("GET", f"/v3/bill/tradebill?{query_text}"))[1]
        for query_text in (
            *("bill_date=2026-11-19", "bill_date=2026-11-20", "bill_date=2026-11-21"),
            *("bill_date=20261119", "bill_date=2026-11-19&bill_type=SOME", "bill_type=ALL"),
        )
    ]

    assert refused == [
        *("NO_STATEMENT_EXIST", "STATEMENT_CREATING", "PARAM_ERROR", "PARAM_ERROR"),
        *("PARAM_ERROR", "PARAM_ERROR"),
    ]


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("kind", "error"),
    [("forged_sign", InvalidSignature), ("missing_sign", KeyError), ("unknown_serial", KeyError)],
)
async def test_an_answer_of_v3_can_be_forged(
    client: Client, kind: str, error: type[Exception]
) -> None:
    await hand(client.caller, "faults", endpoint="v3.echo", kind=kind)

    response = await client.send("POST", ECHO, {"echo_message": "a"})

    with pytest.raises(error):
        client.verify(dict(response.headers), response.content)


async def test_an_answer_of_v3_can_be_old_tampered_or_a_word(client: Client) -> None:
    await paid(client.caller)
    await hand(client.caller, "faults", endpoint="v3.*", kind="old_timestamp")
    await hand(client.caller, "faults", endpoint="v3.*", kind="tampered_amount")
    await hand(client.caller, "faults", endpoint="v3.*", kind="system_error")
    await hand(
        client.caller,
        "faults",
        endpoint="v3.*",
        kind="errcode",
        status=429,
        number=268435472,
        err_code="RATELIMIT_EXCEEDED",
    )
    body = refund_body("", out_trade_no="T-0001")

    old = await client.send("POST", ECHO, {"echo_message": "a"})
    tampered = await client.ask("POST", REFUNDS, body)
    broken = await client.refused("POST", REFUNDS, body)
    hurried = await client.refused("POST", REFUNDS, body)

    assert int(old.headers["Wechatpay-Timestamp"]) == client.wechat.clock.now_s() - 600
    assert tampered["amount"]["refund"] == 881
    assert broken == (500, "SYSTEM_ERROR", 0)
    assert hurried == (429, "RATELIMIT_EXCEEDED", 268435472)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("forged_sign", InvalidSignature),
        ("missing_sign", KeyError),
        ("unknown_serial", KeyError),
        ("signtest", ValueError),
    ],
)
async def test_an_event_can_be_forged_and_the_truth_follows(
    client: Client, shop: Shop, kind: str, error: type[Exception]
) -> None:
    shop.answers = [(401, json.dumps({"code": "FAIL", "message": "no"}))]
    await hand(client.caller, "faults", endpoint="notify.echo", kind=kind)
    await client.ask("POST", ECHO, {"echo_message": "a", "notify_url": shop.url})
    await hand(client.caller, "idle")
    client.wechat.clock.advance(15)
    await hand(client.caller, "idle")

    forged, true = shop.told
    with pytest.raises(error):
        client.verify(dict(forged.headers), forged.body)
    assert client.opened(true)[0] == "SECURITY_ECHO.SUCCESS"


async def test_an_event_can_be_old_dearer_or_nonsense(client: Client, shop: Shop) -> None:
    await paid(client.caller)
    for kind in ("old_timestamp", "tampered_amount", "nonsense"):
        await hand(client.caller, "faults", endpoint="notify.v3_refund", kind=kind)
    for n in range(3):
        body = refund_body("", out_trade_no="T-0001", out_refund_no=f"R-{n}", notify_url=shop.url)
        await client.ask("POST", REFUNDS, body | {"amount": {"refund": 10, "total": 1880}})
        await hand(client.caller, "idle")

    old, dearer, nonsense = shop.told
    assert int(old.headers["Wechatpay-Timestamp"]) == client.wechat.clock.now_s() - 600
    assert client.opened(dearer)[1]["amount"]["refund"] == 11
    client.verify(dict(nonsense.headers), nonsense.body)
    with pytest.raises(UnicodeDecodeError):
        nonsense.body.decode()


async def test_events_move_to_the_public_key_by_share(client: Client, shop: Shop) -> None:
    serials = []
    for share in (0, 50, 100):
        await hand(client.caller, "settings", public_key_share=share)
        for n in range(24):
            asked = {"echo_message": f"{share}-{n}", "notify_url": shop.url}
            await client.ask("POST", ECHO, asked)
        await hand(client.caller, "idle")
        serials.append({client.verify(dict(t.headers), t.body) for t in shop.told})
        shop.told.clear()

    certificate = client.wechat.pay.platform.signing.serial
    assert serials == [{certificate}, {certificate, client.public_key_id}, {client.public_key_id}]


async def test_the_second_signature_of_v3_opens_the_pay_box_too(client: Client) -> None:
    prepay_id = (await place(client.caller))["prepay_id"]
    appid = "wx5a1e0000000d1ce1"
    text = f"{appid}\n1795147200\nabc\nprepay_id={prepay_id}\n".encode()
    box = {
        "appId": appid,
        "timeStamp": "1795147200",
        "nonceStr": "abc",
        "package": f"prepay_id={prepay_id}",
        "signType": "RSA",
    }
    signature = client.wechat.pay.keys.pair("merchant").private

    good = base64.b64encode(signature.sign(text, PKCS1v15(), hashes.SHA256())).decode()

    assert "paySign" in await refused_hand(client.caller, "box", **box, paySign=hmac_sign({}))
    assert (await hand(client.caller, "box", **box, paySign=good))["state"] == "SUCCESS"
