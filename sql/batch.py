"""Group commit: everything that waits, in one transaction, each in its own savepoint.

One fsync serves the whole batch. A function that raises undoes only itself; the requests
of one list verb are given to it together. What is alone in its transaction needs no
savepoint: it is committed or rolled back with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from sql.failures import Broken, broken_by
from sql.transaction import Dialect, ListVerb, Memory, Tx
from sql.types import Millis

if TYPE_CHECKING:
    from sql.events import Event


class Job:
    """One function that waits for its transaction, and the future its caller awaits."""

    __slots__ = ("args", "future", "kwargs", "outcome", "verb")

    def __init__(
        self,
        verb: Callable[..., Any] | ListVerb[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        future: asyncio.Future[Any],
    ) -> None:
        self.verb = verb
        self.args = args
        self.kwargs = kwargs
        self.future = future
        self.outcome: Any = None

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not self.future.done()

    def answer(self) -> None:
        """Hand the outcome to the caller, unless it has gone away."""
        if not self.is_wanted:
            return
        outcome = self.outcome
        if isinstance(outcome, StopIteration):
            # A future refuses it, and all who come after would never be answered.
            outcome = RuntimeError("a database function raised StopIteration")
            outcome.__cause__ = self.outcome
        if isinstance(outcome, BaseException):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Batch:
    """A transaction under way: runs jobs, collects what is to be told after the commit."""

    def __init__(
        self,
        connection: Connection,
        *,
        now: Millis,
        dialect: Dialect,
        memory: Memory,
        one_by_one: bool = False,
    ) -> None:
        self.connection = connection
        self.now = now
        self.dialect: Dialect = dialect
        self.memory = memory
        self.one_by_one = one_by_one
        self.events: list[Event] = []
        self.wakes: set[str] = set()
        self.touched: set[Hashable] = set()
        # The only function there was has raised: roll back, there is nothing to commit.
        self.failed = False
        # One request has spoilt a list verb for all: run the batch again, one by one.
        self.spoilt = False

    def run(self, jobs: Sequence[Job]) -> None:
        """Run every job and leave its outcome in it. Raises Broken."""
        groups = [[job] for job in jobs] if self.one_by_one else _groups(jobs)
        if len(groups) == 1:
            self._run_alone(groups[0])
            return
        for group in groups:
            self._run_group(group)

    def _run_alone(self, group: list[Job]) -> None:
        try:
            self._run_verb(group)
        except Broken:
            raise
        except Exception as error:
            self.failed = True
            self.spoilt = len(group) > 1
            group[0].outcome = error

    def _run_group(self, group: list[Job]) -> None:
        self._say("SAVEPOINT fn")
        try:
            self._run_verb(group)
        except Broken:
            raise
        except Exception as error:
            self._say("ROLLBACK TO SAVEPOINT fn")
            self._release()
            if len(group) == 1:
                group[0].outcome = error
                return
            # One request spoilt it for all: let each have its own savepoint.
            for job in group:
                self._run_group([job])
        else:
            self._release()

    def _release(self) -> None:
        # MySQL replaces a savepoint of the same name; SQLite would stack them.
        if self.dialect == "sqlite":
            self._say("RELEASE SAVEPOINT fn")

    def _say(self, text: str) -> None:
        try:
            self.connection.exec_driver_sql(text)
        except DBAPIError as error:
            # A savepoint that is not there: its transaction is not there any more.
            raise (broken_by(error) or Broken(error, again=True)) from error

    def _run_verb(self, group: list[Job]) -> None:
        """Run one function, or one list verb for all its requests; keep what it has to tell."""
        tx = Tx(self.connection, now=self.now, dialect=self.dialect, memory=self.memory)
        try:
            outcomes = _call(tx, group)
            if tx.broken is not None:
                # The function went on as if nothing had happened.
                raise tx.broken
        except BaseException as error:
            tx.undo_memory()
            if tx.broken is None and isinstance(error, DBAPIError):
                tx.broken = broken_by(error)
            if tx.broken is not None:
                # It carries the driver's error as its cause already.
                raise tx.broken  # noqa: B904
            raise
        for job, outcome in zip(group, outcomes, strict=True):
            job.outcome = outcome
        self.events += tx.events
        self.wakes |= tx.wakes
        self.touched |= tx.touched

    def forget(self) -> None:
        """The transaction did not commit: nothing remembered from it may stay."""
        self.memory.forget(self.touched)


def _groups(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that run together: each alone, but all requests of a list verb as one."""
    groups: dict[int, list[Job]] = {}
    for job in jobs:
        key = id(job.verb) if isinstance(job.verb, ListVerb) else id(job)
        groups.setdefault(key, []).append(job)
    return list(groups.values())


def _call(tx: Tx, group: list[Job]) -> Sequence[Any]:
    job = group[0]
    if not isinstance(job.verb, ListVerb):
        return [job.verb(tx, *job.args, **job.kwargs)]
    outcomes = job.verb(tx, [job.args[0] for job in group])
    if len(outcomes) != len(group):
        raise ValueError(f"{job.verb.name}: {len(outcomes)} outcomes for {len(group)} requests")
    return outcomes
