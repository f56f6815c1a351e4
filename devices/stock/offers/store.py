"""Transactions on what the vendors have of our goods."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import select, update

from accounts.audit.model import By
from accounts.audit.store import record
from commerce.goods.model import Good
from devices.stock.model import VendorGood
from devices.vendors.port import GoodResult, Reason
from sql.alerts import clear_alert, raise_alert
from sql.tables.commerce import goods
from sql.tables.devices import vendor_goods
from sql.transaction import Tx, insert_missing

_V = vendor_goods.c

REFUSED: Final = "goods.refused"
"""The kind of the alerts about goods that a vendor does not take."""

GOODS_MAX: Final = 100
"""At a time; vendors take no more."""

_ERROR_MAX: Final = 200


def mark_goods(tx: Tx, vendor: str) -> int:
    """See which goods the vendor does not have as they are now; how many those are."""
    ours = tx.execute(select(goods.c.sku, goods.c.erp_version).order_by(goods.c.sku)).all()
    theirs = select(_V.sku, _V.mark).where(_V.vendor == vendor)
    marks = {row.sku: row.mark for row in tx.execute(theirs)}
    wanted = {row.sku: str(row.erp_version) for row in ours}
    for sku, mark in wanted.items():
        if sku not in marks:
            row = _vendor_good(tx, vendor, sku, mark)
            insert_missing(tx, vendor_goods, [row])
        elif marks[sku] != mark:
            _set_good(tx, vendor, sku, state="waiting", mark=mark, error="")
    return sum(marks.get(sku) != mark for sku, mark in wanted.items())


def goods_to_push(
    tx: Tx, vendor: str, *, after: str, most: int = GOODS_MAX
) -> list[tuple[Good, str]]:
    """The next goods that the vendor is to be told of, by SKU, each with its mark."""
    chosen = (
        select(goods, _V.mark)
        .join_from(goods, vendor_goods, goods.c.sku == _V.sku)
        .where(_V.vendor == vendor, _V.state == "waiting", _V.sku > after)
    )
    rows = tx.execute(chosen.order_by(_V.sku).limit(most))
    found = []
    for row in rows:
        values = dict(row._mapping)
        mark = values.pop("mark")
        found.append((Good(**values), mark))
    return found


def note_results(
    tx: Tx, vendor: str, marks: Mapping[str, str], results: Sequence[GoodResult]
) -> None:
    """What became of each of the goods that were sent, if it is still the same."""
    for result in results:
        mark = marks.get(result.sku)
        if mark is None:
            continue
        is_done = result.reason is Reason.NONE
        values = {"state": "done" if is_done else "refused", "error": _why(result)}
        if _set_good(tx, vendor, result.sku, mark=mark, **values):
            _tell_good(tx, vendor, result)


def goods_refused(tx: Tx, vendor: str, results: Sequence[GoodResult]) -> None:
    """What a vendor says of goods by itself. A yes may be about what they were before."""
    for result in results:
        if result.reason is not Reason.NONE and _set_good(
            tx, vendor, result.sku, state="refused", error=_why(result)
        ):
            _tell_good(tx, vendor, result)


def goods_states(tx: Tx, skus: Collection[str]) -> dict[str, list[VendorGood]]:
    """What the vendors have of some goods."""
    mine = select(vendor_goods).where(_V.sku.in_(sorted(skus))).order_by(_V.sku, _V.vendor)
    found: dict[str, list[VendorGood]] = {}
    for row in tx.execute(mine):
        found.setdefault(row.sku, []).append(msgspec.convert(row._mapping, VendorGood))
    return found


def push_again(tx: Tx, sku: str, *, by: By) -> int:
    """Somebody wants a refused good to be told of once more; to how many vendors."""
    mine = update(vendor_goods).where(_V.sku == sku, _V.state == "refused")
    changed = tx.execute(mine.values(state="waiting", error="", changed_at=tx.now)).rowcount
    if changed:
        tx.wake("goods")
        record(tx, actor=by, action="goods.push", subject=f"good:{sku}",
               before={"state": "refused"}, after={"state": "waiting"})  # fmt: skip
    return changed


def _vendor_good(tx: Tx, vendor: str, sku: str, mark: str) -> dict[str, Any]:
    return {
        "vendor": vendor,
        "sku": sku,
        "mark": mark,
        "state": "waiting",
        "error": "",
        "changed_at": tx.now,
    }


def _set_good(tx: Tx, vendor: str, sku: str, **values: Any) -> bool:
    """With a mark and no new state to wait for, only what still has that mark."""
    mine = update(vendor_goods).where(_V.vendor == vendor, _V.sku == sku)
    if values.get("state") != "waiting" and "mark" in values:
        mine = mine.where(_V.mark == values["mark"])
    return tx.execute(mine.values(values | {"changed_at": tx.now})).rowcount > 0


def _tell_good(tx: Tx, vendor: str, result: GoodResult) -> None:
    subject = f"{vendor}:{result.sku}"
    if result.reason is Reason.NONE:
        clear_alert(tx, REFUSED, subject)
    else:
        raise_alert(tx, REFUSED, subject, _why(result))


def _why(result: GoodResult) -> str:
    if result.reason is Reason.NONE:
        return ""
    return f"{result.reason}: {result.text}"[:_ERROR_MAX]
