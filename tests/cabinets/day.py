"""A day of shopping: people who shop, staff who restock and price, a desk, and trouble.

Everybody does one thing at a time, in an order that dice decide; between two things time passes.
What was really taken is known to the simulated cabinets, and to the shoppers by their bags.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Protocol

from simulators.xiaomai import Cabinet
from simulators.xiaomai.orders import Order
from tests.cabinets.office import Desk
from tests.cabinets.shopper import Shopper
from tests.cabinets.staff import Merchant, Restocker
from tests.cabinets.trouble import Trouble
from tests.cabinets.world import Person, World


class Place(Protocol):
    """What a day needs of the town it is in."""

    world: World
    boss: Person
    colleague: Person
    cabinets: dict[str, int]

    async def turn(self, seconds: float) -> None: ...


class Day:
    """people: who shop, `trips` times each, by one of `means`; trouble: how often, of one."""

    def __init__(
        self,
        town: Place,
        people: Iterable[Person],
        rng: Random,
        *,
        trips: int,
        trouble: float,
        means: tuple[str, ...] = ("ticket", "wechat"),
    ) -> None:
        self.town = town
        self.world = town.world
        self.rng = rng
        self.means = means
        self.doors = [
            (code, number)
            for code in sorted(town.cabinets)
            for number in sorted(self.cabinet(code).doors)
        ]
        self.shoppers = [Shopper(self, person, trips=trips) for person in people]
        self.restocker = Restocker(self, town.colleague)
        self.merchant = Merchant(self, town.boss)
        self.desk = Desk(self)
        self.trouble = Trouble(self)
        self.seen: Counter[str] = Counter()
        self._trouble = trouble
        self._first_day = dt.date.fromisoformat(self.world.erp.clock.beijing_day())

    def cabinet(self, code: str) -> Cabinet:
        return self.world.xiaomai.cabinet(code)

    def order_of(self, session_no: str) -> Order | None:
        orders = self.world.xiaomai.orders.all.values()
        return next((order for order in orders if order.session_no == session_no), None)

    def order_no(self, wheat_order_no: str) -> Order | None:
        return self.world.xiaomai.orders.all.get(wheat_order_no)

    async def grant(self, person: Person, tickets: int) -> None:
        await self.town.boss.grant(person.account_id, tickets)

    async def go_by(self, *, ticks_max: int = 2000) -> None:
        """Until everybody has been shopping as often as they wanted."""
        for tick in range(ticks_max):
            if all(shopper.is_home for shopper in self.shoppers):
                return
            if self.rng.random() < self._trouble:
                self.trouble.strike()
            for shopper in self.rng.sample(self.shoppers, len(self.shoppers)):
                await shopper.step()
            await self.restocker.step()
            await self.merchant.step()
            if tick % 20 == 19:
                await self.desk.work()
                await self.desk.mind_cabinets()
                await self.desk.mind_orders(share=0.3)
                await self.desk.hear_complaints()
            await self.town.turn(self.rng.choice((1, 3, 6, 15)))
        self.seen["sent home"] += 1

    async def go_home(self) -> None:
        """The shop closes: nobody begins a trip, doors are closed, and a few minutes pass."""
        for shopper in self.shoppers:
            shopper.leave()
        await self.restocker.leave()
        self.trouble.calm_down()
        for seconds in (*(5,) * 4, *(20,) * 3, *(60,) * 3):
            await self.town.turn(seconds)

    async def end(self) -> None:
        """Debts are paid, and all that waits comes to its end."""
        for seconds in (*(300,) * 2, *(1800,) * 2, *(7200,) * 4):
            await self.town.turn(seconds)
        await self.desk.mind_orders(share=0.2)
        await self._decide_all()
        for _ in range(8):
            # Days are compared and sales are sent at night; what is late by a day comes.
            was_over = await self._is_over()
            for _ in range(6):
                await self.town.turn(14_400)
            if not await self._decide_all() and was_over and not await self._unsold():
                return
        sessions = await self.town.boss.all_of("/admin/door-sessions")
        open_ones = [each for each in sessions if not each["is_over"] or each["state"] == "unpaid"]
        raise AssertionError(f"never over: {open_ones}, {await self._unsold()}, {self.seen}")

    async def _decide_all(self) -> int:
        """Decide until nothing is left; how much there was."""
        count = 0
        while left := await self.desk.clear_up():
            count += left
            assert count < 1000, self.seen
            await self.town.turn(60)
            await self._pay_all()
            await self.town.turn(3600)
        await self._pay_all()
        return count

    async def _pay_all(self) -> None:
        for shopper in self.shoppers:
            await shopper.try_to_pay()

    async def _unsold(self) -> int:
        """Lines that the ERP has not heard of yet, refunds among them."""
        totals = [
            await self.town.boss.ask("GET", f"/admin/sales-totals?day={day}")
            for day in self._days()
        ]
        return sum(each["lines"] - each["sent_lines"] for each in totals)

    def _days(self) -> list[str]:
        """From the first one until today."""
        today = dt.date.fromisoformat(self.world.erp.clock.beijing_day())
        count = (today - self._first_day).days + 1
        return [
            (self._first_day + dt.timedelta(days=number)).isoformat() for number in range(count)
        ]

    async def _is_over(self) -> bool:
        found = await self.town.boss.all_of("/admin/door-sessions")
        return all(each["is_over"] and each["state"] != "unpaid" for each in found)
