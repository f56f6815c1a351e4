"""One gateway out of two versions: orders by version 2, refunds by whichever can make them."""

from typing import Any, Protocol

from payments.gateway import (
    BillRow,
    Gateway,
    Placed,
    PlaceOrder,
    Queried,
    Reaction,
    Refunded,
    RefundOrder,
    Refused,
)
from sql.types import Millis


class Refunds(Protocol):
    """The half of a Gateway that gives money back."""

    async def refund(self, order: RefundOrder) -> Refunded: ...
    async def query_refund(self, out_refund_no: str) -> Refunded: ...


class CombinedGateway:
    """`payments.gateway.Gateway`.

    has_certificate: orders' own gateway can refund too, and then does. v3: refunds otherwise;
    without either, refunds are Refused.
    """

    def __init__(self, orders: Gateway, *, has_certificate: bool, v3: Refunds | None) -> None:
        self._orders = orders
        self._refunds: Refunds | None = orders if has_certificate else v3

    async def place(self, order: PlaceOrder) -> Placed:
        return await self._orders.place(order)

    async def query(self, out_trade_no: str) -> Queried:
        return await self._orders.query(out_trade_no)

    async def close(self, out_trade_no: str) -> None:
        await self._orders.close(out_trade_no)

    async def refund(self, order: RefundOrder) -> Refunded:
        if self._refunds is None:
            raise Refused(
                "NO_REFUNDS",
                "refunds need the merchant's API certificate or an APIv3 key",
                Reaction.STOP,
            )
        return await self._refunds.refund(order)

    async def query_refund(self, out_refund_no: str) -> Refunded:
        """Asking needs no certificate, so refunds of another time can be followed."""
        return await (self._refunds or self._orders).query_refund(out_refund_no)

    async def bill(self, day: int) -> list[BillRow]:
        return await self._orders.bill(day)

    def request_payment(self, prepay_id: str, *, now: Millis) -> dict[str, Any]:
        return self._orders.request_payment(prepay_id, now=now)
