"""WeChat Pay, version 2 (XML): orders, queries, refunds and the bill.

An answer is believed when it is signed as we sign, is to our appid and mch_id, and is about the
number we asked about. Everything else is Unknown, a `return_code` FAIL too: nobody signs it.

Source: wiki jsapi 9_1 to 9_6, native 6_4.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from payments.gateway import (
    AlreadyClosed,
    BillRow,
    GatewayError,
    Placed,
    PlaceOrder,
    Queried,
    Reaction,
    Refunded,
    RefundOrder,
    RefundState,
    Refused,
    TradeState,
    TradeType,
    Unknown,
)
from payments.wechat.bills import BILL_MAX_BYTES, parse_bill
from payments.wechat.errors import BadContent, BadMessage, printable, refusal
from payments.wechat.facts import NUMBER, compact, fen, matching, millis, payment_fact, see_ours
from payments.wechat.notices_v2 import REFUND_STATES
from payments.wechat.signing import Merchant, SignType, sign, signed, verify
from payments.wechat.transport import ClientCertificate, Transport
from payments.wechat.xml import read, write
from sql.types import Millis

# A day's bill is made for tens of seconds where a merchant is large.
BILL_TIMEOUT_S: Final = 60.0
_XML: Final = {"content-type": "text/xml; charset=utf-8"}
_NO_BILL: Final = "20002"

_STATES: Final = {
    "SUCCESS": TradeState.PAID,
    # Paid, and a refund has begun.
    "REFUND": TradeState.PAID,
    "NOTPAY": TradeState.NOT_PAID,
    "USERPAYING": TradeState.PAYING,
    "ACCEPT": TradeState.PAYING,
    "CLOSED": TradeState.CLOSED,
    "REVOKED": TradeState.CLOSED,
    "PAYERROR": TradeState.ERROR,
}

_TICKET = re.compile(r"[!-~]{1,256}")
_NOTIFY_URL = re.compile(r"https?://[^\s?#]{1,240}")
_FIELD_WITHIN = re.compile(r"&[0-9A-Za-z_.-]+=")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def random_nonce() -> str:
    return secrets.token_hex(16)


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """api: `https://api.mch.weixin.qq.com`. notify, refund_notify: ours, public, without a query.

    Without refund_notify WeChat uses what the merchant's settings say, if anything.
    """

    api: str
    notify: str
    refund_notify: str = ""

    def __post_init__(self) -> None:
        for address in filter(None, (self.notify, self.refund_notify)):
            if not _NOTIFY_URL.fullmatch(address):
                raise ValueError("a notify_url is absolute http(s), without a query string")


class WeChatPayV2:
    """`payments.gateway.Gateway` over version 2. Safe to repeat with the same numbers.

    certificate: for refunds; without one they are Refused. Raises OSError for one that does not
    load. ca_file: see Transport.
    """

    def __init__(
        self,
        merchant: Merchant,
        addresses: Addresses,
        *,
        certificate: ClientCertificate | None = None,
        ca_file: Path | None = None,
        nonce: Callable[[], str] = random_nonce,
        timeout_s: float = 5.0,
    ) -> None:
        self._merchant = merchant
        self._addresses = addresses
        self._nonce = nonce
        self._open = Transport(addresses.api, ca_file=ca_file, timeout_s=timeout_s)
        self._certified = (
            Transport(addresses.api, certificate=certificate, ca_file=ca_file, timeout_s=timeout_s)
            if certificate
            else None
        )

    async def aclose(self) -> None:
        await self._open.close()
        if self._certified:
            await self._certified.close()

    async def place(self, order: PlaceOrder) -> Placed:
        """Repeated with the same order it gives a new prepay_id of the same order.

        Raises AlreadyPaid, AlreadyClosed, NumberUsed, Refused, Unknown.
        """
        _see_complete(order)
        fields = _order_fields(order, self._addresses.notify)
        answer = await self._ask("/pay/unifiedorder", fields, appid=order.appid)
        try:
            return Placed(
                prepay_id=matching(answer, "prepay_id", _TICKET),
                code_url=(
                    matching(answer, "code_url", _TICKET)
                    if order.trade_type is TradeType.NATIVE
                    else ""
                ),
            )
        except BadContent as error:
            raise Unknown(f"unifiedorder: {error}") from None

    async def query(self, out_trade_no: str, *, appid: str = "") -> Queried:
        """Raises Refused, Unknown."""
        fields = {"out_trade_no": out_trade_no}
        try:
            answer = await self._ask("/pay/orderquery", fields, appid=appid)
        except Refused as error:
            if error.err_code == "ORDERNOTEXIST":
                return Queried(TradeState.NOT_FOUND)
            raise
        _see_about(answer, "orderquery", out_trade_no=out_trade_no)
        state = _STATES.get(answer.get("trade_state", ""))
        if state is None:
            raise Unknown("orderquery: a trade_state that is not known")
        if state is not TradeState.PAID:
            return Queried(state)
        try:
            return Queried(state, payment_fact(answer, source="query"))
        except BadContent as error:
            raise Unknown(f"orderquery: {error}") from None

    async def close(self, out_trade_no: str, *, appid: str = "") -> None:
        """Returns when the order is closed, by this call or before.

        Raises AlreadyPaid (query and apply), Refused, Unknown. Refused with ORDERNOTEXIST: it has
        never reached WeChat, which is as good as closed unless a `place` is still on its way.
        """
        try:
            await self._ask("/pay/closeorder", {"out_trade_no": out_trade_no}, appid=appid)
        except AlreadyClosed:
            return

    async def refund(self, order: RefundOrder) -> Refunded:
        """PROCESSING: taken, not yet paid back. Repeat with the same number and amounts only.

        Raises Refused, Unknown.
        """
        if self._certified is None:
            raise Refused(
                "NO_CERTIFICATE", "refunds need the merchant's API certificate", Reaction.STOP
            )
        answer = await self._ask(
            "/secapi/pay/refund",
            {
                "transaction_id": order.transaction_id,
                # One of the two numbers is asked for; WeChat's own goes first.
                "out_trade_no": "" if order.transaction_id else order.out_trade_no,
                "out_refund_no": order.out_refund_no,
                "total_fee": str(order.total_fen),
                "refund_fee": str(order.refund_fen),
                "refund_desc": cut(order.reason, 80),
                "notify_url": self._addresses.refund_notify,
            },
            over=self._certified,
            appid=order.appid,
        )
        _see_about(
            answer,
            "refund",
            out_trade_no=order.out_trade_no,
            out_refund_no=order.out_refund_no,
            refund_fee=str(order.refund_fen),
        )
        return Refunded(
            out_refund_no=order.out_refund_no,
            refund_id=answer.get("refund_id", ""),
            state=RefundState.PROCESSING,
            refund_fen=order.refund_fen,
        )

    async def query_refund(self, out_refund_no: str) -> Refunded:
        """NOT_FOUND: the refund never arrived; repeat it, with the same number.

        Raises Refused, Unknown.
        """
        try:
            answer = await self._ask("/pay/refundquery", {"out_refund_no": out_refund_no})
        except Refused as error:
            if error.err_code == "REFUNDNOTEXIST":
                return Refunded(out_refund_no=out_refund_no, state=RefundState.NOT_FOUND)
            raise
        try:
            return _refund_within(answer, out_refund_no)
        except BadContent as error:
            raise Unknown(f"refundquery: {error}") from None

    async def bill(self, day: int) -> list[BillRow]:
        """day: YYYYMMDD of Beijing, before today; its bill is there from 10:00 of the next.

        Raises Unknown, also for a bill that does not add up.
        """
        fields = {"bill_date": str(day), "bill_type": "ALL"}
        text = await self._open.post(
            "/pay/downloadbill",
            self._signed(fields),
            headers=_XML,
            answer_max_bytes=BILL_MAX_BYTES,
            timeout_s=BILL_TIMEOUT_S,
        )
        try:
            if text.lstrip().startswith(b"<"):
                return _no_bill(read(text))
            return await asyncio.to_thread(parse_bill, text, mch_id=self._merchant.mch_id)
        except BadMessage as error:
            raise Unknown(f"downloadbill: {error}") from None

    def request_payment(self, prepay_id: str, *, now: Millis, appid: str = "") -> dict[str, Any]:
        """The arguments of `wx.requestPayment`. appId is signed with them but not passed."""
        fields = {
            "timeStamp": str(now // 1000),
            "nonceStr": self._nonce(),
            "package": f"prepay_id={prepay_id}",
            "signType": str(self._merchant.sign_type),
        }
        merchant = self._merchant
        whole = {"appId": appid or merchant.appid, **fields}
        pay_sign = sign(whole, merchant.key, merchant.sign_type)
        return {**fields, "paySign": pay_sign}

    def product_url(
        self, product_id: str, *, now: Millis, sign_type: SignType = SignType.MD5
    ) -> str:
        """The text of a standing code (native mode one); it does not expire.

        The code says nothing of how it is signed, and WeChat's default is MD5. Raises ValueError.
        """
        if not (NUMBER.fullmatch(product_id) and len(product_id) <= 32):
            raise ValueError("a product_id is at most 32 letters, digits and _-|*@")
        fields = {
            "appid": self._merchant.appid,
            "mch_id": self._merchant.mch_id,
            "product_id": product_id,
            "time_stamp": str(now // 1000),
            "nonce_str": self._nonce(),
        }
        return "weixin://wxpay/bizpayurl?" + urlencode(
            signed(fields, self._merchant.key, sign_type)
        )

    async def _ask(
        self,
        path: str,
        fields: Mapping[str, str],
        *,
        over: Transport | None = None,
        appid: str = "",
    ) -> dict[str, str]:
        """The fields of an answer that is ours and says SUCCESS. Raises GatewayError."""
        call = path.rpartition("/")[2]
        asked = self._signed({**fields, "appid": appid})
        body = await (over or self._open).post(path, asked, headers=_XML)
        try:
            answer = self._believed(body, appid)
        except BadMessage as error:
            raise Unknown(f"{call}: {error}") from None
        if answer.get("result_code") != "SUCCESS":
            raise _refusal(call, answer)
        return answer

    def _signed(self, fields: Mapping[str, str]) -> bytes:
        common = {
            "appid": self._merchant.appid,
            "mch_id": self._merchant.mch_id,
            "nonce_str": self._nonce(),
            "sign_type": str(self._merchant.sign_type),
        }
        given = {name: value for name, value in fields.items() if value}
        return write(signed(common | given, self._merchant.key, self._merchant.sign_type))

    def _believed(self, body: bytes, appid: str) -> dict[str, str]:
        answer = read(body)
        if answer.get("return_code") != "SUCCESS":
            raise BadContent(_envelope(answer))
        verify(answer, self._merchant.key, self._merchant.sign_type)
        see_ours(answer, self._merchant, {appid or self._merchant.appid})
        return answer


def cut(text: str, most_bytes: int) -> str:
    """At most so many bytes of UTF-8, whole characters, no control characters."""
    plain = _CONTROL.sub(" ", text).encode("utf-8", "replace")
    return plain[:most_bytes].decode("utf-8", "ignore")


def _order_fields(order: PlaceOrder, notify_url: str) -> dict[str, str]:
    return {
        "body": cut(order.description, 128),
        "attach": order.attach,
        "out_trade_no": order.out_trade_no,
        "total_fee": str(order.amount_fen),
        "spbill_create_ip": order.client_ip,
        "time_start": compact(order.starts_at),
        "time_expire": compact(order.expires_at),
        "notify_url": notify_url,
        "trade_type": str(order.trade_type),
        "product_id": order.product_id,
        "openid": order.openid,
    }


def _see_complete(order: PlaceOrder) -> None:
    """Raises Refused for an order that no WeChat would take: the mistake is ours."""
    needed = order.openid if order.trade_type is TradeType.JSAPI else order.product_id
    if not needed:
        raise Refused("LACK_PARAMS", f"{order.trade_type} without its field", Reaction.BUG)
    # attach comes back in the notification, where the signature joins fields with "&": one that
    # held "&total_fee=1" could be read as two fields under the same sign.
    if order.amount_fen < 1 or _FIELD_WITHIN.search(order.attach) or _CONTROL.search(order.attach):
        raise Refused("PARAM_ERROR", "the amount or attach is unfit", Reaction.BUG)


def _see_about(answer: Mapping[str, str], call: str, **expected: str) -> None:
    for name, value in expected.items():
        if answer.get(name) != value:
            raise Unknown(f"{call}: the answer is about another {name}")


def _refund_within(answer: Mapping[str, str], out_refund_no: str) -> Refunded:
    """A refund's fields are numbered: WeChat answers with a list, if of one."""
    for name, value in answer.items():
        n = name.removeprefix("out_refund_no_")
        if n != name and n.isdecimal() and value == out_refund_no:
            break
    else:
        raise BadContent("the answer is about another out_refund_no")
    state = REFUND_STATES.get(answer.get(f"refund_status_{n}", ""))
    if state is None:
        raise BadContent("a refund_status that is not known")
    succeeded_at = f"refund_success_time_{n}"
    return Refunded(
        out_refund_no=out_refund_no,
        refund_id=matching(answer, f"refund_id_{n}", NUMBER),
        state=state,
        refund_fen=fen(answer, f"refund_fee_{n}"),
        refunded_at=millis(answer, succeeded_at) if answer.get(succeeded_at) else None,
    )


def _refusal(call: str, answer: Mapping[str, str]) -> GatewayError:
    if answer.get("result_code") != "FAIL":
        return Unknown(f"{call}: neither SUCCESS nor FAIL")
    return refusal(call, answer.get("err_code", ""), answer.get("err_code_des", ""))


def _no_bill(envelope: Mapping[str, str]) -> list[BillRow]:
    if envelope.get("error_code") == _NO_BILL or envelope.get("return_msg") == "No Bill Exist":
        return []
    raise BadContent(_envelope(envelope))


def _envelope(answer: Mapping[str, str]) -> str:
    said = printable(answer.get("return_msg", ""))
    return f"return_code is no SUCCESS: {said}"
