"""Transactions on layouts and counts. Locks: the device, its shelves in the order of their key."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import false, func, insert, join, or_, select, update

from accounts.audit.model import By
from accounts.audit.store import record
from commerce.goods.store import find_goods
from devices.fleet.model import Device, DoorNotFound
from devices.fleet.store import load_device, scope_of
from devices.stock.model import (
    COUNTED,
    Count,
    Counted,
    CountInvalid,
    Expiring,
    Move,
    MoveKind,
    NotRestocking,
    Planogram,
    PlanogramNotFound,
    Shelf,
    Snapshot,
    deltas,
    is_past,
)
from devices.vendors.port import Slot
from payments.model import beijing_day
from sql.alerts import clear_alert, raise_alert
from sql.sorting import ordered
from sql.tables.commerce import goods
from sql.tables.devices import (
    devices,
    door_sessions,
    door_stock,
    planograms,
    stock_moves,
)
from sql.transaction import Tx, insert_missing
from sql.types import Millis

_S, _P = door_stock.c, planograms.c

# Whoever counted afterwards may have done so by a clock that was set back meanwhile.
CLOCKS_DIFFER_MS: Final = 86_400_000

EXPIRED: Final = "cabinet.expired"
"""The kind of the alerts about what is past its day."""

# ---------------------------------------------------------------- what is sold


def snapshot(tx: Tx, device_id: int) -> Snapshot:
    """What the device sells now, by the layout that the vendor has."""
    layout = current(tx, device_id)
    rows = shelves(tx, device_id)
    blocked = frozenset(row.sku for row in rows if row.blocked_at is not None)
    return Snapshot(
        layout.version if layout else 0,
        {sku: fen for sku, fen in (layout.prices if layout else {}).items() if sku not in blocked},
        {(row.door_no, row.sku): row.quantity for row in rows},
        blocked,
    )


def current(tx: Tx, device_id: int) -> Planogram | None:
    """The layout the vendor has, by which goods are charged."""
    mine = select(planograms).where(_P.device_id == device_id, _P.state == "put")
    row = tx.execute(mine.order_by(_P.version.desc()).limit(1)).one_or_none()
    return None if row is None else _planogram(row)


def waiting(tx: Tx, device_id: int) -> Planogram | None:
    mine = select(planograms).where(_P.device_id == device_id, _P.state == "waiting")
    row = tx.execute(mine.order_by(_P.version.desc()).limit(1)).one_or_none()
    return None if row is None else _planogram(row)


def load_planogram(tx: Tx, device_id: int, version: int) -> Planogram:
    """Raises PlanogramNotFound."""
    mine = select(planograms).where(_P.device_id == device_id, _P.version == version)
    row = tx.execute(mine).one_or_none()
    if row is None:
        raise PlanogramNotFound
    return _planogram(row)


def shelves(
    tx: Tx, device_id: int, door_no: int | None = None, *, lock: bool = False
) -> list[Shelf]:
    """What is counted of a device, or behind one of its doors."""
    mine = select(door_stock).where(_S.device_id == device_id)
    if door_no is not None:
        mine = mine.where(_S.door_no == door_no)
    mine = mine.order_by(_S.door_no, _S.sku)
    rows = tx.execute(mine.with_for_update() if lock else mine)
    return [msgspec.convert(row._mapping, Shelf) for row in rows]


# ---------------------------------------------------------------- moves


def move(  # noqa: PLR0913 -- the columns of a move
    tx: Tx,
    device_id: int,
    door_no: int,
    lines: Mapping[str, int],
    *,
    kind: MoveKind,
    ref: str,
    once_key: str,
    by: int = 0,
) -> None:
    """Count goods in (plus) or out (minus). Once per once_key and good.

    A good that nobody has counted there is not counted down, so that no count begins below zero.
    A count that finds what was thought is a move as well, of none: see `uncounted`.
    """
    wanted = {sku: delta for sku, delta in sorted(lines.items()) if delta or kind in COUNTED}
    if kind in COUNTED and wanted:
        insert_missing(tx, door_stock, [new_shelf(tx, device_id, door_no, sku) for sku in wanted])
    known = {row.sku: row for row in shelves(tx, device_id, door_no, lock=True)}
    keys = {sku: f"{once_key}:{sku}" for sku in wanted if sku in known}
    done = select(stock_moves.c.once_key).where(stock_moves.c.once_key.in_(keys.values()))
    before = set(tx.execute(done).scalars())
    for sku, key in keys.items():
        if key not in before:
            move_one(tx, known[sku], wanted[sku], kind=kind, ref=ref, key=key, by=by)


def uncounted(
    tx: Tx,
    device_id: int,
    door_no: int,
    lines: Mapping[str, int],
    *,
    session_id: int,
    begun_at: Millis,
    over_at: Millis | None,
) -> dict[str, int]:
    """Of what was taken in a session, that which nobody has counted since.

    A restocking has the door to itself, so its count is of all the sessions before it. Others
    may count while somebody stands at the door, so theirs is of what was over by then (over_at;
    None: nobody knows when).
    """
    shelves(tx, device_id, door_no, lock=True)
    m, restocking = stock_moves.c, door_sessions.c
    at_the_time = restocking.id.is_(None) & (m.at >= over_at) if over_at is not None else false()
    counts = (
        select(m.sku)
        .select_from(stock_moves)
        .outerjoin(door_sessions, restocking.no == m.ref)
        .where(m.device_id == device_id, m.at >= begun_at - CLOCKS_DIFFER_MS)
        .where(m.door_no == door_no, m.sku.in_(sorted(lines)))
        .where(m.kind.in_(sorted(COUNTED)), or_(restocking.id > session_id, at_the_time))
    )
    counted = set(tx.execute(counts).scalars())
    return {sku: delta for sku, delta in lines.items() if sku not in counted}


def move_one(
    tx: Tx, shelf: Shelf, delta: int, *, kind: MoveKind, ref: str, key: str, by: int
) -> None:
    after = shelf.quantity + delta
    row = {
        "device_id": shelf.device_id,
        "door_no": shelf.door_no,
        "sku": shelf.sku,
        "kind": kind,
        "delta": delta,
        "after": after,
        "ref": ref,
        "once_key": key,
        "by_account": by,
        "at": tx.now,
    }
    tx.execute(insert(stock_moves), row)
    set_shelf(tx, shelf, quantity=after)


def new_shelf(tx: Tx, device_id: int, door_no: int, sku: str) -> dict[str, Any]:
    return {
        "device_id": device_id,
        "door_no": door_no,
        "sku": sku,
        "quantity": 0,
        "capacity": 0,
        "expires_on": None,
        "blocked_at": None,
        "changed_at": tx.now,
    }


def set_shelf(tx: Tx, shelf: Shelf, **values: Any) -> None:
    mine = update(door_stock).where(
        _S.device_id == shelf.device_id, _S.door_no == shelf.door_no, _S.sku == shelf.sku
    )
    tx.execute(mine.values(values | {"changed_at": tx.now}))


# ---------------------------------------------------------------- counts


def count(tx: Tx, device_id: int, said: Count, *, by: By, once_key: str) -> list[Shelf]:
    """Take somebody's count for right; how it is now. No money comes of it.

    Raises DeviceNotFound, DoorNotFound, CountInvalid, NotRestocking.
    """
    door_no, counted, session_id = said.door_no, said.counted, said.session_id
    device = load_device(tx, device_id, scope=scope_of(tx, by.account_id), lock=True)
    if door_no not in device.door_numbers:
        raise DoorNotFound
    skus = [each.sku for each in counted]
    unknown = sorted(set(skus) - find_goods(tx, skus).keys())
    if unknown or len(set(skus)) != len(skus):
        raise CountInvalid(f"unknown: {', '.join(unknown)}" if unknown else "a good twice")
    ref = _restocking(tx, device_id, door_no, session_id) if session_id else ""
    before = {row.sku: row for row in shelves(tx, device_id, door_no, lock=True)}
    new = [new_shelf(tx, device_id, door_no, sku) for sku in sorted(set(skus) - before.keys())]
    if new:
        insert_missing(tx, door_stock, new)
    off = deltas(counted, before)
    kind: MoveKind = "restock" if session_id else "count"
    move(tx, device_id, door_no, off, kind=kind, ref=ref, once_key=once_key, by=by.account_id)
    _date(tx, device_id, door_no, counted)
    note_expiry(tx, device)
    record(
        tx,
        actor=by,
        action=f"stock.{kind}",
        subject=f"device:{device_id}",
        before={"door_no": door_no} | {sku: row.quantity for sku, row in before.items()
                                       if sku in off},
        after={"door_no": door_no} | {each.sku: each.quantity for each in counted},
        reason=said.reason,
    )  # fmt: skip
    return shelves(tx, device_id, door_no)


def _restocking(tx: Tx, device_id: int, door_no: int, session_id: int) -> str:
    """The number of a restocking. Raises NotRestocking."""
    row = tx.execute(
        select(door_sessions.c.no).where(
            door_sessions.c.id == session_id,
            door_sessions.c.device_id == device_id,
            door_sessions.c.door_no == door_no,
            door_sessions.c.purpose == "restock",
        )
    ).one_or_none()
    if row is None:
        raise NotRestocking
    return str(row.no)


def _date(tx: Tx, device_id: int, door_no: int, counted: Sequence[Counted]) -> None:
    """Write down until when they keep, of those that somebody has looked at."""
    rows = {row.sku: row for row in shelves(tx, device_id, door_no)}
    for each in counted:
        if each.expires_on != 0:
            set_shelf(tx, rows[each.sku], expires_on=each.expires_on)


MOVE_SORTS: Final = {
    "id": stock_moves.c.id,
    "created_at": stock_moves.c.at,
    **{name: stock_moves.c[name] for name in ("at", "sku", "delta")},
}


def moves_page(
    tx: Tx,
    device_id: int,
    *,
    by: By,
    sku: str = "",
    sort: str = "-id",
    offset: int = 0,
    most: int = 100,
) -> tuple[int, list[Move]]:
    """Why the counts of a device are what they are. Raises DeviceNotFound."""
    load_device(tx, device_id, scope=scope_of(tx, by.account_id))
    where = [stock_moves.c.device_id == device_id]
    if sku:
        where.append(stock_moves.c.sku == sku)
    total = tx.execute(select(func.count()).select_from(stock_moves).where(*where)).scalar_one()
    columns = [stock_moves.c[name] for name in Move.__struct_fields__]
    order = ordered(sort, MOVE_SORTS, stock_moves.c.id)
    rows = tx.execute(select(*columns).where(*where).order_by(*order).offset(offset).limit(most))
    return total, [msgspec.convert(row._mapping, Move) for row in rows]


def stock_of(tx: Tx, device_id: int, *, by: By) -> list[Shelf]:
    """What is counted of a device. Raises DeviceNotFound."""
    load_device(tx, device_id, scope=scope_of(tx, by.account_id))
    return shelves(tx, device_id)


# ---------------------------------------------------------------- until when they keep


def block_expired(tx: Tx) -> int:
    """Stop the sale of what is past its day, and of nothing else. How many shelves changed."""
    today = beijing_day(tx.now)
    wrong = or_(
        (_S.expires_on < today) & _S.blocked_at.is_(None),
        _S.blocked_at.is_not(None) & or_(_S.expires_on.is_(None), _S.expires_on >= today),
    )
    ids = tx.execute(select(_S.device_id).where(wrong).distinct()).scalars().all()
    return sum(note_expiry(tx, load_device(tx, id_, lock=True)) for id_ in sorted(ids))


def note_expiry(tx: Tx, device: Device) -> int:
    """Block what is past its day behind the doors of a device; tell of it while it is there."""
    today = beijing_day(tx.now)
    changed = 0
    past: list[str] = []
    for row in shelves(tx, device.id, lock=True):
        if is_past(row.expires_on, today):
            past.append(f"door {row.door_no}: {row.sku} ({row.expires_on})")
        if is_past(row.expires_on, today) != (row.blocked_at is not None):
            set_shelf(tx, row, blocked_at=None if row.blocked_at else tx.now)
            changed += 1
    subject = f"device:{device.id}"
    if past:
        raise_alert(tx, EXPIRED, subject, f"{device.code}, {'; '.join(past)}")
    else:
        clear_alert(tx, EXPIRED, subject)
    return changed


EXPIRING_SORTS: Final = {name: _S[name] for name in ("expires_on", "sku", "quantity")}


def expiring_page(
    tx: Tx,
    until: int,
    *,
    by: By,
    device_id: int = 0,
    sort: str = "expires_on",
    offset: int = 0,
    most: int = 100,
) -> tuple[int, list[Expiring]]:
    """What is there and keeps until a day (YYYYMMDD) at the latest."""
    joined = join(door_stock, devices, _S.device_id == devices.c.id).outerjoin(
        goods, goods.c.sku == _S.sku
    )
    where = [_S.expires_on <= until, _S.quantity > 0]
    scope = scope_of(tx, by.account_id)
    if scope is not None:
        where.append(devices.c.store_id.in_(scope))
    if device_id:
        where.append(_S.device_id == device_id)
    total = tx.execute(select(func.count()).select_from(joined).where(*where)).scalar_one()
    chosen = (
        select(
            *(_S[name] for name in ("device_id", "door_no", "sku", "quantity")),
            *(_S[name] for name in ("expires_on", "blocked_at")),
            devices.c.code.label("device_code"),
            devices.c.store_id,
            func.coalesce(goods.c.name, _S.sku).label("name"),
        )
        .select_from(joined)
        .where(*where)
        .order_by(*ordered(sort, EXPIRING_SORTS, _S.device_id, _S.door_no, _S.sku))
    )
    rows = tx.execute(chosen.offset(offset).limit(most))
    return total, [msgspec.convert(row._mapping, Expiring) for row in rows]


def _planogram(row: Any) -> Planogram:
    slots = msgspec.json.decode(row.slots, type=tuple[Slot, ...])
    return Planogram(**(dict(row._mapping) | {"slots": slots}))
