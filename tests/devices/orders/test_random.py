"""Whatever is said, paid and decided, in any order: all invariants hold, repeats do nothing."""

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.desk.model import CabinetException, ExceptionState, Ruling
from devices.desk.store import Wanted, end, exceptions_page
from devices.model import CabinetError
from devices.orders.model import Order
from devices.sessions.model import DoorSession, State
from devices.vendors.port import Certainty
from payments.gateway import Refunded, RefundOrder, RefundState
from payments.model import PaymentError
from payments.wechat.payscore_model import Phase
from sql.database import Tx, open_database
from tests.clock import Clock
from tests.devices.orders.shop import BUYER, Shop, by, fact
from tests.payments.core.till import Bank, Sent
from tests.servers import migrated_sqlite

BASKETS: list[dict[str, int]] = [{}, {"cola": 1}, {"cola": 2}, {"cola": 2, "tea": 1}, {"tea": 3}]
STATES = [State.OPEN, State.CLOSED, State.CLOSED, State.ABNORMAL, State.NOT_OPENED, State.TIMEOUT]


class WholeBank(Bank):
    """A bank that gives deductions back as well, of which it has no orders."""

    async def refund(self, order: RefundOrder) -> Refunded:
        if not order.is_deduction:
            return await super().refund(order)
        sent = self.refunds.setdefault(order.out_refund_no, Sent(order))
        assert sent.order == order, "the same number with other data"
        mine = [each.order for each in self.refunds.values()]
        mine = [each for each in mine if each.transaction_id == order.transaction_id]
        assert sum(each.refund_fen for each in mine) <= order.total_fen, "more than was paid"
        return Refunded(out_refund_no=order.out_refund_no, state=RefundState.PROCESSING)

    async def query_refund(self, out_refund_no: str, *, is_deduction: bool = False) -> Refunded:
        return await super().query_refund(out_refund_no)


class Life:
    """One session, and all that may happen to it; `facts` is all that its vendor has said."""

    def __init__(self, shop: Shop, session: DoorSession, chance: random.Random) -> None:
        self.shop = shop
        self.session = session
        self.chance = chance
        self.facts: list[Any] = []
        self.numbers: list[str] = []
        self.key = 0

    async def step(self) -> None:
        verbs = [self.say, self.say, self.say_again, self.pay, self.confirm, self.score]
        more = [self.correct, self.refund, self.waive, self.decide, self.wait, self.grant]
        try:
            await self.chance.choice([*verbs, *more])()
        except (CabinetError, PaymentError):
            # Refused, and nothing of it stays.
            return

    async def say(self) -> None:
        basket = self.chance.choice(BASKETS)
        rev = self.chance.randint(1, 4)
        certainty = self.chance.choice([*[Certainty.CERTAIN] * 4, *Certainty])
        off = self.chance.choice([0, 0, 0, 0, 7])
        said = fact(self.session, basket, rev, certainty=certainty)
        if off:
            said = fact(
                self.session, basket, rev, certainty=certainty, total_fen=said.total_fen + off
            )
        self.facts.append(said)
        await self.shop.take(said)

    async def say_again(self) -> None:
        if self.facts:
            await self.shop.take(self.chance.choice(self.facts))

    async def orders(self) -> list[Order]:
        if not await self.shop.rows("cabinet_orders"):
            return []
        return await self.shop.chain(self.session)

    async def some_order(self) -> Order | None:
        found = await self.orders()
        return self.chance.choice(found) if found else None

    async def pay(self) -> None:
        order = await self.some_order()
        if order is not None:
            number = await self.shop.pays(order, self.chance.choice(["ticket", "wechat"]))
            if number:
                self.numbers.append(number)

    async def confirm(self) -> None:
        """Somebody pays at WeChat's page, perhaps one that was closed, perhaps twice told."""
        if self.numbers:
            number = self.chance.choice(self.numbers)
            if not self.shop.bank.orders[number].transactions:
                self.shop.bank.pay(number)
            await self.shop.payments.apply(self.shop.bank.fact(number))

    async def score(self) -> None:
        if not self.session.score_no:
            return
        score = await self.shop.score(self.session)
        if score.is_over:
            return
        if score.fee_fen:
            asked = self.chance.choice([score.fee.asked_fen, score.fee_fen])
            if self.chance.random() < 0.3:
                found = self.shop.found(score.out_order_no, Phase.COLLECTING, score.fee_fen)
                await self.shop.hears(found)
            elif self.chance.random() < 0.8:
                await self.shop.deduct(self.session, asked)
            else:
                await self.shop.hears(self.shop.found(score.out_order_no, Phase.CANCELLED))

    async def correct(self) -> None:
        chain = await self.orders()
        if chain:
            order, basket = self.chance.choice(chain), self.chance.choice(BASKETS)
            await self.shop.orders.correct(
                order.id, basket, version=chain[0].version, reason="x", by=by()
            )

    async def refund(self) -> None:
        order = await self.some_order()
        if order is not None:
            fen = self.chance.choice([None, 1, 100, order.due_fen])
            await self.shop.orders.refund(order.id, fen, reason="x", by=by(), key="")

    async def waive(self) -> None:
        order = await self.some_order()
        if order is not None:
            await self.shop.orders.waive(order.id, reason="x", by=by())

    async def decide(self) -> None:
        _, found = await self.shop.db.read(
            exceptions_page, Wanted(is_open=True), by=by(), offset=0, most=9
        )
        if found:
            verb = self.chance.choice(["approve", "reject"])
            raised = self.chance.choice(found)
            await self.shop.db.write(decided, self.shop, verb, raised, self.chance.choice(BASKETS))

    async def wait(self) -> None:
        """Time goes by: parcels, closings and refunds arrive."""
        await self.pass_by(self.chance.choice([1, 6, 40]))

    async def pass_by(self, minutes: int) -> None:
        self.shop.clock.advance(minutes=minutes)
        await self.shop.parcels()
        await self.shop.refunds_arrive(1)

    async def grant(self) -> None:
        self.key += 1
        await self.shop.grant(self.chance.choice([7, 1_000, 3_333]), key=f"g{self.key}")

    async def rest(self) -> None:
        """All that is on its way arrives, and the time of whoever did not pay is over."""
        for _ in range(3):
            await self.pass_by(40)


def decided(
    tx: Tx, shop: Shop, verb: str, raised: CabinetException, basket: dict[str, int]
) -> None:
    items = [{"sku": sku, "quantity": quantity} for sku, quantity in basket.items()]
    getattr(shop.orders.action, verb)(tx, raised, by(), Ruling("x", {"items": items}))
    to = {"approve": ExceptionState.APPROVED, "reject": ExceptionState.REJECTED}[verb]
    end(tx, raised, to, by(), "x")


TABLES = ("cabinet_orders", "order_revisions", "order_charges", "ledger_journals", "sales")


@pytest.mark.timeout(400)
@settings(max_examples=6)
@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_any_life_of_an_order_keeps_its_promises(chance: random.Random, steps: int) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "callme.db"
            path.write_bytes(migrated_sqlite())
            clock = Clock()
            database = await open_database(f"sqlite:///{path}", now=clock.now)
            try:
                await live(Shop(database, clock, WholeBank(clock)), chance, steps)
            finally:
                await database.close()

    asyncio.run(run())


async def live(shop: Shop, chance: random.Random, steps: int) -> None:
    await shop.furnish()
    await shop.execute("UPDATE door_stock SET quantity = 100")
    await shop.grant(chance.choice([3, 2_000, 20_000]))
    state = chance.choice(STATES)
    session = await shop.visit(
        pay_with=chance.choice(["ticket", "wechat"]),
        state=state,
        # Whoever gives a session up lets go of what was held.
        hold=0 if state is State.NOT_OPENED else chance.choice([None, 0, 3]),
    )
    life = Life(shop, session, chance)
    for _ in range(steps):
        await life.step()
        if chance.random() < 0.2:
            assert await shop.is_well()
    await life.rest()
    assert await shop.is_well()
    await see_all(shop, life)


async def see_all(shop: Shop, life: Life) -> None:
    """The invariants that need more than a query; and all that was said, said again, is nothing."""
    orders = await life.orders()
    for order in orders:
        assert order.account_id == BUYER
        assert order.net_fen >= 0
        assert sum(fen for _, fen in (await shop.sold(order)).values()) == order.net_fen
    before = {name: await shop.rows(name) for name in TABLES}
    for said in life.facts:
        await shop.take(said)
    await life.rest()
    assert {name: await shop.rows(name) for name in TABLES} == before
