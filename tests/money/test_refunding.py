"""Finance sends money back, and the months go with it."""

import asyncio

from tests.money.desk import MONTHS, PRICE_FEN, Desk


async def test_a_full_refund_takes_the_months_back(desk: Desk) -> None:
    number = await desk.paid(3)

    answer = await desk.refund(number, 3 * PRICE_FEN)
    await desk.settle()

    assert (answer.status_code, answer.json()["status"]) == (201, "requested")
    assert await desk.months() == MONTHS
    assert (await desk.payment(number))["debt_state"] == "refunded"
    await desk.agree()


async def test_a_seller_sends_nothing_back(desk: Desk) -> None:
    number = await desk.paid(3)

    answer = await desk.refund(number, PRICE_FEN, by="seller-wang")

    assert answer.status_code == 403
    assert desk.wechat.pay.refunds.all == {}


async def test_above_the_limit_two_persons_are_needed(desk: Desk) -> None:
    number = await desk.paid(20)
    asked = (await desk.refund(number, 20 * PRICE_FEN)).json()
    path, why = f"/admin/refunds/{asked['out_refund_no']}/approve", {"reason": "seen"}
    await desk.settle()
    assert (asked["status"], desk.wechat.pay.refunds.all) == ("waiting", {})

    same = await desk.ask("POST", path, why, by="admin-li")
    other = await desk.ask("POST", path, why, by="admin-zhao")
    await desk.settle()

    assert (same.status_code, same.json()["code"]) == (403, "refunds.same_person")
    assert (other.status_code, other.json()["status"]) == (200, "requested")
    assert await desk.months() == MONTHS
    await desk.agree()


async def test_the_same_key_fifty_times_at_once_is_one_refund(desk: Desk) -> None:
    number = await desk.paid(3)

    answers = await asyncio.gather(*(desk.refund(number, PRICE_FEN, key="back") for _ in range(50)))
    await desk.settle()

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len(desk.wechat.pay.refunds.all) == 1
    assert await desk.months() == MONTHS + 2
    other = await desk.refund(number, 2 * PRICE_FEN, key="back")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.key_reused")
    await desk.agree()


async def test_more_than_was_paid_does_not_go_back(desk: Desk) -> None:
    number = await desk.paid(3)
    await desk.refund(number, 2 * PRICE_FEN)

    answer = await desk.refund(number, 2 * PRICE_FEN)

    assert (answer.status_code, answer.json()["code"]) == (422, "refunds.too_much")
