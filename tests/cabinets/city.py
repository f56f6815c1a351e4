"""Servers of cabinets as processes, which can be killed, beside simulators that live on."""

from __future__ import annotations

import asyncio
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cabinets.agreement import agree
from tests.cabinets.day import Day
from tests.cabinets.process import CLOCK, TurnedClock
from tests.cabinets.town import Town
from tests.cabinets.world import ADMIN, COLLEAGUE, Person, World
from tests.chaos.cluster import PATIENCE_S, Node, until
from tests.clock import Clock
from tests.money.desk import free_port

ROOT = Path(__file__).parents[2]
# So long the servers have to do what a turn of the clock made due.
TURN_TAKES_S = 0.15


class Server(Node):
    command = ("-m", "tests.cabinets.process")


class City:
    """Of so many servers on one database; callbacks come to the first of them."""

    boss: Person
    colleague: Person

    def __init__(
        self, folder: Path, database_url: str, *, servers: int = 1, redis: str = ""
    ) -> None:
        self.world = World(None)
        self.folder = folder
        self.database_url = database_url
        self.cabinets: dict[str, int] = {}
        self.nodes: list[Server] = []
        self._clock = TurnedClock(folder / "clock")
        self._servers = servers
        self._redis = redis

    async def __aenter__(self) -> Self:
        await self.world.__aenter__()
        given = self.world.settings(self.database_url, self.folder, free_port())
        given |= {
            CLOCK: str(self.folder / "clock"),
            "PYTHONPATH": str(ROOT),
            "CALLME_REDIS__URL": self._redis,
        }
        self.nodes = [Server(given, self.folder) for _ in range(self._servers)]
        for node in self.nodes:
            node.given["CALLME_WECHATPAY__NOTIFY_BASE"] = self.nodes[0].url
        self.given = self.nodes[0].given
        self.world.call_at(self.nodes[0].url)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in self.nodes:
            node.close()
            if error is not None:
                error.add_note(f"server on {node.port}:\n{node.output[-6000:]}")
        await self.world.__aexit__(None, None, None)

    async def open(self, codes: list[str]) -> None:
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            await until(node.answers, node)
        for code in codes:
            self.world.deliver(code)
        bases = [node.url for node in self.nodes]
        self.boss, self.colleague = [
            await Person(
                self.world, *bases, openid=openid, app="seller", patience_s=PATIENCE_S
            ).sign_in()
            for openid in (ADMIN, COLLEAGUE)
        ]
        self.cabinets = await self.boss.furnish(codes)
        for device_id in self.cabinets.values():
            while not await self._is_laid_out(device_id):
                await self.turn(20)

    async def _is_laid_out(self, device_id: int) -> bool:
        found = await self.boss.ask("GET", f"/admin/devices/{device_id}/planogram")
        return found["coming"] is None

    async def shopper(self, openid: str, *, tickets: int) -> Person:
        bases = [node.url for node in self.nodes]
        person = Person(self.world, *bases, openid=openid, patience_s=PATIENCE_S)
        await person.sign_in()
        await self.boss.grant(person.account_id, tickets)
        # Whoever shops knows what it is to get no answer.
        person.patience_s = 0.0
        return person

    async def turn(self, seconds: float) -> None:
        """All clocks, in one step; then the servers have a moment."""
        self._clock.advance(seconds)
        self.world.advance(seconds)
        await self.world.idle()
        await asyncio.sleep(TURN_TAKES_S)
        await self.world.idle()

    async def settle(self, day: Day) -> dict[str, int]:
        """Stop the servers. One in this process goes on with what they have left, from the same
        moment, until all is over; then the books are compared. The figures.
        """
        for node in self.nodes:
            assert await node.stop() == 0
        clock = Clock()
        clock.set_ms(self._clock.now())
        self.world.stand_still()
        settings = {name: value for name, value in self.given.items() if name.startswith("CALLME_")}
        town = Town(self.world, clock, settings)
        town.boss, town.colleague = self.boss, self.colleague
        town.cabinets, day.town = self.cabinets, town
        for person in (self.boss, self.colleague, *(shopper.person for shopper in day.shoppers)):
            person.bases = cycle([town.base])
        await town.start()
        try:
            await day.end()
            return await agree(town, day)
        finally:
            await town.close()
