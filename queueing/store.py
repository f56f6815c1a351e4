"""The queue's transactions: acts on numbers as one list verb, and what is read of them.

All acts on all stalls that wait together are done in one go: lock the stalls' streams, take
each stall's pool (from memory, when its seq is still the stream's, else from the tables),
let the pure rules of `queueing.pool` act in the order of arrival, and write what they
changed with a handful of statements for the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, insert, literal, select, update
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import IntegrityError

from queueing.acts import Act, Outcome
from queueing.model import (
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
from sql.failures import Broken
from sql.tables.queueing import stall_sellers, stalls, tickets

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


class _Work:
    """One batch of acts under way."""

    def __init__(self, tx: Tx, acts: Sequence[Act]) -> None:
        self.tx = tx
        self.heads = events.lock_streams(tx, {stream_of(act.stall) for act in acts}, make=False)
        self.pools: dict[int, Pool] = {}
        self.answers = _known_answers(tx, acts)
        self.new_answers: list[tuple[str, str, str]] = []
        self._adopt_ended(acts)

    def outcome_of(self, act: Act) -> Outcome | Exception:
        try:
            if not act.key:
                return self._act(act)
            return self._act_once(act)
        except (QueueError, idempotency.KeyReused) as refusal:
            return refusal

    def _act_once(self, act: Act) -> Outcome:
        id_, mark = act.key_id, act.fingerprint
        known = self.answers.get(id_)
        if known is None:
            outcome = self._act(act)
            self.answers[id_] = (mark, _encode_outcome(outcome))
            self.new_answers.append((id_, *self.answers[id_]))
            return outcome
        if known[0] != mark:
            raise idempotency.KeyReused(act.key)
        return _decode_outcome(known[1])

    def _act(self, act: Act) -> Outcome:
        pool = self._pool(act)
        outcome = act.on(pool, self.tx.now)
        if act.verb == "mark_unreached" and isinstance(outcome, Ticket) and outcome.grant:
            self._remind(pool.stall, outcome)
        return outcome

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

    def _pool(self, act: Act) -> Pool:
        """The stall's pool, true at this moment. Raises StallNotFound, TicketNotFound."""
        pool = self.pools.get(act.stall)
        if pool is None:
            head = self.heads.get(stream_of(act.stall))
            if head is None:
                raise TicketNotFound if act.ticket_id else StallNotFound
            pool = _current_pool(self.tx, act.stall, head)
            self.pools[act.stall] = pool
        return pool

    def _adopt_ended(self, acts: Sequence[Act]) -> None:
        """Fetch the tickets that acts name and no pool holds any more, in one query."""
        missing: dict[int, Pool] = {}
        for act in acts:
            if stall_of(act.ticket_id) == act.stall and stream_of(act.stall) in self.heads:
                pool = self._pool(act)
                if not _knows(pool, act.ticket_id):
                    missing[act.ticket_id] = pool
        for ticket in load_tickets(self.tx, missing).values():
            missing[ticket.id].adopt(ticket)

    def save(self) -> None:
        """Write what the pools changed: new tickets, changed ones, events, keys."""
        new: list[dict[str, Any]] = []
        changed: list[dict[str, Any]] = []
        additions: dict[str, tuple[events.Head, list[events.Line]]] = {}
        for stall_id, pool in self.pools.items():
            for ticket in pool.changed.values():
                (new if ticket.id in pool.new_ids else changed).append(_row(ticket))
            if pool.drafts:
                lines = [_line(draft) for draft in pool.drafts]
                name = stream_of(stall_id)
                additions[name] = (self.heads[name], lines)
            pool.stored()
        if changed:
            _update_tickets(self.tx, changed)
        if new:
            self.tx.execute(insert(tickets), new)
        events.append(self.tx, additions)
        self._keep_answers()

    def _keep_answers(self) -> None:
        try:
            idempotency.keep_answers(self.tx, self.new_answers)
        except IntegrityError as error:
            # Another process has done an act at another stall with one of these keys since we
            # looked: run again, to find its answer.
            raise Broken(error, again=True) from error


def _knows(pool: Pool, ticket_id: int) -> bool:
    try:
        pool.ticket(ticket_id)
    except TicketNotFound:
        return False
    return True


_encode = msgspec.json.Encoder().encode


def _line(draft: Draft) -> events.Line:
    public = b"" if draft.public is None else _encode(draft.public)
    return events.Line(draft.name, draft.ticket, public, _encode(draft.private))


def _known_answers(tx: Tx, acts: Sequence[Act]) -> dict[str, tuple[str, str]]:
    ids = [act.key_id for act in acts if act.key]
    return idempotency.find_answers(tx, ids) if ids else {}


def _encode_outcome(outcome: Outcome) -> str:
    return _encode(outcome).decode()


_outcome_decoder: msgspec.json.Decoder[Ticket | list[Ticket]] = msgspec.json.Decoder(
    Ticket | list[Ticket]
)


def _decode_outcome(text: str) -> Outcome:
    return _outcome_decoder.decode(text)


# The pool in memory and in the tables


def _current_pool(tx: Tx, stall_id: int, head: events.Head) -> Pool:
    """The pool in memory if nobody wrote to the stall since, else afresh from the tables.

    Every change of a stall or of its tickets appends an event under the lock of its stream,
    so an equal (epoch, seq) means that nothing has changed, in whichever process.
    """
    key = ("pool", stall_id)
    kept = tx.recall(key)
    if isinstance(kept, Pool) and kept.seq == head.seq and kept.epoch == head.epoch:
        return kept
    pool = load_pool(tx, stall_id, head)
    tx.remember(key, pool)
    return pool


def load_pool(tx: Tx, stall_id: int, head: events.Head) -> Pool:
    """Read a stall's pool; its cost does not grow with history. Raises StallNotFound."""
    stall = load_stalls(tx, [stall_id]).get(stall_id)
    if stall is None:
        raise StallNotFound
    live = live_tickets(tx, stall_id)
    used, ended = _load_last_of_numbers(tx, stall_id)
    return Pool(
        stall,
        epoch=head.epoch,
        seq=head.seq,
        live=live,
        ended=ended,
        used=used,
        recent=_load_samples(tx, stall_id),
    )


def live_tickets(tx: Tx, stall_id: int) -> list[Ticket]:
    """The tickets that hold a number of the stall."""
    live = select(tickets).where(tickets.c.stall_id == stall_id, tickets.c.live_number >= 1)
    return [_ticket(row) for row in tx.execute(live)]


def _load_last_of_numbers(tx: Tx, stall_id: int) -> tuple[dict[int, int], dict[int, int]]:
    """number → id of its last ticket; number → when the last ended one ended.

    A few looks into the index for each of 99 numbers, however long the history. The last one
    to end is nearly always the last one issued; an undo may have brought back the one before.
    """
    numbers = select(literal(1).label("number")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.number + 1).where(numbers.c.number < 99))

    def last(*where: Any, skip: int = 0) -> Any:
        return (
            select(tickets.c.id)
            .where(tickets.c.stall_id == stall_id, tickets.c.number == numbers.c.number, *where)
            .order_by(tickets.c.id.desc())
            .limit(1)
            .offset(skip)
            .correlate(numbers)
            .scalar_subquery()
        )

    has_ended = tickets.c.live_number.is_(None)
    found = tx.execute(
        select(
            numbers.c.number,
            last().label("last"),
            last(has_ended).label("ended"),
            last(has_ended, skip=1).label("ended_before"),
        )
    ).all()
    ended_ids = {id_ for row in found for id_ in (row.ended, row.ended_before)} - {None}
    rows = tx.execute(
        select(tickets.c.number, tickets.c.ended_at)
        .where(tickets.c.id.in_(ended_ids))
        .order_by(tickets.c.ended_at)
    )
    used = {row.number: row.last for row in found if row.last is not None}
    return used, {row.number: row.ended_at for row in rows}


def _load_samples(tx: Tx, stall_id: int) -> list[Sample]:
    """The waits of the last tickets that were called, in the order of their calls.

    Those too old to say anything about now are left out.
    """
    last = (
        select(tickets.c.issued_at, tickets.c.first_called_at, tickets.c.ahead)
        .where(tickets.c.id >= stall_id << 32, tickets.c.id < (stall_id + 1) << 32)
        .order_by(tickets.c.id.desc())
        .limit(3 * SAMPLES_MAX)
    )
    samples = [
        Sample(row.first_called_at - row.issued_at, row.ahead, row.first_called_at)
        for row in tx.execute(last)
        if row.first_called_at is not None and row.first_called_at >= tx.now - SAMPLE_AGE_MS
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


def _row(ticket: Ticket) -> dict[str, Any]:
    row = dict(zip(_NAMES, msgspec.structs.astuple(ticket), strict=True))
    row["live_number"] = ticket.number if ticket.is_live else None
    return row


def _ticket(row: Row[Any]) -> Ticket:
    values = row._mapping
    ticket = Ticket(**{field: values[name] for field, name in zip(_FIELDS, _NAMES, strict=True)})
    ticket.status = Status(ticket.status)
    return ticket


_UPDATE_SQLITE = (
    update(tickets)
    .where(tickets.c.id == bindparam("row_id"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGING})
)
_mysql_insert = mysql.insert(tickets)
_UPDATE_MYSQL = _mysql_insert.on_duplicate_key_update(
    {name: _mysql_insert.inserted[name] for name in _CHANGING}
)


def _update_tickets(tx: Tx, rows: list[dict[str, Any]]) -> None:
    """Write tickets that are there already; their stalls are locked, so nothing came between.

    MySQL has no UPDATE of many rows with a value each: an INSERT that finds its primary key
    taken is one, in a single round trip.
    """
    if tx.dialect == "mysql":
        tx.execute(_UPDATE_MYSQL, rows)
        return
    values = [
        {"row_id": row["id"], **{f"new_{name}": row[name] for name in _CHANGING}} for row in rows
    ]
    done = tx.execute(_UPDATE_SQLITE, values)
    assert done.rowcount == len(rows), f"{done.rowcount} of {len(rows)} tickets were there"


# Reading


def load_tickets(tx: Tx, ids: Iterable[int]) -> dict[int, Ticket]:
    """Tickets by id, live or not; unknown ids are left out."""
    wanted = list(ids)
    if not wanted:
        return {}
    rows = tx.execute(select(tickets).where(tickets.c.id.in_(wanted)))
    return {row.id: _ticket(row) for row in rows}


def load_stalls(tx: Tx, ids: Iterable[int] | None = None) -> dict[int, Stall]:
    """Stalls by id, in the order of their ids; all of them when ids is None."""
    query = select(stalls).order_by(stalls.c.id)
    owners = select(stall_sellers.c.stall_id, stall_sellers.c.account_id)
    if ids is not None:
        wanted = list(ids)
        query = query.where(stalls.c.id.in_(wanted))
        owners = owners.where(stall_sellers.c.stall_id.in_(wanted))
    sellers: dict[int, set[int]] = {}
    for row in tx.execute(owners):
        sellers.setdefault(row.stall_id, set()).add(row.account_id)
    return {row.id: _stall(row, sellers.get(row.id, set())) for row in tx.execute(query)}


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
    return ticket, stall, ahead, _load_samples(tx, ticket.stall_id)


def live_ticket(tx: Tx, stall_id: int, *, number: int) -> Ticket | None:
    """Whoever's ticket holds the number now."""
    holder = select(tickets).where(tickets.c.stall_id == stall_id, tickets.c.live_number == number)
    row = tx.execute(holder).first()
    return None if row is None else _ticket(row)


def open_ticket_of(tx: Tx, diner_id: int) -> Ticket | None:
    """The newest live ticket the diner has bound, at whichever stall, of his last twenty."""
    mine = (
        select(tickets)
        .where(tickets.c.diner_id == diner_id)
        .order_by(tickets.c.id.desc())
        .limit(20)
    )
    for row in tx.execute(mine):
        if row.live_number is not None:
            return _ticket(row)
    return None


def last_ticket_of(tx: Tx, *, stall_id: int, number: int, diner_id: int) -> Ticket | None:
    """The diner's last ticket with this number at this stall, live or ended.

    The old dialect names a ticket by its number: it means the one this diner bound.
    """
    mine = (
        select(tickets)
        .where(
            tickets.c.diner_id == diner_id,
            # Added to, so that no index serves them: what a diner asks costs his own history,
            # not the stall's.
            tickets.c.stall_id + 0 == stall_id,
            tickets.c.number + 0 == number,
        )
        .order_by(tickets.c.id.desc())
        .limit(1)
    )
    row = tx.execute(mine).first()
    return None if row is None else _ticket(row)


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
    query = select(
        tickets.c.status, tickets.c.issued_at, tickets.c.first_called_at, tickets.c.ended_at
    ).where(tickets.c.business_date.between(from_date, to_date))
    if stall_id is not None:
        query = query.where(tickets.c.stall_id == stall_id)
    return [
        Visit(Status(row.status), row.issued_at, row.first_called_at, row.ended_at)
        for row in tx.execute(query)
    ]


def stalls_to_release(tx: Tx) -> list[int]:
    """Stalls that hold a ticket older than their release time: worth a look by the rules."""
    old = select(tickets.c.id).where(
        tickets.c.stall_id == stalls.c.id,
        tickets.c.live_number >= 1,
        tickets.c.issued_at <= tx.now - stalls.c.release_after_min * 60_000,
    )
    return list(tx.execute(select(stalls.c.id).where(old.exists()).order_by(stalls.c.id)).scalars())
