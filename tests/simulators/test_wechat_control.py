"""The hand behind the simulator: faults, clock, reset, the page, and its life as a process."""

import asyncio
import json
import signal
import sys

import httpx
import pytest

from simulators.wechat import CALLED_TEMPLATE_ID, WeChat
from tests.simulators.calls import control, login, send, token


async def test_a_fault_strikes_as_often_as_ordered(caller: httpx.AsyncClient) -> None:
    await control(caller, "faults", endpoint="jscode2session", kind="http_502", times=2)
    query = {"js_code": "sim:a:1"}

    struck = [await caller.get("/sns/jscode2session", params=query) for _ in range(2)]

    assert [r.status_code for r in struck] == [502, 502]
    assert struck[0].headers["Content-Type"] == "text/html"
    assert (await login(caller, "sim:a:1"))["openid"] == "a"


async def test_a_fault_may_last_until_it_is_cleared(caller: httpx.AsyncClient) -> None:
    await control(caller, "faults", endpoint="*", kind="errcode", times=None)

    busy = [await login(caller, "sim:a:1"), await token(caller)]
    await caller.delete("/sim/faults", params={"endpoint": "other"})
    still = await login(caller, "sim:a:1")
    await caller.delete("/sim/faults")

    assert [answer["errcode"] for answer in [*busy, still]] == [-1, -1, -1]
    assert (await login(caller, "sim:a:1"))["openid"] == "a"


async def test_a_fault_of_another_endpoint_waits(caller: httpx.AsyncClient) -> None:
    await control(caller, "faults", endpoint="stable_token", kind="errcode", errcode=45011)

    assert (await login(caller, "sim:a:1"))["openid"] == "a"
    assert (await token(caller))["errcode"] == 45011
    assert (await caller.get("/sim/faults")).json() == {"faults": []}


async def test_a_dropped_connection_gives_no_answer_at_all(caller: httpx.AsyncClient) -> None:
    await control(caller, "faults", endpoint="jscode2session", kind="drop")

    with pytest.raises(httpx.RemoteProtocolError):
        await login(caller, "sim:a:1")

    assert (await login(caller, "sim:a:1"))["openid"] == "a"


async def test_an_answer_can_be_lost_after_the_work_was_done(caller: httpx.AsyncClient) -> None:
    await control(caller, "grants", openid="o-alice", template_id=CALLED_TEMPLATE_ID)
    key = (await token(caller))["access_token"]
    await control(caller, "faults", endpoint="subscribe_send", kind="drop", is_done=True)

    with pytest.raises(httpx.RemoteProtocolError):
        await send(caller, key, "o-alice")

    assert (await caller.get("/sim/inbox")).json()["count"] == 1
    assert (await send(caller, key, "o-alice"))["errcode"] == 43101


async def test_nonsense_is_neither_json_nor_text(caller: httpx.AsyncClient) -> None:
    await control(caller, "faults", endpoint="jscode2session", kind="nonsense")

    response = await caller.get("/sns/jscode2session")

    assert response.status_code == 200
    with pytest.raises(ValueError, match=r"decode|codec"):
        response.json()


async def test_a_delayed_answer_outlives_a_callers_patience(caller: httpx.AsyncClient) -> None:
    await control(caller, "faults", endpoint="jscode2session", kind="delay", seconds=60)

    with pytest.raises(httpx.ReadTimeout):
        await caller.get("/sns/jscode2session", timeout=0.05)


async def test_a_dripping_answer_is_whole_in_the_end(caller: httpx.AsyncClient) -> None:
    await control(caller, "faults", endpoint="jscode2session", kind="drip", seconds=0.05)

    assert (await login(caller, "sim:a:1"))["openid"] == "a"


async def test_a_caller_may_hang_up_on_a_dripping_answer(caller: httpx.AsyncClient) -> None:
    await control(caller, "faults", endpoint="stable_token", kind="drip", seconds=60)

    with pytest.raises(httpx.ReadTimeout):
        await caller.post("/cgi-bin/stable_token", json={}, timeout=0.05)

    assert (await login(caller, "sim:a:1"))["openid"] == "a"


async def test_a_fault_nobody_can_order_is_refused(caller: httpx.AsyncClient) -> None:
    for body in ({"endpoint": "pay", "kind": "drop"}, {"endpoint": "*", "kind": "fire"}):
        response = await caller.post("/sim/faults", json=body)

        assert response.status_code == 400


async def test_the_clock_is_set_turned_stopped_and_let_run(caller: httpx.AsyncClient) -> None:
    standing = (await caller.get("/sim/clock")).json()
    turned = await control(caller, "clock", now_s=1_000_000.0, advance_s=5.0)
    running = await control(caller, "clock", running=True)
    ahead = await control(caller, "clock", advance_s=3600.0)
    stopped = await control(caller, "clock", running=False)

    assert standing["running"] is False
    assert turned["now_s"] == 1_000_005.0
    assert running["running"] is True
    assert 3600 <= ahead["now_s"] - turned["now_s"] < 3660
    assert stopped == (await caller.get("/sim/clock")).json()


async def test_reset_forgets_everything(caller: httpx.AsyncClient) -> None:
    before = (await caller.get("/sim/state")).json()
    await login(caller, "sim:a:1")
    await token(caller)
    await control(caller, "grants", openid="a", template_id=CALLED_TEMPLATE_ID)
    await control(caller, "faults", endpoint="*", kind="drop")
    await control(caller, "clock", advance_s=60)

    await control(caller, "reset")

    assert (await caller.get("/sim/state")).json() == before


async def test_every_call_is_on_record(caller: httpx.AsyncClient) -> None:
    await control(caller, "faults", endpoint="stable_token", kind="http_502")
    await caller.post("/cgi-bin/stable_token", json={})
    await token(caller)
    await token(caller, secret="wrong")

    calls = (await caller.get("/sim/state")).json()["calls"]

    assert [(c["errcode"], c["fault"]) for c in calls] == [
        (None, "http_502"),
        (0, None),
        (40125, None),
    ]


async def test_the_page_says_that_it_is_a_simulator(caller: httpx.AsyncClient) -> None:
    page = await caller.get("/")

    assert "WeChat simulator" in page.text
    assert page.headers["X-Simulator"] == "wechat"


async def test_a_stopped_simulator_can_be_stopped_again_and_lets_delayed_callers_go() -> None:
    sim = WeChat()
    await sim.start(port=0)
    async with httpx.AsyncClient(base_url=sim.url, timeout=5, trust_env=False) as caller:
        await control(caller, "faults", endpoint="stable_token", kind="delay", seconds=60)
        waiting = asyncio.create_task(caller.post("/cgi-bin/stable_token", json={}))
        while not (await caller.get("/sim/state")).json()["counts"]:
            pass

        await sim.stop()
        await sim.stop()

        # Cut off or answered, as the stop finds it: but no longer waiting.
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(outcome, httpx.HTTPError | httpx.Response)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_tells_its_address_and_stops_when_told(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulators", "--wechat-port", "0"),
        *("--xiaomai-port", "0", "--erp-port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    told = [json.loads(await process.stdout.readline()) for _ in range(3)]

    async with httpx.AsyncClient(trust_env=False) as caller:
        states = [(await caller.get(told[0]["url"] + "/sim/state")).json()]
        for each in told[1:]:
            headers = {"X-Sim-Token": each["control_token"]}
            answer = await caller.get(each["control_url"] + "/state", headers=headers)
            states.append(answer.json())
    process.send_signal(number)
    await process.communicate()

    names = ["wechat", "xiaomai", "erp"]
    assert [each["name"] for each in told] == names
    assert [state["name"] for state in states] == names
    assert process.returncode == 0
    assert sum(told[1]["cabinets"].values()) > len(told[1]["cabinets"]) > 0
    assert states[2]["token"] == told[2]["token"]


@pytest.mark.parametrize("name", ["wechat", "xiaomai", "erp"])
async def test_a_taken_port_is_one_line_of_complaint(wechat: WeChat, name: str) -> None:
    port = wechat.url.rpartition(":")[2]
    ports = dict.fromkeys(("wechat", "xiaomai", "erp"), "0") | {name: port}

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulators"),
        *(part for each, number in ports.items() for part in (f"--{each}-port", number)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()

    assert process.returncode == 1
    assert f"Error: {name} cannot listen on {port}".encode() in errors
