"""Scenarios 2, 4, 5, 6, 16, 17, 18, 23: said twice, otherwise, higher, lower, or wrongly."""

import asyncio

import msgspec
import pytest
from sqlalchemy import update

from devices.desk.model import ExceptionState, Ruling
from devices.desk.store import end, load_exception
from devices.flow import events
from devices.flow.model import UnpaidOrder
from devices.orders.model import Kind, Order, OrderState
from devices.orders.rows import store as rows
from devices.sessions.model import State
from simulators.xiaomai import Fault, Plan
from simulators.xiaomai import Order as Said
from sql.database import Tx
from sql.tables.devices import door_sessions, stores
from tests.devices.flow.town import ANNA, RULES, Town, by
from tests.devices.orders.shop import fact, visit


async def shopped(town: Town, *skus: str, tickets: int = 20_000) -> int:
    """Anna has shopped, and what she took was told; her session."""
    if tickets:
        await town.grant(tickets)
    opened = await town.open()
    await town.hear()
    town.shop(*skus)
    await town.hear()
    return opened.session.id


def said(town: Town) -> Said:
    """The platform's own only order."""
    (order,) = town.sim.orders.all.values()
    return order


async def chain(town: Town, session_id: int) -> list[Order]:
    main = await town.db.read(rows.of_session, session_id)
    assert main is not None
    return (await town.db.read(rows.chain_of, main, None, lock=False)).orders


async def test_2_an_order_that_is_pushed_twice_is_charged_once(town: Town) -> None:
    session = await shopped(town, "cola", "cola")
    before = await town.picture()

    town.sim.recognition.push(said(town))
    await town.hear()

    assert await town.picture() == before
    assert await town.state(session) is State.PAID
    assert await town.tickets() == 20_000 - 5 * 700
    pushed = [row for row in await town.rows("callback_inbox") if "Order" in row["event_type"]]
    assert [row["state"] for row in pushed] == ["done", "done"]
    await town.replays()


async def test_4_the_same_revision_with_another_content_is_for_a_person(town: Town) -> None:
    session = await shopped(town, "cola")

    town.sim.recognition.revise(said(town), {"tea": 3}, rev=1)
    await town.hear()

    (order,) = await chain(town, session)
    assert (order.state, order.due_fen, order.net_fen) == (OrderState.PAID, 350, 350)
    assert await town.state(session) is State.ABNORMAL
    assert await town.desk() == [("conflict", order.no)]
    bodies = [row["body"] for row in await town.rows("order_revisions")]
    assert len(bodies) == 2
    assert ["cola" in body for body in bodies] == [True, False]
    assert await town.tickets() == 20_000 - 5 * 350
    await town.replays()


async def test_5_a_lower_revision_after_payment_gives_the_difference_back(town: Town) -> None:
    session = await shopped(town, "cola", "cola", "tea")

    town.sim.recognition.revise(said(town), {"cola": 2})
    town.sim.recognition.push(said(town))
    await town.hear()
    await town.turn(1)

    (order,) = await chain(town, session)
    assert (order.kind, order.state) == (Kind.CORRECTED, OrderState.PAID)
    assert (order.paid_fen, order.refunded_fen, order.due_fen) == (1_200, 500, 700)
    assert await town.tickets() == 20_000 - 5 * 700
    back = [row for row in await town.rows("order_charges") if row["kind"] == "refund"]
    assert [(row["amount_fen"], row["tickets"]) for row in back] == [(500, 2_500)]
    # And the vendor's books know.
    assert said(town).confirms[-1].result == "corrected"
    await town.replays()


async def test_6_a_higher_revision_after_payment_blocks_the_next_door(town: Town) -> None:
    session = await shopped(town, "cola")
    (paid,) = await chain(town, session)

    town.sim.recognition.revise(said(town), {"cola": 1, "tea": 1})
    await town.hear()

    main, more = await chain(town, session)
    assert (main.paid_fen, main.due_fen, main.paid_at) == (350, 350, paid.paid_at)
    assert (more.kind, more.related_no, more.state) == (
        Kind.SUPPLEMENT,
        main.no,
        OrderState.UNPAID,
    )
    assert (more.due_fen, await town.tickets()) == (500, 20_000 - 5 * 350)
    told = [row["name"] for row in await town.rows("events")]
    assert "cabinet_order.unpaid" in told
    asked = town.asked("door/open")
    with pytest.raises(UnpaidOrder):
        await town.open()
    assert town.asked("door/open") == asked

    await town.orders.pay(more.id, ANNA, means="ticket", openid="", client_ip="", key="k")
    await town.open()
    assert town.asked("door/open") == asked + 1
    await town.hear()
    town.shop()
    await town.hear()


async def test_6_a_supplement_that_is_waived_opens_the_next_door(one_town: Town) -> None:
    session = await shopped(one_town, "cola")
    one_town.sim.recognition.revise(said(one_town), {"cola": 1, "tea": 1})
    await one_town.hear()
    _, more = await chain(one_town, session)

    await one_town.orders.waive(more.id, reason="ours", by=by())

    await one_town.open()
    await one_town.hear()
    one_town.shop()
    await one_town.hear()


async def test_16_what_is_not_certain_is_what_the_reviewer_lists(town: Town) -> None:
    plan = Plan(certainty="uncertain", candidates={"cola": 1, "tea": 1}, reasons=("camera",))
    town.sim.recognition.plan_next("XM-1", plan)
    session = await shopped(town, "cola")

    (order,) = await chain(town, session)
    assert (order.state, order.due_fen) == (OrderState.REVIEW, 0)
    assert await town.state(session) is State.ABNORMAL
    assert await town.held() == 20_000
    (kind, subject), *others = await town.desk()
    assert (kind, subject, others) == ("uncertain", order.no, [])
    chain_, _ = await town.orders.detail(order.id, by=by())
    fact = chain_.revisions[0].body.fact
    assert fact is not None
    assert [item.sku for item in fact.candidates] == ["cola", "tea"]

    await town.db.write(approve, town, (await town.rows("cabinet_exceptions"))[0]["id"])
    await town.turn(1)

    (order,) = await chain(town, session)
    assert (order.state, order.rev, order.paid_fen) == (OrderState.PAID, 2, 500)
    last = (await town.rows("order_revisions"))[-1]
    assert (last["rev"], last["source"]) == (2, f"staff:{by().account_id}")
    assert await town.tickets() == 20_000 - 2_500
    # What was decided goes back to who recognises.
    told = said(town).confirms[-1]
    assert [(item.sku, item.qty) for item in told.items] == [("tea", 1)]


@pytest.mark.parametrize("reasons", [(), ("video",)])
async def test_16_what_is_told_as_abnormal_waits_however_certain_it_looks(
    town: Town, reasons: tuple[str, ...]
) -> None:
    town.sim.dial.add(Fault(at="event.order.*", kind="lose"))
    session = await shopped(town, "cola")
    doubt(town, reasons)
    await town.hear()

    (order,) = await chain(town, session)
    assert (order.state, order.due_fen) == (OrderState.REVIEW, 0)
    assert await town.state(session) is State.ABNORMAL
    assert await town.desk() == [("abnormal", order.no)]
    # The platform's list says nothing of its doubts.
    await town.cabinets.sweep("xiaomai")
    assert await town.held() == 20_000

    town.sim.recognition.revise(said(town), {"cola": 1}, kind="order.rechecked")
    await town.hear()

    (order,) = await chain(town, session)
    assert (order.state, order.rev, order.paid_fen) == (OrderState.PAID, 2, 350)
    assert await town.desk() == []
    await town.replays()


async def test_16_what_is_told_as_abnormal_after_it_was_charged_is_for_a_person(
    town: Town,
) -> None:
    session = await shopped(town, "cola")
    for _ in range(2):
        doubt(town, ())
        await town.hear()

    (order,) = await chain(town, session)
    assert (order.state, order.due_fen, order.net_fen) == (OrderState.PAID, 350, 350)
    assert await town.state(session) is State.ABNORMAL
    assert await town.desk() == [("abnormal", order.no)]
    assert len(await town.rows("order_revisions")) == 2
    assert await town.tickets() == 20_000 - 5 * 350
    await town.replays()


def doubt(town: Town, reasons: tuple[str, ...]) -> None:
    """The platform tells of the order as abnormal, for these reasons."""
    order = said(town)
    revision = msgspec.structs.replace(order.latest, abnormal_reasons=reasons)
    town.sim.recognition.push(order, kind="order.abnormal", revision=revision)


def approve(tx: Tx, town: Town, exception_id: int) -> None:
    """As the desk does it."""
    raised = load_exception(tx, exception_id, lock=True)
    ruling = Ruling("seen", {"items": [{"sku": "tea", "quantity": 1}]})
    town.orders.action.approve(tx, raised, by(), ruling)
    end(tx, raised, ExceptionState.APPROVED, by(), ruling.reason)


async def test_17_a_total_that_is_not_that_of_the_goods_is_not_charged(town: Town) -> None:
    town.sim.recognition.plan_next("XM-1", Plan(total_off_fen=-300))
    session = await shopped(town, "cola")

    (order,) = await chain(town, session)
    assert (order.state, order.due_fen, order.paid_fen) == (OrderState.REVIEW, 0, 0)
    assert await town.desk() == [("mismatch", order.no)]
    assert ("cabinet.amount_mismatch", order.no) in await town.alerts()
    assert await town.held() == 20_000
    assert await town.rows("order_charges") == []


@pytest.mark.parametrize("how", ["limit", "stock"])
async def test_18_over_the_limit_or_the_stock_it_is_intercepted(one_town: Town, how: str) -> None:
    if how == "limit":
        await one_town.db.write(limit)
        one_town.sim.recognition.plan_next("XM-1", Plan(items={"tea": 3}))
    else:
        one_town.sim.recognition.plan_next("XM-1", Plan(items={"cola": 23}))
    session = await shopped(one_town, "cola", tickets=100_000)

    (order,) = await chain(one_town, session)
    assert (order.state, order.paid_fen) == (OrderState.REVIEW, 0)
    assert await one_town.desk() == [("over_limit", order.no)]
    assert await one_town.rows("order_charges") == []


def limit(tx: Tx) -> None:
    tx.execute(update(stores).values(review_limit_fen=1_000))


async def test_23_two_settlements_of_400_against_500_tickets(town: Town) -> None:
    """At once, from one purse: one is captured, the other leaves an unpaid remainder."""
    await town.grant(500)
    wish = {"pay_with": "ticket", "account_id": ANNA, "purpose": "shop"}
    sessions = [
        await town.db.write(visit, {**wish, "door_no": n, "key": f"k{n}"}, 0, State.CLOSED)
        for n in (1, 2)
    ]
    await town.db.write(cheaper)

    told = [fact(session, {"nuts": 8}, total_fen=80) for session in sessions]
    await asyncio.gather(
        *(
            town.db.write(events.take, "xiaomai", each, source="push", rules=RULES.orders)
            for each in told
        )
    )

    orders = [order for session in sessions for order in await chain(town, session.id)]
    assert sorted((order.state, order.paid_fen, order.due_fen) for order in orders) == [
        (OrderState.PAID, 80, 80),
        (OrderState.UNPAID, 20, 80),
    ]
    assert await town.tickets() == 0


def cheaper(tx: Tx) -> None:
    """A pack of nuts for 10 fen, so that eight are 400 tickets."""
    tx.execute(update(door_sessions).values(prices='{"nuts": 10}'))
