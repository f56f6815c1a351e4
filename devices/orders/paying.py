"""A buyer pays what is open of an order: at once in tickets, or by WeChat in the mini-program."""

from devices.orders import money
from devices.orders.model import (
    DEBT,
    Charge,
    ChargeKind,
    ChargeState,
    Means,
    NothingToPay,
    Order,
    OrderNotFound,
    OrderState,
    PaymentOpen,
    Rules,
    TicketsShort,
)
from devices.orders.rows import store as rows
from devices.orders.rows.store import Chain
from devices.orders.settle import Settling
from devices.orders.shares import plan, tally
from payments.store import load_debt, owe, see_running
from sql.database import Tx
from sql.types import Millis

_PAYABLE = frozenset({OrderState.UNPAID, OrderState.CHARGING})


def pay_with_tickets(tx: Tx, order_id: int, account_id: int, rules: Rules) -> Order:
    """All that is open, or nothing. Payscore, if it is deducting, is told to let it be.

    Raises OrderNotFound, NothingToPay, PaymentOpen, TicketsShort, PaymentsStopped.
    """
    see_running(tx)
    chain, order, needed = _open(tx, order_id, account_id)
    if open_payment(chain, order) is not None:
        raise PaymentOpen
    if money.take_tickets(tx, chain, order, needed, is_whole=True) < needed:
        raise TicketsShort
    money.give_up_others(tx, chain, order)
    Settling(tx, chain, rules).run()
    return chain.order(order_id)


def begin_payment(tx: Tx, order_id: int, account_id: int, *, expires_at: Millis) -> int:
    """The debt by which WeChat is paid what is open: that of before while it is right.

    Raises OrderNotFound, NothingToPay, PaymentOpen, PaymentsStopped.
    """
    see_running(tx)
    chain, order, needed = _open(tx, order_id, account_id)
    known = open_payment(chain, order)
    if known is not None:
        if known.debt_id is None or not _serves(tx, known, needed):
            raise PaymentOpen
        return known.debt_id
    debt = owe(
        tx,
        kind=DEBT,
        subject=order.id,
        payer_id=account_id,
        amount_fen=needed,
        description=f"智能柜订单 {order.no}"[:40],
        expires_at=expires_at,
    )
    money.add_capture(tx, chain, order, needed, debt_id=debt.id)
    return debt.id


def wrong_payment(tx: Tx, order_id: int, account_id: int, *, with_tickets: bool) -> int:
    """The debt that has to be closed before this order can be paid in another way; 0: none.

    Raises OrderNotFound, NothingToPay.
    """
    chain, order, needed = _open(tx, order_id, account_id)
    known = open_payment(chain, order)
    if known is None or known.debt_id is None:
        return 0
    return known.debt_id if with_tickets or not _serves(tx, known, needed) else 0


def _serves(tx: Tx, known: Charge, needed: int) -> bool:
    """Whether a payment that is open can still be gone on with, and brings what is needed."""
    assert known.debt_id is not None, "a payment by hand is of a debt"
    return known.amount_fen == needed and load_debt(tx, known.debt_id).can_be_begun(tx.now)


def open_payment(chain: Chain, order: Order) -> Charge | None:
    """The payment by hand that is on its way."""
    return next(
        (
            charge
            for charge in chain.charges_of(order)
            if charge.kind is ChargeKind.CAPTURE
            and charge.state is ChargeState.PENDING
            and charge.means is Means.WECHAT
        ),
        None,
    )


def _open(tx: Tx, order_id: int, account_id: int) -> tuple[Chain, Order, int]:
    """One's own order, locked, and what is open of it."""
    chain = rows.lock_chain(tx, order_id)
    order = chain.order(order_id)
    if order.account_id != account_id:
        raise OrderNotFound
    needed = plan(order.due_fen, tally(chain.charges_of(order))).needed_fen
    if order.state not in _PAYABLE or not needed:
        raise NothingToPay
    return chain, order, needed
