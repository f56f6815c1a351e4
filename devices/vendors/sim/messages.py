"""Its words, and the same in ours: amounts in yuan and times as texts, names in camel case."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from devices.vendors.port import Certainty, DeviceFact, DoorFact, Item, OrderFact, Outcome, Reason
from sql.types import Millis

Name = Annotated[str, Meta(max_length=64)]
Code = Annotated[str, Meta(max_length=50)]
Yuan = Annotated[str, Meta(pattern=r"^[0-9]{1,8}(\.[0-9]{1,2})?\Z")]
Celsius = Annotated[float, Meta(ge=-100, le=100)]
Number = Annotated[int, Meta(ge=0, lt=2**31)]


class Base(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Its names are in camel case."""


class Bill(Base, frozen=True):
    """goods: by sku, the price of one and how many."""

    no: Annotated[str, Meta(min_length=1, max_length=64)]
    cabinet: Code
    door: Number
    edition: Annotated[int, Meta(ge=1, lt=2**31)]
    sure: Literal["yes", "not yet", "no"]
    goods: dict[
        Annotated[str, Meta(min_length=1, max_length=50)],
        tuple[Yuan, Annotated[int, Meta(ge=1, le=10_000)]],
    ]
    sum: Yuan
    visit: Name = ""
    command: Name = ""
    opened: datetime | None = None
    shut: datetime | None = None
    oddities: Annotated[list[Name], Meta(max_length=50)] = []

    def fact(self) -> OrderFact:
        return OrderFact(
            vendor_order_no=self.no,
            device_code=self.cabinet,
            door_no=self.door,
            session_no=self.visit,
            request_id=self.command,
            rev=self.edition,
            certainty=_SURE[self.sure],
            items=tuple(
                Item(sku=sku, quantity=quantity, price_fen=fen(price))
                for sku, (price, quantity) in self.goods.items()
            ),
            total_fen=fen(self.sum),
            opened_at=millis(self.opened),
            closed_at=millis(self.shut),
            abnormal=tuple(self.oddities),
        )


_SURE: Final = {
    "yes": Certainty.CERTAIN,
    "not yet": Certainty.PROVISIONAL,
    "no": Certainty.UNCERTAIN,
}


class Door(Base, frozen=True):
    no: Number
    is_open: bool = False
    visit: Name | None = None

    def fact(self) -> DoorFact:
        return DoorFact(
            door_no=self.no,
            door="open" if self.is_open else "closed",
            busy=self.visit is not None,
            session_no=self.visit or "",
        )


class Cabinet(Base, frozen=True):
    code: Code = ""
    is_alive: bool = True
    seen: datetime | None = None
    on_mains: bool | None = None
    celsius: Celsius | None = None
    wanted_celsius: Celsius | None = None
    volume: Number | None = None
    doors: Annotated[list[Door], Meta(max_length=100)] = []
    layout: Number | None = None

    def fact(self, code: str = "") -> DeviceFact:
        return DeviceFact(
            device_code=code or self.code,
            online=self.is_alive,
            last_heartbeat_at=millis(self.seen),
            power="unknown" if self.on_mains is None else "mains" if self.on_mains else "ups",
            temp_c10=_tenths(self.celsius),
            target_temp_c10=_tenths(self.wanted_celsius),
            volume=self.volume,
            doors=tuple(door.fact() for door in self.doors),
            planogram_version=self.layout,
        )


class Word(Base, frozen=True):
    """A callback: what happened to which cabinet."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    what: str
    at: datetime
    cabinet: Code = ""
    door: Number = 0
    visit: Name = ""
    command: Name = ""
    kind: Name = ""
    bill: msgspec.Raw = msgspec.Raw(b"null")
    sensors: msgspec.Raw = msgspec.Raw(b"null")

    def common(self) -> dict[str, Any]:
        return {
            "event_id": self.id,
            "device_code": self.cabinet,
            "occurred_at": millis(self.at),
            "door_no": self.door,
            "session_no": self.visit,
            "request_id": self.command,
        }


class WordId(Base, frozen=True):
    id: Annotated[str, Meta(min_length=1, max_length=64)]


def fen(yuan: str) -> int:
    """Exactly: it has two places at most."""
    return int(Decimal(yuan) * 100)


def yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02}"


def _tenths(celsius: float | None) -> int | None:
    return None if celsius is None else round(celsius * 10)


def millis(moment: datetime | None) -> Any:
    """Millis, or None for None. A time without a zone is UTC."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    # Whole milliseconds, without the rounding of a float.
    return int(aware.timestamp()) * 1000 + aware.microsecond // 1000


def text(at: Millis) -> str:
    moment = datetime.fromtimestamp(at // 1000, UTC).replace(microsecond=at % 1000 * 1000)
    return moment.isoformat().replace("+00:00", "Z")


# ---------------------------------------------------------------- what it refuses with

REASONS: Final = {
    "unknown cabinet": Reason.DEVICE_UNKNOWN,
    "not yours": Reason.DEVICE_NOT_BOUND,
    "asleep": Reason.OFFLINE,
    "busy": Reason.BUSY_SHOPPING,
    "restocking": Reason.BUSY_RESTOCKING,
    "service": Reason.MAINTENANCE,
    "broken": Reason.HARDWARE,
    "too warm": Reason.TEMPERATURE,
    "untouched": Reason.NOT_PULLED,
    "stuck": Reason.LOCK_FAILED,
    "unknown bill": Reason.ORDER_UNKNOWN,
    "other layout": Reason.VERSION_CONFLICT,
    "token": Reason.SIGNATURE,
}


class Said(Base, frozen=True):
    """An answer; error: "" where it is good."""

    error: str = ""
    layout: Number | None = None
    alive_since: datetime | None = None
    build: Name = ""
    doors: int = 0
    cabinets: list[Cabinet] = []
    bill_no: Name = ""
    bills: list[Bill] = []
    has_more: bool = False
    step: str = ""
    opened: datetime | None = None
    shut: datetime | None = None
    why: str = ""
    is_stopped: bool = False
    refused: dict[str, str] = {}


STEPS: Final[
    Mapping[str, tuple[Outcome, Literal["pending", "open", "closed", "failed", "unknown"]]]
] = {
    "waiting": (Outcome.UNKNOWN, "pending"),
    "open": (Outcome.EXECUTED, "open"),
    "shut": (Outcome.EXECUTED, "closed"),
    "failed": (Outcome.NOT_EXECUTED, "failed"),
    "none": (Outcome.UNKNOWN, "unknown"),
}
