"""Months that a seller pays for: owed once, delivered once, taken back with the money."""

import asyncio
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, select

from accounts.audit.model import By
from payments.gateway import TradeType
from payments.messages import PayRequest
from payments.model import Debt, Outcome
from payments.service import Payments
from payments.store import load_debt, payment
from queueing.model import NotYourStall, StallNotFound
from queueing.renewals.messages import RenewalNew
from queueing.renewals.service import PAY_WITHIN_MS, Renewals
from queueing.renewals.store import MONTHS, deliver, owe_months, take_back
from queueing.stalls.store import month_entries, take_months, unbalanced_stalls
from sql.database import Tx
from sql.idempotency import KeyReused
from sql.tables.core import streams
from sql.tables.queueing import stall_purchases, stalls
from tests.clock import Clock
from tests.payments.core.till import MERCHANT, Bank
from tests.queueing.canteen import STRANGER, Canteen, private, seller_of

PRICE_FEN = 3000
FINANCE = By("staff", 11)
# What is taken back follows from the debt alone.
NO_REFUND: Any = None


class Till:
    """A canteen where sellers pay, and the bank behind it."""

    def __init__(self, canteen: Canteen, clock: Clock) -> None:
        self.canteen = canteen
        self.clock = clock
        self.bank = Bank(clock)
        self.payments = Payments(canteen.db, self.bank, merchant=MERCHANT)
        self.renewals = Renewals(canteen.db, self.payments, now=clock.now, price_fen=PRICE_FEN)

    async def order(self, stall_id: int, months: int = 3, key: str = "k1") -> PayRequest:
        return await self.renewals.order(
            stall_id,
            seller_of(stall_id),
            months=months,
            trade_type=TradeType.NATIVE,
            openid="",
            client_ip="127.0.0.1",
            key=key,
        )

    async def paid(self, stall_id: int, months: int = 3) -> str:
        order = await self.order(stall_id, months)
        await self.payments.apply(self.bank.pay(order.out_trade_no))
        return order.out_trade_no

    async def refunded(self, out_trade_no: str, amount_fen: int, key: str) -> None:
        """It has arrived."""
        refund = await self.payments.refund(
            out_trade_no, amount_fen=amount_fen, reason="closed", by=FINANCE, key=key
        )
        await self.payments.refresh_refund(refund.out_refund_no)
        self.bank.send_back()
        await self.payments.refresh_refund(refund.out_refund_no)

    async def months(self, stall_id: int) -> int:
        return (await self.canteen.stalls.get(stall_id)).balance_months

    async def debt(self, out_trade_no: str) -> Debt:
        return (await self.canteen.db.read(payment, out_trade_no))[1]

    async def is_balanced(self) -> bool:
        violations = await self.payments.check_books()
        return not violations and not await self.canteen.db.read(unbalanced_stalls)


@pytest.fixture
def till(canteen: Canteen, clock: Clock) -> Till:
    return Till(canteen, clock)


def purchases(tx: Tx) -> list[tuple[int, ...]]:
    return [tuple(row) for row in tx.execute(select(stall_purchases))]


def vanish(tx: Tx, stall_id: int) -> None:
    """The stall and its stream are gone, as no act of ours leaves them."""
    tx.execute(delete(streams).where(streams.c.name == f"stall:{stall_id}"))
    tx.execute(delete(stalls).where(stalls.c.id == stall_id))


async def test_months_are_owed_at_their_price_until_the_code_is_stale(till: Till) -> None:
    stall = await till.canteen.stall(months=2, name="兰州拉面")

    order = await till.order(stall.id, months=3)

    debt = await till.debt(order.out_trade_no)
    assert order.amount_fen == debt.amount_fen == 3 * PRICE_FEN
    assert (debt.kind, debt.subject) == (MONTHS, stall.id)
    assert debt.payer_id == seller_of(stall.id).account_id
    assert debt.description == "兰州拉面 3个月"
    assert debt.expires_at == till.clock.now() + PAY_WITHIN_MS
    assert await till.months(stall.id) == 2


async def test_an_order_that_is_not_paid_runs_out_and_leaves_nothing(till: Till) -> None:
    stall = await till.canteen.stall(months=2)
    order = await till.order(stall.id)

    till.clock.advance(hours=2, minutes=1)
    await till.payments.settle_due()

    assert (await till.debt(order.out_trade_no)).state == "cancelled"
    assert await till.months(stall.id) == 2


async def test_only_the_stalls_own_seller_may_owe_for_it(till: Till) -> None:
    stall = await till.canteen.stall()

    for stall_id, by, refusal in (
        (stall.id, STRANGER.account_id, NotYourStall),
        (stall.id + 1, seller_of(stall.id).account_id, StallNotFound),
    ):
        with pytest.raises(refusal):
            await till.canteen.db.write(
                owe_months, stall_id=stall_id, seller=by, months=1, price_fen=1, expires_at=1
            )

    assert await till.canteen.db.read(purchases) == []


async def test_the_same_key_gives_the_same_order(till: Till) -> None:
    stall = await till.canteen.stall()

    first, second = await till.order(stall.id), await till.order(stall.id)

    assert first == second
    assert len(await till.canteen.db.read(purchases)) == 1
    with pytest.raises(KeyReused):
        await till.order(stall.id, months=4)
    assert (await till.order(stall.id, key="k2")).out_trade_no != first.out_trade_no


async def test_paid_months_are_delivered_once_however_often_it_is_told(till: Till) -> None:
    stall = await till.canteen.stall(months=2)
    order = await till.order(stall.id, months=3)
    fact = till.bank.pay(order.out_trade_no)

    outcomes = [(await till.payments.apply(fact)).outcome for _ in range(3)]

    assert outcomes == [Outcome.PAID, Outcome.REPEATED, Outcome.REPEATED]
    assert await till.months(stall.id) == 5
    entry = (await till.canteen.db.read(month_entries, stall.id))[0]
    assert (entry.months, entry.reason) == (3, f"paid, {order.out_trade_no}")
    assert await till.is_balanced()


async def test_a_delivery_that_is_run_again_adds_nothing(till: Till) -> None:
    stall = await till.canteen.stall(months=2)
    out_trade_no = await till.paid(stall.id)
    debt = await till.debt(out_trade_no)

    failed = await till.canteen.db.write(deliver, [(debt, till.bank.fact(out_trade_no))])

    assert failed == set()
    assert await till.months(stall.id) == 5


async def test_money_for_a_debt_without_a_promise_cannot_be_fulfilled(till: Till) -> None:
    stall = await till.canteen.stall(months=2)
    order = await till.order(stall.id)
    debt, fact = await till.debt(order.out_trade_no), till.bank.pay(order.out_trade_no)
    debt.id += 1

    failed = await till.canteen.db.write(deliver, [(debt, fact)])

    assert failed == {debt.id}
    assert await till.months(stall.id) == 2


async def test_what_is_paid_at_the_same_time_is_delivered_one_after_the_other(till: Till) -> None:
    stall, other = await till.canteen.stall(months=2), await till.canteen.stall(months=0)
    gone = await till.canteen.stall(months=1)
    asked = [(stall.id, 3), (other.id, 1), (gone.id, 1), (stall.id, 2), (other.id, 2)]
    debts = [
        await till.canteen.db.write(
            owe_months,
            stall_id=stall_id,
            seller=seller_of(stall_id).account_id,
            months=months,
            price_fen=PRICE_FEN,
            expires_at=till.clock.now() + PAY_WITHIN_MS,
        )
        for stall_id, months in asked
    ]
    orders = [
        await till.payments.pay(
            debt.id, trade_type=TradeType.NATIVE, openid="", client_ip="127.0.0.1", key=""
        )
        for debt in debts
    ]
    await till.canteen.db.write(vanish, gone.id)
    facts = [till.bank.pay(order.out_trade_no) for order in orders]

    # The first is told of twice.
    outcomes = await asyncio.gather(*(till.payments.apply(fact) for fact in [*facts, facts[0]]))

    paid = Outcome.PAID
    assert [applied.outcome for applied in outcomes] == [
        *(paid, paid, Outcome.LATE, paid, paid, Outcome.REPEATED)
    ]
    for stall_id, running in ((stall.id, [(3, 5), (2, 7)]), (other.id, [(1, 1), (2, 3)])):
        told = await till.canteen.stream(stall_id)
        renewed = [private(event) for event in told if event.name == "stall.renewed"]
        assert renewed[-2:] == [
            {"months": months, "balance_months": balance} for months, balance in running
        ]
        changed = [private(event) for event in told if event.name == "stall.changed"]
        assert [each["balance_months"] for each in changed[-2:]] == [b for _, b in running]
        entries = await till.canteen.db.read(month_entries, stall_id)
        assert [(e.months, e.balance_after) for e in entries[:2]] == running[::-1]
        assert await till.months(stall_id) == running[-1][1]
    states = [(await till.debt(order.out_trade_no)).state for order in orders]
    assert states == ["paid", "paid", "cancelled", "paid", "paid"]
    delivered = [row[4] is not None for row in await till.canteen.db.read(purchases)]
    assert delivered == [True, True, False, True, True]
    assert await till.is_balanced()


async def test_money_for_a_stall_that_is_gone_goes_back_by_itself(till: Till) -> None:
    stall = await till.canteen.stall()
    order = await till.order(stall.id)
    await till.canteen.db.write(vanish, stall.id)

    applied = await till.payments.apply(till.bank.pay(order.out_trade_no))
    await till.payments.settle_due()
    till.bank.send_back()
    till.clock.advance(minutes=1)
    await till.payments.settle_due()

    assert applied.outcome is Outcome.LATE
    assert (await till.debt(order.out_trade_no)).state == "cancelled"
    assert till.bank.money == 0
    assert [row[4] for row in await till.canteen.db.read(purchases)] == [None]
    assert await till.payments.check_books() == []


async def test_a_full_refund_takes_all_of_the_months_back(till: Till) -> None:
    stall = await till.canteen.stall(months=2)
    out_trade_no = await till.paid(stall.id, months=3)

    await till.refunded(out_trade_no, 3 * PRICE_FEN, "r1")

    assert await till.months(stall.id) == 2
    assert (await till.debt(out_trade_no)).state == "refunded"
    told = [e for e in await till.canteen.stream(stall.id) if e.name == "stall.renewed"][-1]
    assert private(told) == {"months": -3, "balance_months": 2}
    assert await till.is_balanced()


async def test_parts_of_months_are_taken_back_when_they_make_a_whole_one(till: Till) -> None:
    stall = await till.canteen.stall(months=2)
    out_trade_no = await till.paid(stall.id, months=3)
    seen = []

    for part, key in ((2000, "r1"), (2000, "r2"), (5000, "r3")):
        await till.refunded(out_trade_no, part, key)
        seen.append(await till.months(stall.id))

    assert seen == [5, 4, 2]
    assert await till.is_balanced()


async def test_months_that_were_used_are_not_taken_back(till: Till) -> None:
    stall = await till.canteen.stall(months=1)
    out_trade_no = await till.paid(stall.id, months=3)
    till.clock.advance(days=93)
    await till.canteen.stalls.charge_months()
    left = await till.months(stall.id)

    await till.refunded(out_trade_no, 3 * PRICE_FEN, "r1")

    assert 0 < left < 3
    assert await till.months(stall.id) == 0
    assert await till.is_balanced()


async def test_a_refund_arrives_also_for_a_stall_that_is_gone_since(till: Till) -> None:
    stall = await till.canteen.stall()
    out_trade_no = await till.paid(stall.id, months=3)
    await till.canteen.db.write(vanish, stall.id)

    await till.refunded(out_trade_no, 3 * PRICE_FEN, "r1")

    assert (await till.debt(out_trade_no)).state == "refunded"
    assert [row[5] for row in await till.canteen.db.read(purchases)] == [3]
    assert till.bank.money == 0


async def test_nothing_is_taken_back_of_what_was_never_delivered(till: Till) -> None:
    stall = await till.canteen.stall(months=2)
    order = await till.order(stall.id)
    debt = await till.debt(order.out_trade_no)
    debt.refunded_fen = debt.amount_fen
    unknown = msgspec.structs.replace(debt, id=debt.id + 1)

    for each in (debt, unknown):
        await till.canteen.db.write(take_back, each, NO_REFUND)

    assert await till.months(stall.id) == 2
    assert (await till.canteen.db.read(load_debt, debt.id)).state == "unpaid"


async def test_taking_from_a_stall_without_months_takes_none(till: Till) -> None:
    stall = await till.canteen.stall(months=0)

    taken = await till.canteen.db.write(take_months, stall.id, months=3, reason="x", by=0)

    assert taken == 0
    assert await till.canteen.db.read(month_entries, stall.id) == []
    with pytest.raises(StallNotFound):
        await till.canteen.db.write(take_months, stall.id + 1, months=3, reason="x", by=0)


@pytest.mark.parametrize("months", [0, -1, 37, 1.5, "3"])
def test_other_than_1_to_36_whole_months_cannot_be_asked_for(months: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"months": months, "trade_type": "NATIVE"}, RenewalNew)
