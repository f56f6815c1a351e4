"""A shop, on both kinds of database or, where that makes no difference, on one."""

from collections.abc import AsyncIterator

import pytest

from sql.database import Database, open_database
from tests.clock import Clock
from tests.devices.orders.shop import Shop


@pytest.fixture
async def shop(db: Database, clock: Clock) -> AsyncIterator[Shop]:
    """All books are right when a test is over."""
    opened = Shop(db, clock)
    await opened.furnish()
    yield opened
    assert await opened.is_well()


@pytest.fixture
async def one_shop(sqlite_url: str, clock: Clock) -> AsyncIterator[Shop]:
    """The same on SQLite only."""
    database = await open_database(sqlite_url, now=clock.now)
    opened = Shop(database, clock)
    await opened.furnish()
    yield opened
    assert await opened.is_well()
    await database.close()
