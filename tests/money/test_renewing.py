"""A seller renews: from the choice of months to the receipt, over HTTP."""

import asyncio
import hashlib
import hmac
import io

import pytest
import segno
from PIL import Image

from simulators.wechat import SELLER_APPID
from simulators.wechat.pay.merchant import API_V2_KEY
from tests.money.desk import MONTHS, PRICE_FEN, Desk


def modules_of(png: bytes) -> list[list[bool]]:
    """The code's modules as a camera takes them: the middle of each, dark or light."""
    picture = Image.open(io.BytesIO(png)).convert("L").point(lambda shade: 255 * (shade < 128))
    box = picture.getbbox()
    assert box is not None
    code = picture.crop(box)
    # A finder pattern is seven modules wide, and stands in the corner.
    row = [code.getpixel((x, 0)) for x in range(code.width)]
    module = row.index(0) // 7
    count = code.width // module
    middles = [module * index + module // 2 for index in range(count)]
    return [[code.getpixel((x, y)) == 255 for x in middles] for y in middles]


@pytest.mark.parametrize("options", ["", "?size=400&level=H&foreground=%23003366"])
async def test_the_code_in_the_picture_is_the_one_that_wechat_gave(
    desk: Desk, options: str
) -> None:
    order = await desk.order()

    answer = await desk.ask("GET", f"/payments/{order['out_trade_no']}/qr.png{options}")

    level = "H" if options else "L"
    wanted = segno.make_qr(order["code_url"], error=level, boost_error=False)
    assert answer.headers["content-type"] == "image/png"
    assert modules_of(answer.content) == [[bool(dark) for dark in row] for row in wanted.matrix]


async def test_a_scanned_and_paid_code_brings_the_months_and_a_receipt(desk: Desk) -> None:
    order = await desk.order(3)
    assert order["amount_fen"] == 3 * PRICE_FEN
    assert await desk.months() == MONTHS

    await desk.scan(order["code_url"])

    receipt = await desk.payment(order["out_trade_no"])
    assert await desk.months() == MONTHS + 3
    assert (receipt["is_paid"], receipt["state"], receipt["debt_state"]) == (
        True, "success", "paid"
    )  # fmt: skip
    assert receipt["amount_fen"] == 3 * PRICE_FEN
    assert [thanked for _, thanked, _ in desk.answers_to(order["out_trade_no"])] == [True]
    await desk.agree()


async def test_the_second_signature_opens_the_pay_box(desk: Desk) -> None:
    order = await desk.order(2, trade_type="JSAPI")
    box = order["wx_request_payment"]
    # The phone adds the appid of the program that it runs.
    given = {"appId": SELLER_APPID, **{name: box[name] for name in box if name != "paySign"}}
    text = "&".join(f"{name}={given[name]}" for name in sorted(given)) + f"&key={API_V2_KEY}"
    sign = hmac.new(API_V2_KEY.encode(), text.encode(), hashlib.sha256).hexdigest().upper()

    await desk.sim("box", {**given, "paySign": box["paySign"], "openid": "seller-wang"})

    assert set(box) == {"timeStamp", "nonceStr", "package", "signType", "paySign"}
    assert (box["signType"], box["paySign"]) == ("HMAC-SHA256", sign)
    assert await desk.months() == MONTHS + 2
    await desk.agree()


async def test_a_notice_that_is_repeated_by_hand_changes_nothing(desk: Desk) -> None:
    number = await desk.paid()
    before = await desk.rows()

    for _ in range(3):
        await desk.sim("notify/again", {"subject": number})

    assert await desk.rows() == before
    assert [thanked for _, thanked, _ in desk.answers_to(number)] == [True] * 4


async def test_the_same_key_fifty_times_at_once_is_one_order(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.renew(3, key="tap") for _ in range(50)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len(desk.wechat.pay.orders.all) == 1
    rows = await desk.rows()
    assert [len(rows[name]) for name in ("debts", "payment_attempts", "stall_purchases")] == [1] * 3
    other = await desk.renew(4, key="tap")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.key_reused")


async def test_a_server_that_was_restarted_in_between_takes_the_money(desk: Desk) -> None:
    order = await desk.order(3)
    await desk.restart()

    await desk.scan(order["code_url"])

    assert await desk.months() == MONTHS + 3
    await desk.agree()


async def test_money_that_came_while_the_server_was_away_is_told_again(desk: Desk) -> None:
    order = await desk.order(3)
    await desk.app.stop()
    await desk.scan(order["code_url"])
    await desk.open()
    assert await desk.months() == MONTHS

    await desk.turn(seconds=16)

    assert await desk.months() == MONTHS + 3
    await desk.agree()
