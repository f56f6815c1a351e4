"""Transactions on layouts: wanted, put, refused, made once more upon what the vendor has."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import delete, func, insert, select, update

from accounts.audit.model import By
from accounts.audit.store import record
from commerce.goods.store import find_goods
from devices.fleet.model import Device
from devices.fleet.store import load_device, scope_of
from devices.model import NotBound
from devices.stock.model import (
    PUT,
    GoodsUnknown,
    Place,
    Planogram,
    PlanogramState,
    Shelf,
    check_slots,
    layouts,
)
from devices.stock.store import (
    current,
    load_planogram,
    move,
    move_one,
    new_shelf,
    note_expiry,
    set_shelf,
    shelves,
    waiting,
)
from devices.vendors.port import Slot
from sql.alerts import clear_alert, raise_alert
from sql.outbox import enqueue
from sql.tables.devices import devices, door_stock, planograms
from sql.transaction import Tx, insert_missing

_S, _P = door_stock.c, planograms.c

TROUBLE: Final = "cabinet.planogram"
"""The kind of the alerts about a cabinet whose layout is not ours."""


def want_planogram(
    tx: Tx, device_id: int, places: Sequence[Place], *, by: By, reason: str = ""
) -> Planogram:
    """A new layout, on its way to the vendor; until it is there the old prices hold.

    Raises DeviceNotFound, NotBound, PlanogramInvalid, GoodsUnknown.
    """
    device = load_device(tx, device_id, scope=scope_of(tx, by.account_id), lock=True)
    if device.status != "bound":
        raise NotBound
    known = find_goods(tx, {place.sku for place in places})
    sold = {sku: good.price_fen for sku, good in known.items() if good.status == 1}
    if unknown := sorted({place.sku for place in places} - sold.keys()):
        raise GoodsUnknown(unknown)
    slots = tuple(place.priced(sold[place.sku]) for place in places)
    check_slots(slots, device.door_numbers)
    before = current(tx, device_id)
    base_version = before.version if before else 0
    made = _write(tx, device, slots, base_version=base_version, by_account=by.account_id)
    record(
        tx,
        actor=by,
        action="planogram.put",
        subject=f"device:{device_id}",
        before={"version": base_version, "prices": before.prices if before else {}},
        after={"version": made.version, "prices": made.prices},
        reason=reason,
    )
    return made


def _write(
    tx: Tx, device: Device, slots: Sequence[Slot], *, base_version: int, by_account: int
) -> Planogram:
    """The next version of a locked device's layout; those that wait are not put any more."""
    newest = select(func.max(_P.version)).where(_P.device_id == device.id)
    version = max(tx.execute(newest).scalar() or 0, base_version) + 1
    _state(tx, device.id, None, "refused")
    row = {
        "device_id": device.id,
        "version": version,
        "base_version": base_version,
        "state": "waiting",
        "slots": msgspec.json.encode(slots).decode(),
        "by_account": by_account,
        "at": tx.now,
        "put_at": None,
    }
    tx.execute(insert(planograms), row)
    enqueue(
        tx, PUT, {"device_id": device.id, "version": version}, key=f"{PUT}:{device.id}:{version}"
    )
    return load_planogram(tx, device.id, version)


def to_put(tx: Tx, device_id: int, version: int) -> tuple[Device, Planogram]:
    """What a parcel is about. Raises PlanogramNotFound, DeviceNotFound."""
    return load_device(tx, device_id), load_planogram(tx, device_id, version)


def mark_put(tx: Tx, device_id: int, version: int) -> bool:
    """The vendor has it: it counts from now on. False when another took its place meanwhile."""
    device = load_device(tx, device_id, lock=True)
    if not _state(tx, device_id, version, "put", put_at=tx.now):
        return False
    layout = load_planogram(tx, device_id, version)
    tx.execute(update(devices).where(devices.c.id == device_id).values(planogram_version=version))
    _lay_out(tx, device_id, layout)
    note_expiry(tx, device)
    clear_alert(tx, TROUBLE, f"device:{device_id}")
    return True


def refuse_planogram(tx: Tx, device_id: int, version: int, why: str) -> None:
    """The vendor will never take it: the old one holds, and somebody should know."""
    if _state(tx, device_id, version, "refused"):
        raise_alert(tx, TROUBLE, f"device:{device_id}", f"layout {version}: {why}")


def rebase(tx: Tx, device_id: int, version: int, vendor_version: int) -> None:
    """The vendor has another version than ours was made for: ours once more, upon that one.

    Somebody has changed something at the cabinet, or our answer was lost; our layout is the one
    by which is charged, so what the cabinet shows must be that.
    """
    device = load_device(tx, device_id, lock=True)
    layout = load_planogram(tx, device_id, version)
    if not _state(tx, device_id, version, "refused"):
        return
    _write(tx, device, layout.slots, base_version=vendor_version, by_account=layout.by_account)


def planogram_changed(tx: Tx, device: Device, vendor_version: int) -> None:
    """The vendor says that a device has another layout. If it is not ours, ours is put again."""
    device = load_device(tx, device.id, lock=True)
    ours, coming = current(tx, device.id), waiting(tx, device.id)
    if coming is not None or (ours is not None and vendor_version <= ours.version):
        return
    text = f"{device.code}: layout {vendor_version} was made at the cabinet"
    raise_alert(tx, TROUBLE, f"device:{device.id}", text)
    if ours is not None:
        _write(tx, device, ours.slots, base_version=vendor_version, by_account=ours.by_account)


def _state(tx: Tx, device_id: int, version: int | None, to: PlanogramState, **values: Any) -> bool:
    """Move a layout that waits (None: any); whether there was one."""
    mine = update(planograms).where(_P.device_id == device_id, _P.state == "waiting")
    if version is not None:
        mine = mine.where(_P.version == version)
    return tx.execute(mine.values({"state": to, **values})).rowcount > 0


def _lay_out(tx: Tx, device_id: int, layout: Planogram) -> None:
    """Shelves for what is in the layout, with our own count where there is one; none for others."""
    wanted = layouts(layout.slots)
    before = {(row.door_no, row.sku): row for row in shelves(tx, device_id, lock=True)}
    ref = f"planogram:{layout.version}"
    key = f"{ref}:{device_id}"
    new = sorted(wanted.keys() - before.keys())
    for door_no in sorted({door_no for door_no, _ in new}):
        skus = [sku for door, sku in new if door == door_no]
        insert_missing(tx, door_stock, [new_shelf(tx, device_id, door_no, sku) for sku in skus])
        lines = {sku: n for sku in skus if (n := wanted[door_no, sku].quantity)}
        move(tx, device_id, door_no, lines, kind="restock", ref=ref,
             once_key=f"{key}:{door_no}", by=layout.by_account)  # fmt: skip
    for row in shelves(tx, device_id):
        place = wanted.get((row.door_no, row.sku))
        if place is None:
            _take_away(tx, row, ref=ref, key=f"{key}:{row.door_no}:{row.sku}")
        else:
            expires_on = place.expires_on or row.expires_on
            set_shelf(tx, row, capacity=place.capacity, expires_on=expires_on)


def _take_away(tx: Tx, row: Shelf, *, ref: str, key: str) -> None:
    if row.quantity:
        move_one(tx, row, -row.quantity, kind="count", ref=ref, key=key, by=0)
    tx.execute(
        delete(door_stock).where(
            _S.device_id == row.device_id, _S.door_no == row.door_no, _S.sku == row.sku
        )
    )


def planograms_of(tx: Tx, device_id: int, *, by: By) -> tuple[Planogram | None, Planogram | None]:
    """The layout by which is charged, and the one on its way. Raises DeviceNotFound."""
    load_device(tx, device_id, scope=scope_of(tx, by.account_id))
    return current(tx, device_id), waiting(tx, device_id)
