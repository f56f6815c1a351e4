"""A good as the ERP has it, what a synchronisation made of each, and the reasons to refuse.

GoodsError
├── GoodNotFound   there is no such good
└── SyncFailed     the ERP gave no answer, or a clear no
"""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from sql.types import Millis

GoodStatus: TypeAlias = Literal[0, 1]
"""1 sold, 0 not any more."""

FIELDS: Final = ("barcode", "name", "price_fen", "weight_g", "image_url", "status")


class GoodsError(Exception):
    """Base of the family."""

    code = "goods.error"
    title = "Goods error"


class GoodNotFound(GoodsError):
    code = "goods.not_found"
    title = "There is no such good"


class SyncFailed(GoodsError):
    """What came before it is kept; the next run goes on from there."""

    code = "goods.sync_failed"
    title = "The ERP gave no good answer"


class Good(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `goods`."""

    id: int
    sku: str
    barcode: str
    name: str
    price_fen: int
    weight_g: int
    image_url: str
    status: GoodStatus
    erp_version: int
    created_at: Millis
    updated_at: Millis


_LINE = r"^[^\x00-\x1f\x7f]*(?!\n)$"


class GoodSaid(msgspec.Struct, frozen=True, kw_only=True):
    """A good as the ERP sends it; the lengths are those of our columns."""

    sku: Annotated[str, Meta(min_length=1, max_length=50, pattern=r"^[!-~]+(?!\n)$")]
    name: Annotated[str, Meta(min_length=1, max_length=100, pattern=_LINE)]
    price_fen: Annotated[int, Meta(ge=0, le=100_000_000)]
    version: Annotated[int, Meta(ge=0, le=2**53)]
    barcode: Annotated[str, Meta(max_length=32, pattern=_LINE)] = ""
    weight_g: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    image_url: Annotated[str, Meta(max_length=200, pattern=_LINE)] = ""
    status: GoodStatus = 1


class Unfit(msgspec.Struct, frozen=True):
    """One that cannot be taken: its SKU as far as it could be read, and why."""

    sku: str
    why: str


class Synced(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has done. stale: older than what we have, and therefore nothing."""

    pages: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    stale: int = 0
    unfit: tuple[Unfit, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """As the audit has it: how many, and not which."""
        return {**msgspec.structs.asdict(self), "unfit": len(self.unfit)}

    def plus(self, other: "Synced") -> "Synced":
        return Synced(
            pages=self.pages + other.pages,
            added=self.added + other.added,
            changed=self.changed + other.changed,
            unchanged=self.unchanged + other.unchanged,
            stale=self.stale + other.stale,
            unfit=self.unfit + other.unfit,
        )


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which goods a list shows, and in which order; "" and None leave all in."""

    keyword: str = ""
    barcode: str = ""
    status: GoodStatus | None = None
    sort: str = "sku"
