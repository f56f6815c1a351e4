"""Somebody who shops: to a door, in, out, and away with a bag; debts are paid when they hurt."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from simulators.xiaomai import Cabinet
from tests.cabinets.world import GOODS, Person, Refused, Unknown

if TYPE_CHECKING:
    from tests.cabinets.day import Day

# What the server may say to somebody who scans a door.
NOT_NOW = frozenset(
    {
        *("cabinets.unpaid_order", "cabinets.last_settling", "cabinets.refused"),
        *("cabinets.no_tickets", "cabinets.nothing_for_sale"),
        *("devices.offline", "devices.locked", "devices.in_maintenance"),
        *("door_session.door_busy", "door_session.already_open"),
        *("payments.score_unavailable", "payments.score_refused", "payments.stopped"),
        *("payments.pending", "payments.unknown", "payments.unavailable"),
        *("payments.refused", "idempotency.running"),
        *("payments.paid", "payments.cancelled"),
        *("cabinet_order.payment_open", "cabinet_order.nothing_to_pay"),
        *("cabinet_order.tickets_short", "cabinet_order.not_found"),
        "complaints.open",
        *("database.unavailable", "database.overloaded", "database.commit_unknown"),
    }
)
FOR_A_PERSON = frozenset({"abnormal", "timeout"})


class Shopper:
    """One person, and where in a trip: street, door (waits for it), inside, receipt."""

    def __init__(self, day: Day, person: Person, *, trips: int) -> None:
        self.day = day
        self.person = person
        self.trips = trips
        self.at = "street"
        self.bags: dict[str, Counter[str]] = {}
        self._rng = day.rng
        self._key = ""
        self._wish: tuple[str, int, str] | None = None
        self._waited = 0

    @property
    def is_home(self) -> bool:
        return self.trips == 0 and self.at == "street"

    @property
    def cabinet(self) -> Cabinet:
        return self.day.cabinet(self.code)

    async def step(self) -> None:
        """One thing; who is not answered, or is told that it cannot be now, tries it later."""
        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "street": self._scan,
            "door": self._wait,
            "inside": self._shop,
            "receipt": self._look,
        }
        try:
            await steps[self.at]()
        except Unknown:
            self.day.seen["no answer"] += 1
        except Refused as refusal:
            self._see_not_now(refusal)
            if self.at == "street":
                self._wish = None
            if refusal.code == "cabinets.unpaid_order":
                await self.try_to_pay()

    def _see_not_now(self, refusal: Refused) -> None:
        if refusal.code not in NOT_NOW:
            raise refusal
        self.day.seen[refusal.code] += 1

    # ------------------------------------------------------------ a trip

    async def _scan(self) -> None:
        if not self.trips:
            return
        if self._wish is None:
            # Whoever is not answered sends the same once more.
            code, door_no = self._rng.choice(self.day.doors)
            self._wish = (code, door_no, self._rng.choice(self.day.means))
            self._key = next(self.person.keys)
        self.code, self.door_no, pay_with = self._wish
        sticker = self.cabinet.door(self.door_no).qr_token
        taps = 2 if self._rng.random() < 0.2 else 1
        opened = await self._tap(sticker, pay_with, taps)
        self._wish = None
        self.session_id, self.no = opened["session"]["id"], opened["session"]["no"]
        self.at, self._waited = "door", 0
        self.trips -= 1
        self.day.seen["opened"] += 1
        if "wx_open_business_view" in opened and self._rng.random() < 0.9:
            await self.person.confirm(opened)

    async def _tap(self, sticker: str, pay_with: str, taps: int) -> Any:
        """Perhaps twice at once: it is the same session then."""
        wishes = [self.person.open(sticker, pay_with, key=self._key) for _ in range(taps)]
        answers = await asyncio.gather(*wishes, return_exceptions=True)
        opened = [each for each in answers if isinstance(each, dict)]
        if not opened:
            error = answers[0]
            assert isinstance(error, BaseException)
            raise error
        assert len({each["session"]["id"] for each in opened}) == 1
        return next((each for each in opened if "wx_open_business_view" in each), opened[0])

    async def _wait(self) -> None:
        door = self.cabinet.door(self.door_no)
        is_mine = door.opening is not None and door.opening.asked.session_no == self.no
        if is_mine and door.lock == "unlocked" and door.door == "closed":
            if self._rng.random() < 0.06:
                self.at, self._waited = "receipt", 0
                return
            self.cabinet.pull(self.door_no)
            self.at = "inside"
            # Behind a door without power one may come back, and it is the same session.
            self.bags.setdefault(self.no, Counter())
            self._fill()
            return
        self._waited += 1
        session = await self.person.session(self.session_id)
        if session["is_over"] or session["state"] in FOR_A_PERSON or self._waited > 40:
            self.at = "street"

    def _fill(self) -> None:
        for _ in range(self._rng.choice((0, 1, 1, 2, 3))):
            sku = self._rng.choice(GOODS).sku
            if self.cabinet.stock(sku, self.door_no):
                self.cabinet.take(sku, door_no=self.door_no)
                self.bags[self.no][sku] += 1

    async def _shop(self) -> None:
        bag = +self.bags[self.no]
        if bag and self._rng.random() < 0.1:
            sku = self._rng.choice(sorted(bag))
            self.cabinet.put(sku, door_no=self.door_no)
            self.bags[self.no][sku] -= 1
        if self._rng.random() < 0.8:
            self.cabinet.close(self.door_no)
            self.at, self._waited = "receipt", 0

    async def _look(self) -> None:
        self._waited += 1
        session = await self.person.session(self.session_id)
        if session["state"] == "unpaid":
            await self._pay_debts()
        if session["is_over"] or self._waited > 10:
            self.at = "street"
            if self._rng.random() < 0.2:
                await self._complain()

    async def _complain(self) -> None:
        """About what the last door came to, rightly or not; perhaps twice at once."""
        about = [order for order in await self.person.orders() if order["no"] == f"C{self.no}"]
        for order in about:
            path = f"/cabinet-orders/{order['id']}/complaints"
            wishes = [
                self.person.ask("POST", path, {"text": "it was warm"})
                for _ in range(self._rng.choice((1, 1, 2)))
            ]
            for answer in await asyncio.gather(*wishes, return_exceptions=True):
                if isinstance(answer, BaseException):
                    raise answer
                self.day.seen["complained"] += 1

    async def try_to_pay(self) -> None:
        """As far as it can be done now."""
        try:
            await self._pay_debts()
        except Unknown:
            self.day.seen["no answer"] += 1
        except Refused as refusal:
            self._see_not_now(refusal)

    async def _pay_debts(self) -> None:
        """By what comes to hand; a purse that is empty is filled at the desk."""
        for order in await self.person.orders():
            if order["state"] != "unpaid":
                continue
            means = self._rng.choice(self.day.means)
            if means == "ticket":
                short = order["to_pay_tickets"] - await self.person.tickets()
                if short > 0:
                    await self.day.grant(self.person, short + self._rng.randrange(5))
            await self.person.pay(order, means)
            self.day.seen["debts paid"] += 1

    def leave(self) -> None:
        """The shop is closing: no door is left open."""
        self.trips = 0
        if self.at == "inside":
            self.cabinet.close(self.door_no)
            self.at, self._waited = "receipt", 0
