"""Why a stall cannot be made, claimed or changed."""

import msgspec

from queueing.model import QueueError


class PhoneTaken(QueueError):
    code = "stall.phone_taken"
    title = "Another stall has this phone number"


class ClaimRefused(QueueError):
    """No stall with this phone waits for its seller, or the code is not the one given.

    Which of the reasons it was is not said: the answer must not tell who is a customer.
    """

    code = "stall.claim_refused"
    title = "No stall can be signed up with this phone number"


class HasStall(QueueError):
    """The account runs a stall already."""

    code = "stall.has_stall"
    title = "This account already runs a stall"


class BadPicture(QueueError):
    code = "stall.bad_picture"
    title = "This is not a picture that can be shown"


class PictureTooLarge(QueueError):
    code = "stall.picture_too_large"
    title = "The picture is too large"


class MonthEntry(msgspec.Struct, frozen=True):
    """A line of a stall's account of months. period: YYYYMM charged, None for a renewal."""

    at: int
    period: int | None
    months: int
    balance_after: int
    reason: str
    by_account: int


class Renewal(msgspec.Struct, frozen=True):
    """Months to be added to a stall; a negative number takes them. by: an account, 0 for none."""

    stall_id: int
    months: int
    reason: str
    by: int


class Renewed(msgspec.Struct, frozen=True):
    """added 0: the same renewal was made a moment ago, this is its repeat."""

    stall_id: int
    added: int
    balance_months: int
    created: bool
