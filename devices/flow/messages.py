"""What crosses a wire when somebody opens a door and watches it."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from devices.fleet.model import Device
from devices.sessions.model import ENDED, DoorSession, PayWith, State
from devices.vendors.port import Purpose

Reason = Annotated[str, Meta(max_length=200)]
DoorNo = Annotated[int, Meta(ge=1, le=99)]


class OpenDoor(msgspec.Struct, frozen=True):
    """qr: what the sticker at the door says."""

    qr: Annotated[str, Meta(min_length=1, max_length=200)]
    pay_with: Literal["wechat", "ticket"]


class StaffOpen(msgspec.Struct, frozen=True):
    purpose: Literal["restock", "inspect"]
    door_no: DoorNo = 1
    reason: Reason = ""


class SessionOut(msgspec.Struct, frozen=True, kw_only=True):
    """A door session. fail_code: why it came to nothing, "" otherwise.

    is_over: nothing of it is open any more, but a payment when it is unpaid. Times are RFC 3339.
    """

    id: int
    no: str
    state: State
    is_over: bool
    purpose: Purpose
    pay_with: PayWith
    device_id: int
    door_no: int
    limit_fen: int
    hold_tickets: int
    fail_code: str
    requested_at: str
    unlocked_at: str | None
    opened_at: str | None
    closed_at: str | None
    ended_at: str | None


class OpenedOut(msgspec.Struct, frozen=True, kw_only=True):
    """wx_open_business_view: where the person must confirm first, the arguments of
    wx.openBusinessView; the door opens as soon as that is done."""

    session: SessionOut
    wx_open_business_view: dict[str, Any] | UnsetType = UNSET


class StaffSessionOut(SessionOut, frozen=True, kw_only=True):
    """As staff see it. manual_at: since when it waits for a person."""

    vendor: str
    store_id: int
    account_id: int
    vendor_order_no: str
    manual_at: str | None


class DoorOut(msgspec.Struct, frozen=True, kw_only=True):
    """A door to choose. state: busy while somebody is at it; closed when it opens for nobody."""

    device_id: int
    device_name: str
    door_no: int
    qr: str
    state: Literal["free", "busy", "closed"]


class DoorsOut(msgspec.Struct, frozen=True):
    """name: of the store, or of the cabinet."""

    name: str
    doors: list[DoorOut]


def door_out(device: Device, door_no: int, qr: str, *, is_busy: bool) -> DoorOut:
    is_closed = (
        device.status != "bound"
        or device.service != "open"
        or bool(device.sale_lock)
        or device.link == "offline"
    )
    return DoorOut(
        device_id=device.id,
        device_name=device.name,
        door_no=door_no,
        qr=qr,
        state="closed" if is_closed else "busy" if is_busy else "free",
    )


SHOWN = ("requested_at", "unlocked_at", "opened_at", "closed_at", "ended_at")


def session_values(session: DoorSession, times: dict[str, str | None]) -> dict[str, Any]:
    """The fields of SessionOut; times: those of SHOWN as they are written on the wire."""
    same = (
        *("id", "no", "state", "purpose", "pay_with", "device_id", "door_no"),
        *("limit_fen", "hold_tickets", "fail_code"),
    )
    values = {name: getattr(session, name) for name in same}
    return {**values, **times, "is_over": session.state in ENDED}
