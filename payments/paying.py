"""Getting an order placed at WeChat, whatever it answers: one open attempt a debt."""

from __future__ import annotations

import asyncio
from typing import NoReturn
from weakref import WeakValueDictionary

import msgspec

from payments import store
from payments.apply import new_number
from payments.asking import Asking
from payments.gateway import (
    AlreadyClosed,
    AlreadyPaid,
    Gateway,
    NumberUsed,
    Placed,
    PlaceOrder,
    Reaction,
    Refused,
    TradeState,
    TradeType,
    Unknown,
)
from payments.messages import PayRequest
from payments.model import (
    Attempt,
    AttemptState,
    DebtPaid,
    PaymentPending,
    PaymentRefused,
    PaymentsUnavailable,
    PaymentUnknown,
)
from sql.alerts import raise_alert
from sql.database import Database

# An attempt that ends unpaid while somebody pays is followed by a new one, so often.
ROUNDS = 3

# The kind of the alerts about our own set-up at WeChat Pay.
SETUP = "payments.setup"


class Paying:
    """One at a time for each debt; what two processes do at once, the tables keep apart."""

    def __init__(self, db: Database, gateway: Gateway, asking: Asking) -> None:
        self._db = db
        self._gateway = gateway
        self._asking = asking
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def pay(self, wanted: store.Wanted) -> PayRequest:
        """As Payments.pay; wanted bears no number yet."""
        async with self._turns.setdefault(wanted.debt_id, asyncio.Lock()):
            for _ in range(ROUNDS):
                number = new_number(self._db.now())
                fresh = msgspec.structs.replace(wanted, out_trade_no=number)
                request = await self._try_to_pay(fresh)
                if request is not None:
                    return request
        raise PaymentUnknown("")

    async def _try_to_pay(self, wanted: store.Wanted) -> PayRequest | None:
        """None when the attempt there was has ended, so that there may be another."""
        begun = await self._db.write(store.begin_attempt, wanted)
        attempt = begun.attempt
        if attempt is None:
            return msgspec.json.decode(begun.answer, type=PayRequest)
        if not attempt.serves(
            wanted.trade_type,
            wanted.openid,
            amount_fen=begun.due_fen,
            appid=wanted.appid,
            now=self._db.now(),
        ):
            await self._make_way(attempt)
            return None
        if not attempt.prepay_id:
            placed = await self._place(attempt, is_new=begun.is_new)
            if placed is None:
                return None
            attempt = placed
        return await self._answer(attempt, begun.key_id)

    async def _answer(self, attempt: Attempt, key_id: str) -> PayRequest:
        is_native = attempt.trade_type is TradeType.NATIVE
        request = PayRequest(
            out_trade_no=attempt.out_trade_no,
            amount_fen=attempt.amount_fen,
            code_url=attempt.code_url if is_native else None,
            wx_request_payment=None
            if is_native
            else self._gateway.request_payment(
                attempt.prepay_id, now=self._db.now(), appid=attempt.appid
            ),
        )
        if not key_id:
            return request
        answer = msgspec.json.encode(request).decode()
        kept = await self._db.write(store.keep_answer, key_id, answer)
        return msgspec.json.decode(kept, type=PayRequest)

    async def _place(self, attempt: Attempt, *, is_new: bool) -> Attempt | None:
        """Order it at WeChat, by the same words each time; None when it cannot be paid any more."""
        is_there = False
        try:
            if not is_new:
                state = await self._asking.ask(attempt)
                if state is TradeState.PAID:
                    raise DebtPaid
                if state is TradeState.CLOSED:
                    return None
                is_there = state is not TradeState.NOT_FOUND
            order = msgspec.json.decode(attempt.request, type=PlaceOrder)
            placed = await self._gateway.place(order)
        except AlreadyPaid:
            await self._see_paid(attempt)
        except AlreadyClosed:
            await self._asking.end(attempt, AttemptState.CLOSED)
            return None
        except NumberUsed:
            await self._make_way(attempt)
            return None
        except Unknown as error:
            await self._db.write(store.submit_attempt, attempt.id, None)
            raise PaymentUnknown(attempt.out_trade_no) from error
        except Refused as refusal:
            return await self._refused(attempt, refusal, is_there=is_there)
        return await self._submitted(attempt, placed)

    async def _submitted(self, attempt: Attempt, placed: Placed) -> Attempt | None:
        attempt = await self._db.write(store.submit_attempt, attempt.id, placed)
        if attempt.state is AttemptState.SUCCESS:
            # The notice was faster than the answer.
            raise DebtPaid
        return attempt if attempt.is_live else None

    async def _see_paid(self, attempt: Attempt) -> NoReturn:
        """WeChat says that it is paid: what it says when it is asked counts."""
        try:
            state = await self._asking.ask(attempt)
        except (Unknown, Refused) as error:
            raise PaymentUnknown(attempt.out_trade_no) from error
        if state is TradeState.PAID:
            raise DebtPaid
        raise PaymentUnknown(attempt.out_trade_no)

    async def _make_way(self, attempt: Attempt) -> None:
        """Close an attempt for another one; if it is paid after all, that counts."""
        try:
            state = await self._asking.ask(attempt)
            if state is TradeState.PAID:
                raise DebtPaid
            if state is TradeState.CLOSED:
                return
            if self._db.now() < attempt.closable_at:
                raise PaymentPending(attempt.out_trade_no, attempt.closable_at)
            if not await self._asking.close(attempt):
                raise DebtPaid
        except (Unknown, Refused) as error:
            raise PaymentUnknown(attempt.out_trade_no) from error

    async def _refused(
        self, attempt: Attempt, refusal: Refused, *, is_there: bool
    ) -> Attempt | None:
        """The reactions to the codes; reference: the table of error codes."""
        reaction = refusal.reaction
        if reaction in {Reaction.RETRY, Reaction.REPEAT_ORDER}:
            await self._db.write(store.submit_attempt, attempt.id, None)
            raise PaymentUnknown(attempt.out_trade_no) from refusal
        if reaction in {Reaction.STOP, Reaction.BUG, Reaction.MANUAL}:
            await self._db.write(raise_alert, SETUP, refusal.err_code[:120], str(refusal))
        if not is_there:
            # An order that WeChat has stays open, whatever it says to a repeat.
            await self._asking.end(attempt, AttemptState.FAILED, failure=str(refusal))
        if reaction is Reaction.NEW_NUMBER and not is_there:
            return None
        if reaction is Reaction.STOP:
            raise PaymentsUnavailable from refusal
        raise PaymentRefused(refusal.err_code, reaction) from refusal
