"""A second process on the same database of money."""

from collections.abc import AsyncIterator

import pytest

from sql.database import Database, open_database
from tests.clock import Clock


@pytest.fixture
async def two_dbs(mariadb_url: str, clock: Clock) -> AsyncIterator[tuple[Database, Database]]:
    """Two processes' worth on one server's database."""
    first = await open_database(mariadb_url, now=clock.now)
    second = await open_database(mariadb_url, now=clock.now)
    await first.migrate()
    yield first, second
    await first.close()
    await second.close()
