"""Access tokens: one an app id over all callers and processes, forced as a last step only."""

import asyncio
from collections.abc import Callable

import pytest

from accounts import store
from accounts.model import WeChatUnavailable
from accounts.wechat import MessageResult, MiniProgram
from simulators.faults import Fault
from simulators.wechat import CALLED_TEMPLATE_ID, DINER_APPID, WeChat
from sql.database import Database
from sql.errors import DatabaseUnavailable
from tests.accounts.conftest import MakeProgram, Peer
from tests.clock import Clock

ExpectLog = Callable[[str], None]


@pytest.fixture
def turn(clock: Clock, wechat: WeChat) -> Callable[[float], None]:
    """Turn our clock and WeChat's by so many seconds."""

    def both(seconds: float) -> None:
        clock.advance(seconds=seconds)
        wechat.clock.advance(seconds)

    return both


async def has_asked(wechat: WeChat) -> None:
    """Until WeChat, in this same loop, has seen a request."""
    while not wechat.calls:  # noqa: ASYNC110 (it has no event to wait for)
        await asyncio.sleep(0)


async def send(program: MiniProgram) -> MessageResult:
    """A message that nobody has granted: refused, but only after the token was accepted."""
    data = {
        "character_string1": "39",
        "thing2": "一号档口",
        "thing3": "番茄鸡蛋面",
        "time4": "12:05",
        "thing5": "请到档口取餐",
    }
    return await program.send_subscribe_message(
        "diner", "o-diner", template=CALLED_TEMPLATE_ID, page="pages/qu/qu", data=data
    )


async def code(program: MiniProgram) -> bytes:
    return await program.mini_program_code("diner", scene="7", page="pages/qu/qu", width=280)


async def test_fifty_callers_make_one_request(program: MiniProgram, wechat: WeChat) -> None:
    tokens = await asyncio.gather(*(program.access_token("diner") for _ in range(50)))

    assert len(set(tokens)) == 1
    assert wechat.counts == {"stable_token": 1}


async def test_each_app_has_its_own_token(program: MiniProgram) -> None:
    diner, seller = await asyncio.gather(
        program.access_token("diner"), program.access_token("seller")
    )

    assert diner != seller


async def test_a_token_is_renewed_before_its_last_five_minutes(
    program: MiniProgram, wechat: WeChat, turn: Callable[[float], None]
) -> None:
    first = await program.access_token("diner")
    turn(7200 - 301)
    assert await program.access_token("diner") == first

    turn(1)
    second = await program.access_token("diner")

    assert second != first
    assert wechat.counts == {"stable_token": 2}


async def test_another_process_uses_the_same_token(
    make_program: MakeProgram, wechat: WeChat
) -> None:
    here, there = make_program(wechat.url), make_program(wechat.url)

    assert await here.access_token("diner") == await there.access_token("diner")

    assert wechat.counts == {"stable_token": 1}


async def test_a_caller_who_leaves_does_not_take_the_answer_along(
    make_program: MakeProgram, wechat: WeChat
) -> None:
    program = make_program(wechat.url)
    wechat.faults.add(Fault(endpoint="stable_token", kind="delay", seconds=0.2))
    leaving = asyncio.create_task(program.access_token("diner"))
    staying = asyncio.create_task(program.access_token("diner"))
    await has_asked(wechat)

    leaving.cancel()

    assert await staying
    assert leaving.cancelled()
    assert wechat.counts == {"stable_token": 1}


async def test_closing_ends_a_request_under_way(make_program: MakeProgram, wechat: WeChat) -> None:
    program = make_program(wechat.url)
    wechat.faults.add(Fault(endpoint="stable_token", kind="delay", seconds=30))
    waiting = asyncio.create_task(program.access_token("diner"))
    await has_asked(wechat)

    await program.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("end", ["revoke", "expire"])
async def test_a_token_that_ended_early_is_renewed_unseen(
    program: MiniProgram, wechat: WeChat, end: str
) -> None:
    first = await program.access_token("diner")
    getattr(wechat.tokens, end)(DINER_APPID)

    assert await code(program)

    assert await program.access_token("diner") != first
    assert wechat.counts == {"stable_token": 2, "getwxacodeunlimit": 2}
    assert not wechat.tokens._forced_on


async def test_fifty_who_are_told_so_at_once_renew_once(
    program: MiniProgram, wechat: WeChat
) -> None:
    wechat.logins.introduce(DINER_APPID, "o-diner")
    await program.access_token("diner")
    wechat.tokens.revoke(DINER_APPID)

    results = await asyncio.gather(*(send(program) for _ in range(50)))

    assert set(results) == {MessageResult.REFUSED}
    assert wechat.counts["stable_token"] == 2


async def test_a_token_renewed_by_another_process_is_taken_over(
    make_program: MakeProgram, wechat: WeChat
) -> None:
    here, there = make_program(wechat.url), make_program(wechat.url)
    await here.access_token("diner")
    await there.access_token("diner")
    wechat.tokens.revoke(DINER_APPID)

    await code(here)
    await code(there)

    assert await here.access_token("diner") == await there.access_token("diner")
    assert wechat.counts["stable_token"] == 2


async def test_force_is_the_last_step(make_program: MakeProgram, peer: Peer, clock: Clock) -> None:
    """WeChat gives the same token again and goes on rejecting it."""
    program = make_program(peer.url)
    rejected = b'{"errcode":40001,"errmsg":"invalid credential"}'
    peer.will_say(b'{"access_token":"old","expires_in":7200}')
    peer.will_say(rejected)
    peer.will_say(b'{"access_token":"old","expires_in":7200}')
    peer.will_say(rejected)
    peer.will_say(b'{"access_token":"new","expires_in":7200}')
    peer.will_say(b'{"errcode":0}')

    result = await program.send_subscribe_message(
        "diner", "o-1", template="t", page="p", data={"thing1": "x"}
    )

    assert result is MessageResult.SENT
    forced = [b'"force_refresh":true' in r.body for r in peer.requests if "stable" in r.path]
    assert forced == [False, False, True]


async def test_a_token_that_is_never_accepted_is_forced_once(
    make_program: MakeProgram, peer: Peer, clock: Clock, expect_log: ExpectLog
) -> None:
    expect_log("waits: .*errcode 40001")
    expect_log("waits: a token was forced too often")
    program = make_program(peer.url)
    rejected = b'{"errcode":40001}'
    for name in ("a", "b", "c"):
        peer.will_say(b'{"access_token":"%s","expires_in":7200}' % name.encode())
        peer.will_say(rejected)
    peer.will_say(rejected)
    peer.will_say(b'{"access_token":"d","expires_in":7200}')
    peer.will_say(rejected)

    for _ in range(2):
        result = await program.send_subscribe_message(
            "diner", "o-1", template="t", page="p", data={"thing1": "x"}
        )
        assert result is MessageResult.RETRY
        clock.advance(seconds=29)

    assert sum(b'"force_refresh":true' in request.body for request in peer.requests) == 1


async def test_tokens_are_forced_thirty_seconds_apart_and_twenty_times_a_day(
    db: Database, clock: Clock
) -> None:
    clock.set("2026-11-20T00:00:00Z")
    allowed = 0
    for _ in range(60):
        allowed += await db.write(store.claim_force, "wx", clock.now())
        clock.advance(seconds=15)
    assert allowed == 20
    assert await db.write(store.claim_force, "wx-other", clock.now())

    clock.set("2026-11-21T00:00:00Z")

    assert await db.write(store.claim_force, "wx", clock.now())
    clock.advance(hours=-1)
    assert await db.write(store.claim_force, "wx", clock.now())


async def test_while_wechat_is_out_the_old_token_serves_to_its_end(
    program: MiniProgram, wechat: WeChat, turn: Callable[[float], None]
) -> None:
    first = await program.access_token("diner")
    wechat.faults.add(Fault(endpoint="stable_token", kind="http_502", times=None))
    turn(7100)

    assert await program.access_token("diner") == first

    turn(100)
    with pytest.raises(WeChatUnavailable):
        await program.access_token("diner")


async def test_a_database_that_is_out_costs_no_second_token(
    db: Database, program: MiniProgram, wechat: WeChat
) -> None:
    wechat.faults.add(Fault(endpoint="stable_token", kind="delay", seconds=0.1))
    asking = asyncio.create_task(program.access_token("diner"))
    await has_asked(wechat)
    bound, db.waiting_max = db.waiting_max, 0
    with pytest.raises(DatabaseUnavailable):
        await asking

    assert await program.access_token("diner")
    db.waiting_max = bound

    assert wechat.counts == {"stable_token": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"access_token":"","expires_in":7200}',
        b'{"access_token":"a b","expires_in":7200}',
        b'{"access_token":"t","expires_in":-1}',
        b'{"access_token":"t","expires_in":"7200"}',
        b'{"access_token":"t","expires_in":99999999999}',
        b'{"errcode":45009,"errmsg":"reach max api daily quota limit"}',
    ],
)
async def test_an_answer_without_a_proper_token_is_nonsense(
    make_program: MakeProgram, peer: Peer, body: bytes
) -> None:
    peer.will_say(body)

    with pytest.raises(WeChatUnavailable):
        await make_program(peer.url).access_token("diner")


async def test_a_token_of_the_longest_kind_is_kept_whole(db: Database, clock: Clock) -> None:
    token = store.AccessToken("t" * 2048, clock.now() + 1)

    await db.write(store.save_access_token, "wx", token)
    await db.write(store.save_access_token, "wx", token)

    assert await db.read(store.read_access_token, "wx") == token
    assert await db.read(store.read_access_token, "wx-other") is None
