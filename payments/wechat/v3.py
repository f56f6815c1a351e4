"""WeChat Pay, version 3 (JSON): refunds, the trade bill, certificates, and the test of it all.

An answer of 200 or 204 is believed when it is signed with a key of the ring, now; without that it
is taken for forged, and the outcome is Unknown. Payscore is in payscore.py.

Sources: doc 4012365342, 4012551764; the pages of domestic refunds, trade bill and security echo.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from payments.gateway import (
    BillRow,
    Refunded,
    RefundOrder,
    RefundState,
    Refused,
    Unknown,
)
from payments.wechat.bills import BILL_MAX_BYTES, parse_bill
from payments.wechat.errors import BadContent, BadMessage
from payments.wechat.errors_v3 import refusal_v3
from payments.wechat.facts_v3 import Amounts, refund_state, rfc3339_millis
from payments.wechat.http_v3 import Answer, Request, SignedHttp
from payments.wechat.keys import KeyRing, PlatformKey, keys_within
from payments.wechat.secrets import ApiV3Key
from payments.wechat.signing_v3 import Identity, encrypt
from payments.wechat.v2 import BILL_TIMEOUT_S, cut, random_nonce
from sql.types import Millis

T = TypeVar("T")

_REFUNDS: Final = "/v3/refund/domestic/refunds"
_BILL_FILE: Final = "/v3/billdownload/"


class AddressesV3(msgspec.Struct, frozen=True, kw_only=True):
    """api: `https://api.mch.weixin.qq.com`; fallback: `https://api2.mch.weixin.qq.com`, or "".

    notify: where WeChat tells of refunds; "" for what the merchant's settings say.
    ca_file: trusted there instead of the system's authorities, for a peer of one's own.
    """

    api: str
    notify: str
    fallback: str = ""
    ca_file: Path | None = None


class Echo(msgspec.Struct, frozen=True, kw_only=True):
    """has_echoed: requests and answers are signed well. has_decrypted: so are secrets sealed."""

    has_echoed: bool
    has_decrypted: bool


class _RefundAnswer(msgspec.Struct):
    refund_id: str
    out_refund_no: str
    status: str
    amount: Amounts
    success_time: str = ""


class _BillAnswer(msgspec.Struct):
    hash_type: str
    hash_value: str
    download_url: str


class _EchoAnswer(msgspec.Struct):
    echo_message: str
    encrypted_echo_message: str = ""


class WeChatPayV3:
    """The refund half of `payments.gateway.Gateway`, and more. Safe to repeat.

    keys: those trusted from the start (`load_keys`); the ring, `client.keys`, is shared with the
    notifications.
    """

    def __init__(
        self,
        identity: Identity,
        addresses: AddressesV3,
        api_v3_key: ApiV3Key,
        *,
        keys: Iterable[PlatformKey] = (),
        now: Callable[[], Millis],
        nonce: Callable[[], str] = random_nonce,
        timeout_s: float = 5.0,
    ) -> None:
        self.mch_id = identity.mch_id
        self._identity = identity
        self._addresses = addresses
        self._api_v3_key = api_v3_key
        self._now = now
        self.keys = KeyRing(keys, now=now, download=self.certificates)
        self._http = SignedHttp(
            identity,
            [host for host in (addresses.api, addresses.fallback) if host],
            now=now,
            nonce=nonce,
            ca_file=addresses.ca_file,
            timeout_s=timeout_s,
        )

    async def aclose(self) -> None:
        await self.keys.close()
        await self._http.close()

    # ---------------------------------------------------------------- refunds

    async def refund(self, order: RefundOrder) -> Refunded:
        """Repeat with the same number and amounts only. Raises NumberUsed, Refused, Unknown.

        What Payscore has collected goes by transaction_id alone.
        """
        number = (
            {"transaction_id": order.transaction_id}
            if order.transaction_id
            else {"out_trade_no": order.out_trade_no}
        )
        amount = {"refund": order.refund_fen, "total": order.total_fen, "currency": "CNY"}
        body: dict[str, Any] = number | {
            "out_refund_no": order.out_refund_no,
            "amount": amount,
        }
        if order.reason:
            body["reason"] = cut(order.reason, 80)
        if self._addresses.notify:
            body["notify_url"] = self._addresses.notify
        answer = await self.call("refunds", "POST", _REFUNDS, _RefundAnswer, body=body)
        if answer.amount.refund != order.refund_fen:
            raise Unknown("refunds: the answer is about another amount")
        return _refunded(answer, order.out_refund_no)

    async def query_refund(self, out_refund_no: str) -> Refunded:
        """NOT_FOUND: the refund never arrived; repeat it, with the same number.

        Raises Refused, Unknown.
        """
        target = f"{_REFUNDS}/{quote(out_refund_no, safe='')}"
        try:
            answer = await self.call("refund", "GET", target, _RefundAnswer)
        except Refused as error:
            if error.err_code == "RESOURCE_NOT_EXISTS":
                return Refunded(out_refund_no=out_refund_no, state=RefundState.NOT_FOUND)
            raise
        return _refunded(answer, out_refund_no)

    # ---------------------------------------------------------------- bill

    async def bill(self, day: int) -> list[BillRow]:
        """day: YYYYMMDD of Beijing, before today; its bill is there from 10:00 of the next.

        Raises Refused (WAIT where it is still being made), Unknown, also for a bill that is not
        what its hash says or does not add up.
        """
        text = str(day)
        query = urlencode({"bill_date": f"{text[:4]}-{text[4:6]}-{text[6:]}", "bill_type": "ALL"})
        try:
            link = await self.call("tradebill", "GET", f"/v3/bill/tradebill?{query}", _BillAnswer)
        except Refused as error:
            if error.err_code == "NO_STATEMENT_EXIST":
                return []
            raise
        file = await self._bill_file(link)
        try:
            return await asyncio.to_thread(_read_bill, file, link, self.mch_id)
        except BadMessage as error:
            raise Unknown(f"billdownload: {error}") from None

    async def _bill_file(self, link: _BillAnswer) -> bytes:
        """The file is not signed: the hash in the signed link vouches for it."""
        url = urlsplit(link.download_url)
        if not url.path.startswith(_BILL_FILE):
            raise Unknown("tradebill: a download_url that is none")
        answer = await self._http.ask(
            Request(
                call="billdownload",
                method="GET",
                target=f"{url.path}?{url.query}",
                answer_max_bytes=BILL_MAX_BYTES,
                timeout_s=BILL_TIMEOUT_S,
            )
        )
        if answer.status != 200:
            raise refusal_v3("billdownload", answer.status, answer.headers, answer.body)
        return answer.body

    # ---------------------------------------------------------------- keys

    async def certificates(self) -> list[PlatformKey]:
        """The platform's certificates; none for a merchant who has only a public key.

        The very first answer is signed with a key it brings itself: it is believed because
        nobody else can seal with our APIv3 key. Raises Refused, Unknown.
        """
        request = Request(call="certificates", method="GET", target="/v3/certificates")
        answer = await self._http.ask(request)
        if answer.status != 200:
            problem = refusal_v3("certificates", answer.status, answer.headers, answer.body)
            if isinstance(problem, Refused) and problem.err_code == "RESOURCE_NOT_EXISTS":
                return []
            raise problem
        try:
            found = keys_within(answer.body, self._api_v3_key)
            ring = KeyRing([*self.keys.all(), *found], now=self._now)
            await ring.verify(answer.headers, answer.body)
        except BadMessage as error:
            raise Unknown(f"certificates: {error}") from None
        return found

    async def echo(self, message: str, *, notify_url: str = "") -> Echo:
        """Try keys and signatures without money. Raises Refused, Unknown.

        notify_url: there WeChat then posts SECURITY_ECHO.SUCCESS.
        """
        body = {"echo_message": message}
        if notify_url:
            body["notify_url"] = notify_url
        if not self.keys.all():
            await self.keys.refresh_due()
        key = self.keys.for_secrets()
        if key is not None:
            body["encrypted_echo_message"] = encrypt(message.encode(), key.key)
        answer = await self.call(
            "echo",
            "POST",
            "/v3/security/echo",
            _EchoAnswer,
            body=body,
            key_id=key.id if key else "",
        )
        return Echo(
            has_echoed=answer.echo_message == message,
            has_decrypted=self._has_decrypted(answer, message),
        )

    def _has_decrypted(self, answer: _EchoAnswer, message: str) -> bool:
        """WeChat says the secret back as it is, or sealed for our certificate."""
        said = answer.encrypted_echo_message
        try:
            return said == message or self._identity.decrypt(said) == message.encode()
        except BadContent:
            return False

    # ---------------------------------------------------------------- every call

    async def call(
        self,
        call: str,
        method: str,
        target: str,
        kind: type[T],
        *,
        body: dict[str, Any] | None = None,
        key_id: str = "",
    ) -> T:
        """A verified answer, of that kind. call: its name in errors. Raises GatewayError."""
        answer = await self._answered(call, method, target, body, key_id)
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (ValueError, RecursionError):
            raise Unknown(f"{call}: an answer that is not understood") from None

    async def tell(self, call: str, target: str, body: dict[str, Any]) -> None:
        """POST where the answer says nothing more than that it was done."""
        await self._answered(call, "POST", target, body, "")

    async def _answered(
        self, call: str, method: str, target: str, body: dict[str, Any] | None, key_id: str
    ) -> Answer:
        request = Request(
            call=call,
            method=method,
            target=target,
            body=b"" if body is None else msgspec.json.encode(body),
            key_id=key_id or self.keys.public_key_id,
        )
        answer = await self._http.ask(request)
        is_success = answer.status in {200, 204}
        # A refusal is signed or not; one with a wrong signature is no refusal.
        if is_success or "wechatpay-signature" in answer.headers:
            try:
                await self.keys.verify(answer.headers, answer.body)
            except BadMessage as error:
                request_id = answer.headers.get("request-id", "none")
                raise Unknown(f"{call}: {error} (Request-Id {request_id})") from None
        if not is_success:
            raise refusal_v3(call, answer.status, answer.headers, answer.body)
        return answer


def _refunded(answer: _RefundAnswer, out_refund_no: str) -> Refunded:
    if answer.out_refund_no != out_refund_no:
        raise Unknown("refund: the answer is about another out_refund_no")
    try:
        return Refunded(
            out_refund_no=out_refund_no,
            refund_id=answer.refund_id,
            state=refund_state(answer.status),
            refund_fen=answer.amount.refund,
            refunded_at=rfc3339_millis(answer.success_time) if answer.success_time else None,
        )
    except BadContent as error:
        raise Unknown(f"refund: {error}") from None


def _read_bill(file: bytes, link: _BillAnswer, mch_id: str) -> list[BillRow]:
    digest = hashlib.sha1(file, usedforsecurity=False).hexdigest()
    is_whole = hmac.compare_digest(digest.encode(), link.hash_value.lower().encode())
    if link.hash_type != "SHA1" or not is_whole:
        raise BadContent("the file is not what its hash says")
    return parse_bill(file, mch_id=mch_id)
