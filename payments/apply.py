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
        outcomes = [work.outcome_of(money.fact) for money in asked]
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


class _Work:
    """One list of facts under way."""

    def __init__(self, tx: Tx, facts: Sequence[PaymentFact], rules: Rules) -> None:
        self.tx = tx
        self.rules = rules
        numbers = {fact.out_trade_no for fact in facts}
        self.debts, self.attempts = store.lock_asked(tx, numbers)
        self.receipts = store.find_receipts(tx, {fact.transaction_id for fact in facts})
        self.new: list[tuple[Receipt, Debt | None]] = []
        self.succeeded: list[int] = []
        self.look_at: set[str] = set()
        self.told: list[tuple[int, str, dict[str, Any]]] = []

    def outcome_of(self, fact: PaymentFact) -> Applied:
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
            self._receive(fact, None)
            return self._for_a_person("payment.unknown", fact, Outcome.UNKNOWN)
        return self._settle(attempt, self.debts[attempt.debt_id], fact)

    def _settle(self, attempt: store.Asked, debt: Debt, fact: PaymentFact) -> Applied:
        if attempt.state is not AttemptState.SUCCESS:
            attempt.state = AttemptState.SUCCESS
            self.succeeded.append(attempt.id)
        # A debt that was lowered meanwhile is not paid by what was asked for before.
        is_due = debt.state is DebtState.UNPAID and attempt.amount_fen == debt.amount_fen
        if is_due and self._deliver(debt, fact):
            debt.state = DebtState.PAID
            self._receive(fact, debt)
            self._tell(debt, "payment.succeeded", fact)
            return Applied(Outcome.PAID, fact.out_trade_no, debt.id)
        self._receive(fact, None)
        self._tell(debt, "payment.returned", fact)
        text = f"the debt {debt.id} was {debt.state}; the money goes back by itself"
        raise_alert(self.tx, "payment.late", fact.transaction_id, text)
        self._record("payment.late", fact, text)
        return Applied(Outcome.LATE, fact.out_trade_no, debt.id)

    def _deliver(self, debt: Debt, fact: PaymentFact) -> bool:
        """Let the domain do what was paid for; False when it cannot be done any more."""
        action = self.rules.actions.paid.get(debt.kind)
        try:
            if action is not None:
                action(self.tx, debt, fact)
        except CannotFulfil:
            store.cancel_debt(self.tx, debt, self.rules.actions)
            return False
        return True

    def _receive(self, fact: PaymentFact, debt: Debt | None) -> None:
        receipt = Receipt(
            transaction_id=fact.transaction_id,
            out_trade_no=fact.out_trade_no,
            debt_id=None if debt is None else debt.id,
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
        self.new.append((receipt, debt))

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
        paid = {debt.id for _, debt in self.new if debt is not None}
        if self.succeeded:
            store.succeed_attempts(self.tx, self.succeeded)
        if paid:
            store.pay_debts(self.tx, paid)
        if self.new:
            store.insert_receipts(self.tx, [receipt for receipt, _ in self.new])
            postings.enter(self.tx, [_posting(receipt, debt) for receipt, debt in self.new])
        self._send_back()
        store.look_soon(self.tx, debt_ids=paid, numbers=self.look_at)
        if self.told:
            store.tell(self.tx, self.told)

    def _send_back(self) -> None:
        """Money for an order of ours that needs none goes back without being asked for."""
        for receipt, debt in self.new:
            if debt is None and receipt.out_trade_no in self.attempts:
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


def _posting(receipt: Receipt, debt: Debt | None) -> Posting:
    return postings.unexpected(receipt) if debt is None else postings.paid(debt, receipt)
