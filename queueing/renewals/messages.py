"""What crosses a wire when a seller renews."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from payments.gateway import TradeType
from payments.qr import QrOptions
from queueing.messages import StallForSeller

Months = Annotated[int, Meta(ge=1, le=36)]


class RenewalNew(msgspec.Struct, frozen=True):
    months: Months
    trade_type: TradeType = TradeType.JSAPI


class RenewalOrder(msgspec.Struct, frozen=True, kw_only=True):
    """code_url for NATIVE, also as a picture under /payments/{out_trade_no}/qr.png;
    wx_request_payment for JSAPI: the arguments of wx.requestPayment."""

    out_trade_no: str
    months: int
    amount_fen: int
    code_url: str | UnsetType = UNSET
    wx_request_payment: dict[str, Any] | UnsetType = UNSET


class StandingAsked(msgspec.Struct, frozen=True):
    months: Months = 1


class StandingQr(QrOptions, frozen=True, kw_only=True):
    months: Months = 1


class StandingCode(msgspec.Struct, frozen=True, kw_only=True):
    """A code that may be printed. code_url: the text of it; amount_fen: at today's price."""

    product_id: str
    months: int
    amount_fen: int
    code_url: str


class OwnStall(StallForSeller, kw_only=True):
    """The seller's own stall, and what a month costs."""

    month_price_fen: int
