"""Rows of door sessions, on both databases: one for a door, one for a person, guarded, told."""

from typing import Any

import msgspec
import pytest
from sqlalchemy.exc import IntegrityError

from devices.sessions import store
from devices.sessions.model import (
    MOVES,
    DoorBusy,
    DoorSession,
    SessionNotFound,
    SessionOpen,
    State,
)
from devices.sessions.store import New, Wanted
from sql.database import Database, Tx
from tests.clock import Clock
from tests.conftest import Told


def new(n: int = 1, **values: Any) -> New:
    row: dict[str, Any] = {
        "once_key": f"once-{n}",
        "vendor": "xiaomai",
        "device_id": 3,
        "door_no": n,
        "store_id": 2,
        "account_id": 10 + n,
        "purpose": "shop",
        "pay_with": "ticket",
        "limit_fen": 20_000,
        "planogram_version": 4,
        "prices": {"cola": 350},
    }
    return New(**{**row, **values})


def taken(tx: Tx, /, session_id: int, *states: State, **values: Any) -> DoorSession:
    """The session moved along these states."""
    session = store.load(tx, session_id, lock=True)
    for state in states[:-1]:
        session = store.move(tx, session, state)
    return store.move(tx, session, states[-1], **values)


async def test_a_session_begins_as_a_request_with_numbers_of_its_own(
    db: Database, clock: Clock
) -> None:
    first = await db.write(store.begin, new(1))
    second = await db.write(store.begin, new(2))

    assert first.state is State.REQUESTED
    assert first.prices == {"cola": 350}
    assert first.due_at == clock.now() + 5_000
    assert len({first.no, second.no, first.request_id, second.request_id}) == 4
    assert await db.read(store.load, first.id) == first


async def test_a_door_has_one_session_at_a_time(db: Database) -> None:
    await db.write(store.begin, new(1))

    with pytest.raises(DoorBusy):
        await db.write(store.begin, new(2, door_no=1))


async def test_a_person_has_one_session_at_a_time(db: Database) -> None:
    await db.write(store.begin, new(1))

    with pytest.raises(SessionOpen):
        await db.write(store.begin, new(2, account_id=11))


async def test_a_wish_is_written_once(db: Database) -> None:
    await db.write(store.begin, new(1))

    with pytest.raises(IntegrityError):
        await db.write(store.begin, new(2, once_key="once-1"))


async def test_a_door_is_free_again_when_it_was_closed(db: Database) -> None:
    first = await db.write(store.begin, new(1))
    await db.write(taken, first.id, State.OPENING, State.OPEN, State.CLOSED)

    second = await db.write(store.begin, new(2, door_no=1))

    assert await db.read(store.at_door, 3, 1) == second
    assert await db.read(store.physical_of, 11) is None
    assert await db.read(store.last_of, 12) == second
    assert await db.read(store.last_of, 99) is None


async def test_who_comes_second_by_a_hair_is_told_the_same(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.write(store.begin, new(1))
    looks = []

    def see_free(tx: Tx, door_key: str, account_id: int) -> None:
        """The first look sees nothing, as before another's commit."""
        looks.append(door_key)
        if len(looks) > 1:
            see_really(tx, door_key, account_id)

    see_really = store._see_free
    monkeypatch.setattr(store, "_see_free", see_free)

    with pytest.raises(DoorBusy):
        await db.write(store.begin, new(2, door_no=1))
    assert len(looks) == 2


async def test_each_move_is_told_to_all_who_may_know(db: Database, told: Told) -> None:
    session = await db.write(store.begin, new(1))
    told.events.clear()

    await db.write(taken, session.id, State.OPENING)

    assert sorted(event.stream for event in told.events) == [
        "account:11",
        "cabinet:3",
        "cabinets",
        f"door:{session.id}",
    ]
    assert {event.name for event in told.events} == {"door.opening"}
    data = msgspec.json.decode(told.events[0].data)
    assert (data["session_id"], data["state"], data["device_id"]) == (session.id, "opening", 3)
    assert "account_id" not in data


async def test_a_move_sets_what_follows_from_it(db: Database, clock: Clock) -> None:
    session = await db.write(store.begin, new(1))

    abnormal = await db.write(taken, session.id, State.OPENING, State.ABNORMAL)
    settling = await db.write(taken, session.id, State.SETTLING)
    paid = await db.write(taken, session.id, State.PAID)
    again = await db.write(taken, session.id, State.ABNORMAL)

    assert abnormal.manual_at == clock.now()
    assert (settling.manual_at, settling.ended_at) == (None, None)
    assert (paid.ended_at, paid.due_at) == (clock.now(), None)
    assert (again.ended_at, again.manual_at) == (None, clock.now())


async def test_what_is_given_goes_before_what_follows(db: Database) -> None:
    session = await db.write(store.begin, new(1))

    moved = await db.write(taken, session.id, State.OPENING, due_at=7, fail_code="x")

    assert (moved.due_at, moved.fail_code) == (7, "x")
    assert await db.read(store.load, session.id) == moved


async def test_a_move_to_where_it_is_tells_nothing(db: Database, told: Told) -> None:
    session = await db.write(store.begin, new(1))
    told.events.clear()

    noted = await db.write(taken, session.id, State.REQUESTED, pulls=3)
    same = await db.write(taken, session.id, State.REQUESTED)

    assert (noted.pulls, same) == (3, noted)
    assert told.events == []


async def test_what_does_not_follow_is_our_own_mistake(db: Database) -> None:
    session = await db.write(store.begin, new(1))

    for was in State:
        forged = msgspec.structs.replace(session, state=was)
        for to in set(State) - MOVES[was] - {was}:
            with pytest.raises(AssertionError, match="to"):
                await db.write(store.move, forged, to)


async def test_a_session_that_was_changed_meanwhile_is_not_changed(db: Database) -> None:
    session = await db.write(store.begin, new(1))
    await db.write(store.note, session, pulls=1)

    with pytest.raises(AssertionError, match="not as it was read"):
        await db.write(store.move, session, State.OPENING)


async def test_a_session_is_found_by_each_of_its_numbers(db: Database) -> None:
    session = await db.write(store.begin, new(1))
    session = await db.write(store.note, session, vendor_order_no="XM1")

    assert await db.read(store.by_request, session.request_id) == session
    assert await db.read(store.by_no, session.no) == session
    assert await db.read(store.by_vendor_order, "xiaomai", "XM1") == session
    assert await db.read(store.by_once_key, "once-1") == session
    assert await db.read(store.by_vendor_order, "sim", "XM1") is None
    assert await db.read(store.by_vendor_order, "xiaomai", "") is None
    assert await db.read(store.by_request, "") is None
    assert await db.read(store.by_no, "") is None
    with pytest.raises(SessionNotFound):
        await db.read(store.load, session.id + 1)


async def test_what_is_due_comes_the_longest_overdue_first(db: Database, clock: Clock) -> None:
    first = await db.write(store.begin, new(1))
    clock.advance(seconds=-1)
    second = await db.write(store.begin, new(2))
    clock.advance(seconds=5)

    assert await db.read(store.due) == [second.id]
    clock.advance(seconds=1)
    assert await db.read(store.due) == [second.id, first.id]
    assert await db.read(store.due, most=1) == [second.id]


async def test_sessions_of_a_state_are_found(db: Database) -> None:
    first = await db.write(store.begin, new(1))
    await db.write(store.begin, new(2))
    await db.write(taken, first.id, State.OPENING)

    assert [each.id for each in await db.read(store.in_state, [State.OPENING])] == [first.id]


async def test_a_page_shows_what_is_wanted(db: Database, clock: Clock) -> None:
    first = await db.write(store.begin, new(1))
    clock.advance(minutes=1)
    second = await db.write(store.begin, new(2, store_id=5, device_id=4, purpose="inspect"))

    async def ids(**values: Any) -> list[int]:
        total, found = await db.read(store.page, Wanted(**values), offset=0, most=10)
        assert total == len(found)
        return [each.id for each in found]

    assert await ids() == [second.id, first.id]
    assert await ids(stores=frozenset({2})) == [first.id]
    assert await ids(stores=frozenset()) == []
    assert await ids(store_id=5) == [second.id]
    assert await ids(device_id=3) == [first.id]
    assert await ids(account_id=12) == [second.id]
    assert await ids(state="open") == []
    assert await ids(purpose="inspect") == [second.id]
    assert await ids(from_at=clock.now()) == [second.id]
    assert await ids(before_at=clock.now()) == [first.id]


async def test_a_person_is_told_what_is_no_change(db: Database, told: Told) -> None:
    session = await db.write(store.begin, new(1))
    told.events.clear()

    await db.write(store.say, session, "door.reminder", "The door is still open.")

    assert sorted(event.stream for event in told.events) == ["account:11", f"door:{session.id}"]
    assert b"still open" in told.events[0].data
