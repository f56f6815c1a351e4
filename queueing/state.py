"""What a pool holds: live tickets, free numbers, the queue, and the events to be stored.

queueing.pool has the acts; this keeps the four in step with one another.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Mapping
from copy import copy
from itertools import accumulate
from typing import Any

from queueing import undo
from queueing.drafts import private_data, public_data
from queueing.model import (
    Actor,
    Draft,
    PoolHealth,
    Stall,
    Status,
    Ticket,
    TicketNotFound,
    TicketNotLive,
)
from queueing.numbers import FreeNumbers
from queueing.waiting import SAMPLE_AGE_MS, SAMPLES_MAX, Pace, Sample, pace

LOW_AT = 10
"""So many numbers left last a few minutes of a lunch rush: time to finish old ones."""

LOW_OVER = 15
"""The warning is given again only after more than this many were free."""


class PoolState:
    def __init__(
        self,
        stall: Stall,
        *,
        epoch: str,
        seq: int,
        live: Iterable[Ticket],
        ended: Mapping[int, int],
        used: Mapping[int, int],
        recent: Iterable[Sample],
    ) -> None:
        """seq: of the last event stored; ended: number → when its last ended ticket ended
        (also of numbers live again); used: number → id of its last ticket, live or not;
        recent: samples in the order of their calls.
        """
        self.stall = stall
        self.epoch = epoch
        self.seq = seq
        self.drafts: list[Draft] = []
        self.changed: dict[int, Ticket] = {}
        self.new_ids: set[int] = set()
        self._live = {ticket.number: ticket for ticket in live}
        self._by_id = {ticket.id: ticket for ticket in self._live.values()}
        self._past: dict[int, Ticket] = {}
        self._queue = sorted((t.queued_at, t.id) for t in self._live.values() if t.is_waiting)
        self._newest = {t.issued_session: t for t in sorted(self._live.values(), key=_id)}
        self._ended = dict(ended)
        self._used = dict(used)
        self._recent = deque(recent, maxlen=SAMPLES_MAX)
        self.configure(stall)

    def configure(self, stall: Stall) -> None:
        """Go on with new settings of the stall."""
        self.stall = stall
        self._free = FreeNumbers(
            stall.pick,
            rest_ms=stall.rest_s * 1000,
            taken=self._live.keys(),
            used=self._used,
            ended=self._ended,
        )

    def stored(self) -> None:
        """The drafts and changes are in the database: begin afresh."""
        self.drafts, self.changed, self.new_ids = [], {}, set()
        self._past = {}

    def by_number(self, number: int) -> Ticket | None:
        """The live ticket that holds the number."""
        ticket = self._live.get(number)
        return copy(ticket) if ticket else None

    def ticket(self, ticket_id: int) -> Ticket:
        return copy(self._find(ticket_id))

    def knows(self, ticket_id: int) -> bool:
        """Whether the ticket is live here, or was adopted."""
        return ticket_id in self._by_id or ticket_id in self._past

    def tickets(self) -> list[Ticket]:
        """All live tickets, by their place in the queue."""
        return [copy(ticket) for ticket in sorted(self._live.values(), key=place)]

    def adopt(self, ticket: Ticket) -> None:
        """Make an ended ticket known again, until stored(), so that it can be undone."""
        if ticket.stall_id != self.stall.id:
            raise TicketNotFound
        if ticket.id not in self._by_id:
            self._past.setdefault(ticket.id, copy(ticket))

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def free(self) -> int:
        """Numbers that can be given out, resting ones included."""
        return len(self._free)

    def ahead_of(self, ticket: Ticket) -> int:
        """How many wait before it."""
        return bisect_left(self._queue, (ticket.queued_at, ticket.id))

    def pace(self, now: int) -> Pace | None:
        oldest = now - SAMPLE_AGE_MS
        return pace(sample for sample in self._recent if sample.called_at >= oldest)

    def health(self, now: int) -> PoolHealth:
        resting = self._free.resting(now)
        untouched = now - self.stall.release_after_min * 30_000
        return PoolHealth(
            in_use=len(self._live),
            resting=resting,
            free=len(self._free) - resting,
            stuck=sorted(t.number for t in self._live.values() if t.changed_at <= untouched),
            low=len(self._free) <= LOW_AT,
        )

    def announce(
        self, name: str, *, public: dict[str, Any] | None, private: dict[str, Any]
    ) -> None:
        """Draft an event of the stall itself; public None keeps it among staff."""
        self.seq += 1
        self.drafts.append(Draft(name, 0, public, private))

    def _find(self, ticket_id: int) -> Ticket:
        ticket = self._by_id.get(ticket_id) or self._past.get(ticket_id)
        if ticket is None:
            raise TicketNotFound
        return ticket

    def _check_live(self, ticket: Ticket) -> None:
        if self._live.get(ticket.number) is not ticket:
            raise TicketNotLive

    def _just_issued(self, by: Actor, now: int) -> Ticket | None:
        newest = self._newest.get(by.session_id) if by.session_id else None
        window_ms = self.stall.double_tap_s * 1000
        if newest is None or not window_ms:
            return None
        # A clock that was set back must not hold the seller up until it has caught up.
        return newest if 0 <= now - newest.issued_at <= window_ms else None

    def _end(self, ticket: Ticket, status: Status, now: int, before: str) -> None:
        self._leave_queue(ticket)
        del self._live[ticket.number], self._by_id[ticket.id]
        self._past[ticket.id] = ticket
        if self._newest.get(ticket.issued_session) is ticket:
            del self._newest[ticket.issued_session]
        self._ended[ticket.number] = now
        self._free.give_back(ticket.number, ended_at=now)
        ticket.status = status
        ticket.ended_at = now
        ticket.before = before

    def _restore(self, ticket: Ticket, before: undo.Before) -> None:
        if ticket.first_called_at != before.first_called_at:
            self._forget_sample(ticket)
        if ticket.is_live:
            self._leave_queue(ticket)
        else:
            self._free.take(ticket.number)
            self._ended.pop(ticket.number, None)
        undo.restore(ticket, before)
        ticket.before = ""
        self._hold(ticket)

    def _hold(self, ticket: Ticket) -> None:
        self._live[ticket.number] = self._by_id[ticket.id] = ticket
        newest = self._newest.setdefault(ticket.issued_session, ticket)
        if newest.id < ticket.id:
            self._newest[ticket.issued_session] = ticket
        if ticket.is_waiting:
            self._join_queue(ticket)

    def _join_queue(self, ticket: Ticket) -> None:
        insort(self._queue, (ticket.queued_at, ticket.id))

    def _leave_queue(self, ticket: Ticket) -> None:
        if ticket.is_waiting:
            del self._queue[self.ahead_of(ticket)]

    def _forget_sample(self, ticket: Ticket) -> None:
        called_at = ticket.first_called_at or 0
        sample = Sample(called_at - ticket.issued_at, ticket.ahead, called_at)
        if sample in self._recent:
            self._recent.remove(sample)

    def _tell(
        self, name: str, ticket: Ticket, by: Actor, now: int, *, staff_only: bool = False
    ) -> None:
        ticket.changed_at = now
        self.changed[ticket.id] = ticket
        public = public_data(ticket)
        private = private_data(ticket, public, by)
        self.seq += 1
        self.drafts.append(Draft(name, ticket.id, None if staff_only else public, private))

    def _warn_when_low(self, now: int) -> None:
        if len(self._free) == LOW_AT and self._is_first_warning():
            health = self.health(now)
            left = {"free": health.free, "resting": health.resting, "stuck": health.stuck}
            self.announce("pool.low", public=None, private=left)

    def _is_first_warning(self) -> bool:
        """Whether more than LOW_OVER were free since it was last low.

        Told from when live tickets were issued and numbers ended, backwards, so that
        nothing has to be kept and a restart warns neither twice nor not at all. (A
        number that went round twice in that stretch counts as having gone round once.)
        """
        steps = [(ticket.issued_at, 1) for ticket in self._live.values()]
        steps += [(ended_at, -1) for ended_at in self._ended.values()]
        changes = accumulate(step for _, step in sorted(steps, reverse=True))
        rise = LOW_OVER - LOW_AT
        return next((change > rise for change in changes if not 0 < change <= rise), True)


def _id(ticket: Ticket) -> int:
    return ticket.id


def place(ticket: Ticket) -> tuple[int, int]:
    return ticket.queued_at, ticket.id
