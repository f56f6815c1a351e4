"""Transactions on stores and devices, and which of them a staff account sees.

Each change leaves its line in the audit. Locks are taken in one order: the device, its store,
its binding, the streams, the audit.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from sqlalchemy import Select, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from accounts.audit.model import By
from accounts.audit.store import record
from devices.fleet.model import (
    CODES,
    IN_A_STORE,
    Binding,
    BindingUnderway,
    Device,
    DeviceBound,
    DeviceBusy,
    DeviceCodeTaken,
    DeviceNotFound,
    DeviceRetired,
    Door,
    Label,
    OutOfScope,
    QrInvalid,
    Service,
    Store,
    StoreCodeTaken,
    StoreDeleted,
    StoreInUse,
    StoreNotFound,
)
from devices.fleet.qr import DoorCode, StoreCode
from devices.fleet.streams import News, tell
from devices.model import NotBound
from devices.vendors.port import Bound
from sql import outbox
from sql.alerts import clear_alert, raise_alert
from sql.sorting import ordered
from sql.tables.devices import (
    device_bindings,
    device_doors,
    devices,
    door_sessions,
    staff_stores,
    stores,
)
from sql.transaction import Tx

Scope: TypeAlias = frozenset[int] | None
"""The stores somebody sees; None: all."""

# The kind of the alerts about bindings of which nobody knows what the vendor did.
UNCLEAR: Final = "cabinet.binding"

_PROBLEM_MAX: Final = 200


class StoresWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which stores a list shows, and in which order; "" and None leave all in."""

    is_deleted: bool | None = False
    type: str = ""
    property: str = ""
    keyword: str = ""
    sort: str = "id"


class DevicesWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which devices a list shows, and in which order; "" and 0 leave all in."""

    store_id: int = 0
    vendor: str = ""
    status: str = ""
    service: str = ""
    link: str = ""
    keyword: str = ""
    sort: str = "id"


# ---------------------------------------------------------------- who sees what


def scope_of(tx: Tx, account_id: int) -> Scope:
    """The stores a staff account is bound to; None: it sees all."""
    mine = select(staff_stores.c.store_id).where(staff_stores.c.account_id == account_id)
    return frozenset(tx.execute(mine).scalars()) or None


def sees(scope: Scope, store_id: int | None) -> bool:
    """Whether what is of this store (None: of none) may be seen."""
    return scope is None or store_id in scope


# ---------------------------------------------------------------- reading


def load_store(tx: Tx, store_id: int, *, scope: Scope = None, lock: bool = False) -> Store:
    """Also a deleted one. Raises StoreNotFound."""
    query = select(stores).where(stores.c.id == store_id)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None or not sees(scope, store_id):
        raise StoreNotFound
    return msgspec.convert(row._mapping, Store)


def stores_page(
    tx: Tx, wanted: StoresWanted, *, scope: Scope = None, offset: int = 0, most: int = 100
) -> tuple[int, list[Store]]:
    """How many stores there are of those wanted, and some of them."""
    where = _store_conditions(wanted, scope)
    total = tx.execute(select(func.count()).select_from(stores).where(*where)).scalar_one()
    chosen = select(stores).where(*where).order_by(*_order(stores, wanted.sort))
    rows = tx.execute(chosen.offset(offset).limit(most))
    return total, [msgspec.convert(row._mapping, Store) for row in rows]


def _store_conditions(wanted: StoresWanted, scope: Scope) -> list[Any]:
    conditions: list[Any] = []
    if wanted.is_deleted is not None:
        gone = stores.c.deleted_at.is_not(None)
        conditions.append(gone if wanted.is_deleted else ~gone)
    if wanted.keyword:
        fields = (stores.c.code, stores.c.name, stores.c.address, stores.c.phone)
        conditions.append(_contains(fields, wanted.keyword))
    if scope is not None:
        conditions.append(stores.c.id.in_(scope))
    return conditions + _equals(stores, wanted, "type", "property")


def load_device(tx: Tx, device_id: int, *, scope: Scope = None, lock: bool = False) -> Device:
    """Raises DeviceNotFound."""
    device = _one_device(tx, _BY_ID, {"id_": device_id}, lock=lock)
    if device is None or not sees(scope, device.store_id):
        raise DeviceNotFound
    return device


def device_by_code(tx: Tx, vendor: str, code: str, *, lock: bool = False) -> Device | None:
    """The device a vendor calls so."""
    return _one_device(tx, _BY_CODE, {"vendor_": vendor, "code_": code}, lock=lock)


def devices_by_code(
    tx: Tx, vendor: str, codes: Iterable[str], *, lock: bool = False
) -> dict[str, Device]:
    """Those that a vendor calls so, by code."""
    rows = tx.execute(_BY_CODES[lock], {"vendor_": vendor, "codes_": sorted(codes)}).all()
    return {device.code: device for device in _with_doors(tx, rows)}


def load_devices(tx: Tx, ids: Iterable[int], *, lock: bool = False) -> dict[int, Device]:
    """Those of the ids that are there, locked in the order of their ids."""
    query = select(devices).where(devices.c.id.in_(sorted(ids))).order_by(devices.c.id)
    rows = tx.execute(query.with_for_update() if lock else query).all()
    return {device.id: device for device in _with_doors(tx, rows)}


def devices_page(
    tx: Tx, wanted: DevicesWanted, *, scope: Scope = None, offset: int = 0, most: int = 100
) -> tuple[int, list[Device]]:
    """How many devices there are of those wanted, and some of them."""
    where = _device_conditions(wanted, scope)
    total = tx.execute(select(func.count()).select_from(devices).where(*where)).scalar_one()
    chosen = select(devices).where(*where).order_by(*_order(devices, wanted.sort))
    return total, _with_doors(tx, tx.execute(chosen.offset(offset).limit(most)).all())


def _device_conditions(wanted: DevicesWanted, scope: Scope) -> list[Any]:
    conditions: list[Any] = []
    if wanted.store_id:
        conditions.append(devices.c.store_id == wanted.store_id)
    if wanted.keyword:
        conditions.append(_contains((devices.c.code, devices.c.name), wanted.keyword))
    if scope is not None:
        conditions.append(devices.c.store_id.in_(scope))
    return conditions + _equals(devices, wanted, "vendor", "status", "service", "link")


BINDING_SORTS: Final = {
    "id": device_bindings.c.id,
    "created_at": device_bindings.c.begun_at,
    **{name: device_bindings.c[name] for name in ("begun_at", "bound_at", "unbound_at")},
}


def bindings_of(
    tx: Tx,
    device_id: int,
    *,
    scope: Scope = None,
    sort: str = "-id",
    offset: int = 0,
    most: int = 100,
) -> tuple[int, list[Binding]]:
    """Where a device stood. Raises DeviceNotFound."""
    load_device(tx, device_id, scope=scope)
    where = [device_bindings.c.device_id == device_id]
    if scope is not None:
        where.append(device_bindings.c.store_id.in_(scope))
    total = tx.execute(select(func.count()).select_from(device_bindings).where(*where))
    order = ordered(sort, BINDING_SORTS, device_bindings.c.id)
    chosen = select(device_bindings).where(*where).order_by(*order)
    rows = tx.execute(chosen.offset(offset).limit(most))
    return total.scalar_one(), [msgspec.convert(row._mapping, Binding) for row in rows]


def open_binding(tx: Tx, device_id: int, *, lock: bool = False) -> Binding | None:
    """Where the device stands, or is being put."""
    query = select(device_bindings).where(device_bindings.c.open_key == device_id)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else msgspec.convert(row._mapping, Binding)


def scanned(tx: Tx, code: DoorCode, *, lock: bool = False) -> Device:
    """The device a door's code is of. Raises QrInvalid when its sticker was replaced."""
    device = _one_device(tx, _BY_ID, {"id_": code.device_id}, lock=lock)
    if device is None or device.qr_version != code.version:
        raise QrInvalid
    if code.door_no not in device.door_numbers:
        raise QrInvalid
    return device


def label_of(tx: Tx, code: DoorCode | StoreCode) -> Label:
    """Raises QrInvalid for a code that is void, or of what is not there any more."""
    try:
        if isinstance(code, StoreCode):
            store = load_store(tx, code.store_id)
            if store.deleted_at is not None:
                raise QrInvalid
            return Label(name="", store_name=store.name, door_no=None)
        device = load_device(tx, code.device_id)
    except (StoreNotFound, DeviceNotFound) as error:
        raise QrInvalid from error
    if device.qr_version != code.version or code.door_no not in device.door_numbers:
        raise QrInvalid
    where = "" if device.store_id is None else load_store(tx, device.store_id).name
    return Label(name=device.name, store_name=where, door_no=code.door_no)


def devices_to_pick(tx: Tx, store_id: int) -> list[Device]:
    """The devices a store's code offers. Raises StoreNotFound, also for a deleted store."""
    if load_store(tx, store_id).deleted_at is not None:
        raise StoreNotFound
    here = select(devices).where(devices.c.store_id == store_id, devices.c.status == "bound")
    return _with_doors(tx, tx.execute(here.order_by(devices.c.name, devices.c.id)).all())


# Made once: a device is read with each of its messages, and making a statement takes longer than
# running it.
def _pair(statement: Select[Any]) -> tuple[Select[Any], Select[Any]]:
    return statement, statement.with_for_update()


_BY_ID: Final = _pair(select(devices).where(devices.c.id == bindparam("id_")))
_BY_CODE: Final = _pair(
    select(devices).where(
        devices.c.vendor == bindparam("vendor_"), devices.c.code == bindparam("code_")
    )
)
_BY_CODES: Final = _pair(
    select(devices)
    .where(
        devices.c.vendor == bindparam("vendor_"),
        devices.c.code.in_(bindparam("codes_", expanding=True)),
    )
    .order_by(devices.c.id)
)
_DOORS: Final = (
    select(device_doors)
    .where(device_doors.c.device_id.in_(bindparam("ids", expanding=True)))
    .order_by(device_doors.c.device_id, device_doors.c.door_no)
)


def _one_device(
    tx: Tx, query: tuple[Select[Any], Select[Any]], which: Mapping[str, Any], *, lock: bool
) -> Device | None:
    row = tx.execute(query[lock], which).one_or_none()
    return None if row is None else _with_doors(tx, [row])[0]


def _with_doors(tx: Tx, rows: Sequence[Any]) -> list[Device]:
    doors: dict[int, list[Door]] = {row.id: [] for row in rows}
    if rows:
        for row in tx.execute(_DOORS, {"ids": list(doors)}):
            door = Door(
                door_no=row.door_no, lock=row.lock, door=row.door, changed_at=row.changed_at
            )
            doors[row.device_id].append(door)
    return [_device(row, doors[row.id]) for row in rows]


def _device(row: Any, doors: Sequence[Door]) -> Device:
    values = dict(row._mapping)
    for name in ("reported", "desired"):
        values[name] = msgspec.json.decode(values[name])
    return Device(**values, doors=tuple(doors))


# ---------------------------------------------------------------- stores


def create_store(tx: Tx, values: Mapping[str, Any], *, by: By) -> Store:
    """values: all columns but the id and times. Raises StoreCodeTaken, OutOfScope."""
    _see_all(tx, by)
    row = {**values, "deleted_at": None, "created_at": tx.now, "updated_at": tx.now}
    try:
        key = tx.execute(insert(stores), row).inserted_primary_key
    except IntegrityError as error:
        raise StoreCodeTaken from error
    assert key is not None
    made = load_store(tx, key[0])
    _record(tx, by, "store.create", _store_subject(made.id), {}, values)
    return made


def change_store(
    tx: Tx, store_id: int, values: Mapping[str, Any], *, by: By, reason: str = ""
) -> Store:
    """Set some columns; nothing is written when all are so already.

    The vendor knows a store by its code, so that stays while devices stand in it.
    Raises StoreNotFound, StoreDeleted, StoreCodeTaken, StoreInUse.
    """
    before = load_store(tx, store_id, scope=scope_of(tx, by.account_id), lock=True)
    if before.deleted_at is not None:
        raise StoreDeleted
    changed = {name: value for name, value in values.items() if getattr(before, name) != value}
    if not changed:
        return before
    if "code" in changed and _devices_in(tx, store_id):
        raise StoreInUse
    try:
        _set(tx, stores, store_id, changed)
    except IntegrityError as error:
        raise StoreCodeTaken from error
    _record_change(tx, by, "store.change", _store_subject(store_id), before, changed, reason)
    return load_store(tx, store_id)


def delete_store(tx: Tx, store_id: int, *, by: By, reason: str = "") -> Store:
    """The row stays. Repeatable. Raises StoreNotFound, StoreInUse."""
    before = load_store(tx, store_id, scope=scope_of(tx, by.account_id), lock=True)
    if before.deleted_at is not None:
        return before
    if _devices_in(tx, store_id):
        raise StoreInUse
    return _mark_deleted(tx, before, tx.now, "store.delete", by, reason)


def restore_store(tx: Tx, store_id: int, *, by: By, reason: str = "") -> Store:
    """Take a deletion back. Repeatable. Raises StoreNotFound."""
    before = load_store(tx, store_id, scope=scope_of(tx, by.account_id), lock=True)
    if before.deleted_at is None:
        return before
    return _mark_deleted(tx, before, None, "store.restore", by, reason)


def _mark_deleted(tx: Tx, before: Store, at: int | None, action: str, by: By, reason: str) -> Store:
    values = {"deleted_at": at}
    _set(tx, stores, before.id, values)
    _record_change(tx, by, action, _store_subject(before.id), before, values, reason)
    return load_store(tx, before.id)


def _devices_in(tx: Tx, store_id: int) -> int:
    here = select(func.count()).select_from(devices).where(devices.c.store_id == store_id)
    count: int = tx.execute(here.where(devices.c.status.in_(IN_A_STORE))).scalar_one()
    return count


# ---------------------------------------------------------------- devices

LIVE_START: Final[Mapping[str, Any]] = {
    "link": "never",
    "last_seen_at": None,
    "deadline_at": None,
    "epoch": 0,
    "boot_id": "",
    "boots": "",
    "seq": 0,
    "asked_at": None,
    "flips": "[]",
    "reported": "{}",
    "reported_at": None,
    "sampled_at": None,
    "told_at": None,
    "tell_at": None,
    "desired": "{}",
    "desired_version": 0,
    "desired_by": 0,
    "desired_at": None,
    "desired_pushes": 0,
    "push_at": None,
    "sale_lock": "",
    "sale_lock_by": 0,
    "sale_lock_at": None,
    "faults": 0,
    "planogram_version": 0,
    "version": 1,
}


def create_device(
    tx: Tx, *, vendor: str, code: str, name: str, doors: Iterable[int], by: By
) -> Device:
    """Make a device known that stands nowhere yet. Raises DeviceCodeTaken, OutOfScope."""
    _see_all(tx, by)
    row = {
        **LIVE_START,
        "vendor": vendor,
        "code": code,
        "name": name,
        "store_id": None,
        "status": "new",
        "service": "open",
        "qr_version": 1,
        "created_at": tx.now,
        "updated_at": tx.now,
        "link_since": tx.now,
    }
    try:
        key = tx.execute(insert(devices), row).inserted_primary_key
    except IntegrityError as error:
        raise DeviceCodeTaken from error
    assert key is not None
    _add_doors(tx, key[0], doors)
    made = load_device(tx, key[0])
    after = {"vendor": vendor, "code": code, "name": name, "doors": made.door_numbers}
    _record(tx, by, "device.create", _device_subject(made.id), {}, after)
    return made


def change_device(
    tx: Tx,
    device_id: int,
    *,
    name: str | None = None,
    doors: Iterable[int] | None = None,
    by: By,
    reason: str = "",
) -> Device:
    """Another name or other doors; the vendor knows the doors of one that stands in a store.

    Raises DeviceNotFound, DeviceRetired, DeviceBound.
    """
    before = _mine(tx, device_id, by)
    changed: dict[str, Any] = {}
    if name is not None and name != before.name:
        changed["name"] = name
    wanted = before.door_numbers if doors is None else tuple(sorted(set(doors)))
    if wanted != before.door_numbers:
        if before.status in IN_A_STORE:
            raise DeviceBound
        changed["doors"] = wanted
    if not changed:
        return before
    gone = set(before.door_numbers) - set(wanted)
    if gone:
        mine = device_doors.c.device_id == device_id
        tx.execute(delete(device_doors).where(mine, device_doors.c.door_no.in_(gone)))
    _add_doors(tx, device_id, set(wanted) - set(before.door_numbers))
    _set(tx, devices, device_id, {key: value for key, value in changed.items() if key != "doors"})
    _tell(tx, device_id)
    was = {"name": before.name, "doors": before.door_numbers}
    _record(tx, by, "device.change", _device_subject(device_id),
            {key: was[key] for key in changed}, changed, reason)  # fmt: skip
    return load_device(tx, device_id)


def set_service(tx: Tx, device_id: int, service: Service, *, by: By, reason: str = "") -> Device:
    """Put it into maintenance or take it out. Raises DeviceNotFound, DeviceRetired."""
    return _change(tx, device_id, {"service": service}, "device.maintenance", by, reason)


def replace_qr(tx: Tx, device_id: int, *, by: By, reason: str = "") -> Device:
    """Let all stickers there are be void. Raises DeviceNotFound, DeviceRetired."""
    device = _mine(tx, device_id, by)
    version = device.qr_version + 1
    if device.status in {"binding", "bound"}:
        # A cabinet with a screen shows what its vendor was told when it was bound.
        key = f"{CODES}:{device_id}:{version}"
        outbox.enqueue(tx, CODES, {"device_id": device_id, "version": version}, key=key)
    return _change(tx, device_id, {"qr_version": version}, "device.replace_qr", by, reason)


def to_show(tx: Tx, device_id: int, version: int) -> tuple[Device, Store] | None:
    """The device whose codes its vendor is to be told, and its store; None when it is in none
    any more, or has other codes."""
    device = load_device(tx, device_id)
    if device.status not in {"binding", "bound"} or device.qr_version != version:
        return None
    assert device.store_id is not None
    return device, load_store(tx, device.store_id)


def retire(tx: Tx, device_id: int, *, by: By, reason: str = "") -> Device:
    """Take it out of use. Repeatable. Raises DeviceNotFound, DeviceBound."""
    device = _mine(tx, device_id, by, retired=True)
    if device.status in IN_A_STORE:
        raise DeviceBound
    return _change(tx, device_id, {"status": "retired"}, "device.retire", by, reason)


def restore_device(tx: Tx, device_id: int, *, by: By, reason: str = "") -> Device:
    """Take a retirement back. Repeatable. Raises DeviceNotFound."""
    device = _mine(tx, device_id, by, retired=True)
    if device.status != "retired":
        return device
    return _change(tx, device_id, {"status": "new"}, "device.restore", by, reason)


def _mine(tx: Tx, device_id: int, by: By, *, retired: bool = False) -> Device:
    """The device, locked. Raises DeviceNotFound, DeviceRetired unless that is expected."""
    device = load_device(tx, device_id, scope=scope_of(tx, by.account_id), lock=True)
    if device.status == "retired" and not retired:
        raise DeviceRetired
    return device


def _change(
    tx: Tx, device_id: int, values: Mapping[str, Any], action: str, by: By, reason: str
) -> Device:
    before = _mine(tx, device_id, by, retired="status" in values)
    if all(getattr(before, name) == value for name, value in values.items()):
        return before
    _set(tx, devices, device_id, values)
    _tell(tx, device_id)
    _record_change(tx, by, action, _device_subject(device_id), before, values, reason)
    return load_device(tx, device_id)


def _add_doors(tx: Tx, device_id: int, numbers: Iterable[int]) -> None:
    rows = [
        {"device_id": device_id, "door_no": n, "lock": "unknown", "door": "unknown",
         "changed_at": None}
        for n in sorted(set(numbers))
    ]  # fmt: skip
    if rows:
        tx.execute(insert(device_doors), rows)


# ---------------------------------------------------------------- into a store, and out


class Move(msgspec.Struct, frozen=True):
    """What the vendor is to be asked. is_over: nothing, it is so already."""

    device: Device
    store: Store
    binding: Binding
    is_over: bool = False


def begin_bind(tx: Tx, device_id: int, store_id: int, *, by: By, reason: str = "") -> Move:
    """Write down that the vendor is asked to put it there; again: what was written before.

    Raises DeviceNotFound, StoreNotFound, StoreDeleted, DeviceRetired, DeviceBound (elsewhere),
    BindingUnderway.
    """
    device = _mine(tx, device_id, by)
    store = load_store(tx, store_id, scope=scope_of(tx, by.account_id), lock=True)
    if store.deleted_at is not None:
        raise StoreDeleted
    if device.status == "new":
        return _begin_bind(tx, device, store, by, reason)
    binding = open_binding(tx, device_id, lock=True)
    assert binding is not None
    if device.store_id == store_id and device.status != "leaving":
        return Move(device, store, binding, is_over=device.status == "bound")
    raise DeviceBound if device.status == "bound" else BindingUnderway


def _begin_bind(tx: Tx, device: Device, store: Store, by: By, reason: str) -> Move:
    row = {
        "device_id": device.id,
        "store_id": store.id,
        "open_key": device.id,
        "state": "binding",
        "begun_at": tx.now,
        "bound_at": None,
        "bound_by": by.account_id,
        "unbound_at": None,
        "unbound_by": 0,
        "reason": reason,
        "problem": "",
    }
    tx.execute(insert(device_bindings), row)
    _set(tx, devices, device.id, {"status": "binding", "store_id": store.id})
    return _moved(tx, device, "device.bind_begin", by, reason)


def end_bind(tx: Tx, move: Move, bound: Bound, *, by: By) -> Device:
    """The vendor has put it there. Doors only the vendor knows are added.

    Raises BindingUnderway when it was decided otherwise meanwhile.
    """
    device, binding = _under_way(tx, move)
    if binding.state == "bound":
        return device
    if binding.state != "binding":
        raise BindingUnderway
    _set_binding(tx, binding, state="bound", bound_at=tx.now, problem="")
    # Only from here on is it missed when nothing is heard of it.
    live = {
        "link": "never",
        "link_since": tx.now,
        "deadline_at": tx.now,
        "version": devices.c.version + 1,
    }
    _set(tx, devices, device.id, {"status": "bound", **live})
    _add_doors(tx, device.id, set(bound.doors) - set(device.door_numbers))
    clear_alert(tx, UNCLEAR, _label(device))
    return _moved(tx, device, "device.bind", by).device


def refuse_bind(tx: Tx, move: Move, why: str, *, by: By) -> None:
    """The vendor said no: it stands nowhere, as before."""
    device, binding = _under_way(tx, move)
    if binding.state != "binding":
        return
    _set_binding(
        tx, binding, state="refused", open_key=None, unbound_at=tx.now, problem=why[:_PROBLEM_MAX]
    )
    _set(tx, devices, device.id, {"status": "new", "store_id": None})
    clear_alert(tx, UNCLEAR, _label(device))
    _moved(tx, device, "device.bind_refused", by, why[:_PROBLEM_MAX])


def begin_unbind(tx: Tx, device_id: int, *, by: By, reason: str = "") -> Move:
    """Write down that the vendor is asked to let go of it: nobody shops there from now on.

    Raises DeviceNotFound, DeviceRetired, NotBound, DeviceBusy.
    """
    device = _mine(tx, device_id, by)
    binding = open_binding(tx, device_id, lock=True)
    if binding is None:
        raise NotBound
    if _is_busy(tx, device_id):
        raise DeviceBusy
    store = load_store(tx, binding.store_id)
    if binding.state == "unbinding":
        return Move(device, store, binding)
    _set_binding(tx, binding, state="unbinding", unbound_by=by.account_id, reason=reason)
    _set(tx, devices, device_id, {"status": "leaving"})
    return _moved(tx, device, "device.unbind_begin", by, reason)


def end_unbind(tx: Tx, move: Move, *, by: By) -> Device:
    """The vendor has let go of it, or never had it."""
    device, binding = _under_way(tx, move)
    if binding.state != "unbinding":
        return device
    _set_binding(tx, binding, state="unbound", open_key=None, unbound_at=tx.now, problem="")
    # Judged once more: of what stands nowhere nothing is expected.
    live = {"deadline_at": tx.now, "version": devices.c.version + 1}
    _set(tx, devices, device.id, {"status": "new", "store_id": None, **live})
    clear_alert(tx, UNCLEAR, _label(device))
    return _moved(tx, device, "device.unbind", by).device


def refuse_unbind(tx: Tx, move: Move, why: str, *, by: By) -> None:
    """The vendor said no: it is where it was."""
    device, binding = _under_way(tx, move)
    if binding.state != "unbinding":
        return
    state = "binding" if binding.bound_at is None else "bound"
    _set_binding(tx, binding, state=state, problem=why[:_PROBLEM_MAX])
    _set(tx, devices, device.id, {"status": state})
    _moved(tx, device, "device.unbind_refused", by, why[:_PROBLEM_MAX])


def note_unclear(tx: Tx, move: Move, why: str) -> None:
    """Nobody knows what the vendor did: it shows until somebody has asked again."""
    device, binding = _under_way(tx, move)
    if binding.state in {"binding", "unbinding"}:
        _set_binding(tx, binding, problem=f"no clear answer: {why}"[:_PROBLEM_MAX])
        raise_alert(tx, UNCLEAR, _label(device), f"{binding.state}: {why}"[:_PROBLEM_MAX])


def _is_busy(tx: Tx, device_id: int) -> bool:
    """Whether somebody has a door of it open, or is about to."""
    physical = select(door_sessions.c.id).where(
        door_sessions.c.device_id == device_id, door_sessions.c.door_key.is_not(None)
    )
    return tx.execute(physical.limit(1)).first() is not None


def _under_way(tx: Tx, move: Move) -> tuple[Device, Binding]:
    """The move as it is now, locked: others may have carried it on."""
    device = load_device(tx, move.device.id, lock=True)
    mine = select(device_bindings).where(device_bindings.c.id == move.binding.id)
    row = tx.execute(mine.with_for_update()).one()
    return device, msgspec.convert(row._mapping, Binding)


def _moved(tx: Tx, before: Device, action: str, by: By, reason: str = "") -> Move:
    """Tell of it and write it down; how things are now."""
    device = load_device(tx, before.id)
    _tell(tx, device.id)
    shown = ("status", "store_id")
    _record(tx, by, action, _device_subject(device.id),
            {name: getattr(before, name) for name in shown},
            {name: getattr(device, name) for name in shown}, reason)  # fmt: skip
    binding = select(device_bindings).where(device_bindings.c.device_id == device.id)
    row = tx.execute(binding.order_by(device_bindings.c.id.desc()).limit(1)).one()
    current = msgspec.convert(row._mapping, Binding)
    return Move(device, load_store(tx, current.store_id), current)


def _set_binding(tx: Tx, binding: Binding, **values: Any) -> None:
    mine = update(device_bindings).where(device_bindings.c.id == binding.id)
    tx.execute(mine.values(values))


# ---------------------------------------------------------------- helpers


def _see_all(tx: Tx, by: By) -> None:
    """Raises OutOfScope: what is new is in nobody's scope."""
    if scope_of(tx, by.account_id) is not None:
        raise OutOfScope


def _set(tx: Tx, table: Any, id_: int, values: Mapping[str, Any]) -> None:
    tx.execute(update(table).where(table.c.id == id_).values({**values, "updated_at": tx.now}))


def _tell(tx: Tx, device_id: int) -> None:
    device = load_device(tx, device_id)
    names = ("name", "store_id", "status", "service")
    tell(tx, [News(device_id, "device.changed", {name: getattr(device, name) for name in names})])


def _record_change(
    tx: Tx,
    by: By,
    action: str,
    subject: str,
    before: object,
    values: Mapping[str, Any],
    reason: str,
) -> None:
    was = {name: getattr(before, name) for name in values}
    _record(tx, by, action, subject, was, values, reason)


def _record(
    tx: Tx,
    by: By,
    action: str,
    subject: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    reason: str = "",
) -> None:
    record(tx, actor=by, action=action, subject=subject, before=before, after=after, reason=reason)


def _store_subject(store_id: int) -> str:
    return f"store:{store_id}"


def _device_subject(device_id: int) -> str:
    return f"device:{device_id}"


def _label(device: Device) -> str:
    return f"{device.vendor}:{device.code}"


def _contains(fields: Iterable[Any], keyword: str) -> Any:
    # SQLite compares texts whatever the case, MariaDB's binary order does not.
    word = keyword.lower()
    return or_(*(func.lower(each).contains(word, autoescape=True) for each in fields))


def _equals(table: Any, wanted: object, *names: str) -> list[Any]:
    """Conditions for those of the fields that say something."""
    values = {name: getattr(wanted, name) for name in names}
    return [table.c[name] == value for name, value in values.items() if value]


def _order(table: Any, sort: str) -> tuple[Any, ...]:
    """By a field, and among equals by the id, so that no page shows what another has shown."""
    column = table.c[sort.removeprefix("-")]
    return (column.desc() if sort.startswith("-") else column, table.c.id)
