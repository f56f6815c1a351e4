"""Transactions on events that have come to an end without being worked."""

from typing import Any, Final

from sqlalchemy import func, select

from accounts.audit.model import By
from accounts.audit.store import record
from devices.inbox import store
from devices.inbox.kept.model import EventNotEnded, EventNotFound, Kept, Wanted
from devices.inbox.model import DEAD, QUARANTINED
from sql.sorting import ordered
from sql.tables.devices import callback_inbox as inbox
from sql.transaction import Tx

SORTS: Final = {
    "id": inbox.c.id,
    "created_at": inbox.c.received_at,
    "received_at": inbox.c.received_at,
}

# A page of whole bodies would be megabytes.
_BODY_BYTES: Final = 8_000
_COLUMNS: Final[list[Any]] = [
    *(inbox.c[name] for name in Kept.__struct_fields__ if name != "body"),
    func.substr(inbox.c.body, 1, _BODY_BYTES, type_=inbox.c.body.type).label("body"),
]


def page(tx: Tx, wanted: Wanted, *, offset: int, most: int) -> tuple[int, list[Kept]]:
    """How many events there are of those wanted, and some of them."""
    states = (wanted.state,) if wanted.state else (QUARANTINED, DEAD)
    where: list[Any] = [inbox.c.state.in_(states)]
    where += [
        inbox.c[name] == value
        for name in ("vendor", "device_code", "event_type")
        if (value := getattr(wanted, name))
    ]
    total = tx.execute(select(func.count()).select_from(inbox).where(*where)).scalar_one()
    chosen = select(*_COLUMNS).where(*where).order_by(*ordered(wanted.sort, SORTS, inbox.c.id))
    rows = tx.execute(chosen.offset(offset).limit(most))
    return total, [_kept(row) for row in rows]


def load(tx: Tx, row_id: int) -> Kept:
    """Raises EventNotFound."""
    row = tx.execute(select(*_COLUMNS).where(inbox.c.id == row_id)).one_or_none()
    if row is None:
        raise EventNotFound
    return _kept(row)


def put_back(tx: Tx, row_id: int, *, by: By, reason: str) -> Kept:
    """Let it be worked again; the alert of a dead one is over. Raises EventNotFound,
    EventNotEnded."""
    before = load(tx, row_id)
    if not store.put_back(tx, row_id):
        raise EventNotEnded
    after = load(tx, row_id)
    record(
        tx,
        actor=by,
        action="callback.put_back",
        subject=f"callback:{row_id}",
        before={"state": before.state, "event_type": before.event_type, "outcome": before.outcome},
        after={"state": after.state},
        reason=reason[:200],
    )
    return after


def _kept(row: Any) -> Kept:
    # Not convert: it takes bytes for base64.
    return Kept(**row._mapping)
