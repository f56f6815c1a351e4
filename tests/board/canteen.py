"""A scripted server for the pages: serves web/ and speaks the live protocol to boards.

It follows the documented protocol, not the product's code, so the board is
tested against the agreement. What a test wants to go wrong it says to the canteen.
"""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import tornado.httpserver
import tornado.web
import tornado.websocket
from tornado.testing import bind_unused_port

WEB = Path(__file__).resolve().parents[2] / "web"
CONTENT_SECURITY_POLICY = "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob:"
ENDED = {"ticket.finished": "finished", "ticket.cancelled": "cancelled"}
ENDED |= {"ticket.no_show": "no_show", "ticket.released": "released"}
STATUS = {"ticket.issued": "issued", "ticket.noted": "noted", "ticket.requeued": "noted"}
STATUS |= {"ticket.called": "called", "ticket.recalled": "called", **ENDED}

Frame = dict[str, Any]


def rfc3339(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


@dataclass
class Stall:
    """One stall: its stream of events and the live tickets that follow from them."""

    id: int
    name: str
    epoch: str = "e1"
    id_field: str = "id"
    seq: int = 0
    events: list[Frame] = field(default_factory=list)
    tickets: dict[int, Frame] = field(default_factory=dict)

    def happen(self, name: str, number: int = 0, *, ago_s: float = 0) -> Frame:
        """Record an event; a ticket event moves the live ticket of that number."""
        self.seq += 1
        at = rfc3339(datetime.now(UTC) - timedelta(seconds=ago_s))
        data = self._move(name, number, at) if number else {}
        if name == "stall.changed":
            data = {"name": self.name, "open": True}
        event = {
            "type": "event",
            "topic": f"stall:{self.id}",
            "epoch": self.epoch,
            "seq": self.seq,
            "name": name,
            "at": at,
            "data": data,
        }
        self.events.append(event)
        return event

    def _move(self, name: str, number: int, at: str) -> Frame:
        live = (ticket for ticket in self.tickets.values() if ticket["number"] == number)
        ticket = next(live, None) or {
            "ticket_id": (self.id << 32) | self.seq,
            "number": number,
            "calls": 0,
            "issued_at": at,
            "called_at": None,
        }
        if name in {"ticket.called", "ticket.recalled"}:
            ticket = {**ticket, "calls": ticket["calls"] + 1, "called_at": at}
        ticket = {**ticket, "status": STATUS[name]}
        self.tickets[ticket["ticket_id"]] = ticket
        if name in ENDED:
            del self.tickets[ticket["ticket_id"]]
        return ticket

    def snapshot(self) -> Frame:
        tickets = [
            {**ticket, self.id_field: ticket["ticket_id"]} for ticket in self.tickets.values()
        ]
        calling = [ticket for ticket in tickets if ticket["status"] == "called"]
        if self.id_field != "ticket_id":
            for ticket in tickets:
                del ticket["ticket_id"]
        return {
            "stall": {"id": self.id, "name": self.name, "open": True},
            "calling": sorted(calling, key=self._last_call, reverse=True),
            "waiting": len(tickets) - len(calling),
            "tickets": tickets,
        }

    def _last_call(self, ticket: Frame) -> int:
        number, at = ticket["number"], ticket["called_at"]
        calls = [
            event
            for event in self.events
            if (event["data"].get("number"), event["data"].get("called_at")) == (number, at)
        ]
        return int(calls[-1]["seq"]) if calls else 0

    def answer_to(self, since: Frame | None) -> Frame:
        head = {"epoch": self.epoch, "seq": self.seq}
        if since is None or since["epoch"] != self.epoch or since["seq"] > self.seq:
            return {**head, "recovered": False, "snapshot": self.snapshot()}
        missed = [event for event in self.events if event["seq"] > since["seq"]]
        return {**head, "recovered": True, "events": missed}


class Canteen:
    """The server. `subscriptions` and `pings` tell a test what boards have asked."""

    def __init__(self, *names: str) -> None:
        self.stalls = {n: Stall(n, name) for n, name in enumerate(names, start=7)}
        self.boards: list[BoardSocket] = []
        self.subscriptions: asyncio.Queue[Frame] = asyncio.Queue()
        self.pings: asyncio.Queue[Frame] = asyncio.Queue()
        self.refusals: asyncio.Queue[str] = asyncio.Queue()
        self.is_open = True
        self.answers_pings = True
        self.heartbeat_s = 25
        self.busy_answers = 0
        socket, port = bind_unused_port()
        self.address = f"http://127.0.0.1:{port}"
        self.server = tornado.httpserver.HTTPServer(self._application())
        self.server.add_socket(socket)

    def _application(self) -> tornado.web.Application:
        pages = {"path": WEB / "board", "default_filename": "index.html"}
        return tornado.web.Application(
            [
                ("/api/v1/ws", BoardSocket, {"canteen": self}),
                ("/api/v1/stalls", StallsHandler, {"canteen": self}),
                (r"/api/v1/stalls/(\d+)", StallHandler, {"canteen": self}),
                ("/readyz", ReadyHandler),
                ("/board/(.*)", PageHandler, pages),
                ("/home/(.*)", PageHandler, {"path": WEB / "home"}),
                ("/()", PageHandler, {"path": WEB / "home", "default_filename": "index.html"}),
            ],
            log_function=lambda handler: None,
        )

    def happen(self, name: str, number: int = 0, *, stall: int = 7, ago_s: float = 0) -> None:
        """Record an event and tell the boards that listen."""
        self.send(self.stalls[stall].happen(name, number, ago_s=ago_s))

    def call(self, *numbers: int, stall: int = 7) -> None:
        for number in numbers:
            self.happen("ticket.called", number, stall=stall)

    def send(self, event: Frame) -> None:
        for board in self.boards:
            if event["topic"] in board.topics:
                board.send(event)

    def cut(self, code: int = 1012) -> None:
        while self.boards:
            self.boards.pop().close(code)

    async def subscription(self) -> Frame:
        """The next subscribe frame of any board."""
        return await asyncio.wait_for(self.subscriptions.get(), 20)

    async def ping(self) -> Frame:
        return await asyncio.wait_for(self.pings.get(), 20)

    async def refusal(self) -> str:
        """Wait until a board was refused a connection."""
        return await asyncio.wait_for(self.refusals.get(), 20)

    async def close(self) -> None:
        self.server.stop()
        self.cut()
        await self.server.close_all_connections()


class BoardSocket(tornado.websocket.WebSocketHandler):
    canteen: Canteen

    def initialize(self, canteen: Canteen) -> None:
        self.canteen = canteen
        self.topics: set[str] = set()

    def prepare(self) -> None:
        if not self.canteen.is_open:
            self.canteen.refusals.put_nowait("closed")
            raise tornado.web.Finish

    def open(self, *args: str, **kwargs: str) -> None:
        self.canteen.boards.append(self)
        hello = {"type": "hello", "protocol": 1, "heartbeat_s": self.canteen.heartbeat_s}
        self.send({**hello, "server_time": rfc3339(datetime.now(UTC))})

    def on_close(self) -> None:
        if self in self.canteen.boards:
            self.canteen.boards.remove(self)

    def on_message(self, message: str | bytes) -> None:
        frame = json.loads(message)
        if frame["type"] == "auth":
            assert frame == {"id": 1, "type": "auth", "board": True}
            self.result(frame, {"account_id": None, "roles": []})
        elif frame["type"] == "subscribe":
            self.subscribe(frame)
        elif frame["type"] == "ping":
            self.canteen.pings.put_nowait(frame)
            if self.canteen.answers_pings:
                self.send({"id": frame["id"], "type": "pong"})

    def subscribe(self, frame: Frame) -> None:
        self.canteen.subscriptions.put_nowait(frame)
        stall = self.canteen.stalls.get(int(frame["topic"].removeprefix("stall:")))
        if stall is None:
            self.refuse(frame, "topic.not_found")
            return
        if self.canteen.busy_answers > 0:
            self.canteen.busy_answers -= 1
            self.refuse(frame, "stream.busy")
            return
        self.topics.add(frame["topic"])
        self.result(frame, stall.answer_to(frame.get("since")))

    def refuse(self, frame: Frame, code: str) -> None:
        error = {"code": code, "title": "No"}
        self.send({"id": frame["id"], "type": "result", "ok": False, "error": error})

    def result(self, frame: Frame, data: Frame) -> None:
        self.send({"id": frame["id"], "type": "result", "ok": True, "data": data})

    def send(self, frame: Frame) -> None:
        sent = self.write_message(json.dumps(frame))
        # A board that is just being closed misses the frame and asks for it when it is back.
        sent.add_done_callback(lambda done: done.cancelled() or done.exception())


class PageHandler(tornado.web.StaticFileHandler):
    def set_extra_headers(self, path: str) -> None:
        self.set_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")


class StallsHandler(tornado.web.RequestHandler):
    def initialize(self, canteen: Canteen) -> None:
        self.stalls = canteen.stalls.values()

    def get(self) -> None:
        items = [{"id": stall.id, "name": stall.name, "open": True} for stall in self.stalls]
        self.write({"items": items, "total": len(items), "page": 1, "page_size": 100})


class StallHandler(tornado.web.RequestHandler):
    def initialize(self, canteen: Canteen) -> None:
        self.stalls = canteen.stalls

    def get(self, stall_id: str) -> None:
        stall = self.stalls.get(int(stall_id))
        if stall is None:
            self.set_status(404)
        else:
            self.write({"id": stall.id, "name": stall.name, "open": True})


class ReadyHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write({"status": "ready"})
