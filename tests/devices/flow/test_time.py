"""What the time does to sessions, and what is done when nobody answers."""

from collections.abc import Callable
from typing import Any

import pytest

from devices.desk.model import ExceptionState, Ruling
from devices.desk.store import Wanted, clear_exception, end, exceptions_page
from devices.flow import steps, timers
from devices.sessions import store
from devices.sessions.model import State
from devices.vendors.port import Caps, Outcome, Reason, SessionFact, VendorUnknown
from simulators.xiaomai import Fault, Plan
from sql.database import Tx
from tests.devices.flow.town import Town, by


async def opening(town: Town, *faults: Fault) -> int:
    await town.grant(20_000)
    for fault in faults:
        town.sim.dial.add(fault)
    return (await town.open()).session.id


SILENT = Fault(at="event.*", kind="lose", times=None)
NEVER = Fault(at="device.open", kind="never_open", code=3002)
MUTE = Fault(at="door/query", kind="http_502", times=None)


async def test_the_vendor_is_asked_when_nothing_was_heard_for_twenty_seconds(
    one_town: Town,
) -> None:
    session = await opening(one_town, SILENT)

    await one_town.turn(19)
    assert one_town.asked("door/query") == 0
    await one_town.turn(1)

    assert one_town.asked("door/query") == 1
    assert (await one_town.session(session)).unlocked_at == one_town.clock.now()


async def test_a_door_nobody_pulls_is_asked_about_and_given_back(one_town: Town) -> None:
    session = await opening(one_town)
    await one_town.hear()
    one_town.sim.dial.add(SILENT)

    await one_town.pass_by(44)
    assert await one_town.state(session) is State.OPENING
    await one_town.pass_by(5)

    found = await one_town.session(session)
    assert (found.state, found.fail_code) == (State.NOT_OPENED, "not_pulled")
    assert await one_town.tickets() == 20_000
    assert (await one_town.rows("devices"))[0]["faults"] == 0


async def test_a_lock_that_has_latched_again_before_the_pull_gives_the_hold_back(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await opening(one_town, SILENT)

    async def query_session(_: str) -> SessionFact:
        return SessionFact(outcome=Outcome.EXECUTED, state="closed", unlocked_at=1, locked_at=7)

    monkeypatch.setattr(one_town.adapter, "query_session", query_session)
    await one_town.turn(20)

    found = await one_town.session(session)
    assert (found.state, found.fail_code) == (State.NOT_OPENED, "not_pulled")
    assert (found.opened_at, found.closed_at) == (None, None)
    assert await one_town.held() == 0
    assert (await one_town.rows("devices"))[0]["faults"] == 0


@pytest.mark.parametrize(
    ("reason", "faults"),
    [
        (Reason.NONE, 1),
        (Reason.PENDING, 1),
        (Reason.SESSION_UNKNOWN, 1),
        (Reason.NO_ANSWER, 1),
        (Reason.BUSY_SHOPPING, 0),
        (Reason.OFFLINE, 0),
    ],
)
async def test_a_device_that_says_nothing_to_the_end_is_at_fault(
    one_town: Town, monkeypatch: pytest.MonkeyPatch, reason: Reason, faults: int
) -> None:
    session = await opening(one_town, SILENT, NEVER)

    async def query_session(_: str) -> SessionFact:
        return SessionFact(outcome=Outcome.UNKNOWN, state="pending", reason=reason)

    monkeypatch.setattr(one_town.adapter, "query_session", query_session)
    for seconds in (20, 45):
        await one_town.turn(seconds)

    found = await one_town.session(session)
    assert (found.state, found.fail_code) == (State.NOT_OPENED, str(reason) or "no_answer")
    assert (await one_town.rows("devices"))[0]["faults"] == faults
    assert await one_town.held() == 0


async def test_a_door_that_stays_unlocked_is_asked_about_until_a_person_must_look(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await opening(one_town)
    await one_town.hear()

    async def query_session(_: str) -> SessionFact:
        return SessionFact(outcome=Outcome.EXECUTED, state="unlocked")

    monkeypatch.setattr(one_town.adapter, "query_session", query_session)
    one_town.sim.dial.add(SILENT)
    await one_town.pass_by(290)
    assert await one_town.state(session) is State.OPENING
    await one_town.pass_by(30)

    assert await one_town.state(session) is State.ABNORMAL
    assert ("abnormal", f"session:{session}") in await one_town.desk()
    assert await one_town.held() == 20_000


async def test_when_nobody_answers_for_five_minutes_a_person_must_look(one_town: Town) -> None:
    session = await opening(one_town, SILENT, MUTE)
    await one_town.hear()
    one_town.sim.cabinet("XM-1").pull()

    await one_town.pass_by(290)
    assert await one_town.state(session) is State.OPENING
    await one_town.pass_by(30)

    found = await one_town.session(session)
    assert (found.state, found.fail_code) == (State.ABNORMAL, "no_result")
    assert await one_town.held() == 20_000
    assert ("abnormal", f"session:{session}") in await one_town.desk()


async def test_what_was_taken_back_after_five_minutes_is_over(one_town: Town) -> None:
    session = await opening(one_town, SILENT, NEVER, MUTE)

    await one_town.pass_by(320)

    found = await one_town.session(session)
    assert (found.state, found.fail_code) == (State.NOT_OPENED, "no_answer")
    assert await one_town.held() == 0
    assert await one_town.desk() == []
    assert (await one_town.rows("devices"))[0]["faults"] == 1


async def test_what_cannot_be_taken_back_after_five_minutes_is_for_a_person(
    one_town: Town,
) -> None:
    lost = Fault(at="door/cancel", kind="http_502", times=None)
    session = await opening(one_town, SILENT, NEVER, MUTE, lost)

    await one_town.pass_by(320)

    assert await one_town.state(session) is State.ABNORMAL
    assert await one_town.held() == 20_000
    assert one_town.asked("door/cancel") == 1


@pytest.mark.parametrize("is_over", [True, False])
async def test_what_happens_while_it_is_taken_back_counts(
    one_town: Town, monkeypatch: pytest.MonkeyPatch, is_over: bool
) -> None:
    pending = Fault(at="door/query", kind="code", code=3007, times=None)
    session = await opening(one_town, SILENT, NEVER, pending)

    async def cancel_open(_: str) -> bool:
        await one_town.db.write(end_by_hand if is_over else unlock, session)
        return True

    monkeypatch.setattr(one_town.adapter, "cancel_open", cancel_open)
    await one_town.pass_by(70)

    found = await one_town.session(session)
    assert (found.state, found.fail_code) == (
        (State.NOT_OPENED, "by_hand") if is_over else (State.OPENING, "")
    )


async def test_what_waits_for_a_person_is_told_at_two_ages_then_each_day(one_town: Town) -> None:
    session = await opening(one_town, SILENT, MUTE)
    await one_town.hear()
    one_town.sim.cabinet("XM-1").pull()
    await one_town.pass_by(320)

    await one_town.pass_by(7_200, step=600)
    (alert,) = await texts(one_town, "cabinet.abnormal")
    assert "2 hours" in alert
    await one_town.pass_by(80_000, step=4_000)
    (alert,) = await texts(one_town, "cabinet.abnormal")
    assert "24 hours" in alert
    await one_town.pass_by(86_400, step=14_400)
    (alert,) = await texts(one_town, "cabinet.abnormal")
    assert "48 hours" in alert
    assert await one_town.desk() == [("abnormal", f"session:{session}")]

    await one_town.db.write(end_by_hand, session)
    assert await texts(one_town, "cabinet.abnormal") == []


async def test_a_door_that_is_open_for_a_day_is_a_person_s(one_town: Town) -> None:
    session = await opening(one_town)
    await one_town.hear()
    one_town.sim.cabinet("XM-1").pull()
    await one_town.hear()
    one_town.sim.dial.add(SILENT)

    await one_town.pass_by(86_400 + 1_200, step=600)

    assert await one_town.state(session) is State.TIMEOUT
    assert ("no_order", f"session:{session}") in await one_town.desk()
    assert await one_town.held() == 20_000


async def test_a_close_whose_event_was_lost_is_found_by_asking(one_town: Town) -> None:
    session = await opening(one_town)
    await one_town.hear()
    one_town.sim.cabinet("XM-1").pull()
    await one_town.hear()
    one_town.sim.dial.add(SILENT)
    one_town.sim.cabinet("XM-1").take("cola")
    one_town.sim.cabinet("XM-1").close()

    await one_town.pass_by(180)
    assert await one_town.state(session) is State.CLOSED
    await one_town.pass_by(20)
    assert await one_town.state(session) is State.PAID


async def test_what_does_not_settle_in_a_day_is_told_to_a_person(one_town: Town) -> None:
    session = await opening(one_town)
    await one_town.hear()
    one_town.sim.dial.add(Fault(at="order/query", kind="code", code=4001, times=None))
    one_town.sim.dial.add(SILENT)
    one_town.shop()
    await one_town.db.write(stand_still, session)

    await one_town.pass_by(90_000, step=1_800)

    found = await one_town.session(session)
    assert found.state is State.SETTLING
    assert ("abnormal", f"session:{session}") in await one_town.desk()
    assert one_town.asked("order/query") > 20
    # Whoever has looked may not have ended it.
    await one_town.db.write(clear_exception, "abnormal", f"session:{session}", "seen")
    await one_town.pass_by(90_000, step=14_400)
    assert ("abnormal", f"session:{session}") in await one_town.desk()


async def test_who_has_not_paid_is_reminded_three_times(one_town: Town) -> None:
    await one_town.grant(500)
    opened = await one_town.open()
    await one_town.hear()
    one_town.shop("cola")
    await one_town.hear()
    assert await one_town.state(opened) is State.UNPAID

    at = []
    for half_hour in range(1, 220):
        before = len(await reminders(one_town))
        await one_town.turn(1_800)
        if len(await reminders(one_town)) > before:
            at.append(half_hour / 2)

    assert at == [1, 24, 72]
    names = {row["id"]: row["name"] for row in await one_town.rows("streams")}
    streams = {names[row["stream_id"]] for row in await reminders(one_town)}
    assert streams == {"account:7", f"door:{opened.session.id}"}
    assert (await one_town.session(opened)).due_at is None


async def test_who_has_paid_is_reminded_no_more(one_town: Town) -> None:
    await one_town.grant(500)
    opened = await one_town.open()
    await one_town.hear()
    one_town.shop("cola")
    await one_town.hear()
    order = await one_town.order(opened)
    assert order is not None
    await one_town.grant(5_000, key="2")
    await one_town.orders.pay(order.id, 7, means="ticket", openid="", client_ip="10.0.0.1", key="k")

    await one_town.pass_by(90_000, step=1_800)

    assert await one_town.state(opened) is State.PAID
    assert await reminders(one_town) == []


async def test_an_order_that_never_becomes_certain_is_a_person_s_after_a_day(
    one_town: Town,
) -> None:
    one_town.sim.recognition.plan_next("XM-1", Plan(certainty="provisional", recheck_after_s=None))
    session = await opening(one_town)
    await one_town.hear()
    one_town.shop("cola")
    await one_town.hear()
    await one_town.pass_by(86_000, step=2_000)
    assert await one_town.state(session) is State.SETTLING
    await one_town.pass_by(4_000, step=1_000)

    assert await one_town.state(session) is State.TIMEOUT
    assert await one_town.held() == 20_000
    assert await one_town.desk() == [("abnormal", f"session:{session}")]
    (told, _) = await reminders(one_town)
    assert "正在处理" in told["data"]

    # Whoever has closed it has not ended it.
    await one_town.db.write(clear_exception, "abnormal", f"session:{session}", "seen")
    await one_town.pass_by(90_000, step=7_200)
    assert await one_town.desk() == [("abnormal", f"session:{session}")]
    await one_town.db.write(approve, one_town, {"cola": 1})
    assert await one_town.state(session) is State.PAID
    assert await one_town.tickets() == 20_000 - 5 * 350


async def test_a_vendor_that_answers_no_questions_is_waited_for(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    caps = Caps(signed=True, door_sensor=True)
    monkeypatch.setattr(type(one_town.adapter), "caps", caps)
    session = await opening(one_town, SILENT, NEVER)

    await one_town.pass_by(70)

    found = await one_town.session(session)
    assert (found.state, found.fail_code) == (State.NOT_OPENED, "no_answer")
    assert one_town.asked("door/query") == 0


async def test_a_vendor_that_only_says_that_it_was_unlocked_leaves_it_to_a_person(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    caps = Caps(signed=True, door_sensor=True)
    monkeypatch.setattr(type(one_town.adapter), "caps", caps)
    session = await opening(one_town, SILENT)
    await one_town.hear()
    one_town.sim.cabinet("XM-1").pull()

    await one_town.pass_by(70)

    assert await one_town.state(session) is State.ABNORMAL
    assert await one_town.held() == 20_000


async def test_a_vendor_that_tells_no_more_of_an_unlocked_door_has_told_that_nobody_pulled_it(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    caps = Caps(signed=True, door_sensor=True)
    monkeypatch.setattr(type(one_town.adapter), "caps", caps)
    session = await opening(one_town)
    await one_town.hear()
    one_town.sim.dial.add(SILENT)

    await one_town.pass_by(50)

    found = await one_town.session(session)
    assert (found.state, found.fail_code) == (State.NOT_OPENED, "no_answer")
    assert one_town.asked("door/cancel") == 0


async def test_an_order_that_waits_for_a_person_is_on_the_desk_once(one_town: Town) -> None:
    one_town.sim.recognition.plan_next("XM-1", Plan(certainty="uncertain"))
    session = await opening(one_town)
    await one_town.hear()
    one_town.shop("cola")
    await one_town.hear()

    await one_town.pass_by(7_800, step=1_300)

    assert await one_town.state(session) is State.ABNORMAL
    assert [kind for kind, _ in await one_town.desk()] == ["uncertain"]
    (alert,) = await texts(one_town, "cabinet.abnormal")
    assert "2 hours" in alert


async def test_a_vendor_without_orders_to_ask_for_waits_for_a_person(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await opening(one_town)
    await one_town.hear()
    one_town.sim.dial.add(Fault(at="event.order.*", kind="lose", times=None))
    monkeypatch.setattr(type(one_town.adapter), "caps", Caps(signed=True, door_sensor=True))
    one_town.shop("cola")
    await one_town.hear()

    await one_town.pass_by(110)

    assert one_town.asked("order/query") == 0
    assert ("no_order", f"session:{session}") in await one_town.desk()
    assert await one_town.cabinets.sweep("xiaomai") == 0
    assert str(await one_town.cabinets.compare_day("xiaomai", 20261120)).startswith("0 orders")


async def test_a_vendor_that_is_gone_leaves_its_sessions_where_they_are(one_town: Town) -> None:
    session = await opening(one_town, SILENT)
    one_town.vendors.clear()
    one_town.start()

    await one_town.turn(20)

    assert await one_town.state(session) is State.OPENING
    await one_town.db.write(to_closed, session)
    await one_town.pass_by(110)
    assert ("no_order", f"session:{session}") in await one_town.desk()


async def test_an_order_that_cannot_be_asked_for_is_asked_for_again(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await opening(one_town)
    await one_town.hear()
    one_town.sim.dial.add(Fault(at="event.order.*", kind="lose", times=None))
    one_town.sim.dial.add(Fault(at="order/query", kind="http_502"))
    one_town.shop("cola")
    await one_town.hear()

    await one_town.turn(15)
    assert await one_town.state(session) is State.CLOSED
    await one_town.turn(30)

    assert await one_town.state(session) is State.PAID


async def test_one_session_s_trouble_holds_up_no_other(
    one_town: Town, monkeypatch: pytest.MonkeyPatch, expect_log: Callable[[str], None]
) -> None:
    expect_log("looking at session 1 failed")
    await one_town.grant(500, 8)
    first = await opening(one_town, SILENT)
    second = (await one_town.open(8, door_no=2)).session.id
    really = one_town.adapter.query_session
    number = (await one_town.session(first)).request_id

    async def query_session(request_id: str) -> Any:
        if request_id == number:
            raise RuntimeError("a mistake of ours")
        return await really(request_id)

    monkeypatch.setattr(one_town.adapter, "query_session", query_session)

    await one_town.turn(20)

    assert (await one_town.session(first)).unlocked_at is None
    assert (await one_town.session(second)).unlocked_at is not None


async def test_what_another_process_has_taken_is_left_to_it(one_town: Town) -> None:
    session = await opening(one_town, SILENT)
    one_town.clock.advance(seconds=20)
    await one_town.db.write(put_off, session)

    await one_town.cabinets._look(session)

    assert one_town.asked("door/query") == 0


async def test_an_answer_that_comes_when_it_is_over_changes_nothing(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await opening(one_town, SILENT)

    async def query_session(_: str) -> SessionFact:
        await one_town.db.write(end_by_hand, session)
        return SessionFact(outcome=Outcome.EXECUTED, state="open")

    monkeypatch.setattr(one_town.adapter, "query_session", query_session)
    await one_town.turn(20)

    found = await one_town.session(session)
    assert (found.state, found.opened_at) == (State.NOT_OPENED, None)


async def test_a_command_that_never_came_is_not_sent_again_when_it_is_over(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_town.sim.dial.add(Fault(at="door/open", kind="drop"))
    session = await opening(one_town)
    answered = timers.answered

    def and_over(tx: Tx, session_id: int, *rest: Any) -> Any:
        """Between the answer and the sending, a person ends it."""
        follows = answered(tx, session_id, *rest)
        if follows is not None:
            end_by_hand(tx, session_id)
        return follows

    monkeypatch.setattr(timers, "answered", and_over)
    await one_town.pass_by(25)

    assert await one_town.state(session) is State.NOT_OPENED
    assert one_town.asked("door/open") == 1


async def test_a_tap_at_an_open_door_is_answered_and_nothing_else(one_town: Town) -> None:
    session = await opening(one_town)
    await one_town.hear()
    one_town.sim.cabinet("XM-1").pull()
    await one_town.hear()
    asked = len(one_town.sim.calls)

    again = await one_town.open()

    assert (again.session.id, again.session.state) == (session, State.OPEN)
    assert len(one_town.sim.calls) == asked


async def test_what_is_over_is_not_looked_at_again(one_town: Town) -> None:
    session = await opening(one_town)
    await one_town.db.write(end_by_hand, session)
    await one_town.db.write(due_again, session)

    assert await one_town.cabinets.run_due() == 1
    assert (await one_town.session(session)).due_at is None


async def test_a_command_is_not_sent_again_to_a_door_that_was_heard_of_meanwhile(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await opening(one_town, SILENT)

    async def unknown(_: str) -> SessionFact:
        raise VendorUnknown("away")

    monkeypatch.setattr(one_town.adapter, "query_session", unknown)
    await one_town.turn(20)
    assert await one_town.db.write(steps.to_send, session) is None
    await one_town.db.write(end_by_hand, session)
    assert await one_town.db.write(steps.to_send_again, session) is None


async def texts(town: Town, kind: str) -> list[str]:
    return [row["text"] for row in await town.rows("alerts") if row["kind"] == kind and row["open"]]


async def reminders(town: Town) -> list[dict[str, Any]]:
    return [row for row in await town.rows("events") if row["name"] == "door.reminder"]


def approve(tx: Tx, town: Town, taken: dict[str, int]) -> None:
    """As the desk does it, of the only exception there is."""
    _, (raised,) = exceptions_page(tx, Wanted(is_open=True), by=by(), offset=0, most=9)
    items = [{"sku": sku, "quantity": quantity} for sku, quantity in taken.items()]
    town.orders.action.approve(tx, raised, by(), Ruling("seen", {"items": items}))
    end(tx, raised, ExceptionState.APPROVED, by(), "seen")


def end_by_hand(tx: Tx, session_id: int) -> None:
    steps.end(tx, store.load(tx, session_id, lock=True), State.NOT_OPENED, "by_hand")


def unlock(tx: Tx, session_id: int) -> None:
    store.note(tx, store.load(tx, session_id, lock=True), unlocked_at=tx.now)


def due_again(tx: Tx, session_id: int) -> None:
    store.note(tx, store.load(tx, session_id, lock=True), due_at=tx.now)


def to_closed(tx: Tx, session_id: int) -> None:
    session = store.load(tx, session_id, lock=True)
    store.move(tx, session, State.CLOSED, closed_at=tx.now)


def put_off(tx: Tx, session_id: int) -> None:
    store.note(tx, store.load(tx, session_id, lock=True), due_at=tx.now + 60_000)


def stand_still(tx: Tx, session_id: int) -> None:
    """Settling, and nothing more comes of it."""
    session = store.load(tx, session_id, lock=True)
    store.move(tx, session, State.SETTLING, closed_at=tx.now)
