"""Staff about the cabinets: one fills them up and counts, another changes prices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from simulators.xiaomai import Cabinet
from tests.cabinets.world import CAPACITY, GOODS, Person, Refused, layout

if TYPE_CHECKING:
    from tests.cabinets.day import Day

# What the server may say to staff who want a door.
NO_DOOR = frozenset(
    {
        *("devices.offline", "cabinets.refused"),
        *("door_session.door_busy", "door_session.already_open"),
    }
)


class Restocker:
    """One person with a trolley: street, door (waits for it), inside."""

    def __init__(self, day: Day, person: Person) -> None:
        self.day = day
        self.person = person
        self.at = "street"
        self._rng = day.rng
        self._waited = 0

    @property
    def cabinet(self) -> Cabinet:
        return self.day.cabinet(self.code)

    async def step(self) -> None:
        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "street": self._come,
            "door": self._wait,
            "inside": self._count,
        }
        await steps[self.at]()

    async def leave(self) -> None:
        """The shop is closing: whatever was put in is counted, and the door closed."""
        if self.at == "inside":
            await self._count()
        self.at = "street"

    async def _come(self) -> None:
        if self._rng.random() > 0.1:
            return
        self.code, self.door_no = self._rng.choice(self.day.doors)
        body = {"door_no": self.door_no, "purpose": "restock"}
        path = f"/admin/devices/{self.day.town.cabinets[self.code]}/open"
        try:
            session = await self.person.ask("POST", path, body)
        except Refused as refusal:
            if refusal.code not in NO_DOOR:
                raise
            self.day.seen[f"restocker: {refusal.code}"] += 1
            return
        self.session_id, self.no = session["id"], session["no"]
        self.at, self._waited = "door", 0

    async def _wait(self) -> None:
        door = self.cabinet.door(self.door_no)
        is_mine = door.opening is not None and door.opening.asked.session_no == self.no
        if is_mine and door.lock == "unlocked" and door.door == "closed":
            self.cabinet.pull(self.door_no)
            self._fill()
            self.at = "inside"
            return
        self._waited += 1
        if self._waited > 10:
            self.at = "street"

    def _fill(self) -> None:
        for good in self._rng.sample(GOODS, 3):
            room = CAPACITY - self.cabinet.stock(good.sku, self.door_no)
            # Nothing is put in now and then, and still it is counted.
            if more := min(room, self._rng.randrange(6)):
                self.cabinet.put(good.sku, more, door_no=self.door_no)

    async def _count(self) -> None:
        """While the door is open: nobody takes anything in between."""
        counts = [
            {"sku": good.sku, "quantity": self.cabinet.stock(good.sku, self.door_no)}
            for good in GOODS
        ]
        path = f"/admin/devices/{self.day.town.cabinets[self.code]}/stock-count"
        body = {"door_no": self.door_no, "session_id": self.session_id, "counts": counts}
        await self.person.ask("POST", path, body)
        self.cabinet.close(self.door_no)
        self.at = "street"
        self.day.seen["restocked"] += 1


class Merchant:
    """Makes goods dearer and cheaper in the ERP, and has the cabinets follow."""

    def __init__(self, day: Day, person: Person) -> None:
        self.day = day
        self.person = person
        self._rng = day.rng

    async def step(self) -> None:
        if self._rng.random() < 0.04:
            good = self._rng.choice(GOODS)
            self.day.world.erp.put_good(good.sku, price_fen=self._rng.randrange(100, 900))
            self.day.seen["priced"] += 1
        if self._rng.random() < 0.04:
            await self.lay_out(self._rng.choice(sorted(self.day.town.cabinets)))

    async def lay_out(self, code: str) -> None:
        """At the prices that the server has heard of by now, whatever is on its way."""
        body: dict[str, Any] = {"slots": layout()}
        path = f"/admin/devices/{self.day.town.cabinets[code]}/planogram"
        await self.person.ask("PUT", path, body)
        self.day.seen["laid out"] += 1
