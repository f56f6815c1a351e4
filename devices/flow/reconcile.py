"""A vendor's list of orders against ours: every five minutes what has changed, each night a day."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from devices.flow import events, store
from devices.orders.model import Outcome, Rules, Taken
from devices.vendors.port import CabinetVendor, OrderFact
from sql.database import Database
from sql.types import Millis

log = logging.getLogger("callme.cabinets")

# What was being written when the vendor was last asked is seen the next time.
OVERLAP_MS: Final = 600_000
# The first time, and after a long silence.
FIRST_MS: Final = 86_400_000
# A vendor whose clock is ahead says that its orders changed later than now.
AHEAD_MS: Final = 2 * 3_600_000
# A list that goes on for ever is a mistake of the vendor's.
PAGES_MAX: Final = 1_000

_KNOWN: Final = frozenset({Outcome.REPEATED, Outcome.NO_MONEY})

DAY_MS: Final = 86_400_000
_BEIJING_MS: Final = 8 * 3_600_000


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """listed: the vendor's orders. missed: those we had not heard of so. unlisted: ours the vendor
    does not list. theirs_fen, ours_fen: what the orders come to as the vendor says, there and here.
    """

    listed: int = 0
    missed: int = 0
    unlisted: int = 0
    theirs_fen: int = 0
    ours_fen: int = 0

    def __str__(self) -> str:
        return (
            f"{self.listed} orders of {self.theirs_fen} fen, here {self.ours_fen} fen,"
            f" {self.missed} missed, {self.unlisted} not listed"
        )


async def sweep(db: Database, vendor: CabinetVendor, rules: Rules) -> int:
    """Take what has changed since the mark; the mark moves only when all was taken.

    Raises VendorError.
    """
    now = db.now()
    mark = await db.read(store.mark_of, vendor.code)
    since = now - FIRST_MS if mark is None else mark - OVERLAP_MS
    listed = failed = 0
    async for fact in _listed(vendor, since, now + AHEAD_MS):
        listed += 1
        failed += await _take(db, vendor, fact, "sweep", rules) is None
    if not failed:
        await db.write(store.set_mark, vendor.code, now)
    return listed


async def compare(db: Database, vendor: CabinetVendor, day: int, rules: Rules) -> Compared:
    """Raises VendorError."""
    start, end = bounds_of(day)
    totals: dict[str, int] = {}
    missed = 0
    async for fact in _listed(vendor, start, max(end, db.now()) + AHEAD_MS):
        totals[fact.vendor_order_no] = fact.total_fen
        taken = await _take(db, vendor, fact, "compare", rules)
        missed += taken is None or taken.outcome not in _KNOWN
    unlisted = await db.write(store.note_unlisted, vendor.code, start, end, frozenset(totals))
    ours_fen = await db.write(store.note_sums, vendor.code, day, totals)
    return Compared(
        listed=len(totals),
        missed=missed,
        unlisted=unlisted,
        theirs_fen=sum(totals.values()),
        ours_fen=ours_fen,
    )


async def _listed(vendor: CabinetVendor, since: Millis, until: Millis) -> AsyncIterator[OrderFact]:
    cursor = ""
    for _ in range(PAGES_MAX):
        page = await vendor.list_orders(since, until, cursor)
        for fact in page.orders:
            yield fact
        cursor = page.next_cursor
        if not cursor:
            return
    log.error("%s lists more than %d pages of orders", vendor.code, PAGES_MAX)


async def _take(
    db: Database, vendor: CabinetVendor, fact: OrderFact, source: str, rules: Rules
) -> Taken | None:
    """None: it could not be taken now; the others are all the same."""
    try:
        return await db.write(events.take, vendor.code, fact, source=source, rules=rules)
    except Exception:
        log.exception("order %s could not be taken", fact.vendor_order_no)
        return None


def bounds_of(day: int) -> tuple[Millis, Millis]:
    """The beginning and the end of a day (YYYYMMDD) in Beijing."""
    date = dt.date(day // 10_000, day // 100 % 100, day % 100)
    start = (date - dt.date(1970, 1, 1)).days * DAY_MS - _BEIJING_MS
    return start, start + DAY_MS
