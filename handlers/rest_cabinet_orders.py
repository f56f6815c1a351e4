"""Cabinet orders over REST: a buyer's own, and those of the stores a member of staff sees."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import msgspec
from msgspec import UNSET

from accounts.staff.permissions import Permission, allowed
from devices.orders.export import as_csv
from devices.orders.messages import (
    Correction,
    OrderOut,
    OwnOrderOut,
    PaidOut,
    PayNew,
    RefundNew,
    StaffDetailOut,
    StaffOrderOut,
    Waiver,
    order_out,
    own_order_out,
    quantities_of,
    staff_detail_out,
    staff_order_out,
)
from devices.orders.model import Kind, OrderState, PayWith
from devices.orders.rows.store import SORTS, Filter
from devices.orders.service import Orders
from handlers.actors import by, signed_in
from handlers.calls import ADMIN, DINER, Call, Response
from handlers.errors import FieldError, Problem
from handlers.routing import Route
from handlers.wire import Listing, Page, from_rfc3339, sorted_by

_READ: Final = ADMIN | allowed(Permission.CABINET_ORDERS_READ)
_CORRECT: Final = ADMIN | allowed(Permission.CABINET_ORDERS_CORRECT)
_REFUND: Final = ADMIN | allowed(Permission.CABINET_ORDERS_REFUND)

_CSV: Final = "text/csv; charset=utf-8"

OpenidOf = Callable[[int], Awaitable[str]]
Id = Annotated[int, msgspec.Meta(ge=0)]
Time = Annotated[str, msgspec.Meta(max_length=40, description="RFC 3339, as 2026-11-20T04:05:06Z.")]


class OrderPage(Page, frozen=True, kw_only=True, rename={"from_": "from"}):
    """0 and nothing leave all in. from is within, before is not; both of when it was ordered."""

    store_id: Id = 0
    device_id: Id = 0
    account_id: Id = 0
    kind: Kind | None = None
    state: OrderState | None = None
    pay_with: PayWith | None = None
    no: Annotated[str, msgspec.Meta(max_length=50)] = ""
    from_: Time = ""
    before: Time = ""


class ExportWanted(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """As a list's, but all of it."""

    store_id: Id = 0
    device_id: Id = 0
    account_id: Id = 0
    kind: Kind | None = None
    state: OrderState | None = None
    pay_with: PayWith | None = None
    no: Annotated[str, msgspec.Meta(max_length=50)] = ""
    from_: Time = ""
    before: Time = ""


def routes(orders: Orders, openid_of: OpenidOf) -> list[Route]:
    """openid_of: the openid of an account, in the app in which buyers pay."""
    handlers = _Handlers(orders, openid_of)
    return [*_buyer_routes(handlers), *_staff_routes(handlers)]


def _buyer_routes(handlers: "_Handlers") -> list[Route]:
    area, one = "cabinets", "/api/v1/cabinet-orders/{order_id}"
    found = ("cabinet_order.not_found",)
    return [
        Route(
            "GET",
            "/api/v1/cabinet-orders",
            handlers.mine,
            query=Page,
            returns=Listing[OrderOut],
            who=DINER,
            area=area,
            summary="One's own orders, newest first",
        ),
        Route(
            "GET",
            one,
            handlers.own,
            returns=OwnOrderOut,
            who=DINER,
            area=area,
            summary="One's own order, and the others of its door session",
            errors=found,
        ),
        Route(
            "POST",
            f"{one}/pay",
            handlers.pay,
            body=PayNew,
            returns=PaidOut,
            who=DINER,
            idempotent=True,
            area=area,
            summary="Pay what is open of an order, in tickets or by WeChat",
            description="One payment at a time: another that is open is closed first, "
            "which WeChat allows five minutes after it was begun.",
            errors=(
                *found,
                "cabinet_order.nothing_to_pay",
                "cabinet_order.tickets_short",
                "cabinet_order.payment_open",
                "idempotency.key_reused",
                "payments.paid",
                "payments.cancelled",
                "payments.pending",
                "payments.stopped",
                "payments.unavailable",
                "payments.unknown",
                "payments.refused",
            ),
        ),
    ]


def _staff_routes(handlers: "_Handlers") -> list[Route]:
    area, at = "admin: cabinet orders", "/api/v1/admin/cabinet-orders"
    one = f"{at}/{{order_id}}"
    found = ("cabinet_order.not_found",)
    money = ("payments.stopped", "idempotency.key_reused")
    return [
        Route(
            "GET",
            at,
            handlers.page,
            query=OrderPage,
            returns=Listing[StaffOrderOut],
            who=_READ,
            area=area,
            summary="Orders of the stores one sees, newest first",
        ),
        Route(
            "GET",
            f"{at}/export.csv",
            handlers.export,
            query=ExportWanted,
            who=_READ,
            area=area,
            summary="The same as a table for a spreadsheet, oldest first, at most 20,000",
            media_type=_CSV,
        ),
        Route(
            "GET",
            one,
            handlers.detail,
            returns=StaffDetailOut,
            who=_READ,
            area=area,
            summary="An order with its chain, and all that was said and charged",
            errors=found,
        ),
        Route(
            "POST",
            f"{one}/corrections",
            handlers.correct,
            body=Correction,
            returns=StaffDetailOut,
            who=_CORRECT,
            idempotent=True,
            area=area,
            summary="Say what was taken; the difference is charged or goes back",
            errors=(
                *found,
                "cabinet_order.changed",
                "cabinet_order.in_review",
                "cabinet_order.unknown_item",
                *money,
            ),
        ),
        Route(
            "POST",
            f"{one}/refunds",
            handlers.refund,
            body=RefundNew,
            returns=StaffDetailOut,
            status=201,
            who=_REFUND,
            idempotent=True,
            area=area,
            summary="Send some of what was paid back, or all that is left of it",
            errors=(
                *found,
                "cabinet_order.in_review",
                "cabinet_order.not_paid",
                "cabinet_order.refund_too_much",
                *money,
            ),
        ),
        Route(
            "POST",
            f"{one}/waive",
            handlers.waive,
            body=Waiver,
            returns=StaffDetailOut,
            who=_REFUND,
            idempotent=True,
            area=area,
            summary="Let the buyer off what is unpaid",
            errors=(*found, "cabinet_order.not_unpaid", "idempotency.key_reused"),
        ),
    ]


class _Handlers:
    def __init__(self, orders: Orders, openid_of: OpenidOf) -> None:
        self._orders = orders
        self._openid_of = openid_of

    # A buyer's own

    async def mine(self, call: Call) -> Listing[OrderOut]:
        page: Page = call.query
        total, found = await self._orders.mine(
            signed_in(call).account_id,
            sort=sorted_by(page, SORTS, "-id"),
            offset=_offset(page),
            most=page.page_size,
        )
        return Listing([order_out(each) for each in found], total, page.page, page.page_size)

    async def own(self, call: Call) -> OwnOrderOut:
        order_id = call.params["order_id"]
        return own_order_out(await self._orders.own(order_id, signed_in(call).account_id), order_id)

    async def pay(self, call: Call) -> PaidOut:
        body: PayNew = call.body
        account_id = signed_in(call).account_id
        order, request = await self._orders.pay(
            call.params["order_id"],
            account_id,
            means=body.means,
            openid=await self._openid_of(account_id) if body.means == "wechat" else "",
            client_ip=call.address,
            key=_key(call, "A payment"),
        )
        if request is None:
            return PaidOut(order=order_out(order))
        return PaidOut(
            order=order_out(order),
            out_trade_no=request.out_trade_no,
            wx_request_payment=request.wx_request_payment or UNSET,
        )

    # Staff

    async def page(self, call: Call) -> Listing[StaffOrderOut]:
        page: OrderPage = call.query
        wanted = msgspec.structs.replace(_filter(page), sort=sorted_by(page, SORTS, "-id"))
        total, found = await self._orders.page(
            wanted, by=by(call), offset=_offset(page), most=page.page_size
        )
        shown = [staff_order_out(each) for each in found]
        return Listing(shown, total, page.page, page.page_size)

    async def export(self, call: Call) -> Response:
        found = await self._orders.export(_filter(call.query), by=by(call))
        named = 'attachment; filename="cabinet-orders.csv"'
        headers = (("Content-Type", _CSV), ("Content-Disposition", named))
        return Response(200, as_csv(found), headers)

    async def detail(self, call: Call) -> StaffDetailOut:
        order_id = call.params["order_id"]
        chain, phone_tail = await self._orders.detail(order_id, by=by(call))
        return staff_detail_out(chain, order_id, phone_tail)

    async def correct(self, call: Call) -> StaffDetailOut:
        body: Correction = call.body
        await self._orders.correct(
            call.params["order_id"],
            quantities_of(body.items),
            version=body.version,
            reason=body.reason,
            by=by(call),
            key=call.idempotency_key,
        )
        return await self.detail(call)

    async def refund(self, call: Call) -> StaffDetailOut:
        body: RefundNew = call.body
        await self._orders.refund(
            call.params["order_id"],
            None if body.amount_fen is UNSET else body.amount_fen,
            reason=body.reason,
            by=by(call),
            key=_key(call, "A refund"),
        )
        return await self.detail(call)

    async def waive(self, call: Call) -> StaffDetailOut:
        body: Waiver = call.body
        await self._orders.waive(
            call.params["order_id"], reason=body.reason, by=by(call), key=call.idempotency_key
        )
        return await self.detail(call)


def _offset(page: Page) -> int:
    return (page.page - 1) * page.page_size


def _key(call: Call, what: str) -> str:
    if not call.idempotency_key:
        raise Problem(400, "idempotency_key.missing", f"{what} needs an Idempotency-Key.")
    return call.idempotency_key


def _filter(wanted: OrderPage | ExportWanted) -> Filter:
    return Filter(
        account_id=wanted.account_id,
        store_id=wanted.store_id,
        device_id=wanted.device_id,
        kind=wanted.kind or "",
        state=wanted.state or "",
        pay_with=wanted.pay_with or "",
        no=wanted.no,
        from_at=_time(wanted.from_, "from"),
        before_at=_time(wanted.before, "before"),
    )


def _time(text: str, name: str) -> int:
    try:
        return from_rfc3339(text) if text else 0
    except ValueError as error:
        problem = FieldError(f"$.{name}", str(error))
        raise Problem(400, "query.invalid", "No such time.", errors=(problem,)) from error
