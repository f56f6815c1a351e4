"""A town with one store, its cabinets, and people: the platform is simulated, all else is real.

The simulated Xiaomai speaks over HTTP both ways; its clock and ours are turned together.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from sqlalchemy import insert, select
from tornado.netutil import bind_sockets

from accounts.audit.model import By
from accounts.model import Session
from devices.fleet.qr import QrCodes
from devices.flow import store as books
from devices.flow.events import hear
from devices.flow.model import Opened, Rules
from devices.flow.service import Cabinets
from devices.inbox.service import Inbox
from devices.orders.model import Order
from devices.orders.model import Rules as OrderRules
from devices.orders.money import CANCEL, SETTLE
from devices.orders.rows import store as orders
from devices.orders.service import Orders
from devices.sessions import store as sessions
from devices.sessions.model import ENDED, DoorSession, State
from devices.stock.model import PUT
from devices.stock.service import Stock, beside
from devices.vendors.port import CabinetVendor
from devices.vendors.xiaomai.signing import Key
from devices.vendors.xiaomai.vendor import Xiaomai as Adapter
from handlers.callbacks import routes as callback_routes
from handlers.http import Front, http_server
from handlers.limits import Limits
from handlers.notices import routes as notice_routes
from handlers.request import Edge
from handlers.routing import Route, Table
from payments.ledger.model import TICKET_ISSUE, Asset, hold_of, tickets_of
from payments.ledger.store import balance, post
from payments.scores.service import Scores
from payments.service import Payments
from server.config import load
from server.outbox import TENACIOUS, Outbox
from server.wechatpay import NOTICE_PATHS, WeChatPay
from simulators import xiaomai
from simulators.wechat import WeChat
from sql.alerts import open_alerts
from sql.database import Database, Tx
from sql.tables import metadata
from sql.tables.devices import (
    device_doors,
    devices,
    door_stock,
    planograms,
    staff_stores,
    stores,
)
from tests.clock import Clock
from tests.payments.core.till import MERCHANT, Bank
from tests.payments.scores.market import pay_settings

STORE, OTHER_STORE = 1, 2
CABINETS = {1: "XM-1", 2: "XM-2"}
ANNA, BEN, CARL = 7, 8, 9
OPENID = "o-diner"
CLERK, FOREIGNER = 11, 13
PRICES = {"cola": 350, "nuts": 100, "tea": 500}
STOCK = {"cola": 20, "nuts": 20, "tea": 20}
CODES = QrCodes("a secret of thirty-two bytes or more")
RULES = Rules(
    orders=OrderRules(review_limit_fen=20_000, stock_tolerance=2), salt="a salt for vendors"
)


def by(account_id: int = CLERK) -> By:
    return By("staff", account_id, "10.0.0.9")


class Town:
    """Services over one open database, as one process has them; `start` makes them anew."""

    def __init__(
        self, db: Database, clock: Clock, sim: xiaomai.Xiaomai, wechat: WeChat | None = None
    ) -> None:
        self.db = db
        self.clock = clock
        self.sim = sim
        self.wechat = wechat
        self.pay: WeChatPay | None = None
        self.bank = Bank(clock)
        self.adapter = self.adapter_with(patience_s=20)
        self.vendors: dict[str, CabinetVendor] = {"xiaomai": self.adapter}
        self.start()

    def adapter_with(self, *, patience_s: float) -> Adapter:
        """A busy machine is slow, which no test is to mistake for a vendor that does not answer."""
        return Adapter(
            self.sim.url,
            Key(xiaomai.APP_ID, xiaomai.KEY_ID, xiaomai.SECRET),
            endpoints={xiaomai.ENDPOINT_ID: [xiaomai.CALLBACK_SECRET]},
            now=self.clock.now,
            timeout_s=patience_s,
        )

    def start(self, *, db: Any = None, rules: Rules = RULES) -> None:
        """Services that know nothing but what the database has."""
        db = db or self.db
        pay = self.pay
        self.payments = Payments(
            db,
            self.bank if pay is None else pay.gateway,
            merchant=MERCHANT if pay is None else pay.who_we_are,
            readers={} if pay is None else pay.readers,
            two_person_above_fen=rules.orders.two_person_above_fen,
        )
        self.orders = Orders(db, self.payments, rules.orders)
        self.scores = Scores(db, self.payments, None if pay is None else pay.payscore)
        self.cabinets = Cabinets(
            db,
            self.vendors,
            CODES,
            scores=self.scores,
            rules=rules,
            score_over=self.orders.score_over,
        )
        self.stock = Stock(db, self.vendors)
        handle = beside(self.cabinets.handle, self.stock)
        self.inbox = Inbox(db, self.vendors, handle, hear=hear)
        self.outbox = Outbox(
            db,
            {
                "cabinet.confirm": self.cabinets.deliver_confirmation,
                SETTLE: self.orders.deliver_settle,
                CANCEL: self.orders.deliver_cancel,
                PUT: self.stock.put,
            },
            now=self.clock.now,
            runner="town",
            rhythms={"cabinet.confirm": TENACIOUS},
            asked=books.parcel_stuck,
            relieved=books.parcel_arrived,
        )

    def routes(self) -> list[Route]:
        async def receive(code: str, arrived: Any) -> Any:
            return await self.inbox.receive(code, arrived)

        async def notified(raw: bytes, headers: Mapping[str, str], path: str) -> str:
            return await self.payments.receive(raw, headers, path)

        async def scanned(*_: object) -> bytes:
            raise AssertionError("nobody scans a code on the wall here")

        return [
            *callback_routes(receive, self.vendors, now=self.clock.now),
            *notice_routes(notified, scanned, NOTICE_PATHS),
        ]

    # ------------------------------------------------------------ people

    async def open(
        self,
        account_id: int = ANNA,
        *,
        cabinet: int = 1,
        door_no: int = 1,
        pay_with: Any = "ticket",
        key: str = "",
        openid: str = OPENID,
    ) -> Opened:
        qr = CODES.door(cabinet, door_no, 1)
        return await self.cabinets.open(account_id, qr, pay_with, key=key, openid=openid)

    async def grant(self, tickets: int, account_id: int = ANNA, key: str = "1") -> None:
        lines = [
            (TICKET_ISSUE, Asset.TICKET, -tickets),
            (tickets_of(account_id), Asset.TICKET, tickets),
        ]
        await self.db.write(post, "grant", f"{account_id}:{key}", "grant", lines)

    async def tickets(self, account_id: int = ANNA) -> int:
        return await self.db.read(balance, tickets_of(account_id), Asset.TICKET)

    async def held(self, account_id: int = ANNA) -> int:
        return await self.db.read(balance, hold_of(account_id, "cabinet"), Asset.TICKET)

    def shop(self, *skus: str, door_no: int = 1, cabinet: int = 1) -> None:
        self.sim.cabinet(CABINETS[cabinet]).shop(*skus, door_no=door_no)

    # ------------------------------------------------------------ time

    async def hear(self) -> None:
        """All that is due was told, and worked off."""
        await self.sim.idle()
        await self.inbox.work_due()
        if self.wechat is not None:
            await self.scores.push_due()
            await self.payments.settle_due()
            await self.wechat.pay.notifier.idle()

    async def turn(self, seconds: float) -> None:
        """Both clocks go on, in one step; then what is due is done."""
        self.clock.advance(seconds=seconds)
        if self.wechat is not None:
            self.wechat.clock.advance(seconds)
        await self.sim.turn(seconds)
        await self.hear()
        await self.cabinets.run_due()
        await self.hear()
        await self.outbox.deliver_due()

    async def pass_by(self, seconds: float, step: float = 5.0) -> None:
        """Many small steps, as time does."""
        while seconds > 0:
            await self.turn(min(step, seconds))
            seconds -= step

    async def confirm(self, opened: Opened) -> None:
        """The person confirms the Payscore order on the phone, and WeChat says so."""
        assert self.wechat is not None
        score = self.wechat.pay.score
        number = (await self.session(opened)).score_no
        score.confirm(score.all[number], OPENID)
        await self.wechat.pay.notifier.idle()

    # ------------------------------------------------------------ looking

    async def session(self, opened: Opened | DoorSession | int) -> DoorSession:
        if isinstance(opened, Opened):
            opened = opened.session
        return await self.db.read(sessions.load, opened if isinstance(opened, int) else opened.id)

    async def state(self, opened: Opened | DoorSession | int) -> State:
        return (await self.session(opened)).state

    async def order(self, opened: Opened | DoorSession) -> Order | None:
        return await self.db.read(orders.of_session, (await self.session(opened)).id)

    async def desk(self) -> list[tuple[str, str]]:
        """(kind, subject) of what is on the exception desk."""
        found = await self.rows("cabinet_exceptions")
        return [(row["kind"], row["subject"]) for row in found if row["open_key"]]

    async def alerts(self) -> list[tuple[str, str]]:
        return [(alert.kind, alert.subject) for alert in await self.db.read(open_alerts)]

    async def rows(self, table: str) -> list[dict[str, Any]]:
        return await self.db.read(read_rows, table)

    def asked(self, endpoint: str) -> int:
        """How often the platform was asked for something."""
        return sum(call.endpoint == endpoint for call in self.sim.calls)

    def unlocked(self) -> list[str]:
        """The session numbers of all commands that reached a cabinet."""
        return [opening.asked.session_no for opening in self.sim.openings.values()]

    # ------------------------------------------------------------ what must always hold

    async def is_well(self) -> None:
        """The invariants of the contract, after whatever has happened."""
        await self.hear()
        assert await self.payments.check_books() == []
        found = await self.db.read(read_rows, "door_sessions")
        by_session: dict[int, int] = {}
        for row in await self.rows("cabinet_orders"):
            net = row["paid_fen"] - row["refunded_fen"]
            assert 0 <= net <= row["due_fen"] or row["state"] == "review", row
            if row["session_key"] is not None:
                by_session[row["session_key"]] = by_session.get(row["session_key"], 0) + 1
        assert all(count == 1 for count in by_session.values())
        await self._see_holds(found)
        states = {row["state"] for row in await self.rows("callback_inbox")}
        assert states <= {"done", "quarantined", "dead"}
        known = {row["no"] for row in found}
        assert set(self.unlocked()) <= known, "an unlocked door without a session"

    async def _see_holds(self, found: Sequence[Mapping[str, Any]]) -> None:
        """No hold outlives a final state, and what is held is held for somebody."""
        for account_id in {row["account_id"] for row in found}:
            waiting = [
                row["hold_tickets"]
                for row in found
                if row["account_id"] == account_id and row["state"] not in ENDED
            ]
            held = await self.held(account_id)
            assert 0 <= held <= sum(waiting), (account_id, held, waiting)

    async def replays(self) -> None:
        """Working the whole inbox once more changes nothing."""
        before = await self.picture()
        await self.inbox.replay()
        after = await self.picture()
        changed = {
            name: [row for row in rows if row not in before[name]] for name, rows in after.items()
        }
        changed = {name: rows for name, rows in changed.items() if rows}
        assert not changed, changed
        assert after == before

    async def picture(self) -> dict[str, list[dict[str, Any]]]:
        names = ("door_sessions", "cabinet_orders", "order_revisions", "order_charges")
        more = ("ledger_journals", "cabinet_exceptions", "sales", "stock_moves", "door_stock")
        around = ("planograms", "vendor_goods", "devices", "device_doors", "alerts", "outbox")
        there = [name for name in (*names, *more, *around) if name in metadata.tables]
        return {name: await self.rows(name) for name in there}


def read_rows(tx: Tx, table: str) -> list[dict[str, Any]]:
    rows_of = metadata.tables[table]
    order = list(rows_of.primary_key)
    return [dict(row) for row in tx.execute(select(rows_of).order_by(*order)).mappings()]


def furnish(tx: Tx) -> None:
    """Two stores; two cabinets of two doors in the first."""
    common = {"deleted_at": None, "created_at": tx.now, "updated_at": tx.now}
    for store_id in (STORE, OTHER_STORE):
        row = {"id": store_id, "code": f"S{store_id}", "name": f"Store {store_id}"}
        shape = {"type": "kids", "property": "own", "address": "", "phone": ""}
        tx.execute(insert(stores), {**row, **shape, **common, "review_limit_fen": None})
    for device_id, code in CABINETS.items():
        tx.execute(insert(devices), _device(tx, device_id, code))
        for door_no in (1, 2):
            door = {"device_id": device_id, "door_no": door_no, "lock": "unknown"}
            tx.execute(insert(device_doors), {**door, "door": "unknown", "changed_at": None})
            for sku, quantity in STOCK.items():
                tx.execute(insert(door_stock), _stock(tx, device_id, door_no, sku, quantity))
        tx.execute(insert(planograms), _planogram(tx, device_id))
    tx.execute(insert(staff_stores), {"account_id": FOREIGNER, "store_id": OTHER_STORE})


def _stock(tx: Tx, device_id: int, door_no: int, sku: str, quantity: int) -> dict[str, Any]:
    return {
        "device_id": device_id,
        "door_no": door_no,
        "sku": sku,
        "quantity": quantity,
        "capacity": 50,
        "expires_on": None,
        "blocked_at": None,
        "changed_at": tx.now,
    }


def _planogram(tx: Tx, device_id: int) -> dict[str, Any]:
    slots = [
        {
            "door_no": door_no,
            "layer": 1,
            "slot": slot,
            "sku": sku,
            "price_fen": price_fen,
            "stock": STOCK[sku],
            "capacity": 50,
            "expires_on": None,
        }
        for door_no in (1, 2)
        for slot, (sku, price_fen) in enumerate(PRICES.items(), start=1)
    ]
    return {
        "device_id": device_id,
        "version": 1,
        "base_version": 0,
        "state": "put",
        "slots": msgspec.json.encode(slots).decode(),
        "by_account": 0,
        "at": tx.now,
        "put_at": tx.now,
    }


def _device(tx: Tx, device_id: int, code: str) -> dict[str, Any]:
    """A row in which all that matters here is set, and the rest is what it may be."""
    row: dict[str, Any] = {}
    for column in devices.columns:
        if column.nullable:
            row[column.name] = None
        elif column.type.python_type is int:
            row[column.name] = 0
        else:
            row[column.name] = ""
    texts = {"reported": "{}", "desired": "{}", "link": "online", "flips": "[]"}
    place = {"id": device_id, "vendor": "xiaomai", "code": code, "name": f"cabinet {code}"}
    times = {"link_since": tx.now, "last_seen_at": tx.now, "created_at": tx.now}
    state = {"status": "bound", "service": "open", "store_id": STORE}
    counted = {"qr_version": 1, "planogram_version": 1, "version": 1, "epoch": 1}
    return {**row, **texts, **place, **times, **state, **counted}


def set_device(tx: Tx, /, device_id: int, **values: Any) -> None:
    tx.execute(devices.update().where(devices.c.id == device_id).values(values))


@asynccontextmanager
async def town_of(
    db: Database, clock: Clock, wechat: WeChat | None = None, *, url: str = ""
) -> AsyncIterator[Town]:
    """A town that is open: the platform listens, and our callbacks do. wechat: pays afterwards."""
    sim = xiaomai.Xiaomai(clock.now() / 1000)
    await sim.start()
    for code in CABINETS.values():
        sim.add_cabinet(code, doors=2, stock=STOCK, prices=PRICES, bound_to="S1")
    await db.write(furnish)
    town = Town(db, clock, sim, wechat)
    async with listening(town.routes(), clock) as base:
        sim.courier.url = f"{base}/cb/xiaomai/{xiaomai.ENDPOINT_ID}/events"
        if wechat is not None:
            settings = {
                **pay_settings(wechat),
                "CALLME_WECHATPAY__NOTIFY_BASE": base,
                "CALLME_DATABASE__URL": url,
            }
            town.pay = WeChatPay(load(environment=settings), now=clock.now)
            town.start()
        try:
            yield town
        finally:
            await sim.stop()
            await town.adapter.close()
            if town.pay is not None:
                await town.pay.close()


@asynccontextmanager
async def listening(routes: Sequence[Route], clock: Clock) -> AsyncIterator[str]:
    """These routes on a socket; its address."""

    def authenticate(token: str) -> Session:
        raise AssertionError(token)

    edge = Edge(
        now=clock.now, authenticate=authenticate, limits=Limits(enabled=False), access_log=False
    )
    front = Front(Table(routes), edge)
    server = http_server(front)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.stop()
        await front.stop(5)
        await server.close_all_connections()
