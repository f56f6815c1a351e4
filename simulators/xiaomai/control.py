"""The hand behind the simulator: /__sim/… with the token of the introduction, on this machine.

JSON in and out; what does not fit is HTTP 400 {"error": …}. This is not the platform's.

As people: POST devices/CODE/VERB with {door_no, sku, quantity}: pull, take, put, close, shop
({skus}), force. As fate: disconnect, connect, unplug, ups, plug_in, reboot, jam, free, stick,
unstick, warm, cool, maintain, serve, report, alarm, clear ({kind}).
POST devices makes a cabinet, GET devices shows them, POST devices/CODE/plan says how the next
shopping is recognised, POST devices/CODE/prices changes prices at the cabinet.
POST orders/NO tells of an order once more, with other items, revision or total. POST events
sends any event, POST raw any bytes. POST callback {url}, clock, faults (GET, DELETE), storm,
idle, reset, keys, settings. To look: state, calls, deliveries, orders, openings, books.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from tornado.web import RequestHandler

from simulators.clock import utc_text
from simulators.hand import ClockOrder, Hand, Strict
from simulators.xiaomai import api
from simulators.xiaomai.cabinets import Cabinet
from simulators.xiaomai.codes import XmError
from simulators.xiaomai.courier import EVENT_TYPES, Delivery
from simulators.xiaomai.dial import Fault
from simulators.xiaomai.orders import Certainty, Plan

if TYPE_CHECKING:
    from simulators.xiaomai.sim import Xiaomai

SHOWN_MAX = 500


class NewCabinet(Strict):
    code: str
    doors: int = 1
    stock: dict[str, int] | None = None
    prices: dict[str, int] = msgspec.field(default_factory=dict)
    bound_to: str = ""


class Deed(Strict):
    """What somebody does at a cabinet; each verb takes what it needs."""

    door_no: int = 1
    sku: str = ""
    quantity: int = 1
    skus: list[str] = msgspec.field(default_factory=list)
    kind: str = "temperature"
    text: str = ""


class Prices(Strict):
    prices: dict[str, int]


class Push(Strict):
    """items null: the order as it is. rev: another than the next, which the books do not keep."""

    kind: str = ""
    items: dict[str, int] | None = None
    rev: int | None = None
    certainty: Certainty = "certain"
    candidates: dict[str, int] = msgspec.field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    total_off_fen: int = 0


class AnyEvent(Strict):
    event: dict[str, Any]
    event_id: str = ""


class Raw(Strict):
    body: str


class Address(Strict):
    url: str


class Storm(Strict):
    count: int = 1000


class Keys(Strict):
    """Keys by id. callback: those the customer may be signed to, with the one in use."""

    requests: dict[str, str] | None = None
    callback: dict[str, str] | None = None
    callback_key_id: str | None = None


class Settings(Strict):
    """What is not named stays."""

    skew_s: float | None = None
    is_disabled: bool | None = None
    rate_per_s: int | None = None
    refused_skus: list[str] | None = None
    params_stick: bool | None = None
    usual_plan: Plan | None = None


class ControlHandler(Hand):
    sim: Xiaomai

    @staticmethod
    def status_of(error: object) -> int:
        return 400 if isinstance(error, XmError) else Hand.status_of(error)


# ---------------------------------------------------------------- cabinets

VERBS: dict[str, Callable[[Cabinet, Deed], object]] = {
    "pull": lambda cabinet, deed: cabinet.pull(deed.door_no),
    "take": lambda cabinet, deed: cabinet.take(deed.sku, deed.quantity, deed.door_no),
    "put": lambda cabinet, deed: cabinet.put(deed.sku, deed.quantity, deed.door_no),
    "close": lambda cabinet, deed: cabinet.close(deed.door_no),
    "shop": lambda cabinet, deed: cabinet.shop(*deed.skus, door_no=deed.door_no),
    "force": lambda cabinet, deed: cabinet.force(deed.door_no),
    "disconnect": lambda cabinet, _: cabinet.disconnect(),
    "connect": lambda cabinet, _: cabinet.connect(),
    "unplug": lambda cabinet, _: cabinet.unplug(),
    "ups": lambda cabinet, _: cabinet.run_on_ups(),
    "plug_in": lambda cabinet, _: cabinet.plug_in(),
    "reboot": lambda cabinet, _: cabinet.reboot(),
    "jam": lambda cabinet, deed: setattr(cabinet.door(deed.door_no), "is_jammed", True),
    "free": lambda cabinet, deed: setattr(cabinet.door(deed.door_no), "is_jammed", False),
    "stick": lambda cabinet, deed: setattr(cabinet.door(deed.door_no), "latch_stuck", True),
    "unstick": lambda cabinet, deed: cabinet.free_latch(deed.door_no),
    "warm": lambda cabinet, _: cabinet.warm(),
    "cool": lambda cabinet, _: cabinet.cool(),
    "maintain": lambda cabinet, _: setattr(cabinet, "in_maintenance", True),
    "serve": lambda cabinet, _: setattr(cabinet, "in_maintenance", False),
    "report": lambda cabinet, _: cabinet.tell_all(),
    "alarm": lambda cabinet, deed: cabinet.raise_alarm(deed.kind, deed.text, deed.door_no),
    "clear": lambda cabinet, deed: cabinet.clear_alarm(deed.kind),
}


class Devices(ControlHandler):
    def get(self) -> None:
        self.say({"devices": [whole(cabinet) for cabinet in self.sim.cabinets.values()]})

    def post(self) -> None:
        self.say(whole(self.sim.add_cabinet(**msgspec.structs.asdict(self.body_as(NewCabinet)))))


class Device(ControlHandler):
    def get(self, code: str) -> None:
        self.say(whole(self.sim.cabinet(code)))


class DeviceDeed(ControlHandler):
    def post(self, code: str, verb: str) -> None:
        cabinet = self.sim.cabinet(code)
        if verb == "plan":
            self.sim.recognition.plan_next(code, self.body_as(Plan))
        elif verb == "prices":
            self.sim.change_planogram(code, self.body_as(Prices).prices)
        elif verb in VERBS:
            VERBS[verb](cabinet, self.body_as(Deed))
        else:
            raise ValueError(f"no verb {verb!r}; there are plan, prices, {', '.join(VERBS)}")
        self.say(whole(cabinet))


def whole(cabinet: Cabinet) -> dict[str, Any]:
    """The truth about a cabinet, goods and all."""
    doors = {number: door.qr_token for number, door in cabinet.doors.items()}
    return cabinet.report() | {
        "power": cabinet.power,
        "connected": cabinet.is_connected,
        "store_code": cabinet.store_code,
        "boot_id": cabinet.boot_id,
        "qr_tokens": doors,
        "slots": cabinet.slots,
    }


# ---------------------------------------------------------------- orders and events


class OrderPush(ControlHandler):
    def post(self, wheat_order_no: str) -> None:
        order, push = self.sim.orders.find(wheat_order_no), self.body_as(Push)
        if push.items is None:
            delivery = self.sim.recognition.push(order, kind=push.kind or "order.pushed")
        else:
            changes = msgspec.structs.asdict(push)
            delivery = self.sim.recognition.revise(order, changes.pop("items"), **changes)
        self.say({"event_id": delivery.event_id})


class Events(ControlHandler):
    def post(self) -> None:
        asked = self.body_as(AnyEvent)
        self.say({"event_id": self.sim.courier.tell(asked.event, asked.event_id).event_id})


class RawBytes(ControlHandler):
    async def post(self) -> None:
        status, answer = await self.sim.courier.send_signed(self.body_as(Raw).body.encode())
        self.say({"status": status, "answer": answer})


class Callback(ControlHandler):
    def post(self) -> None:
        self.sim.courier.url = self.body_as(Address).url
        self.say({"url": self.sim.courier.url})


class StormOrder(ControlHandler):
    def post(self) -> None:
        self.say({"told": self.sim.storm(self.body_as(Storm).count)})


class Idle(ControlHandler):
    async def post(self) -> None:
        await self.sim.idle()
        self.say({})


# ---------------------------------------------------------------- clock, faults, settings


class Clock(ControlHandler):
    def get(self) -> None:
        self.say(clock_of(self.sim))

    def post(self) -> None:
        order, clock = self.body_as(ClockOrder), self.sim.clock
        if order.now_s is not None:
            clock.set(order.now_s)
        clock.advance(order.advance_s)
        if order.running is not None and order.running != clock.is_running:
            clock.run() if order.running else clock.stop()
        self.say(clock_of(self.sim))


class Faults(ControlHandler):
    def get(self) -> None:
        self.say({"faults": self.sim.dial.waiting})

    def post(self) -> None:
        fault = self.body_as(Fault)
        fault.check(api.ENDPOINTS, EVENT_TYPES)
        self.sim.dial.add(fault)
        self.say({"faults": self.sim.dial.waiting})

    def delete(self) -> None:
        """?at= clears that place's faults only."""
        self.sim.dial.clear(self.get_query_argument("at", None))
        self.say({"faults": self.sim.dial.waiting})


class KeyOrder(ControlHandler):
    def post(self) -> None:
        keys = self.body_as(Keys)
        if keys.requests is not None:
            self.sim.gate.keys = keys.requests
        callback = keys.callback if keys.callback is not None else self.sim.courier.keys
        key_id = keys.callback_key_id or self.sim.courier.key_id
        if key_id not in callback:
            raise KeyError(f"no key {key_id!r}")
        self.sim.courier.keys, self.sim.courier.key_id = callback, key_id
        self.say({"requests": sorted(self.sim.gate.keys), "callback": key_id})


class SettingsOrder(ControlHandler):
    def post(self) -> None:
        asked, sim = self.body_as(Settings), self.sim
        if asked.skew_s is not None:
            sim.courier.skew_s = asked.skew_s
        if asked.is_disabled is not None:
            sim.gate.is_disabled = asked.is_disabled
        if asked.rate_per_s is not None:
            sim.gate.rate_per_s = asked.rate_per_s or None
        if asked.refused_skus is not None:
            sim.refused_skus = set(asked.refused_skus)
        if asked.params_stick is not None:
            sim.params_stick = asked.params_stick
        if asked.usual_plan is not None:
            asked.usual_plan.check()
            sim.recognition.usual_plan = asked.usual_plan
        self.say({})


class Reset(ControlHandler):
    def post(self) -> None:
        self.sim.reset()
        self.say({})


# ---------------------------------------------------------------- to look


class State(ControlHandler):
    def get(self) -> None:
        sim = self.sim
        states = [delivery.state for delivery in sim.courier.all]
        self.say(
            sim.introduction()
            | {
                "clock": clock_of(sim),
                "callback_url": sim.courier.url,
                "faults": sim.dial.waiting,
                "orders": len(sim.orders.all),
                "openings": len(sim.openings),
                "deliveries": {state: states.count(state) for state in sorted(set(states))},
            }
        )


class Calls(ControlHandler):
    """?endpoint= chooses."""

    def get(self) -> None:
        endpoint = self.get_query_argument("endpoint", "")
        chosen = [call for call in self.sim.calls if endpoint in ("", call.endpoint)]
        self.say({"calls": chosen[-SHOWN_MAX:], "count": len(chosen)})


class Deliveries(ControlHandler):
    """?event_type=, ?state= and ?device_code= choose."""

    def get(self) -> None:
        wanted = {
            name: self.get_query_argument(name, "")
            for name in ("event_type", "state", "device_code")
        }
        chosen = [delivery for delivery in self.sim.courier.all if _fits(delivery, wanted)]
        self.say({"deliveries": chosen[-SHOWN_MAX:], "count": len(chosen)})


def _fits(delivery: Delivery, wanted: dict[str, str]) -> bool:
    return all(value in ("", getattr(delivery, name)) for name, value in wanted.items())


class OrderBook(ControlHandler):
    def get(self) -> None:
        self.say({"orders": [order.whole() for order in self.sim.orders.all.values()]})


class Openings(ControlHandler):
    def get(self) -> None:
        self.say({"openings": list(self.sim.openings.values())})


class Books(ControlHandler):
    def get(self) -> None:
        self.say({"books": self.sim.books()})


def clock_of(sim: Xiaomai) -> dict[str, Any]:
    now_s = sim.clock.now_s()
    return {"now_s": now_s, "now": utc_text(now_s), "running": sim.clock.is_running}


HANDLERS: list[tuple[str, type[RequestHandler]]] = [
    (r"/__sim/devices", Devices),
    (r"/__sim/devices/([^/]+)", Device),
    (r"/__sim/devices/([^/]+)/([a-z_]+)", DeviceDeed),
    (r"/__sim/orders", OrderBook),
    (r"/__sim/orders/([^/]+)", OrderPush),
    (r"/__sim/openings", Openings),
    (r"/__sim/events", Events),
    (r"/__sim/raw", RawBytes),
    (r"/__sim/callback", Callback),
    (r"/__sim/storm", StormOrder),
    (r"/__sim/idle", Idle),
    (r"/__sim/clock", Clock),
    (r"/__sim/faults", Faults),
    (r"/__sim/keys", KeyOrder),
    (r"/__sim/settings", SettingsOrder),
    (r"/__sim/reset", Reset),
    (r"/__sim/state", State),
    (r"/__sim/calls", Calls),
    (r"/__sim/deliveries", Deliveries),
    (r"/__sim/books", Books),
]
