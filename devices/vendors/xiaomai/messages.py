"""What it says, field by field, and the same in our words.

Amounts are fen, times milliseconds, as with us. What does not fit these types is not looked
into any further.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from devices.vendors.port import (
    Bound,
    CanOpen,
    Certainty,
    DeviceFact,
    DoorFact,
    GoodResult,
    Item,
    OrderFact,
    Outcome,
    Reason,
    SessionFact,
    VideoSlice,
)
from devices.vendors.xiaomai.codes import OK, outcome_of, reason_of
from sql.types import Millis

Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Fen = Annotated[int, Meta(ge=0, le=2**53)]
Time = Annotated[int, Meta(ge=0, le=2**53)]
Whole = Annotated[int, Meta(ge=-(2**31), lt=2**31)]
Number = Annotated[int, Meta(ge=0, lt=2**31)]
Name = Annotated[str, Meta(max_length=64)]
Code = Annotated[str, Meta(max_length=50)]
Text = Annotated[str, Meta(max_length=200)]


# ---------------------------------------------------------------- orders

ORDER_NO_MAX: Final = 50
"""Of an order's number we promise to keep so much. A longer one is nobody's: cut, two could be one
order, and money would go by it."""


class WireItem(msgspec.Struct, frozen=True):
    sku: Annotated[str, Meta(min_length=1, max_length=50)]
    qty: Annotated[int, Meta(ge=1, le=10_000)]
    price_fen: Fen = 0
    barcode: Code | None = None
    name: Text | None = None
    confidence: float | None = None

    def item(self) -> Item:
        return Item(
            sku=self.sku,
            quantity=self.qty,
            price_fen=self.price_fen,
            barcode=self.barcode or "",
            name=self.name or "",
            confidence=1.0 if self.confidence is None else self.confidence,
        )


class WireVideo(msgspec.Struct, frozen=True):
    state: Name = ""
    slices: Count | None = None


class WireOrder(msgspec.Struct, frozen=True, kw_only=True):
    """`order.*` and `/order/query`; where it is in an event, the envelope names the door."""

    wheat_order_no: Annotated[str, Meta(min_length=1, max_length=64)]
    rev: Annotated[int, Meta(ge=1, lt=2**31)]
    certainty: Certainty
    total_fen: Fen
    items: Annotated[list[WireItem], Meta(max_length=500)] = []
    candidates: Annotated[list[WireItem], Meta(max_length=500)] | None = None
    device_code: Code | None = None
    door_no: Number | None = None
    session_no: Name | None = None
    request_id: Name | None = None
    opened_at: Time | None = None
    closed_at: Time | None = None
    weight_before_g: Whole | None = None
    weight_after_g: Whole | None = None
    abnormal_reasons: Annotated[list[Name], Meta(max_length=50)] | None = None
    video: WireVideo | None = None

    @property
    def is_ours(self) -> bool:
        return len(self.wheat_order_no) <= ORDER_NO_MAX

    def fact(
        self, *, device_code: str = "", door_no: int = 0, session_no: str = "", request_id: str = ""
    ) -> OrderFact:
        return OrderFact(
            vendor_order_no=self.wheat_order_no,
            device_code=device_code or self.device_code or "",
            door_no=door_no or self.door_no or 0,
            session_no=session_no or self.session_no or "",
            request_id=request_id or self.request_id or "",
            rev=self.rev,
            certainty=self.certainty,
            items=tuple(one.item() for one in self.items),
            candidates=tuple(one.item() for one in self.candidates or ()),
            total_fen=self.total_fen,
            opened_at=self.opened_at,
            closed_at=self.closed_at,
            weight_before_g=self.weight_before_g,
            weight_after_g=self.weight_after_g,
            abnormal=tuple(self.abnormal_reasons or ()),
            video=self.video.state if self.video else "",
        )


class WireOrders(msgspec.Struct, frozen=True):
    orders: list[WireOrder]
    next_cursor: str | None = None


# ---------------------------------------------------------------- devices and doors


_LOCKS: Final[Mapping[str | None, Literal["locked", "unlocked"]]] = {
    "locked": "locked",
    "unlocked": "unlocked",
}
_DOORS: Final[Mapping[str | None, Literal["closed", "open"]]] = {"closed": "closed", "open": "open"}
_POWERS: Final[Mapping[str | None, Literal["mains", "ups"]]] = {"mains": "mains", "ups": "ups"}


class WireDoor(msgspec.Struct, frozen=True):
    door_no: Number
    lock: str | None = None
    door: str | None = None
    busy: bool = False
    session_no: Name | None = None

    def fact(self) -> DoorFact:
        return DoorFact(
            door_no=self.door_no,
            lock=_LOCKS.get(self.lock, "unknown"),
            door=_DOORS.get(self.door, "unknown"),
            busy=self.busy,
            session_no=self.session_no or "",
        )


class WireDevice(msgspec.Struct, frozen=True, kw_only=True):
    """`/device/status`, and `device.telemetry`, which says of itself neither its code nor that
    it is online."""

    device_code: Code = ""
    online: bool = True
    last_heartbeat_at: Time | None = None
    power: str | None = None
    temp_c10: Whole | None = None
    target_temp_c10: Whole | None = None
    volume: Whole | None = None
    light: Whole | None = None
    compressor: Whole | None = None
    doors: Annotated[list[WireDoor], Meta(max_length=100)] | None = None
    faults: Annotated[list[Name], Meta(max_length=100)] | None = None
    planogram_version: Number | None = None

    def fact(self, device_code: str = "") -> DeviceFact:
        return DeviceFact(
            device_code=device_code or self.device_code,
            online=self.online,
            last_heartbeat_at=self.last_heartbeat_at,
            power=_POWERS.get(self.power, "unknown"),
            temp_c10=self.temp_c10,
            target_temp_c10=self.target_temp_c10,
            volume=self.volume,
            light=self.light,
            compressor=self.compressor,
            doors=tuple(door.fact() for door in self.doors or ()),
            faults=tuple(self.faults or ()),
            planogram_version=self.planogram_version,
        )


class BoundDoor(msgspec.Struct, frozen=True):
    door_no: Number


class WireBound(msgspec.Struct, frozen=True):
    bound_at: Time
    doors: list[BoundDoor]
    model: Text | None = None
    fw: Text | None = None

    def bound(self) -> Bound:
        numbers = tuple(door.door_no for door in self.doors)
        return Bound(self.bound_at, numbers, self.model or "", self.fw or "")


class WireCanOpen(msgspec.Struct, frozen=True):
    can_open: bool
    reason_code: int | None = None

    def answer(self) -> CanOpen:
        if self.can_open:
            return CanOpen(can_open=True)
        return CanOpen(can_open=False, reason=reason_of(self.reason_code or OK) or Reason.OTHER)


class WireOpened(msgspec.Struct, frozen=True):
    accepted: bool = True
    wheat_order_no: Name | None = None
    device_ack_deadline: Time | None = None


class WireCancelled(msgspec.Struct, frozen=True):
    result: Literal["cancelled", "already_unlocked"]


_State: TypeAlias = Literal["pending", "unlocked", "open", "closed", "failed", "unknown"]
_STATES: Final[Mapping[str, _State]] = {
    "pending": "pending",
    "unlocked": "unlocked",
    "opened": "open",
    "open": "open",
    "closed": "closed",
    "locked": "closed",
    "failed": "failed",
    "not_pulled": "failed",
    "cancelled": "failed",
}
_OUTCOMES: Final[Mapping[_State, Outcome]] = {
    "pending": Outcome.UNKNOWN,
    "unlocked": Outcome.EXECUTED,
    "open": Outcome.EXECUTED,
    "closed": Outcome.EXECUTED,
    "failed": Outcome.NOT_EXECUTED,
    "unknown": Outcome.UNKNOWN,
}


class WireSession(msgspec.Struct, frozen=True):
    state: str
    unlocked_at: Time | None = None
    opened_at: Time | None = None
    closed_at: Time | None = None
    locked_at: Time | None = None
    wheat_order_no: Name | None = None
    fail_code: int | None = None

    def fact(self) -> SessionFact:
        state = _STATES.get(self.state, "unknown")
        return SessionFact(
            outcome=_OUTCOMES[state],
            state=state,
            reason=self._reason(),
            unlocked_at=self.unlocked_at,
            opened_at=self.opened_at,
            closed_at=self.closed_at,
            locked_at=self.locked_at,
            vendor_order_no=self.wheat_order_no or "",
        )

    def _reason(self) -> Reason:
        if self.fail_code:
            return reason_of(self.fail_code)
        return Reason.NOT_PULLED if self.state == "not_pulled" else Reason.NONE


# ---------------------------------------------------------------- goods, videos


class WireGoodResult(msgspec.Struct, frozen=True):
    sku: Code
    code: int
    msg: Text | None = None

    def result(self) -> GoodResult:
        return GoodResult(self.sku, outcome_of(self.code)[1], self.msg or "")


class WireGoodResults(msgspec.Struct, frozen=True):
    results: list[WireGoodResult]


class WireVersion(msgspec.Struct, frozen=True):
    version: Number


class WireSlice(msgspec.Struct, frozen=True):
    camera_no: Number
    slice: Number
    slices: Number
    url: Annotated[str, Meta(max_length=2000)]
    expires_at: Time
    sha256: Annotated[str, Meta(max_length=64)] | None = None

    def video(self) -> VideoSlice:
        return VideoSlice(
            camera_no=self.camera_no,
            slice=self.slice,
            slices=self.slices,
            url=self.url,
            expires_at=self.expires_at,
            sha256=self.sha256 or "",
        )


class WireNone(msgspec.Struct, frozen=True):
    """An answer in which nothing is looked for."""


# ---------------------------------------------------------------- events


class WireAlarm(msgspec.Struct, frozen=True):
    kind: Name
    text: Text | None = None


class WireOpenFailed(msgspec.Struct, frozen=True):
    fail_code: int = OK


class WireVideoEvent(msgspec.Struct, frozen=True):
    wheat_order_no: Annotated[str, Meta(min_length=1, max_length=64)]
    slices: Count | None = None


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Around every event; data is read when its type is known."""

    event_id: Annotated[str, Meta(min_length=1, max_length=64)]
    event_type: str
    occurred_at: Time
    device_code: Code | None = None
    door_no: Number | None = None
    seq: Time | None = None
    boot_id: Name | None = None
    session_no: Name | None = None
    request_id: Name | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")

    def common(self) -> "Common":
        return Common(
            event_id=self.event_id,
            device_code=self.device_code or "",
            occurred_at=self.occurred_at,
            door_no=self.door_no or 0,
            session_no=self.session_no or "",
            request_id=self.request_id or "",
            boot_id=self.boot_id or "",
            seq=self.seq or 0,
        )


class EventId(msgspec.Struct, frozen=True):
    """As much as can be read of an event that is no `Envelope`."""

    event_id: Annotated[str, Meta(min_length=1, max_length=64)]
    event_type: object = None
    device_code: object = None
    occurred_at: object = None


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """What all events have."""

    event_id: str
    device_code: str
    occurred_at: Millis
    door_no: int = 0
    session_no: str = ""
    request_id: str = ""
    boot_id: str = ""
    seq: int = 0

    @property
    def fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__struct_fields__}
