"""Whatever is told, lost, repeated, disordered and decided, in any order: the promises are kept.

Unlike the door's own machine (tests/devices/sessions/test_machine.py) this goes all the way, from
the platform over the inbox and the sessions to orders, money and stock.
"""

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from devices.desk.model import CabinetException, ExceptionState, Ruling
from devices.desk.store import Wanted, end, exceptions_page
from devices.flow.decisions import DECISIONS
from devices.model import CabinetError
from devices.orders.model import Order
from devices.orders.rows import store as orders
from devices.vendors.port import VendorError
from devices.vendors.xiaomai.vendor import Xiaomai as Adapter
from payments.ledger.store import BOOKS
from payments.model import PaymentError
from simulators.xiaomai import Fault
from simulators.xiaomai import Order as Said
from sql.alerts import clear_alert, raise_alert
from sql.database import Tx, open_database
from tests.clock import Clock
from tests.devices.flow.town import ANNA, BEN, CABINETS, CARL, Town, by, town_of
from tests.logs import LogWatch
from tests.servers import migrated_sqlite

STEPS = 100_000
STEPS_AT_ONCE = 100

PEOPLE = (ANNA, BEN, CARL)
DOORS = tuple((cabinet, door_no) for cabinet in CABINETS for door_no in (1, 2))
BASKETS: tuple[dict[str, int], ...] = (
    {}, {"cola": 1}, {"cola": 2}, {"cola": 1, "tea": 1}, {"nuts": 3}, {"gold": 1},
)  # fmt: skip
EVENT_FAULTS = ("lose", "delay", "reorder", "duplicate", "repeat", "drop")
ORDER_FAULTS = ("conflict", "wrong_total", "replay", "forged_sign")
CALLS = ("door/open", "door/query", "door/cancel", "order/query", "order/confirm")
REFUSALS = (CabinetError, PaymentError, VendorError)


class Street:
    """Two cabinets, three people, staff, and a platform on which nothing can be relied."""

    def __init__(self, town: Town, chance: random.Random, *, has_staff: bool) -> None:
        self.town = town
        self.sim = town.sim
        self.chance = chance
        self.verbs: list[Callable[[], Awaitable[object]]] = [
            *(self.open, self.open, self.shop, self.shop, self.shop, self.use, self.use),
            *(self.wait, self.wait, self.wait, self.break_something, self.say_again),
            *(self.say_otherwise, self.doubt, self.cut, self.decide, self.correct),
            *(self.refund, self.waive, self.pay, self.sweep, self.restart, self.stop_payments),
        ]
        if has_staff:
            self.verbs += [self.restock, self.restock]

    async def step(self) -> None:
        try:
            await self.chance.choice(self.verbs)()
        except REFUSALS:
            # Refused, and nothing of it stays.
            return

    # ------------------------------------------------------------ people

    async def open(self) -> None:
        cabinet, door_no = self.chance.choice(DOORS)
        await self.town.open(self.chance.choice(PEOPLE), cabinet=cabinet, door_no=door_no)

    async def restock(self) -> None:
        cabinet, door_no = self.chance.choice(DOORS)
        await self.town.cabinets.open_for_staff(cabinet, door_no, "restock", by=by(), key="")

    async def shop(self) -> None:
        """All of it, at each door that is unlocked."""
        basket = self.chance.choice(BASKETS[:-1])
        for cabinet, door_no in DOORS:
            self._try("pull", cabinet, door_no)
            for sku, quantity in basket.items():
                self._try("take", cabinet, door_no, sku, quantity)
            self._try("close", cabinet, door_no)
        await self.town.hear()

    async def use(self) -> None:
        """One movement at one door."""
        cabinet, door_no = self.chance.choice(DOORS)
        verb = self.chance.choice(["pull", "take", "put", "close"])
        self._try(verb, cabinet, door_no, *(("cola",) if verb in {"take", "put"} else ()))

    def _try(self, verb: str, cabinet: int, door_no: int, *what: object) -> None:
        try:
            getattr(self.sim.cabinet(CABINETS[cabinet]), verb)(*what, door_no=door_no)
        except ValueError:
            # The door is not so that one could.
            return

    async def pay(self) -> None:
        order = await self._order()
        if order is not None:
            await self.town.grant(5_000, order.account_id, key=str(self.chance.random()))
            await self.town.orders.pay(
                order.id, order.account_id, means="ticket", openid="", client_ip="10.0.0.1",
                key="",
            )  # fmt: skip

    # ------------------------------------------------------------ the platform

    async def break_something(self) -> None:
        kind = self.chance.choice([*EVENT_FAULTS, *ORDER_FAULTS, "code", "http_502", "never_open"])
        seconds = self.chance.choice([1, 20, 200])
        if kind in EVENT_FAULTS:
            place = self.chance.choice(["event.door.*", "event.order.*", "event.*"])
        elif kind in ORDER_FAULTS:
            place = "event.order.*"
        elif kind == "never_open":
            place = "device.open"
        else:
            place = self.chance.choice(CALLS)
        code = self.chance.choice([2004, 2008, 3002, 3005, 3006, 3007, 9001])
        times = self.chance.choice([1, 1, 3])
        self.sim.dial.add(Fault(at=place, kind=kind, seconds=seconds, code=code, times=times))  # type: ignore[arg-type]

    async def say_again(self) -> None:
        """What was told long ago is told once more: the very same, or under another id."""
        if self.sim.courier.all:
            delivery = self.chance.choice(self.sim.courier.all)
            if self.chance.random() < 0.5:
                self.sim.courier.again(delivery)
            else:
                self.sim.courier.tell(delivery.event)

    async def say_otherwise(self) -> None:
        order = self._said()
        if order is not None:
            self.sim.recognition.revise(
                order,
                self.chance.choice(BASKETS),
                kind=self.chance.choice(["order.pushed", "order.rechecked", "order.abnormal"]),
                rev=self.chance.choice([None, None, None, 1, 2]),
                certainty=self.chance.choice(["certain", "certain", "provisional", "uncertain"]),
                total_off_fen=self.chance.choice([0, 0, 0, 7]),
            )

    async def doubt(self) -> None:
        order = self._said()
        if order is not None:
            reasons = self.chance.choice([(), ("video",), ("gravity",)])
            revision = msgspec.structs.replace(order.latest, abnormal_reasons=reasons)
            self.sim.recognition.push(order, kind="order.abnormal", revision=revision)

    async def cut(self) -> None:
        cabinet = self.sim.cabinet(self.chance.choice(list(CABINETS.values())))
        self.chance.choice([cabinet.disconnect, cabinet.connect, cabinet.connect])()

    def _said(self) -> Said | None:
        said = [order for order in self.sim.orders.all.values() if order.revisions]
        return self.chance.choice(said) if said else None

    # ------------------------------------------------------------ staff, time, processes

    async def decide(self) -> None:
        _, found = await self.town.db.read(
            exceptions_page, Wanted(is_open=True), by=by(), offset=0, most=9
        )
        if found:
            raised, basket = self.chance.choice(found), self.chance.choice(BASKETS)
            is_approval = self.chance.random() < 0.5
            await self.town.db.write(decide, self.town, raised, basket, is_approval=is_approval)

    async def correct(self) -> None:
        order = await self._order()
        if order is not None:
            chain, _ = await self.town.orders.detail(order.id, by=by())
            await self.town.orders.correct(
                order.id, self.chance.choice(BASKETS), version=chain.main.version, reason="x",
                by=by(),
            )  # fmt: skip

    async def refund(self) -> None:
        order = await self._order()
        if order is not None:
            fen = self.chance.choice([None, 1, 100])
            await self.town.orders.refund(order.id, fen, reason="x", by=by(), key="")

    async def waive(self) -> None:
        order = await self._order()
        if order is not None:
            await self.town.orders.waive(order.id, reason="x", by=by())

    async def _order(self) -> Order | None:
        rows = await self.town.rows("cabinet_orders")
        known = [row["id"] for row in rows if row["session_id"] is not None]
        if not known:
            return None
        return await self.town.db.read(orders.load, self.chance.choice(known))

    async def stop_payments(self) -> None:
        await self.town.db.write(raise_alert, BOOKS, "torture", "they do not add up")
        await self.town.turn(self.chance.choice([5, 150]))
        await self.resume_payments()

    async def resume_payments(self) -> None:
        await self.town.db.write(clear_alert, BOOKS, "torture")

    async def sweep(self) -> None:
        await self.town.cabinets.sweep("xiaomai")

    async def restart(self) -> None:
        self.town.start()
        await self.town.cabinets.resume()

    async def wait(self) -> None:
        await self.town.turn(self.chance.choice([1, 5, 20, 50, 200, 700]))

    async def rest(self) -> None:
        """Nothing is broken any more, nobody holds a door open, and what is due is done."""
        self.sim.dial.clear()
        for code in CABINETS.values():
            self.sim.cabinet(code).connect()
        for cabinet, door_no in DOORS:
            self._try("close", cabinet, door_no)
        for seconds in (5, 20, 50, 120, 300, 300):
            await self.town.turn(seconds)


def decide(
    tx: Tx, town: Town, raised: CabinetException, basket: dict[str, int], *, is_approval: bool
) -> None:
    """As the desk does it: the action runs, then the exception is decided, or none of both."""
    items = [{"sku": sku, "quantity": quantity} for sku, quantity in basket.items()]
    ruling = Ruling("seen", {"items": items})
    if raised.order_id is not None:
        action = town.orders.action
        (action.approve if is_approval else action.reject)(tx, raised, by(), ruling)
    else:
        DECISIONS[raised.kind][0 if is_approval else 1](tx, raised, by(), ruling)
    to = ExceptionState.APPROVED if is_approval else ExceptionState.REJECTED
    end(tx, raised, to, by(), "seen")


async def live(chance: random.Random, *, steps: int, tickets: int, has_staff: bool) -> None:
    """One street, from its first day; in the end, and now and then, all promises are kept."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "callme.db"
        path.write_bytes(migrated_sqlite())
        clock = Clock()
        database = await open_database(f"sqlite:///{path}", now=clock.now)
        try:
            async with town_of(database, clock) as town:
                for account_id in PEOPLE:
                    await town.grant(tickets, account_id)
                street = Street(town, chance, has_staff=has_staff)
                for _ in range(steps):
                    await street.step()
                await street.rest()
                await town.is_well()
                await town.replays()
        finally:
            await database.close()


STREETS = [
    pytest.param({"tickets": 50_000, "has_staff": False}, True, id="rich"),
    pytest.param({"tickets": 900, "has_staff": False}, True, id="poor"),
    pytest.param({"tickets": 5_000, "has_staff": True}, True, id="staff"),
    pytest.param({"tickets": 5_000, "has_staff": False}, False, id="no_door_sensor"),
]


@pytest.mark.torture
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize(("kind", "door_sensor"), STREETS)
def test_the_promises_are_kept_whatever_comes_in_whatever_order(
    kind: dict[str, int],
    door_sensor: bool,
    torture_share: float,
    monkeypatch: pytest.MonkeyPatch,
    log_watch: LogWatch,
) -> None:
    """100,000 steps of each street when all of it is asked for."""
    # The platform knows nothing of a revision that was a lie on the way.
    log_watch.allow(r"cabinet\.confirm \d+ is given up: order_conflict")
    caps = msgspec.structs.replace(Adapter.caps, door_sensor=door_sensor)
    monkeypatch.setattr(Adapter, "caps", caps)

    @settings(
        max_examples=max(1, round(STEPS * torture_share / STEPS_AT_ONCE)),
        # A street cannot be made much smaller, and trying that takes longer than all of it.
        phases=[Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    # A seed alone, for callbacks on real sockets need not come in the same order twice: what is
    # drawn while a street lives would then differ, which hypothesis takes for a fault.
    @given(st.integers(0, 2**32))
    def streets(seed: int) -> None:
        asyncio.run(live(random.Random(seed), steps=STEPS_AT_ONCE, **kind))  # type: ignore[arg-type]

    streets()
