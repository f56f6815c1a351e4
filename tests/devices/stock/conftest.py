"""Two bound cabinets at the simulated platform, goods for them, and their stock."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from sqlalchemy import insert

from accounts.audit.model import By, Entry, Filter
from accounts.audit.service import Audit
from commerce.goods import store as goods
from commerce.goods.model import GoodSaid
from devices.fleet.qr import QrCodes
from devices.fleet.service import Fleet
from devices.stock import store
from devices.stock.model import PUT, Place, Planogram, Snapshot
from devices.stock.service import Stock
from devices.vendors.port import CabinetVendor
from devices.vendors.xiaomai import Xiaomai
from devices.vendors.xiaomai.signing import Key
from server.outbox import TENACIOUS, Outbox
from simulators.xiaomai import APP_ID, CALLBACK_SECRET, ENDPOINT_ID, KEY_ID, SECRET, Cabinet
from simulators.xiaomai import Xiaomai as Platform
from sql.alerts import open_alerts
from sql.database import Database, Tx, open_database
from sql.tables.devices import staff_stores
from tests.clock import Clock
from tests.conftest import Told

BOSS = By("staff", 1, "203.0.113.9")
CLERK = By("staff", 2, "203.0.113.7")
STORE: dict[str, Any] = {
    "name": "一号店",
    "type": "kids",
    "property": "own",
    "address": "",
    "phone": "",
    "review_limit_fen": None,
}
PRICES = {"cola": 300, "tea": 450, "milk": 550}


def place(sku: str, slot: int = 1, **more: Any) -> Place:
    fields = {"door_no": 1, "layer": 1, "slot": slot, "stock": 5, "capacity": 8}
    return Place(sku=sku, **(fields | more))


class Depot:
    """device: D1 in store S1, with two doors; other: D2 in S2, where the clerk sees nothing."""

    def __init__(self, db: Database, clock: Clock, platform: Platform) -> None:
        self.db, self.clock, self.platform = db, clock, platform
        self.vendor = Xiaomai(
            platform.url,
            Key(APP_ID, KEY_ID, SECRET),
            endpoints={ENDPOINT_ID: (CALLBACK_SECRET,)},
            now=clock.now,
            timeout_s=2,
        )
        self.vendors: dict[str, CabinetVendor] = {"xiaomai": self.vendor}
        self.fleet = Fleet(db, self.vendors, QrCodes("a secret of the tests, long enough"))
        self.stock = Stock(db, self.vendors)
        self.outbox = Outbox(
            db, {PUT: self.stock.put}, now=clock.now, runner="test", rhythms={PUT: TENACIOUS}
        )
        self.versions = 0

    async def furnish(self) -> None:
        self.device = await self.add("D1", "S1", doors=2)
        self.other = await self.add("D2", "S2", doors=1)
        await self.db.write(_keep, CLERK.account_id, self.device_store)
        await self.sell(**PRICES)
        await self.stock.push_goods()

    async def add(self, code: str, store_code: str, *, doors: int) -> int:
        self.platform.add_cabinet(code, doors=doors, stock={})
        shop = await self.fleet.create_store({**STORE, "code": store_code}, by=BOSS)
        self.device_store = getattr(self, "device_store", shop.id)
        made = await self.fleet.create_device(
            vendor="xiaomai", code=code, name=code, doors=range(1, doors + 1), by=BOSS
        )
        await self.fleet.bind(made.id, shop.id, by=BOSS)
        return made.id

    async def sell(self, **prices: int) -> None:
        """Goods of the ERP; a price of 0 takes one from sale."""
        self.versions += 1
        said = [
            GoodSaid(
                sku=sku,
                name=f"good {sku}",
                price_fen=fen or 1,
                version=self.versions,
                status=1 if fen else 0,
                image_url="https://example.test/a.png" if sku == "cola" else "",
            )
            for sku, fen in prices.items()
        ]
        await self.db.write(goods.take_page, said, (), "")

    async def lay_out(self, *places: Place, by: By = BOSS, key: str = "") -> Planogram:
        return await self.stock.want_planogram(self.device, places, by=by, key=key)

    async def laid_out(self, *places: Place) -> Planogram:
        """Wanted, and put."""
        made = await self.lay_out(*places)
        await self.outbox.deliver_due()
        return made

    async def snapshot(self) -> Snapshot:
        return await self.db.read(store.snapshot, self.device)

    async def move(self, kind: Any, key: str, lines: Mapping[str, int], door_no: int = 1) -> None:
        await self.db.write(
            store.move, self.device, door_no, lines, kind=kind, ref="R", once_key=key
        )

    async def counts(self, door_no: int = 1) -> dict[str, int]:
        rows = await self.db.read(store.shelves, self.device, door_no)
        return {row.sku: row.quantity for row in rows}

    async def alerts(self) -> dict[str, str]:
        """The subjects of those that are raised, by kind."""
        return {each.kind: each.subject for each in await self.db.read(open_alerts)}

    async def audit(self) -> list[Entry]:
        """Its lines about this, oldest first."""
        found = (await Audit(self.db).page(Filter(), offset=0, most=100))[1][::-1]
        return [each for each in found if not each.action.startswith(("store.", "device."))]

    @property
    def cabinet(self) -> Cabinet:
        return self.platform.cabinet("D1")

    def turn(self, **span: float) -> None:
        before = self.clock.now()
        self.clock.advance(**span)
        self.platform.clock.advance((self.clock.now() - before) / 1000)


def _keep(tx: Tx, account_id: int, store_id: int) -> None:
    tx.execute(insert(staff_stores), [{"account_id": account_id, "store_id": store_id}])


@pytest.fixture
async def platform(clock: Clock) -> AsyncIterator[Platform]:
    platform = Platform(start_s=clock.now() / 1000)
    await platform.start(port=0)
    yield platform
    await platform.stop()


@pytest.fixture
async def depot(db: Database, clock: Clock, platform: Platform) -> AsyncIterator[Depot]:
    """On both kinds of database."""
    depot = Depot(db, clock, platform)
    try:
        await depot.furnish()
        yield depot
    finally:
        await depot.vendor.close()


@pytest.fixture
async def one_depot(
    sqlite_url: str, clock: Clock, told: Told, platform: Platform
) -> AsyncIterator[Depot]:
    """On SQLite alone, where the kind of database does not matter."""
    db = await open_database(sqlite_url, now=clock.now, told=told)
    depot = Depot(db, clock, platform)
    try:
        await depot.furnish()
        yield depot
    finally:
        await depot.vendor.close()
        await db.close()
