"""From the command to the locked door: what is answered, told and known, step by step."""

import pytest

from simulators.xiaomai import Cabinet, Fault, Pace, Xiaomai
from tests.simulators.xiaomai.customer import Customer, opening


async def test_a_shopping_from_the_command_to_the_order(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    opened = await customer.open()
    await sim.idle()
    states = [(await customer.data("door/query", request_id="rq-1"))["state"]]
    cabinet.pull()
    states.append((await customer.data("door/query", request_id="rq-1"))["state"])
    cabinet.take("cola", 2)
    cabinet.take("tea")
    cabinet.put("tea")
    sim.clock.advance(20)
    cabinet.close()
    await sim.idle()
    known = await customer.data("door/query", request_id="rq-1")

    assert opened["code"] == 0
    assert opened["data"]["accepted"] is True
    assert opened["data"]["device_ack_deadline"] == known["unlocked_at"] + 20_000
    assert [*states, known["state"]] == ["unlocked", "open", "closed"]
    assert known["closed_at"] == known["locked_at"] == known["opened_at"] + 20_000
    assert customer.kinds == [
        *("door.unlocked", "door.opened", "door.closed", "door.locked"),
        *("order.pushed", "video.ready"),
    ]
    order = customer.only("order.pushed")
    assert order["session_no"] == "DS-1"
    assert order["request_id"] == "rq-1"
    assert (order["device_code"], order["door_no"]) == ("D1", 1)
    data = order["data"]
    assert data["wheat_order_no"] == opened["data"]["wheat_order_no"] == known["wheat_order_no"]
    assert (data["rev"], data["certainty"], data["total_fen"]) == (1, "certain", 700)
    assert [(i["sku"], i["qty"], i["price_fen"]) for i in data["items"]] == [("cola", 2, 350)]
    assert data["weight_before_g"] - data["weight_after_g"] == 200
    assert (cabinet.stock("cola"), cabinet.stock("tea")) == (3, 5)


async def test_events_are_numbered_and_signed_anew(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    await customer.open()
    await sim.idle()
    cabinet.shop("cola")
    await sim.idle()

    seqs = [event["seq"] for event in customer.told]
    assert seqs == list(range(1, len(seqs) + 1))
    assert {event["boot_id"] for event in customer.told} == {cabinet.boot_id}
    assert len({event["event_id"] for event in customer.told}) == len(seqs)
    assert len({headers["X-Xm-Nonce"] for headers, _ in customer.posts}) == len(seqs)
    assert {event["attempt"] for event in customer.told} == {1}


async def test_a_request_id_opens_once(customer: Customer, sim: Xiaomai, cabinet: Cabinet) -> None:
    first = await customer.open()
    again = await customer.open()
    other = await customer.open(door_no=2)
    twin = await customer.open(2, session_no="DS-1", door_no=2)
    await sim.idle()

    assert again["code"] == 3001
    assert again["data"] == first["data"]
    assert other["code"] == 1000
    assert twin["code"] == 4002
    assert customer.kinds == ["door.unlocked"]


async def test_a_busy_door_says_who_is_there_and_the_other_door_is_free(
    customer: Customer, sim: Xiaomai
) -> None:
    await customer.open()
    restock = await customer.open(2, door_no=2, purpose="restock")
    await sim.idle()
    device = (await customer.data("device/status", device_codes=["D1"]))[0]

    assert restock["code"] == 0
    assert (await customer.open(3))["code"] == 2004
    assert (await customer.open(4, door_no=2))["code"] == 2005
    assert (await customer.open(5, door_no=3))["code"] == 2001
    can = await customer.data("door/can-open", device_code="D1", door_no=1, purpose="shop")
    assert can == {"can_open": False, "reason_code": 2004}
    assert [(d["lock"], d["door"], d["busy"], d["session_no"]) for d in device["doors"]] == [
        ("unlocked", "closed", True, "DS-1"),
        ("unlocked", "closed", True, "DS-2"),
    ]


async def test_nobody_pulls_and_it_locks_again(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    await customer.open()
    await sim.turn(29)
    assert cabinet.door(1).lock == "unlocked"
    await sim.turn(1)
    known = await customer.data("door/query", request_id="rq-1")

    assert customer.kinds == ["door.unlocked", "door.not_pulled", "door.locked"]
    assert customer.only("door.not_pulled")["data"] == {"fail_code": 3003}
    assert (known["state"], known["fail_code"]) == ("failed", 3003)
    assert (await customer.code("order/query", session_no="DS-1")) == 4001
    assert (await customer.open(2))["code"] == 0
    with pytest.raises(ValueError, match="is closed"):
        cabinet.take("cola")


async def test_a_jammed_lock_says_so(customer: Customer, sim: Xiaomai, cabinet: Cabinet) -> None:
    cabinet.door(1).is_jammed = True
    await customer.open()
    await sim.idle()

    assert customer.only("door.open_failed")["data"] == {"fail_code": 3004}
    assert (await customer.data("door/query", request_id="rq-1"))["fail_code"] == 3004
    with pytest.raises(ValueError, match="is locked and closed"):
        cabinet.pull()


@pytest.mark.parametrize(
    ("code", "later"), [(3004, [3007, 0, 0]), (3002, [3007, 3002, 3005])], ids=["lock", "silent"]
)
async def test_accepted_and_never_opened(
    customer: Customer, sim: Xiaomai, code: int, later: list[int]
) -> None:
    sim.dial.add(Fault(at="device.open", kind="never_open", code=code))
    opened = await customer.open()

    codes = []
    for seconds in (19, 1, 280):
        await sim.turn(seconds)
        codes.append(await customer.code("door/query", request_id="rq-1"))

    assert opened["code"] == 0
    assert codes == later
    assert customer.told == []


async def test_a_command_that_comes_too_late_or_is_cancelled_opens_nothing(
    customer: Customer, sim: Xiaomai
) -> None:
    sim.dial.add(Fault(at="device.open", kind="slow", seconds=90, times=2))
    late = await customer.open(1, expires_at=sim.now_ms())
    await customer.open(2, expires_at=sim.now_ms() + 1000)
    await customer.open(3, door_no=2, expires_at=sim.now_ms() + 100_000)
    cancelled = await customer.data("door/cancel", request_id="rq-3")
    await sim.turn(90)
    gone = await customer.data("door/query", request_id="rq-3")
    await customer.open(4, door_no=2)
    await sim.idle()
    early = await customer.data("door/cancel", request_id="rq-4")

    assert late["code"] == 1002
    assert customer.kinds == ["door.open_failed", "door.unlocked"]
    assert cancelled == {"result": "cancelled"}
    assert gone["state"] == "failed"
    assert early == {"result": "already_unlocked"}
    assert await customer.code("door/cancel", request_id="rq-9") == 3006
    assert await customer.code("door/query", request_id="rq-9") == 3006


@pytest.mark.parametrize(
    ("verb", "shop", "restock"),
    [
        ("disconnect", 2003, 2003),
        ("unplug", 2003, 2003),
        ("run_on_ups", 2007, 0),
        ("warm", 2009, 0),
        ("maintain", 2006, 0),
        ("hardware", 2008, 2008),
    ],
)
async def test_why_a_cabinet_does_not_open(
    customer: Customer, cabinet: Cabinet, verb: str, shop: int, restock: int
) -> None:
    if verb == "maintain":
        cabinet.in_maintenance = True
    elif verb == "hardware":
        cabinet.raise_alarm("hardware")
    else:
        getattr(cabinet, verb)()

    assert (await customer.open())["code"] == shop
    assert (await customer.open(2, purpose="restock"))["code"] == restock


async def test_an_unknown_and_an_unbound_device(customer: Customer, sim: Xiaomai) -> None:
    sim.add_cabinet("D2")

    assert (await customer.open(device_code="D9"))["code"] == 2001
    assert (await customer.open(device_code="D2"))["code"] == 2002
    assert await customer.code("device/status", device_codes=["D9"]) == 2001
    assert await customer.code("device/status", device_codes=["D2"]) == 2002
    status = await customer.data("device/status", device_codes=["D1", "D2", "D9"])
    assert [device["device_code"] for device in status] == ["D1"]


async def test_binding_moving_and_unbinding(customer: Customer, sim: Xiaomai) -> None:
    cabinet = sim.add_cabinet("D2")
    body = {
        "device_code": "D2",
        "store_code": "S1",
        "name": "门口",
        "doors": [{"door_no": 1, "qr_token": "door-token"}],
        "contact_phone": "13800000000",
    }
    first = await customer.data("device/bind", **body)
    sim.clock.advance(10)
    again = await customer.data("device/bind", **body)
    moved = await customer.data("device/bind", **(body | {"store_code": "S2"}))
    await customer.open(device_code="D2")
    busy = await customer.code("device/unbind", device_code="D2", reason="搬走")
    await sim.turn(30)
    unbound = await customer.data("device/unbind", device_code="D2", reason="搬走")

    assert first["doors"] == [{"door_no": 1}]
    assert first["bound_at"] == again["bound_at"] == moved["bound_at"] - 10_000
    assert cabinet.door(1).qr_token == "door-token"
    assert busy == 2004
    assert unbound["unbound_at"] == sim.now_ms()
    assert await customer.code("device/unbind", device_code="D2", reason="") == 2002
    body["doors"] = [{"door_no": 2, "qr_token": "x"}]
    assert await customer.code("device/bind", **body) == 2001


async def test_a_door_left_open_raises_an_alarm_that_closing_clears(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    await customer.open(max_open_s=180)
    await sim.idle()
    cabinet.pull()
    await sim.turn(180)
    cabinet.take("tea")
    cabinet.close()
    await sim.idle()

    assert customer.only("device.alarm")["data"]["kind"] == "door_open"
    assert customer.only("device.alarm_cleared")["data"]["kind"] == "door_open"
    assert customer.only("order.pushed")["data"]["total_fen"] == 450


async def test_a_latch_that_sticks_keeps_the_door_busy(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    await customer.open()
    await sim.idle()
    cabinet.door(1).latch_stuck = True
    cabinet.shop("cola")
    await sim.idle()
    stuck = (await customer.open(2))["code"]
    cabinet.free_latch()
    await sim.idle()

    assert "door.closed" in customer.kinds
    assert stuck == 2004
    assert customer.kinds.index("device.alarm") < customer.kinds.index("door.locked")
    assert (await customer.data("door/query", request_id="rq-1"))["locked_at"] == sim.now_ms()
    assert (await customer.open(3))["code"] == 0


async def test_a_forced_door_has_no_session(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    cabinet.force()
    cabinet.take("tea", 2)
    cabinet.close()
    await sim.idle()

    order = customer.only("order.abnormal")
    assert {event["session_no"] for event in customer.told} == {""}
    assert customer.kinds[:2] == ["device.alarm", "door.opened"]
    assert order["data"]["abnormal_reasons"] == ["other"]
    assert order["data"]["certainty"] == "uncertain"
    (booked,) = sim.books()
    assert (booked["taken"], booked["worth_fen"]) == ({"tea": 2}, 900)


async def test_a_restocking_makes_no_order(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    await customer.open(purpose="restock")
    await sim.idle()
    cabinet.pull()
    cabinet.put("cola", 4)
    cabinet.close()
    await sim.idle()

    assert cabinet.stock("cola") == 9
    assert customer.kinds[-1] == "door.locked"
    assert sim.books() == []


async def test_what_cannot_be_done_is_refused(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    await customer.open()
    await sim.idle()
    cabinet.pull()

    with pytest.raises(ValueError, match="fewer than 6"):
        cabinet.take("cola", 6)
    with pytest.raises(ValueError, match="no slot for 'milk'"):
        cabinet.put("milk")
    with pytest.raises(ValueError, match="has no door 7"):
        cabinet.pull(7)
    with pytest.raises(ValueError, match="unlocked and open"):
        cabinet.pull()
    with pytest.raises(ValueError, match="already"):
        sim.add_cabinet("D1")
    with pytest.raises(KeyError):
        sim.cabinet("D9")


@pytest.mark.parametrize(
    "changes",
    [
        {"door_no": "1"},
        {"purpose": "steal"},
        {"request_id": ""},
        {"expires_at": -1},
        {"user_phone": "13800000000"},
    ],
)
async def test_a_body_that_is_not_as_agreed_is_refused(
    customer: Customer, sim: Xiaomai, changes: dict[str, object]
) -> None:
    answer = await customer.post("door/open", opening(sim) | changes)
    nothing = await customer.post("door/open", b"\xff{")

    assert (answer.status_code, answer.json()["code"]) == (400, 1000)
    assert nothing.json()["code"] == 1000
    assert sim.openings == {}


# ---------------------------------------------------------------- line and power


async def test_offline_in_the_middle_the_words_come_later_in_order(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    await customer.open()
    await sim.idle()
    cabinet.pull()
    await sim.idle()
    cabinet.disconnect()
    await sim.turn(60)
    cabinet.take("cola")
    cabinet.close()
    await sim.idle()
    known = await customer.data("door/query", request_id="rq-1")
    (shown,) = await customer.data("device/status", device_codes=["D1"])
    before = len(customer.told)
    await sim.turn(600)
    cabinet.connect()
    cabinet.connect()
    await sim.idle()

    assert (known["state"], known["closed_at"]) == ("open", None)
    assert (shown["online"], shown["doors"][0]["door"]) == (False, "open")
    assert customer.kinds[2:before] == ["device.offline"]
    assert customer.kinds[before:] == [
        *("door.closed", "door.locked", "device.online", "device.telemetry"),
        *("order.pushed", "video.ready"),
    ]
    closed = customer.only("door.closed")
    assert closed["occurred_at"] == closed["sent_at"] - 600_000
    seqs = [event["seq"] for event in customer.told]
    assert seqs == sorted(seqs)


async def test_the_platform_notices_a_silent_line_after_a_while(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    sim.pace = Pace(offline_after_s=120)
    cabinet.disconnect()
    await sim.turn(119)
    assert customer.told == []
    await sim.turn(1)
    cabinet.connect()
    cabinet.disconnect()
    cabinet.connect()
    await sim.turn(120)

    assert customer.kinds.count("device.offline") == 1
    assert customer.kinds.count("device.online") == 2


@pytest.mark.parametrize(
    ("deed", "kinds"),
    [
        ("stayed away", ["door.not_pulled", "door.locked"]),
        ("shopped", ["door.closed", "door.locked"]),
        ("left it open", ["door.opened"]),
    ],
)
async def test_after_a_power_cut_the_sensors_tell_what_was_done(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet, deed: str, kinds: list[str]
) -> None:
    await customer.open()
    await sim.idle()
    boot_id = cabinet.boot_id
    cabinet.unplug()
    if deed != "stayed away":
        cabinet.pull()
    if deed == "shopped":
        cabinet.take("tea")
        cabinet.close()
    await sim.turn(300)
    customer.told.clear()
    cabinet.plug_in()
    await sim.idle()

    told = [kind for kind in customer.kinds if kind.startswith("door.")]
    assert told == kinds
    assert cabinet.boot_id != boot_id
    assert customer.told[0]["seq"] == 1
    assert len(customer.all("order.pushed")) == (deed == "shopped")


async def test_a_reboot_comes_back_with_another_boot_id(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    boot_id = cabinet.boot_id
    accepted = await customer.data("device/reboot", device_code="D1", reason="升级")
    offline = await customer.code("device/reboot", device_code="D1", reason="升级")
    await sim.turn(30)

    assert accepted == {"accepted": True}
    assert offline == 2003
    assert customer.kinds == ["device.offline", "device.online", "device.telemetry"]
    assert cabinet.boot_id != boot_id


async def test_on_the_ups_and_back(customer: Customer, sim: Xiaomai, cabinet: Cabinet) -> None:
    cabinet.run_on_ups()
    (on_ups,) = await customer.data("device/status", device_codes=["D1"])
    cabinet.plug_in()
    await sim.idle()

    assert (on_ups["power"], on_ups["faults"]) == ("ups", ["power"])
    assert customer.kinds == ["device.alarm", "device.alarm_cleared"]


async def test_a_heartbeat_a_minute_and_one_after_a_day(sim: Xiaomai, customer: Customer) -> None:
    sim.pace = Pace(heartbeat_s=60)
    sim.add_cabinet("D2", bound_to="S1")
    for _ in range(3):
        await sim.turn(60)
    await sim.turn(86400)

    beats = customer.all("device.telemetry")
    assert len(beats) == 4
    assert {beat["device_code"] for beat in beats} == {"D2"}
    assert beats[0]["data"]["temp_c10"] == 40


async def test_parameters_are_a_target_that_comes_back_in_telemetry(
    customer: Customer, sim: Xiaomai, cabinet: Cabinet
) -> None:
    await customer.data("device/params", device_code="D1", desired_version=2, volume=30)
    await sim.idle()
    cabinet.disconnect()
    await customer.data("device/params", device_code="D1", desired_version=3, target_temp_c10=20)
    old = await customer.ask("device/params", device_code="D1", desired_version=1, volume=1)
    waiting = cabinet.climate.target_temp_c10
    cabinet.connect()
    sim.params_stick = True
    await customer.data("device/params", device_code="D1", desired_version=4, light=5)
    await sim.idle()

    assert (old["code"], old["data"]) == (5002, {"version": 3})
    assert waiting == 40
    last = customer.all("device.telemetry")[-1]["data"]
    assert (last["volume"], last["target_temp_c10"], last["light"]) == (30, 20, 80)
    assert last["params_version"] == 3
