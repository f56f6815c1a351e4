"""Killed between any two steps, and started again from the database: one effect, and no other."""

import contextlib
from collections.abc import Awaitable, Callable

import pytest

from payments.model import DebtState, PaymentError, RefundStatus
from payments.scores import store
from payments.scores.model import ScorePhase
from tests.payments.core.kills import Killed, Life, Mortal, mortal_database
from tests.payments.scores.market import CLERK, FEE_FEN, Market


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Each kind keeps its transactions whole; where a process dies between them is the same."""
    return sqlite_url


CALLS = ("create", "query", "complete", "modify", "sync_paid", "cancel", "authorize", "permission")


async def killed_everywhere(
    market: Market,
    prepare: Callable[[int], Awaitable[str]],
    tell: Callable[[str], Awaitable[object]],
    check: Callable[[str, int], Awaitable[object]],
    *,
    money_fen: int = 0,
) -> int:
    """Tell the story in a process that dies at its first step, its second, and so on.

    prepare and check see a process that lives; check may let that go on. money_fen: what each
    telling leaves at WeChat in the end. Returns how many steps there were.
    """
    at = 0
    while True:
        door = at + 1
        number = await prepare(door)
        life = Life(at)
        market.start(
            db=mortal_database(market.db, life), payscore=Mortal(market.pay.payscore, life, CALLS)
        )
        with contextlib.suppress(Killed):
            await tell(number)
        market.start()
        await market.idle()
        await check(number, door)
        await market.agrees(money_fen * door)
        assert await market.kinds() == []
        if not life.is_dead:
            return life.steps
        at += 1


async def open_it(market: Market, number: str) -> None:
    with contextlib.suppress(PaymentError):
        await market.scores.open(number)


async def test_opening(market: Market) -> None:
    async def tell(number: str) -> None:
        await market.scores.open(number)

    async def check(number: str, door: int) -> None:
        # The diner taps again, confirms what he sees, and takes nothing.
        opening = await market.scores.open(number)
        assert opening.view is not None
        await market.confirm(number)
        assert await market.notes(door) == {"confirmed": 1}
        await market.db.write(store.want_cancel, number, "没买")
        await market.scores.push_due()
        assert market.at_wechat(number).state == "REVOKED"

    assert await killed_everywhere(market, market.begin, tell, check) >= 5


async def test_opening_and_going_away(market: Market) -> None:
    async def tell(number: str) -> None:
        await market.scores.open(number)

    async def check(number: str, door: int) -> None:
        for _ in range(8):
            await market.pass_time(60)
            await market.scores.push_due()
        score = await market.score(number)
        order = market.wechat.pay.score.all.get(number)
        if score.phase is ScorePhase.CREATED:
            assert order is not None
            assert order.state == "CREATED"
            await market.db.write(store.want_cancel, number, "走了")
            await market.scores.push_due()
        assert await market.notes(door) == {"over cancelled": 1}
        assert order is None or order.state == "REVOKED"

    assert await killed_everywhere(market, market.begin, tell, check) >= 5


async def test_opening_without_confirmation(market: Market) -> None:
    await market.permit()

    async def tell(number: str) -> None:
        await market.scores.open(number)

    async def check(number: str, door: int) -> None:
        assert (await market.scores.open(number)).is_confirmed
        assert await market.notes(door) == {"confirmed": 1}
        await market.pass_time(60)
        await market.complete(number, 0)
        await market.scores.push_due()
        assert (await market.score(number)).phase is ScorePhase.FREE

    assert await killed_everywhere(market, market.begin, tell, check) >= 5


async def test_asking_for_the_fee_and_being_told_of_it(market: Market) -> None:
    async def tell(number: str) -> None:
        await market.complete(number)
        await market.scores.push_due()
        await market.idle()

    async def check(number: str, door: int) -> None:
        await market.complete(number)
        await market.settle(times=2, seconds=120)
        assert (await market.score(number)).phase is ScorePhase.PAID
        assert (await market.debt(number)).state is DebtState.PAID
        expected = {"confirmed": 1, f"paid {FEE_FEN}": 1, "over paid": 1}
        assert await market.notes(door) == expected

    steps = await killed_everywhere(market, market.running, tell, check, money_fen=FEE_FEN)
    assert steps >= 6


async def test_finding_the_deduction_nobody_told_of(market: Market) -> None:
    async def prepare(door: int) -> str:
        market.wechat.pay.settings.is_blocked = False
        number = await market.collecting(door)
        market.deaf()
        market.deducts()
        await market.pass_time(3600)
        return number

    async def tell(number: str) -> None:
        await market.scores.push_due()

    async def check(number: str, door: int) -> None:
        await market.settle(times=2, seconds=120)
        expected = {"confirmed": 1, f"paid {FEE_FEN}": 1, "over paid": 1}
        assert await market.notes(door) == expected

    assert await killed_everywhere(market, prepare, tell, check, money_fen=FEE_FEN) >= 6


async def test_asking_for_less(market: Market) -> None:
    async def tell(number: str) -> None:
        await market.less(number)
        await market.scores.push_due()

    async def check(number: str, door: int) -> None:
        await market.less(number)
        await market.pass_time(60)
        await market.scores.push_due()
        market.deducts()
        await market.pass_time(3600)
        assert await market.notes(door) == {"confirmed": 1, "paid 700": 1, "over paid": 1}

    assert await killed_everywhere(market, market.collecting, tell, check, money_fen=700) >= 6


async def test_asking_for_less_when_it_was_just_deducted(market: Market) -> None:
    async def tell(number: str) -> None:
        await market.less(number)
        market.deducts()
        await market.pass_time(3600)
        await market.scores.push_due()
        await market.settle(times=2)

    async def check(number: str, door: int) -> None:
        market.deducts()
        asked = await market.less(number)
        await market.pass_time(3600)
        await market.settle(times=4)
        back = await market.payments.refunds(number)
        if not asked and not back:
            # Told that it was deducted before: the domain sends the difference back.
            await market.payments.refund(
                number, amount_fen=500, reason="少拿", by=CLERK, key="", refund_key=f"less {number}"
            )
            await market.settle(times=4)
            back = await market.payments.refunds(number)
        paid = sum(r.amount_fen for r in back if r.status is RefundStatus.SUCCESS)
        assert (await market.debt(number)).amount_fen - paid == 700

    assert await killed_everywhere(market, market.collecting, tell, check, money_fen=700) >= 8


async def test_being_paid_outside(market: Market) -> None:
    async def tell(number: str) -> None:
        await market.db.write(store.paid_outside, number, market.now())
        await market.scores.push_due()

    async def check(number: str, door: int) -> None:
        await market.db.write(store.paid_outside, number, market.now())
        await market.pass_time(60)
        await market.scores.push_due()
        market.deducts()
        await market.pass_time(3600)
        assert market.at_wechat(number).paid_type == "MCH"
        assert await market.notes(door) == {"confirmed": 1, "over paid": 1}

    assert await killed_everywhere(market, market.collecting, tell, check) >= 6


async def test_cancelling(market: Market) -> None:
    async def tell(number: str) -> None:
        await market.db.write(store.want_cancel, number, "没买")
        await market.scores.push_due()

    async def check(number: str, door: int) -> None:
        await market.db.write(store.want_cancel, number, "没买")
        await market.pass_time(60)
        await market.scores.push_due()
        assert market.at_wechat(number).state == "REVOKED"
        assert await market.notes(door) == {"confirmed": 1, "over cancelled": 1}

    assert await killed_everywhere(market, market.running, tell, check) >= 6


async def test_sending_a_deduction_back(market: Market) -> None:
    async def ask(number: str) -> None:
        await market.payments.refund(number, amount_fen=200, reason="坏了", by=CLERK, key=number)

    async def tell(number: str) -> None:
        await ask(number)
        await market.payments.settle_due()

    async def check(number: str, door: int) -> None:
        await ask(number)
        await market.settle(times=3)
        (refund,) = await market.payments.refunds(number)
        assert refund.status is RefundStatus.SUCCESS
        assert (await market.notes(door))["back 200"] == 1

    steps = await killed_everywhere(market, market.paid, tell, check, money_fen=FEE_FEN - 200)
    assert steps >= 6
