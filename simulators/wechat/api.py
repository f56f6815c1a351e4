"""The vendor's own interfaces: what api.weixin.qq.com answers to a mini-program's server.

Source: WeChat mini-program documentation, code2Session, getStableAccessToken,
subscribeMessage.send, getUnlimitedQRCode.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from simulators.faults import HTML_502, NONSENSE, Fault
from simulators.wechat import wxacode
from simulators.wechat.apps import App
from simulators.wechat.errors import TEXTS, WeChatError
from simulators.wechat.messages import Letter

if TYPE_CHECKING:
    from simulators.wechat.sim import WeChat

JSON_TYPE = "application/json; encoding=utf-8"
DRIPS = 40

T = TypeVar("T", bound=msgspec.Struct)


class Answer(msgspec.Struct, frozen=True):
    body: bytes
    content_type: str = JSON_TYPE
    errcode: int = 0


class VendorHandler(RequestHandler):
    """Answers with HTTP 200 always, unless a fault was ordered for this endpoint."""

    endpoint = ""
    json_type = JSON_TYPE

    def initialize(self, sim: WeChat) -> None:
        self.sim = sim

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("X-Simulator", "wechat")

    def do(self) -> Answer:
        """What the vendor does. Raises WeChatError."""
        raise NotImplementedError

    async def answer(self) -> None:
        fault = self.sim.faults.strike(self.endpoint)
        does_it = fault is None or fault.is_done or fault.kind in {"delay", "drip"}
        done = self._done() if does_it else None
        errcode = None if done is None else done.errcode
        self.sim.note_call(self.endpoint, errcode, fault.kind if fault else None)
        if fault is not None:
            await self._spoil(fault, done)
        elif done is not None:
            self._send(done)

    def _done(self) -> Answer:
        try:
            return self.do()
        except WeChatError as error:
            return self.error(error.errcode, str(error))

    def error(self, errcode: int, errmsg: str) -> Answer:
        rid = "-".join((secrets.token_hex(4), secrets.token_hex(4), secrets.token_hex(4)))
        return self.json({"errcode": errcode, "errmsg": f"{errmsg} rid: {rid}"}, errcode)

    def json(self, value: dict[str, Any], errcode: int = 0) -> Answer:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return Answer(text.encode(), self.json_type, errcode)

    def _send(self, answer: Answer) -> None:
        self.set_header("Content-Type", answer.content_type)
        self.finish(answer.body)

    async def _spoil(self, fault: Fault, done: Answer | None) -> None:
        if fault.kind == "http_502":
            self.set_status(502)
            self._send(Answer(HTML_502, "text/html"))
        elif fault.kind == "drop":
            self.detach().close()
        elif fault.kind == "nonsense":
            self._send(Answer(NONSENSE, self.json_type))
        elif fault.kind == "errcode":
            self._send(self.error(fault.errcode, fault.errmsg or TEXTS.get(fault.errcode, "")))
        elif done is not None and fault.kind == "delay":
            await self._wait(fault.seconds)
            self._send(done)
        elif done is not None:
            await self._drip(done, fault.seconds)

    async def _drip(self, answer: Answer, seconds: float) -> None:
        """Send the answer in small pieces over so many seconds, as a dying line does."""
        self.set_header("Content-Type", answer.content_type)
        self.set_header("Content-Length", len(answer.body))
        step = max(1, len(answer.body) // DRIPS)
        with contextlib.suppress(StreamClosedError):
            for start in range(0, len(answer.body), step):
                self.write(answer.body[start : start + step])
                await self.flush()
                await self._wait(seconds / DRIPS)
            await self.finish()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.sim.stopping.wait()

    def app_with_secret(self, appid: str, secret: str) -> App:
        """Raises WeChatError 41002, 40013, 41004, 40125."""
        if not appid:
            raise WeChatError(41002)
        app = self.sim.apps.get(appid)
        if app is None:
            raise WeChatError(40013)
        if not secret:
            raise WeChatError(41004)
        if secret != app.secret:
            raise WeChatError(40125)
        return app

    def body_as(self, kind: type[T]) -> T:
        """The JSON body. Raises WeChatError 47001."""
        try:
            return msgspec.json.decode(self.request.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise WeChatError(47001) from error

    def appid_of_token(self) -> str:
        return self.sim.tokens.check(self.get_query_argument("access_token", ""))


class Code2Session(VendorHandler):
    endpoint = "jscode2session"
    # Not JSON by its name, as in life: a caller that goes by the content type is wrong.
    json_type = "text/plain"

    async def get(self) -> None:
        await self.answer()

    def do(self) -> Answer:
        argument = self.get_query_argument
        app = self.app_with_secret(argument("appid", ""), argument("secret", ""))
        if argument("grant_type", "") != "authorization_code":
            raise WeChatError(40002)
        code = argument("js_code", "")
        if not code:
            raise WeChatError(41008)
        login = self.sim.logins.exchange(app, code)
        value = {"session_key": login.session_key, "openid": login.openid}
        return self.json(value | ({"unionid": login.unionid} if login.unionid else {}))


class TokenRequest(msgspec.Struct):
    grant_type: str = ""
    appid: str = ""
    secret: str = ""
    force_refresh: bool = False


class StableToken(VendorHandler):
    endpoint = "stable_token"

    async def post(self) -> None:
        await self.answer()

    def do(self) -> Answer:
        asked = self.body_as(TokenRequest)
        if asked.grant_type != "client_credential":
            raise WeChatError(40002)
        app = self.app_with_secret(asked.appid, asked.secret)
        token = self.sim.tokens.stable(app, force=asked.force_refresh)
        left_s = int(token.dies_s - self.sim.clock.now_s())
        return self.json({"access_token": token.token, "expires_in": left_s})


class SubscribeSend(VendorHandler):
    endpoint = "subscribe_send"

    async def post(self) -> None:
        await self.answer()

    def do(self) -> Answer:
        appid = self.appid_of_token()
        message = self.sim.messages.send(appid, self.body_as(Letter))
        return self.json({"errcode": 0, "errmsg": "ok", "msgid": message.id})


class GetWxaCode(VendorHandler):
    endpoint = "getwxacodeunlimit"

    async def post(self) -> None:
        await self.answer()

    def do(self) -> Answer:
        self.appid_of_token()
        asked = self.body_as(wxacode.CodeRequest)
        asked.check()
        if asked.page and asked.check_path and not self.sim.messages.has_page(asked.page):
            raise WeChatError(41030)
        if not self.sim.code_quota.allows("all", self.sim.clock.now_s()):
            raise WeChatError(45009)
        return Answer(wxacode.draw(asked), "image/png")


HANDLERS: list[tuple[str, type[RequestHandler]]] = [
    (r"/sns/jscode2session", Code2Session),
    (r"/cgi-bin/stable_token", StableToken),
    (r"/cgi-bin/message/subscribe/send", SubscribeSend),
    (r"/wxa/getwxacodeunlimit", GetWxaCode),
]
ENDPOINTS = ("jscode2session", "stable_token", "subscribe_send", "getwxacodeunlimit", "*")
