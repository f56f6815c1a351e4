"""A canteen server of a few lines, for the rush to run against: what the protocol page says.

It keeps its promises until a test tells it to break one.
"""

import contextlib
import json
import secrets
from typing import Any
from urllib.parse import quote, unquote

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from simulators.wechat import WeChat

ENDED = {"finished", "cancelled"}


class Peer:
    """breaks: promises to break, any of repeat, lose, gap, twin, leak, deaf."""

    def __init__(self) -> None:
        self.breaks: set[str] = set()
        self.tickets: dict[int, dict[str, Any]] = {}
        self.streams: dict[int, list[dict[str, Any]]] = {}
        self.keys: dict[str, dict[str, Any]] = {}
        self.people: dict[str, str] = {}
        self.sockets: set[Live] = set()
        self.acks: list[tuple[str, int]] = []
        self.commands: list[dict[str, Any]] = []
        self.refuse_next: str | None = None
        self.swallow_next = False
        self.wechat = WeChat()
        self.url = ""

    async def start(self) -> None:
        given = {"peer": self}
        self._sockets = bind_sockets(0, "127.0.0.1")
        application = Application(
            [
                (r"/", Old, given),
                (r"/ws", OldSocket, given),
                (r"/api/v1/sessions", Sessions, given),
                (r"/api/v1/ws", Live, given),
            ],
            log_function=lambda handler: None,
        )
        self._server = HTTPServer(application)
        self._server.add_sockets(self._sockets)
        self.url = f"http://127.0.0.1:{self._sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.stop()
        self.hang_up(1012)
        await self._server.close_all_connections()

    def hang_up(self, code: int) -> None:
        for socket in list(self.sockets):
            socket.close(code)

    # ------------------------------------------------------------ what it knows

    def sign_in(self, code: str) -> str:
        token = secrets.token_hex(20)
        made_up = code.split(":")[1] if code.startswith("sim:") else ""
        self.people[token] = made_up or self.wechat.logins.openid_of_code(code)
        return token

    def issue(self, stall_id: int) -> dict[str, Any]:
        live = {t["number"] for t in self.live(stall_id)}
        free = [n for n in range(1, 100) if n not in live or "twin" in self.breaks]
        ticket_id = stall_id << 32 | len(self.streams.get(stall_id, [])) + 1
        ticket = {"ticket_id": ticket_id, "number": free[0], "status": "issued", "calls": 0}
        self.tickets[ticket_id] = ticket
        return self.tell("ticket.issued", ticket)

    def live(self, stall_id: int) -> list[dict[str, Any]]:
        return [
            t
            for t in self.tickets.values()
            if t["ticket_id"] >> 32 == stall_id and t["status"] not in ENDED
        ]

    def by_number(self, stall_id: int, number: int) -> dict[str, Any] | None:
        return next((t for t in self.live(stall_id) if t["number"] == number), None)

    def change(self, ticket: dict[str, Any], name: str, status: str) -> dict[str, Any]:
        ticket["status"] = status
        if name in ("ticket.called", "ticket.recalled"):
            ticket["calls"] += 1
        return self.tell(name, ticket)

    def call(self, ticket: dict[str, Any]) -> dict[str, Any]:
        name = "ticket.recalled" if ticket["status"] == "called" else "ticket.called"
        return self.change(ticket, name, "called")

    def tell(self, name: str, ticket: dict[str, Any]) -> dict[str, Any]:
        stall_id = ticket["ticket_id"] >> 32
        stream = self.streams.setdefault(stall_id, [])
        data = dict(ticket) | ({"note": "汤面"} if "leak" in self.breaks else {})
        seq = len(stream) + (2 if "gap" in self.breaks and len(stream) > 4 else 1)
        event = {"epoch": "e1", "seq": seq, "name": name, "data": data}
        stream.append(event)
        for socket in self.sockets:
            for topic in socket.topics:
                if sees(topic, stall_id, event):
                    self._push(socket, topic, event)
        return dict(ticket)

    def missed(self, topic: str, after: int) -> list[dict[str, Any]]:
        stall_id = stall_of(topic)
        stream = self.streams.get(stall_id, [])
        return [e for e in stream if e["seq"] > after and sees(topic, stall_id, e)]

    def _push(self, socket: "Live", topic: str, event: dict[str, Any]) -> None:
        is_call = event["name"] == "ticket.called" and topic.startswith("ticket")
        if "lose" in self.breaks and is_call:
            return
        for _ in range(2 if "repeat" in self.breaks and is_call else 1):
            socket.say({"type": "event", "topic": topic, **event})


def stall_of(topic: str) -> int:
    kind, _, rest = topic.partition(":")
    number = int(rest.removesuffix(":staff"))
    return number >> 32 if kind == "ticket" else number


def sees(topic: str, stall_id: int, event: dict[str, Any]) -> bool:
    if topic.startswith("ticket:"):
        return topic == f"ticket:{event['data']['ticket_id']}"
    return topic.removesuffix(":staff") == f"stall:{stall_id}"


def write(socket: WebSocketHandler, text: str) -> None:
    """Who has hung up meanwhile does not hear it; that is no failure here."""
    with contextlib.suppress(WebSocketClosedError):
        socket.write_message(text).add_done_callback(lambda sent: sent.exception())


class Sessions(RequestHandler):
    def initialize(self, peer: Peer) -> None:
        self.peer = peer

    def post(self) -> None:
        body = json.loads(self.request.body)
        if body["code"].startswith("sim:nobody"):
            self.set_status(403)
            self.finish({"code": "account.blocked"})
            return
        self.set_status(201)
        self.finish({"token": self.peer.sign_in(body["code"]), "account": {"id": 1}})


class Live(WebSocketHandler):
    def initialize(self, peer: Peer) -> None:
        self.peer = peer
        self.topics: list[str] = []

    def open(self, *args: str, **kwargs: str) -> None:
        self.say({"type": "hello", "protocol": 1, "heartbeat_s": 25})

    def on_close(self) -> None:
        self.peer.sockets.discard(self)

    def say(self, frame: dict[str, Any]) -> None:
        write(self, json.dumps(frame))

    def on_message(self, message: str | bytes) -> None:
        frame = json.loads(message)
        kind = frame["type"]
        if kind == "ping":
            self.say({"id": frame["id"], "type": "pong"})
        elif kind == "ack":
            self.peer.acks.append((frame["topic"], frame["seq"]))
        elif kind == "auth" and not frame.get("board") and frame["token"] not in self.peer.people:
            self.refuse(frame, "session.expired")
            self.close(4401)
        elif kind == "auth":
            self.peer.sockets.add(self)
            self.say({"id": frame["id"], "type": "result", "ok": True, "data": {}})
        else:
            self.command(frame)

    def command(self, frame: dict[str, Any]) -> None:
        peer = self.peer
        peer.commands.append(frame)
        refusal, peer.refuse_next = peer.refuse_next, None
        if refusal:
            self.refuse(frame, refusal)
            return
        data = self.subscribe(frame) if frame["type"] == "subscribe" else self.once(frame)
        if data is None:
            self.refuse(frame, "ticket.invalid_number")
        elif peer.swallow_next:
            peer.swallow_next = False
            self.close(1012)
        else:
            self.say({"id": frame["id"], "type": "result", "ok": True, "data": data})

    def refuse(self, frame: dict[str, Any], code: str) -> None:
        error = {"code": code, "title": code}
        self.say({"id": frame["id"], "type": "result", "ok": False, "error": error})

    def once(self, frame: dict[str, Any]) -> dict[str, Any] | None:
        key = frame["key"] if "deaf" not in self.peer.breaks else secrets.token_hex(4)
        if key not in self.peer.keys:
            data = self.act(frame)
            if data is None:
                return None
            self.peer.keys[key] = data
        return self.peer.keys[key]

    def act(self, frame: dict[str, Any]) -> dict[str, Any] | None:
        peer = self.peer
        if frame["type"] == "ticket.issue":
            return peer.issue(frame["stall_id"])
        if frame["type"] == "ticket.follow":
            ticket = peer.by_number(frame["stall_id"], frame["number"])
            status = "noted" if ticket and ticket["status"] == "issued" else "called"
            return ticket and peer.change(ticket, "ticket.noted", status)
        ticket = peer.tickets[frame["ticket_id"]]
        if frame["type"] in ("ticket.call", "ticket.recall"):
            return peer.call(ticket)
        done = {"ticket.finish": "finished", "ticket.no_show": "no_show"}[frame["type"]]
        return peer.change(ticket, f"ticket.{done}", done)

    def subscribe(self, frame: dict[str, Any]) -> dict[str, Any]:
        topic, since = frame["topic"], frame.get("since")
        self.topics.append(topic)
        stall_id = stall_of(topic)
        stream = self.peer.streams.get(stall_id, [])
        answer: dict[str, Any] = {"epoch": "e1", "seq": stream[-1]["seq"] if stream else 0}
        if since:
            events = self.peer.missed(topic, since["seq"])
            return answer | {"recovered": True, "events": events}
        live = self.peer.live(stall_id)
        shown = [t for t in live if topic == f"ticket:{t['ticket_id']}"] or live
        return answer | {"recovered": False, "snapshot": {"tickets": shown}}


class Dialect:
    """The old dialect's answers, whatever they are wrapped in."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def answer(self, asked: dict[str, str]) -> dict[str, Any]:
        query = asked["query"]
        if query == "login":
            key = self.peer.sign_in(asked["code"])
            return {"loginSuccess": "success", "sessionKey": key}
        person = self.peer.people.get(asked["sessionKey"])
        if person is None:
            return {"queryErr": "Session Time Out"}
        stall_id = int(asked.get("sellerId") or person.rpartition("-")[2])
        return self.verb(query, stall_id, int(asked.get("marchSn", 0)))

    def verb(self, query: str, stall_id: int, number: int) -> dict[str, Any]:
        peer, ticket = self.peer, self.peer.by_number(stall_id, number)
        good = {f"{query}Success": "success"}
        if query == "fetch":
            return good | {"marchSn": self.fetch(stall_id)}
        if query == "note":
            return good | {"sellerId": str(stall_id)}
        if query == "push" and ticket is None:
            return {"pushSuccess": "fail", "failMsg": "Invalid Sn Error"}
        if query == "push" and ticket is not None:
            peer.change(ticket, "ticket.noted", "noted")
        if query == "call" and ticket is not None:
            peer.call(ticket)
        if query == "done" and ticket is not None:
            peer.change(ticket, "ticket.finished", "finished")
        if query == "hungry" and ticket is not None and ticket["status"] != "called":
            return {"hungrySuccess": "fail", "failMsg": "Not Ready Yet"}
        return good

    def fetch(self, stall_id: int) -> int:
        """Two taps are one wish; the peer has no clock, so it goes by the last ticket's state."""
        stream = self.peer.streams.get(stall_id, [])
        last = stream[-1] if stream else None
        is_again = last and last["name"] == "ticket.issued" and "deaf" not in self.peer.breaks
        ticket = last["data"] if last and is_again else self.peer.issue(stall_id)
        return int(ticket["number"])


class Old(RequestHandler):
    def initialize(self, peer: Peer) -> None:
        self.peer = peer

    def post(self) -> None:
        asked = {name: self.get_body_argument(name) for name in self.request.body_arguments}
        self.finish(json.dumps(Dialect(self.peer).answer(asked)))


class OldSocket(WebSocketHandler):
    def initialize(self, peer: Peer) -> None:
        self.peer = peer

    def on_message(self, message: str | bytes) -> None:
        text = message if isinstance(message, str) else message.decode()
        asked = json.loads(unquote(text))
        answer = {"push": asked["query"], **Dialect(self.peer).answer(asked)}
        body = json.dumps(answer)
        write(self, body if text.startswith("{") else quote(body))
