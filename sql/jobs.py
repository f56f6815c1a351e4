"""When timed jobs are due and who runs them: a lease per job, a record per run."""

from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select, update

from sql.tables.core import job_runs, jobs
from sql.transaction import Tx, insert_missing
from sql.types import Millis


class Run(msgspec.Struct, frozen=True):
    """A run of a job, as the admin sees it. finished_at None: running, or its process died."""

    id: int
    job: str
    runner: str
    due_at: Millis
    started_at: Millis
    finished_at: Millis | None
    result: str
    error: str


def ensure(tx: Tx, name: str, *, first_due_at: Millis) -> None:
    """Make the job's row if there is none; an existing one keeps its due time."""
    row = {"name": name, "due_at": first_due_at, "leased_by": "", "leased_until": 0}
    insert_missing(tx, jobs, [row])


def begin(
    tx: Tx, name: str, runner: str, *, lease_s: int, record: bool, anyway: bool = False
) -> Run | None:
    """Take a due job for lease_s and record the run's start; None when it is not ours to run.

    anyway: run though it is not due yet (it was woken). record: whether the run gets a row;
    a job of every few seconds would drown the rest.
    """
    row = tx.execute(select(jobs).where(jobs.c.name == name).with_for_update()).first()
    if row is None or (row.due_at > tx.now and not anyway):
        return None
    # A lease that ends later than one taken now was given by a clock that ran ahead.
    if tx.now < row.leased_until <= tx.now + lease_s * 1000:
        return None
    tx.execute(
        update(jobs)
        .where(jobs.c.name == name)
        .values(leased_by=runner, leased_until=tx.now + lease_s * 1000)
    )
    run_id = 0
    if record:
        values: dict[str, Any] = {
            "job": name,
            "runner": runner,
            "due_at": row.due_at,
            "started_at": tx.now,
            "finished_at": None,
            "result": "",
            "error": "",
        }
        key = tx.execute(insert(job_runs), values).inserted_primary_key
        assert key is not None
        run_id = key[0]
    return Run(run_id, name, runner, row.due_at, tx.now, None, "", "")


def finish(tx: Tx, run: Run, *, next_due_at: Millis, result: str = "", error: str = "") -> bool:
    """Give the lease back and set the next due time; False when the lease had been lost."""
    mine = tx.execute(
        update(jobs)
        .where(jobs.c.name == run.job, jobs.c.leased_by == run.runner)
        .values(due_at=next_due_at, leased_by="", leased_until=0)
    )
    if run.id:
        tx.execute(
            update(job_runs)
            .where(job_runs.c.id == run.id)
            .values(finished_at=tx.now, result=result[:400], error=error[:400])
        )
    return mine.rowcount == 1


def due_times(tx: Tx) -> dict[str, Millis]:
    """When each job is due next."""
    return {row.name: row.due_at for row in tx.execute(select(jobs.c.name, jobs.c.due_at))}


def runs(tx: Tx, *, job: str = "", offset: int = 0, most: int = 20) -> tuple[int, list[Run]]:
    """Runs, newest first, and how many there are in all."""
    where = [job_runs.c.job == job] if job else []
    total = tx.execute(select(func.count()).select_from(job_runs).where(*where)).scalar_one()
    rows = tx.execute(
        select(job_runs).where(*where).order_by(job_runs.c.id.desc()).offset(offset).limit(most)
    )
    return total, [Run(**row._mapping) for row in rows]


def sweep(tx: Tx, *, older_than: Millis, most: int = 500) -> int:
    """Remove records of runs that started before older_than."""
    old = [
        row.id
        for row in tx.execute(
            select(job_runs.c.id).where(job_runs.c.started_at < older_than).limit(most)
        )
    ]
    if old:
        tx.execute(delete(job_runs).where(job_runs.c.id.in_(old)))
    return len(old)
