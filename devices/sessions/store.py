"""The rows of door sessions. Each change is guarded by state and version, and told.

What happens to a session is an event on the streams of its door session, its cabinet, all
cabinets and its account.
"""

import secrets
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from devices.desk.model import Kind
from devices.desk.store import clear_exception
from devices.sessions.model import (
    ENDED,
    MOVES,
    NEEDS_A_PERSON,
    PHYSICAL,
    TIMERS,
    DoorBusy,
    DoorSession,
    PayWith,
    SessionNotFound,
    SessionOpen,
    State,
    first_due,
    since_open,
)
from devices.vendors.port import Purpose
from sql import events
from sql.alerts import clear_alert
from sql.database import Tx
from sql.sorting import ordered
from sql.tables.devices import door_sessions
from sql.types import Millis

_T: Final = door_sessions.c

DOOR_OPEN: Final = "cabinet.door_open"
AGED: Final = "cabinet.abnormal"
"""The kinds of the alerts that a door stands open, and that a session waits for a person."""


class New(msgspec.Struct, frozen=True, kw_only=True):
    """A session to be. once_key: what makes a repeat of the wish the same session."""

    once_key: str
    vendor: str
    device_id: int
    door_no: int
    store_id: int
    account_id: int
    purpose: Purpose
    pay_with: PayWith
    limit_fen: int
    planogram_version: int = 0
    prices: dict[str, int] = {}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions a list shows; what is 0 or "" leaves all in. stores: None for those of all."""

    stores: frozenset[int] | None = None
    store_id: int = 0
    device_id: int = 0
    account_id: int = 0
    state: str = ""
    purpose: str = ""
    from_at: Millis = 0
    before_at: Millis = 0
    sort: str = "-id"


SORTS: Final = {
    "id": door_sessions.c.id,
    "created_at": door_sessions.c.requested_at,
    **{name: door_sessions.c[name] for name in ("requested_at", "opened_at", "closed_at")},
}


def new_key() -> str:
    """A once_key of a wish that nobody repeats."""
    return secrets.token_hex(32)


def begin(tx: Tx, new: New) -> DoorSession:
    """Write a session as requested; nobody else's may be at the door, nor another of the person.

    Raises DoorBusy, SessionOpen.
    """
    door_key = f"{new.device_id}:{new.door_no}"
    row = {
        **msgspec.structs.asdict(new),
        "prices": msgspec.json.encode(new.prices).decode(),
        "no": f"DS{secrets.token_hex(12)}",
        "request_id": f"rq_{secrets.token_hex(16)}",
        "state": State.REQUESTED,
        "door_key": door_key,
        "user_key": new.account_id,
        "hold_tickets": 0,
        "score_no": "",
        "vendor_order_no": "",
        "fail_code": "",
        "requested_at": tx.now,
        "sent_at": None,
        "expires_at": tx.now,
        "unlocked_at": None,
        "opened_at": None,
        "closed_at": None,
        "ended_at": None,
        "due_at": None,
        "pulls": 0,
        "manual_at": None,
        "version": 1,
    }
    _see_free(tx, door_key, new.account_id)
    try:
        key = tx.execute(insert(door_sessions), row).inserted_primary_key
    except IntegrityError:
        # Another process was quicker by less than our transaction.
        _see_free(tx, door_key, new.account_id)
        raise
    assert key is not None
    session = load(tx, key[0])
    session = note(tx, session, due_at=first_due(session, tx.now))
    _tell(tx, session)
    return session


def _see_free(tx: Tx, door_key: str, account_id: int) -> None:
    """Raises DoorBusy, SessionOpen."""
    if _one(tx, _T.door_key == door_key) is not None:
        raise DoorBusy
    if _one(tx, _T.user_key == account_id) is not None:
        raise SessionOpen


def move(tx: Tx, /, session: DoorSession, to: State, **values: Any) -> DoorSession:
    """Take a session to a state, as it was read under a lock in this transaction, and tell it.

    values: columns; due_at, manual_at, ended_at and pulls follow from the state unless given.
    To the state it is in: only the values change, and nothing is told.
    """
    if to is session.state:
        return note(tx, session, **values) if values else session
    assert to in MOVES[session.state], f"session {session.id}: {session.state} to {to}"
    moved = msgspec.structs.replace(session, state=to, **values)
    follows: dict[str, Any] = {"due_at": first_due(moved, tx.now)}
    if to in NEEDS_A_PERSON:
        follows["manual_at"] = session.manual_at or tx.now
    elif session.manual_at is not None:
        follows["manual_at"] = None
    if to is State.CLOSED:
        # Until now the column has counted questions about the opening.
        follows["pulls"] = 0
    follows["ended_at"] = tx.now if to in ENDED else None
    if to not in PHYSICAL:
        follows |= {"door_key": None, "user_key": None}
    moved = _update(tx, session, state=to, **{**follows, **values})
    _clear_alerts(tx, session)
    _tell(tx, moved)
    return moved


def _clear_alerts(tx: Tx, was: DoorSession) -> None:
    """What was said of the state it has left. Most are left long before anything is said."""
    if was.state is State.OPEN and tx.now - since_open(was) >= TIMERS.alarm:
        clear_alert(tx, DOOR_OPEN, f"session:{was.id}")
        clear_exception(tx, Kind.DOOR_OPEN, f"session:{was.id}", "the door is closed")
    elif was.state in NEEDS_A_PERSON and tx.now - (was.manual_at or 0) >= TIMERS.ages[0]:
        clear_alert(tx, AGED, f"session:{was.id}")


def note(tx: Tx, /, session: DoorSession, **values: Any) -> DoorSession:
    """Change columns of a session whose state stays."""
    return _update(tx, session, **values)


def _update(tx: Tx, session: DoorSession, **values: Any) -> DoorSession:
    version = session.version + 1
    changed = tx.execute(
        update(door_sessions)
        .where(_T.id == session.id, _T.state == session.state, _T.version == session.version)
        .values(version=version, **values)
    )
    assert changed.rowcount == 1, f"session {session.id} is not as it was read"
    for key in ("door_key", "user_key"):
        values.pop(key, None)
    return msgspec.structs.replace(session, version=version, **values)


def _tell(tx: Tx, session: DoorSession) -> None:
    data = {
        "session_id": session.id,
        "no": session.no,
        "state": session.state,
        "device_id": session.device_id,
        "door_no": session.door_no,
        "purpose": session.purpose,
        "at": tx.now,
    }
    text, name = msgspec.json.encode(data), f"door.{session.state}"
    subjects = {
        f"door:{session.id}": session.id,
        f"account:{session.account_id}": session.id,
        f"cabinet:{session.device_id}": session.device_id,
        "cabinets": session.device_id,
    }
    heads = events.lock_streams(tx, subjects)
    lines = {stream: [events.Line(name, subjects[stream], text)] for stream in heads}
    events.append(tx, {stream: (head, lines[stream]) for stream, head in heads.items()})


def say(tx: Tx, session: DoorSession, name: str, text: str) -> None:
    """Tell the person something of their session that is no change of its state."""
    data = {"session_id": session.id, "state": session.state, "text": text, "at": tx.now}
    line = events.Line(name, session.id, msgspec.json.encode(data))
    heads = events.lock_streams(tx, [f"door:{session.id}", f"account:{session.account_id}"])
    events.append(tx, {stream: (head, [line]) for stream, head in heads.items()})


# ---------------------------------------------------------------- reading


def load(tx: Tx, session_id: int, *, lock: bool = False) -> DoorSession:
    """Raises SessionNotFound."""
    found = _one(tx, _T.id == session_id, lock=lock)
    if found is None:
        raise SessionNotFound
    return found


def by_request(tx: Tx, request_id: str, *, lock: bool = False) -> DoorSession | None:
    return _one(tx, _T.request_id == request_id, lock=lock) if request_id else None


def by_no(tx: Tx, no: str, *, lock: bool = False) -> DoorSession | None:
    return _one(tx, _T.no == no, lock=lock) if no else None


def by_vendor_order(tx: Tx, vendor: str, no: str, *, lock: bool = False) -> DoorSession | None:
    """The session a vendor has given this order number when it took the command."""
    if not no:
        return None
    mine = (_T.vendor == vendor) & (_T.vendor_order_no == no)
    return _one(tx, mine, lock=lock)


def by_once_key(tx: Tx, once_key: str, *, lock: bool = False) -> DoorSession | None:
    return _one(tx, _T.once_key == once_key, lock=lock)


def at_door(tx: Tx, device_id: int, door_no: int, *, lock: bool = False) -> DoorSession | None:
    """Whose session the door is in now."""
    return _one(tx, _T.door_key == f"{device_id}:{door_no}", lock=lock)


def physical_of(tx: Tx, account_id: int, *, lock: bool = False) -> DoorSession | None:
    """The session in which this person has a door, or is about to."""
    return _one(tx, _T.user_key == account_id, lock=lock)


def last_of(tx: Tx, account_id: int) -> DoorSession | None:
    """The newest session of a person."""
    mine = select(door_sessions).where(_T.account_id == account_id)
    row = tx.execute(mine.order_by(_T.id.desc()).limit(1)).one_or_none()
    return None if row is None else _session(row)


def due(tx: Tx, *, most: int = 100) -> list[int]:
    """Sessions whose time has come, the longest overdue first."""
    query = select(_T.id).where(_T.due_at <= tx.now).order_by(_T.due_at, _T.id).limit(most)
    return [row.id for row in tx.execute(query)]


def in_state(tx: Tx, states: Sequence[State]) -> list[DoorSession]:
    """Sessions in any of the states, oldest first."""
    query = select(door_sessions).where(_T.state.in_(states)).order_by(_T.id)
    return [_session(row) for row in tx.execute(query)]


def page(tx: Tx, wanted: Wanted, *, offset: int, most: int) -> tuple[int, list[DoorSession]]:
    """Sessions, and how many there are in all."""
    where = list(_conditions(wanted))
    total = tx.execute(select(func.count()).select_from(door_sessions).where(*where)).scalar_one()
    order = ordered(wanted.sort, SORTS, _T.id)
    chosen = select(door_sessions).where(*where).order_by(*order)
    return total, [_session(row) for row in tx.execute(chosen.offset(offset).limit(most))]


def _conditions(wanted: Wanted) -> Iterator[Any]:
    if wanted.stores is not None:
        yield _T.store_id.in_(sorted(wanted.stores))
    for name in ("store_id", "device_id", "account_id", "state", "purpose"):
        value = getattr(wanted, name)
        if value:
            yield _T[name] == value
    if wanted.from_at:
        yield _T.requested_at >= wanted.from_at
    if wanted.before_at:
        yield _T.requested_at < wanted.before_at


def _one(tx: Tx, which: Any, *, lock: bool = False) -> DoorSession | None:
    query = select(door_sessions).where(which).order_by(_T.id.desc()).limit(1)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _session(row)


def _session(row: Any) -> DoorSession:
    values = {name: getattr(row, name) for name in DoorSession.__struct_fields__}
    values["prices"] = msgspec.json.decode(values["prices"])
    return msgspec.convert(values, DoorSession)
