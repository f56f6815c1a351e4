"""Scenarios 9 to 15, 22, 25: doors, lines, processes and people that do not do as they should."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from devices.desk.store import Wanted, clear_exception, exceptions_page
from devices.flow.model import UnpaidOrder
from devices.model import DeviceOffline
from devices.sessions.model import DoorBusy, State
from devices.stock.offers.store import push_again
from devices.stock.planograms.store import refuse_planogram
from simulators.xiaomai import Fault
from sql.alerts import clear_alert
from sql.database import Tx
from sql.tables.devices import device_doors, devices, vendor_goods
from tests.devices.flow.town import (
    ANNA,
    BEN,
    CLERK,
    FOREIGNER,
    PRICES,
    STOCK,
    Town,
    _device,
    by,
    set_device,
)


async def shopping(
    town: Town, account_id: int = ANNA, tickets: int = 20_000, door_no: int = 1
) -> int:
    """The door is open, and somebody stands before it."""
    await town.grant(tickets, account_id)
    opened = await town.open(account_id, door_no=door_no)
    await town.hear()
    town.sim.cabinet("XM-1").pull(door_no)
    await town.hear()
    return opened.session.id


async def test_9_a_line_that_breaks_in_the_middle_settles_when_it_is_back(town: Town) -> None:
    session = await shopping(town)
    cabinet = town.sim.cabinet("XM-1")
    cabinet.disconnect()
    await town.turn(60)
    assert await town.state(session) is State.OPEN
    assert ("offline", f"session:{session}") in await town.desk()
    cabinet.take("cola")
    cabinet.close()
    await town.pass_by(120)

    assert await town.state(session) is State.OPEN
    assert await town.held() == 20_000
    await town.grant(500, BEN)
    with pytest.raises((DoorBusy, DeviceOffline)):
        await town.open(BEN)
    await town.db.write(set_device, 1, link="online")
    with pytest.raises(DoorBusy):
        await town.open(BEN)
    assert await town.held(BEN) == 0

    cabinet.connect()
    await town.hear()
    await town.pass_by(20)
    assert await town.state(session) is State.PAID
    assert await town.tickets() == 20_000 - 5 * 350
    assert await town.desk() == []


@pytest.mark.parametrize(("cabinets", "events"), [(50, 500)])
async def test_10_a_storm_loses_nothing_and_holds_up_nobody(
    town: Town, cabinets: int, events: int
) -> None:
    await storm(town, cabinets, events)


@pytest.mark.torture
async def test_10_five_thousand_callbacks_of_five_hundred_devices(one_town: Town) -> None:
    await storm(one_town, 500, 5_000)


async def storm(town: Town, cabinets: int, events: int) -> None:
    await town.grant(20_000)
    codes = [f"ST-{number}" for number in range(cabinets)]
    await town.db.write(add_devices, codes)
    for code in codes:
        town.sim.add_cabinet(code, stock=STOCK, prices=PRICES, bound_to="S1")
    town.sim.courier.pause()
    for number in range(events):
        cabinet = town.sim.cabinet(codes[number % cabinets])
        if number // cabinets % 2:
            cabinet.tell_all()
        else:
            cabinet.raise_alarm("temperature", f"{number}")
    told = [delivery for delivery in town.sim.courier.all if delivery.device_code in set(codes)]
    town.sim.courier.release()
    work = asyncio.create_task(town.hear())

    took = []
    for door_no in (1, 2):
        start = time.perf_counter()
        opened = await town.open(door_no=door_no)
        took.append(time.perf_counter() - start)
        await town.cabinets.resume()
        assert opened.session.state in {State.OPENING, State.OPEN}
        town.sim.dial.clear()
        await town.db.write(end_session, opened.session.id)
    await work
    for _ in range(100):
        if all(delivery.state == "delivered" for delivery in told):
            break
        await town.turn(5)

    assert max(took) < 5.0
    ids = {delivery.event_id for delivery in told}
    kept = [row for row in await town.rows("callback_inbox") if row["event_id"] in ids]
    assert {row["event_id"] for row in kept} == ids
    assert {row["state"] for row in kept} == {"done"}
    statuses = {attempt.status for delivery in told for attempt in delivery.attempts}
    assert statuses <= {200, 503}
    orders: dict[str, list[int]] = defaultdict(list)
    for row in sorted(kept, key=lambda row: (row["ended_at"], row["id"])):
        orders[row["device_code"]].append(msgspec.json.decode(row["body"])["seq"])
    assert all(seqs == sorted(seqs) for seqs in orders.values())


async def test_11_a_command_that_opens_nothing_is_given_back(town: Town) -> None:
    await town.grant(20_000)
    town.sim.dial.add(Fault(at="device.open", kind="never_open", code=3002))
    opened = await town.open()

    await town.pass_by(60)
    assert await town.state(opened) is State.OPENING
    await town.turn(5)

    found = await town.session(opened)
    assert (found.state, found.fail_code) == (State.NOT_OPENED, "no_answer")
    assert await town.tickets() == 20_000
    assert (await town.rows("devices"))[0]["faults"] == 1
    assert town.asked("door/query") == 2
    # No door opens for it any more.
    assert town.asked("door/cancel") == 1
    assert [each.lived.state for each in town.sim.openings.values()] == ["cancelled"]
    again = await town.open(door_no=2)
    assert again.session.state is State.OPENING


async def test_11_a_lock_that_fails_silently_is_given_back_as_soon_as_it_is_known(
    one_town: Town,
) -> None:
    await one_town.grant(20_000)
    one_town.sim.dial.add(Fault(at="device.open", kind="never_open", code=3004))
    opened = await one_town.open()

    await one_town.pass_by(65)

    assert await one_town.state(opened) is State.NOT_OPENED
    assert await one_town.tickets() == 20_000
    assert (await one_town.rows("devices"))[0]["faults"] == 1


@pytest.mark.parametrize(("code", "why"), [(3006, "session_unknown"), (3007, "pending")])
async def test_11_a_device_nothing_is_known_of_to_the_end_is_at_fault(
    one_town: Town, code: int, why: str
) -> None:
    await one_town.grant(20_000)
    one_town.sim.dial.add(Fault(at="device.open", kind="never_open", code=3002))
    one_town.sim.dial.add(Fault(at="door/query", kind="code", code=code, times=None))
    opened = await one_town.open()

    await one_town.pass_by(65)

    found = await one_town.session(opened)
    assert (found.state, found.fail_code) == (State.NOT_OPENED, why)
    assert await one_town.tickets() == 20_000
    assert (await one_town.rows("devices"))[0]["faults"] == 1


async def test_11_what_cannot_be_taken_back_any_more_goes_on(town: Town) -> None:
    await town.grant(20_000)
    town.sim.dial.add(Fault(at="event.door.*", kind="lose", times=None))
    town.sim.dial.add(Fault(at="door/query", kind="code", code=3007, times=None))
    opened = await town.open()
    await town.hear()
    town.sim.cabinet("XM-1").pull()

    await town.pass_by(70)

    found = await town.session(opened)
    assert (found.state, found.unlocked_at) == (State.OPENING, town.clock.now() - 5_000)
    assert await town.held() == 20_000
    town.sim.cabinet("XM-1").take("cola")
    town.sim.cabinet("XM-1").close()
    await town.turn(5)
    assert await town.state(opened) is State.PAID
    assert await town.tickets() == 20_000 - 5 * 350
    assert town.asked("door/cancel") == 1


async def test_11_an_unlocked_door_of_which_nothing_is_known_is_for_a_person(
    one_town: Town,
) -> None:
    await one_town.grant(20_000)
    one_town.sim.dial.add(Fault(at="event.*", kind="lose", times=None))
    one_town.sim.dial.add(Fault(at="door/query", kind="code", code=3007, times=None))
    opened = await one_town.open()
    await one_town.hear()
    one_town.sim.cabinet("XM-1").pull()

    await one_town.pass_by(320)

    assert await one_town.state(opened) is State.ABNORMAL
    assert await one_town.desk() == [("abnormal", f"session:{opened.session.id}")]
    assert await one_town.held() == 20_000
    assert one_town.asked("door/cancel") == 1


async def test_12_a_second_tap_after_no_answer_unlocks_nothing_twice(town: Town) -> None:
    await town.grant(20_000)
    hasty = town.adapter_with(patience_s=0.5)
    town.vendors["xiaomai"] = hasty
    town.start()
    town.sim.dial.add(Fault(at="door/open", kind="hang", seconds=30, is_done=True))
    first = await town.open()
    assert first.session.state is State.OPENING
    assert (await town.session(first)).pulls == 1
    town.vendors["xiaomai"] = town.adapter
    town.start()
    await hasty.close()

    again = await town.open()
    assert again.session.id == first.session.id
    await town.hear()
    town.shop("cola")
    await town.hear()
    await town.pass_by(30)

    assert len(town.unlocked()) == 1
    assert await town.state(first) is State.PAID


async def test_13_a_process_that_dies_after_sending_is_followed(town: Town) -> None:
    await town.grant(20_000)
    town.sim.dial.add(Fault(at="event.*", kind="lose", times=None))

    class Died(BaseException):
        """As kill -9 between the sending and whatever comes after."""

    really = town.adapter.open_door

    async def open_door(command: Any) -> Any:
        await really(command)
        raise Died

    town.adapter.open_door = open_door  # type: ignore[method-assign]
    with pytest.raises(Died):
        await town.open()
    town.adapter.open_door = really  # type: ignore[method-assign]
    (number,) = town.unlocked()
    (row,) = await town.rows("door_sessions")
    assert (row["no"], row["state"]) == (number, "opening")

    town.start()
    town.sim.cabinet("XM-1").pull()
    assert await town.cabinets.resume() == 1
    await town.cabinets.run_due()
    assert await town.state(row["id"]) is State.OPEN

    town.sim.cabinet("XM-1").take("cola")
    town.sim.cabinet("XM-1").close()
    town.sim.dial.clear()
    await town.pass_by(300)
    assert await town.state(row["id"]) is State.PAID


async def test_14_an_unpaid_order_is_paid_and_the_same_scan_works(one_town: Town) -> None:
    await one_town.grant(500)
    opened = await one_town.open()
    await one_town.hear()
    one_town.shop("cola")
    await one_town.hear()
    assert await one_town.state(opened) is State.UNPAID
    asked = len(one_town.sim.calls)

    with pytest.raises(UnpaidOrder):
        await one_town.open(cabinet=1)
    with pytest.raises(UnpaidOrder) as refused:
        await one_town.open(cabinet=2)
    assert len(one_town.sim.calls) == asked

    await one_town.grant(5_000, key="2")
    await one_town.orders.pay(
        refused.value.order_id, ANNA, means="ticket", openid="", client_ip="1.1.1.1", key="k"
    )
    assert (await one_town.open(cabinet=2)).session.state is State.OPENING


async def test_15_the_next_may_come_when_the_door_is_closed(town: Town) -> None:
    town.sim.dial.add(Fault(at="event.order.*", kind="delay", seconds=300, times=None))
    first = await shopping(town)
    await town.grant(500, BEN)
    with pytest.raises(DoorBusy):
        await town.open(BEN)
    assert await town.held(BEN) == 0

    town.sim.cabinet("XM-1").take("cola")
    town.sim.cabinet("XM-1").close()
    await town.hear()
    assert await town.state(first) is State.CLOSED
    second = await town.open(BEN)

    assert second.session.state is State.OPENING
    await town.hear()
    town.shop("nuts")
    await town.hear()
    await town.pass_by(320)
    assert await town.state(first) is State.PAID
    assert await town.state(second) in {State.PAID, State.UNPAID}
    assert await town.tickets() == 20_000 - 5 * 350


async def test_15_where_the_cabinet_itself_is_busy_the_second_is_refused(one_town: Town) -> None:
    """Our session is over, and the platform still has it: its word counts."""
    first = await shopping(one_town)
    await one_town.grant(500, BEN)
    await one_town.db.write(end_session, first)

    refused = await one_town.open(BEN)

    assert (refused.session.state, refused.session.fail_code) == (State.REJECTED, "busy_shopping")
    assert await one_town.tickets(BEN) == 500


async def test_22_a_door_left_open_is_reminded_of_alarmed_of_and_never_settled(
    town: Town,
) -> None:
    session = await shopping(town)
    at: dict[str, int] = {}
    for second in range(5, 700, 5):
        await town.turn(5)
        reminded = [row for row in await town.rows("events") if row["name"] == "door.reminder"]
        if reminded:
            at.setdefault("reminder", second)
        if ("cabinet.door_open", f"session:{session}") in await town.alerts():
            at.setdefault("alarm", second)
        if ("door_open", f"session:{session}") in await town.desk():
            at.setdefault("desk", second)
        assert await town.state(session) is State.OPEN
    assert at == {"reminder": 180, "alarm": 600, "desk": 600}
    # Who is kept to the store sees it there; who is kept to another does not.
    for account_id, expected in ((CLERK, ["door_open"]), (FOREIGNER, [])):
        _, found = await town.db.read(
            exceptions_page, Wanted(is_open=True), by=by(account_id), offset=0, most=9
        )
        assert [each.kind for each in found] == expected

    cabinet = town.sim.cabinet("XM-1")
    cabinet.take("cola", 2)
    cabinet.close()
    await town.hear()
    await town.pass_by(20)
    assert await town.state(session) is State.PAID
    assert await town.tickets() == 20_000 - 10 * 350
    assert ("cabinet.door_open", f"session:{session}") not in await town.alerts()
    assert await town.desk() == []


async def test_22_who_has_looked_after_an_open_door_is_not_told_of_it_again(
    one_town: Town,
) -> None:
    session = await shopping(one_town)
    await one_town.pass_by(620, step=20)
    assert await one_town.desk() == [("door_open", f"session:{session}")]

    await one_town.db.write(clear_exception, "door_open", f"session:{session}", "seen")
    await one_town.pass_by(1_300, step=100)

    assert await one_town.desk() == []
    assert ("cabinet.door_open", f"session:{session}") in await one_town.alerts()


async def test_25_a_door_that_nobody_opened_is_quarantined_and_alarmed(
    town: Town, expect_log: Callable[[str], None]
) -> None:
    town.sim.cabinet("XM-1").force()
    await town.hear()
    town.sim.cabinet("XM-1").take("cola")
    town.sim.cabinet("XM-1").close()
    town.sim.add_cabinet("XM-9", stock=STOCK, prices=PRICES, bound_to="S1").force()
    await town.hear()
    await town.pass_by(60)

    statuses = {a.status for one in town.sim.courier.all for a in one.attempts}
    assert statuses == {200}
    states = {row["event_type"]: row["state"] for row in await town.rows("callback_inbox")}
    assert states["DoorOpened"] == "quarantined"
    alerts = await town.alerts()
    assert ("cabinet.unauthorised_open", "door:1:1") in alerts
    assert any(
        kind == "cabinet.unauthorised_open" and "XM-9" in subject for kind, subject in alerts
    )
    kinds = {kind for kind, _ in await town.desk()}
    assert "no_session" in kinds
    assert await town.rows("door_sessions") == []

    # At the same time nobody takes what we confirm: the outbox grows, and nothing else.
    town.sim.dial.add(Fault(at="order/confirm", kind="http_502", times=None))
    await town.grant(20_000)
    opened = await town.open(door_no=2)
    await town.hear()
    town.shop("cola", door_no=2)
    await town.hear()
    await town.pass_by(120)
    assert await town.state(opened) is State.PAID
    waiting = [row for row in await town.rows("outbox") if row["state"] == "waiting"]
    assert [row["kind"] for row in waiting] == ["cabinet.confirm"]
    assert ("delivery", f"parcel:{waiting[0]['id']}") in await town.desk()

    town.sim.dial.clear()
    await town.pass_by(600, step=60)
    assert {row["state"] for row in await town.rows("outbox")} == {"done"}
    assert "delivery" not in {kind for kind, _ in await town.desk()}
    (book,) = [book for book in town.sim.books() if book["session_no"] == opened.session.no]
    assert book["confirmed"]


async def test_25_what_a_person_has_seen_does_not_come_back_with_a_replay(town: Town) -> None:
    town.sim.cabinet("XM-1").force()
    town.sim.cabinet("XM-1").close()
    town.sim.add_cabinet("XM-9", stock=STOCK, prices=PRICES, bound_to="S1").force()
    await town.hear()
    await shopping(town, door_no=2)
    town.sim.cabinet("XM-1").disconnect()
    await town.turn(130)
    found = await town.desk()
    assert {"no_session", "offline"} <= {kind for kind, _ in found}
    for kind, subject in found:
        if subject.startswith(("door:", "session:")):
            await town.db.write(clear_exception, kind, subject, "seen")
    for kind, subject in await town.alerts():
        await town.db.write(clear_alert, kind, subject)
    left = await town.desk()

    await town.inbox.replay()
    await town.cabinets.sweep("xiaomai")

    assert await town.desk() == left
    assert await town.alerts() == []


async def test_each_start_of_a_cabinet_is_remembered(town: Town) -> None:
    cabinet = town.sim.cabinet("XM-1")
    starts = [cabinet.boot_id]
    cabinet.tell_all()
    for _ in range(3):
        await town.turn(5)
        cabinet.reboot()
        starts.append(cabinet.boot_id)
    await town.hear()

    (row, _) = await town.rows("devices")
    assert [row["boot_id"], *row["boots"].split()] == starts[::-1]


async def test_a_replay_says_nothing_of_how_a_cabinet_is_now(town: Town) -> None:
    cabinet = town.sim.cabinet("XM-1")
    cabinet.raise_alarm("power")
    cabinet.clear_alarm("power")
    for _ in range(8):
        await town.turn(5)
        cabinet.reboot()
    await town.hear()
    before = (await town.rows("devices"), await town.rows("alerts"))

    await town.inbox.replay()

    assert (await town.rows("devices"), await town.rows("alerts")) == before


async def test_a_replay_brings_back_no_old_word_about_goods_or_a_layout(town: Town) -> None:
    await town.db.write(offer, "cola")
    town.sim.tell_goods([{"sku": "cola", "code": 5001, "msg": "no picture"}])
    town.sim.cabinet("XM-1").say("planogram.changed", {"version": 7})
    await town.hear()
    (good,) = await town.rows("vendor_goods")
    assert good["state"] == "refused"
    states = {row["version"]: row["state"] for row in await town.rows("planograms")}
    assert states[8] == "waiting"

    # Since then the good was mended, and the layout given up.
    await town.db.write(push_again, "cola", by=by())
    await town.db.write(refuse_planogram, 1, 8, "by hand")
    await town.replays()

    (good,) = await town.rows("vendor_goods")
    assert good["state"] == "waiting"


def offer(tx: Tx, sku: str) -> None:
    row = {"vendor": "xiaomai", "sku": sku, "mark": "1", "error": "", "changed_at": tx.now}
    tx.execute(insert(vendor_goods), {**row, "state": "waiting"})


def add_devices(tx: Tx, codes: list[str]) -> None:
    for number, code in enumerate(codes, start=100):
        tx.execute(insert(devices), _device(tx, number, code))
        door = {"device_id": number, "door_no": 1, "lock": "unknown", "door": "unknown"}
        tx.execute(insert(device_doors), {**door, "changed_at": None})


def end_session(tx: Tx, session_id: int) -> None:
    """Let it be over here, whatever the platform thinks."""
    from devices.flow import steps
    from devices.sessions import store

    session = store.load(tx, session_id, lock=True)
    if session.state is State.OPEN:
        session = store.move(tx, session, State.ABNORMAL)
    steps.end(tx, session, State.NOT_OPENED, "by_hand")
