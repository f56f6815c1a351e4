"""Kill -9 between any two steps of an opening: no unlocked door without a session, no lost hold."""

from typing import Any

import pytest

from devices.flow.events import hear
from devices.inbox.service import Inbox
from devices.sessions.model import ENDED, State
from devices.vendors.port import CabinetVendor
from sql.database import Database
from tests.devices.flow.town import ANNA, Town


class Killed(BaseException):
    """The process is no more. Not an Exception, so that nobody tidies up."""


class Fate:
    """After so many steps it strikes."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


class Mortal:
    """A database, or a vendor, whose caller may die before and after each call."""

    def __init__(self, inner: Any, fate: Fate, names: tuple[str, ...]) -> None:
        self._inner = inner
        self._fate = fate
        self._names = names

    def __getattr__(self, name: str) -> Any:
        really = getattr(self._inner, name)
        if name not in self._names:
            return really

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._fate.step()
            answer = await really(*args, **kwargs)
            self._fate.step()
            return answer

        return call


def mortal(town: Town, fate: Fate) -> Database:
    """The process that will die: its database and its vendor."""
    vendor: Any = Mortal(town.adapter, fate, ("open_door", "query_session"))
    town.vendors = {"xiaomai": vendor}
    db: Any = Mortal(town.db, fate, ("write",))
    return db  # type: ignore[no-any-return]


def alive(town: Town) -> None:
    adapter: CabinetVendor = town.adapter
    town.vendors = {"xiaomai": adapter}
    town.start()


async def lives_on(town: Town, *, steps: int) -> bool:
    """Die after so many steps of an opening, start anew; whether anybody died."""
    fate = Fate(steps)
    db = mortal(town, fate)
    town.start(db=db)
    # What the platform tells meanwhile is kept by a process that lives.
    town.inbox = Inbox(town.db, town.vendors, town.cabinets.handle, hear=hear)
    died = False
    try:
        await town.open()
    except Killed:
        died = True
    known = {row["no"] for row in await town.rows("door_sessions")}
    assert set(town.unlocked()) <= known
    alive(town)
    await town.cabinets.resume()
    await town.cabinets.run_due()
    await town.hear()
    return died


@pytest.mark.parametrize("steps", range(8))
async def test_whoever_is_killed_while_opening_is_followed(one_town: Town, steps: int) -> None:
    await one_town.grant(20_000)

    died = await lives_on(one_town, steps=steps)

    assert died == (steps < 6)
    for _ in range(30):
        # The person waits, and shops as soon as the door is unlocked.
        if one_town.sim.cabinet("XM-1").door(1).lock == "unlocked":
            one_town.shop("cola")
        await one_town.turn(5)
    found = await one_town.rows("door_sessions")
    assert {State(row["state"]) for row in found} <= ENDED
    took = 5 * 350 * sum(row["state"] == "paid" for row in found)
    assert await one_town.tickets() == 20_000 - took
    assert await one_town.held() == 0
    assert len(one_town.unlocked()) <= 1
    assert one_town.asked("door/open") <= 2
    # What was never begun can be begun again; what was paid is no hindrance.
    again = await one_town.open(ANNA, door_no=2)
    assert again.session.state is State.OPENING


@pytest.mark.parametrize("steps", range(30))
async def test_whoever_is_killed_while_it_is_settled_is_followed(
    one_town: Town, steps: int
) -> None:
    """The same with a process that lives until the order is being worked."""
    await one_town.grant(20_000)
    opened = await one_town.open()
    await one_town.hear()
    one_town.shop("cola", "nuts")
    await one_town.sim.idle()
    fate = Fate(steps)
    one_town.start(db=mortal(one_town, fate))
    try:
        await one_town.inbox.work_due()
        await one_town.cabinets.run_due()
        await one_town.outbox.deliver_due()
    except Killed:
        pass

    alive(one_town)
    await one_town.cabinets.resume()
    await one_town.pass_by(300)

    assert await one_town.state(opened) is State.PAID
    assert await one_town.tickets() == 20_000 - 5 * 450
    assert len(await one_town.rows("order_charges")) == 1
    await one_town.replays()
