"""Reading alerts and incidents, and clearing an alert by hand."""

from __future__ import annotations

from collections.abc import Iterable

from accounts.alerts.model import AlertIsWatched, AlertNotFound
from accounts.audit.model import By
from accounts.audit.store import record
from sql import alerts
from sql.alerts import Alert, Incident
from sql.database import Database, Tx

# Of an alert's text the audit keeps so much.
TEXT_KEPT = 200


class Alerts:
    """watched: the kinds that are raised and cleared by whoever looks whether all is well.

    Nobody clears those by hand: it would say that something is well which is not, and while the
    books are wrong it would let money move.
    """

    def __init__(self, db: Database, *, watched: Iterable[str]) -> None:
        self._db = db
        self._watched = frozenset(watched)

    async def page(
        self, *, kind: str, is_open: bool, sort: str = "-id", offset: int, most: int
    ) -> tuple[int, list[Alert]]:
        """Those that are open, or those that were cleared, and how many in all."""
        return await self._db.read(
            alerts.alerts_page, kind=kind, is_open=is_open, sort=sort, offset=offset, most=most
        )

    async def incidents(
        self, *, kind: str, sort: str = "-id", offset: int, most: int
    ) -> tuple[int, list[Incident]]:
        """Some of them, and how many there are in all."""
        return await self._db.read(
            alerts.incidents_page, kind=kind, sort=sort, offset=offset, most=most
        )

    async def clear(self, alert_id: int, *, by: By, reason: str) -> Alert:
        """Clear an alert that no watch clears; of one that is cleared this changes nothing.

        Raises AlertNotFound, AlertIsWatched.
        """
        return await self._db.write(_clear, alert_id, self._watched, by=by, reason=reason)

    def may_clear(self, alert: Alert) -> bool:
        return alert.cleared_at is None and alert.kind not in self._watched


def _clear(tx: Tx, alert_id: int, watched: frozenset[str], *, by: By, reason: str) -> Alert:
    alert = alerts.find_alert(tx, alert_id)
    if alert is None:
        raise AlertNotFound
    if alert.cleared_at is not None:
        return alert
    if alert.kind in watched:
        raise AlertIsWatched
    if alerts.clear_one(tx, alert_id):
        shown = {"kind": alert.kind, "subject": alert.subject, "text": alert.text[:TEXT_KEPT]}
        record(
            tx,
            actor=by,
            action="alert.clear",
            subject=f"alert:{alert_id}",
            before={**shown, "open": True},
            after={"open": False},
            reason=reason,
        )
    cleared = alerts.find_alert(tx, alert_id)
    assert cleared is not None, "alerts are never removed"
    return cleared
