"""What is promised to a debt, and what happens in the transaction that pays or refunds it."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Row, bindparam, insert, select, update

from payments.gateway import PaymentFact
from payments.model import Debt, Refund
from payments.scans.model import NotForSale
from payments.store import must_be, owe
from queueing.model import NotYourStall, Stall, StallNotFound
from queueing.stalls import store as stalls
from queueing.stalls.model import Renewal
from queueing.store import load_stalls
from sql.database import Tx
from sql.tables.queueing import stall_purchases

# The kind of our debts.
MONTHS = "stall_months"

# What one payment may buy.
MONTHS_MAX = 36


def owe_months(
    tx: Tx, *, stall_id: int, seller: int, months: int, price_fen: int, expires_at: int
) -> Debt:
    """Let the stall's seller owe for months. Raises StallNotFound, NotYourStall."""
    stall = load_stalls(tx, [stall_id]).get(stall_id)
    if stall is None:
        raise StallNotFound
    if seller not in stall.sellers:
        raise NotYourStall
    return _owe(
        tx, stall, payer_id=seller, months=months, price_fen=price_fen, expires_at=expires_at
    )


def owe_scanned(tx: Tx, numbers: tuple[int, ...], *, price_fen: int, expires_at: int) -> Debt:
    """Let whoever has scanned a stall's code owe for months: (stall, months). Raises NotForSale.

    Nobody of ours is the payer: a phone is no account, and anybody may pay for a stall.
    """
    if len(numbers) != 2 or numbers[1] > MONTHS_MAX:
        raise NotForSale("没有这个商品")
    stall_id, months = numbers
    stall = load_stalls(tx, [stall_id]).get(stall_id)
    if stall is None:
        raise NotForSale("没有这个摊位")
    if stall.disabled:
        raise NotForSale("这个摊位已停用")
    return _owe(tx, stall, payer_id=0, months=months, price_fen=price_fen, expires_at=expires_at)


def _owe(
    tx: Tx, stall: Stall, *, payer_id: int, months: int, price_fen: int, expires_at: int
) -> Debt:
    debt = owe(
        tx,
        kind=MONTHS,
        subject=stall.id,
        payer_id=payer_id,
        amount_fen=months * price_fen,
        description=f"{stall.name} {months}个月"[:40],
        expires_at=expires_at,
    )
    row = {
        "debt_id": debt.id,
        "stall_id": stall.id,
        "months": months,
        "bought_at": tx.now,
        "delivered_at": None,
        "taken_back": 0,
    }
    tx.execute(insert(stall_purchases), row)
    return debt


_PURCHASES = (
    select(
        stall_purchases.c.debt_id,
        stall_purchases.c.months,
        stall_purchases.c.delivered_at,
        stall_purchases.c.taken_back,
    )
    .where(stall_purchases.c.debt_id.in_(bindparam("ids", expanding=True)))
    .order_by(stall_purchases.c.debt_id)
    .with_for_update()
)
_DELIVER = (
    update(stall_purchases)
    .where(
        stall_purchases.c.debt_id.in_(bindparam("ids", expanding=True)),
        stall_purchases.c.delivered_at.is_(None),
    )
    .values(delivered_at=bindparam("now"))
)


def deliver(tx: Tx, paid: Sequence[tuple[Debt, PaymentFact]]) -> set[int]:
    """These debts are paid: add the months, once.

    Returns the debts that cannot be delivered: nothing was promised, or the stall is gone.
    """
    promised = _purchases(tx, [debt.id for debt, _ in paid])
    failed = {debt.id for debt, _ in paid} - promised.keys()
    due = {
        debt.id: Renewal(
            debt.subject,
            promised[debt.id].months,
            f"paid, {fact.out_trade_no}",
            debt.payer_id,
        )
        for debt, fact in paid
        if debt.id in promised and promised[debt.id].delivered_at is None
    }
    balances = stalls.renew_many(tx, list(due.values()))
    gone = {id_ for id_, balance in zip(due, balances, strict=True) if balance is None}
    delivered = sorted(due.keys() - gone)
    if delivered:
        changed = tx.execute(_DELIVER, {"ids": delivered, "now": tx.now})
        must_be(changed.rowcount, len(delivered))
    return failed | gone


def take_back(tx: Tx, debt: Debt, _refund: Refund) -> None:
    """Some of the money went back: so do as many whole months, as far as they are left.

    A month that has been charged since was used; it stays charged.
    """
    row = _purchases(tx, [debt.id]).get(debt.id)
    if row is None or row.delivered_at is None or not debt.amount_fen:
        return
    due = row.months * debt.refunded_fen // debt.amount_fen - row.taken_back
    if due > 0:
        # A stall that is gone has no months left; the money goes back all the same.
        with suppress(StallNotFound):
            stalls.take_months(
                tx, debt.subject, months=due, reason=f"refunded, debt {debt.id}", by=0
            )
        tx.execute(
            update(stall_purchases)
            .where(stall_purchases.c.debt_id == debt.id)
            .values(taken_back=row.taken_back + due)
        )


def _purchases(tx: Tx, debt_ids: Sequence[int]) -> dict[int, Row[Any]]:
    """By debt, locked; what nothing was promised for is left out."""
    return {row.debt_id: row for row in tx.execute(_PURCHASES, {"ids": sorted(debt_ids)})}


def owe_once(
    tx: Tx, stall_id: int, seller: int, months: int, price_fen: int, expires_at: int
) -> str:
    """As owe_months, the debt's id as the text that a repeat of the key is answered with."""
    debt = owe_months(
        tx,
        stall_id=stall_id,
        seller=seller,
        months=months,
        price_fen=price_fen,
        expires_at=expires_at,
    )
    return str(debt.id)
