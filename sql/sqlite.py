"""SQLite: one writer thread with one connection, readers apart, one process.

WAL so that readers never wait for the writer; synchronous=FULL so that an answered request
survives a power cut, not only a crash.
"""

from __future__ import annotations

import asyncio
import fcntl
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from sql.batch import Batch, Job
from sql.database import Database, Told, as_ours
from sql.errors import CommitUnknown, DatabaseInUse, DatabaseUnavailable
from sql.failures import Broken, broken_by, code_of
from sql.revision import bring_to_head
from sql.transaction import Memory, Tx
from sql.types import Millis

T = TypeVar("T")

READERS = 3
# The disk did not say whether it has what was written: after a power cut it may be there.
_MAYBE_WRITTEN = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})


class SQLite(Database):
    """A database file that belongs to this process alone."""

    dialect = "sqlite"

    def __init__(self, path: str, *, now: Callable[[], Millis], told: Told | None) -> None:
        super().__init__(now=now, told=told)
        if not path or ":memory:" in path:
            raise ValueError("SQLite needs a file: sqlite:///path")
        self.path = Path(path).resolve()
        self._lock = lock(self.path)
        self._loop = asyncio.get_running_loop()
        self._writer = _engine(self.path, begin="BEGIN IMMEDIATE", pool={"poolclass": StaticPool})
        self._reader = _engine(
            self.path,
            begin="BEGIN",
            pool={"poolclass": QueuePool, "pool_size": READERS, "max_overflow": 0},
            query_only=True,
        )
        self._reopens = False
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-read")
        self._queue: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_forever, name="sqlite-write")
        self._thread.daemon = True
        self._thread.start()

    def _hand_over(self, jobs: list[Job]) -> None:
        self._queue.put(jobs)

    def _write_forever(self) -> None:
        left: list[Job] = []
        while True:
            jobs = left or self._queue.get()
            if jobs is None:
                return
            while len(jobs) < self.batch_max and not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    self._queue.put(None)
                    break
                jobs = jobs + more
            jobs, left = jobs[: self.batch_max], jobs[self.batch_max :]
            self._commit(jobs)

    def _commit(self, jobs: list[Job]) -> None:
        events: list[Any] = []
        wakes: set[str] = set()
        wanted = [job for job in jobs if job.is_wanted]
        try:
            if wanted:
                batch = self._run(wanted)
                events, wakes = batch.events, batch.wakes
                self.commits += 1
                self.written += len(wanted)
        except BaseException as error:
            # Even a SystemExit must not end this thread: all would wait for ever.
            self._refuse(wanted, error)
        self._loop.call_soon_threadsafe(self._finish, jobs, events, wakes)

    def _run(self, jobs: list[Job]) -> Batch:
        batch = self._attempt(jobs, one_by_one=False)
        return self._attempt(jobs, one_by_one=True) if batch.spoilt else batch

    def _attempt(self, jobs: list[Job], *, one_by_one: bool) -> Batch:
        """One transaction. Raises CommitUnknown, or what has stopped it: nothing was changed.

        There is nothing to run again: once begun, nobody can take the file's lock from us.
        """
        if self._reopens:
            # The file may be well again. Readers too, for the connections of one process share
            # what they know of a file: while one lives that may only read it, none may write.
            self._reader.dispose()
            self._writer.dispose()
            self._reopens = False
        with self._writer.connect() as connection:
            batch = Batch(
                connection,
                now=self.now(),
                dialect="sqlite",
                memory=self.memory,
                one_by_one=one_by_one,
            )
            try:
                connection.begin()
                batch.run(jobs)
                if batch.failed:
                    connection.rollback()
                else:
                    _send_commit(connection)
            except BaseException:
                batch.forget()
                self._reopens = True
                raise
        return batch

    async def _read(self, run: Callable[[Tx], T]) -> T:
        return await self._loop.run_in_executor(self._readers, self._read_now, run)

    def _read_now(self, run: Callable[[Tx], T]) -> T:
        try:
            with self._reader.connect() as connection, connection.begin():
                return run(Tx(connection, now=self.now(), dialect="sqlite", memory=Memory(0)))
        except DBAPIError as error:
            broken = broken_by(error)
            if broken is None:
                raise
            raise as_ours(broken) from error
        except Broken as broken:
            cause = broken.__cause__
            if isinstance(cause, DBAPIError) and code_of(cause) == sqlite3.SQLITE_READONLY:
                # Not the file: the function wanted to write.
                raise cause from None
            raise as_ours(broken) from cause

    async def migrate(self) -> None:
        await asyncio.to_thread(self._migrate)

    def _migrate(self) -> None:
        # A connection of its own: the writer's belongs to its thread.
        engine = _engine(self.path, begin="BEGIN IMMEDIATE", pool={"poolclass": NullPool})
        try:
            with engine.connect() as connection:
                bring_to_head(connection)
        except DBAPIError as error:
            raise as_ours(error) from error

    async def close(self) -> None:
        if self._closed:
            return
        self._flush()
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._close)
        # The answers of the last batch were handed to the loop: let it give them out.
        await asyncio.sleep(0)

    def _close(self) -> None:
        self._thread.join()
        self._readers.shutdown()
        self._reader.dispose()
        self._writer.dispose()
        self._lock.close()


def _send_commit(connection: Connection) -> None:
    try:
        connection.commit()
    except DBAPIError as error:
        if code_of(error) in _MAYBE_WRITTEN:
            raise CommitUnknown(str(error.orig)) from error
        raise


def lock(path: Path) -> IO[str]:
    """Take the file beside the database that says whose it is.

    SQLite itself would let a second process in, and both would hand out the same numbers
    from memory.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.with_name(path.name + ".lock").open("a")
    except OSError as error:
        raise DatabaseUnavailable(str(error)) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held.close()
        raise DatabaseInUse(f"{path} is open in another process") from error
    return held


def _engine(path: Path, *, begin: str, pool: dict[str, Any], query_only: bool = False) -> Engine:
    def connect() -> sqlite3.Connection:
        # isolation_level=None: the driver must not begin transactions of its own.
        raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            _set_up(raw, query_only=query_only)
        except BaseException:
            raw.close()
            raise
        return raw

    engine = create_engine("sqlite://", creator=connect, **pool)

    @event.listens_for(engine, "begin")
    def do_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _set_up(raw: sqlite3.Connection, *, query_only: bool) -> None:
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("PRAGMA synchronous=FULL")
    raw.execute("PRAGMA foreign_keys=ON")
    # Else a REPLACE would remove a row unseen by the triggers that refuse it.
    raw.execute("PRAGMA recursive_triggers=ON")
    raw.execute("PRAGMA cache_size=-65536")
    raw.execute("PRAGMA temp_store=MEMORY")
    # Pages that many batches touch are copied back once: a log of 32 MB instead of 4. Reading it
    # through after a crash takes a tenth of a second.
    raw.execute("PRAGMA wal_autocheckpoint=8192")
    if query_only:
        raw.execute("PRAGMA query_only=ON")
