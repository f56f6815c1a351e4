"""Answers that are lost, late, false or nonsense, and the camera held to codes."""

import gzip

import httpx
import pytest
from tornado.httputil import HTTPServerRequest

from simulators.wechat import WeChat
from simulators.wechat.apps import DINER_APPID
from simulators.wechat.pay import scans
from simulators.wechat.pay.merchant import MCH_ID
from tests.simulators.pay.merchant import (
    THANKS,
    Shop,
    ask,
    fields_of,
    hand,
    hmac_sign,
    look,
    md5_sign,
    order_fields,
    place,
    query,
    question,
    refund,
    refund_query,
    refused_hand,
    xml_of,
)


async def raw(caller: httpx.AsyncClient, fields: dict[str, str], path: str) -> httpx.Response:
    return await caller.post(path, content=xml_of({**fields, "sign": hmac_sign(fields)}))


async def test_an_order_can_be_stored_although_the_answer_says_otherwise(
    caller: httpx.AsyncClient,
) -> None:
    await hand(caller, "faults", endpoint="unifiedorder", kind="system_error", is_done=True)
    await hand(caller, "faults", endpoint="unifiedorder", kind="system_error")

    stored = await place(caller)
    not_stored = await place(caller, out_trade_no="T-2")

    assert stored["err_code"] == not_stored["err_code"] == "SYSTEMERROR"
    assert (await query(caller))["trade_state"] == "NOTPAY"
    assert (await query(caller, "T-2"))["err_code"] == "ORDERNOTEXIST"


async def test_an_answer_can_be_lost_after_a_refund_was_accepted(caller: httpx.AsyncClient) -> None:
    await place(caller)
    await hand(caller, "pay", out_trade_no="T-0001")
    await hand(caller, "faults", endpoint="refund", kind="drop", is_done=True)

    with pytest.raises(httpx.RemoteProtocolError):
        await refund(caller)

    assert (await refund_query(caller, out_refund_no="R-0001"))["result_code"] == "SUCCESS"


async def test_money_can_be_told_of_before_the_order_is_answered(
    caller: httpx.AsyncClient, shop: Shop
) -> None:
    await hand(caller, "faults", endpoint="unifiedorder", kind="pay_first", times=2)

    answer = await place(caller, notify_url=shop.url)
    paid_already = await place(caller, notify_url=shop.url)
    refused = await place(caller, out_trade_no="T-2", body="")

    assert answer["result_code"] == "SUCCESS"
    assert [said["out_trade_no"] for said in shop.fields] == ["T-0001"]
    assert paid_already["err_code"] == "ORDERPAID"
    assert refused["err_code"] == "LACK_PARAMS"


@pytest.mark.parametrize("kind", ["forged_sign", "missing_sign"])
async def test_an_answer_can_be_forged(caller: httpx.AsyncClient, kind: str) -> None:
    await place(caller)
    await hand(caller, "faults", endpoint="orderquery", kind=kind)

    response = await raw(caller, question(out_trade_no="T-0001"), "/pay/orderquery")

    answer = fields_of(response.content)
    assert answer.get("sign") != hmac_sign(answer)


async def test_an_answer_can_name_another_amount(caller: httpx.AsyncClient) -> None:
    await place(caller)
    await hand(caller, "pay", out_trade_no="T-0001")
    await hand(caller, "faults", endpoint="orderquery", kind="tampered_amount")

    assert (await query(caller))["total_fee"] == "1881"


async def test_a_fault_can_be_any_word_of_the_vendors(caller: httpx.AsyncClient) -> None:
    await hand(
        caller, "faults", endpoint="*", kind="errcode", err_code="NOTENOUGH", err_text="余额不足"
    )
    await hand(caller, "faults", endpoint="unifiedorder", kind="fail", err_text="系统繁忙")

    refused = await refund(caller)
    envelope = await place(caller)

    assert (refused["err_code"], refused["err_code_des"]) == ("NOTENOUGH", "余额不足")
    assert envelope == {"return_code": "FAIL", "return_msg": "系统繁忙"}


async def test_a_fault_of_words_still_wants_a_signed_question(caller: httpx.AsyncClient) -> None:
    await hand(caller, "faults", endpoint="*", kind="system_error")

    answer = fields_of((await caller.post("/pay/orderquery", content=b"<xml></xml>")).content)

    assert answer["return_msg"] == "签名错误"


async def test_an_answer_can_be_a_page_or_nonsense_or_no_gzip(caller: httpx.AsyncClient) -> None:
    for kind in ("http_502", "nonsense", "bad_gzip"):
        await hand(caller, "faults", endpoint="orderquery", kind=kind)
    fields = question(out_trade_no="T-0001")

    page = await raw(caller, fields, "/pay/orderquery")
    nonsense = await raw(caller, fields, "/pay/orderquery")
    with pytest.raises(httpx.DecodingError):
        await raw(caller, fields, "/pay/orderquery")

    assert (page.status_code, page.headers["Content-Type"]) == (502, "text/html")
    with pytest.raises(UnicodeDecodeError):
        nonsense.content.decode()


async def test_a_zipped_bill_can_end_in_its_middle(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    await place(caller)
    await hand(caller, "pay", out_trade_no="T-0001")
    wechat.clock.advance(86400)
    await hand(caller, "faults", endpoint="downloadbill", kind="bad_gzip")
    await hand(caller, "faults", endpoint="downloadbill", kind="fail", err_text="系统繁忙")
    fields = question(bill_date="20261120", tar_type="GZIP")

    broken = await raw(caller, fields, "/pay/downloadbill")
    failed = await raw(caller, fields, "/pay/downloadbill")
    whole = await raw(caller, fields, "/pay/downloadbill")

    with pytest.raises(EOFError):
        gzip.decompress(broken.content)
    assert fields_of(failed.content)["return_msg"] == "系统繁忙"
    assert gzip.decompress(whole.content).startswith("\ufeff交易时间".encode())


async def test_an_answer_can_be_late_or_drip(caller: httpx.AsyncClient) -> None:
    await hand(caller, "faults", endpoint="unifiedorder", kind="delay", seconds=60)
    await hand(caller, "faults", endpoint="unifiedorder", kind="drip", seconds=0.05)
    await hand(caller, "faults", endpoint="unifiedorder", kind="delay", seconds=0.01)

    fields = order_fields()
    with pytest.raises(httpx.ReadTimeout):
        await caller.post(
            "/pay/unifiedorder",
            content=xml_of({**fields, "sign": hmac_sign(fields)}),
            timeout=0.05,
        )

    assert (await query(caller))["trade_state"] == "NOTPAY"
    assert (await place(caller, out_trade_no="T-2"))["result_code"] == "SUCCESS"
    assert (await place(caller, out_trade_no="T-3"))["result_code"] == "SUCCESS"


async def test_faults_are_listed_and_cleared(caller: httpx.AsyncClient) -> None:
    await hand(caller, "faults", endpoint="refund", kind="drop", times=None)
    await hand(caller, "faults", endpoint="*", kind="drop", times=2)
    await hand(caller, "faults", endpoint="*", kind="drop", times=0)

    await caller.delete("/sim/pay/faults", params={"endpoint": "refund"})
    left = (await look(caller, "faults"))["faults"]
    await caller.delete("/sim/pay/faults")

    assert [(f["endpoint"], f["times"]) for f in left] == [("*", 2)]
    assert (await look(caller, "faults"))["faults"] == []


async def test_every_call_is_on_record(caller: httpx.AsyncClient) -> None:
    await hand(caller, "faults", endpoint="unifiedorder", kind="drop")
    with pytest.raises(httpx.RemoteProtocolError):
        await place(caller)
    await place(caller)
    await query(caller, "T-none")

    state = await look(caller, "state")

    assert [(c["endpoint"], c["outcome"], c["fault"]) for c in state["calls"]] == [
        ("unifiedorder", None, "drop"),
        ("unifiedorder", "SUCCESS", None),
        ("orderquery", "ORDERNOTEXIST", None),
    ]
    assert state["is_simulator"] is True
    assert [order["out_trade_no"] for order in state["orders"]] == ["T-0001"]


async def test_reset_forgets_the_money_too(caller: httpx.AsyncClient, wechat: WeChat) -> None:
    before = await look(caller, "state")
    await place(caller)
    await hand(caller, "pay", out_trade_no="T-0001")
    await hand(caller, "settings", is_blocked=True)
    await caller.post("/sim/reset")

    assert await look(caller, "state") == before
    assert wechat.pay.agenda.is_idle


# ---------------------------------------------------------------- codes


async def test_a_camera_reads_a_code_url(caller: httpx.AsyncClient) -> None:
    code_url = (await place(caller, trade_type="NATIVE", product_id="39"))["code_url"]

    seen = await hand(caller, "scan", url=code_url, pays=False)
    await hand(caller, "scan", url=code_url, openid="o-bob")

    assert seen["order"]["total_fee"] == 1880
    assert (await query(caller))["openid"] == "o-bob"


def link(**changes: str) -> str:
    fields = {
        "appid": DINER_APPID,
        "mch_id": MCH_ID,
        "product_id": "months-3",
        "time_stamp": "1795147200",
        "nonce_str": "abc",
    } | changes
    query_text = "&".join(f"{name}={value}" for name, value in fields.items())
    return f"weixin://wxpay/bizpayurl?sign={md5_sign(fields)}&{query_text}"


async def asked_to_sell(
    caller: httpx.AsyncClient, shop: Shop, **answer: str
) -> list[dict[str, str]]:
    """A merchant who places an order for each scan; what it was asked is kept."""
    asked: list[dict[str, str]] = []

    async def sell(request: HTTPServerRequest) -> str:
        said = fields_of(request.body)
        asked.append(said)
        number = f"SCAN-{len(asked)}"
        placed = await place(
            caller, out_trade_no=number, trade_type="NATIVE", product_id=said["product_id"]
        )
        fields = {
            "return_code": "SUCCESS",
            "appid": DINER_APPID,
            "mch_id": MCH_ID,
            "nonce_str": "n",
            "prepay_id": placed["prepay_id"],
            "result_code": "SUCCESS",
        } | answer
        return xml_of({"sign": md5_sign(fields), **fields}).decode()

    shop.before_answer = sell
    await hand(caller, "settings", native_notify_url=shop.url)
    return asked


async def test_a_static_code_asks_the_merchant_for_an_order(
    caller: httpx.AsyncClient, shop: Shop
) -> None:
    asked = await asked_to_sell(caller, shop)

    seen = await hand(caller, "scan", url=link(), openid="o-bob")

    assert (asked[0]["product_id"], asked[0]["openid"]) == ("months-3", "o-bob")
    assert asked[0]["sign"] == md5_sign(asked[0])
    assert "return_code" not in asked[0]
    assert seen["order"]["state"] == "SUCCESS"
    assert (await query(caller, "SCAN-1"))["openid"] == "o-bob"


async def test_a_static_code_may_be_shortened(
    caller: httpx.AsyncClient, shop: Shop, wechat: WeChat
) -> None:
    await asked_to_sell(caller, shop)
    own = scans.link_of(DINER_APPID, "months-3", "1795147200")
    fields = question(long_url=own)
    encoded = {**fields, "long_url": own.replace("&", "%26"), "sign": hmac_sign(fields)}
    short = fields_of((await caller.post("/tools/shorturl", content=xml_of(encoded))).content)

    seen = await hand(caller, "scan", url=short["short_url"])

    assert seen["order"]["out_trade_no"] == "SCAN-1"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"result_code": "FAIL", "err_code_des": "此档口已打烊"}, "此档口已打烊"),
        ({"result_code": "FAIL"}, "系统繁忙，请稍后再试"),
        ({"prepay_id": "wx-none"}, "系统繁忙，请稍后再试"),
        ({"mch_id": "1"}, "系统繁忙，请稍后再试"),
        ({"sign": "0"}, "系统繁忙，请稍后再试"),
        ({"return_code": "FAIL"}, "系统繁忙，请稍后再试"),
    ],
)
async def test_the_user_reads_why_a_scan_sells_nothing(
    caller: httpx.AsyncClient, shop: Shop, answer: dict[str, str], text: str
) -> None:
    await asked_to_sell(caller, shop, **answer)

    seen = await hand(caller, "scan", url=link())

    assert seen == {"order": None, "text": text}


async def test_a_scan_may_not_reach_the_merchant_or_be_forged(
    caller: httpx.AsyncClient, shop: Shop
) -> None:
    asked = await asked_to_sell(caller, shop)
    await hand(caller, "faults", endpoint="notify.native", kind="drop")
    await hand(caller, "faults", endpoint="notify.native", kind="forged_sign")

    lost = await hand(caller, "scan", url=link())
    await hand(caller, "scan", url=link())
    shop.before_answer = None
    shop.usual = (200, THANKS)
    unsigned = await hand(caller, "scan", url=link())

    assert lost["order"] is None
    assert asked[0]["sign"] != md5_sign(asked[0])
    assert unsigned["order"] is None
    assert [scan["fault"] for scan in (await look(caller, "notices"))["scans"]] == [
        *("drop", "forged_sign", None),
    ]


async def test_a_camera_refuses_what_is_no_good_code(caller: httpx.AsyncClient) -> None:
    urls = [
        "https://example.com/",
        "weixin://wxpay/bizpayurl?pr=none",
        "weixin://wxpay/bizpayurl?sign=1",
        link().replace("months-3", "months-9"),
        link(mch_id="1"),
        link(product_id="p" * 33),
        link(),
    ]

    errors = [await refused_hand(caller, "scan", url=url) for url in urls]

    assert "no address for scans" in errors[-1]
    assert len(set(errors)) == 6
    assert (await ask(caller, "/pay/orderquery", question(out_trade_no="T")))["err_code"]
