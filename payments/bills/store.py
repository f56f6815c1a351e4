"""WeChat's bill of a day against what we know. What differs is for a person; nothing is mended."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, func, select, update

from payments.gateway import BillRow
from payments.model import (
    MINUTE_MS,
    Difference,
    DifferenceNotFound,
    RefundStatus,
    day_bounds,
)
from sql.alerts import clear_alert, raise_alert
from sql.database import Tx
from sql.tables.payments import bill_differences, receipts, refunds
from sql.transaction import insert_missing

# The kind of the alerts; the subject is the day.
BILL = "bill"

# When WeChat took a refund we know by our own clock only: near midnight it may be in the bill
# of either day.
MIDNIGHT_MS = 10 * MINUTE_MS

# A word of WeChat's bill.
SENT = "SUCCESS"

CHUNK = 500


class BillReport(msgspec.Struct, frozen=True):
    day: int
    payments: int
    refunds: int
    differences: int


class _Found(msgspec.Struct, frozen=True):
    kind: str
    number: str
    here_fen: int
    there_fen: int


def compare(tx: Tx, day: int, rows: Sequence[BillRow]) -> BillReport:
    """Write down every difference once, and raise an alert about the day."""
    paid = {row.transaction_id: row.amount_fen for row in rows if not row.out_refund_no}
    sent = {row.out_refund_no: row for row in rows if row.out_refund_no}
    found = [*_payments(tx, day, paid), *_refunds(tx, day, sent)]
    if found:
        insert_missing(tx, bill_differences, [_row(one, day, tx.now) for one in found])
        raise_alert(tx, BILL, str(day), f"{len(found)} differences")
    return BillReport(day, len(paid), len(sent), len(found))


def _row(one: _Found, day: int, now: int) -> dict[str, Any]:
    asked = {"explained_at": None, "explained_by": 0, "explanation": ""}
    return {**msgspec.structs.asdict(one), "day": day, "found_at": now, **asked}


def _payments(tx: Tx, day: int, there: Mapping[str, int]) -> Iterable[_Found]:
    key, amount = receipts.c.transaction_id, receipts.c.amount_fen
    begins, ends = day_bounds(day)
    that_day = (receipts.c.paid_at >= begins) & (receipts.c.paid_at < ends)
    ours = _pairs(tx, select(key, amount).where(that_day))
    # One of another day is not missing.
    known = ours | _amounts(tx, key, amount, there.keys() - ours.keys())
    yield from _differences("payment", known, there)
    for number in sorted(ours.keys() - there.keys()):
        yield _Found("payment.missing_there", number, ours[number], 0)


def _refunds(tx: Tx, day: int, there: Mapping[str, BillRow]) -> Iterable[_Found]:
    key, amount = refunds.c.out_refund_no, refunds.c.amount_fen
    begins, ends = day_bounds(day)
    standing = refunds.c.status != RefundStatus.WITHDRAWN
    that_day = refunds.c.accepted_at.between(begins + MIDNIGHT_MS, ends - MIDNIGHT_MS)
    expected = _pairs(tx, select(key, amount).where(that_day, standing))
    known = _amounts(tx, key, amount, there.keys())
    withdrawn = select(key).where(refunds.c.status == RefundStatus.WITHDRAWN)
    for number in tx.execute(withdrawn.where(key.in_(sorted(there)))).scalars():
        # Given up here: all is well unless WeChat has sent it all the same.
        if there[number].refund_state == SENT:
            known[number] = 0
    yield from _differences("refund", known, {no: row.refund_fen for no, row in there.items()})
    for number in sorted(expected.keys() - there.keys()):
        yield _Found("refund.missing_there", number, expected[number], 0)


def _amounts(tx: Tx, key: Any, amount: Any, numbers: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    wanted = sorted(numbers)
    for start in range(0, len(wanted), CHUNK):
        query = select(key, amount).where(key.in_(wanted[start : start + CHUNK]))
        found |= _pairs(tx, query)
    return found


def _pairs(tx: Tx, query: Select[Any]) -> dict[str, int]:
    rows: Iterable[Any] = tx.execute(query)
    return dict(tuple(row) for row in rows)


def _differences(what: str, here: Mapping[str, int], there: Mapping[str, int]) -> Iterable[_Found]:
    for number, amount in sorted(there.items()):
        known = here.get(number)
        if known is None:
            yield _Found(f"{what}.missing_here", number, 0, amount)
        elif known != amount:
            yield _Found(f"{what}.amount", number, known, amount)


def differences_page(
    tx: Tx, *, offset: int, most: int, is_open: bool = True
) -> tuple[int, list[Difference]]:
    """Differences, newest first, and how many there are in all; open ones alone, if wanted."""
    where = [bill_differences.c.explained_at.is_(None)] if is_open else []
    total = tx.execute(select(func.count()).select_from(bill_differences).where(*where))
    chosen = select(bill_differences).where(*where).order_by(bill_differences.c.id.desc())
    rows = tx.execute(chosen.offset(offset).limit(most))
    return total.scalar_one(), [msgspec.convert(row._mapping, Difference) for row in rows]


def explain(tx: Tx, difference_id: int, *, by: int, explanation: str) -> Difference:
    """A person says what it is; the day's alert ends with its last. Raises DifferenceNotFound."""
    mine = bill_differences.c.id == difference_id
    unexplained = bill_differences.c.explained_at.is_(None)
    changed = tx.execute(
        update(bill_differences)
        .where(mine, unexplained)
        .values(explained_at=tx.now, explained_by=by, explanation=explanation)
    )
    if changed.rowcount != 1:
        raise DifferenceNotFound
    row = tx.execute(select(bill_differences).where(mine)).one()
    left = select(bill_differences.c.id).where(bill_differences.c.day == row.day, unexplained)
    if tx.execute(left.limit(1)).first() is None:
        clear_alert(tx, BILL, str(row.day))
    return msgspec.convert(row._mapping, Difference)
