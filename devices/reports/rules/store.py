"""What the rules look at, and the alerts they raise and clear."""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from sqlalchemy import and_, func, select

from devices.inbox.refusals.store import forged
from devices.orders.model import OrderState
from devices.reports.model import Thresholds
from devices.sessions.model import State
from payments.model import AttemptState
from sql.alerts import clear_alert, open_alerts, raise_alert
from sql.tables.core import outbox
from sql.tables.devices import (
    cabinet_exceptions,
    cabinet_orders,
    callback_inbox,
    complaints,
    devices,
    door_sessions,
)
from sql.tables.payments import payment_attempts
from sql.transaction import Tx

OFFLINE, CALLBACKS, OUTBOX = "system.offline", "system.callbacks", "system.outbox"
PAYMENTS, EXCEPTIONS = "business.payments", "business.exceptions"
ACCOUNT, FORGED = "security.account", "security.callbacks"

KINDS: Final = frozenset({OFFLINE, CALLBACKS, OUTBOX, PAYMENTS, EXCEPTIONS, ACCOUNT, FORGED})
"""Raised and cleared here alone: nobody clears them by hand."""

# So many accounts are named at a time; there are not many who would do such things.
ACCOUNTS_MAX: Final = 100


class Found(NamedTuple):
    kind: str
    subject: str
    text: str


def watch(tx: Tx, limits: Thresholds) -> int:
    """Raise what has crossed a threshold, once, and clear what is well again; how many hold."""
    found = [one for rule in RULES for one in rule(tx, limits)]
    holds = {(one.kind, one.subject) for one in found}
    for alert in (each for kind in sorted(KINDS) for each in open_alerts(tx, kind)):
        if (alert.kind, alert.subject) not in holds:
            clear_alert(tx, alert.kind, alert.subject)
    for one in found:
        raise_alert(tx, *one)
    return len(found)


# ---------------------------------------------------------------- system


def _offline(tx: Tx, limits: Thresholds) -> Iterable[Found]:
    query = select(devices.c.link, func.count()).where(devices.c.status == "bound")
    links = {link: int(n) for link, n in _rows(tx, query.group_by(devices.c.link))}
    total, offline = sum(links.values()), links.get("offline", 0)
    if total >= limits.devices_least and _is_over(offline, total, limits.devices_offline_permille):
        yield Found(OFFLINE, "devices", f"{offline} of {total} devices are offline")


def _callbacks(tx: Tx, limits: Thresholds) -> Iterable[Found]:
    inbox = callback_inbox.c
    query = (
        select(inbox.vendor, func.count())
        .where(
            inbox.received_at >= tx.now - limits.window_ms,
            inbox.state.in_(("quarantined", "dead")),
        )
        .group_by(inbox.vendor)
    )
    for vendor, failed in _rows(tx, query):
        if failed >= limits.callbacks_failed:
            yield Found(CALLBACKS, vendor, f"{failed} callbacks could not be worked off")


def _outbox(tx: Tx, limits: Thresholds) -> Iterable[Found]:
    waits = (outbox.c.state == "waiting") & (outbox.c.created_at < tx.now - limits.outbox_age_ms)
    query = select(outbox.c.kind, func.count(), func.min(outbox.c.created_at)).where(waits)
    for kind, count, oldest in _rows(tx, query.group_by(outbox.c.kind)):
        yield Found(OUTBOX, kind, f"{count} parcels wait, the oldest {_minutes(tx, oldest)} min")


# ---------------------------------------------------------------- business


def _payments(tx: Tx, limits: Thresholds) -> Iterable[Found]:
    since = tx.now - limits.window_ms
    a, o = payment_attempts.c, cabinet_orders.c
    tried = a.state.in_((AttemptState.SUCCESS, AttemptState.FAILED))
    of_attempts = _counts(tx, a.state, a.ended_at >= since, tried)
    decided = o.state.in_((OrderState.PAID, OrderState.UNPAID))
    of_orders = _counts(tx, o.state, o.ordered_at >= since, decided)
    for subject, counts, good in (
        ("attempts", of_attempts, AttemptState.SUCCESS),
        ("cabinet orders", of_orders, OrderState.PAID),
    ):
        total, failed = sum(counts.values()), sum(counts.values()) - counts.get(good, 0)
        permille = 1000 - limits.payments_success_permille
        if total >= limits.payments_least and _is_over(failed, total, permille):
            yield Found(PAYMENTS, subject, f"{failed} of {total} were not paid")


def _exceptions(tx: Tx, limits: Thresholds) -> Iterable[Found]:
    e = cabinet_exceptions.c
    waits = and_(e.open_key.is_not(None), e.raised_at < tx.now - limits.exceptions_age_ms)
    for count, oldest in _rows(tx, select(func.count(), func.min(e.raised_at)).where(waits)):
        if count:
            text = f"{count} wait for a person, the oldest {_minutes(tx, oldest)} min"
            yield Found(EXCEPTIONS, "desk", text)


# ---------------------------------------------------------------- security


def _forged(tx: Tx, limits: Thresholds) -> Iterable[Found]:
    """Callbacks that were signed by nobody we know, or replayed."""
    for vendor, refused in forged(tx, tx.now - limits.window_ms).items():
        if sum(refused.values()) >= limits.callbacks_forged:
            said = ", ".join(f"{count} {code}" for code, count in sorted(refused.items()))
            yield Found(FORGED, vendor, f"{said} in {limits.window_ms // 60_000} min")


def _accounts(tx: Tx, limits: Thresholds) -> Iterable[Found]:
    """Who opens doors, or opens them for nothing, or complains, much more than people do."""
    s, c = door_sessions.c, complaints.c
    since = tx.now - limits.window_ms
    shops = and_(s.requested_at >= since, s.purpose == "shop")
    nothing = s.state.in_((State.NO_PURCHASE, State.ABNORMAL))
    sides = (
        (s.account_id, (shops,), limits.account_openings, "openings"),
        (s.account_id, (shops, nothing), limits.account_unfinished, "openings for nothing"),
        (
            c.account_id,
            (c.created_at >= tx.now - limits.complaints_window_ms,),
            limits.account_complaints,
            "complaints",
        ),
    )
    said: dict[int, list[str]] = {}
    for account, which, most, what in sides:
        query = select(account, func.count()).where(*which).group_by(account)
        many = query.having(func.count() >= most).order_by(account).limit(ACCOUNTS_MAX)
        for account_id, count in _rows(tx, many):
            said.setdefault(account_id, []).append(f"{count} {what}")
    for account_id, words in said.items():
        yield Found(ACCOUNT, f"account:{account_id}", ", ".join(words))


RULES: Final[tuple[Callable[[Tx, Thresholds], Iterable[Found]], ...]] = (
    _offline,
    _callbacks,
    _outbox,
    _payments,
    _exceptions,
    _forged,
    _accounts,
)


def _counts(tx: Tx, column: Any, *which: Any) -> dict[str, int]:
    query = select(column, func.count()).where(*which).group_by(column)
    return {str(value): int(count) for value, count in _rows(tx, query)}


def _is_over(part: int, whole: int, permille: int) -> bool:
    return part * 1000 > whole * permille


def _minutes(tx: Tx, since: int) -> int:
    return (tx.now - since) // 60_000


def _rows(tx: Tx, query: Any) -> Iterable[Any]:
    """Rows that are taken apart; their columns are known here only."""
    return tx.execute(query)
