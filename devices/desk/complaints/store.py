"""The transactions of complaints: made once per order at a time, and ended once."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from accounts.audit.model import By
from accounts.audit.store import record
from devices.desk.model import (
    Complaint,
    ComplaintNotFound,
    ComplaintOpen,
    ComplaintResolved,
    ComplaintState,
    OrderNotYours,
    Refund,
)
from devices.fleet.store import scope_of, sees
from devices.fleet.streams import News
from devices.fleet.streams import tell as tell_office
from payments.store import tell as tell_accounts
from sql import idempotency
from sql.sorting import ordered
from sql.tables.devices import cabinet_orders, complaints
from sql.transaction import Tx

_C = complaints.c
_COLUMNS: Final = [column for column in complaints.c if column.name != "open_key"]


class New(msgspec.Struct, frozen=True, kw_only=True):
    """pictures: names of files that are kept already. key: the client's."""

    order_id: int
    account_id: int
    text: str
    pictures: Sequence[str]
    key: str


class Order(msgspec.Struct, frozen=True):
    """What a complaint needs to know of its order."""

    id: int
    store_id: int
    device_id: int


def see_own_order(tx: Tx, order_id: int, account_id: int) -> Order:
    """Raises OrderNotYours."""
    o = cabinet_orders.c
    mine = select(o.id, o.store_id, o.device_id).where(o.id == order_id, o.account_id == account_id)
    row = tx.execute(mine).one_or_none()
    if row is None:
        raise OrderNotYours
    return Order(row.id, row.store_id, row.device_id)


def see_none_open(tx: Tx, order_id: int, account_id: int) -> None:
    """Before the pictures are drawn. Raises OrderNotYours, ComplaintOpen."""
    see_own_order(tx, order_id, account_id)
    if tx.execute(select(_C.id).where(_C.open_key == order_id)).first() is not None:
        raise ComplaintOpen


def known_answer(tx: Tx, new: New) -> int:
    """The complaint a client's key was answered with before, 0 for none. Raises KeyReused."""
    id_ = idempotency.key_id(_scope(new), new.key)
    known = idempotency.find_answers(tx, [id_]).get(id_)
    if known is None:
        return 0
    if known[0] != _mark(new):
        raise idempotency.KeyReused(new.key)
    return int(known[1])


def _scope(new: New) -> str:
    return f"complaints:{new.account_id}"


def _mark(new: New) -> str:
    """Without the pictures: the same ones are drawn anew by a newer version of ours."""
    return idempotency.fingerprint("complain", new.order_id, new.text)


def complain(tx: Tx, new: New) -> Complaint:
    """Once per key. Raises OrderNotYours, ComplaintOpen, KeyReused."""
    number = idempotency.once(tx, _scope(new), new.key, _mark(new), _complain, new)
    return load(tx, int(number))


def _complain(tx: Tx, new: New) -> str:
    order = see_own_order(tx, new.order_id, new.account_id)
    row = {
        "order_id": order.id,
        "open_key": order.id,
        "store_id": order.store_id,
        "account_id": new.account_id,
        "text": new.text,
        "pictures": msgspec.json.encode(list(new.pictures)).decode(),
        "state": ComplaintState.OPEN,
        "created_at": tx.now,
        "resolved_at": None,
        "resolved_by": 0,
        "resolution": "",
        "refund_fen": 0,
        "version": 0,
    }
    try:
        key = tx.execute(insert(complaints), row).inserted_primary_key
    except IntegrityError as error:
        raise ComplaintOpen from error
    assert key is not None
    data = {"complaint_id": key[0], "order_id": order.id}
    tell_office(tx, [News(order.device_id, "complaint.opened", data)])
    return str(key[0])


# ---------------------------------------------------------------- the end


def resolve(
    tx: Tx, complaint_id: int, *, refund_fen: int, reason: str, by: By, refund: Refund
) -> Complaint:
    """End it, with some money back or (0) without, once; the buyer is told.

    The money goes first, because it locks the order: of two who decide at once the second finds
    that it is over, and then none of what it did stays. Raises ComplaintNotFound,
    ComplaintResolved, and what the refund is refused with.
    """
    before = seen(tx, complaint_id, by)
    if before.state is not ComplaintState.OPEN:
        raise ComplaintResolved
    if refund_fen:
        refund(tx, before.order_id, refund_fen, reason=reason, by=by)
    to = ComplaintState.REFUNDED if refund_fen else ComplaintState.REFUSED
    changed = tx.execute(
        update(complaints)
        .where(_C.id == complaint_id, _C.state == ComplaintState.OPEN)
        .values(
            state=to,
            open_key=None,
            resolved_at=tx.now,
            resolved_by=by.account_id,
            resolution=reason,
            refund_fen=refund_fen,
            version=_C.version + 1,
        )
    )
    if changed.rowcount != 1:
        raise ComplaintResolved
    data = {
        "complaint_id": complaint_id,
        "order_id": before.order_id,
        "state": to,
        "refund_fen": refund_fen,
        "resolution": reason,
    }
    tell_accounts(tx, [(before.account_id, "complaint.resolved", data)])
    record(
        tx,
        actor=by,
        action=f"complaint.{to}",
        subject=f"complaint:{complaint_id}",
        before={"state": before.state},
        after={"state": to, "order_id": before.order_id, "refund_fen": refund_fen},
        reason=reason[:200],
    )
    return load(tx, complaint_id)


# ---------------------------------------------------------------- reading


def load(tx: Tx, complaint_id: int) -> Complaint:
    """Raises ComplaintNotFound."""
    row = tx.execute(select(*_COLUMNS).where(_C.id == complaint_id)).one_or_none()
    if row is None:
        raise ComplaintNotFound
    return _as_complaint(row)


def seen(tx: Tx, complaint_id: int, by: By) -> Complaint:
    """By the stores this person sees. Raises ComplaintNotFound."""
    found = load(tx, complaint_id)
    if not sees(scope_of(tx, by.account_id), found.store_id):
        raise ComplaintNotFound
    return found


def own(tx: Tx, complaint_id: int, account_id: int) -> Complaint:
    """Raises ComplaintNotFound."""
    found = load(tx, complaint_id)
    if found.account_id != account_id:
        raise ComplaintNotFound
    return found


def of_order(tx: Tx, order_id: int, account_id: int) -> list[Complaint]:
    """One's own about an order, newest first. Raises OrderNotYours."""
    see_own_order(tx, order_id, account_id)
    mine = select(*_COLUMNS).where(_C.order_id == order_id).order_by(_C.id.desc())
    return [_as_complaint(row) for row in tx.execute(mine)]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which complaints a list shows; "" and 0 leave all in."""

    state: str = ""
    store_id: int = 0
    order_id: int = 0
    account_id: int = 0
    sort: str = "-id"


SORTS: Final = {"id": _C.id, "created_at": _C.created_at, "resolved_at": _C.resolved_at}


def page(tx: Tx, wanted: Wanted, *, by: By, offset: int, most: int) -> tuple[int, list[Complaint]]:
    """Complaints of the stores one sees, and how many there are."""
    given = (
        (_C.state, wanted.state),
        (_C.store_id, wanted.store_id),
        (_C.order_id, wanted.order_id),
        (_C.account_id, wanted.account_id),
    )
    where: list[Any] = [column == value for column, value in given if value]
    scope = scope_of(tx, by.account_id)
    if scope is not None:
        where.append(_C.store_id.in_(sorted(scope)))
    total = tx.execute(select(func.count()).select_from(complaints).where(*where))
    chosen = select(*_COLUMNS).where(*where).order_by(*ordered(wanted.sort, SORTS, _C.id))
    rows = tx.execute(chosen.offset(offset).limit(most))
    return total.scalar_one(), [_as_complaint(row) for row in rows]


def _as_complaint(row: Any) -> Complaint:
    values = {str(name): value for name, value in row._mapping.items()}
    values["pictures"] = msgspec.json.decode(values["pictures"])
    return msgspec.convert(values, Complaint)
