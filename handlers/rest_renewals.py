"""A seller's own stall, and its months: owed here, paid at WeChat; codes to be printed."""

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import UNSET

from accounts.staff.permissions import Permission, allowed
from handlers.actors import actor, signed_in
from handlers.calls import ADMIN, SELLER, Call, Response
from handlers.errors import Problem
from handlers.routing import Route
from payments.gateway import TradeType
from payments.qr import qr_png
from queueing.messages import stall_for_seller
from queueing.renewals.messages import (
    OwnStall,
    RenewalNew,
    RenewalOrder,
    StandingAsked,
    StandingCode,
    StandingQr,
)
from queueing.renewals.service import Renewals
from queueing.stalls.service import Stalls

OpenidOf = Callable[[int], Awaitable[str]]


def routes(renewals: Renewals, stalls: Stalls, openid_of: OpenidOf) -> list[Route]:
    async def own_stall(call: Call) -> OwnStall:
        stall = await stalls.of_seller(actor(call))
        shown = stall_for_seller(stall, image_url=stalls.image_url(stall))
        return OwnStall(**msgspec.structs.asdict(shown), month_price_fen=renewals.price_fen)

    async def renew(call: Call) -> RenewalOrder:
        if not call.idempotency_key:
            raise Problem(400, "idempotency_key.missing", "A payment needs an Idempotency-Key.")
        body: RenewalNew = call.body
        jsapi = body.trade_type is TradeType.JSAPI
        order = await renewals.order(
            call.params["stall_id"],
            actor(call),
            months=body.months,
            trade_type=body.trade_type,
            openid=await openid_of(signed_in(call).account_id) if jsapi else "",
            client_ip=call.address,
            key=call.idempotency_key,
        )
        return RenewalOrder(
            out_trade_no=order.out_trade_no,
            months=body.months,
            amount_fen=order.amount_fen,
            code_url=order.code_url or UNSET,
            wx_request_payment=order.wx_request_payment or UNSET,
        )

    async def standing_code(call: Call) -> StandingCode:
        stall_id = call.params["stall_id"]
        return await renewals.standing_code(stall_id, actor(call), months=call.query.months)

    async def standing_qr(call: Call) -> Response:
        code = await standing_code(call)
        picture = qr_png(code.code_url, call.query)
        return Response(200, picture, (("Content-Type", "image/png"),))

    may_see = SELLER | ADMIN | allowed(Permission.STALLS_READ)
    return [
        Route(
            "GET",
            "/api/v1/sellers/me/stall",
            own_stall,
            returns=OwnStall,
            who=SELLER,
            area="stalls",
            summary="The seller's own stall, and what a month costs",
            errors=("stall.not_found",),
        ),
        Route(
            "POST",
            "/api/v1/stalls/{stall_id}/renewals",
            renew,
            body=RenewalNew,
            returns=RenewalOrder,
            status=201,
            who=SELLER,
            idempotent=True,
            area="stalls",
            summary="Order months for one's stall, to be paid at WeChat",
            errors=("stall.not_found", "idempotency.key_reused", "payments.unknown"),
        ),
        Route(
            "GET",
            "/api/v1/stalls/{stall_id}/renewals/code",
            standing_code,
            query=StandingAsked,
            returns=StandingCode,
            who=may_see,
            area="stalls",
            summary="A code for the stall's months that may be printed, as text",
            errors=("stall.not_found", "payments.unavailable"),
        ),
        Route(
            "GET",
            "/api/v1/stalls/{stall_id}/renewals/qr.png",
            standing_qr,
            query=StandingQr,
            who=may_see,
            area="stalls",
            summary="The same code as a picture",
            errors=("stall.not_found", "payments.unavailable"),
            media_type="image/png",
        ),
    ]
