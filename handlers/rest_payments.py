"""Payments and refunds over REST: the payer's own, and finance's all."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Protocol

import msgspec

from accounts.audit.model import By
from accounts.staff.permissions import Permission, allowed
from handlers.actors import by, signed_in
from handlers.calls import ADMIN, SIGNED_IN, Call, Response
from handlers.errors import Problem
from handlers.routing import Route
from handlers.wire import Listing, Page
from payments.messages import (
    DifferenceOut,
    Explanation,
    PaymentOut,
    RefundDecision,
    RefundNew,
    RefundOut,
    difference_out,
    payment_out,
    refund_out,
)
from payments.model import PaymentNotFound, Refund
from payments.qr import QrOptions, qr_png
from payments.service import Payments

MAY_LOOK = ADMIN | allowed(Permission.PAYMENTS_READ)
MAY_REFUND = ADMIN | allowed(Permission.PAYMENTS_REFUND)

Text = Annotated[str, msgspec.Meta(max_length=20, pattern=r"^[a-z]*$")]


class Decide(Protocol):
    def __call__(self, out_refund_no: str, /, *, by: By, reason: str) -> Awaitable[Refund]: ...


class PaymentPage(Page, frozen=True):
    state: Text = ""


class RefundPage(Page, frozen=True):
    status: Text = ""


class DifferencePage(Page, frozen=True):
    explained: bool = False


def routes(payments: Payments) -> list[Route]:
    handlers = _Handlers(payments)
    return [*_payer_routes(handlers), *_finance_routes(handlers), *_bill_routes(handlers)]


def _payer_routes(handlers: "_Handlers") -> list[Route]:
    area, errors = "payments", ("payments.not_found",)
    return [
        Route(
            "GET",
            "/api/v1/payments/{out_trade_no:text}",
            handlers.payment,
            returns=PaymentOut,
            who=SIGNED_IN | MAY_LOOK,
            area=area,
            summary="One's own payment",
            errors=errors,
        ),
        Route(
            "POST",
            "/api/v1/payments/{out_trade_no:text}/refresh",
            handlers.refresh,
            returns=PaymentOut,
            who=SIGNED_IN | MAY_REFUND,
            area=area,
            summary="Ask WeChat about it now",
            errors=(*errors, "payments.unknown"),
        ),
        Route(
            "GET",
            "/api/v1/payments/{out_trade_no:text}/qr.png",
            handlers.qr,
            query=QrOptions,
            who=SIGNED_IN | MAY_LOOK,
            area=area,
            summary="The code to scan, of a NATIVE payment that is open",
            errors=errors,
            media_type="image/png",
        ),
    ]


def _finance_routes(handlers: "_Handlers") -> list[Route]:
    area = "admin: payments"
    decisions = [
        Route(
            "POST",
            f"/api/v1/admin/refunds/{{out_refund_no:text}}/{verb}",
            handlers.decide(verb),
            body=RefundDecision,
            returns=RefundOut,
            who=MAY_REFUND,
            area=area,
            summary=summary,
            errors=("refunds.not_found", *codes),
        )
        for verb, summary, codes in (
            (
                "approve",
                "Let a refund go that waits for a second person",
                ("refunds.not_waiting", "refunds.same_person", "payments.stopped"),
            ),
            (
                "reject",
                "Refuse a refund that waits for a second person",
                ("refunds.not_waiting",),
            ),
            (
                "retry",
                "Ask WeChat once more for a refund that failed",
                ("refunds.not_failed", "payments.stopped"),
            ),
            (
                "withdraw",
                "Give up a refund that failed; the money stays",
                ("refunds.not_failed", "payments.unknown"),
            ),
        )
    ]
    return [
        Route(
            "GET",
            "/api/v1/admin/payments",
            handlers.payments,
            query=PaymentPage,
            returns=Listing[PaymentOut],
            who=MAY_LOOK,
            area=area,
            summary="All payments, newest first",
        ),
        Route(
            "POST",
            "/api/v1/admin/payments/{out_trade_no:text}/refunds",
            handlers.refund,
            body=RefundNew,
            returns=RefundOut,
            status=201,
            who=MAY_REFUND,
            idempotent=True,
            area=area,
            summary="Send some of a payment back; above the limit a second person decides",
            errors=(
                "payments.not_found",
                "refunds.too_much",
                "payments.stopped",
                "idempotency.key_reused",
            ),
        ),
        Route(
            "GET",
            "/api/v1/admin/refunds",
            handlers.refunds,
            query=RefundPage,
            returns=Listing[RefundOut],
            who=MAY_LOOK,
            area=area,
            summary="All refunds, newest first",
        ),
        *decisions,
    ]


def _bill_routes(handlers: "_Handlers") -> list[Route]:
    area = "admin: payments"
    return [
        Route(
            "GET",
            "/api/v1/admin/bill-differences",
            handlers.differences,
            query=DifferencePage,
            returns=Listing[DifferenceOut],
            who=ADMIN | allowed(Permission.BILLS_READ),
            area=area,
            summary="Where WeChat's daily bill and our books do not agree",
        ),
        Route(
            "POST",
            "/api/v1/admin/bill-differences/{difference_id}/explain",
            handlers.explain,
            body=Explanation,
            returns=DifferenceOut,
            who=ADMIN | allowed(Permission.BILLS_EXPLAIN),
            area=area,
            summary="Say what a difference is; the books stay as they are",
            errors=("payments.difference_not_found",),
        ),
    ]


class _Handlers:
    def __init__(self, payments: Payments) -> None:
        self._payments = payments

    async def payment(self, call: Call) -> PaymentOut:
        found = await self._payments.payment(call.params["out_trade_no"], payer_id=_payer(call))
        return payment_out(*found)

    async def refresh(self, call: Call) -> PaymentOut:
        found = await self._payments.refresh(call.params["out_trade_no"], payer_id=_payer(call))
        return payment_out(*found)

    async def qr(self, call: Call) -> Response:
        attempt, _ = await self._payments.payment(
            call.params["out_trade_no"], payer_id=_payer(call)
        )
        if not (attempt.is_live and attempt.code_url):
            raise PaymentNotFound
        picture = qr_png(attempt.code_url, call.query)
        return Response(200, picture, (("Content-Type", "image/png"),))

    async def payments(self, call: Call) -> Listing[PaymentOut]:
        page: PaymentPage = call.query
        total, found = await self._payments.page(
            offset=(page.page - 1) * page.page_size, most=page.page_size, state=page.state
        )
        return Listing([payment_out(*each) for each in found], total, page.page, page.page_size)

    async def refund(self, call: Call) -> RefundOut:
        if not call.idempotency_key:
            raise Problem(400, "idempotency_key.missing", "A refund needs an Idempotency-Key.")
        body: RefundNew = call.body
        refund = await self._payments.refund(
            call.params["out_trade_no"],
            amount_fen=body.amount_fen,
            reason=body.reason,
            by=by(call),
            key=call.idempotency_key,
            refund_key=body.refund_key,
        )
        return refund_out(refund)

    async def refunds(self, call: Call) -> Listing[RefundOut]:
        page: RefundPage = call.query
        total, found = await self._payments.refunds_page(
            offset=(page.page - 1) * page.page_size, most=page.page_size, status=page.status
        )
        return Listing([refund_out(each) for each in found], total, page.page, page.page_size)

    def decide(self, verb: str) -> Callable[[Call], Awaitable[RefundOut]]:
        async def decide(call: Call) -> RefundOut:
            act: Decide = getattr(self._payments, f"{verb}_refund")
            number, reason = call.params["out_refund_no"], call.body.reason
            return refund_out(await act(number, by=by(call), reason=reason))

        return decide

    async def differences(self, call: Call) -> Listing[DifferenceOut]:
        page: DifferencePage = call.query
        total, found = await self._payments.differences(
            offset=(page.page - 1) * page.page_size,
            most=page.page_size,
            is_open=not page.explained,
        )
        return Listing([difference_out(each) for each in found], total, page.page, page.page_size)

    async def explain(self, call: Call) -> DifferenceOut:
        explained = await self._payments.explain_difference(
            call.params["difference_id"],
            by=by(call),
            explanation=call.body.text,
        )
        return difference_out(explained)


def _payer(call: Call) -> int:
    """Whose payment it must be; 0 for those who may see all."""
    session = signed_in(call)
    return 0 if session.roles & MAY_LOOK else session.account_id
