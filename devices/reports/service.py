"""Statistics for staff, the daily reports as a job, and the watch over the thresholds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from accounts.audit.model import By
from accounts.audit.store import record
from devices.reports import store
from devices.reports.model import Gauges, Group, Report, Sales, Thresholds
from devices.reports.rules.store import watch
from devices.reports.sheet import as_xlsx
from devices.reports.statistics.store import Wanted, sales
from payments.model import MINUTE_MS, beijing_day
from sql.database import Database

DAY_MS: Final = 24 * 60 * MINUTE_MS

# A process that was down for so many days makes up for it; older days are a person's to ask for.
DAYS_BACK: Final = 7


class Reports:
    def __init__(self, db: Database, *, thresholds: Thresholds | None = None) -> None:
        self._db = db
        self._thresholds = thresholds or Thresholds()

    async def sales(self, wanted: Wanted, groups: Sequence[Group], *, by: By) -> Sales:
        """Of the stores one sees; equal to the orders of that time."""
        return await self._db.read(sales, wanted, groups, by=by)

    # Daily

    async def make_daily(self) -> str:
        """A job: the reports of yesterday, and of the days before that were missed. Repeatable."""
        now = self._db.now()
        days = [beijing_day(now - back * DAY_MS) for back in range(DAYS_BACK, 0, -1)]
        missing = await self._db.read(store.missing, days)
        for kind, day in missing:
            body = await self._db.read(store.make, kind, day)
            await self._db.write(store.keep, kind, day, body)
        return f"{len(missing)} reports"

    async def page(
        self, *, kind: str, day: int, by: By, sort: str = "-day", offset: int, most: int
    ) -> tuple[int, list[Report]]:
        """Raises ReportsOfAll."""
        return await self._db.read(
            store.page, kind=kind, day=day, by=by, sort=sort, offset=offset, most=most
        )

    async def report(self, report_id: int, *, by: By) -> Report:
        """Raises ReportNotFound, ReportsOfAll."""
        return await self._db.read(store.load, report_id, by=by)

    async def xlsx(self, report_id: int, *, by: By) -> tuple[Report, bytes]:
        """Each leaves a line in the audit. Raises ReportNotFound, ReportsOfAll."""
        report = await self.report(report_id, by=by)
        await self._db.write(
            record,
            actor=by,
            action="report.export",
            subject=f"report:{report_id}",
            before={},
            after={"kind": report.kind, "day": report.day},
        )
        return report, await asyncio.to_thread(as_xlsx, report)

    # Watching

    async def gauges(self) -> Gauges:
        return await self._db.read(store.gauges)

    async def watch(self) -> str:
        """A watch: what crosses a threshold is an alert as long as it does."""
        return f"{await self._db.write(watch, self._thresholds)} hold"
