"""The story of the demo at a whole server: a cabinet is scanned, opened, emptied, closed, paid."""

import pytest

from tests.cabinets.town import Town
from tests.cabinets.world import GOODS, STOCK, Refused
from tests.chaos.people import Socket

WATER, COLA, *_ = GOODS
TAKEN = {WATER.sku: 1, COLA.sku: 2}
WORTH = WATER.price_fen + 2 * COLA.price_fen
TICKETS = 50_000

DOOR = ["door.opening", "door.open", "door.closed", "door.settling", "door.paid"]


def names(socket: Socket, topic: str) -> list[str]:
    """What was told on a topic about sessions and orders, in order."""
    about = ("door.", "cabinet_order.")
    found = [event for event in socket.events if event["topic"] == topic]
    assert [event["seq"] for event in found] == sorted(event["seq"] for event in found)
    return [event["name"] for event in found if event["name"].startswith(about)]


async def shop(town: Town) -> None:
    town.cabinet("XM-1").pull()
    await town.work()
    for sku, quantity in TAKEN.items():
        town.cabinet("XM-1").take(sku, quantity)
    town.cabinet("XM-1").close()
    await town.work()


async def test_drinks_are_paid_in_tickets_and_everybody_hears_of_it(town: Town) -> None:
    anna = await town.shopper("anna", tickets=TICKETS)
    ben = await town.shopper("ben", tickets=TICKETS)
    hers = await town.listen(anna, "me")
    console = await town.listen(town.boss, "cabinets", f"cabinet:{town.cabinets['XM-1']}")

    opened = await anna.open(town.sticker("XM-1"))
    session_id = opened["session"]["id"]
    await hers.ask("subscribe", topic=f"door:{session_id}")
    await town.work()
    live = await town.boss.ask("GET", f"/admin/devices/{town.cabinets['XM-1']}/live")
    with pytest.raises(Refused, match=r"door_session\.door_busy"):
        await ben.open(town.sticker("XM-1"))
    await shop(town)

    assert live["link"] == "online"
    assert [door["lock"] for door in live["doors"]] == ["unlocked", "locked"]
    assert (await anna.session(session_id))["state"] == "paid"
    assert await anna.tickets() == TICKETS - 5 * WORTH
    assert await ben.tickets() == TICKETS
    (order,) = await anna.orders()
    assert {line["sku"]: line["quantity"] for line in order["lines"]} == TAKEN
    assert (order["state"], order["due_fen"], order["paid_fen"]) == ("paid", WORTH, WORTH)
    # The command was answered before she could ask to be told of it.
    await hers.hear_named("cabinet_order.paid")
    await console.hear(2 * len(DOOR))
    assert names(hers, f"door:{session_id}") == DOOR[1:]
    assert [name for name in names(hers, "me") if name in DOOR] == DOOR
    assert names(hers, "me")[-1] == "cabinet_order.paid"
    assert set(DOOR) <= set(names(console, "cabinets"))
    assert set(DOOR) <= set(names(console, f"cabinet:{town.cabinets['XM-1']}"))


async def test_the_same_by_payscore(town: Town) -> None:
    anna = await town.shopper("anna")
    hers = await town.listen(anna, "me")

    opened = await anna.open(town.sticker("XM-1"), "wechat")
    session_id = opened["session"]["id"]
    assert opened["session"]["state"] == "requested"
    assert town.cabinet("XM-1").door(1).lock == "locked"
    await anna.confirm(opened)
    await town.work()
    await shop(town)

    assert (await anna.session(session_id))["state"] == "settling"
    await town.pass_by(30)
    assert (await anna.session(session_id))["state"] == "paid"
    (order,) = await anna.orders()
    assert (order["state"], order["paid_fen"], order["pay_with"]) == ("paid", WORTH, "wechat")
    (score,) = town.world.wechat.pay.score.all.values()
    assert (score.state, score.paid_fen) == ("DONE", WORTH)
    assert {fee.name for fee in score.post_payments} == {"商品信息"}
    await hers.hear_named("cabinet_order.paid")
    assert names(hers, "me")[0] == "door.requested"


async def test_the_back_office_and_the_platform_agree_with_the_shopper(one_town: Town) -> None:
    town = one_town
    anna = await town.shopper("anna", tickets=TICKETS)
    opened = await anna.open(town.sticker("XM-1"))
    await town.work()
    await shop(town)
    await town.pass_by(10)

    boss, device_id = town.boss, town.cabinets["XM-1"]
    (hers,) = await anna.orders()
    (seen,) = await boss.all_of("/admin/cabinet-orders")
    detail = await boss.ask("GET", f"/admin/cabinet-orders/{seen['id']}")
    (session,) = await boss.all_of("/admin/door-sessions")
    stock = (await boss.ask("GET", f"/admin/devices/{device_id}/stock"))["items"]
    (booked,) = town.world.xiaomai.books()

    assert {name: seen[name] for name in hers} == hers
    assert (seen["tickets"], seen["wechat_fen"]) == (5 * WORTH, 0)
    assert detail["present_fen"] == WORTH
    assert [charge["state"] for charge in detail["charges"]] == ["done"]
    assert (session["id"], session["state"]) == (opened["session"]["id"], "paid")
    left = {(item["door_no"], item["sku"]): item["quantity"] for item in stock}
    assert {sku: STOCK - left[1, sku] for sku in TAKEN} == TAKEN
    assert all(left[1, sku] == town.cabinet("XM-1").stock(sku) for sku in TAKEN)
    assert (booked["result"], booked["confirmed"], booked["order_no"]) == (
        "paid",
        TAKEN,
        seen["no"],
    )
    assert (booked["worth_fen"], booked["due_fen"], booked["net_paid_fen"]) == (WORTH,) * 3
    totals = await boss.ask("GET", f"/admin/sales-totals?day={town.clock.day()}")
    assert (totals["amount_fen"], totals["tickets"], totals["sent_lines"]) == (WORTH, 5 * WORTH, 0)
    assert await boss.all_of("/admin/exceptions") == []


async def test_a_short_purse_is_made_up_by_wechat_before_the_next_door(one_town: Town) -> None:
    town = one_town
    anna = await town.shopper("anna", tickets=1_000)
    await anna.open(town.sticker("XM-1"))
    await town.work()
    await shop(town)
    (order,) = await anna.orders()
    assert (order["state"], order["paid_fen"], order["to_pay_fen"]) == ("unpaid", 200, WORTH - 200)

    with pytest.raises(Refused, match=r"cabinets\.unpaid_order"):
        await anna.open(town.sticker("XM-2"), "wechat")
    await anna.pay(order, "wechat")
    await town.work()

    (order,) = await anna.orders()
    assert (order["state"], order["paid_fen"]) == ("paid", WORTH)
    await anna.open(town.sticker("XM-2"), "wechat")


async def test_a_server_that_was_restarted_goes_on_with_the_door(town: Town) -> None:
    anna = await town.shopper("anna", tickets=TICKETS)
    opened = await anna.open(town.sticker("XM-1"))
    await town.work()
    town.cabinet("XM-1").pull()
    await town.restart()
    town.cabinet("XM-1").take(COLA.sku)
    town.cabinet("XM-1").close()

    await town.pass_by(30)

    assert (await anna.session(opened["session"]["id"]))["state"] == "paid"
    assert await anna.tickets() == TICKETS - 5 * COLA.price_fen
