"""jscode2session, over real HTTP."""

import httpx

from simulators.wechat import DINER_APPID, SELLER_APPID, SELLER_SECRET, WeChat
from tests.simulators.calls import DINER, control, login


async def test_a_code_logs_in_once(caller: httpx.AsyncClient) -> None:
    code = (await control(caller, "codes", openid="o-alice"))["code"]

    first = await login(caller, code)
    second = await login(caller, code)

    assert first["openid"] == "o-alice"
    assert first["session_key"]
    assert "errcode" not in first
    assert second["errcode"] == 40029


async def test_the_answer_calls_itself_plain_text(caller: httpx.AsyncClient) -> None:
    query = {**DINER, "js_code": "sim:o-alice:1", "grant_type": "authorization_code"}

    response = await caller.get("/sns/jscode2session", params=query)

    assert response.headers["Content-Type"] == "text/plain"
    assert response.headers["X-Simulator"] == "wechat"
    assert response.json()["openid"] == "o-alice"


async def test_a_conventional_code_needs_no_making_and_works_once(
    caller: httpx.AsyncClient,
) -> None:
    first = await login(caller, "sim:demo-diner-7:a")
    again = await login(caller, "sim:demo-diner-7:a")
    other = await login(caller, "sim:demo-diner-7:b")

    assert first["openid"] == other["openid"] == "demo-diner-7"
    assert again["errcode"] == 40029


async def test_a_person_has_one_openid_per_mini_program_for_ever(
    caller: httpx.AsyncClient,
) -> None:
    diner = await control(caller, "codes", person="alice", app="diner")
    again = await control(caller, "codes", person="alice", app="diner")
    seller = await control(caller, "codes", person="alice", app="seller")

    as_diner = await login(caller, diner["code"])
    as_seller = await login(caller, seller["code"], appid=SELLER_APPID, secret=SELLER_SECRET)

    assert diner["openid"] == again["openid"] == as_diner["openid"]
    assert as_seller["openid"] == seller["openid"] != diner["openid"]
    assert as_seller["unionid"] == as_diner["unionid"]
    assert len(diner["openid"]) == 28


async def test_a_code_is_good_for_its_own_mini_program_only(caller: httpx.AsyncClient) -> None:
    code = (await control(caller, "codes", openid="o-alice", app="seller"))["code"]

    assert (await login(caller, code))["errcode"] == 40029


async def test_a_code_lives_five_minutes(caller: httpx.AsyncClient, wechat: WeChat) -> None:
    young = (await control(caller, "codes", openid="o-alice"))["code"]
    old = (await control(caller, "codes", openid="o-alice"))["code"]

    wechat.clock.advance(299)
    in_time = await login(caller, young)
    wechat.clock.advance(1)
    too_late = await login(caller, old)

    assert in_time["openid"] == "o-alice"
    assert too_late["errcode"] == 40029


async def test_wrong_credentials_are_refused_by_number(caller: httpx.AsyncClient) -> None:
    refused = [
        await login(caller, "sim:a:1", appid="wx0"),
        await login(caller, "sim:a:1", secret="wrong"),
        await login(caller, "sim:a:1", appid=""),
        await login(caller, "sim:a:1", secret=""),
        await login(caller, "sim:a:1", grant_type="code"),
        await login(caller, ""),
        await login(caller, "sim::1"),
        await login(caller, "never-made"),
    ]

    assert [answer["errcode"] for answer in refused] == [
        *(40013, 40125, 41002, 41004, 40002, 41008, 40029, 40029),
    ]
    assert (await login(caller, "sim:a:1"))["openid"] == "a"


async def test_a_person_may_be_at_risk_or_too_eager(caller: httpx.AsyncClient) -> None:
    await control(caller, "people", openid="o-risky", is_risky=True)

    risky = await login(caller, "sim:o-risky:1")
    eager = [await login(caller, f"sim:o-eager:{n}") for n in range(101)]
    await control(caller, "people", openid="o-risky", is_risky=False)

    assert risky["errcode"] == 40226
    assert eager[99]["openid"] == "o-eager"
    assert eager[100]["errcode"] == 45011
    assert (await login(caller, "sim:o-risky:1"))["openid"] == "o-risky"


async def test_a_code_order_that_says_nothing_is_refused(caller: httpx.AsyncClient) -> None:
    for body in ({}, {"person": "alice"}, {"openid": "o", "app": "cook"}, {"who": "alice"}):
        response = await caller.post("/sim/codes", json=body)

        assert response.status_code == 400
        assert response.json()["error"]


async def test_who_logged_in_is_known_to_the_state(caller: httpx.AsyncClient) -> None:
    await login(caller, "sim:o-alice:1")

    state = (await caller.get("/sim/state")).json()

    assert state["people"] == {DINER_APPID: ["o-alice"]}
    assert state["counts"] == {"jscode2session": 1}
    assert state["is_simulator"] is True
