"""A line of what was sold, and the batches that take such lines to the ERP.

SalesError
└── BatchNotFound   there is no such batch
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from sql.types import Millis

PaidBy: TypeAlias = Literal["wechat", "ticket"]
BatchState: TypeAlias = Literal["waiting", "sent"]

SEND: Final = "sales.batch"
"""The parcel that takes a batch to the ERP: {"batch_id"}."""

LINES_MAX: Final = 500
"""Of a batch: a tenth of a megabyte, sent within a second; the ERP takes twice as many."""


NAME_MAX: Final = 100
"""Characters of a good's name that the history has room for; whatever a vendor calls it."""


class SalesError(Exception):
    """Base of the family."""

    code = "sales.error"
    title = "Sales error"


class BatchNotFound(SalesError):
    code = "sales.batch_not_found"
    title = "There is no such batch of sales"


class SaleLine(msgspec.Struct, frozen=True):
    """amount_fen: for the whole quantity. Of a refund all three have minus signs."""

    sku: str
    name: str
    quantity: int
    amount_fen: int
    tickets: int


class Sale(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `sales`."""

    id: int
    biz: str
    biz_no: str
    step: str
    line: int
    store_code: str
    device_code: str
    sku: str
    name: str
    quantity: int
    amount_fen: int
    tickets: int
    paid_by: PaidBy
    at: Millis
    day: int
    batch_id: int | None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `sales_batches`."""

    id: int
    batch_no: str
    day: int
    lines: int
    amount_fen: int
    tickets: int
    state: BatchState
    erp_no: str
    created_at: Millis
    sent_at: Millis | None


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Of a day's sales: all of them, and of those the ERP has."""

    day: int
    lines: int = 0
    amount_fen: int = 0
    tickets: int = 0
    sent_lines: int = 0
    sent_fen: int = 0
    sent_tickets: int = 0


def batch_number(day: int, n: int) -> str:
    """The n-th batch of a day (YYYYMMDD); the same however often it is asked for."""
    return f"S{day}-{n:04d}"


def parcels(sales: Sequence[Sale], most: int = LINES_MAX) -> list[Sequence[Sale]]:
    """Lines in batches of at most so many."""
    return [sales[start : start + most] for start in range(0, len(sales), most)]
