"""Group commit: everything that waits, in one transaction, each in its own savepoint.

One fsync serves the whole batch. A function that raises undoes only itself; the requests
of one list verb are given to it together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

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

    def answer(self) -> None:
        """Hand the outcome to the caller, unless it has gone away."""
        if self.future.done():
            return
        if isinstance(self.outcome, BaseException):
            self.future.set_exception(self.outcome)
        else:
            self.future.set_result(self.outcome)


class RunAgain(Exception):
    """The database undid the transaction (deadlock, lost connection): run the batch again."""


# MySQL: deadlock, lock wait time-out, server gone, lost, shutting down, killed, read only.
_AGAIN_CODES = frozenset({1205, 1213, 2006, 2013, 2014, 2055, 1053, 1152, 1927, 4031, 1290})


def is_transient(error: DBAPIError) -> bool:
    """Whether running the same transaction again is right."""
    if error.connection_invalidated:
        return True
    original = error.orig
    code = original.args[0] if original is not None and original.args else None
    if code in _AGAIN_CODES:
        return True
    text = str(original)
    return "database is locked" in text or "Lost connection" in text


class Batch:
    """A transaction under way: runs jobs, collects what is to be told after the commit."""

    def __init__(
        self, connection: Connection, *, now: Millis, dialect: Dialect, memory: Memory
    ) -> None:
        self.connection = connection
        self.now = now
        self.dialect: Dialect = dialect
        self.memory = memory
        self.events: list[Event] = []
        self.wakes: set[str] = set()
        self.touched: set[Hashable] = set()

    def run(self, jobs: Sequence[Job]) -> None:
        """Run every job and leave its outcome in it. Raises RunAgain."""
        groups: dict[int, list[Job]] = {}
        for job in jobs:
            key = id(job.verb) if isinstance(job.verb, ListVerb) else id(job)
            groups.setdefault(key, []).append(job)
        for group in groups.values():
            verb = group[0].verb
            if isinstance(verb, ListVerb):
                self._run_list(verb, group)
            else:
                self._run_one(group[0])

    def _run_one(self, job: Job) -> None:
        try:
            job.outcome = self._in_savepoint(lambda tx: job.verb(tx, *job.args, **job.kwargs))
        except RunAgain:
            raise
        except Exception as error:
            job.outcome = error

    def _run_list(self, verb: ListVerb[Any, Any], jobs: list[Job]) -> None:
        requests = [job.args[0] for job in jobs]
        try:
            outcomes = self._in_savepoint(lambda tx: verb(tx, requests))
        except RunAgain:
            raise
        except Exception as error:
            outcomes = [error] * len(jobs)
            spoilt = len(jobs) > 1
        else:
            spoilt = False
        if spoilt:
            # One request spoilt it for all: let each have its own savepoint.
            for job in jobs:
                self._run_list(verb, [job])
            return
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.outcome = outcome

    def _in_savepoint(self, run: Callable[[Tx], Any]) -> Any:
        tx = Tx(self.connection, now=self.now, dialect=self.dialect, memory=self.memory)
        try:
            with self.connection.begin_nested():
                outcome = run(tx)
        except BaseException as error:
            tx.undo_memory()
            if isinstance(error, DBAPIError) and is_transient(error):
                raise RunAgain from error
            raise
        self.events += tx.events
        self.wakes |= tx.wakes
        self.touched |= tx.touched
        return outcome

    def forget(self) -> None:
        """The transaction did not commit: nothing remembered from it may stay."""
        self.memory.forget(self.touched)
