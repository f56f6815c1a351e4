"""Honest small clients of a server: over HTTP in both dialects, and over a WebSocket."""

import asyncio
import itertools
import time
from typing import Any, Literal, Self

import httpx
import msgspec

from tests.chaos.cluster import ADMIN, PATIENCE_S, Cluster, Node
from tests.chaos.wire import NotUpgraded, Wire

App = Literal["diner", "seller"]

_serial = itertools.count(1)


class Refused(Exception):
    """The server understood, and said no."""

    def __init__(self, code: str, status: int = 0) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


class Unknown(Exception):
    """No answer came: it may or may not have been done."""


class Person:
    """Somebody signed in. token: of REST and WebSocket; key: of the old dialect."""

    def __init__(self, cluster: Cluster, openid: str, app: App) -> None:
        self.openid = openid
        self.app = app
        self.token = ""
        self.key = ""
        self._cluster = cluster

    async def sign_in(self, node: Node) -> Self:
        code = f"sim:{self.openid}:{next(_serial)}"
        answer = await self.rest(node, "POST", "/api/v1/sessions", {"app": self.app, "code": code})
        self.token = answer["token"]
        return self

    async def log_in(self, node: Node) -> Self:
        """As the original's clients do."""
        code = f"sim:{self.openid}:{next(_serial)}"
        isseller = "yes" if self.app == "seller" else "no"
        answer = await self.old(node, "login", isseller=isseller, code=code)
        self.key = answer["sessionKey"]
        return self

    async def rest(
        self, node: Node, method: str, path: str, body: object = None, *, key: str = ""
    ) -> Any:
        """The answer's JSON. Raises Refused, Unknown."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if key:
            headers["Idempotency-Key"] = key
        try:
            answer = await self._cluster.http.request(
                method, node.url + path, json=body, headers=headers
            )
        except httpx.TransportError as error:
            raise Unknown from error
        if answer.status_code >= 400:
            raise Refused(answer.json()["code"], answer.status_code)
        return answer.json() if answer.content else None

    async def old_raw(self, node: Node, query: str, **fields: object) -> httpx.Response:
        """Raises Unknown."""
        form = {"query": query, "sessionKey": self.key, **fields}
        try:
            return await self._cluster.http.post(f"{node.url}/", data=form)
        except httpx.TransportError as error:
            raise Unknown from error

    async def old(self, node: Node, query: str, **fields: object) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.old_raw(node, query, **fields)).json()
        return answer

    async def socket(self, node: Node) -> "Socket":
        """Raises Unknown, Refused."""
        socket = await Socket.connect(self._cluster, node)
        await socket.ask("auth", token=self.token)
        return socket


class Socket:
    """A WebSocket whose answers are given to who asked, and whose events are kept in order."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._news = asyncio.Event()
        self.events: list[dict[str, Any]] = []
        # When each event came, on the monotonic clock.
        self.heard_at: list[float] = []
        self._task = asyncio.create_task(self._listen())

    @classmethod
    async def connect(cls, cluster: Cluster, node: Node) -> Self:
        """Raises Unknown."""
        try:
            wire = await Wire.connect(node.port)
        except NotUpgraded as error:
            raise Unknown from error
        socket = cls(wire)
        cluster.at_end.append(socket.end)
        return socket

    @property
    def close_code(self) -> int | None:
        return self.wire.close_code

    async def _listen(self) -> None:
        while (text := await self.wire.text()) is not None:
            message = msgspec.json.decode(text)
            if message["type"] == "event":
                self.events.append(message)
                self.heard_at.append(time.monotonic())
                self._news.set()
            elif message["type"] in {"result", "pong"}:
                waiting = self._waiting.pop(message.get("id"), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Unknown())
                # Nobody may be waiting for it any more.
                waiting.exception()
        self._news.set()

    async def ask(self, kind: str, **fields: Any) -> Any:
        """Raises Refused; Unknown when the connection ended first."""
        if self.close_code is not None:
            raise Unknown
        number = next(self._ids)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.send(id=number, type=kind, **fields)
        async with asyncio.timeout(PATIENCE_S):
            message = await waiting
        if not message.get("ok", True):
            raise Refused(message["error"]["code"])
        return message.get("data")

    def send(self, **fields: Any) -> None:
        """Without waiting for an answer."""
        self.wire.send(msgspec.json.encode(fields))

    async def hear(self, count: int, *, within_s: float = PATIENCE_S) -> list[dict[str, Any]]:
        """Wait until so many events have come in all."""
        async with asyncio.timeout(within_s):
            while len(self.events) < count:
                assert self.close_code is None, f"closed with {self.close_code}"
                self._news.clear()
                await self._news.wait()
        return self.events

    async def hear_named(self, name: str, *, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for the first event of that name."""
        seen = 0
        async with asyncio.timeout(within_s):
            while True:
                for event in self.events[seen:]:
                    if event["name"] == name:
                        return event
                seen = len(self.events)
                await self.hear(seen + 1)

    async def closed(self, *, within_s: float = PATIENCE_S) -> int:
        async with asyncio.timeout(within_s):
            await asyncio.shield(self._task)
        assert self.close_code is not None
        return self.close_code

    async def close(self) -> None:
        self.wire.say_goodbye()
        await self.closed()

    async def end(self) -> None:
        self.wire.vanish()
        await self._task


async def admin_of(cluster: Cluster, node: Node) -> Person:
    return await Person(cluster, ADMIN, "seller").sign_in(node)


async def open_stall(
    cluster: Cluster, node: Node, *, months: int = 6, openid: str = "", **values: Any
) -> tuple[int, Person]:
    """A new stall and its seller (who may be named), signed in with both faces."""
    serial = next(_serial)
    admin = await admin_of(cluster, node)
    phone = f"139{serial:08d}"
    stall = await admin.rest(
        node,
        "POST",
        "/api/v1/admin/stalls",
        {"name": f"stall {serial}", "phone": phone, "months": months, **values},
    )
    seller = Person(cluster, openid or f"openid-of-the-seller-{serial}", "seller")
    await seller.sign_in(node)
    await seller.log_in(node)
    assert (await seller.old(node, "signup", telNum=phone))["signupSuccess"] == "success"
    return stall["id"], seller
