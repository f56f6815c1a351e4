"""Rows of the flow's own: how far a vendor's orders were read, and what does not agree."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import insert, select, update

from devices.desk import store as desk
from devices.orders.beside import confirm_keys
from devices.orders.model import Order
from devices.orders.rows import store as orders
from devices.vendors.port import OrderResult
from sql import outbox
from sql.database import Tx
from sql.outbox import Parcel
from sql.tables.commerce import sync_cursors
from sql.tables.devices import cabinet_orders, devices, door_sessions
from sql.types import Millis

_T: Final = cabinet_orders.c


def mark_of(tx: Tx, vendor: str) -> Millis | None:
    """Until when a vendor's orders were read."""
    query = select(sync_cursors.c.cursor).where(sync_cursors.c.name == f"orders:{vendor}")
    found = tx.execute(query).scalar_one_or_none()
    return None if found is None else int(found)


def set_mark(tx: Tx, vendor: str, mark: Millis) -> None:
    name = f"orders:{vendor}"
    changed = tx.execute(
        update(sync_cursors)
        .where(sync_cursors.c.name == name)
        .values(cursor=str(mark), changed_at=tx.now)
    )
    if changed.rowcount == 0:
        tx.execute(insert(sync_cursors), {"name": name, "cursor": str(mark), "changed_at": tx.now})


# ---------------------------------------------------------------- what does not agree


def note_sums(tx: Tx, vendor: str, day: int, totals: Mapping[str, int]) -> int:
    """What the same orders come to here, by the latest word of the vendor; a difference goes to
    the desk, order by order."""
    ours = 0
    for number, theirs in totals.items():
        order = orders.by_vendor_no(tx, vendor, number)
        if order is None:
            # Of a session in which nothing is bought.
            ours += theirs
            continue
        said = [each for each in orders.revisions_of(tx, order.id) if not each.is_by_staff]
        total = max(said, key=lambda each: each.place).total_fen
        ours += total
        if total != theirs:
            text = f"{vendor} has {theirs} fen for {number} on {day}, we have {total}"
            _difference(tx, order, text)
    return ours


def note_unlisted(tx: Tx, vendor: str, start: Millis, end: Millis, listed: frozenset[str]) -> int:
    """Put orders of a time on the desk that the vendor does not list; how many."""
    ours = (
        select(_T.id, _T.vendor_order_no)
        .where(
            _T.vendor == vendor,
            _T.vendor_order_no.is_not(None),
            _T.ordered_at >= start,
            _T.ordered_at < end,
        )
        .order_by(_T.id)
    )
    missing = [row.id for row in tx.execute(ours) if row.vendor_order_no not in listed]
    for order_id in missing:
        order = orders.load(tx, order_id)
        _difference(tx, order, f"{vendor} does not list {order.vendor_order_no}, our {order.no}")
    return len(missing)


def _difference(tx: Tx, order: Order, text: str) -> None:
    desk.raise_exception(
        tx,
        "delivery",
        f"compare:{order.no}",
        severity="medium",
        text=text,
        store_id=order.store_id,
        device_id=order.device_id,
        order_id=order.id,
        session_id=order.session_id,
    )


# ---------------------------------------------------------------- parcels


def is_newest(tx: Tx, payload: dict[str, Any]) -> bool:
    """Whether a confirmation is still the last word about its order."""
    result = msgspec.convert(payload["result"], OrderResult)
    newest = outbox.newest(tx, confirm_keys(payload["vendor"], result.order_no))
    return newest is None or newest == payload


def parcel_stuck(tx: Tx, parcel: Parcel, why: str) -> None:
    """A parcel did not arrive in time: it is on the manual list, and goes on."""
    text = f"{parcel.kind} {parcel.id} does not arrive: {why}"
    desk.raise_exception(tx, "delivery", f"parcel:{parcel.id}", severity="medium", text=text[:400])


def parcel_arrived(tx: Tx, parcel: Parcel) -> None:
    desk.clear_exception(tx, "delivery", f"parcel:{parcel.id}", "it has arrived")


# ---------------------------------------------------------------- doors and links


class InUse(msgspec.Struct, frozen=True):
    """A door that somebody has, and since when its cabinet's link is as it is."""

    session_id: int
    link: str
    link_since: Millis


def doors_in_use(tx: Tx, states: Collection[str]) -> list[InUse]:
    """By the sessions in these states."""
    chosen = (
        select(door_sessions.c.id, devices.c.link, devices.c.link_since)
        .join(devices, devices.c.id == door_sessions.c.device_id)
        .where(door_sessions.c.door_key.is_not(None), door_sessions.c.state.in_(states))
    )
    return [InUse(row.id, row.link, row.link_since) for row in tx.execute(chosen)]
