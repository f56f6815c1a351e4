"""Orders by version 2; refunds by the version that can."""

from typing import Any

import msgspec
import pytest

from payments.gateway import (
    BillRow,
    Placed,
    PlaceOrder,
    Queried,
    Reaction,
    Refunded,
    RefundOrder,
    RefundState,
    Refused,
    TradeState,
    TradeType,
)
from payments.wechat.combined import CombinedGateway

ORDER = PlaceOrder(
    out_trade_no="P1",
    amount_fen=1,
    description="续费",
    trade_type=TradeType.NATIVE,
    client_ip="127.0.0.1",
    starts_at=0,
    expires_at=1,
)
REFUND = RefundOrder(
    out_trade_no="P1",
    transaction_id="42",
    out_refund_no="R1",
    total_fen=1,
    refund_fen=1,
    reason="",
)


class Version:
    """A gateway that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def place(self, order: PlaceOrder) -> Placed:
        self.asked.append(f"place {order.out_trade_no}")
        return Placed("prepay")

    async def query(self, out_trade_no: str, *, appid: str = "") -> Queried:
        self.asked.append(f"query {out_trade_no} {appid}".strip())
        return Queried(TradeState.NOT_PAID)

    async def close(self, out_trade_no: str, *, appid: str = "") -> None:
        self.asked.append(f"close {out_trade_no} {appid}".strip())

    async def refund(self, order: RefundOrder) -> Refunded:
        self.asked.append(f"refund {order.out_refund_no}")
        return Refunded(out_refund_no="R1", state=RefundState.PROCESSING)

    async def query_refund(self, out_refund_no: str) -> Refunded:
        self.asked.append(f"query_refund {out_refund_no}")
        return Refunded(out_refund_no="R1", state=RefundState.PROCESSING)

    async def bill(self, day: int) -> list[BillRow]:
        self.asked.append(f"bill {day}")
        return []

    def request_payment(self, prepay_id: str, *, now: int, appid: str = "") -> dict[str, Any]:
        return {"package": prepay_id, "timeStamp": str(now), "appid": appid}


async def test_with_a_certificate_version_2_refunds() -> None:
    v2, v3 = Version(), Version()
    gateway = CombinedGateway(v2, has_certificate=True, v3=v3)

    await gateway.refund(REFUND)
    await gateway.query_refund("R1")

    assert (v2.asked, v3.asked) == (["refund R1", "query_refund R1"], [])


async def test_without_one_version_3_refunds() -> None:
    v2, v3 = Version(), Version()
    gateway = CombinedGateway(v2, has_certificate=False, v3=v3)

    await gateway.refund(REFUND)
    await gateway.query_refund("R1")

    assert (v2.asked, v3.asked) == ([], ["refund R1", "query_refund R1"])


async def test_without_either_refunds_are_refused_but_still_followed() -> None:
    v2 = Version()
    gateway = CombinedGateway(v2, has_certificate=False, v3=None)

    with pytest.raises(Refused) as refused:
        await gateway.refund(REFUND)
    await gateway.query_refund("R1")

    assert refused.value.reaction is Reaction.STOP
    assert v2.asked == ["query_refund R1"]


async def test_what_was_deducted_goes_back_by_version_3_whatever_there_is() -> None:
    v2, v3 = Version(), Version()
    deduction = msgspec.structs.replace(REFUND, is_deduction=True)
    gateway = CombinedGateway(v2, has_certificate=True, v3=v3)

    await gateway.refund(deduction)
    await gateway.query_refund("R1", is_deduction=True)
    with pytest.raises(Refused) as refused:
        await CombinedGateway(v2, has_certificate=True, v3=None).refund(deduction)

    assert (v2.asked, v3.asked) == ([], ["refund R1", "query_refund R1"])
    assert refused.value.reaction is Reaction.STOP


async def test_all_else_is_version_2s() -> None:
    v2, v3 = Version(), Version()
    gateway = CombinedGateway(v2, has_certificate=False, v3=v3)

    await gateway.place(ORDER)
    await gateway.query("P1", appid="wx2")
    await gateway.close("P1", appid="wx2")
    await gateway.bill(20261119)

    asked = gateway.request_payment("p", now=7, appid="wx2")
    assert asked == {"package": "p", "timeStamp": "7", "appid": "wx2"}
    assert v2.asked == ["place P1", "query P1 wx2", "close P1 wx2", "bill 20261119"]
    assert v3.asked == []
