"""stable_token: one token, its overlap, and force as a last step."""

import httpx

from simulators.wechat import SELLER_APPID, SELLER_SECRET, WeChat
from tests.simulators.calls import control, login, send, token


async def test_the_same_token_comes_until_its_last_five_minutes(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    first = await token(caller)
    wechat.clock.advance(6899)
    late = await token(caller)
    wechat.clock.advance(1)
    fresh = await token(caller)

    assert first["expires_in"] == 7200
    assert late == {"access_token": first["access_token"], "expires_in": 301}
    assert fresh["access_token"] != first["access_token"]
    assert fresh["expires_in"] == 7200
    assert len(fresh["access_token"]) == 512


async def test_the_old_token_lives_five_minutes_beside_the_new(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    await login(caller, "sim:o-alice:1")
    old = (await token(caller))["access_token"]
    wechat.clock.advance(7000)
    new = (await token(caller))["access_token"]

    wechat.clock.advance(299)
    beside = [(await send(caller, t, "o-alice"))["errcode"] for t in (old, new)]
    wechat.clock.advance(1)
    after = [(await send(caller, t, "o-alice"))["errcode"] for t in (old, new)]

    assert beside == [43101, 43101]
    assert after == [42001, 43101]


async def test_each_mini_program_has_its_own_token(caller: httpx.AsyncClient) -> None:
    diner = await token(caller)
    seller = await token(caller, appid=SELLER_APPID, secret=SELLER_SECRET)

    assert diner["access_token"] != seller["access_token"]


async def test_force_ends_the_former_token_but_not_twice_in_half_a_minute(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    await login(caller, "sim:o-alice:1")
    old = (await token(caller))["access_token"]

    forced = (await token(caller, force_refresh=True))["access_token"]
    wechat.clock.advance(29)
    too_soon = (await token(caller, force_refresh=True))["access_token"]
    wechat.clock.advance(1)
    again = (await token(caller, force_refresh=True))["access_token"]

    assert forced != old
    assert too_soon == forced
    assert again != forced
    assert (await send(caller, old, "o-alice"))["errcode"] == 40001


async def test_force_works_twenty_times_a_day(caller: httpx.AsyncClient, wechat: WeChat) -> None:
    answers = []
    for _ in range(21):
        answers.append(await token(caller, force_refresh=True))
        wechat.clock.advance(30)

    wechat.clock.advance(86_400)
    tomorrow = await token(caller, force_refresh=True)

    assert all("access_token" in answer for answer in answers[:20])
    assert answers[20]["errcode"] == 45009
    assert "access_token" in tomorrow


async def test_wrong_requests_for_a_token_are_refused(caller: httpx.AsyncClient) -> None:
    refused = [
        await token(caller, grant_type="authorization_code"),
        await token(caller, appid="wx0"),
        await token(caller, secret="wrong"),
        await token(caller, force_refresh="yes"),
    ]

    assert [answer["errcode"] for answer in refused] == [40002, 40013, 40125, 47001]


async def test_tokens_can_be_ended_from_outside(caller: httpx.AsyncClient) -> None:
    await login(caller, "sim:o-alice:1")
    first = (await token(caller))["access_token"]
    expired = await control(caller, "tokens", action="expire", app="diner")
    after_expiry = await send(caller, first, "o-alice")
    second = (await token(caller))["access_token"]
    revoked = await control(caller, "tokens", action="revoke")
    after_revocation = await send(caller, second, "o-alice")

    tokens = (await caller.get("/sim/tokens")).json()["tokens"]

    assert expired == {"ended": 1}
    assert revoked == {"ended": 2}
    assert (after_expiry["errcode"], after_revocation["errcode"]) == (42001, 40001)
    assert [t["is_live"] for t in tokens] == [False, False]
