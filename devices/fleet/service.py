"""What the back office does with stores and devices, and how the vendor is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from accounts.audit.model import By
from accounts.messages import Dead, Delivered, Retry
from devices.fleet import store
from devices.fleet.model import (
    Binding,
    BindingRefused,
    BindingUnclear,
    Device,
    DeviceBound,
    DoorNotFound,
    Label,
    Service,
    Store,
    VendorNotSet,
)
from devices.fleet.qr import QrCodes
from devices.fleet.store import DevicesWanted, Move, StoresWanted
from devices.vendors.port import Bound, CabinetVendor, Reason, VendorRefused, VendorUnknown
from sql.database import Database, Tx
from sql.idempotency import Asked, fingerprint, known, once, once_as

log = logging.getLogger("callme.devices")

# The vendor does not have it: what was wanted is so.
_NOT_THERE = frozenset({Reason.DEVICE_UNKNOWN, Reason.DEVICE_NOT_BOUND})


class Fleet:
    """Who may call what is the routes' business; which stores somebody sees is looked at here.

    vendors: by their code. qr: makes the texts of the stickers.
    """

    def __init__(self, db: Database, vendors: Mapping[str, CabinetVendor], qr: QrCodes) -> None:
        self._db = db
        self._vendors = vendors
        self.qr = qr

    # Stores

    async def stores(
        self, wanted: StoresWanted, *, by: By, offset: int, most: int
    ) -> tuple[int, list[Store]]:
        """How many stores there are of those wanted, and some of them."""
        return await self._db.read(_scoped(store.stores_page, by), wanted, offset=offset, most=most)

    async def store(self, store_id: int, *, by: By) -> Store:
        """Raises StoreNotFound."""
        return await self._db.read(_scoped(store.load_store, by), store_id)

    async def create_store(self, values: Mapping[str, Any], *, by: By, key: str = "") -> Store:
        """Once per key. Raises StoreCodeTaken, OutOfScope, KeyReused."""
        mark = fingerprint("store", sorted(values.items()))
        scope = f"stores.create:{by.account_id}"
        made = await self._db.write(once, scope, key, mark, _create_store, values, by)
        return msgspec.json.decode(made, type=Store)

    async def change_store(
        self, store_id: int, values: Mapping[str, Any], *, by: By, reason: str = ""
    ) -> Store:
        """Raises StoreNotFound, StoreDeleted, StoreCodeTaken, StoreInUse."""
        return await self._db.write(store.change_store, store_id, values, by=by, reason=reason)

    async def delete_store(self, store_id: int, *, by: By, reason: str = "") -> Store:
        """Raises StoreNotFound, StoreInUse."""
        return await self._db.write(store.delete_store, store_id, by=by, reason=reason)

    async def restore_store(self, store_id: int, *, by: By, reason: str = "") -> Store:
        """Raises StoreNotFound."""
        return await self._db.write(store.restore_store, store_id, by=by, reason=reason)

    async def pick(self, store_id: int) -> list[Device]:
        """The devices that a store's code offers to whoever scans it. Raises StoreNotFound."""
        return await self._db.read(store.devices_to_pick, store_id)

    # Devices

    async def devices(
        self, wanted: DevicesWanted, *, by: By, offset: int, most: int
    ) -> tuple[int, list[Device]]:
        """How many devices there are of those wanted, and some of them."""
        return await self._db.read(
            _scoped(store.devices_page, by), wanted, offset=offset, most=most
        )

    async def device(self, device_id: int, *, by: By) -> Device:
        """Raises DeviceNotFound."""
        return await self._db.read(_scoped(store.load_device, by), device_id)

    async def device_where(self, device_id: int, *, by: By) -> tuple[Device, Binding | None]:
        """A device, and its time in the store where it stands. Raises DeviceNotFound."""
        return await self._db.read(_scoped(_with_binding, by), device_id)

    def door_qr(self, device: Device, door_no: int) -> str:
        """The text of a door's sticker. Raises DoorNotFound."""
        if door_no not in device.door_numbers:
            raise DoorNotFound
        return self.qr.door(device.id, door_no, device.qr_version)

    async def label(self, code: str) -> Label:
        """Of whoever holds a phone before a sticker: what it is of. Raises QrInvalid."""
        return await self._db.read(store.label_of, self.qr.read(code))

    async def bindings(
        self, device_id: int, *, by: By, sort: str = "-id", offset: int, most: int
    ) -> tuple[int, list[Binding]]:
        """Where a device stood. Raises DeviceNotFound."""
        return await self._db.read(
            _scoped(store.bindings_of, by), device_id, sort=sort, offset=offset, most=most
        )

    async def create_device(
        self, *, vendor: str, code: str, name: str, doors: Iterable[int], by: By, key: str = ""
    ) -> Device:
        """Once per key. Raises VendorNotSet, DeviceCodeTaken, OutOfScope, KeyReused."""
        self._vendor(vendor)
        values = {"vendor": vendor, "code": code, "name": name, "doors": sorted(set(doors))}
        mark = fingerprint("device", sorted(values.items()))
        scope = f"devices.create:{by.account_id}"
        made = await self._db.write(once, scope, key, mark, _create_device, values, by)
        return await self.device(int(made), by=by)

    async def change_device(
        self,
        device_id: int,
        *,
        name: str | None = None,
        doors: Iterable[int] | None = None,
        by: By,
        reason: str = "",
    ) -> Device:
        """Raises DeviceNotFound, DeviceRetired, DeviceBound (other doors while in a store)."""
        return await self._db.write(
            store.change_device, device_id, name=name, doors=doors, by=by, reason=reason
        )

    async def set_service(
        self, device_id: int, service: Service, *, by: By, reason: str = ""
    ) -> Device:
        """Raises DeviceNotFound, DeviceRetired."""
        return await self._db.write(store.set_service, device_id, service, by=by, reason=reason)

    async def replace_qr(
        self, device_id: int, *, by: By, reason: str = "", key: str = ""
    ) -> Device:
        """Let the stickers there are be void, once per key.

        Raises DeviceNotFound, DeviceRetired, KeyReused.
        """
        mark = fingerprint("replace_qr", device_id, reason)
        asked = Asked(f"devices.replace_qr:{by.account_id}", key, mark)
        return await self._db.write(
            once_as, Device, asked, store.replace_qr, device_id, by=by, reason=reason
        )

    async def tell_codes(self, payload: dict[str, Any]) -> Delivered | Retry | Dead:
        """Deliver the parcel of new codes: the vendor is told as when the device was bound."""
        found = await self._db.read(
            store.to_show, int(payload["device_id"]), int(payload["version"])
        )
        if found is None:
            return Delivered()
        device, where = found
        if device.status == "binding":
            return Retry("it is being bound")
        vendor = self._vendors.get(device.vendor)
        if vendor is None:
            return Retry(f"no vendor {device.vendor} is set up")
        try:
            await self._tell_vendor(vendor, device, where)
        except VendorUnknown as unclear:
            return Retry(str(unclear) or "no answer")
        except VendorRefused as refused:
            return Dead(str(refused))
        return Delivered()

    async def retire(self, device_id: int, *, by: By, reason: str = "") -> Device:
        """Raises DeviceNotFound, DeviceBound."""
        return await self._db.write(store.retire, device_id, by=by, reason=reason)

    async def restore_device(self, device_id: int, *, by: By, reason: str = "") -> Device:
        """Raises DeviceNotFound."""
        return await self._db.write(store.restore_device, device_id, by=by, reason=reason)

    # At the vendor

    async def bind(
        self, device_id: int, store_id: int, *, by: By, reason: str = "", key: str = ""
    ) -> Device:
        """Put a device into a store, out of the one it stands in. May be repeated at any point.

        It is written down first: whatever happens to the process or to the vendor's answer, it
        shows, and the same wish carries it on. A key that was answered is answered so again,
        wherever the device stands by then.
        Raises DeviceNotFound, DeviceRetired, DeviceBusy, StoreNotFound, StoreDeleted,
        BindingUnderway, BindingRefused, BindingUnclear, VendorNotSet, KeyReused.
        """
        mark = fingerprint("bind", device_id, store_id)
        asked = Asked(f"devices.bind:{by.account_id}", key, mark)
        answered = await self._db.read(known, Device, asked)
        if answered is not None:
            return answered
        self._vendor((await self.device(device_id, by=by)).vendor)
        try:
            move = await self._db.write(store.begin_bind, device_id, store_id, by=by, reason=reason)
        except DeviceBound:
            await self.unbind(device_id, by=by, reason=reason)
            move = await self._db.write(store.begin_bind, device_id, store_id, by=by, reason=reason)
        if move.is_over:
            return await self._db.write(once_as, Device, asked, _as_it_is, move.device)
        bound = await self._bind(move, by)
        return await self._db.write(once_as, Device, asked, store.end_bind, move, bound, by=by)

    async def _bind(self, move: Move, by: By) -> Bound:
        vendor = self._vendor(move.device.vendor)
        try:
            return await self._tell_vendor(vendor, move.device, move.store)
        except VendorRefused as refused:
            await self._db.write(store.refuse_bind, move, str(refused), by=by)
            raise BindingRefused(refused.reason) from refused
        except VendorUnknown as unclear:
            await self._note_unclear(move, unclear)
            raise BindingUnclear from unclear

    async def _tell_vendor(self, vendor: CabinetVendor, device: Device, where: Store) -> Bound:
        return await vendor.bind(
            device.code,
            store_code=where.code,
            name=device.name,
            doors={number: self.door_qr(device, number) for number in device.door_numbers},
            contact_phone=where.phone,
        )

    async def unbind(self, device_id: int, *, by: By, reason: str = "", key: str = "") -> Device:
        """Take a device out of its store. Nobody shops there from the first moment on.

        May be repeated at any point; keys are as with bind. Raises DeviceNotFound, DeviceRetired,
        NotBound, DeviceBusy, BindingRefused, BindingUnclear, VendorNotSet, KeyReused.
        """
        mark = fingerprint("unbind", device_id)
        asked = Asked(f"devices.unbind:{by.account_id}", key, mark)
        answered = await self._db.read(known, Device, asked)
        if answered is not None:
            return answered
        vendor = self._vendor((await self.device(device_id, by=by)).vendor)
        move = await self._db.write(store.begin_unbind, device_id, by=by, reason=reason)
        try:
            await vendor.unbind(move.device.code, reason=reason)
        except VendorRefused as refused:
            if refused.reason not in _NOT_THERE:
                await self._db.write(store.refuse_unbind, move, str(refused), by=by)
                raise BindingRefused(refused.reason) from refused
        except VendorUnknown as unclear:
            await self._note_unclear(move, unclear)
            raise BindingUnclear from unclear
        return await self._db.write(once_as, Device, asked, store.end_unbind, move, by=by)

    async def _note_unclear(self, move: Move, unclear: VendorUnknown) -> None:
        log.info("%s %s: no clear answer", move.device.vendor, move.device.code)
        await self._db.write(store.note_unclear, move, str(unclear) or "no answer")

    def _vendor(self, code: str) -> CabinetVendor:
        vendor = self._vendors.get(code)
        if vendor is None:
            raise VendorNotSet(code)
        return vendor


def _scoped(verb: Callable[..., Any], by: By) -> Callable[..., Any]:
    """The verb, seeing only the stores that who asks may see."""

    def run(tx: Tx, *args: Any, **kwargs: Any) -> Any:
        return verb(tx, *args, scope=store.scope_of(tx, by.account_id), **kwargs)

    return run


def _as_it_is(_: Tx, device: Device) -> Device:
    return device


def _with_binding(tx: Tx, device_id: int, *, scope: store.Scope) -> tuple[Device, Binding | None]:
    device = store.load_device(tx, device_id, scope=scope)
    return device, store.open_binding(tx, device_id)


def _create_store(tx: Tx, values: Mapping[str, Any], by: By) -> str:
    """As store.create_store, its outcome as the text that a repeat of the key is answered with."""
    return msgspec.json.encode(store.create_store(tx, values, by=by)).decode()


def _create_device(tx: Tx, values: Mapping[str, Any], by: By) -> str:
    return str(store.create_device(tx, **values, by=by).id)
