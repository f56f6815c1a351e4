"""Two stores with cabinets, at the simulated Xiaomai, and what becomes of shopping at them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import insert, select, update

from accounts.audit.model import By
from commerce.members.store import GrantAsk
from devices.desk.store import raise_exception
from devices.fleet.model import Device
from devices.flow import steps
from devices.orders import store as order_store
from devices.orders.rows.store import unpaid_of
from devices.sessions import store as sessions
from devices.sessions.model import PHYSICAL, DoorSession, State
from devices.sessions.store import New
from devices.vendors.port import Certainty, Item, OrderFact
from payments.ledger.holds import hold
from payments.ledger.model import Asset, tickets_of
from server.app import App
from server.cabinets import CabinetSide
from simulators import erp, xiaomai
from simulators.xiaomai.orders import Order as PlatformOrder
from simulators.xiaomai.orders import Revision as PlatformRevision
from sql.database import Tx
from sql.tables.commerce import goods, members, sales_batches
from sql.tables.devices import (
    callback_inbox,
    devices,
    door_sessions,
    door_stock,
    planograms,
    staff_stores,
)

STORES: Final = {"A": "STREET-A", "B": "STREET-B"}
# Who shops where; whoever is kept to store A sees what is of it.
SHOPPERS: Final = {"A": "diner", "B": "other"}
PHONES: Final = {"A": "13800001111", "B": "13800002222"}
PRICES: Final = {"SKU-1001": 350, "SKU-1002": 100}
MISSING: Final = 999_999
REASON: Final = "seen"
SYSTEM: Final = By("system")

# Somebody is at a door, or an order is awaited; and how such a session may end.
WAITING: Final = [*PHYSICAL, State.CLOSED]
ENDS: Final = {State.REQUESTED: State.REJECTED, State.CLOSED: State.NO_PURCHASE}

# One pixel.
PNG: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)


def street_settings(platform: xiaomai.Xiaomai, books: erp.Erp) -> dict[str, str]:
    """The cabinets' platform and the ERP are the simulated ones."""
    return {
        "CALLME_XIAOMAI__URL": platform.url,
        "CALLME_XIAOMAI__APP_ID": xiaomai.APP_ID,
        "CALLME_XIAOMAI__KEY_ID": xiaomai.KEY_ID,
        "CALLME_XIAOMAI__SECRET": xiaomai.SECRET,
        "CALLME_XIAOMAI__CALLBACK_SECRET": xiaomai.CALLBACK_SECRET,
        "CALLME_XIAOMAI__ENDPOINT_ID": xiaomai.ENDPOINT_ID,
        "CALLME_ERP__URL": books.url,
        "CALLME_ERP__TOKEN": erp.TOKEN,
    }


class Street:
    """Each thing is made anew for whoever asks, in the place named: "A" or "B"."""

    def __init__(self, app: App, platform: xiaomai.Xiaomai) -> None:
        self.app = app
        self.side: CabinetSide = app.cabinets
        self.platform = platform
        self.stores: dict[str, int] = {}
        self.members: dict[str, int] = {}
        self.serial = 0

    async def build(self, members: Mapping[str, int]) -> None:
        """members: the account of whoever shops, by place."""
        self.members = dict(members)
        for place, code in STORES.items():
            values = {"code": code, "name": f"store {place}", "type": "kids", "property": "own",
                      "address": "", "phone": "021-5550100", "review_limit_fen": None}  # fmt: skip
            self.stores[place] = (await self.side.fleet.create_store(values, by=SYSTEM)).id
            await self.side.members.change_own(
                self.members[place], username=f"member {place}", phone=PHONES[place]
            )

    async def open_shop(self) -> None:
        """There are goods, and everybody has bought something."""
        await self.side.goods.sync()
        for place in STORES:
            await self.order(place)

    async def keep(self, account_id: int) -> None:
        """Keep somebody of the staff to store A."""
        await self.app.db.write(_keep, account_id, self.stores["A"])

    def next(self) -> int:
        self.serial += 1
        return self.serial

    # ------------------------------------------------------------ stores and cabinets

    async def empty_store(self, place: str) -> int:
        """One in which nothing stands; in A also for those who are kept to that."""
        code = f"EMPTY-{self.next()}"
        values = {"code": code, "name": code, "type": "arcade", "property": "franchise",
                  "address": "", "phone": "", "review_limit_fen": None}  # fmt: skip
        made = await self.side.fleet.create_store(values, by=SYSTEM)
        if place == "A":
            await self.app.db.write(_open_to_kept, self.stores["A"], made.id)
        return made.id

    async def loose_device(self) -> Device:
        """A cabinet with two doors that stands in no store."""
        code = f"XM-{self.next()}"
        self.platform.add_cabinet(code, doors=2, prices=PRICES)
        return await self.side.fleet.create_device(
            vendor="xiaomai", code=code, name=f"cabinet {code}", doors=(1, 2), by=SYSTEM
        )

    async def device(self, place: str) -> Device:
        """A cabinet that stands there, is filled, and is heard of."""
        made = await self.loose_device()
        await self.side.fleet.bind(made.id, self.stores[place], by=SYSTEM)
        await self.app.db.write(_fill, made.id)
        return await self.side.fleet.device(made.id, by=SYSTEM)

    def sticker(self, device: Device, door_no: int = 1) -> str:
        return self.side.fleet.door_qr(device, door_no)

    # ------------------------------------------------------------ shopping

    async def session(self, place: str) -> int:
        """Somebody was at a door there; the order has not come yet. Its id."""
        return (await self._visited(place)).id

    async def _visited(self, place: str) -> DoorSession:
        device = await self.device(place)
        return await self.app.db.write(_visit, device, self.members[place], 0)

    async def order(self, place: str, *, is_paid: bool = True) -> int:
        """Two drinks, paid in tickets, or not at all."""
        device, tickets = await self.device(place), PRICES["SKU-1001"] * 2 * 5
        balance = (await self.side.members.own(self.members[place]))[2]
        if is_paid:
            await self.grant(place, tickets)
        elif balance:
            await self.grant(place, -balance)
        session = await self.app.db.write(
            _visit, device, self.members[place], tickets if is_paid else 0
        )
        rules = self.side.orders.rules
        order_id = await self.app.db.write(_take, device, session, rules)
        if not is_paid:
            # So that it can be paid.
            await self.grant(place, tickets)
        return order_id

    async def filmed(self, place: str) -> int:
        """A paid order of which the platform has a film."""
        order_id = await self.order(place)
        chain, _ = await self.side.orders.detail(order_id, by=SYSTEM)
        number = chain.main.vendor_order_no
        assert number is not None
        device = await self.side.fleet.device(chain.main.device_id, by=SYSTEM)
        nothing: dict[str, Any] = {
            **dict.fromkeys(("session_no", "request_id", "user_ref"), ""),
            **dict.fromkeys(("door_no", "worth_fen", "weight_before_g", "weight_after_g"), 0),
            **dict.fromkeys(("opened_at", "closed_at")),
        }
        known = PlatformOrder(
            wheat_order_no=number, device_code=device.code, taken={}, video="ready", **nothing
        )
        known.revisions = [PlatformRevision(rev=1, certainty="certain", items=(), total_fen=0)]
        self.platform.orders.add(known, self.platform.now_ms())
        return order_id

    async def grant(self, place: str, tickets: int) -> None:
        await self.side.members.grant(
            GrantAsk(
                account_id=self.members[place],
                tickets=tickets,
                reason=REASON,
                by=SYSTEM,
                key=f"grant {self.next()}",
            )
        )

    async def exception(self, place: str) -> int:
        """A session whose order does not come; its id on the desk."""
        session = await self._visited(place)
        return await self.app.db.write(_raise, session)

    async def complaint(self, place: str) -> tuple[int, int]:
        """About a paid order, with a picture; its id, and the order's."""
        order_id = await self.order(place)
        made = await self.side.complaints.complain(
            order_id, self.members[place], text="it was warm", pictures=[PNG], key=""
        )
        return made.id, order_id

    async def batch(self) -> int:
        """What was sold goes to the ERP; the id of the batch."""
        return await self.app.db.write(_a_batch, self.next())

    async def report(self) -> int:
        """One of yesterday's, once it is made; its id."""
        await self.side.reports.make_daily()
        _, found = await self.side.reports.page(kind="", day=0, by=SYSTEM, offset=0, most=1)
        return found[0].id

    async def event(self) -> int:
        """Of a cabinet that nobody knows; its id."""
        return await self.app.db.write(_an_event, self.next())

    async def good(self) -> int:
        found = await self.app.db.read(_a_good)
        assert found, "the ERP gave goods"
        return found

    # ------------------------------------------------------------ afterwards

    async def mend(self) -> None:
        """Nobody is at a door, and nobody owes anything."""
        if await self.app.db.read(_is_untidy, tuple(self.members.values())):
            for order_id in await self.app.db.write(_tidy, tuple(self.members.values())):
                await self.side.orders.waive(order_id, reason=REASON, by=SYSTEM)
            for member_id in self.members.values():
                await self.side.members.bar(member_id, is_barred=False, by=SYSTEM, reason=REASON)


# ---------------------------------------------------------------- as transactions


def _keep(tx: Tx, account_id: int, store_id: int) -> None:
    tx.execute(insert(staff_stores), {"account_id": account_id, "store_id": store_id})


def _open_to_kept(tx: Tx, known: int, store_id: int) -> None:
    mine = select(staff_stores.c.account_id).where(staff_stores.c.store_id == known)
    rows = [{"account_id": each, "store_id": store_id} for each in tx.execute(mine).scalars()]
    tx.execute(insert(staff_stores), rows)


def _fill(tx: Tx, device_id: int) -> None:
    """Ten of everything behind both doors, and it has just been heard of."""
    slots = []
    for door_no in (1, 2):
        for slot, (sku, price_fen) in enumerate(PRICES.items(), start=1):
            place = {"door_no": door_no, "sku": sku}
            shelf = {"quantity": 10, "capacity": 20, "expires_on": None}
            row = {**place, **shelf, "device_id": device_id, "blocked_at": None}
            tx.execute(insert(door_stock), {**row, "changed_at": tx.now})
            lies = {"layer": 1, "slot": slot, "price_fen": price_fen, "stock": 10}
            slots.append({**place, **lies, "capacity": 20, "expires_on": None})
    layout = {"device_id": device_id, "version": 1, "base_version": 0, "state": "put"}
    text = msgspec.json.encode(slots).decode()
    times = {"by_account": 0, "at": tx.now, "put_at": tx.now}
    tx.execute(insert(planograms), {**layout, **times, "slots": text})
    seen = {"link": "online", "last_seen_at": tx.now, "planogram_version": 1}
    tx.execute(update(devices).where(devices.c.id == device_id).values(**seen))


def _visit(tx: Tx, device: Device, account_id: int, tickets: int) -> DoorSession:
    """A door was opened and closed; so many tickets are set aside."""
    session = sessions.begin(
        tx,
        New(
            once_key=sessions.new_key(),
            vendor=device.vendor,
            device_id=device.id,
            door_no=1,
            store_id=device.store_id or 0,
            account_id=account_id,
            purpose="shop",
            pay_with="ticket",
            limit_fen=20_000,
            planogram_version=1,
            prices=PRICES,
        ),
    )
    if tickets:
        hold(tx, "cabinet", str(session.id), tickets_of(account_id), Asset.TICKET, tickets)
        session = sessions.note(tx, session, hold_tickets=tickets)
    for state in (State.OPENING, State.OPEN, State.CLOSED):
        session = sessions.move(tx, session, state)
    return session


def _take(tx: Tx, device: Device, session: DoorSession, rules: Any) -> int:
    sku, price_fen = next(iter(PRICES.items()))
    fact = OrderFact(
        vendor_order_no=f"W-{session.no}"[:50],
        device_code=device.code,
        door_no=1,
        session_no=session.no,
        rev=1,
        certainty=Certainty.CERTAIN,
        items=(Item(sku=sku, quantity=2, price_fen=price_fen, name="a drink"),),
        total_fen=2 * price_fen,
    )
    return order_store.take_order(tx, device.vendor, fact, source="push", rules=rules).order_id


def _raise(tx: Tx, session: DoorSession) -> int:
    return raise_exception(
        tx,
        "no_order",
        f"session:{session.id}",
        severity="normal",
        text="no order has come",
        store_id=session.store_id,
        device_id=session.device_id,
        session_id=session.id,
    )


def _a_batch(tx: Tx, number: int) -> int:
    row = {
        "batch_no": f"20261119-{number}", "day": 20261119, "lines": 0, "amount_fen": 0,
        "tickets": 0, "state": "sent", "erp_no": f"E{number}", "created_at": tx.now,
        "sent_at": tx.now,
    }  # fmt: skip
    key = tx.execute(insert(sales_batches), row).inserted_primary_key
    assert key is not None
    return int(key[0])


def _an_event(tx: Tx, number: int) -> int:
    row = {
        "vendor": "xiaomai", "endpoint_id": "ep", "event_id": f"ev_{number}",
        "event_type": "DoorOpened", "device_code": "nobodys", "body": b"{}",
        "occurred_at": tx.now, "received_at": tx.now, "state": "quarantined", "tries": 0,
        "next_at": None, "ended_at": tx.now, "outcome": "nobody knows this device",
    }  # fmt: skip
    key = tx.execute(insert(callback_inbox), row).inserted_primary_key
    assert key is not None
    return int(key[0])


def _a_good(tx: Tx) -> int:
    return int(tx.execute(select(goods.c.id).order_by(goods.c.id).limit(1)).scalar() or 0)


def _is_untidy(tx: Tx, accounts: tuple[int, ...]) -> bool:
    at_doors = tx.execute(select(door_sessions.c.id).where(door_sessions.c.state.in_(WAITING)))
    barred = tx.execute(select(members.c.account_id).where(members.c.barred_at.is_not(None)))
    owing = any(unpaid_of(tx, each) for each in accounts)
    return bool(at_doors.all() or barred.all() or owing)


def _tidy(tx: Tx, accounts: tuple[int, ...]) -> list[int]:
    """End all sessions that wait for something; what is still owed."""
    for session in sessions.in_state(tx, WAITING):
        steps.end(tx, session, ENDS.get(session.state, State.NOT_OPENED), "tidied")
    return [order.id for each in accounts for order in unpaid_of(tx, each)]
