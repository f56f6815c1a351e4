"""What staff do with events that nobody has worked: look, and let them be worked once more."""

from __future__ import annotations

from accounts.audit.model import By
from devices.inbox.kept import store
from devices.inbox.kept.model import Kept, Wanted
from sql.database import Database
from sql.idempotency import Asked, fingerprint, once_as


class KeptEvents:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, wanted: Wanted, *, offset: int, most: int) -> tuple[int, list[Kept]]:
        """How many events there are of those wanted, and some of them."""
        return await self._db.read(store.page, wanted, offset=offset, most=most)

    async def put_back(self, row_id: int, *, by: By, reason: str, key: str = "") -> Kept:
        """Once per key. Raises EventNotFound, EventNotEnded, KeyReused."""
        mark = fingerprint("put_back", row_id, reason)
        asked = Asked(f"callbacks.put_back:{by.account_id}", key, mark)
        return await self._db.write(
            once_as, Kept, asked, store.put_back, row_id, by=by, reason=reason
        )
