"""Goods, layouts, stock, what expires, and the batches of sales, over REST for the back office."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec

from accounts.staff.permissions import Permission, allowed
from commerce.goods.model import Good, GoodStatus, Synced, Wanted
from commerce.goods.service import Goods
from commerce.sales.model import Batch, BatchState, PaidBy, Sale
from commerce.sales.service import Sales
from commerce.sales.store import SORTS as BATCH_SORTS
from devices.stock.messages import CountNew, PlanogramNew, day_of, number_of
from devices.stock.model import Expiring, Move, MoveKind, Planogram, PlanogramState, Shelf
from devices.stock.service import Stock
from devices.stock.store import EXPIRING_SORTS, MOVE_SORTS
from handlers.actors import by
from handlers.calls import ADMIN, Call
from handlers.routing import Route
from handlers.wire import Listing, Page, rfc3339, sorted_by
from payments.model import beijing_day
from sql.types import Millis

_READ: Final = ADMIN | allowed(Permission.GOODS_READ)
_CHANGE: Final = ADMIN | allowed(Permission.GOODS_CHANGE)
_SALES: Final = ADMIN | allowed(Permission.SALES_READ)

_SORTS: Final = ("sku", "name", "price_fen", "status", "created_at", "updated_at")

Keyword = Annotated[str, msgspec.Meta(max_length=100)]
Sku = Annotated[str, msgspec.Meta(max_length=50)]


class GoodsPage(Page, frozen=True):
    """status: 1 sold, 0 not any more. keyword: in the SKU or name."""

    status: GoodStatus | None = None
    keyword: Keyword = ""
    barcode: Annotated[str, msgspec.Meta(max_length=32)] = ""


class MovesPage(Page, frozen=True):
    sku: Sku = ""


class ExpiringPage(Page, frozen=True):
    """days: from today; 0 is what must be out today, or is past. device_id 0: of any."""

    days: Annotated[int, msgspec.Meta(ge=0, le=3660)] = 7
    device_id: Annotated[int, msgspec.Meta(ge=0)] = 0


class BatchesPage(Page, frozen=True):
    state: BatchState | None = None
    day: date | None = None


class DayQuery(msgspec.Struct, frozen=True):
    day: date


class GoodOut(msgspec.Struct, frozen=True):
    """As the ERP has it, which is its master."""

    id: int
    sku: str
    barcode: str
    name: str
    price_fen: int
    weight_g: int
    image_url: str
    status: GoodStatus
    created_at: str
    updated_at: str


class VendorGoodOut(msgspec.Struct, frozen=True):
    """What a vendor of cabinets has of it. error: why it was refused."""

    vendor: str
    state: Literal["waiting", "done", "refused"]
    error: str
    changed_at: str


class GoodDetailOut(GoodOut, frozen=True):
    vendors: list[VendorGoodOut]


class UnfitOut(msgspec.Struct, frozen=True):
    sku: str
    why: str


class SyncedOut(msgspec.Struct, frozen=True):
    """stale: older than what was here. unfit: what could not be taken, and why."""

    pages: int
    added: int
    changed: int
    unchanged: int
    stale: int
    unfit: list[UnfitOut]


class SlotOut(msgspec.Struct, frozen=True):
    door_no: int
    layer: int
    slot: int
    sku: str
    price_fen: int
    stock: int
    capacity: int
    expires_on: str | None


class PlanogramOut(msgspec.Struct, frozen=True):
    version: int
    base_version: int
    state: PlanogramState
    slots: list[SlotOut]
    by_account: int
    at: str
    put_at: str | None


class PlanogramsOut(msgspec.Struct, frozen=True):
    """current: by which is charged. coming: on its way to the cabinet."""

    current: PlanogramOut | None
    coming: PlanogramOut | None


class ShelfOut(msgspec.Struct, frozen=True):
    """quantity: by our count; below zero means that the count is wrong. blocked_at: since when
    it is not sold, because it is past its day."""

    door_no: int
    sku: str
    quantity: int
    capacity: int
    expires_on: str | None
    blocked_at: str | None
    changed_at: str


class StockOut(msgspec.Struct, frozen=True):
    items: list[ShelfOut]


class MoveOut(msgspec.Struct, frozen=True):
    """ref: the order, the restocking or the layout it is of."""

    id: int
    door_no: int
    sku: str
    kind: MoveKind
    delta: int
    after: int
    ref: str
    by_account: int
    at: str


class ExpiringOut(msgspec.Struct, frozen=True):
    device_id: int
    device_code: str
    store_id: int | None
    door_no: int
    sku: str
    name: str
    quantity: int
    expires_on: str
    blocked_at: str | None


class BatchOut(msgspec.Struct, frozen=True):
    """erp_no: what the ERP has given it, "" until then."""

    id: int
    batch_no: str
    day: str
    lines: int
    amount_fen: int
    tickets: int
    state: BatchState
    erp_no: str
    created_at: str
    sent_at: str | None


class SaleOut(msgspec.Struct, frozen=True):
    """step: the payment or refund it is of; of a refund the numbers have minus signs."""

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
    at: str


class BatchDetailOut(BatchOut, frozen=True):
    sales: list[SaleOut]


class TotalsOut(msgspec.Struct, frozen=True):
    """Of a day's sales: all of them, and of those the ERP has."""

    day: str
    lines: int
    amount_fen: int
    tickets: int
    sent_lines: int
    sent_fen: int
    sent_tickets: int


def routes(goods: Goods, stock: Stock, sales: Sales, *, now: Callable[[], Millis]) -> list[Route]:
    handlers = _Handlers(goods, stock, sales, now)
    return [*_goods_routes(handlers), *_stock_routes(handlers), *_sales_routes(handlers)]


def _goods_routes(handlers: "_Handlers") -> list[Route]:
    area, at = "admin: goods", "/api/v1/admin/goods"
    return [
        Route(
            "GET",
            at,
            handlers.goods,
            query=GoodsPage,
            returns=Listing[GoodOut],
            who=_READ,
            area=area,
            summary="The goods, as the ERP has them",
        ),
        Route(
            "POST",
            f"{at}/sync",
            handlers.sync,
            returns=SyncedOut,
            who=_CHANGE,
            area=area,
            summary="Take from the ERP what was changed there",
            errors=("goods.sync_failed", "stores.out_of_scope"),
        ),
        Route(
            "GET",
            f"{at}/{{good_id}}",
            handlers.good,
            returns=GoodDetailOut,
            who=_READ,
            area=area,
            summary="A good, and what the vendors of cabinets have of it",
            errors=("goods.not_found",),
        ),
        Route(
            "POST",
            f"{at}/{{good_id}}/push",
            handlers.push,
            returns=GoodDetailOut,
            who=_CHANGE,
            area=area,
            summary="Tell the vendors that refused it once more",
            errors=("goods.not_found", "stores.out_of_scope"),
        ),
    ]


def _stock_routes(handlers: "_Handlers") -> list[Route]:
    area, one = "admin: stock", "/api/v1/admin/devices/{device_id}"
    found = ("devices.not_found",)
    return [
        Route(
            "GET",
            f"{one}/planogram",
            handlers.planogram,
            returns=PlanogramsOut,
            who=_READ,
            area=area,
            summary="What lies where in a cabinet, at which price",
            errors=found,
        ),
        Route(
            "PUT",
            f"{one}/planogram",
            handlers.put_planogram,
            body=PlanogramNew,
            returns=PlanogramOut,
            status=202,
            who=_CHANGE,
            idempotent=True,
            area=area,
            summary="Lay a cabinet out anew; it counts when the cabinet has it",
            errors=(*found, "devices.not_bound", "planogram.invalid", "planogram.goods_unknown"),
        ),
        Route(
            "GET",
            f"{one}/stock",
            handlers.stock,
            returns=StockOut,
            who=_READ,
            area=area,
            summary="How many there are behind each door",
            errors=found,
        ),
        Route(
            "GET",
            f"{one}/stock-moves",
            handlers.moves,
            query=MovesPage,
            returns=Listing[MoveOut],
            who=_READ,
            area=area,
            summary="Why the counts are what they are, the latest first",
            errors=found,
        ),
        Route(
            "POST",
            f"{one}/stock-count",
            handlers.count,
            body=CountNew,
            returns=StockOut,
            who=_CHANGE,
            idempotent=True,
            area=area,
            summary="Say what was counted behind a door, after a restocking or at any time",
            errors=(
                *found,
                "devices.door_not_found",
                "stock.count_invalid",
                "stock.not_restocking",
            ),
        ),
        Route(
            "GET",
            "/api/v1/admin/expiring",
            handlers.expiring,
            query=ExpiringPage,
            returns=Listing[ExpiringOut],
            who=_READ,
            area=area,
            summary="What must be taken out soon, the earliest first",
        ),
    ]


def _sales_routes(handlers: "_Handlers") -> list[Route]:
    area, at = "admin: sales", "/api/v1/admin/sales-batches"
    return [
        Route(
            "GET",
            at,
            handlers.batches,
            query=BatchesPage,
            returns=Listing[BatchOut],
            who=_SALES,
            area=area,
            summary="The batches in which sales go to the ERP, the latest first",
            errors=("stores.out_of_scope",),
        ),
        Route(
            "GET",
            f"{at}/{{batch_id}}",
            handlers.batch,
            returns=BatchDetailOut,
            who=_SALES,
            area=area,
            summary="A batch and what was sold in it",
            errors=("sales.batch_not_found", "stores.out_of_scope"),
        ),
        Route(
            "GET",
            "/api/v1/admin/sales-totals",
            handlers.totals,
            query=DayQuery,
            returns=TotalsOut,
            who=_SALES,
            area=area,
            summary="What a day has sold, and what of it the ERP has",
            errors=("stores.out_of_scope",),
        ),
    ]


class _Handlers:
    def __init__(self, goods: Goods, stock: Stock, sales: Sales, now: Callable[[], Millis]) -> None:
        self._goods, self._stock, self._sales, self._now = goods, stock, sales, now

    # Goods

    async def goods(self, call: Call) -> Listing[GoodOut]:
        page: GoodsPage = call.query
        sort = sorted_by(page, _SORTS, "sku")
        wanted = Wanted(keyword=page.keyword, barcode=page.barcode, status=page.status, sort=sort)
        total, found = await self._goods.page(wanted, **_part(page))
        return Listing([GoodOut(**_good(each)) for each in found], total, *_place(page))

    async def sync(self, call: Call) -> SyncedOut:
        await self._stock.check_sees_all(by=by(call))
        return _synced(await self._goods.sync_for(by(call)))

    async def good(self, call: Call) -> GoodDetailOut:
        return await self._detail(await self._goods.good(call.params["good_id"]))

    async def push(self, call: Call) -> GoodDetailOut:
        await self._stock.check_sees_all(by=by(call))
        good = await self._goods.good(call.params["good_id"])
        await self._stock.push_again(good.sku, by=by(call))
        return await self._detail(good)

    async def _detail(self, good: Good) -> GoodDetailOut:
        states = (await self._stock.goods_states([good.sku])).get(good.sku, [])
        vendors = [
            VendorGoodOut(each.vendor, each.state, each.error, rfc3339(each.changed_at))
            for each in states
        ]
        return GoodDetailOut(**_good(good), vendors=vendors)

    # Layouts and stock

    async def planogram(self, call: Call) -> PlanogramsOut:
        current, coming = await self._stock.planograms(call.params["device_id"], by=by(call))
        return PlanogramsOut(
            None if current is None else _planogram(current),
            None if coming is None else _planogram(coming),
        )

    async def put_planogram(self, call: Call) -> PlanogramOut:
        asked: PlanogramNew = call.body
        made = await self._stock.want_planogram(
            call.params["device_id"],
            tuple(slot.place() for slot in asked.slots),
            by=by(call),
            key=call.idempotency_key,
            reason=asked.reason,
        )
        return _planogram(made)

    async def stock(self, call: Call) -> StockOut:
        found = await self._stock.stock(call.params["device_id"], by=by(call))
        return StockOut([_shelf(each) for each in found])

    async def moves(self, call: Call) -> Listing[MoveOut]:
        page: MovesPage = call.query
        total, found = await self._stock.moves(
            call.params["device_id"],
            by=by(call),
            sku=page.sku,
            sort=sorted_by(page, MOVE_SORTS, "-id"),
            **_part(page),
        )
        return Listing([_move(each) for each in found], total, *_place(page))

    async def count(self, call: Call) -> StockOut:
        asked: CountNew = call.body
        counted = await self._stock.count(
            call.params["device_id"], asked.count(), by=by(call), key=call.idempotency_key
        )
        return StockOut([_shelf(each) for each in counted])

    async def expiring(self, call: Call) -> Listing[ExpiringOut]:
        page: ExpiringPage = call.query
        until = number_of(_date(beijing_day(self._now())) + timedelta(days=page.days))
        assert until is not None
        total, found = await self._stock.expiring(
            until,
            by=by(call),
            device_id=page.device_id,
            sort=sorted_by(page, EXPIRING_SORTS, "expires_on"),
            **_part(page),
        )
        return Listing([_expiring(each) for each in found], total, *_place(page))

    # Sales

    async def batches(self, call: Call) -> Listing[BatchOut]:
        page: BatchesPage = call.query
        await self._stock.check_sees_all(by=by(call))
        total, found = await self._sales.batches(
            state=page.state,
            day=number_of(page.day) or 0,
            sort=sorted_by(page, BATCH_SORTS, "-id"),
            **_part(page),
        )
        return Listing([BatchOut(**_batch(each)) for each in found], total, *_place(page))

    async def batch(self, call: Call) -> BatchDetailOut:
        await self._stock.check_sees_all(by=by(call))
        batch, sales = await self._sales.batch(call.params["batch_id"])
        return BatchDetailOut(**_batch(batch), sales=[_sale(each) for each in sales])

    async def totals(self, call: Call) -> TotalsOut:
        await self._stock.check_sees_all(by=by(call))
        totals = await self._sales.totals(number_of(call.query.day) or 0)
        fields = msgspec.structs.asdict(totals)
        return TotalsOut(**fields | {"day": day_of(totals.day)})


def _part(page: Page) -> dict[str, int]:
    return {"offset": (page.page - 1) * page.page_size, "most": page.page_size}


def _place(page: Page) -> tuple[int, int]:
    return page.page, page.page_size


def _good(good: Good) -> dict[str, Any]:
    fields = msgspec.structs.asdict(good)
    del fields["erp_version"]
    return fields | {
        "created_at": rfc3339(good.created_at),
        "updated_at": rfc3339(good.updated_at),
    }


def _synced(synced: Synced) -> SyncedOut:
    return SyncedOut(
        synced.pages,
        synced.added,
        synced.changed,
        synced.unchanged,
        synced.stale,
        [UnfitOut(each.sku, each.why) for each in synced.unfit],
    )


def _planogram(layout: Planogram) -> PlanogramOut:
    slots = [
        SlotOut(**msgspec.structs.asdict(slot) | {"expires_on": _day(slot.expires_on)})
        for slot in layout.slots
    ]
    return PlanogramOut(
        layout.version,
        layout.base_version,
        layout.state,
        slots,
        layout.by_account,
        rfc3339(layout.at),
        _time(layout.put_at),
    )


def _shelf(shelf: Shelf) -> ShelfOut:
    return ShelfOut(
        shelf.door_no,
        shelf.sku,
        shelf.quantity,
        shelf.capacity,
        _day(shelf.expires_on),
        _time(shelf.blocked_at),
        rfc3339(shelf.changed_at),
    )


def _move(move: Move) -> MoveOut:
    fields = msgspec.structs.asdict(move)
    del fields["device_id"]
    return MoveOut(**fields | {"at": rfc3339(move.at)})


def _expiring(expiring: Expiring) -> ExpiringOut:
    fields = msgspec.structs.asdict(expiring)
    changed = {
        "expires_on": day_of(expiring.expires_on),
        "blocked_at": _time(expiring.blocked_at),
    }
    return ExpiringOut(**fields | changed)


def _batch(batch: Batch) -> dict[str, Any]:
    return msgspec.structs.asdict(batch) | {
        "day": day_of(batch.day),
        "created_at": rfc3339(batch.created_at),
        "sent_at": _time(batch.sent_at),
    }


def _sale(sale: Sale) -> SaleOut:
    fields = msgspec.structs.asdict(sale)
    for name in ("id", "day", "batch_id"):
        del fields[name]
    return SaleOut(**fields | {"at": rfc3339(sale.at)})


def _date(number: int) -> date:
    return date.fromisoformat(day_of(number))


def _day(number: int | None) -> str | None:
    return None if number is None else day_of(number)


def _time(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)
