"""MySQL and MariaDB through aiomysql: the same functions, on a pooled connection.

SQLAlchemy's `run_sync` lets a plain function speak to an async driver; while it waits for
the server the loop goes on. aiomysql has no read time-out of its own, so every call here
stands under one of ours.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.engine.interfaces import IsolationLevel
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sql.batch import Batch, Job, RunAgain, is_transient
from sql.database import Database, Told
from sql.errors import CommitUnknown, DatabaseError, DatabaseUnavailable
from sql.transaction import Memory, Tx
from sql.types import Millis

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("callme.sql")

_RUNS_MAX = 5
_PAUSE_S = 0.05


class MySQL(Database):
    """A server that several processes may share."""

    dialect = "mysql"
    # Longer than InnoDB needs for the largest batch, shorter than a person waits.
    timeout_s = 5.0

    def __init__(self, url: str, *, now: Callable[[], Millis], told: Told | None) -> None:
        super().__init__(now=now, told=told)
        self.url = make_url(url).set(drivername="mysql+aiomysql")
        # READ COMMITTED for the writer: what was read before a row lock was granted must not
        # shadow what the lock's former holder wrote. Readers want one snapshot throughout.
        self._writer = self._engine("READ COMMITTED", size=1)
        self._reader = self._engine("REPEATABLE READ", size=6)
        self._queue: asyncio.Queue[list[Job] | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._write_forever(), name="mysql-write")

    def _engine(self, isolation: IsolationLevel, *, size: int) -> AsyncEngine:
        return create_async_engine(
            self.url,
            isolation_level=isolation,
            pool_size=size,
            max_overflow=0,
            pool_timeout=self.timeout_s,
            pool_pre_ping=True,
            pool_recycle=1800,
            connect_args={"charset": "utf8mb4", "local_infile": False, "connect_timeout": 2},
        )

    def _hand_over(self, jobs: list[Job]) -> None:
        self._queue.put_nowait(jobs)

    async def _write_forever(self) -> None:
        left: list[Job] = []
        while True:
            jobs = left or await self._queue.get()
            if jobs is None:
                return
            while len(jobs) < self.batch_max and not self._queue.empty():
                more = self._queue.get_nowait()
                if more is None:
                    self._queue.put_nowait(None)
                    break
                jobs = jobs + more
            jobs, left = jobs[: self.batch_max], jobs[self.batch_max :]
            await self._commit(jobs)

    async def _commit(self, jobs: list[Job]) -> None:
        events: list[Any] = []
        wakes: set[str] = set()
        try:
            batch = await self._run(jobs)
            events, wakes = batch.events, batch.wakes
            self.commits += 1
            self.written += len(jobs)
        except Exception as error:
            refused = _as_ours(error)
            for job in jobs:
                job.outcome = refused
        self._finish(jobs, events, wakes)

    async def _run(self, jobs: list[Job]) -> Batch:
        error: BaseException | None = None
        for attempt in range(_RUNS_MAX):
            await asyncio.sleep(_PAUSE_S * attempt)
            try:
                async with asyncio.timeout(self.timeout_s):
                    return await self._attempt(jobs)
            except RunAgain as again:
                error = again.__cause__
                log.info("a transaction is run again: %s", error)
        raise DatabaseUnavailable("the database gave no answer") from error

    async def _attempt(self, jobs: list[Job]) -> Batch:
        """One transaction. Raises RunAgain, CommitUnknown, or what the driver raised."""
        try:
            connection = await self._writer.connect()
        except DBAPIError as error:
            raise RunAgain from error
        batch: Batch | None = None
        committing = False
        try:
            await connection.begin()
            raw = connection.sync_connection
            assert raw is not None
            batch = Batch(
                raw,
                now=self.now(),
                dialect="mysql",
                memory=self.memory,
            )
            await connection.run_sync(_run_batch, batch, jobs)
            committing = True
            await connection.commit()
        except BaseException as error:
            if batch is not None:
                batch.forget()
            # Whatever happened, the connection is in the middle of something: let it go.
            await connection.invalidate()
            if committing:
                raise CommitUnknown(str(error)) from error
            if isinstance(error, DBAPIError) and is_transient(error):
                raise RunAgain from error
            raise
        finally:
            await connection.close()
        return batch

    async def read(
        self, verb: Callable[Concatenate[Tx, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        def run(connection: Connection) -> T:
            tx = Tx(connection, now=self.now(), dialect="mysql", memory=Memory(0))
            try:
                return verb(tx, *args, **kwargs)
            finally:
                if not connection.invalidated:
                    connection.rollback()

        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._read(run)
        except TimeoutError as error:
            raise DatabaseUnavailable("the database did not answer in time") from error
        except DBAPIError as error:
            raise DatabaseUnavailable(str(error.orig)) from error

    async def _read(self, run: Callable[[Connection], T]) -> T:
        for attempt in range(2):
            try:
                async with self._reader.connect() as connection:
                    try:
                        return await connection.run_sync(run)
                    except asyncio.CancelledError:
                        await connection.invalidate()
                        raise
            except DBAPIError as error:
                if attempt or not is_transient(error):
                    raise
        raise AssertionError("unreachable")

    async def migrate(self) -> None:
        await asyncio.to_thread(self._migrate)

    def _migrate(self) -> None:
        # Alembic takes longer to import than the rest of a start: only who migrates pays.
        from sql.migrate import upgrade  # noqa: PLC0415

        engine = create_engine(
            self.url.set(drivername="mysql+pymysql"),
            poolclass=NullPool,
            connect_args={"charset": "utf8mb4", "connect_timeout": 5},
        )
        try:
            with engine.connect() as connection:
                # Two processes may start at once: the second waits, then finds all done.
                connection.exec_driver_sql("SELECT GET_LOCK('callme-migrate', 60)")
                connection.commit()
                upgrade(connection)
                connection.exec_driver_sql("SELECT RELEASE_LOCK('callme-migrate')")
        except DBAPIError as error:
            raise DatabaseUnavailable(str(error.orig)) from error
        finally:
            engine.dispose()

    async def close(self) -> None:
        if self._closed:
            return
        self._flush()
        self._closed = True
        self._queue.put_nowait(None)
        await self._task
        await self._writer.dispose()
        await self._reader.dispose()
        await asyncio.sleep(0)


def _run_batch(_: Connection, batch: Batch, jobs: list[Job]) -> None:
    batch.run(jobs)


def _as_ours(error: Exception) -> DatabaseError:
    if isinstance(error, DatabaseError):
        return error
    if not isinstance(error, DBAPIError | TimeoutError):
        log.error("a transaction failed", exc_info=error)
    refused = DatabaseUnavailable(str(getattr(error, "orig", None) or error))
    refused.__cause__ = error
    return refused
