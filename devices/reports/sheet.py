"""A report as a spreadsheet: a sheet a section, with nothing in it that would run."""

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from devices.orders.export import guarded
from devices.reports.model import Report

# Texts stay texts: no formula, no link, no number made of them.
_OPTIONS: Final = {
    "in_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
}

_TITLES: Final = {
    "sales": "销售", "by_store": "按门店", "by_payment": "按支付方式", "by_device": "按设备",
    "goods": "商品", "sessions": "开门", "purposes": "用途", "raised": "新增异常",
    "decided": "已处理", "waiting": "待处理", "oldest": "最早待处理", "complaints": "投诉",
    "incidents": "事件", "devices": "设备", "locked": "停售", "callbacks": "回调",
    "outbox": "外发", "payments": "支付", "jobs": "任务", "alerts": "告警",
    "alerts_open": "未清告警", "store_id": "门店", "device_id": "设备", "pay_with": "支付方式",
    "orders": "订单数", "supplements": "补扣单", "unpaid": "未付单", "due_fen": "应付(元)",
    "paid_fen": "已付(元)", "wechat_fen": "微信(元)", "tickets": "礼票(张)",
    "refunded_fen": "已退(元)", "net_fen": "净额(元)", "open_fen": "欠款(元)", "sku": "货号",
    "name": "名称", "quantity": "数量", "amount_fen": "金额(元)", "refund_fen": "退款(元)",
    "opened": "新增", "runs": "次数", "failed": "失败", "success_permille": "成功率(‰)",
    "oldest_age_s": "最久等待(秒)", "raised_at": "时间",
}  # fmt: skip

_WIDTH: Final = 18


def as_xlsx(report: Report) -> bytes:
    # Of no use to a start, and forty modules.
    import xlsxwriter  # noqa: PLC0415

    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, _OPTIONS)
    made = datetime.fromtimestamp(report.made_at / 1000, UTC)
    book.set_properties({"title": f"{report.kind} {report.day}", "created": made})
    yuan, head = book.add_format({"num_format": "0.00"}), book.add_format({"bold": True})
    for name, section in report.body.items():
        sheet = book.add_worksheet(_title(name))
        sheet.set_column(0, 20, _WIDTH)
        for at, row in enumerate(_rows(section)):
            for column, (key, value) in enumerate(row):
                _write(sheet, at, column, key, value, yuan=yuan, head=head if at == 0 else None)
    book.close()
    return out.getvalue()


def _rows(section: Any) -> list[list[tuple[str, Any]]]:
    """Each row as (what its column or line is called, what is in the cell); names first."""
    if isinstance(section, Mapping):
        titles: list[list[tuple[str, Any]]] = [[("", "项目"), ("", "数值")]]
        return titles + [[("", _title(name)), (name, value)] for name, value in section.items()]
    names = list(section[0]) if section else []
    return [
        [("", _title(name)) for name in names],
        *([(name, row.get(name)) for name in names] for row in section),
    ]


def _write(sheet: Any, at: int, column: int, key: str, value: Any, *, yuan: Any, head: Any) -> None:
    if value is None:
        return
    if not isinstance(value, int):
        sheet.write_string(at, column, guarded(str(value)), head)
    elif key.endswith("_fen"):
        sheet.write_number(at, column, value / 100, yuan)
    elif key.endswith("_at"):
        moment = datetime.fromtimestamp(value / 1000, UTC)
        sheet.write_string(at, column, moment.isoformat(timespec="seconds"))
    else:
        sheet.write_number(at, column, value)


def _title(name: str) -> str:
    return _TITLES.get(name, name)
