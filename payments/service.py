"""What people and machines do with money: pay, tell of a payment, cancel, send back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NoReturn

from accounts.audit.model import By
from payments import store
from payments.apply import Money, Rules, apply_all, new_number
from payments.asking import Asking
from payments.bills import audited as audited_bills
from payments.bills import store as bill_store
from payments.bills.store import BillReport
from payments.checks.store import CHECKS
from payments.gateway import (
    BillRow,
    Gateway,
    PaymentFact,
    Placed,
    PlaceOrder,
    Queried,
    Reaction,
    Refunded,
    RefundOrder,
    Refused,
    TradeType,
    Unknown,
)
from payments.ledger.model import Violation
from payments.ledger.service import Books
from payments.ledger.store import is_stopped
from payments.messages import PayRequest
from payments.model import (
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
    PaidTogether,
    PaymentNotFound,
    PaymentsUnavailable,
    PaymentUnknown,
    Refund,
    RefundedAction,
)
from payments.notices.service import Inbox, Reader
from payments.paying import Paying
from payments.reconcile import Reconciler
from payments.refunds import audited
from payments.refunds import store as refund_store
from payments.refunds.service import Refunds
from payments.refunds.store import RefundAsk
from payments.scans.model import Codes
from payments.scans.service import Scans
from sql.database import Database, ListVerb, Tx
from sql.types import Millis


class NoGateway:
    """WeChat Pay is not set up: nothing can be paid, and everything says why."""

    def _refuse(self) -> NoReturn:
        raise Refused("NOT_CONFIGURED", "WeChat Pay is not configured", Reaction.STOP)

    async def place(self, order: PlaceOrder) -> Placed:
        self._refuse()

    async def query(self, out_trade_no: str, *, appid: str = "") -> Queried:
        self._refuse()

    async def close(self, out_trade_no: str, *, appid: str = "") -> None:
        self._refuse()

    async def refund(self, order: RefundOrder) -> Refunded:
        self._refuse()

    async def query_refund(self, out_refund_no: str, *, is_deduction: bool = False) -> Refunded:
        self._refuse()

    async def bill(self, day: int) -> list[BillRow]:
        self._refuse()

    def request_payment(self, prepay_id: str, *, now: Millis, appid: str = "") -> dict[str, Any]:
        self._refuse()


async def _no_scores(_: str) -> None:
    """Payscore is not set up any more: what is left of it waits."""
    raise Refused("NOT_CONFIGURED", "Payscore is not configured", Reaction.STOP)


class Payments:
    """merchant: who we are; what comes in for others is not ours.

    two_person_above_fen: what may go back of one payment without a second person.
    readers: by path, what verifies the notices that come to it.
    codes: how standing codes are written and their scans answered, if there are any.
    ask_score: how WeChat is asked about the attempts that are deductions; payments/scores sets it.
    """

    def __init__(
        self,
        db: Database,
        gateway: Gateway,
        *,
        merchant: Merchant,
        two_person_above_fen: int = 50_000,
        readers: Mapping[str, Reader] | None = None,
        codes: Codes | None = None,
    ) -> None:
        self._db = db
        self._gateway = gateway
        self._two_person_above_fen = two_person_above_fen
        self._actions = Actions()
        self.rules = Rules(merchant, self._actions)
        self.ask_score: Callable[[str], Awaitable[object]] = _no_scores
        self._apply: ListVerb[Money, Applied] = ListVerb(self._apply_all)
        self._asking = Asking(db, gateway, self._actions, self.apply)
        self._refunds = Refunds(db, gateway, self._actions)
        self._reconciler = Reconciler(db, gateway, self._actions, self._asking, self._refunds)
        self._paying = Paying(db, gateway, self._asking)
        self.inbox = Inbox(db, readers or {}, self._apply)
        self.scans = Scans(db, self.inbox, self._paying, codes)
        self.books = Books(db)
        for check in CHECKS:
            self.books.also(check)

    # What domains say

    def when_paid(self, kind: str, action: PaidAction) -> None:
        """action(tx, debt, fact) runs in the transaction in which the debt is paid.

        It runs before the debt's row is changed, may run again after a deadlock, and raises
        CannotFulfil, having changed nothing, to have the money sent back.
        """
        self._actions.paid[kind] = action

    def when_paid_together(self, kind: str, action: PaidTogether) -> None:
        """As when_paid for a kind of which many are paid at a time: action(tx, [(debt, fact)]).

        It returns the ids of the debts that it cannot deliver, having changed nothing for them.
        """
        self._actions.paid_together[kind] = action

    def when_refunded(self, kind: str, action: RefundedAction) -> None:
        """action(tx, debt, refund) runs in the transaction in which a refund has arrived."""
        self._actions.refunded[kind] = action

    def when_cancelled(self, kind: str, action: CancelledAction) -> None:
        """action(tx, debt) runs in the transaction in which a debt is cancelled or runs out."""
        self._actions.cancelled[kind] = action

    # Paying

    async def pay(
        self,
        debt_id: int,
        *,
        trade_type: TradeType | str,
        openid: str,
        client_ip: str,
        key: str,
        appid: str = "",
    ) -> PayRequest:
        """What the payer's client needs to pay the debt.

        The same payer in the same way gets the same attempt as long as it is good; another way
        needs the first one closed. With a key the first answer is given again. appid: of the
        mini-program that pays, where it is not the sellers'. A debt whose fee WeChat is still
        deducting may be paid so as well: whichever money comes second goes back.

        Raises DebtNotFound, DebtPaid, DebtCancelled, DebtExpired, KeyReused, PaymentsStopped,
        PaymentsUnavailable, PaymentRefused; PaymentPending until the other attempt can be
        closed; PaymentUnknown when WeChat has not answered, and the same may be asked again.
        """
        if isinstance(self._gateway, NoGateway):
            raise PaymentsUnavailable
        wanted = store.Wanted(
            debt_id=debt_id,
            trade_type=TradeType(trade_type),
            openid=openid,
            client_ip=client_ip,
            key=key,
            out_trade_no="",
            appid=appid,
        )
        return await self._paying.pay(wanted)

    # Being told

    async def apply(self, fact: PaymentFact) -> Applied:
        """Apply money that has come in, once, whoever tells of it and however often."""
        return await self._db.write(self._apply, Money(fact))

    def _apply_all(self, tx: Tx, asked: Sequence[Money]) -> Sequence[Applied]:
        return apply_all(tx, asked, self.rules)

    async def receive(self, raw: bytes, headers: Mapping[str, str], path: str) -> str:
        """Take a notice as it came: verify it, keep it, apply it; its verdict.

        When this returns all is stored and the notice need not come again. Raises BadMessage
        for one that is not WeChat's; PaymentNotFound where no notices come to that path.
        """
        return await self.inbox.receive(raw, headers, path)

    async def sweep(self) -> int:
        """Forget old notices that were not WeChat's."""
        return await self.inbox.sweep()

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
            is_deduction = attempt.trade_type is TradeType.PAYSCORE
            try:
                await (self.ask_score(out_trade_no) if is_deduction else self._asking.ask(attempt))
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
        by: By,
        key: str,
        refund_key: str = "",
    ) -> Refund:
        """Send some of a payment back; above the limit it waits for a second person.

        What people do about refunds and differences is written to the audit with it.
        refund_key: what for, in the words of a domain, so that it goes back once whoever asks.
        Raises PaymentNotFound, RefundTooMuch, ReasonMissing, KeyReused, PaymentsStopped.
        """
        ask = RefundAsk(
            out_trade_no=out_trade_no,
            amount_fen=amount_fen,
            reason=reason,
            by=by.account_id,
            key=key,
            once_key=refund_key,
            out_refund_no=new_number(self._db.now()),
            two_person_above_fen=self._two_person_above_fen,
        )
        return await self._db.write(audited.ask, ask, by=by)

    async def approve_refund(self, out_refund_no: str, *, by: By, reason: str) -> Refund:
        """Raises RefundNotFound, RefundNotWaiting, SamePerson, PaymentsStopped."""
        return await self._db.write(audited.approve, out_refund_no, by=by, reason=reason)

    async def reject_refund(self, out_refund_no: str, *, by: By, reason: str) -> Refund:
        """Raises RefundNotFound, RefundNotWaiting."""
        return await self._db.write(audited.reject, out_refund_no, by=by, reason=reason)

    async def retry_refund(self, out_refund_no: str, *, by: By, reason: str) -> Refund:
        """Raises RefundNotFound, RefundNotFailed, PaymentsStopped."""
        return await self._db.write(audited.retry, out_refund_no, by=by, reason=reason)

    async def withdraw_refund(self, out_refund_no: str, *, by: By, reason: str) -> Refund:
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

    async def check_books(self, *, from_zero: bool = True) -> list[Violation]:
        """Look whether the ledger and all that payments promise hold; money stops if not."""
        return await self.books.check(from_zero=from_zero)

    async def differences(
        self, *, offset: int, most: int, is_open: bool = True
    ) -> tuple[int, list[Difference]]:
        return await self._db.read(
            bill_store.differences_page, offset=offset, most=most, is_open=is_open
        )

    async def explain_difference(
        self, difference_id: int, *, by: By, explanation: str
    ) -> Difference:
        """Raises DifferenceNotFound."""
        return await self._db.write(
            audited_bills.explain, difference_id, by=by, explanation=explanation
        )
