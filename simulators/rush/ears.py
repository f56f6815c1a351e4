"""Listeners to a topic, who also check what they hear: order, gaps, repeats, privacy.

A `ticket:ID` topic carries the stall's seq with gaps; a `stall:ID` topic has none.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from simulators.rush.ledger import Ledger

LIVE = frozenset({"issued", "noted", "called", "no_show"})
CALLS = frozenset({"ticket.called", "ticket.recalled"})
# What the public topic of a stall must never carry.
PERSONAL = frozenset({"note", "openid", "account_id", "diner_id", "phone", "session"})


class Event(msgspec.Struct):
    epoch: str
    seq: int
    name: str
    data: dict[str, Any]


class Ear:
    """Keeps its place (epoch, seq) in a topic, over any number of connections."""

    def __init__(self, topic: str, ledger: Ledger) -> None:
        self.topic = topic
        self.ledger = ledger
        self.epoch = ""
        self.seq = -1

    @property
    def has_place(self) -> bool:
        return self.seq >= 0

    def subscribed(self, epoch: str, seq: int, events: Sequence[Event]) -> None:
        """The answer to a resumed subscription: exactly what was missed."""
        if self.epoch not in ("", epoch):
            self.complain(f"was resumed across epochs {self.epoch} and {epoch}")
        self.epoch = epoch
        for event in events:
            self.hear(event, resumed=True)
        if seq < self.seq:
            self.complain(f"was resumed to {seq} although {self.seq} was heard")
        self.resumed_to(seq)
        self.seq = max(seq, self.seq)

    def resumed_to(self, seq: int) -> None:
        """What must hold when the missed events are in, before the place moves to seq."""

    def snapshot(self, epoch: str, seq: int, view: Any) -> None:
        if self.has_place:
            self.ledger.count("snapshots_instead_of_events")
        self.epoch, self.seq = epoch, seq
        self.see(view)

    def hear(self, event: Event, *, resumed: bool = False) -> None:
        if self.epoch not in ("", event.epoch):
            self.complain(f"event {event.seq} is of epoch {event.epoch}, not {self.epoch}")
        if event.seq <= self.seq:
            self.complain(f"event {event.seq} {event.name} came again or late, after {self.seq}")
            return
        self.check_place(event)
        self.seq = event.seq
        self.take(event, resumed=resumed)

    def check_place(self, event: Event) -> None:
        """What must hold between the last event and this."""

    def see(self, view: Any) -> None:
        """Take in a snapshot."""

    def take(self, event: Event, *, resumed: bool) -> None:
        """Take in an event that is in its place."""

    def complain(self, what: str) -> None:
        self.ledger.violate(f"{self.topic} {what}")


class TicketEar(Ear):
    """A diner's own ticket: every call is heard once, in order, and acknowledged."""

    def __init__(self, ticket_id: int, ledger: Ledger, ack: Callable[[str, int], None]) -> None:
        super().__init__(f"ticket:{ticket_id}", ledger)
        self.ticket_id = ticket_id
        self.calls = 0
        self.status = ""
        self.news = asyncio.Event()
        self._ack = ack
        self._last_call_seq = -1

    @property
    def has_ended(self) -> bool:
        return self.status not in {"", *LIVE}

    def see(self, view: Any) -> None:
        ticket = ticket_in(view, self.ticket_id)
        self.status = str(ticket.get("status", self.status))
        told = int(ticket.get("calls", self.calls))
        if told > self.calls:
            self.ledger.count("calls_told_by_snapshot", told - self.calls)
            self._answer_for(self.seq)
        self.calls = told
        self.news.set()

    def take(self, event: Event, *, resumed: bool) -> None:
        of = event.data.get("ticket_id", self.ticket_id)
        if of != self.ticket_id:
            self.complain(f"carried event {event.seq} of ticket {of}")
            return
        if event.name in CALLS:
            self._take_call(event, resumed=resumed)
        else:
            self.calls = int(event.data.get("calls", self.calls))
        self.status = str(event.data.get("status", self.status))
        self.news.set()

    def acknowledge_again(self) -> None:
        """The first acknowledgement may have gone down with the old connection."""
        if self._last_call_seq >= 0 and not self.has_ended:
            self._ack(self.topic, self._last_call_seq)

    def _take_call(self, event: Event, *, resumed: bool) -> None:
        calls = int(event.data.get("calls", self.calls + 1))
        if calls != self.calls + 1:
            self.complain(f"event {event.seq} is call {calls}, but call {self.calls} came before")
        self.calls = calls
        self.ledger.count("heard_after_resume" if resumed else "heard_live")
        self._answer_for(event.seq)

    def _answer_for(self, seq: int) -> None:
        self._last_call_seq = seq
        self._ack(self.topic, seq)
        self.ledger.count("acknowledged")


class StallEar(Ear):
    """A whole stall, as its board or its seller sees it: no gap, no number live twice."""

    def __init__(self, stall_id: int, ledger: Ledger, *, staff: bool = False) -> None:
        super().__init__(f"stall:{stall_id}" + (":staff" if staff else ""), ledger)
        self.is_staff = staff
        self.holders: dict[int, int] = {}

    def check_place(self, event: Event) -> None:
        if self.has_place and event.seq != self.seq + 1:
            self.complain(f"has a gap: {event.seq} follows {self.seq}")

    def resumed_to(self, seq: int) -> None:
        if self.has_place and self.seq < seq:
            self.complain(f"resumed up to {self.seq}, but the stream stands at {seq}")

    def see(self, view: Any) -> None:
        self.holders = {}
        for ticket in tickets_in(view):
            self._check_privacy(ticket)
            self._hold(ticket, "the snapshot")

    def take(self, event: Event, *, resumed: bool) -> None:
        self._check_privacy(event.data)
        if event.name in ("ticket.reached", "ticket.unreached"):
            self.ledger.count("seen_" + event.name.removeprefix("ticket."))
        if event.name.startswith("ticket.") and "number" in event.data:
            self._hold(event.data, f"event {event.seq} {event.name}")

    def _hold(self, ticket: dict[str, Any], said_by: str) -> None:
        number, ticket_id = int(ticket["number"]), int(id_of(ticket) or 0)
        holder = self.holders.get(number)
        if ticket.get("status", "issued") in LIVE:
            if holder not in (None, ticket_id):
                self.complain(f"number {number} is live twice by {said_by}")
            self.holders[number] = ticket_id
        elif holder == ticket_id:
            del self.holders[number]

    def _check_privacy(self, data: dict[str, Any]) -> None:
        seen = PERSONAL & data.keys()
        if seen and not self.is_staff:
            self.complain(f"shows {', '.join(sorted(seen))} to everyone")


def id_of(ticket: dict[str, Any]) -> int | None:
    """REST says id, events say ticket_id."""
    found = ticket.get("ticket_id", ticket.get("id"))
    return int(found) if found is not None else None


def tickets_in(view: Any) -> list[dict[str, Any]]:
    """The tickets of a snapshot, wherever they stand in it; each once."""
    found: dict[int, dict[str, Any]] = {}
    waiting = [view]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            ticket_id = id_of(value) if "number" in value else None
            if ticket_id is None:
                waiting.extend(value.values())
            else:
                found[ticket_id] = value
    return list(found.values())


def ticket_in(view: Any, ticket_id: int) -> dict[str, Any]:
    """The one ticket of a snapshot, or nothing."""
    return next((t for t in tickets_in(view) if id_of(t) == ticket_id), {})
