"""The timed jobs: one table of what runs when. The bodies are verbs of the services."""

from collections.abc import Callable

from accounts.audit.service import Audit
from accounts.service import Sessions
from payments.gateway import Reaction, Refused
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

DAY_MS = 86_400_000
BEIJING_MS = 8 * 3_600_000
BILL_READY_MS = 10 * 3_600_000 + 30 * 60_000

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
        Job("bill", lambda: compare_bill(db, payments), tomorrow_at_half_past_ten),
        Job("tidy", lambda: tidy(db, payments), every(3600)),
    ]


def next_month(now: Millis) -> Millis:
    """The 1st of the next month, 00:00 in Beijing."""
    this = month_of(now)
    return month_start(months_between(this, this + 100)[0])


def tomorrow_at_half_past_ten(now: Millis) -> Millis:
    """WeChat has yesterday's bill ready by ten, Beijing time."""
    today = midnight(now)
    due = today + BILL_READY_MS
    return due if due > now else due + DAY_MS


def midnight(now: Millis) -> Millis:
    """Midnight in Beijing, which is always eight hours ahead."""
    return (now + BEIJING_MS) // DAY_MS * DAY_MS - BEIJING_MS


async def check_books(books: Books) -> str:
    """A violation stops money and raises an alert; numbers go on."""
    found = await books.check()
    return f"{len(found)} violations" if found else "in order"


async def compare_bill(db: Database, payments: Payments) -> str:
    """Yesterday's bill against the books; what differs is a row for a person."""
    yesterday = business_date(db.now() - DAY_MS)
    try:
        return str(await payments.compare_bill(yesterday))
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
