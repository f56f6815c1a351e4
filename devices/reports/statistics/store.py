"""Sales counted out of the orders themselves, so that they cannot differ from them."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Integer, and_, case, cast, func, not_, select

from accounts.audit.model import By
from devices.fleet.store import Scope, scope_of
from devices.orders.model import Kind, OrderState
from devices.reports.model import ROWS_MAX, Group, Sales, SalesRow
from payments.model import beijing_day
from sql.tables.devices import cabinet_orders
from sql.transaction import Tx
from sql.types import Millis

_O = cabinet_orders.c
_DAY_MS: Final = 86_400_000
_BEIJING_MS: Final = 8 * 3_600_000


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which orders: ordered from from_at and before before_at; 0 and "" leave all in."""

    from_at: Millis
    before_at: Millis
    store_id: int = 0
    device_id: int = 0
    pay_with: str = ""


def sales(tx: Tx, wanted: Wanted, groups: Sequence[Group], *, by: By) -> Sales:
    """Of the stores one sees."""
    return sales_of(tx, wanted, groups, scope=scope_of(tx, by.account_id))


def sales_of(tx: Tx, wanted: Wanted, groups: Sequence[Group], *, scope: Scope = None) -> Sales:
    where = _conditions(wanted, scope)
    columns = [_COLUMNS[group].label(_NAMES[group]) for group in groups]
    rows = []
    if groups:
        grouped = [_COLUMNS[group] for group in groups]
        query = select(*columns, *_FIGURES).where(*where).group_by(*grouped)
        ordered = query.order_by(*grouped).limit(ROWS_MAX)
        rows = [_as_row(row) for row in tx.execute(ordered)]
    return Sales(rows, _as_row(tx.execute(select(*_FIGURES).where(*where)).one()))


def _conditions(wanted: Wanted, scope: Scope) -> list[Any]:
    # A door that was opened for nothing is no sale.
    is_nothing = and_(_O.state == OrderState.EMPTY, _O.paid_fen == 0)
    conditions: list[Any] = [
        _O.ordered_at >= wanted.from_at,
        _O.ordered_at < wanted.before_at,
        not_(is_nothing),
    ]
    given = (
        (_O.store_id, wanted.store_id),
        (_O.device_id, wanted.device_id),
        (_O.pay_with, wanted.pay_with),
    )
    conditions += [column == value for column, value in given if value]
    if scope is not None:
        conditions.append(_O.store_id.in_(sorted(scope)))
    return conditions


def _sum(column: Any) -> Any:
    return func.coalesce(func.sum(column), 0)


def _count(which: Any) -> Any:
    return _sum(case((which, 1), else_=0))


_NET = _O.paid_fen - _O.refunded_fen
_IS_UNPAID = _O.state == OrderState.UNPAID

_FIGURES: Final = (
    _count(_O.kind != Kind.SUPPLEMENT).label("orders"),
    _count(_O.kind == Kind.SUPPLEMENT).label("supplements"),
    _count(_IS_UNPAID).label("unpaid"),
    _sum(_O.due_fen).label("due_fen"),
    _sum(_O.paid_fen).label("paid_fen"),
    _sum(_O.wechat_fen).label("wechat_fen"),
    _sum(_O.tickets).label("tickets"),
    _sum(_O.refunded_fen).label("refunded_fen"),
    _sum(_NET).label("net_fen"),
    _sum(case((_IS_UNPAID, _O.due_fen - _NET), else_=0)).label("open_fen"),
)

_COLUMNS: Final[dict[Group, Any]] = {
    # Which day of Beijing since 1970.
    "day": cast((_O.ordered_at + _BEIJING_MS) // _DAY_MS, Integer),
    "store": _O.store_id,
    "device": _O.device_id,
    "payment": _O.pay_with,
}
_NAMES: Final[dict[Group, str]] = {
    "day": "day",
    "store": "store_id",
    "device": "device_id",
    "payment": "pay_with",
}


def _as_row(row: Any) -> SalesRow:
    # Sums are decimals on one kind of database.
    values = {
        str(name): value if isinstance(value, str) else int(value)
        for name, value in row._mapping.items()
    }
    if "day" in values:
        values["day"] = beijing_day(int(values["day"]) * _DAY_MS - _BEIJING_MS)
    return SalesRow(**values)  # type: ignore[arg-type]
