"""The daily bill: text with a mark before each cell, in yuan, ready at nine the next morning.

Source: WeChat Pay V2 downloadbill, V3 tradebill.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

import msgspec

from simulators.clock import VirtualClock
from simulators.wechat.pay import times
from simulators.wechat.pay.merchant import MCH_ID
from simulators.wechat.pay.orders import Order
from simulators.wechat.pay.refunds import Refund

BillType = Literal["ALL", "SUCCESS", "REFUND"]
MADE_AT_S = 9 * 3600
KEPT_DAYS = 92
BOM = "\ufeff"
END = "\r\n"

PAID_HEADS = (
    *("交易时间", "公众账号ID", "商户号", "特约商户号", "设备号", "微信订单号", "商户订单号"),
    *("用户标识", "交易类型", "交易状态", "付款银行", "货币种类", "应结订单金额", "代金券金额"),
)
TIME_HEADS = ("退款申请时间", "退款成功时间")
REFUND_HEADS = (
    *("微信退款单号", "商户退款单号", "退款金额", "充值券退款金额", "退款类型", "退款状态"),
)
GOODS_HEADS = ("商品名称", "商户数据包", "手续费", "费率", "订单金额")
TOTALS = (
    *("总交易单数", "应结订单总金额", "退款总金额", "充值券退款总金额", "手续费总金额"),
    *("订单总金额", "申请退款总金额"),
)
# The bill says PROCESSING of a refund that has not arrived, and FAIL of one that cannot.
REFUND_STATES = {"CHANGE": "CHANGE", "REFUNDCLOSE": "FAIL"}


class NoBill(Exception):
    """Nothing for this day (none), not made yet (creating), or no such day (invalid)."""

    def __init__(self, why: Literal["none", "creating", "invalid"]) -> None:
        super().__init__(why)
        self.why = why


class Row(msgspec.Struct, frozen=True):
    """One line: a payment, or with a refund that refund."""

    order: Order
    refund: Refund | None = None

    @property
    def at_s(self) -> float:
        return self.refund.created_s if self.refund else self.order.paid_s


def text_of(orders: Iterable[Order], clock: VirtualClock, day: str, bill_type: BillType) -> str:
    """The whole bill, with its byte order mark. Raises NoBill."""
    day_s = _checked_day(clock, day)
    rows = [row for row in _rows(orders, bill_type) if times.is_on_day(row.at_s, day_s)]
    if not rows:
        raise NoBill("none")
    # The vendor sorts by its own numbers, which are not in order of time.
    rows.sort(key=lambda row: row.order.transaction_id[::-1])
    lines = [",".join(_heads(bill_type)), *(_line(row, bill_type) for row in rows)]
    lines += [",".join(TOTALS), _totals(rows)]
    return BOM + END.join(lines) + END


def _checked_day(clock: VirtualClock, day: str) -> float:
    try:
        day_s = times.day_of(day)
    except ValueError as error:
        raise NoBill("invalid") from error
    now_s = clock.now_s()
    if now_s < day_s + times.DAY_S or day_s < now_s - KEPT_DAYS * times.DAY_S:
        raise NoBill("invalid")
    if now_s < day_s + times.DAY_S + MADE_AT_S:
        raise NoBill("creating")
    return day_s


def _rows(orders: Iterable[Order], bill_type: BillType) -> Iterable[Row]:
    for order in orders:
        if order.is_paid and bill_type != "REFUND":
            yield Row(order)
        if bill_type != "SUCCESS":
            yield from (Row(order, refund) for refund in order.refunds)


def _heads(bill_type: BillType) -> tuple[str, ...]:
    if bill_type == "SUCCESS":
        return (*PAID_HEADS, *GOODS_HEADS, "费率备注")
    middle = (*TIME_HEADS, *REFUND_HEADS) if bill_type == "REFUND" else REFUND_HEADS
    return (*PAID_HEADS, *middle, *GOODS_HEADS, "申请退款金额", "费率备注")


def _line(row: Row, bill_type: BillType) -> str:
    cells = [*_paid_cells(row)]
    if bill_type == "REFUND":
        cells += _time_cells(row)
    if bill_type != "SUCCESS":
        cells += _refund_cells(row)
    cells += _goods_cells(row)
    if bill_type != "SUCCESS":
        cells.append(yuan(row.refund.refund_fee if row.refund else 0))
    return ",".join(f"`{cell}" for cell in [*cells, ""])


def _paid_cells(row: Row) -> list[str]:
    order, refund = row.order, row.refund
    return [
        times.spaced(row.at_s),
        order.appid,
        MCH_ID,
        "0",
        order.device_info,
        order.transaction_id,
        order.out_trade_no,
        order.payer,
        order.trade_type,
        "REFUND" if refund else "SUCCESS",
        "OTHERS",
        "CNY",
        yuan(0 if refund else order.cash_fee),
        yuan(0 if refund else order.coupon_fee),
    ]


def _time_cells(row: Row) -> list[str]:
    refund = row.refund
    if refund is None:
        return ["", ""]
    done = times.spaced(refund.done_s) if refund.state == "SUCCESS" else ""
    return [times.spaced(refund.created_s), done]


def _refund_cells(row: Row) -> list[str]:
    refund = row.refund
    if refund is None:
        return ["0", "0", yuan(0), yuan(0), "", ""]
    state = REFUND_STATES.get(refund.state, refund.state)
    amount = yuan(refund.refund_fee)
    return [refund.refund_id, refund.out_refund_no, amount, yuan(0), "ORIGINAL", state]


def _goods_cells(row: Row) -> list[str]:
    order = row.order
    total = yuan(0 if row.refund else order.total_fee)
    return [order.body, order.attach, "0.00000", "0.60%", total]


def _totals(rows: list[Row]) -> str:
    paid = [row.order for row in rows if row.refund is None]
    back = [row.refund for row in rows if row.refund is not None]
    refunded = sum(refund.refund_fee for refund in back)
    cells = [
        str(len(rows)),
        short(sum(order.cash_fee for order in paid)),
        short(refunded),
        short(0),
        "0.00000",
        short(sum(order.total_fee for order in paid)),
        short(refunded),
    ]
    return ",".join(f"`{cell}" for cell in cells)


def yuan(fen: int) -> str:
    return f"{Decimal(fen) / 100:.2f}"


def short(fen: int) -> str:
    """As the totals are sometimes written: `45.0`, `0.47`."""
    text = yuan(fen)
    return text.removesuffix("0") if text.endswith("0") else text
