"""A code on the wall (native mode one): whoever scans it pays for the stall's months."""

import httpx
import pytest
import segno

from simulators.wechat import SELLER_APPID
from simulators.wechat.pay import scans
from simulators.wechat.pay.faults import NoticeFault
from simulators.wechat.pay.signing import sign_v2
from tests.clock import Clock
from tests.money.desk import MONTHS, PRICE_FEN, Desk
from tests.money.test_renewing import modules_of
from tests.payments.wechat.speech import fields_of, xml

PATH = "/notify/wechatpay/v2/native"


async def code(desk: Desk, months: int = 3, *, by: str = "seller-wang") -> str:
    at = f"/stalls/{desk.stall_id}/renewals/code?months={months}"
    answer = await desk.ask("GET", at, by=by)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["product_id"] == f"stall-{desk.stall_id}-{months}"
    assert said["amount_fen"] == months * PRICE_FEN
    return str(said["code_url"])


def link(product_id: str) -> str:
    """A code that somebody else has printed, as well as WeChat can tell."""
    return scans.link_of(SELLER_APPID, product_id, "1795147200")


async def test_a_scan_places_an_order_and_its_money_brings_the_months(desk: Desk) -> None:
    seen = await desk.scan(await code(desk))

    assert seen["order"]["product_id"] == f"stall-{desk.stall_id}-3"
    assert (seen["order"]["total_fee"], seen["order"]["trade_type"]) == (3 * PRICE_FEN, "NATIVE")
    assert await desk.months() == MONTHS + 3
    await desk.agree()


async def test_two_who_scan_one_code_both_renew(desk: Desk) -> None:
    printed = await code(desk)

    first = await desk.scan(printed)
    second = await desk.scan(printed)

    numbers = {seen["order"]["out_trade_no"] for seen in (first, second)}
    assert len(numbers) == 2
    assert await desk.months() == MONTHS + 6
    await desk.agree()


async def test_who_only_looks_pays_nothing_and_keeps_nobody_from_paying(desk: Desk) -> None:
    printed = await code(desk)
    await desk.scan(printed, pays=False)

    await desk.scan(printed)
    await desk.settle(minutes=1)
    assert await desk.months() == MONTHS + 3
    await desk.turn(hours=2, minutes=1)
    await desk.settle(minutes=6)

    assert await desk.months() == MONTHS + 3
    states = {order.state for order in desk.wechat.pay.orders.all.values()}
    assert states == {"SUCCESS", "CLOSED"}
    await desk.agree()


async def test_a_code_is_good_for_ever_and_its_orders_are_not(desk: Desk) -> None:
    printed = await code(desk)
    first = await desk.scan(printed, pays=False)
    await desk.turn(hours=3)

    second = await desk.scan(printed)

    assert first["order"]["prepay_id"] != second["order"]["prepay_id"]
    assert await desk.months() == MONTHS + 3
    await desk.agree()


async def test_money_of_a_scan_can_go_back_and_takes_the_months_along(desk: Desk) -> None:
    seen = await desk.scan(await code(desk))
    number = seen["order"]["out_trade_no"]

    answer = await desk.refund(number, 3 * PRICE_FEN)
    await desk.settle()

    assert answer.status_code == 201
    assert await desk.months() == MONTHS
    await desk.agree()


@pytest.mark.parametrize(
    ("product", "shown"),
    [
        ("stall-999-3", "没有这个摊位"),
        ("stall-{}-37", "没有这个商品"),
        ("stall-{}", "没有这个商品"),
        ("stall-{}-3-3", "没有这个商品"),
        ("stall-{}-0", "没有这个商品"),
        ("months-3", "没有这个商品"),
        ("noodles", "没有这个商品"),
    ],
)
async def test_what_is_not_sold_is_refused_in_words_for_the_user(
    desk: Desk, product: str, shown: str
) -> None:
    seen = await desk.scan(link(product.format(desk.stall_id)))

    assert (seen["order"], seen["text"]) == (None, shown)
    assert desk.wechat.pay.orders.all == {}
    rows = await desk.rows()
    assert rows["debts"] == []
    assert rows["stall_purchases"] == []


async def test_a_stall_that_is_switched_off_sells_nothing(desk: Desk) -> None:
    printed = await code(desk)
    at = f"/admin/stalls/{desk.stall_id}"
    await desk.ask("PATCH", at, {"disabled": True}, by="admin-li")

    seen = await desk.scan(printed)

    assert (seen["order"], seen["text"]) == (None, "这个摊位已停用")


@pytest.mark.parametrize("forgery", ["forged_sign", "missing_sign", "xxe", "nonsense"])
async def test_a_scan_that_is_not_wechats_is_refused_and_changes_nothing(
    desk: Desk, forgery: NoticeFault
) -> None:
    printed = await code(desk)
    before = await desk.rows()
    desk.spoil("notify.native", forgery)

    seen = await desk.scan(printed)

    (attempt,) = desk.wechat.pay.scans
    assert (attempt.status, seen["order"]) == (200, None)
    assert "FAIL" in attempt.answer
    assert "root:" not in attempt.answer
    assert await desk.rows() == before
    assert desk.wechat.pay.orders.all == {}


async def test_the_same_scan_told_twice_is_one_order(desk: Desk) -> None:
    await desk.scan(await code(desk), pays=False)
    (told,) = desk.wechat.pay.scans
    url = desk.wechat.pay.settings.native_notify_url

    again = await desk.http.post(url, content=told.body.encode())

    assert again.text == told.answer
    assert len(desk.wechat.pay.orders.all) == 1
    (order,) = desk.wechat.pay.orders.all.values()
    await desk.sim("pay", {"out_trade_no": order.out_trade_no})
    paid = await desk.http.post(url, content=told.body.encode())
    assert (fields_of(paid.content)["result_code"], fields_of(paid.content)["err_code_des"]) == (
        "FAIL",
        "已经支付过了",
    )
    assert await desk.months() == MONTHS + 3


async def test_one_nonce_for_two_products_sells_the_first_only(desk: Desk) -> None:
    await desk.scan(await code(desk), pays=False)
    fields = fields_of(desk.wechat.pay.scans[0].body.encode())
    fields |= {"product_id": f"stall-{desk.stall_id}-1"}
    fields["sign"] = sign_v2(fields, desk.settings["CALLME_WECHATPAY__API_V2_KEY"], "MD5")

    url = desk.wechat.pay.settings.native_notify_url
    answer = fields_of((await desk.http.post(url, content=xml(fields))).content)

    assert (answer["result_code"], answer["err_code_des"]) == ("FAIL", "系统繁忙，请稍后再试")
    assert len(desk.wechat.pay.orders.all) == 1


async def test_a_wechat_that_gives_no_order_is_told_to_the_user_and_the_next_scan_works(
    desk: Desk,
) -> None:
    printed = await code(desk)
    desk.spoil("unifiedorder", "http_502")

    failed = await desk.scan(printed)
    worked = await desk.scan(printed)

    assert (failed["order"], failed["text"]) == (None, "系统繁忙，请稍后再试")
    assert worked["order"]["state"] == "SUCCESS"
    await desk.settle(minutes=3)
    assert await desk.months() == MONTHS + 3
    await desk.agree()


async def test_the_picture_shows_a_code_that_sells(desk: Desk) -> None:
    at = f"/stalls/{desk.stall_id}/renewals/qr.png?months=2&size=600&level=M"

    picture = await desk.ask("GET", at)

    assert picture.headers["content-type"] == "image/png"
    shown = modules_of(picture.content)
    # Each code has a nonce of its own, so it is compared by its size.
    text = await code(desk, 2)
    wanted = segno.make_qr(text, error="M", boost_error=False)
    assert len(shown) == len(list(wanted.matrix))


async def test_the_back_office_prints_codes_and_a_stranger_does_not(desk: Desk) -> None:
    assert (await code(desk, by="admin-li")).startswith("weixin://wxpay/bizpayurl?")
    await desk.sign_in("seller-rival")

    foreign = await desk.ask("GET", f"/stalls/{desk.stall_id}/renewals/code", by="seller-rival")
    missing = await desk.ask("GET", "/stalls/999/renewals/code", by="seller-rival")
    too_long = await desk.ask("GET", f"/stalls/{desk.stall_id}/renewals/qr.png?months=37")

    assert (foreign.status_code, foreign.json()["code"]) == (404, "stall.not_found")
    assert foreign.json() | {"request_id": ""} == missing.json() | {"request_id": ""}
    assert (too_long.status_code, too_long.json()["code"]) == (400, "query.invalid")


async def test_without_wechat_pay_there_is_no_code_and_no_scan(
    settings: dict[str, str], clock: Clock, desk: Desk
) -> None:
    await desk.app.stop()
    desk.settings = {k: v for k, v in settings.items() if "WECHATPAY__" not in k}
    await desk.open()

    answer = await desk.ask("GET", f"/stalls/{desk.stall_id}/renewals/code")
    async with httpx.AsyncClient(trust_env=False) as caller:
        scan = await caller.post(f"http://127.0.0.1:{desk.app.port}{PATH}", content=b"<xml/>")

    assert (answer.status_code, answer.json()["code"]) == (503, "payments.unavailable")
    assert scan.status_code == 404
    assert fields_of(scan.content)["return_code"] == "FAIL"
