"""Recognition in its outcomes, revisions, the customer's confirmation, videos, the books."""

from typing import Any

import pytest

from simulators.xiaomai import Cabinet, Fault, Plan, Xiaomai
from tests.simulators.xiaomai.customer import Customer


async def shop(sim: Xiaomai, customer: Customer, number: int, *skus: str) -> str:
    """Open, take, close, and let everything happen; the order's number."""
    opened = await customer.open(number)
    await sim.idle()
    sim.cabinet("D1").shop(*skus)
    await sim.idle()
    wheat_order_no: str = opened["data"]["wheat_order_no"]
    return wheat_order_no


def confirmation(wheat_order_no: str, **changes: Any) -> dict[str, Any]:
    return {
        "wheat_order_no": wheat_order_no,
        "rev": 1,
        "result": "paid",
        "due_fen": 700,
        "net_paid_fen": 700,
        "items": [{"sku": "cola", "qty": 2, "price_fen": 350}],
        "order_no": "CO-1",
        "at": 1,
    } | changes


async def test_a_certain_order_can_be_asked_for_by_both_numbers(
    customer: Customer, sim: Xiaomai
) -> None:
    number = await shop(sim, customer, 1, "cola")

    by_order = await customer.data("order/query", wheat_order_no=number)
    by_session = await customer.data("order/query", session_no="DS-1")

    assert by_order == by_session
    assert (by_order["device_code"], by_order["session_no"]) == ("D1", "DS-1")
    assert by_order["video"] == {"state": "ready", "slices": 2}
    assert await customer.code("order/query", session_no="DS-9") == 4001
    assert await customer.code("order/query", wheat_order_no="XM0", session_no="") == 4001


async def test_nothing_taken_is_an_empty_certain_order(customer: Customer, sim: Xiaomai) -> None:
    await shop(sim, customer, 1)

    data = customer.only("order.pushed")["data"]
    assert (data["items"], data["total_fen"], data["certainty"]) == ([], 0, "certain")


async def test_a_provisional_order_is_looked_at_again(customer: Customer, sim: Xiaomai) -> None:
    plan = Plan(certainty="provisional", items={"tea": 1}, after_s=5, recheck_after_s=60)
    sim.recognition.plan_next("D1", plan)
    await shop(sim, customer, 1, "cola")
    assert "order.pushed" not in customer.kinds
    await sim.turn(5)
    assert customer.only("order.pushed")["data"]["certainty"] == "provisional"
    await sim.turn(60)

    data = customer.only("order.rechecked")["data"]
    assert (data["rev"], data["certainty"], data["total_fen"]) == (2, "certain", 350)
    await shop(sim, customer, 2, "cola")
    assert customer.all("order.pushed")[-1]["data"]["certainty"] == "certain"


async def test_an_uncertain_order_names_candidates_and_reasons(
    customer: Customer, sim: Xiaomai
) -> None:
    plan = Plan(
        certainty="uncertain",
        items={},
        candidates={"cola": 1, "tea": 1},
        reasons=("camera", "gravity"),
        video="failed",
    )
    sim.recognition.plan_next("D1", plan)
    await shop(sim, customer, 1, "cola")

    data = customer.only("order.abnormal")["data"]
    assert (data["certainty"], data["items"]) == ("uncertain", [])
    assert [line["sku"] for line in data["candidates"]] == ["cola", "tea"]
    assert data["abnormal_reasons"] == ["camera", "gravity"]
    assert customer.only("video.failed")["data"]["reason"] == "upload"
    assert customer.kinds[-2:] == ["order.abnormal", "video.failed"]
    with pytest.raises(ValueError, match="no reasons"):
        sim.recognition.plan_next("D1", Plan(reasons=("moonlight",)))


async def test_no_order_at_all_and_a_late_one(customer: Customer, sim: Xiaomai) -> None:
    sim.recognition.plan_next("D1", Plan(certainty="none"))
    sim.recognition.plan_next("D1", Plan(after_s=540, total_off_fen=-50, video="none"))
    await shop(sim, customer, 1, "cola")
    await shop(sim, customer, 2, "cola")
    await sim.turn(539)
    assert "order.pushed" not in customer.kinds
    assert await customer.code("order/query", session_no="DS-2") == 4001
    await sim.turn(1)

    assert await customer.code("order/query", session_no="DS-1") == 4001
    data = customer.only("order.pushed")["data"]
    assert data["total_fen"] == 300
    assert "video.ready" not in customer.kinds


async def test_an_order_is_revised_repeated_and_contradicted(
    customer: Customer, sim: Xiaomai
) -> None:
    number = await shop(sim, customer, 1, "cola", "cola")
    order = sim.orders.find(number)
    sim.recognition.revise(order, {"cola": 1})
    sim.recognition.push(order)
    sim.recognition.revise(order, {"tea": 1}, rev=1)
    await sim.idle()

    said = [(e["data"]["rev"], e["data"]["total_fen"]) for e in customer.all("order.pushed")]
    assert said == [(1, 700), (2, 350), (2, 350), (1, 450)]
    assert len({event["event_id"] for event in customer.told}) == len(customer.told)
    kept = await customer.data("order/query", wheat_order_no=number)
    assert (kept["rev"], kept["total_fen"]) == (2, 350)


async def test_changed_orders_are_listed_oldest_change_first(
    customer: Customer, sim: Xiaomai
) -> None:
    start = sim.now_ms()
    numbers = []
    for number in (1, 2, 3, 4):
        numbers.append(await shop(sim, customer, number, "tea"))
        await sim.turn(10)
    sim.recognition.revise(sim.orders.find(numbers[0]), {})

    seen: list[str] = []
    cursor, pages = "", 0
    while pages == 0 or cursor:
        page = await customer.data(
            "order/list",
            **{"from": start, "to": sim.now_ms(), "by": "updated_at"},
            cursor=cursor,
            limit=2,
        )
        seen += [order["wheat_order_no"] for order in page["orders"]]
        cursor, pages = page["next_cursor"], pages + 1
    window = await customer.data(
        "order/list", **{"from": start + 10_000, "to": start + 20_000}, cursor="", limit=200
    )

    assert seen == [*numbers[1:], numbers[0]]
    assert pages == 2
    assert [order["wheat_order_no"] for order in window["orders"]] == numbers[1:3]
    for wrong in ({"limit": 201}, {"cursor": "yesterday"}, {"by": "created_at"}):
        body = {"from": 0, "to": 1, "cursor": "", "limit": 9} | wrong
        assert await customer.code("order/list", **body) == 1000


async def test_the_books_compare_taken_said_and_paid(customer: Customer, sim: Xiaomai) -> None:
    sim.recognition.plan_next("D1", Plan(items={"cola": 2}))
    number = await shop(sim, customer, 1, "cola")
    await customer.data("order/confirm", **confirmation(number))
    await customer.data("order/confirm", **confirmation(number))
    corrected = confirmation(
        number,
        result="corrected",
        due_fen=350,
        net_paid_fen=350,
        items=[{"sku": "cola", "qty": 1, "price_fen": 350}],
        at=9,
    )
    await customer.data("order/confirm", **corrected)
    await customer.data("order/confirm", **confirmation(number, at=5))

    (booked,) = sim.books()
    assert booked["taken"] == {"cola": 1}
    assert booked["worth_fen"] == 350
    assert (booked["said"], booked["said_fen"]) == ({"cola": 2}, 700)
    assert (booked["result"], booked["order_no"]) == ("corrected", "CO-1")
    assert (booked["confirmed"], booked["due_fen"], booked["net_paid_fen"]) == (
        {"cola": 1},
        350,
        350,
    )
    assert booked["user_ref"] == "u-77"
    assert [confirm.at for confirm in sim.orders.find(number).confirms] == [1, 5, 9]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"wheat_order_no": "XM9"}, 4001),
        ({"rev": 2}, 4002),
        ({"net_paid_fen": 699}, 4003),
        ({"due_fen": 701, "net_paid_fen": 701}, 4003),
        ({"items": [{"sku": "gold", "qty": 1, "price_fen": 700}]}, 4005),
        ({"result": "forgotten"}, 1000),
        ({"result": "unpaid", "net_paid_fen": 0}, 0),
        ({"result": "cancelled", "due_fen": 0, "net_paid_fen": 0, "items": []}, 0),
    ],
)
async def test_a_confirmation_must_add_up(
    customer: Customer, sim: Xiaomai, changes: dict[str, Any], code: int
) -> None:
    number = await shop(sim, customer, 1, "cola", "cola")

    said = await customer.code("order/confirm", **(confirmation(number) | changes))

    assert said == code
    assert len(sim.orders.find(number).confirms) == (code == 0)


async def test_a_video_comes_later_can_be_asked_for_again_and_is_what_it_says(
    customer: Customer, sim: Xiaomai
) -> None:
    sim.recognition.plan_next("D1", Plan(video="failed", video_after_s=300))
    number = await shop(sim, customer, 1, "cola")
    codes = [await customer.code("order/video/url", wheat_order_no=number)]
    await sim.turn(300)
    codes.append(await customer.code("order/video/url", wheat_order_no=number))
    await customer.data("order/video/reupload", wheat_order_no=number, camera_nos=[1])
    await sim.idle()
    slices = await customer.data("order/video/url", wheat_order_no=number, camera_nos=[2])
    film = await customer.http.get(slices[0]["url"])
    lost = await customer.http.get("/videos/XM1/1/1.mp4")

    assert codes == [4007, 4006]
    assert customer.only("video.ready")["data"]["slices"] == 2
    assert [(s["camera_no"], s["slice"]) for s in slices] == [(2, 1), (2, 2)]
    assert film.headers["Content-Type"] == "video/mp4"
    assert len(slices[0]["sha256"]) == 64
    assert lost.status_code == 404


async def test_no_video_cannot_be_asked_for_again(customer: Customer, sim: Xiaomai) -> None:
    sim.recognition.plan_next("D1", Plan(video="none"))
    number = await shop(sim, customer, 1, "cola")

    codes = [
        await customer.code(f"order/video/{verb}", wheat_order_no=number)
        for verb in ("url", "reupload")
    ]

    assert codes == [4006, 4006]


async def test_an_answer_can_be_lost_after_the_door_was_opened(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    sim.dial.add(Fault(at="door/open", kind="drop", is_done=True))
    sim.dial.add(Fault(at="door/open", kind="drop"))
    with pytest.raises(Exception, match="disconnected"):
        await customer.open(1)
    with pytest.raises(Exception, match="disconnected"):
        await customer.open(2, door_no=2)
    again = await customer.open(1)
    await sim.idle()

    assert again["code"] == 3001
    assert cabinet.door(1).lock == "unlocked"
    assert cabinet.door(2).lock == "locked"
    assert [(call.code, call.fault) for call in sim.calls] == [
        (0, "drop"),
        (None, "drop"),
        (3001, None),
    ]


async def test_answers_can_be_spoilt(customer: Customer, sim: Xiaomai) -> None:
    sim.dial.add(Fault(at="door/*", kind="http_502"))
    sim.dial.add(Fault(at="*", kind="nonsense"))
    sim.dial.add(Fault(at="door/open", kind="code", code=9002))
    sim.dial.add(Fault(at="door/open", kind="delay", seconds=0))
    sim.dial.add(Fault(at="door/open", kind="hang", seconds=0))
    body = {"device_codes": ["D1"]}

    page = await customer.post("door/open", {})
    nonsense = await customer.post("device/status", body)
    busy = await customer.post("door/open", {})
    late = await customer.open()
    with pytest.raises(Exception, match="disconnected"):
        await customer.open(2)

    assert (page.status_code, page.headers["Content-Type"]) == (502, "text/html")
    assert nonsense.content.startswith(b"\x1f\x8b")
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "2")
    assert busy.json()["code"] == 9002
    assert late["code"] == 0
