"""WeChat on one port, mini-programs and payments: what it knows, and its life as a server."""

import asyncio
import socket
import ssl
from pathlib import Path

import msgspec
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from simulators.clock import VirtualClock
from simulators.faults import FaultBook
from simulators.wechat import api, control, page
from simulators.wechat.apps import APPS, App
from simulators.wechat.logins import Logins
from simulators.wechat.messages import Messages
from simulators.wechat.pay import WeChatPay, v2, v3_common, v3_score
from simulators.wechat.pay import control as pay_control
from simulators.wechat.quota import Quota
from simulators.wechat.tokens import Tokens

CALLS_MAX = 2000
BODY_MAX = 64 * 1024


class Call(msgspec.Struct, frozen=True):
    """One call a caller made: errcode 0 is success, fault names what was spoilt."""

    endpoint: str
    at_s: float
    errcode: int | None
    fault: str | None


class WeChat:
    """A WeChat of its own: `await start(port=0)`, `url`, `await stop()`.

    Given a start_s its clock stands there until it is turned (`clock.advance`). Without a
    keys_dir the keys of the payment side are this process's own and end with it.
    native_notify_url: what the merchant has set for scans of standing codes.
    """

    def __init__(
        self,
        start_s: float | None = None,
        keys_dir: Path | None = None,
        native_notify_url: str = "",
    ) -> None:
        self.clock = VirtualClock(start_s)
        self.pay = WeChatPay(self.clock, keys_dir, native_notify_url)
        self.apps = {app.appid: app for app in APPS}
        self.url = ""
        self._servers: list[HTTPServer] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything, and let the clock run (or stand) as at the beginning."""
        self.clock.reset()
        self.faults = FaultBook()
        self.logins = Logins(self.clock)
        self.tokens = Tokens(self.clock)
        self.messages = Messages(self.clock, self.logins)
        self.code_quota = Quota(most=5000, window_s=60)
        self.calls: list[Call] = []
        self.counts: dict[str, int] = {}
        self.pay.reset(self.logins)

    def app_named(self, name: str) -> App:
        """The "diner" or the "seller" mini-program. Raises KeyError."""
        found = next((app for app in APPS if app.name == name), None)
        if found is None:
            raise KeyError(f"no app named {name!r}")
        return found

    def note_call(self, endpoint: str, errcode: int | None, fault: str | None) -> None:
        self.counts[endpoint] = self.counts.get(endpoint, 0) + 1
        self.calls.append(Call(endpoint, self.clock.now_s(), errcode, fault))
        del self.calls[:-CALLS_MAX]

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> None:
        """Listen; port 0 takes a free one. Raises OSError when the port is taken."""
        # Answers that are still delayed when the simulator stops are let go by this event.
        self.stopping = asyncio.Event()
        self.url = f"http://{host}:{self._listen(port, host)}"
        self.pay.start()

    async def start_tls(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Listen over TLS too, where a client certificate can be shown; the address."""
        return f"https://{host}:{self._listen(port, host, self.pay.tls_context())}"

    async def stop(self) -> None:
        if not self._servers:
            return
        self.stopping.set()
        servers, self._servers = self._servers, []
        for server in servers:
            server.stop()
        await self.pay.stop()
        for server in servers:
            await server.close_all_connections()

    def _listen(self, port: int, host: str, tls: ssl.SSLContext | None = None) -> int:
        sockets = bind_sockets(port, host, family=socket.AF_INET)
        server = HTTPServer(self._application(), max_body_size=BODY_MAX, ssl_options=tls)
        server.add_sockets(sockets)
        self._servers.append(server)
        taken: int = sockets[0].getsockname()[1]
        return taken

    def _application(self) -> Application:
        given = {"sim": self}
        handlers = [
            *(*api.HANDLERS, *control.HANDLERS, *page.HANDLERS),
            *(*v2.HANDLERS, *v3_common.HANDLERS, *v3_score.HANDLERS, *pay_control.HANDLERS),
        ]
        return Application(
            [(path, handler, given) for path, handler in handlers],
            log_function=lambda handler: None,
        )
