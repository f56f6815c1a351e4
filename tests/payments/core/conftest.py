"""Payments on each kind of database, two processes on one, and a WeChat that keeps its word."""

from collections.abc import AsyncIterator

import pytest

from tests.clock import Clock
from tests.payments.core.till import Bank, Till


@pytest.fixture
def bank(clock: Clock) -> Bank:
    return Bank(clock)


@pytest.fixture
async def till(database_url: str, clock: Clock, bank: Bank) -> AsyncIterator[Till]:
    opened = Till(database_url, clock, bank)
    await opened.open()
    await opened.db.migrate()
    yield opened
    await opened.close()


@pytest.fixture
async def two_tills(mariadb_url: str, clock: Clock, bank: Bank) -> AsyncIterator[tuple[Till, Till]]:
    first, second = Till(mariadb_url, clock, bank), Till(mariadb_url, clock, bank)
    await first.open()
    await first.db.migrate()
    await second.open()
    yield first, second
    await first.close()
    await second.close()
