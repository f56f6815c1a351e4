"""V3's shared interfaces: certificates, the echo for self-tests, refunds and the daily bill."""

from __future__ import annotations

import gzip
import hashlib
import secrets
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta
from tornado.web import RequestHandler

from simulators.wechat.pay import bill, rules, signing, times
from simulators.wechat.pay.answers import Reply
from simulators.wechat.pay.errors import Refusal, V3Refusal
from simulators.wechat.pay.keys import NOT_AFTER, NOT_BEFORE
from simulators.wechat.pay.merchant import API_V3_KEY, MCH_ID
from simulators.wechat.pay.orders import Order
from simulators.wechat.pay.posts import Event
from simulators.wechat.pay.refunds import Refund, RefundOrder
from simulators.wechat.pay.v3 import V3Handler, bad_parameter

DOWNLOAD_LIFE_S = 300
REFUND_NUMBER = rf"^{rules.REFUND_NUMBER.pattern}$"
Fen = Annotated[int, Meta(ge=1)]

RefundStatus = Literal["SUCCESS", "CLOSED", "PROCESSING", "ABNORMAL"]
STATUSES: dict[str, RefundStatus] = {
    "SUCCESS": "SUCCESS",
    "PROCESSING": "PROCESSING",
    "CHANGE": "ABNORMAL",
    "REFUNDCLOSE": "CLOSED",
}
SUMMARIES = {"SUCCESS": "退款成功", "ABNORMAL": "退款异常", "CLOSED": "退款关闭"}


class Certificates(V3Handler):
    async def get(self) -> None:
        await self.answer_with("certificates", self._do_get)

    def _do_get(self) -> dict[str, Any]:
        if not self.money.settings.certificates_available:
            raise V3Refusal(404, "RESOURCE_NOT_EXISTS", "无可用的平台证书，请使用微信支付公钥")
        return {"data": [_sealed(pair) for pair in self.money.platform.certificates]}


def _sealed(pair: Any) -> dict[str, Any]:
    nonce = secrets.token_hex(6)
    return {
        "serial_no": pair.serial,
        "effective_time": times.rfc3339(NOT_BEFORE.timestamp()),
        "expire_time": times.rfc3339(NOT_AFTER.timestamp()),
        "encrypt_certificate": {
            "algorithm": "AEAD_AES_256_GCM",
            "nonce": nonce,
            "associated_data": "certificate",
            "ciphertext": signing.encrypt_gcm(
                pair.certificate_pem(), API_V3_KEY, nonce, "certificate"
            ),
        },
    }


class EchoAsked(msgspec.Struct):
    echo_message: Annotated[str, Meta(min_length=1, max_length=1024)]
    notify_url: str = ""
    encrypted_echo_message: str = ""


class Echo(V3Handler):
    """Shows that keys, signatures and the way back all work, with no money in it."""

    async def post(self) -> None:
        await self.answer_with("echo", self._do_post)

    def _do_post(self) -> dict[str, Any]:
        asked = self.body_as(EchoAsked)
        said = {"echo_message": asked.echo_message}
        if asked.encrypted_echo_message:
            said["encrypted_echo_message"] = self._turned(asked.encrypted_echo_message)
        if asked.notify_url:
            check_notify_url(asked.notify_url)
            resource = {"mchid": MCH_ID, "echo_message": asked.echo_message}
            event = Event("SECURITY_ECHO.SUCCESS", "回显成功", "security", "security", resource)
            self.money.tell_v3("echo", asked.echo_message, asked.notify_url, event)
        return said

    def _turned(self, sealed: str) -> str:
        """Opened with our key, sealed again with the merchant's."""
        pair = self.money.platform.named(self.request.headers.get("Wechatpay-Serial", ""))
        if pair is None:
            raise bad_parameter("Http头Wechatpay-Serial有误")
        try:
            text = signing.decrypt_oaep(sealed, pair.private)
        except ValueError as error:
            raise bad_parameter("encrypted_echo_message解密失败") from error
        return signing.encrypt_oaep(text, self.money.platform.merchant.public)


# ---------------------------------------------------------------- refunds


class RefundAmount(msgspec.Struct):
    refund: Fen
    total: Fen
    currency: Literal["CNY"] = "CNY"


class RefundAsked(msgspec.Struct):
    out_refund_no: Annotated[str, Meta(pattern=REFUND_NUMBER)]
    amount: RefundAmount
    transaction_id: str = ""
    out_trade_no: str = ""
    reason: Annotated[str, Meta(max_length=80)] = ""
    notify_url: str = ""
    funds_account: Literal["", "AVAILABLE"] = ""


class Refunds(V3Handler):
    async def post(self) -> None:
        await self.answer_with("refund", self._do_post)

    def _do_post(self) -> dict[str, Any]:
        asked = self.body_as(RefundAsked)
        if asked.notify_url:
            check_notify_url(asked.notify_url)
        order = self._order(asked)
        wanted = RefundOrder(
            out_refund_no=asked.out_refund_no,
            refund_fee=asked.amount.refund,
            total_fee=asked.amount.total,
            version="V3",
            desc=asked.reason,
            notify_url=asked.notify_url,
        )
        try:
            return shown(self.money.refunds.accept(order, wanted))
        except Refusal as refusal:
            raise V3Refusal(400, "INVALID_REQUEST", refusal.text) from refusal

    def _order(self, asked: RefundAsked) -> Order:
        """A Payscore deduction is known by its transaction_id only."""
        if bool(asked.transaction_id) == bool(asked.out_trade_no):
            raise bad_parameter("transaction_id和out_trade_no二选一")
        orders = self.money.orders
        found = (
            orders.of_transaction(asked.transaction_id)
            if asked.transaction_id
            else orders.all.get(asked.out_trade_no)
        )
        is_hidden = found is not None and found.trade_type == "AUTH" and not asked.transaction_id
        if found is None or is_hidden:
            raise V3Refusal(404, "RESOURCE_NOT_EXISTS", "订单不存在")
        return found


class OneRefund(V3Handler):
    async def get(self, out_refund_no: str) -> None:
        def do() -> dict[str, Any]:
            found = self.money.refunds.all.get(out_refund_no)
            if found is None:
                raise V3Refusal(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
            return shown(found)

        await self.answer_with("refund_query", do)


class AbnormalAsked(msgspec.Struct):
    out_refund_no: str
    type: Literal["USER_BANK_CARD", "MERCHANT_BANK_CARD"]


class AbnormalRefund(V3Handler):
    """Another way for money that could not go back: to another card."""

    async def post(self, refund_id: str) -> None:
        def do() -> dict[str, Any]:
            asked, refunds = self.body_as(AbnormalAsked), self.money.refunds
            found = refunds.all.get(asked.out_refund_no)
            if found is None or found.refund_id != refund_id:
                raise V3Refusal(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
            if found.state != "CHANGE":
                raise V3Refusal(400, "INVALID_REQUEST", "退款单状态不是退款异常")
            refunds.again(found)
            return shown(found)

        await self.answer_with("refund_abnormal", do)


def shown(refund: Refund) -> dict[str, Any]:
    """A refund as V3 tells it."""
    said = {
        "refund_id": refund.refund_id,
        "out_refund_no": refund.out_refund_no,
        "transaction_id": refund.transaction_id,
        "out_trade_no": refund.out_trade_no,
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "create_time": times.rfc3339(refund.created_s),
        "status": STATUSES[refund.state],
        "funds_account": "UNSETTLED",
        "amount": {
            "total": refund.total_fee,
            "refund": refund.refund_fee,
            "payer_total": refund.total_fee,
            "payer_refund": refund.refund_fee,
            "settlement_refund": refund.refund_fee,
            "settlement_total": refund.total_fee,
            "discount_refund": 0,
            "currency": "CNY",
        },
    }
    if refund.state == "SUCCESS":
        said["success_time"] = times.rfc3339(refund.done_s)
    return said


def refund_event(refund: Refund) -> Event:
    """What a refund's result is told as. REFUND.SUCCESS, REFUND.ABNORMAL or REFUND.CLOSED."""
    status, said = STATUSES[refund.state], shown(refund)
    kept = ("transaction_id", "out_trade_no", "refund_id", "out_refund_no", "success_time")
    amount = {n: said["amount"][n] for n in ("total", "refund", "payer_total", "payer_refund")}
    resource = {
        "mchid": MCH_ID,
        **{name: said[name] for name in kept if name in said},
        "refund_status": status,
        "user_received_account": said["user_received_account"],
        "amount": amount,
    }
    return Event(f"REFUND.{status}", SUMMARIES[status], "refund", "refund", resource)


# ---------------------------------------------------------------- the bill

NO_BILLS = {
    "none": V3Refusal(400, "NO_STATEMENT_EXIST", "账单文件不存在"),
    "creating": V3Refusal(400, "STATEMENT_CREATING", "账单文件正在生成中"),
    "invalid": V3Refusal(400, "PARAM_ERROR", "账单日期有误"),
}


class TradeBill(V3Handler):
    async def get(self) -> None:
        await self.answer_with("tradebill", self._do_get)

    def _do_get(self) -> dict[str, Any]:
        day, asked = self.query_value("bill_date"), self.get_query_argument("bill_type", "ALL")
        kind = next((k for k in get_args(bill.BillType) if k == asked), None)
        if kind is None or len(day) != 10:
            raise bad_parameter("bill_type有误" if kind is None else "bill_date有误")
        try:
            text = bill.text_of(self.money.orders.all.values(), self.money.clock, day, kind)
        except bill.NoBill as error:
            raise NO_BILLS[error.why] from error
        content = text.encode()
        is_zipped = self.get_query_argument("tar_type", "") == "GZIP"
        token = secrets.token_urlsafe(32)
        self.money.downloads[f"{token}=="] = (
            self.money.clock.now_s() + DOWNLOAD_LIFE_S,
            gzip.compress(content) if is_zipped else content,
        )
        # The query is to be signed as it stands: decoding it on the way breaks the signature.
        return {
            "hash_type": "SHA1",
            "hash_value": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
            "download_url": f"{self.sim.url}/v3/billdownload/file?token={token}%3D%3D",
        }


class BillDownload(V3Handler):
    """The one answer of V3 without a signature: only the hash vouches for it."""

    async def get(self) -> None:
        await self.answer_with("billdownload", self._do_get)

    def _do_get(self) -> Reply:
        ends_s, content = self.money.downloads.get(self.query_value("token"), (0.0, b""))
        if self.money.clock.now_s() >= ends_s:
            raise V3Refusal(400, "INVALID_REQUEST", "下载链接已失效")
        return Reply(content, "application/octet-stream")


def check_notify_url(text: str) -> None:
    """Raises V3Refusal PARAM_ERROR."""
    try:
        rules.check_notify_url(text)
    except Refusal as refusal:
        raise bad_parameter("notify_url有误") from refusal
    if len(text) > 256:
        raise bad_parameter("notify_url过长")


HANDLERS: list[tuple[str, type[RequestHandler]]] = [
    (r"/v3/certificates", Certificates),
    (r"/v3/security/echo", Echo),
    (r"/v3/refund/domestic/refunds", Refunds),
    (r"/v3/refund/domestic/refunds/([^/]+)", OneRefund),
    (r"/v3/refund/domestic/refunds/([^/]+)/apply-abnormal-refund", AbnormalRefund),
    (r"/v3/bill/tradebill", TradeBill),
    (r"/v3/billdownload/file", BillDownload),
]
ENDPOINTS = (
    *("v3.certificates", "v3.echo", "v3.refund", "v3.refund_query", "v3.refund_abnormal"),
    *("v3.tradebill", "v3.billdownload"),
)
