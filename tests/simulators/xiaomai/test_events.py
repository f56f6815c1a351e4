"""Events on their way: retries on the turned clock, and everything the dial can do to them."""

import asyncio

import pytest

from simulators.xiaomai import Cabinet, Fault, Xiaomai
from simulators.xiaomai.courier import EVENT_TYPES, RETRIES_S
from tests.simulators.xiaomai.customer import Customer, Json

TOLD_ONCE = ["device.telemetry"]


async def test_what_is_not_thanked_for_comes_again_for_a_day(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    customer.answer = lambda event: (500, {}, "no")
    cabinet.tell_all()
    await sim.idle()
    counts = []
    for wait_s in RETRIES_S:
        await sim.turn(wait_s - 1)
        counts.append(len(customer.told))
        await sim.turn(1)
    await sim.turn(86400)

    assert 22 * 3600 < sum(RETRIES_S) <= 24 * 3600
    assert counts == list(range(1, len(RETRIES_S) + 1))
    assert [event["attempt"] for event in customer.told] == list(range(1, len(RETRIES_S) + 2))
    assert len({event["event_id"] for event in customer.told}) == 1
    assert len({headers["X-Xm-Nonce"] for headers, _ in customer.posts}) == len(customer.told)
    (delivery,) = sim.deliveries("device.telemetry")
    assert delivery.state == "given_up"
    assert customer.told[-1]["occurred_at"] == customer.told[0]["sent_at"]


@pytest.mark.parametrize(
    ("status", "answer", "is_thanks"),
    [
        (200, '{"code":0,"event_id":"x"}', True),
        (200, '{"code":1001}', False),
        (200, "ok", False),
        (200, "0", False),
        (204, '{"code":0}', False),
        (502, '{"code":0}', False),
    ],
)
async def test_only_code_0_is_thanks(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet, status: int, answer: str, is_thanks: bool
) -> None:
    customer.answer = lambda event: (status, {}, answer)
    cabinet.tell_all()
    await sim.turn(0)
    await sim.turn(15)

    assert len(customer.told) == (1 if is_thanks else 2)


async def test_an_overloaded_customer_is_left_alone_for_as_long_as_it_says(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    customer.answer = lambda event: (503, {"Retry-After": "40"}, "later")
    cabinet.tell_all()
    await sim.idle()
    await sim.turn(39)
    assert len(customer.told) == 1
    customer.answer = None
    await sim.turn(1)

    assert len(customer.told) == 2
    assert sim.deliveries()[0].state == "delivered"


async def test_without_an_address_or_a_listener_nothing_is_lost(
    sim: Xiaomai, customer: Customer, cabinet: Cabinet
) -> None:
    url, sim.courier.url = sim.courier.url, ""
    cabinet.tell_all()
    await sim.idle()
    sim.courier.url = "http://127.0.0.1:1/cb"
    await sim.turn(15)
    sim.courier.url = "http://192.0.2.1.example.invalid/cb"
    await sim.turn(30)
    sim.courier.url = "http://8.8.8.8/cb"
    await sim.turn(180)
    sim.courier.url = url
    await sim.turn(600)

    (delivery,) = sim.deliveries()
    answers = [attempt.answer for attempt in delivery.attempts]
    assert answers[0] == "no callback address"
    assert answers[1].startswith("ConnectError")
    assert answers[2].startswith("no such host")
    assert "this machine" in answers[3]
    assert (delivery.state, customer.kinds) == ("delivered", TOLD_ONCE)


async def test_one_cabinets_events_leave_in_order_while_another_waits(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    other = sim.add_cabinet("D2", bound_to="S1")
    for number in range(20):
        cabinet.say("device.alarm", {"kind": f"a{number}"})
        other.say("device.alarm", {"kind": f"a{number}"})
    await sim.idle()

    for code in ("D1", "D2"):
        kinds = [e["data"]["kind"] for e in customer.told if e["device_code"] == code]
        assert kinds == [f"a{number}" for number in range(20)]


# ---------------------------------------------------------------- the dial


async def test_dropped_lost_and_late(customer: Customer, sim: Xiaomai, cabinet: Cabinet) -> None:
    sim.dial.add(Fault(at="event.device.alarm", kind="lose"))
    sim.dial.add(Fault(at="event.device.telemetry", kind="drop", times=2))
    sim.dial.add(Fault(at="event.device.online", kind="delay", seconds=86_400))
    cabinet.raise_alarm("noise")
    cabinet.tell_all()
    cabinet.say("device.online")
    await sim.idle()
    assert customer.told == []
    await sim.turn(15)
    assert customer.told == []
    await sim.turn(30)
    assert customer.kinds == ["device.telemetry"]
    await sim.turn(86_400)

    assert customer.kinds == ["device.telemetry", "device.online"]
    assert [d.state for d in sim.deliveries()] == ["lost", "delivered", "delivered"]
    assert [a.fault for a in sim.deliveries()[1].attempts] == ["drop", "drop", None]


async def test_reordered_it_waits_for_another_or_for_its_time(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    sim.dial.add(Fault(at="event.door.closed", kind="reorder", seconds=600))
    sim.dial.add(Fault(at="event.device.online", kind="reorder", seconds=600))
    await customer.open()
    await sim.idle()
    cabinet.shop("cola")
    await sim.idle()
    order = customer.kinds.copy()
    customer.told.clear()
    cabinet.say("device.online")
    await sim.turn(599)
    assert customer.told == []
    await sim.turn(1)

    assert order.index("door.locked") < order.index("door.closed")
    assert order.count("door.closed") == 1
    assert customer.kinds == ["device.online"]


async def test_a_duplicate_has_another_id_and_a_repeat_the_very_same_bytes(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    sim.dial.add(Fault(at="event.device.*", kind="duplicate", copies=2))
    sim.dial.add(Fault(at="event.device.*", kind="repeat", copies=2))
    cabinet.tell_all()
    await sim.idle()
    three = customer.told.copy()
    posts = customer.posts.copy()

    # The first duplicate is itself repeated: the second fault has struck it.
    assert len({event["event_id"] for event in three}) == 3
    assert len(three) == 5
    assert len({bytes(body) for _, body in posts}) == 3
    repeated = [p for p in posts if [body for _, body in posts].count(p[1]) == 3]
    assert len({headers["X-Xm-Nonce"] for headers, _ in repeated}) == 1
    assert len({headers["X-Xm-Timestamp"] for headers, _ in repeated}) == 1
    assert {str(event["data"]) for event in three} == {str(three[0]["data"])}


async def test_signed_an_hour_off_it_is_refused_and_comes_again_rightly(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    for seconds in (3600, -3600):
        sim.dial.add(Fault(at="event.*", kind="skew", seconds=seconds))
    cabinet.tell_all()
    await sim.idle()
    await sim.turn(15)
    refused = customer.refused.copy()
    await sim.turn(30)
    sim.courier.skew_s = 1200
    cabinet.tell_all()
    await sim.idle()

    assert refused == ["skew", "skew"]
    assert len(customer.told) == 1
    assert customer.refused == ["skew"] * 3


async def test_orders_can_be_told_wrongly(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    sim.dial.add(Fault(at="event.order.pushed", kind="wrong_rev", rev=7))
    sim.dial.add(Fault(at="event.order.pushed", kind="wrong_total", fen=-1))
    sim.dial.add(Fault(at="event.order.pushed", kind="conflict"))
    sim.dial.add(Fault(at="event.door.*", kind="wrong_rev"))
    for number in (1, 2, 3):
        await customer.open(number)
        await sim.idle()
        cabinet.shop("cola")
        await sim.idle()

    said = [(e["data"]["rev"], e["data"]["total_fen"]) for e in customer.all("order.pushed")]
    assert said == [(7, 350), (1, 349), (1, 350), (1, 700)]
    kept = await customer.data("order/query", session_no="DS-1")
    assert (kept["rev"], kept["total_fen"]) == (1, 350)


async def test_strangers_forge_and_replay(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    sim.dial.add(Fault(at="event.device.telemetry", kind="forged_sign"))
    sim.dial.add(Fault(at="event.device.telemetry", kind="replay"))
    cabinet.tell_all()
    cabinet.tell_all()
    await sim.idle()

    assert customer.refused == ["signature"]
    first, second = [h["X-Xm-Nonce"] for h, _ in customer.posts[-2:]]
    assert first == second
    assert customer.posts[-2][1] != customer.posts[-1][1]
    assert len(customer.told) == 3
    assert [d.state for d in sim.deliveries()] == ["delivered"] * 2


async def test_a_type_nobody_knows_and_any_event_at_all(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    sim.dial.add(Fault(at="event.*", kind="unknown_type", device_code="D1"))
    cabinet.tell_all()
    sim.courier.tell({"event_type": "device.online", "device_code": "D77"}, "ev_mine")
    await sim.idle()
    kinds, ids = customer.kinds, [event["event_id"] for event in customer.told]
    status, answer = await sim.courier.send_signed(b'{"event_id":"ev_raw"}')

    assert sorted(kinds) == ["device.danced", "device.online"]
    assert "ev_mine" in ids
    assert (status, answer) == (200, '{"code": 0, "event_id": "ev_raw"}')


async def test_a_storm_comes_all_at_once(customer: Customer, sim: Xiaomai) -> None:
    for number in range(2, 12):
        sim.add_cabinet(f"D{number}", bound_to="S1")
    most = 0

    def answer(event: Json) -> tuple[int, dict[str, str], str]:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()))
        return 200, {}, '{"code":0}'

    customer.answer = answer
    told = sim.storm(200)
    await sim.idle()

    assert told == 200
    assert len(customer.told) == 200
    assert most > 10
    by_device: dict[str, list[int]] = {}
    for event in customer.told:
        by_device.setdefault(event["device_code"], []).append(event["seq"])
    assert len(by_device) == 11
    assert all(seqs == sorted(seqs) for seqs in by_device.values())


async def test_what_was_told_can_be_told_once_more(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    cabinet.tell_all()
    await sim.idle()
    sim.courier.again(sim.deliveries()[0])
    await sim.idle()

    assert [event["attempt"] for event in customer.told] == [1, 2]
    assert len({event["event_id"] for event in customer.told}) == 1


@pytest.mark.parametrize(
    ("at", "kind", "complaint"),
    [
        ("door/shut", "drop", "no place"),
        ("event.door.danced", "drop", "no place"),
        ("device.close", "slow", "no place"),
        ("door/open", "reorder", "cannot happen there"),
        ("event.*", "http_502", "cannot happen there"),
        ("device.open", "hang", "cannot happen there"),
    ],
)
def test_a_fault_that_could_never_strike_is_refused(at: str, kind: str, complaint: str) -> None:
    fault = Fault(at=at, kind=kind)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match=complaint):
        fault.check(("door/open", "*"), EVENT_TYPES)


async def test_stopping_lets_go_of_what_waits(sim: Xiaomai, customer: Customer) -> None:
    sim.dial.add(Fault(at="door/open", kind="hang", seconds=60))
    hanging = asyncio.create_task(customer.open())
    async with asyncio.timeout(5):
        while not sim.calls:  # noqa: ASYNC110 -- the simulator has no event for it
            await asyncio.sleep(0)
    await sim.stop()
    await sim.stop()

    with pytest.raises(Exception, match="disconnected"):
        await hanging
