"""Whatever is wrong with the books is found, told once, and stops money until it is gone."""

import asyncio
import itertools
from collections.abc import Callable

import pytest
from sqlalchemy import BigInteger, Integer

from payments.ledger import store
from payments.ledger.history.replay import VIOLATIONS_MAX
from payments.ledger.model import Posting, Violation
from payments.ledger.service import Books
from payments.ledger.store import is_stopped, post, post_many
from sql import alerts
from sql.database import Database, Tx
from sql.tables import metadata
from tests.clock import Clock
from tests.payments.postings import LI, WANG, given, mend_triggers, paid, spent, tamper

ExpectLog = Callable[[str], None]

BALANCES = """
    UPDATE ledger_accounts SET
    balance = (SELECT SUM(amount) FROM ledger_entries WHERE account_id = ledger_accounts.id),
    version = (SELECT COUNT(*) FROM ledger_entries WHERE account_id = ledger_accounts.id)
"""


@pytest.fixture
async def kept_db(db: Database) -> Database:
    """Books with five journals: ids 1 to 5; Li's account is 2, Wang's 3."""
    await db.write(post, "grant", "1", "given", given(LI, 100))
    await db.write(post, "grant", "2", "given", given(WANG, 50))
    await db.write(post, "meal", "1", "paid", spent(LI, 30))
    await db.write(post, "order", "1", "paid", paid(1230))
    await db.write(post, "meal", "2", "paid", spent(LI, 70))
    return db


@pytest.fixture
def books(kept_db: Database) -> Books:
    return Books(kept_db, at_once=2)


def said(found: list[Violation]) -> list[tuple[str, str]]:
    return sorted((each.invariant, each.subject) for each in found)


async def test_sound_books_are_found_sound(books: Books, kept_db: Database) -> None:
    assert await books.check() == []

    assert not books.is_stopped()
    assert not await kept_db.read(is_stopped)
    assert await kept_db.read(alerts.open_alerts) == []


async def test_empty_books_are_sound(db: Database) -> None:
    assert await Books(db).check() == []


async def test_an_account_that_nothing_was_posted_to_is_sound(db: Database) -> None:
    await db.write(post_many, [Posting("meal", "1", "paid", spent(LI, 1))])

    assert await Books(db).check() == []


WRONG = {
    "a balance that was raised": (
        ["UPDATE ledger_accounts SET balance = balance + 1 WHERE id = 3"],
        [("I2", "account 3"), ("I6", "asset TICKET")],
    ),
    "two balances that make up for each other": (
        [
            "UPDATE ledger_accounts SET balance = balance + 1 WHERE id = 3",
            "UPDATE ledger_accounts SET balance = balance - 1 WHERE id = 1",
        ],
        [("I2", "account 1"), ("I2", "account 3")],
    ),
    "a version that goes its own way": (
        ["UPDATE ledger_accounts SET version = 9 WHERE id = 3"],
        [("I2", "account 3")],
    ),
    "a floor that was taken away": (
        ["UPDATE ledger_accounts SET floor = NULL WHERE id = 3"],
        [("I4", "account 3")],
    ),
    "an entry that was changed, and the balances with it": (
        ["UPDATE ledger_entries SET amount = 51 WHERE journal_id = 2 AND seq = 1", BALANCES],
        [("I3", "account 3"), ("I1", "journal 2"), ("I6", "asset TICKET")],
    ),
    "a balance in between that was changed": (
        ["UPDATE ledger_entries SET balance_after = 71 WHERE journal_id = 3 AND seq = 0"],
        [("I3", "account 2")],
    ),
    "a user below nothing, with all sums right": (
        [
            (
                "UPDATE ledger_entries SET amount = -130, balance_after = -30"
                " WHERE journal_id = 3 AND seq = 0"
            ),
            (
                "UPDATE ledger_entries SET amount = 130, balance_after = 130"
                " WHERE journal_id = 3 AND seq = 1"
            ),
            (
                "UPDATE ledger_entries SET amount = 30, balance_after = 0"
                " WHERE journal_id = 5 AND seq = 0"
            ),
            (
                "UPDATE ledger_entries SET amount = -30, balance_after = 100"
                " WHERE journal_id = 5 AND seq = 1"
            ),
            BALANCES,
        ],
        [("I4", "account 2")],
    ),
    "a journal that was removed": (
        ["DELETE FROM ledger_journals WHERE id = 4"],
        [("I5", "journal 4")],
    ),
    "a journal that was removed with its entries": (
        [
            "DELETE FROM ledger_entries WHERE journal_id = 4",
            "DELETE FROM ledger_journals WHERE id = 4",
        ],
        # Missing, and with nothing in it.
        [("I5", "journal 4"), ("I5", "journal 4"), ("I2", "account 5"), ("I2", "account 6")],
    ),
    "an entry that was removed": (
        ["DELETE FROM ledger_entries WHERE journal_id = 5 AND seq = 0"],
        [("I5", "journal 5"), ("I1", "journal 5"), ("I2", "account 2")],
    ),
    "a journal nobody posted": (
        [
            (
                "INSERT INTO ledger_journals (id, biz, biz_id, step, memo, at)"
                " VALUES (6, 'x', 'x', 'x', '', 0)"
            )
        ],
        [("I5", "head")],
    ),
    "entries nobody posted": (
        ["INSERT INTO ledger_entries VALUES (7, 0, 3, 1, 51, 2)"],
        [("I5", "head")],
    ),
    "a head that was set back": (
        ["UPDATE ledger_head SET journals = 4"],
        [("I2", "account 2"), ("I2", "account 4"), ("I5", "head")],
    ),
    "a head that was removed": (
        ["DELETE FROM ledger_head"],
        [*(("I2", f"account {id_}") for id_ in range(1, 7)), ("I5", "head")],
    ),
    "an account that was removed": (
        ["DELETE FROM ledger_accounts WHERE id = 3"],
        [("I2", "journal 2"), ("I1", "journal 2"), ("I1", "journal 2"), ("I6", "asset TICKET")],
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_wrong_is_found(
    books: Books, database_url: str, expect_log: ExpectLog, wrong: str
) -> None:
    statements, expected = WRONG[wrong]
    tamper(database_url, *statements)
    mend_triggers(database_url)
    expect_log("the books are wrong")

    found = await books.check()

    assert said(found) == sorted(expected)


async def test_a_part_of_a_fen_is_found(
    books: Books, database_url: str, expect_log: ExpectLog
) -> None:
    """SQLite keeps it as it is; MariaDB makes it whole, which is another amount."""
    tamper(database_url, "UPDATE ledger_entries SET amount = -30.5 WHERE amount = -30")
    mend_triggers(database_url)
    expect_log("the books are wrong")

    found = said(await books.check())

    kept = database_url.startswith("sqlite")
    assert (("I35", "journal 3") if kept else ("I3", "account 2")) in found


async def test_a_column_of_money_that_is_no_integer_is_found(
    books: Books, database_url: str, expect_log: ExpectLog
) -> None:
    tamper(database_url, "ALTER TABLE ledger_journals ADD COLUMN paid_fen DOUBLE")
    mend_triggers(database_url)
    expect_log("I35 column ledger_journals.paid_fen: it is (?i:double)")

    assert said(await books.check()) == [("I35", "column ledger_journals.paid_fen")]


async def test_triggers_that_are_gone_are_found(
    books: Books, database_url: str, expect_log: ExpectLog
) -> None:
    tamper(database_url)
    expect_log("I5 trigger ledger_journals_no_update: it is not there as we make it")
    expect_log("the books are wrong")

    assert said(await books.check()) == sorted(
        ("I5", f"trigger ledger_{table}_no_{event}")
        for table, event in itertools.product(("journals", "entries"), ("update", "delete"))
    )


async def test_a_ledger_broken_everywhere_is_told_of_in_its_first_places(
    kept_db: Database, database_url: str, expect_log: ExpectLog
) -> None:
    many = [Posting("grant", f"n{user}", "given", given(user, 1)) for user in range(100, 180)]
    await kept_db.write(post_many, many)
    tamper(database_url, "UPDATE ledger_entries SET balance_after = balance_after + 1")
    mend_triggers(database_url)
    expect_log("the books are wrong")

    assert len(await Books(kept_db).check()) == VIOLATIONS_MAX


# ---------------------------------------------------------------- the stop


async def test_a_violation_stops_money_with_one_alert_until_it_is_gone(
    books: Books, kept_db: Database, clock: Clock, database_url: str, expect_log: ExpectLog
) -> None:
    tamper(database_url, "UPDATE ledger_accounts SET version = 9 WHERE id = 3")
    mend_triggers(database_url)
    expect_log("the books are wrong: I2 account 3: it says 50 after 9 entries; they are 1 and")

    await books.check()
    raised_at = clock.now()
    clock.advance(minutes=5)
    await books.check()

    assert books.is_stopped()
    assert await kept_db.read(is_stopped)
    (alert,) = await kept_db.read(alerts.open_alerts)
    assert (alert.kind, alert.subject, alert.raised_at) == ("books", "I2 account 3", raised_at)

    tamper(database_url, "UPDATE ledger_accounts SET version = 1 WHERE id = 3")
    mend_triggers(database_url)
    assert await books.check() == []

    assert not books.is_stopped()
    assert not await kept_db.read(is_stopped)
    (alert,) = await kept_db.read(alerts.last_alerts)
    assert alert.cleared_at == clock.now()


async def test_only_the_alert_of_what_is_gone_is_cleared(
    books: Books, kept_db: Database, database_url: str, expect_log: ExpectLog
) -> None:
    tamper(database_url, "UPDATE ledger_accounts SET version = 9 WHERE id >= 5")
    mend_triggers(database_url)
    expect_log("the books are wrong")
    await books.check()

    tamper(database_url, "UPDATE ledger_accounts SET version = 1 WHERE id = 5")
    mend_triggers(database_url)
    await books.check()

    (alert,) = await kept_db.read(alerts.open_alerts)
    assert alert.subject == "I2 account 6"
    assert books.is_stopped()


async def test_what_other_parts_promise_is_checked_along(
    books: Books, kept_db: Database, expect_log: ExpectLog
) -> None:
    def one_order_is_paid(tx: Tx) -> list[Violation]:
        found = store.journals_of(tx, "order", "1")
        return [Violation("I8", "order 1", "it is paid")] if found else []

    books.also(one_order_is_paid)
    expect_log("the books are wrong: I8 order 1: it is paid")

    assert said(await books.check()) == [("I8", "order 1")]
    assert books.is_stopped()


@pytest.mark.mariadb
async def test_the_stop_holds_in_every_process_and_none_lifts_it_unseen(
    two_dbs: tuple[Database, Database], mariadb_url: str, expect_log: ExpectLog
) -> None:
    """The second has read the history while it was sound, and looks only at what is new."""
    first_db, second_db = two_dbs
    await first_db.write(post, "grant", "1", "given", given(LI, 100))
    first, second = Books(first_db), Books(second_db)
    assert await second.check() == []
    tamper(mariadb_url, "UPDATE ledger_entries SET balance_after = 1 WHERE seq = 0")
    mend_triggers(mariadb_url)
    assert await second.check(from_zero=False) == []
    expect_log("the books are wrong")

    await first.check()

    assert await second_db.read(is_stopped)
    assert said(await second.check(from_zero=False)) == [("I3", "account 1")]
    assert second.is_stopped()


# ---------------------------------------------------------------- beside those who post


async def test_a_quick_check_reads_only_what_is_new(
    books: Books, kept_db: Database, database_url: str, expect_log: ExpectLog
) -> None:
    await books.check()
    tamper(database_url, "UPDATE ledger_entries SET balance_after = 71 WHERE journal_id = 3")
    mend_triggers(database_url)
    await kept_db.write(post, "order", "2", "paid", paid(1))

    assert await books.check(from_zero=False) == []

    expect_log("the books are wrong")
    assert await books.check() != []


async def test_a_quick_check_finds_what_is_wrong_now(
    books: Books, database_url: str, expect_log: ExpectLog
) -> None:
    await books.check()
    tamper(database_url, "UPDATE ledger_accounts SET balance = 60 WHERE id = 3")
    mend_triggers(database_url)
    expect_log("the books are wrong")

    assert ("I2", "account 3") in said(await books.check(from_zero=False))


async def test_what_is_posted_meanwhile_is_no_violation(books: Books, kept_db: Database) -> None:
    async def work(first: int) -> None:
        for number in range(first, first + 20):
            await kept_db.write(post, "order", f"n{number}", "paid", paid(number))

    *_, found, quick = await asyncio.gather(
        work(100), work(200), work(300), books.check(), books.check(from_zero=False)
    )

    assert (found, quick) == ([], [])
    assert await books.check(from_zero=False) == []


async def test_a_rush_between_two_pages_is_read_first(
    books: Books, kept_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More is posted between the history's end and the accounts than one chapter holds."""
    rushed: list[object] = []
    read = kept_db.read

    async def read_after_a_rush(verb: Callable[..., object], **bounds: int) -> object:
        if "after_account" in bounds and not rushed:
            many = [Posting("order", f"n{n}", "paid", paid(n)) for n in range(1, 9)]
            rushed.extend(await kept_db.write(post_many, many))
        return await read(verb, **bounds)

    monkeypatch.setattr(kept_db, "read", read_after_a_rush)

    assert await books.check() == []
    assert len(rushed) == 8


def test_money_is_declared_in_integers() -> None:
    columns = [column for table in metadata.tables.values() for column in table.columns]
    names = {"amount", "balance", "balance_after", "floor"}
    money = [each for each in columns if each.name in names or each.name.endswith("_fen")]

    assert len(money) >= 4
    assert all(isinstance(column.type, BigInteger | Integer) for column in money)
