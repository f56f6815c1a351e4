"""A cabinet in a store, people who shop at it, and a WeChat that keeps its word; on real tables.

The vendor is only a voice here: what it says of an order is handed over as a fact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert, select

from accounts.audit.model import By
from devices.orders import store
from devices.orders.model import Charge, Order, Outcome, Revision, Rules, Taken
from devices.orders.rows import store as rows
from devices.orders.service import Orders
from devices.sessions import store as sessions
from devices.sessions.model import DoorSession, State
from devices.sessions.store import New
from devices.vendors.port import Certainty, Item, OrderFact
from payments.ledger import holds
from payments.ledger.model import TICKET_ISSUE, Asset, tickets_of
from payments.ledger.store import balance, post
from payments.model import RefundStatus
from payments.scores import store as scores
from payments.scores.model import Score, Watchers
from payments.service import Payments
from payments.wechat.payscore_model import Deduction, PaidBy, Phase, ServiceOrder
from sql.alerts import open_alerts
from sql.database import Database, Tx
from sql.tables import metadata
from sql.tables.devices import device_doors, devices, door_stock, staff_stores, stores
from tests.clock import Clock
from tests.payments.core.till import APPID, MCH_ID, MERCHANT, Bank, execute

VENDOR, CODE = "xiaomai", "XM-1"
STORE, DEVICE = 1, 1
BUYER, OTHER = 7, 8
CLERK, BOSS, FOREIGNER = 11, 12, 13
PRICES = {"cola": 350, "nuts": 100, "tea": 500, "gold": 30_000}
STOCK = {"cola": 10, "nuts": 20, "tea": 5}
RULES = Rules(review_limit_fen=20_000, stock_tolerance=2)


def by(account_id: int = CLERK) -> By:
    return By("staff", account_id, "10.0.0.9")


def items(taken: Mapping[str, int]) -> tuple[Item, ...]:
    return tuple(
        Item(sku=sku, quantity=quantity, price_fen=PRICES.get(sku, 1), name=sku.title())
        for sku, quantity in taken.items()
    )


def total(taken: Mapping[str, int]) -> int:
    return sum(PRICES.get(sku, 1) * quantity for sku, quantity in taken.items())


def fact(
    session: DoorSession | None, taken: Mapping[str, int], rev: int = 1, **values: Any
) -> OrderFact:
    """What the vendor says was taken in a session."""
    given: dict[str, Any] = {
        "vendor_order_no": f"W{0 if session is None else session.id}",
        "device_code": CODE,
        "door_no": 1,
        "session_no": "" if session is None else session.no,
        "rev": rev,
        "certainty": Certainty.CERTAIN,
        "items": items(taken),
        "total_fen": total(taken),
        **values,
    }
    return OrderFact(**given)


class Shop:
    """Services over one open database, as one process has them."""

    def __init__(self, db: Database, clock: Clock, bank: Bank | None = None) -> None:
        self.db = db
        self.clock = clock
        self.bank = bank or Bank(clock)
        self.deducted: dict[str, int] = {}
        self.start()

    def start(self, db: Any = None, rules: Rules = RULES) -> None:
        """New services, that know nothing but what the database has."""
        database = db or self.db
        self.payments = Payments(
            database,
            self.bank,
            merchant=MERCHANT,
            two_person_above_fen=rules.two_person_above_fen,
        )
        self.orders = Orders(database, self.payments, rules)
        self.rules = rules
        self.watchers = Watchers()
        self.watchers.over["cabinet"] = self.orders.score_over

    async def furnish(self) -> None:
        await self.db.write(furnish)

    # ------------------------------------------------------------ people

    async def grant(self, tickets: int, account_id: int = BUYER, key: str = "1") -> None:
        lines = [
            (TICKET_ISSUE, Asset.TICKET, -tickets),
            (tickets_of(account_id), Asset.TICKET, tickets),
        ]
        await self.db.write(post, "grant", f"{account_id}:{key}", "grant", lines)

    async def tickets(self, account_id: int = BUYER) -> int:
        return await self.db.read(balance, tickets_of(account_id), Asset.TICKET)

    async def visit(
        self,
        *,
        pay_with: str = "ticket",
        hold: int | None = None,
        account_id: int = BUYER,
        state: State = State.CLOSED,
        door_no: int = 1,
        purpose: str = "shop",
        key: str = "",
    ) -> DoorSession:
        """Somebody opens the door; by default it is closed again and the order awaited.

        hold: so many tickets are set aside, by default all there are up to the limit.
        """
        wish = {"pay_with": pay_with, "account_id": account_id, "door_no": door_no}
        return await self.db.write(visit, {**wish, "purpose": purpose, "key": key}, hold, state)

    async def told(
        self,
        session: DoorSession | None,
        taken: Mapping[str, int],
        rev: int = 1,
        *,
        source: str = "push",
        **values: Any,
    ) -> Taken:
        """The vendor tells of an order."""
        said = fact(session, taken, rev, **values)
        return await self.take(said, source=source)

    async def take(self, said: OrderFact, *, source: str = "push", vendor: str = VENDOR) -> Taken:
        return await self.db.write(store.take_order, vendor, said, source=source, rules=self.rules)

    # ------------------------------------------------------------ WeChat

    def found(self, number: str, phase: Phase, total_fen: int = 0) -> ServiceOrder:
        """What WeChat says of a Payscore order."""
        paid_fen = self.deducted.get(number, 0)
        deductions: tuple[Deduction, ...] = ()
        if paid_fen:
            deductions = (
                Deduction(
                    seq=1,
                    amount_fen=paid_fen,
                    paid_by=PaidBy.WECHAT,
                    paid_at=self.clock.now(),
                    transaction_id=f"43{number[-14:]}",
                ),
            )
        return ServiceOrder(
            out_order_no=number,
            appid=APPID,
            mch_id=MCH_ID,
            service_id="s",
            phase=phase,
            openid="o",
            total_fen=total_fen or paid_fen,
            paid_fen=paid_fen,
            deductions=deductions,
        )

    async def hears(self, found: ServiceOrder) -> str:
        return await self.db.write(
            scores.settle, found, self.payments.rules, self.watchers, source="query"
        )

    async def deduct(self, session: DoorSession, fen: int | None = None) -> None:
        """WeChat deducts what it was asked for, or so much, and says so."""
        score = await self.score(session)
        fen = fen or score.fee_fen or 0
        self.deducted[score.out_order_no] = fen
        await self.hears(self.found(score.out_order_no, Phase.PAID, fen))

    async def score(self, session: DoorSession) -> Score:
        return await self.db.read(scores.load_score, session.score_no)

    async def pays(self, order: Order, means: str = "wechat", key: str = "") -> Any:
        """The buyer pays in the mini-program, up to WeChat's own page; its number."""
        _, request = await self.orders.pay(
            order.id,
            order.account_id,
            means=means,  # type: ignore[arg-type]
            openid="openid-of-the-payer",
            client_ip="10.0.0.1",
            key=key,
        )
        return request and request.out_trade_no

    async def confirms(self, out_trade_no: str) -> None:
        await self.payments.apply(self.bank.pay(out_trade_no))

    async def refunds_arrive(self, times: int = 2) -> None:
        """What was asked back by the bank's ordinary payments arrives; deductions' by hand."""
        for _ in range(times):
            await self.payments.settle_due()
            self.bank.send_back()
            self.clock.advance(minutes=30)

    async def parcels(self) -> None:
        """Deliver what orders have sent to themselves."""
        delivers = {
            "cabinet.settle": self.orders.deliver_settle,
            "cabinet.cancel_debt": self.orders.deliver_cancel,
        }
        for row in await self.rows("outbox"):
            if row["state"] == "waiting" and row["kind"] in delivers:
                await delivers[row["kind"]](decoded(row["payload"]))
                await self.db.write(delivered, row["id"])

    # ------------------------------------------------------------ looking

    async def order(self, session: DoorSession) -> Order:
        found = await self.db.read(rows.of_session, session.id)
        assert found is not None
        return found

    async def chain(self, session: DoorSession) -> list[Order]:
        """The session's order and its supplements."""
        main = await self.order(session)
        return (await self.db.read(rows.chain_of, main, None, lock=False)).orders

    async def charges(self, order: Order) -> list[Charge]:
        return await self.db.read(rows.charges_of, [order.id])

    async def revisions(self, order: Order) -> list[Revision]:
        return await self.db.read(rows.revisions_of, order.id)

    async def session(self, session: DoorSession) -> DoorSession:
        return await self.db.read(sessions.load, session.id)

    async def session_of(self, order: Order) -> DoorSession:
        assert order.session_id is not None
        return await self.db.read(sessions.load, order.session_id)

    async def stock(self) -> dict[str, int]:
        return {row["sku"]: row["quantity"] for row in await self.rows("door_stock")}

    async def sold(self, order: Order) -> dict[str, tuple[int, int]]:
        """By SKU how many, and for how much, in the history of sales."""
        lines = await self.db.read(rows.booked, order)
        return {line.sku: (line.quantity, line.amount_fen) for line in lines}

    async def exceptions(self) -> list[tuple[str, str]]:
        """(kind, subject) of what is on the desk."""
        found = await self.rows("cabinet_exceptions")
        return [(row["kind"], row["subject"]) for row in found if row["open_key"]]

    async def confirmed(self) -> list[tuple[str, int, int, int]]:
        """(result, revision, due, paid) of all that is told to the vendor."""
        found = [row for row in await self.rows("outbox") if row["kind"] == "cabinet.confirm"]
        told = [decoded(row["payload"])["result"] for row in found]
        return [
            (each["result"], each["rev"], each["due_fen"], each["net_paid_fen"]) for each in told
        ]

    async def alerts(self) -> list[str]:
        return [alert.kind for alert in await self.db.read(open_alerts)]

    async def rows(self, table: str) -> list[dict[str, Any]]:
        return await self.db.read(read_rows, table)

    async def execute(self, statement: str) -> None:
        await self.db.write(execute, statement)

    async def is_well(self) -> bool:
        assert await self.payments.check_books() == []
        return True


def decoded(payload: str) -> Any:
    import msgspec

    return msgspec.json.decode(payload)


def delivered(tx: Tx, row_id: int) -> None:
    outbox = metadata.tables["outbox"]
    tx.execute(outbox.update().where(outbox.c.id == row_id).values(state="done"))


def read_rows(tx: Tx, table: str) -> list[dict[str, Any]]:
    rows_of = metadata.tables[table]
    order = list(rows_of.primary_key)
    return [dict(row) for row in tx.execute(select(rows_of).order_by(*order)).mappings()]


def refund_state(tx: Tx, out_refund_no: str, status: RefundStatus) -> None:
    refunds = metadata.tables["refunds"]
    mine = refunds.c.out_refund_no == out_refund_no
    tx.execute(refunds.update().where(mine).values(status=status))


def visit(tx: Tx, wish: dict[str, Any], hold: int | None, state: State) -> DoorSession:
    """As devices/flow does it, without its gates."""
    count = len(tx.execute(select(metadata.tables["door_sessions"].c.id)).all())
    session = sessions.begin(
        tx,
        New(
            once_key=wish["key"] or f"once-{count}",
            vendor=VENDOR,
            device_id=DEVICE,
            door_no=wish["door_no"],
            store_id=STORE,
            account_id=wish["account_id"],
            purpose=wish["purpose"],
            pay_with=wish["pay_with"],
            limit_fen=20_000,
            prices=PRICES,
        ),
    )
    if wish["pay_with"] == "ticket":
        purse = tickets_of(wish["account_id"])
        there = balance(tx, purse, Asset.TICKET)
        hold = min(there, 100_000) if hold is None else hold
        if hold:
            holds.hold(tx, "cabinet", str(session.id), purse, Asset.TICKET, hold)
            session = sessions.note(tx, session, hold_tickets=hold)
    elif wish["pay_with"] == "wechat":
        number = scores.begin(
            tx,
            biz="cabinet",
            biz_id=session.id,
            account_id=wish["account_id"],
            openid="o",
            risk_fen=20_000,
            introduction="智能柜购物",
        )
        score = metadata.tables["payscore_orders"]
        mine = score.c.out_order_no == number
        tx.execute(score.update().where(mine).values(phase="running", started_at=tx.now))
        session = sessions.note(tx, session, score_no=number)
    path = [State.OPENING, State.OPEN, State.CLOSED]
    if state is State.REQUESTED:
        return session
    if state in path:
        path = path[: path.index(state) + 1]
    elif state in {State.NOT_OPENED, State.REJECTED}:
        path = [State.OPENING, state]
    else:
        path.append(state)
    for each in path:
        session = sessions.move(tx, session, each)
    return session


def furnish(tx: Tx) -> None:
    """One store with one cabinet, its stock, and a clerk who is kept to another store."""
    common = {"deleted_at": None, "created_at": tx.now, "updated_at": tx.now}
    for store_id in (STORE, 2):
        row = {"id": store_id, "code": f"S{store_id}", "name": f"Store {store_id}"}
        shape = {"type": "kids", "property": "own", "address": "", "phone": ""}
        tx.execute(insert(stores), {**row, **shape, **common, "review_limit_fen": None})
    tx.execute(insert(devices), _device(tx))
    for door_no in (1, 2, 3, 4):
        door = {"device_id": DEVICE, "door_no": door_no, "lock": "unknown", "door": "unknown"}
        tx.execute(insert(device_doors), {**door, "changed_at": None})
    for sku, quantity in STOCK.items():
        tx.execute(
            insert(door_stock),
            {
                "device_id": DEVICE,
                "door_no": 1,
                "sku": sku,
                "quantity": quantity,
                "capacity": 50,
                "expires_on": None,
                "blocked_at": None,
                "changed_at": tx.now,
            },
        )
    tx.execute(insert(staff_stores), {"account_id": FOREIGNER, "store_id": 2})


def _device(tx: Tx) -> dict[str, Any]:
    """A row in which all that matters to orders is set, and the rest is what it may be."""
    row: dict[str, Any] = {}
    for column in devices.columns:
        if column.nullable:
            row[column.name] = None
        elif column.type.python_type is int:
            row[column.name] = 0
        else:
            row[column.name] = ""
    texts = {"reported": "{}", "desired": "{}", "link": "online", "flips": "[]"}
    mine = {"id": DEVICE, "vendor": VENDOR, "code": CODE, "name": "cabinet", "store_id": STORE}
    return {**row, **texts, **mine, "status": "bound", "service": "open"}


__all__ = ["Outcome", "Shop", "fact"]
