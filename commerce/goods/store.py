"""Transactions on goods: taking a page of the ERP's, finding, listing."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import func, or_, select, update

from accounts.audit.model import By
from accounts.audit.store import record
from commerce.goods.model import FIELDS, Good, GoodNotFound, GoodSaid, Synced, Unfit, Wanted
from sql.alerts import clear_alert, open_alerts, raise_alert
from sql.tables.commerce import goods, sync_cursors
from sql.transaction import Tx, insert_missing

CURSOR: Final = "goods"
UNFIT: Final = "goods.unfit"
"""The kind of the alert about goods of the ERP that cannot be taken."""


# ---------------------------------------------------------------- from the ERP


def cursor(tx: Tx) -> str:
    """Where the next run goes on; "" from the beginning."""
    mine = select(sync_cursors.c.cursor).where(sync_cursors.c.name == CURSOR)
    return tx.execute(mine).scalar() or ""


def forget_cursor(tx: Tx) -> None:
    """Begin again: what is there already is only compared."""
    _keep_cursor(tx, "")


def take_page(tx: Tx, said: Sequence[GoodSaid], unfit: Sequence[Unfit], next_cursor: str) -> Synced:
    """Take a page and remember where to go on, in one. Repeatable.

    The higher version wins, whatever the order: an older copy that comes late is nothing.
    """
    latest: dict[str, GoodSaid] = {}
    for each in said:
        known = latest.get(each.sku)
        if known is None or known.version < each.version:
            latest[each.sku] = each
    counts = {"added": 0, "changed": 0, "unchanged": 0, "stale": len(said) - len(latest)}
    before = _locked(tx, sorted(latest))
    for sku in sorted(latest):
        counts[_take(tx, latest[sku], before.get(sku))] += 1
    for one in unfit:
        raise_alert(tx, UNFIT, one.sku, one.why)
    for alert in open_alerts(tx, UNFIT):
        if alert.subject in latest:
            clear_alert(tx, UNFIT, alert.subject)
    _keep_cursor(tx, next_cursor)
    if counts["added"] or counts["changed"]:
        tx.wake("goods")
    return Synced(pages=1, unfit=tuple(unfit), **counts)


def _locked(tx: Tx, skus: Sequence[str]) -> dict[str, Good]:
    mine = select(goods).where(goods.c.sku.in_(skus)).order_by(goods.c.sku).with_for_update()
    return {row.sku: msgspec.convert(row._mapping, Good) for row in tx.execute(mine)}


def _take(tx: Tx, said: GoodSaid, known: Good | None) -> str:
    values: dict[str, Any] = {name: getattr(said, name) for name in FIELDS}
    values |= {"erp_version": said.version, "updated_at": tx.now}
    if known is None:
        insert_missing(tx, goods, [{**values, "sku": said.sku, "created_at": tx.now}])
        return "added"
    if said.version < known.erp_version:
        return "stale"
    is_same = all(getattr(known, name) == getattr(said, name) for name in FIELDS)
    if is_same and said.version == known.erp_version:
        return "unchanged"
    tx.execute(update(goods).where(goods.c.id == known.id).values(values))
    return "unchanged" if is_same else "changed"


def _keep_cursor(tx: Tx, value: str) -> None:
    row = {"cursor": value, "changed_at": tx.now}
    mine = update(sync_cursors).where(sync_cursors.c.name == CURSOR)
    if not tx.execute(mine.values(row)).rowcount:
        insert_missing(tx, sync_cursors, [{"name": CURSOR, **row}])


def note_sync(tx: Tx, came_of_it: Mapping[str, Any], *, by: By) -> None:
    """Write down that somebody wanted a run, and what came of it."""
    record(tx, actor=by, action="goods.sync", subject="goods", before={}, after=came_of_it)


# ---------------------------------------------------------------- reading


def find_goods(tx: Tx, skus: Collection[str]) -> dict[str, Good]:
    """Those of the SKUs that there are, also those not sold any more."""
    rows = tx.execute(select(goods).where(goods.c.sku.in_(sorted(skus)))) if skus else ()
    return {row.sku: msgspec.convert(row._mapping, Good) for row in rows}


def names_of(tx: Tx, skus: Collection[str]) -> dict[str, str]:
    """What we call goods, by SKU; those we do not know are left out."""
    mine = select(goods.c.sku, goods.c.name).where(goods.c.sku.in_(sorted(skus)))
    return {row.sku: row.name for row in tx.execute(mine)}


def load_good(tx: Tx, good_id: int) -> Good:
    """Raises GoodNotFound."""
    row = tx.execute(select(goods).where(goods.c.id == good_id)).one_or_none()
    if row is None:
        raise GoodNotFound
    return msgspec.convert(row._mapping, Good)


def goods_page(
    tx: Tx, wanted: Wanted, *, offset: int = 0, most: int = 100
) -> tuple[int, list[Good]]:
    """How many goods there are of those wanted, and some of them."""
    where: list[Any] = []
    if wanted.keyword:
        # SQLite compares texts whatever the case, MariaDB's binary order does not.
        fields = (goods.c.sku, goods.c.name)
        word = wanted.keyword.lower()
        where.append(or_(*(func.lower(each).contains(word, autoescape=True) for each in fields)))
    if wanted.barcode:
        where.append(goods.c.barcode == wanted.barcode)
    if wanted.status is not None:
        where.append(goods.c.status == wanted.status)
    total = tx.execute(select(func.count()).select_from(goods).where(*where)).scalar_one()
    column = goods.c[wanted.sort.removeprefix("-")]
    order = column.desc() if wanted.sort.startswith("-") else column
    rows = tx.execute(select(goods).where(*where).order_by(order, goods.c.id)
                      .offset(offset).limit(most))  # fmt: skip
    return total, [msgspec.convert(row._mapping, Good) for row in rows]
