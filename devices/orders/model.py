"""The nouns of cabinet orders: order, line, revision, charge; their states; the reasons to refuse.

An *order* is what one door session comes to; a *revision* is what somebody, the vendor or one of
us, says was taken. A *charge* is a decision to take money or to give it back. What is dearer
than what is paid already becomes a *supplement*, an order of its own that points at the first.
All of them together are a *chain*, and their dues add up to the latest accepted revision.

Amounts are fen; a fen is five tickets, exactly.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Literal, TypeAlias

import msgspec

from devices.model import CabinetError
from devices.vendors.port import Certainty, OrderFact
from sql.types import Millis

PayWith: TypeAlias = Literal["wechat", "ticket"]

DEBT: Final = "cabinet_order"
"""The kind of our debts; the subject is the order's id."""

HOLD: Final = "cabinet"
"""What tickets are set aside for at the opening; the session's id is its number."""

SCORE: Final = "cabinet"
"""What Payscore orders of ours are for; the session's id again."""


class Kind(StrEnum):
    NORMAL = "normal"
    CORRECTED = "corrected"
    SUPPLEMENT = "supplement"


class OrderState(StrEnum):
    PUSHED = "pushed"
    """Known, and not certain yet."""
    REVIEW = "review"
    """A person must say what was taken; nothing is charged."""
    CHARGING = "charging"
    """Payscore was asked, and deducts by itself."""
    PAID = "paid"
    UNPAID = "unpaid"
    WAIVED = "waived"
    EMPTY = "empty"
    """Nothing was taken, or nothing of it is left."""


class Verdict(StrEnum):
    ACCEPTED = "accepted"
    WAITING = "waiting"
    REFUSED = "refused"


class Why(StrEnum):
    """Why a revision is not accepted. All but OLD are the kind of an exception as well."""

    NONE = ""
    OLD = "old"
    UNCERTAIN = "uncertain"
    ABNORMAL = "abnormal"
    CONFLICT = "conflict"
    MISMATCH = "mismatch"
    OVER_LIMIT = "over_limit"
    UNKNOWN_ITEM = "unknown_item"
    LATE = "late_order"
    NO_SESSION = "no_session"


REVIEWED: Final = frozenset(Why) - {Why.NONE, Why.OLD}


class ChargeKind(StrEnum):
    CAPTURE = "capture"
    REFUND = "refund"


class Means(StrEnum):
    TICKET = "ticket"
    SCORE = "score"
    WECHAT = "wechat"
    """Paid by hand, in the mini-program."""


class ChargeState(StrEnum):
    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    """Of a refund: a person has stopped it, and the money stays with us."""
    CANCELLED = "cancelled"


class Line(msgspec.Struct, frozen=True):
    """Of one thing, so many, for so much all in all; below nothing where a supplement takes off."""

    sku: str
    name: str
    quantity: int
    price_fen: int
    amount_fen: int


Lines: TypeAlias = tuple[Line, ...]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `cabinet_orders`. paid_fen, refunded_fen: what has come, and what has arrived back;
    tickets and wechat_fen are the two parts of what has come."""

    id: int
    no: str
    kind: Kind
    related_no: str
    session_id: int | None
    session_key: int | None
    vendor: str
    vendor_order_no: str | None
    device_id: int
    store_id: int
    account_id: int
    phone_box: str
    pay_with: PayWith
    state: OrderState
    due_fen: int
    paid_fen: int
    wechat_fen: int
    tickets: int
    refunded_fen: int
    rev: int
    lines: Lines
    ordered_at: Millis
    paid_at: Millis | None
    version: int

    @property
    def net_fen(self) -> int:
        return self.paid_fen - self.refunded_fen

    @property
    def is_supplement(self) -> bool:
        return self.kind is Kind.SUPPLEMENT


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What a revision says. lines: at our prices, empty when it could not be priced.

    fact: as the vendor said it. allowance_fen: what staff have let the buyer off; the lines'
    amounts are without it already. version: of the order before a person changed it.
    """

    lines: Lines = ()
    allowance_fen: int = 0
    reason: str = ""
    fact: OrderFact | None = None


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `order_revisions`. total_fen: as it was said, by the vendor's prices."""

    order_id: int
    rev: int
    n: int
    source: str
    certainty: Certainty
    content_hash: str
    body: Body
    total_fen: int
    verdict: Verdict
    why: Why
    at: Millis

    @property
    def place(self) -> tuple[int, int]:
        return self.rev, self.n

    @property
    def is_by_staff(self) -> bool:
        return self.source.startswith("staff:")


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `order_charges`."""

    id: int
    order_id: int
    kind: ChargeKind
    n: int
    means: Means
    amount_fen: int
    tickets: int
    state: ChargeState
    debt_id: int | None
    refund_no: str | None
    reason: str
    by_account: int
    created_at: Millis
    ended_at: Millis | None

    @property
    def no(self) -> str:
        return charge_no(self.order_id, self.kind, self.n)


def charge_no(order_id: int, kind: ChargeKind, n: int) -> str:
    """The number of a charge in the ledger and at WeChat: the same whoever makes it, ≤ 32."""
    return f"CO{order_id}{'C' if kind is ChargeKind.CAPTURE else 'R'}{n}"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What settling depends on besides the tables.

    review_limit_fen: an order above it waits for a person, where the store has no limit of its own.
    stock_tolerance: how many more than we count may be taken of one thing.
    two_person_above_fen: what goes back of one payment without a second person.
    """

    review_limit_fen: int = 20_000
    stock_tolerance: int = 2
    two_person_above_fen: int = 50_000


class Outcome(StrEnum):
    """What became of an order that was told."""

    ACCEPTED = "accepted"
    WAITING = "waiting"
    REVIEW = "review"
    REPEATED = "repeated"
    OLD = "old"
    NO_SESSION = "no_session"
    """Nobody's: a person may link it. It is quarantined."""
    NO_MONEY = "no_money"
    """Of a session in which nothing is bought."""


class Taken(msgspec.Struct, frozen=True):
    """order_id, session_id: 0 where there is none. is_news: of nobody's order, that it is there."""

    outcome: Outcome
    order_id: int = 0
    session_id: int = 0
    is_news: bool = True


def accepted(revisions: Sequence[Revision]) -> Revision | None:
    """The latest accepted one: what is due."""
    found = [each for each in revisions if each.verdict is Verdict.ACCEPTED]
    return max(found, key=lambda each: each.place, default=None)


def under_review(revisions: Sequence[Revision]) -> list[Revision]:
    """What a person has still to decide on, in order: refused, and nothing accepted since."""
    last = accepted(revisions)
    since = (0, 0) if last is None else last.place
    waiting = [each for each in revisions if each.why in REVIEWED and each.place > since]
    return sorted(waiting, key=lambda each: each.place)


# ---------------------------------------------------------------- refusals


class OrderNotFound(CabinetError):
    """There is none, or it is another's, or of a store one does not see."""

    code = "cabinet_order.not_found"
    title = "No such order"


class OrderChanged(CabinetError):
    """Somebody, or a payment, was faster: look again, then decide."""

    code = "cabinet_order.changed"
    title = "The order has changed meanwhile"


class OrderInReview(CabinetError):
    code = "cabinet_order.in_review"
    title = "The order waits for a decision at the exception desk"


class NothingToPay(CabinetError):
    code = "cabinet_order.nothing_to_pay"
    title = "Nothing is to be paid for this order"


class NotPaidYet(CabinetError):
    """What is open must be paid or waived before something goes back."""

    code = "cabinet_order.not_paid"
    title = "The order is not paid"


class TicketsShort(CabinetError):
    code = "cabinet_order.tickets_short"
    title = "There are not enough tickets"


class PaymentOpen(CabinetError):
    """One way of paying at a time; the other one may still be paid."""

    code = "cabinet_order.payment_open"
    title = "Another payment of this order is still open"


class TooMuchBack(CabinetError):
    code = "cabinet_order.refund_too_much"
    title = "More than was paid"


class NothingWaived(CabinetError):
    code = "cabinet_order.not_unpaid"
    title = "Only what is unpaid can be waived"


class ItemUnknown(CabinetError):
    """Its price at the time of the session is not known."""

    code = "cabinet_order.unknown_item"
    title = "This was not for sale in the cabinet"


class ItemsMissing(CabinetError):
    """The decision needs the list of what was taken."""

    code = "cabinet_order.items_missing"
    title = "Say what was taken"


class SessionMissing(CabinetError):
    """The order is nobody's yet: say which door session it belongs to."""

    code = "cabinet_order.session_missing"
    title = "Say which door session the order belongs to"
