"""The nouns of the queue: stall, ticket, actor, draft, and the reasons to refuse.

A *ticket* is what a diner holds; its *number* (1 to 99) is only a label that goes
round. What happened to ticket 7·2³²+57 never touches whoever holds the same number
next. Times are integer milliseconds UTC.
"""

import enum
from typing import Any

import msgspec

NUMBERS = range(1, 100)
"""Two digits: what a canteen's slips and boards have shown since the original."""


class Status(enum.StrEnum):
    ISSUED = "issued"
    NOTED = "noted"
    CALLED = "called"
    NO_SHOW = "no_show"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    RELEASED = "released"


LIVE = frozenset({Status.ISSUED, Status.NOTED, Status.CALLED, Status.NO_SHOW})
"""The ticket holds its number; nobody else may get it."""

WAITING = frozenset({Status.ISSUED, Status.NOTED})


class Actor(msgspec.Struct, frozen=True):
    """Who acts; kind is "seller", "diner", "admin" or "system". address: where from, if known."""

    kind: str
    account_id: int = 0
    session_id: int = 0
    address: str = ""


SYSTEM = Actor("system")


class Ticket(msgspec.Struct, kw_only=True):
    id: int
    stall_id: int
    number: int
    status: Status
    note: str = ""
    diner_id: int = 0
    diner_session: int = 0
    grant: str = ""
    """The subscribe-message template its diner granted; spent by the first reminder."""
    issued_by: int = 0
    issued_session: int = 0
    issued_at: int
    queued_at: int
    """Its place in the queue: tickets wait in the order of (queued_at, id)."""
    noted_at: int | None = None
    called_at: int | None = None
    """The last call; first_called_at keeps the first, for the statistics."""
    first_called_at: int | None = None
    calls: int = 0
    reached_at: int | None = None
    """When the diner's client acknowledged the last call."""
    unreached: bool = False
    """The time for acknowledging the last call has passed."""
    ended_at: int | None = None
    ahead: int = 0
    """How many waited before it when it was issued."""
    business_date: int
    """YYYYMMDD, Beijing."""
    changed_at: int
    before: str = ""
    """What undo needs, as written by queueing.undo; empty when nothing can be undone."""

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    @property
    def is_waiting(self) -> bool:
        return self.status in WAITING

    @property
    def is_noted(self) -> bool:
        return self.noted_at is not None

    @property
    def is_reached(self) -> bool | None:
        """Of the last call: acknowledged, given up on, or (None) not yet known."""
        if self.reached_at is not None:
            return True
        return False if self.unreached else None


class Stall(msgspec.Struct, kw_only=True):
    id: int
    name: str
    person: str = ""
    phone: str = ""
    menu: tuple[str, ...] = ()
    image: str = ""
    balance_months: int = 0
    disabled: bool = False
    pick: str = "cyclic"
    """Which free number comes next: "cyclic" or "lowest"."""
    rest_s: int = 300
    double_tap_s: float = 1.5
    remind_after_s: int = 20
    release_after_min: int = 120
    sellers: frozenset[int] = frozenset()
    """Ids of the accounts that act for the stall."""

    @property
    def is_open(self) -> bool:
        return self.balance_months > 0 and not self.disabled


class Draft(msgspec.Struct):
    """An event that has its place in the stall's stream but is not stored yet."""

    name: str
    ticket: int
    """The id of the ticket it is about, 0 for none."""
    public: dict[str, Any] | None
    """What everyone may see; None keeps the event among staff."""
    private: dict[str, Any]


class PoolHealth(msgspec.Struct, frozen=True):
    in_use: int
    resting: int
    free: int
    """Free and rested. Together with in_use and resting this makes 99."""
    stuck: list[int]
    """Live numbers to which nothing has happened for half their time to release."""
    low: bool


def ticket_id(stall_id: int, seq: int) -> int:
    """The id of the ticket that event seq of the stall's stream issues."""
    return stall_id << 32 | seq


def stall_of(ticket_id: int) -> int:
    return ticket_id >> 32


class QueueError(Exception):
    """A refusal. code is stable and crosses the wire; title is for people.

    QueueError
    ├── StallNotFound, StallClosed, StallDue, NotYourStall
    ├── PoolExhausted, QueueEmpty
    ├── TicketNotFound, TicketNotLive, TicketNotCalled
    ├── InvalidNumber, InvalidNote, NumberTaken
    └── UndoTooLate
    """

    code = "queue.refused"
    title = "The queue refused"


class StallNotFound(QueueError):
    code = "stall.not_found"
    title = "No such stall"


class StallClosed(QueueError):
    """An administrator has switched the stall off."""

    code = "stall.closed"
    title = "The stall is closed"


class StallDue(QueueError):
    """No months are left."""

    code = "stall.due"
    title = "The stall has to be renewed"


class NotYourStall(QueueError):
    code = "stall.not_yours"
    title = "This is not your stall"


class PoolExhausted(QueueError):
    """All 99 numbers are live."""

    code = "pool.exhausted"
    title = "No number is free"


class QueueEmpty(QueueError):
    code = "queue.empty"
    title = "Nobody is waiting"


class TicketNotFound(QueueError):
    """There is none, or it is another diner's: a stranger cannot tell which."""

    code = "ticket.not_found"
    title = "No such ticket"


class TicketNotLive(QueueError):
    code = "ticket.not_live"
    title = "The ticket has already ended"


class TicketNotCalled(QueueError):
    code = "ticket.not_called"
    title = "The ticket has not been called"


class InvalidNumber(QueueError):
    """The number is not live at this stall, or the note to bind to it is empty."""

    code = "ticket.invalid_number"
    title = "The number is not valid"


class InvalidNote(QueueError):
    code = "ticket.invalid_note"
    title = "The note is not valid"


class NumberTaken(QueueError):
    """Another diner has bound the number, or the dish it names is already called."""

    code = "ticket.taken"
    title = "The number is taken"


class UndoTooLate(QueueError):
    """Ten seconds have passed, the number has gone on, or nothing can be taken back."""

    code = "undo.too_late"
    title = "It is too late to undo"
