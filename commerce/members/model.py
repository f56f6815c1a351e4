"""The nouns of members, and the reasons to refuse.

A *member* is what is known of a person besides the account: a name, a phone number (kept
encrypted), whether they are barred from opening cabinets. Whoever has no row is a member all
the same, with nothing known.
"""

from typing import Final

import msgspec

from sql.types import Millis

USERNAME_MAX: Final = 100
REASON_MAX: Final = 200
# As many as one person is given or taken at a time; 2,000 yuan.
TICKETS_MAX: Final = 1_000_000


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `members`. phone_box: see phones.py. created_at: 0 where there is no row."""

    account_id: int
    username: str = ""
    phone_box: str = ""
    phone_hash: str = ""
    phone_tail: str = ""
    barred_at: Millis | None = None
    barred_reason: str = ""
    created_at: Millis = 0
    updated_at: Millis = 0

    @property
    def is_barred(self) -> bool:
        return self.barred_at is not None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A member as staff see one: the phone's last digits only. created_at: of the account."""

    account_id: int
    username: str
    phone_tail: str
    barred_at: Millis | None
    barred_reason: str
    created_at: Millis
    tickets: int


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Tickets given (above 0) or taken by hand."""

    id: int
    account_id: int
    tickets: int
    reason: str
    by_account: int
    at: Millis


class MemberError(Exception):
    """Base of the family. code is stable and crosses the wire; title is for people.

    MemberError
    ├── MemberNotFound
    ├── MembersOfAll
    ├── PhoneInvalid, PhoneUnreadable, PhoneMissing
    └── TicketsShort, NoTickets, ReasonMissing
    """

    code = "members.error"
    title = "Member error"


class MemberNotFound(MemberError):
    code = "members.not_found"
    title = "No such member"


class PhoneInvalid(MemberError):
    code = "members.phone_invalid"
    title = "That is no phone number"


class PhoneUnreadable(MemberError):
    """It was kept under another secret of the server."""

    code = "members.phone_unreadable"
    title = "The phone number cannot be read any more"


class PhoneMissing(MemberError):
    code = "members.phone_missing"
    title = "No phone number is known"


class MembersOfAll(MemberError):
    """Tickets are good at every store, and who is barred is barred from all of them."""

    code = "members.of_all_stores"
    title = "That is for those who see all stores"


class TicketsShort(MemberError):
    """More were to be taken than there are."""

    code = "members.tickets_short"
    title = "There are not so many tickets"


class NoTickets(MemberError):
    code = "members.no_tickets"
    title = "Give some tickets, or take some"


class ReasonMissing(MemberError):
    code = "members.reason_missing"
    title = "It needs a reason"
