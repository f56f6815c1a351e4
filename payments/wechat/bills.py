"""The daily bill (downloadbill, bill_type ALL): text with back-ticks, checked to the last total.

One line of headings, one a payment or refund in any order, one of headings of the totals, one of
totals. Every value begins with a back-tick; amounts are yuan. Source: wiki 9_6.
"""

import re
from collections.abc import Sequence
from typing import Final

from payments.gateway import BillRow
from payments.money import Fen, NotMoney, parse_yuan
from payments.wechat.errors import BadMessage
from payments.wechat.facts import millis

BILL_MAX_BYTES: Final = 64 << 20

COLUMNS_LINE: Final = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,"
    "付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,"
    "退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
TOTALS_LINE: Final = (
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)
_COLUMNS: Final = COLUMNS_LINE.split(",")
_TOTALS: Final = TOTALS_LINE.split(",")

# The total of each, and the column it is the sum of. Fees are left out: they are WeChat's own,
# of five places, and rounded in the total.
_SUMS: Final = {
    "应结订单总金额": "应结订单金额",
    "退款总金额": "退款金额",
    "充值券退款总金额": "充值券退款金额",
    "订单总金额": "订单金额",
    "申请退款总金额": "申请退款金额",
}

# What people write (description, attach) stands in the middle, and may look like a separator;
# all else is found by counting from either end.
_LEFT: Final = _COLUMNS.index("商品名称")
_RIGHT: Final = len(_COLUMNS) - _COLUMNS.index("手续费")

_COUNT = re.compile(r"(0|[1-9][0-9]{0,11})(?:\.0+)?")


class BadBill(BadMessage):
    """The bill is not what it is documented to be, or does not add up."""


def parse_bill(body: bytes, *, mch_id: str) -> list[BillRow]:
    """Its payments and refunds, in the bill's order. Raises BadBill, BadContent."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadBill("not UTF-8") from None
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if len(lines) < 3 or (lines[0], lines[-2]) != (COLUMNS_LINE, TOTALS_LINE):
        raise BadBill("not the headings of a bill")
    cells = [_cells(line) for line in lines[1:-2]]
    _see_totals(cells, lines[-1])
    return [_row(row, mch_id) for row in cells]


def _cells(line: str) -> dict[str, str]:
    found = _split(line)
    if len(found) < len(_COLUMNS):
        raise BadBill("a line with too few columns")
    names = _COLUMNS[:_LEFT] + _COLUMNS[-_RIGHT:]
    return dict(zip(names, found[:_LEFT] + found[-_RIGHT:], strict=True))


def _split(line: str) -> list[str]:
    if not line.startswith("`"):
        raise BadBill("a line that does not begin with a back-tick")
    return line[1:].split(",`")


def _see_totals(rows: Sequence[dict[str, str]], line: str) -> None:
    found = _split(line)
    if len(found) != len(_TOTALS):
        raise BadBill("totals with other columns")
    totals = dict(zip(_TOTALS, found, strict=True))
    count = _COUNT.fullmatch(totals["总交易单数"])
    if count is None or int(count[1]) != len(rows):
        raise BadBill("another number of lines than the totals say")
    for total, column in _SUMS.items():
        if _fen(totals[total]) != sum(_fen(row[column]) for row in rows):
            raise BadBill(f"the lines do not add up to {total}")


def _row(row: dict[str, str], mch_id: str) -> BillRow:
    if row["商户号"] != mch_id:
        raise BadBill("a line of another merchant")
    if row["交易状态"] == "SUCCESS":
        refund = {}
    elif row["交易状态"] in {"REFUND", "REVOKED"} and row["商户退款单号"] not in {"", "0"}:
        refund = {
            "refund_id": row["微信退款单号"],
            "out_refund_no": row["商户退款单号"],
            "refund_state": row["退款状态"],
        }
    else:
        raise BadBill("a line that is neither a payment nor a refund")
    return BillRow(
        at=millis(row, "交易时间"),
        transaction_id=row["微信订单号"],
        out_trade_no=row["商户订单号"],
        amount_fen=_fen(row["订单金额"]),
        refund_fen=_fen(row["申请退款金额"]),
        **refund,
    )


def _fen(yuan: str) -> Fen:
    try:
        return parse_yuan(yuan)
    except NotMoney:
        raise BadBill("an amount that is none") from None
