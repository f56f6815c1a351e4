"""The runner: what was missed is run, by one process, and what came of it is recorded."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from server.jobs import RETRY_MS, Job, Runner, Watch, every
from sql import jobs as rows
from sql.database import Database
from sql.errors import DatabaseUnavailable
from sql.jobs import Run
from tests.clock import Clock


class Work:
    """A job that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.error: Exception | None = None
        self.during: Callable[[], Awaitable[object]] | None = None

    async def run(self) -> str:
        self.runs += 1
        if self.during is not None:
            await self.during()
        if self.error is not None:
            raise self.error
        return f"run {self.runs}"


@pytest.fixture
def work() -> Work:
    return Work()


class Process:
    """A runner without its loop: `look` is what the loop does each second."""

    def __init__(
        self, db: Database, clock: Clock, work: Work, name: str = "one", *, shared: bool = True
    ) -> None:
        self.runner = Runner(
            db,
            jobs=[Job("work", work.run, every(600), lease_s=60)],
            watches=[],
            now=clock.now,
            name=name,
            shared=shared,
            away=(ConnectionRefusedError,),
        )

    async def begin(self) -> "Process":
        """Read when jobs are due, and look for the first time."""
        await self.runner.start()
        await self.runner.stop()
        await self.runner.run_due()
        return self

    async def look(self) -> list[str]:
        return await self.runner.run_due()


async def recorded(db: Database) -> list[Run]:
    """Oldest first."""
    _, found = await db.read(rows.runs)
    return found[::-1]


async def test_a_new_job_is_run_at_once_and_then_in_its_rhythm(
    db: Database, clock: Clock, work: Work
) -> None:
    process = await Process(db, clock, work).begin()
    assert work.runs == 1

    for seconds, runs in ((599, 1), (1, 2), (0, 2), (600, 3)):
        clock.advance(seconds=seconds)
        await process.look()
        assert work.runs == runs


async def test_what_was_missed_is_run_once_at_the_next_start(
    db: Database, clock: Clock, work: Work
) -> None:
    await Process(db, clock, work).begin()
    due_at = clock.now() + 600_000
    clock.advance(days=40)

    await Process(db, clock, work, "two").begin()
    await Process(db, clock, work, "three").begin()

    assert work.runs == 2
    last = (await recorded(db))[-1]
    assert (last.runner, last.due_at) == ("two", due_at)
    assert last.started_at == last.finished_at == clock.now()
    assert (last.result, last.error) == ("run 2", "")


async def test_two_processes_run_a_job_once(db: Database, clock: Clock, work: Work) -> None:
    first = await Process(db, clock, work, "one").begin()
    second = await Process(db, clock, work, "two").begin()

    for _ in range(5):
        clock.advance(seconds=600)
        await asyncio.gather(first.look(), second.look())
        # The one that came second learns when the job is due next.
        clock.advance(seconds=2)
        await asyncio.gather(first.look(), second.look())
        clock.advance(seconds=-2)

    assert work.runs == 6


async def test_a_job_in_hand_is_left_to_the_process_that_has_it(
    db: Database, clock: Clock, work: Work
) -> None:
    first, second = Process(db, clock, work, "one"), Process(db, clock, work, "two")
    seen = []

    async def look_from_elsewhere() -> None:
        work.during = None
        seen.append(await second.look())

    work.during = look_from_elsewhere
    await first.begin()

    assert seen == [[]]
    assert work.runs == 1


async def leave_in_the_middle(db: Database) -> None:
    """What a process that was killed during a run leaves behind."""
    assert await db.write(rows.begin, "work", "dead", lease_s=60, record=True) is not None


@pytest.mark.parametrize(("shared", "waits_s"), [(True, 60), (False, 0)])
async def test_a_lease_of_the_dead_ends(
    db: Database, clock: Clock, work: Work, shared: bool, waits_s: int
) -> None:
    await db.write(rows.ensure, "work", first_due_at=clock.now())
    await leave_in_the_middle(db)
    process = await Process(db, clock, work, shared=shared).begin()

    for _ in range(waits_s // 10):
        assert work.runs == 0
        clock.advance(seconds=10)
        await process.look()

    assert work.runs == 1
    dead, ours = await recorded(db)
    assert (dead.runner, dead.finished_at) == ("dead", None)
    assert ours.result == "run 1"


async def test_a_failure_is_recorded_and_tried_again_soon(
    db: Database, clock: Clock, work: Work, expect_log: Callable[[str], None]
) -> None:
    expect_log("job work failed")
    work.error = ValueError("no such stall")
    process = await Process(db, clock, work).begin()
    work.error = None

    clock.advance(seconds=RETRY_MS / 1000 - 1)
    assert await process.look() == []
    clock.advance(seconds=1)
    assert await process.look() == ["work"]

    failed, done = await recorded(db)
    assert (failed.error, failed.result) == ("ValueError: no such stall", "")
    assert failed.finished_at is not None
    assert (done.error, done.result) == ("", "run 2")
    assert process.runner.failures == 1


async def test_a_job_that_cannot_reach_the_database_failed_and_says_so_without_a_trace(
    db: Database, clock: Clock, work: Work, expect_log: Callable[[str], None]
) -> None:
    expect_log("job work could not reach the database: away")
    work.error = DatabaseUnavailable("away")

    process = await Process(db, clock, work).begin()

    assert (await recorded(db))[0].error == "DatabaseUnavailable: away"
    assert process.runner.failures == 1


async def test_a_job_whose_other_side_is_away_says_so_without_a_trace(
    db: Database,
    clock: Clock,
    work: Work,
    expect_log: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expect_log("job work failed: nobody at home")
    work.error = ConnectionRefusedError("nobody at home")

    process = await Process(db, clock, work).begin()

    assert (await recorded(db))[0].error == "ConnectionRefusedError: nobody at home"
    assert process.runner.failures == 1
    assert [line.exc_info for line in caplog.records if "work failed" in line.message] == [None]


async def test_what_is_woken_runs_though_it_is_not_due(
    db: Database, clock: Clock, work: Work
) -> None:
    process = await Process(db, clock, work).begin()

    process.runner.wake({"work", "another's"})

    assert await process.look() == ["work"]
    assert await process.look() == []
    assert work.runs == 2


@pytest.mark.parametrize("years", [1, 10])
async def test_a_clock_that_ran_ahead_stops_no_job(
    db: Database, clock: Clock, work: Work, years: int
) -> None:
    clock.advance(days=365 * years)
    await Process(db, clock, work).begin()
    clock.advance(days=-365 * years)

    process = await Process(db, clock, work, "two").begin()
    assert work.runs == 1
    clock.advance(seconds=600)
    await process.look()
    assert work.runs == 2
    clock.advance(seconds=600)
    await process.look()

    assert work.runs == 3


async def test_a_clock_set_back_while_running_stops_no_job(
    db: Database, clock: Clock, work: Work
) -> None:
    process = await Process(db, clock, work).begin()
    clock.advance(days=-1)

    for _ in range(3):
        await process.look()
        clock.advance(seconds=600)
    await process.look()

    assert work.runs == 4


async def test_a_watch_looks_in_its_rhythm_in_every_process_and_is_not_recorded(
    db: Database, clock: Clock, work: Work
) -> None:
    runners = [
        Runner(
            db, jobs=[], watches=[Watch("look", work.run, 2)], now=clock.now, name=f"process {n}"
        )
        for n in (1, 2)
    ]

    for seconds, looks in ((0, 2), (1, 2), (1, 4), (-3600, 6), (1, 6)):
        clock.advance(seconds=seconds)
        for runner in runners:
            await runner.run_due()
        assert work.runs == looks
    runners[0].wake({"look"})
    await runners[0].run_due()

    assert work.runs == 7
    assert await recorded(db) == []


@pytest.mark.parametrize(
    ("error", "line", "failures"),
    [
        (DatabaseUnavailable("away"), "watch look waits for the database", 0),
        (KeyError("gone"), "watch look failed", 1),
    ],
)
async def test_a_watch_that_fails_is_logged_and_looks_again(
    db: Database,
    clock: Clock,
    work: Work,
    error: Exception,
    line: str,
    failures: int,
    expect_log: Callable[[str], None],
) -> None:
    expect_log(line)
    runner = Runner(db, jobs=[], watches=[Watch("look", work.run, 2)], now=clock.now, name="one")
    work.error = error
    await runner.run_due()
    work.error = None
    clock.advance(seconds=2)

    await runner.run_due()

    assert work.runs == 2
    assert runner.failures == failures


async def test_the_loop_looks_by_itself_and_at_once_when_woken(
    db: Database, clock: Clock, work: Work
) -> None:
    ran = asyncio.Event()

    async def tell() -> None:
        ran.set()

    work.during = tell
    process = Process(db, clock, work)
    await process.runner.start()
    await asyncio.wait_for(ran.wait(), 20)
    ran.clear()

    process.runner.wake({"work"})
    await asyncio.wait_for(ran.wait(), 20)
    await process.runner.stop()

    assert work.runs == 2
    assert [run.result for run in await recorded(db)] == ["run 1", "run 2"]


async def test_a_run_that_does_not_end_is_left_to_its_lease(
    db: Database, clock: Clock, work: Work
) -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    work.during = hang
    process = Process(db, clock, work)
    await process.runner.start()
    await asyncio.wait_for(begun.wait(), 20)

    await process.runner.stop(timeout_s=0.05)

    (run,) = await recorded(db)
    assert run.finished_at is None


async def test_a_runner_that_never_began_stops(db: Database, clock: Clock, work: Work) -> None:
    await Process(db, clock, work).runner.stop()

    assert work.runs == 0
