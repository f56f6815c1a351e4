"""The door session: its states, which may follow which, and what an event or the time makes of it.

requested → opening → open → closed → settling → paid | unpaid | no_purchase

with the exits rejected, not_opened, timeout and abnormal. What a door tells moves a session only
forward; what comes late fills in a time. Nothing here reads a clock or a database.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias

import msgspec

from devices.model import CabinetError
from devices.vendors.port import (
    DoorClosed,
    DoorOpened,
    Event,
    Locked,
    NotPulled,
    OpenFailed,
    Purpose,
    Reason,
    SessionFact,
    Unlocked,
)
from sql.types import Millis

PayWith: TypeAlias = Literal["wechat", "ticket", "none"]
"""none: staff, who buy nothing."""


class SessionNotFound(CabinetError):
    """No such session, or it is another's: the two look alike from outside."""

    code = "door_session.not_found"
    title = "There is no such door session"


class DoorBusy(CabinetError):
    """Somebody stands before this door, or has it open."""

    code = "door_session.door_busy"
    title = "Someone else is using this door"


class SessionOpen(CabinetError):
    """One door at a time: the person's own session at another door is not over."""

    code = "door_session.already_open"
    title = "Another door is still open for you"


class State(StrEnum):
    REQUESTED = "requested"
    OPENING = "opening"
    OPEN = "open"
    CLOSED = "closed"
    SETTLING = "settling"
    PAID = "paid"
    UNPAID = "unpaid"
    NO_PURCHASE = "no_purchase"
    REJECTED = "rejected"
    NOT_OPENED = "not_opened"
    TIMEOUT = "timeout"
    ABNORMAL = "abnormal"


PHYSICAL: Final = frozenset({State.REQUESTED, State.OPENING, State.OPEN})
"""Of these there is one for a door, and one for a person."""

FINAL: Final = frozenset({State.PAID, State.NO_PURCHASE, State.REJECTED, State.NOT_OPENED})
"""Nothing is set aside any more, and only a person's decision begins again."""

ENDED: Final = FINAL | {State.UNPAID}
"""No tickets are held and no Payscore order is open; what is owed is owed by an order."""

NEEDS_A_PERSON: Final = frozenset({State.ABNORMAL, State.TIMEOUT})

_AGAIN: Final = frozenset({State.SETTLING, State.ABNORMAL})
"""Where an order that comes late, or a person, takes what was over."""

MOVES: Final[Mapping[State, frozenset[State]]] = {
    State.REQUESTED: frozenset({State.OPENING, State.REJECTED}),
    State.OPENING: frozenset(
        {
            State.OPEN,
            State.CLOSED,
            State.SETTLING,
            State.REJECTED,
            State.NOT_OPENED,
            State.NO_PURCHASE,
            State.ABNORMAL,
        }
    ),
    State.OPEN: frozenset(
        {
            State.CLOSED,
            State.SETTLING,
            State.NOT_OPENED,
            State.NO_PURCHASE,
            State.ABNORMAL,
            State.TIMEOUT,
        }
    ),
    State.CLOSED: _AGAIN | {State.NO_PURCHASE, State.TIMEOUT},
    State.SETTLING: frozenset(
        {State.PAID, State.UNPAID, State.NO_PURCHASE, State.ABNORMAL, State.TIMEOUT}
    ),
    State.ABNORMAL: frozenset({State.SETTLING, State.NO_PURCHASE, State.NOT_OPENED}),
    State.TIMEOUT: _AGAIN | {State.NO_PURCHASE},
    State.UNPAID: _AGAIN | {State.PAID},
    State.PAID: _AGAIN | {State.UNPAID},
    State.NO_PURCHASE: _AGAIN,
    State.REJECTED: _AGAIN,
    State.NOT_OPENED: _AGAIN,
}

RANK: Final[Mapping[State, int]] = {
    State.REQUESTED: 0,
    State.OPENING: 1,
    State.OPEN: 2,
    State.CLOSED: 3,
    **dict.fromkeys(set(State) - PHYSICAL - {State.CLOSED}, 4),
}


class DoorSession(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `door_sessions`. prices: fen by SKU, of the planogram at the start.

    The times of the door are ours: when we were told.
    """

    id: int
    no: str
    request_id: str
    once_key: str
    vendor: str
    device_id: int
    door_no: int
    store_id: int
    account_id: int
    purpose: Purpose
    pay_with: PayWith
    state: State
    hold_tickets: int
    score_no: str
    limit_fen: int
    planogram_version: int
    prices: dict[str, int]
    vendor_order_no: str
    fail_code: str
    requested_at: Millis
    sent_at: Millis | None
    expires_at: Millis
    unlocked_at: Millis | None
    opened_at: Millis | None
    closed_at: Millis | None
    ended_at: Millis | None
    due_at: Millis | None
    pulls: int
    manual_at: Millis | None
    version: int

    @property
    def is_physical(self) -> bool:
        return self.state in PHYSICAL

    @property
    def is_shopping(self) -> bool:
        """Only shopping is ever paid for."""
        return self.purpose == "shop"


class Timers(msgspec.Struct, frozen=True, kw_only=True):
    """When something is looked at. From the moment named, in milliseconds.

    requested: gates passed, to the command. confirm: for the user to confirm at WeChat.
    unclear: nobody knows whether it was taken: the pauses between questions.
    ack: the command was sent, nothing was heard. pull, grace: unlocked, for the user to pull.
    expires: after it no device may act on the command. again: between two questions while a door
    hangs. give_up: nothing clear was ever answered. remind, alarm: a door stands open.
    pulls: after the close, an order is fetched; at the third it is on the manual list.
    recognition: an order that is not certain yet. dunning: what was taken is not paid.
    ages: of what waits for a person, and from then on day by day.
    """

    requested: int = 5_000
    confirm: int = 120_000
    unclear: tuple[int, ...] = (1_000, 2_000, 4_000, 8_000)
    ack: int = 20_000
    pull: int = 30_000
    grace: int = 15_000
    expires: int = 60_000
    again: int = 15_000
    give_up: int = 300_000
    remind: int = 180_000
    alarm: int = 600_000
    pulls: tuple[int, ...] = (
        *(15_000, 45_000, 105_000, 300_000, 600_000, 1_800_000),
        *(hour * 3_600_000 for hour in range(1, 25)),
    )
    manual: int = 3
    recognition: int = 600_000
    dunning: tuple[int, ...] = (3_600_000, 24 * 3_600_000, 72 * 3_600_000)
    hourly: int = 3_600_000
    ages: tuple[int, int] = (2 * 3_600_000, 24 * 3_600_000)
    day: int = 24 * 3_600_000

    @property
    def not_opened(self) -> int:
        """From the sending of a command nobody has heard of since."""
        return self.ack + self.pull + self.grace


TIMERS: Final = Timers()


# ---------------------------------------------------------------- what a door tells


class Seen(StrEnum):
    """What is known of a lock or a door. Lock and door are two things: neither tells of both."""

    UNLOCKED = "unlocked"
    OPENED = "opened"
    CLOSED = "closed"
    LOCKED = "locked"
    NOT_PULLED = "not_pulled"
    FAILED = "failed"


class Change(msgspec.Struct, frozen=True):
    """What becomes of a session. to: its state then; values: columns that change.

    is_strange: a door has moved that should not have: a person must know.
    """

    to: State
    values: dict[str, Any] = {}
    is_strange: bool = False


_SEEN: Final[Mapping[type, Seen]] = {
    Unlocked: Seen.UNLOCKED,
    DoorOpened: Seen.OPENED,
    DoorClosed: Seen.CLOSED,
    Locked: Seen.LOCKED,
    NotPulled: Seen.NOT_PULLED,
    OpenFailed: Seen.FAILED,
}

DOOR_EVENTS: Final = (Unlocked, DoorOpened, DoorClosed, Locked, NotPulled, OpenFailed)

_TIME_OF: Final = {
    Seen.UNLOCKED: "unlocked_at",
    Seen.OPENED: "opened_at",
    Seen.CLOSED: "closed_at",
}


def after(
    session: DoorSession, event: Event, now: Millis, *, has_door_sensor: bool = True
) -> Change:
    """What a door's event makes of its session; one that says nothing new changes nothing."""
    reason = event.reason if isinstance(event, OpenFailed) else Reason.NONE
    return after_seen(
        session, _SEEN[type(event)], now, has_door_sensor=has_door_sensor, reason=reason
    )


def after_seen(
    session: DoorSession,
    seen: Seen,
    now: Millis,
    *,
    has_door_sensor: bool = True,
    reason: Reason = Reason.NONE,
) -> Change:
    values: dict[str, Any] = {}
    name = _TIME_OF.get(seen)
    if name is not None and getattr(session, name) is None:
        values[name] = now
    if session.state not in {State.OPENING, State.OPEN}:
        return _after_its_time(session, seen, values, has_door_sensor=has_door_sensor)
    to = _next(session, seen, has_door_sensor=has_door_sensor)
    if to in {State.NOT_OPENED, State.REJECTED}:
        values["fail_code"] = str(reason) or str(seen)
    if to is State.CLOSED:
        values.setdefault("closed_at", session.closed_at or now)
    if to is State.OPENING and "unlocked_at" in values:
        values["due_at"] = now + TIMERS.pull + TIMERS.grace
    if seen is Seen.LOCKED and session.state is to:
        # Locked again before it was pulled, or before we were told of it: the vendor knows.
        values["due_at"] = now
    return Change(to, values)


def _next(session: DoorSession, seen: Seen, *, has_door_sensor: bool) -> State:
    """The state a session that is opening or open goes on to."""
    is_opening = session.state is State.OPENING
    if seen is Seen.CLOSED or (seen is Seen.LOCKED and _was_open(session, has_door_sensor)):
        # Nobody's goods: what staff do ends with the door.
        return State.CLOSED if session.is_shopping else State.NO_PURCHASE
    if seen is Seen.OPENED or (seen is Seen.UNLOCKED and not has_door_sensor):
        return State.OPEN
    if seen is Seen.NOT_PULLED and session.opened_at is None:
        return State.NOT_OPENED
    if seen is Seen.FAILED and is_opening and session.unlocked_at is None:
        return State.REJECTED
    return session.state


def _was_open(session: DoorSession, has_door_sensor: bool) -> bool:
    """Whether a lock that latches means that the door was closed, not that nobody pulled it."""
    return session.state is State.OPEN and (session.opened_at is not None or not has_door_sensor)


def _after_its_time(
    session: DoorSession, seen: Seen, values: dict[str, Any], *, has_door_sensor: bool
) -> Change:
    # Told again of what was known before it was over, it has not opened once more.
    opens = bool(values) and (
        seen is Seen.OPENED or (seen is Seen.UNLOCKED and not has_door_sensor)
    )
    if opens and session.state in {State.NOT_OPENED, State.REJECTED}:
        # Given up, the hold released, and yet it opened: whatever is taken waits for a person.
        return Change(State.ABNORMAL, {**values, "fail_code": "opened_late"}, is_strange=True)
    if opens and session.state is State.REQUESTED:
        # Nobody has sent a command for it yet.
        return Change(session.state, is_strange=True)
    return Change(session.state, {} if session.state is State.REQUESTED else values)


def seen_in(
    fact: SessionFact, *, has_door_sensor: bool = True, was_opened: bool = False
) -> Sequence[tuple[Seen, Reason]]:
    """What a vendor's answer tells, in the order in which it happened.

    was_opened: the door has told so itself.
    """
    if fact.state == "failed":
        # The command was taken, and came to nothing: whichever it was, nobody got at the goods.
        return [(Seen.NOT_PULLED, fact.reason)]
    if has_door_sensor and not was_opened and _has_relocked(fact):
        return [(Seen.UNLOCKED, Reason.NONE), (Seen.NOT_PULLED, Reason.NOT_PULLED)]
    depth = {"unlocked": 1, "open": 2, "closed": 3}.get(fact.state, 0)
    seen = [Seen.UNLOCKED, Seen.OPENED, Seen.CLOSED][:depth]
    return [(each, Reason.NONE) for each in seen]


def _has_relocked(fact: SessionFact) -> bool:
    """The lock has latched again, and the door, which has a sensor of its own, never moved."""
    moved = fact.opened_at is not None or fact.closed_at is not None
    return fact.state == "closed" and fact.locked_at is not None and not moved


# ---------------------------------------------------------------- what the time does


_FIRST: Final[Mapping[State, int]] = {
    State.REQUESTED: TIMERS.requested,
    State.OPENING: TIMERS.ack,
    State.OPEN: TIMERS.remind,
    State.CLOSED: TIMERS.pulls[0],
    State.SETTLING: TIMERS.recognition,
    State.UNPAID: TIMERS.dunning[0],
    State.ABNORMAL: TIMERS.ages[0],
    State.TIMEOUT: TIMERS.day,
}


def first_due(session: DoorSession, now: Millis) -> Millis | None:
    """When a session that has come into its state is looked at first; None: no more."""
    wait = _FIRST.get(session.state)
    return None if wait is None else now + wait


class Due(StrEnum):
    """What is to be done with a session whose time has come."""

    SEND = "send"
    REJECT = "reject"
    ASK = "ask"
    ASK_LAST = "ask_last"
    GIVE_UP = "give_up"
    CANCEL = "cancel"
    REMIND = "remind"
    ALARM = "alarm"
    PULL = "pull"
    TIMEOUT = "timeout"
    STUCK = "stuck"
    DUN = "dun"
    AGE = "age"
    NOTHING = "nothing"


def due_now(session: DoorSession, now: Millis) -> tuple[Due, Millis]:
    """What to do, and when to look again if that changes nothing."""
    judge = _DUE_OF.get(session.state)
    return (Due.NOTHING, now) if judge is None else judge(session, now)


def _requested_due(_: DoorSession, now: Millis) -> tuple[Due, Millis]:
    return Due.REJECT, now + TIMERS.again


def _opening_due(session: DoorSession, now: Millis) -> tuple[Due, Millis]:
    sent_at = session.sent_at or session.requested_at
    if session.unlocked_at is not None:
        end = session.unlocked_at + TIMERS.pull + TIMERS.grace
    else:
        end = sent_at + TIMERS.not_opened
    if now - sent_at >= TIMERS.give_up:
        return Due.GIVE_UP, now + TIMERS.again
    if now >= end:
        return Due.ASK_LAST, now + TIMERS.again
    if 0 < session.pulls < len(TIMERS.unclear):
        return Due.ASK, now + TIMERS.unclear[session.pulls]
    following = sent_at + TIMERS.ack
    return Due.ASK, max(end if now >= following else following, now + 1_000)


def _open_due(session: DoorSession, now: Millis) -> tuple[Due, Millis]:
    """Reminded, then an alarm, then asked now and then: the event of its closing may be lost."""
    since = since_open(session)
    if now - since >= TIMERS.day:
        return Due.TIMEOUT, now + TIMERS.hourly
    if now - since >= TIMERS.alarm:
        return Due.ALARM, now + TIMERS.alarm
    return Due.REMIND, since + TIMERS.alarm


def _closed_due(session: DoorSession, now: Millis) -> tuple[Due, Millis]:
    """The pull that is due; the last one is a day after the close."""
    if session.pulls >= len(TIMERS.pulls):
        return Due.TIMEOUT, now + TIMERS.hourly
    following = session.pulls + 1
    if following == len(TIMERS.pulls):
        return Due.PULL, now + TIMERS.again
    return Due.PULL, max(since_closed(session) + TIMERS.pulls[following], now + 1_000)


def _settling_due(session: DoorSession, now: Millis) -> tuple[Due, Millis]:
    if now - since_closed(session) >= TIMERS.day:
        return Due.STUCK, now + TIMERS.day
    return Due.PULL, now + TIMERS.hourly


def _waiting_due(session: DoorSession, now: Millis) -> tuple[Due, Millis]:
    """Of what needs a person."""
    second = (session.manual_at or now) + TIMERS.ages[1]
    return Due.AGE, second if second > now else now + TIMERS.day


def _unpaid_due(session: DoorSession, now: Millis) -> tuple[Due, Millis]:
    """Reminded of at each of its times; after the last there is one look more, and no word."""
    since = session.ended_at or now
    left = [since + each for each in TIMERS.dunning if since + each > now]
    if left:
        return Due.DUN, left[0]
    is_told = session.due_at is None or session.due_at > since + TIMERS.dunning[-1]
    return Due.NOTHING if is_told else Due.DUN, now + TIMERS.day


_DUE_OF: Final[Mapping[State, Callable[[DoorSession, Millis], tuple[Due, Millis]]]] = {
    State.REQUESTED: _requested_due,
    State.OPENING: _opening_due,
    State.OPEN: _open_due,
    State.CLOSED: _closed_due,
    State.SETTLING: _settling_due,
    State.UNPAID: _unpaid_due,
    **dict.fromkeys(NEEDS_A_PERSON, _waiting_due),
}


def since_open(session: DoorSession) -> Millis:
    return session.opened_at or session.unlocked_at or session.requested_at


def since_closed(session: DoorSession) -> Millis:
    return session.closed_at or since_open(session)
