"""The timed jobs: one table of what runs when. The bodies are verbs of the services."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from accounts.audit.service import Audit
from accounts.service import Sessions
from commerce.goods.model import SyncFailed
from devices.vendors.port import VendorError
from payments.gateway import Reaction, Refused, Unknown
from payments.ledger.service import Books
from payments.service import Payments
from queueing.calendar import business_date, month_of, month_start, months_between
from queueing.service import Queues
from queueing.stalls.service import Stalls
from server.jobs import Job, every
from sql import idempotency, outbox
from sql import jobs as job_rows
from sql.database import Database
from sql.types import Millis

if TYPE_CHECKING:
    from server.cabinets import CabinetSide

DAY_MS = 86_400_000
BEIJING_MS = 8 * 3_600_000

# The job that pulls cabinet orders; the inbox wakes it when a vendor's clock cannot be believed.
PULL = "order-pull"

# What jobs raise when WeChat, a vendor or the ERP is away, or has nothing for us yet.
AWAY = (Unknown, VendorError, SyncFailed)

# WeChat has yesterday's bill ready by ten.
BILL_READY = (10, 30)

# A client repeats a key for minutes; the field's custom is a day at least.
KEEP_KEYS_MS = 2 * DAY_MS
KEEP_DELIVERED_MS = 7 * DAY_MS
KEEP_RUNS_MS = 30 * DAY_MS


def schedule(
    db: Database,
    sessions: Sessions,
    queues: Queues,
    stalls: Stalls,
    payments: Payments,
    audit: Audit,
    *,
    sweep_s: int,
) -> list[Job]:
    """name, body, when; each run is recorded."""
    return [
        Job("months", stalls.charge_months, next_month, lease_s=600),
        Job("sessions", sessions.sweep, every(sweep_s)),
        Job("release", queues.release_overdue, every(60)),
        Job("books", lambda: check_books(payments.books), every(3600), lease_s=1800),
        Job("audit", audit.check, every(86_400), lease_s=1800),
        Job("bill", lambda: compare_bill(db, payments), at_beijing(*BILL_READY)),
        Job("tidy", lambda: tidy(db, payments), every(3600)),
    ]


def cabinet_jobs(side: CabinetSide) -> list[Job]:
    """Of cabinets; what is due by a time of its own, such as a door's, has watches."""
    jobs = [
        Job("order-refunds", side.orders.look_after, every(300)),
        Job("expiry", side.stock.block_expired, at_beijing(0, 10)),
        Job("inbox", side.inbox.sweep, every(300)),
        Job("telemetry", side.presence.sweep, every(3600)),
        # When yesterday's last orders have come.
        Job("reports", side.reports.make_daily, at_beijing(1, 30), lease_s=600),
    ]
    if side.erp is not None:
        jobs += [
            Job("goods-in", side.goods.sync, every(3600), lease_s=600),
            Job("sales-out", side.sales.cut, at_beijing(1, 0), lease_s=600),
        ]
    if side.vendors:
        jobs += [
            Job(PULL, lambda: pull_orders(side), every(300), lease_s=240),
            Job("order-compare", lambda: compare_orders(side), at_beijing(3, 0), lease_s=1800),
        ]
    return jobs


async def pull_orders(side: CabinetSide) -> str:
    """Orders that no callback told of, or whose callbacks could not be believed."""
    listed = [await side.cabinets.sweep(code) for code in side.vendors]
    return f"{sum(listed)} listed"


async def compare_orders(side: CabinetSide) -> str:
    """Yesterday's orders against the vendors' books; differences are a person's."""
    yesterday = business_date(side.db.now() - DAY_MS)
    found = [await side.cabinets.compare_day(code, yesterday) for code in side.vendors]
    return f"{sum(day.listed for day in found)} listed, {sum(day.missed for day in found)} missed"


def next_month(now: Millis) -> Millis:
    """The 1st of the next month, 00:00 in Beijing."""
    this = month_of(now)
    return month_start(months_between(this, this + 100)[0])


def at_beijing(hour: int, minute: int) -> Callable[[Millis], Millis]:
    """Once a day, at that time in Beijing."""
    after_ms = hour * 3_600_000 + minute * 60_000

    def next_due(now: Millis) -> Millis:
        due = midnight(now) + after_ms
        return due if due > now else due + DAY_MS

    return next_due


def midnight(now: Millis) -> Millis:
    """Midnight in Beijing, which is always eight hours ahead."""
    return (now + BEIJING_MS) // DAY_MS * DAY_MS - BEIJING_MS


async def check_books(books: Books) -> str:
    """A violation stops money and raises an alert; numbers go on."""
    found = await books.check()
    return f"{len(found)} violations" if found else "in order"


async def compare_bill(db: Database, payments: Payments) -> str:
    """Yesterday's bill against the books; what differs is a row for a person."""
    now = db.now()
    try:
        return str(await payments.compare_bill(business_date(now - DAY_MS)))
    except Unknown as unknown:
        if at_beijing(*BILL_READY)(now) < midnight(now) + DAY_MS:
            # A first run is due at once, and this early there may be none: it comes in time.
            return f"not yet: {unknown}"
        raise
    except Refused as refusal:
        if refusal.reaction is Reaction.STOP:
            return "WeChat Pay is not set up"
        raise


async def tidy(db: Database, payments: Payments) -> str:
    """Remove what is no longer asked for: keys, delivered parcels, runs, notices nobody signed."""
    now = db.now()
    keys = await _sweep(db, idempotency.sweep, now - KEEP_KEYS_MS)
    parcels = await _sweep(db, outbox.sweep, now - KEEP_DELIVERED_MS)
    runs = await _sweep(db, job_rows.sweep, now - KEEP_RUNS_MS)
    notices = await payments.sweep()
    return f"{keys} keys, {parcels} parcels, {runs} runs, {notices} notices"


async def _sweep(db: Database, sweep: Callable[..., int], older_than: Millis) -> int:
    """A few hundred rows a transaction, so that nobody waits for the broom."""
    swept = 0
    while True:
        count = await db.write(sweep, older_than=older_than)
        swept += count
        if not count:
            return swept
