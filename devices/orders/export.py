"""Orders as a table for a spreadsheet: CSV, with nothing in it that a spreadsheet would run."""

import csv
import io
from collections.abc import Iterable
from typing import Final

from commerce.members.phones import masked
from devices.orders.messages import text_of
from devices.orders.model import Line
from devices.orders.rows.store import Seen
from payments.money import format_yuan

COLUMNS: Final = (
    "订单号", "类型", "关联订单", "状态", "门店", "设备", "用户", "手机", "支付方式", "应付(元)",
    "微信(元)", "礼票(张)", "已退(元)", "商品", "下单时间", "支付时间", "平台订单号",
)  # fmt: skip

# Without it spreadsheets take the bytes for another encoding.
BOM: Final = "\ufeff"

# What makes a formula of a cell, in one program or another.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_csv(rows: Iterable[Seen]) -> bytes:
    """One row an order, under a line of names. Phones are masked."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for seen in rows:
        writer.writerow([guarded(cell) for cell in _cells(seen)])
    return (BOM + text.getvalue()).encode()


def guarded(cell: str) -> str:
    """A text that stays one, whatever it begins with."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _cells(seen: Seen) -> list[str]:
    order = seen.order
    return [
        order.no,
        order.kind,
        order.related_no,
        order.state,
        str(order.store_id),
        str(order.device_id),
        str(order.account_id),
        masked(seen.phone_tail),
        order.pay_with,
        format_yuan(order.due_fen),
        format_yuan(order.wechat_fen),
        str(order.tickets),
        format_yuan(order.refunded_fen),
        "; ".join(_line(line) for line in order.lines),
        text_of(order.ordered_at),
        "" if order.paid_at is None else text_of(order.paid_at),
        order.vendor_order_no or "",
    ]


def _line(line: Line) -> str:
    return f"{line.name} ×{line.quantity}"
