"""What the merchant says of a Payscore order, and what a Payscore order is.

Source: WeChat Pay V3, Payscore, «创建支付分订单», «完结», «修改», «取消», «同步».
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from simulators.wechat.pay import times
from simulators.wechat.pay.merchant import MCH_ID

Number = Annotated[str, Meta(pattern=r"^[0-9A-Za-z_\-|*]{1,32}$")]
Id = Annotated[str, Meta(min_length=1, max_length=32)]
Word = Annotated[str, Meta(min_length=1, max_length=20)]
Remark = Annotated[str, Meta(max_length=30)]
Reason = Annotated[str, Meta(min_length=1, max_length=30)]
Fen = Annotated[int, Meta(ge=0)]
ON_ACCEPT = "OnAccept"

State = Literal["CREATED", "DOING", "DONE", "REVOKED", "EXPIRED"]
Collection = Literal["", "USER_PAYING", "USER_PAID"]


class Fee(msgspec.Struct, omit_defaults=True):
    """amount: of the whole item, however many were counted."""

    name: Word
    amount: Fen
    description: Remark = ""
    count: Annotated[int, Meta(ge=1, le=100)] = 1


Payments = Annotated[list[Fee], Meta(min_length=1, max_length=100)]
Discounts = Annotated[list[Fee], Meta(max_length=30)]


class TimeRange(msgspec.Struct, omit_defaults=True, frozen=True):
    start_time: str = ""
    end_time: str = ""
    start_time_remark: Annotated[str, Meta(max_length=20)] = ""
    end_time_remark: Annotated[str, Meta(max_length=20)] = ""


class RiskFund(msgspec.Struct, omit_defaults=True):
    """With ESTIMATE_ORDER_COST the service's cap limits the end; else this amount does."""

    name: Literal["DEPOSIT", "ADVANCE", "CASH_DEPOSIT", "ESTIMATE_ORDER_COST"]
    amount: Annotated[int, Meta(ge=1)]
    description: Remark = ""


class Location(msgspec.Struct, omit_defaults=True):
    start_location: Annotated[str, Meta(max_length=50)] = ""
    end_location: Annotated[str, Meta(max_length=50)] = ""


class Device(msgspec.Struct, omit_defaults=True):
    start_device_id: Annotated[str, Meta(max_length=64)] = ""
    end_device_id: Annotated[str, Meta(max_length=64)] = ""
    materiel_no: Annotated[str, Meta(max_length=64)] = ""


class Create(msgspec.Struct):
    out_order_no: Number
    appid: Id
    service_id: Id
    service_introduction: Word
    time_range: TimeRange
    risk_fund: RiskFund
    notify_url: str
    post_payments: Annotated[list[Fee], Meta(max_length=100)] = []
    post_discounts: Discounts = []
    location: Location | None = None
    attach: Annotated[str, Meta(max_length=256)] = ""
    need_user_confirm: bool = True
    openid: Annotated[str, Meta(max_length=128)] = ""
    device: Device | None = None


class Named(msgspec.Struct):
    """Which service's order is meant; the appid must be the one of the creation."""

    appid: Id
    service_id: Id


class Complete(Named):
    post_payments: Payments
    total_amount: Fen
    post_discounts: Discounts = []
    time_range: TimeRange = TimeRange()
    location: Location | None = None
    profit_sharing: bool = False
    goods_tag: Annotated[str, Meta(max_length=32)] = ""
    device: Device | None = None


class Modify(Named):
    post_payments: Payments
    total_amount: Fen
    reason: Annotated[str, Meta(min_length=1, max_length=50)]
    post_discounts: Discounts = []


class Cancel(Named):
    reason: Reason


class Paid(msgspec.Struct):
    paid_time: Annotated[str, Meta(pattern=r"^\d{14}$")]


class Sync(Named):
    type: Literal["Order_Paid"]
    detail: Paid


class ScoreOrder(msgspec.Struct):
    """`created` is what the creation said; complete, modify and sync change the rest."""

    created: Create
    order_id: str
    package: str
    query_id: str
    created_s: float
    state: State = "CREATED"
    state_description: str = ""
    openid: str = ""
    time_range: TimeRange = TimeRange()
    post_payments: list[Fee] = []
    post_discounts: list[Fee] = []
    location: Location | None = None
    total_amount: int | None = None
    completed: Complete | None = None
    collection: Collection = ""
    cancel_reason: str = ""
    paid_fen: int = 0
    paid_time: str = ""
    paid_type: str = ""
    transaction_id: str = ""
    deduct_failures: int = 0

    @property
    def number(self) -> str:
        return self.created.out_order_no

    @property
    def is_running(self) -> bool:
        return (self.state, self.state_description) == ("DOING", "USER_CONFIRM")

    @property
    def is_waiting_for_money(self) -> bool:
        return self.collection == "USER_PAYING"

    def short(self) -> dict[str, Any]:
        """What the smaller interfaces answer."""
        return {
            "appid": self.created.appid,
            "mchid": MCH_ID,
            "out_order_no": self.number,
            "service_id": self.created.service_id,
            "order_id": self.order_id,
        }

    def shown(self) -> dict[str, Any]:
        """The order as a query and a notification tell it."""
        created = self.created
        said: dict[str, Any] = self.short() | {
            "service_introduction": created.service_introduction,
            "state": self.state,
            "state_description": self.state_description,
            "post_payments": self.post_payments,
            "post_discounts": self.post_discounts,
            "risk_fund": created.risk_fund,
            "time_range": self.time_range,
            "location": self.location,
            "attach": created.attach,
            "notify_url": created.notify_url,
            "openid": self.openid,
            "total_amount": self.total_amount,
            "need_collection": None if self.total_amount is None else self.total_amount > 0,
            "collection": self._collection(),
        }
        plain: dict[str, Any] = msgspec.to_builtins(said)
        return {name: value for name, value in plain.items() if value not in (None, "", [])}

    def _collection(self) -> dict[str, Any] | None:
        if not self.collection:
            return None
        total = self.total_amount or 0
        said: dict[str, Any] = {
            "state": self.collection,
            "total_amount": total,
            "paying_amount": total - self.paid_fen if self.is_waiting_for_money else 0,
            "paid_amount": self.paid_fen,
        }
        if self.paid_type:
            detail = {
                "seq": 1,
                "amount": self.paid_fen,
                "paid_type": self.paid_type,
                "paid_time": self.paid_time,
                "transaction_id": self.transaction_id,
            }
            said["details"] = [{n: v for n, v in detail.items() if v != ""}]
        return said


def start_of(text: str) -> float | None:
    """Seconds, or None for OnAccept. Raises ValueError."""
    return None if text == ON_ACCEPT else times.of_digits(text)
