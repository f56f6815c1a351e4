"""Alerts, which last as long as what they tell of, and incidents, which have happened once.

Both are rows for a person to read; nothing is ever mended because of them.
"""

import hashlib
from typing import Any, Final

import msgspec
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from sql.sorting import ordered
from sql.tables.payments import alerts, incidents
from sql.transaction import Tx
from sql.types import Millis

# A column of 64 KiB holds so many characters, whatever they are.
TEXT_MAX = 16_000

SUBJECT_MAX: Final = 120
_MARK: Final = 8


class Alert(msgspec.Struct, frozen=True):
    id: int
    kind: str
    subject: str
    text: str
    raised_at: Millis
    cleared_at: Millis | None


class Incident(msgspec.Struct, frozen=True):
    """raw: what was received, bytes that are no UTF-8 written as \\xNN."""

    id: int
    kind: str
    subject: str
    text: str
    raw: str
    at: Millis


def raise_alert(tx: Tx, kind: str, subject: str, text: str) -> bool:
    """Say that something is wrong; whether that is new. An open alert only gets the new text."""
    text = _kept(text)
    row = {
        "kind": kind,
        "subject": kept_subject(subject),
        "text": text,
        "raised_at": tx.now,
        "open": 1,
    }
    if _change(tx, kind, subject, text=text):
        return False
    try:
        tx.execute(insert(alerts), row)
    except IntegrityError:
        # Another process has raised it just now.
        return False
    return True


def clear_alert(tx: Tx, kind: str, subject: str) -> bool:
    """Say that it is well again; whether there was an alert."""
    return _change(tx, kind, subject, open=None, cleared_at=tx.now)


def clear_one(tx: Tx, alert_id: int) -> bool:
    """As clear_alert, of one row; whether it was open."""
    mine = update(alerts).where(alerts.c.id == alert_id, alerts.c.open == 1)
    return tx.execute(mine.values(open=None, cleared_at=tx.now)).rowcount > 0


def _change(tx: Tx, kind: str, subject: str, **values: object) -> bool:
    changed = update(alerts).where(
        alerts.c.kind == kind, alerts.c.subject == kept_subject(subject), alerts.c.open == 1
    )
    return tx.execute(changed.values(values)).rowcount > 0


_OPEN = select(alerts.c.id).where(alerts.c.kind == bindparam("kind"), alerts.c.open == 1).limit(1)


def is_raised(tx: Tx, kind: str) -> bool:
    """Whether any alert of the kind is open."""
    return tx.execute(_OPEN, {"kind": kind}).first() is not None


def open_alerts(tx: Tx, kind: str = "") -> list[Alert]:
    """Alerts nobody has cleared, oldest first; of one kind when it is given."""
    query = select(alerts).where(alerts.c.open == 1).order_by(alerts.c.id)
    return _alerts(tx, query.where(alerts.c.kind == kind) if kind else query)


def last_alerts(tx: Tx, most: int = 100, before: int | None = None) -> list[Alert]:
    """Alerts, cleared or not, newest first; those with an id below `before` when it is given."""
    query = select(alerts).order_by(alerts.c.id.desc()).limit(most)
    return _alerts(tx, query if before is None else query.where(alerts.c.id < before))


def find_alert(tx: Tx, alert_id: int) -> Alert | None:
    found = _alerts(tx, select(alerts).where(alerts.c.id == alert_id))
    return found[0] if found else None


ALERT_SORTS: Final = {
    "id": alerts.c.id,
    "created_at": alerts.c.raised_at,
    "raised_at": alerts.c.raised_at,
    "cleared_at": alerts.c.cleared_at,
    "kind": alerts.c.kind,
}
INCIDENT_SORTS: Final = {
    "id": incidents.c.id,
    "created_at": incidents.c.at,
    "at": incidents.c.at,
    "kind": incidents.c.kind,
}


def alerts_page(
    tx: Tx, *, kind: str = "", is_open: bool, sort: str = "-id", offset: int, most: int
) -> tuple[int, list[Alert]]:
    """Alerts that are open, or that were cleared; and how many there are in all."""
    where = [alerts.c.open == 1 if is_open else alerts.c.open.is_(None)]
    if kind:
        where.append(alerts.c.kind == kind)
    total = tx.execute(select(func.count()).select_from(alerts).where(*where)).scalar_one()
    order = ordered(sort, ALERT_SORTS, alerts.c.id)
    chosen = select(alerts).where(*where).order_by(*order)
    return total, _alerts(tx, chosen.offset(offset).limit(most))


def _alerts(tx: Tx, query: Any) -> list[Alert]:
    return [
        Alert(row.id, row.kind, row.subject, row.text, row.raised_at, row.cleared_at)
        for row in tx.execute(query)
    ]


def record_incident(tx: Tx, kind: str, subject: str, text: str, raw: str | bytes = "") -> int:
    """Keep what has happened, with what was received as it was; the id of its row."""
    row = {
        "kind": kind,
        "subject": kept_subject(subject),
        "text": _kept(text),
        "raw": _kept(raw),
        "at": tx.now,
    }
    key = tx.execute(insert(incidents), row).inserted_primary_key
    assert key is not None
    return int(key[0])


def last_incidents(
    tx: Tx, most: int = 100, *, kind: str = "", before: int | None = None
) -> list[Incident]:
    """Incidents, newest first; of one kind, with an id below `before`, when they are given."""
    query = select(incidents).order_by(incidents.c.id.desc()).limit(most)
    if kind:
        query = query.where(incidents.c.kind == kind)
    if before is not None:
        query = query.where(incidents.c.id < before)
    return _incidents(tx, query)


def incidents_page(
    tx: Tx, *, kind: str = "", sort: str = "-id", offset: int, most: int
) -> tuple[int, list[Incident]]:
    """Incidents, and how many there are in all."""
    where = [incidents.c.kind == kind] if kind else []
    total = tx.execute(select(func.count()).select_from(incidents).where(*where)).scalar_one()
    order = ordered(sort, INCIDENT_SORTS, incidents.c.id)
    chosen = select(incidents).where(*where).order_by(*order)
    return total, _incidents(tx, chosen.offset(offset).limit(most))


def _incidents(tx: Tx, query: Any) -> list[Incident]:
    return [
        Incident(row.id, row.kind, row.subject, row.text, row.raw, row.at)
        for row in tx.execute(query)
    ]


def kept_subject(subject: str) -> str:
    """A subject as it is stored. What is too long for its column ends in a digest of the whole:
    two that begin alike are two alerts, and whoever clears one finds the one that was raised."""
    if len(subject) <= SUBJECT_MAX:
        return subject
    digest = hashlib.sha256(subject.encode(errors="surrogatepass")).hexdigest()[:_MARK]
    return f"{subject[: SUBJECT_MAX - _MARK - 1]}~{digest}"


def _kept(text: str | bytes) -> str:
    """As much as fits its column; what is no Unicode is written as an escape."""
    if isinstance(text, str):
        text = text.encode(errors="backslashreplace")
    return text.decode(errors="backslashreplace")[:TEXT_MAX]
