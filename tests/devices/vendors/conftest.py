"""Each vendor in turn with its platform, and an inbox that hears of it."""

from collections.abc import AsyncIterator

import pytest

from sql.database import Database, open_database
from tests.clock import Clock
from tests.conftest import Told
from tests.devices.inbox.post import Post, posting
from tests.devices.vendors.parties import PARTIES, Party


@pytest.fixture(params=list(PARTIES))
async def party(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Party]:
    """Every test that asks for it must hold for any vendor."""
    party: Party = PARTIES[request.param](clock)
    await party.start()
    yield party
    await party.vendor.close()
    await party.stop()


@pytest.fixture
async def sqlite_db(sqlite_url: str, clock: Clock, told: Told) -> AsyncIterator[Database]:
    database = await open_database(sqlite_url, now=clock.now, told=told)
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture
async def post(party: Party, sqlite_db: Database, clock: Clock) -> AsyncIterator[Post]:
    """Our side; the party's platform calls back here."""
    async with posting(sqlite_db, clock, party.vendor) as opened:
        party.call_back(f"http://127.0.0.1:{opened.port}{party.path}")
        yield opened
