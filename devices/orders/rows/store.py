"""The rows of orders, revisions and charges; each change of an order is guarded by its version.

Locks are taken in one order: the session, then the orders of its chain by their ids.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from devices.orders.model import (
    Body,
    Charge,
    ChargeKind,
    ChargeState,
    Kind,
    Line,
    Lines,
    Means,
    Order,
    OrderNotFound,
    OrderState,
    Revision,
    Verdict,
    Why,
)
from devices.sessions import store as sessions
from devices.sessions.model import DoorSession
from devices.vendors.port import Certainty
from sql.database import Tx
from sql.sorting import ordered
from sql.tables.commerce import members, sales
from sql.tables.devices import (
    cabinet_exceptions,
    cabinet_orders,
    door_stock,
    order_charges,
    order_revisions,
    stock_moves,
)
from sql.tables.payments import incidents, receipts, refunds
from sql.types import Millis

_T: Final = cabinet_orders.c
_C: Final = order_charges.c
_encode: Final = msgspec.json.Encoder().encode

BIZ: Final = "cabinet"
"""Of our rows in the history of sales."""


class Chain(msgspec.Struct, kw_only=True):
    """An order with its supplements, locked, with what was said and charged.

    session: None for an order nobody's session was found for.
    """

    session: DoorSession | None
    orders: list[Order]
    revisions: list[Revision]
    charges: list[Charge]

    @property
    def main(self) -> Order:
        return self.orders[0]

    def charges_of(self, order: Order) -> list[Charge]:
        return [each for each in self.charges if each.order_id == order.id]

    def order(self, order_id: int) -> Order:
        return next(each for each in self.orders if each.id == order_id)


# ---------------------------------------------------------------- orders


def insert_order(tx: Tx, values: Mapping[str, Any]) -> Order | None:
    """A new order; None when another process has written it just now."""
    row = {
        "kind": Kind.NORMAL,
        "related_no": "",
        "session_id": None,
        "session_key": None,
        "vendor_order_no": None,
        "phone_box": "",
        "state": OrderState.PUSHED,
        "due_fen": 0,
        "paid_fen": 0,
        "wechat_fen": 0,
        "tickets": 0,
        "refunded_fen": 0,
        "rev": 0,
        "lines": "[]",
        "ordered_at": tx.now,
        "paid_at": None,
        "version": 1,
        **values,
    }
    try:
        key = tx.execute(insert(cabinet_orders), row).inserted_primary_key
    except IntegrityError:
        return None
    assert key is not None
    return load(tx, key[0])


def load(tx: Tx, order_id: int, *, lock: bool = False) -> Order:
    """Raises OrderNotFound."""
    found = _one(tx, _T.id == order_id, lock=lock)
    if found is None:
        raise OrderNotFound
    return found


def by_vendor_no(tx: Tx, vendor: str, vendor_order_no: str) -> Order | None:
    return _one(tx, (_T.vendor == vendor) & (_T.vendor_order_no == vendor_order_no))


def of_session(tx: Tx, session_id: int) -> Order | None:
    """The session's one main order."""
    return _one(tx, _T.session_key == session_id)


def main_of(tx: Tx, order: Order) -> Order:
    """The first order of the chain this one is in."""
    if not order.is_supplement:
        return order
    found = _one(tx, _T.no == order.related_no)
    assert found is not None, f"{order.no} is a supplement of nothing"
    return found


def lock_chain(tx: Tx, order_id: int) -> Chain:
    """The whole chain an order is in, its session first. Raises OrderNotFound."""
    main = main_of(tx, load(tx, order_id))
    session = None if main.session_id is None else sessions.load(tx, main.session_id, lock=True)
    return chain_of(tx, main, session)


def chain_of(tx: Tx, main: Order, session: DoorSession | None, *, lock: bool = True) -> Chain:
    """The chain of a main order, whose session is locked."""
    query = select(cabinet_orders).where((_T.id == main.id) | (_T.related_no == main.no))
    query = query.order_by(_T.id)
    orders = [_order(row) for row in tx.execute(query.with_for_update() if lock else query)]
    return Chain(
        session=session,
        orders=orders,
        revisions=revisions_of(tx, main.id),
        charges=charges_of(tx, [each.id for each in orders]),
    )


def change(tx: Tx, order: Order, **values: Any) -> Order:
    """Change an order this transaction has locked."""
    version = order.version + 1
    row = dict(values)
    if "lines" in row:
        row["lines"] = _encode(row["lines"]).decode()
    changed = tx.execute(
        update(cabinet_orders)
        .where(_T.id == order.id, _T.version == order.version)
        .values(version=version, **row)
    )
    assert changed.rowcount == 1, f"order {order.no} is not as it was read"
    return msgspec.structs.replace(order, version=version, **values)


def _one(tx: Tx, which: Any, *, lock: bool = False) -> Order | None:
    query = select(cabinet_orders).where(which)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _order(row)


def _order(row: Any) -> Order:
    values = _plain(row)
    values["lines"] = msgspec.json.decode(values["lines"], type=Lines)
    return msgspec.convert(values, Order)


def _plain(row: Any) -> dict[str, Any]:
    """A name that is a word of SQL as well, such as `lines`, is no plain text."""
    return {str(name): value for name, value in row._mapping.items()}


# ---------------------------------------------------------------- revisions


def add_revision(  # noqa: PLR0913 (the columns of the row)
    tx: Tx,
    order: Order,
    known: Sequence[Revision],
    *,
    rev: int,
    source: str,
    certainty: Certainty,
    content_hash: str,
    body: Body,
    total_fen: int,
    verdict: Verdict,
    why: Why = Why.NONE,
) -> Revision:
    """Keep what was said, with what was judged of it."""
    revision = Revision(
        order_id=order.id,
        rev=rev,
        n=1 + max((each.n for each in known if each.rev == rev), default=0),
        source=source[:32],
        certainty=certainty,
        content_hash=content_hash,
        body=body,
        total_fen=total_fen,
        verdict=verdict,
        why=why,
        at=tx.now,
    )
    row = {**msgspec.structs.asdict(revision), "body": _encode(body).decode()}
    tx.execute(insert(order_revisions), row)
    return revision


def revisions_of(tx: Tx, order_id: int) -> list[Revision]:
    """All that was said about a main order, in order."""
    mine = select(order_revisions).where(order_revisions.c.order_id == order_id)
    mine = mine.order_by(order_revisions.c.rev, order_revisions.c.n)
    return [_revision(row) for row in tx.execute(mine)]


def _revision(row: Any) -> Revision:
    values = _plain(row)
    values["body"] = msgspec.json.decode(values["body"], type=Body)
    return msgspec.convert(values, Revision)


# ---------------------------------------------------------------- charges


def add_charge(  # noqa: PLR0913 (the columns of the row)
    tx: Tx,
    order: Order,
    known: Sequence[Charge],
    *,
    kind: ChargeKind,
    means: Means,
    amount_fen: int,
    state: ChargeState,
    tickets: int = 0,
    debt_id: int | None = None,
    reason: str = "",
    by: int = 0,
) -> Charge:
    """Decide on money. The unique key lets nobody make the same decision twice."""
    n = 1 + max(
        (each.n for each in known if (each.order_id, each.kind) == (order.id, kind)), default=0
    )
    row = {
        "order_id": order.id,
        "kind": kind,
        "n": n,
        "means": means,
        "amount_fen": amount_fen,
        "tickets": tickets,
        "state": state,
        "debt_id": debt_id,
        "refund_no": None,
        "reason": reason[:200],
        "by_account": by,
        "created_at": tx.now,
        "ended_at": None if state is ChargeState.PENDING else tx.now,
    }
    key = tx.execute(insert(order_charges), row).inserted_primary_key
    assert key is not None
    return msgspec.convert({"id": key[0], **row}, Charge)


def change_charge(tx: Tx, charge: Charge, **values: Any) -> Charge:
    """Change a charge whose order this transaction has locked."""
    if values.get("state", ChargeState.PENDING) is not ChargeState.PENDING:
        values["ended_at"] = tx.now
    changed = tx.execute(
        update(order_charges).where(_C.id == charge.id, _C.state == charge.state).values(**values)
    )
    assert changed.rowcount == 1, f"charge {charge.no} is not as it was read"
    return msgspec.structs.replace(charge, **values)


def charges_of(tx: Tx, order_ids: Iterable[int]) -> list[Charge]:
    mine = select(order_charges).where(_C.order_id.in_(sorted(order_ids))).order_by(_C.id)
    return [msgspec.convert(_plain(row), Charge) for row in tx.execute(mine)]


def charge_of_debt(tx: Tx, debt_id: int) -> Charge | None:
    """The capture a debt is for."""
    mine = select(order_charges).where(_C.debt_id == debt_id, _C.kind == ChargeKind.CAPTURE)
    row = tx.execute(mine).one_or_none()
    return None if row is None else msgspec.convert(_plain(row), Charge)


def stopped_refunds(tx: Tx, *, most: int = 100) -> list[int]:
    """Orders whose refund, by WeChat, a person has stopped since we asked for it."""
    stopped = (
        select(_C.order_id)
        .join(refunds, refunds.c.out_refund_no == _C.refund_no)
        .where(_C.state == ChargeState.PENDING, refunds.c.status == "withdrawn")
    )
    return sorted(set(tx.execute(stopped.limit(most)).scalars()))


def is_withdrawn(tx: Tx, refund_no: str) -> bool:
    mine = select(refunds.c.id).where(
        refunds.c.out_refund_no == refund_no, refunds.c.status == "withdrawn"
    )
    return tx.execute(mine).first() is not None


def number_paid(tx: Tx, debt_id: int) -> str:
    """The number under which a debt's money came in; "" before it has."""
    mine = select(receipts.c.out_trade_no).where(receipts.c.debt_id == debt_id)
    return tx.execute(mine).scalar() or ""


# ---------------------------------------------------------------- beside them


def stock_at(tx: Tx, device_id: int, door_no: int, at: Millis) -> dict[str, int]:
    """How many there were behind a door at a moment, of what we count: those of now, less what
    has come since and more what has gone."""
    there = select(door_stock.c.sku, door_stock.c.quantity).where(
        door_stock.c.device_id == device_id, door_stock.c.door_no == door_no
    )
    counted = {row.sku: row.quantity for row in tx.execute(there)}
    moved = (
        select(stock_moves.c.sku, func.sum(stock_moves.c.delta).label("delta"))
        .where(
            stock_moves.c.device_id == device_id,
            stock_moves.c.door_no == door_no,
            stock_moves.c.at > at,
        )
        .group_by(stock_moves.c.sku)
    )
    for row in tx.execute(moved):
        if row.sku in counted:
            counted[row.sku] -= int(row.delta)
    return counted


def booked(tx: Tx, order: Order) -> Lines:
    """What the history of sales has of an order, all in all."""
    mine = (
        select(
            sales.c.sku,
            func.max(sales.c.name).label("name"),
            func.sum(sales.c.quantity).label("quantity"),
            func.sum(sales.c.amount_fen).label("amount_fen"),
        )
        .where(sales.c.biz == BIZ, sales.c.biz_no == order.no)
        .group_by(sales.c.sku)
        .order_by(sales.c.sku)
    )
    return tuple(
        Line(row.sku, row.name, int(row.quantity), 0, int(row.amount_fen))
        for row in tx.execute(mine)
        if row.quantity or row.amount_fen
    )


def booked_steps(tx: Tx, order: Order) -> set[str]:
    """What of an order the history of sales has already."""
    mine = select(sales.c.step).where(sales.c.biz == BIZ, sales.c.biz_no == order.no)
    return set(tx.execute(mine).scalars())


# ---------------------------------------------------------------- lists


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which orders a list shows; an empty field leaves all in. Times: from, and before.

    stores: those that may be seen, None for all. is_something: not those that came to nothing.
    """

    stores: frozenset[int] | None = None
    account_id: int = 0
    store_id: int = 0
    device_id: int = 0
    kind: str = ""
    state: str = ""
    pay_with: str = ""
    no: str = ""
    is_something: bool = False
    from_at: Millis = 0
    before_at: Millis = 0
    sort: str = "-id"


SORTS: Final = {
    "id": _T.id,
    "created_at": _T.ordered_at,
    "ordered_at": _T.ordered_at,
    "paid_at": _T.paid_at,
    "due_fen": _T.due_fen,
}


class Seen(msgspec.Struct, frozen=True):
    """An order as staff see it in a list. phone_tail: the last four digits."""

    order: Order
    phone_tail: str


def page(tx: Tx, wanted: Filter, *, offset: int, most: int) -> tuple[int, list[Seen]]:
    """How many orders there are of those wanted, and some of them."""
    where = list(_conditions(wanted))
    total = tx.execute(select(func.count()).select_from(cabinet_orders).where(*where)).scalar_one()
    chosen = _seen(where).order_by(*ordered(wanted.sort, SORTS, _T.id))
    return total, [_as_seen(row) for row in tx.execute(chosen.offset(offset).limit(most))]


def after(tx: Tx, wanted: Filter, *, after_id: int, most: int) -> list[Seen]:
    """The same, oldest first, for those who read them all."""
    chosen = _seen([*_conditions(wanted), _T.id > after_id]).order_by(_T.id).limit(most)
    return [_as_seen(row) for row in tx.execute(chosen)]


def _seen(where: Sequence[Any]) -> Any:
    tail = func.coalesce(members.c.phone_tail, "").label("tail_of_phone")
    joined = cabinet_orders.outerjoin(members, members.c.account_id == _T.account_id)
    return select(cabinet_orders, tail).select_from(joined).where(*where)


def _as_seen(row: Any) -> Seen:
    return Seen(_order(row), row.tail_of_phone)


def _conditions(wanted: Filter) -> Iterator[Any]:
    if wanted.stores is not None:
        yield _T.store_id.in_(sorted(wanted.stores))
    for name in ("account_id", "store_id", "device_id", "kind", "state", "pay_with", "no"):
        value = getattr(wanted, name)
        if value:
            yield _T[name] == value
    if wanted.is_something:
        yield _T.state != OrderState.EMPTY
    if wanted.from_at:
        yield _T.ordered_at >= wanted.from_at
    if wanted.before_at:
        yield _T.ordered_at < wanted.before_at


def unpaid_of(tx: Tx, account_id: int) -> list[Order]:
    """What keeps an account from opening a door: due, and neither paid nor waived."""
    mine = select(cabinet_orders).where(_T.account_id == account_id, _T.state == OrderState.UNPAID)
    return [_order(row) for row in tx.execute(mine.order_by(_T.id))]


def has_incident(tx: Tx, kind: str, subject: str, raw: str) -> bool:
    """Whether this was kept before, as it came."""
    mine = select(incidents.c.id).where(
        incidents.c.kind == kind, incidents.c.subject == subject, incidents.c.raw == raw
    )
    return tx.execute(mine.limit(1)).first() is not None


def open_exceptions(tx: Tx, order_id: int) -> list[str]:
    """The kinds of what is on the exception desk about an order."""
    mine = select(cabinet_exceptions.c.kind).where(
        cabinet_exceptions.c.order_id == order_id, cabinet_exceptions.c.open_key.is_not(None)
    )
    return list(tx.execute(mine).scalars())
