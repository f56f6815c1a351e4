"""What must hold between debts, attempts, receipts, refunds and the ledger, as queries.

Each names the rows that break a promise; none are found as long as all is well. The numbers
are those of the list of invariants: I8 a paid debt has its one journal, and nothing else has;
I9, I12 what has gone back; I13, I14 one receipt a debt and a transaction; I29 nothing that is
open is forgotten.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import BigInteger, Select, String, and_, case, cast, exists, func, not_, or_, select

from payments import postings
from payments.gateway import TradeType
from payments.ledger.model import REFUND_PENDING, SUSPENSE, Account, Violation
from payments.model import LIVE, SETTLED, AttemptState, DebtState, RefundStatus
from payments.scores.model import OVER
from sql.database import Tx
from sql.tables.payments import (
    debts,
    incidents,
    ledger_accounts,
    ledger_entries,
    ledger_journals,
    payment_attempts,
    payscore_orders,
    receipts,
    refunds,
)
from sql.types import Millis

# So many rows of one kind tell enough.
MOST = 100

# A job may be late by so much before what it had to do counts as forgotten.
LATE_MS: Millis = 24 * 3_600_000

_OURS = (postings.DEBT, postings.LATE, postings.REFUND)
_SETTLED, _LIVE = sorted(SETTLED), sorted(LIVE)
# The money of these was taken from its account.
_ASKED = (RefundStatus.REQUESTED, RefundStatus.FAILED, RefundStatus.SUCCESS)


def _journal(biz: str, key: Any, step: str) -> Any:
    """Whether there is the journal of a row."""
    journals = ledger_journals.c
    mine = (journals.biz == biz) & (journals.biz_id == key) & (journals.step == step)
    return exists(select(journals.id).where(mine))


def _debt_paid(debt_id: Any) -> Any:
    return _journal(postings.DEBT, cast(debt_id, String(64)), postings.PAID)


def debts_and_journals(tx: Tx) -> Sequence[Violation]:
    """A debt is paid when, and only when, its one journal and its one receipt are there."""
    settled = debts.c.state.in_(_SETTLED)
    received = exists(
        select(receipts.c.transaction_id).where(
            receipts.c.debt_id == debts.c.id, receipts.c.amount_fen == debts.c.amount_fen
        )
    )
    claimed = exists(select(receipts.c.transaction_id).where(receipts.c.debt_id == debts.c.id))
    paid = ledger_journals.c.biz == postings.DEBT
    return [
        *_found(tx, "I8", "debt", debts.c.id, settled, not_(_debt_paid(debts.c.id))),
        *_found(tx, "I8", "debt", debts.c.id, not_(settled), _debt_paid(debts.c.id)),
        *_found(tx, "I13", "debt", debts.c.id, settled, not_(received)),
        *_found(tx, "I13", "debt", debts.c.id, not_(settled), claimed),
        *_found(tx, "I8", "journal", ledger_journals.c.id, paid, not_(_has_debt())),
    ]


def _has_debt() -> Any:
    """A journal's debt, and its amount, are those of the journal."""
    key = ledger_journals.c.biz_id
    # As a number it is found by its index, where every debt would be looked at for each journal;
    # as a text it is the whole of it, for a cast reads "7x" as 7.
    mine = and_(debts.c.id == cast(key, BigInteger), cast(debts.c.id, String(64)) == key)
    moved = select(ledger_entries.c.amount).where(
        ledger_entries.c.journal_id == ledger_journals.c.id, ledger_entries.c.amount > 0
    )
    # Said, because a query within a query within a query finds the outermost by itself no more.
    amount = moved.correlate(ledger_journals).scalar_subquery()
    return exists(
        select(debts.c.id).where(mine, debts.c.amount_fen == amount).correlate(ledger_journals)
    )


def attempts_and_receipts(tx: Tx) -> Sequence[Violation]:
    """An attempt has succeeded when, and only when, money came under its number."""
    key = payment_attempts.c.out_trade_no
    came = exists(select(receipts.c.transaction_id).where(receipts.c.out_trade_no == key))
    succeeded = payment_attempts.c.state == AttemptState.SUCCESS
    live = payment_attempts.c.state.in_(_LIVE)
    claims = payment_attempts.c.live_debt.is_not(None)
    # A deduction keeps nobody from paying in another way: it never claims the debt.
    by_hand = payment_attempts.c.trade_type != TradeType.PAYSCORE
    late = _journal(postings.LATE, receipts.c.transaction_id, postings.RECEIVED)
    known = receipts.c.debt_id.is_not(None)
    return [
        *_found(tx, "I13", "attempt", key, succeeded, not_(came)),
        *_found(tx, "I13", "attempt", key, not_(succeeded), came),
        *_found(tx, "I13", "attempt", key, by_hand, live, not_(claims)),
        *_found(tx, "I13", "attempt", key, claims, not_(live & by_hand)),
        *_found(tx, "I14", "receipt", receipts.c.transaction_id, not_(known), not_(late)),
        *_found(tx, "I14", "receipt", receipts.c.transaction_id, known, late),
    ]


def refunds_and_journals(tx: Tx) -> Sequence[Violation]:
    """What has gone back is what was asked for, of what had come in."""
    key = refunds.c.out_refund_no
    asked = _journal(postings.REFUND, key, postings.ASKED)
    done = _journal(postings.REFUND, key, postings.DONE)
    withdrawn = _journal(postings.REFUND, key, postings.WITHDRAWN)
    status = refunds.c.status
    given_up = status == RefundStatus.WITHDRAWN
    return [
        *_found(tx, "I12", "refund", key, status.in_(_ASKED), not_(asked)),
        *_found(tx, "I12", "refund", key, status == RefundStatus.WAITING, asked),
        *_found(tx, "I12", "refund", key, (status == RefundStatus.SUCCESS) != done),
        *_found(tx, "I12", "refund", key, given_up, asked != withdrawn),
        *_found(tx, "I12", "receipt", receipts.c.transaction_id, _misreserved()),
        *_found(tx, "I9", "debt", debts.c.id, _miscounted()),
    ]


def _misreserved() -> Any:
    mine = refunds.c.transaction_id == receipts.c.transaction_id
    standing = refunds.c.status != RefundStatus.WITHDRAWN
    return receipts.c.reserved_fen != _sum(mine, standing)


def _miscounted() -> Any:
    back = debts.c.refunded_fen
    stands = case(
        (back == 0, debts.c.state.not_in((DebtState.PARTLY_REFUNDED, DebtState.REFUNDED))),
        (back == debts.c.amount_fen, debts.c.state == DebtState.REFUNDED),
        else_=debts.c.state == DebtState.PARTLY_REFUNDED,
    )
    arrived = refunds.c.status == RefundStatus.SUCCESS
    return or_(back != _sum(refunds.c.debt_id == debts.c.id, arrived), not_(stands))


def _sum(*which: Any) -> Any:
    total = select(func.coalesce(func.sum(refunds.c.amount_fen), 0)).where(*which)
    return total.scalar_subquery()


def suspense(tx: Tx) -> Sequence[Violation]:
    """What is in suspense and on its way back is so much, and is explained."""
    waiting = _scalar(tx, select(func.sum(receipts.c.amount_fen)).where(_unused()))
    taken = select(func.sum(refunds.c.amount_fen)).where(
        refunds.c.account == SUSPENSE.kind, refunds.c.status.in_(_ASKED)
    )
    pending = select(func.sum(refunds.c.amount_fen)).where(
        refunds.c.status.in_((RefundStatus.REQUESTED, RefundStatus.FAILED))
    )
    told = exists(select(incidents.c.id).where(incidents.c.subject == receipts.c.out_trade_no))
    wanted = {
        SUSPENSE: waiting - _scalar(tx, taken),
        REFUND_PENDING: _scalar(tx, pending),
    }
    return [
        *_found(tx, "I13", "receipt", receipts.c.transaction_id, _unused(), not_(told)),
        *(one for account, fen in wanted.items() for one in _holds(tx, account, fen)),
    ]


def _unused() -> Any:
    return receipts.c.debt_id.is_(None)


def _holds(tx: Tx, account: Account, wanted: int) -> Iterable[Violation]:
    """What payments have moved on an account comes to this."""
    mine = and_(
        ledger_accounts.c.owner == account.owner,
        ledger_accounts.c.kind == account.kind,
        ledger_accounts.c.asset == "CNY",
    )
    moved = (
        select(func.sum(ledger_entries.c.amount))
        .join(ledger_accounts, ledger_accounts.c.id == ledger_entries.c.account_id)
        .join(ledger_journals, ledger_journals.c.id == ledger_entries.c.journal_id)
        .where(mine, ledger_journals.c.biz.in_(_OURS))
    )
    found = _scalar(tx, moved)
    if found != wanted:
        yield Violation("I11", account.kind, f"holds {found} fen, and {wanted} are accounted for")


def nothing_forgotten(tx: Tx) -> Sequence[Violation]:
    """What is open is asked about at some time, and was not left to lie."""
    long_ago = tx.now - LATE_MS
    live = payment_attempts.c.state.in_(_LIVE)
    attempt, refund = payment_attempts.c.out_trade_no, refunds.c.out_refund_no
    asked = refunds.c.status == RefundStatus.REQUESTED
    unpaid = debts.c.state == DebtState.UNPAID
    has_live = exists(
        select(payment_attempts.c.id).where(payment_attempts.c.debt_id == debts.c.id, live)
    )
    marked = or_(debts.c.cancel_asked_at.is_not(None), debts.c.expires_at < long_ago)
    return [
        *_found(tx, "I29", "attempt", attempt, live, payment_attempts.c.next_at < long_ago),
        *_found(tx, "I29", "refund", refund, asked, refunds.c.next_at < long_ago),
        *_found(tx, "I29", "refund", refund, asked, refunds.c.next_at.is_(None)),
        *_found(tx, "I29", "debt", debts.c.id, unpaid, marked, not_(has_live)),
    ]


def scores(tx: Tx) -> Sequence[Violation]:
    """A service order that asks for a fee has its attempt, and none is left to lie."""
    order = payscore_orders.c
    key, is_open = order.out_order_no, order.phase.not_in(sorted(OVER))
    attempts = select(payment_attempts.c.id).where(payment_attempts.c.out_trade_no == key)
    its = payment_attempts.c.debt_id == order.debt_id
    live = exists(attempts.where(its, payment_attempts.c.state.in_(_LIVE)))
    asked = order.fee_fen.is_not(None)
    long_ago = tx.now - LATE_MS
    return [
        *_found(
            tx, "I13", "score", key, order.debt_id.is_not(None), not_(exists(attempts.where(its)))
        ),
        *_found(tx, "I13", "score", key, order.debt_id.is_(None), exists(attempts)),
        *_found(tx, "I13", "score", key, not_(is_open), live),
        *_found(tx, "I13", "score", key, order.debt_id.is_not(None), not_(asked)),
        *_found(tx, "I29", "score", key, is_open, order.next_at.is_(None)),
        *_found(tx, "I29", "score", key, order.next_at < long_ago),
        *_found(tx, "I29", "score", key, not_(is_open), order.next_at.is_not(None)),
    ]


def _found(tx: Tx, invariant: str, what: str, key: Any, *which: Any) -> list[Violation]:
    query: Select[Any] = select(key).where(*which).order_by(key).limit(MOST)
    text = "the payment's rows and the books do not agree"
    return [
        Violation(invariant, f"{what} {subject}", text) for subject in tx.execute(query).scalars()
    ]


def _scalar(tx: Tx, query: Any) -> int:
    return int(tx.execute(query).scalar() or 0)


CHECKS: tuple[Callable[[Tx], Sequence[Violation]], ...] = (
    debts_and_journals,
    attempts_and_receipts,
    refunds_and_journals,
    suspense,
    nothing_forgotten,
    scores,
)
