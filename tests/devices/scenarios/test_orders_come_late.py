"""Scenarios 1, 3, 7, 8, 19, 20, 21: what is told late, twice, skewed, or not at all."""

import asyncio
from collections.abc import Callable

import msgspec

from devices.flow import events
from devices.orders.model import Outcome
from devices.sessions.model import State
from payments.ledger.store import BOOKS
from simulators.xiaomai import Fault, Plan
from sql.alerts import clear_alert, raise_alert
from sql.database import open_database
from tests.clock import Clock
from tests.devices.flow.town import RULES, Town, town_of


async def closed(town: Town, *skus: str, tickets: int = 20_000) -> int:
    """Anna has shopped, and the door is closed again."""
    await town.grant(tickets)
    opened = await town.open()
    await town.hear()
    town.shop(*skus)
    await town.hear()
    return opened.session.id


async def test_1_an_order_that_does_not_come_is_pulled_and_settles_late(town: Town) -> None:
    town.sim.recognition.plan_next("XM-1", Plan(after_s=540))
    session = await closed(town, "cola")

    asked = []
    for second in range(5, 130, 5):
        before = town.asked("order/query")
        await town.turn(5)
        asked += [second] * (town.asked("order/query") - before)
        on_desk = ("no_order", f"session:{session}") in await town.desk()
        assert on_desk == (second >= 105)
    assert asked == [15, 45, 105]
    assert (await town.session(session)).manual_at == town.clock.now() - 20_000
    assert await town.held() == 20_000
    assert await town.rows("cabinet_orders") == []

    await town.pass_by(540 - 125 + 10)
    found = await town.session(session)
    assert (found.state, found.manual_at) == (State.PAID, None)
    assert await town.tickets() == 20_000 - 5 * 350
    assert await town.desk() == []
    await town.replays()


async def test_1_an_order_that_never_comes_waits_for_a_person_with_its_hold(
    one_town: Town,
) -> None:
    one_town.sim.recognition.plan_next("XM-1", Plan(certainty="none"))
    session = await closed(one_town, "cola")

    await one_town.pass_by(86_400 + 3_600, step=300)

    assert await one_town.state(session) is State.TIMEOUT
    assert await one_town.held() == 20_000
    assert ("no_order", f"session:{session}") in await one_town.desk()


async def test_1_an_order_that_cannot_be_charged_yet_is_on_the_manual_list(town: Town) -> None:
    await town.db.write(raise_alert, BOOKS, "books", "they do not add up")
    session = await closed(town, "cola")

    await town.pass_by(100)
    assert await town.desk() == []
    await town.pass_by(100)

    assert await town.state(session) is State.CLOSED
    assert await town.desk() == [("no_order", f"session:{session}")]
    pushed, *_ = [row for row in await town.rows("callback_inbox") if row["state"] != "done"]
    assert (pushed["event_type"], pushed["state"], pushed["tries"]) == ("OrderPushed", "new", 0)
    assert await town.held() == 20_000

    await town.db.write(clear_alert, BOOKS, "books")
    await town.turn(5)

    assert await town.state(session) is State.PAID
    assert await town.tickets() == 20_000 - 5 * 350
    assert await town.desk() == []
    await town.replays()


async def test_3_two_processes_are_told_of_one_order_at_once(
    mariadb_url: str, clock: Clock
) -> None:
    here = await open_database(mariadb_url, now=clock.now)
    there = await open_database(mariadb_url, now=clock.now)
    async with town_of(here, clock) as town:
        town.sim.dial.add(Fault(at="event.order.*", kind="lose", times=None))
        session = await town.session(await closed(town, "cola", "nuts"))
        fact = await town.adapter.query_order(session_no=session.no)
        assert fact is not None

        taken = await asyncio.gather(
            *(
                db.write(events.take, "xiaomai", fact, source="push", rules=RULES.orders)
                for db in (here, there, here, there)
            )
        )

        assert sorted(each.outcome for each in taken) == [
            Outcome.ACCEPTED,
            *[Outcome.REPEATED] * 3,
        ]
        assert len(await town.rows("cabinet_orders")) == 1
        assert len(await town.rows("order_charges")) == 1
        assert await town.tickets() == 20_000 - 5 * 450
        await town.is_well()
    await there.close()
    await here.close()


async def test_7_what_comes_after_it_was_given_up_is_never_charged_by_itself(town: Town) -> None:
    await town.grant(5_000)
    town.sim.dial.add(Fault(at="event.*", kind="lose", times=None))
    for endpoint in ("door/query", "door/cancel"):
        town.sim.dial.add(Fault(at=endpoint, kind="code", code=3002, times=None))
    opened = await town.open()
    await town.hear()
    # It opens, and nobody can tell us.
    town.shop("cola", "cola")
    await town.pass_by(70)
    assert await town.state(opened) is State.NOT_OPENED
    assert await town.tickets() == 5_000

    town.sim.dial.clear()
    await town.cabinets.sweep("xiaomai")

    (order,) = await town.rows("cabinet_orders")
    assert (order["state"], order["paid_fen"]) == ("review", 0)
    assert [kind for kind, _ in await town.desk()] == ["late_order"]
    assert await town.tickets() == 5_000


async def test_8_an_order_before_the_close_infers_it(town: Town) -> None:
    for event in ("closed", "locked"):
        town.sim.dial.add(Fault(at=f"event.door.{event}", kind="delay", seconds=40))
    session = await closed(town, "cola")

    await town.turn(10)
    early = await town.session(session)
    assert (early.state, early.closed_at) == (State.PAID, None)

    await town.pass_by(60)
    late = await town.session(session)
    assert late.state is State.PAID
    assert late.closed_at is not None
    assert await town.tickets() == 20_000 - 5 * 350


async def test_19_a_clock_that_is_wrong_hides_nothing(
    one_town: Town, expect_log: Callable[[str], None]
) -> None:
    expect_log("the clock of xiaomai is wrong, or ours")
    await one_town.grant(20_000)
    one_town.sim.courier.skew_s = 20 * 60
    opened = await one_town.open()
    await one_town.hear()
    one_town.shop("cola")
    await one_town.hear()

    refused = one_town.sim.courier.all[0].attempts[0]
    assert refused.status == 401
    assert "server_time" in refused.answer
    for _ in range(60):
        await one_town.turn(5)
    await one_town.cabinets.sweep("xiaomai")

    found = await one_town.session(opened)
    assert found.state is State.PAID
    assert await one_town.tickets() == 20_000 - 5 * 350
    assert ("callback.skew") in {kind for kind, _ in await one_town.alerts()}


async def test_20_the_very_same_request_is_answered_as_before(one_town: Town) -> None:
    one_town.sim.dial.add(Fault(at="event.door.opened", kind="repeat", copies=2))
    one_town.sim.dial.add(Fault(at="event.order.pushed", kind="replay"))
    session = await closed(one_town, "cola")
    await one_town.pass_by(30)

    (opened,) = [one for one in one_town.sim.courier.all if one.event_type == "door.opened"]
    # The last of the three is what counts for the platform: it had the answer of the first.
    assert [attempt.status for attempt in opened.attempts] == [200]
    assert msgspec.json.decode(opened.attempts[0].answer)["event_id"] == opened.event_id
    rows = await one_town.rows("callback_inbox")
    assert [row["event_type"] for row in rows].count("DoorOpened") == 1
    assert ("callback.replay") in {kind for kind, _ in await one_town.alerts()}
    assert await one_town.state(session) is State.PAID
    assert await one_town.tickets() == 20_000 - 5 * 350


async def test_21_who_takes_nothing_pays_nothing(town: Town) -> None:
    session = await closed(town)
    await town.pass_by(20)

    assert await town.state(session) is State.NO_PURCHASE
    assert await town.tickets() == 20_000
    assert await town.held() == 0
    assert await town.rows("sales") == []
    await town.replays()


async def test_21_a_payscore_order_for_nothing_is_cancelled(pay_town: Town) -> None:
    opened = await pay_town.open(pay_with="wechat")
    assert opened.session.state is State.REQUESTED
    assert opened.view is not None
    assert pay_town.unlocked() == []
    await pay_town.confirm(opened)
    await pay_town.turn(1)
    pay_town.shop()
    await pay_town.hear()
    await pay_town.pass_by(60)

    assert await pay_town.state(opened) is State.NO_PURCHASE
    (score,) = await pay_town.rows("payscore_orders")
    assert score["phase"] == "cancelled"
    assert await pay_town.rows("sales") == []


async def test_21_a_payscore_order_for_something_is_deducted(pay_town: Town) -> None:
    opened = await pay_town.open(pay_with="wechat")
    await pay_town.confirm(opened)
    await pay_town.turn(1)
    cabinet = pay_town.sim.cabinet("XM-1")
    cabinet.pull()
    await pay_town.hear()
    await pay_town.turn(20)
    cabinet.take("cola")
    cabinet.take("nuts")
    cabinet.close()
    await pay_town.hear()
    await pay_town.pass_by(300)

    assert await pay_town.state(opened) is State.PAID
    (order,) = await pay_town.rows("cabinet_orders")
    assert (order["state"], order["paid_fen"], order["wechat_fen"]) == ("paid", 450, 450)
