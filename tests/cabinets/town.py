"""A whole server with cabinets in one process, and the time of everybody in the test's hand.

The server's own runners are stopped: what is due is done when the test turns the clock, by the
same schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from server.app import App, start
from server.config import load
from simulators.xiaomai.cabinets import Cabinet
from sql.database import Tx
from sql.tables import metadata
from tests.cabinets.world import ADMIN, COLLEAGUE, Person, World
from tests.chaos.people import Socket
from tests.chaos.wire import Wire
from tests.clock import Clock

# More rounds than this at one moment are somebody who never comes to an end.
ROUNDS_MAX = 200


class Town:
    """`await open()`; `boss` and a `colleague` run it. cabinets: ids by the platform's code."""

    app: App
    boss: Person
    colleague: Person

    def __init__(self, world: World, clock: Clock, settings: Mapping[str, str]) -> None:
        self.world = world
        self.clock = clock
        self.settings = dict(settings)
        self.base = f"http://127.0.0.1:{settings['CALLME_SERVER__PORT']}"
        self.cabinets: dict[str, int] = {}
        self._sockets: list[Socket] = []

    # ------------------------------------------------------------ its life

    async def open(self, codes: list[str]) -> None:
        await self.start()
        for code in codes:
            self.world.deliver(code)
        self.boss, self.colleague = [
            await Person(self.world, self.base, openid=openid, app="seller").sign_in()
            for openid in (ADMIN, COLLEAGUE)
        ]
        self.cabinets = await self.boss.furnish(codes)
        # The platform hears of the goods, then of the layouts, then each cabinet reports.
        await self.pass_by(75, step=25)
        assert [row["state"] for row in await self.rows("planograms")] == ["put"] * len(codes)

    async def start(self) -> None:
        self.app = await start(load(environment=self.settings), self.clock.now)
        for runner in self.app.runners:
            await runner.stop()

    async def restart(self) -> None:
        """Another process, which knows only what the database has."""
        await self.app.stop()
        await self.start()

    async def close(self) -> None:
        for socket in self._sockets:
            await socket.end()
        await self.app.stop()

    # ------------------------------------------------------------ time

    async def work(self) -> None:
        """Do what is due at this moment of the clock, here and outside, until nothing is."""
        ran: list[str] = []
        for _ in range(ROUNDS_MAX):
            await self.world.idle()
            ran = [name for runner in self.app.runners for name in await runner.run_due()]
            if not ran:
                return
        raise AssertionError(f"never quiet: {ran}")

    async def turn(self, seconds: float) -> None:
        """All clocks at once, in one step."""
        self.clock.advance(seconds=seconds)
        self.world.advance(seconds)
        await self.work()

    async def pass_by(self, seconds: float, step: float = 5.0) -> None:
        """Many small steps, as time does."""
        while seconds > 0:
            await self.turn(min(step, seconds))
            seconds -= step

    # ------------------------------------------------------------ people and places

    async def shopper(self, openid: str, *, tickets: int = 0) -> Person:
        person = await Person(self.world, self.base, openid=openid).sign_in()
        if tickets:
            await self.boss.grant(person.account_id, tickets)
        return person

    async def listen(self, person: Person, *topics: str) -> Socket:
        socket = Socket(await Wire.connect(self.app.port))
        self._sockets.append(socket)
        await socket.ask("auth", token=person.token)
        for topic in topics:
            await socket.ask("subscribe", topic=topic)
        return socket

    def cabinet(self, code: str) -> Cabinet:
        return self.world.xiaomai.cabinet(code)

    def sticker(self, code: str, door_no: int = 1) -> str:
        """What one scans at the door."""
        return self.cabinet(code).door(door_no).qr_token

    # ------------------------------------------------------------ what is there

    async def rows(self, table: str) -> list[dict[str, Any]]:
        return await self.app.db.read(read_rows, table)

    async def states(self) -> dict[int, str]:
        """Of all door sessions."""
        return {row["id"]: row["state"] for row in await self.rows("door_sessions")}


def read_rows(tx: Tx, table: str) -> list[dict[str, Any]]:
    rows_of = metadata.tables[table]
    order = list(rows_of.primary_key)
    return [dict(row) for row in tx.execute(select(rows_of).order_by(*order)).mappings()]
