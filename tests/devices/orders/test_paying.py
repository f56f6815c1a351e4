"""What is open is paid by its buyer: in tickets, or by WeChat; one way at a time, and once."""

import pytest

from devices.orders.model import (
    ChargeState,
    Means,
    NothingToPay,
    OrderNotFound,
    OrderState,
    PaymentOpen,
    TicketsShort,
)
from devices.sessions.model import DoorSession, State
from payments.model import DebtCancelled, PaymentsStopped
from payments.scores.model import Wanted
from sql.alerts import clear_alert, raise_alert
from sql.idempotency import KeyReused
from tests.devices.orders.shop import BUYER, OTHER, Shop

COLAS = {"cola": 2}


async def unpaid(shop: Shop) -> DoorSession:
    """A session whose 100 of 700 fen were paid."""
    await shop.grant(500)
    session = await shop.visit()
    await shop.told(session, COLAS)
    return session


async def supplement(shop: Shop) -> DoorSession:
    """A session that was paid, and for which 500 fen more are due."""
    await shop.grant(3_500)
    session = await shop.visit()
    await shop.told(session, COLAS)
    await shop.told(session, {"cola": 2, "tea": 1}, 2)
    return session


async def test_a_remainder_is_paid_in_tickets(shop: Shop) -> None:
    session = await unpaid(shop)
    order = await shop.order(session)
    with pytest.raises(TicketsShort):
        await shop.pays(order, "ticket")
    assert await shop.order(session) == order

    await shop.grant(3_100, key="2")
    await shop.pays(order, "ticket")

    order = await shop.order(session)
    assert (order.state, order.paid_fen, order.tickets) == (OrderState.PAID, 700, 3_500)
    assert await shop.tickets() == 100
    assert (await shop.session(session)).state is State.PAID
    assert await shop.orders.unpaid(BUYER) == []
    assert await shop.sold(order) == {"cola": (2, 700)}
    assert (await shop.confirmed())[-1] == ("paid", 1, 700, 700)
    with pytest.raises(NothingToPay):
        await shop.pays(order, "ticket")


async def test_a_remainder_is_paid_by_wechat(shop: Shop) -> None:
    session = await unpaid(shop)
    order = await shop.order(session)

    number = await shop.pays(order)
    assert (await shop.order(session)).state is OrderState.UNPAID
    await shop.confirms(number)

    order = await shop.order(session)
    assert (order.state, order.paid_fen) == (OrderState.PAID, 700)
    assert (order.wechat_fen, order.tickets) == (600, 500)
    assert await shop.sold(order) == {"cola": (2, 700)}
    assert (await shop.session(session)).state is State.PAID


@pytest.mark.parametrize("means", ["ticket", "wechat"])
async def test_a_supplement_is_paid(one_shop: Shop, means: str) -> None:
    session = await supplement(one_shop)
    await one_shop.grant(2_500, key="2")
    main, more = await one_shop.chain(session)

    number = await one_shop.pays(more, means)
    if number:
        await one_shop.confirms(number)

    assert await one_shop.order(session) == main
    _, more = await one_shop.chain(session)
    assert (more.state, more.paid_fen) == (OrderState.PAID, 500)
    assert await one_shop.sold(more) == {"tea": (1, 500)}
    assert (await one_shop.confirmed())[-1] == ("corrected", 2, 1_200, 1_200)


async def test_it_goes_back_from_the_supplement_first(one_shop: Shop) -> None:
    session = await supplement(one_shop)
    await one_shop.grant(2_500, key="2")
    _, more = await one_shop.chain(session)
    await one_shop.pays(more, "ticket")

    await one_shop.told(session, {"cola": 1}, 3)

    main, more = await one_shop.chain(session)
    assert (main.due_fen, main.net_fen, more.due_fen, more.net_fen) == (350, 350, 0, 0)
    assert await one_shop.tickets() == 4_250
    assert await one_shop.sold(main) == {"cola": (1, 350)}
    assert await one_shop.sold(more) == {}


async def test_mixed_means_go_back_as_they_came(shop: Shop) -> None:
    session = await unpaid(shop)
    await shop.confirms(await shop.pays(await shop.order(session)))

    await shop.told(session, {}, 2)

    order = await shop.order(session)
    assert await shop.tickets() == 500
    (refund,) = await shop.rows("refunds")
    assert (refund["amount_fen"], refund["out_refund_no"]) == (600, f"CO{order.id}R1")
    await shop.refunds_arrive()
    order = await shop.order(session)
    assert (order.refunded_fen, order.net_fen, order.state) == (700, 0, OrderState.PAID)
    assert await shop.sold(order) == {}


async def test_another_buyers_order_is_not_there(one_shop: Shop) -> None:
    session = await unpaid(one_shop)
    order = await one_shop.order(session)

    for means in ("ticket", "wechat"):
        with pytest.raises(OrderNotFound):
            await one_shop.orders.pay(
                order.id, OTHER, means=means, openid="o", client_ip="", key=""
            )
    with pytest.raises(OrderNotFound):
        await one_shop.orders.own(order.id, OTHER)
    assert (await one_shop.orders.own(order.id, BUYER)).main == order
    assert await one_shop.rows("debts") == []


async def test_the_same_payment_is_given_again(one_shop: Shop) -> None:
    session = await unpaid(one_shop)
    order = await one_shop.order(session)

    first = await one_shop.pays(order, key="k")
    again = await one_shop.pays(order, key="k")
    other_key = await one_shop.pays(order, key="k2")

    assert first == again == other_key
    assert len(await one_shop.rows("debts")) == 1
    with pytest.raises(KeyReused):
        await one_shop.pays(order, "ticket", key="k")


async def test_tickets_are_taken_once_a_key(one_shop: Shop) -> None:
    session = await unpaid(one_shop)
    await one_shop.grant(9_000, key="2")
    order = await one_shop.order(session)

    await one_shop.pays(order, "ticket", key="k")
    await one_shop.pays(order, "ticket", key="k")

    assert await one_shop.tickets() == 6_000


async def test_another_way_waits_until_the_first_one_can_be_closed(shop: Shop) -> None:
    session = await unpaid(shop)
    await shop.grant(9_000, key="2")
    order = await shop.order(session)
    await shop.pays(order)

    with pytest.raises(PaymentOpen):
        await shop.pays(order, "ticket")
    shop.clock.advance(minutes=6)
    await shop.pays(order, "ticket")

    order = await shop.order(session)
    assert (order.state, order.wechat_fen) == (OrderState.PAID, 0)
    states = [(each.means, each.state) for each in await shop.charges(order)]
    assert states == [
        (Means.TICKET, ChargeState.DONE),
        (Means.TICKET, ChargeState.FAILED),
        (Means.WECHAT, ChargeState.CANCELLED),
        (Means.TICKET, ChargeState.DONE),
    ]


async def test_an_amount_that_has_changed_needs_another_payment(one_shop: Shop) -> None:
    session = await unpaid(one_shop)
    await one_shop.pays(await one_shop.order(session))
    await one_shop.told(session, {"cola": 1}, 2)

    with pytest.raises(PaymentOpen):
        await one_shop.pays(await one_shop.order(session))
    one_shop.clock.advance(minutes=6)
    await one_shop.parcels()
    await one_shop.confirms(await one_shop.pays(await one_shop.order(session)))

    order = await one_shop.order(session)
    assert (order.state, order.due_fen, order.wechat_fen) == (OrderState.PAID, 350, 250)


async def test_too_much_paid_by_hand_goes_back(shop: Shop) -> None:
    """The buyer was at WeChat's page already when the order became cheaper."""
    session = await unpaid(shop)
    number = await shop.pays(await shop.order(session))
    await shop.told(session, {"cola": 1}, 2)

    await shop.confirms(number)
    await shop.parcels()
    await shop.refunds_arrive()

    order = await shop.order(session)
    assert (order.state, order.paid_fen, order.refunded_fen) == (OrderState.PAID, 700, 350)
    assert await shop.sold(order) == {"cola": (1, 350)}


async def test_what_is_not_needed_any_more_goes_back_whole(shop: Shop) -> None:
    session = await unpaid(shop)
    number = await shop.pays(await shop.order(session))
    await shop.told(session, {"nuts": 1}, 2)

    await shop.confirms(number)
    await shop.refunds_arrive()

    order = await shop.order(session)
    assert (order.state, order.paid_fen) == (OrderState.PAID, 100)
    assert shop.bank.money == 0
    await shop.parcels()


async def test_a_payment_that_is_left_lying_is_over(one_shop: Shop) -> None:
    session = await unpaid(one_shop)
    order = await one_shop.order(session)
    await one_shop.pays(order)

    one_shop.clock.advance(hours=3)
    await one_shop.payments.settle_due()

    charge = (await one_shop.charges(order))[-1]
    assert (charge.state, charge.reason) == (ChargeState.CANCELLED, "not paid in time")
    await one_shop.confirms(await one_shop.pays(order))
    assert (await one_shop.order(session)).state is OrderState.PAID


@pytest.mark.parametrize("first", ["outside", "score"])
async def test_paid_outside_while_payscore_deducts(shop: Shop, first: str) -> None:
    """Exactly one of the two stays, whichever comes first."""
    session = await shop.visit(pay_with="wechat")
    await shop.told(session, COLAS)
    order = await shop.order(session)
    number = await shop.pays(order)

    if first == "outside":
        await shop.confirms(number)
        assert (await shop.score(session)).fee.paid_at is not None
        await shop.deduct(session)
    else:
        await shop.deduct(session)
        await shop.confirms(number)
    await shop.parcels()

    order = await shop.order(session)
    assert (order.state, order.paid_fen, order.due_fen) == (OrderState.PAID, 700, 700)
    done = [each for each in await shop.charges(order) if each.state is ChargeState.DONE]
    assert [each.means for each in done] == [Means.WECHAT if first == "outside" else Means.SCORE]
    (refund,) = await shop.rows("refunds")
    assert refund["amount_fen"] == 700
    assert await shop.sold(order) == {"cola": (2, 700)}


async def test_tickets_while_payscore_deducts(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")
    await one_shop.told(session, COLAS)
    await one_shop.grant(3_500)

    await one_shop.pays(await one_shop.order(session), "ticket")

    order = await one_shop.order(session)
    assert (order.state, order.tickets, order.wechat_fen) == (OrderState.PAID, 3_500, 0)
    assert (await one_shop.score(session)).wanted in {Wanted.COMPLETE, Wanted.SYNC}
    await one_shop.deduct(session, 700)
    assert (await one_shop.order(session)) == order
    assert len(await one_shop.rows("refunds")) == 1


async def test_the_deduction_ends_a_payment_that_is_open(one_shop: Shop) -> None:
    session = await one_shop.visit(pay_with="wechat")
    await one_shop.told(session, COLAS)
    order = await one_shop.order(session)
    await one_shop.pays(order)
    await one_shop.deduct(session)

    one_shop.clock.advance(minutes=6)
    await one_shop.parcels()

    states = [(each.means, each.state) for each in await one_shop.charges(order)]
    assert states == [(Means.SCORE, ChargeState.DONE), (Means.WECHAT, ChargeState.CANCELLED)]


async def test_a_parcel_that_comes_after_the_money_changes_nothing(one_shop: Shop) -> None:
    session = await unpaid(one_shop)
    await one_shop.confirms(await one_shop.pays(await one_shop.order(session)))
    (debt,) = await one_shop.rows("debts")

    await one_shop.orders.deliver_cancel({"debt_id": debt["id"]})

    assert (await one_shop.order(session)).state is OrderState.PAID


async def test_a_debt_that_was_cancelled_is_not_paid_by_its_old_key(one_shop: Shop) -> None:
    session = await unpaid(one_shop)
    order = await one_shop.order(session)
    await one_shop.pays(order, key="k")
    one_shop.clock.advance(hours=3)
    await one_shop.payments.settle_due()
    await one_shop.execute("DELETE FROM idempotency WHERE answer LIKE '%prepay%'")

    with pytest.raises(DebtCancelled):
        await one_shop.pays(order, key="k")


async def test_who_goes_back_to_wechat_waits_until_the_first_payment_is_closed(
    shop: Shop,
) -> None:
    session = await unpaid(shop)
    order = await shop.order(session)
    first = await shop.pays(order)
    await shop.grant(3_100, key="2")
    for means in ("ticket", "wechat"):
        with pytest.raises(PaymentOpen):
            await shop.pays(order, means)

    shop.clock.advance(minutes=6)
    number = await shop.pays(order)
    await shop.confirms(number)

    order = await shop.order(session)
    assert number != first
    assert (order.state, order.paid_fen, order.wechat_fen) == (OrderState.PAID, 700, 600)
    assert await shop.tickets() == 3_100
    assert await shop.is_well()


async def test_in_the_last_moment_of_a_payment_another_takes_its_place(one_shop: Shop) -> None:
    session = await unpaid(one_shop)
    order = await one_shop.order(session)
    first = await one_shop.pays(order)
    one_shop.clock.advance(minutes=119, seconds=30)

    number = await one_shop.pays(order)
    await one_shop.confirms(number)

    assert number != first
    assert (await one_shop.order(session)).state is OrderState.PAID


async def test_nothing_is_paid_while_money_is_stopped(one_shop: Shop) -> None:
    session = await unpaid(one_shop)
    order = await one_shop.order(session)
    await one_shop.db.write(raise_alert, "books", "x", "wrong")

    for means in ("ticket", "wechat"):
        with pytest.raises(PaymentsStopped):
            await one_shop.pays(order, means)

    await one_shop.db.write(clear_alert, "books", "x")
