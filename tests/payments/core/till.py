"""A till on real tables: payments over one open database, and a WeChat that keeps its word.

`Bank` is honest: it never forgets money, answers what its ledger says, and counts what it was
asked. What goes wrong on the way is set by hand. It shares nothing with our clients of WeChat.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import select, text

from accounts.audit.model import By
from payments import store
from payments.gateway import (
    AlreadyClosed,
    AlreadyPaid,
    BillRow,
    NumberUsed,
    PaymentFact,
    Placed,
    PlaceOrder,
    Queried,
    Reaction,
    Refunded,
    RefundOrder,
    RefundState,
    Refused,
    TradeState,
)
from payments.ledger.model import GATEWAY, SUSPENSE, Asset, Violation
from payments.ledger.store import balance
from payments.messages import PayRequest
from payments.model import Debt, Merchant, Refund
from payments.notices.service import Reader
from payments.service import Payments
from sql.alerts import Alert, open_alerts
from sql.database import Database, Tx, open_database
from sql.events import Event
from sql.tables import metadata
from tests.clock import Clock

MCH_ID, APPID = "1900000001", "wx0000000000000001"
# A second app of the merchant, as the diners' is beside the sellers'.
OTHER_APPID = "wx0000000000000002"
MERCHANT = Merchant(MCH_ID, frozenset({APPID, OTHER_APPID}))
PAYER = 7
CLERK, CHIEF = By("staff", 11, "10.0.0.11"), By("staff", 12, "10.0.0.12")
MONTHS = "stall.months"


class Order(msgspec.Struct):
    """What WeChat has of an order. transactions: id → fen."""

    placed: PlaceOrder
    state: TradeState = TradeState.NOT_PAID
    transactions: dict[str, int] = {}
    paid_at: int = 0


class Sent(msgspec.Struct):
    """What WeChat has of a refund."""

    order: RefundOrder
    state: RefundState = RefundState.PROCESSING
    at: int = 0


class Bank:
    """WeChat Pay, as `payments.gateway.Gateway` has it.

    before, after: raised once by the next call of that name, before it or after it has had its
    effect. A list is raised one after the other.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.orders: dict[str, Order] = {}
        self.refunds: dict[str, Sent] = {}
        self.calls: Counter[str] = Counter()
        self.before: dict[str, list[BaseException]] = {}
        self.after: dict[str, list[BaseException]] = {}
        self.meanwhile: dict[str, Callable[[], Any]] = {}
        self.says: dict[str, Any] = {}
        self.bills: dict[int, list[BillRow]] = {}
        self._count = 0

    async def _called(self, name: str) -> None:
        self.calls[name] += 1
        # A call takes a while: others may come in between.
        await asyncio.sleep(0)
        if self.before.get(name):
            raise self.before[name].pop(0)

    async def _done(self, name: str) -> None:
        meanwhile = self.meanwhile.pop(name, None)
        if meanwhile is not None:
            await meanwhile()
        if self.after.get(name):
            raise self.after[name].pop(0)

    async def place(self, order: PlaceOrder) -> Placed:
        await self._called("place")
        known = self.orders.setdefault(order.out_trade_no, Order(order, transactions={}))
        if known.placed != order:
            raise NumberUsed("201")
        if known.state is TradeState.PAID:
            raise AlreadyPaid("paid")
        if known.state is TradeState.CLOSED:
            raise AlreadyClosed("closed")
        self._count += 1
        await self._done("place")
        return Placed(f"wx{self._count}", f"weixin://wxpay/bizpayurl?pr=n{self._count}")

    async def query(self, out_trade_no: str, *, appid: str = "") -> Queried:
        await self._called("query")
        self.see_app(out_trade_no, appid)
        order = self.orders.get(out_trade_no)
        await self._done("query")
        if "query" in self.says:
            answer: Queried = self.says["query"]
            return answer
        if order is None:
            return Queried(TradeState.NOT_FOUND)
        if order.state is TradeState.PAID:
            return Queried(TradeState.PAID, self.fact(out_trade_no, source="query"))
        return Queried(order.state)

    async def close(self, out_trade_no: str, *, appid: str = "") -> None:
        await self._called("close")
        self.see_app(out_trade_no, appid)
        order = self.orders.get(out_trade_no)
        if order is None:
            raise Refused("ORDERNOTEXIST", "no such order", Reaction.REPEAT_ORDER)
        if order.state is TradeState.PAID:
            raise AlreadyPaid("paid")
        if order.state is TradeState.CLOSED:
            raise AlreadyClosed("closed")
        assert self.clock.now() - order.placed.starts_at >= 300_000, "closed within five minutes"
        order.state = TradeState.CLOSED
        await self._done("close")

    async def refund(self, order: RefundOrder) -> Refunded:
        await self._called("refund")
        self.see_app(order.out_trade_no, order.appid)
        assert not order.is_deduction
        known = self.refunds.setdefault(order.out_refund_no, Sent(order))
        assert known.order == order, "the same number with other data"
        paid = self.orders[order.out_trade_no].transactions[order.transaction_id]
        back = sum(
            sent.order.refund_fen
            for sent in self.refunds.values()
            if sent.order.transaction_id == order.transaction_id
            and sent.state is not RefundState.CLOSED
        )
        assert back <= paid == order.total_fen, "more than was paid"
        await self._done("refund")
        return Refunded(out_refund_no=order.out_refund_no, state=RefundState.PROCESSING)

    async def query_refund(self, out_refund_no: str, *, is_deduction: bool = False) -> Refunded:
        assert not is_deduction
        await self._called("query_refund")
        await self._done("query_refund")
        sent = self.refunds.get(out_refund_no)
        if sent is None:
            return Refunded(out_refund_no=out_refund_no, state=RefundState.NOT_FOUND)
        return Refunded(
            out_refund_no=out_refund_no,
            state=sent.state,
            refund_fen=self.says.get("refund_fen", sent.order.refund_fen),
            refunded_at=sent.at or None,
        )

    async def bill(self, day: int) -> list[BillRow]:
        await self._called("bill")
        return self.bills.get(day, [])

    def request_payment(self, prepay_id: str, *, now: int, appid: str = "") -> dict[str, Any]:
        self._count += 1
        package = f"prepay_id={prepay_id}"
        return {"package": package, "nonceStr": str(self._count), "at": now, "appid": appid}

    def see_app(self, out_trade_no: str, appid: str) -> None:
        """An order is of the app it was placed for, whatever is done with it."""
        order = self.orders.get(out_trade_no)
        assert order is None or (appid or APPID) == (order.placed.appid or APPID)

    # What happens at WeChat

    def pay(self, out_trade_no: str, *, amount_fen: int | None = None) -> PaymentFact:
        """Somebody pays the order; also when it was closed just now, as it happens in life."""
        order = self.orders[out_trade_no]
        self._count += 1
        order.state = TradeState.PAID
        order.paid_at = self.clock.now()
        order.transactions[f"42000{self._count:08d}"] = amount_fen or order.placed.amount_fen
        return self.fact(out_trade_no)

    def fact(self, out_trade_no: str, *, source: str = "notify", **changes: Any) -> PaymentFact:
        order = self.orders[out_trade_no]
        transaction_id, amount_fen = list(order.transactions.items())[-1]
        fact = PaymentFact(
            out_trade_no=out_trade_no,
            transaction_id=transaction_id,
            amount_fen=amount_fen,
            currency="CNY",
            appid=order.placed.appid or APPID,
            mch_id=MCH_ID,
            openid="openid-of-the-payer",
            paid_at=order.paid_at,
            source=source,
        )
        return msgspec.structs.replace(fact, **changes)

    def send_back(self, state: RefundState = RefundState.SUCCESS) -> None:
        """Every refund under way comes to this end."""
        for sent in self.refunds.values():
            if sent.state is RefundState.PROCESSING:
                sent.state = state
                sent.at = self.clock.now()

    @property
    def money(self) -> int:
        """What has come in and has not gone back."""
        came = sum(sum(order.transactions.values()) for order in self.orders.values())
        went = sum(
            sent.order.refund_fen
            for sent in self.refunds.values()
            if sent.state is RefundState.SUCCESS
        )
        return came - went


class Till:
    """Services over one open database, as one process has them, and a domain that sells months."""

    def __init__(self, url: str, clock: Clock, bank: Bank) -> None:
        self.url = url
        self.clock = clock
        self.bank = bank
        self.gateway: Any = bank
        self.readers: dict[str, Reader] = {}
        self.codes: Any = None
        self.limit_fen = 50_000
        self.events: list[Event] = []
        self.wakes: set[str] = set()
        self.delivered: list[int] = []
        self.raises: BaseException | None = None

    async def open(self) -> None:
        self.db: Database = await open_database(self.url, now=self.clock.now, told=self.told)
        self.start()

    def start(self, db: Any = None) -> None:
        """New services, that know nothing but what the database has."""
        self.payments = Payments(
            db or self.db,
            self.gateway,
            merchant=MERCHANT,
            two_person_above_fen=self.limit_fen,
            readers=self.readers,
            codes=self.codes,
        )
        self.payments.when_paid(MONTHS, self._deliver)
        self.payments.when_refunded(MONTHS, self._take_back)
        self.payments.when_cancelled(MONTHS, self._forget)

    async def close(self) -> None:
        await self.db.close()

    async def restart(self) -> None:
        await self.close()
        await self.open()

    def told(self, committed: list[Event], wakes: set[str]) -> None:
        self.events += committed
        self.wakes |= wakes

    # The domain's actions leave rows, so that a test sees what was committed

    def _deliver(self, tx: Tx, debt: Debt, fact: PaymentFact) -> None:
        if self.raises is not None:
            raise self.raises
        note(tx, "delivered", debt.id, fact.amount_fen)

    def _take_back(self, tx: Tx, debt: Debt, refund: Refund) -> None:
        note(tx, "taken back", debt.id, refund.amount_fen)

    def _forget(self, tx: Tx, debt: Debt) -> None:
        note(tx, "forgotten", debt.id, debt.amount_fen)

    async def notes(self) -> list[tuple[str, str, str]]:
        """(what, debt, fen) of every action that was committed, in order."""
        return await self.db.read(read_notes)

    # What people do

    async def owe(self, amount_fen: int = 300, *, kind: str = MONTHS, **values: Any) -> Debt:
        given = {"subject": 5, "payer_id": PAYER, "description": "三个月", **values}
        return await self.db.write(store.owe, kind=kind, amount_fen=amount_fen, **given)

    async def pay(
        self,
        debt: Debt,
        *,
        trade_type: str = "NATIVE",
        openid: str = "",
        key: str = "",
        client_ip: str = "10.0.0.1",
    ) -> PayRequest:
        return await self.payments.pay(
            debt.id, trade_type=trade_type, openid=openid, client_ip=client_ip, key=key
        )

    async def paid(self, amount_fen: int = 300, **values: Any) -> tuple[Debt, str]:
        """A debt that was paid, and the number it was paid under."""
        debt = await self.owe(amount_fen, **values)
        number = (await self.pay(debt)).out_trade_no
        await self.payments.apply(self.bank.pay(number))
        return await self.debt(debt), number

    async def debt(self, debt: Debt) -> Debt:
        return await self.db.read(store.load_debt, debt.id)

    async def attempt(self, out_trade_no: str) -> Any:
        return await self.db.read(store.find_attempt, out_trade_no)

    async def refund(self, out_trade_no: str, amount_fen: int = 100, **values: Any) -> Refund:
        given = {"reason": "坏了", "by": CLERK, "key": "", **values}
        return await self.payments.refund(out_trade_no, amount_fen=amount_fen, **given)

    async def settle(self, *, times: int = 12) -> None:
        """Let the reconciler look again and again, half an hour apart, and let refunds arrive."""
        for _ in range(times):
            await self.payments.settle_due()
            self.bank.send_back()
            self.clock.advance(minutes=30)

    async def alerts(self) -> list[Alert]:
        return await self.db.read(open_alerts)

    async def kinds(self) -> list[str]:
        return sorted({alert.kind for alert in await self.alerts()})

    async def violations(self) -> list[Violation]:
        return await self.payments.check_books()

    async def rows(self, table: str) -> list[dict[str, Any]]:
        return await self.db.read(read_rows, table)

    async def balance(self, account: Any) -> int:
        return await self.db.read(balance, account, Asset.CNY)

    async def agrees(self) -> bool:
        """Our books say of WeChat's money what WeChat says, and nothing waits unexplained."""
        assert await self.violations() == []
        assert await self.balance(SUSPENSE) == 0
        return -await self.balance(GATEWAY) == self.bank.money


def note(tx: Tx, what: str, debt_id: int, fen: int) -> None:
    tx.execute(
        text(
            "INSERT INTO incidents (kind, subject, text, raw, at)"
            " VALUES ('test', :subject, :text, :raw, 0)"
        ),
        {"subject": str(debt_id), "text": what, "raw": str(fen)},
    )


def read_notes(tx: Tx) -> list[tuple[str, str, str]]:
    query = text("SELECT text, subject, raw FROM incidents WHERE kind = 'test' ORDER BY id")
    return [(row.text, row.subject, row.raw) for row in tx.execute(query)]


def read_rows(tx: Tx, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in tx.execute(select(metadata.tables[table])).mappings()]


def execute(tx: Tx, statement: str) -> None:
    tx.execute(text(statement))
