"""The daily bill: read to the last cell, or not at all."""

import pytest

from payments.gateway import BillRow, Unknown
from payments.wechat.bills import COLUMNS_LINE, TOTALS_LINE, BadBill, parse_bill
from payments.wechat.errors import BadMessage
from payments.wechat.v2 import WeChatPayV2
from tests.clock import Clock
from tests.payments.wechat import speech
from tests.payments.wechat.peer import Peer

NOON = Clock().now()

PAID = {
    "交易时间": "2026-11-20 12:05:06",
    "公众账号ID": speech.APPID,
    "商户号": speech.MCH_ID,
    "特约商户号": "0",
    "设备号": "",
    "微信订单号": "4200000263202611207700134212",
    "商户订单号": "20261120-1",
    "用户标识": "oHkLxtx0vUe-18p_AXTZ1innxkCY",
    "交易类型": "JSAPI",
    "交易状态": "SUCCESS",
    "付款银行": "OTHERS",
    "货币种类": "CNY",
    "应结订单金额": "12.50",
    "代金券金额": "0.00",
    "微信退款单号": "0",
    "商户退款单号": "0",
    "退款金额": "0.00",
    "充值券退款金额": "0.00",
    "退款类型": "",
    "退款状态": "",
    "商品名称": "一号档口",
    "商户数据包": "",
    "手续费": "0.07500",
    "费率": "0.60%",
    "订单金额": "12.50",
    "申请退款金额": "0.00",
    "费率备注": "",
}
REFUNDED = PAID | {
    "交易时间": "2026-11-20 05:01:46",
    "交易状态": "REFUND",
    "应结订单金额": "0.00",
    "微信退款单号": "50000709672026112008420787722",
    "商户退款单号": "R-1",
    "退款金额": "2.5",
    "退款类型": "ORIGINAL",
    "退款状态": "SUCCESS",
    "手续费": "-0.01500",
    "订单金额": "0.00",
    "申请退款金额": "2.50",
}
ROWS = [REFUNDED, PAID]
# As WeChat writes totals: with as many places as it takes, a count of lines with one too.
TOTALS = ["2.0", "12.5", "2.5", "0.0", "0.06", "12.5", "2.50"]


def bill(
    rows: list[dict[str, str]] = ROWS, totals: list[str] = TOTALS, *, end: str = "\r\n"
) -> bytes:
    lines = [",".join(f"`{cell}" for cell in row.values()) for row in rows]
    lines = [COLUMNS_LINE, *lines, TOTALS_LINE, ",".join(f"`{total}" for total in totals), ""]
    return "\ufeff".encode() + end.join(lines).encode()


def read(body: bytes) -> list[BillRow]:
    return parse_bill(body, mch_id=speech.MCH_ID)


def test_a_bill_is_read_in_its_own_order() -> None:
    assert read(bill()) == [
        BillRow(
            at=NOON - (6 * 3600 + 58 * 60 + 14) * 1000,
            transaction_id="4200000263202611207700134212",
            out_trade_no="20261120-1",
            amount_fen=0,
            refund_id="50000709672026112008420787722",
            out_refund_no="R-1",
            refund_fen=250,
            refund_state="SUCCESS",
        ),
        BillRow(
            at=NOON + 306_000,
            transaction_id="4200000263202611207700134212",
            out_trade_no="20261120-1",
            amount_fen=1250,
        ),
    ]


def test_the_frame_of_a_bill_may_vary() -> None:
    assert read(bill(end="\n")) == read(bill())
    assert read(bill().removeprefix("\ufeff".encode())) == read(bill())
    assert read(bill().removesuffix(b"\r\n")) == read(bill())


def test_a_bill_may_have_no_lines() -> None:
    assert read(bill([], ["0", "0.0", "0.0", "0.0", "0.0", "0.0", "0.0"])) == []


@pytest.mark.parametrize(
    "text", [",", "`", "a,b`c", "`,`", ",`9.99", "x,`y,`0.00,`1", '"', "<xml>"]
)
@pytest.mark.parametrize("column", ["商品名称", "商户数据包"])
def test_what_people_write_does_not_shift_the_columns(column: str, text: str) -> None:
    assert read(bill([REFUNDED, PAID | {column: text}])) == read(bill())


def test_a_reversed_payment_is_a_refund() -> None:
    rows = read(bill([REFUNDED | {"交易状态": "REVOKED"}, PAID]))

    assert rows[0].out_refund_no == "R-1"


@pytest.mark.parametrize(
    "change",
    [
        {"交易状态": "NEW_IN_2030"},
        {"交易状态": ""},
        {"交易状态": "REFUND"},
        {"交易状态": "REFUND", "商户退款单号": ""},
        {"商户号": "10000101"},
        {"订单金额": "12.505"},
        {"订单金额": "-12.50"},
        {"订单金额": "+12.50"},
        {"订单金额": " 12.50"},
        {"订单金额": "1,2.50"},
        {"订单金额": "1e1"},
        {"订单金额": ""},
        {"订单金额": "12.51"},
        {"应结订单金额": "12.49"},
        {"申请退款金额": "0.01"},
        {"退款金额": "0.01"},
        {"充值券退款金额": "0.01"},
        {"交易时间": "2026-11-31 12:05:06"},
        {"交易时间": ""},
    ],
)
def test_a_bill_with_a_wrong_line_is_refused_whole(change: dict[str, str]) -> None:
    with pytest.raises(BadMessage):
        read(bill([REFUNDED, PAID | change]))


@pytest.mark.parametrize(
    ("n", "total"),
    [(0, "3.0"), (0, "1"), (0, "2.5"), (0, ""), (0, "-2"), (1, "12.51"), (2, "2.4"), (3, "1"),
     (5, "0"), (6, "2.5x"), (6, "")],
)  # fmt: skip
def test_the_totals_must_be_those_of_the_lines(n: int, total: str) -> None:
    totals = [total if at == n else value for at, value in enumerate(TOTALS)]

    with pytest.raises(BadBill):
        read(bill(totals=totals))


@pytest.mark.parametrize("change", ["fewer", "more", "plain"])
def test_the_totals_are_seven(change: str) -> None:
    if change == "plain":
        body = bill().replace(b"`2.0,", b"2.0,")
    else:
        body = bill(totals=TOTALS[:-1] if change == "fewer" else [*TOTALS, "0"])

    with pytest.raises(BadBill):
        read(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        bill().decode("utf-8-sig").encode("gbk"),
        COLUMNS_LINE.encode(),
        f"{COLUMNS_LINE}\n{TOTALS_LINE}".encode(),
        bill().replace(",费率备注".encode(), b""),
        bill().replace("费率备注".encode(), "费率备注,新".encode()),
        bill().replace("总交易单数".encode(), "总数".encode()),
        bill().replace(b"`2026-11-20 12", b"2026-11-20 12"),
        bill([REFUNDED, {name: PAID[name] for name in list(PAID)[:20]}]),
        bill() + b"\r\n",
        bill()[:-40],
        bill([PAID | {"商品名称": "a\nb"}, REFUNDED]),
    ],
)
def test_what_is_no_bill_is_refused(body: bytes) -> None:
    with pytest.raises(BadMessage):
        read(body)


# ---------------------------------------------------------------- fetched


async def test_a_bill_is_fetched(client: WeChatPayV2, peer: Peer) -> None:
    peer.says_body(bill())

    assert await client.bill(20261120) == read(bill())

    ((path, asked),) = peer.asked
    assert path == "/pay/downloadbill"
    assert (asked["bill_date"], asked["bill_type"]) == ("20261120", "ALL")
    assert asked.pop("sign") == speech.sign(asked)


@pytest.mark.parametrize(
    "fields",
    [{"error_code": "20002", "return_msg": "No Bill Exist"}, {"return_msg": "No Bill Exist"}],
)
async def test_a_day_may_have_no_bill(
    client: WeChatPayV2, peer: Peer, fields: dict[str, str]
) -> None:
    peer.says_body(speech.xml({"return_code": "FAIL"} | fields))

    assert await client.bill(20261120) == []


@pytest.mark.parametrize(
    "body",
    [
        speech.xml(
            {"return_code": "FAIL", "return_msg": "invalid bill_date", "error_code": "20001"}
        ),
        speech.xml({"return_code": "FAIL"}),
        b"<html>502</html>",
        bill(totals=["3.0", *TOTALS[1:]]),
        b"",
    ],
)
async def test_a_bill_that_cannot_be_read_is_unknown(
    client: WeChatPayV2, peer: Peer, body: bytes
) -> None:
    peer.says_body(body)

    with pytest.raises(Unknown, match="downloadbill"):
        await client.bill(20261120)
