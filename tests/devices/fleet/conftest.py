"""A fleet on each kind of database, its vendor, and somebody who is kept to one store."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from accounts.audit.model import By, Entry, Filter
from accounts.audit.service import Audit
from devices.fleet.model import Device, Store
from devices.fleet.qr import QrCodes
from devices.fleet.service import Fleet
from sql.database import Database, Tx, open_database
from sql.tables.devices import staff_stores
from tests.clock import Clock
from tests.conftest import Told
from tests.devices.fleet.maker import Maker

SECRET = "a secret of the tests, long enough to sign with"
BOSS = By("staff", 1, "203.0.113.9")
CLERK = By("staff", 2, "203.0.113.7")

STORE: dict[str, Any] = {
    "code": "S-1",
    "name": "一号店",
    "type": "kids",
    "property": "own",
    "address": "中山路1号",
    "phone": "021-5550100",
    "review_limit_fen": None,
}


class World:
    """A fleet and what it is made of."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self.db = db
        self.maker = Maker(clock.now)
        self.qr = QrCodes(SECRET)
        self.fleet = Fleet(db, {"maker": self.maker.as_vendor}, self.qr)

    async def store(self, code: str = "S-1", **more: Any) -> Store:
        return await self.fleet.create_store({**STORE, "code": code, **more}, by=BOSS)

    async def device(self, code: str = "D-1", doors: tuple[int, ...] = (1,)) -> Device:
        return await self.fleet.create_device(
            vendor="maker", code=code, name=f"cabinet {code}", doors=doors, by=BOSS
        )

    async def bound(self, code: str = "D-1", store_code: str = "S-1") -> Device:
        store, device = await self.store(store_code), await self.device(code)
        return await self.fleet.bind(device.id, store.id, by=BOSS)

    async def keep(self, account_id: int, *store_ids: int) -> None:
        """Keep an account to these stores."""
        await self.db.write(_keep, account_id, store_ids)

    async def lines(self) -> list[Entry]:
        """Of the audit, oldest first."""
        return (await Audit(self.db).page(Filter(), offset=0, most=100))[1][::-1]

    async def actions(self) -> list[str]:
        return [line.action for line in await self.lines()]


def _keep(tx: Tx, account_id: int, store_ids: tuple[int, ...]) -> None:
    rows = [{"account_id": account_id, "store_id": store_id} for store_id in store_ids]
    tx.execute(insert(staff_stores), rows)


@pytest.fixture
async def world(db: Database, clock: Clock) -> World:
    return World(db, clock)


@pytest.fixture
async def one_world(tmp_path: Path, clock: Clock, told: Told) -> AsyncIterator[World]:
    """On SQLite alone, where the kind of database does not matter."""
    db = await open_database(f"sqlite:///{tmp_path}/one.db", now=clock.now, told=told)
    await db.migrate()
    yield World(db, clock)
    await db.close()
