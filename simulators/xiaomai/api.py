"""The platform's own interfaces: /openapi/v1/…, signed, in one envelope."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from tornado.web import RequestHandler

from simulators.faults import HTML_502, NONSENSE
from simulators.xiaomai import codes
from simulators.xiaomai import messages as m
from simulators.xiaomai.cabinets import Slot
from simulators.xiaomai.codes import STATUSES, TEXTS, WAITS_S, XmError
from simulators.xiaomai.dial import Fault
from simulators.xiaomai.openings import Opening
from simulators.xiaomai.orders import CAMERAS, SLICES, Plan
from simulators.xiaomai.signing import Signed

if TYPE_CHECKING:
    from simulators.xiaomai.sim import Xiaomai

BODY_SHOWN = 2000
VIDEO_LIFE_MS = 3_600_000
NAME_MAX = 60

T = TypeVar("T", bound=m.Asked)


class Said(msgspec.Struct, frozen=True):
    """An answer: the envelope, as bytes, so that a repeat gets the very same."""

    code: int
    body: bytes

    @property
    def status(self) -> int:
        return STATUSES.get(self.code, 200)


class PlatformHandler(RequestHandler, Generic[T]):
    """Checked, executed, answered, unless a fault was ordered for this endpoint."""

    endpoint = ""
    kind: type[T]

    def initialize(self, sim: Xiaomai) -> None:
        self.sim = sim

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("X-Simulator", "xiaomai")

    def do(self, asked: T) -> Any:
        """What the platform does; its data. Raises XmError."""
        raise NotImplementedError

    async def post(self) -> None:
        fault = self.sim.dial.strike(self.endpoint)
        does_it = fault is None or fault.is_done or fault.kind == "delay"
        said = self._said() if does_it else None
        self.sim.note_call(
            self.endpoint,
            said.code if said else None,
            fault.kind if fault else None,
            self.request.body[:BODY_SHOWN].decode("utf-8", "replace"),
        )
        if fault is not None:
            await self._spoil(fault, said)
        elif said is not None:
            self._send(said)

    def _said(self) -> Said:
        try:
            seen = self.sim.gate.check(self.request.headers, self._signed())
        except XmError as error:
            return self._envelope(error.code, str(error), error.data)
        if seen.answer is None:
            said = self._carry_out()
            seen.answer, seen.code = said.body, said.code
        return Said(seen.code, seen.answer)

    def _signed(self) -> Signed:
        headers = self.request.headers
        return Signed(
            method=self.request.method or "",
            path=self.request.path,
            query=self.request.query,
            timestamp=headers.get("X-Xm-Timestamp", ""),
            nonce=headers.get("X-Xm-Nonce", ""),
            body=self.request.body,
        )

    def _carry_out(self) -> Said:
        try:
            try:
                asked = msgspec.json.decode(self.request.body, type=self.kind)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise XmError(codes.MALFORMED, str(error)) from error
            return self._envelope(0, TEXTS[0], self.do(asked))
        except XmError as error:
            return self._envelope(error.code, str(error), error.data)

    def _envelope(self, code: int, message: str, data: Any = None) -> Said:
        value = {
            "code": code,
            "message": message,
            "request_id": f"rq_{secrets.token_hex(10)}",
            "server_time": self.sim.now_ms(),
            "data": data,
        }
        return Said(code, msgspec.json.encode(value))

    def _send(self, said: Said) -> None:
        self.set_status(said.status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        if said.code in WAITS_S:
            self.set_header("Retry-After", str(WAITS_S[said.code]))
        self.finish(said.body)

    async def _spoil(self, fault: Fault, said: Said | None) -> None:
        if fault.kind in ("hang", "delay"):
            await self._wait(fault.seconds)
        if fault.kind == "http_502":
            self.set_status(502)
            self.set_header("Content-Type", "text/html")
            self.finish(HTML_502)
        elif fault.kind == "nonsense":
            self.finish(NONSENSE)
        elif fault.kind == "code":
            self._send(self._envelope(fault.code, TEXTS.get(fault.code, "error")))
        elif fault.kind == "delay" and said is not None:
            self._send(said)
        else:
            self.detach().close()

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.sim.stopping.wait()


# ---------------------------------------------------------------- devices


class DeviceBind(PlatformHandler[m.Bind]):
    endpoint = "device/bind"
    kind = m.Bind

    def do(self, asked: m.Bind) -> Any:
        """The same store once more changes the doors' tokens and nothing else."""
        cabinet = self.sim.cabinets.get(asked.device_code)
        if cabinet is None or any(door.door_no not in cabinet.doors for door in asked.doors):
            raise XmError(codes.DEVICE_UNKNOWN, asked.device_code)
        if cabinet.store_code != asked.store_code:
            cabinet.store_code, cabinet.bound_at = asked.store_code, self.sim.now_ms()
        for door in asked.doors:
            cabinet.doors[door.door_no].qr_token = door.qr_token
        return {
            "bound_at": cabinet.bound_at,
            "doors": [{"door_no": number} for number in cabinet.doors],
            "model": cabinet.model,
            "fw": cabinet.firmware,
        }


class DeviceUnbind(PlatformHandler[m.DeviceReason]):
    endpoint = "device/unbind"
    kind = m.DeviceReason

    def do(self, asked: m.DeviceReason) -> Any:
        cabinet = self.sim.bound(asked.device_code)
        if any(door.is_busy for door in cabinet.doors.values()):
            raise XmError(codes.BUSY_SHOPPING, "a door is in use")
        cabinet.store_code = ""
        return {"unbound_at": self.sim.now_ms()}


class DeviceStatus(PlatformHandler[m.Status]):
    endpoint = "device/status"
    kind = m.Status

    def do(self, asked: m.Status) -> Any:
        """Those that are known and bound; an error when there are none."""
        known = [self.sim.cabinets[c] for c in asked.device_codes if c in self.sim.cabinets]
        if not known:
            raise XmError(codes.DEVICE_UNKNOWN)
        bound = [cabinet for cabinet in known if cabinet.is_bound]
        if not bound:
            raise XmError(codes.NOT_BOUND)
        return [self.sim.shown(cabinet) for cabinet in bound]


class DeviceParams(PlatformHandler[m.Params]):
    endpoint = "device/params"
    kind = m.Params

    def do(self, asked: m.Params) -> Any:
        """The real values come back in telemetry, when the cabinet has them."""
        cabinet = self.sim.bound(asked.device_code)
        named = msgspec.structs.asdict(asked)
        del named["device_code"], named["desired_version"]
        values = {name: value for name, value in named.items() if value is not None}
        self.sim.want_params(cabinet, asked.desired_version, values)
        return {"accepted": True}


class DeviceReboot(PlatformHandler[m.DeviceReason]):
    endpoint = "device/reboot"
    kind = m.DeviceReason

    def do(self, asked: m.DeviceReason) -> Any:
        cabinet = self.sim.bound(asked.device_code)
        if not cabinet.is_online:
            raise XmError(codes.OFFLINE)
        self.sim.reboot(cabinet)
        return {"accepted": True}


# ---------------------------------------------------------------- doors


class DoorCanOpen(PlatformHandler[m.CanOpen]):
    endpoint = "door/can-open"
    kind = m.CanOpen

    def do(self, asked: m.CanOpen) -> Any:
        code = self.sim.bound(asked.device_code).why_not(asked.door_no, asked.purpose)
        return {"can_open": code == 0, "reason_code": code}


class DoorOpen(PlatformHandler[m.Open]):
    endpoint = "door/open"
    kind = m.Open

    def do(self, asked: m.Open) -> Any:
        earlier = self.sim.openings.get(asked.request_id)
        if earlier is None:
            return self.sim.open(asked).answer()
        if _subject(earlier.asked) != _subject(asked):
            raise XmError(codes.MALFORMED, "request_id was used for another door")
        raise XmError(codes.REPEATED, data=earlier.answer())


def _subject(asked: m.Open) -> tuple[object, ...]:
    return asked.session_no, asked.device_code, asked.door_no, asked.purpose, asked.user_ref


class DoorHandler(PlatformHandler[m.RequestRef]):
    kind = m.RequestRef

    def opening(self, asked: m.RequestRef) -> Opening:
        """Raises XmError 3006."""
        found = self.sim.openings.get(asked.request_id)
        if found is None:
            raise XmError(codes.SESSION_UNKNOWN)
        return found


class DoorCancel(DoorHandler):
    endpoint = "door/cancel"

    def do(self, asked: m.RequestRef) -> Any:
        opening = self.opening(asked)
        is_early = opening.lived.state == "pending"
        if is_early:
            gone = opening.lived.then(state="cancelled", fail_code=codes.NOT_PULLED)
            opening.lived = opening.known = gone
        is_cancelled = opening.lived.state in ("cancelled", "failed")
        return {"result": "cancelled" if is_cancelled else "already_unlocked"}


class DoorQuery(DoorHandler):
    endpoint = "door/query"

    def do(self, asked: m.RequestRef) -> Any:
        code, data = self.opening(asked).query(self.sim.now_ms())
        if code:
            raise XmError(code, data=data)
        return data


# ---------------------------------------------------------------- orders


class OrderQuery(PlatformHandler[m.OrderQuery]):
    endpoint = "order/query"
    kind = m.OrderQuery

    def do(self, asked: m.OrderQuery) -> Any:
        return self.sim.orders.find(asked.wheat_order_no, asked.session_no).whole()


class OrderList(PlatformHandler[m.OrderList]):
    endpoint = "order/list"
    kind = m.OrderList

    def do(self, asked: m.OrderList) -> Any:
        orders, cursor = self.sim.orders.page(asked)
        return {"orders": [order.whole() for order in orders], "next_cursor": cursor}


class OrderConfirm(PlatformHandler[m.Confirm]):
    endpoint = "order/confirm"
    kind = m.Confirm

    def do(self, asked: m.Confirm) -> Any:
        self.sim.orders.confirm(asked, frozenset(self.sim.goods))
        return {"ok": True}


class VideoReupload(PlatformHandler[m.Video]):
    endpoint = "order/video/reupload"
    kind = m.Video

    def do(self, asked: m.Video) -> Any:
        order = self.sim.orders.find(asked.wheat_order_no)
        if order.video == "none":
            raise XmError(codes.VIDEO_MISSING)
        plan = Plan()
        order.video = "pending"
        self.sim.later(plan.video_after_s, lambda: self.sim.recognition.film(order, plan))
        return {"accepted": True}


class VideoUrl(PlatformHandler[m.Video]):
    endpoint = "order/video/url"
    kind = m.Video

    def do(self, asked: m.Video) -> Any:
        order = self.sim.orders.find(asked.wheat_order_no)
        if order.video != "ready":
            is_late = order.video == "pending"
            raise XmError(codes.VIDEO_PENDING if is_late else codes.VIDEO_MISSING)
        expires_at = self.sim.now_ms() + VIDEO_LIFE_MS
        return [
            {
                "camera_no": camera,
                "slice": part,
                "slices": SLICES,
                "url": f"{self.sim.url}/videos/{order.wheat_order_no}/{camera}/{part}.mp4",
                "expires_at": expires_at,
                "sha256": hashlib.sha256(film(order.wheat_order_no, camera, part)).hexdigest(),
            }
            for camera in asked.camera_nos or CAMERAS
            for part in range(1, SLICES + 1)
        ]


def film(wheat_order_no: str, camera: int, part: int) -> bytes:
    """Bytes that stand for a slice of a video; the same for the same slice."""
    seed = f"{wheat_order_no}/{camera}/{part}".encode()
    return b"\x00\x00\x00\x18ftypmp42" + hashlib.sha256(seed).digest() * 32


class VideoFile(RequestHandler):
    """A slice itself, as from the storage the address points to."""

    def initialize(self, sim: Xiaomai) -> None:
        self.sim = sim

    def get(self, wheat_order_no: str, camera: str, part: str) -> None:
        if wheat_order_no not in self.sim.orders.all:
            self.set_status(404)
            self.finish()
            return
        self.set_header("Content-Type", "video/mp4")
        self.finish(film(wheat_order_no, int(camera), int(part)))


# ---------------------------------------------------------------- goods


class GoodsUpsert(PlatformHandler[m.GoodsUpsert]):
    endpoint = "goods/upsert"
    kind = m.GoodsUpsert

    def do(self, asked: m.GoodsUpsert) -> Any:
        """Each of the goods has a result of its own; the event goods.ack says the same later."""
        results = [self._take(good) for good in asked.goods]
        self.sim.tell_goods(results)
        return {"results": results}

    def _take(self, good: m.Good) -> dict[str, Any]:
        why = _fault_of(good)
        if good.sku in self.sim.refused_skus:
            why = "not allowed on this platform"
        if why:
            return {"sku": good.sku, "code": codes.GOODS_REJECTED, "msg": why}
        self.sim.goods[good.sku] = good
        return {"sku": good.sku, "code": 0, "msg": "ok"}


def _fault_of(good: m.Good) -> str:
    if not 0 < len(good.sku) <= 50:
        return "sku of 1 to 50 characters"
    if not 0 < len(good.name) <= NAME_MAX:
        return f"name of 1 to {NAME_MAX} characters"
    if good.barcode and not (good.barcode.isascii() and good.barcode.isdigit()):
        return "barcode of digits"
    if good.price_fen <= 0 or good.weight_g < 0 or good.status not in (0, 1):
        return "price, weight or status out of range"
    return ""


class PlanogramPut(PlatformHandler[m.Planogram]):
    endpoint = "planogram/put"
    kind = m.Planogram

    def do(self, asked: m.Planogram) -> Any:
        """A new layout; the same one once more is fine. What a slot kept of its goods stays."""
        cabinet = self.sim.bound(asked.device_code)
        version = cabinet.planogram_version
        unknown = sorted({slot.sku for slot in asked.slots} - self.sim.goods.keys())
        if unknown:
            raise XmError(codes.SKU_UNKNOWN, ", ".join(unknown))
        if any(slot.door_no not in cabinet.doors for slot in asked.slots):
            raise XmError(codes.DEVICE_UNKNOWN, "a door the cabinet does not have")
        if len({(s.door_no, s.layer, s.slot) for s in asked.slots}) != len(asked.slots):
            raise XmError(codes.MALFORMED, "two goods in one slot")
        if version == asked.version and self.sim.planograms.get(asked.device_code) == asked:
            return {"version": asked.version}
        if asked.base_version != version or asked.version <= version:
            raise XmError(codes.VERSION_CONFLICT, data={"version": version})
        held = {(s.door_no, s.layer, s.slot, s.sku): s.stock for s in cabinet.slots}
        cabinet.slots = [
            Slot(**msgspec.structs.asdict(slot) | {"stock": held.get(_place(slot), slot.stock)})
            for slot in asked.slots
        ]
        cabinet.planogram_version = asked.version
        self.sim.planograms[asked.device_code] = asked
        cabinet.say("planogram.changed", {"version": asked.version})
        return {"version": asked.version}


def _place(slot: m.SlotSaid) -> tuple[int, int, int, str]:
    return slot.door_no, slot.layer, slot.slot, slot.sku


INTERFACES: tuple[type[PlatformHandler[Any]], ...] = (
    *(DeviceBind, DeviceUnbind, DeviceStatus, DeviceParams, DeviceReboot),
    *(DoorCanOpen, DoorOpen, DoorCancel, DoorQuery),
    *(OrderQuery, OrderList, OrderConfirm, VideoReupload, VideoUrl),
    *(GoodsUpsert, PlanogramPut),
)
ENDPOINTS = tuple(interface.endpoint for interface in INTERFACES)
HANDLERS: list[tuple[str, type[RequestHandler]]] = [
    *((f"/openapi/v1/{interface.endpoint}", interface) for interface in INTERFACES),
    (r"/videos/(XM\d+)/(\d{1,2})/(\d{1,2})\.mp4", VideoFile),
]
