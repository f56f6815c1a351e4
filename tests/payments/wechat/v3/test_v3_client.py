"""Refunds, the bill, certificates and the echo: what is sent, and what is believed."""

import hashlib
import logging
import socket
import traceback
from typing import Any

import pytest

from payments.gateway import Reaction, RefundOrder, RefundState, Refused, Unknown
from payments.wechat.bills import COLUMNS_LINE, TOTALS_LINE
from payments.wechat.keys import key_of
from payments.wechat.secrets import ApiV3Key
from payments.wechat.signing_v3 import Identity
from payments.wechat.v3 import AddressesV3, Echo, WeChatPayV3
from tests.clock import Clock
from tests.payments.wechat.v3.conftest import NOTIFY, PUBLIC_ID, MakeClient, Pairs, public_key
from tests.payments.wechat.v3.platform import API_V3_KEY, MCH_ID, Platform

ORDER = RefundOrder(
    out_trade_no="P1",
    transaction_id="4200000001",
    out_refund_no="R1",
    total_fen=3000,
    refund_fen=1000,
    reason="档口停业",
)
ACCEPTED = {
    "refund_id": "50000000382019052709732678859",
    "out_refund_no": "R1",
    "transaction_id": "4200000001",
    "out_trade_no": "P1",
    "channel": "ORIGINAL",
    "create_time": "2026-11-20T12:00:00+08:00",
    "status": "PROCESSING",
    "amount": {"total": 3000, "refund": 1000, "currency": "CNY"},
}
GONE_BACK = ACCEPTED | {"status": "SUCCESS", "success_time": "2026-11-20T12:00:09+08:00"}


# ---------------------------------------------------------------- refunds


async def test_a_refund_is_accepted(client: WeChatPayV3, platform: Platform) -> None:
    platform.says(ACCEPTED)

    refunded = await client.refund(ORDER)

    assert refunded.state is RefundState.PROCESSING
    assert (refunded.refund_id, refunded.refund_fen) == (ACCEPTED["refund_id"], 1000)
    assert platform.paths == ["POST /v3/refund/domestic/refunds"]
    assert platform.bodies == [
        {
            "transaction_id": "4200000001",
            "out_refund_no": "R1",
            "reason": "档口停业",
            "notify_url": NOTIFY,
            "amount": {"refund": 1000, "total": 3000, "currency": "CNY"},
        }
    ]
    headers = platform.requests[0].headers
    assert headers["Accept"] == headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == "callme"
    assert "Wechatpay-Serial" not in headers


async def test_without_wechats_number_our_own_is_given(
    client: WeChatPayV3, platform: Platform
) -> None:
    platform.says(ACCEPTED)

    await client.refund(
        RefundOrder(
            out_trade_no="P1",
            transaction_id="",
            out_refund_no="R1",
            total_fen=3000,
            refund_fen=1000,
            reason="",
        )
    )

    (body,) = platform.bodies
    assert body["out_trade_no"] == "P1"
    assert not {"transaction_id", "reason"} & set(body)


async def test_without_an_address_the_merchants_settings_say_where_to_tell(
    identity: Identity, api_v3_key: ApiV3Key, clock: Clock, platform: Platform, pairs: Pairs
) -> None:
    client = WeChatPayV3(
        identity,
        AddressesV3(api=platform.url, notify=""),
        api_v3_key,
        keys=[key_of(pairs.first.certificate)],
        now=clock.now,
    )
    platform.says(ACCEPTED)

    await client.refund(ORDER)
    await client.aclose()

    assert "notify_url" not in platform.bodies[0]


async def test_a_refund_that_has_gone_back_says_when(
    client: WeChatPayV3, platform: Platform, clock: Clock
) -> None:
    platform.says(GONE_BACK)

    refunded = await client.query_refund("R1")

    assert refunded.state is RefundState.SUCCESS
    assert refunded.refunded_at == clock.now() + 9_000
    assert platform.paths == ["GET /v3/refund/domestic/refunds/R1"]


async def test_the_address_is_signed_as_it_is_sent(client: WeChatPayV3, platform: Platform) -> None:
    platform.says(ACCEPTED | {"out_refund_no": "R|1*@/?"})

    await client.query_refund("R|1*@/?")

    assert platform.paths == ["GET /v3/refund/domestic/refunds/R%7C1%2A%40%2F%3F"]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("CLOSED", RefundState.CLOSED),
        ("CLOSE", RefundState.CLOSED),
        ("ABNORMAL", RefundState.ABNORMAL),
    ],
)
async def test_refunds_end_otherwise_too(
    client: WeChatPayV3, platform: Platform, status: str, state: RefundState
) -> None:
    platform.says(ACCEPTED | {"status": status})

    assert (await client.query_refund("R1")).state is state


async def test_a_refund_that_never_arrived_is_not_found(
    client: WeChatPayV3, platform: Platform
) -> None:
    platform.refuses("RESOURCE_NOT_EXISTS", status=404)

    assert (await client.query_refund("R1")).state is RefundState.NOT_FOUND


async def test_other_refusals_of_the_query_stay_refusals(
    client: WeChatPayV3, platform: Platform
) -> None:
    platform.refuses("NO_AUTH", status=403)

    with pytest.raises(Refused) as refused:
        await client.query_refund("R1")

    assert refused.value.reaction is Reaction.STOP


@pytest.mark.parametrize(
    "changed",
    [
        {"out_refund_no": "R2"},
        {"amount": {"total": 3000, "refund": 3000}},
        {"amount": {"total": 3000, "refund": -1}},
        {"status": "WHO_KNOWS"},
        {"success_time": "yesterday"},
        {"success_time": "2026-02-30T12:00:00+08:00"},
        {"amount": None},
    ],
)
async def test_an_answer_about_something_else_is_unknown(
    client: WeChatPayV3, platform: Platform, changed: dict[str, Any]
) -> None:
    platform.says(ACCEPTED | changed)

    with pytest.raises(Unknown):
        await client.refund(ORDER)


# ---------------------------------------------------------------- what is believed


@pytest.mark.parametrize(
    "headers",
    [
        {"wechatpay_signature": "QUJD"},
        {"wechatpay_signature": ""},
        {"wechatpay_signature": "WECHATPAY/SIGNTEST/abc"},
        {"wechatpay_nonce": "another"},
        {"wechatpay_serial": PUBLIC_ID},
    ],
)
async def test_an_answer_with_a_wrong_signature_is_unknown(
    client: WeChatPayV3, platform: Platform, headers: dict[str, str]
) -> None:
    platform.says(GONE_BACK, status=200, **headers)

    with pytest.raises(Unknown, match=r"Request-Id none"):
        await client.refund(ORDER)


async def test_an_answer_without_a_signature_is_unknown(
    client: WeChatPayV3, platform: Platform
) -> None:
    platform.says_unsigned(GONE_BACK)

    with pytest.raises(Unknown, match="no signature"):
        await client.refund(ORDER)


async def test_an_answer_of_another_time_is_unknown(
    client: WeChatPayV3, platform: Platform, clock: Clock
) -> None:
    clock.advance(minutes=-5)
    platform.says(GONE_BACK)
    clock.advance(minutes=5)

    with pytest.raises(Unknown, match="5 minutes"):
        await client.refund(ORDER)


async def test_a_refusal_with_a_wrong_signature_is_unknown(
    client: WeChatPayV3, platform: Platform
) -> None:
    platform.says({"code": "RESOURCE_NOT_EXISTS"}, status=404, wechatpay_signature="QUJD")

    with pytest.raises(Unknown):
        await client.query_refund("R1")


async def test_a_refusal_with_a_signature_is_a_refusal(
    client: WeChatPayV3, platform: Platform
) -> None:
    platform.says({"code": "NOT_ENOUGH", "message": "余额不足"}, status=403, request_id="08F7")

    with pytest.raises(Refused, match=r"余额不足.*Request-Id 08F7") as refused:
        await client.refund(ORDER)

    assert refused.value.reaction is Reaction.WAIT


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"[" * 100_000])
async def test_a_signed_answer_that_is_not_understood_is_unknown(
    client: WeChatPayV3, platform: Platform, body: bytes
) -> None:
    platform.says(body)

    with pytest.raises(Unknown, match="not understood"):
        await client.refund(ORDER)


@pytest.mark.parametrize("status", [202, 302, 500, 502])
async def test_other_statuses_are_unknown(
    client: WeChatPayV3, platform: Platform, status: int
) -> None:
    platform.says_unsigned({"code": "SYSTEM_ERROR"}, status=status)

    with pytest.raises(Unknown):
        await client.refund(ORDER)


async def test_a_compressed_or_endless_answer_is_unknown(
    client: WeChatPayV3, platform: Platform
) -> None:
    platform.says(GONE_BACK, content_encoding="gzip")
    with pytest.raises(Unknown, match="compressed"):
        await client.refund(ORDER)

    platform.says(b" " * ((1 << 20) + 1))
    with pytest.raises(Unknown, match="longer"):
        await client.refund(ORDER)


# ---------------------------------------------------------------- the way there


async def test_a_lost_connection_is_unknown_and_tells_nothing(
    client: WeChatPayV3, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    platform.hangs_up()

    with caplog.at_level(logging.DEBUG), pytest.raises(Unknown) as lost:
        await client.refund(ORDER)

    told = "".join(traceback.format_exception(lost.value)) + caplog.text
    assert "signature=" not in told
    assert API_V3_KEY not in told


async def test_addresses_are_not_logged(
    make_client: MakeClient,
    platform: Platform,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By this client's own doing, not by that of another which was made before."""
    monkeypatch.setattr(logging.getLogger("httpx"), "filters", [])
    client = make_client()
    platform.says(GONE_BACK)

    with caplog.at_level(logging.INFO):
        await client.query_refund("R1")

    assert "R1" not in caplog.text


async def test_a_server_that_keeps_silent_is_not_waited_for(
    make_client: MakeClient, platform: Platform
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        client = make_client(url=f"http://127.0.0.1:{port}", timeout_s=0.1)

        with pytest.raises(Unknown, match="refunds: "):
            await client.refund(ORDER)


async def test_the_other_host_is_asked_when_the_first_cannot_be_reached(
    make_client: MakeClient, platform: Platform
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    client = make_client(url=f"http://127.0.0.1:{port}", fallback=platform.url)
    platform.says(ACCEPTED)

    assert (await client.refund(ORDER)).state is RefundState.PROCESSING


async def test_an_answer_is_not_asked_for_a_second_time(
    make_client: MakeClient, platform: Platform
) -> None:
    client = make_client(fallback=platform.url)
    platform.says_unsigned({"code": "SYSTEM_ERROR"}, status=500)

    with pytest.raises(Unknown):
        await client.refund(ORDER)

    assert len(platform.requests) == 1


# ---------------------------------------------------------------- keys


async def test_the_first_certificates_vouch_for_themselves(
    make_client: MakeClient, platform: Platform, pairs: Pairs
) -> None:
    client = make_client(keys=[])
    platform.says(ACCEPTED)
    platform.lists(pairs.first)

    await client.refund(ORDER)

    assert [key.id for key in client.keys.all()] == [pairs.first.id]
    assert platform.paths[1] == "GET /v3/certificates"


async def test_a_new_certificate_is_taken_up_in_the_middle_of_a_call(
    client: WeChatPayV3, platform: Platform, pairs: Pairs
) -> None:
    platform.signs = pairs.second
    platform.says(ACCEPTED)
    platform.lists(pairs.first, pairs.second)

    await client.refund(ORDER)

    assert [key.id for key in client.keys.all()] == [pairs.first.id, pairs.second.id]


async def test_with_a_public_key_answers_are_asked_for_in_it(
    make_client: MakeClient, platform: Platform, pairs: Pairs
) -> None:
    client = make_client(keys=[key_of(pairs.first.certificate), public_key(pairs.public)])
    platform.signs = pairs.public
    platform.says(ACCEPTED)

    await client.refund(ORDER)

    assert platform.requests[0].headers["Wechatpay-Serial"] == PUBLIC_ID


async def test_a_merchant_of_the_public_key_has_no_certificates(
    client: WeChatPayV3, platform: Platform
) -> None:
    platform.refuses("RESOURCE_NOT_EXISTS", status=404)

    assert await client.certificates() == []


async def test_a_refused_list_is_a_refusal(client: WeChatPayV3, platform: Platform) -> None:
    platform.refuses("NO_AUTH", status=403)
    with pytest.raises(Refused):
        await client.certificates()

    platform.says_unsigned(b"", status=404)
    with pytest.raises(Unknown):
        await client.certificates()


async def test_a_list_that_nobody_vouches_for_is_unknown(
    client: WeChatPayV3, platform: Platform, pairs: Pairs
) -> None:
    platform.lists(pairs.second, key="f" * 32)
    with pytest.raises(Unknown, match="APIv3 key"):
        await client.certificates()

    platform.signs = pairs.short
    platform.lists(pairs.second)
    with pytest.raises(Unknown, match="not known"):
        await client.certificates()


# ---------------------------------------------------------------- the bill

PAYMENT = ["2026-11-19 09:00:00", "wx1", MCH_ID, "0", "", "4200000001", "P1", "o-1", "JSAPI"]
PAYMENT += ["SUCCESS", "OTHERS", "CNY", "30.00", "0.00", "0", "0", "0.00", "0.00", "", ""]
PAYMENT += ["续费,三个月", "", "0.18000", "0.60%", "30.00", "0.00", ""]
TOTALS = ["1", "30.00", "0.00", "0.00", "0.18000", "30.00", "0.00"]


def cells(values: list[str]) -> str:
    return ",".join("`" + value for value in values)


BILL = "\ufeff" + "\r\n".join([COLUMNS_LINE, cells(PAYMENT), TOTALS_LINE, cells(TOTALS), ""])


def link(platform: Platform, file: bytes, **changed: str) -> dict[str, str]:
    return {
        "hash_type": "SHA1",
        "hash_value": hashlib.sha1(file, usedforsecurity=False).hexdigest(),
        "download_url": "https://api.mch.weixin.qq.com/v3/billdownload/file?token=6XIv%2B5q&a=b",
    } | changed


async def test_the_bill_is_fetched_and_read(client: WeChatPayV3, platform: Platform) -> None:
    platform.says(link(platform, BILL.encode()))
    platform.says_unsigned(BILL.encode())

    (row,) = await client.bill(20261119)

    assert (row.out_trade_no, row.amount_fen) == ("P1", 3000)
    assert platform.paths == [
        "GET /v3/bill/tradebill?bill_date=2026-11-19&bill_type=ALL",
        "GET /v3/billdownload/file?token=6XIv%2B5q&a=b",
    ]


async def test_a_bill_that_is_not_what_its_hash_says_is_unknown(
    client: WeChatPayV3, platform: Platform
) -> None:
    platform.says(link(platform, BILL.encode()))
    platform.says_unsigned(BILL.replace("30.00", "31.00").encode())

    with pytest.raises(Unknown, match="hash"):
        await client.bill(20261119)


@pytest.mark.parametrize(
    "changed",
    [{"hash_type": "MD5"}, {"download_url": "https://elsewhere.example/file?token=1"}],
)
async def test_a_link_that_is_odd_is_unknown(
    client: WeChatPayV3, platform: Platform, changed: dict[str, str]
) -> None:
    platform.says(link(platform, BILL.encode(), **changed))
    platform.says_unsigned(BILL.encode())

    with pytest.raises(Unknown):
        await client.bill(20261119)


async def test_a_day_without_payments_has_no_bill(client: WeChatPayV3, platform: Platform) -> None:
    platform.refuses("NO_STATEMENT_EXIST")

    assert await client.bill(20261119) == []


async def test_a_bill_still_being_made_is_waited_for(
    client: WeChatPayV3, platform: Platform
) -> None:
    platform.refuses("STATEMENT_CREATING")

    with pytest.raises(Refused) as refused:
        await client.bill(20261119)

    assert refused.value.reaction is Reaction.WAIT


async def test_a_link_that_has_expired_is_unknown(client: WeChatPayV3, platform: Platform) -> None:
    platform.says(link(platform, BILL.encode()))
    platform.says_unsigned({"code": "TOKEN_EXPIRED"}, status=400)

    with pytest.raises(Unknown):
        await client.bill(20261119)


# ---------------------------------------------------------------- the echo


async def test_the_echo_tries_signatures_and_secrets(
    client: WeChatPayV3, platform: Platform, pairs: Pairs
) -> None:
    platform.says({"echo_message": "你好", "encrypted_echo_message": "你好"})

    echo = await client.echo("你好", notify_url=NOTIFY)

    assert echo == Echo(has_echoed=True, has_decrypted=True)
    (body,) = platform.bodies
    assert (body["echo_message"], body["notify_url"]) == ("你好", NOTIFY)
    assert platform.requests[0].headers["Wechatpay-Serial"] == pairs.first.id
    secret = pairs.first.open(body["encrypted_echo_message"])
    assert secret == "你好".encode()


async def test_an_echo_that_came_back_sealed_for_us_is_one(
    client: WeChatPayV3, platform: Platform, pairs: Pairs
) -> None:
    sealed = pairs.merchant.seal_for(b"hello")
    platform.says({"echo_message": "hello", "encrypted_echo_message": sealed})

    assert await client.echo("hello") == Echo(has_echoed=True, has_decrypted=True)


async def test_an_echo_of_something_else_is_none(client: WeChatPayV3, platform: Platform) -> None:
    platform.says({"echo_message": "hullo"})

    assert await client.echo("hello") == Echo(has_echoed=False, has_decrypted=False)


async def test_before_the_first_echo_certificates_are_fetched(
    make_client: MakeClient, platform: Platform, pairs: Pairs
) -> None:
    client = make_client(keys=[])
    platform.lists(pairs.first)
    platform.says({"echo_message": "hello"})

    assert (await client.echo("hello")).has_echoed

    assert "encrypted_echo_message" in platform.bodies[1]


async def test_without_any_key_an_echo_is_not_believed(
    make_client: MakeClient, platform: Platform
) -> None:
    client = make_client(keys=[])
    platform.refuses("RESOURCE_NOT_EXISTS", status=404)
    platform.says({"echo_message": "hello"})

    with pytest.raises(Unknown):
        await client.echo("hello")
