"""A timed job is run by one process at a time, when it is due, and its runs are kept."""

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError

from sql import jobs
from sql.database import Database
from sql.jobs import Run
from sql.mysql import MySQL
from sql.transaction import Tx
from tests.clock import Clock


def begin(tx: Tx, runner: str = "one", *, anyway: bool = False, record: bool = True) -> Run | None:
    return jobs.begin(tx, "sweep", runner, lease_s=60, record=record, anyway=anyway)


async def ensure(db: Database, due_at: int, name: str = "sweep") -> None:
    await db.write(lambda tx: jobs.ensure(tx, name, first_due_at=due_at))


async def finish(
    db: Database, run: Run, next_due_at: int, result: str = "", error: str = ""
) -> bool:
    return await db.write(
        lambda tx: jobs.finish(tx, run, next_due_at=next_due_at, result=result, error=error)
    )


async def test_a_job_keeps_the_due_time_it_has(db: Database) -> None:
    await ensure(db, 5)
    await ensure(db, 9)
    await ensure(db, 7, "charge")

    assert await db.read(jobs.due_times) == {"sweep": 5, "charge": 7}


async def test_a_job_runs_when_it_is_due(db: Database, clock: Clock) -> None:
    await ensure(db, clock.now() + 1000)
    assert await db.write(begin) is None

    clock.advance(seconds=1)
    run = await db.write(begin)

    assert run is not None
    assert (run.job, run.runner) == ("sweep", "one")
    assert (run.due_at, run.started_at) == (clock.now(), clock.now())
    clock.advance(seconds=2)
    assert await finish(db, run, clock.now() + 600_000, "3 swept")
    assert await db.write(begin) is None
    assert await db.read(jobs.due_times) == {"sweep": clock.now() + 600_000}
    total, runs = await db.read(jobs.runs)
    assert total == 1
    assert runs == [
        Run(run.id, "sweep", "one", run.due_at, run.started_at, clock.now(), "3 swept", "")
    ]


async def test_a_woken_job_runs_before_it_is_due_but_not_twice_at_once(
    db: Database, clock: Clock
) -> None:
    await ensure(db, clock.now() + 1000)

    run = await db.write(lambda tx: begin(tx, anyway=True))

    assert run is not None
    assert await db.write(lambda tx: begin(tx, "two", anyway=True)) is None


async def test_a_job_nobody_knows_is_not_run(db: Database) -> None:
    assert await db.write(begin) is None


async def test_a_lease_that_runs_out_gives_the_job_to_the_next(db: Database, clock: Clock) -> None:
    await ensure(db, clock.now())
    first = await db.write(begin, "one")
    assert first is not None
    clock.advance(seconds=59)
    assert await db.write(begin, "two") is None

    clock.advance(seconds=1)
    second = await db.write(begin, "two")

    assert second is not None
    # The first comes back late: it is recorded, but the job stays the second's.
    assert not await finish(db, first, 0, error="x" * 999)
    assert await db.write(begin, "three") is None
    assert await finish(db, second, clock.now() + 1)
    _, runs = await db.read(jobs.runs)
    assert [(run.runner, run.error) for run in runs] == [("two", ""), ("one", "x" * 400)]


async def test_a_lease_given_by_a_clock_that_ran_ahead_holds_nobody_up(
    db: Database, clock: Clock
) -> None:
    await ensure(db, clock.now())
    clock.advance(days=3650)
    assert await db.write(begin, "one") is not None

    clock.advance(days=-3650)

    assert await db.write(begin, "two") is not None
    assert await db.write(begin, "three") is None


async def test_a_run_without_a_record_leaves_none(db: Database, clock: Clock) -> None:
    await ensure(db, clock.now())

    run = await db.write(lambda tx: begin(tx, record=False))

    assert run is not None
    assert run.id == 0
    assert await finish(db, run, clock.now())
    assert await db.read(jobs.runs) == (0, [])


async def test_runs_are_listed_newest_first_by_pages(db: Database, clock: Clock) -> None:
    await ensure(db, clock.now())
    await ensure(db, clock.now(), "charge")
    for name in ("sweep", "charge", "sweep", "sweep"):
        run = await db.write(jobs.begin, name, "one", lease_s=60, record=True)
        assert run is not None
        await finish(db, run, clock.now(), result=name)

    total, page = await db.read(lambda tx: jobs.runs(tx, offset=1, most=2))
    assert total == 4
    assert [run.job for run in page] == ["sweep", "charge"]
    total, page = await db.read(lambda tx: jobs.runs(tx, job="sweep"))
    assert total == 3
    assert [run.job for run in page] == ["sweep"] * 3
    assert page == sorted(page, key=lambda run: -run.id)


async def test_old_runs_are_swept_a_few_at_a_time(db: Database, clock: Clock) -> None:
    await ensure(db, clock.now())
    for _ in range(3):
        run = await db.write(begin)
        assert run is not None
        await finish(db, run, clock.now())
    clock.advance(days=1)

    def sweep(tx: Tx) -> int:
        return jobs.sweep(tx, older_than=tx.now, most=2)

    assert [await db.write(sweep) for _ in range(3)] == [2, 1, 0]


@pytest.mark.mariadb
async def test_of_two_processes_one_runs_the_job(
    mysql_book: MySQL, second_book: MySQL, clock: Clock
) -> None:
    await ensure(mysql_book, clock.now())
    for _ in range(10):
        runs = await asyncio.gather(mysql_book.write(begin, "one"), second_book.write(begin, "two"))

        taken = [run for run in runs if run is not None]
        assert len(taken) == 1
        assert await finish(second_book, taken[0], clock.now())


@pytest.mark.mariadb
async def test_a_name_too_long_for_its_column_is_an_error(mysql_book: MySQL) -> None:
    with pytest.raises(DBAPIError, match="too long"):
        await ensure(mysql_book, 0, "n" * 41)
