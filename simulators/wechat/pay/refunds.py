"""Money that goes back: one book for V2's and V3's refunds, since a number counts for both."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Literal

import msgspec

from simulators.agenda import Agenda
from simulators.clock import VirtualClock
from simulators.wechat.pay import times
from simulators.wechat.pay.errors import Refusal
from simulators.wechat.pay.orders import Order
from simulators.wechat.pay.settings import RefundResult, Settings

REFUND_UNTIL_S = 365 * times.DAY_S
REFUNDS_MAX = 50


class Refund(msgspec.Struct):
    """`state` in V2's words. A plan for it is taken up when it is accepted."""

    refund_id: str
    out_refund_no: str
    out_trade_no: str
    transaction_id: str
    appid: str
    refund_fee: int
    total_fee: int
    version: Literal["V2", "V3"]
    created_s: float
    book_no: str = ""
    desc: str = ""
    notify_url: str = ""
    state: RefundResult = "PROCESSING"
    done_s: float = 0.0

    @property
    def binds_money(self) -> bool:
        """Whether its amount cannot be refunded by another number."""
        return self.state != "REFUNDCLOSE"


class RefundOrder(msgspec.Struct, frozen=True):
    out_refund_no: str
    refund_fee: int
    total_fee: int
    version: Literal["V2", "V3"]
    desc: str = ""
    notify_url: str = ""


class Plan(msgspec.Struct, forbid_unknown_fields=True):
    """What becomes of one refund: this result, so much later (PROCESSING: until it is settled)."""

    result: RefundResult
    after_s: float = 0.0


class Refunds:
    """`told` is called with each refund that came to its result."""

    def __init__(
        self,
        clock: VirtualClock,
        agenda: Agenda,
        settings: Settings,
        told: Callable[[Refund], None],
    ) -> None:
        self._clock = clock
        self._agenda = agenda
        self._settings = settings
        self._told = told
        self.all: dict[str, Refund] = {}
        self.plans: list[Plan] = []

    def accept(self, order: Order, asked: RefundOrder) -> Refund:
        """Once per number: the same number again with the same amounts is the same refund.

        Raises Refusal.
        """
        known = self.all.get(asked.out_refund_no)
        if known is not None:
            return self._again(known, order, asked)
        self._check(order, asked)
        refund = Refund(
            refund_id=f"5030005151{times.digits(self._clock.now_s())[:8]}{_digits(10)}",
            out_refund_no=asked.out_refund_no,
            out_trade_no=order.out_trade_no,
            transaction_id=order.transaction_id,
            appid=order.appid,
            refund_fee=asked.refund_fee,
            total_fee=asked.total_fee,
            version=asked.version,
            created_s=self._clock.now_s(),
            book_no=order.book_no,
            desc=asked.desc,
            notify_url=asked.notify_url,
        )
        order.state = "REFUND"
        order.refunds.append(refund)
        self.all[refund.out_refund_no] = refund
        self._follow(refund, self._plan())
        return refund

    def settle(self, refund: Refund, result: RefundResult) -> None:
        """Bring a refund to its result now; one that went wrong may still be put right."""
        if refund.state == "SUCCESS":
            raise ValueError("the money has gone back already")
        refund.state = result
        refund.done_s = self._clock.now_s()
        if result != "PROCESSING":
            self._told(refund)

    def again(self, refund: Refund) -> None:
        """A refund that went wrong sets out once more, another way."""
        refund.state = "PROCESSING"
        self._follow(refund, self._plan())

    def _follow(self, refund: Refund, plan: Plan) -> None:
        if plan.result == "PROCESSING":
            return

        def arrive() -> None:
            if refund.state == "PROCESSING":
                self.settle(refund, plan.result)

        self._agenda.at(self._clock.now_s() + plan.after_s, arrive)

    def _plan(self) -> Plan:
        if self.plans:
            return self.plans.pop(0)
        return Plan(self._settings.refund_result, self._settings.refund_takes_s)

    def _again(self, known: Refund, order: Order, asked: RefundOrder) -> Refund:
        is_same = known.out_trade_no == order.out_trade_no
        amounts = (asked.refund_fee, asked.total_fee)
        if not is_same or amounts != (known.refund_fee, known.total_fee):
            raise Refusal("REFUND_FEE_MISMATCH")
        return known

    def _check(self, order: Order, asked: RefundOrder) -> None:
        if not order.is_paid:
            raise Refusal("TRADE_STATE_ERROR")
        if self._clock.now_s() - order.paid_s >= REFUND_UNTIL_S:
            raise Refusal("TRADE_OVERDUE")
        if asked.total_fee != order.total_fee:
            raise Refusal("REFUND_FEE_MISMATCH", "订单金额不一致")
        if len(order.refunds) >= REFUNDS_MAX:
            raise Refusal("ERROR", "退款次数超过限制")
        bound = sum(refund.refund_fee for refund in order.refunds if refund.binds_money)
        if bound + asked.refund_fee > order.total_fee:
            raise Refusal("ERROR", "累计退款金额大于支付金额")


def _digits(count: int) -> str:
    return f"{secrets.randbelow(10**count):0{count}d}"
