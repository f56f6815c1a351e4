"""The port to a vendor of cabinets: what we ask, what we are told, in our own words.

A new vendor is one module that keeps `CabinetVendor`, and a run of the conformance tests; the
rest of the program asks `caps` and never the vendor's name. Amounts are fen, times are integer
milliseconds UTC, temperatures tenths of a degree.

VendorError
├── VendorUnknown    no answer, or none that says what became of it: ask, never repeat blindly
└── VendorRefused    a clear no: nothing was done; `code` says why

BadCallback          what came in is not the vendor's, or cannot be read
├── BadSignature
├── Skewed           signed at a time too far from ours
├── Replayed         its nonce was used for another body
└── TooLarge         longer than is taken
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from sql.types import Millis

Purpose: TypeAlias = Literal["shop", "restock", "inspect"]


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """What a vendor can do. signed: its callbacks prove who sent them; without it every event
    about money is a hint, and the order is fetched."""

    signed: bool = False
    order_query: bool = False
    order_list: bool = False
    session_query: bool = False
    can_open: bool = False
    lock_sensor: bool = False
    door_sensor: bool = False
    multi_door: bool = False
    restock_mode: bool = False
    video_push: bool = False
    video_reupload: bool = False
    pushes_abnormal: bool = False
    wants_confirm: bool = False
    params: frozenset[str] = frozenset()
    price_push: bool = False


# ---------------------------------------------------------------- what goes wrong


class Outcome(StrEnum):
    """What became of a command."""

    EXECUTED = "executed"
    NOT_EXECUTED = "not_executed"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why a command was refused or failed, whatever the vendor's own number for it."""

    NONE = ""
    SIGNATURE = "signature"
    SKEW = "skew"
    REPLAY = "replay"
    APP_DISABLED = "app_disabled"
    RATE = "rate"
    DEVICE_UNKNOWN = "device_unknown"
    DEVICE_NOT_BOUND = "device_not_bound"
    OFFLINE = "offline"
    BUSY_SHOPPING = "busy_shopping"
    BUSY_RESTOCKING = "busy_restocking"
    MAINTENANCE = "maintenance"
    ON_UPS = "on_ups"
    HARDWARE = "hardware"
    TEMPERATURE = "temperature"
    NO_ANSWER = "no_answer"
    NOT_PULLED = "not_pulled"
    LOCK_FAILED = "lock_failed"
    NO_RESULT = "no_result"
    SESSION_UNKNOWN = "session_unknown"
    PENDING = "pending"
    ORDER_UNKNOWN = "order_unknown"
    ORDER_CONFLICT = "order_conflict"
    AMOUNT_MISMATCH = "amount_mismatch"
    OVER_LIMIT = "over_limit"
    SKU_UNKNOWN = "sku_unknown"
    VIDEO_MISSING = "video_missing"
    VIDEO_PENDING = "video_pending"
    GOODS_REJECTED = "goods_rejected"
    VERSION_CONFLICT = "version_conflict"
    EXPIRED = "expired"
    OTHER = "other"


class VendorError(Exception):
    """Base of the family; the text never holds a key or a signature."""

    code = "vendor.error"
    title = "The cabinet's platform"


class VendorUnknown(VendorError):
    """Nobody knows whether it was done: query before anything else."""

    code = "vendor.unknown"
    title = "The cabinet's platform gave no clear answer"


class VendorRefused(VendorError):
    """Nothing was done. number: the vendor's own, for logs. detail: what else it said."""

    code = "vendor.refused"
    title = "The cabinet's platform refused"

    def __init__(self, reason: Reason, number: int = 0, detail: str = "") -> None:
        super().__init__(f"{reason} ({number}) {detail}".strip())
        self.reason = reason
        self.number = number
        self.detail = detail


class BadCallback(Exception):
    """It changes nothing. code is the vendor-neutral word for logs and counters."""

    code = "callback.bad"
    title = "The callback cannot be read"


class BadSignature(BadCallback):
    code = "callback.signature"
    title = "The callback is not the vendor's"


class Skewed(BadCallback):
    code = "callback.skew"
    title = "The callback was signed at another time"


class Replayed(BadCallback):
    code = "callback.replay"
    title = "The nonce was used for another body"


class TooLarge(BadCallback):
    code = "callback.too_large"
    title = "The callback is too large"


# ---------------------------------------------------------------- what we ask


class OpenCommand(msgspec.Struct, frozen=True, kw_only=True):
    """One door, once: request_id stays the same however often it is sent.

    user_ref: a salted hash, never a phone or an openid. pull_ttl_s: within which the door is
    pulled, max_open_s: how long it may stay open.
    """

    request_id: str
    session_no: str
    device_code: str
    door_no: int
    purpose: Purpose
    user_ref: str
    pull_ttl_s: int
    max_open_s: int
    amount_limit_fen: int
    expires_at: Millis


class OpenAck(msgspec.Struct, frozen=True, kw_only=True):
    """EXECUTED: the vendor took the command; the door itself is heard of later."""

    outcome: Outcome
    reason: Reason = Reason.NONE
    vendor_order_no: str = ""
    ack_deadline: Millis | None = None


class SessionFact(msgspec.Struct, frozen=True, kw_only=True):
    """What the vendor knows of an open command. outcome: of the opening.

    state: pending, unlocked, open, closed, failed or unknown.
    """

    outcome: Outcome
    state: Literal["pending", "unlocked", "open", "closed", "failed", "unknown"]
    reason: Reason = Reason.NONE
    unlocked_at: Millis | None = None
    opened_at: Millis | None = None
    closed_at: Millis | None = None
    locked_at: Millis | None = None
    vendor_order_no: str = ""


class DoorFact(msgspec.Struct, frozen=True, kw_only=True):
    door_no: int
    lock: Literal["locked", "unlocked", "unknown"] = "unknown"
    door: Literal["closed", "open", "unknown"] = "unknown"
    busy: bool = False
    session_no: str = ""


class DeviceFact(msgspec.Struct, frozen=True, kw_only=True):
    """A device as its vendor sees it now. online is a hint: judge by when it was heard of."""

    device_code: str
    online: bool
    last_heartbeat_at: Millis | None = None
    power: Literal["mains", "ups", "unknown"] = "unknown"
    temp_c10: int | None = None
    target_temp_c10: int | None = None
    volume: int | None = None
    light: int | None = None
    compressor: int | None = None
    doors: tuple[DoorFact, ...] = ()
    faults: tuple[str, ...] = ()
    planogram_version: int | None = None


class CanOpen(msgspec.Struct, frozen=True):
    can_open: bool
    reason: Reason = Reason.NONE


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken, as the vendor recognised it. price_fen is the vendor's, ours counts."""

    sku: str
    quantity: int
    price_fen: int = 0
    barcode: str = ""
    name: str = ""
    confidence: float = 1.0


class Certainty(StrEnum):
    CERTAIN = "certain"
    PROVISIONAL = "provisional"
    UNCERTAIN = "uncertain"


class OrderFact(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the vendor has it. rev counts from 1; a higher one takes a lower one's place."""

    vendor_order_no: str
    device_code: str
    door_no: int
    session_no: str = ""
    request_id: str = ""
    rev: int
    certainty: Certainty
    items: tuple[Item, ...]
    candidates: tuple[Item, ...] = ()
    total_fen: int
    opened_at: Millis | None = None
    closed_at: Millis | None = None
    weight_before_g: int | None = None
    weight_after_g: int | None = None
    abnormal: tuple[str, ...] = ()
    video: str = ""
    """pending, ready, none or failed; "" where nothing is said."""


class OrderPage(msgspec.Struct, frozen=True):
    orders: tuple[OrderFact, ...]
    next_cursor: str = ""


class OrderResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order here, for the vendor's books."""

    vendor_order_no: str
    order_no: str
    rev: int
    result: Literal["paid", "unpaid", "cancelled", "refunded", "corrected"]
    due_fen: int
    net_paid_fen: int
    items: tuple[Item, ...]
    at: Millis


class Good(msgspec.Struct, frozen=True, kw_only=True):
    sku: str
    barcode: str
    name: str
    price_fen: int
    weight_g: int
    image_urls: tuple[str, ...] = ()
    status: int


class GoodResult(msgspec.Struct, frozen=True):
    """Of one of the goods; reason NONE: taken."""

    sku: str
    reason: Reason = Reason.NONE
    text: str = ""


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a cabinet. expires_on: YYYYMMDD or None."""

    door_no: int
    layer: int
    slot: int
    sku: str
    price_fen: int
    stock: int
    capacity: int
    expires_on: int | None = None


class Bound(msgspec.Struct, frozen=True):
    """doors: their numbers."""

    bound_at: Millis
    doors: tuple[int, ...]
    model: str = ""
    firmware: str = ""


class VideoSlice(msgspec.Struct, frozen=True, kw_only=True):
    camera_no: int
    slice: int
    slices: int
    url: str
    expires_at: Millis
    sha256: str = ""


# ---------------------------------------------------------------- what we are told


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """event_id: of the vendor, unique for its endpoint. device_code "": of no device.

    occurred_at: the device's clock, stored and never trusted. boot_id, seq: order the events
    of one device; "" and 0 where the vendor does not say.
    """

    event_id: str
    device_code: str
    occurred_at: Millis
    door_no: int = 0
    session_no: str = ""
    request_id: str = ""
    boot_id: str = ""
    seq: int = 0


class DeviceOnline(_Event, frozen=True, kw_only=True): ...


class DeviceOffline(_Event, frozen=True, kw_only=True): ...


class Telemetry(_Event, frozen=True, kw_only=True):
    fact: DeviceFact


class Alarm(_Event, frozen=True, kw_only=True):
    """kind: the vendor's word (temperature, power, hardware, …); is_raised False clears it."""

    kind: str
    is_raised: bool
    text: str = ""


class Unlocked(_Event, frozen=True, kw_only=True): ...


class DoorOpened(_Event, frozen=True, kw_only=True): ...


class DoorClosed(_Event, frozen=True, kw_only=True): ...


class Locked(_Event, frozen=True, kw_only=True): ...


class OpenFailed(_Event, frozen=True, kw_only=True):
    reason: Reason


class NotPulled(_Event, frozen=True, kw_only=True): ...


class OrderPushed(_Event, frozen=True, kw_only=True):
    order: OrderFact


class OrderAbnormal(_Event, frozen=True, kw_only=True):
    order: OrderFact


class OrderRecheck(_Event, frozen=True, kw_only=True):
    order: OrderFact


class VideoReady(_Event, frozen=True, kw_only=True):
    vendor_order_no: str
    slices: int = 1


class VideoFailed(_Event, frozen=True, kw_only=True):
    vendor_order_no: str


class GoodsAck(_Event, frozen=True, kw_only=True):
    results: tuple[GoodResult, ...]


class PlanogramChanged(_Event, frozen=True, kw_only=True):
    version: int


class Unread(_Event, frozen=True, kw_only=True):
    """Verified, but of a type we do not know, or not to be understood: quarantined."""

    event_type: str
    why: str


Event: TypeAlias = (
    DeviceOnline
    | DeviceOffline
    | Telemetry
    | Alarm
    | Unlocked
    | DoorOpened
    | DoorClosed
    | Locked
    | OpenFailed
    | NotPulled
    | OrderPushed
    | OrderAbnormal
    | OrderRecheck
    | VideoReady
    | VideoFailed
    | GoodsAck
    | PlanogramChanged
    | Unread
)

ORDER_EVENTS: Final = (OrderPushed, OrderAbnormal, OrderRecheck)


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A callback that is the vendor's. body_hash: SHA-256 of raw in hex. nonce: "" where the
    vendor has none, then only event ids tell repeats."""

    endpoint_id: str
    nonce: str
    body_hash: str
    raw: bytes
    signed_at: Millis | None = None


Answer: TypeAlias = tuple[int, Mapping[str, str], bytes]
"""HTTP status, headers, body, in the vendor's dialect."""


class CabinetVendor(Protocol):
    """What every vendor's module offers. Calls raise VendorUnknown and VendorRefused."""

    @property
    def code(self) -> str: ...
    @property
    def caps(self) -> Caps: ...

    # Devices
    async def bind(
        self,
        device_code: str,
        *,
        store_code: str,
        name: str,
        doors: Mapping[int, str],
        contact_phone: str,
    ) -> Bound:
        """doors: by number, the text of each one's QR code."""
        ...

    async def unbind(self, device_code: str, *, reason: str) -> None: ...
    async def status(self, device_codes: Sequence[str]) -> list[DeviceFact]:
        """Those it does not know are left out."""
        ...

    async def put_params(
        self, device_code: str, *, desired: Mapping[str, int], version: int
    ) -> None: ...
    async def reboot(self, device_code: str, *, reason: str) -> None: ...

    # Doors
    async def can_open(self, device_code: str, door_no: int, purpose: Purpose) -> CanOpen: ...
    async def open_door(self, command: OpenCommand) -> OpenAck:
        """Never raises VendorUnknown or VendorRefused: the outcome is in the answer."""
        ...

    async def cancel_open(self, request_id: str) -> bool:
        """Whether it was cancelled; False: it is unlocked already."""
        ...

    async def query_session(self, request_id: str) -> SessionFact:
        """SESSION_UNKNOWN: not done, once the time the device had to answer is over; before
        that, nobody knows."""
        ...

    # Orders
    async def query_order(
        self, *, vendor_order_no: str = "", session_no: str = ""
    ) -> OrderFact | None: ...
    async def list_orders(self, since: Millis, until: Millis, cursor: str = "") -> OrderPage:
        """By the time they were last changed, oldest first."""
        ...

    async def confirm_order(self, result: OrderResult) -> None: ...
    async def request_video(self, vendor_order_no: str, cameras: Sequence[int] = ()) -> None: ...
    async def video_urls(self, vendor_order_no: str) -> list[VideoSlice]: ...

    # Goods
    async def put_goods(self, goods: Sequence[Good]) -> list[GoodResult]:
        """At most 100; each has its own result."""
        ...

    async def put_planogram(
        self, device_code: str, *, version: int, base_version: int, slots: Sequence[Slot]
    ) -> None:
        """VendorRefused VERSION_CONFLICT: it has another version (its number in detail)."""
        ...

    # Callbacks
    def verify(
        self,
        *,
        endpoint_id: str,
        headers: Mapping[str, str],
        path: str,
        query: str,
        raw: bytes,
        now: Millis,
        address: str,
    ) -> Verified:
        """Who sent it, over the raw bytes; nothing is parsed. headers: names in lower case.

        Raises BadSignature, Skewed, BadCallback.
        """
        ...

    def parse(self, raw: bytes) -> Event:
        """The event in verified bytes. Raises BadCallback when not even an id can be read."""
        ...

    def acknowledge(self, event_id: str) -> Answer:
        """Stored: it need not come again."""
        ...

    def refuse(self, refusal: BadCallback, *, now: Millis) -> Answer: ...
    def overloaded(self, *, retry_after_s: int) -> Answer: ...
    async def close(self) -> None: ...
