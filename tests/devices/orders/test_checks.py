"""The checker of orders finds what was changed behind its back, and nothing else."""

from collections.abc import AsyncIterator, Callable

import pytest

from devices.sessions.model import State
from sql.database import open_database
from tests.clock import Clock
from tests.devices.orders.shop import Shop


@pytest.fixture
async def wrong_shop(
    sqlite_url: str, clock: Clock, expect_log: Callable[[str], None]
) -> AsyncIterator[Shop]:
    """A shop that was right until the test has done something to it."""
    expect_log("the books are wrong")
    database = await open_database(sqlite_url, now=clock.now)
    shop = Shop(database, clock)
    await shop.furnish()
    await shop.grant(10_000)
    session = await shop.visit()
    await shop.told(session, {"cola": 2})
    await shop.told(session, {"cola": 1}, 2)
    await shop.told(session, {"cola": 1, "tea": 1}, 3)
    other = await shop.visit(pay_with="wechat", key="other")
    await shop.told(other, {"nuts": 1})
    await shop.deduct(other)
    assert await shop.is_well()
    yield shop
    await database.close()


@pytest.mark.parametrize(
    ("statement", "invariant"),
    [
        ("UPDATE cabinet_orders SET due_fen = 0 WHERE id = 1", "C1"),
        ("UPDATE cabinet_orders SET due_fen = 9999 WHERE id = 1", "C1"),
        ("UPDATE cabinet_orders SET due_fen = 501 WHERE related_no <> ''", "C5"),
        ("UPDATE cabinet_orders SET session_key = NULL WHERE id = 1", "C2"),
        ("UPDATE cabinet_orders SET related_no = 'x' WHERE related_no <> ''", "C2"),
        ("UPDATE order_charges SET tickets = tickets + 1 WHERE means = 'ticket'", "C4"),
        ("UPDATE order_charges SET tickets = 5 WHERE means = 'score'", "C4"),
        ("UPDATE cabinet_orders SET paid_fen = paid_fen + 1 WHERE id = 1", "C6"),
        ("UPDATE cabinet_orders SET tickets = 0 WHERE id = 1", "C6"),
        ("UPDATE sales SET amount_fen = amount_fen + 1 WHERE id = 1", "C6"),
        ("UPDATE order_charges SET n = 7 WHERE kind = 'refund'", "C7"),
        ("UPDATE order_charges SET debt_id = 99 WHERE means = 'score'", "C7"),
        ("UPDATE order_charges SET order_id = 77 WHERE means = 'ticket'", "C7"),
        ("UPDATE cabinet_orders SET state = 'review' WHERE id = 1", "C8"),
    ],
)
async def test_what_does_not_hold_is_found(
    wrong_shop: Shop, statement: str, invariant: str
) -> None:
    await wrong_shop.execute(statement)

    found = await wrong_shop.payments.check_books()

    assert invariant in {violation.invariant for violation in found}


async def test_a_hold_that_outlives_its_session_is_found(wrong_shop: Shop) -> None:
    await wrong_shop.visit(hold=50, key="third", state=State.CLOSED)
    await wrong_shop.execute("UPDATE door_sessions SET state = 'paid' WHERE once_key = 'third'")

    (violation,) = await wrong_shop.payments.check_books()

    assert violation.invariant == "C3"
