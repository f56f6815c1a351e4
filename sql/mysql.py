"""MySQL and MariaDB through aiomysql: the same functions, on a pooled connection.

SQLAlchemy's `run_sync` lets a plain function speak to an async driver; while it waits for
the server the loop goes on. aiomysql has no read time-out of its own, so every call here
stands under one of ours.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sql.batch import Batch, Job
from sql.database import Database, Told, as_ours
from sql.errors import CommitUnknown, DatabaseUnavailable
from sql.failures import Broken, surely_not_committed
from sql.patience import Patience
from sql.revision import bring_to_head
from sql.transaction import Memory, Tx
from sql.types import Millis

T = TypeVar("T")

log = logging.getLogger("callme.sql")

_RUNS_MAX = 5
_PAUSE_S = 0.05
# How long a start waits for another process that is migrating.
MIGRATION_TIMEOUT_S = 60

# A text too long for its column is an error, whatever the server is set to. A row that another
# process holds is waited for less long than our own time-out, so that the answer is orderly.
_SETTINGS = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION',"
    " innodb_lock_wait_timeout = 2"
)
# READ COMMITTED for the writer: what was read before a row lock was granted must not shadow
# what the lock's former holder wrote. Readers want one snapshot throughout, and no change.
_WRITING = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE"
_READING = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class MySQL(Database):
    """A server that several processes may share."""

    dialect = "mysql"
    # Longer than InnoDB needs for the largest batch, shorter than a person waits.
    timeout_s = 5.0

    def __init__(self, url: str, *, now: Callable[[], Millis], told: Told | None) -> None:
        super().__init__(now=now, told=told)
        self.url = make_url(url).set(drivername="mysql+aiomysql")
        self._writer = self._engine(_WRITING, size=1)
        self._reader = self._engine(_READING, size=6)
        self._committing = False
        self._queue: asyncio.Queue[list[Job] | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._write_forever(), name="mysql-write")

    def _engine(self, transactions: str, *, size: int) -> AsyncEngine:
        engine = create_async_engine(
            self.url,
            pool_size=size,
            max_overflow=0,
            # Our own time-out is the one that ends the waiting.
            pool_timeout=2 * self.timeout_s,
            pool_recycle=1800,
            # Every transaction is ended here; the pool would spend a round trip on doing it again.
            pool_reset_on_return=None,
            connect_args={
                "charset": "utf8mb4",
                "local_infile": False,
                "connect_timeout": 2,
                "init_command": _SETTINGS,
            },
        )

        @event.listens_for(engine.sync_engine, "connect")
        def set_transactions(connection: Any, _: object) -> None:
            cursor = connection.cursor()
            cursor.execute(transactions)
            cursor.close()

        event.listen(engine.sync_engine, "handle_error", _judge_by_kind)
        return engine

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
        wanted = [job for job in jobs if job.is_wanted]
        try:
            if wanted:
                batch = await self._run(wanted)
                events, wakes = batch.events, batch.wakes
                self.commits += 1
                self.written += len(wanted)
        except Exception as error:
            self._refuse(wanted, error)
        self._finish(jobs, events, wakes)

    async def _run(self, jobs: list[Job]) -> Batch:
        """Run the jobs in one transaction, again where that is right.

        Raises CommitUnknown, or what has stopped it: then nothing was changed.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout_s
        runs = 0
        while True:
            runs += 1
            try:
                batch = await self._in_time(jobs, one_by_one=False)
                return await self._in_time(jobs, one_by_one=True) if batch.spoilt else batch
            except Broken as broken:
                last = runs == _RUNS_MAX or self._closed or loop.time() > deadline
                if last or not broken.again:
                    raise
                log.info("a transaction is run again: %s", broken)
                await asyncio.sleep(_PAUSE_S * runs)

    async def _in_time(self, jobs: list[Job], *, one_by_one: bool) -> Batch:
        self._committing = False
        try:
            with Patience(self.timeout_s):
                return await self._attempt(jobs, one_by_one=one_by_one)
        except TimeoutError as error:
            if self._committing:
                raise CommitUnknown("no answer to the commit in time") from error
            raise DatabaseUnavailable("the database did not answer in time") from error

    async def _attempt(self, jobs: list[Job], *, one_by_one: bool) -> Batch:
        """One transaction. Raises Broken, CommitUnknown."""
        connection = await _connect(self._writer)
        raw = connection.sync_connection
        assert raw is not None
        batch = Batch(
            raw,
            now=self.now(),
            dialect="mysql",
            memory=self.memory,
            one_by_one=one_by_one,
        )
        done = False
        try:
            await connection.run_sync(_run_batch, batch, jobs)
            if batch.failed:
                await _end(connection)
            else:
                await self._send_commit(connection)
            done = True
        finally:
            if not done:
                batch.forget()
                # Whatever happened, the connection is in the middle of something: let it go.
                await connection.invalidate()
            await connection.close()
        return batch

    async def _send_commit(self, connection: AsyncConnection) -> None:
        self._committing = True
        try:
            await connection.commit()
        except DBAPIError as error:
            if surely_not_committed(error):
                raise Broken(error, again=True) from error
            raise CommitUnknown(str(error.orig)) from error

    async def _read(self, run: Callable[[Tx], T]) -> T:
        try:
            with Patience(self.timeout_s):
                try:
                    return await self._read_once(run)
                except Broken as broken:
                    log.info("a read is run again: %s", broken)
                    return await self._read_once(run)
        except (Broken, TimeoutError) as error:
            raise as_ours(error) from error

    async def _read_once(self, run: Callable[[Tx], T]) -> T:
        """Raises Broken."""
        connection = await _connect(self._reader)
        done = False
        try:
            value = await connection.run_sync(_run_read, self.now(), run)
            await _end(connection)
            done = True
        finally:
            if not done:
                await connection.invalidate()
            await connection.close()
        return value

    async def migrate(self) -> None:
        await asyncio.to_thread(self._migrate)

    def _migrate(self) -> None:
        engine = create_engine(
            self.url.set(drivername="mysql+pymysql"),
            poolclass=NullPool,
            # Changing a large table takes its time.
            connect_args={"charset": "utf8mb4", "connect_timeout": 5, "read_timeout": 900},
        )
        # Two processes may start at once: the second waits, then finds all done.
        name = f"callme-migrate:{self.url.database}"[:64]
        try:
            with engine.connect() as connection:
                ask = ("SELECT GET_LOCK(%s, %s)", (name, MIGRATION_TIMEOUT_S))
                got = connection.exec_driver_sql(*ask).scalar()
                connection.commit()
                if got != 1:
                    raise DatabaseUnavailable("another process is migrating")
                # The lock ends with the connection.
                bring_to_head(connection)
        except DBAPIError as error:
            raise as_ours(error) from error

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


async def _connect(engine: AsyncEngine) -> AsyncConnection:
    try:
        return await engine.connect()
    except DBAPIError as error:
        raise Broken(error, again=True) from error


async def _end(connection: AsyncConnection) -> None:
    try:
        await connection.rollback()
    except DBAPIError as error:
        raise Broken(error, again=True) from error


def _judge_by_kind(context: ExceptionContext) -> None:
    """SQLAlchemy looks for "connection was killed" in an error's text, which quotes the value
    that was refused: a client could have our connection closed by such a name."""
    if isinstance(context.sqlalchemy_exception, DataError | IntegrityError):
        context.is_disconnect = False


def _run_batch(_: Connection, batch: Batch, jobs: list[Job]) -> None:
    batch.run(jobs)


def _run_read(connection: Connection, now: Millis, run: Callable[[Tx], T]) -> T:
    return run(Tx(connection, now=now, dialect="mysql", memory=Memory(0)))
