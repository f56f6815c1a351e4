"""Sending back: reserved before WeChat is asked, one number to the end, booked when it is there."""

import asyncio

import msgspec
import pytest

from accounts.audit.model import By
from payments.gateway import (
    AlreadyClosed,
    Reaction,
    RefundState,
    Refused,
    Unknown,
)
from payments.ledger.model import (
    GATEWAY,
    REFUND_PENDING,
    SALES,
    SUSPENSE,
    Asset,
    Line,
    Overdrawn,
    balance_of,
)
from payments.ledger.store import BOOKS, post
from payments.model import (
    DebtState,
    PaymentNotFound,
    PaymentsStopped,
    PaymentUnknown,
    ReasonMissing,
    Refund,
    RefundNotFailed,
    RefundNotFound,
    RefundNotWaiting,
    RefundStatus,
    RefundTooMuch,
    SamePerson,
)
from payments.refunds import store as refund_store
from sql.alerts import raise_alert
from sql.database import Tx
from sql.idempotency import KeyReused
from tests.payments.core.test_core_apply import a_fact
from tests.payments.core.till import CHIEF, CLERK, PAYER, Till, execute


async def test_some_of_it_goes_back_and_then_the_rest(till: Till) -> None:
    debt, number = await till.paid(300)

    first = await till.refund(number, 100)
    assert (await till.balance(SALES), await till.balance(REFUND_PENDING)) == (200, 100)
    await till.settle(times=3)
    partly = await till.debt(debt)
    await till.refund(number, 200)
    await till.settle(times=3)

    assert (partly.state, partly.refunded_fen) == (DebtState.PARTLY_REFUNDED, 100)
    assert (await till.debt(debt)).state is DebtState.REFUNDED
    assert (await till.balance(SALES), await till.balance(GATEWAY)) == (0, 0)
    notes = [(what, fen) for what, _, fen in await till.notes()]
    assert notes == [("delivered", "300"), ("taken back", "100"), ("taken back", "200")]
    told = [event.name for event in till.events if event.stream == f"account:{PAYER}"]
    assert told == ["payment.succeeded", "payment.refunded", "payment.refunded"]
    order = till.bank.refunds[first.out_refund_no].order
    assert (order.total_fen, order.refund_fen, order.reason) == (300, 100, "坏了")
    assert await till.agrees()


async def test_accepted_is_not_refunded(till: Till) -> None:
    _, number = await till.paid()
    refund = await till.refund(number)

    await till.payments.settle_due()

    found = await till.payments.get_refund(refund.out_refund_no)
    assert (found.status, found.accepted_at) == (RefundStatus.REQUESTED, till.clock.now())
    assert [what for what, *_ in await till.notes()] == ["delivered"]


async def test_a_kind_without_an_action_and_a_payer_is_refunded_all_the_same(till: Till) -> None:
    debt, number = await till.paid(kind="other", payer_id=0)
    await till.refund(number)

    await till.settle(times=3)

    assert (await till.debt(debt)).refunded_fen == 100
    assert till.events == []


# How much


async def test_never_more_than_was_paid(till: Till) -> None:
    _, number = await till.paid(300)
    await till.refund(number, 200)

    with pytest.raises(RefundTooMuch):
        await till.refund(number, 101)
    await till.refund(number, 100)

    assert await till.violations() == []


async def test_fifty_at_once_send_back_no_more_than_was_paid(till: Till) -> None:
    _, number = await till.paid(300)

    outcomes = await asyncio.gather(
        *(till.refund(number, 100, key=f"k{n}") for n in range(50)), return_exceptions=True
    )
    await till.settle(times=3)

    assert sum(isinstance(outcome, RefundTooMuch) for outcome in outcomes) == 47
    assert till.bank.money == 0
    assert await till.agrees()


@pytest.mark.mariadb
async def test_two_processes_at_once_send_back_no_more_than_was_paid(
    two_tills: tuple[Till, Till],
) -> None:
    one, other = two_tills
    _, number = await one.paid(300)

    outcomes = await asyncio.gather(
        *(till.refund(number, 100) for _ in range(25) for till in (one, other)),
        return_exceptions=True,
    )
    await asyncio.gather(*(till.payments.settle_due() for till in (one, other)))
    await one.settle(times=3)

    assert sum(isinstance(outcome, RefundTooMuch) for outcome in outcomes) == 47
    assert one.bank.money == 0
    assert await one.agrees()


async def test_what_is_spent_from_a_balance_does_not_go_back(till: Till) -> None:
    _, number = await till.paid(300, account="user:balance")
    await till.refund(number, 300, refund_key="all")
    await till.settle(times=3)
    _, other = await till.paid(300, account="user:balance", payer_id=8)
    await till.db.write(spend, 8)

    with pytest.raises(Overdrawn):
        await till.refund(other, 300)

    assert await till.violations() == []


def spend(tx: Tx, user: int) -> None:
    lines = [Line(balance_of(user), Asset.CNY, -200), Line(SALES, Asset.CNY, 200)]
    post(tx, "test", "1", "spend", lines)


# Keys and reasons


async def test_fifty_at_once_with_one_key_are_one_refund(till: Till) -> None:
    _, number = await till.paid(300)

    answers = await asyncio.gather(*(till.refund(number, 100, key="k") for _ in range(50)))

    assert all(answer == answers[0] for answer in answers)
    with pytest.raises(KeyReused):
        await till.refund(number, 101, key="k")
    assert len(await till.rows("refunds")) == 1


async def test_what_is_sent_back_for_one_purpose_is_sent_once_whoever_asks(till: Till) -> None:
    _, number = await till.paid(300)
    first = await till.refund(number, 100, refund_key="order:5", by=CLERK)

    again = await till.refund(number, 100, refund_key="order:5", by=CHIEF)
    with pytest.raises(KeyReused):
        await till.refund(number, 99, refund_key="order:5")

    assert again == first


async def test_a_refund_needs_a_reason_and_a_payment(till: Till) -> None:
    _, number = await till.paid()
    unpaid = (await till.pay(await till.owe())).out_trade_no

    with pytest.raises(ReasonMissing):
        await till.refund(number, reason="  ")
    for missing in (unpaid, "nothing"):
        with pytest.raises(PaymentNotFound):
            await till.refund(missing)
    with pytest.raises(RefundNotFound):
        await till.payments.get_refund("nothing")

    assert await till.rows("refunds") == []


async def test_while_the_books_are_wrong_nothing_goes_back(till: Till) -> None:
    _, number = await till.paid(300)
    till.limit_fen = 0
    till.start()
    waiting = await till.refund(number)
    await till.db.write(raise_alert, BOOKS, "I1", "wrong")

    with pytest.raises(PaymentsStopped):
        await till.refund(number)
    with pytest.raises(PaymentsStopped):
        await till.payments.approve_refund(waiting.out_refund_no, by=CHIEF, reason="ok")
    with pytest.raises(PaymentsStopped):
        await till.payments.retry_refund(waiting.out_refund_no, by=CHIEF, reason="ok")

    assert await till.payments.settle_due() == "stopped"


async def test_a_person_sends_back_what_came_for_no_order_of_ours(till: Till) -> None:
    fact = a_fact(out_trade_no="old-number", amount_fen=77)
    await till.payments.apply(fact)
    assert await till.violations() == []

    await till.refund("old-number", 77)

    assert (await till.balance(SUSPENSE), await till.balance(REFUND_PENDING)) == (0, 77)
    assert await till.violations() == []


# Two persons


@pytest.fixture
def strict(till: Till) -> Till:
    till.limit_fen = 200
    till.start()
    return till


async def test_above_the_limit_a_second_person_approves(strict: Till) -> None:
    debt, number = await strict.paid(300)
    refund = await strict.refund(number, 201)
    no = refund.out_refund_no
    await strict.payments.settle_due()

    assert refund.status is RefundStatus.WAITING
    assert strict.bank.refunds == {}
    assert await strict.balance(REFUND_PENDING) == 0
    with pytest.raises(SamePerson):
        await strict.payments.approve_refund(no, by=CLERK, reason="mine")
    approved = await strict.payments.approve_refund(no, by=CHIEF, reason="seen")
    with pytest.raises(RefundNotWaiting):
        await strict.payments.approve_refund(no, by=CHIEF, reason="again")
    with pytest.raises(RefundNotWaiting):
        await strict.payments.reject_refund(no, by=CHIEF, reason="no")
    await strict.settle(times=3)

    assert approved.status is RefundStatus.REQUESTED
    assert (await strict.debt(debt)).refunded_fen == 201
    (decision,) = await strict.rows("refund_approvals")
    assert (decision["account_id"], decision["verdict"], decision["reason"]) == (
        CHIEF.account_id,
        "approved",
        "seen",
    )
    assert await strict.agrees()


async def test_many_small_ones_are_a_large_one(strict: Till) -> None:
    _, number = await strict.paid(300)

    states = [(await strict.refund(number, 100)).status for _ in range(3)]

    assert states == [RefundStatus.REQUESTED, RefundStatus.REQUESTED, RefundStatus.WAITING]


@pytest.mark.parametrize("by", [CLERK, CHIEF])
async def test_one_that_is_rejected_gives_its_money_free(strict: Till, by: By) -> None:
    _, number = await strict.paid(300)
    refund = await strict.refund(number, 300)
    with pytest.raises(RefundTooMuch):
        await strict.refund(number, 1)

    rejected = await strict.payments.reject_refund(refund.out_refund_no, by=by, reason="no")
    await strict.refund(number, 100)
    await strict.settle(times=3)

    assert rejected.status is RefundStatus.WITHDRAWN
    assert strict.bank.money == 200
    assert await strict.agrees()


async def test_fifty_approvals_at_once_are_one(strict: Till) -> None:
    _, number = await strict.paid(300)
    refund = await strict.refund(number, 300)

    outcomes = await asyncio.gather(
        *(
            strict.payments.approve_refund(refund.out_refund_no, by=CHIEF, reason="ok")
            for _ in range(50)
        ),
        return_exceptions=True,
    )
    await strict.settle(times=3)

    assert sum(isinstance(outcome, RefundNotWaiting) for outcome in outcomes) == 49
    assert len(strict.bank.refunds) == 1
    assert await strict.agrees()


# What WeChat answers


@pytest.mark.parametrize(
    "trouble",
    [
        Unknown("no answer"),
        Refused("BIZERR_NEED_RETRY", "again", Reaction.RETRY),
        Refused("NOTENOUGH", "no money", Reaction.WAIT),
        Refused("NOAUTH", "no certificate", Reaction.STOP),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_may_pass_is_asked_again_with_the_same_number(
    till: Till, trouble: Exception, when: str
) -> None:
    _, number = await till.paid()
    refund = await till.refund(number)
    getattr(till.bank, when)["refund"] = [trouble]

    await till.payments.settle_due()
    left = await till.payments.get_refund(refund.out_refund_no)
    alerts = await till.kinds()
    await till.settle(times=4)

    assert left.status is RefundStatus.REQUESTED
    is_for_a_person = isinstance(trouble, Refused) and trouble.reaction is not Reaction.RETRY
    assert alerts == (["refund.manual"] if is_for_a_person else [])
    assert list(till.bank.refunds) == [refund.out_refund_no]
    # It is over when the money is there.
    assert await till.alerts() == []
    assert await till.agrees()


@pytest.mark.parametrize(
    "refusal",
    [
        Refused("TRADE_OVERDUE", "a year", Reaction.MANUAL),
        Refused("PARAM_ERROR", "reason", Reaction.BUG),
        Refused("ORDERNOTEXIST", "no order", Reaction.REPEAT_ORDER),
        AlreadyClosed("closed"),
    ],
)
async def test_a_final_no_is_for_a_person_and_is_not_asked_again(
    till: Till, refusal: Exception
) -> None:
    _, number = await till.paid()
    refund = await till.refund(number)
    till.bank.before["refund"] = [refusal]

    await till.settle(times=4)

    failed = await till.payments.get_refund(refund.out_refund_no)
    assert failed.status is RefundStatus.FAILED
    assert failed.failure
    assert till.bank.calls["refund"] == 1
    assert await till.kinds() == ["refund.manual"]
    assert await till.violations() == []


@pytest.mark.parametrize("state", [RefundState.CLOSED, RefundState.ABNORMAL])
async def test_one_that_cannot_arrive_is_for_a_person(till: Till, state: RefundState) -> None:
    debt, number = await till.paid()
    refund = await till.refund(number)
    await till.payments.settle_due()
    till.bank.send_back(state)
    till.clock.advance(minutes=1)

    await till.payments.settle_due()

    failed = await till.payments.get_refund(refund.out_refund_no)
    assert (failed.status, failed.failure) == (RefundStatus.FAILED, f"WeChat says {state}")
    assert (await till.debt(debt)).state is DebtState.PAID
    assert await till.balance(REFUND_PENDING) == 100
    # What is reserved for it cannot go back twice.
    with pytest.raises(RefundTooMuch):
        await till.refund(number, 201)
    assert await till.violations() == []


async def failed(till: Till, state: RefundState) -> tuple[str, str]:
    """A payment's number, and that of its refund that has failed."""
    _, number = await till.paid()
    refund = await till.refund(number)
    await till.payments.settle_due()
    till.bank.send_back(state)
    till.clock.advance(minutes=1)
    await till.payments.settle_due()
    return number, refund.out_refund_no


async def test_a_person_has_it_tried_again_with_the_same_number(till: Till) -> None:
    _, no = await failed(till, RefundState.ABNORMAL)
    till.bank.refunds[no].state = RefundState.PROCESSING

    retried = await till.payments.retry_refund(no, by=CHIEF, reason="account fixed")
    with pytest.raises(RefundNotFailed):
        await till.payments.retry_refund(no, by=CHIEF, reason="again")
    await till.settle(times=3)

    assert retried.status is RefundStatus.REQUESTED
    assert (await till.payments.get_refund(no)).status is RefundStatus.SUCCESS
    assert list(till.bank.refunds) == [no]
    assert await till.alerts() == []
    assert await till.agrees()


async def test_one_sent_on_at_wechat_is_seen_when_it_is_asked_about(till: Till) -> None:
    _, no = await failed(till, RefundState.ABNORMAL)
    still = await till.payments.refresh_refund(no)
    till.bank.refunds[no].state = RefundState.SUCCESS

    found = await till.payments.refresh_refund(no)
    again = await till.payments.refresh_refund(no)

    assert still.status is RefundStatus.FAILED
    assert found.status is again.status is RefundStatus.SUCCESS
    assert await till.agrees()


async def test_one_that_will_never_be_paid_is_given_up_and_its_money_is_free(till: Till) -> None:
    number, no = await failed(till, RefundState.CLOSED)

    withdrawn = await till.payments.withdraw_refund(no, by=CHIEF, reason="closed")
    with pytest.raises(RefundNotFailed):
        await till.payments.withdraw_refund(no, by=CHIEF, reason="again")

    assert withdrawn.status is RefundStatus.WITHDRAWN
    assert (await till.balance(REFUND_PENDING), await till.balance(SALES)) == (0, 300)
    await till.refund(number, 300)
    await till.settle(times=3)
    assert till.bank.money == 0
    assert await till.agrees()


async def test_one_that_may_still_be_paid_is_not_given_up(till: Till) -> None:
    _, no = await failed(till, RefundState.ABNORMAL)

    with pytest.raises(RefundNotFailed):
        await till.payments.withdraw_refund(no, by=CHIEF, reason="hope")
    till.bank.before["query_refund"] = [Unknown("no answer")]
    with pytest.raises(PaymentUnknown):
        await till.payments.withdraw_refund(no, by=CHIEF, reason="hope")

    assert (await till.payments.get_refund(no)).status is RefundStatus.FAILED


async def test_one_that_comes_after_it_was_given_up_is_for_a_person(till: Till) -> None:
    _, no = await failed(till, RefundState.CLOSED)
    await till.payments.withdraw_refund(no, by=CHIEF, reason="closed")
    sent = await till.bank.query_refund(no)
    arrived = msgspec.structs.replace(sent, state=RefundState.SUCCESS)

    for _ in range(2):
        await till.db.write(refund_store.settle, no, arrived, till.payments._actions)

    assert await till.kinds() == ["refund.manual"]
    mismatches = [row for row in await till.rows("incidents") if row["kind"] == "refund.mismatch"]
    assert len(mismatches) == 1


async def test_one_that_arrives_twice_at_once_has_arrived_once(till: Till) -> None:
    debt, number = await till.paid()
    refund = await till.refund(number)
    await till.payments.settle_due()
    till.bank.send_back()

    await asyncio.gather(*(till.payments.refresh_refund(refund.out_refund_no) for _ in range(20)))

    assert (await till.debt(debt)).refunded_fen == 100
    assert [what for what, *_ in await till.notes()] == ["delivered", "taken back"]
    assert await till.agrees()


async def test_another_amount_than_was_asked_for_is_for_a_person(till: Till) -> None:
    debt, number = await till.paid()
    refund = await till.refund(number)
    await till.payments.settle_due()
    till.bank.send_back()
    till.bank.says["refund_fen"] = 99
    till.clock.advance(minutes=1)

    await till.payments.settle_due()

    assert (await till.payments.get_refund(refund.out_refund_no)).status is RefundStatus.FAILED
    assert (await till.debt(debt)).refunded_fen == 0
    assert await till.kinds() == ["refund.manual"]


async def test_one_that_wechat_took_and_does_not_know_is_asked_for_again(till: Till) -> None:
    _, number = await till.paid()
    refund = await till.refund(number)
    await till.payments.settle_due()
    till.bank.refunds.clear()
    till.clock.advance(minutes=1)

    await till.payments.settle_due()

    assert list(till.bank.refunds) == [refund.out_refund_no]


async def test_not_there_may_also_be_said_as_a_refusal(till: Till) -> None:
    _, number = await till.paid()
    refund = await till.refund(number)
    await till.payments.settle_due()
    till.bank.before["query_refund"] = [
        Refused("REFUNDNOTEXIST", "none", Reaction.RETRY),
        Refused("SIGNERROR", "key", Reaction.STOP),
    ]

    before = till.bank.calls["refund"]
    await till.payments.refresh_refund(refund.out_refund_no)
    asked_again = till.bank.calls["refund"] - before
    await till.payments.refresh_refund(refund.out_refund_no)

    assert asked_again == 1
    assert (await till.payments.get_refund(refund.out_refund_no)).status is RefundStatus.REQUESTED


async def test_asking_about_one_that_waits_says_what_is_known(strict: Till) -> None:
    _, number = await strict.paid()
    refund = await strict.refund(number, 300)

    assert await strict.payments.refresh_refund(refund.out_refund_no) == refund
    with pytest.raises(RefundNotFound):
        await strict.payments.refresh_refund("nothing")


async def test_nobody_knows_about_one_that_failed(till: Till) -> None:
    _, no = await failed(till, RefundState.ABNORMAL)
    till.bank.before["query_refund"] = [Unknown("no answer")]

    with pytest.raises(PaymentUnknown):
        await till.payments.refresh_refund(no)


async def test_after_a_month_of_waiting_it_is_for_a_person(till: Till) -> None:
    _, number = await till.paid()
    refund = await till.refund(number)
    await till.payments.settle_due()

    till.clock.advance(days=29)
    await till.payments.settle_due()
    waiting = await till.payments.get_refund(refund.out_refund_no)
    till.clock.advance(days=2)
    await till.payments.settle_due()

    assert waiting.status is RefundStatus.REQUESTED
    given_up = await till.payments.get_refund(refund.out_refund_no)
    assert (given_up.status, given_up.failure) == (
        RefundStatus.FAILED,
        "WeChat says processing",
    )


async def test_failing_twice_is_failing_once(till: Till) -> None:
    _, no = await failed(till, RefundState.CLOSED)

    again = await till.db.write(refund_store.fail, no, "another reason")

    assert again.failure == "WeChat says closed"


async def test_all_refunds_can_be_seen(strict: Till) -> None:
    _, number = await strict.paid(300)
    small = await strict.refund(number, 100)
    large = await strict.refund(number, 150)

    assert await strict.payments.refunds(number) == [small, large]
    assert await strict.payments.refunds_page(offset=0, most=1) == (2, [large])
    assert await strict.payments.refunds_page(offset=0, most=9, status="requested") == (1, [small])


async def test_a_row_that_changed_under_a_move_undoes_all_of_it(strict: Till) -> None:
    _, number = await strict.paid(300)
    refund = await strict.refund(number, 300)

    with pytest.raises(AssertionError, match="0 of 1"):
        await strict.db.write(move_stale, refund)

    assert (await strict.payments.get_refund(refund.out_refund_no)).status is RefundStatus.WAITING


def move_stale(tx: Tx, refund: Refund) -> None:
    execute(tx, "UPDATE refunds SET status = 'requested'")
    refund_store._move(tx, refund, RefundStatus.REQUESTED)
