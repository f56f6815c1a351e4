"""Databases with a table of notes, on each kind, and two processes' worth on one server."""

import resource
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from sql.database import Database, open_database
from sql.mysql import MySQL
from sql.sqlite import SQLite
from tests.clock import Clock
from tests.conftest import Told
from tests.sql import notes


@pytest.fixture
async def book(db: Database) -> Database:
    """The database with the table of notes."""
    await db.write(notes.make)
    return db


@pytest.fixture
async def sqlite_book(sqlite_url: str, clock: Clock, told: Told) -> AsyncIterator[SQLite]:
    database = await open_database(sqlite_url, now=clock.now, told=told)
    assert isinstance(database, SQLite)
    await database.migrate()
    await database.write(notes.make)
    yield database
    await database.close()


@pytest.fixture
async def mysql_book(mariadb_url: str, clock: Clock, told: Told) -> AsyncIterator[MySQL]:
    database = await open_mysql(mariadb_url, clock, told)
    await database.migrate()
    await database.write(notes.make)
    yield database
    await database.close()


@pytest.fixture
async def second_book(mysql_book: MySQL, mariadb_url: str, clock: Clock) -> AsyncIterator[MySQL]:
    """The same database as another process has it open."""
    database = await open_mysql(mariadb_url, clock)
    yield database
    await database.close()


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """`small_files(n)`: from now on no file of this process may become longer than n bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def open_mysql(url: str, clock: Clock, told: Told | None = None) -> MySQL:
    database = await open_database(url, now=clock.now, told=told)
    assert isinstance(database, MySQL)
    return database
