"""The timed jobs: one table of what runs when. The bodies are verbs of the services."""

from collections.abc import Callable

from accounts.service import Sessions
from queueing.calendar import month_of, month_start, months_between
from queueing.service import Queues
from queueing.stalls.service import Stalls
from server.jobs import Job, every
from sql import idempotency, outbox
from sql import jobs as job_rows
from sql.database import Database
from sql.types import Millis

DAY_MS = 86_400_000

# A client repeats a key for minutes; the field's custom is a day at least.
KEEP_KEYS_MS = 2 * DAY_MS
KEEP_DELIVERED_MS = 7 * DAY_MS
KEEP_RUNS_MS = 30 * DAY_MS


def schedule(
    db: Database, sessions: Sessions, queues: Queues, stalls: Stalls, *, sweep_s: int
) -> list[Job]:
    """name, body, when; each run is recorded."""
    return [
        Job("months", stalls.charge_months, next_month, lease_s=600),
        Job("sessions", sessions.sweep, every(sweep_s)),
        Job("release", queues.release_overdue, every(60)),
        Job("tidy", lambda: tidy(db), every(3600)),
    ]


def next_month(now: Millis) -> Millis:
    """The 1st of the next month, 00:00 in Beijing."""
    this = month_of(now)
    return month_start(months_between(this, this + 100)[0])


async def tidy(db: Database) -> str:
    """Remove what is no longer asked for: old keys, delivered parcels, records of runs."""
    now = db.now()
    keys = await _sweep(db, idempotency.sweep, now - KEEP_KEYS_MS)
    parcels = await _sweep(db, outbox.sweep, now - KEEP_DELIVERED_MS)
    runs = await _sweep(db, job_rows.sweep, now - KEEP_RUNS_MS)
    return f"{keys} keys, {parcels} parcels, {runs} runs"


async def _sweep(db: Database, sweep: Callable[..., int], older_than: Millis) -> int:
    """A few hundred rows a transaction, so that nobody waits for the broom."""
    swept = 0
    while True:
        count = await db.write(sweep, older_than=older_than)
        swept += count
        if not count:
            return swept
