"""What goes along with an order's money: sales, stock, the desk, the vendor's books, the buyer."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from commerce.sales.model import SaleLine
from commerce.sales.store import record_sale
from devices.desk import store as desk
from devices.fleet.store import load_device, load_store
from devices.orders.model import (
    ChargeKind,
    ChargeState,
    Kind,
    Lines,
    Order,
    OrderState,
    Revision,
    accepted,
    under_review,
)
from devices.orders.rows import store as rows
from devices.orders.rows.store import Chain
from devices.orders.shares import add, sold, subtract, tally
from devices.sessions.model import DoorSession
from devices.stock.store import move, uncounted
from devices.vendors.port import Item, OrderResult
from payments.money import TICKETS_PER_FEN
from payments.store import tell as tell_accounts
from sql.database import Tx
from sql.outbox import enqueue
from sql.types import Millis

CONFIRM: Final = "cabinet.confirm"
"""The parcel that tells a vendor what became of its order: {"vendor", "result": OrderResult}.

Delivered by devices/flow."""

_UNSAID: Final = frozenset({OrderState.PUSHED, OrderState.REVIEW, OrderState.CHARGING})


# ---------------------------------------------------------------- sales


def book(tx: Tx, chain: Chain, order: Order, step: str) -> None:
    """Bring the history of sales to what has come in for an order, and for which goods.

    Each charge that is done is a step of its own; what changes without money is the revision's.
    """
    charges = chain.charges_of(order)
    before = rows.booked(tx, order)
    was_fen = sum(line.amount_fen for line in before)
    known = rows.booked_steps(tx, order)
    for charge in charges:
        if charge.state is not ChargeState.DONE or charge.no in known:
            continue
        is_capture = charge.kind is ChargeKind.CAPTURE
        was_fen += charge.amount_fen if is_capture else -charge.amount_fen
        before = _book_step(tx, order, charge.no, before, was_fen, is_tickets=charge.tickets > 0)
    money = tally(charges)
    is_still = money.captured_fen - money.back_fen == was_fen
    if money.captured_fen and is_still:
        _book_step(tx, order, step, before, was_fen, is_tickets=order.pay_with == "ticket")


def _book_step(
    tx: Tx, order: Order, step: str, before: Lines, net_fen: int, *, is_tickets: bool
) -> Lines:
    is_nothing = not order.lines and not net_fen
    target = () if is_nothing else sold(order.lines, net_fen, before)
    change = subtract(target, before)
    if change:
        device = load_device(tx, order.device_id)
        store = load_store(tx, order.store_id)
        record_sale(
            tx,
            biz=rows.BIZ,
            biz_no=order.no,
            step=step,
            store_code=store.code,
            device_code=device.code,
            paid_by="ticket" if is_tickets else "wechat",
            lines=[
                SaleLine(
                    sku=line.sku,
                    name=line.name,
                    quantity=line.quantity,
                    amount_fen=line.amount_fen,
                    tickets=line.amount_fen * TICKETS_PER_FEN if is_tickets else 0,
                )
                for line in change
            ],
        )
    return target


# ---------------------------------------------------------------- stock


def move_stock(
    tx: Tx, chain: Chain, target: Revision, change: Mapping[str, int], *, by: int
) -> None:
    """The goods that are taken leave the shelf, whoever pays; what was not taken is there still.

    Whoever has counted since the door was closed has seen the shelf without them.
    """
    main, session = chain.main, chain.session
    assert session is not None, "nobody's goods are no order's"
    lines = uncounted(
        tx,
        main.device_id,
        session.door_no,
        {sku: -quantity for sku, quantity in change.items()},
        session_id=session.id,
        begun_at=session.requested_at,
        over_at=_over_at(session),
    )
    move(
        tx,
        main.device_id,
        session.door_no,
        lines,
        kind="correction" if main.rev else "sale",
        ref=main.no,
        once_key=f"{main.no}:{target.rev}.{target.n}",
        by=by,
    )


def _over_at(session: DoorSession) -> Millis | None:
    """When nothing was taken any more; None where the door was seen open, and never closed."""
    is_unseen = session.opened_at is None and session.closed_at is None
    return session.requested_at if is_unseen else session.closed_at


# ---------------------------------------------------------------- the desk


def raise_exception(
    tx: Tx, chain: Chain, kind: str, subject: str, text: str, *, severity: str
) -> int:
    main = chain.main
    return desk.raise_exception(
        tx,
        kind,
        subject,
        severity=severity,
        text=text[:400],
        store_id=main.store_id,
        device_id=main.device_id,
        order_id=main.id,
        session_id=main.session_id,
    )


# ---------------------------------------------------------------- the vendor


def confirm(tx: Tx, chain: Chain) -> None:
    """Let the vendor know what became of its order, each time that it is something else."""
    main = chain.main
    target = accepted(chain.revisions)
    is_open = any(order.state in _UNSAID for order in chain.orders)
    if main.vendor_order_no is None or target is None or is_open:
        return
    if under_review(chain.revisions):
        return
    lines = add(*(order.lines for order in chain.orders))
    due_fen = sum(order.due_fen for order in chain.orders)
    told = OrderResult(
        vendor_order_no=main.vendor_order_no,
        order_no=main.no,
        # What we have decided has a number that the vendor does not know.
        rev=max(each.rev for each in chain.revisions if not each.is_by_staff),
        result=_result(chain, lines, due_fen),
        due_fen=due_fen,
        net_paid_fen=sum(order.net_fen for order in chain.orders),
        items=tuple(
            Item(sku=line.sku, quantity=line.quantity, price_fen=line.price_fen, name=line.name)
            for line in lines
        ),
        at=tx.now,
    )
    said = f"{target.rev}.{target.n}:{told.result}:{told.due_fen}:{told.net_paid_fen}"
    payload = {"vendor": main.vendor, "result": msgspec.to_builtins(told)}
    enqueue(tx, CONFIRM, payload, key=f"{confirm_keys(main.vendor, main.no)}{said}")


def confirm_keys(vendor: str, order_no: str) -> str:
    """What the keys of all such parcels about an order begin with; the newest one counts."""
    return f"{CONFIRM}:{vendor}:{order_no}:"


def _result(chain: Chain, lines: Lines, due_fen: int) -> Any:
    main = chain.main
    if main.state is OrderState.EMPTY:
        return "cancelled"
    if any(order.state in {OrderState.UNPAID, OrderState.WAIVED} for order in chain.orders):
        return "unpaid"
    if not due_fen or due_fen != sum(line.quantity * line.price_fen for line in lines):
        # Some of it was let off: the goods are worth more than what is due.
        return "refunded"
    return "corrected" if main.kind is Kind.CORRECTED else "paid"


# ---------------------------------------------------------------- the buyer


def tell(tx: Tx, chain: Chain, was: Mapping[int, OrderState]) -> None:
    """Tell the buyer of each order that has come to another state, on the stream of the account."""
    told = [
        (order.account_id, f"cabinet_order.{order.state}", _news(order))
        for order in chain.orders
        if order.account_id and was.get(order.id) is not order.state
    ]
    if told:
        tell_accounts(tx, told)


def _news(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.id,
        "no": order.no,
        "kind": order.kind,
        "related_no": order.related_no,
        "session_id": order.session_id,
        "state": order.state,
        "due_fen": order.due_fen,
        "paid_fen": order.paid_fen,
        "refunded_fen": order.refunded_fen,
    }
