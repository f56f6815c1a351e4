"""What crosses a wire about payments, and how the model turns into it.

Amounts are fen, times RFC 3339. No openid and no account crosses, but who decided on a refund.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from payments.model import Attempt, Debt, Difference, Refund, RefundStatus
from sql.types import Millis

# No control characters. The look-ahead is for "$", which also stands before a last line feed.
_LINE = r"^(?=.*\S)[^\x00-\x1f\x7f]*(?!\n)$"

Fen = Annotated[int, Meta(ge=1, le=10_000_000_000)]
# WeChat shows it to the payer, and takes no more.
RefundReason = Annotated[str, Meta(min_length=1, max_length=80, pattern=_LINE)]
Words = Annotated[str, Meta(min_length=1, max_length=200, pattern=_LINE)]

# ---------------------------------------------------------------- requests


class PayNew(msgspec.Struct, kw_only=True):
    trade_type: Literal["JSAPI", "NATIVE"]


class RefundNew(msgspec.Struct, kw_only=True):
    """refund_key: what it is for, so that it goes back once whoever asks."""

    amount_fen: Fen
    reason: RefundReason
    refund_key: Annotated[str, Meta(max_length=100, pattern=r"^[!-~]*(?!\n)$")] = ""


class RefundDecision(msgspec.Struct):
    """To approve, reject, retry or withdraw a refund."""

    reason: Words


class Explanation(msgspec.Struct):
    """What a difference between the bill and the books is."""

    text: Annotated[str, Meta(min_length=1, max_length=400, pattern=_LINE)]


# ---------------------------------------------------------------- answers


class PayRequest(msgspec.Struct, kw_only=True):
    """What the payer's client needs. One of the two is there: JSAPI's, or NATIVE's code."""

    out_trade_no: str
    amount_fen: int
    code_url: str | None
    wx_request_payment: dict[str, Any] | None


class PaymentOut(msgspec.Struct, kw_only=True):
    out_trade_no: str
    kind: str
    description: str
    amount_fen: int
    refunded_fen: int
    trade_type: str
    state: str
    """Of this attempt: created, submitted, success, closed, failed."""
    debt_state: str
    """Of what it is for: it may have been paid by another attempt."""
    is_paid: bool
    code_url: str | None
    created_at: str
    expires_at: str
    ended_at: str | None


class RefundOut(msgspec.Struct, kw_only=True):
    out_refund_no: str
    out_trade_no: str
    amount_fen: int
    total_fen: int
    reason: str
    status: RefundStatus
    asked_by: int
    created_at: str
    requested_at: str | None
    ended_at: str | None
    failure: str


class DifferenceOut(msgspec.Struct, kw_only=True):
    id: int
    day: int
    kind: str
    number: str
    here_fen: int
    there_fen: int
    found_at: str
    explained_at: str | None
    explained_by: int
    explanation: str


def payment_out(attempt: Attempt, debt: Debt) -> PaymentOut:
    return PaymentOut(
        out_trade_no=attempt.out_trade_no,
        kind=debt.kind,
        description=debt.description,
        amount_fen=attempt.amount_fen,
        refunded_fen=debt.refunded_fen,
        trade_type=attempt.trade_type,
        state=attempt.state,
        debt_state=debt.state,
        is_paid=debt.is_settled,
        code_url=attempt.code_url if attempt.is_live and attempt.code_url else None,
        created_at=_text(attempt.created_at),
        expires_at=_text(attempt.expires_at),
        ended_at=_maybe(attempt.ended_at),
    )


def refund_out(refund: Refund) -> RefundOut:
    return RefundOut(
        out_refund_no=refund.out_refund_no,
        out_trade_no=refund.out_trade_no,
        amount_fen=refund.amount_fen,
        total_fen=refund.total_fen,
        reason=refund.reason,
        status=refund.status,
        asked_by=refund.asked_by,
        created_at=_text(refund.created_at),
        requested_at=_maybe(refund.requested_at),
        ended_at=_maybe(refund.ended_at),
        failure=refund.failure,
    )


def difference_out(difference: Difference) -> DifferenceOut:
    return DifferenceOut(
        id=difference.id,
        day=difference.day,
        kind=difference.kind,
        number=difference.number,
        here_fen=difference.here_fen,
        there_fen=difference.there_fen,
        found_at=_text(difference.found_at),
        explained_at=_maybe(difference.explained_at),
        explained_by=difference.explained_by,
        explanation=difference.explanation,
    )


def _maybe(at: Millis | None) -> str | None:
    return None if at is None else _text(at)


def _text(at: Millis) -> str:
    """2026-11-20T04:05:06.789Z"""
    second, rest = divmod(at, 1000)
    return f"{datetime.fromtimestamp(second, UTC).isoformat()[:19]}.{rest:03d}Z"
