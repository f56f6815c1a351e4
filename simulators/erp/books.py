"""What the ERP knows: goods in the order of their changes, and the batches it has received."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from simulators.groceries import GROCERIES

LINES_MAX = 1000
TICKETS_A_FEN = 5
Text = Annotated[str, Meta(max_length=100)]
Key = Annotated[str, Meta(min_length=1, max_length=50)]


class ErpError(Exception):
    """A refusal: its HTTP status and code."""

    def __init__(self, status: int, code: str, detail: str = "") -> None:
        super().__init__(f"{code} {detail}".strip())
        self.status, self.code, self.detail = status, code, detail


class Good(msgspec.Struct, frozen=True):
    sku: str
    barcode: str
    name: str
    price_fen: int
    weight_g: int
    image_url: str
    status: int
    version: int


class Line(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A line of a payment or, with minus signs, of a refund (step says of which)."""

    biz_no: Key
    step: Key
    line: Annotated[int, Meta(ge=0)]
    store_code: Text
    device_code: Text
    sku: Key
    name: Text
    quantity: int
    amount_fen: int
    tickets: int
    paid_by: Literal["wechat", "ticket"]
    at: Annotated[int, Meta(ge=0)]

    @property
    def key(self) -> tuple[str, str, int]:
        return self.biz_no, self.step, self.line


class BatchSaid(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    day: dt.date
    lines: Annotated[list[Line], Meta(min_length=1, max_length=LINES_MAX)]
    line_count: int
    amount_fen: int
    tickets: int

    def digest(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    def check(self) -> None:
        """Raises ErpError 422."""
        sums = (
            len(self.lines),
            sum(line.amount_fen for line in self.lines),
            sum(line.tickets for line in self.lines),
        )
        if sums != (self.line_count, self.amount_fen, self.tickets):
            raise ErpError(422, "batch.sums", f"the lines make {sums}")
        for line in self.lines:
            due = line.amount_fen * TICKETS_A_FEN if line.paid_by == "ticket" else 0
            if line.tickets != due:
                raise ErpError(422, "batch.line", f"{line.key}: {line.tickets} tickets, not {due}")


class Batch(msgspec.Struct, frozen=True):
    batch_no: str
    erp_no: str
    received_at: int
    said: BatchSaid
    digest: str
    unknown_skus: list[str]

    def shown(self) -> dict[str, Any]:
        return {
            "batch_no": self.batch_no,
            "erp_no": self.erp_no,
            "received_at": self.received_at,
            "unknown_skus": self.unknown_skus,
        }

    def summed(self) -> dict[str, Any]:
        said = self.said
        return self.shown() | {
            "day": said.day,
            "line_count": said.line_count,
            "amount_fen": said.amount_fen,
            "tickets": said.tickets,
        }


class Books:
    def __init__(self) -> None:
        self.goods: dict[str, Good] = {}
        self.batches: dict[str, Batch] = {}
        self._version = 0
        self._lines: dict[tuple[str, str, int], str] = {}
        for grocery in GROCERIES:
            self.put_good(**msgspec.structs.asdict(grocery))

    # ------------------------------------------------------------ goods

    def put_good(self, sku: str, **changes: Any) -> Good:
        """A new good, or a change of one; the last one in the list from now on."""
        self._version += 1
        new = Good(sku, "", sku, 100, 100, "", 1, 0)
        known = self.goods.pop(sku, new)
        good = msgspec.structs.replace(known, **changes, version=self._version)
        self.goods[sku] = good
        return good

    def page(self, cursor: str, limit: int) -> tuple[list[Good], str, bool]:
        """Raises ErpError 400."""
        after = _read(cursor, self._version)
        later = [good for good in self.goods.values() if good.version > after]
        chosen = later[:limit]
        last = chosen[-1].version if chosen else after
        return chosen, f"g{last}", len(later) > limit

    # ------------------------------------------------------------ sales

    def receive(self, batch_no: str, said: BatchSaid, now_ms: int) -> tuple[Batch, bool]:
        """The batch, and whether it is new. Raises ErpError 409, 422."""
        known = self.batches.get(batch_no)
        digest = said.digest()
        if known is not None:
            if known.digest != digest:
                raise ErpError(409, "batch.conflict", f"{batch_no} was received otherwise")
            return known, False
        said.check()
        self._check_lines(said)
        unknown = sorted({line.sku for line in said.lines} - self.goods.keys())
        number = f"E{len(self.batches) + 1:08d}"
        batch = Batch(batch_no, number, now_ms, said, digest, unknown)
        self.batches[batch_no] = batch
        self._lines.update(dict.fromkeys((line.key for line in said.lines), batch_no))
        return batch, True

    def _check_lines(self, said: BatchSaid) -> None:
        """Raises ErpError 422: no line is sold twice, here or in another batch."""
        seen = set(self._lines)
        for line in said.lines:
            if line.key in seen:
                raise ErpError(422, "batch.line", f"{line.key} was received before")
            seen.add(line.key)

    def totals(self) -> dict[str, Any]:
        """Of everything received, by day and by how it was paid."""
        days: dict[str, dict[str, int]] = {}
        for batch in self.batches.values():
            day = days.setdefault(
                batch.said.day.isoformat(),
                {"lines": 0, "amount_fen": 0, "tickets": 0, "wechat_fen": 0, "ticket_fen": 0},
            )
            for line in batch.said.lines:
                day["lines"] += 1
                day["amount_fen"] += line.amount_fen
                day["tickets"] += line.tickets
                day[f"{line.paid_by}_fen"] += line.amount_fen
        return days


def _read(cursor: str, newest: int) -> int:
    if not cursor:
        return 0
    number = cursor[1:]
    if cursor[0] != "g" or not (number.isascii() and number.isdigit()) or int(number) > newest:
        raise ErpError(400, "cursor.unknown", cursor)
    return int(number)
