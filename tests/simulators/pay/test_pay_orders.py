"""unifiedorder, orderquery, closeorder and the user's part, over real HTTP."""

import gzip
import secrets

import httpx
import pytest

from simulators.wechat import SELLER_APPID, WeChat
from simulators.wechat.pay.merchant import STRANGE_APPID
from tests.simulators.calls import login
from tests.simulators.pay import merchant
from tests.simulators.pay.merchant import (
    ask,
    hand,
    hmac_sign,
    look,
    md5_sign,
    order_fields,
    place,
    query,
    question,
    refused_hand,
    xml_of,
)


async def test_an_order_is_placed_paid_and_found(caller: httpx.AsyncClient) -> None:
    placed = await place(caller, attach="stall:7")
    before = await query(caller)
    await hand(caller, "pay", out_trade_no="T-0001")
    after = await query(caller)

    assert placed["result_code"] == "SUCCESS"
    assert placed["prepay_id"].startswith("wx20261120")
    assert len(placed["prepay_id"]) == 36
    assert "code_url" not in placed
    assert (before["trade_state"], after["trade_state"]) == ("NOTPAY", "SUCCESS")
    assert "transaction_id" not in before
    assert after["total_fee"] == after["cash_fee"] == "1880"
    assert (after["openid"], after["attach"]) == ("o-alice", "stall:7")
    assert len(after["transaction_id"]) == 28
    assert after["time_end"] == "20261120120000"


async def test_a_native_order_has_a_code_anybody_can_pay(caller: httpx.AsyncClient) -> None:
    placed = await place(caller, trade_type="NATIVE", product_id="39", openid="")

    await hand(caller, "pay", code_url=placed["code_url"], openid="o-passer-by")

    assert placed["code_url"].startswith("weixin://wxpay/bizpayurl?pr=")
    assert (await query(caller))["openid"] == "o-passer-by"


async def test_either_kind_of_signature_is_answered_in_kind(caller: httpx.AsyncClient) -> None:
    plain = await place(caller, sign_type="")
    named = await place(caller, out_trade_no="T-2", sign_type="MD5")
    hashed = await place(caller, out_trade_no="T-3")

    assert [len(a["sign"]) for a in (plain, named, hashed)] == [32, 32, 64]


async def test_what_cannot_be_trusted_gets_an_unsigned_envelope(caller: httpx.AsyncClient) -> None:
    fields = order_fields()
    wrong = [
        xml_of({**fields, "sign": md5_sign(fields)}),
        xml_of(fields),
        xml_of({**fields, "sign": hmac_sign(fields), "body": "other"}),
        xml_of({**fields, "sign_type": "SHA1", "sign": md5_sign(fields)}),
        xml_of({**fields, "mch_id": "1", "sign": hmac_sign({**fields, "mch_id": "1"})}),
        b"",
        b"{}",
        "<xml><body>面</body></xml>".encode("gbk"),
    ]

    answers = [
        merchant.fields_of((await caller.post("/pay/unifiedorder", content=body)).content)
        for body in wrong
    ]
    got = merchant.fields_of((await caller.get("/pay/unifiedorder")).content)

    assert {a["return_code"] for a in [*answers, got]} == {"FAIL"}
    assert all(set(a) == {"return_code", "return_msg"} for a in answers)
    assert [a["return_msg"] for a in answers[:4]] == ["签名错误"] * 4
    assert "mch_id" in answers[4]["return_msg"]
    assert [a["return_msg"] for a in answers[5:]] == [
        *("post数据为空", "XML格式错误", "编码格式错误，请使用UTF-8编码"),
    ]


@pytest.mark.parametrize(
    ("changes", "err_code"),
    [
        ({"body": ""}, "LACK_PARAMS"),
        ({"notify_url": ""}, "LACK_PARAMS"),
        ({"nonce_str": ""}, "LACK_PARAMS"),
        ({"nonce_str": "n" * 33}, "PARAM_ERROR"),
        ({"body": "面" * 43}, "PARAM_ERROR"),
        ({"attach": "a" * 128}, "PARAM_ERROR"),
        ({"out_trade_no": "T 1"}, "PARAM_ERROR"),
        ({"out_trade_no": "T" * 33}, "PARAM_ERROR"),
        ({"total_fee": "0"}, "PARAM_ERROR"),
        ({"total_fee": "18.80"}, "PARAM_ERROR"),
        ({"total_fee": "-1"}, "PARAM_ERROR"),
        ({"fee_type": "USD"}, "PARAM_ERROR"),
        ({"spbill_create_ip": "localhost"}, "PARAM_ERROR"),
        ({"notify_url": "/notify"}, "PARAM_ERROR"),
        ({"notify_url": "http://127.0.0.1/notify?a=1"}, "PARAM_ERROR"),
        ({"notify_url": "http://[::1/notify"}, "PARAM_ERROR"),
        ({"trade_type": "CASH"}, "PARAM_ERROR"),
        ({"trade_type": "APP"}, "NOAUTH"),
        ({"openid": ""}, "PARAM_ERROR"),
        ({"trade_type": "NATIVE"}, "PARAM_ERROR"),
        ({"time_expire": "20261120120059"}, "PARAM_ERROR"),
        ({"time_expire": "20261399999999"}, "PARAM_ERROR"),
        ({"time_start": "2026-11-20"}, "PARAM_ERROR"),
        ({"appid": "wx0"}, "APPID_NOT_EXIST"),
        ({"appid": STRANGE_APPID}, "APPID_MCHID_NOT_MATCH"),
    ],
)
async def test_a_wrong_field_is_named_by_its_code(
    caller: httpx.AsyncClient, changes: dict[str, str], err_code: str
) -> None:
    answer = await place(caller, **changes)

    assert (answer["return_code"], answer["result_code"]) == ("SUCCESS", "FAIL")
    assert answer["err_code"] == err_code
    assert answer["err_code_des"]


async def test_the_longest_fields_fit(caller: httpx.AsyncClient) -> None:
    placed = await place(
        caller, body="面" * 42 + "ab", attach="a" * 127, out_trade_no="_-|*" * 8, nonce_str="n" * 32
    )

    assert placed["result_code"] == "SUCCESS"


async def test_an_openid_belongs_to_the_app_it_signed_in_at(caller: httpx.AsyncClient) -> None:
    await login(caller, "sim:o-diner:1")

    own = await place(caller, openid="o-diner")
    foreign = await place(caller, openid="o-diner", appid=SELLER_APPID, out_trade_no="T-2")

    assert own["result_code"] == "SUCCESS"
    assert foreign["err_code_des"] == "appid and openid not match"


async def test_the_same_order_again_has_a_new_prepay_id_and_another_one_is_refused(
    caller: httpx.AsyncClient,
) -> None:
    first = await place(caller)
    again = await place(caller)
    other = await place(caller, total_fee="1881")
    await hand(caller, "settings", is_used_as_201=True)
    other_way = await place(caller, total_fee="1881")

    assert again["prepay_id"] != first["prepay_id"]
    assert other["err_code"] == "OUT_TRADE_NO_USED"
    assert (other_way["err_code"], other_way["err_code_des"]) == (
        "INVALID_REQUEST",
        "201 商户订单号重复",
    )


async def test_an_order_can_be_closed_after_five_minutes(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    await place(caller)
    close = question(out_trade_no="T-0001")

    early = await ask(caller, "/pay/closeorder", close)
    wechat.clock.advance(300)
    in_time = await ask(caller, "/pay/closeorder", close)
    twice = await ask(caller, "/pay/closeorder", close)
    unknown = await ask(caller, "/pay/closeorder", question(out_trade_no="T-none"))

    assert (early["result_code"], early["err_code"]) == ("FAIL", "INVALID_REQUEST")
    assert in_time["result_code"] == "SUCCESS"
    assert (twice["err_code"], unknown["err_code"]) == ("ORDERCLOSED", "ORDERNOTEXIST")
    assert (await query(caller))["trade_state"] == "CLOSED"
    assert (await place(caller))["err_code"] == "ORDERCLOSED"
    assert "closed" in await refused_hand(caller, "pay", out_trade_no="T-0001")


async def test_a_paid_order_is_neither_closed_nor_placed_nor_paid_again(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    await place(caller)
    await hand(caller, "pay", out_trade_no="T-0001")
    wechat.clock.advance(300)

    closed = await ask(caller, "/pay/closeorder", question(out_trade_no="T-0001"))

    assert closed["err_code"] == "ORDERPAID"
    assert (await place(caller))["err_code"] == "ORDERPAID"
    assert "paid already" in await refused_hand(caller, "pay", out_trade_no="T-0001")


async def test_money_may_come_after_the_order_was_closed(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    await place(caller)
    wechat.clock.advance(300)
    await ask(caller, "/pay/closeorder", question(out_trade_no="T-0001"))

    await hand(caller, "pay", out_trade_no="T-0001", even_closed=True)

    assert (await query(caller))["trade_state"] == "SUCCESS"
    assert (await look(caller, "ledger"))["orders"]["T-0001"]["left_fen"] == 1880


async def test_a_prepay_id_dies_after_two_hours_and_the_order_lives_on(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    await place(caller)
    wechat.clock.advance(7200)

    refused = await refused_hand(caller, "pay", out_trade_no="T-0001")
    await place(caller)
    await hand(caller, "pay", out_trade_no="T-0001")

    assert "two hours" in refused


async def test_time_expire_ends_an_order_and_seven_days_close_it(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    await place(caller, time_expire="20261120120100")
    await place(caller, out_trade_no="T-2")

    wechat.clock.advance(60)
    expired = await refused_hand(caller, "pay", out_trade_no="T-0001")
    state = (await query(caller))["trade_state"]
    wechat.clock.advance(7 * 86400)

    assert "time_expire" in expired
    assert state == "NOTPAY"
    assert (await query(caller, "T-2"))["trade_state"] == "CLOSED"


async def test_a_user_may_fail_or_turn_away(caller: httpx.AsyncClient) -> None:
    await place(caller)

    await hand(caller, "cancel", out_trade_no="T-0001")
    turned_away = (await query(caller))["trade_state"]
    await hand(caller, "fail", out_trade_no="T-0001")
    failed = (await query(caller))["trade_state"]
    await hand(caller, "pay", out_trade_no="T-0001")

    assert (turned_away, failed) == ("NOTPAY", "PAYERROR")
    assert (await query(caller))["trade_state"] == "SUCCESS"
    assert await refused_hand(caller, "fail", out_trade_no="T-0001")
    assert await refused_hand(caller, "pay", out_trade_no="T-none")


async def test_a_coupon_lowers_the_cash_and_not_the_total(caller: httpx.AsyncClient) -> None:
    await place(caller)

    too_much = await refused_hand(caller, "pay", out_trade_no="T-0001", coupon_fee=1881)
    await hand(caller, "pay", out_trade_no="T-0001", coupon_fee=500)
    found = await query(caller)

    assert "coupon" in too_much
    assert (found["total_fee"], found["cash_fee"], found["coupon_fee_0"]) == ("1880", "1380", "500")


async def test_a_query_wants_one_of_two_numbers(caller: httpx.AsyncClient) -> None:
    await place(caller)
    await hand(caller, "pay", out_trade_no="T-0001")
    transaction_id = (await query(caller))["transaction_id"]

    neither = await ask(caller, "/pay/orderquery", question())
    by_theirs = await ask(caller, "/pay/orderquery", question(transaction_id=transaction_id))
    unknown = await ask(caller, "/pay/orderquery", question(transaction_id="4" * 28))

    assert neither["err_code"] == "LACK_PARAMS"
    assert by_theirs["out_trade_no"] == "T-0001"
    assert unknown["err_code"] == "ORDERNOTEXIST"


def pay_box(prepay_id: str, **changes: object) -> dict[str, object]:
    fields = {
        "appId": order_fields()["appid"],
        "timeStamp": "1795147200",
        "nonceStr": secrets.token_hex(8),
        "package": f"prepay_id={prepay_id}",
        "signType": "HMAC-SHA256",
    }
    return {**fields, "paySign": hmac_sign(fields), **changes}


async def test_the_pay_box_opens_for_the_right_second_signature(caller: httpx.AsyncClient) -> None:
    prepay_id = (await place(caller))["prepay_id"]

    seen = await hand(caller, "box", **pay_box(prepay_id, pays=False))
    wrong = [
        await refused_hand(caller, "box", **pay_box(prepay_id, **change))
        for change in (
            {"paySign": "0" * 64},
            {"signType": "MD5"},
            {"signType": "RSA"},
            {"appId": SELLER_APPID},
            {"timeStamp": "17951472000"},
            {"package": prepay_id},
            {"package": "prepay_id=none"},
            {"openid": "o-bob"},
        )
    ]
    await hand(caller, "box", **pay_box(prepay_id, openid="o-alice"))

    assert seen["state"] == "NOTPAY"
    assert len(wrong) == len(set(wrong)) + 1
    assert (await query(caller))["trade_state"] == "SUCCESS"


async def test_a_long_link_is_signed_plain_and_sent_encoded(caller: httpx.AsyncClient) -> None:
    fields = question(long_url="weixin://wxpay/bizpayurl?sign=A&appid=B")
    sent = {**fields, "sign": hmac_sign(fields), "long_url": "weixin%3A%2F%2Fwxpay%2Fbizpayurl%3F"}
    sent["long_url"] += "sign%3DA%26appid%3DB"

    answer = merchant.fields_of(
        (await caller.post("/tools/shorturl", content=xml_of(sent))).content
    )
    other = await ask(caller, "/tools/shorturl", question(long_url="http://a"))

    assert answer["short_url"].startswith("weixin://wxpay/s/")
    assert other["err_code"] == "PARAM_ERROR"


async def test_nothing_of_a_bill_is_said_of_a_day_without_money(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    async def bill(**fields: str) -> dict[str, str]:
        return await ask(caller, "/pay/downloadbill", question(**fields))

    today = await bill(bill_date="20261120")
    yesterday = await bill(bill_date="20261119", bill_type="ALL")
    await place(caller)
    await hand(caller, "pay", out_trade_no="T-0001")
    wechat.clock.advance(20 * 3600)
    at_eight = await bill(bill_date="20261120")
    wrong = [
        (await bill(**fields))["error_code"]
        for fields in (
            {"bill_date": "2026-11-19"},
            {"bill_date": "20261119", "bill_type": "SOME"},
            {"bill_date": "20260101"},
            {},
        )
    ]

    assert (today["return_code"], today["error_code"]) == ("FAIL", "20001")
    assert (yesterday["return_msg"], yesterday["error_code"]) == ("No Bill Exist", "20002")
    assert (at_eight["return_msg"], at_eight["error_code"]) == ("Bill Creating", "20003")
    assert wrong == ["20001"] * 4
    assert (await bill(bill_date="20261119", bill_type="RECHARGE_REFUND"))["error_code"] == "20002"


async def test_a_bill_has_marks_yuan_and_totals(caller: httpx.AsyncClient, wechat: WeChat) -> None:
    await place(caller, body="面, 大份", attach="a,b")
    await place(caller, out_trade_no="T-2", total_fee="20")
    await place(caller, out_trade_no="T-unpaid")
    await hand(caller, "pay", out_trade_no="T-0001", coupon_fee=500)
    await hand(caller, "pay", out_trade_no="T-2")
    await merchant.refund(caller, refund_fee="880")
    wechat.clock.advance(86400)

    async def bill(bill_type: str, **more: str) -> bytes:
        fields = question(bill_date="20261120", bill_type=bill_type, **more)
        signed = {**fields, "sign": hmac_sign(fields)}
        return (await caller.post("/pay/downloadbill", content=xml_of(signed))).content

    lines = (await bill("ALL")).decode().split("\r\n")
    zipped = await bill("ALL", tar_type="GZIP")
    paid = (await bill("SUCCESS")).decode().split("\r\n")
    refunded = (await bill("REFUND")).decode().split("\r\n")

    rows = [line[1:].split(",`") for line in lines[1:4]]
    assert lines[0].startswith("\ufeff交易时间,公众账号ID,商户号")
    assert [len(row) for row in rows] == [27] * 3
    assert sorted((row[6], row[9], row[24], row[25]) for row in rows) == [
        ("T-0001", "REFUND", "0.00", "8.80"),
        ("T-0001", "SUCCESS", "18.80", "0.00"),
        ("T-2", "SUCCESS", "0.20", "0.00"),
    ]
    assert {row[20] for row in rows} == {"面, 大份", "番茄鸡蛋面"}
    assert lines[4].startswith("总交易单数,应结订单总金额")
    assert lines[5] == "`3,`14.0,`8.8,`0.0,`0.00000,`19.0,`8.8"
    assert gzip.decompress(zipped).decode().split("\r\n") == lines
    assert [len(line.split(",`")) for line in (paid[1], refunded[1])] == [20, 29]
    assert refunded[1].split(",`")[14:16] == ["2026-11-20 12:00:00"] * 2
    assert len(paid[0].split(",")) == 20
    assert len(refunded[0].split(",")) == 29
