"""Journals and entries are only ever added: the database refuses all else, whoever asks."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from payments.ledger.store import post
from sql import migrate
from sql.database import Database, Tx
from sql.triggers import APPEND_ONLY, create_triggers, missing_triggers
from tests.payments.postings import LI, count, given, mend_triggers, tamper
from tests.sql.test_migrate import connected


@pytest.fixture
async def kept_db(db: Database) -> Database:
    await db.write(post, "grant", "1", "given", given(LI, 100))
    return db


def run(tx: Tx, statement: str) -> None:
    tx.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_journals SET memo = 'other'",
        "UPDATE ledger_entries SET amount = 101 WHERE seq = 1",
        "DELETE FROM ledger_journals WHERE id = 1",
        "DELETE FROM ledger_entries",
        "REPLACE INTO ledger_entries VALUES (1, 1, 2, 101, 101, 1)",
        (
            "REPLACE INTO ledger_journals (id, biz, biz_id, step, memo, at)"
            " VALUES (1, 'x', 'x', 'x', '', 0)"
        ),
    ],
)
async def test_rows_are_neither_changed_nor_removed(kept_db: Database, statement: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"):
        await kept_db.write(run, statement)

    assert await count(kept_db, "ledger_journals") == 1
    assert await count(kept_db, "ledger_entries") == 2


async def test_a_change_of_no_row_is_no_change(kept_db: Database) -> None:
    await kept_db.write(run, "DELETE FROM ledger_entries WHERE journal_id = 41")


async def test_all_triggers_are_there_in_transactions_and_connections(
    kept_db: Database, database_url: str
) -> None:
    with connected(database_url) as connection:
        assert missing_triggers(connection) == []
        assert migrate.drift(connection) == []
    assert await kept_db.read(missing_triggers) == []


async def test_making_them_again_changes_nothing(kept_db: Database, database_url: str) -> None:
    mend_triggers(database_url)

    assert await kept_db.read(missing_triggers) == []


async def test_those_that_are_gone_are_named_and_made_again(
    kept_db: Database, database_url: str
) -> None:
    tamper(database_url)
    assert await kept_db.read(missing_triggers) == [
        "ledger_journals_no_update",
        "ledger_journals_no_delete",
        "ledger_entries_no_update",
        "ledger_entries_no_delete",
    ]
    with connected(database_url) as connection:
        assert len(migrate.drift(connection)) == 4

    mend_triggers(database_url)

    assert await kept_db.read(missing_triggers) == []


async def test_one_that_does_nothing_is_none_of_ours(kept_db: Database, database_url: str) -> None:
    lame = "CREATE TRIGGER ledger_entries_no_update AFTER UPDATE ON ledger_entries "
    sqlite = database_url.startswith("sqlite")
    lame += "BEGIN SELECT 1; END" if sqlite else "FOR EACH ROW SET @nothing = 1"
    tamper(database_url, lame)
    mend_triggers(database_url)

    assert await kept_db.read(missing_triggers) == ["ledger_entries_no_update"]


async def test_only_the_tables_asked_for_get_triggers(db: Database, database_url: str) -> None:
    with connected(database_url) as connection:
        create_triggers(connection, ["jobs"])
        connection.commit()

    assert await db.read(missing_triggers, ["jobs"]) == []
    await db.write(run, "INSERT INTO jobs VALUES ('x', 0, '', 0)")
    with pytest.raises(DBAPIError, match="jobs is append-only"):
        await db.write(run, "UPDATE jobs SET due_at = 1")


def test_the_ledger_and_the_audit_only_grow() -> None:
    assert set(APPEND_ONLY) == {"ledger_journals", "ledger_entries", "staff_audit"}
