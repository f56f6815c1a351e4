"""Event streams: the record of what happened, gapless per stream.

A stream has a name ("stall:7"), an epoch and a seq. Its row is the lock of whatever it
records: `lock_streams` first, then change, then `append`, all in one transaction. The epoch
changes only when history was lost (a restore), so that a client never joins two histories.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.dialects import mysql

from sql.tables.core import events, streams
from sql.transaction import Tx, insert_missing
from sql.types import Millis


class Event(msgspec.Struct, frozen=True):
    """One line of a stream. data and private are JSON texts, ready for the wire.

    data b"": only staff may know of it; private b"": the same as data for everyone.
    """

    stream: str
    epoch: str
    seq: int
    name: str
    at: Millis
    subject: int
    data: bytes
    private: bytes


class Head(msgspec.Struct):
    """Where a stream stands."""

    id: int
    name: str
    epoch: str
    seq: int


class Line(msgspec.Struct, frozen=True):
    """An event that is to be appended; its seq is given by its place."""

    name: str
    subject: int
    data: bytes
    private: bytes = b""


# After a restore the seq goes on this far ahead: ticket ids are made from it, and none that a
# phone still holds from the lost history may come again.
RESTORE_LEAP = 1_000_000


def lock_streams(tx: Tx, names: Iterable[str], *, make: bool = True) -> dict[str, Head]:
    """Lock streams until the commit; by name.

    make: streams that are not there are made, else they are left out.
    """
    wanted = sorted(set(names))
    found = _select_heads(tx, wanted, lock=True)
    missing = [name for name in wanted if name not in found]
    if missing and make:
        _make_streams(tx, missing)
        found |= _select_heads(tx, missing, lock=True)
    return found


def heads(tx: Tx, names: Iterable[str]) -> dict[str, Head]:
    """Where streams stand, without a lock; a stream nothing was written to is left out."""
    return _select_heads(tx, sorted(set(names)), lock=False)


_HEADS = (
    select(streams.c.id, streams.c.name, streams.c.epoch, streams.c.seq)
    .where(streams.c.name.in_(bindparam("names", expanding=True)))
    # Locks are taken in the order of the index, the same in every process.
    .order_by(streams.c.name)
    .with_hint(streams, "FORCE INDEX (uq_streams_name)", "mysql")
)


def _select_heads(tx: Tx, names: Sequence[str], *, lock: bool) -> dict[str, Head]:
    statement = _HEADS.with_for_update() if lock else _HEADS
    rows = tx.execute(statement, {"names": names})
    return {row.name: Head(row.id, row.name, row.epoch, row.seq) for row in rows}


def _make_streams(tx: Tx, names: Sequence[str]) -> None:
    rows = [{"name": name, "epoch": secrets.token_hex(8), "seq": 0} for name in names]
    insert_missing(tx, streams, rows)


_INSERT_EVENTS = insert(events)
_ADVANCE_SQLITE = (
    update(streams).where(streams.c.id == bindparam("stream")).values(seq=bindparam("new_seq"))
)
_mysql_insert = mysql.insert(streams)
_ADVANCE_MYSQL = _mysql_insert.on_duplicate_key_update(seq=_mysql_insert.inserted.seq)


def append(tx: Tx, additions: Mapping[str, tuple[Head, Sequence[Line]]]) -> None:
    """Append lines to streams this transaction has locked, and publish them.

    Moves each head's seq on. Three statements whatever the number of streams and lines.
    """
    rows: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    for head, lines in additions.values():
        for line in lines:
            head.seq += 1
            rows.append(
                {
                    "stream_id": head.id,
                    "seq": head.seq,
                    "name": line.name,
                    "at": tx.now,
                    "subject": line.subject,
                    "data": line.data.decode(),
                    "private": line.private.decode(),
                }
            )
            tx.publish(
                Event(
                    head.name,
                    head.epoch,
                    head.seq,
                    line.name,
                    tx.now,
                    line.subject,
                    line.data,
                    line.private,
                )
            )
        moved.append({"id": head.id, "name": head.name, "epoch": head.epoch, "seq": head.seq})
    if not rows:
        return
    tx.execute_rows(_INSERT_EVENTS, rows)
    if tx.dialect == "sqlite":
        steps = [{"stream": row["id"], "new_seq": row["seq"]} for row in moved]
        tx.execute_rows(_ADVANCE_SQLITE, steps)
    else:
        # The rows are locked by us and exist: this is one UPDATE of many rows.
        tx.execute_rows(_ADVANCE_MYSQL, moved)


def read_events(
    tx: Tx, stream: str, *, after: int, most: int = 1000, subject: int = 0
) -> tuple[Head | None, list[Event]]:
    """Events of a stream behind `after`, oldest first; of one subject when it is given.

    At most `most` lines of the stream are looked at.
    """
    head = heads(tx, [stream]).get(stream)
    if head is None:
        return None, []
    query = (
        select(events)
        .where(events.c.stream_id == head.id, events.c.seq > after, events.c.seq <= after + most)
        .order_by(events.c.seq)
    )
    if subject:
        query = query.where(events.c.subject == subject)
    found = [
        Event(
            stream,
            head.epoch,
            row.seq,
            row.name,
            row.at,
            row.subject,
            row.data.encode(),
            row.private.encode(),
        )
        for row in tx.execute(query)
    ]
    return head, found


def begin_new_history(tx: Tx) -> None:
    """After a restore: a new epoch for every stream, and a leap of its seq."""
    for row in tx.execute(select(streams.c.id)).all():
        tx.execute(
            update(streams)
            .where(streams.c.id == row.id)
            .values(epoch=secrets.token_hex(8), seq=streams.c.seq + RESTORE_LEAP)
        )
