"""What a client is told of a device that lives: in events, snapshots and over REST."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from accounts.staff.messages import Reason
from devices.fleet.model import Device, Link, Service, Status
from devices.presence.model import is_flapping, pending
from sql.types import Millis


class DoorLive(msgspec.Struct, frozen=True):
    door_no: int
    lock: str
    door: str


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """A device as it is now. Times are milliseconds UTC, temperatures tenths of a degree.

    reported: what it said last; reported_at: when it last told its temperature. pending: what is
    wanted of it and not reported yet. sale_lock: why it may not sell, "" for no reason.
    """

    device_id: int
    code: str
    name: str
    store_id: int | None
    status: Status
    service: Service
    link: Link
    link_since: Millis
    last_seen_at: Millis | None
    flapping: bool
    sale_lock: str
    faults: int
    doors: list[DoorLive]
    reported: dict[str, Any]
    reported_at: Millis | None
    pending: dict[str, int]
    version: int


class ParamsPatch(msgspec.Struct, kw_only=True, frozen=True):
    """What is absent stays as it is. desired_version: refused when it is another by now."""

    target_temp_c10: Annotated[int, Meta(ge=-300, le=300)] | UnsetType = UNSET
    volume: Annotated[int, Meta(ge=0, le=100)] | UnsetType = UNSET
    light: Annotated[int, Meta(ge=0, le=100)] | UnsetType = UNSET
    compressor: Annotated[int, Meta(ge=0, le=1)] | UnsetType = UNSET
    desired_version: Annotated[int, Meta(ge=0)] | None = None
    reason: Reason = ""


def live(device: Device, now: Millis) -> Live:
    return Live(
        device_id=device.id,
        code=device.code,
        name=device.name,
        store_id=device.store_id,
        status=device.status,
        service=device.service,
        link=device.link,
        link_since=device.link_since,
        last_seen_at=device.last_seen_at,
        flapping=is_flapping(device, now),
        sale_lock=device.sale_lock,
        faults=device.faults,
        doors=[DoorLive(each.door_no, each.lock, each.door) for each in device.doors],
        # Not the order in which it came.
        reported={key: value for key, value in device.reported.items() if key != "door_seq"},
        reported_at=device.reported_at,
        pending=pending(device),
        version=device.version,
    )


def wanted(patch: ParamsPatch) -> dict[str, int]:
    """The settings that were sent."""
    names = ("target_temp_c10", "volume", "light", "compressor")
    values = ((name, getattr(patch, name)) for name in names)
    return {name: value for name, value in values if value is not UNSET}
