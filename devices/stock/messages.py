"""What crosses REST about layouts and counts, as it comes in. Days are 2026-11-20, in Beijing."""

from datetime import date
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from accounts.staff.messages import Reason
from devices.stock.model import SLOTS_MAX, Count, Counted, Place

Sku = Annotated[str, Meta(min_length=1, max_length=50)]
Door = Annotated[int, Meta(ge=1, le=99)]
Position = Annotated[int, Meta(ge=1, le=999)]
Quantity = Annotated[int, Meta(ge=0, le=10_000)]
Fen = Annotated[int, Meta(ge=1, le=100_000_000)]


class SlotNew(msgspec.Struct, frozen=True):
    """price_fen: without it what the ERP says. expires_on: the last day on which it is sold."""

    door_no: Door
    layer: Position
    slot: Position
    sku: Sku
    stock: Quantity
    capacity: Quantity
    price_fen: Fen | None = None
    expires_on: date | None = None

    def place(self) -> Place:
        values = msgspec.structs.asdict(self)
        return Place(**values | {"expires_on": number_of(self.expires_on)})


class PlanogramNew(msgspec.Struct, frozen=True):
    """All slots of all doors."""

    slots: Annotated[tuple[SlotNew, ...], Meta(min_length=1, max_length=SLOTS_MAX)]
    reason: Reason = ""


class CountedNew(msgspec.Struct, frozen=True):
    """expires_on: without it as it is known; null: it does not expire."""

    sku: Sku
    quantity: Quantity
    expires_on: date | UnsetType | None = UNSET

    def counted(self) -> Counted:
        day = self.expires_on
        return Counted(self.sku, self.quantity, 0 if day is UNSET else number_of(day))


class CountNew(msgspec.Struct, frozen=True):
    """session_id: of the restocking it is from. What is not named is left as it is."""

    door_no: Door
    counts: Annotated[tuple[CountedNew, ...], Meta(min_length=1, max_length=SLOTS_MAX)]
    session_id: Annotated[int, Meta(ge=1)] | None = None
    reason: Reason = ""

    def count(self) -> Count:
        return Count(
            door_no=self.door_no,
            counted=tuple(each.counted() for each in self.counts),
            session_id=self.session_id or 0,
            reason=self.reason,
        )


def number_of(day: date | None) -> int | None:
    """20261120"""
    return None if day is None else day.year * 10_000 + day.month * 100 + day.day


def day_of(number: int) -> str:
    """2026-11-20"""
    text = str(number)
    return f"{text[:4]}-{text[4:6]}-{text[6:]}"
