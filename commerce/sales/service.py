"""Sales to the ERP: cut into batches at night, each sent until it is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from accounts.messages import Dead, Delivered, Retry
from commerce.erp import BatchBody, BatchLine, Erp, ErpRefused, ErpUnknown
from commerce.sales import store
from commerce.sales.model import Batch, BatchNotFound, BatchState, Sale, Totals
from sql.alerts import clear_alert, raise_alert
from sql.database import Database, Tx

REFUSED: Final = "sales.refused"
"""The kind of the alerts about batches that the ERP does not take."""

_LINE_FIELDS: Final = BatchLine.__struct_fields__


class Sales:
    """erp: None where none is set up; then batches wait."""

    def __init__(self, db: Database, erp: Erp | None) -> None:
        self._db = db
        self._erp = erp

    async def cut(self) -> list[Batch]:
        """Put what was sold before today into batches. Repeatable, in any number of processes."""
        return await self._db.write(store.cut_batches)

    async def send(self, payload: dict[str, Any]) -> Delivered | Retry | Dead:
        """Deliver the parcel of a batch. A repeat is the same number with the same content."""
        try:
            batch, lines = await self._db.read(store.whole_batch, int(payload["batch_id"]))
        except BatchNotFound:
            return Dead(f"no batch {payload['batch_id']}")
        if batch.state == "sent":
            return Delivered()
        if self._erp is None:
            return Retry("no ERP is set up")
        try:
            received = await self._erp.send_batch(batch.batch_no, body_of(batch, lines))
        except ErpUnknown as unknown:
            return Retry(str(unknown))
        except ErpRefused as refused:
            await self._db.write(_note_refusal, batch, str(refused))
            return Retry(str(refused))
        await self._db.write(_note_sent, batch, received.erp_no)
        return Delivered()

    async def batches(
        self, *, state: BatchState | None, day: int, sort: str = "-id", offset: int, most: int
    ) -> tuple[int, list[Batch]]:
        """How many batches there are of those wanted, and some of them."""
        return await self._db.read(
            store.batches_page, state=state, day=day, sort=sort, offset=offset, most=most
        )

    async def batch(self, batch_id: int) -> tuple[Batch, list[Sale]]:
        """A batch and its lines. Raises BatchNotFound."""
        return await self._db.read(store.whole_batch, batch_id)

    async def totals(self, day: int) -> Totals:
        """What a day has sold, and what of it the ERP has."""
        return await self._db.read(store.totals, day)


def body_of(batch: Batch, lines: Sequence[Sale]) -> BatchBody:
    """A function of the rows alone, which never change: so are the bytes that are sent."""
    day = str(batch.day)
    return BatchBody(
        day=f"{day[:4]}-{day[4:6]}-{day[6:]}",
        lines=tuple(
            BatchLine(**{name: getattr(line, name) for name in _LINE_FIELDS}) for line in lines
        ),
        line_count=batch.lines,
        amount_fen=batch.amount_fen,
        tickets=batch.tickets,
    )


def _note_sent(tx: Tx, batch: Batch, erp_no: str) -> None:
    store.mark_sent(tx, batch.id, erp_no)
    clear_alert(tx, REFUSED, batch.batch_no)


def _note_refusal(tx: Tx, batch: Batch, why: str) -> None:
    raise_alert(tx, REFUSED, batch.batch_no, why)
