"""What people and machines do with numbers: take, bind, call, collect, look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from queueing import store
from queueing.acts import Act
from queueing.calendar import business_date
from queueing.messages import QueueOut, TicketOut, queue_out, ticket_out
from queueing.model import (
    SYSTEM,
    Actor,
    InvalidNumber,
    NotYourStall,
    Stall,
    Status,
    Ticket,
    TicketNotFound,
    stall_of,
)
from queueing.pool import Pool
from queueing.stalls.store import stall_of_seller
from queueing.statistics import StatisticsOut, statistics
from queueing.store import perform, stream_of
from queueing.waiting import pace
from sql import events
from sql.database import Database
from sql.errors import CommitUnknown
from sql.types import Millis

# A number called longer ago than this needs no message any more: the phone has been in its
# owner's hand since, or the dish is cold.
REMINDER_STALE_MS = 30 * 60_000

# A queue that nobody touched is built anew now and then: waits and stuck numbers depend on
# the time as well.
SNAPSHOT_AGE_MS = 5_000
SNAPSHOTS_MAX = 2_000

# Events a diner's client acknowledges.
CALLS = frozenset({"ticket.called", "ticket.recalled"})

# Events after which another account runs the stall, or none.
SELLERS_CHANGED = frozenset({"stall.signed_up", "stall.sellers_released"})

SendReminder = Callable[[dict[str, Any]], Awaitable[object]]


class Queues:
    """The queues of all stalls.

    shared: other processes write to the same database, so what this one remembers of a
    stream counts for a moment only.
    """

    def __init__(
        self,
        db: Database,
        *,
        now: Callable[[], Millis],
        send_reminder: SendReminder,
        shared: bool = False,
    ) -> None:
        self._db = db
        self._now = now
        self._send_reminder = send_reminder
        self._shared = shared
        self._versions: dict[str, str] = {}
        self._doubted: set[str] = set()
        self._snapshots: dict[tuple[int, bool], tuple[str, Millis, QueueOut]] = {}
        self._stalls_of: dict[int, int] = {}
        self._sellers_changes = 0

    # Acts

    async def act(self, act: Act) -> Ticket:
        """Do an act that ends in one ticket. Raises a QueueError, DatabaseUnavailable."""
        outcome = await self._perform(act)
        assert isinstance(outcome, Ticket)
        return outcome

    async def _perform(self, act: Act) -> object:
        try:
            return await self._db.write(perform, act)
        except CommitUnknown:
            # It may have been done, and then nobody will be told.
            self._doubted.add(stream_of(act.stall))
            raise

    async def issue(self, stall_id: int, by: Actor, *, key: str = "") -> Ticket:
        """Give out the next number, durably before it is returned.

        A repeat with the same key gives the same ticket; without a key, a second tap of the
        same session within the stall's double_tap_s does.
        """
        return await self.act(Act(verb="issue", by=by, stall_id=stall_id, key=key))

    async def follow(
        self, stall_id: int, number: int, by: Actor, *, note: str, grant: str = "", key: str = ""
    ) -> Ticket:
        """Bind the diner and a note to a live number; the first diner wins."""
        return await self.act(
            Act(
                verb="follow",
                by=by,
                stall_id=stall_id,
                number=number,
                note=note,
                grant=grant,
                key=key,
            )
        )

    async def call_next(self, stall_id: int, by: Actor, *, key: str = "") -> Ticket:
        return await self.act(Act(verb="call_next", by=by, stall_id=stall_id, key=key))

    async def change(self, verb: str, ticket_id: int, by: Actor, *, key: str = "") -> Ticket:
        """call, recall, finish, no_show, requeue, cancel or undo a ticket."""
        return await self.act(Act(verb=verb, by=by, ticket_id=ticket_id, key=key))

    async def acknowledge(self, ticket_id: int, by: Actor, *, seq: int = 0) -> None:
        """The diner's client has shown the call: of event seq, or (0) the last one.

        What is no call of this ticket, or not its last one any more, changes nothing.
        Raises TicketNotFound, TicketNotCalled.
        """
        calls = called_at = 0
        if seq:
            stream = stream_of(stall_of(ticket_id))
            _, shown = await self.missed(stream, seq - 1, 1, ticket_id)
            if not shown or shown[0].name not in CALLS:
                return
            calls, called_at = _call_counted(shown[0]), shown[0].at
        await self.act(
            Act(verb="acknowledge", by=by, ticket_id=ticket_id, calls=calls, called_at=called_at)
        )

    async def clear(self, stall_id: int, by: Actor) -> list[Ticket]:
        """Cancel the stall's un-noted, uncalled numbers."""
        outcome = await self._perform(Act(verb="clear", by=by, stall_id=stall_id))
        assert isinstance(outcome, list)
        return outcome

    # By number, as the old dialect speaks

    async def call_number(self, stall_id: int, number: int, by: Actor) -> Ticket:
        return await self.act(Act(verb="call_number", by=by, stall_id=stall_id, number=number))

    async def finish_number(self, stall_id: int, number: int, by: Actor) -> Ticket:
        """The stall's staff finish whoever holds the number now."""
        return await self.act(Act(verb="finish_number", by=by, stall_id=stall_id, number=number))

    async def finish_own(self, stall_id: int, number: int, by: Actor) -> Ticket:
        """A diner finishes the ticket with this number that he himself bound last.

        Raises TicketNotFound when he bound none: whoever holds the number now is not touched.
        """
        ticket = await self.own_ticket(stall_id, number, by)
        return await self.change("finish", ticket.id, by)

    async def own_ticket(self, stall_id: int, number: int, by: Actor) -> Ticket:
        """The last ticket with this number that the diner bound. Raises TicketNotFound."""
        ticket = await self._db.read(
            store.last_ticket_of, stall_id=stall_id, number=number, diner_id=by.account_id
        )
        if ticket is None:
            raise TicketNotFound
        return ticket

    async def live_ticket(self, stall_id: int, number: int) -> Ticket:
        """Whoever's ticket holds the number now. Raises TicketNotFound."""
        ticket = await self._db.read(store.live_ticket, stall_id, number=number)
        if ticket is None:
            raise TicketNotFound
        return ticket

    async def live_tickets(self, stall_id: int) -> list[Ticket]:
        """The tickets that hold a number of the stall now."""
        return await self._db.read(store.live_tickets, stall_id)

    async def open_ticket(self, by: Actor) -> Ticket | None:
        """The newest live ticket the diner has bound, at whichever stall."""
        return await self._db.read(store.open_ticket_of, by.account_id)

    # Looking

    async def queue(self, stall_id: int, *, staff: bool) -> QueueOut:
        """The live state of a stall's queue. Raises StallNotFound."""
        return (await self.snapshot(stall_id, staff=staff))[1]

    async def snapshot(self, stall_id: int, *, staff: bool) -> tuple[events.Head, QueueOut]:
        """The queue and where its stream stood at that moment. Raises StallNotFound."""
        version = await self.version(stall_id)
        kept = self._snapshots.get((stall_id, staff))
        now = self._now()
        if kept is not None and kept[0] == version and 0 <= now - kept[1] < SNAPSHOT_AGE_MS:
            epoch, _, seq = version.partition(".")
            return events.Head(0, stream_of(stall_id), epoch, int(seq)), kept[2]
        pool = await self._db.read(store.read_pool, stall_id)
        found = queue_out(pool, now, staff=staff)
        self._keep(stall_id, staff, pool, now, found)
        return events.Head(0, stream_of(stall_id), pool.epoch, pool.seq), found

    def _keep(self, stall_id: int, staff: bool, pool: Pool, now: Millis, found: QueueOut) -> None:
        if len(self._snapshots) >= SNAPSHOTS_MAX:
            self._snapshots.clear()
        self._snapshots[stall_id, staff] = (f"{pool.epoch}.{pool.seq}", now, found)

    def known_version(self, stall_id: int) -> str | None:
        """ "epoch.seq" of the stall's stream when this process is sure of it, at no cost."""
        name = stream_of(stall_id)
        if self._shared or name in self._doubted:
            return None
        return self._versions.get(name)

    async def version(self, stall_id: int) -> str:
        """As known_version, asking the database when needed; "" for an unknown stall."""
        known = self.known_version(stall_id)
        if known is not None:
            return known
        name = stream_of(stall_id)
        head = (await self._db.read(events.heads, [name])).get(name)
        if head is None:
            return ""
        version = f"{head.epoch}.{head.seq}"
        if name not in self._versions:
            self._versions[name] = version
        return version

    def told(self, committed: list[events.Event]) -> None:
        """Note where streams stand; called after each commit, in order."""
        for event in committed:
            if event.stream.startswith("stall:"):
                self._versions[event.stream] = f"{event.epoch}.{event.seq}"
                self._doubted.discard(event.stream)
            if event.name in SELLERS_CHANGED:
                self.forget_sellers()

    async def ticket(self, ticket_id: int, by: Actor) -> TicketOut:
        """A ticket for its diner or its stall's staff. Raises TicketNotFound."""
        ticket, stall, ahead, samples = await self._db.read(store.ticket_in_queue, ticket_id)
        if not _may_see(by, ticket, stall):
            raise TicketNotFound
        if not ticket.is_waiting:
            return ticket_out(ticket, private=True)
        return ticket_out(ticket, private=True, ahead=ahead, pace=pace(samples))

    async def may_follow(self, ticket_id: int, by: Actor) -> bool:
        """Whether the ticket is the diner's own, or of the seller's stall."""
        try:
            ticket, stall = await self._db.read(store.ticket_with_stall, ticket_id)
        except TicketNotFound:
            return False
        return _may_see(by, ticket, stall)

    async def stall_of(self, by: Actor) -> int:
        """The stall a seller's session acts for. Raises NotYourStall."""
        known = None if self._shared else self._stalls_of.get(by.account_id)
        if known is not None:
            return known
        changes = self._sellers_changes
        stall_id = await self._db.read(stall_of_seller, by.account_id)
        if stall_id is None:
            raise NotYourStall
        if changes == self._sellers_changes and not self._shared:
            self._stalls_of[by.account_id] = stall_id
        return stall_id

    async def is_staff(self, by: Actor, stall_id: int) -> bool:
        """Whether the actor works for the stall."""
        if by.kind == "admin":
            return True
        if by.kind != "seller":
            return False
        try:
            return await self.stall_of(by) == stall_id
        except NotYourStall:
            return False

    def forget_sellers(self) -> None:
        """Who runs which stall has changed; what is being read of it now may be old."""
        self._sellers_changes += 1
        self._stalls_of.clear()

    def business_date(self) -> int:
        """Today (YYYYMMDD) in Beijing."""
        return business_date(self._now())

    async def statistics(
        self, *, from_date: int, to_date: int, stall_id: int | None = None
    ) -> StatisticsOut:
        """Figures of business dates (YYYYMMDD), both included."""
        visits = await self._db.read(
            store.visits, from_date=from_date, to_date=to_date, stall_id=stall_id
        )
        return statistics(visits, from_date=from_date, to_date=to_date, stall_id=stall_id)

    async def missed(
        self, stream: str, after: int, most: int, subject: int
    ) -> tuple[events.Head | None, list[events.Event]]:
        """Events of a stream behind `after`, for those who come back."""
        return await self._db.read(
            events.read_events, stream, after=after, most=most, subject=subject
        )

    # Jobs

    async def mark_unreached(self) -> int:
        """Mark the calls nobody acknowledged in time; ask for the granted messages."""
        overdue = await self._db.read(store.unreached_tickets)
        await asyncio.gather(
            *(
                self._perform(Act(verb="mark_unreached", by=SYSTEM, ticket_id=ticket_id))
                for ticket_id in overdue
            )
        )
        return len(overdue)

    async def release_overdue(self) -> int:
        """Free numbers that were called long ago, or are left from an earlier day."""
        released = await asyncio.gather(
            *(
                self._perform(Act(verb="release_overdue", by=SYSTEM, stall_id=stall_id))
                for stall_id in await self._db.read(store.stalls_to_release)
            )
        )
        return sum(len(tickets) for tickets in released if isinstance(tickets, list))

    async def deliver_reminder(self, payload: dict[str, Any]) -> object:
        """Send the message of a call nobody acknowledged, unless it is of no use any more."""
        reminder = msgspec.convert(payload, Reminder)
        found = await self._db.read(store.load_tickets, [reminder.ticket_id])
        ticket = found.get(reminder.ticket_id)
        if ticket is None or not _is_of_use(ticket, reminder, self._now()):
            return None
        return await self._send_reminder(payload)


def _may_see(by: Actor, ticket: Ticket, stall: Stall) -> bool:
    is_staff = by.kind == "admin" or (by.kind == "seller" and by.account_id in stall.sellers)
    return is_staff or (bool(ticket.diner_id) and ticket.diner_id == by.account_id)


class _Call(msgspec.Struct):
    """What of a call's event tells which of the ticket's calls it is."""

    calls: int


def _call_counted(event: events.Event) -> int:
    return msgspec.json.decode(event.data, type=_Call).calls


class Reminder(msgspec.Struct):
    """What of the outbox row decides whether the message is still of use."""

    ticket_id: int
    called_at: Millis


def _is_of_use(ticket: Ticket, reminder: Reminder, now: Millis) -> bool:
    """Also when the number was called once more since: the grant is spent, no other follows."""
    return (
        ticket.status is Status.CALLED
        and ticket.reached_at is None
        and now - reminder.called_at <= REMINDER_STALE_MS
    )


def number_of(text: str) -> int:
    """A number 1 to 99 as an old client writes it. Raises InvalidNumber."""
    if text.isascii() and text.isdigit() and len(text) <= 2 and 1 <= int(text) <= 99:
        return int(text)
    raise InvalidNumber
