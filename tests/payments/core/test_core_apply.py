"""Money that comes in: applied once, compared first, never swallowed."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from payments.gateway import PaymentFact, TradeState
from payments.ledger.model import GATEWAY, REFUND_PENDING, SALES, SUSPENSE
from payments.ledger.store import BOOKS
from payments.model import (
    Applied,
    AttemptState,
    CannotFulfil,
    Debt,
    DebtState,
    Outcome,
    RefundStatus,
)
from sql.alerts import clear_alert, last_incidents, raise_alert
from sql.database import Tx
from tests.payments.core.till import APPID, MCH_ID, Till, note


async def incidents(till: Till) -> list[str]:
    found = await till.db.read(last_incidents)
    return [incident.kind for incident in reversed(found) if incident.kind != "test"]


async def test_the_same_again_changes_nothing(till: Till) -> None:
    debt, number = await till.paid()
    fact = till.bank.fact(number)
    before = [await till.rows(table) for table in ("receipts", "ledger_journals", "debts")]

    for source in ("notify", "query", "bill"):
        again = await till.payments.apply(till.bank.fact(number, source=source))
        assert again == Applied(Outcome.REPEATED, fact.out_trade_no, debt.id)

    assert [await till.rows(table) for table in ("receipts", "ledger_journals", "debts")] == before
    assert len(await till.notes()) == 1


async def test_fifty_at_once_have_one_effect(till: Till) -> None:
    debt = await till.owe()
    fact = till.bank.pay((await till.pay(debt)).out_trade_no)

    outcomes = await asyncio.gather(*(till.payments.apply(fact) for _ in range(50)))

    assert [applied.outcome for applied in outcomes].count(Outcome.PAID) == 1
    assert {applied.outcome for applied in outcomes} == {Outcome.PAID, Outcome.REPEATED}
    assert len(await till.notes()) == 1
    assert await till.agrees()


@pytest.mark.mariadb
async def test_two_processes_at_once_have_one_effect(two_tills: tuple[Till, Till]) -> None:
    one, other = two_tills
    facts = []
    for _ in range(20):
        request = await one.pay(await one.owe())
        facts.append(one.bank.pay(request.out_trade_no))

    told = [till.payments.apply(fact) for fact in facts for till in (one, other) for _ in range(3)]
    outcomes = await asyncio.gather(*told)

    assert [applied.outcome for applied in outcomes].count(Outcome.PAID) == 20
    assert len(await one.notes()) == 20
    assert await one.agrees()


async def test_many_payers_shuffled_and_repeated_are_paid_once_each(till: Till) -> None:
    debts = [await till.owe(100 + count) for count in range(40)]
    facts = [till.bank.pay((await till.pay(debt)).out_trade_no) for debt in debts]
    told = facts * 5
    random.Random(7).shuffle(told)

    await asyncio.gather(*(till.payments.apply(fact) for fact in told))

    assert len(await till.notes()) == 40
    assert await till.balance(SALES) == sum(debt.amount_fen for debt in debts)
    assert await till.agrees()


async def test_another_amount_pays_nothing_and_is_for_a_person(till: Till) -> None:
    debt = await till.owe(300)
    number = (await till.pay(debt)).out_trade_no
    fact = till.bank.pay(number, amount_fen=299)

    for _ in range(3):
        applied = await till.payments.apply(fact)
        assert applied.outcome is Outcome.MISMATCH

    assert (await till.debt(debt)).state is DebtState.UNPAID
    assert (await till.rows("receipts"), await till.notes()) == ([], [])
    assert await incidents(till) == ["payment.mismatch"]
    assert await till.kinds() == ["payment.mismatch"]


async def test_another_currency_pays_nothing(till: Till) -> None:
    number = (await till.pay(await till.owe(300))).out_trade_no
    till.bank.pay(number)

    applied = await till.payments.apply(till.bank.fact(number, currency="USD"))

    assert applied.outcome is Outcome.MISMATCH
    assert await till.rows("receipts") == []


async def test_a_tampered_notice_does_not_keep_the_true_money_out(till: Till) -> None:
    debt = await till.owe(300)
    number = (await till.pay(debt)).out_trade_no
    till.bank.pay(number)
    await till.payments.apply(till.bank.fact(number, amount_fen=1))

    # WeChat is asked at once.
    await till.payments.settle_due()

    assert (await till.debt(debt)).state is DebtState.PAID
    assert await till.agrees()


async def test_another_amount_that_wechat_itself_says_is_for_a_person(till: Till) -> None:
    debt = await till.owe(300)
    number = (await till.pay(debt)).out_trade_no
    till.bank.pay(number, amount_fen=299)
    till.clock.advance(minutes=1)

    await till.payments.settle_due()
    await till.payments.settle_due()

    assert (await till.debt(debt)).state is DebtState.UNPAID
    assert await till.kinds() == ["payment.mismatch"]
    assert till.bank.calls["query"] == 1


@pytest.mark.parametrize("changes", [{"mch_id": "1900000999"}, {"appid": "wx-of-others"}])
async def test_what_is_for_others_is_not_our_money(till: Till, changes: dict[str, str]) -> None:
    debt = await till.owe()
    number = (await till.pay(debt)).out_trade_no
    till.bank.pay(number)

    applied = await till.payments.apply(till.bank.fact(number, **changes))

    assert applied.outcome is Outcome.FOREIGN
    assert (await till.debt(debt)).state is DebtState.UNPAID
    assert await till.rows("receipts") == []
    assert await incidents(till) == ["payment.foreign"]


async def test_money_for_no_order_of_ours_waits_in_suspense_for_a_person(till: Till) -> None:
    fact = a_fact(out_trade_no="somebody-elses", amount_fen=77)

    first = await till.payments.apply(fact)
    again = await till.payments.apply(fact)

    assert (first.outcome, again.outcome) == (Outcome.UNKNOWN, Outcome.REPEATED)
    assert (await till.balance(SUSPENSE), await till.balance(GATEWAY)) == (77, -77)
    assert await till.kinds() == ["payment.unknown"]
    assert await till.rows("refunds") == []
    # It is explained: the incident says where it is from.
    assert await till.violations() == []


async def test_a_transaction_that_comes_under_another_number_is_for_a_person(till: Till) -> None:
    _, number = await till.paid()
    other = (await till.pay(await till.owe())).out_trade_no
    known = till.bank.fact(number).transaction_id

    applied = await till.payments.apply(a_fact(out_trade_no=other, transaction_id=known))

    assert applied.outcome is Outcome.MISMATCH
    assert len(await till.notes()) == 1


# Late, and twice


async def sent_back(till: Till, fact: PaymentFact) -> None:
    """What one expects of money nobody waits for: it goes back, once, and nothing is left."""
    assert (await till.balance(SUSPENSE), await till.balance(REFUND_PENDING)) == (
        0,
        fact.amount_fen,
    )
    assert "payments" in till.wakes
    await till.payments.apply(fact)
    await till.settle()
    (refund,) = await till.rows("refunds")
    assert (refund["status"], refund["amount_fen"]) == (RefundStatus.SUCCESS, fact.amount_fen)
    assert list(till.bank.refunds) == [refund["out_refund_no"]]
    assert await till.alerts() == []
    assert await till.agrees()


async def test_money_for_what_was_cancelled_goes_back_by_itself(till: Till) -> None:
    debt = await till.owe()
    number = (await till.pay(debt)).out_trade_no
    till.clock.advance(minutes=6)
    await till.payments.cancel(debt.id)
    fact = till.bank.pay(number)

    applied = await till.payments.apply(fact)

    assert applied == Applied(Outcome.LATE, number, debt.id)
    assert (await till.debt(debt)).state is DebtState.CANCELLED
    assert (await till.attempt(number)).state is AttemptState.SUCCESS
    assert await till.kinds() == ["payment.late"]
    assert [note[0] for note in await till.notes()] == ["forgotten"]
    assert [event.name for event in till.events] == ["payment.returned"]
    await sent_back(till, fact)


async def test_of_two_attempts_that_are_both_paid_one_goes_back(till: Till) -> None:
    debt = await till.owe()
    first = (await till.pay(debt, trade_type="JSAPI", openid="o1")).out_trade_no
    till.clock.advance(minutes=6)
    second = (await till.pay(debt)).out_trade_no
    facts = [till.bank.pay(second), till.bank.pay(first)]

    outcomes = await asyncio.gather(*(till.payments.apply(fact) for fact in facts))

    assert sorted(applied.outcome for applied in outcomes) == [Outcome.LATE, Outcome.PAID]
    assert [note[0] for note in await till.notes()] == ["delivered"]
    await sent_back(till, facts[1])
    assert till.bank.money == debt.amount_fen


async def test_money_for_a_closed_attempt_counts_while_the_debt_is_unpaid(till: Till) -> None:
    debt = await till.owe()
    first = (await till.pay(debt, trade_type="JSAPI", openid="o1")).out_trade_no
    till.clock.advance(minutes=6)
    second = (await till.pay(debt)).out_trade_no

    applied = await till.payments.apply(till.bank.pay(first))
    asked_at = (await till.attempt(second)).next_at
    paid_at = till.clock.now()
    till.clock.advance(minutes=6)
    await till.payments.settle_due()

    assert applied.outcome is Outcome.PAID
    assert asked_at == paid_at
    # Nobody is to pay the other one any more.
    assert till.bank.orders[second].state is TradeState.CLOSED
    assert (await till.attempt(second)).state is AttemptState.CLOSED
    assert await till.agrees()


async def test_a_second_transaction_under_one_number_goes_back(till: Till) -> None:
    _, number = await till.paid()
    second = till.bank.pay(number)

    applied = await till.payments.apply(second)

    assert applied.outcome is Outcome.LATE
    await sent_back(till, second)


async def test_what_can_no_longer_be_had_is_cancelled_and_paid_back(till: Till) -> None:
    debt = await till.owe()
    number = (await till.pay(debt)).out_trade_no
    fact = till.bank.pay(number)
    till.raises = CannotFulfil("the stall is gone")

    applied = await till.payments.apply(fact)

    assert applied.outcome is Outcome.LATE
    assert (await till.debt(debt)).state is DebtState.CANCELLED
    assert [note[0] for note in await till.notes()] == ["forgotten"]
    await sent_back(till, fact)


async def test_what_is_delivered_together_is_paid_or_sent_back_each_for_itself(
    till: Till,
) -> None:
    lists: list[list[int]] = []

    def deliver(tx: Tx, paid: Sequence[tuple[Debt, PaymentFact]]) -> set[int]:
        lists.append([debt.id for debt, _ in paid])
        assert all(debt.state is DebtState.UNPAID for debt, _ in paid)
        for debt, fact in paid:
            if debt.subject != 404:
                note(tx, "together", debt.id, fact.amount_fen)
        return {debt.id for debt, _ in paid if debt.subject == 404}

    till.payments.when_paid_together("together", deliver)
    debts = [await till.owe(kind="together", subject=subject) for subject in (1, 404, 2)]
    alone = await till.owe()
    facts = [till.bank.pay((await till.pay(debt)).out_trade_no) for debt in (*debts, alone)]
    # The first and the one that fails are paid a second time, by other transactions.
    facts += [till.bank.pay(facts[0].out_trade_no), till.bank.pay(facts[1].out_trade_no)]

    outcomes = await asyncio.gather(*(till.payments.apply(fact) for fact in [*facts, facts[2]]))

    paid, late = Outcome.PAID, Outcome.LATE
    assert [applied.outcome for applied in outcomes] == [
        *(paid, late, paid, paid, late, late, Outcome.REPEATED)
    ]
    assert lists == [[debt.id for debt in debts]]
    assert sorted(note[0] for note in await till.notes()) == ["delivered", "together", "together"]
    states = [(await till.debt(debt)).state for debt in (*debts, alone)]
    assert states == [DebtState.PAID, DebtState.CANCELLED, DebtState.PAID, DebtState.PAID]
    kept = sum(debt.amount_fen for debt in (debts[0], debts[2], alone))
    await till.settle()
    assert till.bank.money == kept
    assert await till.alerts() == []
    assert await till.agrees()


async def test_a_mistake_in_one_action_leaves_its_payment_open_and_the_others_alone(
    till: Till,
) -> None:
    good, bad = await till.owe(), await till.owe(kind="broken")
    till.payments.when_paid("broken", broken)
    facts = [till.bank.pay((await till.pay(debt)).out_trade_no) for debt in (good, bad)]

    outcomes = await asyncio.gather(
        *(till.payments.apply(fact) for fact in facts), return_exceptions=True
    )

    assert isinstance(outcomes[0], Applied)
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert (await till.debt(bad)).state is DebtState.UNPAID
    assert (await till.attempt(facts[1].out_trade_no)).is_live
    assert await till.violations() == []


def broken(*_: object) -> None:
    raise ZeroDivisionError


async def test_while_the_books_are_wrong_money_is_told_of_and_applied_afterwards(
    till: Till,
) -> None:
    debt = await till.owe()
    fact = till.bank.pay((await till.pay(debt)).out_trade_no)
    await till.db.write(raise_alert, BOOKS, "I1", "wrong")

    applied = await till.payments.apply(fact)
    assert await till.payments.settle_due() == "stopped"
    assert applied.outcome is Outcome.HELD
    assert (await till.debt(debt)).state is DebtState.UNPAID
    await till.db.write(clear_alert, BOOKS, "I1")
    await till.payments.settle_due()

    assert (await till.debt(debt)).state is DebtState.PAID


def a_fact(**changes: object) -> PaymentFact:
    given = {
        "out_trade_no": "n",
        "transaction_id": "4200009999",
        "amount_fen": 300,
        "currency": "CNY",
        "appid": APPID,
        "mch_id": MCH_ID,
        "openid": "o",
        "paid_at": 0,
        "source": "notify",
        **changes,
    }
    return PaymentFact(**given)  # type: ignore[arg-type]
