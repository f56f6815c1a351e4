"""The pool of one stall: its live tickets, its free numbers, and every act on them.

Pure and single-threaded. An act checks everything first and only then changes, so one
that raises has changed nothing. It leaves what it changed in changed, new_ids and
drafts, for the store to write in one transaction; each act drafts at least one event
or changes nothing, so a repeat is harmless. What an act returns is a copy, which the
next act does not touch.
"""

import re
from copy import copy

from queueing import undo
from queueing.calendar import business_date
from queueing.model import (
    SYSTEM,
    Actor,
    InvalidNote,
    InvalidNumber,
    NotYourStall,
    NumberTaken,
    PoolExhausted,
    QueueEmpty,
    StallClosed,
    StallDue,
    Status,
    Ticket,
    TicketNotCalled,
    TicketNotFound,
    UndoTooLate,
    ticket_id,
)
from queueing.state import PoolState, place
from queueing.waiting import Sample

ISSUED, NOTED, CALLED = Status.ISSUED, Status.NOTED, Status.CALLED
NO_SHOW, FINISHED, CANCELLED = Status.NO_SHOW, Status.FINISHED, Status.CANCELLED

NOTE_MAX = 200

# Control characters, line separators, half surrogates (no database takes them), and the
# marks that turn the direction of text, with which a note could disguise another.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Pool(PoolState):
    # Staff

    def issue(self, by: Actor, now: int, *, double_tap: bool = False) -> Ticket:
        """Give out the number that is next.

        double_tap: the request brought no key of its own, so a second one of the same
        session within the stall's double_tap_s is taken for the same wish, and answered
        with the same ticket as long as that is live.
        """
        stall = self.stall
        self._admit_staff(by)
        if stall.disabled:
            raise StallClosed
        if stall.balance_months <= 0:
            raise StallDue
        if double_tap and (twin := self._just_issued(by, now)):
            return copy(twin)
        if not self._free:
            raise PoolExhausted

        issued = ticket_id(stall.id, self.seq + 1)
        ticket = Ticket(
            id=issued,
            stall_id=stall.id,
            number=self._free.take_next(now, ticket_id=issued),
            status=ISSUED,
            issued_by=by.account_id,
            issued_session=by.session_id,
            issued_at=now,
            queued_at=now,
            business_date=business_date(now),
            changed_at=now,
        )
        ticket.ahead = self.ahead_of(ticket)
        ticket.before = undo.remember("issue", ticket, now)
        self._used[ticket.number] = issued
        self.new_ids.add(issued)
        self._hold(ticket)
        self._tell("ticket.issued", ticket, by, now)
        self._warn_when_low(now)
        return copy(ticket)

    def call(self, ticket_id: int, by: Actor, now: int) -> Ticket:
        """Call the ticket; again, if it is called already; back, if it did not show up."""
        ticket = self._staff_finds(ticket_id, by)
        if ticket.status is CALLED:
            return self._recall(ticket, by, now)
        before = undo.remember("call", ticket, now)
        self._leave_queue(ticket)
        ticket.status = CALLED
        ticket.before = before
        if ticket.first_called_at is None:
            ticket.first_called_at = now
            self._recent.append(Sample(now - ticket.issued_at, ticket.ahead, now))
        self._count_call(ticket, now)
        self._tell("ticket.called", ticket, by, now)
        return copy(ticket)

    def call_next(self, by: Actor, now: int) -> Ticket:
        """Call the one who has waited longest."""
        self._admit_staff(by)
        if not self._queue:
            raise QueueEmpty
        return self.call(self._queue[0][1], by, now)

    def recall(self, ticket_id: int, by: Actor, now: int) -> Ticket:
        """Call once more a ticket that was called or did not show up."""
        if self._staff_finds(ticket_id, by).is_waiting:
            raise TicketNotCalled
        return self.call(ticket_id, by, now)

    def finish(self, ticket_id: int, by: Actor, now: int) -> Ticket:
        """The dish is collected: said by the stall's staff, or by the ticket's own diner."""
        ticket = self._find(ticket_id)
        is_staff = self._is_staff(by)
        if not is_staff:
            self._admit_diner(ticket, by)
        if ticket.status is FINISHED:
            return copy(ticket)
        self._check_live(ticket)
        before = undo.remember("finish", ticket, now) if is_staff else ""
        self._end(ticket, FINISHED, now, before)
        self._tell("ticket.finished", ticket, by, now)
        return copy(ticket)

    def no_show(self, ticket_id: int, by: Actor, now: int) -> Ticket:
        """Nobody came for a called ticket. It keeps its number until called again or released."""
        ticket = self._staff_finds(ticket_id, by)
        if ticket.status is NO_SHOW:
            return copy(ticket)
        if ticket.status is not CALLED:
            raise TicketNotCalled
        ticket.before = undo.remember("no_show", ticket, now)
        ticket.status = NO_SHOW
        self._tell("ticket.no_show", ticket, by, now)
        return copy(ticket)

    def requeue(self, ticket_id: int, by: Actor, now: int) -> Ticket:
        """Send a called ticket, or one that did not show up, to the end of the queue."""
        ticket = self._staff_finds(ticket_id, by)
        if ticket.is_waiting:
            if ticket.calls:
                return copy(ticket)
            raise TicketNotCalled
        ticket.before = undo.remember("requeue", ticket, now)
        ticket.status = NOTED if ticket.is_noted else ISSUED
        ticket.queued_at = now
        ticket.reached_at = None
        ticket.unreached = False
        self._join_queue(ticket)
        self._tell("ticket.requeued", ticket, by, now)
        return copy(ticket)

    def cancel(self, ticket_id: int, by: Actor, now: int) -> Ticket:
        self._admit_staff(by)
        ticket = self._find(ticket_id)
        if ticket.status is CANCELLED:
            return copy(ticket)
        self._check_live(ticket)
        self._cancel(ticket, by, now)
        return copy(ticket)

    def clear(self, by: Actor, now: int) -> list[Ticket]:
        """Cancel what was issued but neither noted nor called; each can be undone."""
        self._admit_staff(by)
        cleared = [t for t in self.tickets() if t.status is ISSUED]
        return [self.cancel(ticket.id, by, now) for ticket in cleared]

    def undo(self, ticket_id: int, by: Actor, now: int) -> Ticket:
        """Take back the last staff act on the ticket, within ten seconds.

        A recall cannot be taken back (it has been heard), nor what its diner or a job
        did, nor an act on a ticket whose number has gone to another since.
        """
        self._admit_staff(by)
        ticket = self._find(ticket_id)
        before = undo.recollect(ticket, now)
        if before is None or self._live.get(ticket.number, ticket) is not ticket:
            raise UndoTooLate
        had_ended = not ticket.is_live
        if before.act == "issue":
            self._end(ticket, CANCELLED, now, "")
        else:
            self._restore(ticket, before)
        self._tell("ticket.undone", ticket, by, now)
        if had_ended:
            self._warn_when_low(now)
        return copy(ticket)

    # Diners

    def follow(self, number: int, by: Actor, note: str, grant: str, now: int) -> Ticket:
        """Bind the diner and a note (the dish) to a live number; the first diner wins.

        Again with the same note it answers the same. With another note it corrects the
        note, as long as the number has not been called; a new grant is kept either way.
        A number that is called may still be bound, and stays called.
        """
        note = fit_note(note)
        ticket = self._live.get(number)
        if ticket is None or not by.account_id:
            raise InvalidNumber
        if ticket.diner_id and ticket.diner_id != by.account_id:
            raise NumberTaken
        if ticket.diner_id and note != ticket.note and not ticket.is_waiting:
            raise NumberTaken
        if ticket.diner_id and note == ticket.note and grant in ("", ticket.grant):
            return copy(ticket)

        if not ticket.diner_id:
            ticket.diner_id = by.account_id
            ticket.diner_session = by.session_id
            ticket.noted_at = now
        if ticket.status is ISSUED:
            ticket.status = NOTED
        ticket.note = note
        ticket.grant = grant or ticket.grant
        self._tell("ticket.noted", ticket, by, now)
        return copy(ticket)

    def acknowledge(self, ticket_id: int, by: Actor, now: int) -> Ticket:
        """The diner's client has shown the call. Counts once a call; changes nothing when late."""
        ticket = self._find(ticket_id)
        self._admit_diner(ticket, by)
        if not ticket.calls:
            raise TicketNotCalled
        if ticket.reached_at is not None or ticket.status not in (CALLED, NO_SHOW):
            return copy(ticket)
        ticket.reached_at = now
        ticket.unreached = False
        self._tell("ticket.reached", ticket, by, now, staff_only=True)
        return copy(ticket)

    # Jobs

    def mark_unreached(self, ticket_id: int, now: int) -> Ticket:
        """Say that the last call was not acknowledged in time, once a call.

        The ticket returned carries the grant that a reminder may be sent with; the one
        that is kept has it no more, since WeChat takes a grant for one message only.
        Changes nothing (and returns no grant) when there is no such call or its time is
        not yet over, so a job that comes late or twice is harmless.
        """
        ticket = self._find(ticket_id)
        due = (ticket.called_at or 0) + self.stall.remind_after_s * 1000
        if ticket.status is not CALLED or ticket.is_reached is not None or now < due:
            unchanged = copy(ticket)
            unchanged.grant = ""
            return unchanged
        grant, ticket.grant = ticket.grant, ""
        ticket.unreached = True
        self._tell("ticket.unreached", ticket, SYSTEM, now, staff_only=True)
        marked = copy(ticket)
        marked.grant = grant
        return marked

    def release_overdue(self, now: int) -> list[Ticket]:
        """Free what was called long ago and not collected, and what an earlier day left."""
        overdue = [t for t in sorted(self._live.values(), key=place) if self._is_overdue(t, now)]
        for ticket in overdue:
            self._end(ticket, Status.RELEASED, now, "")
            self._tell("ticket.released", ticket, SYSTEM, now)
        return [copy(ticket) for ticket in overdue]

    # Helpers

    def _recall(self, ticket: Ticket, by: Actor, now: int) -> Ticket:
        ticket.before = ""
        self._count_call(ticket, now)
        self._tell("ticket.recalled", ticket, by, now)
        return copy(ticket)

    def _count_call(self, ticket: Ticket, now: int) -> None:
        ticket.calls += 1
        ticket.called_at = now
        ticket.reached_at = None
        ticket.unreached = False

    def _cancel(self, ticket: Ticket, by: Actor, now: int) -> None:
        self._end(ticket, CANCELLED, now, undo.remember("cancel", ticket, now))
        self._tell("ticket.cancelled", ticket, by, now)

    def _is_overdue(self, ticket: Ticket, now: int) -> bool:
        oldest = now - self.stall.release_after_min * 60_000
        if ticket.is_waiting:
            return ticket.issued_at <= oldest and ticket.business_date < business_date(now)
        return ticket.called_at is not None and ticket.called_at <= oldest

    # Who may

    def _is_staff(self, by: Actor) -> bool:
        if by.kind == "seller":
            return by.account_id in self.stall.sellers
        return by.kind in ("admin", "system")

    def _admit_staff(self, by: Actor) -> None:
        if not self._is_staff(by):
            raise NotYourStall

    def _admit_diner(self, ticket: Ticket, by: Actor) -> None:
        if not ticket.diner_id or ticket.diner_id != by.account_id:
            raise NotYourStall if by.kind == "seller" else TicketNotFound

    def _staff_finds(self, ticket_id: int, by: Actor) -> Ticket:
        """A live ticket, for one of the stall's staff."""
        self._admit_staff(by)
        ticket = self._find(ticket_id)
        self._check_live(ticket)
        return ticket


def fit_note(note: str) -> str:
    """The note without blanks around it; refused when empty, too long or unprintable."""
    note = note.strip()
    if not note:
        raise InvalidNumber("The note is empty.")
    if len(note) > NOTE_MAX or _UNFIT.search(note):
        raise InvalidNote(f"At most {NOTE_MAX} characters, and none of control.")
    return note
