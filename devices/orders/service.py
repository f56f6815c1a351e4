"""What people do with cabinet orders: buyers look and pay, staff correct, refund, waive, decide."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from accounts.audit.model import By
from accounts.audit.store import record
from commerce.members.store import find_member
from devices.desk.model import Action
from devices.fleet.store import scope_of, sees
from devices.orders import decisions, paying, settle
from devices.orders.checks.store import CHECKS
from devices.orders.model import (
    DEBT,
    Order,
    OrderNotFound,
    PaymentOpen,
    PayWith,
    Rules,
)
from devices.orders.rows import store as rows
from devices.orders.rows.store import Chain, Filter, Seen
from payments.gateway import PaymentFact, TradeType
from payments.messages import PayRequest
from payments.model import Debt, DebtPaid, DebtState, Refund
from payments.scores.model import ScorePhase
from payments.service import Payments
from sql.database import Database, Tx
from sql.idempotency import fingerprint, once
from sql.types import Millis

# A payment that is begun and left lying is over after so long, and may be begun again.
PAY_WITHIN_MS: Millis = 2 * 3_600_000

EXPORT_MAX = 20_000
_AT_ONCE = 500


class Orders:
    """rules: see there. appid: of the app in which buyers pay."""

    def __init__(self, db: Database, payments: Payments, rules: Rules, *, appid: str = "") -> None:
        self._db = db
        self._payments = payments
        self.rules = rules
        self._appid = appid
        payments.when_paid(DEBT, self._paid)
        payments.when_refunded(DEBT, self._refunded)
        payments.when_cancelled(DEBT, self._cancelled)
        for check in CHECKS:
            payments.books.also(check)

    # What payments tell

    def _paid(self, tx: Tx, debt: Debt, fact: PaymentFact) -> None:
        settle.paid(tx, debt, fact, self.rules)

    def _refunded(self, tx: Tx, debt: Debt, refund: Refund) -> None:
        settle.refunded(tx, debt, refund, self.rules)

    def _cancelled(self, tx: Tx, debt: Debt) -> None:
        settle.cancelled(tx, debt, self.rules)

    def score_over(self, tx: Tx, session_id: int, phase: ScorePhase) -> None:
        """For scores.when_over: what is due is the buyer's to pay, unless it was paid."""
        settle.score_over(tx, session_id, phase, self.rules)

    # Parcels and jobs

    async def deliver_settle(self, payload: Mapping[str, Any]) -> None:
        """A parcel of ours: what could not follow in the transaction that found it necessary."""
        await self._db.write(settle.settle, payload["order_id"], self.rules)

    async def deliver_cancel(self, payload: Mapping[str, Any]) -> None:
        """A parcel of ours: a payment that is not needed any more is closed at WeChat."""
        try:
            await self._payments.cancel(payload["debt_id"])
        except DebtPaid:
            # It counts, or it has gone back: whoever applied it has seen to that.
            return

    async def look_after(self) -> str:
        """A job: what people have decided in payments about refunds of ours."""
        found = await self._db.read(rows.stopped_refunds)
        for order_id in found:
            await self._db.write(settle.note_stopped, order_id, self.rules)
        return f"{len(found)} stopped"

    # One's own

    async def mine(
        self, account_id: int, *, sort: str = "-id", offset: int, most: int
    ) -> tuple[int, list[Order]]:
        """A buyer's orders, newest first unless otherwise, and how many there are."""
        wanted = Filter(account_id=account_id, is_something=True, sort=sort)
        total, found = await self._db.read(rows.page, wanted, offset=offset, most=most)
        return total, [seen.order for seen in found]

    async def own(self, order_id: int, account_id: int) -> Chain:
        """One of them with the others of its session. Raises OrderNotFound."""
        return await self._db.read(_own, order_id, account_id)

    async def unpaid(self, account_id: int) -> list[Order]:
        """What keeps them from opening a door."""
        return await self._db.read(rows.unpaid_of, account_id)

    async def pay(
        self,
        order_id: int,
        account_id: int,
        *,
        means: PayWith,
        openid: str,
        client_ip: str,
        key: str,
    ) -> tuple[Order, PayRequest | None]:
        """Pay what is open: in tickets at once, or (with what WeChat needs) in the mini-program.

        One payment at a time: another that is open is closed first, as soon as WeChat lets it.
        The same key gives the same payment. Raises OrderNotFound, NothingToPay, TicketsShort,
        PaymentOpen, KeyReused, and what Payments.pay raises.
        """
        asked = (order_id, account_id, means, key)
        try:
            done = await self._db.write(_pay_once, *asked, self.rules)
        except PaymentOpen:
            await self._close_other(order_id, account_id, means)
            done = await self._db.write(_pay_once, *asked, self.rules)
        order = await self._db.read(rows.load, order_id)
        if means == "ticket":
            return order, None
        request = await self._payments.pay(
            int(done),
            trade_type=TradeType.JSAPI,
            openid=openid,
            client_ip=client_ip,
            key=key,
            appid=self._appid,
        )
        return order, request

    async def _close_other(self, order_id: int, account_id: int, means: PayWith) -> None:
        """Raises PaymentOpen while WeChat may still take the money by it."""
        debt_id = await self._db.write(
            paying.wrong_payment, order_id, account_id, with_tickets=means == "ticket"
        )
        if debt_id:
            debt = await self._payments.cancel(debt_id)
            if debt.state is not DebtState.CANCELLED:
                raise PaymentOpen

    # Staff

    async def page(
        self, wanted: Filter, *, by: By, offset: int, most: int
    ) -> tuple[int, list[Seen]]:
        """Orders of the stores one sees, and how many there are."""
        return await self._db.read(_page, wanted, by, offset, most)

    async def detail(self, order_id: int, *, by: By) -> tuple[Chain, str]:
        """An order with its chain and all that was said and charged, and the phone's last digits.

        Raises OrderNotFound.
        """
        return await self._db.read(_detail, order_id, by)

    async def export(self, wanted: Filter, *, by: By) -> list[Seen]:
        """The same as the page, oldest first, at most EXPORT_MAX.

        What leaves the house leaves a line in the audit: what was wanted, and how many came.
        """
        found: list[Seen] = []
        while len(found) < EXPORT_MAX:
            after = found[-1].order.id if found else 0
            some = await self._db.read(_some, wanted, by, after)
            found += some
            if len(some) < _AT_ONCE:
                break
        asked = msgspec.structs.asdict(wanted) | {"stores": None, "sort": ""}
        given = {name: value for name, value in asked.items() if value}
        await self._db.write(
            record,
            actor=by,
            action="cabinet_orders.export",
            subject="cabinet_orders",
            before={},
            after={**given, "orders": len(found)},
        )
        return found

    async def correct(
        self,
        order_id: int,
        quantities: Mapping[str, int],
        *,
        version: int,
        reason: str,
        by: By,
        key: str = "",
    ) -> None:
        """See decisions.correct; once per key."""
        mark = fingerprint("correct", order_id, sorted(quantities.items()), version, reason)
        await self._once(by, key, mark, _correct, order_id, quantities, version, reason)

    async def refund(
        self, order_id: int, fen: int | None, *, reason: str, by: By, key: str
    ) -> None:
        """See decisions.refund; once per key."""
        mark = fingerprint("refund", order_id, fen, reason)
        await self._once(by, key, mark, _refund, order_id, fen, reason)

    async def waive(self, order_id: int, *, reason: str, by: By, key: str = "") -> None:
        """See decisions.waive; once per key."""
        mark = fingerprint("waive", order_id, reason)
        await self._once(by, key, mark, _waive, order_id, reason)

    async def _once(self, by: By, key: str, mark: str, verb: Any, *args: Any) -> None:
        scope = f"cabinet_orders:{by.account_id}"
        await self._db.write(once, scope, key, mark, verb, by, self.rules, *args)

    # The exception desk

    @property
    def action(self) -> Action:
        """What approving and rejecting mean for whatever the desk has about an order."""
        return Action(
            approve=partial(decisions.approve, rules=self.rules),
            reject=partial(decisions.reject, rules=self.rules),
        )

    def send_back(self, tx: Tx, order_id: int, fen: int, *, reason: str, by: By) -> None:
        """For a complaint that is right, in its own transaction. See decisions.refund."""
        decisions.refund(tx, order_id, fen, reason=reason, by=by, rules=self.rules)


# ---------------------------------------------------------------- as transactions


def _own(tx: Tx, order_id: int, account_id: int) -> Chain:
    order = rows.load(tx, order_id)
    if order.account_id != account_id:
        raise OrderNotFound
    return rows.chain_of(tx, rows.main_of(tx, order), None, lock=False)


def _pay_once(
    tx: Tx, order_id: int, account_id: int, means: PayWith, key: str, rules: Rules
) -> str:
    """What was begun: the debt, "0" for tickets."""
    mark = fingerprint("pay", order_id, means)
    scope = f"cabinet_orders.pay:{account_id}"
    return once(tx, scope, key, mark, _pay, order_id, account_id, means, rules)


def _pay(tx: Tx, order_id: int, account_id: int, means: PayWith, rules: Rules) -> str:
    if means == "ticket":
        paying.pay_with_tickets(tx, order_id, account_id, rules)
        return "0"
    return str(paying.begin_payment(tx, order_id, account_id, expires_at=tx.now + PAY_WITHIN_MS))


def _scoped(tx: Tx, wanted: Filter, by: By) -> Filter:
    return msgspec.structs.replace(wanted, stores=scope_of(tx, by.account_id))


def _page(tx: Tx, wanted: Filter, by: By, offset: int, most: int) -> tuple[int, list[Seen]]:
    return rows.page(tx, _scoped(tx, wanted, by), offset=offset, most=most)


def _some(tx: Tx, wanted: Filter, by: By, after_id: int) -> list[Seen]:
    return rows.after(tx, _scoped(tx, wanted, by), after_id=after_id, most=_AT_ONCE)


def _detail(tx: Tx, order_id: int, by: By) -> tuple[Chain, str]:
    order = rows.load(tx, order_id)
    if not sees(scope_of(tx, by.account_id), order.store_id):
        raise OrderNotFound
    chain = rows.chain_of(tx, rows.main_of(tx, order), None, lock=False)
    return chain, find_member(tx, order.account_id).phone_tail


def _correct(
    tx: Tx,
    by: By,
    rules: Rules,
    order_id: int,
    quantities: Mapping[str, int],
    version: int,
    reason: str,
) -> str:
    decisions.correct(tx, order_id, quantities, version=version, reason=reason, by=by, rules=rules)
    return "done"


def _refund(tx: Tx, by: By, rules: Rules, order_id: int, fen: int | None, reason: str) -> str:
    decisions.refund(tx, order_id, fen, reason=reason, by=by, rules=rules)
    return "done"


def _waive(tx: Tx, by: By, rules: Rules, order_id: int, reason: str) -> str:
    decisions.waive(tx, order_id, reason=reason, by=by, rules=rules)
    return "done"
