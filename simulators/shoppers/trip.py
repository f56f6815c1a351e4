"""One person at one cabinet, from the scan to the receipt, which is compared with the bag."""

import asyncio
import time
from collections import Counter
from random import Random
from typing import Any

from simulators.rush.links import LinkLostError, Pace, RefusedError
from simulators.shoppers.notes import Notes
from simulators.shoppers.phone import Phone
from simulators.shoppers.street import Door, Street

LOOK_EVERY_S = 0.25
UNLOCKS_WITHIN_S = 30.0
SETTLES_WITHIN_S = 120.0
WALKS_AWAY_SHARE = 0.04
TAKES_NOTHING_SHARE = 0.1
PUTS_BACK_SHARE = 0.15
MOST_TAKEN = 3
# A person has to look at these, or time has to pass: nothing more is to be seen from outside.
HANDED_OVER = ("abnormal", "timeout")
NOT_OPENED = ("rejected", "not_opened")


class Trip:
    """settles_within_s: how long the shopper waits for the receipt."""

    def __init__(
        self,
        phone: Phone,
        street: Street,
        door: Door,
        notes: Notes,
        pace: Pace,
        rng: Random,
        *,
        settles_within_s: float = SETTLES_WITHIN_S,
    ) -> None:
        self._phone, self._street, self._door = phone, street, door
        self._notes, self._pace, self._rng = notes, pace, rng
        self._settles_within_s = settles_within_s
        self._bag: Counter[str] = Counter()
        self._worth_fen = 0

    async def run(self, pay_with: str) -> None:
        """To its end, whatever happens; a door that was opened is closed."""
        try:
            await self._go(pay_with)
        except RefusedError as refused:
            self._notes.refuse(refused.code)
            if refused.code == "cabinets.unpaid_order":
                await self._pay_debts(pay_with)
        except (LinkLostError, TimeoutError):
            self._notes.count("given_up")

    async def _go(self, pay_with: str) -> None:
        scanned_s = time.monotonic()
        opened = await self._phone.open(self._door.qr, pay_with)
        session = opened["session"]
        self._notes.count("scanned")
        if view := opened.get("wx_open_business_view"):
            await self._phone.confirm(view)
            self._notes.count("confirmed_at_wechat")
        if not await self._is_unlocked(session):
            await self._stay_outside(session)
            return
        self._notes.took("unlocked", time.monotonic() - scanned_s)
        if self._rng.random() < WALKS_AWAY_SHARE:
            self._notes.count("walked_away")
            return
        await self._shop()
        closed_s = time.monotonic()
        over = await self._settled(session)
        if over is not None:
            self._notes.took("settled", time.monotonic() - closed_s)
            await self._compare(over, pay_with)

    # ------------------------------------------------------------ at the door

    async def _is_unlocked(self, session: dict[str, Any]) -> bool:
        """False when the server says that it will not be, or nothing happens for long."""
        until_s = time.monotonic() + UNLOCKS_WITHIN_S
        while time.monotonic() < until_s:
            if await self._street.is_unlocked_for(self._door, session["no"]):
                return True
            if (await self._phone.session(session["id"]))["state"] in NOT_OPENED:
                return False
            await asyncio.sleep(LOOK_EVERY_S)
        return False

    async def _stay_outside(self, session: dict[str, Any]) -> None:
        self._notes.count("stayed_closed")
        if orders := await self._phone.orders(session["id"]):
            self._notes.violate(f"session {session['no']} never opened and has {orders}")

    async def _shop(self) -> None:
        """A few goods into the bag, perhaps one back; the door is closed whatever happens."""
        await self._pace.wait(self._rng.uniform(0.5, 2))
        await self._street.do(self._door, "pull")
        try:
            if self._rng.random() >= TAKES_NOTHING_SHARE:
                await self._fill_bag()
        finally:
            await self._pace.wait(self._rng.uniform(0.5, 3))
            await self._street.do(self._door, "close")

    async def _fill_bag(self) -> None:
        for _ in range(self._rng.randint(1, MOST_TAKEN)):
            goods = await self._street.goods(self._door)
            there = sorted(sku for sku, (stock, _) in goods.items() if stock)
            if not there:
                self._notes.count("sold_out")
                return
            sku = self._rng.choice(there)
            await self._pace.wait(self._rng.uniform(0.5, 3))
            await self._street.do(self._door, "take", sku=sku)
            self._keep(sku, goods[sku][1], 1)
            if self._rng.random() < PUTS_BACK_SHARE:
                await self._street.do(self._door, "put", sku=sku)
                self._keep(sku, goods[sku][1], -1)

    def _keep(self, sku: str, price_fen: int, quantity: int) -> None:
        self._bag[sku] += quantity
        self._worth_fen += price_fen * quantity

    # ------------------------------------------------------------ the receipt

    async def _settled(self, session: dict[str, Any]) -> dict[str, Any] | None:
        """The session when it is over; None when it is a person's now, or takes too long."""
        until_s = time.monotonic() + self._settles_within_s
        while time.monotonic() < until_s:
            now = await self._phone.session(session["id"])
            if now["state"] in HANDED_OVER:
                self._notes.count("for_a_person")
                return None
            if now["is_over"]:
                return now
            await asyncio.sleep(LOOK_EVERY_S)
        self._notes.count("unsettled")
        return None

    async def _compare(self, session: dict[str, Any], pay_with: str) -> None:
        """What was charged is what is in the bag, once."""
        self._notes.count(f"session_{session['state']}")
        if session["state"] == "unpaid":
            await self._pay_debts(pay_with)
        orders = await self._phone.orders(session["id"])
        bag = {sku: n for sku, n in self._bag.items() if n}
        due_fen = sum(order["due_fen"] for order in orders)
        net_fen = sum(order["paid_fen"] - order["refunded_fen"] for order in orders)
        told = f"session {session['no']} ({session['state']}), bag {bag}: {due_fen} fen due"
        if due_fen != self._worth_fen:
            self._notes.violate(f"{told} for goods of {self._worth_fen}")
        if net_fen > due_fen:
            self._notes.violate(f"{told}, and {net_fen} paid")
        if session["state"] == "paid" and net_fen < due_fen:
            self._notes.violate(f"{told}, called paid with {net_fen}")
        if sum(order["kind"] != "supplement" for order in orders) > 1:
            self._notes.violate(f"{told} in {len(orders)} orders")
        if session["state"] in NOT_OPENED:
            self._notes.violate(f"{told}, and the door was open")
        self._notes.count("receipts_right" if due_fen == self._worth_fen else "receipts_wrong")
        self._notes.count("fen_spent", net_fen)

    async def _pay_debts(self, pay_with: str) -> None:
        try:
            for order in await self._phone.orders():
                if order["state"] == "unpaid":
                    await self._phone.pay(order, pay_with)
                    self._notes.count("debts_paid")
        except RefusedError as refused:
            self._notes.refuse(refused.code)
        except (LinkLostError, TimeoutError):
            self._notes.count("given_up")
