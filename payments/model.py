"""The nouns of payment: debt, attempt, receipt, refund; their states; the reasons to refuse.

A *debt* is what somebody owes for something. An *attempt* is one order at WeChat Pay to pay
it, with a number of its own; a debt has at most one live attempt. A *receipt* is money that
has come in, known by WeChat's transaction id: it pays its debt, or it waits in suspense. A
*refund* sends some of a receipt back. Times are integer milliseconds UTC, amounts are fen.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import Final

import msgspec

from payments.gateway import PaymentFact, PlaceOrder, Reaction, TradeType
from sql.database import Tx
from sql.types import Millis

SECOND_MS: Final = 1000
MINUTE_MS: Final = 60 * SECOND_MS

# WeChat's own: a prepay_id and a code_url are good for so long, and an order cannot be closed
# or end sooner after it was made.
PREPAY_GOOD_MS: Final = 120 * MINUTE_MS
CLOSABLE_AFTER_MS: Final = 5 * MINUTE_MS
ORDER_LEAST_MS: Final = 1 * MINUTE_MS

# Which asking follows the making of an attempt or a refund, and the pace afterwards.
ASK_AFTER_MS: Final = tuple(minutes * MINUTE_MS for minutes in (1, 2, 5, 10, 30))
ASK_EVERY_MS: Final = 30 * MINUTE_MS
ASK_PATIENCE_MS: Final = 7 * 24 * 60 * MINUTE_MS
# A refund to a bank card may take days.
REFUND_EVERY_MS: Final = 360 * MINUTE_MS
REFUND_PATIENCE_MS: Final = 30 * 24 * 60 * MINUTE_MS


class DebtState(StrEnum):
    UNPAID = "unpaid"
    PAID = "paid"
    PARTLY_REFUNDED = "partly"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"


SETTLED: Final = frozenset({DebtState.PAID, DebtState.PARTLY_REFUNDED, DebtState.REFUNDED})
"""The debt has had its money."""


class AttemptState(StrEnum):
    CREATED = "created"
    """Written; whether WeChat has heard of it is not known."""
    SUBMITTED = "submitted"
    SUCCESS = "success"
    CLOSED = "closed"
    FAILED = "failed"


LIVE: Final = frozenset({AttemptState.CREATED, AttemptState.SUBMITTED})
"""It may be paid at any moment."""


class RefundStatus(StrEnum):
    WAITING = "waiting"
    """For a second person."""
    REQUESTED = "requested"
    SUCCESS = "success"
    FAILED = "failed"
    """WeChat will not send it by itself; a person must act."""
    WITHDRAWN = "withdrawn"
    """Rejected, or given up after it failed; the money stays."""


# Money is a fact: whatever we had thought of an attempt, it succeeds when money has come for
# it. Nothing leads out of success.
ATTEMPT_MOVES: Final = {
    AttemptState.CREATED: LIVE | {AttemptState.SUCCESS, AttemptState.CLOSED, AttemptState.FAILED},
    AttemptState.SUBMITTED: {AttemptState.SUCCESS, AttemptState.CLOSED, AttemptState.FAILED},
    AttemptState.CLOSED: {AttemptState.SUCCESS},
    AttemptState.FAILED: {AttemptState.SUCCESS},
    AttemptState.SUCCESS: set(),
}
DEBT_MOVES: Final = {
    DebtState.UNPAID: {DebtState.PAID, DebtState.CANCELLED},
    DebtState.PAID: {DebtState.PARTLY_REFUNDED, DebtState.REFUNDED},
    DebtState.PARTLY_REFUNDED: {DebtState.PARTLY_REFUNDED, DebtState.REFUNDED},
    DebtState.REFUNDED: set(),
    DebtState.CANCELLED: set(),
}
REFUND_MOVES: Final = {
    RefundStatus.WAITING: {RefundStatus.REQUESTED, RefundStatus.WITHDRAWN},
    RefundStatus.REQUESTED: {RefundStatus.SUCCESS, RefundStatus.FAILED},
    # A person may have sent it on at WeChat.
    RefundStatus.FAILED: {RefundStatus.REQUESTED, RefundStatus.SUCCESS, RefundStatus.WITHDRAWN},
    RefundStatus.SUCCESS: set(),
    RefundStatus.WITHDRAWN: set(),
}


class Debt(msgspec.Struct, kw_only=True):
    id: int
    kind: str
    subject: int
    """What it is owed for, in the words of the kind's domain."""
    payer_id: int
    """The account that owes."""
    amount_fen: int
    refunded_fen: int = 0
    account: str
    """Where its money belongs in the ledger: of the payer for "user:…", else the house's."""
    description: str
    state: DebtState
    created_at: Millis
    expires_at: Millis | None
    """It cannot be paid afterwards, and is cancelled."""
    cancel_asked_at: Millis | None = None
    ended_at: Millis | None = None
    """When it was paid or cancelled."""

    @property
    def is_settled(self) -> bool:
        return self.state in SETTLED

    @property
    def account_owner(self) -> int:
        return self.payer_id if self.account.startswith("user:") else 0

    def can_be_begun(self, now: Millis) -> bool:
        """Somebody may begin to pay it, and has the time to."""
        is_ending = self.expires_at is not None and self.expires_at - now < ORDER_LEAST_MS
        return self.state is DebtState.UNPAID and self.cancel_asked_at is None and not is_ending

    def is_over(self, now: Millis) -> bool:
        """Nobody may begin to pay it any more."""
        return self.cancel_asked_at is not None or (
            self.expires_at is not None and self.expires_at <= now
        )


class Attempt(msgspec.Struct, kw_only=True):
    id: int
    debt_id: int
    out_trade_no: str
    trade_type: TradeType
    openid: str
    amount_fen: int
    request: str
    """The order as JSON, so that a repeat says the very same; no order where WeChat deducts."""
    request_hash: str
    state: AttemptState
    prepay_id: str
    code_url: str
    prepaid_at: Millis | None
    created_at: Millis
    expires_at: Millis
    next_at: Millis | None
    """When WeChat is asked about it next; None once there is nothing to ask."""
    asked_at: Millis
    ended_at: Millis | None
    failure: str

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    @property
    def appid(self) -> str:
        """Of the mini-program the order was placed for, "" for the merchant's first."""
        return msgspec.json.decode(self.request, type=PlaceOrder).appid

    @property
    def closable_at(self) -> Millis:
        return self.created_at + CLOSABLE_AFTER_MS

    def serves(
        self, trade_type: TradeType, openid: str, *, amount_fen: int, appid: str, now: Millis
    ) -> bool:
        """Whether who asks to pay so much in this way can be given this attempt once more."""
        mine = (self.trade_type, self.openid, self.amount_fen, self.appid)
        if mine != (trade_type, openid, amount_fen, appid) or now >= self.expires_at:
            return False
        return self.prepaid_at is None or now - self.prepaid_at < PREPAY_GOOD_MS


class Receipt(msgspec.Struct, kw_only=True):
    """Money that has come in. debt_id: the debt it paid; None while it is in suspense."""

    transaction_id: str
    out_trade_no: str
    debt_id: int | None
    amount_fen: int
    reserved_fen: int
    """Promised to refunds, whatever has become of them, unless they were withdrawn."""
    appid: str
    mch_id: str
    openid: str
    paid_at: Millis
    received_at: Millis
    source: str


class Refund(msgspec.Struct, kw_only=True):
    id: int
    out_refund_no: str
    transaction_id: str
    out_trade_no: str
    debt_id: int | None
    """None for money that was in suspense."""
    account_owner: int
    account: str
    """The ledger account it is taken from."""
    total_fen: int
    amount_fen: int
    reason: str
    asked_by: int
    """An account; 0 for ourselves."""
    status: RefundStatus
    created_at: Millis
    requested_at: Millis | None
    accepted_at: Millis | None
    """When WeChat took the request. It is not refunded by that."""
    next_at: Millis | None
    ended_at: Millis | None
    failure: str


class Difference(msgspec.Struct, kw_only=True):
    """A line of the bill and our books do not agree. Never mended by us."""

    id: int
    day: int
    kind: str
    """missing_here, missing_there or amount; of a payment or a refund."""
    number: str
    here_fen: int
    there_fen: int
    found_at: Millis
    explained_at: Millis | None
    explained_by: int
    explanation: str


class Outcome(StrEnum):
    """What became of a fact."""

    PAID = "paid"
    REPEATED = "repeated"
    LATE = "late"
    """The debt was paid or cancelled: the money goes back by itself."""
    MISMATCH = "mismatch"
    """The amount or the currency is not what we asked for: nothing was done."""
    UNKNOWN = "unknown"
    """Ours, but for no order of ours: it waits in suspense for a person."""
    FOREIGN = "foreign"
    """Another merchant's."""
    HELD = "held"
    """Money is stopped; it is asked for again afterwards."""


class Applied(msgspec.Struct, frozen=True):
    outcome: Outcome
    out_trade_no: str
    debt_id: int = 0


class Merchant(msgspec.Struct, frozen=True):
    """Who we are to WeChat Pay: what is not for us is not our money."""

    mch_id: str = ""
    appids: frozenset[str] = frozenset()

    def owns(self, fact: PaymentFact) -> bool:
        return fact.mch_id == self.mch_id and fact.appid in self.appids


PaidAction = Callable[[Tx, Debt, PaymentFact], None]
PaidTogether = Callable[[Tx, Sequence[tuple[Debt, PaymentFact]]], Collection[int]]
RefundedAction = Callable[[Tx, Debt, Refund], None]
CancelledAction = Callable[[Tx, Debt], None]


class Actions:
    """What a domain does about its debts, in the transaction that changes them, by kind.

    A paid action that cannot deliver raises CannotFulfil before it has changed anything; the
    money then goes back. One that delivers many at a time returns the ids of those debts.
    """

    def __init__(self) -> None:
        self.paid: dict[str, PaidAction] = {}
        self.paid_together: dict[str, PaidTogether] = {}
        self.refunded: dict[str, RefundedAction] = {}
        self.cancelled: dict[str, CancelledAction] = {}


def next_ask(*, since: Millis, until: Millis, now: Millis) -> Millis | None:
    """When an attempt made at since, good until then, is asked about after now.

    None when WeChat has not let it come to an end for days: a person must look.
    """
    over = now - until
    if over < 0:
        return min(_next_of(since, now, ASK_EVERY_MS), until)
    if over >= ASK_PATIENCE_MS:
        return None
    return now + (CLOSABLE_AFTER_MS if over < 60 * MINUTE_MS else 60 * MINUTE_MS)


def next_look(*, since: Millis, now: Millis) -> Millis:
    """The same for a refund, which has no end."""
    every = ASK_EVERY_MS if now - since < REFUND_EVERY_MS else REFUND_EVERY_MS
    return _next_of(since, now, every)


def _next_of(since: Millis, now: Millis, every: Millis) -> Millis:
    soon = next((since + after for after in ASK_AFTER_MS if since + after > now), None)
    return soon or since + ((now - since) // every + 1) * every


_BEIJING = timezone(timedelta(hours=8))


def beijing_day(at: Millis) -> int:
    """The day (YYYYMMDD) of a moment, as WeChat's bills have it."""
    day = datetime.fromtimestamp(at // SECOND_MS, _BEIJING)
    return day.year * 10_000 + day.month * 100 + day.day


def day_bounds(day: int) -> tuple[Millis, Millis]:
    """The moments at which a day (YYYYMMDD) of Beijing begins and is over."""
    begins = datetime(day // 10_000, day // 100 % 100, day % 100, tzinfo=_BEIJING)
    start = int(begins.timestamp()) * SECOND_MS
    return start, start + 24 * 60 * MINUTE_MS


class PaymentError(Exception):
    """A refusal. code is stable and crosses the wire; title is for people.

    PaymentError
    ├── DebtNotFound, PaymentNotFound, RefundNotFound, DifferenceNotFound
    ├── DebtPaid, DebtCancelled, DebtExpired
    ├── PaymentUnknown, PaymentPending, PaymentRefused, PaymentsUnavailable, PaymentsStopped
    ├── RefundTooMuch, ReasonMissing, SamePerson, RefundNotWaiting, RefundNotFailed
    └── CannotFulfil
    """

    code = "payments.error"
    title = "Payment error"


class DebtNotFound(PaymentError):
    code = "payments.debt_not_found"
    title = "Nothing is owed there"


class PaymentNotFound(PaymentError):
    """There is none, or it is another's."""

    code = "payments.not_found"
    title = "No such payment"


class RefundNotFound(PaymentError):
    code = "refunds.not_found"
    title = "No such refund"


class DifferenceNotFound(PaymentError):
    code = "payments.difference_not_found"
    title = "No such difference, or it is explained already"


class DebtPaid(PaymentError):
    code = "payments.paid"
    title = "It is paid already"


class DebtCancelled(PaymentError):
    code = "payments.cancelled"
    title = "It was cancelled"


class DebtExpired(PaymentError):
    code = "payments.expired"
    title = "The time for paying is over"


class PaymentUnknown(PaymentError):
    """Nobody knows yet whether WeChat has the order. Ask again with the same key."""

    code = "payments.unknown"
    title = "WeChat Pay has not answered"

    def __init__(self, out_trade_no: str) -> None:
        super().__init__(out_trade_no)
        self.out_trade_no = out_trade_no


class PaymentPending(PaymentError):
    """Another way of paying is still open, and cannot be closed before retry_at."""

    code = "payments.pending"
    title = "Another payment is still open"

    def __init__(self, out_trade_no: str, retry_at: Millis) -> None:
        super().__init__(out_trade_no)
        self.out_trade_no = out_trade_no
        self.retry_at = retry_at


class PaymentRefused(PaymentError):
    """WeChat said no; a new try is a new attempt."""

    code = "payments.refused"
    title = "WeChat Pay refused"

    def __init__(self, err_code: str, reaction: Reaction) -> None:
        super().__init__(err_code)
        self.err_code = err_code
        self.reaction = reaction


class PaymentsUnavailable(PaymentError):
    """Our own set-up at WeChat Pay is wrong or missing; asking again is useless."""

    code = "payments.unavailable"
    title = "Payments are not set up"


class PaymentsStopped(PaymentError):
    """The books do not add up: no money moves until a person has looked."""

    code = "payments.stopped"
    title = "Payments are stopped"


class RefundTooMuch(PaymentError):
    code = "refunds.too_much"
    title = "More than was paid"


class ReasonMissing(PaymentError):
    code = "refunds.reason_missing"
    title = "A refund needs a reason"


class SamePerson(PaymentError):
    code = "refunds.same_person"
    title = "Another person must approve it"


class RefundNotWaiting(PaymentError):
    code = "refunds.not_waiting"
    title = "The refund does not wait for approval"


class RefundNotFailed(PaymentError):
    code = "refunds.not_failed"
    title = "The refund has not failed"


class CannotFulfil(PaymentError):
    """Raised by a paid action: what was bought can no longer be had."""

    code = "payments.cannot_fulfil"
    title = "What was paid for is not to be had any more"
