"""The figures of daily reports, and the reports as they were made."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import and_, func, or_, select

from accounts.audit.model import By
from devices.desk.model import UNDECIDED
from devices.fleet.store import scope_of
from devices.orders.model import OrderState
from devices.presence.store import count_links
from devices.reports.model import (
    Gauges,
    Report,
    ReportKind,
    ReportNotFound,
    ReportsOfAll,
    SalesRow,
)
from devices.reports.statistics.store import Wanted, sales_of
from devices.sessions.model import FINAL, State
from payments.model import AttemptState, day_bounds
from sql.sorting import ordered
from sql.tables.commerce import reports, sales
from sql.tables.core import job_runs, outbox
from sql.tables.devices import (
    cabinet_exceptions,
    cabinet_orders,
    callback_inbox,
    complaints,
    devices,
    door_sessions,
)
from sql.tables.payments import alerts, incidents, payment_attempts
from sql.transaction import Tx, insert_missing

Figures = dict[str, Any]

GOODS_MAX: Final = 50


# ---------------------------------------------------------------- now

HOUR_MS: Final = 3_600_000
# Of as many the share that succeeded is worth looking at, however long that took.
ATTEMPTS: Final = 1000

_UNSETTLED: Final = (
    OrderState.PUSHED, OrderState.REVIEW, OrderState.CHARGING, OrderState.UNPAID,
)  # fmt: skip


def gauges(tx: Tx) -> Gauges:
    """By indexes alone: it is asked for every few seconds."""
    s, o, a, e = door_sessions.c, cabinet_orders.c, payment_attempts.c, cabinet_exceptions.c
    latest = select(a.id).order_by(a.id.desc()).limit(ATTEMPTS).subquery()
    return Gauges(
        links=count_links(tx),
        sessions=_counts(tx, s.state, s.state.in_(sorted(set(State) - FINAL))),
        orders=_counts(tx, o.state, o.state.in_(_UNSETTLED)),
        ordered=_counts(tx, o.state, o.ordered_at >= tx.now - HOUR_MS),
        attempts=_counts(tx, a.state, a.id >= select(func.min(latest.c.id)).scalar_subquery()),
        exceptions=_counts(tx, e.kind, e.state.in_(sorted(UNDECIDED))),
    )


# ---------------------------------------------------------------- figures of a day


def operation(tx: Tx, day: int) -> Figures:
    """What was sold, by whom and how, and how the doors went."""
    begins, ends = day_bounds(day)
    wanted = Wanted(from_at=begins, before_at=ends)
    by_store = sales_of(tx, wanted, ("store",))
    s = door_sessions.c
    that_day = s.requested_at.between(begins, ends - 1)
    return {
        "sales": _sale(by_store.total),
        "by_store": [_sale(row) for row in by_store.rows],
        "by_payment": [_sale(row) for row in sales_of(tx, wanted, ("payment",)).rows],
        "by_device": [_sale(row) for row in sales_of(tx, wanted, ("device",)).rows],
        "goods": _goods(tx, day),
        "sessions": _counts(tx, s.state, that_day, s.purpose == "shop"),
        "purposes": _counts(tx, s.purpose, that_day),
    }


def _sale(row: SalesRow) -> Figures:
    return {name: value for name, value in msgspec.structs.asdict(row).items() if value is not None}


def _goods(tx: Tx, day: int) -> list[Figures]:
    """What sold best, as money; refunds are in it with minus signs."""
    quantity, amount = func.sum(sales.c.quantity), func.sum(sales.c.amount_fen)
    query = (
        select(sales.c.sku, func.max(sales.c.name).label("name"), quantity, amount)
        .where(sales.c.day == day, sales.c.biz == "cabinet")
        .group_by(sales.c.sku)
        .order_by(amount.desc(), sales.c.sku)
        .limit(GOODS_MAX)
    )
    return [
        {"sku": sku, "name": name, "quantity": int(sold), "amount_fen": int(fen)}
        for sku, name, sold, fen in _rows(tx, query)
    ]


def exceptions(tx: Tx, day: int) -> Figures:
    """What needed a person, what was decided, and what still waits."""
    begins, ends = day_bounds(day)
    e, c, i = cabinet_exceptions.c, complaints.c, incidents.c
    decided = and_(e.ended_at >= begins, e.ended_at < ends)
    resolved = and_(c.resolved_at >= begins, c.resolved_at < ends)
    waits = and_(e.raised_at < ends, or_(e.ended_at.is_(None), e.ended_at >= ends))
    oldest = select(func.min(e.raised_at)).where(waits)
    back = select(func.coalesce(func.sum(c.refund_fen), 0)).where(resolved)
    opened = select(func.count()).where(c.created_at.between(begins, ends - 1))
    return {
        "raised": _counts(tx, e.kind, e.raised_at.between(begins, ends - 1)),
        "decided": _counts(tx, e.state, decided),
        "waiting": _counts(tx, e.kind, waits),
        "oldest": {"raised_at": tx.execute(oldest).scalar()},
        "complaints": {
            "opened": tx.execute(opened).scalar_one(),
            **_counts(tx, c.state, resolved),
            "refund_fen": int(tx.execute(back).scalar_one()),
        },
        "incidents": _counts(tx, i.kind, i.at.between(begins, ends - 1)),
    }


def health(tx: Tx, day: int) -> Figures:
    """Whether devices, callbacks, deliveries, payments and jobs are well."""
    begins, ends = day_bounds(day)
    inbox, attempts, runs = callback_inbox.c, payment_attempts.c, job_runs.c
    parcels = outbox.c
    waiting = select(func.min(parcels.created_at)).where(parcels.state == "waiting")
    oldest = tx.execute(waiting).scalar()
    ended = attempts.ended_at.between(begins, ends - 1)
    paid = _counts(tx, attempts.state, ended)
    ran = runs.started_at.between(begins, ends - 1)
    failed = select(func.count()).where(ran, runs.error != "")
    return {
        "devices": _counts(tx, devices.c.link, devices.c.status == "bound"),
        "locked": _counts(tx, devices.c.sale_lock, devices.c.sale_lock != ""),
        "callbacks": _counts(tx, inbox.state, inbox.received_at.between(begins, ends - 1)),
        "outbox": {
            **_counts(tx, parcels.state, or_(parcels.state == "waiting", _ended(begins, ends))),
            "oldest_age_s": 0 if oldest is None else max(0, tx.now - oldest) // 1000,
        },
        "payments": {**paid, "success_permille": success_permille(paid)},
        "jobs": {
            "runs": tx.execute(select(func.count()).where(ran)).scalar_one(),
            "failed": tx.execute(failed).scalar_one(),
        },
        "alerts": _counts(tx, alerts.c.kind, alerts.c.raised_at.between(begins, ends - 1)),
        "alerts_open": _counts(tx, alerts.c.kind, alerts.c.open == 1),
    }


def _ended(begins: int, ends: int) -> Any:
    return outbox.c.ended_at.between(begins, ends - 1)


def success_permille(by_state: Mapping[str, int]) -> int | None:
    """Of the payments that came to an end at WeChat; who walks away from one has not failed."""
    done = by_state.get(AttemptState.SUCCESS, 0)
    tried = done + by_state.get(AttemptState.FAILED, 0)
    return done * 1000 // tried if tried else None


def _counts(tx: Tx, column: Any, *which: Any) -> dict[str, int]:
    query = select(column, func.count()).where(*which).group_by(column).order_by(column)
    return {str(value): int(count) for value, count in _rows(tx, query)}


FIGURES: Final[Mapping[ReportKind, Callable[[Tx, int], Figures]]] = {
    ReportKind.OPERATION: operation,
    ReportKind.EXCEPTION: exceptions,
    ReportKind.HEALTH: health,
}


# ---------------------------------------------------------------- reports


def make(tx: Tx, kind: ReportKind, day: int) -> Figures:
    """The figures of a report, as they are now."""
    return FIGURES[kind](tx, day)


def keep(tx: Tx, kind: ReportKind, day: int, body: Figures) -> None:
    """The first one of its kind and day stays."""
    row = {
        "kind": kind,
        "day": day,
        "body": msgspec.json.encode(body).decode(),
        "made_at": tx.now,
    }
    insert_missing(tx, reports, [row])


def missing(tx: Tx, days: Iterable[int]) -> list[tuple[ReportKind, int]]:
    """What was not made of these days."""
    wanted = list(days)
    query = select(reports.c.kind, reports.c.day).where(reports.c.day.in_(wanted))
    made = {(kind, day) for kind, day in _rows(tx, query)}
    return [(kind, day) for day in wanted for kind in ReportKind if (kind, day) not in made]


def load(tx: Tx, report_id: int, *, by: By) -> Report:
    """Raises ReportNotFound, ReportsOfAll."""
    _see_all(tx, by)
    row = tx.execute(select(reports).where(reports.c.id == report_id)).one_or_none()
    if row is None:
        raise ReportNotFound
    return _as_report(row)


SORTS: Final = {
    "id": reports.c.id,
    "created_at": reports.c.made_at,
    **{name: reports.c[name] for name in ("made_at", "day", "kind")},
}


def page(
    tx: Tx, *, kind: str, day: int, by: By, sort: str = "-day", offset: int, most: int
) -> tuple[int, list[Report]]:
    """Some of them, and how many there are. Raises ReportsOfAll."""
    _see_all(tx, by)
    given = ((reports.c.kind, kind), (reports.c.day, day))
    where = [column == value for column, value in given if value]
    total = tx.execute(select(func.count()).select_from(reports).where(*where)).scalar_one()
    order = ordered(sort, SORTS, reports.c.id)
    chosen = select(reports).where(*where).order_by(*order)
    return total, [_as_report(row) for row in tx.execute(chosen.offset(offset).limit(most))]


def _see_all(tx: Tx, by: By) -> None:
    if scope_of(tx, by.account_id) is not None:
        raise ReportsOfAll


def _as_report(row: Any) -> Report:
    values = {str(name): value for name, value in row._mapping.items()}
    values["body"] = msgspec.json.decode(values["body"])
    return msgspec.convert(values, Report)


def _rows(tx: Tx, query: Any) -> Iterable[Any]:
    """Rows that are taken apart; their columns are known here only."""
    return tx.execute(query)
