"""How many callbacks of each vendor were refused in the last hour, and why.

One row a vendor and reason, with a number for each ten minutes: whoever sends a million of them
fills no table. Each process counts in its memory and adds now and then what it has counted.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from sqlalchemy import select, update

from devices.vendors.port import BadSignature, Replayed
from sql.tables.commerce import sync_cursors
from sql.transaction import Tx, insert_missing
from sql.types import Millis

FORGED: Final = (BadSignature.code, Replayed.code)
"""What nobody does by mistake for long; a clock that is wrong has an alert of its own."""

SLICE_MS: Final = 600_000
# An hour, and the ten minutes that have just begun; so many numbers have room in the column.
_SLICES: Final = 7
_NUMBER_MAX: Final = 10**9


def add(tx: Tx, refused: Mapping[tuple[str, str], int]) -> None:
    """Add what was counted, by vendor and reason."""
    for (vendor, code), count in sorted(refused.items()):
        name = f"{code}:{vendor}"
        insert_missing(tx, sync_cursors, [{"name": name, "cursor": "", "changed_at": tx.now}])
        mine = sync_cursors.c.name == name
        kept = select(sync_cursors.c.cursor).where(mine).with_for_update()
        slices = _read(tx.execute(kept).scalar_one())
        slices[tx.now // SLICE_MS] += count
        values = {"cursor": _written(slices), "changed_at": tx.now}
        tx.execute(update(sync_cursors).where(mine).values(values))


def forged(tx: Tx, since: Millis) -> dict[str, dict[str, int]]:
    """By vendor how many were refused since then (to ten minutes), by reason."""
    found: dict[str, dict[str, int]] = {}
    for code in FORGED:
        mine = sync_cursors.c.name.startswith(f"{code}:", autoescape=True)
        rows = tx.execute(select(sync_cursors.c.name, sync_cursors.c.cursor).where(mine))
        for row in rows:
            slices = _read(row.cursor)
            count = sum(n for at, n in slices.items() if (at + 1) * SLICE_MS > since)
            if count:
                found.setdefault(row.name.removeprefix(f"{code}:"), {})[code] = count
    return found


def _read(text: str) -> Counter[int]:
    """Numbers by ten minutes since 1970, as `_written` writes them."""
    pairs = (each.split(":") for each in text.split())
    return Counter({int(at): int(count) for at, count in pairs})


def _written(slices: Counter[int]) -> str:
    latest = sorted(slices)[-_SLICES:]
    return " ".join(f"{at}:{min(slices[at], _NUMBER_MAX)}" for at in latest)
