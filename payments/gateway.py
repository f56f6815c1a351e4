"""The port to whoever moves the money: what we ask of WeChat Pay, in our own words.

Each call may be repeated with the same numbers. What is not known is `Unknown`, never a
failure: the outcome is found by asking, not by guessing.

GatewayError
├── Unknown        no answer, or one that does not say: query before anything else
├── Refused        a clear no; `reaction` says what may be done about it
├── AlreadyPaid    the order has its money: query and apply
├── AlreadyClosed  the order is closed: a new attempt needs a new number
└── NumberUsed     the number was used with other data
"""

from enum import StrEnum
from typing import Any, Protocol

import msgspec

from sql.types import Millis


class TradeType(StrEnum):
    JSAPI = "JSAPI"
    NATIVE = "NATIVE"
    PAYSCORE = "PAYSCORE"
    """Deducted by WeChat at the end of a service order (payments/scores); never placed here."""


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True):
    """amount_fen ≥ 1; openid for JSAPI, of the app that pays; product_id for NATIVE.

    appid: of the mini-program that pays; "" for the merchant's first.
    """

    out_trade_no: str
    amount_fen: int
    description: str
    trade_type: TradeType
    client_ip: str
    openid: str = ""
    product_id: str = ""
    attach: str = ""
    appid: str = ""
    starts_at: Millis
    expires_at: Millis


class Placed(msgspec.Struct, frozen=True):
    """prepay_id is good for two hours; code_url only for NATIVE."""

    prepay_id: str
    code_url: str = ""


class PaymentFact(msgspec.Struct, frozen=True, kw_only=True):
    """Money that has come in, as somebody who can know says. source: notify, query or bill."""

    out_trade_no: str
    transaction_id: str
    amount_fen: int
    currency: str
    appid: str
    mch_id: str
    openid: str
    paid_at: Millis
    source: str


class TradeState(StrEnum):
    PAID = "paid"
    NOT_PAID = "not_paid"
    PAYING = "paying"
    CLOSED = "closed"
    NOT_FOUND = "not_found"
    ERROR = "error"


class Queried(msgspec.Struct, frozen=True):
    state: TradeState
    fact: PaymentFact | None = None


class RefundOrder(msgspec.Struct, frozen=True, kw_only=True):
    """appid: it was paid to. is_deduction: of Payscore, which version 3 alone gives back."""

    out_trade_no: str
    transaction_id: str
    out_refund_no: str
    total_fen: int
    refund_fen: int
    reason: str
    appid: str = ""
    is_deduction: bool = False


class RefundState(StrEnum):
    PROCESSING = "processing"
    SUCCESS = "success"
    CLOSED = "closed"
    ABNORMAL = "abnormal"
    NOT_FOUND = "not_found"


class Refunded(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a refund; refunded_at when it has succeeded."""

    out_refund_no: str
    refund_id: str = ""
    state: RefundState
    refund_fen: int = 0
    refunded_at: Millis | None = None


class BillRow(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the daily bill: a payment, or (out_refund_no) a refund."""

    at: Millis
    transaction_id: str
    out_trade_no: str
    amount_fen: int
    refund_id: str = ""
    out_refund_no: str = ""
    refund_fen: int = 0
    refund_state: str = ""


class Reaction(StrEnum):
    """What a refusal asks for (reference table of error codes)."""

    RETRY = "retry"
    WAIT = "wait"
    TELL_USER = "tell_user"
    NEW_NUMBER = "new_number"
    REPEAT_ORDER = "repeat_order"
    STOP = "stop"
    BUG = "bug"
    MANUAL = "manual"


class GatewayError(Exception):
    """Base of the family; the text never holds a key or a signature."""

    code = "gateway.error"
    title = "WeChat Pay"


class Unknown(GatewayError):
    code = "gateway.unknown"
    title = "WeChat Pay gave no clear answer"


class Refused(GatewayError):
    code = "gateway.refused"
    title = "WeChat Pay refused"

    def __init__(self, err_code: str, text: str, reaction: Reaction) -> None:
        super().__init__(f"{err_code}: {text}")
        self.err_code = err_code
        self.reaction = reaction


class AlreadyPaid(GatewayError):
    code = "gateway.already_paid"
    title = "The order is paid already"


class AlreadyClosed(GatewayError):
    code = "gateway.already_closed"
    title = "The order is closed already"


class NumberUsed(GatewayError):
    code = "gateway.number_used"
    title = "The order number was used with other data"


class Gateway(Protocol):
    """WeChat Pay, or nobody (see `NoGateway` in payments/service.py).

    appid: the one the order was placed for, "" for the merchant's first.
    """

    async def place(self, order: PlaceOrder) -> Placed: ...
    async def query(self, out_trade_no: str, *, appid: str = "") -> Queried: ...
    async def close(self, out_trade_no: str, *, appid: str = "") -> None: ...
    async def refund(self, order: RefundOrder) -> Refunded: ...
    async def query_refund(self, out_refund_no: str, *, is_deduction: bool = False) -> Refunded: ...
    async def bill(self, day: int) -> list[BillRow]: ...
    def request_payment(
        self, prepay_id: str, *, now: Millis, appid: str = ""
    ) -> dict[str, Any]: ...
