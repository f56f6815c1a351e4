"""The runner of timed jobs: due times and leases in the database, a record of each run.

A job missed while the server was down is due at the next start. A second process finds the
lease taken and leaves the job alone. Whoever dies in the middle lets the lease run out, or,
where no other process can have the database, is followed at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from sql import jobs as rows
from sql.database import Database
from sql.errors import DatabaseError
from sql.types import Millis

log = logging.getLogger("callme.jobs")

Body = Callable[[], Awaitable[object]]
NextDue = Callable[[Millis], Millis]

# After a failed run: soon, for what failed is usually a database that is coming back.
RETRY_MS = 60_000
# The longest sleep; also how late a clock that was set forward is noticed.
LOOK_EVERY_S = 1.0


class Job(msgspec.Struct, frozen=True):
    """A line of the schedule.

    next_due: when the job is due after a run that began now.
    lease_s: longer than any run takes; after a crash another process waits this long.
    """

    name: str
    run: Body
    next_due: NextDue
    lease_s: int = 300


class Watch(msgspec.Struct, frozen=True):
    """A look taken every few seconds in every process; what it does claims its own rows."""

    name: str
    run: Body
    every_s: float


class Runner:
    """Runs the schedule in one process. `run_due` is the whole of it, for a test to call.

    shared: other processes may work on the same database. away: what a job raises when somebody
    it asks is away.
    """

    def __init__(
        self,
        db: Database,
        *,
        jobs: Iterable[Job],
        watches: Iterable[Watch],
        now: Callable[[], Millis],
        name: str,
        shared: bool = True,
        away: tuple[type[Exception], ...] = (),
    ) -> None:
        self._db = db
        self._jobs = {job.name: job for job in jobs}
        self._watches = {watch.name: watch for watch in watches}
        self._sleep_s = min([LOOK_EVERY_S, *(watch.every_s for watch in self._watches.values())])
        self._now = now
        self._away = away
        self._name = name
        self._shared = shared
        self._due: dict[str, Millis] = {}
        self._looked: dict[str, Millis] = {}
        # Jobs whose due time in the database was written by a clock that ran ahead.
        self._postponed: set[str] = set()
        self._woken: set[str] = set()
        self._wake_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.failures = 0

    @property
    def names(self) -> set[str]:
        """Of the timed jobs."""
        return set(self._jobs)

    async def start(self) -> None:
        """Make the jobs' rows and begin; what was missed is due at once."""
        await self._read_due()
        self._task = asyncio.create_task(self._run_forever(), name="jobs")

    async def _read_due(self) -> None:
        """Learn when jobs are due, making the rows of new ones: they are due now."""
        for name in self._jobs:
            await self._db.write(rows.ensure, name, first_due_at=self._now())
        due = await self._db.read(rows.due_times)
        self._due = {name: due[name] for name in self._jobs}

    def wake(self, names: Iterable[str]) -> None:
        """Run these soon, due or not."""
        self._woken |= set(names) & (self._jobs.keys() | self._watches.keys())
        if self._woken:
            self._wake_up.set()

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Let the run in hand end, then stop; one that does not end is left to its lease."""
        self._stopping = True
        self._wake_up.set()
        if self._task is None:
            return
        _, late = await asyncio.wait([self._task], timeout=timeout_s)
        if late:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run_forever(self) -> None:
        while not self._stopping:
            await self.run_due()
            # Not wait_for: its cancellation would need the event to be cleared twice.
            timer = asyncio.get_running_loop().call_later(self._sleep_s, self._wake_up.set)
            await self._wake_up.wait()
            timer.cancel()
            self._wake_up.clear()

    async def run_due(self) -> list[str]:
        """Run everything that is due or was woken, one after another; the names of what ran."""
        woken, self._woken = self._woken, set()
        ran = []
        for watch in self._watches.values():
            if watch.name in woken or self._is_time_to_look(watch):
                self._looked[watch.name] = self._now()
                ran.append(watch.name)
                await self._guarded(watch.name, watch.run)
        for job in self._jobs.values():
            anyway = job.name in woken
            if (anyway or self._is_due(job)) and await self._run_job(job, anyway=anyway):
                ran.append(job.name)
        return ran

    def _is_due(self, job: Job) -> bool:
        """A due time later than a run now would leave behind is no reason to wait so long."""
        latest = job.next_due(self._now())
        if self._due.get(job.name, 0) > latest:
            self._due[job.name] = latest
            self._postponed.add(job.name)
        return self._due.get(job.name, 0) <= self._now()

    def _is_time_to_look(self, watch: Watch) -> bool:
        looked = self._looked.get(watch.name)
        if looked is None:
            return True
        # A clock that was set back must not stop the watch.
        return not 0 <= self._now() - looked < watch.every_s * 1000

    async def _run_job(self, job: Job, *, anyway: bool) -> bool:
        """Run a job if it is ours to run; whether it ran."""
        try:
            # Alone, a lease is one that a killed process left behind: nobody holds it.
            lease_s = job.lease_s if self._shared else 0
            anyway = anyway or job.name in self._postponed
            run = await self._db.write(
                rows.begin, job.name, self._name, lease_s=lease_s, record=True, anyway=anyway
            )
            if run is None:
                # Another process has it: look again when that lease may have ended.
                self._due[job.name] = self._now() + int(LOOK_EVERY_S * 1000)
                await self._refresh(job.name)
                return False
            self._postponed.discard(job.name)
            result, error = await self._outcome(job)
            next_due = job.next_due(self._now())
            if error:
                next_due = min(next_due, self._now() + RETRY_MS)
            await self._db.write(rows.finish, run, next_due_at=next_due, result=result, error=error)
            self._due[job.name] = next_due
        except DatabaseError as error:
            log.warning("job %s waits for the database: %s", job.name, error)
            self._due[job.name] = self._now() + int(LOOK_EVERY_S * 1000)
            return False
        return True

    async def _refresh(self, name: str) -> None:
        due = (await self._db.read(rows.due_times)).get(name, 0)
        self._due[name] = max(self._due[name], due)

    async def _outcome(self, job: Job) -> tuple[str, str]:
        """Run the body; (result, error) as texts for the record."""
        try:
            result = await job.run()
        except DatabaseError as error:
            # No mistake of the job's: it is tried again, and says no more than that.
            self.failures += 1
            log.warning("job %s could not reach the database: %s", job.name, error)
            return "", f"{type(error).__name__}: {error}"
        except self._away as error:
            # No mistake of ours either: whom it asks is away, or has nothing yet.
            self.failures += 1
            log.warning("job %s failed: %s", job.name, error)
            return "", f"{type(error).__name__}: {error}"
        except Exception as error:
            # One of the three doors: a job's failure is recorded, the others go on.
            self.failures += 1
            log.exception("job %s failed", job.name)
            return "", f"{type(error).__name__}: {error}"
        return "" if result is None else str(result), ""

    async def _guarded(self, name: str, body: Body) -> None:
        try:
            await body()
        except DatabaseError as error:
            log.warning("watch %s waits for the database: %s", name, error)
        except Exception:
            self.failures += 1
            log.exception("watch %s failed", name)


def every(seconds: float) -> NextDue:
    """Due so many seconds after a run began."""
    return lambda now: now + int(seconds * 1000)
