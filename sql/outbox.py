"""The outbox: what must reach the outside world, written with the change that asks for it.

A row is claimed under a lease, delivered outside any transaction, then marked. A process
that dies in between lets the lease run out, and the row is tried again: delivery is at
least once, so the receiver's side must stand a repeat.
"""

from typing import Any

import msgspec
from sqlalchemy import and_, delete, select, update

from sql.tables.core import outbox
from sql.transaction import Tx, insert_missing
from sql.types import Millis


class Parcel(msgspec.Struct, frozen=True):
    """A claimed row: to be delivered by the one who claimed it."""

    id: int
    kind: str
    payload: dict[str, Any]
    attempts: int
    created_at: Millis


def enqueue(
    tx: Tx, kind: str, payload: dict[str, Any], *, due_at: Millis | None = None, key: str = ""
) -> None:
    """Write a parcel. One with a key already used is not written again."""
    row = {
        "kind": kind,
        "once_key": key or None,
        "payload": msgspec.json.encode(payload).decode(),
        "state": "waiting",
        "created_at": tx.now,
        "due_at": tx.now if due_at is None else due_at,
        "attempts": 0,
        "leased_by": "",
        "ended_at": None,
        "last_error": "",
    }
    insert_missing(tx, outbox, [row])
    if due_at is None or due_at <= tx.now:
        tx.wake("outbox")


def claim(tx: Tx, runner: str, *, lease_s: int, most: int = 20) -> list[Parcel]:
    """Take what is due, for lease_s. A claim counts as an attempt, so a poison row ends."""
    due = select(outbox).where(outbox.c.state == "waiting", outbox.c.due_at <= tx.now)
    due = due.order_by(outbox.c.due_at, outbox.c.id).limit(most)
    rows = tx.execute(due.with_for_update()).all()
    if rows:
        tx.execute(
            update(outbox)
            .where(outbox.c.id.in_([row.id for row in rows]))
            .values(
                due_at=tx.now + lease_s * 1000, leased_by=runner, attempts=outbox.c.attempts + 1
            )
        )
    return [
        Parcel(row.id, row.kind, msgspec.json.decode(row.payload), row.attempts + 1, row.created_at)
        for row in rows
    ]


def delivered(tx: Tx, parcel: Parcel, runner: str) -> bool:
    """Mark a parcel done; False when the lease had passed to another meanwhile."""
    return _end(tx, parcel, runner, state="done", error="")


def dead(tx: Tx, parcel: Parcel, runner: str, error: str) -> bool:
    """Give a parcel up; it stays as a row for a person to see."""
    return _end(tx, parcel, runner, state="dead", error=error)


def _end(tx: Tx, parcel: Parcel, runner: str, *, state: str, error: str) -> bool:
    changed = tx.execute(
        update(outbox)
        .where(_mine(parcel, runner))
        .values(state=state, ended_at=tx.now, last_error=error[:400])
    )
    return changed.rowcount == 1


def retry(tx: Tx, parcel: Parcel, runner: str, *, due_at: Millis, error: str) -> bool:
    """Put a parcel back to be tried at due_at."""
    changed = tx.execute(
        update(outbox)
        .where(_mine(parcel, runner))
        .values(due_at=due_at, leased_by="", last_error=error[:400])
    )
    return changed.rowcount == 1


def _mine(parcel: Parcel, runner: str) -> Any:
    return and_(
        outbox.c.id == parcel.id,
        outbox.c.state == "waiting",
        outbox.c.leased_by == runner,
        outbox.c.attempts == parcel.attempts,
    )


def newest(tx: Tx, prefix: str) -> dict[str, Any] | None:
    """What the newest parcel holds whose key begins so."""
    row = tx.execute(
        select(outbox.c.payload)
        .where(outbox.c.once_key.startswith(prefix, autoescape=True))
        .order_by(outbox.c.id.desc())
        .limit(1)
    ).first()
    return None if row is None else msgspec.json.decode(row.payload)


def hurry(tx: Tx, parcel_id: int) -> bool:
    """A person wants it tried now; whether it still waits."""
    changed = tx.execute(
        update(outbox)
        .where(outbox.c.id == parcel_id, outbox.c.state == "waiting")
        .values(due_at=tx.now)
    )
    tx.wake("outbox")
    return changed.rowcount == 1


def give_up(tx: Tx, parcel_id: int, why: str) -> bool:
    """A person says that it need not arrive any more; whether it still waited."""
    changed = tx.execute(
        update(outbox)
        .where(outbox.c.id == parcel_id, outbox.c.state == "waiting")
        .values(state="dead", ended_at=tx.now, last_error=why[:400], leased_by="")
    )
    return changed.rowcount == 1


def next_due(tx: Tx) -> Millis | None:
    """When the earliest waiting parcel is due."""
    row = tx.execute(
        select(outbox.c.due_at)
        .where(outbox.c.state == "waiting")
        .order_by(outbox.c.due_at)
        .limit(1)
    ).first()
    return None if row is None else row.due_at


def sweep(tx: Tx, *, older_than: Millis, most: int = 500) -> int:
    """Remove delivered rows that ended before older_than; dead ones stay."""
    old = tx.execute(
        select(outbox.c.id)
        .where(outbox.c.state == "done", outbox.c.ended_at < older_than)
        .limit(most)
    ).all()
    if old:
        tx.execute(delete(outbox).where(outbox.c.id.in_([row.id for row in old])))
    return len(old)
