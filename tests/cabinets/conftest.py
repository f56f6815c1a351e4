"""A town with a server of cabinets, on each kind of database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cabinets.town import Town
from tests.cabinets.world import World
from tests.clock import Clock
from tests.money.desk import free_port

CODES = ["XM-1", "XM-2"]


@pytest.fixture
async def world(clock: Clock) -> AsyncIterator[World]:
    """The simulators on the test's clock."""
    async with World(clock.now() / 1000) as made:
        yield made


@pytest.fixture
async def town(
    world: World, clock: Clock, database_url: str, tmp_path: Path
) -> AsyncIterator[Town]:
    """On each kind of database."""
    opened = Town(world, clock, world.settings(database_url, tmp_path, free_port()))
    await opened.open(CODES)
    yield opened
    await opened.close()


@pytest.fixture
async def one_town(
    world: World, clock: Clock, sqlite_url: str, tmp_path: Path
) -> AsyncIterator[Town]:
    """On SQLite, where the database is not what is tried."""
    opened = Town(world, clock, world.settings(sqlite_url, tmp_path, free_port()))
    await opened.open(CODES)
    yield opened
    await opened.close()
