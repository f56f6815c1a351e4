"""Killed between any two steps, and started again from the database: one effect, and no other."""

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable

from payments.gateway import PaymentFact, TradeState
from payments.model import Debt, DebtState, PaymentError, RefundStatus
from tests.payments.core.kills import Killed, Life, mortal_database, mortal_gateway
from tests.payments.core.till import CLERK, Till


async def killed_everywhere(
    till: Till,
    prepare: Callable[[], Awaitable[Debt]],
    tell: Callable[[Debt], Awaitable[object]],
    check: Callable[[Debt], Awaitable[object]],
) -> int:
    """Tell the story in a process that dies at its first step, its second, and so on.

    prepare and check see a process that lives. Returns how many steps there were.
    """
    at = 0
    while True:
        debt = await prepare()
        life = Life(at)
        till.gateway = mortal_gateway(till.bank, life)
        till.start(mortal_database(till.db, life))
        with contextlib.suppress(Killed):
            await tell(debt)
        till.gateway = till.bank
        till.start()
        await check(debt)
        assert await till.agrees()
        if not life.is_dead:
            return life.steps
        at += 1


async def what_happened(till: Till, debt: Debt) -> Counter[str]:
    return Counter(what for what, whose, _ in await till.notes() if whose == str(debt.id))


async def user_pays(till: Till, debt: Debt) -> PaymentFact | None:
    """Whoever holds the code pays, if WeChat knows it."""
    for row in await till.rows("payment_attempts"):
        order = till.bank.orders.get(row["out_trade_no"])
        if row["debt_id"] == debt.id and order and order.state is TradeState.NOT_PAID:
            return till.bank.pay(row["out_trade_no"])
    return None


async def test_paying(till: Till) -> None:
    async def tell(debt: Debt) -> None:
        await till.pay(debt, key=f"k{debt.id}")
        fact = await user_pays(till, debt)
        assert fact is not None
        await till.payments.apply(fact)

    async def check(debt: Debt) -> None:
        # The client asks again, the user pays what he sees, and no notice ever comes.
        with contextlib.suppress(PaymentError):
            await till.pay(debt, key=f"k{debt.id}")
        await user_pays(till, debt)
        till.clock.advance(minutes=2)
        await till.payments.settle_due()
        assert (await till.debt(debt)).state is DebtState.PAID
        assert await what_happened(till, debt) == {"delivered": 1}
        numbers = [row for row in await till.rows("payment_attempts") if row["debt_id"] == debt.id]
        assert len(numbers) == 1

    assert await killed_everywhere(till, till.owe, tell, check) >= 6


async def test_paying_in_another_way_than_before(till: Till) -> None:
    async def prepare() -> Debt:
        debt = await till.owe()
        await till.pay(debt, trade_type="JSAPI", openid="o1")
        till.clock.advance(minutes=6)
        return debt

    async def tell(debt: Debt) -> None:
        await till.pay(debt)
        fact = await user_pays(till, debt)
        assert fact is not None
        await till.payments.apply(fact)

    async def check(debt: Debt) -> None:
        with contextlib.suppress(PaymentError):
            await till.pay(debt)
        await user_pays(till, debt)
        await till.settle(times=6)
        assert (await till.debt(debt)).state is DebtState.PAID
        assert await what_happened(till, debt) == {"delivered": 1}

    assert await killed_everywhere(till, prepare, tell, check) >= 12


async def test_the_reconciler_finding_money(till: Till) -> None:
    async def prepare() -> Debt:
        debt = await till.owe()
        till.bank.pay((await till.pay(debt)).out_trade_no)
        till.clock.advance(minutes=1)
        return debt

    async def tell(_: Debt) -> None:
        await till.payments.settle_due()

    async def check(debt: Debt) -> None:
        await till.settle(times=2)
        assert await what_happened(till, debt) == {"delivered": 1}

    assert await killed_everywhere(till, prepare, tell, check) >= 8


async def test_cancelling(till: Till) -> None:
    async def prepare() -> Debt:
        debt = await till.owe()
        await till.pay(debt)
        till.clock.advance(minutes=6)
        return debt

    async def tell(debt: Debt) -> None:
        await till.payments.cancel(debt.id)

    async def check(debt: Debt) -> None:
        with contextlib.suppress(PaymentError):
            await till.payments.cancel(debt.id)
        await till.settle(times=2)
        assert (await till.debt(debt)).state is DebtState.CANCELLED
        assert await what_happened(till, debt) == {"forgotten": 1}
        # Nobody can pay it any more.
        assert await user_pays(till, debt) is None

    assert await killed_everywhere(till, prepare, tell, check) >= 6


async def test_money_for_what_was_cancelled_and_its_way_back(till: Till) -> None:
    late: dict[int, PaymentFact] = {}

    async def prepare() -> Debt:
        debt = await till.owe()
        number = (await till.pay(debt)).out_trade_no
        till.clock.advance(minutes=6)
        await till.payments.cancel(debt.id)
        late[debt.id] = till.bank.pay(number)
        return debt

    async def tell(debt: Debt) -> None:
        await till.payments.apply(late[debt.id])
        await till.settle(times=3)

    async def check(debt: Debt) -> None:
        await till.payments.apply(late[debt.id])
        await till.settle(times=6)
        assert (await till.debt(debt)).state is DebtState.CANCELLED
        assert await what_happened(till, debt) == {"forgotten": 1}
        number = late[debt.id].out_trade_no
        (refund,) = await till.payments.refunds(number)
        assert refund.status is RefundStatus.SUCCESS
        sent = [no for no, s in till.bank.refunds.items() if s.order.out_trade_no == number]
        assert sent == [refund.out_refund_no]
        assert await till.alerts() == []

    assert await killed_everywhere(till, prepare, tell, check) >= 12


async def test_two_attempts_that_are_both_paid(till: Till) -> None:
    facts: dict[int, list[PaymentFact]] = {}

    async def prepare() -> Debt:
        debt = await till.owe()
        first = (await till.pay(debt, trade_type="JSAPI", openid="o1")).out_trade_no
        till.clock.advance(minutes=6)
        second = (await till.pay(debt)).out_trade_no
        facts[debt.id] = [till.bank.pay(first), till.bank.pay(second)]
        return debt

    async def tell(debt: Debt) -> None:
        for fact in facts[debt.id]:
            await till.payments.apply(fact)
        await till.settle(times=3)

    async def check(debt: Debt) -> None:
        for fact in reversed(facts[debt.id]):
            await till.payments.apply(fact)
        await till.settle(times=6)
        assert await what_happened(till, debt) == {"delivered": 1}
        (came, went) = (300 * 2, 300)
        assert sum(fact.amount_fen for fact in facts[debt.id]) == came
        numbers = {fact.out_trade_no for fact in facts[debt.id]}
        back = [s for s in till.bank.refunds.values() if s.order.out_trade_no in numbers]
        assert [sent.order.refund_fen for sent in back] == [went]

    assert await killed_everywhere(till, prepare, tell, check) >= 14


async def test_sending_back(till: Till) -> None:
    numbers: dict[int, str] = {}

    async def prepare() -> Debt:
        debt, number = await till.paid()
        numbers[debt.id] = number
        return debt

    async def ask(debt: Debt) -> None:
        await till.refund(numbers[debt.id], 100, key=f"r{debt.id}", by=CLERK)

    async def tell(debt: Debt) -> None:
        await ask(debt)
        await till.settle(times=3)

    async def check(debt: Debt) -> None:
        await ask(debt)
        await till.settle(times=6)
        (refund,) = await till.payments.refunds(numbers[debt.id])
        assert refund.status is RefundStatus.SUCCESS
        paid = await till.debt(debt)
        assert (paid.state, paid.refunded_fen) == (DebtState.PARTLY_REFUNDED, 100)
        assert await what_happened(till, debt) == {"delivered": 1, "taken back": 1}
        sent = [s for s in till.bank.refunds.values() if s.order.out_trade_no == numbers[debt.id]]
        assert [s.order.refund_fen for s in sent] == [100]

    assert await killed_everywhere(till, prepare, tell, check) >= 12
