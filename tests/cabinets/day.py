"""A day of shopping: people who shop, somebody who restocks, a desk that decides, and trouble.

Everybody does one thing at a time, in an order that dice decide; between two things time passes.
What was really taken is known to the simulated cabinets, and to the shoppers by their bags.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Any, Protocol

from simulators.erp.sim import ErpFault
from simulators.wechat.pay.faults import PayFault
from simulators.xiaomai import Cabinet, Fault, Plan
from simulators.xiaomai.orders import Order
from tests.cabinets.world import GOODS, Person, Refused, Unknown, World
from tests.logs import LogWatch

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
        *("cabinet_order.payment_open", "cabinet_order.nothing_to_pay"),
        *("cabinet_order.tickets_short", "cabinet_order.not_found"),
        *("database.unavailable", "database.overloaded", "database.commit_unknown"),
    }
)
# What a server rightly says in a day of trouble, when chance will have it so.
MAY_BE_SAID = (
    "the clock of xiaomai is wrong",
    r"cabinet\.confirm .* is given up",
    # Who they ask is away, and they are tried again.
    r"job (goods-in|order-pull|order-compare|bill) failed",
)
FOR_A_PERSON = frozenset({"abnormal", "timeout"})


def in_trouble(log_watch: LogWatch) -> None:
    for line in MAY_BE_SAID:
        log_watch.allow(line)


class Place(Protocol):
    """What a day needs of the town it is in."""

    world: World
    boss: Person
    cabinets: dict[str, int]

    async def turn(self, seconds: float) -> None: ...


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
            if refusal.code not in NOT_NOW:
                raise
            self.day.seen[refusal.code] += 1
            await self._refused(refusal)

    async def _refused(self, refusal: Refused) -> None:
        if self.at == "street":
            self._wish = None
        if refusal.code == "cabinets.unpaid_order":
            await self.pay_debts()

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
            self.bags[self.no] = Counter()
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
            await self.pay_debts()
        if session["is_over"] or self._waited > 10:
            self.at = "street"

    async def pay_debts(self) -> None:
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


class Desk:
    """Who decides what the machine does not, and has seen every video.

    decided: what orders come to by a decision that is not about what was taken, by the
    platform's number.
    """

    def __init__(self, day: Day) -> None:
        self.day = day
        self.off_fen: Counter[str] = Counter()
        self.given_up: set[str] = set()
        self.nothing_taken: set[str] = set()

    @property
    def boss(self) -> Person:
        return self.day.town.boss

    async def work(self, *, is_last: bool = False) -> int:
        """Decide about everything that is open; how much there was. is_last: nothing is left."""
        found = await self.boss.all_of("/admin/exceptions?is_open=true")
        for each in sorted(found, key=lambda one: int(one["id"])):
            if is_last or self.day.rng.random() < 0.5:
                await self._decide(each, is_last=is_last)
        return len(found)

    async def _decide(self, exception: Any, *, is_last: bool) -> None:
        at = f"/admin/exceptions/{exception['id']}"
        for verb, body in await self._rulings(exception, is_last=is_last):
            try:
                await self.boss.ask("POST", f"{at}/{verb}", {"reason": "as was seen", **body})
            except Refused as refusal:
                # It has solved itself meanwhile, or there is another way to decide it.
                if refusal.status not in {404, 409, 422}:
                    raise
                self.day.seen[refusal.code] += 1
                continue
            self.day.seen[f"{exception['kind']} {verb}"] += 1
            self._note(exception, verb)
            return

    async def _rulings(self, exception: Any, *, is_last: bool) -> list[tuple[str, dict[str, Any]]]:
        kind, session_id = exception["kind"], exception["session_id"]
        if exception["order_id"] is not None and kind != "delivery":
            return await self._of_order(exception["order_id"])
        if kind == "delivery":
            return [("reject" if is_last else "approve", {}), ("close", {})]
        if kind == "no_session":
            return [("approve", {}), ("close", {})]
        if kind == "offline" or session_id is None:
            return [("reject", {}), ("close", {})] if is_last else []
        no = await self._no_of(session_id)
        if self.day.order_of(no) is not None and not is_last:
            return [("reject", {})]
        # Whoever has seen the video knows that no order will come.
        return [("approve", {}), ("reject", {}), ("close", {})] if is_last else []

    async def _of_order(self, order_id: int) -> list[tuple[str, dict[str, Any]]]:
        detail = await self.boss.ask("GET", f"/admin/cabinet-orders/{order_id}")
        order = self.day.order_no(detail["vendor_order_no"] or "")
        taken = {} if order is None else order.taken
        items = [{"sku": sku, "quantity": n} for sku, n in taken.items() if n > 0]
        return [("approve", {"items": items}), ("reject", {}), ("close", {})]

    async def _no_of(self, session_id: int) -> str:
        found = await self.boss.all_of("/admin/door-sessions")
        return str(next(each["no"] for each in found if each["id"] == session_id))

    def _note(self, exception: Any, verb: str) -> None:
        if exception["kind"] == "delivery" and verb != "approve":
            self.given_up.add(exception["subject"])

    # ------------------------------------------------------------ of its own accord

    async def mind_orders(self, *, share: float) -> None:
        """Put right what was seen wrong; now and then send money back."""
        for seen in await self.boss.all_of("/admin/cabinet-orders?state=paid"):
            order = self.day.order_no(seen["vendor_order_no"] or "")
            if order is None or seen["kind"] == "supplement":
                continue
            await self._put_right(seen, order)
            if self.day.rng.random() < share and seen["due_fen"] > 1:
                await self._send_back(seen, order)

    async def _put_right(self, seen: Any, order: Order) -> None:
        at = f"/admin/cabinet-orders/{seen['id']}"
        detail = await self.boss.ask("GET", at)
        said: Counter[str] = Counter()
        for each in detail["chain"]:
            for line in each["lines"]:
                said[line["sku"]] += line["quantity"]
        taken = Counter({sku: n for sku, n in order.taken.items() if n > 0})
        if +said == taken:
            return
        items = [{"sku": sku, "quantity": n} for sku, n in taken.items()]
        body = {"items": items, "version": detail["version"], "reason": "the video shows it"}
        await self._try("POST", f"{at}/corrections", body, "corrected")

    async def _send_back(self, seen: Any, order: Order) -> None:
        fen = self.day.rng.randint(1, seen["due_fen"])
        at = f"/admin/cabinet-orders/{seen['id']}/refunds"
        if await self._try("POST", at, {"reason": "it was warm", "amount_fen": fen}, "refunded"):
            self.off_fen[order.wheat_order_no] += fen

    async def _try(self, method: str, path: str, body: Any, what: str) -> bool:
        try:
            await self.boss.ask(method, path, body)
        except Refused as refusal:
            self.day.seen[refusal.code] += 1
            return False
        self.day.seen[what] += 1
        return True


class Trouble:
    """One thing that goes wrong, at a place that dice choose."""

    def __init__(self, day: Day) -> None:
        self.day = day
        self._rng = day.rng
        self._kinds: list[Callable[[], None]] = [
            *(self._event,) * 8,
            *(self._answer,) * 5,
            *(self._recognition,) * 4,
            *(self._opening,) * 3,
            *(self._line,) * 3,
            *(self._wechat,) * 4,
            self._erp,
            self._clock,
            self._burglar,
        ]

    def strike(self) -> None:
        self._rng.choice(self._kinds)()

    def calm_down(self) -> None:
        """Lines and clocks are right again; what was set to go wrong once still may."""
        self.day.world.xiaomai.courier.skew_s = 0.0
        for code in self.day.town.cabinets:
            cabinet = self.day.cabinet(code)
            cabinet.connect()
            if cabinet.power == "off":
                cabinet.plug_in()
            for number, door in cabinet.doors.items():
                if door.door == "open" and door.opening is None:
                    cabinet.close(number)

    def _somewhere(self) -> str:
        return self._rng.choice(sorted(self.day.town.cabinets))

    def _event(self) -> None:
        kinds = ("drop", "lose", "delay", "reorder", "duplicate", "repeat", "skew", "wrong_rev",
                 "conflict", "wrong_total", "forged_sign", "replay", "unknown_type")  # fmt: skip
        kind: Any = self._rng.choice(kinds)
        at = self._rng.choice(("event.*", "event.door.*", "event.order.*", "event.order.*"))
        seconds = {"delay": self._rng.choice((20, 120, 4000, 86_400)), "skew": -1200}.get(kind, 30)
        rev, fen = self._rng.choice((0, 3)), self._rng.choice((-50, 1, 700))
        fault = Fault(at=at, kind=kind, seconds=seconds, rev=rev, fen=fen,
                      device_code=self._somewhere())  # fmt: skip
        self.day.world.xiaomai.dial.add(fault)

    def _answer(self) -> None:
        places = ("door/open", "door/open", "door/query", "order/query", "order/list",
                  "order/confirm", "device/status", "*")  # fmt: skip
        kind: Any = self._rng.choice(("http_502", "drop", "drop", "hang", "nonsense", "code"))
        fault = Fault(at=self._rng.choice(places), kind=kind, seconds=0.05,
                      is_done=self._rng.random() < 0.5, code=self._rng.choice((3002, 9001, 9002)),
                      times=self._rng.choice((1, 1, 3)))  # fmt: skip
        self.day.world.xiaomai.dial.add(fault)

    def _recognition(self) -> None:
        some = self._rng.choice(GOODS).sku
        plans = (
            Plan(certainty="uncertain", candidates={some: 1}, reasons=("camera",)),
            Plan(certainty="provisional", recheck_after_s=90),
            Plan(certainty="provisional", items={some: 1}, recheck_after_s=None),
            Plan(certainty="none"),
            Plan(items={some: 1}),
            Plan(total_off_fen=300),
            Plan(after_s=200, video="none"),
            Plan(items={"SKU-0000": 1}, reasons=("unknown_item",)),
        )
        plan = self._rng.choice(plans)
        self.day.world.xiaomai.recognition.plan_next(self._somewhere(), plan)

    def _opening(self) -> None:
        kind: Any = self._rng.choice(("never_open", "lock_failed", "slow"))
        fault = Fault(at="device.open", kind=kind, seconds=self._rng.choice((10, 25)),
                      code=self._rng.choice((3004, 3005)))  # fmt: skip
        self.day.world.xiaomai.dial.add(fault)

    def _line(self) -> None:
        cabinet = self.day.cabinet(self._somewhere())
        if not cabinet.is_connected:
            cabinet.connect()
        elif cabinet.power == "off":
            cabinet.plug_in()
        else:
            self._rng.choice((cabinet.disconnect, cabinet.unplug, cabinet.reboot))()

    def _wechat(self) -> None:
        pay = self.day.world.wechat.pay
        if self._rng.random() < 0.2:
            pay.score.failures_planned = 1
            return
        notice = self._rng.random() < 0.5
        kinds = ("drop", "duplicate", "delay", "reorder") if notice else (
            "http_502", "drop", "nonsense", "system_error", "forged_sign")  # fmt: skip
        at = "notify.*" if notice else self._rng.choice(("v3.score.*", "v3.*", "*"))
        kind: Any = self._rng.choice(kinds)
        pay.faults.add(PayFault(at, kind, seconds=30.0, is_done=self._rng.random() < 0.5))

    def _erp(self) -> None:
        at = self._rng.choice(("goods", "sales"))
        kind: Any = self._rng.choice(("http_502", "drop", "nonsense", "busy"))
        fault = ErpFault(at, kind, times=self._rng.choice((1, 3)),
                         is_done=self._rng.random() < 0.5)  # fmt: skip
        self.day.world.erp.faults.add(fault)

    def _clock(self) -> None:
        courier = self.day.world.xiaomai.courier
        courier.skew_s = 0.0 if courier.skew_s else self._rng.choice((1200.0, -3600.0))

    def _burglar(self) -> None:
        cabinet = self.day.cabinet(self._somewhere())
        for number, door in cabinet.doors.items():
            is_free = door.lock == "locked" and door.door == "closed" and not door.is_busy
            if is_free and cabinet.power != "off":
                door.opening = None
                cabinet.force(number)
                cabinet.close(number)
                cabinet.clear_alarm("forced")
                return


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
        self.desk = Desk(self)
        self.trouble = Trouble(self)
        self.seen: Counter[str] = Counter()
        self._trouble = trouble

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
            if tick % 20 == 19:
                await self.desk.work()
                await self.desk.mind_orders(share=0.1)
            await self.town.turn(self.rng.choice((1, 3, 6, 15)))
        self.seen["sent home"] += 1

    async def go_home(self) -> None:
        """The shop closes: nobody begins a trip, doors are closed, and a few minutes pass."""
        for shopper in self.shoppers:
            shopper.leave()
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
            if not await self._decide_all() and was_over and not await self._sold_today():
                return
        sessions = await self.town.boss.all_of("/admin/door-sessions")
        open_ones = [each for each in sessions if not each["is_over"] or each["state"] == "unpaid"]
        raise AssertionError(f"never over: {open_ones}, {self.seen}")

    async def _decide_all(self) -> int:
        """Decide until nothing is left; how much there was."""
        count = 0
        while left := await self.desk.work(is_last=True):
            count += left
            assert count < 1000, self.seen
            await self.town.turn(60)
            await self._pay_all()
            await self.desk.mind_orders(share=0)
            await self.town.turn(3600)
        await self._pay_all()
        return count

    async def _pay_all(self) -> None:
        for shopper in self.shoppers:
            try:
                await shopper.pay_debts()
            except Unknown:
                self.seen["no answer"] += 1
            except Refused as refusal:
                if refusal.code not in NOT_NOW:
                    raise

    async def _sold_today(self) -> int:
        """Lines that the ERP has not heard of yet, refunds among them."""
        today = self.world.erp.clock.beijing_day()
        totals = await self.town.boss.ask("GET", f"/admin/sales-totals?day={today}")
        return int(totals["lines"])

    async def _is_over(self) -> bool:
        found = await self.town.boss.all_of("/admin/door-sessions")
        return all(each["is_over"] and each["state"] != "unpaid" for each in found)
