"""The tables are brought to this program's version, once, by whoever starts first.

`Upgrade` is the pattern for the test of a new migration: bring a database to the revision
before, put rows into its tables, upgrade, and look at what has become of them.
"""

import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Column,
    Connection,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.pool import NullPool

from sql import migrate, revision
from sql.database import Database, open_database
from sql.errors import DatabaseUnavailable, NotMigrated
from sql.sqlite import _engine
from sql.tables import metadata
from sql.triggers import missing_triggers
from tests.clock import Clock
from tests.empty_databases import mariadb_url, sqlite_url
from tests.sql import notes
from tests.sql.test_mysql import holding

ROOT = Path(__file__).parents[2]


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection beside the product's own."""
    there = make_url(url)
    if there.drivername == "mysql":
        engine = create_engine(there.set(drivername="mysql+pymysql"), poolclass=NullPool)
    else:
        assert there.database is not None
        engine = _engine(
            Path(there.database), begin="BEGIN IMMEDIATE", pool={"poolclass": NullPool}
        )
    with engine.connect() as connection:
        yield connection


class Upgrade:
    """A database on its way from one revision to the next, with rows in its tables."""

    def __init__(self, url: str) -> None:
        self.url = url

    def to(self, wanted: str) -> None:
        with connected(self.url) as connection:
            migrate.upgrade(connection, wanted)

    def run(self, *statements: str) -> None:
        with connected(self.url) as connection:
            for statement in statements:
                connection.execute(text(statement))
            connection.commit()

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with connected(self.url) as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def tables(self) -> set[str]:
        with connected(self.url) as connection:
            return set(inspect(connection).get_table_names())


@pytest.fixture
def upgrade(database_url: str) -> Upgrade:
    return Upgrade(database_url)


async def test_an_empty_database_gets_all_tables(
    database_url: str, upgrade: Upgrade, clock: Clock
) -> None:
    database = await open_database(database_url, now=clock.now)

    await database.migrate()
    await database.close()

    assert upgrade.tables() == {*metadata.tables, "alembic_version"}
    assert upgrade.rows("SELECT version_num FROM alembic_version") == [(migrate.head_revision(),)]


async def test_migrating_again_changes_nothing_and_needs_no_alembic(
    db: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What cannot be imported was not needed.
    monkeypatch.setitem(sys.modules, "sql.migrate", None)

    await db.migrate()

    assert (
        await db.read(notes.value, "SELECT version_num FROM alembic_version")
        == migrate.head_revision()
    )


async def test_the_tables_are_as_they_are_declared(db: Database, database_url: str) -> None:
    with connected(database_url) as connection:
        assert migrate.drift(connection) == []


async def test_a_table_that_differs_from_its_declaration_is_found(
    db: Database, database_url: str
) -> None:
    with connected(database_url) as connection:
        connection.execute(text("ALTER TABLE jobs ADD COLUMN surprise INTEGER"))

        (difference,) = migrate.drift(connection)

    assert "surprise" in repr(difference)


def test_the_revisions_known_by_their_files_are_those_known_to_alembic() -> None:
    scripts = ScriptDirectory(str(revision.VERSIONS.parent))
    by_alembic = [script.revision for script in scripts.walk_revisions()]

    assert revision.known_revisions() == by_alembic[::-1]
    assert migrate.head_revision() == scripts.get_current_head()


async def test_a_database_newer_than_the_program_is_refused(
    db: Database, upgrade: Upgrade, database_url: str
) -> None:
    await db.write(notes.run, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(NotMigrated, match="9999"):
        await db.migrate()
    with connected(database_url) as connection, pytest.raises(NotMigrated):
        migrate.upgrade(connection)

    assert upgrade.rows("SELECT version_num FROM alembic_version") == [("9999",)]


async def test_who_does_not_migrate_may_ask_for_the_tables_of_this_version(
    database_url: str, clock: Clock
) -> None:
    database = await open_database(database_url, now=clock.now)
    with pytest.raises(NotMigrated, match="no tables yet"):
        await database.read(revision.require_head)
    await database.migrate()

    await database.read(revision.require_head)

    await database.write(notes.run, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(NotMigrated, match="9999"):
        await database.read(revision.require_head)
    await database.close()


async def test_a_database_whose_history_was_lost_in_the_middle_is_brought_up(
    database_url: str, upgrade: Upgrade, clock: Clock
) -> None:
    """Its table of versions is there and empty: as before the first."""
    upgrade.run("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    database = await open_database(database_url, now=clock.now)

    await database.migrate()

    await database.close()
    assert upgrade.rows("SELECT version_num FROM alembic_version") == [(migrate.head_revision(),)]


async def test_rows_survive_every_upgrade_on_the_way_to_the_head(
    database_url: str, upgrade: Upgrade, clock: Clock
) -> None:
    first, *later = revision.known_revisions()
    upgrade.to(first)
    upgrade.run(
        "INSERT INTO streams (name, epoch, seq) VALUES ('stall:1', 'e', 2)",
        "INSERT INTO events VALUES (1, 1, 'stall.changed', 5, 0, '{}', '', '')",
        "INSERT INTO events VALUES (1, 2, 'stall.changed', 6, 0, '{}', '', '')",
        "INSERT INTO jobs VALUES ('sweep', 7, '', 0)",
    )

    for wanted in later:
        upgrade.to(wanted)

    assert upgrade.rows("SELECT name, seq FROM streams") == [("stall:1", 2)]
    assert upgrade.rows("SELECT COUNT(*) FROM events") == [(2,)]
    assert upgrade.rows("SELECT name, due_at FROM jobs") == [("sweep", 7)]
    with connected(database_url) as connection:
        assert migrate.drift(connection) == []


def test_on_sqlite_a_migration_that_fails_half_way_leaves_nothing(
    sqlite_url: str, tmp_path: Path
) -> None:
    (tmp_path / "versions").mkdir()
    source = revision.VERSIONS.parent
    (tmp_path / "env.py").write_text((source / "env.py").read_text())
    (tmp_path / "versions" / "0001_half.py").write_text(
        textwrap.dedent(
            """
            from alembic import op
            revision, down_revision = "0001", None

            def upgrade():
                op.execute("CREATE TABLE half (id INTEGER)")
                op.execute("CREATE TABLE half (id INTEGER)")
            """
        )
    )

    with connected(sqlite_url) as connection:
        settings = migrate.config(connection)
        settings.set_main_option("script_location", str(tmp_path))
        with pytest.raises(OperationalError, match="already exists"):
            command.upgrade(settings, "head")

    assert "half" not in Upgrade(sqlite_url).tables()


@pytest.mark.mariadb
async def test_what_a_killed_first_migration_left_on_a_server_is_cleared_away(
    mariadb_url: str, clock: Clock
) -> None:
    upgrade = Upgrade(mariadb_url)
    upgrade.run("CREATE TABLE streams (half INT)", "CREATE TABLE others (id INT)")
    database = await open_database(mariadb_url, now=clock.now)

    await database.migrate()

    await database.close()
    with connected(mariadb_url) as connection:
        (difference,) = migrate.drift(connection)
    assert "others" in repr(difference)


@pytest.mark.mariadb
async def test_a_table_of_that_name_with_rows_in_it_is_nobodys_remains(
    mariadb_url: str, clock: Clock
) -> None:
    upgrade = Upgrade(mariadb_url)
    upgrade.run("CREATE TABLE streams (half INT)", "INSERT INTO streams VALUES (1)")
    database = await open_database(mariadb_url, now=clock.now)

    with pytest.raises(DatabaseUnavailable, match="already exists"):
        await database.migrate()

    await database.close()
    assert upgrade.rows("SELECT half FROM streams") == [(1,)]


STARTING = """
import asyncio, sys
from sql.database import open_database

async def main():
    database = await open_database(sys.argv[1], now=lambda: 0)
    await database.migrate()
    await database.close()

asyncio.run(main())
"""


@pytest.mark.mariadb
def test_two_processes_that_start_at_once_both_find_the_tables(mariadb_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STARTING, mariadb_url],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]

    said = [process.communicate()[1] for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert Upgrade(mariadb_url).tables() == {*metadata.tables, "alembic_version"}


@pytest.mark.mariadb
async def test_a_process_that_migrates_for_ever_is_not_waited_for(
    mariadb_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sql.mysql.MIGRATION_TIMEOUT_S", 0)
    database = await open_database(mariadb_url, now=clock.now)
    name = make_url(mariadb_url).database

    async with holding(mariadb_url, f"SELECT GET_LOCK('callme-migrate:{name}', 1)"):
        with pytest.raises(DatabaseUnavailable, match="migrating"):
            await database.migrate()

    await database.migrate()
    await database.close()


# ---------------------------------------------------------------- to a newer version, in use


def a_row(table: Table, number: int = 1) -> dict[str, Any]:
    """Something in every column: the number, alone or at the end of a text."""
    return {column.name: a_value(column, number) for column in table.columns}


def a_value(column: Column[Any], number: int) -> object:
    if isinstance(column.type, LargeBinary):
        return b"%d" % number
    if isinstance(column.type, String):
        return column.name[: (column.type.length or 64) - 1] + str(number)
    return number


def all_rows(connection: Connection, tables: Iterable[Table]) -> dict[str, list[object]]:
    return {
        table.name: [tuple(row) for row in connection.execute(select(table))] for table in tables
    }


def test_every_row_from_before_cabinets_is_there_afterwards(upgrade: Upgrade) -> None:
    upgrade.to("0002")
    with connected(upgrade.url) as connection:
        before = MetaData()
        before.reflect(connection)
        tables = [table for table in before.sorted_tables if table.name != "alembic_version"]
        for table in tables:
            connection.execute(insert(table), a_row(table))
        connection.commit()
        rows = all_rows(connection, tables)

    upgrade.to("head")

    assert len(rows) > 25
    assert all(len(each) >= 1 for each in rows.values())
    with connected(upgrade.url) as connection:
        # By the columns there were: what has come besides has a default.
        assert all_rows(connection, tables) == rows
        assert migrate.drift(connection) == []
        assert missing_triggers(connection) == []
    assert upgrade.tables() >= {table.name for table in tables} | {"door_sessions", "sales"}


@pytest.mark.parametrize("killed_after", [0, 1, 2])
def test_stock_moves_of_before_are_there_and_found_by_time(
    upgrade: Upgrade, killed_after: int
) -> None:
    moves = metadata.tables["stock_moves"]
    upgrade.to("0003")
    with connected(upgrade.url) as connection:
        for number in (1, 2):
            connection.execute(insert(moves), a_row(moves, number))
        connection.commit()
        rows = all_rows(connection, [moves])
    # MySQL keeps what a migration had done when its process died.
    on = " ON stock_moves" if "mysql" in upgrade.url or "mariadb" in upgrade.url else ""
    steps = [
        "CREATE INDEX ix_stock_moves_device_id_at ON stock_moves (device_id, at)",
        f"DROP INDEX ix_stock_moves_device_id{on}",
    ]
    upgrade.run(*steps[:killed_after])

    upgrade.to("0004")

    with connected(upgrade.url) as connection:
        assert all_rows(connection, [moves]) == rows
        indexes = {each["name"] for each in inspect(connection).get_indexes("stock_moves")}
        assert "ix_stock_moves_device_id_at" in indexes
        assert "ix_stock_moves_device_id" not in indexes


def test_a_database_refuses_by_itself_what_must_never_be_at_a_door(upgrade: Upgrade) -> None:
    upgrade.to("head")
    with connected(upgrade.url) as connection:
        for name, keys in NEVER_TWICE.items():
            table = metadata.tables[name]
            row = a_row(table)
            connection.execute(insert(table), row)
            connection.commit()
            others = a_row(table, 2)
            for key in keys:
                # Another row in all but this.
                again = {**others, **{each: row[each] for each in key}}
                with pytest.raises(IntegrityError):
                    connection.execute(insert(table), again)
                connection.rollback()


# One at a door and one door for a person; one opening and one command for a wish; one main order
# of a session and one row of a vendor's order; one open exception, complaint and delivery.
NEVER_TWICE: dict[str, list[tuple[str, ...]]] = {
    "door_sessions": [("door_key",), ("user_key",), ("once_key",), ("request_id",), ("no",)],
    "cabinet_orders": [("no",), ("session_key",), ("vendor", "vendor_order_no")],
    "cabinet_exceptions": [("open_key",)],
    "complaints": [("open_key",)],
    "stores": [("code",)],
    "devices": [("vendor", "code")],
    "device_bindings": [("open_key",)],
    "goods": [("sku",)],
    "sales_batches": [("batch_no",)],
    "sales": [("biz", "biz_no", "step", "line")],
    "callback_inbox": [("vendor", "endpoint_id", "event_id")],
    "order_charges": [("order_id", "kind", "n")],
    "stock_moves": [("once_key",)],
    "ticket_grants": [("once_key",)],
    "reports": [("kind", "day")],
}
