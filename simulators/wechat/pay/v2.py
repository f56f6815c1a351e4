"""WeChat Pay V2, XML over POST: unifiedorder, orderquery, closeorder, refund, bill, shorturl.

Source: WeChat Pay V2, «API列表»; the certificate is asked for at /secapi only.
"""

from __future__ import annotations

import gzip
import secrets
from collections.abc import Mapping
from typing import Literal, get_args
from urllib.parse import unquote

from tornado.web import RequestHandler

from simulators.wechat.pay import bill, rules, signing, times, xmltext
from simulators.wechat.pay.answers import MoneyHandler, Reply
from simulators.wechat.pay.errors import Envelope, Refusal
from simulators.wechat.pay.faults import PayFault
from simulators.wechat.pay.merchant import API_V2_KEY, MCH_ID
from simulators.wechat.pay.orders import (
    STATE_TEXTS,
    NotPayable,
    check_appid,
    common,
    paid_fields,
)
from simulators.wechat.pay.refunds import Refund, RefundOrder
from simulators.wechat.pay.signing import SignType

XML_TYPE = "text/xml; charset=utf-8"
SIGN_TYPES: tuple[SignType, ...] = get_args(SignType)
PAGE = 10
LISTED_MAX = 20
NO_CERTIFICATE = (
    b"<html>\r\n<head><title>400 No required SSL certificate was sent</title></head>\r\n"
    b"<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n"
    b"<center>No required SSL certificate was sent</center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)
# In plain HTTP a caller says with this header that it would have shown one ("yes") or not ("no").
CERTIFICATE_HEADER = "X-Simulated-Client-Certificate"
TAMPERED = ("total_fee", "cash_fee", "refund_fee", "refund_fee_0")


class V2Handler(MoneyHandler):
    """Reads and checks the envelope, lets `do` answer, and signs as the question was signed."""

    sign_type: SignType = "MD5"

    async def post(self) -> None:
        await self.answer()

    async def get(self) -> None:
        self._send(_failed(Envelope("请使用post方法")))

    def do(self, fields: dict[str, str]) -> dict[str, str]:
        """The business fields of the answer. Raises Refusal, Envelope."""
        raise NotImplementedError

    def done(self, fault: PayFault | None) -> Reply:
        kind = fault.kind if fault else ""
        try:
            fields = self._read()
        except Envelope as failure:
            return _failed(failure)
        appid = fields.get("appid", "")
        try:
            said = {"result_code": "SUCCESS", **self.do(fields)}
        except Refusal as refusal:
            said = _refused(refusal.err_code, refusal.text)
        except Envelope as failure:
            return _failed(failure)
        return self._signed(appid, said, kind)

    def refusal(self, fault: PayFault) -> Reply:
        if fault.kind == "fail":
            return _failed(Envelope(fault.err_text))
        appid = ""
        try:
            appid = self._read().get("appid", "")
        except Envelope as failure:
            return _failed(failure)
        return self._signed(appid, _refused(fault.err_code, fault.err_text), "")

    def _read(self) -> dict[str, str]:
        try:
            fields = xmltext.read(self.request.body)
        except xmltext.XmlError as error:
            raise Envelope(error.return_msg) from error
        if fields.get("mch_id", MCH_ID) != MCH_ID:
            raise Envelope("商户号mch_id或sub_mch_id不存在")
        asked = fields.get("sign_type") or "MD5"
        self.sign_type = next((kind for kind in SIGN_TYPES if kind == asked), "MD5")
        if asked != self.sign_type or not self._is_signed(fields):
            raise Envelope("签名错误")
        return fields

    def _is_signed(self, fields: Mapping[str, str]) -> bool:
        return signing.is_signed_v2(fields, API_V2_KEY, self.sign_type)

    def _signed(self, appid: str, said: dict[str, str], kind: str) -> Reply:
        whole = {name: value for name, value in (common(appid) | said).items() if value}
        if kind == "tampered_amount":
            whole |= {n: str(int(whole[n]) + 1) for n in TAMPERED if n in whole}
        whole["sign"] = signing.sign_v2(whole, API_V2_KEY, self.sign_type)
        if kind == "forged_sign":
            whole["sign"] = secrets.token_hex(len(whole["sign"]) // 2).upper()
        if kind == "missing_sign":
            del whole["sign"]
        outcome = said.get("err_code", "SUCCESS")
        return Reply(xmltext.written(whole), XML_TYPE, outcome)


def _refused(err_code: str, text: str) -> dict[str, str]:
    return {"result_code": "FAIL", "err_code": err_code, "err_code_des": text}


def _failed(failure: Envelope) -> Reply:
    """The unsigned envelope: return_code FAIL and nothing to rely on."""
    said = {"return_code": "FAIL", "return_msg": failure.return_msg}
    if failure.error_code:
        said["error_code"] = failure.error_code
    return Reply(xmltext.written(said), XML_TYPE, "FAIL")


class UnifiedOrder(V2Handler):
    endpoint = "unifiedorder"

    def do(self, fields: dict[str, str]) -> dict[str, str]:
        self.placed = self.money.orders.place(fields, self.sign_type)
        return {
            "trade_type": self.placed.trade_type,
            "prepay_id": self.placed.prepays[-1].prepay_id,
            "code_url": self.placed.code_url,
            "device_info": self.placed.device_info,
        }

    async def before_sending(self, fault: PayFault | None) -> None:
        """A user may be quicker than our own answer: paid and told, and only then answered."""
        if fault is None or fault.kind != "pay_first" or not hasattr(self, "placed"):
            return
        try:
            self.money.pay(self.placed)
        except NotPayable:
            return
        await self.money.notifier.idle()


class OrderQuery(V2Handler):
    endpoint = "orderquery"

    def do(self, fields: dict[str, str]) -> dict[str, str]:
        rules.check_fields(fields, ())
        check_appid(fields)
        order = self.money.orders.find(fields)
        state = {"trade_state": order.state, "trade_state_desc": STATE_TEXTS[order.state]}
        if order.is_paid:
            return paid_fields(order) | state
        return state | {
            "out_trade_no": order.out_trade_no,
            "attach": order.attach,
            "device_info": order.device_info,
            "total_fee": str(order.total_fee),
        }


class CloseOrder(V2Handler):
    endpoint = "closeorder"

    def do(self, fields: dict[str, str]) -> dict[str, str]:
        rules.check_fields(fields, ("out_trade_no",))
        check_appid(fields)
        self.money.orders.close(self.money.orders.find({"out_trade_no": fields["out_trade_no"]}))
        return {"result_msg": "OK"}


class RefundAsked(V2Handler):
    endpoint = "refund"

    def done(self, fault: PayFault | None) -> Reply:
        if not self._shows_certificate():
            return Reply(NO_CERTIFICATE, "text/html", "NO_CERTIFICATE", status=400)
        return super().done(fault)

    def _shows_certificate(self) -> bool:
        if self.request.protocol == "https":
            shown = self.request.get_ssl_certificate(binary_form=True)
            return bool(shown) and shown == self.money.tls_merchant_der
        said = self.request.headers.get(CERTIFICATE_HEADER, "")
        return said == "yes" if said else self.money.settings.certificate_shown

    def do(self, fields: dict[str, str]) -> dict[str, str]:
        rules.check_fields(fields, ("out_refund_no", "total_fee", "refund_fee"))
        check_appid(fields)
        rules.check_pattern(fields, "out_refund_no", rules.REFUND_NUMBER)
        asked = RefundOrder(
            out_refund_no=fields["out_refund_no"],
            refund_fee=rules.amount_of(fields, "refund_fee"),
            total_fee=rules.amount_of(fields, "total_fee"),
            version="V2",
            desc=fields.get("refund_desc", ""),
            notify_url=fields.get("notify_url", ""),
        )
        if asked.notify_url:
            rules.check_notify_url(asked.notify_url)
        order = self.money.orders.find(fields)
        if order.appid != fields["appid"]:
            raise Refusal("PARAM_ERROR", "appid与支付订单不一致")
        refund = self.money.refunds.accept(order, asked)
        return {
            "transaction_id": refund.transaction_id,
            "out_trade_no": refund.out_trade_no,
            "out_refund_no": refund.out_refund_no,
            "refund_id": refund.refund_id,
            "refund_fee": str(refund.refund_fee),
            "total_fee": str(refund.total_fee),
            "cash_fee": str(order.cash_fee),
            "cash_refund_fee": str(refund.refund_fee),
            "coupon_refund_fee": "0",
            "coupon_refund_count": "0",
        }


class RefundQuery(V2Handler):
    endpoint = "refundquery"

    def do(self, fields: dict[str, str]) -> dict[str, str]:
        rules.check_fields(fields, ())
        check_appid(fields)
        refunds, all_of_order, offset = self._found(fields)
        first = refunds[0]
        said = {
            "transaction_id": first.transaction_id,
            "out_trade_no": first.out_trade_no,
            "total_fee": str(first.total_fee),
            "fee_type": "CNY",
            "total_refund_count": str(all_of_order),
            "refund_count": str(len(refunds)),
        }
        for n, refund in enumerate(refunds, offset):
            said |= {f"{name}_{n}": value for name, value in _numbered(refund).items()}
        return said

    def _found(self, fields: Mapping[str, str]) -> tuple[list[Refund], int, int]:
        """The refunds asked for, how many the order has, and the number of the first."""
        by_number = self._by_number(fields)
        if by_number is not None:
            return [by_number], 1, 0
        order = self.money.orders.find(fields)
        if len(order.refunds) > LISTED_MAX:
            raise Refusal("INVALID_REQUEST", "退款笔数超过20笔，请使用退款单号查询")
        offset = fields.get("offset") or "0"
        if not offset.isdigit():
            raise Refusal("PARAM_ERROR", "invalid offset")
        page = order.refunds[int(offset) : int(offset) + PAGE]
        if not page:
            raise Refusal("REFUNDNOTEXIST")
        return page, len(order.refunds), int(offset)

    def _by_number(self, fields: Mapping[str, str]) -> Refund | None:
        for name in ("refund_id", "out_refund_no"):
            if number := fields.get(name, ""):
                known = self.money.refunds.all.values()
                found = next((r for r in known if getattr(r, name) == number), None)
                if found is None:
                    raise Refusal("REFUNDNOTEXIST")
                return found
        return None


def _numbered(refund: Refund) -> dict[str, str]:
    said = {
        "out_refund_no": refund.out_refund_no,
        "refund_id": refund.refund_id,
        "refund_channel": "ORIGINAL",
        "refund_fee": str(refund.refund_fee),
        "settlement_refund_fee": str(refund.refund_fee),
        "refund_status": refund.state,
        "refund_account": "REFUND_SOURCE_UNSETTLED_FUNDS",
        "refund_recv_accout": "支付用户零钱",
    }
    if refund.state == "SUCCESS":
        said["refund_success_time"] = times.spaced(refund.done_s)
    return said


BillWord = Literal["none", "creating", "invalid"]
BILL_ERRORS: dict[BillWord, tuple[str, str]] = {
    "none": ("No Bill Exist", "20002"),
    "creating": ("Bill Creating", "20003"),
    "invalid": ("invalid bill_date", "20001"),
}


class DownloadBill(V2Handler):
    endpoint = "downloadbill"

    def done(self, fault: PayFault | None) -> Reply:
        """A success is a text and no XML; a refusal is an unsigned envelope with error_code."""
        try:
            fields = self._read()
            return self._bill(fields)
        except Envelope as failure:
            failure.error_code = failure.error_code or "20001"
            return _failed(failure)

    def _bill(self, fields: dict[str, str]) -> Reply:
        try:
            rules.check_fields(fields, ("bill_date",))
            check_appid(fields)
        except Refusal as refusal:
            raise Envelope(refusal.text, "20001") from refusal
        asked = fields.get("bill_type") or "ALL"
        kind = next((k for k in get_args(bill.BillType) if k == asked), None)
        if asked == "RECHARGE_REFUND":
            raise Envelope(*BILL_ERRORS["none"])
        if kind is None or len(fields["bill_date"]) != 8:
            raise Envelope("invalid bill_type" if kind is None else "invalid bill_date", "20001")
        try:
            text = bill.text_of(
                self.money.orders.all.values(), self.money.clock, fields["bill_date"], kind
            )
        except bill.NoBill as error:
            raise Envelope(*BILL_ERRORS[error.why]) from error
        if fields.get("tar_type") == "GZIP":
            return Reply(gzip.compress(text.encode()), "application/x-gzip")
        return Reply(text.encode(), "text/plain; charset=utf-8")


class ShortUrl(V2Handler):
    endpoint = "shorturl"

    def _is_signed(self, fields: Mapping[str, str]) -> bool:
        """The address is signed as it is and sent percent-encoded."""
        plain = {**fields, "long_url": unquote(fields.get("long_url", ""))}
        return signing.is_signed_v2(plain, API_V2_KEY, self.sign_type)

    def do(self, fields: dict[str, str]) -> dict[str, str]:
        rules.check_fields(fields, ("long_url",))
        check_appid(fields)
        long_url = unquote(fields["long_url"])
        if not long_url.startswith("weixin://wxpay/bizpayurl?"):
            raise Refusal("PARAM_ERROR", "invalid long_url")
        short_url = "weixin://wxpay/s/" + secrets.token_urlsafe(6)[:8]
        self.money.short_urls[short_url] = long_url
        return {"short_url": short_url}


HANDLERS: list[tuple[str, type[RequestHandler]]] = [
    (r"/pay/unifiedorder", UnifiedOrder),
    (r"/pay/orderquery", OrderQuery),
    (r"/pay/closeorder", CloseOrder),
    (r"/secapi/pay/refund", RefundAsked),
    (r"/pay/refundquery", RefundQuery),
    (r"/pay/downloadbill", DownloadBill),
    (r"/tools/shorturl", ShortUrl),
]
ENDPOINTS = (
    *("unifiedorder", "orderquery", "closeorder", "refund", "refundquery", "downloadbill"),
    "shorturl",
)
