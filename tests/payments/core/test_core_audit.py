"""Whoever decides about money has a line in the audit, in the very transaction."""

import msgspec
import pytest

from accounts.audit.model import Entry, Filter
from accounts.audit.store import page, verify
from payments.model import RefundNotFailed, RefundNotWaiting, RefundTooMuch, SamePerson
from payments.refunds import store as refund_store
from tests.payments.core.till import CHIEF, CLERK, Till

DAY = 20261120


async def lines(till: Till) -> list[Entry]:
    """Oldest first; the chain holds."""
    _, found = await till.db.read(page, Filter(), offset=0, most=100)
    assert await till.db.read(verify) is None
    return found[::-1]


def told(entry: Entry) -> tuple[str, int, dict[str, object], dict[str, object], str]:
    before, after = (msgspec.json.decode(text) for text in (entry.before, entry.after))
    return entry.action, entry.actor_id, before, after, entry.reason


async def test_each_decision_about_a_refund_is_a_line(till: Till) -> None:
    till.limit_fen = 200
    till.start()
    _, number = await till.paid(600)
    first = (await till.refund(number, 300)).out_refund_no
    second = (await till.refund(number, 300)).out_refund_no
    await till.payments.approve_refund(first, by=CHIEF, reason="seen")
    await till.payments.reject_refund(second, by=CLERK, reason="a slip")
    await till.db.write(refund_store.fail, first, "closed")
    await till.payments.retry_refund(first, by=CLERK, reason="card mended")
    await till.db.write(refund_store.fail, first, "closed")
    await till.payments.withdraw_refund(first, by=CHIEF, reason="paid in cash")

    found = await lines(till)

    asked = {"out_trade_no": number, "amount_fen": 300, "total_fen": 600, "status": "waiting"}
    waiting, requested = {"status": "waiting"}, {"status": "requested"}
    failed, withdrawn = {"status": "failed"}, {"status": "withdrawn"}
    clerk, chief = CLERK.account_id, CHIEF.account_id
    assert [told(entry) for entry in found] == [
        ("refund.ask", clerk, {}, asked, "坏了"),
        ("refund.ask", clerk, {}, asked, "坏了"),
        ("refund.approve", chief, waiting, requested, "seen"),
        ("refund.reject", clerk, waiting, withdrawn, "a slip"),
        ("refund.retry", clerk, failed, requested, "card mended"),
        ("refund.withdraw", chief, failed, withdrawn, "paid in cash"),
    ]
    assert [entry.subject for entry in found] == [
        f"refund:{no}" for no in (first, second, first, second, first, first)
    ]
    assert {entry.address for entry in found} == {"10.0.0.0/24"}


async def test_what_is_refused_or_repeated_leaves_no_line(till: Till) -> None:
    till.limit_fen = 200
    till.start()
    _, number = await till.paid(300)
    waiting = await till.refund(number, 250, key="k1", refund_key="order:5")
    before = await lines(till)

    assert await till.refund(number, 250, key="k1", refund_key="order:5") == waiting
    assert await till.refund(number, 250, key="k2", refund_key="order:5") == waiting
    with pytest.raises(RefundTooMuch):
        await till.refund(number, 100)
    no = waiting.out_refund_no
    with pytest.raises(SamePerson):
        await till.payments.approve_refund(no, by=CLERK, reason="mine")
    with pytest.raises(RefundNotFailed):
        await till.payments.retry_refund(no, by=CHIEF, reason="hope")
    with pytest.raises(RefundNotFailed):
        await till.payments.withdraw_refund(no, by=CHIEF, reason="hope")
    await till.payments.reject_refund(no, by=CHIEF, reason="no")
    with pytest.raises(RefundNotWaiting):
        await till.payments.reject_refund(no, by=CHIEF, reason="again")

    after = await lines(till)
    assert [entry.action for entry in before] == ["refund.ask"]
    assert [entry.action for entry in after] == ["refund.ask", "refund.reject"]


async def test_money_that_goes_back_by_itself_is_nobodys_decision(till: Till) -> None:
    debt, _ = await till.paid()
    late = await till.owe()
    number = (await till.pay(late)).out_trade_no
    till.clock.advance(minutes=6)
    await till.payments.cancel(late.id)

    await till.payments.apply(till.bank.pay(number))

    (refund,) = await till.rows("refunds")
    assert (refund["asked_by"], debt.is_settled) == (0, True)
    assert await lines(till) == []


async def test_an_explained_difference_is_a_line(till: Till) -> None:
    _, number = await till.paid()
    await till.payments.compare_bill(DAY)
    _, (difference,) = await till.payments.differences(offset=0, most=9)

    await till.payments.explain_difference(difference.id, by=CLERK, explanation="a test")

    (entry,) = await lines(till)
    assert number in till.bank.orders
    assert entry.subject == f"bill-difference:{difference.id}"
    assert told(entry) == (
        "bill.explain",
        CLERK.account_id,
        {"explanation": ""},
        {
            "day": DAY,
            "kind": difference.kind,
            "number": difference.number,
            "explanation": "a test",
        },
        "",
    )
