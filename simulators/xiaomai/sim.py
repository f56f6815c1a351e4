"""The Xiaomai platform on one port: what it knows, what it decides, and its life as a server."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from simulators.agenda import Agenda
from simulators.clock import VirtualClock
from simulators.groceries import GROCERIES
from simulators.xiaomai import account, api, codes, control
from simulators.xiaomai.cabinets import Cabinet, Slot, Word, World
from simulators.xiaomai.codes import XmError
from simulators.xiaomai.courier import Courier, Delivery
from simulators.xiaomai.dial import Dial
from simulators.xiaomai.gate import Gate
from simulators.xiaomai.messages import Good, Open, Planogram
from simulators.xiaomai.openings import Opening
from simulators.xiaomai.orders import Orders
from simulators.xiaomai.recognition import Recognition

BODY_MAX = 256 * 1024
CALLS_KEPT = 5000
CAPACITY = 20


class Pace(msgspec.Struct, frozen=True):
    """Seconds on the simulator's clock. heartbeat_s 0: cabinets report only when told to.

    offline_after_s: how long a line must be silent before the platform says so.
    """

    unlock_s: float = 0.0
    boot_s: float = 30.0
    heartbeat_s: float = 0.0
    offline_after_s: float = 0.0


LIFELIKE = Pace(unlock_s=0.6, heartbeat_s=60.0, offline_after_s=120.0)


class Call(msgspec.Struct, frozen=True):
    """One call a customer made: code of the envelope, None without an answer of ours."""

    endpoint: str
    at_s: float
    code: int | None
    fault: str | None
    body: str


class Xiaomai:
    """See the package for how to use it."""

    def __init__(
        self,
        start_s: float | None = None,
        *,
        pace: Pace | None = None,
        callback_url: str = "",
        keep_alive: bool = False,
    ) -> None:
        self.clock = VirtualClock(start_s)
        self.agenda = Agenda(self.clock)
        self.dial = Dial()
        self.courier = Courier(self.clock, self.agenda, self.dial, keep_alive=keep_alive)
        self.courier.url = callback_url
        self.gate = Gate(self.clock.now_s)
        self.token = secrets.token_urlsafe(24)
        self.url = ""
        self._pace = pace or Pace()
        self._server: HTTPServer | None = None
        self._world = World(self.now_ms, self.later, self._hear, self._lost, self._weigh)
        self._begin()

    def reset(self) -> None:
        """Forget everything but the customer's address, and set the clock as at the beginning."""
        self.clock.reset()
        self.agenda.clear()
        self.dial.clear()
        self.courier.reset()
        self.gate.reset()
        self._begin()

    def _begin(self) -> None:
        self.pace = self._pace
        self.cabinets: dict[str, Cabinet] = {}
        self.openings: dict[str, Opening] = {}
        self.orders = Orders()
        self.recognition = Recognition(self)
        self.goods: dict[str, Good] = {}
        self.refused_skus: set[str] = set()
        self.planograms: dict[str, Planogram] = {}
        self.wanted: dict[str, tuple[int, dict[str, int]]] = {}
        self.params_stick = False
        self.calls: deque[Call] = deque(maxlen=CALLS_KEPT)
        self._wheat_numbers = 0
        for grocery in GROCERIES:
            self.learn(**msgspec.structs.asdict(grocery))

    # ------------------------------------------------------------ time and place

    def now_ms(self) -> int:
        return int(self.clock.now_s() * 1000)

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> None:
        """Listen; port 0 takes a free one. Raises OSError when the port is taken."""
        # Answers that are held back when the simulator stops are let go by this event.
        self.stopping = asyncio.Event()
        sockets = bind_sockets(port, host, family=socket.AF_INET)
        self._server = HTTPServer(self._application(), max_body_size=BODY_MAX)
        self._server.add_sockets(sockets)
        self.url = f"http://{host}:{sockets[0].getsockname()[1]}"
        self.agenda.start()

    async def stop(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        self.stopping.set()
        server.stop()
        self.agenda.stop()
        await self.courier.stop()
        await server.close_all_connections()

    async def idle(self) -> None:
        """Until nothing is under way and nothing is due at this moment of the clock."""
        await self.courier.idle()

    async def turn(self, seconds: float) -> None:
        """Turn the clock on, and wait until what became due has happened."""
        self.clock.advance(seconds)
        await self.idle()

    def introduction(self) -> dict[str, Any]:
        """What a customer sets, and what the hand behind the simulator needs."""
        return {
            "name": "xiaomai",
            "is_simulator": True,
            "url": self.url,
            "control_url": f"{self.url}/__sim",
            "control_token": self.token,
            "app_id": account.APP_ID,
            "key_id": account.KEY_ID,
            "secret": account.SECRET,
            "callback_secret": account.CALLBACK_SECRET,
            "endpoint_id": account.ENDPOINT_ID,
            "cabinets": {code: len(cabinet.doors) for code, cabinet in self.cabinets.items()},
        }

    def _application(self) -> Application:
        handlers = [*api.HANDLERS, *control.HANDLERS]
        return Application(
            [(path, handler, {"sim": self}) for path, handler in handlers],
            log_function=lambda handler: None,
        )

    # ------------------------------------------------------------ cabinets and goods

    def add_cabinet(
        self,
        code: str,
        *,
        doors: int = 1,
        stock: Mapping[str, int] | None = None,
        prices: Mapping[str, int] | None = None,
        bound_to: str = "",
    ) -> Cabinet:
        """A cabinet delivered to somewhere, with the same goods behind each door.

        stock: by sku; without one, eight of each of the first six groceries. bound_to: a store's
        code, as after device/bind. Raises ValueError when the code is taken.
        """
        if code in self.cabinets:
            raise ValueError(f"there is a cabinet {code!r} already")
        cabinet = Cabinet(code, doors, self._world)
        filled = {g.sku: 8 for g in GROCERIES[:6]} if stock is None else stock
        for door_no in cabinet.doors:
            for number, (sku, quantity) in enumerate(filled.items()):
                self.learn(sku)
                price_fen = (prices or {}).get(sku, self.goods[sku].price_fen)
                place = {"layer": number // 4 + 1, "slot": number % 4 + 1}
                cabinet.slots.append(
                    Slot(
                        door_no,
                        **place,
                        sku=sku,
                        price_fen=price_fen,
                        stock=quantity,
                        capacity=max(CAPACITY, quantity),
                    )
                )
        if bound_to:
            cabinet.store_code, cabinet.bound_at = bound_to, self.now_ms()
        self.cabinets[code] = cabinet
        self._schedule_heartbeat(cabinet)
        return cabinet

    def cabinet(self, code: str) -> Cabinet:
        """Raises KeyError."""
        if code not in self.cabinets:
            raise KeyError(f"no cabinet {code!r}")
        return self.cabinets[code]

    def learn(
        self, sku: str, barcode: str = "", name: str = "", price_fen: int = 100, weight_g: int = 100
    ) -> None:
        """Know a good by its sku, unless it is known already."""
        if sku not in self.goods:
            self.goods[sku] = Good(sku, barcode, name or sku, price_fen, weight_g, [], 1)

    def reboot(self, cabinet: Cabinet) -> None:
        """Off now, and back after a while with a new boot_id."""
        cabinet.unplug()
        self.later(self.pace.boot_s, cabinet.reboot)

    def change_planogram(self, code: str, prices: Mapping[str, int]) -> int:
        """Somebody changed prices at the cabinet itself: a new version, which is told."""
        cabinet = self.cabinet(code)
        for slot in cabinet.slots:
            slot.price_fen = prices.get(slot.sku, slot.price_fen)
        cabinet.planogram_version += 1
        cabinet.say("planogram.changed", {"version": cabinet.planogram_version})
        return cabinet.planogram_version

    def want_params(self, cabinet: Cabinet, version: int, values: dict[str, int]) -> None:
        """A target: reached now, or when the cabinet is back. Raises XmError 5002."""
        wanted_version, _ = self.wanted.get(cabinet.code, (0, {}))
        if version < wanted_version:
            raise XmError(codes.VERSION_CONFLICT, data={"version": wanted_version})
        self.wanted[cabinet.code] = (version, values)
        self._apply_params(cabinet)

    def shown(self, cabinet: Cabinet) -> dict[str, Any]:
        """What device/status says: of one that is not heard, what was last reported."""
        if not cabinet.is_online:
            return cabinet.shadow | {"online": False}
        if not self.pace.heartbeat_s:
            cabinet.heartbeat_at = self.now_ms()
        return cabinet.report()

    def tell_goods(self, results: list[dict[str, Any]]) -> None:
        """goods.ack is of no cabinet."""
        self.courier.tell(
            {
                "event_type": "goods.ack",
                "occurred_at": self.now_ms(),
                "device_code": "",
                "door_no": 0,
                "seq": 0,
                "boot_id": "",
                "session_no": "",
                "request_id": "",
                "data": {"results": results},
            }
        )

    def _apply_params(self, cabinet: Cabinet) -> None:
        if cabinet.is_online and not self.params_stick and cabinet.code in self.wanted:
            cabinet.set_params(*self.wanted[cabinet.code])

    def _lost(self, cabinet: Cabinet) -> None:
        self.later(self.pace.offline_after_s, lambda: self._notice_silence(cabinet))

    def _notice_silence(self, cabinet: Cabinet) -> None:
        if not cabinet.is_online:
            self.tell("device.offline", cabinet, data={})

    def _schedule_heartbeat(self, cabinet: Cabinet) -> None:
        """From now on, so that a clock turned by a day brings one heartbeat and no storm."""

        def beat() -> None:
            if self.cabinets.get(cabinet.code) is cabinet:
                cabinet.tell_all()
                self._schedule_heartbeat(cabinet)

        if self.pace.heartbeat_s:
            self.later(self.pace.heartbeat_s, beat)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.agenda.at(self.clock.now_s() + seconds, action)

    def _weigh(self, sku: str) -> int:
        good = self.goods.get(sku)
        return good.weight_g if good else 0

    # ------------------------------------------------------------ doors

    def open(self, asked: Open) -> Opening:
        """Send an open command to a cabinet that may take it. Raises XmError."""
        cabinet = self.bound(asked.device_code)
        if asked.expires_at <= self.now_ms():
            raise XmError(codes.SKEW, "the command has expired")
        if any(opening.asked.session_no == asked.session_no for opening in self.openings.values()):
            raise XmError(codes.ORDER_CONFLICT, "session_no was used with another request_id")
        code = cabinet.why_not(asked.door_no, asked.purpose)
        if code:
            raise XmError(code)
        opening = Opening(asked, self.new_wheat_no(), self.now_ms())
        self.openings[asked.request_id] = opening
        cabinet.doors[asked.door_no].opening = opening
        self._command(cabinet, opening)
        return opening

    def new_wheat_no(self) -> str:
        self._wheat_numbers += 1
        return f"XM{self.clock.beijing_day().replace('-', '')}{self._wheat_numbers:08d}"

    def bound(self, code: str) -> Cabinet:
        """Raises XmError 2001, 2002."""
        cabinet = self.cabinets.get(code)
        if cabinet is None:
            raise XmError(codes.DEVICE_UNKNOWN, code)
        if not cabinet.is_bound:
            raise XmError(codes.NOT_BOUND, code)
        return cabinet

    def _command(self, cabinet: Cabinet, opening: Opening) -> None:
        fault = self.dial.strike("device.open", cabinet.code)
        kind = fault.kind if fault else None
        if fault is not None and kind == "never_open":
            opening.fate_code = fault.code
            return
        late_s = fault.seconds if fault is not None and kind == "slow" else 0.0

        def obey() -> None:
            if kind == "lock_failed":
                cabinet.refuse(opening)
            else:
                cabinet.unlock(opening)

        self.later(self.pace.unlock_s + late_s, obey)

    # ------------------------------------------------------------ what cabinets say

    def _hear(self, word: Word) -> None:
        """Note it, pass it on, and recognise what was taken behind a door that was closed."""
        cabinet, opening = self.cabinets[word.device_code], word.opening
        if opening is not None and word.trace is not None:
            opening.known = word.trace
        self.tell(
            word.kind,
            cabinet,
            data=word.data,
            door_no=word.door_no,
            word=word,
            session_no=opening.asked.session_no if opening else "",
            request_id=opening.asked.request_id if opening else "",
        )
        if word.kind == "device.online":
            self._apply_params(cabinet)
        if opening is None:
            if word.kind == "door.closed":
                self.recognition.wonder(cabinet, word.door_no)
        elif word.kind == "door.closed" and opening.asked.purpose == "shop":
            self.recognition.begin(cabinet, opening)

    def tell(
        self,
        kind: str,
        cabinet: Cabinet,
        *,
        data: dict[str, Any],
        door_no: int = 0,
        word: Word | None = None,
        session_no: str = "",
        request_id: str = "",
    ) -> Delivery:
        """Tell the customer; what the platform says by itself takes the cabinet's next seq."""
        return self.courier.tell(
            {
                "event_type": kind,
                "occurred_at": word.occurred_at if word else self.now_ms(),
                "device_code": cabinet.code,
                "door_no": door_no,
                "seq": word.seq if word else cabinet.next_seq(),
                "boot_id": word.boot_id if word else cabinet.boot_id,
                "session_no": session_no,
                "request_id": request_id,
                "data": data,
            }
        )

    # ------------------------------------------------------------ to compare with

    def note_call(self, endpoint: str, code: int | None, fault: str | None, body: str) -> None:
        self.calls.append(Call(endpoint, self.clock.now_s(), code, fault, body))

    def books(self) -> list[dict[str, Any]]:
        """Each order: what was taken, what was said of it, what the customer confirmed."""
        return [order.booked() for order in self.orders.all.values()]

    def deliveries(self, event_type: str = "") -> list[Delivery]:
        return [d for d in self.courier.all if event_type in ("", d.event_type)]

    def storm(self, count: int) -> int:
        """count telemetry events over all bound cabinets, all at once. How many."""
        bound = [cabinet for cabinet in self.cabinets.values() if cabinet.is_bound]
        self.courier.pause()
        for number in range(count if bound else 0):
            bound[number % len(bound)].tell_all()
        return self.courier.release()
