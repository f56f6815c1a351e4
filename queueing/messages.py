"""What crosses a wire about stalls and queues, and how the model turns into it.

Times are RFC 3339. A field that is not the reader's business, or not known, is absent.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from queueing.calendar import rfc3339
from queueing.model import PoolHealth, Stall, Status, Ticket
from queueing.pool import NOTE_MAX, Pool
from queueing.waiting import Pace, Wait

# No control characters. The look-ahead is for "$", which also stands before a last line feed.
_LINE = r"^[^\x00-\x1f\x7f]*(?!\n)$"

Name = Annotated[str, Meta(max_length=100, pattern=r"^(?=.*\S)[^\x00-\x1f\x7f]*(?!\n)$")]
PersonName = Annotated[str, Meta(max_length=100, pattern=_LINE)]
Phone = Annotated[str, Meta(max_length=32, pattern=r"^\+?[0-9]{5,31}(?!\n)$")]
Dish = Annotated[str, Meta(min_length=1, max_length=100, pattern=_LINE)]
Menu = Annotated[tuple[Dish, ...], Meta(max_length=200)]
ClaimCode = Annotated[str, Meta(max_length=64, pattern=_LINE)]
Pick = Literal["cyclic", "lowest"]
RestS = Annotated[int, Meta(ge=0, le=3600)]
DoubleTapS = Annotated[float, Meta(ge=0, le=60)]
RemindAfterS = Annotated[int, Meta(ge=1, le=3600)]
ReleaseAfterMin = Annotated[int, Meta(ge=1, le=1440)]

# ---------------------------------------------------------------- requests


class Follow(msgspec.Struct):
    """A diner binds his dish to a number; grant is the subscribe message he allowed."""

    number: Annotated[int, Meta(ge=1, le=99)]
    note: Annotated[str, Meta(max_length=NOTE_MAX)]
    grant: Annotated[str, Meta(max_length=64, pattern=r"^[0-9A-Za-z_-]*(?!\n)$")] = ""


class StallNew(msgspec.Struct, kw_only=True):
    """A setting that is absent takes the server's default."""

    name: Name
    phone: Phone
    person: PersonName = ""
    menu: Menu = ()
    months: Annotated[int, Meta(ge=0, le=36)] = 0
    claim_code: ClaimCode = ""
    pick: Pick | UnsetType = UNSET
    rest_s: RestS | UnsetType = UNSET
    double_tap_s: DoubleTapS | UnsetType = UNSET
    remind_after_s: RemindAfterS | UnsetType = UNSET
    release_after_min: ReleaseAfterMin | UnsetType = UNSET


class StallPatch(msgspec.Struct, kw_only=True):
    """What is absent stays as it is. Months change by a renewal only."""

    name: Name | UnsetType = UNSET
    phone: Phone | UnsetType = UNSET
    person: PersonName | UnsetType = UNSET
    menu: Menu | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    claim_code: ClaimCode | UnsetType = UNSET
    pick: Pick | UnsetType = UNSET
    rest_s: RestS | UnsetType = UNSET
    double_tap_s: DoubleTapS | UnsetType = UNSET
    remind_after_s: RemindAfterS | UnsetType = UNSET
    release_after_min: ReleaseAfterMin | UnsetType = UNSET


class Renewal(msgspec.Struct):
    months: Annotated[int, Meta(ge=1, le=36)]
    reason: Annotated[str, Meta(min_length=1, max_length=200, pattern=_LINE)]


def given(request: StallNew | StallPatch) -> dict[str, object]:
    """The fields that were sent, or have a default of their own."""
    fields = ((name, getattr(request, name)) for name in request.__struct_fields__)
    return {name: value for name, value in fields if value is not UNSET}


# ---------------------------------------------------------------- answers


class TicketOut(msgspec.Struct, kw_only=True):
    id: int
    number: int
    stall_id: int
    status: Status
    calls: int
    issued_at: str
    noted: bool
    called_at: str | None
    ended_at: str | None
    note: str | UnsetType = UNSET
    """This and reached: for the stall's staff and the ticket's own diner."""
    reached: bool | UnsetType | None = UNSET
    """Of the last call: true, false (given up on), or null (not yet known)."""
    ahead: int | UnsetType = UNSET
    wait: Wait | UnsetType = UNSET
    """Absent where the stall's last tickets do not allow an honest answer."""


class StallOut(msgspec.Struct, kw_only=True):
    id: int
    name: str
    image_url: str
    menu: tuple[str, ...]
    open: bool


class StallSettings(msgspec.Struct, frozen=True):
    pick: str
    rest_s: int
    double_tap_s: float
    remind_after_s: int
    release_after_min: int


class StallForSeller(StallOut, kw_only=True):
    """For the stall's sellers and the administrators."""

    person: str
    phone: str
    balance_months: int
    disabled: bool
    signed_up: bool
    settings: StallSettings


class StallLabel(msgspec.Struct):
    id: int
    name: str
    open: bool


class QueueOut(msgspec.Struct, kw_only=True):
    """The whole state of a stall's queue: the snapshot for those who missed too much."""

    stall: StallLabel
    calling: list[TicketOut]
    """Called and not yet collected, the newest call first."""
    waiting: int
    tickets: list[TicketOut]
    """All that hold a number, by their place in the queue; those calling are among them."""
    wait: Wait | UnsetType = UNSET
    """For somebody who would take a number now."""
    health: PoolHealth | UnsetType = UNSET
    """For staff."""


# ---------------------------------------------------------------- conversions


def ticket_out(
    ticket: Ticket, *, private: bool, ahead: int | None = None, pace: Pace | None = None
) -> TicketOut:
    """private: for the stall's staff or the ticket's own diner. ahead: while it waits."""
    return TicketOut(
        id=ticket.id,
        number=ticket.number,
        stall_id=ticket.stall_id,
        status=ticket.status,
        calls=ticket.calls,
        issued_at=rfc3339(ticket.issued_at),
        noted=ticket.is_noted,
        called_at=_time(ticket.called_at),
        ended_at=_time(ticket.ended_at),
        note=ticket.note if private else UNSET,
        reached=ticket.is_reached if private else UNSET,
        ahead=UNSET if ahead is None else ahead,
        wait=UNSET if ahead is None or pace is None else pace.wait(ahead),
    )


def ticket_in_queue(pool: Pool, ticket: Ticket, now: int, *, private: bool) -> TicketOut:
    """A ticket with how many are ahead and how long it may take, while it waits."""
    ahead = pool.ahead_of(ticket) if ticket.is_waiting else None
    return ticket_out(ticket, private=private, ahead=ahead, pace=pool.pace(now))


def queue_out(pool: Pool, now: int, *, staff: bool) -> QueueOut:
    pace = pool.pace(now)
    tickets = pool.tickets()
    calling = sorted(
        (ticket for ticket in tickets if ticket.status is Status.CALLED),
        key=lambda ticket: (ticket.called_at, ticket.id),
        reverse=True,
    )
    stall = pool.stall
    return QueueOut(
        stall=StallLabel(stall.id, stall.name, stall.is_open),
        calling=[ticket_out(ticket, private=staff) for ticket in calling],
        waiting=pool.waiting,
        tickets=[ticket_out(ticket, private=staff) for ticket in tickets],
        wait=pace.wait(pool.waiting) if pace else UNSET,
        health=pool.health(now) if staff else UNSET,
    )


def stall_out(stall: Stall, *, image_url: str) -> StallOut:
    return StallOut(
        id=stall.id, name=stall.name, image_url=image_url, menu=stall.menu, open=stall.is_open
    )


def stall_for_seller(stall: Stall, *, image_url: str) -> StallForSeller:
    return StallForSeller(
        id=stall.id,
        name=stall.name,
        image_url=image_url,
        menu=stall.menu,
        open=stall.is_open,
        person=stall.person,
        phone=stall.phone,
        balance_months=stall.balance_months,
        disabled=stall.disabled,
        signed_up=bool(stall.sellers),
        settings=StallSettings(
            pick=stall.pick,
            rest_s=stall.rest_s,
            double_tap_s=stall.double_tap_s,
            remind_after_s=stall.remind_after_s,
            release_after_min=stall.release_after_min,
        ),
    )


def _time(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms)
