"""The transactions of refunds: reserve, ask, approve, settle, fail, withdraw."""

from typing import Any

import msgspec
from sqlalchemy import func, insert, select, update

from payments import postings
from payments.gateway import Refunded
from payments.ledger.model import SUSPENSE
from payments.ledger.store import journals_of
from payments.model import (
    REFUND_MOVES,
    REFUND_PATIENCE_MS,
    Actions,
    Debt,
    DebtState,
    PaymentNotFound,
    ReasonMissing,
    Receipt,
    Refund,
    RefundNotFailed,
    RefundNotFound,
    RefundNotWaiting,
    RefundStatus,
    RefundTooMuch,
    SamePerson,
    next_look,
)
from payments.store import load_debt, move_debt, must_be, receipts_of, see_running, tell
from sql import idempotency
from sql.alerts import clear_alert, raise_alert, record_incident
from sql.database import Tx
from sql.idempotency import KeyReused
from sql.tables.payments import payscore_orders, receipts, refund_approvals, refunds
from sql.types import Millis

# The kind of the alerts about refunds a person must look at; the subject is the number.
MANUAL = "refund.manual"

# The job that the reconciler is.
WAKE = "payments"


class RefundAsk(msgspec.Struct, frozen=True, kw_only=True):
    """out_refund_no: for the refund, if it is a new one. once_key: what it is for.

    two_person_above_fen: what goes back of one payment, all in all, without a second person.
    """

    out_trade_no: str
    amount_fen: int
    reason: str
    by: int
    key: str
    once_key: str
    out_refund_no: str
    two_person_above_fen: int


def ask_refund(tx: Tx, ask: RefundAsk) -> Refund:
    """Reserve the money and write the refund; what it says is what WeChat will be told.

    Raises PaymentNotFound, RefundTooMuch, ReasonMissing, KeyReused, PaymentsStopped.
    """
    see_running(tx)
    if not ask.reason.strip():
        raise ReasonMissing
    mark = idempotency.fingerprint("refund", ask.out_trade_no, ask.amount_fen, ask.reason)
    number = idempotency.once(tx, f"payments.refund:{ask.by}", ask.key, mark, _ask, ask)
    return find_refund(tx, number)


def _ask(tx: Tx, ask: RefundAsk) -> str:
    receipt, debt = _receipt_of(tx, ask.out_trade_no)
    known = _of_purpose(tx, ask.once_key)
    if known is not None:
        if (known.out_trade_no, known.amount_fen) != (ask.out_trade_no, ask.amount_fen):
            raise KeyReused(ask.once_key)
        return known.out_refund_no
    together = receipt.reserved_fen + ask.amount_fen
    is_small = together <= ask.two_person_above_fen
    refund = write_refund(
        tx,
        receipt,
        debt,
        out_refund_no=ask.out_refund_no,
        once_key=ask.once_key,
        amount_fen=ask.amount_fen,
        reason=ask.reason.strip(),
        asked_by=ask.by,
        status=RefundStatus.REQUESTED if is_small else RefundStatus.WAITING,
    )
    return refund.out_refund_no


def _receipt_of(tx: Tx, out_trade_no: str) -> tuple[Receipt, Debt | None]:
    """The money that paid the debt, else some in suspense; locked, after its debt."""
    debt_id = next((found.debt_id for found in receipts_of(tx, out_trade_no)), None)
    debt = None if debt_id is None else load_debt(tx, debt_id, lock=True)
    found = receipts_of(tx, out_trade_no, lock=True)
    if not found:
        raise PaymentNotFound
    if debt is None:
        found.sort(key=lambda receipt: receipt.reserved_fen - receipt.amount_fen)
    return found[0], debt


def _of_purpose(tx: Tx, once_key: str) -> Refund | None:
    if not once_key:
        return None
    return _one(tx, refunds.c.once_key == once_key)


def write_refund(
    tx: Tx, receipt: Receipt, debt: Debt | None, *, amount_fen: int, **values: Any
) -> Refund:
    """Reserve the money on a receipt this transaction has locked, and write its refund.

    values: out_refund_no, once_key, reason, asked_by, status. Raises RefundTooMuch.
    """
    _reserve(tx, receipt.transaction_id, amount_fen)
    is_requested = values["status"] is RefundStatus.REQUESTED
    row = {
        **values,
        "once_key": values["once_key"] or None,
        "transaction_id": receipt.transaction_id,
        "out_trade_no": receipt.out_trade_no,
        "debt_id": None if debt is None else debt.id,
        "account_owner": SUSPENSE.owner if debt is None else debt.account_owner,
        "account": SUSPENSE.kind if debt is None else debt.account,
        "total_fen": receipt.amount_fen,
        "amount_fen": amount_fen,
        "created_at": tx.now,
        "requested_at": tx.now if is_requested else None,
        "accepted_at": None,
        "next_at": tx.now if is_requested else None,
        "ended_at": None,
        "failure": "",
    }
    tx.execute(insert(refunds), row)
    refund = find_refund(tx, values["out_refund_no"])
    if is_requested:
        postings.enter(tx, [postings.asked(refund)])
        tx.wake(WAKE)
    return refund


def _reserve(tx: Tx, transaction_id: str, amount_fen: int) -> None:
    """amount_fen: below nothing, when a reservation is given back. Raises RefundTooMuch."""
    together = receipts.c.reserved_fen + amount_fen
    changed = tx.execute(
        update(receipts)
        .where(receipts.c.transaction_id == transaction_id, together <= receipts.c.amount_fen)
        .values(reserved_fen=together)
    )
    if changed.rowcount != 1:
        raise RefundTooMuch


# The second person


def approve(tx: Tx, out_refund_no: str, *, by: int, reason: str) -> Refund:
    """Raises RefundNotFound, RefundNotWaiting, SamePerson, PaymentsStopped."""
    see_running(tx)
    refund, _ = _locked(tx, out_refund_no)
    if refund.status is not RefundStatus.WAITING:
        raise RefundNotWaiting
    if refund.asked_by == by:
        raise SamePerson
    _note(tx, refund, by, "approved", reason)
    _move(tx, refund, RefundStatus.REQUESTED, requested_at=tx.now, next_at=tx.now)
    postings.enter(tx, [postings.asked(refund)])
    tx.wake(WAKE)
    return find_refund(tx, out_refund_no)


def reject(tx: Tx, out_refund_no: str, *, by: int, reason: str) -> Refund:
    """By a second person, or by who asked. Raises RefundNotFound, RefundNotWaiting."""
    refund, _ = _locked(tx, out_refund_no)
    if refund.status is not RefundStatus.WAITING:
        raise RefundNotWaiting
    _note(tx, refund, by, "rejected", reason)
    _move(tx, refund, RefundStatus.WITHDRAWN, ended_at=tx.now, failure="rejected")
    _reserve(tx, refund.transaction_id, -refund.amount_fen)
    return find_refund(tx, out_refund_no)


def _note(tx: Tx, refund: Refund, by: int, verdict: str, reason: str) -> None:
    row = {
        "refund_id": refund.id,
        "account_id": by,
        "verdict": verdict,
        "reason": reason,
        "at": tx.now,
    }
    tx.execute(insert(refund_approvals), row)


# At WeChat


def claim_refunds(tx: Tx, *, most: int) -> list[Refund]:
    """The refunds to work on now, each put off to its next time, at which another follows."""
    due = (refunds.c.status == RefundStatus.REQUESTED) & (refunds.c.next_at <= tx.now)
    chosen = select(refunds).where(due).order_by(refunds.c.next_at).limit(most)
    found = [_as_refund(row) for row in tx.execute(chosen.with_for_update())]
    for refund in found:
        since = refund.requested_at or refund.created_at
        next_at = next_look(since=since, now=tx.now)
        tx.execute(update(refunds).where(refunds.c.id == refund.id).values(next_at=next_at))
    return found


class HowPaid(msgspec.Struct, frozen=True):
    """What a refund goes back of: the app it was paid to; whether WeChat deducted it."""

    appid: str
    is_deduction: bool


def how_paid(tx: Tx, out_refund_no: str) -> HowPaid:
    """Raises RefundNotFound."""
    refund = find_refund(tx, out_refund_no)
    appid = select(receipts.c.appid).where(receipts.c.transaction_id == refund.transaction_id)
    scores = payscore_orders.c.out_order_no
    score = select(scores).where(scores == refund.out_trade_no)
    return HowPaid(tx.execute(appid).scalar_one(), tx.execute(score).first() is not None)


def note_accepted(tx: Tx, out_refund_no: str) -> None:
    """WeChat has taken the request."""
    mine = (refunds.c.out_refund_no == out_refund_no) & refunds.c.accepted_at.is_(None)
    tx.execute(update(refunds).where(mine).values(accepted_at=tx.now))


def look_at_refund(tx: Tx, out_refund_no: str) -> bool:
    """Let the refund be asked about now; whether there is such a one."""
    mine = refunds.c.out_refund_no == out_refund_no
    open_ones = refunds.c.status == RefundStatus.REQUESTED
    tx.execute(update(refunds).where(mine, open_ones).values(next_at=tx.now))
    tx.wake(WAKE)
    return _one(tx, mine) is not None


def settle(tx: Tx, out_refund_no: str, found: Refunded, actions: Actions) -> Refund:
    """WeChat says, when asked, that the money has gone back. Again it changes nothing."""
    refund, debt = _locked(tx, out_refund_no)
    if refund.status is RefundStatus.SUCCESS:
        return refund
    if found.refund_fen != refund.amount_fen or refund.status not in _UNDER_WAY:
        return _not_as_asked(tx, refund, found)
    ended_at = found.refunded_at or tx.now
    _move(tx, refund, RefundStatus.SUCCESS, ended_at=ended_at, next_at=None, failure="")
    postings.enter(tx, [postings.done(refund)])
    clear_alert(tx, MANUAL, out_refund_no)
    settled = find_refund(tx, out_refund_no)
    if debt is None:
        clear_alert(tx, "payment.late", refund.transaction_id)
    else:
        _note_refunded(tx, debt, settled, actions)
    return settled


_UNDER_WAY = (RefundStatus.REQUESTED, RefundStatus.FAILED)


def _not_as_asked(tx: Tx, refund: Refund, found: Refunded) -> Refund:
    """WeChat has sent another amount, or what it should not have: nothing is booked."""
    text = f"WeChat has sent {found.refund_fen} fen, not {refund.amount_fen} ({refund.status})"
    if refund.status is RefundStatus.REQUESTED:
        _move(tx, refund, RefundStatus.FAILED, next_at=None, failure=text)
    if raise_alert(tx, MANUAL, refund.out_refund_no, text):
        record_incident(tx, "refund.mismatch", refund.out_refund_no, text)
    return find_refund(tx, refund.out_refund_no)


def _note_refunded(tx: Tx, debt: Debt, refund: Refund, actions: Actions) -> None:
    debt.refunded_fen += refund.amount_fen
    is_all = debt.refunded_fen == debt.amount_fen
    to = DebtState.REFUNDED if is_all else DebtState.PARTLY_REFUNDED
    move_debt(tx, debt, to, refunded_fen=debt.refunded_fen)
    action = actions.refunded.get(debt.kind)
    if action is not None:
        action(tx, debt, refund)
    data = {"out_trade_no": refund.out_trade_no, "amount_fen": refund.amount_fen}
    if debt.payer_id:
        tell(tx, [(debt.payer_id, "payment.refunded", data)])


def fail(tx: Tx, out_refund_no: str, why: str) -> Refund:
    """Leave it to a person. What was reserved for it stays reserved."""
    refund, _ = _locked(tx, out_refund_no)
    if refund.status is RefundStatus.REQUESTED:
        _move(tx, refund, RefundStatus.FAILED, next_at=None, failure=why[:200])
        raise_alert(tx, MANUAL, out_refund_no, f"{refund.amount_fen} fen: {why}")
    return find_refund(tx, out_refund_no)


def is_out_of_patience(refund: Refund, now: Millis) -> bool:
    return now - (refund.requested_at or refund.created_at) > REFUND_PATIENCE_MS


# What a person does about a failed one


def retry(tx: Tx, out_refund_no: str, *, by: int, reason: str) -> Refund:
    """Ask WeChat again, with the same number.

    Raises RefundNotFound, RefundNotFailed, PaymentsStopped.
    """
    see_running(tx)
    refund, _ = _locked(tx, out_refund_no)
    if refund.status is not RefundStatus.FAILED:
        raise RefundNotFailed
    _note(tx, refund, by, "retried", reason)
    _move(
        tx,
        refund,
        RefundStatus.REQUESTED,
        requested_at=tx.now,
        accepted_at=None,
        next_at=tx.now,
        failure="",
    )
    clear_alert(tx, MANUAL, out_refund_no)
    tx.wake(WAKE)
    return find_refund(tx, out_refund_no)


def withdraw(tx: Tx, out_refund_no: str, *, by: int, reason: str) -> Refund:
    """Give a failed refund up: the money is back where it was taken from.

    Only for one that WeChat will never pay. Raises RefundNotFound, RefundNotFailed.
    """
    refund, _ = _locked(tx, out_refund_no)
    if refund.status is not RefundStatus.FAILED:
        raise RefundNotFailed
    _note(tx, refund, by, "withdrawn", reason)
    _move(tx, refund, RefundStatus.WITHDRAWN, ended_at=tx.now)
    _reserve(tx, refund.transaction_id, -refund.amount_fen)
    postings.enter(tx, [postings.withdrawn(refund, _journal_of(tx, refund))])
    clear_alert(tx, MANUAL, out_refund_no)
    return find_refund(tx, out_refund_no)


def _journal_of(tx: Tx, refund: Refund) -> int:
    """The journal in which it was asked for; whoever has failed was asked for."""
    journals = journals_of(tx, postings.REFUND, refund.out_refund_no)
    return next(journal.id for journal in journals if journal.step == postings.ASKED)


# Rows


def find_refund(tx: Tx, out_refund_no: str) -> Refund:
    """Raises RefundNotFound."""
    found = _one(tx, refunds.c.out_refund_no == out_refund_no)
    if found is None:
        raise RefundNotFound
    return found


def _one(tx: Tx, which: Any, *, lock: bool = False) -> Refund | None:
    query = select(refunds).where(which)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _as_refund(row)


def _locked(tx: Tx, out_refund_no: str) -> tuple[Refund, Debt | None]:
    """A refund and its debt, the debt's lock first. Raises RefundNotFound."""
    debt_id = find_refund(tx, out_refund_no).debt_id
    debt = None if debt_id is None else load_debt(tx, debt_id, lock=True)
    refund = _one(tx, refunds.c.out_refund_no == out_refund_no, lock=True)
    assert refund is not None
    return refund, debt


def _move(tx: Tx, refund: Refund, to: RefundStatus, **values: Any) -> None:
    assert to in REFUND_MOVES[refund.status], f"{refund.out_refund_no}: {refund.status} to {to}"
    changed = tx.execute(
        update(refunds)
        .where(refunds.c.id == refund.id, refunds.c.status == refund.status)
        .values(status=to, **values)
    )
    must_be(changed.rowcount, 1)


def refunds_of(tx: Tx, out_trade_no: str) -> list[Refund]:
    """What is sent back of a payment, oldest first."""
    mine = select(refunds).where(refunds.c.out_trade_no == out_trade_no).order_by(refunds.c.id)
    return [_as_refund(row) for row in tx.execute(mine)]


def refunds_page(tx: Tx, *, offset: int, most: int, status: str = "") -> tuple[int, list[Refund]]:
    """Refunds, newest first, and how many there are in all."""
    where = [refunds.c.status == status] if status else []
    total = tx.execute(select(func.count()).select_from(refunds).where(*where)).scalar_one()
    chosen = select(refunds).where(*where).order_by(refunds.c.id.desc())
    return total, [_as_refund(row) for row in tx.execute(chosen.offset(offset).limit(most))]


def _as_refund(row: Any) -> Refund:
    return msgspec.convert(row._mapping, Refund)
