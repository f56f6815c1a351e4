"""Layouts, counts and moves of goods behind a door, and the reasons to refuse.

CabinetError (devices/model.py)
├── PlanogramInvalid   two goods in one place, two prices for one good, …
├── GoodsUnknown       goods the ERP has not told of, or does not sell any more
├── PlanogramNotFound  there is no such version
├── CountInvalid       the same good twice, an unknown one, …
└── NotRestocking      the session is no restocking at this device
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from devices.model import CabinetError
from devices.vendors.port import Slot
from sql.types import Millis

MoveKind: TypeAlias = Literal["restock", "sale", "correction", "count", "return"]
PlanogramState: TypeAlias = Literal["waiting", "put", "refused"]

PUT: Final = "cabinet.planogram"
"""The parcel that puts a layout to the vendor: {"device_id", "version"}."""

COUNTED: Final = frozenset({"restock", "count"})
"""These begin to count a good that was not counted yet; a sale does not: it would be below 0."""

SLOTS_MAX: Final = 500


class PlanogramInvalid(CabinetError):
    code = "planogram.invalid"
    title = "The layout cannot be"


class GoodsUnknown(CabinetError):
    """skus: which."""

    code = "planogram.goods_unknown"
    title = "These goods are not sold"

    def __init__(self, skus: Iterable[str]) -> None:
        self.skus = tuple(skus)
        super().__init__(", ".join(self.skus))


class PlanogramNotFound(CabinetError):
    code = "planogram.not_found"
    title = "The device has no such layout"


class CountInvalid(CabinetError):
    code = "stock.count_invalid"
    title = "The count cannot be"


class NotRestocking(CabinetError):
    code = "stock.not_restocking"
    title = "This is no restocking of the cabinet"


class Planogram(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `planograms`. base_version: the one it takes the place of."""

    device_id: int
    version: int
    base_version: int
    state: PlanogramState
    slots: tuple[Slot, ...]
    by_account: int
    at: Millis
    put_at: Millis | None

    @property
    def prices(self) -> dict[str, int]:
        return {slot.sku: slot.price_fen for slot in self.slots}


class Snapshot(msgspec.Struct, frozen=True):
    """What a device sells at a moment. version 0: it has no layout. stock: by door and SKU.

    prices leave out what is blocked: it is not for sale, and an order of it needs a person.
    """

    version: int
    prices: dict[str, int]
    stock: dict[tuple[int, str], int]
    blocked: frozenset[str]


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `door_stock`. quantity: by our count; below zero means that the count is wrong."""

    device_id: int
    door_no: int
    sku: str
    quantity: int
    capacity: int
    expires_on: int | None
    blocked_at: Millis | None
    changed_at: Millis


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `stock_moves`."""

    id: int
    device_id: int
    door_no: int
    sku: str
    kind: MoveKind
    delta: int
    after: int
    ref: str
    by_account: int
    at: Millis


class Counted(msgspec.Struct, frozen=True):
    """What somebody has counted of a good. expires_on: YYYYMMDD of the earliest; 0: keeps as it
    is known, None: it does not expire."""

    sku: str
    quantity: int
    expires_on: int | None = 0


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A slot as somebody wants it. price_fen None: what the ERP says. expires_on: YYYYMMDD."""

    door_no: int
    layer: int
    slot: int
    sku: str
    price_fen: int | None = None
    stock: int
    capacity: int
    expires_on: int | None = None

    def priced(self, price_fen: int) -> Slot:
        """The slot at its own price, or at this one."""
        values = msgspec.structs.asdict(self)
        return Slot(**values | {"price_fen": self.price_fen or price_fen})


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody has counted behind a door. session_id: of the restocking it is from, or 0."""

    door_no: int
    counted: tuple[Counted, ...]
    session_id: int = 0
    reason: str = ""


class Layout(msgspec.Struct, frozen=True):
    """What a layout means for one good behind one door."""

    quantity: int
    capacity: int
    expires_on: int | None


class Expiring(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be taken out soon, or now: then it is blocked."""

    device_id: int
    device_code: str
    store_id: int | None
    door_no: int
    sku: str
    name: str
    quantity: int
    expires_on: int
    blocked_at: Millis | None


class VendorGood(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `vendor_goods`: what a vendor has of a good."""

    vendor: str
    sku: str
    mark: str
    state: Literal["waiting", "done", "refused"]
    error: str
    changed_at: Millis


def is_past(expires_on: int | None, today: int) -> bool:
    """expires_on is the last day on which it may be sold."""
    return expires_on is not None and expires_on < today


def check_slots(slots: Sequence[Slot], doors: Iterable[int]) -> None:
    """Raises PlanogramInvalid, which says why."""
    known = frozenset(doors)
    places = {(slot.door_no, slot.layer, slot.slot) for slot in slots}
    prices = {(slot.sku, slot.price_fen) for slot in slots}
    if len(slots) > SLOTS_MAX:
        raise PlanogramInvalid(f"more than {SLOTS_MAX} places")
    if len(places) != len(slots):
        raise PlanogramInvalid("two goods in one place")
    if len(prices) != len({slot.sku for slot in slots}):
        raise PlanogramInvalid("two prices for one of the goods")
    if strange := {slot.door_no for slot in slots} - known:
        raise PlanogramInvalid(f"no door {min(strange)}")
    if any(slot.stock > slot.capacity for slot in slots):
        raise PlanogramInvalid("more goods than room for them")


def layouts(slots: Iterable[Slot]) -> dict[tuple[int, str], Layout]:
    """By door and SKU: how many, room for how many, and when the first of them expires."""
    found: dict[tuple[int, str], Layout] = {}
    for slot in slots:
        known = found.get((slot.door_no, slot.sku), Layout(0, 0, None))
        dates = [date for date in (known.expires_on, slot.expires_on) if date is not None]
        found[slot.door_no, slot.sku] = Layout(
            known.quantity + slot.stock, known.capacity + slot.capacity, min(dates, default=None)
        )
    return found


def deltas(counted: Iterable[Counted], shelves: Mapping[str, Shelf]) -> dict[str, int]:
    """By how much our count is off, of what was counted."""
    return {
        each.sku: each.quantity - (shelves[each.sku].quantity if each.sku in shelves else 0)
        for each in counted
    }
