"""What WeChat, the way to it, and those who pretend to be it may do wrong."""

import pytest

from simulators.wechat.pay.faults import NoticeFault
from tests.clock import Clock
from tests.money.desk import MONTHS, PRICE_FEN, Desk

FORGERIES: tuple[NoticeFault, ...] = (
    "forged_sign", "missing_sign", "no_return_code", "xxe", "nonsense", "signtest"
)  # fmt: skip


async def test_months_come_within_two_minutes_when_no_notice_does(desk: Desk) -> None:
    await desk.sim("notify/block", {"blocked": True})
    order = await desk.order(3)
    await desk.scan(order["code_url"])
    assert await desk.months() == MONTHS

    await desk.settle(minutes=2)

    assert await desk.months() == MONTHS + 3
    assert not any(thanked for _, thanked, _ in desk.answers_to(order["out_trade_no"]))
    await desk.agree()


async def test_a_right_signature_with_a_wrong_amount_pays_nothing(desk: Desk) -> None:
    order = await desk.order(3)
    number = order["out_trade_no"]
    desk.spoil("notify.pay", "tampered_amount")

    await desk.scan(order["code_url"])

    assert await desk.months() == MONTHS
    assert not (await desk.payment(number))["is_paid"]
    assert await desk.kinds() == (["payment.mismatch"], ["payment.mismatch"])
    assert [thanked for _, thanked, _ in desk.answers_to(number)] == [True]
    await desk.settle()
    assert await desk.months() == MONTHS + 3, "WeChat was asked, and told the true amount"
    await desk.agree()


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_what_is_not_wechats_is_refused_and_changes_nothing(
    desk: Desk, forgery: NoticeFault
) -> None:
    order = await desk.order(3)
    before = await desk.rows()
    desk.spoil("notify.pay", forgery)

    await desk.scan(order["code_url"])

    ((status, thanked, answer),) = desk.answers_to(order["out_trade_no"])
    assert (status, thanked) == (200, False)
    assert "root:" not in answer
    assert await desk.rows() == before
    await desk.turn(seconds=16)
    assert await desk.months() == MONTHS + 3, "the true one comes again"
    await desk.agree()


@pytest.mark.parametrize("forgery", ["signtest", "forged_sign", "old_timestamp", "unknown_serial"])
async def test_a_version_3_notice_that_is_not_wechats_is_refused(
    desk: Desk, forgery: NoticeFault
) -> None:
    number = await desk.paid(3)
    await desk.refund(number, PRICE_FEN)
    desk.spoil("notify.v3_refund", forgery)

    await desk.settle()

    refused = [notice for notice in desk.wechat.pay.notifier.all if notice.kind == "v3_refund"]
    assert [attempt.status for attempt in refused[0].attempts][:1] == [401]
    await desk.agree()


async def test_money_for_a_cancelled_debt_goes_back_by_itself_once(desk: Desk) -> None:
    order = await desk.order(3)
    number = order["out_trade_no"]
    _, debt = await desk.app.payments.payment(number)
    await desk.app.payments.cancel(debt.id)
    await desk.settle(minutes=6)
    assert (await desk.payment(number))["debt_state"] == "cancelled"

    await desk.sim("pay", {"out_trade_no": number, "even_closed": True})
    await desk.sim("notify/again", {"subject": number})
    await desk.settle(minutes=3)

    assert await desk.months() == MONTHS
    assert [refund.state for refund in desk.wechat.pay.refunds.all.values()] == ["SUCCESS"]
    assert desk.wechat.pay.ledger.sums()[number].left_fen == 0
    await desk.agree()


async def test_a_run_through_faults_ends_with_the_books_of_wechat(desk: Desk) -> None:
    paid, wanted = [], MONTHS
    for fault in ("drop", "duplicate", "reorder", "forged_sign", "tampered_amount", "delay"):
        desk.spoil("notify.pay", fault)
        order = await desk.order(2)
        await desk.scan(order["code_url"])
        paid.append(order["out_trade_no"])
        wanted += 2
    for fault in ("http_502", "drop", "nonsense", "forged_sign", "missing_sign"):
        desk.spoil("unifiedorder", fault, is_done=True)  # type: ignore[arg-type]
        key = next(desk.keys)
        answer = await desk.renew(1, key=key)
        if answer.status_code != 201:
            assert answer.json()["code"] == "payments.unknown"
            answer = await desk.renew(1, key=key)
        await desk.scan(answer.json()["code_url"])
        wanted += 1
    desk.spoil("orderquery", "http_502", times=3)
    desk.spoil("v3.*", "http_502", times=2)
    await desk.settle(minutes=3)
    back = [await desk.refund(paid[0], 2 * PRICE_FEN), await desk.refund(paid[1], PRICE_FEN)]
    assert [answer.status_code for answer in back] == [201, 201]

    await desk.settle(minutes=12)

    assert await desk.months() == wanted - 3
    await desk.agree()


async def test_numbers_work_where_nothing_can_be_paid(
    settings: dict[str, str], clock: Clock, desk: Desk
) -> None:
    await desk.app.stop()
    desk.settings = {k: v for k, v in settings.items() if "WECHATPAY__" not in k}
    await desk.open()

    answer = await desk.renew()
    number = await desk.ask("POST", f"/stalls/{desk.stall_id}/tickets", {}, key="n1")

    assert (answer.status_code, answer.json()["code"]) == (503, "payments.unavailable")
    assert number.status_code == 201
    assert await desk.months() == MONTHS
    await desk.agree()
