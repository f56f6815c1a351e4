"""Reading the audit, and seeing that it is whole."""

import logging

from accounts.audit import store
from accounts.audit.model import Entry, Filter
from sql.database import Database

log = logging.getLogger("callme.accounts")


class Audit:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, wanted: Filter, *, offset: int, most: int) -> tuple[int, list[Entry]]:
        """How many lines there are of what is wanted, and some of them, newest first."""
        return await self._db.read(store.page, wanted, offset=offset, most=most)

    async def check(self) -> str:
        """Verify, and keep an alert raised for as long as it is not whole."""
        broken = await self.verify()
        await self._db.write(store.tell, broken)
        return "whole" if broken is None else f"line {broken} is not what was written"

    async def verify(self) -> int | None:
        """The place of the first line that was changed or is missing; None: all are there."""
        broken = await self._db.read(store.verify)
        if broken is not None:
            log.error("the audit was tampered with: line %d is not what was written", broken)
        return broken
