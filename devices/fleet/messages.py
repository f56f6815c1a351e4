"""What crosses REST about stores and devices, as it comes in. Lengths are those of the tables."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from accounts.staff.messages import Reason
from devices.fleet.model import Property, StoreType

# No control characters. The look-ahead is for "$", which also stands before a last line feed.
_LINE = r"^[^\x00-\x1f\x7f]*(?!\n)$"
_FILLED = r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?(?!\n)$"

# A code is compared, printed on labels and sent to others: no blanks, nothing to be escaped.
Code = Annotated[str, Meta(min_length=1, max_length=50, pattern=r"^[0-9A-Za-z._-]+(?!\n)$")]
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=_FILLED)]
Address = Annotated[str, Meta(max_length=200, pattern=_LINE)]
Phone = Annotated[str, Meta(max_length=20, pattern=r"^[0-9+() -]*(?!\n)$")]
LimitFen = Annotated[
    int,
    Meta(
        ge=0,
        le=100_000_000,
        description="Orders above it wait for a person; null takes the setting.",
    ),
]
Vendor = Annotated[str, Meta(min_length=1, max_length=16, pattern=r"^[a-z0-9]+(?!\n)$")]
DoorNumber = Annotated[int, Meta(ge=1, le=99)]
Doors = Annotated[tuple[DoorNumber, ...], Meta(min_length=1, max_length=20)]


class StoreNew(msgspec.Struct, kw_only=True, frozen=True):
    code: Code
    name: Name
    type: StoreType
    property: Property
    address: Address = ""
    phone: Phone = ""
    review_limit_fen: LimitFen | None = None


class StorePatch(msgspec.Struct, kw_only=True, frozen=True):
    """What is absent stays as it is."""

    code: Code | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    type: StoreType | UnsetType = UNSET
    property: Property | UnsetType = UNSET
    address: Address | UnsetType = UNSET
    phone: Phone | UnsetType = UNSET
    review_limit_fen: LimitFen | UnsetType | None = UNSET
    reason: Reason = ""


class DeviceNew(msgspec.Struct, kw_only=True, frozen=True):
    """doors: their numbers."""

    vendor: Vendor
    code: Code
    name: Name
    doors: Doors = (1,)


class DevicePatch(msgspec.Struct, kw_only=True, frozen=True):
    """What is absent stays as it is. doors: all of them; only while it stands in no store."""

    name: Name | None = None
    doors: Doors | None = None
    reason: Reason = ""


class Bind(msgspec.Struct, frozen=True):
    store_id: Annotated[int, Meta(gt=0)]
    reason: Reason = ""


class Maintenance(msgspec.Struct, frozen=True):
    """on: nobody may shop."""

    on: bool
    reason: Reason = ""


class Because(msgspec.Struct, frozen=True):
    reason: Reason = ""


def given(message: StoreNew | StorePatch) -> dict[str, object]:
    """The columns that were sent, or have a default of their own."""
    fields = ((name, getattr(message, name)) for name in message.__struct_fields__)
    return {name: value for name, value in fields if value is not UNSET and name != "reason"}
