"""Paying: an attempt with a number of its own, written before WeChat is asked, one at a time."""

import asyncio
import re

import msgspec
import pytest

from payments.gateway import (
    AlreadyClosed,
    AlreadyPaid,
    NumberUsed,
    PlaceOrder,
    Queried,
    Reaction,
    RefundOrder,
    Refused,
    TradeState,
    TradeType,
    Unknown,
)
from payments.ledger.model import GATEWAY, SALES, balance_of
from payments.ledger.store import BOOKS
from payments.model import (
    Applied,
    AttemptState,
    DebtCancelled,
    DebtExpired,
    DebtNotFound,
    DebtPaid,
    DebtState,
    Outcome,
    PaymentPending,
    PaymentRefused,
    PaymentsStopped,
    PaymentsUnavailable,
    PaymentUnknown,
)
from payments.service import NoGateway
from sql.alerts import clear_alert, raise_alert
from sql.idempotency import KeyReused
from tests.payments.core.till import PAYER, Till


async def test_a_debt_is_paid_by_what_somebody_tells_of_it(till: Till) -> None:
    debt = await till.owe(300)
    request = await till.pay(debt)

    applied = await till.payments.apply(till.bank.pay(request.out_trade_no))

    assert applied == Applied(Outcome.PAID, request.out_trade_no, debt.id)
    assert (await till.debt(debt)).state is DebtState.PAID
    assert (await till.attempt(request.out_trade_no)).state is AttemptState.SUCCESS
    assert await till.notes() == [("delivered", str(debt.id), "300")]
    assert (await till.balance(GATEWAY), await till.balance(SALES)) == (-300, 300)
    assert [(e.stream, e.name) for e in till.events] == [(f"account:{PAYER}", "payment.succeeded")]
    assert msgspec.json.decode(till.events[0].data) == {
        "out_trade_no": request.out_trade_no,
        "amount_fen": 300,
    }
    assert await till.agrees()


async def test_a_debt_without_an_account_or_an_action_is_paid_and_nobody_is_told(
    till: Till,
) -> None:
    debt = await till.owe(kind="other", payer_id=0)
    number = (await till.pay(debt)).out_trade_no

    await till.payments.apply(till.bank.pay(number))

    assert (await till.debt(debt)).state is DebtState.PAID
    assert (await till.notes(), till.events) == ([], [])


async def test_money_goes_where_the_debt_says_it_belongs(till: Till) -> None:
    debt = await till.owe(500, account="user:balance")
    number = (await till.pay(debt)).out_trade_no

    await till.payments.apply(till.bank.pay(number))

    assert await till.balance(balance_of(PAYER)) == 500
    assert await till.agrees()


async def test_the_attempt_is_written_before_wechat_hears_of_it(till: Till) -> None:
    debt = await till.owe()

    async def look() -> None:
        (row,) = await till.rows("payment_attempts")
        assert (row["state"], row["live_debt"]) == ("created", debt.id)
        (placed,) = till.bank.orders.values()
        assert msgspec.json.decode(row["request"], type=PlaceOrder) == placed.placed

    till.bank.meanwhile["place"] = look

    number = (await till.pay(debt)).out_trade_no

    assert (await till.attempt(number)).state is AttemptState.SUBMITTED


async def test_a_number_is_32_characters_nobody_can_guess(till: Till) -> None:
    numbers = [(await till.pay(await till.owe())).out_trade_no for _ in range(3)]

    assert all(re.fullmatch(r"20261120[0-9a-f]{24}", number) for number in numbers)
    assert len({number[8:14] for number in numbers}) == 3


async def test_the_client_gets_a_code_or_what_wx_asks_for(till: Till) -> None:
    native = await till.pay(await till.owe(), trade_type="NATIVE", openid="whoever-scans")
    jsapi = await till.pay(await till.owe(), trade_type="JSAPI", openid="o1")

    assert native.code_url is not None
    assert native.wx_request_payment is None
    assert jsapi.code_url is None
    assert jsapi.wx_request_payment is not None
    placed = [order.placed for order in till.bank.orders.values()]
    assert [(o.trade_type, o.openid, bool(o.product_id)) for o in placed] == [
        (TradeType.NATIVE, "", True),
        (TradeType.JSAPI, "o1", False),
    ]


async def test_paying_again_in_the_same_way_is_the_same_attempt_with_a_fresh_signature(
    till: Till,
) -> None:
    debt = await till.owe()
    first = await till.pay(debt, trade_type="JSAPI", openid="o1")
    till.clock.advance(minutes=119)

    again = await till.pay(debt, trade_type="JSAPI", openid="o1", client_ip="10.9.9.9")

    assert again.out_trade_no == first.out_trade_no
    assert again.wx_request_payment is not None
    assert first.wx_request_payment is not None
    assert again.wx_request_payment["package"] == first.wx_request_payment["package"]
    assert again.wx_request_payment["nonceStr"] != first.wx_request_payment["nonceStr"]
    assert till.bank.calls["place"] == 1


async def test_a_prepay_of_two_hours_is_closed_and_followed_by_another(till: Till) -> None:
    debt = await till.owe()
    first = await till.pay(debt)
    till.clock.advance(hours=2)

    second = await till.pay(debt)

    assert second.out_trade_no != first.out_trade_no
    assert (await till.attempt(first.out_trade_no)).state is AttemptState.CLOSED
    assert till.bank.orders[first.out_trade_no].state is TradeState.CLOSED


async def test_another_way_of_paying_waits_until_the_first_can_be_closed(till: Till) -> None:
    debt = await till.owe()
    first = await till.pay(debt, trade_type="JSAPI", openid="o1")

    with pytest.raises(PaymentPending) as refused:
        await till.pay(debt, trade_type="NATIVE")
    till.clock.advance(minutes=5)
    second = await till.pay(debt, trade_type="NATIVE")

    assert refused.value.retry_at == till.clock.now()
    assert refused.value.out_trade_no == first.out_trade_no
    assert (await till.attempt(first.out_trade_no)).state is AttemptState.CLOSED
    assert (await till.attempt(second.out_trade_no)).is_live


async def test_the_first_was_paid_when_the_second_was_to_be(till: Till) -> None:
    debt = await till.owe()
    first = await till.pay(debt, trade_type="JSAPI", openid="o1")
    till.bank.pay(first.out_trade_no)

    with pytest.raises(DebtPaid):
        await till.pay(debt)

    assert (await till.debt(debt)).state is DebtState.PAID
    assert len(await till.notes()) == 1


async def test_the_first_is_paid_between_the_question_and_the_closing(till: Till) -> None:
    debt = await till.owe()
    first = await till.pay(debt, trade_type="JSAPI", openid="o1")
    till.clock.advance(minutes=6)
    till.bank.says["query"] = Queried(TradeState.NOT_PAID)

    async def pay() -> None:
        till.bank.pay(first.out_trade_no)
        till.bank.meanwhile["query"] = stop_saying

    async def stop_saying() -> None:
        till.bank.says.clear()

    till.bank.meanwhile["query"] = pay

    with pytest.raises(DebtPaid):
        await till.pay(debt)

    assert (await till.debt(debt)).state is DebtState.PAID


async def test_the_first_was_closed_at_wechat_meanwhile(till: Till) -> None:
    debt = await till.owe()
    first = await till.pay(debt, trade_type="JSAPI", openid="o1")
    till.bank.orders[first.out_trade_no].state = TradeState.CLOSED

    second = await till.pay(debt)

    assert second.out_trade_no != first.out_trade_no


async def test_nobody_knows_whether_the_first_can_be_closed(till: Till) -> None:
    debt = await till.owe()
    first = await till.pay(debt, trade_type="JSAPI", openid="o1")
    till.clock.advance(minutes=6)
    till.bank.before["close"] = [Unknown("no answer")]

    with pytest.raises(PaymentUnknown):
        await till.pay(debt)

    assert (await till.attempt(first.out_trade_no)).is_live


# No clear answer


async def test_an_answer_that_is_lost_leaves_the_attempt_open_and_a_repeat_goes_on_with_it(
    till: Till,
) -> None:
    debt = await till.owe()
    till.bank.after["place"] = [Unknown("lost")]

    with pytest.raises(PaymentUnknown) as unknown:
        await till.pay(debt, key="k")
    again = await till.pay(debt, key="k")

    assert again.out_trade_no == unknown.value.out_trade_no
    assert (await till.attempt(again.out_trade_no)).state is AttemptState.SUBMITTED
    assert len(till.bank.orders) == 1


async def test_a_call_that_never_arrived_is_repeated_with_the_very_same_words(till: Till) -> None:
    debt = await till.owe()
    till.bank.before["place"] = [Unknown("no connection")]
    with pytest.raises(PaymentUnknown) as unknown:
        await till.pay(debt)
    till.clock.advance(minutes=1)

    again = await till.pay(debt)

    assert again.out_trade_no == unknown.value.out_trade_no
    (row,) = await till.rows("payment_attempts")
    assert msgspec.json.decode(row["request"], type=PlaceOrder) == (
        till.bank.orders[again.out_trade_no].placed
    )


async def test_it_was_paid_though_the_answer_was_lost(till: Till) -> None:
    debt = await till.owe()
    till.bank.after["place"] = [Unknown("lost")]
    with pytest.raises(PaymentUnknown) as unknown:
        await till.pay(debt)
    till.bank.pay(unknown.value.out_trade_no)

    with pytest.raises(DebtPaid):
        await till.pay(debt)

    assert (await till.debt(debt)).state is DebtState.PAID


async def test_it_was_closed_though_the_answer_was_lost(till: Till) -> None:
    debt = await till.owe()
    till.bank.after["place"] = [Unknown("lost")]
    with pytest.raises(PaymentUnknown) as unknown:
        await till.pay(debt)
    till.bank.orders[unknown.value.out_trade_no].state = TradeState.CLOSED

    again = await till.pay(debt)

    assert again.out_trade_no != unknown.value.out_trade_no


@pytest.mark.parametrize("reaction", [Reaction.RETRY, Reaction.REPEAT_ORDER])
async def test_a_busy_wechat_is_no_failure(till: Till, reaction: Reaction) -> None:
    debt = await till.owe()
    till.bank.before["place"] = [Refused("BUSY", "later", reaction)]

    with pytest.raises(PaymentUnknown) as unknown:
        await till.pay(debt)

    assert (await till.attempt(unknown.value.out_trade_no)).is_live


async def test_the_notice_is_faster_than_the_answer(till: Till) -> None:
    debt = await till.owe()

    async def notify() -> None:
        (number,) = till.bank.orders
        await till.payments.apply(till.bank.pay(number))

    till.bank.meanwhile["place"] = notify

    with pytest.raises(DebtPaid):
        await till.pay(debt)

    assert len(await till.notes()) == 1
    assert await till.agrees()


async def test_it_is_cancelled_while_wechat_is_asked(till: Till) -> None:
    debt = await till.owe()

    async def close() -> None:
        (row,) = await till.rows("payment_attempts")
        attempt = await till.attempt(row["out_trade_no"])
        await till.payments.cancel(debt.id)
        await till.payments._asking.end(attempt, AttemptState.CLOSED)

    till.bank.meanwhile["place"] = close

    with pytest.raises(DebtCancelled):
        await till.pay(debt)


# A clear no


async def test_a_user_without_money_is_told_and_may_try_again(till: Till) -> None:
    debt = await till.owe()
    till.bank.before["place"] = [Refused("NOTENOUGH", "余额不足", Reaction.TELL_USER)]

    with pytest.raises(PaymentRefused) as refused:
        await till.pay(debt, key="k")
    again = await till.pay(debt, key="k")

    assert (refused.value.err_code, refused.value.reaction) == ("NOTENOUGH", Reaction.TELL_USER)
    failed, live = await till.rows("payment_attempts")
    assert (failed["state"], failed["failure"]) == ("failed", "NOTENOUGH: 余额不足")
    assert live["out_trade_no"] == again.out_trade_no
    assert await till.alerts() == []


async def test_a_wrong_set_up_stops_paying_and_is_for_a_person(till: Till) -> None:
    debt = await till.owe()
    till.bank.before["place"] = [Refused("NOAUTH", "no rights", Reaction.STOP)]

    with pytest.raises(PaymentsUnavailable):
        await till.pay(debt)

    assert await till.kinds() == ["payments.setup"]


@pytest.mark.parametrize("reaction", [Reaction.BUG, Reaction.MANUAL])
async def test_a_mistake_of_ours_is_for_a_person(till: Till, reaction: Reaction) -> None:
    debt = await till.owe()
    till.bank.before["place"] = [Refused("PARAM_ERROR", "body", reaction)]

    with pytest.raises(PaymentRefused):
        await till.pay(debt)

    assert await till.kinds() == ["payments.setup"]


async def test_an_order_wechat_has_stays_open_whatever_it_says_to_a_repeat(till: Till) -> None:
    debt = await till.owe()
    till.bank.after["place"] = [Unknown("lost")]
    with pytest.raises(PaymentUnknown) as unknown:
        await till.pay(debt)
    till.bank.before["place"] = [
        Refused("FREQUENCY_LIMITED", "slow", Reaction.WAIT),
        Refused("NEW", "", Reaction.NEW_NUMBER),
    ]

    for _ in range(2):
        with pytest.raises(PaymentRefused):
            await till.pay(debt)

    assert (await till.attempt(unknown.value.out_trade_no)).is_live


async def test_a_number_that_is_no_good_is_followed_by_another(till: Till) -> None:
    debt = await till.owe()
    till.bank.before["place"] = [Refused("X", "new", Reaction.NEW_NUMBER), AlreadyClosed("closed")]

    request = await till.pay(debt)

    states = [row["state"] for row in await till.rows("payment_attempts")]
    assert states == ["failed", "closed", "submitted"]
    assert list(till.bank.orders) == [request.out_trade_no]


async def test_a_number_used_with_other_data_is_closed_first(till: Till) -> None:
    debt = await till.owe()
    till.bank.before["place"] = [Unknown("no connection"), NumberUsed("201"), NumberUsed("201")]
    with pytest.raises(PaymentUnknown):
        await till.pay(debt)

    with pytest.raises(PaymentPending):
        await till.pay(debt)
    till.clock.advance(minutes=6)
    request = await till.pay(debt)

    closed, live = await till.rows("payment_attempts")
    assert closed["state"] == "closed"
    assert live["out_trade_no"] == request.out_trade_no


async def test_after_three_numbers_that_are_no_good_nobody_knows(till: Till) -> None:
    debt = await till.owe()
    till.bank.before["place"] = [AlreadyClosed("closed")] * 3

    with pytest.raises(PaymentUnknown):
        await till.pay(debt)

    assert till.bank.calls["place"] == 3


async def test_paid_already_says_wechat_and_says_what_when_it_is_asked(till: Till) -> None:
    debt = await till.owe()

    async def pay() -> None:
        (number,) = till.bank.orders
        till.bank.pay(number)

    till.bank.meanwhile["place"] = pay
    till.bank.after["place"] = [AlreadyPaid("paid")]

    with pytest.raises(DebtPaid):
        await till.pay(debt)

    assert (await till.debt(debt)).state is DebtState.PAID


@pytest.mark.parametrize("trouble", [[], [Unknown("no answer")]])
async def test_paid_already_says_wechat_and_does_not_say_so_again(
    till: Till, trouble: list[BaseException]
) -> None:
    debt = await till.owe()
    till.bank.before = {"place": [AlreadyPaid("paid")], "query": trouble}

    with pytest.raises(PaymentUnknown):
        await till.pay(debt)

    assert (await till.debt(debt)).state is DebtState.UNPAID


# What cannot be paid


async def test_what_is_not_owed_any_more_cannot_be_paid(till: Till) -> None:
    paid, _ = await till.paid()
    cancelled = await till.owe()
    await till.payments.cancel(cancelled.id)
    late = await till.owe(expires_at=till.clock.now() + 59_000)

    with pytest.raises(DebtPaid):
        await till.pay(paid)
    with pytest.raises(DebtCancelled):
        await till.pay(cancelled)
    with pytest.raises(DebtExpired):
        await till.pay(late)
    with pytest.raises(DebtNotFound):
        await till.payments.pay(99, trade_type="NATIVE", openid="", client_ip="", key="")


async def test_an_order_at_wechat_ends_with_the_debt(till: Till) -> None:
    ends_at = till.clock.now() + 600_000
    debt = await till.owe(expires_at=ends_at)

    request = await till.pay(debt)

    assert till.bank.orders[request.out_trade_no].placed.expires_at == ends_at


async def test_while_the_books_are_wrong_nobody_can_begin_to_pay(till: Till) -> None:
    debt = await till.owe()
    await till.db.write(raise_alert, BOOKS, "I1", "wrong")

    with pytest.raises(PaymentsStopped):
        await till.pay(debt)
    await till.db.write(clear_alert, BOOKS, "I1")
    await till.pay(debt)

    assert len(await till.rows("payment_attempts")) == 1


async def test_without_wechat_nothing_can_be_paid_and_everything_says_why(till: Till) -> None:
    debt = await till.owe()
    nobody = NoGateway()
    till.gateway = nobody
    till.start()

    with pytest.raises(PaymentsUnavailable):
        await till.pay(debt)

    assert await till.rows("payment_attempts") == []
    order = PlaceOrder(
        out_trade_no="n",
        amount_fen=1,
        description="d",
        trade_type=TradeType.NATIVE,
        client_ip="",
        starts_at=0,
        expires_at=0,
    )
    back = RefundOrder(
        out_trade_no="n",
        transaction_id="t",
        out_refund_no="r",
        total_fen=1,
        refund_fen=1,
        reason="",
    )
    for call in (
        nobody.place(order),
        nobody.refund(back),
        nobody.query("n"),
        nobody.close("n"),
        nobody.query_refund("r"),
        nobody.bill(20261120),
    ):
        with pytest.raises(Refused, match="not configured") as refused:
            await call
        assert refused.value.reaction is Reaction.STOP
    with pytest.raises(Refused, match="not configured"):
        nobody.request_payment("p", now=0)


# The client's key


async def test_fifty_at_once_with_one_key_have_one_effect_and_one_answer(till: Till) -> None:
    debt = await till.owe()

    answers = await asyncio.gather(
        *(till.pay(debt, trade_type="JSAPI", openid="o1", key="k") for _ in range(50))
    )

    assert all(answer == answers[0] for answer in answers)
    assert (len(await till.rows("payment_attempts")), till.bank.calls["place"]) == (1, 1)


async def test_fifty_at_once_without_a_key_share_one_attempt(till: Till) -> None:
    debt = await till.owe()

    answers = await asyncio.gather(*(till.pay(debt) for _ in range(50)))

    assert len({answer.out_trade_no for answer in answers}) == 1
    assert len(till.bank.orders) == 1


async def test_a_key_is_good_for_one_request(till: Till) -> None:
    debt, other = await till.owe(), await till.owe()
    await till.pay(debt, key="k")

    with pytest.raises(KeyReused):
        await till.pay(other, key="k")
    with pytest.raises(KeyReused):
        await till.pay(debt, key="k", openid="another")

    assert len(await till.rows("payment_attempts")) == 1


async def test_a_key_gets_its_first_answer_even_after_the_debt_is_paid(till: Till) -> None:
    debt = await till.owe()
    first = await till.pay(debt, key="k")
    await till.payments.apply(till.bank.pay(first.out_trade_no))

    assert await till.pay(debt, key="k") == first


@pytest.mark.mariadb
async def test_two_processes_at_once_give_one_attempt_and_one_answer(
    two_tills: tuple[Till, Till],
) -> None:
    one, other = two_tills
    debt = await one.owe()

    answers = await asyncio.gather(
        *(till.pay(debt, key="k") for till in (one, other) for _ in range(25))
    )

    assert all(answer == answers[0] for answer in answers)
    assert len(await one.rows("payment_attempts")) == 1
    assert len(one.bank.orders) == 1
