"""A cabinet server of a few lines, for shoppers to go to: what the protocol page says.

It keeps its promises until a test tells it to break one.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from simulators.reach import trusted
from simulators.shoppers import Notes, Plan
from simulators.shoppers.street import Street
from simulators.xiaomai import Xiaomai
from simulators.xiaomai.codes import XmError
from simulators.xiaomai.messages import Open

Json = dict[str, Any]


class Peer:
    """breaks: promises to break, any of overcharge, twice, free, deaf, unpaid, review, slow.

    refuse_next: the codes of the next refusals. It looks at the platform's books directly.
    """

    def __init__(self, platform: Xiaomai) -> None:
        self.platform = platform
        self.breaks: set[str] = set()
        self.refuse_next: list[str] = []
        self.swallow_next = 0
        self.sessions: dict[int, Json] = {}
        self.orders: dict[int, list[Json]] = {}
        self.keys: dict[str, Json] = {}
        self.counts: list[Json] = []
        self.box: Json = {}
        self.asked: list[str] = []
        self.signed_in = 0

    async def start(self) -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        given = {"peer": self}
        self._server = HTTPServer(
            Application([(r"/api/v1/(.*)", Everything, given)], log_function=lambda handler: None)
        )
        self._server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()

    # ------------------------------------------------------------ doors

    def open(self, code: str, door_no: int, purpose: str = "shop") -> Json:
        number = len(self.sessions) + 1
        asked = Open(
            request_id=f"rq-{number}",
            session_no=f"DS-{number}",
            device_code=code,
            door_no=door_no,
            purpose=purpose,  # type: ignore[arg-type]
            user_ref="u",
            pull_ttl_s=30,
            max_open_s=600,
            amount_limit_fen=20000,
            expires_at=self.platform.now_ms() + 60_000,
        )
        state = "opening"
        try:
            self.platform.open(asked)
        except XmError:
            state = "rejected"
        self.sessions[number] = {"id": number, "no": f"DS-{number}", "state": state}
        return self.sessions[number]

    def look(self, number: int) -> Json:
        """Its state, from what the platform has by now."""
        session = self.sessions[number]
        opening = self.platform.openings.get(f"rq-{number}")
        if opening is not None and session["state"] in ("opening", "open"):
            if opening.known.state == "failed":
                session["state"] = "not_opened"
            elif opening.known.state == "closed" and "slow" not in self.breaks:
                self._settle(session, opening.wheat_order_no)
        return session | {"is_over": session["state"] not in ("opening", "open", "abnormal")}

    def _settle(self, session: Json, wheat_order_no: str) -> None:
        said = self.platform.orders.all[wheat_order_no].latest
        fen = said.total_fen + ("overcharge" in self.breaks)
        if "review" in self.breaks:
            session["state"] = "abnormal"
        elif fen == 0 or "free" in self.breaks:
            session["state"] = "no_purchase"
        else:
            is_paid = "unpaid" not in self.breaks
            session["state"] = "paid" if is_paid else "unpaid"
            order = {
                "id": session["id"],
                "session_id": session["id"],
                "kind": "normal",
                "state": session["state"],
                "due_fen": fen,
                "paid_fen": fen if is_paid else 0,
                "refunded_fen": 0,
            }
            self.orders[session["id"]] = [order] * (1 + ("twice" in self.breaks))


class Everything(RequestHandler):
    def initialize(self, peer: Peer) -> None:
        self.peer = peer

    def say(self, value: Any, status: int = 200) -> None:
        self.set_status(status)
        self.finish(json.dumps(value))

    def get(self, path: str) -> None:
        peer = self.peer
        peer.asked.append(f"GET {path}")
        if path.startswith("door-sessions/"):
            self.say(peer.look(int(path.rpartition("/")[2])))
        elif path == "admin/devices":
            codes = sorted(peer.platform.cabinets)
            self.say({"items": [{"id": n, "code": code} for n, code in enumerate(codes, start=1)]})
        else:
            self.say({"items": [order for each in peer.orders.values() for order in each]})

    def post(self, path: str) -> None:
        peer = self.peer
        peer.asked.append(f"POST {path}")
        if path == "sessions":
            peer.signed_in += 1
            self.say({"token": f"t-{peer.signed_in}", "account": {}}, 201)
            return
        if peer.refuse_next:
            code = peer.refuse_next.pop(0)
            self.say({"code": code}, 401 if code == "session.expired" else 409)
            return
        key = self.request.headers["Idempotency-Key"]
        if key not in peer.keys:
            peer.keys[key] = self._done(path, json.loads(self.request.body))
        if peer.swallow_next:
            peer.swallow_next -= 1
            self.detach().close()
            return
        self.say(peer.keys[key], 202)

    def _done(self, path: str, body: Json) -> Json:
        peer = self.peer
        if path == "cabinets/open":
            code, _, door_no = body["qr"].partition("#")
            return {"session": peer.open(code, int(door_no))}
        if path.endswith("/open"):
            code = sorted(peer.platform.cabinets)[int(path.split("/")[2]) - 1]
            return peer.open(code, body["door_no"], body["purpose"])
        if path.endswith("/stock-count"):
            peer.counts.append(body)
            return {"items": []}
        (order,) = peer.orders[int(path.split("/")[1])]
        order |= {"state": "paid", "paid_fen": order["due_fen"]}
        return {"order": order, "wx_request_payment": peer.box}


@pytest.fixture
async def platform() -> AsyncIterator[Xiaomai]:
    """Its clock runs: shoppers live in real time. Nobody hears its events."""
    platform = Xiaomai()
    await platform.start(port=0)
    platform.courier.pause()
    for code in ("D1", "D2"):
        cabinet = platform.add_cabinet(code, stock={"cola": 9, "tea": 9}, bound_to="S1")
        cabinet.door(1).qr_token = f"{code}#1"
    yield platform
    await platform.stop()


@pytest.fixture
async def peer(platform: Xiaomai) -> AsyncIterator[Peer]:
    peer = Peer(platform)
    await peer.start()
    yield peer
    await peer.stop()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=5, trust_env=False, verify=trusted()) as client:
        yield client


@pytest.fixture
def notes() -> Notes:
    return Notes(tell=lambda text: None)


@pytest.fixture
def street(http: httpx.AsyncClient, platform: Xiaomai) -> Street:
    return Street(http, f"{platform.url}/__sim", platform.token)


@pytest.fixture
def plan(peer: Peer, platform: Xiaomai) -> Plan:
    return Plan(
        base_url=peer.url,
        control_url=f"{platform.url}/__sim",
        control_token=platform.token,
        shoppers=4,
        speed=100,
    )
