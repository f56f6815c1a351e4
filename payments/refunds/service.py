"""Sending money back: what people decide, and every step towards WeChat with one number."""

from __future__ import annotations

from accounts.audit.model import By
from payments.gateway import (
    Gateway,
    GatewayError,
    Reaction,
    Refunded,
    RefundOrder,
    RefundState,
    Refused,
    Unknown,
)
from payments.model import Actions, Refund, RefundNotFailed, RefundStatus
from payments.refunds import audited, store
from sql.alerts import raise_alert
from sql.database import Database

# What may pass, and is tried again with the same number.
PASSING = frozenset({Reaction.RETRY, Reaction.WAIT, Reaction.TELL_USER, Reaction.STOP})


class Refunds:
    """push(refund) may be repeated, and by several processes at once."""

    def __init__(self, db: Database, gateway: Gateway, actions: Actions) -> None:
        self._db = db
        self._gateway = gateway
        self._actions = actions

    async def push(self, refund: Refund) -> Refund:
        """Take a requested refund a step further: ask for it, then ask about it.

        What is not clear is left as it is, until the next time.
        """
        try:
            if refund.accepted_at is None:
                await self._request(refund)
            return await self._look(refund)
        except Unknown:
            return await self._wait(refund, "WeChat Pay gives no clear answer")
        except Refused as refusal:
            return await self._refused(refund, refusal)
        except GatewayError as error:
            return await self._fail(refund, f"{error.code}: {error}")

    async def _request(self, refund: Refund) -> None:
        paid = await self._db.read(store.how_paid, refund.out_refund_no)
        await self._gateway.refund(
            RefundOrder(
                out_trade_no=refund.out_trade_no,
                transaction_id=refund.transaction_id,
                out_refund_no=refund.out_refund_no,
                total_fen=refund.total_fen,
                refund_fen=refund.amount_fen,
                reason=refund.reason,
                appid=paid.appid,
                is_deduction=paid.is_deduction,
            )
        )
        await self._db.write(store.note_accepted, refund.out_refund_no)

    async def _look(self, refund: Refund) -> Refund:
        """Only what WeChat says when it is asked counts."""
        found = await self._found(refund.out_refund_no)
        if found.state is RefundState.NOT_FOUND and refund.accepted_at is not None:
            # It was taken and is not there: the same once more is no second refund.
            await self._request(refund)
        if found.state is RefundState.SUCCESS:
            return await self._settle(refund.out_refund_no, found)
        if found.state in {RefundState.CLOSED, RefundState.ABNORMAL}:
            return await self._fail(refund, f"WeChat says {found.state}")
        return await self._wait(refund, f"WeChat says {found.state}")

    async def _found(self, out_refund_no: str) -> Refunded:
        paid = await self._db.read(store.how_paid, out_refund_no)
        try:
            return await self._gateway.query_refund(out_refund_no, is_deduction=paid.is_deduction)
        except Refused as refusal:
            if refusal.reaction is Reaction.RETRY:
                return Refunded(out_refund_no=out_refund_no, state=RefundState.NOT_FOUND)
            raise

    async def _settle(self, out_refund_no: str, found: Refunded) -> Refund:
        return await self._db.write(store.settle, out_refund_no, found, self._actions)

    async def _wait(self, refund: Refund, why: str) -> Refund:
        if store.is_out_of_patience(refund, self._db.now()):
            return await self._fail(refund, why)
        return await self._db.read(store.find_refund, refund.out_refund_no)

    async def _refused(self, refund: Refund, refusal: Refused) -> Refund:
        if refusal.reaction not in PASSING:
            return await self._fail(refund, str(refusal))
        if refusal.reaction is not Reaction.RETRY:
            text = f"{refund.amount_fen} fen wait: {refusal}"
            await self._db.write(raise_alert, store.MANUAL, refund.out_refund_no, text)
        return await self._wait(refund, str(refusal))

    async def _fail(self, refund: Refund, why: str) -> Refund:
        return await self._db.write(store.fail, refund.out_refund_no, why)

    async def refresh(self, out_refund_no: str) -> Refund:
        """Ask WeChat about a refund now. Raises RefundNotFound."""
        refund = await self._db.read(store.find_refund, out_refund_no)
        if refund.status is RefundStatus.REQUESTED:
            return await self.push(refund)
        if refund.status is RefundStatus.FAILED:
            found = await self._found(out_refund_no)
            if found.state is RefundState.SUCCESS:
                return await self._settle(out_refund_no, found)
        return refund

    async def withdraw(self, out_refund_no: str, *, by: By, reason: str) -> Refund:
        """Give a failed refund up, once WeChat says that it will never pay it.

        Raises RefundNotFound, RefundNotFailed, GatewayError.
        """
        found = await self._found(out_refund_no)
        if found.state not in {RefundState.CLOSED, RefundState.NOT_FOUND}:
            raise RefundNotFailed
        return await self._db.write(audited.withdraw, out_refund_no, by=by, reason=reason)
