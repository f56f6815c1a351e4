"""All shoppers, and whoever fills the cabinets up again."""

import asyncio
import contextlib
from random import Random
from typing import Any

import httpx
import msgspec

from simulators.rush.links import LinkLostError, Pace
from simulators.shoppers.notes import Notes
from simulators.shoppers.phone import Phone
from simulators.shoppers.restocker import Restocker
from simulators.shoppers.street import Street
from simulators.shoppers.trip import SETTLES_WITHIN_S, Trip

RESTOCK_EVERY_S = 45.0
BETWEEN_TRIPS_S = (5.0, 40.0)
# Every third pays by WeChat, the others in tickets.
MEANS = ("ticket", "wechat", "ticket")


class Plan(msgspec.Struct, frozen=True):
    """duration_s: real seconds until nobody comes any more; 0 is until stopped. trips: at most
    so many; 0 is as many as there are. means: how to pay, in turn by shopper."""

    base_url: str
    control_url: str
    control_token: str
    wechat_url: str = ""
    staff_token: str = ""
    shoppers: int = 12
    speed: float = 1.0
    seed: int = 1
    duration_s: float = 0.0
    trips: int = 0
    means: tuple[str, ...] = MEANS
    settles_within_s: float = SETTLES_WITHIN_S


class Crowd:
    """`await run()`; `stop()` lets nobody else come, and run returns when the last is home."""

    def __init__(self, plan: Plan, notes: Notes | None = None) -> None:
        self.plan = plan
        self.notes = notes or Notes()
        self.closing = asyncio.Event()
        self._pace = Pace(plan.speed)
        self._rng = Random(plan.seed)
        self._begun = 0

    def stop(self) -> None:
        self.closing.set()

    def report(self) -> dict[str, Any]:
        """Counts, refusals by code, waiting times and violations so far."""
        return self.notes.report()

    async def run(self) -> None:
        limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
        async with httpx.AsyncClient(timeout=10, trust_env=False, limits=limits) as http:
            street = Street(http, self.plan.control_url, self.plan.control_token)
            timer = asyncio.create_task(self._close_in_time())
            trolley = asyncio.create_task(self._restock(http, street))
            try:
                async with asyncio.TaskGroup() as people:
                    for number in range(self.plan.shoppers):
                        rng = Random(self._rng.random())
                        people.create_task(self._live(http, street, number, rng))
            finally:
                self.stop()
                timer.cancel()
                await asyncio.gather(timer, trolley, return_exceptions=True)

    async def _live(
        self, http: httpx.AsyncClient, street: Street, number: int, rng: Random
    ) -> None:
        """Come again and again, with a pause between."""
        plan = self.plan
        openid = f"demo-shopper-{number + 1}"
        phone = Phone(http, plan.base_url, plan.wechat_url, openid, rng)
        while await self._pause(rng.uniform(*BETWEEN_TRIPS_S)):
            if plan.trips and self._begun >= plan.trips:
                self.stop()
                return
            self._begun += 1
            try:
                doors = await street.doors()
            except LinkLostError:
                doors = []
            if doors:
                trip = Trip(
                    phone,
                    street,
                    rng.choice(doors),
                    self.notes,
                    self._pace,
                    rng,
                    settles_within_s=plan.settles_within_s,
                )
                await trip.run(plan.means[number % len(plan.means)])

    async def _restock(self, http: httpx.AsyncClient, street: Street) -> None:
        if not self.plan.staff_token:
            return
        plan = self.plan
        restocker = Restocker(http, plan.base_url, plan.staff_token, street, self.notes)
        while await self._pause(RESTOCK_EVERY_S):
            await restocker.round()

    async def _pause(self, seconds: float) -> bool:
        """Whether there is still something to come for afterwards."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds / self.plan.speed):
                await self.closing.wait()
        return not self.closing.is_set()

    async def _close_in_time(self) -> None:
        if self.plan.duration_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.plan.duration_s):
                    await self.closing.wait()
            self.stop()
