"""A small server with toy routes on a real socket, and a client that sends what it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from tornado.httputil import HTTPHeaders
from tornado.netutil import bind_sockets

from accounts.model import Session, SessionExpired
from handlers import openapi
from handlers.calls import ADMIN, PUBLIC, SIGNED_IN, Call, Response
from handlers.errors import REFUSALS, Problem
from handlers.http import Front, http_server
from handlers.limits import Limit, Limits
from handlers.request import Edge
from handlers.routing import KIB, RAW, Route, Table
from handlers.wire import Listing, Page, rfc3339

NOON = 1_795_147_200_000


class Toy(msgspec.Struct):
    """Something to play with."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
    price_fen: Annotated[int, msgspec.Meta(ge=0)] = 0
    tags: list[str] = []


class ToyOut(msgspec.Struct):
    id: int
    name: str
    made_at: str
    price_fen: int = 0


class ToyFilter(Page, frozen=True):
    name: str | None = None
    weight_kg: float = 0.0
    from_: Annotated[int, msgspec.Meta(description="The cheapest, in fen.")] = msgspec.field(
        name="from", default=0
    )


class Optional(msgspec.Struct):
    reason: str = ""


class ToyBroken(Exception):
    """A refusal of the toy domain."""

    code = "toy.broken"
    title = "The toy is broken"


class ToyLost(ToyBroken):
    """Not in the table of statuses; its base is."""

    code = "toy.lost"


class Toys:
    """The toy domain: what was called, and what it answers."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.state = "1"
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.error: Exception = ToyBroken("its wheel is off")

    async def make(self, call: Call) -> ToyOut:
        await asyncio.sleep(0)
        toy = self.echo(call).body
        return ToyOut(id=7, name=toy.name, made_at=rfc3339(call.now), price_fen=toy.price_fen)

    def echo(self, call: Call) -> Call:
        self.calls.append(call)
        return call

    def body(self, call: Call) -> object:
        return self.echo(call).body

    def listing(self, call: Call) -> Listing[ToyOut]:
        query: ToyFilter = self.echo(call).query
        return Listing([], 0, query.page, query.page_size)

    def show(self, call: Call) -> ToyOut:
        toy_id: int = self.echo(call).params["toy_id"]
        return ToyOut(id=toy_id, name="bear", made_at=rfc3339(call.now))

    async def wait(self, call: Call) -> ToyOut:
        self.arrived.set()
        await self.gate.wait()
        return self.show(call)

    def fail(self, call: Call) -> None:
        self.echo(call)
        raise self.error

    async def fail_later(self, call: Call) -> None:
        await asyncio.sleep(0)
        self.fail(call)

    def picture(self, call: Call) -> Response:
        return Response(200, self.echo(call).raw, (("Content-Type", "image/png"),))

    def drop(self, call: Call) -> None:
        self.echo(call)

    def seen(self, call: Call) -> str:
        return self.state

    async def seen_later(self, call: Call) -> str | None:
        await asyncio.sleep(0)
        return self.state or None

    def odd(self, call: Call) -> Response:
        return Response(202, {"ok": True}, (("X-Odd", "a\r\nSet-Cookie: b"),))

    def cookies(self, call: Call) -> Response:
        return Response(201, None, (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")))


def shout(problem: Problem) -> Response:
    return Response(200, {"queryErr": problem.code.upper()})


def routes(toys: Toys) -> list[Route]:
    at = "/api/v1/toys"
    one = at + "/{toy_id}"
    return [
        Route("POST", at, toys.make, body=Toy, returns=ToyOut, status=201, who=SIGNED_IN,
              idempotent=True, area="toys", summary="Make a toy.", errors=("toy.broken",)),
        Route("GET", at, toys.listing, query=ToyFilter, returns=Listing[ToyOut], area="toys"),
        Route("GET", one, toys.show, returns=ToyOut, etag=toys.seen, area="toys"),
        Route("GET", one + "/later", toys.show, returns=ToyOut, etag=toys.seen_later,
              who=SIGNED_IN),
        Route("DELETE", one, toys.drop, status=204, who=ADMIN),
        Route("POST", one + "/wait", toys.wait, returns=ToyOut),
        Route("POST", one + "/fail", toys.fail, body=Optional),
        Route("POST", one + "/fail-later", toys.fail_later),
        Route("POST", one + "/odd", toys.odd),
        Route("POST", one + "/cookies", toys.cookies, limit=Limit(per_s=1, burst=2)),
        Route("POST", "/api/v1/names/{name:text}", toys.body, body=Toy, returns=Toy, who=PUBLIC),
        Route("POST", "/api/v1/pictures", toys.picture, body=RAW, max_body=1024 * KIB,
              media_type="image/png"),
        Route("POST", "/", toys.picture, body=RAW, max_body=KIB, refuse=shout,
              in_document=False),
    ]  # fmt: skip


SESSIONS = {
    "diner-token": Session(1, 11, frozenset({"diner"}), "diner", NOON),
    "admin-token": Session(2, 12, frozenset({"admin"}), "seller", NOON),
}


def authenticate(token: str) -> Any:
    """A token that ends in `!` is looked up as if in a database: with a wait."""
    if token.endswith("!"):
        return _look_up(token[:-1])
    if token not in SESSIONS:
        raise SessionExpired
    return SESSIONS[token]


async def _look_up(token: str) -> Session:
    await asyncio.sleep(0)
    if token not in SESSIONS:
        raise SessionExpired
    return SESSIONS[token]


@dataclass
class Server:
    port: int
    toys: Toys
    front: Front

    async def exchange(self, raw: bytes, *, then_leave: bool = False) -> bytes:
        """Send these bytes on a new connection; all that comes back until the server closes it.

        then_leave: close our side after the last byte.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(raw)
            if then_leave:
                writer.write_eof()
            return await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> "Reply":
        lines = {"Host": "toys", "Connection": "close", **(headers or {})}
        if body or method in {"POST", "PUT", "PATCH"}:
            lines.setdefault("Content-Length", str(len(body)))
            lines.setdefault("Content-Type", "application/json")
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items())
        return Reply(await self.exchange(head.encode("latin-1") + b"\r\n" + body))


class Reply:
    """One answer, taken apart."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status_line.split(" ")[1])
        self.pairs = [(line.split(": ", 1)[0], line.split(": ", 1)[1]) for line in lines]
        self.headers = HTTPHeaders(dict(self.pairs))

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        """The problem's code; that it is a proper problem is checked on the way."""
        assert self.headers["Content-Type"] == "application/problem+json"
        problem = self.json
        assert problem["status"] == self.status
        assert problem["type"] == f"urn:callme:problem:{problem['code']}"
        assert problem["request_id"] == self.headers["X-Request-Id"]
        return str(problem["code"])


@asynccontextmanager
async def serving(**edge: Any) -> AsyncIterator[Server]:
    """A server of the toys; keyword arguments replace parts of its Edge."""
    toys = Toys()
    now: Callable[[], int] = edge.pop("now", lambda: NOON)
    idle_timeout_s = edge.pop("idle_timeout_s", 10.0)
    settings: dict[str, Any] = {
        "now": now, "authenticate": authenticate, "limits": Limits(enabled=False),
        "access_log": False, **edge,
    }  # fmt: skip
    table = routes(toys)
    settings.setdefault("refusals", REFUSALS.also({ToyBroken: 409}))
    front = Front(Table([*table, openapi.route(table)]), Edge(**settings))
    server = http_server(front, idle_timeout_s=idle_timeout_s)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield Server(sockets[0].getsockname()[1], toys, front)
    finally:
        server.stop()
        toys.gate.set()
        await front.drain(5)
        await server.close_all_connections()
