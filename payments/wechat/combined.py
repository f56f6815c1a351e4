"""One gateway out of two versions: orders by version 2, refunds by whichever can make them."""

from typing import Any, Protocol

from payments.gateway import (
    BillRow,
    Placed,
    PlaceOrder,
    Queried,
    Reaction,
    Refunded,
    RefundOrder,
    Refused,
)
from sql.types import Millis


class Orders(Protocol):
    """The half of a Gateway that takes money, and may be able to give it back."""

    async def place(self, order: PlaceOrder) -> Placed: ...
    async def query(self, out_trade_no: str, *, appid: str = "") -> Queried: ...
    async def close(self, out_trade_no: str, *, appid: str = "") -> None: ...
    async def refund(self, order: RefundOrder) -> Refunded: ...
    async def query_refund(self, out_refund_no: str) -> Refunded: ...
    async def bill(self, day: int) -> list[BillRow]: ...
    def request_payment(
        self, prepay_id: str, *, now: Millis, appid: str = ""
    ) -> dict[str, Any]: ...


class Refunds(Protocol):
    """The half of a Gateway that gives money back."""

    async def refund(self, order: RefundOrder) -> Refunded: ...
    async def query_refund(self, out_refund_no: str) -> Refunded: ...


class CombinedGateway:
    """`payments.gateway.Gateway`.

    has_certificate: orders' own gateway can refund too, and then does. v3: refunds otherwise;
    without either, refunds are Refused. What Payscore has deducted goes back by v3 alone.
    """

    def __init__(self, orders: Orders, *, has_certificate: bool, v3: Refunds | None) -> None:
        self._orders = orders
        self._v3 = v3
        self._refunds: Refunds | None = orders if has_certificate else v3

    async def place(self, order: PlaceOrder) -> Placed:
        return await self._orders.place(order)

    async def query(self, out_trade_no: str, *, appid: str = "") -> Queried:
        return await self._orders.query(out_trade_no, appid=appid)

    async def close(self, out_trade_no: str, *, appid: str = "") -> None:
        await self._orders.close(out_trade_no, appid=appid)

    async def refund(self, order: RefundOrder) -> Refunded:
        refunds = self._v3 if order.is_deduction else self._refunds
        if refunds is None:
            needed = "an APIv3 key" if order.is_deduction else "a certificate or an APIv3 key"
            raise Refused("NO_REFUNDS", f"refunds need {needed}", Reaction.STOP)
        return await refunds.refund(order)

    async def query_refund(self, out_refund_no: str, *, is_deduction: bool = False) -> Refunded:
        """Asking needs no certificate, so refunds of another time can be followed."""
        refunds = self._v3 if is_deduction else self._refunds
        return await (refunds or self._orders).query_refund(out_refund_no)

    async def bill(self, day: int) -> list[BillRow]:
        return await self._orders.bill(day)

    def request_payment(self, prepay_id: str, *, now: Millis, appid: str = "") -> dict[str, Any]:
        return self._orders.request_payment(prepay_id, now=now, appid=appid)
