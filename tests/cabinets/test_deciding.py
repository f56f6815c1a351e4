"""What waits for a person stays on the desk, and can be decided, whatever it is."""

from typing import Any

from simulators.xiaomai import Plan
from tests.cabinets.agreement import Books
from tests.cabinets.town import Town
from tests.cabinets.world import GOODS, Person

WATER, COLA, *_ = GOODS
TICKETS = 50_000


async def shopping(town: Town, plan: Plan) -> tuple[Person, int]:
    """Somebody took a cola, which the platform recognises as planned."""
    anna = await town.shopper("anna", tickets=TICKETS)
    town.world.xiaomai.recognition.plan_next("XM-1", plan)
    opened = await anna.open(town.sticker("XM-1"))
    await town.work()
    town.cabinet("XM-1").shop(COLA.sku)
    await town.work()
    return anna, opened["session"]["id"]


async def on_desk(town: Town) -> list[dict[str, Any]]:
    return await town.boss.all_of("/admin/exceptions?is_open=true")


async def decide(town: Town, verb: str, **more: Any) -> Any:
    """Decide about the one thing on the desk."""
    (exception,) = await on_desk(town)
    body = {"reason": "as was seen", **more}
    return await town.boss.ask("POST", f"/admin/exceptions/{exception['id']}/{verb}", body)


async def a_day(town: Town) -> None:
    await town.turn(90_000)


async def test_without_an_order_it_comes_back_until_somebody_decides(one_town: Town) -> None:
    town = one_town
    anna, session_id = await shopping(town, Plan(certainty="none"))
    await town.pass_by(120, step=20)
    assert [each["severity"] for each in await on_desk(town)] == ["low"]
    await decide(town, "reject")
    # An order is asked for in all these hours.
    await town.pass_by(1800, step=300)
    await town.pass_by(26 * 3600, step=3600)
    assert (await anna.session(session_id))["state"] == "timeout"
    assert [each["severity"] for each in await on_desk(town)] == ["high"]

    await decide(town, "reject")
    assert await on_desk(town) == []
    await a_day(town)
    await decide(town, "close")
    assert await on_desk(town) == []
    await a_day(town)

    assert await anna.tickets() == 0, "set aside until it is decided"
    await decide(town, "approve")
    assert await anna.tickets() == TICKETS
    await a_day(town)
    (await Books.read(town)).all_is_over()


async def test_a_recognition_that_never_ends_is_decided_by_a_person(one_town: Town) -> None:
    town = one_town
    plan = Plan(certainty="provisional", items={WATER.sku: 1}, recheck_after_s=None)
    anna, session_id = await shopping(town, plan)
    await town.pass_by(660, step=220)
    assert (await anna.session(session_id))["state"] == "settling"
    await a_day(town)

    await decide(town, "close")
    await a_day(town)
    await decide(town, "approve", items=[{"sku": COLA.sku, "quantity": 1}])
    await town.work()

    assert (await anna.session(session_id))["state"] == "paid"
    assert await anna.tickets() == TICKETS - 5 * COLA.price_fen
    await a_day(town)
    (await Books.read(town)).all_is_over()
