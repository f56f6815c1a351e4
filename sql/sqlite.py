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
from typing import IO, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool, StaticPool

from sql.batch import Batch, Job, RunAgain
from sql.database import Database, Told
from sql.errors import DatabaseInUse, DatabaseUnavailable
from sql.transaction import Memory, Tx
from sql.types import Millis

P = ParamSpec("P")
T = TypeVar("T")

READERS = 3
_RUNS_MAX = 3


class SQLite(Database):
    """A database file that belongs to this process alone."""

    dialect = "sqlite"

    def __init__(self, path: str, *, now: Callable[[], Millis], told: Told | None) -> None:
        super().__init__(now=now, told=told)
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.path)
        self._loop = asyncio.get_running_loop()
        self._writer = _engine(self.path, begin="BEGIN IMMEDIATE", pool={"poolclass": StaticPool})
        self._reader = _engine(
            self.path,
            begin="BEGIN",
            pool={"poolclass": QueuePool, "pool_size": READERS, "max_overflow": 0},
            query_only=True,
        )
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-read")
        self._queue: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._left: list[Job] = []
        self._thread = threading.Thread(target=self._write_forever, name="sqlite-write")
        self._thread.daemon = True
        self._thread.start()

    def _hand_over(self, jobs: list[Job]) -> None:
        self._queue.put(jobs)

    def _write_forever(self) -> None:
        while True:
            jobs = self._left or self._queue.get()
            self._left = []
            if jobs is None:
                return
            jobs = list(jobs)
            while len(jobs) < self.batch_max and not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    self._queue.put(None)
                    break
                jobs += more
            jobs, self._left = jobs[: self.batch_max], jobs[self.batch_max :]
            self._commit(jobs)

    def _commit(self, jobs: list[Job]) -> None:
        events: list[Any] = []
        wakes: set[str] = set()
        try:
            batch = self._run(jobs)
            events, wakes = batch.events, batch.wakes
            self.commits += 1
            self.written += len(jobs)
        except Exception as error:
            refused = error if isinstance(error, DatabaseUnavailable) else _unavailable(error)
            for job in jobs:
                job.outcome = refused
        self._loop.call_soon_threadsafe(self._finish, jobs, events, wakes)

    def _run(self, jobs: list[Job]) -> Batch:
        for _ in range(_RUNS_MAX):
            with self._writer.connect() as connection:
                batch = Batch(connection, now=self.now(), dialect="sqlite", memory=self.memory)
                try:
                    with connection.begin():
                        batch.run(jobs)
                    return batch
                except RunAgain:
                    batch.forget()
                except BaseException:
                    batch.forget()
                    raise
        raise DatabaseUnavailable("the database stayed locked")

    async def read(
        self, verb: Callable[Concatenate[Tx, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        call = self._loop.run_in_executor(self._readers, self._read, verb, args, kwargs)
        return await call

    def _read(self, verb: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        try:
            with self._reader.connect() as connection, connection.begin():
                tx = Tx(connection, now=self.now(), dialect="sqlite", memory=Memory(0))
                return verb(tx, *args, **kwargs)
        except DBAPIError as error:
            raise _unavailable(error) from error

    async def migrate(self) -> None:
        # Alembic takes longer to import than the rest of a start: only who migrates pays.
        from sql.migrate import upgrade  # noqa: PLC0415

        await asyncio.to_thread(self._on_writer, upgrade)

    def _on_writer(self, run: Callable[[Connection], None]) -> None:
        with self._writer.connect() as connection:
            run(connection)

    async def close(self) -> None:
        if self._closed:
            return
        self._flush()
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._readers.shutdown()
        self._reader.dispose()
        with self._writer.connect() as connection:
            connection.exec_driver_sql("PRAGMA optimize")
        self._writer.dispose()
        self._lock.close()
        # The answers of the last batch were handed to the loop: let it give them out.
        await asyncio.sleep(0)


def _unavailable(error: BaseException) -> DatabaseUnavailable:
    refused = DatabaseUnavailable(str(getattr(error, "orig", None) or error))
    refused.__cause__ = error
    return refused


def _lock(path: Path) -> IO[str]:
    """Take the file beside the database that says whose it is.

    SQLite itself would let a second process in, and both would hand out the same numbers
    from memory.
    """
    held = path.with_name(path.name + ".lock").open("a")
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
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=ON")
        raw.execute("PRAGMA busy_timeout=5000")
        raw.execute("PRAGMA cache_size=-65536")
        raw.execute("PRAGMA temp_store=MEMORY")
        if query_only:
            raw.execute("PRAGMA query_only=ON")
        return raw

    engine = create_engine("sqlite://", creator=connect, **pool)

    @event.listens_for(engine, "begin")
    def do_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
