"""The customer's side in the tests: a third writing of the signature, and a server that is told.

Nothing of the simulator's signing is used here, so each test holds two writings against each other.
"""

import hashlib
import hmac
import itertools
import json
from collections.abc import Callable
from typing import Any

import httpx
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets

from simulators.reach import trusted
from simulators.xiaomai import (
    APP_ID,
    CALLBACK_KEY_ID,
    CALLBACK_SECRET,
    ENDPOINT_ID,
    KEY_ID,
    SECRET,
    Xiaomai,
)

PATH = f"/cb/xiaomai/{ENDPOINT_ID}/events"
Json = dict[str, Any]
_numbers = itertools.count(1)


def sign(secret: str, path: str, timestamp: str, nonce: str, body: bytes) -> str:
    text = f"XM1-HMAC-SHA256\nPOST\n{path}\n\n{timestamp}\n{nonce}\n"
    text += hashlib.sha256(body).hexdigest()
    return hmac.new(secret.encode(), text.encode(), "sha256").hexdigest()


class Customer:
    """Calls the platform, and keeps what it is told.

    answer gives status, headers and body for a told event; without one it is thanked for.
    """

    def __init__(self, sim: Xiaomai) -> None:
        self.sim = sim
        self.told: list[Json] = []
        self.refused: list[str] = []
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[Json], tuple[int, dict[str, str], str]] | None = None
        self.http = httpx.AsyncClient(
            base_url=sim.url, timeout=5, trust_env=False, verify=trusted()
        )

    async def start(self) -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        self._server = HTTPServer(self._receive)
        self._server.add_sockets(sockets)
        self.sim.courier.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}{PATH}"

    async def stop(self) -> None:
        await self.http.aclose()
        self._server.stop()
        await self._server.close_all_connections()

    # ------------------------------------------------------------ as a caller

    async def post(self, path: str, body: Json | bytes, **changes: str) -> httpx.Response:
        """changes: of the headers, or secret, that make it wrong."""
        raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        whole = f"/openapi/v1/{path}"
        timestamp = changes.get("timestamp", str(int(self.sim.clock.now_s())))
        nonce = changes.get("nonce", f"nonce{next(_numbers):020d}")
        secret = changes.get("secret", SECRET)
        headers = {
            "Content-Type": "application/json",
            "X-Xm-App-Id": changes.get("app_id", APP_ID),
            "X-Xm-Key-Id": changes.get("key_id", KEY_ID),
            "X-Xm-Timestamp": timestamp,
            "X-Xm-Nonce": nonce,
            "X-Xm-Sign": changes.get("sign") or sign(secret, whole, timestamp, nonce, raw),
        }
        return await self.http.post(whole, content=raw, headers=headers)

    async def ask(self, path: str, **body: object) -> Json:
        """The whole envelope."""
        value: Json = (await self.post(path, body)).json()
        assert value.keys() == {"code", "message", "request_id", "server_time", "data"}
        return value

    async def data(self, path: str, **body: object) -> Any:
        """The data of an answer that must be good."""
        value = await self.ask(path, **body)
        assert value["code"] == 0, value
        return value["data"]

    async def code(self, path: str, **body: object) -> int:
        code: int = (await self.ask(path, **body))["code"]
        return code

    async def open(self, number: int = 1, **changes: object) -> Json:
        return await self.ask("door/open", **opening(self.sim, number, **changes))

    # ------------------------------------------------------------ as a server

    def _receive(self, request: HTTPServerRequest) -> None:
        raw, headers = request.body, request.headers
        self.posts.append(({name: headers[name] for name in headers}, raw))
        nonce, timestamp = headers["X-Xm-Nonce"], headers["X-Xm-Timestamp"]
        right = sign(CALLBACK_SECRET, request.path, timestamp, nonce, raw)
        event = json.loads(raw)
        is_late = abs(int(timestamp) - self.sim.clock.now_s()) > 300
        if headers["X-Xm-Sign"] != right or is_late or headers["X-Xm-Key-Id"] != CALLBACK_KEY_ID:
            self.refused.append("skew" if is_late else "signature")
            self._say(request, 401, {}, '{"code":1001}')
            return
        self.told.append(event)
        thanks = json.dumps({"code": 0, "event_id": event["event_id"]})
        status, more, text = self.answer(event) if self.answer else (200, {}, thanks)
        self._say(request, status, more, text)

    def _say(
        self, request: HTTPServerRequest, status: int, headers: dict[str, str], text: str
    ) -> None:
        body = text.encode()
        head = {"Content-Length": str(len(body))} | headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        connection = request.connection
        assert connection is not None
        stream = connection.detach()  # type: ignore[attr-defined]
        stream.write(f"HTTP/1.1 {status} x\r\n{lines}Connection: close\r\n\r\n".encode() + body)
        stream.write(b"").add_done_callback(lambda _: stream.close())

    # ------------------------------------------------------------ what it was told

    @property
    def kinds(self) -> list[str]:
        return [event["event_type"] for event in self.told]

    def only(self, kind: str) -> Json:
        (event,) = (event for event in self.told if event["event_type"] == kind)
        return event

    def all(self, kind: str) -> list[Json]:
        return [event for event in self.told if event["event_type"] == kind]


def opening(sim: Xiaomai, number: int = 1, **changes: object) -> Json:
    return {
        "request_id": f"rq-{number}",
        "session_no": f"DS-{number}",
        "device_code": "D1",
        "door_no": 1,
        "purpose": "shop",
        "user_ref": "u-77",
        "pull_ttl_s": 30,
        "max_open_s": 600,
        "amount_limit_fen": 20000,
        "expires_at": sim.now_ms() + 60_000,
    } | changes
