"""When timed jobs are due."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from payments.gateway import BillRow, Reaction, Refused, Unknown
from payments.ledger.model import Violation
from payments.model import Merchant
from payments.notices.service import OtherTold
from payments.service import NoGateway, Payments
from payments.wechat.errors import BadMessage
from server.jobs import every
from server.schedule import (
    at_beijing,
    check_books,
    compare_bill,
    midnight,
    next_month,
    tidy,
)
from sql.database import Database
from sql.tables.payments import payment_notices
from sql.transaction import Tx
from tests.clock import Clock

BEIJING = "+08:00"


def millis(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-11-20T12:00:00+08:00", "2026-12-01T00:00:00+08:00"),
        ("2026-11-30T23:59:59.999+08:00", "2026-12-01T00:00:00+08:00"),
        ("2026-12-01T00:00:00+08:00", "2027-01-01T00:00:00+08:00"),
        ("2026-12-31T23:59:59+08:00", "2027-01-01T00:00:00+08:00"),
        ("2028-01-31T12:00:00+08:00", "2028-02-01T00:00:00+08:00"),
        ("2028-02-29T12:00:00+08:00", "2028-03-01T00:00:00+08:00"),
        # Beijing is eight hours ahead of the machine.
        ("2026-11-30T15:59:59+00:00", "2026-12-01T00:00:00+08:00"),
        ("2026-11-30T16:00:00+00:00", "2027-01-01T00:00:00+08:00"),
    ],
)
def test_the_month_is_due_at_its_first_moment_in_beijing(now: str, due: str) -> None:
    assert next_month(millis(now)) == millis(due)


def test_on_every_day_of_ten_years_the_next_month_is_the_next_first() -> None:
    day = datetime.fromisoformat(f"2024-01-01T13:37:00{BEIJING}")

    while day.year < 2034:
        first = (day.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0)
        assert next_month(int(day.timestamp() * 1000)) == int(first.timestamp() * 1000)
        day += timedelta(days=1)


def test_other_jobs_are_due_so_many_seconds_after_a_run_began() -> None:
    assert every(600)(1_000) == 601_000
    assert every(0.5)(1_000) == 1_500


# ---------------------------------------------------------------- money


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-11-20T00:00:00+08:00", "2026-11-20T10:30:00+08:00"),
        ("2026-11-20T10:29:59.999+08:00", "2026-11-20T10:30:00+08:00"),
        ("2026-11-20T10:30:00+08:00", "2026-11-21T10:30:00+08:00"),
        ("2026-12-31T23:59:59+08:00", "2027-01-01T10:30:00+08:00"),
        # In Greenwich it is still the day before.
        ("2026-11-19T16:00:00+00:00", "2026-11-20T10:30:00+08:00"),
    ],
)
def test_the_bill_is_fetched_once_wechat_has_it(now: str, due: str) -> None:
    assert at_beijing(10, 30)(millis(now)) == millis(due)


@pytest.mark.parametrize(
    ("now", "begins"),
    [
        ("2026-11-20T00:00:00+08:00", "2026-11-20T00:00:00+08:00"),
        ("2026-11-20T23:59:59.999+08:00", "2026-11-20T00:00:00+08:00"),
        ("2026-11-20T16:00:00+00:00", "2026-11-21T00:00:00+08:00"),
    ],
)
def test_a_day_begins_at_midnight_in_beijing(now: str, begins: str) -> None:
    assert midnight(millis(now)) == millis(begins)


class Till(NoGateway):
    """A gateway of which nothing but the bill is asked."""

    def __init__(self, refusal: Refused | Unknown | None = None) -> None:
        self.days: list[int] = []
        self.refusal = refusal

    async def bill(self, day: int) -> list[BillRow]:
        self.days.append(day)
        if self.refusal is not None:
            raise self.refusal
        return []


def payments_at(db: Database, gateway: NoGateway) -> Payments:
    return Payments(db, gateway, merchant=Merchant())


async def test_yesterdays_bill_is_compared(db: Database, clock: Clock) -> None:
    clock.set("2026-11-20T10:30:00+08:00")
    till = Till()

    result = await compare_bill(db, payments_at(db, till))

    assert till.days == [20261119]
    assert result == "BillReport(day=20261119, payments=0, refunds=0, differences=0)"


async def test_without_wechat_pay_there_is_no_bill_and_no_failure(db: Database) -> None:
    assert await compare_bill(db, payments_at(db, NoGateway())) == "WeChat Pay is not set up"


async def test_a_bill_that_is_not_ready_is_a_failed_run(db: Database) -> None:
    late = Refused("NO_BILL", "not yet", Reaction.RETRY)

    with pytest.raises(Refused, match="not yet"):
        await compare_bill(db, payments_at(db, Till(late)))


async def test_a_bill_that_is_made_later_in_the_morning_is_no_failure(
    db: Database, clock: Clock
) -> None:
    till = Till(Unknown("downloadbill: Bill Creating"))
    clock.set("2026-11-20T10:29:59+08:00")
    assert await compare_bill(db, payments_at(db, till)) == "not yet: downloadbill: Bill Creating"

    clock.set("2026-11-20T10:30:00+08:00")
    with pytest.raises(Unknown, match="Bill Creating"):
        await compare_bill(db, payments_at(db, till))


async def test_books_that_add_up_are_in_order(db: Database) -> None:
    assert await check_books(payments_at(db, NoGateway()).books) == "in order"


async def test_what_is_wrong_in_the_books_is_counted(
    db: Database, expect_log: Callable[[str], None]
) -> None:
    expect_log("the books are wrong: I8 debt")

    def broken(_: Tx) -> list[Violation]:
        return [Violation("I8", "debt 1", "no journal"), Violation("I8", "debt 2", "no journal")]

    books = payments_at(db, NoGateway()).books
    books.also(broken)

    assert await check_books(books) == "2 violations"


async def test_the_broom_takes_notices_that_nobody_signed(db: Database, clock: Clock) -> None:
    async def nobodys(_raw: bytes, _headers: Mapping[str, str]) -> OtherTold:
        raise BadMessage("not signed")

    payments = Payments(db, NoGateway(), merchant=Merchant(), readers={"/notify": nobodys})
    with pytest.raises(BadMessage):
        await payments.receive(b"<xml/>\x00\xff", {}, "/notify")

    body = await db.read(lambda tx: tx.execute(select(payment_notices.c.body)).scalar_one())
    kept = await tidy(db, payments)
    clock.advance(days=31)
    swept = await tidy(db, payments)

    assert body == b"<xml/>\x00\xff"
    assert kept == "0 keys, 0 parcels, 0 runs, 0 notices"
    assert swept == "0 keys, 0 parcels, 0 runs, 1 notices"
