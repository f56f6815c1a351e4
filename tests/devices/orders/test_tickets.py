"""Orders paid in tickets: captured from what is held, and from the rest; never below zero."""

import asyncio

import pytest
from sqlalchemy import update

from devices.orders.model import ChargeKind, ChargeState, Kind, Means, OrderState, Outcome
from devices.orders.settle import settle
from devices.sessions.model import State
from payments.model import PaymentsStopped
from sql.alerts import clear_alert, raise_alert
from sql.database import Tx
from sql.tables.devices import door_sessions
from tests.devices.orders.shop import BUYER, OTHER, Shop

COLAS = {"cola": 2}


async def test_an_order_is_captured_from_the_hold_and_the_rest_comes_back(shop: Shop) -> None:
    await shop.grant(10_000)
    session = await shop.visit()

    taken = await shop.told(session, {"cola": 2, "nuts": 1})

    order = await shop.order(session)
    assert taken.outcome is Outcome.ACCEPTED
    assert (order.state, order.due_fen, order.paid_fen) == (OrderState.PAID, 800, 800)
    assert (order.tickets, order.wechat_fen, order.kind) == (4_000, 0, Kind.NORMAL)
    assert order.paid_at == shop.clock.now()
    assert await shop.tickets() == 6_000
    assert (await shop.session(session)).state is State.PAID
    assert await shop.sold(order) == {"cola": (2, 700), "nuts": (1, 100)}
    assert await shop.stock() == {"cola": 8, "nuts": 19, "tea": 5}
    assert await shop.confirmed() == [("paid", 1, 800, 800)]
    assert await shop.exceptions() == []


async def test_what_is_not_held_is_taken_from_the_rest(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit(hold=1_002)

    await one_shop.told(session, COLAS)

    (charge,) = await one_shop.charges(await one_shop.order(session))
    assert (charge.amount_fen, charge.tickets) == (700, 3_500)
    assert await one_shop.tickets() == 6_500


async def test_nothing_held_takes_from_the_rest(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit(hold=0)

    await one_shop.told(session, COLAS)

    assert await one_shop.tickets() == 6_500


async def test_too_few_tickets_leave_an_unpaid_remainder(shop: Shop) -> None:
    await shop.grant(1_003)
    session = await shop.visit()

    await shop.told(session, COLAS)

    order = await shop.order(session)
    assert (order.state, order.due_fen, order.paid_fen) == (OrderState.UNPAID, 700, 200)
    # A fen is five tickets: the last three cannot be spent.
    assert await shop.tickets() == 3
    assert (await shop.session(session)).state is State.UNPAID
    done, failed = await shop.charges(order)
    assert (done.state, done.tickets) == (ChargeState.DONE, 1_000)
    assert (failed.state, failed.amount_fen, failed.reason) == (
        ChargeState.FAILED,
        500,
        "not enough tickets",
    )
    assert await shop.confirmed() == [("unpaid", 1, 700, 200)]
    assert await shop.sold(order) == {"cola": (2, 200)}
    assert [each.id for each in await shop.orders.unpaid(BUYER)] == [order.id]
    assert await shop.orders.unpaid(OTHER) == []


async def test_no_tickets_at_all_let_the_hold_go(one_shop: Shop) -> None:
    await one_shop.grant(4)
    session = await one_shop.visit()

    await one_shop.told(session, COLAS)

    order = await one_shop.order(session)
    assert (order.state, order.paid_fen) == (OrderState.UNPAID, 0)
    assert await one_shop.tickets() == 4
    assert await one_shop.sold(order) == {}


async def test_it_is_not_tried_again_by_itself(one_shop: Shop) -> None:
    session = await one_shop.visit()
    await one_shop.told(session, COLAS)
    await one_shop.grant(10_000)
    order = await one_shop.order(session)

    await one_shop.db.write(settle, order.id, one_shop.rules)

    assert await one_shop.order(session) == order
    assert await one_shop.tickets() == 10_000


async def test_nothing_taken_gives_all_back(shop: Shop) -> None:
    await shop.grant(10_000)
    session = await shop.visit()

    await shop.told(session, {})

    order = await shop.order(session)
    assert (order.state, order.due_fen) == (OrderState.EMPTY, 0)
    assert await shop.tickets() == 10_000
    assert (await shop.session(session)).state is State.NO_PURCHASE
    assert await shop.confirmed() == [("cancelled", 1, 0, 0)]
    assert await shop.rows("sales") == []
    assert await shop.orders.mine(BUYER, offset=0, most=9) == (0, [])


async def test_a_lower_revision_after_payment_gives_tickets_back(shop: Shop) -> None:
    await shop.grant(10_000)
    session = await shop.visit()
    await shop.told(session, {"cola": 2, "tea": 1})

    await shop.told(session, {"cola": 2}, 2)

    (order,) = await shop.chain(session)
    assert (order.kind, order.state) == (Kind.CORRECTED, OrderState.PAID)
    assert (order.due_fen, order.paid_fen, order.refunded_fen) == (700, 1_200, 500)
    _, refund = await shop.charges(order)
    assert (refund.kind, refund.means, refund.tickets) == (ChargeKind.REFUND, Means.TICKET, 2_500)
    assert await shop.tickets() == 6_500
    assert await shop.sold(order) == {"cola": (2, 700)}
    assert await shop.stock() == {"cola": 8, "nuts": 20, "tea": 5}
    assert (await shop.confirmed())[-1] == ("corrected", 2, 700, 700)


async def test_all_of_it_back(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit()
    await one_shop.told(session, COLAS)

    await one_shop.told(session, {}, 2)

    (order,) = await one_shop.chain(session)
    assert (order.state, order.due_fen, order.net_fen) == (OrderState.PAID, 0, 0)
    assert await one_shop.tickets() == 10_000
    assert await one_shop.sold(order) == {}
    assert (await one_shop.confirmed())[-1] == ("refunded", 2, 0, 0)
    assert (await one_shop.session(session)).state is State.PAID


async def test_other_goods_for_the_same_money_change_the_goods_only(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit()
    await one_shop.told(session, {"nuts": 5})

    await one_shop.told(session, {"tea": 1}, 2)

    (order,) = await one_shop.chain(session)
    assert (order.kind, order.due_fen, order.paid_fen) == (Kind.CORRECTED, 500, 500)
    assert len(await one_shop.charges(order)) == 1
    assert await one_shop.sold(order) == {"tea": (1, 500)}
    assert await one_shop.stock() == {"cola": 10, "nuts": 20, "tea": 4}


async def test_a_higher_revision_after_payment_is_a_supplement(shop: Shop) -> None:
    await shop.grant(10_000)
    session = await shop.visit()
    await shop.told(session, COLAS)
    paid = await shop.order(session)

    await shop.told(session, {"cola": 2, "tea": 1}, 2)

    main, supplement = await shop.chain(session)
    assert (main.due_fen, main.paid_fen, main.state) == (700, 700, OrderState.PAID)
    assert main.paid_at == paid.paid_at
    assert (supplement.no, supplement.related_no) == (f"{main.no}-2", main.no)
    assert (supplement.kind, supplement.state) == (Kind.SUPPLEMENT, OrderState.UNPAID)
    assert (supplement.due_fen, supplement.paid_fen) == (500, 0)
    # Never silently: though there are tickets enough.
    assert await shop.tickets() == 6_500
    assert [each.id for each in await shop.orders.unpaid(BUYER)] == [supplement.id]
    assert (await shop.confirmed())[-1] == ("unpaid", 2, 1_200, 700)
    assert await shop.sold(supplement) == {}


async def test_while_it_is_unpaid_it_rises_and_falls_in_place(one_shop: Shop) -> None:
    await one_shop.grant(500)
    session = await one_shop.visit()
    await one_shop.told(session, COLAS)

    await one_shop.told(session, {"cola": 3}, 2)
    (order,) = await one_shop.chain(session)
    assert (order.state, order.due_fen, order.paid_fen) == (OrderState.UNPAID, 1_050, 100)

    await one_shop.told(session, {"nuts": 1}, 3)
    (order,) = await one_shop.chain(session)
    assert (order.state, order.due_fen, order.paid_fen) == (OrderState.PAID, 100, 100)
    assert await one_shop.sold(order) == {"nuts": (1, 100)}

    await one_shop.told(session, {}, 4)
    assert await one_shop.tickets() == 500


async def test_a_supplement_that_is_not_due_any_more_is_gone(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit()
    await one_shop.told(session, COLAS)
    await one_shop.told(session, {"cola": 2, "tea": 1}, 2)

    await one_shop.told(session, COLAS, 3)

    main, supplement = await one_shop.chain(session)
    assert (main.state, supplement.state) == (OrderState.PAID, OrderState.EMPTY)
    assert await one_shop.orders.unpaid(BUYER) == []

    await one_shop.told(session, {"cola": 2, "nuts": 1}, 4)

    _, supplement = await one_shop.chain(session)
    assert (supplement.state, supplement.due_fen) == (OrderState.UNPAID, 100)


async def test_a_repeat_changes_nothing(shop: Shop) -> None:
    await shop.grant(10_000)
    session = await shop.visit()
    await shop.told(session, COLAS)
    before = {name: await shop.rows(name) for name in TABLES}

    again = await shop.told(session, COLAS, source="pull")

    assert again.outcome is Outcome.REPEATED
    assert {name: await shop.rows(name) for name in TABLES} == before


TABLES = (
    "cabinet_orders",
    "order_revisions",
    "order_charges",
    "ledger_journals",
    "outbox",
    "sales",
)


async def test_two_settlements_of_400_against_500_tickets(shop: Shop) -> None:
    await shop.grant(500)
    one = await shop.visit(hold=0)
    two = await shop.visit(hold=0, door_no=2)
    await shop.db.write(cheap_nuts)

    await asyncio.gather(*(shop.told(each, {"nuts": 8}, total_fen=80) for each in (one, two)))

    orders = [await shop.order(each) for each in (one, two)]
    assert sorted((order.state, order.paid_fen) for order in orders) == [
        (OrderState.PAID, 80),
        (OrderState.UNPAID, 20),
    ]
    assert await shop.tickets() == 0


def cheap_nuts(tx: Tx) -> None:
    """A pack of nuts for 10 fen, so that eight are 400 tickets."""
    tx.execute(update(door_sessions).values(prices='{"nuts": 10}'))


async def test_money_that_is_stopped_does_not_move(one_shop: Shop) -> None:
    await one_shop.grant(10_000)
    session = await one_shop.visit()
    await one_shop.db.write(raise_alert, "books", "x", "wrong")

    with pytest.raises(PaymentsStopped):
        await one_shop.told(session, COLAS)

    assert await one_shop.rows("cabinet_orders") == []
    await one_shop.db.write(clear_alert, "books", "x")
    assert (await one_shop.told(session, COLAS)).outcome is Outcome.ACCEPTED
