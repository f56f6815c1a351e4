"""A row that was changed by hand, or by a mistake, is found; a history of everything is not."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from payments.checks.store import CHECKS
from payments.gateway import RefundState
from payments.ledger.model import GATEWAY, SALES, Asset, Line
from payments.ledger.store import post
from payments.model import PaymentsStopped
from payments.store import load_debt
from sql.database import Tx
from tests.payments.core.till import CHIEF, Till, execute


async def a_history(till: Till) -> None:
    """Something of everything: paid, cancelled, late, refunded, failed, withdrawn, waiting."""
    till.limit_fen = 250
    till.start()
    _, first = await till.paid(300)
    await till.refund(first, 100)
    _, second = await till.paid(400)
    await till.refund(second, 400)
    cancelled = await till.owe()
    number = (await till.pay(cancelled)).out_trade_no
    till.clock.advance(minutes=6)
    await till.payments.cancel(cancelled.id)
    await till.payments.apply(till.bank.pay(number))
    await till.settle(times=3)
    await fail(till, RefundState.ABNORMAL)
    third, refund_no = await fail(till, RefundState.CLOSED)
    await till.payments.withdraw_refund(refund_no, by=CHIEF, reason="closed")
    rejected = await till.refund(third, 260)
    await till.payments.reject_refund(rejected.out_refund_no, by=CHIEF, reason="no")
    await till.paid(500, account="user:balance")
    await till.pay(await till.owe())


async def fail(till: Till, state: RefundState) -> tuple[str, str]:
    """A payment's number, and that of its refund that came to this end."""
    _, number = await till.paid(300)
    refund = await till.refund(number, 150)
    await till.payments.settle_due()
    till.bank.send_back(state)
    till.clock.advance(minutes=1)
    await till.payments.settle_due()
    return number, refund.out_refund_no


async def test_a_history_of_everything_holds_all_promises(till: Till) -> None:
    await a_history(till)

    assert await till.violations() == []


BROKEN = {
    "a debt marked paid by hand": ("UPDATE debts SET state = 'paid' WHERE id = 7", {"I8", "I13"}),
    "a paid debt marked unpaid": ("UPDATE debts SET state = 'unpaid' WHERE id = 6", {"I8", "I13"}),
    "another price than was paid": (
        "UPDATE debts SET amount_fen = 301 WHERE id = 1",
        {"I8", "I13"},
    ),
    "a debt that is gone": ("DELETE FROM debts WHERE id = 6", {"I8"}),
    "a receipt that is gone": ("DELETE FROM receipts WHERE debt_id = 6", {"I13"}),
    "a receipt of another debt": ("UPDATE receipts SET debt_id = 7 WHERE debt_id = 6", {"I13"}),
    "money in suspense that was nobody's": (
        "UPDATE receipts SET debt_id = NULL WHERE debt_id = 6",
        {"I11", "I13", "I14"},
    ),
    "suspense nobody explained": (
        "DELETE FROM incidents WHERE kind = 'payment.late'",
        {"I13"},
    ),
    "late money marked as a debt's": (
        "UPDATE receipts SET debt_id = 3 WHERE debt_id IS NULL",
        {"I11", "I13", "I14"},
    ),
    "an attempt marked as paid": (
        "UPDATE payment_attempts SET state = 'success', live_debt = NULL WHERE live_debt = 7",
        {"I13"},
    ),
    "a paid attempt marked as closed": (
        "UPDATE payment_attempts SET state = 'closed' WHERE debt_id = 6",
        {"I13"},
    ),
    "a live attempt that claims nothing": (
        "UPDATE payment_attempts SET live_debt = NULL WHERE live_debt = 7",
        {"I13"},
    ),
    "an ended attempt that claims a debt": (
        "UPDATE payment_attempts SET live_debt = 6 WHERE debt_id = 6",
        {"I13"},
    ),
    "a refund marked as arrived": (
        "UPDATE refunds SET status = 'success' WHERE status = 'failed'",
        {"I9", "I11", "I12"},
    ),
    "a refund marked as on its way": (
        "UPDATE refunds SET status = 'requested', next_at = NULL WHERE status = 'success'",
        {"I9", "I11", "I12", "I29"},
    ),
    "a refund marked as waiting": (
        "UPDATE refunds SET status = 'waiting' WHERE status = 'failed'",
        {"I11", "I12"},
    ),
    "a rejected refund marked as failed": (
        "UPDATE refunds SET status = 'failed' WHERE failure = 'rejected'",
        {"I11", "I12"},
    ),
    "a failed refund marked as withdrawn": (
        "UPDATE refunds SET status = 'withdrawn' WHERE status = 'failed'",
        {"I11", "I12"},
    ),
    "money promised to nobody": (
        "UPDATE receipts SET reserved_fen = 1 WHERE debt_id = 6",
        {"I12"},
    ),
    "a debt with more back than went": (
        "UPDATE debts SET refunded_fen = 1 WHERE id = 6",
        {"I9"},
    ),
    "a debt refunded in part that says all": (
        "UPDATE debts SET state = 'refunded' WHERE id = 1",
        {"I9"},
    ),
    "an attempt nobody asks about": (
        "UPDATE payment_attempts SET next_at = 1 WHERE live_debt = 7",
        {"I29"},
    ),
    "a refund nobody asks about": (
        "UPDATE refunds SET status = 'requested', next_at = 1 WHERE status = 'failed'",
        {"I29"},
    ),
    "a debt that was to be cancelled": (
        "UPDATE debts SET state = 'unpaid', cancel_asked_at = 1 WHERE id = 3",
        {"I29"},
    ),
    "a debt whose time was over long ago": (
        "UPDATE debts SET state = 'unpaid', expires_at = 1 WHERE id = 3",
        {"I29"},
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_was_changed_by_hand_is_found_and_stops_money(
    till: Till, name: str, expect_log: object
) -> None:
    assert callable(expect_log)
    expect_log("the books are wrong")
    await a_history(till)
    statement, wanted = BROKEN[name]
    await till.db.write(execute, statement)

    found = await till.violations()

    assert {violation.invariant for violation in found} == wanted
    with pytest.raises(PaymentsStopped):
        await till.pay(await till.owe())


@pytest.mark.parametrize("biz_id", ["6x", "06", "6.0", "x", "99999999999999999999"])
async def test_a_journal_of_no_debt_is_found(
    till: Till, biz_id: str, expect_log: Callable[[str], None]
) -> None:
    expect_log("the books are wrong")
    await a_history(till)
    debt = await till.db.read(load_debt, 6)
    lines = [Line(GATEWAY, Asset.CNY, -debt.amount_fen), Line(SALES, Asset.CNY, debt.amount_fen)]
    await till.db.write(post, "debt", biz_id, "paid", lines)

    found = await till.violations()

    assert [violation.invariant for violation in found] == ["I8"]


async def test_looking_takes_twice_as_long_when_there_is_twice_as_much(till: Till) -> None:
    """And not four times: years of payments are looked through every hour."""

    async def pay(count: int) -> None:
        await asyncio.gather(*(till.paid() for _ in range(count)))

    await pay(40)
    before = [await till.db.read(effort, check) for check in CHECKS]
    await pay(120)
    after = [await till.db.read(effort, check) for check in CHECKS]

    for check, few, many in zip(CHECKS, before, after, strict=True):
        assert many <= 6 * few, f"{check.__name__}: {few} for 40, {many} for 160"


def effort(tx: Tx, check: Callable[[Tx], object]) -> int:
    """The steps of SQLite's machine, or the rows that MariaDB has read, and what any costs."""
    if tx.dialect == "mysql":
        before = rows_read(tx)
        check(tx)
        return 100 + rows_read(tx) - before
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    driver: Any = tx._connection.connection.driver_connection
    driver.set_progress_handler(step, 10)
    try:
        check(tx)
    finally:
        driver.set_progress_handler(None, 0)
    return 100 + steps


def rows_read(tx: Tx) -> int:
    status: Any = tx.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'"))
    return sum(int(row[1]) for row in status)
