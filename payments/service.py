"""What people and machines do with money: pay, tell of a payment, cancel, send back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias
from weakref import WeakValueDictionary

import msgspec

from payments import store
from payments.apply import Money, Rules, apply_all, new_number
from payments.asking import Asking
from payments.bills import store as bill_store
from payments.bills.store import BillReport
from payments.gateway import (
    AlreadyClosed,
    AlreadyPaid,
    BillRow,
    Gateway,
    NumberUsed,
    PaymentFact,
    Placed,
    PlaceOrder,
    Queried,
    Reaction,
    Refunded,
    RefundOrder,
    Refused,
    TradeState,
    TradeType,
    Unknown,
)
from payments.ledger.store import is_stopped
from payments.messages import PayRequest
from payments.model import (
    MINUTE_MS,
    Actions,
    Applied,
    Attempt,
    AttemptState,
    CancelledAction,
    Debt,
    DebtPaid,
    Difference,
    Merchant,
    PaidAction,
    PaymentNotFound,
    PaymentPending,
    PaymentRefused,
    PaymentsStopped,
    PaymentsUnavailable,
    PaymentUnknown,
    Refund,
    RefundedAction,
)
from payments.notices.store import Kept, Notice, keep_bad, keep_notices, notice_of, sweep_bad
from payments.reconcile import Reconciler
from payments.refunds import store as refund_store
from payments.refunds.service import Refunds
from payments.refunds.store import RefundAsk
from payments.wechat.errors import BadMessage
from sql.alerts import raise_alert
from sql.database import Database, ListVerb, Tx
from sql.errors import DatabaseError
from sql.types import Millis

# An attempt that ends unpaid while somebody pays is followed by a new one, so often.
ROUNDS = 3

DAY_MS = 24 * 60 * MINUTE_MS
# So many notices a day that are not WeChat's are kept for a person to look at.
BAD_A_DAY = 200
KEEP_BAD_MS = 30 * DAY_MS

# The kind of the alerts about our own set-up at WeChat Pay.
SETUP = "payments.setup"


class RefundTold(msgspec.Struct, frozen=True):
    """A notice says that something has become of a refund; what, is asked for."""

    out_refund_no: str


class OtherTold(msgspec.Struct, frozen=True):
    """A notice that is WeChat's, and about something that is not settled here."""

    what: str
    number: str = ""


Told: TypeAlias = PaymentFact | RefundTold | OtherTold
Reader: TypeAlias = Callable[[bytes, Mapping[str, str]], Awaitable[Told]]
"""Verifies and reads a notice. Raises BadMessage."""


class NoGateway:
    """WeChat Pay is not set up: nothing can be paid, and everything says why."""

    def _refuse(self) -> NoReturn:
        raise Refused("NOT_CONFIGURED", "WeChat Pay is not configured", Reaction.STOP)

    async def place(self, order: PlaceOrder) -> Placed:
        self._refuse()

    async def query(self, out_trade_no: str) -> Queried:
        self._refuse()

    async def close(self, out_trade_no: str) -> None:
        self._refuse()

    async def refund(self, order: RefundOrder) -> Refunded:
        self._refuse()

    async def query_refund(self, out_refund_no: str) -> Refunded:
        self._refuse()

    async def bill(self, day: int) -> list[BillRow]:
        self._refuse()

    def request_payment(self, prepay_id: str, *, now: Millis) -> dict[str, Any]:
        self._refuse()


class Payments:
    """merchant: who we are; what comes in for others is not ours.

    two_person_above_fen: what may go back of one payment without a second person.
    readers: by path, what verifies the notices that come to it.
    """

    def __init__(
        self,
        db: Database,
        gateway: Gateway,
        *,
        merchant: Merchant,
        two_person_above_fen: int = 50_000,
        readers: Mapping[str, Reader] | None = None,
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._two_person_above_fen = two_person_above_fen
        self._readers = dict(readers or {})
        self._actions = Actions()
        self._rules = Rules(merchant, self._actions)
        self._apply: ListVerb[Money, Applied] = ListVerb(self._apply_all)
        self._asking = Asking(db, gateway, self._actions, self.apply)
        self._refunds = Refunds(db, gateway, self._actions)
        self._reconciler = Reconciler(db, gateway, self._actions, self._asking, self._refunds)
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._full_until: Millis = 0
        self.counts: dict[str, int] = {}
        """Notices by verdict, for the metrics."""

    # What domains say

    def when_paid(self, kind: str, action: PaidAction) -> None:
        """action(tx, debt, fact) runs in the transaction in which the debt is paid.

        It runs before the debt's row is changed, may run again after a deadlock, and raises
        CannotFulfil, having changed nothing, to have the money sent back.
        """
        self._actions.paid[kind] = action

    def when_refunded(self, kind: str, action: RefundedAction) -> None:
        """action(tx, debt, refund) runs in the transaction in which a refund has arrived."""
        self._actions.refunded[kind] = action

    def when_cancelled(self, kind: str, action: CancelledAction) -> None:
        """action(tx, debt) runs in the transaction in which a debt is cancelled or runs out."""
        self._actions.cancelled[kind] = action

    # Paying

    async def pay(
        self, debt_id: int, *, trade_type: TradeType | str, openid: str, client_ip: str, key: str
    ) -> PayRequest:
        """What the payer's client needs to pay the debt.

        The same payer in the same way gets the same attempt as long as it is good; another way
        needs the first one closed. With a key the first answer is given again.

        Raises DebtNotFound, DebtPaid, DebtCancelled, DebtExpired, KeyReused, PaymentsStopped,
        PaymentsUnavailable, PaymentRefused; PaymentPending until the other attempt can be
        closed; PaymentUnknown when WeChat has not answered, and the same may be asked again.
        """
        if isinstance(self._gateway, NoGateway):
            raise PaymentsUnavailable
        await self._see_running()
        wanted = store.Wanted(
            debt_id=debt_id,
            trade_type=TradeType(trade_type),
            openid=openid,
            client_ip=client_ip,
            key=key,
            out_trade_no="",
        )
        async with self._turns.setdefault(debt_id, asyncio.Lock()):
            for _ in range(ROUNDS):
                fresh = msgspec.structs.replace(wanted, out_trade_no=new_number(self._db.now()))
                request = await self._try_to_pay(fresh)
                if request is not None:
                    return request
        raise PaymentUnknown("")

    async def _see_running(self) -> None:
        if await self._db.read(is_stopped):
            raise PaymentsStopped

    async def _try_to_pay(self, wanted: store.Wanted) -> PayRequest | None:
        """None when the attempt there was has ended, so that there may be another."""
        begun = await self._db.write(store.begin_attempt, wanted)
        attempt = begun.attempt
        if attempt is None:
            return msgspec.json.decode(begun.answer, type=PayRequest)
        if not attempt.serves(wanted.trade_type, wanted.openid, self._db.now()):
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
            else self._gateway.request_payment(attempt.prepay_id, now=self._db.now()),
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

    # Being told

    async def apply(self, fact: PaymentFact) -> Applied:
        """Apply money that has come in, once, whoever tells of it and however often."""
        return await self._db.write(self._apply, Money(fact))

    def _apply_all(self, tx: Tx, asked: Sequence[Money]) -> Sequence[Applied]:
        return apply_all(tx, asked, self._rules)

    async def receive(self, raw: bytes, headers: Mapping[str, str], path: str) -> str:
        """Take a notice as it came: verify it, keep it, apply it; its verdict.

        When this returns all is stored and the notice need not come again. Raises BadMessage
        for one that is not WeChat's; PaymentNotFound where no notices come to that path.
        """
        reader = self._readers.get(path)
        if reader is None:
            raise PaymentNotFound
        notice = notice_of(raw, headers, path)
        try:
            told = await reader(raw, headers)
        except BadMessage as error:
            await self._keep_bad(notice, type(error).__name__)
            raise
        verdict = await self._told(notice, told)
        self._count(verdict)
        return verdict

    async def _told(self, notice: Notice, told: Told) -> str:
        if isinstance(told, PaymentFact):
            return await self._paid(notice, told)
        if isinstance(told, RefundTold):
            return await self._db.write(_note_refund, notice, told.out_refund_no)
        kept = Kept(notice=notice, verdict=told.what, number=told.number)
        await self._db.write(keep_notices, [kept])
        return told.what

    async def _paid(self, notice: Notice, fact: PaymentFact) -> str:
        try:
            applied = await self._db.write(self._apply, Money(fact, notice))
        except DatabaseError:
            raise
        except Exception:
            # A mistake of ours: WeChat sends it again, and a person should know before.
            await self._db.write(_note_failed, notice, fact.out_trade_no)
            raise
        return applied.outcome

    async def _keep_bad(self, notice: Notice, why: str) -> None:
        """For a person to look at; a flood is counted only."""
        self._count(why)
        now = self._db.now()
        if now < self._full_until <= now + DAY_MS:
            return
        kept = Kept(notice=notice, verdict=why, is_verified=False)
        has_room = await self._db.write(keep_bad, kept, since=now - DAY_MS, most=BAD_A_DAY)
        self._full_until = 0 if has_room else now + 60 * MINUTE_MS

    def _count(self, verdict: str) -> None:
        self.counts[verdict] = self.counts.get(verdict, 0) + 1

    async def sweep(self) -> int:
        """Forget old notices that were not WeChat's."""
        older_than = self._db.now() - KEEP_BAD_MS
        swept = 0
        while count := await self._db.write(sweep_bad, older_than=older_than):
            swept += count
        return swept

    # Looking

    async def payment(self, out_trade_no: str, *, payer_id: int = 0) -> tuple[Attempt, Debt]:
        """An attempt and its debt, of this payer if one is given. Raises PaymentNotFound."""
        attempt, debt = await self._db.read(store.payment, out_trade_no)
        if payer_id and debt.payer_id != payer_id:
            raise PaymentNotFound
        return attempt, debt

    async def refresh(self, out_trade_no: str, *, payer_id: int = 0) -> tuple[Attempt, Debt]:
        """Ask WeChat about an attempt now. Raises PaymentNotFound, PaymentUnknown."""
        attempt, _ = await self.payment(out_trade_no, payer_id=payer_id)
        if attempt.state is not AttemptState.SUCCESS:
            try:
                await self._asking.ask(attempt)
            except (Unknown, Refused) as error:
                raise PaymentUnknown(out_trade_no) from error
        return await self.payment(out_trade_no, payer_id=payer_id)

    async def page(
        self, *, offset: int, most: int, state: str = "", payer_id: int = 0
    ) -> tuple[int, list[tuple[Attempt, Debt]]]:
        """Attempts, newest first, and how many there are in all."""
        return await self._db.read(
            store.payments_page, offset=offset, most=most, state=state, payer_id=payer_id
        )

    # Cancelling

    async def cancel(self, debt_id: int) -> Debt:
        """Cancel what is owed; where an attempt is open, only once that is closed at WeChat.

        The debt it answers is cancelled, or marked to be: then nobody can begin to pay it, and
        the reconciler closes its attempt as soon as WeChat lets it. Money that comes first
        wins. Raises DebtNotFound, DebtPaid.
        """
        debt, live = await self._db.write(store.ask_cancel, debt_id, self._actions)
        if live is None or self._db.now() < live.closable_at:
            return debt
        try:
            await self._asking.close(live)
        except (Unknown, Refused):
            return debt
        debt = await self._db.read(store.load_debt, debt_id)
        if debt.is_settled:
            raise DebtPaid
        return debt

    # Sending back

    async def refund(
        self,
        out_trade_no: str,
        *,
        amount_fen: int,
        reason: str,
        by: int,
        key: str,
        refund_key: str = "",
    ) -> Refund:
        """Send some of a payment back; above the limit it waits for a second person.

        refund_key: what for, in the words of a domain, so that it goes back once whoever asks.
        Raises PaymentNotFound, RefundTooMuch, ReasonMissing, KeyReused, PaymentsStopped.
        """
        await self._see_running()
        ask = RefundAsk(
            out_trade_no=out_trade_no,
            amount_fen=amount_fen,
            reason=reason,
            by=by,
            key=key,
            once_key=refund_key,
            out_refund_no=new_number(self._db.now()),
            two_person_above_fen=self._two_person_above_fen,
        )
        return await self._db.write(refund_store.ask_refund, ask)

    async def approve_refund(self, out_refund_no: str, *, by: int, reason: str) -> Refund:
        """Raises RefundNotFound, RefundNotWaiting, SamePerson, PaymentsStopped."""
        await self._see_running()
        return await self._db.write(refund_store.approve, out_refund_no, by=by, reason=reason)

    async def reject_refund(self, out_refund_no: str, *, by: int, reason: str) -> Refund:
        """Raises RefundNotFound, RefundNotWaiting."""
        return await self._db.write(refund_store.reject, out_refund_no, by=by, reason=reason)

    async def retry_refund(self, out_refund_no: str, *, by: int, reason: str) -> Refund:
        """Raises RefundNotFound, RefundNotFailed, PaymentsStopped."""
        await self._see_running()
        return await self._db.write(refund_store.retry, out_refund_no, by=by, reason=reason)

    async def withdraw_refund(self, out_refund_no: str, *, by: int, reason: str) -> Refund:
        """Give a failed one up. Raises RefundNotFound, RefundNotFailed, PaymentUnknown."""
        refund = await self.get_refund(out_refund_no)
        try:
            return await self._refunds.withdraw(out_refund_no, by=by, reason=reason)
        except (Unknown, Refused) as error:
            raise PaymentUnknown(refund.out_trade_no) from error

    async def refresh_refund(self, out_refund_no: str) -> Refund:
        """Ask WeChat about a refund now. Raises RefundNotFound, PaymentUnknown."""
        try:
            return await self._refunds.refresh(out_refund_no)
        except (Unknown, Refused) as error:
            raise PaymentUnknown(out_refund_no) from error

    async def get_refund(self, out_refund_no: str) -> Refund:
        return await self._db.read(refund_store.find_refund, out_refund_no)

    async def refunds(self, out_trade_no: str) -> list[Refund]:
        """What is sent back of a payment, oldest first."""
        return await self._db.read(refund_store.refunds_of, out_trade_no)

    async def refunds_page(
        self, *, offset: int, most: int, status: str = ""
    ) -> tuple[int, list[Refund]]:
        return await self._db.read(
            refund_store.refunds_page, offset=offset, most=most, status=status
        )

    # Making sure

    async def settle_due(self) -> str:
        """Ask about what is open and due. Nothing moves while the books do not add up."""
        if await self._db.read(is_stopped):
            return "stopped"
        return await self._reconciler.settle_due()

    async def compare_bill(self, day: int) -> BillReport:
        """Compare WeChat's bill of a day (YYYYMMDD). Raises GatewayError."""
        return await self._reconciler.compare_bill(day)

    async def differences(
        self, *, offset: int, most: int, is_open: bool = True
    ) -> tuple[int, list[Difference]]:
        return await self._db.read(
            bill_store.differences_page, offset=offset, most=most, is_open=is_open
        )

    async def explain_difference(
        self, difference_id: int, *, by: int, explanation: str
    ) -> Difference:
        """Raises DifferenceNotFound."""
        return await self._db.write(
            bill_store.explain, difference_id, by=by, explanation=explanation
        )


def _note_refund(tx: Tx, notice: Notice, out_refund_no: str) -> str:
    is_ours = refund_store.look_at_refund(tx, out_refund_no)
    verdict = "refund" if is_ours else "refund.unknown"
    keep_notices(tx, [Kept(notice=notice, verdict=verdict, number=out_refund_no)])
    return verdict


def _note_failed(tx: Tx, notice: Notice, out_trade_no: str) -> None:
    keep_notices(tx, [Kept(notice=notice, verdict="failed", number=out_trade_no)])
    raise_alert(tx, "payment.failed", out_trade_no, "a verified payment could not be applied")
