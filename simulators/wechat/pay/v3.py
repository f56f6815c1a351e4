"""The door of V3: who asks is known by an RSA signature, and the answer carries one.

Source: WeChat Pay V3, «签名生成», «签名验证», «错误码»; the answers' headers as of 2026-04.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from simulators.wechat.pay import signing
from simulators.wechat.pay.answers import MoneyHandler, Reply
from simulators.wechat.pay.errors import V3Refusal
from simulators.wechat.pay.faults import PayFault
from simulators.wechat.pay.keys import Pair
from simulators.wechat.pay.merchant import MCH_ID
from simulators.wechat.pay.platform import now_text
from simulators.wechat.pay.posts import OLD_S, dearer

if TYPE_CHECKING:
    from simulators.wechat.sim import WeChat

JSON_TYPE = "application/json; charset=utf-8"
SCHEME = "WECHATPAY2-SHA256-RSA2048"
AUTHORIZATION = re.compile(rf"{SCHEME} (.+)")
PART = re.compile(r'\s*(\w+)="([^"]*)"\s*')
PARTS = {"mchid", "nonce_str", "timestamp", "serial_no", "signature"}
CLOCK_OFF_MAX_S = 300
BAD_AUTHORIZATION = 270924332
BAD_PARAMETER = 268435464

T = TypeVar("T", bound=msgspec.Struct)


class V3Handler(MoneyHandler):
    """`answer_with(endpoint, do)` checks the caller and answers what `do` returns, signed.

    `do` returns what becomes JSON, None for 204, or a whole Reply that stays unsigned.
    """

    def initialize(self, sim: WeChat) -> None:
        super().initialize(sim)
        self._do: Callable[[], Any] = dict

    async def answer_with(self, endpoint: str, do: Callable[[], Any]) -> None:
        self.endpoint, self._do = f"v3.{endpoint}", do
        await self.answer()

    def done(self, fault: PayFault | None) -> Reply:
        kind = fault.kind if fault else ""
        try:
            self._authorize()
            value = self._do()
        except V3Refusal as refusal:
            return self._refused(refusal, kind)
        if isinstance(value, Reply):
            return value
        if kind == "tampered_amount":
            value = dearer(value)
        status = 204 if value is None else 200
        body = b"" if value is None else json.dumps(value, ensure_ascii=False).encode()
        return self._signed(Reply(body, JSON_TYPE, status=status), kind, 0)

    def refusal(self, fault: PayFault) -> Reply:
        if fault.kind == "system_error":
            return self._refused(V3Refusal(500, "SYSTEM_ERROR", "系统异常，请稍后重试"), "")
        told = V3Refusal(fault.status, fault.err_code, fault.err_text, fault.number)
        return self._refused(told, "")

    def body_as(self, shape: type[T]) -> T:
        """The JSON body. Raises V3Refusal PARAM_ERROR."""
        try:
            return msgspec.json.decode(self.request.body, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise bad_parameter(str(error)) from error

    def query_value(self, name: str) -> str:
        """Raises V3Refusal PARAM_ERROR when it is not there."""
        value = self.get_query_argument(name, "")
        if not value:
            raise bad_parameter(f"缺少参数{name}")
        return value

    # -------------------------------------------------------------- who asks

    def _authorize(self) -> None:
        header = AUTHORIZATION.fullmatch(self.request.headers.get("Authorization", ""))
        said = dict(PART.findall(header[1])) if header else {}
        if set(said) != PARTS:
            raise unauthorized("Http头Authorization值格式错误，请参考《签名规则》")
        if said["mchid"] != MCH_ID:
            raise unauthorized("商户号不存在")
        merchant = self.money.platform.merchant
        if said["serial_no"] != merchant.serial:
            raise unauthorized("商户证书序列号有误。请使用签名私钥匹配的证书序列号")
        self._check_fresh(said["timestamp"], said["nonce_str"])
        message = signing.lines(
            self.request.method or "",
            self.request.uri or "",
            said["timestamp"],
            said["nonce_str"],
            self.request.body,
        )
        if not signing.is_signed_v3(message, said["signature"], merchant.public):
            raise unauthorized("签名错误，请检查后再试")
        self.money.nonces[said["nonce_str"]] = self.money.clock.now_s()
        self._check_headers()

    def _check_fresh(self, timestamp: str, nonce: str) -> None:
        now_s, nonces = self.money.clock.now_s(), self.money.nonces
        is_moment = timestamp.isascii() and timestamp.isdigit() and len(timestamp) == 10
        if not is_moment or abs(int(timestamp) - now_s) > CLOCK_OFF_MAX_S:
            raise unauthorized("Http头Authorization中的timestamp与发起请求的时间不得超过5分钟")
        for old in [known for known, at_s in nonces.items() if now_s - at_s > 2 * CLOCK_OFF_MAX_S]:
            del nonces[old]
        if not nonce or nonce in nonces:
            raise unauthorized("Http头Authorization中的nonce_str重复")

    def _check_headers(self) -> None:
        headers = self.request.headers
        accepts = headers.get("Accept", "")
        if "application/json" not in accepts and "*/*" not in accepts:
            raise bad_parameter("Http头缺少Accept: application/json")
        if not headers.get("User-Agent"):
            raise bad_parameter("Http头缺少User-Agent")
        is_json = headers.get("Content-Type", "").startswith("application/json")
        if self.request.body and not is_json:
            raise bad_parameter("Http头Content-Type须为application/json")

    # -------------------------------------------------------------- who answers

    def _pair(self) -> Pair:
        """The pair the caller says it can verify with, else the one of the day."""
        named = self.money.platform.named(self.request.headers.get("Wechatpay-Serial", ""))
        if named is not None:
            return named
        platform = self.money.platform
        return platform.signing if self.money.settings.certificates_available else platform.public

    def _refused(self, refusal: V3Refusal, kind: str) -> Reply:
        value = {"code": refusal.code, "message": refusal.message}
        body = json.dumps(value, ensure_ascii=False).encode()
        reply = Reply(body, JSON_TYPE, refusal.code, status=refusal.status)
        return self._signed(reply, kind, refusal.number)

    def _signed(self, reply: Reply, kind: str, number: int) -> Reply:
        pair = self.money.platform.stranger if kind == "unknown_serial" else self._pair()
        stamp = now_text(self.money.clock, ago_s=OLD_S if kind == "old_timestamp" else 0.0)
        nonce = secrets.token_hex(16)
        signature = signing.sign_v3(signing.lines(stamp, nonce, reply.body), pair.private)
        if kind == "forged_sign":
            signature = base64.b64encode(secrets.token_bytes(256)).decode()
        reply.headers = {
            "Request-Id": f"08{secrets.token_hex(16).upper()}-{number}",
            "Wechatpay-Timestamp": stamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": self.money.platform.name_of(pair),
            "Wechatpay-Signature": signature,
            "Wechatpay-Signature-Type": SCHEME,
        }
        if kind == "missing_sign":
            del reply.headers["Wechatpay-Signature"]
        return reply


def unauthorized(message: str) -> V3Refusal:
    return V3Refusal(401, "SIGN_ERROR", message, BAD_AUTHORIZATION)


def bad_parameter(message: str) -> V3Refusal:
    return V3Refusal(400, "PARAM_ERROR", message, BAD_PARAMETER)
