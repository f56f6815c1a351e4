"""What the ledger says about payments: each event as a journal.

| event | from | to |
|---|---|---|
| a debt is paid | gateway | where the debt's money belongs |
| money nobody waits for | gateway | suspense |
| a refund is asked for | where the money is | refund:pending |
| it has arrived | refund:pending | gateway |
| it is withdrawn | the asking taken back | |
"""

from collections.abc import Sequence

from payments.ledger.model import (
    GATEWAY,
    REFUND_PENDING,
    SUSPENSE,
    Account,
    Asset,
    Line,
    Posting,
)
from payments.ledger.store import post_many
from payments.model import Debt, Receipt, Refund
from sql.database import Tx

DEBT = "debt"
LATE = "late"
REFUND = "refund"
PAID, RECEIVED, ASKED, DONE, WITHDRAWN = "paid", "received", "asked", "done", "withdrawn"


def enter(tx: Tx, postings: Sequence[Posting]) -> None:
    """Enter them all, or raise what the first that is refused raised."""
    for outcome in post_many(tx, postings):
        if isinstance(outcome, Exception):
            raise outcome


def paid(debt: Debt, receipt: Receipt) -> Posting:
    to = Account(debt.account_owner, debt.account)
    return Posting(DEBT, str(debt.id), PAID, _move(GATEWAY, to, receipt.amount_fen), debt.kind)


def unexpected(receipt: Receipt) -> Posting:
    moved = _move(GATEWAY, SUSPENSE, receipt.amount_fen)
    return Posting(LATE, receipt.transaction_id, RECEIVED, moved, receipt.out_trade_no)


def asked(refund: Refund) -> Posting:
    moved = _move(_source(refund), REFUND_PENDING, refund.amount_fen)
    return Posting(REFUND, refund.out_refund_no, ASKED, moved, refund.out_trade_no)


def done(refund: Refund) -> Posting:
    moved = _move(REFUND_PENDING, GATEWAY, refund.amount_fen)
    return Posting(REFUND, refund.out_refund_no, DONE, moved, refund.out_trade_no)


def withdrawn(refund: Refund, journal_id: int) -> Posting:
    """Takes back the journal of its asking, which was asked(refund)."""
    moved = _move(REFUND_PENDING, _source(refund), refund.amount_fen)
    return Posting(
        REFUND, refund.out_refund_no, WITHDRAWN, moved, refund.out_trade_no, reverses=journal_id
    )


def _source(refund: Refund) -> Account:
    return Account(refund.account_owner, refund.account)


def _move(source: Account, to: Account, amount: int) -> tuple[Line, ...]:
    return Line(source, Asset.CNY, -amount), Line(to, Asset.CNY, amount)
