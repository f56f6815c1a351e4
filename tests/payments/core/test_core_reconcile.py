"""Making sure: asked about in time though nobody tells us, forgotten by no restart; the bill."""

import asyncio
from collections import Counter

import pytest

from payments.gateway import BillRow, Queried, Reaction, Refused, TradeState, Unknown
from payments.model import (
    AttemptState,
    DebtState,
    DifferenceNotFound,
    PaymentNotFound,
    PaymentUnknown,
)
from payments.store import count_attempts, debts_of
from sql.database import Tx
from tests.payments.core.till import CLERK, PAYER, Till, execute

DAY = 20261120


async def test_with_callbacks_blocked_it_is_paid_within_two_minutes(till: Till) -> None:
    debt = await till.owe()
    number = (await till.pay(debt)).out_trade_no
    till.clock.advance(seconds=55)
    till.bank.pay(number)

    for _ in range(12):
        till.clock.advance(seconds=10)
        await till.payments.settle_due()

    assert (await till.debt(debt)).state is DebtState.PAID
    assert await till.agrees()


async def test_it_is_asked_about_after_1_2_5_10_30_minutes_and_closed_at_its_end(
    till: Till,
) -> None:
    number = (await till.pay(await till.owe())).out_trade_no
    asked = []

    for minute in range(1, 131):
        till.clock.advance(minutes=1)
        before = till.bank.calls["query"]
        await till.payments.settle_due()
        if till.bank.calls["query"] > before:
            asked.append(minute)

    assert asked == [1, 2, 5, 10, 30, 60, 90, 120]
    assert (await till.attempt(number)).state is AttemptState.CLOSED
    assert till.bank.orders[number].state is TradeState.CLOSED


async def test_nothing_is_forgotten_over_a_restart(till: Till) -> None:
    debt = await till.owe()
    till.bank.pay((await till.pay(debt)).out_trade_no)
    await till.restart()
    till.clock.advance(hours=5)

    await till.payments.settle_due()

    assert (await till.debt(debt)).state is DebtState.PAID


async def test_no_answer_is_asked_for_again_and_holds_nobody_up(till: Till) -> None:
    quiet, other = await till.owe(), await till.owe()
    for debt in (quiet, other):
        till.bank.pay((await till.pay(debt)).out_trade_no)
    till.bank.before["query"] = [Unknown("no answer")]
    till.clock.advance(minutes=1)

    await till.payments.settle_due()
    states = {(await till.debt(debt)).state for debt in (quiet, other)}
    till.clock.advance(minutes=1)
    await till.payments.settle_due()

    assert states == {DebtState.PAID, DebtState.UNPAID}
    assert {(await till.debt(debt)).state for debt in (quiet, other)} == {DebtState.PAID}


async def test_a_mistake_with_one_holds_nobody_up_and_is_not_hidden(till: Till) -> None:
    good, bad = await till.owe(), await till.owe(kind="broken")
    till.payments.when_paid("broken", broken)
    for debt in (bad, good):
        till.bank.pay((await till.pay(debt)).out_trade_no)
    till.clock.advance(minutes=1)

    with pytest.raises(ZeroDivisionError):
        await till.payments.settle_due()

    assert (await till.debt(good)).state is DebtState.PAID
    assert (await till.debt(bad)).state is DebtState.UNPAID


def broken(*_: object) -> None:
    raise ZeroDivisionError


async def test_once_money_came_untold_everything_open_is_asked_about_each_minute(
    till: Till,
) -> None:
    first, second = await till.owe(), await till.owe()
    till.bank.pay((await till.pay(first)).out_trade_no)
    number = (await till.pay(second)).out_trade_no
    till.clock.advance(minutes=12)
    await till.payments.settle_due()
    till.clock.advance(seconds=30)
    till.bank.pay(number)
    till.clock.advance(seconds=40)

    await till.payments.settle_due()

    # Without a notice, and eighteen minutes before its time.
    assert (await till.debt(second)).state is DebtState.PAID


async def test_while_wechat_tells_us_nobody_is_asked_out_of_turn(till: Till) -> None:
    await till.paid()
    await till.pay(await till.owe())
    till.clock.advance(minutes=12)
    await till.payments.settle_due()
    before = till.bank.calls["query"]
    till.clock.advance(minutes=5)

    await till.payments.settle_due()

    assert till.bank.calls["query"] == before


async def test_one_being_paid_at_this_moment_is_left_open(till: Till) -> None:
    number = (await till.pay(await till.owe())).out_trade_no
    till.bank.orders[number].state = TradeState.PAYING
    till.clock.advance(minutes=1)

    await till.payments.settle_due()

    assert (await till.attempt(number)).is_live


async def test_one_that_wechat_closed_is_closed(till: Till) -> None:
    number = (await till.pay(await till.owe())).out_trade_no
    till.bank.orders[number].state = TradeState.CLOSED
    till.clock.advance(minutes=1)

    await till.payments.settle_due()

    assert (await till.attempt(number)).state is AttemptState.CLOSED


async def test_a_paid_without_saying_what_is_no_answer(till: Till) -> None:
    debt = await till.owe()
    number = (await till.pay(debt)).out_trade_no
    till.bank.says["query"] = Queried(TradeState.PAID)

    with pytest.raises(PaymentUnknown):
        await till.payments.refresh(number)

    assert (await till.debt(debt)).state is DebtState.UNPAID


async def test_one_that_wechat_never_ends_is_for_a_person_after_a_week(till: Till) -> None:
    number = (await till.pay(await till.owe())).out_trade_no
    till.clock.advance(days=7, hours=3)
    till.bank.before["query"] = [Unknown("no answer")]

    await till.payments.settle_due()
    till.clock.advance(days=1)
    await till.payments.settle_due()

    assert await till.kinds() == ["payment.open"]
    assert till.bank.calls["query"] == 1
    assert (await till.attempt(number)).is_live


@pytest.mark.mariadb
async def test_two_processes_do_not_ask_twice(two_tills: tuple[Till, Till]) -> None:
    one, other = two_tills
    for _ in range(10):
        one.bank.pay((await one.pay(await one.owe())).out_trade_no)
    one.clock.advance(minutes=1)

    await asyncio.gather(*(till.payments.settle_due() for till in (one, other, one, other)))

    assert one.bank.calls["query"] == 10
    assert Counter(what for what, *_ in await one.notes()) == {"delivered": 10}
    assert await one.agrees()


# Asked for by somebody


async def test_refresh_asks_at_once(till: Till) -> None:
    debt = await till.owe()
    number = (await till.pay(debt)).out_trade_no
    before = await till.payments.refresh(number)
    till.bank.pay(number)

    attempt, paid = await till.payments.refresh(number, payer_id=PAYER)
    await till.payments.refresh(number)

    assert before[0].is_live
    assert (attempt.state, paid.state) == (AttemptState.SUCCESS, DebtState.PAID)
    assert till.bank.calls["query"] == 2


@pytest.mark.parametrize("trouble", [Unknown("none"), Refused("NOAUTH", "key", Reaction.STOP)])
async def test_refresh_without_an_answer_says_so(till: Till, trouble: Exception) -> None:
    number = (await till.pay(await till.owe())).out_trade_no
    till.bank.before["query"] = [trouble]

    with pytest.raises(PaymentUnknown):
        await till.payments.refresh(number)


async def test_anothers_payment_is_none(till: Till) -> None:
    _, number = await till.paid()

    for missing, payer in ((number, PAYER + 1), ("nothing", PAYER)):
        with pytest.raises(PaymentNotFound):
            await till.payments.payment(missing, payer_id=payer)
        with pytest.raises(PaymentNotFound):
            await till.payments.refresh(missing, payer_id=payer)


async def test_all_payments_can_be_seen(till: Till) -> None:
    debt, number = await till.paid()
    other = await till.owe(payer_id=8)
    unpaid = (await till.pay(other)).out_trade_no

    total, page = await till.payments.page(offset=0, most=1)
    paid = await till.payments.page(offset=0, most=9, state="success")
    theirs = await till.payments.page(offset=0, most=9, payer_id=8)

    assert (total, page[0][0].out_trade_no) == (2, unpaid)
    assert [(attempt.out_trade_no, of.id) for attempt, of in paid[1]] == [(number, debt.id)]
    assert [attempt.out_trade_no for attempt, _ in theirs[1]] == [unpaid]
    assert await till.db.read(count_attempts) == {"submitted": 1}
    assert [of.id for of in await till.db.read(debts_of, debt.kind, debt.subject)] == [
        debt.id,
        other.id,
    ]


# The bill


def paid_row(till: Till, number: str, **changes: int) -> BillRow:
    fact = till.bank.fact(number)
    return BillRow(
        at=fact.paid_at,
        transaction_id=fact.transaction_id,
        out_trade_no=number,
        amount_fen=changes.get("amount_fen", fact.amount_fen),
    )


def refund_row(till: Till, no: str, refund_fen: int, state: str = "SUCCESS") -> BillRow:
    order = till.bank.refunds[no].order
    return BillRow(
        at=till.clock.now(),
        transaction_id=order.transaction_id,
        out_trade_no=order.out_trade_no,
        amount_fen=order.total_fen,
        out_refund_no=no,
        refund_fen=refund_fen,
        refund_state=state,
    )


async def test_a_bill_that_agrees_is_no_news(till: Till) -> None:
    _, number = await till.paid()
    refund = await till.refund(number)
    await till.settle(times=2)
    till.bank.bills[DAY] = [
        paid_row(till, number),
        refund_row(till, refund.out_refund_no, 100),
    ]

    report = await till.payments.compare_bill(DAY)

    assert (report.payments, report.refunds, report.differences) == (1, 1, 0)
    assert await till.alerts() == []


async def test_every_difference_is_a_row_for_a_person_and_nothing_is_mended(till: Till) -> None:
    _, here = await till.paid(101)
    debt, there = await till.paid(102)
    _, other = await till.paid(103)
    unpaid = await till.owe(104)
    untold = (await till.pay(unpaid)).out_trade_no
    till.bank.pay(untold)
    sent, kept = await till.refund(here, 50), await till.refund(there, 60)
    await till.payments.settle_due()
    till.bank.bills[DAY] = [
        paid_row(till, untold),
        paid_row(till, there, amount_fen=999),
        paid_row(till, other),
        refund_row(till, sent.out_refund_no, 51),
        BillRow(
            at=0,
            transaction_id="t",
            out_trade_no="n",
            amount_fen=9,
            out_refund_no="unknown",
            refund_fen=9,
        ),
    ]
    before = [await till.rows(table) for table in ("debts", "receipts", "refunds")]

    for _ in range(2):
        report = await till.payments.compare_bill(DAY)
        assert report.differences == 6

    total, found = await till.payments.differences(offset=0, most=9)
    assert total == 6
    transaction = {no: till.bank.fact(no).transaction_id for no in (here, there, untold)}
    assert {(one.kind, one.number, one.here_fen, one.there_fen) for one in found} == {
        ("payment.missing_there", transaction[here], 101, 0),
        ("payment.amount", transaction[there], 102, 999),
        ("payment.missing_here", transaction[untold], 0, 104),
        ("refund.amount", sent.out_refund_no, 50, 51),
        ("refund.missing_there", kept.out_refund_no, 60, 0),
        ("refund.missing_here", "unknown", 0, 9),
    }
    assert [await till.rows(table) for table in ("debts", "receipts", "refunds")] == before
    assert [(alert.kind, alert.subject) for alert in await till.alerts()] == [("bill", str(DAY))]
    assert (await till.debt(debt)).amount_fen == 102


async def test_a_person_explains_each_and_the_days_alert_ends_with_the_last(till: Till) -> None:
    _, number = await till.paid()
    _, other = await till.paid()
    await till.payments.compare_bill(DAY)
    _, (second, first) = await till.payments.differences(offset=0, most=9)

    explained = await till.payments.explain_difference(first.id, by=CLERK, explanation="test")
    with pytest.raises(DifferenceNotFound):
        await till.payments.explain_difference(first.id, by=CLERK, explanation="again")
    between = await till.kinds()
    await till.payments.explain_difference(second.id, by=CLERK, explanation="test too")

    assert (explained.explained_by, explained.explanation) == (11, "test")
    assert (between, await till.kinds()) == (["bill"], [])
    assert (await till.payments.differences(offset=0, most=9))[0] == 0
    assert (await till.payments.differences(offset=0, most=9, is_open=False))[0] == 2
    assert {number, other} == set(till.bank.orders)


async def test_a_payment_of_before_midnight_is_known_on_both_days(till: Till) -> None:
    till.clock.set("2026-11-20T23:59:59+08:00")
    _, number = await till.paid()
    till.bank.bills[20261121] = [paid_row(till, number)]
    till.bank.bills[DAY] = [paid_row(till, number)]

    reports = [await till.payments.compare_bill(day) for day in (DAY, 20261121)]

    assert [report.differences for report in reports] == [0, 0]


@pytest.mark.parametrize(("state", "differences"), [("SUCCESS", 1), ("CLOSED", 0)])
async def test_a_refund_that_was_given_up_and_is_in_the_bill(
    till: Till, state: str, differences: int
) -> None:
    _, number = await till.paid()
    refund = await till.refund(number)
    await till.payments.settle_due()
    till.bank.bills[DAY] = [
        paid_row(till, number),
        refund_row(till, refund.out_refund_no, 100, state),
    ]
    await till.db.write(give_up, refund.out_refund_no)

    report = await till.payments.compare_bill(DAY)

    assert report.differences == differences


def give_up(tx: Tx, out_refund_no: str) -> None:
    execute(tx, f"UPDATE refunds SET status = 'withdrawn' WHERE out_refund_no = '{out_refund_no}'")


async def test_a_bill_that_cannot_be_had_is_said(till: Till) -> None:
    till.bank.before["bill"] = [Unknown("not yet")]

    with pytest.raises(Unknown):
        await till.payments.compare_bill(DAY)
