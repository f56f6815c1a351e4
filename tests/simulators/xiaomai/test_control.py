"""The hand behind the simulator: only with its token, and everything over HTTP too."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from simulators.reach import trusted
from simulators.xiaomai import APP_ID, ENDPOINT_ID, Cabinet, Xiaomai
from simulators.xiaomai.control import VERBS
from tests.simulators.xiaomai.customer import Customer


class Hand:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def do(self, path: str, **body: object) -> Any:
        response = await self.http.post(f"/__sim/{path}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def refused(self, path: str, **body: object) -> str:
        response = await self.http.post(f"/__sim/{path}", json=body)
        assert response.status_code == 400, response.text
        error: str = response.json()["error"]
        return error

    async def look(self, path: str) -> Any:
        response = await self.http.get(f"/__sim/{path}")
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture
async def hand(sim: Xiaomai) -> AsyncIterator[Hand]:
    headers = {"X-Sim-Token": sim.token}
    async with httpx.AsyncClient(
        base_url=sim.url, headers=headers, timeout=5, trust_env=False, verify=trusted()
    ) as http:
        yield Hand(http)


@pytest.mark.parametrize("token", ["", "x" * 32])
async def test_without_the_token_nothing_is_shown_or_done(
    sim: Xiaomai, customer: Customer, token: str
) -> None:
    headers = {"X-Sim-Token": token}
    answers = [
        await customer.http.get("/__sim/state", headers=headers),
        await customer.http.post("/__sim/reset", headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert list(sim.cabinets) == ["D1"]


async def test_a_shopping_by_hand(hand: Hand, customer: Customer, sim: Xiaomai) -> None:
    made = await hand.do("devices", code="D7", stock={"nut": 2}, bound_to="S1")
    await customer.open(device_code="D7")
    await hand.do("idle")
    await hand.do("devices/D7/plan", certainty="provisional")
    await hand.do("devices/D7/pull")
    taken = await hand.do("devices/D7/take", sku="nut", quantity=2)
    await hand.do("devices/D7/put", sku="nut")
    await hand.do("devices/D7/close")
    await hand.do("idle")
    clock = await hand.do("clock", advance_s=60)
    await hand.do("idle")

    assert made["slots"][0]["stock"] == 2
    assert taken["slots"][0]["stock"] == 0
    assert clock["running"] is False
    assert customer.kinds[-1] == "order.rechecked"
    (order,) = (await hand.look("orders"))["orders"]
    pushed = await hand.do(f"orders/{order['wheat_order_no']}", items={"nut": 2}, rev=1)
    repeated = await hand.do(f"orders/{order['wheat_order_no']}")
    await hand.do("idle")
    assert [e["data"]["rev"] for e in customer.told[-2:]] == [1, 2]
    assert [e["event_id"] for e in customer.told[-2:]] == [
        pushed["event_id"],
        repeated["event_id"],
    ]
    (booked,) = (await hand.look("books"))["books"]
    assert booked["taken"] == {"nut": 1}
    (opening,) = (await hand.look("openings"))["openings"]
    assert opening["lived"]["state"] == "closed"
    seen = await hand.look("deliveries?event_type=order.pushed&state=delivered&device_code=D7")
    assert seen["count"] == 3
    assert (await hand.look("calls?endpoint=door/open"))["calls"][0]["code"] == 0
    assert (await hand.look("devices/D7"))["connected"] is True
    assert len((await hand.look("devices"))["devices"]) == 2


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"take", "put", "close", "pull", "shop"}))
async def test_every_verb_of_fate_works(hand: Hand, verb: str) -> None:
    shown = await hand.do(f"devices/D1/{verb}")

    assert shown["device_code"] == "D1"


async def test_a_whole_shopping_in_one(hand: Hand, customer: Customer, cabinet: Cabinet) -> None:
    await customer.open()
    await hand.do("idle")
    await hand.do("devices/D1/shop", skus=["cola", "tea"])
    await hand.do("devices/D1/prices", prices={"cola": 999})

    assert cabinet.stock("cola") == 4
    assert cabinet.planogram_version == 1


async def test_what_does_not_fit_is_told(hand: Hand) -> None:
    assert "no cabinet" in await hand.refused("devices/D9/pull")
    assert "no verb" in await hand.refused("devices/D1/dance")
    assert "is locked" in await hand.refused("devices/D1/pull")
    assert "doors" in await hand.refused("devices/D1/pull", doors=1)
    assert "order unknown" in await hand.refused("orders/XM1")
    assert "no place" in await hand.refused("faults", at="door/shut", kind="drop")
    assert "no key" in await hand.refused("keys", callback_key_id="cb9")
    assert "no reasons" in await hand.refused("settings", usual_plan={"reasons": ["x"]})


async def test_faults_storms_events_and_bytes(hand: Hand, customer: Customer, sim: Xiaomai) -> None:
    added = await hand.do("faults", at="door/open", kind="code", code=2008)
    refused = await customer.open()
    await hand.do("faults", at="event.*", kind="lose", times=None)
    await hand.do("faults", at="door/*", kind="drop")
    cleared = (await hand.http.delete("/__sim/faults?at=event.*")).json()
    none = (await hand.http.delete("/__sim/faults")).json()
    storm = await hand.do("storm", count=3)
    sent = await hand.do("events", event={"event_type": "x", "device_code": "D1"})
    raw = await hand.do("raw", body='{"event_id":"ev_7"}')
    await hand.do("idle")

    assert added["faults"][0]["code"] == refused["code"] == 2008
    assert [fault["at"] for fault in cleared["faults"]] == ["door/*"]
    assert none == (await hand.look("faults")) == {"faults": []}
    assert storm == {"told": 3}
    assert raw["status"] == 200
    assert sent["event_id"] in {event["event_id"] for event in customer.told}


async def test_settings_and_keys(hand: Hand, customer: Customer, sim: Xiaomai) -> None:
    await hand.do("settings", skew_s=7200, refused_skus=["beer"], params_stick=True, rate_per_s=5)
    assert (sim.courier.skew_s, sim.refused_skus, sim.params_stick) == (7200, {"beer"}, True)
    await hand.do("settings", is_disabled=True, rate_per_s=0, usual_plan={"video": "none"})
    assert (sim.gate.is_disabled, sim.gate.rate_per_s) == (True, None)
    assert sim.recognition.usual_plan.video == "none"
    shown = await hand.do(
        "keys", requests={"k2": "s"}, callback={"cb2": "t"}, callback_key_id="cb2"
    )
    assert shown == {"requests": ["k2"], "callback": "cb2"}
    await hand.do("callback", url="http://127.0.0.1:9/x")
    assert sim.courier.url == "http://127.0.0.1:9/x"


async def test_clock_state_and_reset(hand: Hand, sim: Xiaomai) -> None:
    before = await hand.look("clock")
    running = await hand.do("clock", now_s=before["now_s"] + 60, running=True)
    stopped = await hand.do("clock", running=False)
    state = await hand.look("state")
    await hand.do("reset")

    assert running["running"] is True
    assert stopped["running"] is False
    assert (state["app_id"], state["endpoint_id"]) == (APP_ID, ENDPOINT_ID)
    assert state["cabinets"] == {"D1": 2}
    assert sim.cabinets == {}
    assert sim.now_ms() == int(before["now_s"] * 1000)
