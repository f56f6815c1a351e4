"""What follows besides: events of nobody, people's decisions, the vendor's books."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from accounts.messages import Dead, Delivered, Retry
from devices.flow import decisions, events, reconcile, steps
from devices.flow import store as books
from devices.flow.model import DoorInUse, OrderThere
from devices.sessions import store
from devices.sessions.model import State
from devices.vendors.port import Caps, OrderPage
from simulators.xiaomai import Fault
from sql.database import Tx
from sql.tables.devices import cabinet_exceptions, devices
from tests.devices.flow.town import BEN, Town, by, read_rows

LOST = Fault(at="event.order.*", kind="lose", times=None)


async def closed(town: Town, *skus: str) -> int:
    await town.grant(20_000)
    opened = await town.open()
    await town.hear()
    town.shop(*skus)
    await town.hear()
    return opened.session.id


async def decide(town: Town, kind: str, which: int, subject: str = "") -> None:
    """A person approves (0) or rejects (1) what is on the desk."""

    def verb(tx: Tx) -> None:
        rows = read_rows(tx, "cabinet_exceptions")
        row = next(
            row
            for row in rows
            if row["kind"] == kind and row["open_key"] and subject in row["subject"]
        )
        exception = type("Exception_", (), row)()
        decisions.DECISIONS[kind][which](tx, exception, by(), None)
        mine = cabinet_exceptions.c.id == row["id"]
        tx.execute(cabinet_exceptions.update().where(mine).values(open_key=None, state="approved"))

    await town.db.write(verb)


# ---------------------------------------------------------------- events


async def test_a_late_opening_is_on_the_desk_and_seen_to(town: Town) -> None:
    await town.grant(500)
    opened = await town.open()
    town.sim.dial.add(Fault(at="event.*", kind="lose", times=None))
    await town.sim.idle()
    await town.db.write(given_up, opened.session.id)
    town.sim.dial.clear()
    town.sim.cabinet("XM-1").pull()
    await town.hear()

    subject = f"session:{opened.session.id}"
    found = await town.session(opened)
    assert (found.state, found.fail_code) == (State.ABNORMAL, "opened_late")
    assert ("cabinet.unauthorised_open", subject) in await town.alerts()
    assert ("abnormal", subject) in await town.desk()

    await decide(town, "abnormal", 0)
    assert await town.state(opened) is State.NO_PURCHASE
    assert ("cabinet.unauthorised_open", subject) not in await town.alerts()


async def test_a_door_that_moves_by_itself_is_on_the_desk_once(one_town: Town) -> None:
    cabinet = one_town.sim.cabinet("XM-1")
    for _ in range(2):
        cabinet.force()
        await one_town.hear()
        cabinet.close()
        await one_town.hear()

    assert [subject for kind, subject in await one_town.desk() if kind == "no_session"].count(
        "door:1:1"
    ) == 1
    await decide(one_town, "no_session", 0, "door:")
    assert ("cabinet.unauthorised_open", "door:1:1") not in await one_town.alerts()


async def test_a_vendor_without_numbers_is_heard_by_who_is_at_the_door(one_town: Town) -> None:
    session = await closed(one_town, "cola")
    await one_town.pass_by(20)
    assert await one_town.state(session) is State.PAID
    await one_town.grant(500, BEN)
    opened = await one_town.open(BEN)
    await one_town.hear()
    event = {
        "event_type": "door.opened",
        "occurred_at": one_town.clock.now(),
        "device_code": "XM-1",
        "door_no": 1,
        "seq": 10_000,
        "boot_id": "b",
        "session_no": "",
        "request_id": "",
        "data": {},
    }

    one_town.sim.courier.tell(event)
    one_town.sim.courier.tell({**event, "door_no": 2, "event_type": "door.closed"})
    one_town.sim.courier.tell(
        {**event, "device_code": "XM-2", "session_no": opened.session.no, "seq": 1}
    )
    await one_town.hear()

    assert await one_town.state(opened) is State.OPEN
    rows = await one_town.rows("callback_inbox")
    assert [row["state"] for row in rows[-3:]] == ["done", "quarantined", "quarantined"]


async def test_what_is_requested_only_is_not_at_the_door_yet(pay_town: Town) -> None:
    opened = await pay_town.open(pay_with="wechat")
    pay_town.sim.cabinet("XM-1").force()
    pay_town.sim.cabinet("XM-1").disconnect()
    await pay_town.hear()
    await pay_town.turn(1)

    assert await pay_town.state(opened) is State.REQUESTED
    assert ("no_session", "door:1:1") in await pay_town.desk() or pay_town.sim.courier.all


async def test_a_line_that_comes_back_with_the_door_open_is_no_trouble_any_more(
    one_town: Town,
) -> None:
    await one_town.grant(500)
    opened = await one_town.open()
    await one_town.hear()
    cabinet = one_town.sim.cabinet("XM-1")
    cabinet.pull()
    await one_town.hear()
    cabinet.disconnect()
    await one_town.turn(1)
    assert ("offline", f"session:{opened.session.id}") in await one_town.desk()

    cabinet.connect()
    await one_town.hear()

    assert await one_town.desk() == []
    assert await one_town.state(opened) is State.OPEN


async def test_a_word_about_goods_and_one_of_a_vendor_that_is_gone(one_town: Town) -> None:
    one_town.sim.tell_goods([{"sku": "cola", "code": 0, "msg": ""}])
    await one_town.hear()
    (row,) = await one_town.rows("callback_inbox")
    assert row["state"] == "done"

    one_town.sim.cabinet("XM-1").raise_alarm("power")
    await one_town.sim.idle()
    one_town.cabinets._vendors.clear()
    await one_town.inbox.work_due()
    rows = await one_town.rows("callback_inbox")
    assert (rows[1]["state"], rows[1]["outcome"]) == ("quarantined", "there is no vendor xiaomai")


async def test_of_heartbeats_heard_together_only_the_strangers_is_put_aside(town: Town) -> None:
    for code in ("XM-1", "XM-2"):
        town.sim.cabinet(code).tell_all()
    await town.sim.idle()
    await town.db.write(_rename, "XM-2", "XM-9")

    await town.inbox.work_due()

    rows = await town.rows("callback_inbox")
    assert {(row["event_type"], row["device_code"], row["state"]) for row in rows} == {
        ("Telemetry", "XM-1", "done"),
        ("Telemetry", "XM-2", "quarantined"),
    }
    said = {row["code"]: row["reported_at"] for row in await town.rows("devices")}
    assert said == {"XM-1": town.clock.now(), "XM-9": None}


def _rename(tx: Tx, code: str, to: str) -> None:
    tx.execute(update(devices).where(devices.c.code == code).values(code=to))


# ---------------------------------------------------------------- a person decides


async def test_a_person_says_that_nothing_was_taken(town: Town) -> None:
    town.sim.dial.add(LOST)
    town.sim.dial.add(Fault(at="order/query", kind="code", code=4001, times=None))
    session = await closed(town, "cola")
    await town.pass_by(110)

    await decide(town, "no_order", 0)

    assert await town.state(session) is State.NO_PURCHASE
    assert (await town.tickets(), await town.held()) == (20_000, 0)
    # The order comes all the same: it is a person's again, and nothing is charged.
    town.sim.dial.clear()
    await town.cabinets.sweep("xiaomai")
    assert await town.state(session) in {State.ABNORMAL, State.NO_PURCHASE}
    assert "late_order" in {kind for kind, _ in await town.desk()}
    assert await town.tickets() == 20_000


async def test_a_person_lets_it_be_asked_for_once_more(one_town: Town) -> None:
    one_town.sim.dial.add(LOST)
    one_town.sim.dial.add(Fault(at="order/query", kind="code", code=4001, times=3))
    session = await closed(one_town, "cola")
    await one_town.pass_by(110)

    await decide(one_town, "no_order", 1)
    await one_town.cabinets.run_due()

    assert await one_town.state(session) is State.PAID


async def test_nothing_is_decided_about_a_door_in_use_or_an_order_that_is_there(
    one_town: Town,
) -> None:
    session = await closed(one_town, "cola")
    await one_town.db.write(on_desk, session, "no_order")
    with pytest.raises(OrderThere):
        await decide(one_town, "no_order", 0)
    await decide(one_town, "no_order", 1)

    await one_town.grant(500, BEN)
    opened = await one_town.open(BEN)
    await one_town.db.write(on_desk, opened.session.id, "offline")
    with pytest.raises(DoorInUse):
        await one_town.db.write(
            decisions.nothing_taken, exception_of(opened.session.id), by(), None
        )


async def test_what_is_over_stays_over(one_town: Town) -> None:
    await one_town.grant(500)
    opened = await one_town.open()
    await one_town.db.write(given_up, opened.session.id)

    await one_town.db.write(decisions.nothing_taken, exception_of(opened.session.id), by(), None)

    assert await one_town.state(opened) is State.NOT_OPENED


# ---------------------------------------------------------------- confirmations


async def test_a_person_gives_a_confirmation_up_or_has_it_tried_now(one_town: Town) -> None:
    one_town.sim.dial.add(Fault(at="order/confirm", kind="http_502", times=5))
    await closed(one_town, "cola")
    await one_town.pass_by(110)
    (parcel,) = await one_town.rows("outbox")
    assert ("delivery", f"parcel:{parcel['id']}") in await one_town.desk()

    await decide(one_town, "delivery", 0)
    await one_town.outbox.deliver_due()
    (parcel,) = await one_town.rows("outbox")
    assert (parcel["state"], parcel["attempts"]) == ("waiting", 5)
    await one_town.db.write(books.parcel_stuck, parcel_of(parcel), "again")
    await decide(one_town, "delivery", 1)

    (parcel,) = await one_town.rows("outbox")
    assert (parcel["state"], parcel["last_error"]) == ("dead", "given up by account 11")


async def test_a_difference_between_books_is_only_read(one_town: Town) -> None:
    exception = type("Exception_", (), {"subject": "compare:C1", "session_id": None})()

    for act in decisions.DECISIONS["delivery"]:
        await one_town.db.write(act, exception, by(), None)

    assert await one_town.rows("outbox") == []


async def test_only_the_last_word_about_an_order_is_said(one_town: Town) -> None:
    await closed(one_town, "cola")
    await one_town.pass_by(20)
    (parcel,) = await one_town.rows("outbox")
    payload = msgspec.json.decode(parcel["payload"])
    older = {**payload, "result": {**payload["result"], "net_paid_fen": 1}}
    asked = one_town.asked("order/confirm")

    assert isinstance(await one_town.cabinets.deliver_confirmation(older), Delivered)
    assert one_town.asked("order/confirm") == asked
    assert isinstance(await one_town.cabinets.deliver_confirmation(payload), Delivered)
    assert one_town.asked("order/confirm") == asked + 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(at="order/confirm", kind="code", code=4001), Dead),
        (Fault(at="order/confirm", kind="code", code=1005), Retry),
        (Fault(at="order/confirm", kind="nonsense"), Retry),
    ],
)
async def test_what_the_vendor_says_to_it(one_town: Town, fault: Fault, kind: type) -> None:
    payload = await confirmation(one_town)
    one_town.sim.dial.add(fault)

    assert isinstance(await one_town.cabinets.deliver_confirmation(payload), kind)


async def test_who_wants_no_confirmation_gets_none(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = await confirmation(one_town)
    asked = one_town.asked("order/confirm")
    other = {"vendor_order_no": "XM-unknown", "order_no": "C-unknown"}
    unknown = {**payload, "result": {**payload["result"], **other}}
    assert isinstance(await one_town.cabinets.deliver_confirmation(unknown), Dead)
    monkeypatch.setattr(type(one_town.adapter), "caps", Caps())

    assert isinstance(await one_town.cabinets.deliver_confirmation(payload), Delivered)
    gone = await one_town.cabinets.deliver_confirmation({**payload, "vendor": "gone"})
    assert isinstance(gone, Retry)
    assert one_town.asked("order/confirm") == asked + 1


async def confirmation(town: Town) -> dict[str, Any]:
    await closed(town, "cola")
    await town.pass_by(20)
    (parcel,) = await town.rows("outbox")
    payload: dict[str, Any] = msgspec.json.decode(parcel["payload"])
    return payload


# ---------------------------------------------------------------- the vendor's books


async def test_a_sweep_finds_what_was_not_told_and_goes_on_from_there(town: Town) -> None:
    town.sim.dial.add(LOST)
    town.sim.dial.add(Fault(at="order/query", kind="code", code=4001, times=None))
    session = await closed(town, "cola")

    assert await town.cabinets.sweep("xiaomai") == 1
    assert await town.state(session) is State.PAID
    assert await town.db.read(books.mark_of, "xiaomai") == town.clock.now()
    # Ten minutes are read again, and nothing before them.
    assert await town.cabinets.sweep("xiaomai") == 1
    await town.turn(1_300)
    await town.cabinets.sweep("xiaomai")
    assert await town.cabinets.sweep("xiaomai") == 0


async def test_one_order_s_trouble_holds_up_the_mark_and_no_other(
    one_town: Town, monkeypatch: pytest.MonkeyPatch, expect_log: Callable[[str], None]
) -> None:
    expect_log("order XM.* could not be taken")
    one_town.sim.dial.add(LOST)
    one_town.sim.dial.add(Fault(at="order/query", kind="code", code=4001, times=None))
    await closed(one_town, "cola")
    await one_town.grant(5_000, BEN)
    second = await one_town.open(BEN)
    await one_town.hear()
    one_town.shop("nuts")
    await one_town.hear()
    really = events.take

    def take(tx: Tx, vendor: str, fact: Any, **values: Any) -> Any:
        if fact.session_no != second.session.no:
            raise RuntimeError("a mistake of ours")
        return really(tx, vendor, fact, **values)

    monkeypatch.setattr(events, "take", take)

    assert await one_town.cabinets.sweep("xiaomai") == 2
    assert await one_town.state(second) is State.PAID
    assert await one_town.db.read(books.mark_of, "xiaomai") is None
    compared = await one_town.cabinets.compare_day("xiaomai", 20261120)
    assert (compared.listed, compared.missed) == (2, 1)


async def test_a_day_s_books_agree(town: Town) -> None:
    session = await closed(town, "cola")
    await town.pass_by(20)
    await town.cabinets.open_for_staff(1, 2, "restock", by=by(), key="k")

    compared = await town.cabinets.compare_day("xiaomai", 20261120)

    assert await town.state(session) is State.PAID
    assert str(compared) == "1 orders of 350 fen, here 350 fen, 0 missed, 0 not listed"
    assert await town.desk() == []


async def test_what_does_not_agree_is_on_the_desk(one_town: Town) -> None:
    await closed(one_town, "cola")
    await one_town.pass_by(20)
    order = next(iter(one_town.sim.orders.all.values()))
    no = (await one_town.rows("cabinet_orders"))[0]["no"]

    ours = await one_town.db.write(
        books.note_sums, "xiaomai", 20261120, {order.wheat_order_no: 999, "XM-none": 5}
    )
    assert ours == 350 + 5
    assert ("delivery", f"compare:{no}") in await one_town.desk()
    await decide(one_town, "delivery", 0)
    one_town.sim.orders.all.clear()
    compared = await one_town.cabinets.compare_day("xiaomai", 20261120)
    assert (compared.listed, compared.unlisted) == (0, 1)
    assert ("delivery", f"compare:{no}") in await one_town.desk()


async def test_a_list_that_never_ends_is_left(
    one_town: Town, monkeypatch: pytest.MonkeyPatch, expect_log: Callable[[str], None]
) -> None:
    expect_log("xiaomai lists more than 3 pages of orders")

    async def list_orders(*_: object) -> OrderPage:
        return OrderPage((), "more")

    monkeypatch.setattr(reconcile, "PAGES_MAX", 3)
    monkeypatch.setattr(one_town.adapter, "list_orders", list_orders)

    assert await one_town.cabinets.sweep("xiaomai") == 0


def given_up(tx: Tx, session_id: int) -> None:
    steps.end(tx, store.load(tx, session_id, lock=True), State.NOT_OPENED, "by_hand")


def on_desk(tx: Tx, session_id: int, kind: str) -> None:
    steps.put_on_desk(tx, store.load(tx, session_id), kind, "x", severity="low")


def exception_of(session_id: int) -> Any:
    return type("Exception_", (), {"subject": f"session:{session_id}", "session_id": session_id})()


def parcel_of(row: dict[str, Any]) -> Any:
    return type("Parcel_", (), {"id": row["id"], "kind": row["kind"]})()
