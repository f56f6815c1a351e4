"""What people decide about refunds, each decision with its line in the audit.

The debt's lock is taken first and the audit's last, as everywhere.
"""

from collections.abc import Callable
from typing import Any

from accounts.audit.model import By
from accounts.audit.store import record
from payments.model import Refund, RefundStatus
from payments.refunds import store
from payments.refunds.store import RefundAsk
from sql.database import Tx


def ask(tx: Tx, wanted: RefundAsk, *, by: By) -> Refund:
    """As store.ask_refund; the repeat that asks for nothing new leaves no line."""
    refund = store.ask_refund(tx, wanted)
    if refund.out_refund_no == wanted.out_refund_no:
        after = {
            "out_trade_no": refund.out_trade_no,
            "amount_fen": refund.amount_fen,
            "total_fen": refund.total_fen,
            "status": refund.status,
        }
        _record(tx, "refund.ask", refund, {}, after, by, refund.reason)
    return refund


def approve(tx: Tx, out_refund_no: str, *, by: By, reason: str) -> Refund:
    """As store.approve. Raises RefundNotFound, RefundNotWaiting, SamePerson, PaymentsStopped."""
    return _decide(tx, store.approve, RefundStatus.WAITING, out_refund_no, by, reason)


def reject(tx: Tx, out_refund_no: str, *, by: By, reason: str) -> Refund:
    """As store.reject. Raises RefundNotFound, RefundNotWaiting."""
    return _decide(tx, store.reject, RefundStatus.WAITING, out_refund_no, by, reason)


def retry(tx: Tx, out_refund_no: str, *, by: By, reason: str) -> Refund:
    """As store.retry. Raises RefundNotFound, RefundNotFailed, PaymentsStopped."""
    return _decide(tx, store.retry, RefundStatus.FAILED, out_refund_no, by, reason)


def withdraw(tx: Tx, out_refund_no: str, *, by: By, reason: str) -> Refund:
    """As store.withdraw. Raises RefundNotFound, RefundNotFailed."""
    return _decide(tx, store.withdraw, RefundStatus.FAILED, out_refund_no, by, reason)


def _decide(
    tx: Tx,
    verb: Callable[..., Refund],
    before: RefundStatus,
    out_refund_no: str,
    by: By,
    reason: str,
) -> Refund:
    """before: the one status the verb leads out of."""
    refund = verb(tx, out_refund_no, by=by.account_id, reason=reason)
    changed = {"status": before}, {"status": refund.status}
    _record(tx, f"refund.{verb.__name__}", refund, *changed, by, reason)
    return refund


def _record(
    tx: Tx,
    action: str,
    refund: Refund,
    before: dict[str, Any],
    after: dict[str, Any],
    by: By,
    reason: str,
) -> None:
    subject = f"refund:{refund.out_refund_no}"
    record(tx, actor=by, action=action, subject=subject, before=before, after=after, reason=reason)
