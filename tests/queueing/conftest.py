"""A canteen on each kind of database, and a second process on the same one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clock import Clock
from tests.queueing.canteen import Canteen


@pytest.fixture
async def canteen(database_url: str, clock: Clock, tmp_path: Path) -> AsyncIterator[Canteen]:
    opened = Canteen(database_url, clock, tmp_path / "media")
    await opened.open()
    await opened.db.migrate()
    yield opened
    await opened.close()


@pytest.fixture
async def two(
    mariadb_url: str, clock: Clock, tmp_path: Path
) -> AsyncIterator[tuple[Canteen, Canteen]]:
    """Two processes' worth of services on one server's database."""
    first = Canteen(mariadb_url, clock, tmp_path / "first", shared=True)
    second = Canteen(mariadb_url, clock, tmp_path / "second", shared=True)
    await first.open()
    await first.db.migrate()
    await second.open()
    yield first, second
    await first.close()
    await second.close()
