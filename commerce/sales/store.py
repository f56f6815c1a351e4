"""Transactions on the history of sales: written with the money, cut into batches, sent."""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import func, insert, select, update

from commerce.sales.model import (
    LINES_MAX,
    NAME_MAX,
    SEND,
    Batch,
    BatchNotFound,
    BatchState,
    PaidBy,
    Sale,
    SaleLine,
    Totals,
    batch_number,
    parcels,
)
from payments.model import beijing_day
from sql.outbox import enqueue
from sql.sorting import ordered
from sql.tables.commerce import sales, sales_batches
from sql.transaction import Tx, insert_missing


def record_sale(  # noqa: PLR0913 -- the columns that all lines have in common
    tx: Tx,
    *,
    biz: str,
    biz_no: str,
    step: str,
    store_code: str,
    device_code: str,
    paid_by: PaidBy,
    lines: Sequence[SaleLine],
) -> None:
    """Write down what a payment was for, or a refund (with minus signs). Once a step.

    biz, biz_no: whose order; step: the payment or refund.
    """
    common = {
        "biz": biz,
        "biz_no": biz_no,
        "step": step,
        "store_code": store_code,
        "device_code": device_code,
        "paid_by": paid_by,
        "at": tx.now,
        "day": beijing_day(tx.now),
        "batch_id": None,
    }
    rows = [
        {**common, "line": number, **msgspec.structs.asdict(line), "name": line.name[:NAME_MAX]}
        for number, line in enumerate(lines)
    ]
    if rows:
        insert_missing(tx, sales, rows)


# ---------------------------------------------------------------- batches


def cut_batches(tx: Tx, *, most: int = LINES_MAX) -> list[Batch]:
    """Put what was sold before today into batches, and those on their way. Repeatable.

    A line is in one batch for ever, so a batch has the same content however often it is sent.
    """
    made: list[Batch] = []
    while True:
        mine = select(sales).where(sales.c.batch_id.is_(None), sales.c.day == _oldest(tx))
        rows = tx.execute(mine.order_by(sales.c.id).with_for_update())
        loose = [msgspec.convert(row._mapping, Sale) for row in rows]
        if not loose:
            return made
        made += [_cut(tx, loose[0].day, each) for each in parcels(loose, most)]


def _oldest(tx: Tx) -> int | None:
    """The first day before today of which something is in no batch."""
    day: int | None = tx.execute(
        select(func.min(sales.c.day)).where(
            sales.c.batch_id.is_(None), sales.c.day < beijing_day(tx.now)
        )
    ).scalar()
    return day


def _cut(tx: Tx, day: int, lines: Sequence[Sale]) -> Batch:
    of_day = select(func.count()).select_from(sales_batches).where(sales_batches.c.day == day)
    row = {
        "batch_no": batch_number(day, tx.execute(of_day).scalar_one() + 1),
        "day": day,
        "lines": len(lines),
        "amount_fen": sum(line.amount_fen for line in lines),
        "tickets": sum(line.tickets for line in lines),
        "state": "waiting",
        "erp_no": "",
        "created_at": tx.now,
        "sent_at": None,
    }
    key = tx.execute(insert(sales_batches), row).inserted_primary_key
    assert key is not None
    ids = [line.id for line in lines]
    tx.execute(update(sales).where(sales.c.id.in_(ids)).values(batch_id=key[0]))
    enqueue(tx, SEND, {"batch_id": key[0]}, key=f"{SEND}:{row['batch_no']}")
    return load_batch(tx, key[0])


def load_batch(tx: Tx, batch_id: int) -> Batch:
    """Raises BatchNotFound."""
    mine = select(sales_batches).where(sales_batches.c.id == batch_id)
    row = tx.execute(mine).one_or_none()
    if row is None:
        raise BatchNotFound
    return msgspec.convert(row._mapping, Batch)


def lines_of(tx: Tx, batch_id: int) -> list[Sale]:
    mine = select(sales).where(sales.c.batch_id == batch_id).order_by(sales.c.id)
    return [msgspec.convert(row._mapping, Sale) for row in tx.execute(mine)]


def whole_batch(tx: Tx, batch_id: int) -> tuple[Batch, list[Sale]]:
    """A batch and its lines. Raises BatchNotFound."""
    return load_batch(tx, batch_id), lines_of(tx, batch_id)


def mark_sent(tx: Tx, batch_id: int, erp_no: str) -> bool:
    """The ERP has it; whether that is news."""
    mine = update(sales_batches).where(
        sales_batches.c.id == batch_id, sales_batches.c.state == "waiting"
    )
    values = {"state": "sent", "erp_no": erp_no, "sent_at": tx.now}
    return tx.execute(mine.values(values)).rowcount == 1


SORTS: Final = {
    name: sales_batches.c[name] for name in ("id", "day", "created_at", "sent_at", "amount_fen")
}


def batches_page(
    tx: Tx,
    *,
    state: BatchState | None = None,
    day: int = 0,
    sort: str = "-id",
    offset: int = 0,
    most: int = 100,
) -> tuple[int, list[Batch]]:
    """How many batches there are of those wanted, and some of them."""
    where = [sales_batches.c.state == state] if state is not None else []
    if day:
        where.append(sales_batches.c.day == day)
    total = tx.execute(select(func.count()).select_from(sales_batches).where(*where))
    order = ordered(sort, SORTS, sales_batches.c.id)
    chosen = select(sales_batches).where(*where).order_by(*order)
    rows = tx.execute(chosen.offset(offset).limit(most))
    return total.scalar_one(), [msgspec.convert(row._mapping, Batch) for row in rows]


def totals(tx: Tx, day: int) -> Totals:
    """What a day has sold, and what of it the ERP has."""
    everything = select(
        func.count().label("lines"),
        func.sum(sales.c.amount_fen).label("amount_fen"),
        func.sum(sales.c.tickets).label("tickets"),
    ).where(sales.c.day == day)
    joined = everything.join_from(sales, sales_batches, sales.c.batch_id == sales_batches.c.id)
    all_of_it = tx.execute(everything).one()
    sent = tx.execute(joined.where(sales_batches.c.state == "sent")).one()
    # MySQL sums up integers as decimals.
    return Totals(
        day=day,
        lines=all_of_it.lines,
        amount_fen=int(all_of_it.amount_fen or 0),
        tickets=int(all_of_it.tickets or 0),
        sent_lines=sent.lines,
        sent_fen=int(sent.amount_fen or 0),
        sent_tickets=int(sent.tickets or 0),
    )
