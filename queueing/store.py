"""The queue's transactions: acts on numbers as one list verb, and what is read of them.

All acts on all stalls that wait together are done in one go: lock the stalls' streams, take
each stall's pool (from memory, when its seq is still the stream's, else from the tables),
let the pure rules of `queueing.pool` act in the order of arrival, and write what they
changed with a handful of statements for the whole batch.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, insert, select, update
from sqlalchemy.dialects import mysql

from queueing.acts import KEY_LENGTH, Act, Outcome
from queueing.model import (
    LIVE,
    Draft,
    QueueError,
    Stall,
    StallNotFound,
    Status,
    Ticket,
    TicketNotFound,
    stall_of,
)
from queueing.pool import Pool
from queueing.statistics import Visit
from queueing.waiting import SAMPLE_AGE_MS, SAMPLES_MAX, Sample
from sql import events, idempotency, outbox
from sql.database import Tx, list_verb
from sql.tables.queueing import diner_tickets, stall_sellers, stalls, tickets
from sql.transaction import Bulk, insert_missing

# Acts with keys are known again among so many of their stall's last events.
KEYS_IN = 2_000

# So many of a stall's last tickets tell which numbers were used when: in turn, all 99 come
# round several times.
RECENT = 400

# A ticket's id has 63 bits, of which its stall has the upper 31.
STALL_ID_MAX = 2**31 - 1

# Nobody waits for more dishes than this at once.
OPEN_AMONG = 20

ENDINGS = ("ticket.finished", "ticket.cancelled", "ticket.released", "ticket.undone")

# The outbox rows that Queues.deliver_reminder delivers.
REMINDER = "queue.reminder"


def stream_of(stall_id: int) -> str:
    """The name of the stall's stream; its row is the lock of all that is the stall's."""
    return f"stall:{stall_id}"


# Acting


@list_verb
def perform(tx: Tx, acts: Sequence[Act]) -> Sequence[Outcome | Exception]:
    """Do many acts on many stalls. An act that is refused changes nothing.

    An act with a key that its account has used before gets the first answer again.
    """
    work = _Work(tx, acts)
    outcomes = [work.outcome_of(act) for act in acts]
    work.save()
    return outcomes


class _Held:
    """What is remembered of a stall between transactions: its pool, and the keys of its acts.

    keys: a client's key → what was asked with it, and the seq of the event it caused. It holds
    those of the stall's last KEYS_IN events: hours of a rush, and a repeat comes in seconds.
    """

    __slots__ = ("keys", "pool")

    def __init__(self, pool: Pool, keys: OrderedDict[str, tuple[str, int]]) -> None:
        self.pool = pool
        self.keys = keys

    def note_key(self, key: str, mark: str, seq: int) -> None:
        # One that is known from too long ago would keep its old place, before those to forget.
        self.keys.pop(key, None)
        self.keys[key] = (mark, seq)
        while next(iter(self.keys.values()))[1] <= self.pool.seq - KEYS_IN:
            self.keys.popitem(last=False)


class _Work:
    """One batch of acts under way."""

    def __init__(self, tx: Tx, acts: Sequence[Act]) -> None:
        self.tx = tx
        self.heads = events.lock_streams(tx, {stream_of(act.stall) for act in acts}, make=False)
        self.held: dict[int, _Held] = {}
        # Outcomes of this batch's acts with keys, by stall and seq; their events' keys likewise.
        self.fresh: dict[tuple[int, int], Outcome] = {}
        self.act_keys: dict[tuple[int, int], str] = {}
        self.bound: dict[int, dict[str, int]] = {}
        self._adopt_ended(acts)

    def outcome_of(self, act: Act) -> Outcome | Exception:
        try:
            if not act.key:
                return self._act(act)
            return self._act_once(act)
        except (QueueError, idempotency.KeyReused) as refusal:
            return refusal

    def _act_once(self, act: Act) -> Outcome:
        """An act that changed nothing keeps no key: its repeat changes nothing either."""
        held = self._of_stall(act)
        key, mark = act.act_key
        known = held.keys.get(key)
        if known is not None and known[1] > held.pool.seq - KEYS_IN:
            if known[0] != mark:
                raise idempotency.KeyReused(act.key)
            return self._first_answer(act.stall, known[1])
        seq = held.pool.seq + 1
        outcome = self._act(act)
        if held.pool.seq >= seq:
            held.note_key(key, mark, seq)
            self.fresh[act.stall, seq] = outcome
            self.act_keys[act.stall, seq] = key + mark
        return outcome

    def _first_answer(self, stall_id: int, seq: int) -> Outcome:
        """The outcome of the act that caused this event, as it was then."""
        fresh = self.fresh.get((stall_id, seq))
        if fresh is not None:
            return fresh
        _, found = events.read_events(self.tx, stream_of(stall_id), after=seq - 1, most=1)
        return _as_told(load_tickets(self.tx, [found[0].subject])[found[0].subject], found[0])

    def _act(self, act: Act) -> Outcome:
        pool = self._of_stall(act).pool
        outcome = act.on(pool, self.tx.now)
        if act.verb == "follow" and isinstance(outcome, Ticket):
            self._note_bound(outcome)
        if act.verb == "mark_unreached" and isinstance(outcome, Ticket) and outcome.grant:
            self._remind(pool.stall, outcome)
        return outcome

    def _note_bound(self, ticket: Ticket) -> None:
        if ticket.noted_at == self.tx.now:
            self.bound[ticket.id] = {
                "diner_id": ticket.diner_id,
                "bound_at": self.tx.now,
                "ticket_id": ticket.id,
                "number": ticket.number,
            }

    def _remind(self, stall: Stall, ticket: Ticket) -> None:
        """Ask for the message to the diner whose phone has not shown the call."""
        outbox.enqueue(
            self.tx,
            REMINDER,
            {
                "account_id": ticket.diner_id,
                "template": ticket.grant,
                "stall_id": stall.id,
                "stall": stall.name,
                "ticket_id": ticket.id,
                "number": ticket.number,
                "note": ticket.note,
                "called_at": ticket.called_at,
                "calls": ticket.calls,
            },
            key=f"reminder:{ticket.id}:{ticket.called_at}",
        )

    def _of_stall(self, act: Act) -> _Held:
        """The stall as it is at this moment. Raises StallNotFound, TicketNotFound."""
        held = self.held.get(act.stall)
        if held is None:
            head = self.heads.get(stream_of(act.stall))
            if head is None:
                raise TicketNotFound if act.ticket_id else StallNotFound
            held = _current(self.tx, act.stall, head)
            self.held[act.stall] = held
        return held

    def _adopt_ended(self, acts: Sequence[Act]) -> None:
        """Fetch the tickets that acts name and no pool holds any more, in one query."""
        missing: dict[int, Pool] = {}
        for act in acts:
            if stall_of(act.ticket_id) == act.stall and stream_of(act.stall) in self.heads:
                pool = self._of_stall(act).pool
                if not pool.knows(act.ticket_id):
                    missing[act.ticket_id] = pool
        for ticket in load_tickets(self.tx, missing).values():
            missing[ticket.id].adopt(ticket)

    def save(self) -> None:
        """Write what the pools changed: new tickets, changed ones, who is bound, events."""
        new: list[tuple[Any, ...]] = []
        changed: list[tuple[Any, ...]] = []
        additions: dict[str, tuple[events.Head, list[events.Line]]] = {}
        for stall_id, held in self.held.items():
            pool = held.pool
            for ticket in pool.changed.values():
                (new if ticket.id in pool.new_ids else changed).append(_row(ticket))
            if pool.drafts:
                name = stream_of(stall_id)
                additions[name] = (self.heads[name], self._lines(stall_id, pool))
            pool.stored()
        if changed:
            _update_tickets(self.tx, changed)
        if new:
            self.tx.execute_many(_INSERT, new)
        if self.bound:
            insert_missing(self.tx, diner_tickets, list(self.bound.values()))
        events.append(self.tx, additions)

    def _lines(self, stall_id: int, pool: Pool) -> list[events.Line]:
        first = pool.seq - len(pool.drafts) + 1
        return [
            _line(draft, self.act_keys.get((stall_id, seq), ""))
            for seq, draft in enumerate(pool.drafts, start=first)
        ]


_encode = msgspec.json.Encoder().encode


def _line(draft: Draft, act_key: str) -> events.Line:
    public, private = draft.public, draft.private
    if public is None:
        return events.Line(draft.name, draft.ticket, b"", _encode(private), act_key)
    extra = {name: value for name, value in private.items() if name not in public}
    return events.Line(
        draft.name, draft.ticket, _encode(public), _encode(extra) if extra else b"", act_key
    )


class _Told(msgspec.Struct):
    """What an event says of its ticket to staff."""

    status: Status
    calls: int
    called_at: datetime | None
    note: str
    noted: bool
    reached: bool | None


_read_told = msgspec.json.Decoder(_Told).decode


def _as_told(ticket: Ticket, event: events.Event) -> Ticket:
    """The ticket as the event showed it, whatever has become of it since."""
    told = _read_told(event.private)
    ticket.status = told.status
    ticket.calls = told.calls
    ticket.called_at = None if told.called_at is None else round(told.called_at.timestamp() * 1000)
    ticket.note = told.note
    ticket.noted_at = ticket.noted_at if told.noted else None
    ticket.reached_at = event.at if told.reached else None
    ticket.unreached = told.reached is False
    ticket.ended_at = None if ticket.is_live else event.at
    return ticket


# The pool in memory and in the tables


def _current(tx: Tx, stall_id: int, head: events.Head) -> _Held:
    """The stall in memory if nobody wrote to it since, else afresh from the tables.

    Every change of a stall or of its tickets appends an event under the lock of its stream,
    so an equal (epoch, seq) means that nothing has changed, in whichever process.
    """
    key = ("stall", stall_id)
    kept = tx.recall(key)
    if isinstance(kept, _Held) and (kept.pool.epoch, kept.pool.seq) == (head.epoch, head.seq):
        return kept
    keys = OrderedDict(
        (act_key[:KEY_LENGTH], (act_key[KEY_LENGTH:], seq))
        for act_key, seq in events.act_keys(tx, head, most=KEYS_IN).items()
    )
    held = _Held(load_pool(tx, stall_id, head), keys)
    tx.remember(key, held)
    return held


def load_pool(tx: Tx, stall_id: int, head: events.Head) -> Pool:
    """Read a stall's pool; its cost does not grow with history. Raises StallNotFound."""
    stall = load_stalls(tx, [stall_id]).get(stall_id)
    if stall is None:
        raise StallNotFound
    live = live_tickets(tx, stall_id)
    recent = _load_recent(tx, stall_id)
    used, ended = _last_of_numbers(tx, live, recent, head)
    return Pool(
        stall,
        epoch=head.epoch,
        seq=head.seq,
        live=live,
        ended=ended,
        used=used,
        recent=_samples(recent[: 3 * SAMPLES_MAX], tx.now),
    )


def live_tickets(tx: Tx, stall_id: int) -> list[Ticket]:
    """The tickets that hold a number of the stall."""
    live = select(tickets).where(tickets.c.stall_id == stall_id, tickets.c.live_number >= 1)
    return [_ticket(row) for row in tx.execute(live)]


_RECENT = (
    select(
        tickets.c.id,
        tickets.c.number,
        tickets.c.issued_at,
        tickets.c.first_called_at,
        tickets.c.ended_at,
        tickets.c.ahead,
    )
    .where(tickets.c.id >= bindparam("first"), tickets.c.id < bindparam("after"))
    .order_by(tickets.c.id.desc())
    .limit(RECENT)
)


def _load_recent(tx: Tx, stall_id: int) -> Sequence[Row[Any]]:
    """The stall's last tickets, newest first."""
    bounds = {"first": stall_id << 32, "after": (stall_id + 1) << 32}
    return tx.execute(_RECENT, bounds).all()


def _last_of_numbers(
    tx: Tx, live: Iterable[Ticket], recent: Sequence[Row[Any]], head: events.Head
) -> tuple[dict[int, int], dict[int, int]]:
    """number → id of its last ticket; number → when the last ended one ended.

    A number none of the last RECENT tickets had is one that was used before all of theirs, or
    never: either way it is next in turn.
    """
    used: dict[int, int] = {}
    ended: dict[int, int] = {}
    for row in recent:
        used.setdefault(row.number, row.id)
        if row.ended_at is not None:
            ended[row.number] = max(row.ended_at, ended.get(row.number, 0))
    for ticket in live:
        used[ticket.number] = max(ticket.id, used.get(ticket.number, 0))
    if len(recent) == RECENT:
        # Some may have been issued long ago and have ended just now: they are to rest as well.
        for late in _ended_late(tx, head, before=recent[-1].id):
            ended[late.number] = max(late.ended_at or 0, ended.get(late.number, 0))
            used[late.number] = max(late.id, used.get(late.number, 0))
    return used, ended


def _ended_late(tx: Tx, head: events.Head, *, before: int) -> Iterable[Ticket]:
    """Tickets older than these that one of the stream's last events ended."""
    ends = events.subjects(tx, head, ENDINGS, most=KEYS_IN)
    found = load_tickets(tx, [ticket_id for ticket_id in ends if ticket_id < before])
    return [ticket for ticket in found.values() if ticket.ended_at is not None]


def _samples(recent: Sequence[Row[Any]], now: int) -> list[Sample]:
    """The waits of tickets that were called, in the order of their calls.

    Those too old to say anything about now are left out.
    """
    samples = [
        Sample(row.first_called_at - row.issued_at, row.ahead, row.first_called_at)
        for row in recent
        if row.first_called_at is not None and row.first_called_at >= now - SAMPLE_AGE_MS
    ]
    return sorted(samples, key=lambda sample: sample.called_at)[-SAMPLES_MAX:]


# Rows

_COLUMNS = {
    "grant": "grant_template",
    "before": "undo_memory",
}
_FIELDS = tuple(Ticket.__struct_fields__)
_NAMES = tuple(_COLUMNS.get(field, field) for field in _FIELDS)
# Never change after the ticket was issued.
_FIXED = frozenset(
    {
        "id",
        "stall_id",
        "number",
        "issued_by",
        "issued_session",
        "issued_at",
        "ahead",
        "business_date",
    }
)
_CHANGING = (*(name for name in _NAMES if name not in _FIXED), "live_number")


_COLUMN_NAMES = (*_NAMES, "live_number")
_STATUS = _NAMES.index("status")


def _row(ticket: Ticket) -> tuple[Any, ...]:
    """In the order of _COLUMN_NAMES."""
    values = msgspec.structs.astuple(ticket)
    status: Status = values[_STATUS]
    live_number = ticket.number if status in LIVE else None
    # The drivers are quick with texts, less so with what is derived from them.
    return (*values[:_STATUS], status.value, *values[_STATUS + 1 :], live_number)


def _ticket(row: Row[Any]) -> Ticket:
    values = row._mapping
    ticket = Ticket(**{field: values[name] for field, name in zip(_FIELDS, _NAMES, strict=True)})
    ticket.status = Status(ticket.status)
    return ticket


_INSERT = Bulk(insert(tickets), _COLUMN_NAMES)
_mysql_insert = mysql.insert(tickets)
_UPDATE_MYSQL = Bulk(
    _mysql_insert.on_duplicate_key_update(
        {name: _mysql_insert.inserted[name] for name in _CHANGING}
    ),
    _COLUMN_NAMES,
)
_UPDATE_SQLITE = Bulk(
    update(tickets)
    .where(tickets.c.id == bindparam("row_id"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGING}),
    (*(f"new_{name}" for name in _CHANGING), "row_id"),
)
_changing = operator.itemgetter(*(_COLUMN_NAMES.index(name) for name in (*_CHANGING, "id")))


def _update_tickets(tx: Tx, rows: list[tuple[Any, ...]]) -> None:
    """Write tickets that are there already; their stalls are locked, so nothing came between.

    MySQL has no UPDATE of many rows with a value each: an INSERT that finds its primary key
    taken is one, in a single round trip.
    """
    if tx.dialect == "mysql":
        tx.execute_many(_UPDATE_MYSQL, rows)
        return
    done = tx.execute_many(_UPDATE_SQLITE, [_changing(row) for row in rows])
    assert done.rowcount == len(rows), f"{done.rowcount} of {len(rows)} tickets were there"


# Reading


def load_tickets(tx: Tx, ids: Iterable[int]) -> dict[int, Ticket]:
    """Tickets by id, live or not; unknown ids are left out."""
    wanted = list(ids)
    if not wanted:
        return {}
    rows = tx.execute(select(tickets).where(tickets.c.id.in_(wanted)))
    return {row.id: _ticket(row) for row in rows}


_STALLS = select(stalls).order_by(stalls.c.id)
_SELLERS = select(stall_sellers.c.stall_id, stall_sellers.c.account_id)
_THESE_STALLS = _STALLS.where(stalls.c.id.in_(bindparam("ids", expanding=True)))
_THEIR_SELLERS = _SELLERS.where(stall_sellers.c.stall_id.in_(bindparam("ids", expanding=True)))


def load_stalls(tx: Tx, ids: Iterable[int] | None = None) -> dict[int, Stall]:
    """Stalls by id, in the order of their ids; all of them when ids is None."""
    if ids is None:
        owners, rows = tx.execute(_SELLERS), tx.execute(_STALLS)
    else:
        wanted = {"ids": list(ids)}
        owners, rows = tx.execute(_THEIR_SELLERS, wanted), tx.execute(_THESE_STALLS, wanted)
    sellers: dict[int, set[int]] = {}
    for row in owners:
        sellers.setdefault(row.stall_id, set()).add(row.account_id)
    return {row.id: _stall(row, sellers.get(row.id, set())) for row in rows}


def _stall(row: Row[Any], sellers: set[int]) -> Stall:
    return Stall(
        id=row.id,
        name=row.name,
        person=row.person,
        phone=row.phone,
        menu=tuple(msgspec.json.decode(row.menu)),
        image=row.image,
        balance_months=row.balance_months,
        disabled=bool(row.disabled),
        pick=row.pick,
        rest_s=row.rest_s,
        double_tap_s=row.double_tap_s,
        remind_after_s=row.remind_after_s,
        release_after_min=row.release_after_min,
        sellers=frozenset(sellers),
    )


def read_pool(tx: Tx, stall_id: int) -> Pool:
    """A stall's pool as of this snapshot. Raises StallNotFound."""
    head = events.heads(tx, [stream_of(stall_id)]).get(stream_of(stall_id))
    if head is None:
        raise StallNotFound
    return load_pool(tx, stall_id, head)


def ticket_with_stall(tx: Tx, ticket_id: int) -> tuple[Ticket, Stall]:
    """Raises TicketNotFound."""
    ticket = load_tickets(tx, [ticket_id]).get(ticket_id)
    if ticket is None:
        raise TicketNotFound
    return ticket, load_stalls(tx, [ticket.stall_id])[ticket.stall_id]


def ticket_in_queue(tx: Tx, ticket_id: int) -> tuple[Ticket, Stall, int, list[Sample]]:
    """A ticket and its stall; while it waits, how many wait before it, and what the stall's
    last tickets took. Raises TicketNotFound.
    """
    ticket, stall = ticket_with_stall(tx, ticket_id)
    if not ticket.is_waiting:
        return ticket, stall, 0, []
    place = (ticket.queued_at, ticket.id)
    waiting = [t for t in live_tickets(tx, ticket.stall_id) if t.is_waiting]
    ahead = sum((t.queued_at, t.id) < place for t in waiting)
    recent = _load_recent(tx, ticket.stall_id)[: 3 * SAMPLES_MAX]
    return ticket, stall, ahead, _samples(recent, tx.now)


def live_ticket(tx: Tx, stall_id: int, *, number: int) -> Ticket | None:
    """Whoever's ticket holds the number now."""
    holder = select(tickets).where(tickets.c.stall_id == stall_id, tickets.c.live_number == number)
    row = tx.execute(holder).first()
    return None if row is None else _ticket(row)


def open_ticket_of(tx: Tx, diner_id: int) -> Ticket | None:
    """The newest live ticket the diner has bound, at whichever stall."""
    newest = (
        select(diner_tickets.c.ticket_id)
        .where(diner_tickets.c.diner_id == diner_id)
        .order_by(diner_tickets.c.bound_at.desc(), diner_tickets.c.ticket_id.desc())
        .limit(OPEN_AMONG)
    )
    ids = [row.ticket_id for row in tx.execute(newest)]
    found = load_tickets(tx, ids)
    return next((found[id_] for id_ in ids if found[id_].is_live), None)


def last_ticket_of(tx: Tx, *, stall_id: int, number: int, diner_id: int) -> Ticket | None:
    """The diner's last ticket with this number at this stall, live or ended.

    The old dialect names a ticket by its number: it means the one this diner bound.
    """
    if stall_id > STALL_ID_MAX:
        return None
    newest = (
        select(diner_tickets.c.ticket_id)
        .where(
            diner_tickets.c.diner_id == diner_id,
            diner_tickets.c.ticket_id.between(stall_id << 32, ((stall_id + 1) << 32) - 1),
            diner_tickets.c.number == number,
        )
        .order_by(diner_tickets.c.bound_at.desc())
        .limit(1)
    )
    row = tx.execute(newest).first()
    return None if row is None else load_tickets(tx, [row.ticket_id])[row.ticket_id]


def unreached_tickets(tx: Tx) -> list[int]:
    """Called tickets whose time for acknowledging the call is over; by id."""
    overdue = (
        select(tickets.c.id)
        .join(stalls, stalls.c.id == tickets.c.stall_id)
        .where(
            # Stall by stall through the index of live numbers: else SQLite, which sees no use
            # in live_number alone, would read through all history.
            tickets.c.stall_id.in_(select(stalls.c.id)),
            tickets.c.live_number >= 1,
            tickets.c.status == Status.CALLED.value,
            tickets.c.unreached.is_(False),
            tickets.c.reached_at.is_(None),
            tickets.c.called_at <= tx.now - stalls.c.remind_after_s * 1000,
        )
        .order_by(tickets.c.id)
        .limit(500)
    )
    return [row.id for row in tx.execute(overdue)]


def visits(tx: Tx, *, from_date: int, to_date: int, stall_id: int | None) -> list[Visit]:
    """What counts of the tickets of these business dates."""
    wanted = load_stalls(tx, None if stall_id is None else [stall_id])
    return [visit for each in wanted for visit in _visits_of(tx, each, from_date, to_date)]


def _visits_of(tx: Tx, stall_id: int, from_date: int, to_date: int) -> list[Visit]:
    """A stall's days lie together: its ids grow with time."""
    first = _first_of_date(tx, stall_id, from_date)
    after = _first_of_date(tx, stall_id, to_date + 1)
    query = select(
        tickets.c.status, tickets.c.issued_at, tickets.c.first_called_at, tickets.c.ended_at
    ).where(
        tickets.c.id >= first,
        tickets.c.id < after,
        tickets.c.business_date.between(from_date, to_date),
    )
    return [
        Visit(Status(row.status), row.issued_at, row.first_called_at, row.ended_at)
        for row in tx.execute(query)
    ]


def _first_of_date(tx: Tx, stall_id: int, date: int) -> int:
    """The id of the stall's first ticket of a business date or a later one, by halving."""
    low, end = stall_id << 32, (stall_id + 1) << 32
    last = tx.execute(_NEAR.where(tickets.c.id >= low, tickets.c.id < end).order_by(_ID.desc()))
    row = last.first()
    high = low if row is None else row.id + 1
    while low < high:
        middle = (low + high) // 2
        found = tx.execute(
            _NEAR.where(tickets.c.id >= middle, tickets.c.id < high).order_by(_ID)
        ).first()
        if found is None or found.business_date >= date:
            high = middle
        else:
            low = found.id + 1
    return low


_ID = tickets.c.id
_NEAR = select(tickets.c.id, tickets.c.business_date).limit(1)


def stalls_to_release(tx: Tx) -> list[int]:
    """Stalls that hold a ticket older than their release time: worth a look by the rules."""
    old = select(tickets.c.id).where(
        tickets.c.stall_id == stalls.c.id,
        tickets.c.live_number >= 1,
        tickets.c.issued_at <= tx.now - stalls.c.release_after_min * 60_000,
    )
    return list(tx.execute(select(stalls.c.id).where(old.exists()).order_by(stalls.c.id)).scalars())
