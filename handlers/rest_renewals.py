"""A seller's own stall, and its months: owed here, paid at WeChat."""

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import UNSET

from handlers.actors import actor, signed_in
from handlers.calls import SELLER, Call
from handlers.errors import Problem
from handlers.routing import Route
from payments.gateway import TradeType
from queueing.messages import stall_for_seller
from queueing.renewals.messages import OwnStall, RenewalNew, RenewalOrder
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
    ]
