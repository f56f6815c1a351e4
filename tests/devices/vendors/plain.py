"""A platform that speaks as the sim vendor's does: cabinets, bills, and unsigned callbacks."""

import asyncio
import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest, ResponseStartLine
from tornado.netutil import bind_sockets

from tests.clock import Clock

TOKEN = "of the plain platform"
SECRET = "path-secret-of-ours"


class Visit(msgspec.Struct):
    """An open command and what came of it."""

    command: str
    visit: str
    cabinet: str
    door: int
    bill_no: str
    step: str = "waiting"
    opened: str | None = None
    shut: str | None = None


class Box(msgspec.Struct):
    code: str
    doors: int
    prices: dict[str, str]
    is_alive: bool = True
    is_yours: bool = True
    layout: int = 0
    celsius: float = 4.25


class Refusal(Exception):
    def __init__(self, word: str, status: int = 409, **more: Any) -> None:
        super().__init__(word)
        self.status = status
        self.said = {"error": word, **more}


class Plain:
    """callback_url: where events go; without one they are kept in `words` only."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.boxes: dict[str, Box] = {}
        self.visits: dict[str, Visit] = {}
        self.bills: dict[str, dict[str, Any]] = {}
        self.words: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.refused_skus: set[str] = set()
        self.spoilt: list[tuple[str, bool]] = []
        self.page_size = 100
        self.url = self.callback_url = ""
        self._numbers = itertools.count(1)
        self._sending: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._server = HTTPServer(self._serve)
        sockets = bind_sockets(0, "127.0.0.1")
        self._server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()

    async def idle(self) -> None:
        while self._sending:
            await asyncio.gather(*self._sending)

    # ------------------------------------------------------------ what happens there

    def shop(self, code: str, taken: dict[str, int]) -> None:
        """Whoever was let in pulls, takes, and closes."""
        visit = next(v for v in self.visits.values() if v.cabinet == code and v.step == "waiting")
        visit.step, visit.opened = "shut", self._now()
        visit.shut = visit.opened
        prices = self.boxes[code].prices
        fen = sum(_fen(prices[sku]) * quantity for sku, quantity in taken.items())
        self.bills[visit.bill_no] = {
            "no": visit.bill_no,
            "cabinet": code,
            "door": visit.door,
            "visit": visit.visit,
            "command": visit.command,
            "edition": 1,
            "sure": "yes",
            "goods": {sku: [prices[sku], quantity] for sku, quantity in taken.items()},
            "sum": f"{fen // 100}.{fen % 100:02}",
            "opened": visit.opened,
            "shut": visit.shut,
            "changed": visit.shut,
        }
        about = {
            "cabinet": code,
            "door": visit.door,
            "visit": visit.visit,
            "command": visit.command,
        }
        self.tell("opened", **about)
        self.tell("shut", **about)
        self.tell("bill", **about, bill=self._bill(visit.bill_no))

    def tell(self, what: str, **fields: Any) -> None:
        number = f"w{next(self._numbers)}"
        self.words.append({"id": number, "what": what, "at": self._now(), **fields})
        if self.callback_url and not self._sending:
            task = asyncio.get_running_loop().create_task(self._send())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            while self.words:
                word = self.words.pop(0)
                answer = await client.post(self.callback_url, json=word)
                assert answer.status_code == 200, answer.text

    def _bill(self, number: str) -> dict[str, Any]:
        return {name: value for name, value in self.bills[number].items() if name != "changed"}

    def _now(self) -> str:
        return datetime.fromtimestamp(self.clock.now() / 1000, UTC).isoformat()

    # ------------------------------------------------------------ HTTP

    def _serve(self, request: HTTPServerRequest) -> None:
        self.requests.append(f"{request.method} {request.path}")
        how, is_done = self.spoilt.pop(0) if self.spoilt else ("", True)
        status, body = self._answered(request) if is_done else (200, b"")
        connection = request.connection
        assert connection is not None
        if how == "hang_up":
            connection.detach().close()  # type: ignore[attr-defined]
            return
        if how == "http_502":
            status, body = 502, b"<html>"
        elif how == "nonsense":
            status, body = 200, b"\xff{"
        head = ResponseStartLine("HTTP/1.1", status, "So")
        from tornado.httputil import HTTPHeaders

        connection.write_headers(head, HTTPHeaders({"Content-Length": str(len(body))}), body)
        connection.finish()

    def _answered(self, request: HTTPServerRequest) -> tuple[int, bytes]:
        try:
            if request.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise Refusal("token", 401)
            return 200, msgspec.json.encode(self._do(request))
        except Refusal as refusal:
            return refusal.status, msgspec.json.encode(refusal.said)

    def _do(self, request: HTTPServerRequest) -> dict[str, Any]:
        body = msgspec.json.decode(request.body) if request.body else {}
        query = {name: values[0].decode() for name, values in request.query_arguments.items()}
        asked = f"{request.method} {request.path}"
        for pattern, do in self._calls():
            found = re.fullmatch(pattern, asked)
            if found:
                return do(*found.groups(), body or query)
        raise Refusal("what", 404)

    def _calls(self) -> list[tuple[str, Callable[..., dict[str, Any]]]]:
        return [
            (r"GET /cabinets", self._show),
            (r"PUT /cabinets/([^/]+)", self._bind),
            (r"DELETE /cabinets/([^/]+)", self._unbind),
            (r"PATCH /cabinets/([^/]+)", self._set),
            (r"POST /cabinets/([^/]+)/restart", self._set),
            (r"PUT /cabinets/([^/]+)/layout", self._lay_out),
            (r"POST /cabinets/([^/]+)/doors/(\d+)/open", self._open),
            (r"GET /commands/([^/]+)", self._command),
            (r"POST /commands/([^/]+)/stop", self._stop),
            (r"GET /bills", self._list),
            (r"PATCH /goods", self._goods),
        ]

    def _box(self, code: str) -> Box:
        box = self.boxes.get(code)
        if box is None:
            raise Refusal("unknown cabinet", 404)
        return box

    def _show(self, query: dict[str, str]) -> dict[str, Any]:
        boxes = [self.boxes[code] for code in query["codes"].split(",") if code in self.boxes]
        return {
            "cabinets": [
                {
                    "code": box.code,
                    "isAlive": box.is_alive,
                    "seen": self._now(),
                    "onMains": True,
                    "celsius": box.celsius,
                    "wantedCelsius": 4,
                    "volume": 30,
                    "layout": box.layout,
                    "doors": [
                        {"no": number + 1, "isOpen": False, "visit": self._guest(box, number + 1)}
                        for number in range(box.doors)
                    ],
                }
                for box in boxes
            ]
        }

    def _guest(self, box: Box, door: int) -> str | None:
        for visit in self.visits.values():
            if (visit.cabinet, visit.door, visit.step) == (box.code, door, "waiting"):
                return visit.visit
        return None

    def _bind(self, code: str, body: dict[str, Any]) -> dict[str, Any]:
        box = self._box(code)
        box.is_yours = True
        return {"aliveSince": self._now(), "doors": box.doors, "build": "p1"}

    def _unbind(self, code: str, body: dict[str, Any]) -> dict[str, Any]:
        self._box(code).is_yours = False
        return {}

    def _set(self, code: str, body: dict[str, Any]) -> dict[str, Any]:
        box = self._box(code)
        box.celsius = body.get("wantedCelsius", box.celsius)
        return {}

    def _lay_out(self, code: str, body: dict[str, Any]) -> dict[str, Any]:
        box = self._box(code)
        if body["after"] != box.layout:
            raise Refusal("other layout", layout=box.layout)
        box.layout = body["layout"]
        return {}

    def _open(self, code: str, door: str, body: dict[str, Any]) -> dict[str, Any]:
        known = self.visits.get(body["command"])
        if known is None:
            box = self._box(code)
            if not box.is_yours:
                raise Refusal("not yours")
            if not box.is_alive:
                raise Refusal("asleep")
            if self._guest(box, int(door)):
                raise Refusal("busy")
            number = f"B{next(self._numbers)}"
            known = Visit(body["command"], body["visit"], code, int(door), number)
            self.visits[known.command] = known
        return {"billNo": known.bill_no}

    def _command(self, command: str, _: dict[str, Any]) -> dict[str, Any]:
        visit = self.visits.get(command)
        if visit is None:
            return {"step": "none"}
        return {
            "step": visit.step,
            "opened": visit.opened,
            "shut": visit.shut,
            "billNo": visit.bill_no,
            "why": "untouched" if visit.step == "failed" else "",
        }

    def _stop(self, command: str, _: dict[str, Any]) -> dict[str, Any]:
        visit = self.visits[command]
        is_early = visit.step == "waiting"
        if is_early:
            visit.step = "failed"
        return {"isStopped": is_early}

    def _list(self, query: dict[str, str]) -> dict[str, Any]:
        if "page" not in query:
            found = [
                self._bill(number)
                for number, bill in self.bills.items()
                if query.get("no") == number or query.get("visit") == bill["visit"]
            ]
            if not found:
                raise Refusal("unknown bill", 404)
            return {"bills": found}
        since, until = (datetime.fromisoformat(query[name]) for name in ("from", "to"))
        page = int(query["page"])
        found = [
            self._bill(number)
            for number, bill in self.bills.items()
            if since <= datetime.fromisoformat(bill["changed"]) <= until
        ]
        first, last = (page - 1) * self.page_size, page * self.page_size
        return {"bills": found[first:last], "hasMore": len(found) > last}

    def _goods(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"refused": {sku: "not liked" for sku in body["goods"] if sku in self.refused_skus}}


def _fen(yuan: str) -> int:
    whole, _, rest = yuan.partition(".")
    return int(whole) * 100 + int(rest)
