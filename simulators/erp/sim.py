"""The ERP on one port: its two interfaces, what spoils them, and the hand behind it."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import socket
from collections import deque
from contextlib import suppress
from typing import Any, Literal, get_args

import msgspec
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from simulators.clock import VirtualClock, utc_text
from simulators.erp.books import Batch, BatchSaid, Books, ErpError, Good
from simulators.faults import HTML_502, NONSENSE
from simulators.hand import ClockOrder, Hand, Strict

TOKEN = "erp-play-token-0123456789abcdef"
BODY_MAX = 4 * 1024 * 1024
CALLS_KEPT = 2000
PAGE_MAX = 200
BATCH_NO = re.compile(r"[A-Za-z0-9._-]{1,40}")

Kind = Literal[
    "http_502",
    "drop",  # the connection ends without an answer; is_done: after it was carried out
    "hang",  # no answer for `seconds`
    "nonsense",  # neither JSON nor UTF-8
    "busy",  # 503 with Retry-After
    "unauthorised",  # 401, as when the token was changed
    "bad_items",  # a page of goods of which some cannot be
    "stale",  # a page of goods that ends with old versions
]
PAGE_KINDS = frozenset({"bad_items", "stale"})
ENDPOINTS = ("goods", "sales", "*")


class ErpFault(msgspec.Struct, forbid_unknown_fields=True):
    """endpoint: goods, sales, or * for both. times: null is for ever."""

    endpoint: str
    kind: Kind
    times: int | None = 1
    seconds: float = 5.0
    is_done: bool = False


class ErpFaults:
    """The faults that wait. Where several fit, the oldest strikes first."""

    def __init__(self) -> None:
        self.waiting: list[ErpFault] = []

    def add(self, fault: ErpFault) -> None:
        """Raises ValueError when it could never strike."""
        if fault.endpoint not in ENDPOINTS:
            raise ValueError(f"no endpoint {fault.endpoint!r}; there are {', '.join(ENDPOINTS)}")
        if fault.kind in PAGE_KINDS and fault.endpoint == "sales":
            raise ValueError(f"{fault.kind!r} is of goods")
        if fault.times is None or fault.times > 0:
            self.waiting.append(fault)

    def strike(self, endpoint: str) -> ErpFault | None:
        for fault in self.waiting:
            if fault.endpoint in (endpoint, "*"):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self.waiting.remove(fault)
                return fault
        return None


class Call(msgspec.Struct, frozen=True):
    endpoint: str
    at_s: float
    status: int | None
    fault: str | None
    subject: str


class Erp:
    """`await start(port=0)`, `url`, `await stop()`. Given a start_s its clock stands there."""

    def __init__(self, start_s: float | None = None) -> None:
        self.clock = VirtualClock(start_s)
        self.token = secrets.token_urlsafe(24)
        self.url = ""
        self._server: HTTPServer | None = None
        self.reset()

    def reset(self) -> None:
        self.clock.reset()
        self.books = Books()
        self.faults = ErpFaults()
        self.calls: deque[Call] = deque(maxlen=CALLS_KEPT)

    @property
    def batches(self) -> dict[str, Batch]:
        return self.books.batches

    def put_good(self, sku: str, **changes: Any) -> Good:
        return self.books.put_good(sku, **changes)

    def discontinue(self, sku: str) -> Good:
        """Raises KeyError."""
        if sku not in self.books.goods:
            raise KeyError(f"no good {sku!r}")
        return self.books.put_good(sku, status=0)

    def introduction(self) -> dict[str, Any]:
        return {
            "name": "erp",
            "is_simulator": True,
            "url": self.url,
            "token": TOKEN,
            "control_url": f"{self.url}/__sim",
            "control_token": self.token,
        }

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> None:
        """Listen; port 0 takes a free one. Raises OSError when the port is taken."""
        self.stopping = asyncio.Event()
        sockets = bind_sockets(port, host, family=socket.AF_INET)
        given = {"sim": self}
        application = Application(
            [(path, handler, given) for path, handler in HANDLERS],
            log_function=lambda handler: None,
        )
        self._server = HTTPServer(application, max_body_size=BODY_MAX)
        self._server.add_sockets(sockets)
        self.url = f"http://{host}:{sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        self.stopping.set()
        server.stop()
        await server.close_all_connections()


# ---------------------------------------------------------------- the contract


class Said(msgspec.Struct, frozen=True):
    status: int
    value: Any


class ErpHandler(RequestHandler):
    endpoint = ""

    def initialize(self, sim: Erp) -> None:
        self.sim = sim

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("X-Simulator", "erp")

    def do(self, subject: str) -> Said:
        """What the ERP does. Raises ErpError."""
        raise NotImplementedError

    async def answer(self, subject: str = "") -> None:
        fault = self.sim.faults.strike(self.endpoint)
        does_it = fault is None or fault.is_done or fault.kind in PAGE_KINDS
        said = self._said(subject) if does_it else None
        kind = fault.kind if fault else None
        status = said.status if said else None
        self.sim.calls.append(Call(self.endpoint, self.sim.clock.now_s(), status, kind, subject))
        if fault is not None:
            await self._spoil(fault, said)
        elif said is not None:
            self._send(said)

    def _said(self, subject: str) -> Said:
        try:
            self._check_token()
            return self.do(subject)
        except ErpError as error:
            return Said(error.status, {"code": error.code, "detail": error.detail})

    def _check_token(self) -> None:
        given = self.request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {TOKEN}".encode()):
            raise ErpError(401, "token.wrong")

    def _send(self, said: Said) -> None:
        self.set_status(said.status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(msgspec.json.encode(said.value))

    async def _spoil(self, fault: ErpFault, said: Said | None) -> None:
        if fault.kind == "http_502":
            self.set_status(502)
            self.set_header("Content-Type", "text/html")
            self.finish(HTML_502)
        elif fault.kind == "nonsense":
            self.finish(NONSENSE)
        elif fault.kind == "busy":
            self.set_header("Retry-After", "30")
            self._send(Said(503, {"code": "busy"}))
        elif fault.kind == "unauthorised":
            self._send(Said(401, {"code": "token.wrong"}))
        elif said is not None and fault.kind in PAGE_KINDS:
            self._send(_spoilt(said, fault.kind))
        else:
            if fault.kind == "hang":
                await self._wait(fault.seconds)
            self.detach().close()

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.sim.stopping.wait()


def _spoilt(said: Said, kind: str) -> Said:
    """A page with items that cannot be, or with older copies of its first ones at the end."""
    goods = [msgspec.to_builtins(good) for good in said.value.get("goods", [])]
    if kind == "stale":
        old = [g | {"version": 0, "price_fen": g["price_fen"] + 1} for g in goods[:2]]
        return Said(said.status, said.value | {"goods": goods + old})
    wrong = [{"price_fen": -1}, {"name": ""}, {"sku": "x" * 60}, {"status": "sold"}]
    spoilt = [g | w for g, w in zip(goods, wrong, strict=False)]
    return Said(said.status, said.value | {"goods": [*spoilt, "nothing", *goods[len(wrong) :]]})


class Goods(ErpHandler):
    endpoint = "goods"

    async def get(self) -> None:
        await self.answer()

    def do(self, subject: str) -> Said:
        limit = self.get_query_argument("limit", str(PAGE_MAX))
        if not limit.isdigit() or not 1 <= int(limit) <= PAGE_MAX:
            raise ErpError(400, "request.malformed", f"limit is 1 to {PAGE_MAX}")
        cursor = self.get_query_argument("cursor", "")
        goods, next_cursor, has_more = self.sim.books.page(cursor, int(limit))
        return Said(200, {"goods": goods, "next_cursor": next_cursor, "has_more": has_more})


class SalesBatch(ErpHandler):
    endpoint = "sales"

    async def put(self, batch_no: str) -> None:
        await self.answer(batch_no)

    async def get(self, batch_no: str) -> None:
        await self.answer(batch_no)

    def do(self, subject: str) -> Said:
        return self._shown(subject) if self.request.method == "GET" else self._received(subject)

    def _shown(self, batch_no: str) -> Said:
        batch = self.sim.batches.get(batch_no)
        if batch is None:
            raise ErpError(404, "batch.unknown", batch_no)
        return Said(200, batch.summed())

    def _received(self, batch_no: str) -> Said:
        if BATCH_NO.fullmatch(batch_no) is None:
            raise ErpError(400, "request.malformed", "no number of a batch")
        try:
            said = msgspec.json.decode(self.request.body, type=BatchSaid)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ErpError(400, "request.malformed", str(error)) from error
        now_ms = int(self.sim.clock.now_s() * 1000)
        batch, is_new = self.sim.books.receive(batch_no, said, now_ms)
        return Said(201 if is_new else 200, batch.shown())


# ---------------------------------------------------------------- the hand behind it


class GoodOrder(Strict):
    """What is not named stays as it is."""

    sku: str
    barcode: str | None = None
    name: str | None = None
    price_fen: int | None = None
    weight_g: int | None = None
    image_url: str | None = None
    status: int | None = None


class ErpHand(Hand):
    sim: Erp


class GoodsHand(ErpHand):
    def get(self) -> None:
        self.say({"goods": list(self.sim.books.goods.values())})

    def post(self) -> None:
        order = msgspec.structs.asdict(self.body_as(GoodOrder))
        sku = order.pop("sku")
        changes = {name: value for name, value in order.items() if value is not None}
        self.say(self.sim.put_good(sku, **changes))


class BatchesHand(ErpHand):
    """?lines=1 shows the lines too."""

    def get(self) -> None:
        with_lines = self.get_query_argument("lines", "") == "1"
        shown = [
            batch.summed() | ({"lines": batch.said.lines} if with_lines else {})
            for batch in self.sim.batches.values()
        ]
        self.say({"batches": shown, "days": self.sim.books.totals()})


class FaultsHand(ErpHand):
    def get(self) -> None:
        self.say({"faults": self.sim.faults.waiting, "kinds": get_args(Kind)})

    def post(self) -> None:
        self.sim.faults.add(self.body_as(ErpFault))
        self.say({"faults": self.sim.faults.waiting})

    def delete(self) -> None:
        self.sim.faults.waiting.clear()
        self.say({"faults": []})


class CallsHand(ErpHand):
    def get(self) -> None:
        self.say({"calls": list(self.sim.calls)})


class ClockHand(ErpHand):
    def post(self) -> None:
        order, clock = self.body_as(ClockOrder), self.sim.clock
        if order.now_s is not None:
            clock.set(order.now_s)
        clock.advance(order.advance_s)
        if order.running is not None and order.running != clock.is_running:
            clock.run() if order.running else clock.stop()
        self.say({"now_s": clock.now_s(), "now": utc_text(clock.now_s())})


class StateHand(ErpHand):
    def get(self) -> None:
        counts = {"goods": len(self.sim.books.goods), "batches": len(self.sim.batches)}
        self.say(self.sim.introduction() | counts | {"faults": self.sim.faults.waiting})


class ResetHand(ErpHand):
    def post(self) -> None:
        self.sim.reset()
        self.say({})


HANDLERS: list[tuple[str, type[RequestHandler]]] = [
    (r"/api/v1/goods", Goods),
    (r"/api/v1/sales-batches/([^/]+)", SalesBatch),
    (r"/__sim/goods", GoodsHand),
    (r"/__sim/batches", BatchesHand),
    (r"/__sim/faults", FaultsHand),
    (r"/__sim/calls", CallsHand),
    (r"/__sim/clock", ClockHand),
    (r"/__sim/state", StateHand),
    (r"/__sim/reset", ResetHand),
]
