"""When sessions were used: noted in memory, written to the database in groups."""

import asyncio
import logging

from accounts import store
from sql.database import Database
from sql.errors import DatabaseError
from sql.types import Millis

log = logging.getLogger("callme.accounts")


class Uses:
    """most: how many sessions' uses are kept while the database is out."""

    def __init__(self, db: Database, *, most: int) -> None:
        self._db = db
        self._most = most
        self._unwritten: dict[int, Millis] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, session_id: int, used_at: Millis) -> None:
        """Have it written soon, together with what else is noted until then."""
        self._unwritten[session_id] = used_at
        self._start()

    def forget(self, session_id: int) -> None:
        self._unwritten.pop(session_id, None)

    async def flush(self) -> bool:
        """Wait until all is written; False when the database is out and some had to be kept."""
        self._start()
        if self._writing is not None:
            await self._writing
        return not self._unwritten

    def _start(self) -> None:
        if self._unwritten and self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="session-uses")

    async def _write(self) -> None:
        """What is noted during a write goes together into the next.

        What could not be written waits for the next use or flush.
        """
        try:
            while self._unwritten:
                uses, self._unwritten = self._unwritten, {}
                try:
                    await self._db.write(store.touch_sessions, uses)
                except DatabaseError as error:
                    log.warning("uses of %d sessions are not written yet: %s", len(uses), error)
                    kept = uses | self._unwritten
                    self._unwritten = dict(list(kept.items())[-self._most :])
                    return
        finally:
            self._writing = None
