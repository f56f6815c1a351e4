"""A door that is paid for afterwards: from the scan to the deduction, and back."""

import pytest

from payments.model import AttemptState, DebtState, RefundStatus
from payments.scores import store
from payments.scores.model import (
    ScoreConflict,
    ScoreLine,
    ScoreNotFound,
    ScoreOver,
    ScorePhase,
    ScoreTooMuch,
    Wanted,
)
from simulators.wechat import DINER_APPID
from simulators.wechat.pay.score import CREATED_LIFE_S
from tests.payments.scores.market import (
    CHARGE,
    CLERK,
    DINER,
    DOOR,
    FEE_FEN,
    OPENID,
    RISK_FEN,
    Market,
)


async def test_confirmed_by_the_user_completed_and_deducted(market: Market) -> None:
    number = await market.begin()
    opening = await market.scores.open(number)
    assert not opening.is_confirmed
    assert opening.view is not None
    assert opening.view["businessType"] == "wxpayScoreUse"
    assert (await market.score(number)).phase is ScorePhase.CREATED

    await market.confirm(number)
    assert (await market.scores.open(number)).is_confirmed
    await market.pass_time(40)
    debt = await market.complete(number)
    assert debt is not None
    assert (debt.state, debt.amount_fen, debt.kind) == (DebtState.UNPAID, FEE_FEN, CHARGE)
    assert (await market.attempt(number)).state is AttemptState.CREATED
    await market.scores.push_due()
    await market.idle()

    score = await market.score(number)
    assert (score.phase, score.wanted, score.next_at) == (ScorePhase.PAID, Wanted.NOTHING, None)
    assert (await market.debt(number)).state is DebtState.PAID
    assert await market.notes() == {"confirmed": 1, f"paid {FEE_FEN}": 1, "over paid": 1}
    order = market.at_wechat(number)
    assert [fee.name for fee in order.post_payments] == ["商品信息", "商品信息"]
    assert [fee.description for fee in order.post_payments] == ["可乐 330ml ×2", "薯片"]
    assert order.created.post_payments == []
    assert order.created.device is not None
    await market.agrees(FEE_FEN)


async def test_a_service_that_has_hardly_begun_ends_a_little_later(market: Market) -> None:
    """As when a cabinet that was cut off tells at once that its door was opened and closed."""
    number = await market.begin()
    await market.scores.open(number)
    await market.confirm(number)
    await market.complete(number, started_at=market.now(), ended_at=market.now())
    await market.scores.push_due()
    assert (await market.score(number)).phase is ScorePhase.RUNNING

    await market.pass_time(6)
    await market.scores.push_due()
    await market.idle()

    assert (await market.score(number)).phase is ScorePhase.PAID
    await market.agrees(FEE_FEN)


async def test_the_view_is_one_that_wechat_opens(market: Market) -> None:
    opening = await market.scores.open(await market.begin())

    assert opening.view is not None
    data = {"extra_data": opening.view["extraData"], "openid": OPENID}
    answer = await market.control("score/confirm", data)

    assert answer["state"] == "DOING"
    await market.idle()
    assert (await market.score(opening.out_order_no)).phase is ScorePhase.RUNNING
    detail = await market.scores.detail_view(opening.out_order_no)
    assert detail["businessType"] == "wxpayScoreDetail"


async def test_one_thing_is_begun_once(market: Market) -> None:
    first = await market.begin(5)

    assert await market.begin(5) == first
    assert await market.begin(6) != first
    assert (await market.db.read(store.score_of, DOOR, 5)).out_order_no == first  # type: ignore[union-attr]
    assert await market.db.read(store.score_of, DOOR, 99) is None


async def test_whoever_has_permitted_it_confirms_nothing(market: Market) -> None:
    await market.permit()

    number = await market.begin()
    opening = await market.scores.open(number)

    assert (opening.is_confirmed, opening.view) == (True, None)
    assert not market.at_wechat(number).created.need_user_confirm
    assert await market.notes() == {"confirmed": 1}
    # What WeChat says once more is no second confirmation.
    await market.scores.refresh(number)
    await market.scores.open(number)
    assert await market.notes() == {"confirmed": 1}


async def test_fee_0_ends_at_once_without_a_debt(market: Market) -> None:
    number = await market.running()

    assert await market.complete(number, 0) is None
    assert await market.complete(number, 0) is None
    await market.scores.push_due()

    assert (await market.score(number)).phase is ScorePhase.FREE
    assert market.at_wechat(number).state == "DONE"
    assert await market.notes() == {"confirmed": 1, "over free": 1}
    await market.agrees(0)


async def test_the_same_fee_again_is_the_same_debt_and_another_is_refused(market: Market) -> None:
    number = await market.running()

    first, again = await market.complete(number), await market.complete(number)
    with pytest.raises(ScoreConflict):
        await market.complete(number, FEE_FEN - 1)

    assert first == again
    assert len(await market.rows("debts")) == 1


@pytest.mark.parametrize("fee_fen", [RISK_FEN + 1, -1])
async def test_a_fee_that_was_not_agreed_to_is_refused(market: Market, fee_fen: int) -> None:
    number = await market.running()

    with pytest.raises((ScoreTooMuch, ScoreConflict)):
        await market.complete(number, fee_fen)
    with pytest.raises(ScoreConflict):
        await market.complete(number, 5, lines=(ScoreLine("可乐", 4),))

    assert await market.rows("debts") == []


async def test_nothing_is_asked_of_what_has_not_begun_or_is_over(market: Market) -> None:
    number = await market.begin()
    with pytest.raises(ScoreConflict):
        await market.complete(number)
    with pytest.raises(ScoreConflict):
        await market.less(number)
    with pytest.raises(ScoreConflict):
        await market.db.write(store.paid_outside, number, market.now())
    await market.db.write(store.want_cancel, number, "没买")
    with pytest.raises(ScoreOver):
        await market.complete(number)
    with pytest.raises(ScoreOver):
        await market.scores.open(number)
    with pytest.raises(ScoreNotFound):
        await market.scores.refresh("S-none")

    # It never reached WeChat.
    assert number not in market.wechat.pay.score.all
    await market.agrees(0)


async def test_more_than_a_hundred_lines_become_a_hundred(market: Market) -> None:
    number = await market.running()
    lines = [
        ScoreLine(f"很长很长很长很长很长很长很长很长的商品名称 {n:03d}", 10) for n in range(130)
    ]

    await market.complete(number, 1_300, lines=lines)
    await market.scores.push_due()

    order = market.at_wechat(number)
    assert order.total_amount == 1_300
    assert len(order.post_payments) == 100
    assert order.post_payments[-1].description == "其他 31 种"
    assert all(len(fee.description) <= 30 for fee in order.post_payments)


# ---------------------------------------------------------------- without money


async def test_cancelled_while_it_runs(market: Market) -> None:
    number = await market.running()

    for _ in range(2):
        await market.db.write(store.want_cancel, number, "未消费")
    with pytest.raises(ScoreOver):
        await market.complete(number)
    with pytest.raises(ScoreOver):
        await market.scores.open(number)
    await market.scores.push_due()

    assert market.at_wechat(number).state == "REVOKED"
    assert await market.notes() == {"confirmed": 1, "over cancelled": 1}
    await market.db.write(store.want_cancel, number, "未消费")
    assert (await market.score(number)).wanted is Wanted.NOTHING


async def test_no_order_is_cancelled_once_a_fee_was_asked_for(market: Market) -> None:
    number = await market.collecting()

    with pytest.raises(ScoreConflict):
        await market.db.write(store.want_cancel, number, "未消费")


async def test_cancelled_before_the_user_confirms(market: Market) -> None:
    number = await market.begin()
    await market.scores.open(number)

    await market.db.write(store.want_cancel, number, "走了")
    await market.scores.push_due()

    assert market.at_wechat(number).state == "REVOKED"
    assert await market.notes() == {"over cancelled": 1}


async def test_what_wechat_will_not_cancel_expires_by_itself(market: Market) -> None:
    """The documents contradict each other: both ways end without money."""
    market.wechat.pay.settings.created_cannot_cancel = True
    number = await market.begin()
    await market.scores.open(number)
    await market.db.write(store.want_cancel, number, "走了")

    await market.scores.push_due()
    assert (await market.score(number)).phase is ScorePhase.CREATED
    await market.settle(times=3)
    await market.pass_time(CREATED_LIFE_S)
    await market.scores.push_due()

    assert (await market.score(number)).phase is ScorePhase.EXPIRED
    assert await market.notes() == {"over expired": 1}
    assert await market.kinds() == []


async def test_confirmed_after_it_was_given_up_it_is_cancelled_then(market: Market) -> None:
    market.wechat.pay.settings.created_cannot_cancel = True
    number = await market.begin()
    await market.scores.open(number)
    await market.db.write(store.want_cancel, number, "走了")
    await market.scores.push_due()

    await market.confirm(number)
    await market.scores.push_due()

    assert market.at_wechat(number).state == "REVOKED"
    # Nobody was told that it runs: no door opens.
    assert await market.notes() == {"over cancelled": 1}


async def test_nobody_confirms_for_thirty_days(market: Market) -> None:
    number = await market.begin()
    await market.scores.open(number)

    await market.pass_time(CREATED_LIFE_S - 60)
    await market.scores.push_due()
    assert (await market.score(number)).phase is ScorePhase.CREATED
    await market.pass_time(6 * 3600)
    await market.scores.push_due()

    assert (await market.score(number)).phase is ScorePhase.EXPIRED
    assert await market.notes() == {"over expired": 1}
    assert (await market.scores.refresh(number)).phase is ScorePhase.EXPIRED


async def test_a_fee_asked_of_what_is_never_confirmed_stays_owed(market: Market) -> None:
    number = await market.begin()
    await market.scores.open(number)
    await market.pass_time(60)
    await market.complete(number)
    await market.scores.push_due()
    assert (await market.score(number)).wanted is Wanted.COMPLETE
    assert await market.kinds() == [store.STUCK]

    await market.pass_time(CREATED_LIFE_S)
    await market.scores.push_due()

    assert (await market.score(number)).phase is ScorePhase.EXPIRED
    assert (await market.attempt(number)).state is AttemptState.CLOSED
    assert (await market.debt(number)).state is DebtState.UNPAID
    assert await market.kinds() == []
    await market.agrees(0)


# ---------------------------------------------------------------- less


async def test_lowered_while_wechat_is_collecting(market: Market) -> None:
    number = await market.collecting()

    assert await market.less(number)
    assert await market.less(number)
    with pytest.raises(ScoreTooMuch):
        await market.less(number, 701)
    await market.scores.push_due()
    assert market.at_wechat(number).total_amount == 700
    assert (await market.debt(number)).amount_fen == 700
    market.deducts()
    await market.pass_time(3600)

    assert (await market.score(number)).phase is ScorePhase.PAID
    assert await market.notes() == {"confirmed": 1, "paid 700": 1, "over paid": 1}
    await market.agrees(700)


async def test_lowered_before_the_fee_has_reached_wechat(market: Market) -> None:
    number = await market.running()
    market.wechat.pay.settings.deduct_takes_s = 60
    await market.complete(number)

    await market.less(number)
    await market.scores.push_due()

    assert market.at_wechat(number).total_amount == 700
    await market.pass_time(60)
    await market.agrees(700)


async def test_lowered_to_nothing(market: Market) -> None:
    number = await market.collecting()

    await market.less(number, 0)
    await market.scores.push_due()

    assert (await market.score(number)).phase is ScorePhase.FREE
    assert (await market.debt(number)).state is DebtState.CANCELLED
    assert (await market.attempt(number)).state is AttemptState.CLOSED
    assert await market.notes() == {"confirmed": 1, "cancelled": 1, "over free": 1}
    await market.agrees(0)


async def test_deducted_before_it_was_lowered_the_difference_goes_back(market: Market) -> None:
    number = await market.collecting()
    market.deducts()
    await market.less(number)

    await market.pass_time(3600)
    assert (await market.score(number)).phase is ScorePhase.PAID
    assert not await market.less(number, 100)
    await market.settle()

    (refund,) = await market.payments.refunds(number)
    assert (refund.amount_fen, refund.status) == (500, RefundStatus.SUCCESS)
    assert await market.notes() == {
        "confirmed": 1, f"paid {FEE_FEN}": 1, "over paid": 1, "back 500": 1
    }  # fmt: skip
    await market.agrees(700)


# ---------------------------------------------------------------- paid otherwise


async def test_paid_outside_wechat_deducts_nothing(market: Market) -> None:
    number = await market.collecting()

    assert await market.db.write(store.paid_outside, number, market.now())
    assert await market.db.write(store.paid_outside, number, market.now())
    await market.scores.push_due()
    market.deducts()
    await market.pass_time(7200)

    order = market.at_wechat(number)
    assert (order.state, order.paid_type) == ("DONE", "MCH")
    assert (await market.score(number)).phase is ScorePhase.PAID
    assert (await market.debt(number)).state is DebtState.CANCELLED
    assert (await market.attempt(number)).state is AttemptState.CLOSED
    assert not await market.db.write(store.paid_outside, number, market.now())
    await market.agrees(0)


async def test_paid_outside_and_deducted_one_side_goes_back(market: Market) -> None:
    number = await market.collecting()
    market.deducts()
    await market.db.write(store.paid_outside, number, market.now())

    # WeChat deducts before it hears of it.
    await market.pass_time(3600)
    await market.settle()

    (refund,) = await market.payments.refunds(number)
    assert (refund.amount_fen, refund.status) == (FEE_FEN, RefundStatus.SUCCESS)
    assert market.at_wechat(number).paid_type == "NEWTON"
    await market.agrees(0)


async def test_paid_outside_before_the_fee_has_reached_wechat(market: Market) -> None:
    number = await market.running()
    market.wechat.pay.settings.deduct_takes_s = 60
    await market.complete(number)

    await market.db.write(store.paid_outside, number, market.now())
    await market.scores.push_due()
    await market.pass_time(60)

    assert market.at_wechat(number).paid_type == "MCH"
    await market.agrees(0)


async def test_deducted_first_the_caller_is_told(market: Market) -> None:
    number = await market.paid()

    assert not await market.db.write(store.paid_outside, number, market.now())

    await market.agrees(FEE_FEN)


async def pay_by_hand(market: Market, number: str) -> str:
    """The diner pays the same debt with wx.requestPayment; the number of that."""
    debt = await market.debt(number)
    request = await market.payments.pay(
        debt.id,
        trade_type="JSAPI",
        openid=OPENID,
        client_ip="10.0.0.1",
        key="",
        appid=DINER_APPID,
    )
    order = market.wechat.pay.orders.find({"out_trade_no": request.out_trade_no})
    market.wechat.pay.pay(order, OPENID)
    return request.out_trade_no


async def test_the_same_debt_paid_by_hand_ends_the_collecting(market: Market) -> None:
    number = await market.collecting()

    by_hand = await pay_by_hand(market, number)
    await market.idle()
    assert (await market.debt(number)).state is DebtState.PAID
    await market.scores.push_due()
    market.deducts()
    await market.pass_time(7200)

    assert market.at_wechat(number).paid_type == "MCH"
    assert (await market.attempt(by_hand)).state is AttemptState.SUCCESS
    assert (await market.attempt(number)).state is AttemptState.CLOSED
    assert await market.notes() == {"confirmed": 1, f"paid {FEE_FEN}": 1, "over paid": 1}
    await market.agrees(FEE_FEN)


async def test_paid_by_hand_and_deducted_one_side_goes_back(market: Market) -> None:
    number = await market.collecting()
    market.deducts()

    by_hand = await pay_by_hand(market, number)
    await market.pass_time(3600)
    await market.settle()

    back = await market.payments.refunds(number) + await market.payments.refunds(by_hand)
    assert [refund.amount_fen for refund in back] == [FEE_FEN]
    assert await market.notes() == {"confirmed": 1, f"paid {FEE_FEN}": 1, "over paid": 1}
    await market.agrees(FEE_FEN)


async def test_paid_by_hand_what_was_lowered_meanwhile_goes_back(market: Market) -> None:
    """Of two demands at once only the one for what is due now can pay."""
    number = await market.collecting()
    debt = await market.debt(number)
    request = await market.payments.pay(
        debt.id, trade_type="NATIVE", openid="", client_ip="10.0.0.1", key=""
    )
    await market.less(number)
    await market.scores.push_due()

    order = market.wechat.pay.orders.find({"out_trade_no": request.out_trade_no})
    market.wechat.pay.pay(order, OPENID)
    await market.idle()
    market.deducts()
    await market.pass_time(3600)
    await market.settle()

    assert (await market.debt(number)).state is DebtState.PAID
    (refund,) = await market.payments.refunds(request.out_trade_no)
    assert refund.amount_fen == FEE_FEN
    await market.agrees(700)


async def test_tickets_and_a_payment_by_hand_at_once(market: Market) -> None:
    """The open payment is closed, or comes first and goes back."""
    number = await market.collecting()
    debt = await market.debt(number)
    await market.payments.pay(debt.id, trade_type="NATIVE", openid="", client_ip="10.0.0.1", key="")
    for _ in range(2):
        assert await market.db.write(store.paid_outside, number, market.now())
    assert (await market.debt(number)).cancel_asked_at is not None

    await market.settle(times=3)

    assert (await market.debt(number)).state is DebtState.CANCELLED
    assert market.at_wechat(number).paid_type == "MCH"
    await market.agrees(0)


async def test_a_cancelled_debt_is_collected_no_more(market: Market) -> None:
    number = await market.collecting()
    debt = await market.debt(number)

    await market.payments.cancel(debt.id)
    await market.payments.cancel(debt.id)
    assert (await market.debt(number)).state is DebtState.UNPAID
    await market.scores.push_due()

    assert (await market.debt(number)).state is DebtState.CANCELLED
    assert (await market.score(number)).phase is ScorePhase.FREE
    await market.agrees(0)


# ---------------------------------------------------------------- refunds, bill, people


async def test_a_deduction_goes_back_by_its_transaction_over_version_3(market: Market) -> None:
    number = await market.paid()

    await market.payments.refund(number, amount_fen=300, reason="坏了", by=CLERK, key="r")
    await market.settle(times=2)

    (refund,) = await market.payments.refunds(number)
    assert refund.status is RefundStatus.SUCCESS
    assert (await market.notes())["back 300"] == 1
    calls = {call.endpoint for call in market.wechat.pay.calls}
    assert {"v3.refund", "v3.refund_query"} <= calls
    assert not {"refund", "refundquery"} & calls
    await market.agrees(FEE_FEN - 300)


async def test_the_bill_knows_deductions_and_their_refunds(market: Market) -> None:
    number = await market.paid()
    await market.payments.refund(number, amount_fen=300, reason="坏了", by=CLERK, key="r")
    await market.settle(times=1)

    await market.pass_time(24 * 3600)
    report = await market.payments.compare_bill(20261120)

    assert (report.payments, report.refunds, report.differences) == (1, 1, 0)


async def test_a_person_who_looks_asks_wechat_through_the_score(market: Market) -> None:
    market.deaf()
    number = await market.running_unheard()
    await market.complete(number)
    await market.scores.push_due()

    attempt, debt = await market.payments.refresh(number, payer_id=DINER)

    assert (attempt.state, debt.state) == (AttemptState.SUCCESS, DebtState.PAID)
    assert not {"orderquery"} & {call.endpoint for call in market.wechat.pay.calls}


async def test_the_reconciler_leaves_deductions_alone(market: Market) -> None:
    number = await market.collecting()

    for _ in range(20):
        await market.payments.settle_due()
        await market.pass_time(1800)

    assert (await market.attempt(number)).is_live
    assert not {"orderquery", "closeorder"} & {call.endpoint for call in market.wechat.pay.calls}
