"""What a customer sends (3.2 of the contract); a misspelt or missing field is an error.

Amounts are integer fen, times integer milliseconds since 1970.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Code = Annotated[str, Meta(min_length=1, max_length=50)]
Name = Annotated[str, Meta(max_length=200)]
Ref = Annotated[str, Meta(min_length=1, max_length=64)]
Count = Annotated[int, Meta(ge=0)]
DoorNo = Annotated[int, Meta(ge=1)]
Purpose = Literal["shop", "restock", "inspect"]


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """A body of a request."""


class DoorToken(Asked):
    door_no: DoorNo
    qr_token: Annotated[str, Meta(min_length=1, max_length=400)]


class Bind(Asked):
    device_code: Code
    store_code: Code
    name: Name
    doors: Annotated[list[DoorToken], Meta(min_length=1)]
    contact_phone: Annotated[str, Meta(max_length=20)]


class DeviceReason(Asked):
    """device/unbind and device/reboot."""

    device_code: Code
    reason: Name


class Status(Asked):
    device_codes: Annotated[list[Code], Meta(min_length=1, max_length=100)]


class CanOpen(Asked):
    device_code: Code
    door_no: DoorNo
    purpose: Purpose


class Open(Asked):
    request_id: Ref
    session_no: Ref
    device_code: Code
    door_no: DoorNo
    purpose: Purpose
    user_ref: Ref
    pull_ttl_s: Annotated[int, Meta(ge=1, le=300)]
    max_open_s: Annotated[int, Meta(ge=1, le=86400)]
    amount_limit_fen: Count
    expires_at: Count


class RequestRef(Asked):
    """door/cancel and door/query."""

    request_id: Ref


class OrderQuery(Asked):
    """One of the two."""

    wheat_order_no: str = ""
    session_no: str = ""


class OrderList(Asked):
    """from, to: both included."""

    since: Count = msgspec.field(name="from")
    until: Count = msgspec.field(name="to")
    by: Literal["updated_at"] = "updated_at"
    cursor: str = ""
    limit: Annotated[int, Meta(ge=1, le=200)] = 200


class ItemSaid(Asked):
    """A line as the customer settled it."""

    sku: Code
    qty: Annotated[int, Meta(ge=0)]
    price_fen: Count
    barcode: str = ""
    name: str = ""


Result = Literal["paid", "unpaid", "cancelled", "refunded", "corrected"]


class Confirm(Asked):
    wheat_order_no: Ref
    rev: Annotated[int, Meta(ge=1)]
    result: Result
    due_fen: Count
    net_paid_fen: Count
    items: list[ItemSaid]
    order_no: Ref
    at: Count


class Video(Asked):
    wheat_order_no: Ref
    camera_nos: list[int] = []


class Good(Asked):
    """status: 1 sold, 0 not any more."""

    sku: str
    barcode: str
    name: str
    price_fen: int
    weight_g: int
    image_urls: list[str]
    status: int


class GoodsUpsert(Asked):
    goods: Annotated[list[Good], Meta(min_length=1, max_length=100)]


class SlotSaid(Asked):
    """expires_on: YYYYMMDD, or null."""

    door_no: DoorNo
    layer: Annotated[int, Meta(ge=1)]
    slot: Annotated[int, Meta(ge=1)]
    sku: Code
    price_fen: Count
    stock: Count
    capacity: Count
    expires_on: Annotated[int, Meta(ge=20000101, le=99991231)] | None = None


class Planogram(Asked):
    device_code: Code
    version: Annotated[int, Meta(ge=1)]
    base_version: Count
    slots: list[SlotSaid]


class Params(Asked):
    """What is not named stays as it is."""

    device_code: Code
    desired_version: Annotated[int, Meta(ge=1)]
    target_temp_c10: Annotated[int, Meta(ge=-300, le=300)] | None = None
    volume: Annotated[int, Meta(ge=0, le=100)] | None = None
    light: Annotated[int, Meta(ge=0, le=100)] | None = None
    compressor: Annotated[int, Meta(ge=0, le=1)] | None = None
