"""Transactions on stalls. Each takes the lock of the stall's stream and leaves an event,

so that pools in memory, in whichever process, see that they are out of date.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from queueing.calendar import month_of, months_between
from queueing.model import NotYourStall, Stall, StallDue, StallNotFound
from queueing.stalls.model import ClaimRefused, HasStall, MonthEntry, PhoneTaken, Renewal, Renewed
from queueing.store import load_stalls, stream_of
from sql import events
from sql.database import Tx
from sql.tables.queueing import stall_months, stall_sellers, stalls
from sql.transaction import Bulk

# A renewal repeated within this time by the same administrator is the same tap again:
# the old dialect has no key to tell by.
SAME_RENEWAL_MS = 10_000

_encode = msgspec.json.Encoder().encode


# Making and changing


def create_stall(tx: Tx, values: Mapping[str, Any], *, months: int, reason: str, by: int) -> Stall:
    """Make a stall with its stream; its first month is not charged. Raises PhoneTaken."""
    row = {
        **values,
        "menu": _menu(values["menu"]),
        "image": "",
        "balance_months": 0,
        "charged_month": month_of(tx.now),
        "disabled": False,
        "created_at": tx.now,
    }
    try:
        key = tx.execute(insert(stalls), row).inserted_primary_key
    except IntegrityError as error:
        raise PhoneTaken from error
    assert key is not None
    stall_id: int = key[0]
    head = lock(tx, stall_id, make=True)
    if months:
        _add_months(tx, stall_id, head, months=months, reason=reason, by=by)
    else:
        _tell_changed(tx, stall_id, head)
    return load_stalls(tx, [stall_id])[stall_id]


def change_stall(tx: Tx, stall_id: int, values: Mapping[str, Any]) -> Stall:
    """Set columns of a stall. Raises StallNotFound, PhoneTaken."""
    head = lock(tx, stall_id)
    changes = dict(values)
    if "menu" in changes:
        changes["menu"] = _menu(changes["menu"])
    if changes:
        try:
            tx.execute(update(stalls).where(stalls.c.id == stall_id).values(changes))
        except IntegrityError as error:
            raise PhoneTaken from error
    _tell_changed(tx, stall_id, head)
    return load_stalls(tx, [stall_id])[stall_id]


def change_own_stall(tx: Tx, stall_id: int, values: Mapping[str, Any], *, seller: int) -> Stall:
    """As change_stall, by its seller. Raises NotYourStall, StallDue."""
    lock(tx, stall_id)
    stall = load_stalls(tx, [stall_id]).get(stall_id)
    if stall is None or seller not in stall.sellers:
        raise NotYourStall
    if stall.balance_months <= 0:
        raise StallDue
    return change_stall(tx, stall_id, values)


def claim_stall(
    tx: Tx, *, account_id: int, phone: str, code: str, values: Mapping[str, Any]
) -> Stall:
    """Bind the account as the seller of the stall with this phone; the first one wins.

    The code is asked for where the administrator set one, and is good once.
    Raises ClaimRefused, StallDue, HasStall.
    """
    stall_id = _stall_with_phone(tx, phone)
    if stall_id is None:
        raise ClaimRefused
    head = lock(tx, stall_id)
    wanted = tx.execute(select(stalls.c.claim_code).where(stalls.c.id == stall_id)).scalar_one()
    stall = load_stalls(tx, [stall_id])[stall_id]
    # The phone once more: it may have been changed before we had the lock.
    if stall.sellers or stall.phone != phone or not _is_code(code, wanted):
        raise ClaimRefused
    if stall.balance_months <= 0:
        raise StallDue
    if stall_of_seller(tx, account_id) is not None:
        raise HasStall
    try:
        tx.execute(
            insert(stall_sellers),
            {"account_id": account_id, "stall_id": stall.id, "since": tx.now},
        )
    except IntegrityError as error:
        # At another stall, in another process, since we looked.
        raise HasStall from error
    changes = {name: value for name, value in values.items() if value}
    tx.execute(update(stalls).where(stalls.c.id == stall.id).values({**changes, "claim_code": ""}))
    _tell_changed(tx, stall.id, head, name="stall.signed_up")
    return load_stalls(tx, [stall.id])[stall.id]


def _is_code(code: str, wanted: str) -> bool:
    """In the same time whatever is wrong with it."""
    given = code if wanted else ""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())


def release_sellers(tx: Tx, stall_id: int) -> Stall:
    """Unbind the stall's sellers, so that it can be signed up anew. Raises StallNotFound."""
    head = lock(tx, stall_id)
    tx.execute(stall_sellers.delete().where(stall_sellers.c.stall_id == stall_id))
    _tell_changed(tx, stall_id, head, name="stall.sellers_released")
    return load_stalls(tx, [stall_id])[stall_id]


# Months


def renew(tx: Tx, stall_id: int, *, months: int, reason: str, by: int) -> Renewed:
    """Add months, by hand. Raises StallNotFound."""
    (balance,) = renew_many(tx, [Renewal(stall_id, months, reason, by)])
    if balance is None:
        raise StallNotFound
    return Renewed(stall_id, months, balance, created=False)


def renew_many(tx: Tx, wanted: Sequence[Renewal]) -> list[int | None]:
    """Add months for each, one after the other: the balance it left, None for an unknown stall."""
    assert all(one.months > 0 for one in wanted), "months are taken by take_months"
    heads = events.lock_streams(tx, {stream_of(one.stall_id) for one in wanted}, make=False)
    there = [stream_of(one.stall_id) in heads for one in wanted]
    balances = iter(_add_many(tx, heads, list(compress(wanted, there))))
    return [next(balances) if is_there else None for is_there in there]


def take_months(tx: Tx, stall_id: int, *, months: int, reason: str, by: int) -> int:
    """Take months back, as far as they are left; how many were. Raises StallNotFound."""
    head = lock(tx, stall_id)
    taken = min(months, _balance(tx, stall_id))
    if taken:
        _add_months(tx, stall_id, head, months=-taken, reason=reason, by=by)
    return taken


def renew_by_phone(
    tx: Tx, *, phone: str, months: int, by: int, reason: str, new: Mapping[str, Any]
) -> Renewed:
    """The old dialect's renewal: an unknown phone makes the stall; a repeat adds nothing."""
    stall_id = _stall_with_phone(tx, phone)
    if stall_id is None:
        try:
            stall = create_stall(tx, {**new, "phone": phone}, months=months, reason=reason, by=by)
        except PhoneTaken:
            # Another process has made it since we looked.
            stall_id = _stall_with_phone(tx, phone)
            assert stall_id is not None
        else:
            return Renewed(stall.id, months, stall.balance_months, created=True)
    head = lock(tx, stall_id)
    if _is_same_renewal(tx, stall_id, (by, months, reason)):
        return Renewed(stall_id, 0, _balance(tx, stall_id), created=False)
    balance = _add_months(tx, stall_id, head, months=months, reason=reason, by=by)
    return Renewed(stall_id, months, balance, created=False)


def _is_same_renewal(tx: Tx, stall_id: int, renewal: tuple[int, int, str]) -> bool:
    """Whether the last renewal was this one, a moment ago (by a clock that may go back)."""
    last = tx.execute(
        select(stall_months)
        .where(stall_months.c.stall_id == stall_id, stall_months.c.period.is_(None))
        .order_by(stall_months.c.id.desc())
        .limit(1)
    ).first()
    if last is None or (last.by_account, last.months, last.reason) != renewal:
        return False
    return bool(abs(tx.now - last.at) <= SAME_RENEWAL_MS)


def _add_months(
    tx: Tx, stall_id: int, head: events.Head, *, months: int, reason: str, by: int
) -> int:
    """As renew_many, but a negative number takes them."""
    heads = {stream_of(stall_id): head}
    (balance,) = _add_many(tx, heads, [Renewal(stall_id, months, reason, by)])
    return balance


_INSERT_MONTHS = Bulk(
    insert(stall_months),
    ("stall_id", "period", "months", "balance_after", "reason", "by_account", "at"),
)
_ADD = (
    update(stalls)
    .where(stalls.c.id.in_(bindparam("ids", expanding=True)))
    .values(balance_months=stalls.c.balance_months + bindparam("added"))
)


def _add_many(tx: Tx, heads: Mapping[str, events.Head], wanted: Sequence[Renewal]) -> list[int]:
    """Enter months, one after the other; the balances they left. heads: of these stalls, locked."""
    if not wanted:
        return []
    found = load_stalls(tx, sorted({one.stall_id for one in wanted}))
    were = {stall.id: stall.balance_months for stall in found.values()}
    lines: dict[str, list[events.Line]] = {name: [] for name in heads}
    balances, rows = [], []
    for one in wanted:
        stall = found[one.stall_id]
        stall.balance_months = balance = stall.balance_months + one.months
        assert one.months != 0, "an entry of nothing"
        assert balance >= 0, "more months taken than there were"
        balances.append(balance)
        rows.append((stall.id, None, one.months, balance, one.reason, one.by, tx.now))
        lines[stream_of(stall.id)] += [
            _staff_line("stall.renewed", {"months": one.months, "balance_months": balance}),
            _changed_line(stall),
        ]
    tx.execute_many(_INSERT_MONTHS, rows)
    _add_to_balances(tx, {id_: found[id_].balance_months - was for id_, was in were.items()})
    events.append(tx, {name: (head, lines[name]) for name, head in heads.items()})
    return balances


def _add_to_balances(tx: Tx, added: Mapping[int, int]) -> None:
    """Stalls to which as much is added share a statement. Their streams are locked."""
    together: dict[int, list[int]] = {}
    for stall_id, months in added.items():
        together.setdefault(months, []).append(stall_id)
    for months, ids in together.items():
        changed = tx.execute(_ADD, {"ids": ids, "added": months})
        assert changed.rowcount == len(ids), f"{changed.rowcount} of {len(ids)} stalls were there"


def stalls_to_charge(tx: Tx) -> list[int]:
    """Stalls with a month that was not charged yet."""
    due = select(stalls.c.id).where(stalls.c.charged_month < month_of(tx.now))
    return [row.id for row in tx.execute(due.order_by(stalls.c.id))]


def charge_months(tx: Tx, stall_id: int) -> int:
    """Charge every month up to now that was not charged yet; how many months were taken.

    A month without balance is entered with 0, so that a later renewal does not pay for it.
    The unique key on (stall, period) is the promise that a month is charged once.
    """
    head = lock(tx, stall_id)
    row = tx.execute(
        select(stalls.c.balance_months, stalls.c.charged_month).where(stalls.c.id == stall_id)
    ).one()
    balance, taken, lines = row.balance_months, 0, []
    periods = months_between(row.charged_month, month_of(tx.now))
    for period in periods:
        months = -1 if balance > 0 else 0
        balance += months
        taken -= months
        _enter(tx, stall_id, period=period, months=months, balance=balance, reason="month", by=0)
        lines.append(
            _staff_line(
                "stall.month_charged",
                {"period": period, "months": months, "balance_months": balance},
            )
        )
    if not periods:
        return 0
    tx.execute(
        update(stalls)
        .where(stalls.c.id == stall_id)
        .values(balance_months=balance, charged_month=periods[-1])
    )
    if taken and balance == 0:
        lines.append(_changed_line(_loaded(tx, stall_id)))
    _append(tx, stall_id, head, lines)
    return taken


def month_entries(tx: Tx, stall_id: int, *, most: int = 100) -> list[MonthEntry]:
    """The stall's account of months, newest first."""
    rows = tx.execute(
        select(stall_months)
        .where(stall_months.c.stall_id == stall_id)
        .order_by(stall_months.c.id.desc())
        .limit(most)
    )
    return [
        MonthEntry(row.at, row.period, row.months, row.balance_after, row.reason, row.by_account)
        for row in rows
    ]


def unbalanced_stalls(tx: Tx) -> list[int]:
    """Stalls whose balance is not the sum of their entries: none, ever."""
    sums = (
        select(stall_months.c.stall_id, func.sum(stall_months.c.months).label("months"))
        .group_by(stall_months.c.stall_id)
        .subquery()
    )
    wrong = (
        select(stalls.c.id)
        .outerjoin(sums, sums.c.stall_id == stalls.c.id)
        .where(stalls.c.balance_months != func.coalesce(sums.c.months, 0))
    )
    return [row.id for row in tx.execute(wrong)]


def _enter(
    tx: Tx, stall_id: int, *, period: int | None, months: int, balance: int, reason: str, by: int
) -> None:
    tx.execute(
        insert(stall_months),
        {
            "stall_id": stall_id,
            "period": period,
            "months": months,
            "balance_after": balance,
            "reason": reason,
            "by_account": by,
            "at": tx.now,
        },
    )


def _balance(tx: Tx, stall_id: int) -> int:
    row = select(stalls.c.balance_months).where(stalls.c.id == stall_id)
    balance: int = tx.execute(row).scalar_one()
    return balance


# Reading


def _stall_with_phone(tx: Tx, phone: str) -> int | None:
    found: int | None = tx.execute(select(stalls.c.id).where(stalls.c.phone == phone)).scalar()
    return found


def stall_of_seller(tx: Tx, account_id: int) -> int | None:
    """The stall the account runs."""
    row = tx.execute(
        select(stall_sellers.c.stall_id).where(stall_sellers.c.account_id == account_id)
    ).first()
    return None if row is None else row.stall_id


def list_stalls(
    tx: Tx, *, open_only: bool, offset: int = 0, most: int = 1000
) -> tuple[int, list[Stall]]:
    """How many stalls there are, and a page of them in the order of their ids."""
    where = [stalls.c.balance_months > 0, stalls.c.disabled.is_(False)] if open_only else []
    total = tx.execute(select(func.count()).select_from(stalls).where(*where)).scalar_one()
    page = select(stalls.c.id).where(*where).order_by(stalls.c.id).offset(offset).limit(most)
    ids = [row.id for row in tx.execute(page)]
    return total, list(load_stalls(tx, ids).values())


# Events


def lock(tx: Tx, stall_id: int, *, make: bool = False) -> events.Head:
    """Lock the stall for this transaction. Raises StallNotFound."""
    head = events.lock_streams(tx, [stream_of(stall_id)], make=make).get(stream_of(stall_id))
    if head is None:
        raise StallNotFound
    return head


def _append(tx: Tx, stall_id: int, head: events.Head, lines: list[events.Line]) -> None:
    events.append(tx, {stream_of(stall_id): (head, lines)})


def _tell_changed(tx: Tx, stall_id: int, head: events.Head, *, name: str = "") -> None:
    lines = [_staff_line(name, {})] if name else []
    _append(tx, stall_id, head, [*lines, _changed_line(_loaded(tx, stall_id))])


def _loaded(tx: Tx, stall_id: int) -> Stall:
    return load_stalls(tx, [stall_id])[stall_id]


def _changed_line(stall: Stall) -> events.Line:
    """What everyone may know of the stall as it is now."""
    public = {"stall_id": stall.id, "name": stall.name, "open": stall.is_open}
    private = {**public, "balance_months": stall.balance_months, "disabled": stall.disabled}
    return events.Line("stall.changed", 0, _encode(public), _encode(private))


def _staff_line(name: str, data: dict[str, Any]) -> events.Line:
    return events.Line(name, 0, b"", _encode(data))


def _menu(dishes: Any) -> str:
    return _encode(list(dishes)).decode()
