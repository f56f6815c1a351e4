"""The transactions of the exception desk and of complaints.

An exception is locked after what it is about: who settles an order holds that, and then raises
and clears here.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from accounts.audit.model import By
from accounts.audit.store import record
from accounts.store import is_blocked
from devices.desk.model import (
    TEXT_MAX,
    UNDECIDED,
    CabinetException,
    ExceptionDecided,
    ExceptionNotFound,
    ExceptionState,
    ExceptionTaken,
    OrderUndecided,
)
from devices.fleet.store import Scope, scope_of, sees
from sql.sorting import ordered
from sql.tables.devices import cabinet_exceptions, cabinet_orders
from sql.transaction import Tx

_E = cabinet_exceptions.c
_UNDECIDED: Final = sorted(UNDECIDED)
_KEY_MAX: Final = 120


# ---------------------------------------------------------------- by the machine


def raise_exception(  # noqa: PLR0913 (each of them is a word of the exception)
    tx: Tx,
    kind: str,
    subject: str,
    *,
    severity: str,
    text: str,
    store_id: int | None = None,
    device_id: int | None = None,
    order_id: int | None = None,
    session_id: int | None = None,
) -> int:
    """Put something on the desk; its id. What is there already only gets the new words.

    severity: low, normal, medium or high. subject: what it is about, in words of the kind.
    """
    key = _key(kind, subject)
    known = _open_id(tx, key)
    if known is not None:
        words = {"text": text[:TEXT_MAX], "severity": severity}
        tx.execute(update(cabinet_exceptions).where(_E.id == known).values(words))
        return known
    row = {
        "kind": kind,
        "subject": subject[:64],
        "open_key": key,
        "severity": severity,
        "store_id": store_id,
        "device_id": device_id,
        "order_id": order_id,
        "session_id": session_id,
        "text": text[:TEXT_MAX],
        "state": ExceptionState.OPEN,
        "raised_at": tx.now,
        "taken_by": 0,
        "taken_at": None,
        "ended_by": 0,
        "ended_at": None,
        "decision": "",
        "version": 0,
    }
    try:
        inserted = tx.execute(insert(cabinet_exceptions), row).inserted_primary_key
    except IntegrityError:
        # Another process has put it there just now.
        known = _open_id(tx, key)
        assert known is not None
        return known
    assert inserted is not None
    return int(inserted[0])


def clear_exception(tx: Tx, kind: str, subject: str, decision: str) -> bool:
    """It has solved itself; whether there was one."""
    changed = tx.execute(
        update(cabinet_exceptions)
        .where(_E.open_key == _key(kind, subject))
        .values(
            state=ExceptionState.CLOSED,
            open_key=None,
            ended_by=0,
            ended_at=tx.now,
            decision=decision[:TEXT_MAX],
            version=_E.version + 1,
        )
    )
    return changed.rowcount > 0


def are_open(tx: Tx, kind: str, subjects: Iterable[str]) -> set[str]:
    """Which of the subjects are on the desk for that kind."""
    keys = {_key(kind, subject): subject for subject in subjects}
    there = select(_E.open_key).where(_E.open_key.in_(sorted(keys)))
    return {keys[key] for key in tx.execute(there).scalars()} if keys else set()


def _key(kind: str, subject: str) -> str:
    return f"{kind}:{subject}"[:_KEY_MAX]


def _open_id(tx: Tx, key: str) -> int | None:
    """With its lock, so that it stays open while this transaction speaks of it."""
    found: int | None = tx.execute(
        select(_E.id).where(_E.open_key == key).with_for_update()
    ).scalar()
    return found


# ---------------------------------------------------------------- by people


def load_exception(
    tx: Tx, exception_id: int, *, scope: Scope = None, lock: bool = False
) -> CabinetException:
    """Raises ExceptionNotFound, also for one of a store that is not seen."""
    query = select(*_COLUMNS).where(_E.id == exception_id)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None or not sees(scope, row.store_id):
        raise ExceptionNotFound
    return _as_exception(row)


def seen_exception(tx: Tx, exception_id: int, by: By) -> CabinetException:
    """As load_exception, by the stores this person sees."""
    return load_exception(tx, exception_id, scope=scope_of(tx, by.account_id))


def take(tx: Tx, exception_id: int, by: By) -> CabinetException:
    """Say that one looks into it. Again changes nothing. What somebody holds whose account is
    blocked is free.

    Raises ExceptionNotFound, ExceptionDecided, ExceptionTaken.
    """
    exception = seen_exception(tx, exception_id, by)
    free = _E.state == ExceptionState.OPEN
    if _is_left(tx, exception):
        free = or_(free, _held_by(exception.taken_by))
    changed = tx.execute(
        update(cabinet_exceptions)
        .where(_E.id == exception_id, free)
        .values(
            state=ExceptionState.TAKEN,
            taken_by=by.account_id,
            taken_at=tx.now,
            version=_E.version + 1,
        )
    )
    if changed.rowcount != 1:
        taken = load_exception(tx, exception_id, lock=True)
        see_undecided(tx, taken, by)
        return taken
    after = load_exception(tx, exception_id)
    _audit(tx, by, "exception.take", exception, after, "")
    return after


def release(tx: Tx, exception_id: int, by: By, *, anyones: bool) -> CabinetException:
    """Say that nobody looks into it. Again changes nothing. anyones: whoever holds it.

    Raises ExceptionNotFound, ExceptionDecided, ExceptionTaken.
    """
    seen_exception(tx, exception_id, by)
    exception = load_exception(tx, exception_id, lock=True)
    if exception.is_decided or not anyones:
        see_undecided(tx, exception, by)
    if exception.state is ExceptionState.OPEN:
        return exception
    tx.execute(
        update(cabinet_exceptions)
        .where(_E.id == exception_id, _held_by(exception.taken_by))
        .values(state=ExceptionState.OPEN, taken_by=0, taken_at=None, version=_E.version + 1)
    )
    after = load_exception(tx, exception_id)
    _audit(tx, by, "exception.release", exception, after, "")
    return after


def see_undecided(tx: Tx, exception: CabinetException, by: By) -> None:
    """Raises ExceptionDecided, ExceptionTaken."""
    if exception.is_decided:
        raise ExceptionDecided
    is_taken = exception.state is ExceptionState.TAKEN and exception.taken_by != by.account_id
    if is_taken and not _is_left(tx, exception):
        raise ExceptionTaken


def _held_by(account_id: int) -> Any:
    return and_(_E.state == ExceptionState.TAKEN, _E.taken_by == account_id)


def _is_left(tx: Tx, exception: CabinetException) -> bool:
    """Whoever has taken it does not work here any more."""
    return exception.state is ExceptionState.TAKEN and is_blocked(tx, exception.taken_by)


def end(
    tx: Tx, exception: CabinetException, to: ExceptionState, by: By, reason: str
) -> CabinetException:
    """Approve, reject or close one, once. Its action has run in this transaction.

    The action may have cleared it already, as whatever settles its subject does.
    Raises ExceptionDecided when somebody else was faster, or it has solved itself.
    """
    cleared = and_(
        _E.state == ExceptionState.CLOSED,
        _E.version == exception.version + 1,
        _E.ended_by == 0,
        _E.ended_at == tx.now,
    )
    changed = tx.execute(
        update(cabinet_exceptions)
        .where(_E.id == exception.id, or_(_E.state.in_(_UNDECIDED), cleared))
        .values(
            state=to,
            open_key=None,
            ended_by=by.account_id,
            ended_at=tx.now,
            decision=reason[:TEXT_MAX],
            version=_E.version + 1,
        )
    )
    if changed.rowcount != 1:
        raise ExceptionDecided
    after = load_exception(tx, exception.id)
    _audit(tx, by, f"exception.{to}", exception, after, reason)
    return after


def see_closable(tx: Tx, exception: CabinetException) -> None:
    """Raises OrderUndecided while nothing else on the desk would lead to its order."""
    if exception.order_id is None:
        return
    order = select(cabinet_orders.c.state).where(cabinet_orders.c.id == exception.order_id)
    if tx.execute(order).scalar() != "review":
        return
    others = select(func.count()).where(
        _E.order_id == exception.order_id, _E.open_key.is_not(None), _E.id != exception.id
    )
    if tx.execute(others).scalar_one() == 0:
        raise OrderUndecided


def _audit(
    tx: Tx,
    by: By,
    action: str,
    before: CabinetException,
    after: CabinetException,
    reason: str,
) -> None:
    record(
        tx,
        actor=by,
        action=action,
        subject=f"exception:{before.id}",
        before={"kind": before.kind, "subject": before.subject, "state": before.state},
        after={"kind": after.kind, "subject": after.subject, "state": after.state},
        reason=reason[:200],
    )


# ---------------------------------------------------------------- lists


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which exceptions a list shows; empty leaves all in. is_open: undecided ones, or decided."""

    kind: str = ""
    state: str = ""
    is_open: bool | None = None
    severity: str = ""
    store_id: int = 0
    device_id: int = 0
    order_id: int = 0
    session_id: int = 0
    sort: str = "-id"


SORTS: Final = {
    "id": _E.id,
    "created_at": _E.raised_at,
    "raised_at": _E.raised_at,
    "ended_at": _E.ended_at,
}


def exceptions_page(
    tx: Tx, wanted: Wanted, *, by: By, offset: int, most: int
) -> tuple[int, list[CabinetException]]:
    """Exceptions of the stores one sees, and how many there are."""
    where = _conditions(wanted, scope_of(tx, by.account_id))
    total = tx.execute(select(func.count()).select_from(cabinet_exceptions).where(*where))
    chosen = select(*_COLUMNS).where(*where).order_by(*ordered(wanted.sort, SORTS, _E.id))
    rows = tx.execute(chosen.offset(offset).limit(most))
    return total.scalar_one(), [_as_exception(row) for row in rows]


def _conditions(wanted: Wanted, scope: Scope) -> list[Any]:
    given: Sequence[tuple[Any, Any]] = (
        (_E.kind, wanted.kind),
        (_E.state, wanted.state),
        (_E.severity, wanted.severity),
        (_E.store_id, wanted.store_id),
        (_E.device_id, wanted.device_id),
        (_E.order_id, wanted.order_id),
        (_E.session_id, wanted.session_id),
    )
    conditions = [column == value for column, value in given if value]
    if wanted.is_open is not None:
        is_open = _E.open_key.is_not(None)
        conditions.append(is_open if wanted.is_open else _E.open_key.is_(None))
    if scope is not None:
        conditions.append(_E.store_id.in_(sorted(scope)))
    return conditions


_COLUMNS: Final = [column for column in cabinet_exceptions.c if column.name != "open_key"]


def _as_exception(row: Any) -> CabinetException:
    return msgspec.convert(row._mapping, CabinetException)
