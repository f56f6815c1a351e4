"""An ERP on the tests' clock, and goods and sales that speak with it."""

from collections.abc import AsyncIterator

import pytest

from commerce.erp import Erp
from commerce.goods.service import Goods
from commerce.sales.model import SEND
from commerce.sales.service import Sales
from server.outbox import TENACIOUS, Outbox
from simulators.erp import TOKEN
from simulators.erp import Erp as ErpSimulator
from sql.database import Database, open_database
from tests.clock import Clock
from tests.conftest import Told


class Shop:
    """What is sold, and the ERP it goes to."""

    def __init__(self, db: Database, clock: Clock, sim: ErpSimulator) -> None:
        self.db, self.clock, self.sim = db, clock, sim
        self.erp = Erp(sim.url, TOKEN, timeout_s=2)
        self.goods = Goods(db, self.erp)
        self.sales = Sales(db, self.erp)
        self.outbox = Outbox(
            db,
            {SEND: self.sales.send},
            now=clock.now,
            runner="test",
            rhythms={SEND: TENACIOUS},
        )


@pytest.fixture
async def erp_sim(clock: Clock) -> AsyncIterator[ErpSimulator]:
    sim = ErpSimulator(start_s=clock.now() / 1000)
    await sim.start(port=0)
    yield sim
    await sim.stop()


@pytest.fixture
async def shop(db: Database, clock: Clock, erp_sim: ErpSimulator) -> AsyncIterator[Shop]:
    """On both kinds of database."""
    shop = Shop(db, clock, erp_sim)
    yield shop
    await shop.erp.close()


@pytest.fixture
async def one_shop(
    sqlite_url: str, clock: Clock, told: Told, erp_sim: ErpSimulator
) -> AsyncIterator[Shop]:
    """On SQLite alone, where the kind of database does not matter."""
    db = await open_database(sqlite_url, now=clock.now, told=told)
    shop = Shop(db, clock, erp_sim)
    yield shop
    await shop.erp.close()
    await db.close()
