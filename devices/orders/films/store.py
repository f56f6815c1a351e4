"""Transactions on films: their state stands with what the vendor said last of the order."""

from typing import Any, Final

import msgspec
from sqlalchemy import select, update

from accounts.audit.model import By
from accounts.audit.store import record
from devices.fleet.store import scope_of, sees
from devices.orders.films.model import FAILED, READY, VideoMissing
from devices.orders.model import DEBT, Body, Order, OrderNotFound
from devices.orders.rows import store as rows
from devices.vendors.port import VideoFailed, VideoReady
from sql.tables.devices import order_revisions
from sql.transaction import Tx

_R: Final = order_revisions.c


def heed(tx: Tx, vendor: str, event: Any, *, is_again: bool) -> None:
    """Note what an event says of a film; of an order that is not known yet its own word counts.

    Not what was noted before: another revision may have come since, with a word of its own.
    """
    if is_again or not isinstance(event, VideoReady | VideoFailed):
        return
    order = rows.by_vendor_no(tx, vendor, event.vendor_order_no)
    if order is not None:
        note(tx, order, READY if isinstance(event, VideoReady) else FAILED)


def note(tx: Tx, order: Order, state: str) -> None:
    """Write it to the latest revision that is the vendor's."""
    said = select(order_revisions).where(
        _R.order_id == order.id, _R.source.startswith("vendor:", autoescape=True)
    )
    latest = said.order_by(_R.rev.desc(), _R.n.desc()).limit(1).with_for_update()
    row = tx.execute(latest).one()
    body = msgspec.json.decode(row.body, type=Body)
    assert body.fact is not None, "what a vendor says is a fact"
    body = msgspec.structs.replace(body, fact=msgspec.structs.replace(body.fact, video=state))
    mine = update(order_revisions).where(_R.order_id == order.id, _R.rev == row.rev, _R.n == row.n)
    tx.execute(mine.values(body=msgspec.json.encode(body).decode()))


def to_ask(tx: Tx, order_id: int, by: By) -> Order:
    """The order that the vendor knows. Raises OrderNotFound, VideoMissing."""
    main = rows.main_of(tx, rows.load(tx, order_id))
    if not sees(scope_of(tx, by.account_id), main.store_id):
        raise OrderNotFound
    if main.vendor_order_no is None:
        raise VideoMissing
    return main


def note_seen(tx: Tx, order: Order, *, by: By) -> None:
    """People are to be seen in it: who looks leaves a line."""
    _audit(tx, "cabinet_order.video", order, by, "")


def note_asked(tx: Tx, order: Order, state: str, *, by: By, reason: str) -> str:
    """Somebody has let it be uploaded once more; what its state is now."""
    note(tx, order, state)
    _audit(tx, "cabinet_order.video_reupload", order, by, reason)
    return state


def _audit(tx: Tx, action: str, order: Order, by: By, reason: str) -> None:
    subject = f"{DEBT}:{order.no}"[:64]
    record(tx, actor=by, action=action, subject=subject, before={}, after={}, reason=reason)
