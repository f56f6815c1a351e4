"""A door is opened once, by whoever may, and whatever happens in between."""

import asyncio
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from devices.fleet.model import DeviceNotFound, QrInvalid, VendorNotSet
from devices.flow import gates, service
from devices.flow.model import (
    DoorRefused,
    LastSettling,
    MemberBarred,
    NothingForSale,
    NoTickets,
    Rules,
    UnpaidOrder,
)
from devices.flow.service import Cabinets
from devices.model import DeviceInMaintenance, DeviceLocked, DeviceOffline, NotBound
from devices.sessions.model import DoorBusy, SessionNotFound, SessionOpen, State
from devices.sessions.store import Wanted
from devices.vendors.port import CanOpen, Caps, Reason, VendorRefused, VendorUnknown
from payments.scores.model import ScoreUnavailable
from simulators.xiaomai import Fault
from sql.database import Tx, open_database
from sql.idempotency import KeyReused
from sql.tables.commerce import members
from sql.tables.devices import stores
from tests.clock import Clock
from tests.devices.flow.town import (
    ANNA,
    BEN,
    CARL,
    CLERK,
    CODES,
    FOREIGNER,
    RULES,
    STORE,
    Town,
    by,
    set_device,
    town_of,
)


async def test_a_door_is_opened_emptied_closed_and_paid_with_tickets(town: Town) -> None:
    await town.grant(20_000)

    opened = await town.open()
    assert opened.session.state is State.OPENING
    assert await town.held() == 20_000
    await town.hear()
    town.shop("cola", "nuts")
    await town.hear()
    await town.pass_by(60)

    session = await town.session(opened)
    assert session.state is State.PAID
    assert None not in {session.unlocked_at, session.opened_at, session.closed_at}
    assert await town.tickets() == 20_000 - 5 * 450
    assert await town.held() == 0
    assert await town.desk() == []
    await town.replays()


async def test_the_command_says_what_the_contract_asks_and_not_who_it_is(one_town: Town) -> None:
    await one_town.grant(20_000)

    opened = await one_town.open()

    (call,) = [call for call in one_town.sim.calls if call.endpoint == "door/open"]
    said = msgspec.json.decode(call.body)
    session = opened.session
    assert said["request_id"] == session.request_id
    assert said["session_no"] == session.no
    assert said["purpose"] == "shop"
    assert said["expires_at"] == session.expires_at == one_town.clock.now() + 60_000
    assert (said["pull_ttl_s"], said["max_open_s"], said["amount_limit_fen"]) == (30, 600, 20_000)
    assert len(said["user_ref"]) == 32
    assert str(ANNA) != said["user_ref"]


async def test_no_more_is_held_than_the_limit_allows(one_town: Town) -> None:
    await one_town.grant(500_000)

    opened = await one_town.open()

    assert opened.session.hold_tickets == 100_000
    assert await one_town.tickets() == 400_000


async def test_the_store_s_own_limit_goes_before_the_setting(one_town: Town) -> None:
    await one_town.db.write(set_limit, 1_000)
    await one_town.grant(500_000)

    opened = await one_town.open()

    assert (opened.session.limit_fen, opened.session.hold_tickets) == (1_000, 5_000)


# ---------------------------------------------------------------- gates


async def test_an_unpaid_order_keeps_every_door_shut_and_says_how_to_pay(town: Town) -> None:
    await town.grant(500)
    opened = await town.open()
    await town.hear()
    town.shop("cola")
    await town.hear()
    assert await town.state(opened) is State.UNPAID
    asked = len(town.sim.calls)

    with pytest.raises(UnpaidOrder, match=r"250 fen, at /api/v1/cabinet-orders/\d+/pay"):
        await town.open(cabinet=2)

    assert len(town.sim.calls) == asked
    await town.grant(5_000, key="2")
    order = await town.order(opened)
    assert order is not None
    await town.orders.pay(order.id, ANNA, means="ticket", openid="", client_ip="10.0.0.1", key="k")
    again = await town.open(cabinet=2)
    assert again.session.state is State.OPENING


async def test_who_is_barred_opens_nothing(one_town: Town) -> None:
    await one_town.grant(500)
    await one_town.db.write(bar, ANNA)

    with pytest.raises(MemberBarred):
        await one_town.open()


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        ({"link": "offline"}, DeviceOffline),
        ({"sale_lock": "by hand"}, DeviceLocked),
        ({"service": "maintenance"}, DeviceInMaintenance),
        ({"status": "new", "store_id": None}, NotBound),
        ({"qr_version": 2}, QrInvalid),
    ],
)
async def test_a_cabinet_that_is_not_in_order_opens_for_nobody(
    one_town: Town, values: dict[str, Any], refusal: type[Exception]
) -> None:
    await one_town.grant(500)
    await one_town.db.write(set_device, 1, **values)

    with pytest.raises(refusal):
        await one_town.open()

    assert one_town.sim.calls == type(one_town.sim.calls)()


async def test_a_store_s_code_opens_no_door(one_town: Town) -> None:
    with pytest.raises(QrInvalid):
        await one_town.cabinets.open(ANNA, CODES.store(STORE), "ticket")
    with pytest.raises(QrInvalid):
        await one_town.cabinets.open(ANNA, CODES.door(1, 9, 1), "ticket")


async def test_two_people_at_one_door_are_one_too_many(town: Town) -> None:
    await town.grant(500)
    await town.grant(500, BEN)
    await town.open()

    with pytest.raises(DoorBusy):
        await town.open(BEN)
    beside = await town.open(BEN, door_no=2)

    assert beside.session.state is State.OPENING
    assert await town.held(BEN) == 500


async def test_a_person_has_one_door_at_a_time(one_town: Town) -> None:
    await one_town.grant(500)
    await one_town.open()

    with pytest.raises(SessionOpen):
        await one_town.open(door_no=2)


@pytest.mark.parametrize("tickets", [0, 4])
async def test_without_a_fen_s_worth_of_tickets_nothing_opens(one_town: Town, tickets: int) -> None:
    if tickets:
        await one_town.grant(tickets)

    with pytest.raises(NoTickets):
        await one_town.open()


async def test_without_payscore_only_tickets_open(one_town: Town) -> None:
    with pytest.raises(ScoreUnavailable):
        await one_town.open(pay_with="wechat")


async def test_who_is_still_being_settled_waits_ten_minutes(one_town: Town) -> None:
    await one_town.grant(500_000)
    one_town.sim.dial.add(Fault(at="event.order.*", kind="lose", times=None))
    one_town.sim.dial.add(Fault(at="order/query", kind="code", code=4001, times=None))
    await one_town.open()
    await one_town.hear()
    one_town.shop("cola")
    await one_town.hear()

    with pytest.raises(LastSettling) as refused:
        await one_town.open(door_no=2)
    assert refused.value.retry_after_s == 600
    await one_town.turn(600)
    assert (await one_town.open(door_no=2)).session.state is State.OPENING


async def test_where_nothing_may_be_bought_nothing_opens(one_town: Town) -> None:
    await one_town.grant(500)
    await one_town.db.write(set_limit, 0)

    with pytest.raises(NothingForSale):
        await one_town.open()


# ---------------------------------------------------------------- the vendor is asked first


async def test_a_cabinet_not_heard_of_lately_is_asked_first(one_town: Town) -> None:
    await one_town.grant(500)
    await one_town.db.write(set_device, 1, link="unknown")

    opened = await one_town.open()

    assert opened.session.state is State.OPENING
    assert one_town.asked("door/can-open") == 1


async def test_what_it_says_no_to_is_refused_without_a_session(one_town: Town) -> None:
    await one_town.grant(500)
    await one_town.db.write(set_device, 1, link="suspect")
    one_town.sim.cabinet("XM-1").run_on_ups()
    await one_town.hear()
    await one_town.db.write(set_device, 1, link="suspect")

    with pytest.raises(DoorRefused, match="on_ups"):
        await one_town.open()
    one_town.sim.cabinet("XM-1").disconnect()
    with pytest.raises(DeviceOffline):
        await one_town.open()

    assert await one_town.rows("door_sessions") == []
    assert await one_town.held() == 0


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (VendorUnknown("away"), DeviceOffline),
        (VendorRefused(Reason.OFFLINE), DeviceOffline),
        (VendorRefused(Reason.MAINTENANCE), DoorRefused),
        (CanOpen(False, Reason.OFFLINE), DeviceOffline),
        (CanOpen(False, Reason.HARDWARE), DoorRefused),
        (None, DeviceOffline),
    ],
)
async def test_only_a_clear_yes_opens_it(
    one_town: Town, monkeypatch: pytest.MonkeyPatch, answer: Any, refusal: type[Exception]
) -> None:
    async def can_open(*_: object) -> CanOpen:
        if answer is None:
            await asyncio.sleep(60)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, CanOpen)
        return answer

    await one_town.grant(500)
    await one_town.db.write(set_device, 1, link="suspect")
    monkeypatch.setattr(one_town.adapter, "can_open", can_open)
    one_town.start(rules=Rules(salt="s" * 10, can_open_s=0.01))

    with pytest.raises(refusal):
        await one_town.open()


async def test_a_vendor_that_cannot_be_asked_is_as_good_as_offline(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one_town.grant(500)
    await one_town.db.write(set_device, 1, link="suspect")
    monkeypatch.setattr(type(one_town.adapter), "caps", Caps(door_sensor=True))

    with pytest.raises(DeviceOffline):
        await one_town.open()


# ---------------------------------------------------------------- once


async def test_the_same_key_is_the_same_session(town: Town) -> None:
    await town.grant(500)

    first = await town.open(key="k1")
    await town.hear()
    again = await town.open(key="k1")

    assert again.session.id == first.session.id
    assert len(town.unlocked()) == 1
    with pytest.raises(KeyReused):
        await town.open(key="k1", door_no=2)


async def test_many_taps_at_once_are_one_session(town: Town) -> None:
    await town.grant(500)

    opened = await asyncio.gather(*(town.open(key="k1") for _ in range(5)))
    tapped = await asyncio.gather(*(town.open() for _ in range(5)))

    assert len({each.session.id for each in [*opened, *tapped]}) == 1
    assert len(town.unlocked()) == 1
    assert await town.held() == 500


async def test_two_taps_in_two_processes_are_one_session(mariadb_url: str, clock: Clock) -> None:
    here = await open_database(mariadb_url, now=clock.now)
    there = await open_database(mariadb_url, now=clock.now)
    async with town_of(here, clock) as town:
        await town.grant(500)
        beside = Cabinets(there, town.vendors, CODES, scores=town.scores, rules=RULES)
        qr = CODES.door(1, 1, 1)

        opened = await asyncio.gather(
            *(
                each.open(ANNA, qr, "ticket", key=key)
                for key in ("k1", "k2")
                for each in (town.cabinets, beside, town.cabinets, beside)
            )
        )

        assert len({each.session.id for each in opened}) == 1
        assert len(town.unlocked()) == 1
        await town.is_well()
    await there.close()
    await here.close()


async def test_who_is_overtaken_by_oneself_gets_the_same_session(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one_town.grant(500)
    first = await one_town.open()
    really, looks = service._known, []

    def known(tx: Tx, wish: Any) -> Any:
        """As if the first had not been committed yet when the second looked."""
        looks.append(wish)
        return None if len(looks) == 1 else really(tx, wish)

    monkeypatch.setattr(service, "_known", known)

    second = await one_town.open()

    assert second.session.id == first.session.id
    assert one_town.asked("door/open") == 1


async def test_tickets_spent_at_this_very_moment_open_nothing(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one_town.grant(500)
    monkeypatch.setattr(gates, "affordable", lambda *_: 1_000)

    with pytest.raises(NoTickets):
        await one_town.open()

    assert await one_town.rows("door_sessions") == []
    assert one_town.unlocked() == []


async def test_a_second_tap_asks_what_became_of_the_first(one_town: Town) -> None:
    await one_town.grant(500)
    one_town.sim.dial.add(Fault(at="door/open", kind="drop", is_done=True))
    one_town.sim.dial.add(Fault(at="event.*", kind="lose", times=None))
    first = await one_town.open()
    assert first.session.state is State.OPENING
    one_town.sim.cabinet("XM-1").pull()

    second = await one_town.open()

    assert second.session.id == first.session.id
    assert second.session.state is State.OPEN
    assert second.session.vendor_order_no
    assert one_town.asked("door/open") == 1


async def test_nothing_is_sent_again_that_may_have_arrived(one_town: Town) -> None:
    await one_town.grant(500)
    one_town.sim.dial.add(Fault(at="door/*", kind="http_502", times=None))
    opened = await one_town.open()

    at = []
    for second in range(1, 20):
        before = one_town.asked("door/query")
        await one_town.turn(1)
        at += [second] * (one_town.asked("door/query") - before)

    assert at == [1, 3, 7, 15]
    assert one_town.asked("door/open") == 1
    assert await one_town.state(opened) is State.OPENING


async def test_what_never_arrived_is_sent_again_with_the_same_number(one_town: Town) -> None:
    await one_town.grant(500)
    one_town.sim.dial.add(Fault(at="door/open", kind="drop"))

    opened = await one_town.open()
    await one_town.pass_by(25)

    assert one_town.asked("door/open") == 2
    assert one_town.unlocked() == [opened.session.no]
    assert (await one_town.session(opened)).unlocked_at is not None


async def test_what_never_arrived_is_not_sent_again_when_it_has_expired(one_town: Town) -> None:
    await one_town.grant(500)
    one_town.sim.dial.add(Fault(at="door/open", kind="drop", times=None))
    one_town.sim.dial.add(Fault(at="door/query", kind="http_502", times=None))
    opened = await one_town.open()
    await one_town.pass_by(62)
    one_town.sim.dial.clear()

    await one_town.pass_by(30)

    assert one_town.asked("door/open") == 1
    assert await one_town.state(opened) is State.NOT_OPENED
    assert await one_town.tickets() == 500


async def test_a_clear_no_is_rejected_and_the_hold_goes_back(one_town: Town) -> None:
    await one_town.grant(500)
    one_town.sim.dial.add(Fault(at="door/open", kind="code", code=2008))

    opened = await one_town.open()

    assert (opened.session.state, opened.session.fail_code) == (State.REJECTED, "hardware")
    assert await one_town.tickets() == 500
    assert (await one_town.rows("devices"))[0]["faults"] == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [(2006, "maintenance"), (2007, "on_ups"), (2008, "hardware"), (2009, "temperature")],
)
@pytest.mark.parametrize("at", ["door/open", "door/can-open"])
async def test_a_cabinet_that_is_locked_out_is_told_of_until_it_opens(
    one_town: Town, code: int, reason: str, at: str
) -> None:
    await one_town.grant(500)
    await one_town.db.write(set_device, 1, link="unknown")
    one_town.sim.dial.add(Fault(at=at, kind="code", code=code))
    if at == "door/open":
        await one_town.open()
    else:
        with pytest.raises(DoorRefused, match=reason):
            await one_town.open()
    assert await one_town.alerts() == [("cabinet.alarm", f"xiaomai:XM-1:{reason}")]

    # That of another cabinet tells nothing of this one.
    await one_town.grant(500, BEN)
    await one_town.open(BEN, cabinet=2)
    one_town.shop(cabinet=2)
    await one_town.hear()
    assert len(await one_town.alerts()) == 1

    await one_town.open()
    one_town.sim.cabinet("XM-1").pull()
    await one_town.hear()
    assert await one_town.alerts() == []


async def test_a_no_for_who_stands_there_is_no_alarm(one_town: Town) -> None:
    await one_town.grant(500)
    one_town.sim.dial.add(Fault(at="door/open", kind="code", code=2004))

    assert (await one_town.open()).session.fail_code == "busy_shopping"

    assert await one_town.alerts() == []


async def test_a_no_that_comes_after_the_door_was_heard_of_is_not_believed(
    one_town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one_town.grant(500)
    really = one_town.adapter.open_door

    async def open_door(command: Any) -> Any:
        ack = await really(command)
        await one_town.hear()
        return msgspec.structs.replace(ack, outcome="not_executed", reason=Reason.OTHER)

    monkeypatch.setattr(one_town.adapter, "open_door", open_door)

    opened = await one_town.open()

    assert opened.session.state is State.OPENING
    assert opened.session.unlocked_at is not None


async def test_a_vendor_that_is_not_set_up_opens_nothing(one_town: Town) -> None:
    await one_town.grant(500)
    one_town.vendors.clear()
    one_town.start()

    with pytest.raises(VendorNotSet):
        await one_town.open()
    await one_town.db.write(set_device, 1, link="suspect")
    with pytest.raises(VendorNotSet):
        await one_town.open()

    assert [row["state"] for row in await one_town.rows("door_sessions")] == ["rejected"]
    assert await one_town.held() == 0


# ---------------------------------------------------------------- staff


@pytest.mark.parametrize("purpose", ["restock", "inspect"])
async def test_staff_open_a_door_and_no_money_comes_of_it(town: Town, purpose: Any) -> None:
    opened = await town.cabinets.open_for_staff(1, 1, purpose, by=by(), key="k", reason="full")
    await town.hear()
    town.shop("cola")
    await town.hear()
    await town.pass_by(130)

    assert opened.session.purpose == purpose
    assert await town.state(opened) is State.NO_PURCHASE
    assert await town.rows("cabinet_orders") == []
    assert await town.desk() == []
    (line,) = await town.rows("staff_audit")
    assert (line["action"], line["subject"], line["reason"]) == ("device.open", "device:1", "full")


@pytest.mark.parametrize("values", [{"service": "maintenance"}, {"sale_lock": "x"}])
async def test_staff_open_where_nobody_may_shop(one_town: Town, values: dict[str, Any]) -> None:
    await one_town.db.write(set_device, 1, **values)

    opened = await one_town.cabinets.open_for_staff(1, 1, "restock", by=by(), key="k")
    again = await one_town.cabinets.open_for_staff(1, 1, "restock", by=by(), key="k")

    assert opened.session.state is State.OPENING
    assert again.session.id == opened.session.id
    assert one_town.asked("door/can-open") == 1


async def test_staff_of_another_store_find_no_such_cabinet(one_town: Town) -> None:
    with pytest.raises(DeviceNotFound):
        await one_town.cabinets.open_for_staff(1, 1, "restock", by=by(FOREIGNER), key="k")
    with pytest.raises(DeviceNotFound):
        await one_town.cabinets.open_for_staff(1, 7, "restock", by=by(), key="k")

    assert one_town.unlocked() == []


# ---------------------------------------------------------------- looking


async def test_a_session_is_shown_to_its_own_person(one_town: Town) -> None:
    await one_town.grant(500)
    opened = await one_town.open()

    mine = await one_town.cabinets.session(opened.session.id, account_id=ANNA)

    assert mine.id == opened.session.id
    with pytest.raises(SessionNotFound):
        await one_town.cabinets.session(opened.session.id, account_id=BEN)
    assert (await one_town.cabinets.current(ANNA)) == mine
    assert await one_town.cabinets.current(CARL) is None


async def test_a_store_s_code_offers_its_doors(one_town: Town) -> None:
    offered = await one_town.cabinets.doors(CODES.store(STORE))
    own = await one_town.cabinets.doors(CODES.door(2, 1, 1))

    assert offered.name == "Store 1"
    places = [(door.device_id, door.door_no) for door in offered.doors]
    assert places == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert offered.doors[0].qr == CODES.door(1, 1, 1)
    assert (own.name, [door.door_no for door in own.doors]) == ("cabinet XM-2", [1, 2])


async def test_staff_see_the_sessions_of_their_stores(one_town: Town) -> None:
    await one_town.grant(500)
    await one_town.open()

    async def seen(account_id: int) -> int:
        total, _ = await one_town.cabinets.page(Wanted(), by=by(account_id), offset=0, most=9)
        return total

    assert (await seen(CLERK), await seen(FOREIGNER)) == (1, 0)


def set_limit(tx: Tx, limit_fen: int) -> None:
    tx.execute(stores.update().values(review_limit_fen=limit_fen))


def bar(tx: Tx, account_id: int) -> None:
    row = {"account_id": account_id, "username": "", "phone_box": "", "phone_hash": ""}
    more = {"phone_tail": "", "barred_at": tx.now, "barred_reason": "x"}
    tx.execute(insert(members), {**row, **more, "created_at": tx.now, "updated_at": tx.now})
