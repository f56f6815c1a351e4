"""What crosses a wire about cabinet orders. Amounts are fen, times RFC 3339."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from commerce.members.phones import masked
from devices.orders.model import (
    Charge,
    ChargeKind,
    ChargeState,
    Kind,
    Line,
    Means,
    Order,
    OrderState,
    PayWith,
    Revision,
    Verdict,
    Why,
)
from devices.orders.rows.store import Chain, Seen
from devices.vendors.port import Certainty
from payments.money import TICKETS_PER_FEN
from sql.types import Millis

# No control characters, and not only spaces; it is shown to the buyer by WeChat as well.
_LINE = r"^(?=.*\S)[^\x00-\x1f\x7f]*(?!\n)$"

Reason = Annotated[str, Meta(min_length=1, max_length=80, pattern=_LINE)]
Sku = Annotated[str, Meta(min_length=1, max_length=50)]
Quantity = Annotated[int, Meta(ge=0, le=1000)]
Fen = Annotated[int, Meta(ge=1, le=10_000_000_000)]

# ---------------------------------------------------------------- requests


class ItemIn(msgspec.Struct, frozen=True):
    sku: Sku
    quantity: Quantity


Items = Annotated[tuple[ItemIn, ...], Meta(max_length=200)]


class PayNew(msgspec.Struct, frozen=True, rename={"means": "with"}):
    means: PayWith


class Correction(msgspec.Struct, frozen=True):
    """items: all that was taken, not only what is changed. version: of the order as you saw it."""

    items: Items
    version: Annotated[int, Meta(ge=1)]
    reason: Reason


class RefundNew(msgspec.Struct, frozen=True):
    """amount_fen: without it all that is left."""

    reason: Reason
    amount_fen: Fen | UnsetType = UNSET


class Waiver(msgspec.Struct, frozen=True):
    reason: Reason


def quantities_of(items: tuple[ItemIn, ...]) -> dict[str, int]:
    """How many of each; what is listed twice counts twice."""
    found: dict[str, int] = {}
    for item in items:
        found[item.sku] = found.get(item.sku, 0) + item.quantity
    return found


# ---------------------------------------------------------------- answers


class OrderOut(msgspec.Struct, frozen=True, kw_only=True):
    """related_no: of a supplement, the order it is of. to_pay_fen: what is open of it now, and
    to_pay_tickets the same in tickets."""

    id: int
    no: str
    kind: Kind
    related_no: str
    session_id: int | None
    device_id: int
    store_id: int
    pay_with: PayWith
    state: OrderState
    due_fen: int
    paid_fen: int
    refunded_fen: int
    to_pay_fen: int
    to_pay_tickets: int
    lines: tuple[Line, ...]
    ordered_at: str
    paid_at: str | None


class OwnOrderOut(OrderOut, frozen=True, kw_only=True):
    """related: the other orders of the same session."""

    related: list[OrderOut]


class PaidOut(msgspec.Struct, frozen=True, kw_only=True):
    """wx_request_payment: the arguments of wx.requestPayment; tickets need none, they are taken."""

    order: OrderOut
    out_trade_no: str = ""
    wx_request_payment: dict[str, Any] | UnsetType = UNSET


class StaffOrderOut(OrderOut, frozen=True, kw_only=True):
    """phone: its last four digits. wechat_fen, tickets: how it was paid."""

    account_id: int
    phone: str
    vendor: str
    vendor_order_no: str | None
    wechat_fen: int
    tickets: int
    rev: int
    version: int


class RevisionOut(msgspec.Struct, frozen=True, kw_only=True):
    """lines: at our prices; items, candidates: as the vendor has recognised them."""

    rev: int
    n: int
    source: str
    certainty: Certainty
    verdict: Verdict
    why: Why
    total_fen: int
    allowance_fen: int
    lines: tuple[Line, ...]
    items: list[dict[str, Any]]
    candidates: list[dict[str, Any]]
    abnormal: list[str]
    video: str
    reason: str
    at: str


class ChargeOut(msgspec.Struct, frozen=True, kw_only=True):
    no: str
    order_id: int
    kind: ChargeKind
    means: Means
    state: ChargeState
    amount_fen: int
    tickets: int
    refund_no: str | None
    reason: str
    by_account: int
    created_at: str
    ended_at: str | None


class StaffDetailOut(StaffOrderOut, frozen=True, kw_only=True):
    """chain: all orders of the session, this one among them; present_fen: what they come to.

    version: of the whole chain, to be sent with a correction.
    """

    present_fen: int
    chain: list[StaffOrderOut]
    revisions: list[RevisionOut]
    charges: list[ChargeOut]


def order_out(order: Order) -> OrderOut:
    return OrderOut(**_shown(order))


def own_order_out(chain: Chain, order_id: int) -> OwnOrderOut:
    others = [order_out(each) for each in chain.orders if each.id != order_id]
    return OwnOrderOut(**_shown(chain.order(order_id)), related=others)


def staff_order_out(seen: Seen) -> StaffOrderOut:
    return StaffOrderOut(**_shown(seen.order), **_inner(seen))


def staff_detail_out(chain: Chain, order_id: int, phone_tail: str) -> StaffDetailOut:
    seen = Seen(chain.order(order_id), phone_tail)
    return StaffDetailOut(
        **_shown(seen.order),
        **{**_inner(seen), "version": chain.main.version},
        present_fen=sum(order.due_fen for order in chain.orders),
        chain=[staff_order_out(Seen(order, phone_tail)) for order in chain.orders],
        revisions=[_revision_out(each) for each in chain.revisions],
        charges=[_charge_out(each) for each in chain.charges],
    )


def _shown(order: Order) -> dict[str, Any]:
    is_open = order.state in {OrderState.UNPAID, OrderState.CHARGING}
    to_pay = max(0, order.due_fen - order.net_fen) if is_open else 0
    return {
        "id": order.id,
        "no": order.no,
        "kind": order.kind,
        "related_no": order.related_no,
        "session_id": order.session_id,
        "device_id": order.device_id,
        "store_id": order.store_id,
        "pay_with": order.pay_with,
        "state": order.state,
        "due_fen": order.due_fen,
        "paid_fen": order.paid_fen,
        "refunded_fen": order.refunded_fen,
        "to_pay_fen": to_pay,
        "to_pay_tickets": to_pay * TICKETS_PER_FEN,
        "lines": order.lines,
        "ordered_at": text_of(order.ordered_at),
        "paid_at": _maybe(order.paid_at),
    }


def _inner(seen: Seen) -> dict[str, Any]:
    order = seen.order
    return {
        "account_id": order.account_id,
        "phone": masked(seen.phone_tail),
        "vendor": order.vendor,
        "vendor_order_no": order.vendor_order_no,
        "wechat_fen": order.wechat_fen,
        "tickets": order.tickets,
        "rev": order.rev,
        "version": order.version,
    }


def _revision_out(revision: Revision) -> RevisionOut:
    fact = revision.body.fact
    return RevisionOut(
        rev=revision.rev,
        n=revision.n,
        source=revision.source,
        certainty=revision.certainty,
        verdict=revision.verdict,
        why=revision.why,
        total_fen=revision.total_fen,
        allowance_fen=revision.body.allowance_fen,
        lines=revision.body.lines,
        items=[] if fact is None else msgspec.to_builtins(fact.items),
        candidates=[] if fact is None else msgspec.to_builtins(fact.candidates),
        abnormal=[] if fact is None else list(fact.abnormal),
        video="" if fact is None else fact.video,
        reason=revision.body.reason,
        at=text_of(revision.at),
    )


def _charge_out(charge: Charge) -> ChargeOut:
    return ChargeOut(
        no=charge.no,
        order_id=charge.order_id,
        kind=charge.kind,
        means=charge.means,
        state=charge.state,
        amount_fen=charge.amount_fen,
        tickets=charge.tickets,
        refund_no=charge.refund_no,
        reason=charge.reason,
        by_account=charge.by_account,
        created_at=text_of(charge.created_at),
        ended_at=_maybe(charge.ended_at),
    )


def _maybe(at: Millis | None) -> str | None:
    return None if at is None else text_of(at)


def text_of(at: Millis) -> str:
    """2026-11-20T04:05:06.789Z"""
    second, rest = divmod(at, 1000)
    return f"{datetime.fromtimestamp(second, UTC).isoformat()[:19]}.{rest:03d}Z"
