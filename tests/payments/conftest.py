"""A database with the tables of money on each kind, and a second process on the same one."""

from collections.abc import AsyncIterator

import pytest

from sql.database import Database, open_database
from sql.tables import metadata
from sql.triggers import create_triggers
from tests.clock import Clock
from tests.sql.test_migrate import connected


@pytest.fixture
async def books_db(db: Database, database_url: str) -> Database:
    """The migrated database, with whatever table and trigger no migration makes yet."""
    make_tables(database_url)
    return db


@pytest.fixture
async def two_dbs(mariadb_url: str, clock: Clock) -> AsyncIterator[tuple[Database, Database]]:
    """Two processes' worth on one server's database."""
    first = await open_database(mariadb_url, now=clock.now)
    second = await open_database(mariadb_url, now=clock.now)
    await first.migrate()
    make_tables(mariadb_url)
    yield first, second
    await first.close()
    await second.close()


def make_tables(url: str) -> None:
    with connected(url) as connection:
        metadata.create_all(connection)
        create_triggers(connection)
        connection.commit()
