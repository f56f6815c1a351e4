"""Stores, devices with their doors, where a device stood; and the reasons to refuse.

CabinetError (devices/model.py)
├── StoreNotFound       no such store, or one of a scope that is not yours
├── StoreCodeTaken      another store, perhaps a deleted one, has the code
├── StoreInUse          devices stand in it
├── StoreDeleted        nothing can be put into it
├── DeviceNotFound      no such device, or one of a scope that is not yours
├── DoorNotFound        the device has no such door
├── DeviceCodeTaken     the vendor's device is known already
├── DeviceRetired       it was taken out of use
├── DeviceBound         it stands in a store
├── DeviceBusy          somebody has a door of it open
├── BindingUnderway     the vendor is being asked for something else
├── BindingRefused      the vendor said no
├── BindingUnclear      nobody knows what the vendor did: say it again
├── VendorNotSet        no vendor of that name is set up
├── OutOfScope          who sees some stores only cannot do what concerns all
└── QrInvalid           a code that is not ours, or of a sticker that was replaced
"""

from typing import Any, Final, Literal, TypeAlias

import msgspec

from devices.model import CabinetError
from sql.types import Millis

StoreType: TypeAlias = Literal["kids", "arcade", "sports"]
"""儿童, 电玩, 运动馆."""
Property: TypeAlias = Literal["own", "franchise"]
"""直营, 加盟."""
Status: TypeAlias = Literal["new", "binding", "bound", "leaving", "retired"]
Service: TypeAlias = Literal["open", "maintenance"]
Link: TypeAlias = Literal["never", "online", "suspect", "offline", "unknown"]
BindingState: TypeAlias = Literal["binding", "bound", "unbinding", "unbound", "refused"]

CODES: Final = "cabinet.codes"
"""The parcel that tells a vendor of new codes."""

IN_A_STORE: Final = frozenset({"binding", "bound", "leaving"})
"""The device's store cannot go: it stands there, or the vendor may think so."""


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """review_limit_fen: orders above it wait for a person; None takes the setting."""

    id: int
    code: str
    name: str
    type: StoreType
    property: Property
    address: str
    phone: str
    review_limit_fen: int | None
    deleted_at: Millis | None
    created_at: Millis
    updated_at: Millis


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """lock: locked, unlocked or unknown; door: closed, open or unknown."""

    door_no: int
    lock: str
    door: str
    changed_at: Millis | None


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """The whole row of a device with its doors; what the columns mean is said at the table.

    From `link` on it is the live part, which devices/presence alone changes.
    """

    id: int
    vendor: str
    code: str
    name: str
    store_id: int | None
    status: Status
    service: Service
    qr_version: int
    created_at: Millis
    updated_at: Millis
    link: Link
    link_since: Millis
    last_seen_at: Millis | None
    deadline_at: Millis | None
    epoch: int
    boot_id: str
    boots: str
    seq: int
    asked_at: Millis | None
    flips: str
    reported: dict[str, Any]
    reported_at: Millis | None
    sampled_at: Millis | None
    told_at: Millis | None
    tell_at: Millis | None
    desired: dict[str, int]
    desired_version: int
    desired_by: int
    desired_at: Millis | None
    desired_pushes: int
    push_at: Millis | None
    sale_lock: str
    sale_lock_by: int
    sale_lock_at: Millis | None
    faults: int
    planogram_version: int
    version: int
    doors: tuple[Door, ...]

    @property
    def door_numbers(self) -> tuple[int, ...]:
        return tuple(door.door_no for door in self.doors)


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """A device's time in a store. problem: what the vendor said last, "" when all is well."""

    id: int
    device_id: int
    store_id: int
    open_key: int | None
    state: BindingState
    begun_at: Millis
    bound_at: Millis | None
    bound_by: int
    unbound_at: Millis | None
    unbound_by: int
    reason: str
    problem: str


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What a code on a cabinet or in a store may tell anybody who has it before the eyes.

    door_no: None for a store's, which has no cabinet's name either.
    """

    name: str
    store_name: str
    door_no: int | None


class StoreNotFound(CabinetError):
    code = "stores.not_found"
    title = "There is no such store"


class StoreCodeTaken(CabinetError):
    code = "stores.code_taken"
    title = "Another store has this code"


class StoreInUse(CabinetError):
    code = "stores.in_use"
    title = "Devices stand in this store"


class StoreDeleted(CabinetError):
    code = "stores.deleted"
    title = "The store was deleted"


class DeviceNotFound(CabinetError):
    code = "devices.not_found"
    title = "There is no such device"


class DoorNotFound(CabinetError):
    code = "devices.door_not_found"
    title = "The device has no such door"


class DeviceCodeTaken(CabinetError):
    code = "devices.code_taken"
    title = "This device is known already"


class DeviceRetired(CabinetError):
    code = "devices.retired"
    title = "The device was taken out of use"


class DeviceBound(CabinetError):
    code = "devices.bound"
    title = "The device stands in a store"


class DeviceBusy(CabinetError):
    code = "devices.busy"
    title = "Somebody is at the cabinet just now"


class BindingUnderway(CabinetError):
    code = "devices.binding_underway"
    title = "The device is being moved"


class BindingRefused(CabinetError):
    code = "devices.binding_refused"
    title = "The cabinet's platform refused"


class BindingUnclear(CabinetError):
    code = "devices.binding_unclear"
    title = "The cabinet's platform gave no clear answer; ask again"


class VendorNotSet(CabinetError):
    code = "devices.vendor_not_set"
    title = "This kind of cabinet is not set up"


class OutOfScope(CabinetError):
    code = "stores.out_of_scope"
    title = "Only who sees all stores can do this"


class QrInvalid(CabinetError):
    code = "cabinets.qr_invalid"
    title = "This is not the code of a cabinet of ours"
