"""What crosses a wire about members. Phones are masked but in one's own answer and in PhoneOut."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from commerce.members.model import REASON_MAX, TICKETS_MAX, USERNAME_MAX, Grant, Member, Seen
from commerce.members.phones import PHONE_MAX, masked
from payments.ledger.model import StatementLine
from sql.types import Millis

# No control characters. The look-ahead is for "$", which also stands before a last line feed.
_LINE = r"^[^\x00-\x1f\x7f]*(?!\n)$"
_SAYING = r"^(?=.*\S)[^\x00-\x1f\x7f]*(?!\n)$"

Username = Annotated[str, Meta(max_length=USERNAME_MAX, pattern=_LINE)]
Phone = Annotated[str, Meta(max_length=PHONE_MAX)]
Reason = Annotated[str, Meta(min_length=1, max_length=REASON_MAX, pattern=_SAYING)]

# ---------------------------------------------------------------- requests


class OwnPatch(msgspec.Struct, kw_only=True, frozen=True):
    """What is absent stays; "" takes away."""

    username: Username | UnsetType = UNSET
    phone: Phone | UnsetType = UNSET


class PhoneSearch(msgspec.Struct, frozen=True):
    """In a body, so that no log of addresses has it."""

    phone: Annotated[str, Meta(min_length=1, max_length=PHONE_MAX)]


class Look(msgspec.Struct, frozen=True):
    """Why somebody wants to see it, for the audit."""

    reason: Reason


class TicketsNew(msgspec.Struct, frozen=True):
    """tickets: below 0 they are taken."""

    tickets: Annotated[int, Meta(ge=-TICKETS_MAX, le=TICKETS_MAX)]
    reason: Reason


# ---------------------------------------------------------------- answers


class OwnOut(msgspec.Struct, frozen=True):
    account_id: int
    username: str
    phone: str
    tickets: int


class MemberOut(msgspec.Struct, frozen=True):
    """phone: its last four digits. barred_at: they may not open cabinets since."""

    id: int
    username: str
    phone: str
    ticket_balance: int
    barred_at: str | None
    barred_reason: str
    created_at: str


class PhoneOut(msgspec.Struct, frozen=True):
    phone: str


class GrantOut(msgspec.Struct, frozen=True):
    id: int
    tickets: int
    reason: str
    by: int
    at: str


class TicketLine(msgspec.Struct, frozen=True):
    """A line of the ledger. biz, biz_id, step: what it was for. n: further back from here."""

    n: int
    amount: int
    balance_after: int
    biz: str
    biz_id: str
    step: str
    memo: str
    at: str


class Tickets(msgspec.Struct, frozen=True):
    items: list[TicketLine]
    grants: list[GrantOut]


def own_out(member: Member, phone: str, tickets: int) -> OwnOut:
    return OwnOut(member.account_id, member.username, phone, tickets)


def member_out(seen: Seen) -> MemberOut:
    return MemberOut(
        id=seen.account_id,
        username=seen.username,
        phone=masked(seen.phone_tail),
        ticket_balance=seen.tickets,
        barred_at=None if seen.barred_at is None else _time(seen.barred_at),
        barred_reason=seen.barred_reason,
        created_at=_time(seen.created_at),
    )


def grant_out(grant: Grant) -> GrantOut:
    return GrantOut(grant.id, grant.tickets, grant.reason, grant.by_account, _time(grant.at))


def ticket_line(line: StatementLine) -> TicketLine:
    return TicketLine(
        n=line.version,
        amount=line.amount,
        balance_after=line.balance_after,
        biz=line.biz,
        biz_id=line.biz_id,
        step=line.step,
        memo=line.memo,
        at=_time(line.at),
    )


def _time(at: Millis) -> str:
    second, rest = divmod(at, 1000)
    return f"{datetime.fromtimestamp(second, UTC).isoformat()[:19]}.{rest:03d}Z"
