"""An order of Payscore: what WeChat says of it, and where in its life that puts it.

No field says it alone: `state`, `state_description` and `collection.state` are judged together.
Sources: doc 4012587900 and following, the published API description of /v3/payscore.
"""

from enum import StrEnum
from typing import Final

import msgspec

from payments.gateway import PaymentFact
from payments.wechat.errors import BadContent
from payments.wechat.facts import NUMBER, matching, millis
from sql.types import Millis


class Phase(StrEnum):
    """CREATED → RUNNING → COLLECTING → PAID, and the ends without money."""

    CREATED = "created"
    """Not confirmed by the user; EXPIRED after 30 days. May be cancelled."""
    RUNNING = "running"
    """The service is under way. May be completed or cancelled."""
    COLLECTING = "collecting"
    """The fee was asked for; WeChat deducts until it is paid, without a time limit."""
    PAID = "paid"
    FREE = "free"
    """Completed at no charge."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class PaidBy(StrEnum):
    WECHAT = "NEWTON"
    OUTSIDE = "MCH"
    """The user paid us otherwise, and we said so (`sync_paid`)."""


class Deduction(msgspec.Struct, frozen=True, kw_only=True):
    """One payment of a fee; transaction_id, to be refunded by, only of WeChat's own."""

    seq: int
    amount_fen: int
    paid_by: PaidBy
    paid_at: Millis | None
    transaction_id: str = ""


class ServiceOrder(msgspec.Struct, frozen=True, kw_only=True):
    """package: to be confirmed with, only in the answer that created it."""

    out_order_no: str
    appid: str
    mch_id: str
    service_id: str
    phase: Phase
    order_id: str = ""
    openid: str = ""
    package: str = ""
    total_fen: int = 0
    paid_fen: int = 0
    deductions: tuple[Deduction, ...] = ()

    def facts(self, *, source: str) -> list[PaymentFact]:
        """The money that has come in over WeChat; out_trade_no is the order's own number."""
        return [
            PaymentFact(
                out_trade_no=self.out_order_no,
                transaction_id=deduction.transaction_id,
                amount_fen=deduction.amount_fen,
                currency="CNY",
                appid=self.appid,
                mch_id=self.mch_id,
                openid=self.openid,
                paid_at=deduction.paid_at,
                source=source,
            )
            for deduction in self.deductions
            if deduction.paid_by is PaidBy.WECHAT and deduction.paid_at is not None
        ]


class _Detail(msgspec.Struct):
    seq: int = 0
    amount: int = 0
    paid_type: str = ""
    paid_time: str = ""
    transaction_id: str = ""


class _Collection(msgspec.Struct):
    state: str = ""
    paid_amount: int = 0
    details: list[_Detail] = []


class OrderMessage(msgspec.Struct):
    """The JSON of an order, in answers and in callbacks. Everything may be missing."""

    out_order_no: str = ""
    appid: str = ""
    mchid: str = ""
    service_id: str = ""
    state: str = ""
    state_description: str = ""
    order_id: str = ""
    openid: str = ""
    package: str = ""
    total_amount: int = 0
    need_collection: bool = False
    collection: _Collection = msgspec.field(default_factory=_Collection)


def order_within(message: OrderMessage) -> ServiceOrder:
    """Raises BadContent for a state that is not known, and for amounts that cannot be."""
    collection = message.collection
    if message.total_amount < 0 or collection.paid_amount < 0:
        raise BadContent("an amount below nothing")
    return ServiceOrder(
        out_order_no=matching({"out_order_no": message.out_order_no}, "out_order_no", NUMBER),
        appid=message.appid,
        mch_id=message.mchid,
        service_id=message.service_id,
        phase=phase_of(message),
        order_id=message.order_id,
        openid=message.openid,
        package=message.package,
        total_fen=message.total_amount,
        paid_fen=collection.paid_amount,
        deductions=tuple(_deduction(detail) for detail in collection.details if _is_paid(detail)),
    )


_ENDS: Final = {"REVOKED": Phase.CANCELLED, "EXPIRED": Phase.EXPIRED}
_DOING: Final = {"USER_CONFIRM": Phase.RUNNING, "MCH_COMPLETE": Phase.COLLECTING}


def phase_of(message: OrderMessage) -> Phase:
    """Final only when all three fields agree that it is. Raises BadContent."""
    collected = message.collection.state
    if collected not in {"", "USER_PAYING", "USER_PAID"}:
        raise BadContent("a collection's state that is not known")
    if message.state == "CREATED":
        return Phase.CREATED
    if message.state in _ENDS:
        return _ENDS[message.state]
    if message.state == "DOING":
        phase = _DOING.get(message.state_description)
        if phase is None:
            raise BadContent("a state_description that is not known")
        # Money is being asked for, whatever the description still says.
        return Phase.COLLECTING if collected else phase
    if message.state == "DONE":
        return _how_done(message)
    raise BadContent("an order's state that is not known")


def _how_done(message: OrderMessage) -> Phase:
    collection = message.collection
    if message.total_amount == collection.paid_amount == 0:
        is_free = collection.state == "USER_PAID" or not (
            collection.state or message.need_collection
        )
        return Phase.FREE if is_free else Phase.COLLECTING
    is_paid = collection.state == "USER_PAID" and collection.paid_amount >= message.total_amount
    # Done, but the money does not say so yet: to be asked again.
    return Phase.PAID if is_paid else Phase.COLLECTING


def _is_paid(detail: _Detail) -> bool:
    return bool(detail.transaction_id or detail.paid_time)


def _deduction(detail: _Detail) -> Deduction:
    by_outside = detail.paid_type == PaidBy.OUTSIDE
    if detail.amount < 0 or detail.paid_type not in set(PaidBy):
        raise BadContent("a deduction that cannot be")
    number = {"transaction_id": detail.transaction_id}
    at = {"paid_time": detail.paid_time}
    return Deduction(
        seq=detail.seq,
        amount_fen=detail.amount,
        paid_by=PaidBy(detail.paid_type),
        paid_at=millis(at, "paid_time") if detail.paid_time else None,
        transaction_id="" if by_outside else matching(number, "transaction_id", NUMBER),
    )
