"""Inboxes on each kind of database, and on SQLite where the kind does not matter."""

from collections.abc import AsyncIterator

import pytest

from sql.database import Database, open_database
from tests.clock import Clock
from tests.conftest import Told
from tests.devices.inbox.post import Post, posting


@pytest.fixture
async def post(db: Database, clock: Clock) -> AsyncIterator[Post]:
    async with posting(db, clock) as opened:
        yield opened


@pytest.fixture
async def sqlite_db(sqlite_url: str, clock: Clock, told: Told) -> AsyncIterator[Database]:
    database = await open_database(sqlite_url, now=clock.now, told=told)
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture
async def quick_post(sqlite_db: Database, clock: Clock) -> AsyncIterator[Post]:
    """Where the kind of database does not matter."""
    async with posting(sqlite_db, clock) as opened:
        yield opened
