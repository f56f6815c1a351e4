"""Event streams: the record of what happened, gapless per stream.

A stream has a name ("stall:7"), an epoch and a seq. Its row is the lock of whatever it
records: `lock_streams` first, then change, then `append`, all in one transaction. The epoch
changes only when history was lost (a restore), so that a client never joins two histories.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.dialects import mysql

from sql.tables.core import events, streams
from sql.transaction import Bulk, Dialect, Tx, insert_missing
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
    """An event that is to be appended; its seq is given by its place.

    data: a JSON object everyone may see, b"" for an event only staff may know of.
    extra: a JSON object of what only they see besides, b"" for nothing.
    """

    name: str
    subject: int
    data: bytes
    extra: bytes = b""
    act_key: str = ""


def merged(data: bytes, extra: bytes) -> bytes:
    """What staff see: both objects as one, b"" where that is just data."""
    if not data or not extra:
        return extra
    return b"%b,%b" % (data[:-1], extra[1:])


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
_LOCK_HEADS = _HEADS.with_for_update()


def _select_heads(tx: Tx, names: Sequence[str], *, lock: bool) -> dict[str, Head]:
    rows = tx.execute(_LOCK_HEADS if lock else _HEADS, {"names": names})
    return {row.name: Head(row.id, row.name, row.epoch, row.seq) for row in rows}


def _make_streams(tx: Tx, names: Sequence[str]) -> None:
    rows = [{"name": name, "epoch": secrets.token_hex(8), "seq": 0} for name in names]
    insert_missing(tx, streams, rows)


_INSERT = Bulk(
    insert(events), ("stream_id", "seq", "name", "at", "subject", "data", "extra", "act_key")
)
_mysql_insert = mysql.insert(streams)
_ADVANCE: dict[Dialect, Bulk] = {
    "sqlite": Bulk(
        update(streams).where(streams.c.id == bindparam("id_")).values(seq=bindparam("seq_")),
        ("id_", "seq_"),
    ),
    # The rows are locked by us and exist: this is one UPDATE of many rows.
    "mysql": Bulk(
        _mysql_insert.on_duplicate_key_update(seq=_mysql_insert.inserted.seq),
        ("id", "name", "epoch", "seq"),
    ),
}


def append(tx: Tx, additions: Mapping[str, tuple[Head, Sequence[Line]]]) -> None:
    """Append lines to streams this transaction has locked, and publish them.

    Moves each head's seq on. Three statements whatever the number of streams and lines.
    """
    now, rows, moved = tx.now, [], []
    for head, lines in additions.values():
        if not lines:
            continue
        for line in lines:
            head.seq += 1
            name, subject, data, extra = line.name, line.subject, line.data, line.extra
            rows.append(
                (head.id, head.seq, name, now, subject, data.decode(), extra.decode(), line.act_key)
            )
            tx.publish(
                Event(
                    head.name, head.epoch, head.seq, name, now, subject, data, merged(data, extra)
                )
            )
        moved.append(head)
    if not rows:
        return
    tx.execute_many(_INSERT, rows)
    if tx.dialect == "sqlite":
        tx.execute_many(_ADVANCE["sqlite"], [(head.id, head.seq) for head in moved])
    else:
        tx.execute_many(
            _ADVANCE["mysql"], [(head.id, head.name, head.epoch, head.seq) for head in moved]
        )


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
            merged(row.data.encode(), row.extra.encode()),
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


def act_keys(tx: Tx, head: Head, *, most: int) -> dict[str, int]:
    """Keys of the stream's last `most` events, each with the seq of its event."""
    rows = tx.execute(
        select(events.c.seq, events.c.act_key)
        .where(
            events.c.stream_id == head.id, events.c.seq > head.seq - most, events.c.act_key != ""
        )
        .order_by(events.c.seq)
    )
    return {row.act_key: row.seq for row in rows}


def subjects(tx: Tx, head: Head, names: Sequence[str], *, most: int) -> set[int]:
    """What the stream's last `most` events of these names were about."""
    rows = tx.execute(
        select(events.c.subject).where(
            events.c.stream_id == head.id, events.c.seq > head.seq - most, events.c.name.in_(names)
        )
    )
    return {row.subject for row in rows}
