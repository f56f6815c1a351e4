"""`Database`: run a plain function in a transaction, on SQLite or on MySQL alike.

    ticket = await db.write(take_number, stall_id, key)     # take_number(tx, stall_id, key)

Which of the two databases it is, only this package knows.
"""

from __future__ import annotations

import abc
import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from sqlalchemy.exc import SQLAlchemyError

from sql.batch import Job
from sql.errors import CommitUnknown, DatabaseError, DatabaseUnavailable, Overloaded
from sql.failures import Broken
from sql.transaction import Dialect, ListVerb, Memory, Tx, list_verb
from sql.types import Millis

if TYPE_CHECKING:
    from sql.events import Event

__all__ = ["Database", "ListVerb", "Tx", "list_verb", "open_database"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Told = Callable[[list["Event"], set[str]], None]

log = logging.getLogger("callme.sql")


class Database(abc.ABC):
    """Transactions in order, committed in groups; reads beside them."""

    dialect: Dialect
    # Waiting functions; more than a few seconds' work means that the disk has stopped.
    waiting_max = 20_000
    reading_max = 20_000
    # Functions in one transaction: long enough to share an fsync, short enough to answer.
    batch_max = 512

    def __init__(self, *, now: Callable[[], Millis], told: Told | None) -> None:
        self.now = now
        self.memory = Memory()
        self._told = told
        self._waiting: list[Job] = []
        self._outstanding = 0
        self._reading = 0
        self._flushing = False
        self._closed = False
        self.commits = 0
        self.written = 0

    @overload
    async def write(self, verb: ListVerb[R, T], request: R, /) -> T: ...
    @overload
    async def write(
        self, verb: Callable[Concatenate[Tx, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    async def write(self, verb: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run verb(tx, …) in a transaction; return when it is committed.

        What verb raises is raised here, and only its own changes are undone. Cancelling the
        caller does not stop a function that has begun: it commits, and only the caller is
        not told. One that has not begun is never run.
        Raises DatabaseUnavailable, Overloaded (nothing changed), CommitUnknown.
        """
        return await self.submit(verb, *args, **kwargs)

    def submit(self, verb: Any, /, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        """As `write`, for a caller that wants the future itself."""
        loop = asyncio.get_running_loop()
        if self._closed or self._outstanding >= self.waiting_max:
            raise Overloaded("closed" if self._closed else "too many transactions wait")
        future: asyncio.Future[Any] = loop.create_future()
        self._outstanding += 1
        self._waiting.append(Job(verb, args, kwargs, future))
        if not self._flushing:
            # At the end of this tick, so that all who ask in one tick share a commit.
            self._flushing = True
            loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        self._flushing = False
        jobs, self._waiting = self._waiting, []
        if jobs:
            self._hand_over(jobs)

    async def read(
        self, verb: Callable[Concatenate[Tx, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run verb(tx, …) on a consistent snapshot; it can change nothing.

        Raises DatabaseUnavailable, Overloaded.
        """
        if self._closed or self._reading >= self.reading_max:
            raise Overloaded("closed" if self._closed else "too many readers wait")
        self._reading += 1
        try:
            return await self._read(lambda tx: verb(tx, *args, **kwargs))
        finally:
            self._reading -= 1

    def _finish(self, jobs: list[Job], events: list[Event], wakes: set[str]) -> None:
        """Back on the loop, after the commit: tell what happened, let the answers go."""
        self._outstanding -= len(jobs)
        if (events or wakes) and self._told is not None:
            try:
                self._told(events, wakes)
            except Exception:
                # A listener's mistake must not turn a committed change into an error.
                log.exception("telling of committed events failed")
        for job in jobs:
            job.answer()

    @abc.abstractmethod
    def _hand_over(self, jobs: list[Job]) -> None: ...

    def _refuse(self, jobs: list[Job], error: BaseException) -> None:
        """Leave the refusal of the whole batch in every job."""
        if not isinstance(error, Broken | DatabaseError | SQLAlchemyError):
            log.error("a transaction failed", exc_info=error)
        for job in jobs:
            # One exception each: its traceback grows wherever it is raised.
            job.outcome = as_ours(error)

    @abc.abstractmethod
    async def _read(self, run: Callable[[Tx], T]) -> T: ...

    @abc.abstractmethod
    async def migrate(self) -> None:
        """Bring the tables to this program's version.

        May be repeated, and by several processes at once. Raises NotMigrated when they are
        newer than this program, DatabaseUnavailable.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Commit what waits, then let go of the database. May be repeated."""

    @property
    def outstanding(self) -> int:
        """Functions that wait or run now."""
        return self._outstanding


def as_ours(error: BaseException) -> DatabaseError:
    """A refusal for one caller, from what stopped the whole batch."""
    kind = CommitUnknown if isinstance(error, CommitUnknown) else DatabaseUnavailable
    refused = kind(str(getattr(error, "orig", None) or error))
    refused.__cause__ = error
    return refused


async def open_database(
    url: str, *, now: Callable[[], Millis], told: Told | None = None
) -> Database:
    """Open `sqlite:///path` or `mysql://user:password@host:port/name`.

    told is called on the loop after each commit, in the order of commits.
    Raises ValueError for another kind of url, DatabaseInUse, DatabaseUnavailable. That the
    server answers is known only from the first transaction.
    """
    if url.startswith("sqlite:///"):
        # Both import this module, and one of them is never needed.
        from sql.sqlite import SQLite  # noqa: PLC0415

        return SQLite(url.removeprefix("sqlite:///"), now=now, told=told)
    if url.startswith(("mysql://", "mariadb://")):
        from sql.mysql import MySQL  # noqa: PLC0415

        return MySQL(url, now=now, told=told)
    raise ValueError("a database url begins with sqlite:/// or mysql://")
