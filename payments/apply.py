"""Money that has come in, applied once: whoever tells of it, however often, in whichever order.

All facts that wait together are one list. Under the locks of their debts each is compared with
what was asked for and then pays its debt, or is kept in suspense and sent back, or is written
down for a person. The notices they came with are kept in the same transaction.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec

from payments import postings, store
from payments.gateway import PaymentFact
from payments.ledger.model import Posting
from payments.ledger.store import is_stopped
from payments.model import (
    Actions,
    Applied,
    AttemptState,
    CannotFulfil,
    Debt,
    DebtState,
    Merchant,
    Outcome,
    Receipt,
    RefundStatus,
    beijing_day,
)
from payments.notices.store import Kept, Notice, keep_notices
from payments.refunds.store import write_refund
from sql.alerts import raise_alert, record_incident
from sql.database import Tx
from sql.types import Millis

CURRENCY = "CNY"


class Money(msgspec.Struct, frozen=True):
    """A fact, and the notice it came with, if it was one."""

    fact: PaymentFact
    notice: Notice | None = None


class Rules(msgspec.Struct, frozen=True):
    """What the application of a fact depends on besides the tables."""

    merchant: Merchant
    actions: Actions


def new_number(now: Millis) -> str:
    """A number of ours for WeChat: the day, and 24 characters nobody can guess."""
    return f"{beijing_day(now):08d}{secrets.token_hex(12)}"


def apply_all(tx: Tx, asked: Sequence[Money], rules: Rules) -> Sequence[Applied]:
    """Apply each fact once; a repeat changes nothing."""
    if is_stopped(tx):
        outcomes = [_hold(money.fact) for money in asked]
        store.look_soon(tx, debt_ids=(), numbers={money.fact.out_trade_no for money in asked})
    else:
        work = _Work(tx, [money.fact for money in asked], rules)
        outcomes = work.outcomes_of([money.fact for money in asked])
        work.save()
    keep_notices(tx, _kept(asked, outcomes))
    return outcomes


def _hold(fact: PaymentFact) -> Applied:
    return Applied(Outcome.HELD, fact.out_trade_no)


def _kept(asked: Sequence[Money], outcomes: Sequence[Applied]) -> list[Kept]:
    return [
        Kept(notice=money.notice, verdict=applied.outcome, number=applied.out_trade_no)
        for money, applied in zip(asked, outcomes, strict=True)
        if money.notice is not None
    ]


class _Claim(msgspec.Struct):
    """Money for an attempt of ours. is_due: it is right for its debt, and the first that is."""

    debt: Debt
    fact: PaymentFact
    receipt: Receipt
    is_due: bool
    is_paid: bool = False


class _Work:
    """One list of facts under way."""

    def __init__(self, tx: Tx, facts: Sequence[PaymentFact], rules: Rules) -> None:
        self.tx = tx
        self.rules = rules
        numbers = {fact.out_trade_no for fact in facts}
        self.debts, self.attempts = store.lock_asked(tx, numbers)
        self.receipts = store.find_receipts(tx, {fact.transaction_id for fact in facts})
        self.new: list[tuple[Receipt, _Claim | None]] = []
        self.claimed: set[int] = set()
        self.succeeded: list[int] = []
        self.look_at: set[str] = set()
        self.told: list[tuple[int, str, dict[str, Any]]] = []

    def outcomes_of(self, facts: Sequence[PaymentFact]) -> list[Applied]:
        """Judge them one after the other, deliver together what is paid now, then settle all."""
        judged = [self._judge(fact) for fact in facts]
        self._deliver([each for each in judged if isinstance(each, _Claim) and each.is_due])
        return [self._settle(each) if isinstance(each, _Claim) else each for each in judged]

    def _judge(self, fact: PaymentFact) -> Applied | _Claim:
        if not self.rules.merchant.owns(fact):
            return self._for_a_person("payment.foreign", fact, Outcome.FOREIGN)
        attempt = self.attempts.get(fact.out_trade_no)
        known = self.receipts.get(fact.transaction_id)
        if known is not None and _is_same(known, fact):
            debt_id = attempt.debt_id if attempt else 0
            return Applied(Outcome.REPEATED, fact.out_trade_no, debt_id)
        if known is not None or fact.currency != CURRENCY or not _is_amount(attempt, fact):
            return self._for_a_person("payment.mismatch", fact, Outcome.MISMATCH)
        if attempt is None:
            self.new.append((self._receipt(fact), None))
            return self._for_a_person("payment.unknown", fact, Outcome.UNKNOWN)
        return self._claim(attempt, self.debts[attempt.debt_id], fact)

    def _claim(self, attempt: store.Asked, debt: Debt, fact: PaymentFact) -> _Claim:
        if attempt.state is not AttemptState.SUCCESS:
            attempt.state = AttemptState.SUCCESS
            self.succeeded.append(attempt.id)
        # A debt that was lowered meanwhile is not paid by what was asked for before.
        is_right = debt.state is DebtState.UNPAID and attempt.amount_fen == debt.amount_fen
        # Whatever becomes of the first that is right, for the next the debt is unpaid no more.
        claim = _Claim(debt, fact, self._receipt(fact), is_right and debt.id not in self.claimed)
        if claim.is_due:
            self.claimed.add(debt.id)
        self.new.append((claim.receipt, claim))
        return claim

    def _deliver(self, due: Sequence[_Claim]) -> None:
        """Let the domains do what was paid for."""
        together: dict[str, list[_Claim]] = {}
        for claim in due:
            if claim.debt.kind in self.rules.actions.paid_together:
                together.setdefault(claim.debt.kind, []).append(claim)
            else:
                self._note(claim, is_delivered=self._is_delivered(claim))
        for kind, claims in together.items():
            action = self.rules.actions.paid_together[kind]
            failed = action(self.tx, [(claim.debt, claim.fact) for claim in claims])
            for claim in claims:
                self._note(claim, is_delivered=claim.debt.id not in failed)

    def _is_delivered(self, claim: _Claim) -> bool:
        """Let the domain deliver this one; False when it cannot be done any more."""
        action = self.rules.actions.paid.get(claim.debt.kind)
        try:
            if action is not None:
                action(self.tx, claim.debt, claim.fact)
        except CannotFulfil:
            return False
        return True

    def _note(self, claim: _Claim, *, is_delivered: bool) -> None:
        if is_delivered:
            claim.is_paid = True
            claim.debt.state = DebtState.PAID
            claim.receipt.debt_id = claim.debt.id
        else:
            store.cancel_debt(self.tx, claim.debt, self.rules.actions)

    def _settle(self, claim: _Claim) -> Applied:
        debt, fact = claim.debt, claim.fact
        if claim.is_paid:
            self._tell(debt, "payment.succeeded", fact)
            return Applied(Outcome.PAID, fact.out_trade_no, debt.id)
        self._tell(debt, "payment.returned", fact)
        text = f"the debt {debt.id} was {debt.state}; the money goes back by itself"
        raise_alert(self.tx, "payment.late", fact.transaction_id, text)
        self._record("payment.late", fact, text)
        return Applied(Outcome.LATE, fact.out_trade_no, debt.id)

    def _receipt(self, fact: PaymentFact) -> Receipt:
        receipt = Receipt(
            transaction_id=fact.transaction_id,
            out_trade_no=fact.out_trade_no,
            debt_id=None,
            amount_fen=fact.amount_fen,
            reserved_fen=0,
            appid=fact.appid,
            mch_id=fact.mch_id,
            openid=fact.openid,
            paid_at=fact.paid_at,
            received_at=self.tx.now,
            source=fact.source,
        )
        self.receipts[fact.transaction_id] = receipt
        return receipt

    def _tell(self, debt: Debt, name: str, fact: PaymentFact) -> None:
        if debt.payer_id:
            data = {"out_trade_no": fact.out_trade_no, "amount_fen": fact.amount_fen}
            self.told.append((debt.payer_id, name, data))

    def _for_a_person(self, kind: str, fact: PaymentFact, outcome: Outcome) -> Applied:
        """Write it down and raise an alert; ask WeChat, where it was somebody else who said so."""
        text = f"{fact.amount_fen} {fact.currency} from {fact.source}"
        if raise_alert(self.tx, kind, f"{fact.out_trade_no} {fact.transaction_id}"[:120], text):
            self._record(kind, fact, text)
        if fact.source != "query":
            self.look_at.add(fact.out_trade_no)
        return Applied(outcome, fact.out_trade_no)

    def _record(self, kind: str, fact: PaymentFact, text: str) -> None:
        record_incident(self.tx, kind, fact.out_trade_no, text, store.encode(fact))

    def save(self) -> None:
        """Write what came in, the states it led to, and the journals of it."""
        paid = {receipt.debt_id for receipt, _ in self.new if receipt.debt_id is not None}
        if self.succeeded:
            store.succeed_attempts(self.tx, self.succeeded)
        if paid:
            store.pay_debts(self.tx, paid)
        if self.new:
            store.insert_receipts(self.tx, [receipt for receipt, _ in self.new])
            postings.enter(self.tx, [_posting(receipt, claim) for receipt, claim in self.new])
        self._send_back()
        store.look_soon(self.tx, debt_ids=paid, numbers=self.look_at)
        if self.told:
            store.tell(self.tx, self.told)

    def _send_back(self) -> None:
        """Money for an order of ours that needs none goes back without being asked for."""
        for receipt, claim in self.new:
            if claim is not None and not claim.is_paid:
                write_refund(
                    self.tx,
                    receipt,
                    None,
                    amount_fen=receipt.amount_fen,
                    out_refund_no=new_number(self.tx.now),
                    once_key=f"late:{receipt.transaction_id}",
                    reason="not needed any more",
                    asked_by=0,
                    status=RefundStatus.REQUESTED,
                )


def _is_same(known: Receipt, fact: PaymentFact) -> bool:
    return (known.out_trade_no, known.amount_fen) == (fact.out_trade_no, fact.amount_fen)


def _is_amount(attempt: store.Asked | None, fact: PaymentFact) -> bool:
    return attempt is None or attempt.amount_fen == fact.amount_fen


def _posting(receipt: Receipt, claim: _Claim | None) -> Posting:
    if claim is None or not claim.is_paid:
        return postings.unexpected(receipt)
    return postings.paid(claim.debt, receipt)
