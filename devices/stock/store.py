"""Transactions on layouts and counts. Locks: the device, its shelves in the order of their key."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import insert, select, update

from devices.stock.model import (
    COUNTED,
    MoveKind,
    Planogram,
    Shelf,
    Snapshot,
)
from devices.vendors.port import Slot
from sql.tables.devices import door_stock, planograms, stock_moves
from sql.transaction import Tx, insert_missing

_S, _P = door_stock.c, planograms.c

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
    """
    wanted = {sku: delta for sku, delta in sorted(lines.items()) if delta}
    if kind in COUNTED and wanted:
        insert_missing(tx, door_stock, [_empty(tx, device_id, door_no, sku) for sku in wanted])
    known = {row.sku: row for row in shelves(tx, device_id, door_no, lock=True)}
    keys = {sku: f"{once_key}:{sku}" for sku in wanted if sku in known}
    done = select(stock_moves.c.once_key).where(stock_moves.c.once_key.in_(keys.values()))
    before = set(tx.execute(done).scalars())
    for sku, key in keys.items():
        if key not in before:
            _move_one(tx, known[sku], wanted[sku], kind=kind, ref=ref, key=key, by=by)


def _move_one(
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
    _set(tx, shelf, quantity=after)


def _empty(tx: Tx, device_id: int, door_no: int, sku: str) -> dict[str, Any]:
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


def _set(tx: Tx, shelf: Shelf, **values: Any) -> None:
    mine = update(door_stock).where(
        _S.device_id == shelf.device_id, _S.door_no == shelf.door_no, _S.sku == shelf.sku
    )
    tx.execute(mine.values(values | {"changed_at": tx.now}))


def _planogram(row: Any) -> Planogram:
    slots = msgspec.json.decode(row.slots, type=tuple[Slot, ...])
    return Planogram(**(dict(row._mapping) | {"slots": slots}))
