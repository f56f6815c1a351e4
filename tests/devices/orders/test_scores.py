"""Orders paid by Payscore: asked for once, lowered while WeChat deducts, never paid twice."""

from devices.orders.model import ChargeKind, ChargeState, Kind, Means, OrderState
from devices.sessions.model import State
from payments.gateway import Refunded, RefundState
from payments.model import RefundStatus
from payments.refunds import store as refund_store
from payments.scores.model import ScorePhase, Wanted
from payments.wechat.payscore_model import Phase
from tests.devices.orders.shop import BUYER, Shop, by

COLAS = {"cola": 2}


async def arrived(shop: Shop, refund: dict[str, object]) -> None:
    """WeChat says that a deduction's refund is done."""
    found = Refunded(
        out_refund_no=str(refund["out_refund_no"]),
        state=RefundState.SUCCESS,
        refund_fen=int(str(refund["amount_fen"])),
        refunded_at=shop.clock.now(),
    )
    number = found.out_refund_no
    await shop.db.write(refund_store.settle, number, found, shop.payments.rules.actions)


async def test_the_fee_is_asked_for_and_then_deducted(shop: Shop) -> None:
    session = await shop.visit(pay_with="wechat")

    await shop.told(session, COLAS)

    order = await shop.order(session)
    assert (order.state, order.due_fen, order.paid_fen) == (OrderState.CHARGING, 700, 0)
    assert (await shop.session(session)).state is State.SETTLING
    score = await shop.score(session)
    assert (score.wanted, score.fee_fen) == (Wanted.COMPLETE, 700)
    assert [(line.description, line.amount_fen) for line in score.fee.lines] == [("Cola ×2", 700)]
    assert await shop.orders.unpaid(BUYER) == []
    assert await shop.confirmed() == []

    await shop.deduct(session)

    order = await shop.order(session)
    assert (order.state, order.paid_fen, order.wechat_fen) == (OrderState.PAID, 700, 700)
    (charge,) = await shop.charges(order)
    assert (charge.means, charge.state) == (Means.SCORE, ChargeState.DONE)
    assert (await shop.session(session)).state is State.PAID
    assert await shop.sold(order) == {"cola": (2, 700)}
    assert await shop.confirmed() == [("paid", 1, 700, 700)]


async def test_nothing_taken_cancels_it(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")

    await one_shop.told(session, {})

    assert (await one_shop.order(session)).state is OrderState.EMPTY
    assert (await one_shop.score(session)).wanted is Wanted.CANCEL
    assert (await one_shop.session(session)).state is State.NO_PURCHASE


async def test_a_review_leaves_it_open(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")

    await one_shop.told(session, COLAS, total_fen=1)

    score = await one_shop.score(session)
    assert (score.wanted, score.phase) == (Wanted.NOTHING, ScorePhase.RUNNING)


async def test_less_is_asked_for_while_it_is_deducted(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")
    await one_shop.told(session, {"cola": 2, "tea": 1})

    await one_shop.told(session, COLAS, 2)

    order = await one_shop.order(session)
    assert (order.state, order.due_fen, order.kind) == (OrderState.CHARGING, 700, Kind.CORRECTED)
    assert (await one_shop.score(session)).fee_fen == 700
    (charge,) = await one_shop.charges(order)
    assert (charge.amount_fen, charge.state) == (700, ChargeState.PENDING)
    score = await one_shop.score(session)
    await one_shop.hears(one_shop.found(score.out_order_no, Phase.COLLECTING, 700))
    await one_shop.deduct(session, 700)

    order = await one_shop.order(session)
    assert (order.state, order.paid_fen, order.refunded_fen) == (OrderState.PAID, 700, 0)
    assert await one_shop.rows("refunds") == []


async def test_what_was_deducted_before_it_heard_of_less_goes_back_once(shop: Shop) -> None:
    session = await shop.visit(pay_with="wechat")
    await shop.told(session, {"cola": 2, "tea": 1})
    await shop.told(session, COLAS, 2)

    await shop.deduct(session, 1_200)

    order = await shop.order(session)
    (refund,) = await shop.rows("refunds")
    assert (refund["amount_fen"], refund["status"]) == (500, RefundStatus.REQUESTED)
    assert (order.state, order.paid_fen, order.refunded_fen) == (OrderState.PAID, 1_200, 0)
    await shop.parcels()
    assert len(await shop.rows("refunds")) == 1

    await arrived(shop, refund)

    order = await shop.order(session)
    assert (order.paid_fen, order.refunded_fen, order.state) == (1_200, 500, OrderState.PAID)
    capture, back = await shop.charges(order)
    assert (capture.amount_fen, back.amount_fen, back.state) == (1_200, 500, ChargeState.DONE)
    assert back.refund_no == refund["out_refund_no"]
    assert await shop.sold(order) == {"cola": (2, 700)}


async def test_nothing_left_of_it_while_it_is_deducted(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")
    await one_shop.told(session, COLAS)

    await one_shop.told(session, {}, 2)

    order = await one_shop.order(session)
    assert order.state is OrderState.EMPTY
    assert (await one_shop.score(session)).fee_fen == 0
    (charge,) = await one_shop.charges(order)
    assert charge.state is ChargeState.CANCELLED
    assert (await one_shop.session(session)).state is State.NO_PURCHASE

    # Deducted all the same: nobody needs it, so it goes back, whole and once.
    await one_shop.deduct(session, 700)

    (refund,) = await one_shop.rows("refunds")
    assert refund["amount_fen"] == 700
    order = await one_shop.order(session)
    assert (order.state, order.paid_fen) == (OrderState.EMPTY, 0)


async def test_a_lower_revision_after_payment_sends_the_difference_back(shop: Shop) -> None:
    session = await shop.visit(pay_with="wechat")
    await shop.told(session, {"cola": 2, "tea": 1})
    await shop.deduct(session)

    await shop.told(session, COLAS, 2)
    await shop.told(session, COLAS, 2)

    order = await shop.order(session)
    (refund,) = await shop.rows("refunds")
    assert (refund["amount_fen"], refund["out_refund_no"]) == (500, f"CO{order.id}R1")
    assert (order.kind, order.state, order.refunded_fen) == (Kind.CORRECTED, OrderState.PAID, 0)

    await arrived(shop, refund)

    order = await shop.order(session)
    assert (order.refunded_fen, order.net_fen) == (500, 700)
    assert await shop.sold(order) == {"cola": (2, 700)}
    assert (await shop.confirmed())[-1] == ("corrected", 2, 700, 700)


async def test_more_while_it_is_deducted_is_a_supplement(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")
    await one_shop.told(session, COLAS)

    await one_shop.told(session, {"cola": 2, "tea": 1}, 2)

    main, supplement = await one_shop.chain(session)
    assert (main.state, main.due_fen) == (OrderState.CHARGING, 700)
    assert (supplement.state, supplement.due_fen) == (OrderState.UNPAID, 500)
    assert await one_shop.charges(supplement) == []
    assert (await one_shop.score(session)).fee_fen == 700

    await one_shop.deduct(session)

    main, supplement = await one_shop.chain(session)
    assert (main.state, supplement.state) == (OrderState.PAID, OrderState.UNPAID)
    assert (await one_shop.confirmed())[-1] == ("unpaid", 2, 1_200, 700)


async def test_without_a_score_it_is_the_buyers_to_pay(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")
    await one_shop.execute("UPDATE door_sessions SET score_no = ''")

    await one_shop.told(session, COLAS)

    order = await one_shop.order(session)
    (charge,) = await one_shop.charges(order)
    assert (order.state, charge.state) == (OrderState.UNPAID, ChargeState.FAILED)
    assert charge.reason == "there is no Payscore order"


async def test_a_score_that_is_over_cannot_be_asked(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")
    score = await one_shop.score(session)
    await one_shop.hears(one_shop.found(score.out_order_no, Phase.EXPIRED))

    await one_shop.told(session, COLAS)

    order = await one_shop.order(session)
    (charge,) = await one_shop.charges(order)
    assert (order.state, charge.state) == (OrderState.UNPAID, ChargeState.FAILED)
    assert charge.reason.startswith("Payscore: payments.score_over")


async def test_a_score_that_nobody_knows_cannot_be_asked(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")
    await one_shop.execute("UPDATE door_sessions SET score_no = 'gone'")

    await one_shop.told(session, COLAS)

    assert (await one_shop.order(session)).state is OrderState.UNPAID


async def test_a_score_that_ends_without_money_leaves_the_order_unpaid(shop: Shop) -> None:
    session = await shop.visit(pay_with="wechat")
    await shop.told(session, COLAS)
    score = await shop.score(session)

    await shop.hears(shop.found(score.out_order_no, Phase.CANCELLED))

    order = await shop.order(session)
    (charge,) = await shop.charges(order)
    assert (order.state, charge.state) == (OrderState.UNPAID, ChargeState.CANCELLED)
    assert (await shop.session(session)).state is State.UNPAID
    assert (await shop.confirmed())[-1] == ("unpaid", 1, 700, 0)


async def test_a_score_that_ends_before_there_was_an_order_is_nothing_to_us(
    one_shop: Shop,
) -> None:
    session = await one_shop.visit(pay_with="wechat")
    score = await one_shop.score(session)

    await one_shop.hears(one_shop.found(score.out_order_no, Phase.CANCELLED))

    assert (await one_shop.session(session)).state is State.CLOSED


async def test_a_refund_that_somebody_stops_stays_with_us_and_is_looked_at(shop: Shop) -> None:
    shop.start(rules=type(shop.rules)(two_person_above_fen=100))
    session = await shop.visit(pay_with="wechat")
    await shop.told(session, {"cola": 2, "tea": 1})
    await shop.deduct(session)
    await shop.told(session, COLAS, 2)
    (refund,) = await shop.rows("refunds")
    assert refund["status"] == RefundStatus.WAITING

    await shop.payments.reject_refund(refund["out_refund_no"], by=by(12), reason="no")
    assert await shop.orders.look_after() == "1 stopped"
    assert await shop.orders.look_after() == "0 stopped"

    order = await shop.order(session)
    _, back = await shop.charges(order)
    assert (back.kind, back.state) == (ChargeKind.REFUND, ChargeState.FAILED)
    assert (order.due_fen, order.net_fen) == (700, 1_200)
    assert await shop.exceptions() == [("abnormal", back.no)]
    # It is not asked for again by itself.
    await shop.told(session, COLAS, 3)
    assert len(await shop.rows("refunds")) == 1


async def test_what_finance_sends_back_past_us_is_let_off(shop: Shop) -> None:
    session = await shop.visit(pay_with="wechat")
    await shop.told(session, COLAS)
    await shop.deduct(session)
    score = await shop.score(session)

    await shop.payments.refund(
        score.out_order_no, amount_fen=200, reason="broken", by=by(12), key="f1"
    )
    (refund,) = await shop.rows("refunds")
    await arrived(shop, refund)

    order = await shop.order(session)
    assert (order.due_fen, order.net_fen, order.state) == (500, 500, OrderState.PAID)
    assert order.kind is Kind.NORMAL
    last = (await shop.revisions(order))[-1]
    assert (last.source, last.body.allowance_fen) == ("staff:12", 200)
    assert await shop.sold(order) == {"cola": (2, 500)}


async def test_what_is_not_there_any_more_is_for_a_person(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")
    await one_shop.told(session, {"cola": 2, "tea": 1})
    await one_shop.deduct(session)
    score = await one_shop.score(session)
    await one_shop.payments.refund(
        score.out_order_no, amount_fen=1_000, reason="broken", by=by(12), key="f1"
    )

    # Of 1,200 there are 200 left, and 500 are to go back.
    await one_shop.told(session, COLAS, 2)

    order = await one_shop.order(session)
    assert await one_shop.exceptions() == [("abnormal", f"{order.no}:back")]
    assert len(await one_shop.rows("refunds")) == 1

    (refund,) = await one_shop.rows("refunds")
    await arrived(one_shop, refund)

    order = await one_shop.order(session)
    # Half of it was owed anyway, and the other half is let off.
    assert (order.due_fen, order.net_fen) == (200, 200)
