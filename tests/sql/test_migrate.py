"""The tables are brought to this program's version, once, by whoever starts first.

`Upgrade` is the pattern for the test of a new migration: bring a database to the revision
before, put rows into its tables, upgrade, and look at what has become of them.
"""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from sql import migrate, revision
from sql.database import Database, open_database
from sql.errors import DatabaseUnavailable, NotMigrated
from sql.sqlite import _engine
from sql.tables import metadata
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
