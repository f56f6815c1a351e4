"""Cancelling: closed at WeChat first, and money that comes first wins."""

import asyncio

import pytest

from payments.gateway import (
    AlreadyClosed,
    AlreadyPaid,
    Queried,
    Reaction,
    Refused,
    TradeState,
    Unknown,
)
from payments.model import AttemptState, DebtCancelled, DebtNotFound, DebtPaid, DebtState
from tests.payments.core.till import Till


async def test_what_nobody_began_to_pay_is_cancelled_at_once(till: Till) -> None:
    debt = await till.owe()

    cancelled = await till.payments.cancel(debt.id)
    again = await till.payments.cancel(debt.id)

    assert cancelled.state is again.state is DebtState.CANCELLED
    assert await till.notes() == [("forgotten", str(debt.id), "300")]
    assert till.bank.calls == {}


async def test_a_kind_without_an_action_is_cancelled_all_the_same(till: Till) -> None:
    debt = await till.owe(kind="other")

    cancelled = await till.payments.cancel(debt.id)

    assert (cancelled.state, await till.notes()) == (DebtState.CANCELLED, [])


async def test_what_is_not_there_or_paid_cannot_be_cancelled(till: Till) -> None:
    debt, _ = await till.paid()

    with pytest.raises(DebtPaid):
        await till.payments.cancel(debt.id)
    with pytest.raises(DebtNotFound):
        await till.payments.cancel(99)


async def test_an_open_attempt_is_closed_first(till: Till) -> None:
    debt = await till.owe()
    number = (await till.pay(debt)).out_trade_no
    till.clock.advance(minutes=5)

    cancelled = await till.payments.cancel(debt.id)

    assert cancelled.state is DebtState.CANCELLED
    assert till.bank.orders[number].state is TradeState.CLOSED
    assert (await till.attempt(number)).state is AttemptState.CLOSED


async def test_an_attempt_too_young_to_be_closed_is_closed_by_the_job(till: Till) -> None:
    debt = await till.owe()
    number = (await till.pay(debt)).out_trade_no
    till.clock.advance(minutes=1)

    marked = await till.payments.cancel(debt.id)
    again = await till.payments.cancel(debt.id)
    with pytest.raises(DebtCancelled):
        await till.pay(debt)
    till.clock.advance(minutes=4, seconds=-1)
    await till.payments.settle_due()
    before = (await till.debt(debt)).state
    till.clock.advance(seconds=1)
    await till.restart()
    await till.payments.settle_due()

    assert marked.state is again.state is before is DebtState.UNPAID
    assert marked.cancel_asked_at is not None
    assert (await till.debt(debt)).state is DebtState.CANCELLED
    assert till.bank.orders[number].state is TradeState.CLOSED
    assert [note[0] for note in await till.notes()] == ["forgotten"]


async def test_who_pays_after_it_was_marked_wins(till: Till) -> None:
    debt = await till.owe()
    number = (await till.pay(debt)).out_trade_no
    await till.payments.cancel(debt.id)

    await till.payments.apply(till.bank.pay(number))

    paid = await till.debt(debt)
    assert (paid.state, paid.cancel_asked_at) == (DebtState.PAID, None)
    assert await till.agrees()


async def test_paid_says_wechat_when_it_is_to_close(till: Till) -> None:
    debt = await till.owe()
    number = (await till.pay(debt)).out_trade_no
    till.clock.advance(minutes=6)
    till.bank.pay(number)

    with pytest.raises(DebtPaid):
        await till.payments.cancel(debt.id)

    assert (await till.debt(debt)).state is DebtState.PAID
    assert [note[0] for note in await till.notes()] == ["delivered"]


@pytest.mark.parametrize(
    "trouble", [Unknown("no answer"), Refused("SYSTEM", "slow", Reaction.WAIT)]
)
async def test_what_wechat_does_not_close_now_the_job_closes(
    till: Till, trouble: Exception
) -> None:
    debt = await till.owe()
    await till.pay(debt)
    till.clock.advance(minutes=6)
    till.bank.before["close"] = [trouble]

    marked = await till.payments.cancel(debt.id)
    await till.settle(times=2)

    assert marked.state is DebtState.UNPAID
    assert (await till.debt(debt)).state is DebtState.CANCELLED


async def test_closed_already_or_never_heard_of_is_closed(till: Till) -> None:
    closed, unheard = await till.owe(), await till.owe()
    number = (await till.pay(closed)).out_trade_no
    till.bank.orders[number].state = TradeState.CLOSED
    unheard_of = (await till.pay(unheard)).out_trade_no
    del till.bank.orders[unheard_of]
    till.clock.advance(minutes=6)

    states = [(await till.payments.cancel(debt.id)).state for debt in (closed, unheard)]

    assert states == [DebtState.CANCELLED] * 2


async def test_paid_says_wechat_and_then_that_it_is_closed(till: Till) -> None:
    debt = await till.owe()
    await till.pay(debt)
    till.clock.advance(minutes=6)
    till.bank.before["close"] = [AlreadyPaid("paid")]
    till.bank.says["query"] = Queried(TradeState.CLOSED)

    cancelled = await till.payments.cancel(debt.id)

    assert cancelled.state is DebtState.CANCELLED


async def test_paid_says_wechat_and_then_nothing_of_the_kind(till: Till) -> None:
    debt = await till.owe()
    await till.pay(debt)
    till.clock.advance(minutes=6)
    till.bank.before["close"] = [AlreadyPaid("paid"), AlreadyPaid("paid")]

    marked = await till.payments.cancel(debt.id)
    till.bank.says["query"] = Queried(TradeState.PAID)
    marked_again = await till.payments.cancel(debt.id)

    assert marked.state is marked_again.state is DebtState.UNPAID


async def test_a_debt_ends_with_its_time(till: Till) -> None:
    ends_at = till.clock.now() + 900_000
    alone, begun, paid = [await till.owe(expires_at=ends_at) for _ in range(3)]
    number = (await till.pay(begun)).out_trade_no
    await till.payments.apply(till.bank.pay((await till.pay(paid)).out_trade_no))
    till.clock.advance(minutes=15)

    await till.payments.settle_due()

    states = [(await till.debt(debt)).state for debt in (alone, begun, paid)]
    assert states == [DebtState.CANCELLED, DebtState.CANCELLED, DebtState.PAID]
    assert till.bank.orders[number].state is TradeState.CLOSED
    assert await till.violations() == []


async def test_a_debt_that_is_paid_while_its_time_ends_is_paid(till: Till) -> None:
    debt = await till.owe(expires_at=till.clock.now() + 900_000)
    number = (await till.pay(debt)).out_trade_no
    till.clock.advance(minutes=15)
    fact = till.bank.pay(number)

    await asyncio.gather(till.payments.settle_due(), till.payments.apply(fact))

    assert (await till.debt(debt)).state is DebtState.PAID
    assert await till.agrees()


async def test_cancelling_paying_and_running_out_at_once_have_one_winner(till: Till) -> None:
    for late in range(6):
        debt = await till.owe(expires_at=till.clock.now() + 600_000)
        number = (await till.pay(debt)).out_trade_no
        till.clock.advance(minutes=10)
        fact = till.bank.pay(number) if late % 2 else None
        asked = [till.payments.cancel(debt.id) for _ in range(5)]
        told = [till.payments.apply(fact) for _ in range(5)] if fact else []

        await asyncio.gather(*asked, till.payments.settle_due(), *told, return_exceptions=True)
        await till.settle(times=4)

        wanted = DebtState.PAID if fact else DebtState.CANCELLED
        assert (await till.debt(debt)).state is wanted
        assert await till.agrees()
    assert len(await till.notes()) == 6


async def test_a_close_that_comes_twice_is_one(till: Till) -> None:
    debt = await till.owe()
    number = (await till.pay(debt)).out_trade_no
    attempt = await till.attempt(number)
    till.bank.orders[number].state = TradeState.CLOSED
    till.bank.before["close"] = [AlreadyClosed("closed")]

    assert await till.payments._asking.close(attempt)
    assert await till.payments._asking.close(attempt)

    assert (await till.debt(debt)).state is DebtState.UNPAID
