"""How an answer leaves, whole or spoilt: shared by V2's and V3's doors."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from simulators.faults import HTML_502, NONSENSE
from simulators.wechat.pay.faults import PayFault

if TYPE_CHECKING:
    from simulators.wechat.pay.wechatpay import WeChatPay
    from simulators.wechat.sim import WeChat

DRIPS = 40


class Reply(msgspec.Struct):
    """outcome: SUCCESS or the err_code, for the record."""

    body: bytes
    content_type: str
    outcome: str = "SUCCESS"
    status: int = 200
    headers: dict[str, str] = {}


class MoneyHandler(RequestHandler):
    """Asks what is to go wrong, does the work or not, and sends what is left of the answer."""

    endpoint = ""

    def initialize(self, sim: WeChat) -> None:
        self.sim = sim

    @property
    def money(self) -> WeChatPay:
        return self.sim.pay

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("X-Simulator", "wechat")

    def done(self, fault: PayFault | None) -> Reply:
        """Do what is asked, and write the answer; some faults are already written into it."""
        raise NotImplementedError

    def refusal(self, fault: PayFault) -> Reply:
        """What the vendor says for the faults that are words: errcode, system_error, fail."""
        raise NotImplementedError

    async def before_sending(self, fault: PayFault | None) -> None:
        """What happens between the work and its answer."""

    async def answer(self) -> None:
        fault = self.money.strike(self.endpoint)
        reply = self.done(fault) if fault is None or fault.does_it else None
        outcome, kind = reply.outcome if reply else None, fault.kind if fault else None
        self.money.note_call(self.endpoint, outcome, kind)
        self.sim.note_call(f"pay.{self.endpoint}", None if outcome != "SUCCESS" else 0, kind)
        await self.before_sending(fault)
        if fault is None:
            self._send(reply or self.nothing())
        else:
            await self._spoil(fault, reply)

    @staticmethod
    def nothing() -> Reply:
        return Reply(b"", "text/plain")

    def _send(self, reply: Reply) -> None:
        self.set_status(reply.status)
        self.set_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.set_header(name, value)
        if reply.status == 204:
            self.clear_header("Content-Type")
            self.finish()
        else:
            self.finish(reply.body)

    async def _spoil(self, fault: PayFault, reply: Reply | None) -> None:
        kind = fault.kind
        if kind == "http_502":
            self._send(Reply(HTML_502, "text/html", status=502))
        elif kind == "drop":
            self.detach().close()
        elif kind == "nonsense":
            self._send(Reply(NONSENSE, "text/plain"))
        elif kind in ("errcode", "system_error", "fail"):
            self._send(self.refusal(fault))
        elif reply is not None and kind == "bad_gzip":
            self._send(_badly_zipped(reply))
        elif reply is not None and kind == "delay":
            await self._wait(fault.seconds)
            self._send(reply)
        elif reply is not None and kind == "drip":
            await self._drip(reply, fault.seconds)
        else:
            self._send(reply or self.nothing())

    async def _drip(self, reply: Reply, seconds: float) -> None:
        """Send the answer in small pieces over so many seconds, as a dying line does."""
        self.set_header("Content-Type", reply.content_type)
        self.set_header("Content-Length", len(reply.body))
        for name, value in reply.headers.items():
            self.set_header(name, value)
        step = max(1, len(reply.body) // DRIPS)
        with contextlib.suppress(StreamClosedError):
            for start in range(0, len(reply.body), step):
                self.write(reply.body[start : start + step])
                await self.flush()
                await self._wait(seconds / DRIPS)
            await self.finish()

    async def _wait(self, seconds: float) -> None:
        """Let go early when the simulator stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.sim.stopping.wait()


def _badly_zipped(reply: Reply) -> Reply:
    """A file of gzip ends in its middle; any other answer only says that it is gzip."""
    if reply.content_type == "application/x-gzip":
        return msgspec.structs.replace(reply, body=reply.body[: len(reply.body) // 2])
    headers = reply.headers | {"Content-Encoding": "gzip"}
    return msgspec.structs.replace(reply, body=NONSENSE, headers=headers)
