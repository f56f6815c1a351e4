"""The tables of money are added to a database that is in use."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sql import migrate
from sql.database import open_database
from sql.triggers import APPEND_ONLY, missing_triggers
from tests.clock import Clock
from tests.empty_databases import mariadb_url, sqlite_url
from tests.sql.test_migrate import Upgrade, connected

IN_USE = (
    "INSERT INTO accounts (app, openid, created_at) VALUES ('seller', 'o1', 5)",
    (
        "INSERT INTO sessions (key_hash, account_id, app, created_at, used_at, ends_at)"
        " VALUES ('h', 1, 'seller', 5, 5, 9)"
    ),
    "INSERT INTO streams (name, epoch, seq) VALUES ('stall:1', 'e', 1)",
    "INSERT INTO events VALUES (1, 1, 'stall.changed', 5, 0, '{}', '', '')",
    "INSERT INTO idempotency VALUES ('i', 'f', 'a', 5)",
    "INSERT INTO stall_sellers VALUES (1, 1, 5)",
    (
        "INSERT INTO stall_months (stall_id, months, balance_after, reason, by_account, at)"
        " VALUES (1, 3, 3, 'paid', 1, 5)"
    ),
    (
        "INSERT INTO outbox (kind, payload, state, created_at, due_at, attempts, leased_by,"
        " last_error) VALUES ('k', '{}', 'waiting', 5, 5, 0, '', '')"
    ),
)
KEPT = {
    "accounts": "openid",
    "sessions": "key_hash",
    "streams": "name",
    "events": "name",
    "idempotency": "answer",
    "stall_sellers": "stall_id",
    "stall_months": "reason",
    "outbox": "state",
}


@pytest.fixture
def in_use(database_url: str) -> Upgrade:
    upgrade = Upgrade(database_url)
    upgrade.to("0001")
    upgrade.run(*IN_USE)
    return upgrade


def test_what_was_there_stays_and_the_tables_are_as_declared(in_use: Upgrade) -> None:
    before = {table: in_use.rows(f"SELECT {column} FROM {table}") for table, column in KEPT.items()}

    in_use.to("head")

    after = {table: in_use.rows(f"SELECT {column} FROM {table}") for table, column in KEPT.items()}
    assert after == before
    assert all(len(rows) == 1 for rows in after.values())
    with connected(in_use.url) as connection:
        assert migrate.drift(connection) == []
        assert missing_triggers(connection) == []


def test_no_journal_no_entry_and_no_line_of_the_audit_can_be_changed(in_use: Upgrade) -> None:
    in_use.to("0002")
    in_use.run(
        "INSERT INTO ledger_journals VALUES (1, 'b', '1', 's', '', NULL, 5)",
        "INSERT INTO ledger_entries VALUES (1, 0, 1, 5, 5, 1)",
        "INSERT INTO staff_audit (at, actor_id, actor, address, action, subject, `before`,"
        " `after`, reason, prev_hash, hash) VALUES (5, 1, 'a', '', 'x', 'y', '', '', '', '', 'h')",
    )

    for table in APPEND_ONLY:
        column = {"ledger_journals": "memo", "ledger_entries": "amount", "staff_audit": "action"}
        for statement in (f"UPDATE {table} SET {column[table]} = 7", f"DELETE FROM {table}"):
            with connected(in_use.url) as connection:
                with pytest.raises(DBAPIError, match="append-only"):
                    connection.execute(text(statement))

    assert in_use.rows("SELECT amount FROM ledger_entries") == [(5,)]


@pytest.mark.mariadb
async def test_what_a_killed_migration_left_on_a_server_is_cleared_away(
    mariadb_url: str, clock: Clock
) -> None:
    upgrade = Upgrade(mariadb_url)
    upgrade.to("0001")
    upgrade.run(*IN_USE, "CREATE TABLE debts (half INT)", "CREATE TABLE staff (half INT)")
    database = await open_database(mariadb_url, now=clock.now)

    await database.migrate()

    await database.close()
    assert upgrade.rows("SELECT openid FROM accounts") == [("o1",)]
    with connected(mariadb_url) as connection:
        assert migrate.drift(connection) == []


def test_a_database_refuses_by_itself_what_must_never_be(in_use: Upgrade) -> None:
    in_use.to("0002")
    attempt = (
        "INSERT INTO payment_attempts (debt_id, live_debt, out_trade_no, trade_type, openid,"
        " amount_fen, request, request_hash, state, prepay_id, code_url, created_at, expires_at,"
        " asked_at, failure) VALUES (1, 1, '{no}', 'NATIVE', '', 5, '', '', 'created', '', '',"
        " 5, 5, 5, '')"
    )
    receipt = (
        "INSERT INTO receipts VALUES ('{id}', 'n', {debt}, 5, {reserved}, '', '', '', 5, 5, 'q')"
    )
    in_use.run(attempt.format(no="a"), receipt.format(id="t", debt=1, reserved=5))

    for never in (
        # A second live attempt, a second receipt, a number or a transaction twice.
        attempt.format(no="b"),
        receipt.format(id="u", debt=1, reserved=0),
        receipt.format(id="t", debt=2, reserved=0),
        # More promised than was paid.
        receipt.format(id="v", debt=3, reserved=6),
    ):
        with pytest.raises(DBAPIError):
            in_use.run(never)
