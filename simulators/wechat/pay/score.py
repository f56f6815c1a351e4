"""Payscore: use first, pay later. The state table, the deductions, and whom users let in.

CREATED → DOING/USER_CONFIRM → DOING/MCH_COMPLETE (USER_PAYING) → DONE (USER_PAID);
CREATED and DOING/USER_CONFIRM → REVOKED; CREATED → EXPIRED after thirty days.
Source: WeChat Pay V3, Payscore.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Literal

import msgspec

from simulators.agenda import Agenda
from simulators.clock import VirtualClock
from simulators.wechat.pay import times
from simulators.wechat.pay.errors import V3Refusal
from simulators.wechat.pay.merchant import APPIDS, SERVICE_ID
from simulators.wechat.pay.score_orders import (
    ON_ACCEPT,
    Cancel,
    Complete,
    Create,
    Fee,
    Modify,
    Named,
    ScoreOrder,
    Sync,
    TimeRange,
    start_of,
)
from simulators.wechat.pay.settings import Settings
from simulators.wechat.pay.v3 import BAD_PARAMETER, bad_parameter

CREATED_LIFE_S = 30 * times.DAY_S
RUNNING_MAX = 3
WRONG_APPID = 4108

Told = Literal["USER_CONFIRM", "USER_PAID"]
# The number stands at the end of the Request-Id; code and status say less.
NUMBERS: dict[int, tuple[int, str, str]] = {
    271317510: (404, "ORDER_NOT_EXIST", "查询单据不存在"),
    271302262: (400, "INVALID_REQUEST", "当前订单状态不合法"),
    271302333: (400, "INVALID_REQUEST", "当前订单状态不合法（已取消）"),
    271302332: (400, "INVALID_REQUEST", "当前订单状态不合法（等待用户确认）"),
    271316592: (400, "INVALID_REQUEST", "当前订单状态不满足撤销条件"),
    271316657: (400, "INVALID_REQUEST", "仅服务订单支付状态为待支付时，才可使用此能力"),
    271316574: (400, "INVALID_REQUEST", "支付分扣款失败"),
    271316598: (400, "INVALID_REQUEST", "订单重入参数校验失败"),
    271316637: (400, "INVALID_REQUEST", "真实结束时间小于预计开始时间"),
    271316656: (400, "INVALID_REQUEST", "总金额超过此服务的服务风险金额"),
    271302149: (400, "INVALID_REQUEST", "mch_id和appid未绑定"),
    271300099: (403, "INVALID_REQUEST", "综合评估未通过"),
    271299627: (403, "INVALID_REQUEST", "存在待处理的超时未支付订单"),
    268503786: (403, "NO_AUTH", "商户暂无权限使用此服务"),
    WRONG_APPID: (400, "INVALID_REQUEST", "appid与创建订单时不一致"),
}


def refused(number: int) -> V3Refusal:
    status, code, message = NUMBERS[number]
    return V3Refusal(status, code, message, number)


class Score:
    """All Payscore orders. `told` hears of confirmations and payments, `paid` of the money."""

    def __init__(
        self,
        clock: VirtualClock,
        agenda: Agenda,
        settings: Settings,
        told: Callable[[ScoreOrder, Told], None],
        paid: Callable[[ScoreOrder], None],
    ) -> None:
        self._clock = clock
        self._agenda = agenda
        self._settings = settings
        self._told = told
        self._paid = paid
        self.all: dict[str, ScoreOrder] = {}
        # Deductions of orders still to be completed that will fail, as the control API planned.
        self.failures_planned = 0
        self.unfit: set[str] = set()
        self.overdue: set[str] = set()

    # -------------------------------------------------------------- the merchant

    def create(self, asked: Create, *, is_permitted: bool) -> ScoreOrder:
        """The same number with the same data is the same order. Raises V3Refusal."""
        known = self.all.get(asked.out_order_no)
        if known is not None:
            if known.created != asked:
                raise refused(271316598)
            return self._aged(known)
        self._check_new(asked, is_permitted=is_permitted)
        order = ScoreOrder(
            created=asked,
            order_id=f"15151{times.digits(self._clock.now_s())}{secrets.randbelow(10**9):09d}",
            package=secrets.token_urlsafe(48),
            query_id=secrets.token_urlsafe(24),
            created_s=self._clock.now_s(),
            time_range=asked.time_range,
            post_payments=asked.post_payments,
            post_discounts=asked.post_discounts,
            location=asked.location,
        )
        self.all[order.number] = order
        if not asked.need_user_confirm:
            self._accept(order, asked.openid)
        return order

    def find(self, number: str, *, named: Named) -> ScoreOrder:
        """Raises V3Refusal."""
        order = self.all.get(number)
        if order is None or order.created.service_id != named.service_id:
            raise refused(271317510)
        if order.created.appid != named.appid:
            raise refused(WRONG_APPID)
        return self._aged(order)

    def complete(self, order: ScoreOrder, asked: Complete) -> None:
        """Ask for the money: once, and again with the same words. Raises V3Refusal."""
        if order.completed is not None:
            if order.completed != asked:
                raise refused(271316598)
            return
        if not order.is_running:
            raise refused(_wrong_state(order))
        _check_sum(asked.post_payments, asked.post_discounts, asked.total_amount)
        self._check_cap(order, asked.total_amount)
        self._check_end(order, asked.time_range)
        order.completed = asked
        order.post_payments, order.post_discounts = asked.post_payments, asked.post_discounts
        order.total_amount = asked.total_amount
        order.location = asked.location or order.location
        order.deduct_failures, self.failures_planned = self.failures_planned, 0
        self._ask_for_money(order)

    def cancel(self, order: ScoreOrder, asked: Cancel) -> None:
        """Raises V3Refusal; the same reason again changes nothing."""
        if order.state == "REVOKED":
            if order.cancel_reason != asked.reason:
                raise refused(271302333)
            return
        if order.state == "CREATED" and self._settings.created_cannot_cancel:
            raise refused(271302332)
        if order.state != "CREATED" and not order.is_running:
            raise refused(271316592)
        order.state, order.state_description = "REVOKED", "MCH_CANCEL"
        order.cancel_reason = asked.reason

    def modify(self, order: ScoreOrder, asked: Modify) -> None:
        """Only down, and only while the money is waited for. Raises V3Refusal."""
        if not order.is_waiting_for_money:
            raise refused(271316657)
        _check_sum(asked.post_payments, asked.post_discounts, asked.total_amount)
        if asked.total_amount >= (order.total_amount or 0):
            raise V3Refusal(400, "PARAM_ERROR", "修改后的金额须小于原金额", BAD_PARAMETER)
        order.post_payments, order.post_discounts = asked.post_payments, asked.post_discounts
        order.total_amount = asked.total_amount
        if asked.total_amount == 0:
            self._end(order)

    def urge(self, order: ScoreOrder) -> None:
        """Try to deduct now. Raises V3Refusal 271316574 when it fails; it goes on by itself."""
        if not order.is_waiting_for_money:
            raise refused(271316657)
        if order.deduct_failures:
            order.deduct_failures -= 1
            raise refused(271316574)
        self._deduct(order)

    def sync(self, order: ScoreOrder, asked: Sync) -> None:
        """The user paid the merchant in some other way: the order ends, no money comes here."""
        if not order.is_waiting_for_money:
            raise refused(271316657)
        order.paid_type, order.paid_time = "MCH", asked.detail.paid_time
        order.paid_fen = order.total_amount or 0
        self._end(order)

    # -------------------------------------------------------------- the user

    def confirm(self, order: ScoreOrder, openid: str) -> None:
        """The user agrees on the phone. Raises V3Refusal with what the phone shows."""
        if self._aged(order).state != "CREATED":
            raise refused(_wrong_state(order))
        if order.created.openid not in ("", openid):
            raise V3Refusal(400, "INVALID_REQUEST", "订单属于其他用户")
        self._assess(openid)
        self._accept(order, openid)
        self._told(order, "USER_CONFIRM")

    def _accept(self, order: ScoreOrder, openid: str) -> None:
        order.state, order.state_description, order.openid = "DOING", "USER_CONFIRM", openid
        if order.time_range.start_time == ON_ACCEPT:
            self._set_time(order, start_time=times.digits(self._clock.now_s()))

    @staticmethod
    def _set_time(order: ScoreOrder, **changes: str) -> None:
        order.time_range = msgspec.structs.replace(order.time_range, **changes)

    def _assess(self, openid: str) -> None:
        running = [o for o in self.all.values() if o.openid == openid and o.is_running]
        if openid in self.overdue:
            raise refused(271299627)
        if openid in self.unfit or len(running) >= RUNNING_MAX:
            raise refused(271300099)

    # -------------------------------------------------------------- the money

    def _ask_for_money(self, order: ScoreOrder) -> None:
        order.state, order.state_description = "DOING", "MCH_COMPLETE"
        if order.total_amount == 0:
            self._end(order)
            return
        order.collection = "USER_PAYING"
        self._try_later(order, self._settings.deduct_takes_s)

    def _try_later(self, order: ScoreOrder, wait_s: float) -> None:
        def attempt() -> None:
            if not order.is_waiting_for_money:
                return
            if order.deduct_failures:
                order.deduct_failures -= 1
                self._try_later(order, self._settings.deduct_again_s)
            else:
                self._deduct(order)

        self._agenda.at(self._clock.now_s() + wait_s, attempt)

    def _deduct(self, order: ScoreOrder) -> None:
        order.paid_fen, order.paid_type = order.total_amount or 0, "NEWTON"
        order.paid_time = times.digits(self._clock.now_s())
        self._end(order)
        self._paid(order)
        self._told(order, "USER_PAID")

    def _end(self, order: ScoreOrder) -> None:
        order.state, order.state_description = "DONE", "MCH_COMPLETE"
        if order.collection:
            order.collection = "USER_PAID"

    # -------------------------------------------------------------- what must hold

    def _aged(self, order: ScoreOrder) -> ScoreOrder:
        """Whoever does not confirm within thirty days never will."""
        if order.state == "CREATED" and self._clock.now_s() - order.created_s >= CREATED_LIFE_S:
            order.state = "EXPIRED"
        return order

    def _check_new(self, asked: Create, *, is_permitted: bool) -> None:
        if asked.service_id != SERVICE_ID:
            raise refused(268503786)
        if asked.appid not in APPIDS:
            raise refused(271302149)
        if asked.risk_fund.amount > self._settings.payscore_cap_fen:
            raise refused(271316656)
        try:
            start_s = start_of(asked.time_range.start_time)
            end = asked.time_range.end_time
            end_s = times.of_digits(end) if end else None
        except ValueError as error:
            raise bad_parameter("time_range格式错误") from error
        if start_s is not None and end_s is not None and end_s < start_s:
            raise bad_parameter("预计结束时间须大于开始时间")
        if asked.need_user_confirm:
            return
        if not asked.openid:
            raise bad_parameter("免确认订单须传openid")
        if not is_permitted:
            raise V3Refusal(403, "NO_AUTH", "用户未授权此服务", 268503786)
        self._assess(asked.openid)

    def _check_cap(self, order: ScoreOrder, total: int) -> None:
        fund = order.created.risk_fund
        is_estimate = fund.name == "ESTIMATE_ORDER_COST"
        if total > (self._settings.payscore_cap_fen if is_estimate else fund.amount):
            raise refused(271316656)

    def _check_end(self, order: ScoreOrder, given: TimeRange) -> None:
        start = given.start_time or order.time_range.start_time
        end = given.end_time or order.time_range.end_time
        if not end:
            raise bad_parameter("缺少参数time_range.end_time")
        try:
            start_s, end_s = times.of_digits(start), times.of_digits(end)
        except ValueError as error:
            raise bad_parameter("time_range格式错误") from error
        if len(start) != len(end):
            raise bad_parameter("结束时间须与开始时间格式一致")
        is_after = end_s >= start_s if len(end) == 8 else end_s > start_s
        if not is_after:
            raise refused(271316637)
        if end_s > self._clock.now_s():
            raise bad_parameter("实际结束时间不能晚于使用完结接口的时间")
        self._set_time(order, start_time=start, end_time=end)


def _wrong_state(order: ScoreOrder) -> int:
    return {"CREATED": 271302332, "REVOKED": 271302333}.get(order.state, 271302262)


def _check_sum(payments: list[Fee], discounts: list[Fee], total: int) -> None:
    if sum(p.amount for p in payments) - sum(d.amount for d in discounts) != total:
        raise V3Refusal(400, "PARAM_ERROR", "最终总金额计算非法", BAD_PARAMETER)
