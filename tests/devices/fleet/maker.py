"""A vendor of cabinets that does as it is told, and the routes of the fleet on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from tornado.netutil import bind_sockets

from accounts.model import Session, SessionExpired
from devices.vendors.port import Bound, CabinetVendor, VendorRefused, VendorUnknown
from handlers.http import Front, http_server
from handlers.limits import Limits
from handlers.request import Edge
from handlers.routing import Route, Table
from tests.edge.web import Web


class Maker:
    """What it was asked, in order; `answers`: what it raises at the next calls, None for a yes.

    The part of the port that binding takes; `as_vendor` is it.
    """

    code = "maker"

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self.asked: list[tuple[str, str, Mapping[str, Any]]] = []
        self.answers: list[VendorRefused | VendorUnknown | None] = []
        self.doors: tuple[int, ...] = (1,)
        self.bound: dict[str, str] = {}
        self.gate: asyncio.Event | None = None
        self._was_asked = asyncio.Condition()

    @property
    def as_vendor(self) -> CabinetVendor:
        return cast("CabinetVendor", self)

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, _, _ in self.asked]

    async def until(self, *verbs: str) -> None:
        """Wait for it to have been asked this last."""
        async with self._was_asked:
            await self._was_asked.wait_for(lambda: self.verbs[-len(verbs) :] == list(verbs))

    async def bind(
        self,
        device_code: str,
        *,
        store_code: str,
        name: str,
        doors: Mapping[int, str],
        contact_phone: str,
    ) -> Bound:
        said = {"store": store_code, "name": name, "doors": dict(doors), "phone": contact_phone}
        await self._hear("bind", device_code, said)
        self.bound[device_code] = store_code
        return Bound(self.now(), self.doors)

    async def unbind(self, device_code: str, *, reason: str) -> None:
        await self._hear("unbind", device_code, {"reason": reason})
        self.bound.pop(device_code, None)

    async def _hear(self, verb: str, device_code: str, said: Mapping[str, Any]) -> None:
        self.asked.append((verb, device_code, said))
        async with self._was_asked:
            self._was_asked.notify_all()
        answer = self.answers.pop(0) if self.answers else None
        if self.gate is not None:
            await self.gate.wait()
        if answer is not None:
            raise answer


class Office:
    """The back office's browser. people: who each token is."""

    def __init__(self, web: Web) -> None:
        self._web = web

    async def ask(
        self, method: str, path: str, body: object = None, *, token: str = "boss", **headers: str
    ) -> Any:
        pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return await self._web.ask(method, f"/api/v1{path}", body, pairs, token=token)


def staff(account_id: int, role: str) -> Session:
    return Session(account_id, account_id, frozenset({"staff", role}), "staff", 2**52)


@asynccontextmanager
async def serving(
    routes: Sequence[Route], people: Mapping[str, Session], now: Callable[[], int]
) -> AsyncIterator[Office]:
    """These routes for these people, who sign in with their names."""

    def authenticate(token: str) -> Session:
        if token not in people:
            raise SessionExpired
        return people[token]

    edge = Edge(now=now, authenticate=authenticate, limits=Limits(enabled=False), access_log=False)
    front = Front(Table(routes), edge)
    server = http_server(front)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    async with Web(sockets[0].getsockname()[1]) as web:
        yield Office(web)
    server.stop()
    await front.stop(5)
    await server.close_all_connections()
