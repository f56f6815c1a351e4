"""Goods from the ERP, page by page, each kept before the next is asked for."""

from __future__ import annotations

from typing import Final

from accounts.audit.model import By
from commerce.erp import Erp, ErpError, ErpRefused
from commerce.goods import store
from commerce.goods.model import Good, Synced, SyncFailed, Wanted
from sql.database import Database

PAGES_MAX: Final = 500
"""Of one run: a hundred thousand goods. An ERP that has ever more would keep us for ever."""

_CURSOR_UNKNOWN: Final = "cursor.unknown"


class Goods:
    """erp: None where none is set up; then nothing comes in."""

    def __init__(self, db: Database, erp: Erp | None) -> None:
        self._db = db
        self._erp = erp

    async def sync(self) -> Synced:
        """Take what was changed since the last run. Raises SyncFailed; what came is kept."""
        if self._erp is None:
            raise SyncFailed("no ERP is set up")
        try:
            return await self._sync(self._erp)
        except ErpError as error:
            raise SyncFailed(str(error)) from error

    async def sync_for(self, by: By) -> Synced:
        """As a person wants it: the run leaves a line in the audit, also one that failed."""
        try:
            done = await self.sync()
        except SyncFailed as failed:
            await self._db.write(store.note_sync, {"error": str(failed)[:200]}, by=by)
            raise
        await self._db.write(store.note_sync, done.counts, by=by)
        return done

    async def _sync(self, erp: Erp) -> Synced:
        done = Synced()
        for _ in range(PAGES_MAX):
            cursor = await self._db.read(store.cursor)
            try:
                page = await erp.goods(cursor)
            except ErpRefused as refused:
                if not cursor or refused.reason != _CURSOR_UNKNOWN:
                    raise
                # It was set up anew: from the beginning, as its versions decide.
                await self._db.write(store.forget_cursor)
                continue
            taken = await self._db.write(store.take_page, page.goods, page.unfit, page.next_cursor)
            done = done.plus(taken)
            if not page.has_more or page.next_cursor == cursor:
                break
        return done

    async def page(self, wanted: Wanted, *, offset: int, most: int) -> tuple[int, list[Good]]:
        """How many goods there are of those wanted, and some of them."""
        return await self._db.read(store.goods_page, wanted, offset=offset, most=most)

    async def good(self, good_id: int) -> Good:
        """Raises GoodNotFound."""
        return await self._db.read(store.load_good, good_id)
