"""A town on each kind of database; `one_town` on one, where that makes no difference."""

from collections.abc import AsyncIterator

import pytest

from simulators.wechat import WeChat
from sql.database import Database, open_database
from tests.clock import Clock
from tests.devices.flow.town import Town, town_of


@pytest.fixture
async def town(db: Database, clock: Clock) -> AsyncIterator[Town]:
    """All invariants hold when a test is over."""
    async with town_of(db, clock) as town:
        yield town
        await town.is_well()


@pytest.fixture
async def one_town(sqlite_url: str, clock: Clock) -> AsyncIterator[Town]:
    database = await open_database(sqlite_url, now=clock.now)
    async with town_of(database, clock) as town:
        yield town
        await town.is_well()
    await database.close()


@pytest.fixture
async def pay_town(sqlite_url: str, clock: Clock, wechat: WeChat) -> AsyncIterator[Town]:
    """A town in which one can pay afterwards, by the simulated WeChat."""
    database = await open_database(sqlite_url, now=clock.now)
    async with town_of(database, clock, wechat, url=sqlite_url) as town:
        yield town
        await town.is_well()
    await database.close()
