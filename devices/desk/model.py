"""The nouns of the desk: exception, complaint; their states; the reasons to refuse.

An *exception* is something the machine does not decide: an order that is in doubt, a session
without an order, a delivery that does not arrive. It is there once as long as it is so; the
machine clears it when it has solved itself, or a person takes it, and approves, rejects or
closes it, once. A *complaint* is a buyer's, about an order; an order has one open at a time.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from accounts.audit.model import By
from devices.model import CabinetError
from sql.database import Tx
from sql.types import Millis

TEXT_MAX: Final = 400
PICTURES_MAX: Final = 6


class Kind(StrEnum):
    """Whatever puts something on the desk may name other kinds; these are the known ones."""

    UNCERTAIN = "uncertain"
    CONFLICT = "conflict"
    MISMATCH = "mismatch"
    OVER_LIMIT = "over_limit"
    UNKNOWN_ITEM = "unknown_item"
    NO_ORDER = "no_order"
    LATE_ORDER = "late_order"
    NO_SESSION = "no_session"
    OFFLINE = "offline"
    DOOR_OPEN = "door_open"
    DELIVERY = "delivery"
    ABNORMAL = "abnormal"


class ExceptionState(StrEnum):
    OPEN = "open"
    TAKEN = "taken"
    """Somebody is looking into it."""
    APPROVED = "approved"
    REJECTED = "rejected"
    CLOSED = "closed"
    """It has solved itself, or there is nothing to decide about it."""


UNDECIDED: Final = frozenset({ExceptionState.OPEN, ExceptionState.TAKEN})


class CabinetException(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `cabinet_exceptions`. ended_by: 0 for the machine."""

    id: int
    kind: str
    subject: str
    severity: str
    store_id: int | None
    device_id: int | None
    order_id: int | None
    session_id: int | None
    text: str
    state: ExceptionState
    raised_at: Millis
    taken_by: int
    taken_at: Millis | None
    ended_by: int
    ended_at: Millis | None
    decision: str
    version: int

    @property
    def is_decided(self) -> bool:
        return self.state not in UNDECIDED


class ComplaintState(StrEnum):
    OPEN = "open"
    REFUNDED = "refunded"
    REFUSED = "refused"


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `complaints`. pictures: file names. refund_fen: what it was resolved with."""

    id: int
    order_id: int
    store_id: int
    account_id: int
    text: str
    pictures: tuple[str, ...]
    state: ComplaintState
    created_at: Millis
    resolved_at: Millis | None
    resolved_by: int
    resolution: str
    refund_fen: int
    version: int


class Ruling(msgspec.Struct, frozen=True):
    """What a person says about an exception. details: what its kind needs besides a reason."""

    reason: str
    details: Mapping[str, Any] = {}


Decide: TypeAlias = Callable[[Tx, Any, Any, Any], object]
"""tx, the exception, by whom, and the ruling. It refuses with an exception; then nothing is
decided."""


class Action(msgspec.Struct, frozen=True):
    """What approving and rejecting mean, each in the transaction that decides it."""

    approve: Decide
    reject: Decide


class Refund(Protocol):
    """Sends some of what was paid for an order back, in the transaction of a complaint's end."""

    def __call__(self, tx: Tx, order_id: int, fen: int, *, reason: str, by: By) -> object: ...


# ---------------------------------------------------------------- refusals


class ExceptionNotFound(CabinetError):
    """There is none, or it is of another's store."""

    code = "exceptions.not_found"
    title = "No such exception"


class ExceptionDecided(CabinetError):
    code = "exceptions.decided"
    title = "It was decided already"


class ExceptionTaken(CabinetError):
    code = "exceptions.taken"
    title = "Somebody else is looking into it"


class NothingToApprove(CabinetError):
    """Of this kind nothing can be approved or rejected; it can be closed."""

    code = "exceptions.nothing_to_approve"
    title = "There is nothing to approve or reject"


class OrderUndecided(CabinetError):
    """Closing it would leave the order without anybody to decide about it."""

    code = "exceptions.order_undecided"
    title = "Its order waits for a decision"


class ComplaintNotFound(CabinetError):
    """There is none, or it is another's."""

    code = "complaints.not_found"
    title = "No such complaint"


class ComplaintOpen(CabinetError):
    code = "complaints.open"
    title = "There is a complaint about this order already"


class ComplaintResolved(CabinetError):
    code = "complaints.resolved"
    title = "The complaint was resolved already"


class OrderNotYours(CabinetError):
    """There is none, or it is another's."""

    code = "complaints.order_not_found"
    title = "No such order"


class TooManyPictures(CabinetError):
    code = "complaints.too_many_pictures"
    title = "A complaint has at most six pictures"
