"""A canteen on real tables: its stalls, their sellers, and whoever comes to eat."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select, text

from queueing.acts import Act
from queueing.model import Actor, Stall, Ticket
from queueing.service import Queues
from queueing.stalls.pictures import Pictures
from queueing.stalls.service import Defaults, Stalls
from queueing.store import perform, stream_of
from sql import events
from sql.database import Database, Tx, open_database
from sql.events import Event
from sql.tables import metadata
from tests.clock import Clock

ADMIN = Actor("admin", account_id=900, session_id=90)
DINER = Actor("diner", account_id=21, session_id=31)
OTHER_DINER = Actor("diner", account_id=22, session_id=32)
STRANGER = Actor("seller", account_id=999, session_id=99)
SYSTEM = Actor("system")


def seller_of(stall_id: int) -> Actor:
    return Actor("seller", account_id=100 + stall_id, session_id=200 + stall_id)


class Canteen:
    """Services over one open database, as one process has them."""

    def __init__(self, url: str, clock: Clock, media: Path, *, shared: bool = False) -> None:
        self.url = url
        self.clock = clock
        self.media = media
        self.shared = shared
        self.events: list[Event] = []
        self.wakes: set[str] = set()
        self.reminders: list[dict[str, Any]] = []
        self.codes: list[tuple[str, str]] = []
        self.code = b""

    async def open(self) -> None:
        self.db: Database = await open_database(self.url, now=self.clock.now, told=self.told)
        self.queues = Queues(
            self.db, now=self.clock.now, send_reminder=self.send_reminder, shared=self.shared
        )
        self.stalls = Stalls(
            self.db,
            pictures=Pictures(self.media),
            make_code=self.make_code,
            defaults=Defaults(),
            sellers_changed=self.queues.forget_sellers,
            base_url="https://callme.test",
        )

    async def close(self) -> None:
        await self.db.close()

    async def restart(self) -> None:
        await self.close()
        await self.open()

    def told(self, committed: list[Event], wakes: set[str]) -> None:
        self.events += committed
        self.wakes |= wakes
        self.queues.told(committed)

    async def send_reminder(self, payload: dict[str, Any]) -> str:
        self.reminders.append(payload)
        return "sent"

    async def make_code(self, scene: str, page: str) -> bytes:
        self.codes.append((scene, page))
        return self.code

    # A stall and what happens at it

    async def stall(self, *, months: int = 3, **values: Any) -> Stall:
        """A new stall that has its seller, seller_of(stall.id)."""
        count = (await self.stalls.page(offset=0, most=1))[0]
        given = {"name": f"窗口{count + 1}", "phone": f"1380000{count + 1:04d}"} | values
        made = await self.stalls.create(given, months=months or 1, by=ADMIN)
        await self.stalls.sign_up(seller_of(made.id), phone=given["phone"])
        if not months:
            await self.db.write(
                execute, f"UPDATE stalls SET balance_months = 0 WHERE id = {made.id}"
            )
            await self.db.write(execute, f"DELETE FROM stall_months WHERE stall_id = {made.id}")
            await self.stalls.change(made.id, {})
        return await self.stalls.get(made.id)

    async def act(self, verb: str, by: Actor | None = None, **named: Any) -> Any:
        """One act; by the seller of the stall it is at, when nobody else is said."""
        at = named.get("stall_id") or named.get("ticket_id", 0) >> 32
        return await self.db.write(perform, Act(verb=verb, by=by or seller_of(at), **named))

    async def issue(self, stall_id: int, **named: Any) -> Ticket:
        ticket: Ticket = await self.act("issue", stall_id=stall_id, **{"key": "", **named})
        return ticket

    async def issue_many(self, stall_id: int, count: int) -> list[Ticket]:
        """By an administrator without a session, so that no tap counts as a double one."""
        by = Actor("admin", account_id=ADMIN.account_id)
        return list(await asyncio.gather(*(self.issue(stall_id, by=by) for _ in range(count))))

    async def called(self, stall_id: int, *, note: str = "", grant: str = "") -> Ticket:
        """A ticket that was issued, bound where there is a note, and called."""
        (ticket,) = await self.issue_many(stall_id, 1)
        if note:
            await self.act(
                "follow", DINER, stall_id=stall_id, number=ticket.number, note=note, grant=grant
            )
        called: Ticket = await self.act("call", ticket_id=ticket.id)
        return called

    async def stream(self, stall_id: int) -> list[Event]:
        """All events of the stall, as the tables have them."""
        _, found = await self.db.read(
            events.read_events, stream_of(stall_id), after=0, most=1_000_000
        )
        return found

    async def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table."""
        return await self.db.read(all_rows)


def all_rows(tx: Tx) -> dict[str, list[tuple[Any, ...]]]:
    tables = sorted(metadata.tables.values(), key=lambda table: table.name)
    return {
        table.name: sorted((tuple(row) for row in tx.execute(select(table))), key=repr)
        for table in tables
    }


def execute(tx: Tx, statement: str, rows: list[dict[str, Any]] | None = None) -> None:
    tx.execute(text(statement), rows)


def scalar(tx: Tx, statement: str) -> Any:
    return tx.execute(text(statement)).scalar()


def data(event: Event) -> dict[str, Any]:
    """What everyone may know of an event."""
    found: dict[str, Any] = msgspec.json.decode(event.data)
    return found


def private(event: Event) -> dict[str, Any]:
    """What staff and the ticket's diner may know of an event."""
    found: dict[str, Any] = msgspec.json.decode(event.private)
    return found
