"""The mini-program API: what we send, what we make of the answers, what we never tell."""

import gzip
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from accounts.model import (
    AppNotConfigured,
    CodeRefused,
    WeChatRefused,
    WeChatUnavailable,
)
from accounts.wechat import ANSWER_MAX_BYTES, MessageResult, MiniProgram, image_type
from simulators.faults import Fault, FaultKind
from simulators.wechat import CALLED_TEMPLATE_ID, DINER_APPID, DINER_SECRET, WeChat
from tests.accounts.conftest import MakeProgram, Peer

CALLED = {
    "character_string1": "39",
    "thing2": "一号档口",
    "thing3": "番茄鸡蛋面",
    "time4": "2026-11-20 12:05",
    "thing5": "请到档口取餐",
}
ExpectLog = Callable[[str], None]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind is enough here; test_access_tokens.py tries what is stored on both."""
    return sqlite_url


async def send(program: MiniProgram, openid: str = "o-diner", **changes: str) -> MessageResult:
    return await program.send_subscribe_message(
        "diner",
        openid,
        template=changes.pop("template", CALLED_TEMPLATE_ID),
        page=changes.pop("page", "pages/qu/qu"),
        data=CALLED | changes,
    )


# ---------------------------------------------------------------- codes of sign-in


async def test_a_code_becomes_an_openid(program: MiniProgram, wechat: WeChat) -> None:
    code = wechat.logins.make_code(openid="o-1")

    assert await program.code_to_openid("diner", code) == "o-1"


async def test_each_app_asks_with_its_own_id_and_secret(
    program: MiniProgram, wechat: WeChat
) -> None:
    seller = wechat.app_named("seller")
    code = wechat.logins.make_code(person="zhang", app=seller)

    with pytest.raises(CodeRefused):
        await program.code_to_openid("diner", code)
    assert await program.code_to_openid("seller", wechat.logins.make_code(person="z", app=seller))


@pytest.mark.parametrize("code", ["", "x" * 257, "a\nb", "a\0b", "\ud800"])
async def test_a_code_that_cannot_be_one_is_not_asked_about(
    program: MiniProgram, wechat: WeChat, code: str
) -> None:
    with pytest.raises(CodeRefused):
        await program.code_to_openid("diner", code)

    assert wechat.calls == []


async def test_a_code_with_signs_of_an_address_is_only_a_code(
    program: MiniProgram, wechat: WeChat
) -> None:
    with pytest.raises(CodeRefused) as refused:
        await program.code_to_openid("diner", "x&secret=&appid=#?../%00")

    assert refused.value.errcode == 40029


@pytest.mark.parametrize("errcode", [-1, 40029, 40226, 45011])
async def test_an_errcode_refuses_the_code_and_is_asked_once(
    program: MiniProgram, wechat: WeChat, errcode: int
) -> None:
    wechat.faults.add(Fault(endpoint="jscode2session", kind="errcode", errcode=errcode))

    with pytest.raises(CodeRefused) as refused:
        await program.code_to_openid("diner", "some-code")

    assert refused.value.errcode == errcode
    assert wechat.counts == {"jscode2session": 1}


async def test_a_wrong_secret_is_told_to_the_operator(
    make_program: MakeProgram, wechat: WeChat, expect_log: ExpectLog
) -> None:
    program = make_program(wechat.url, apps={"diner": (DINER_APPID, "wrong-secret")})
    expect_log("WeChat refuses our diner app id or secret: 40125$")
    expect_log(f"WeChat refuses app id {DINER_APPID} or its secret: 40125$")

    with pytest.raises(CodeRefused):
        await program.code_to_openid("diner", wechat.logins.make_code(openid="o-1"))
    with pytest.raises(WeChatUnavailable):
        await program.access_token("diner")


async def test_an_app_without_id_or_secret_is_off(
    make_program: MakeProgram, wechat: WeChat, expect_log: ExpectLog
) -> None:
    expect_log("waits: no app id and secret for diner")
    program = make_program(wechat.url, apps={"diner": (DINER_APPID, "")})

    with pytest.raises(AppNotConfigured):
        await program.code_to_openid("diner", "code")
    with pytest.raises(AppNotConfigured):
        await program.access_token("seller")
    assert await send(program) is MessageResult.RETRY


@pytest.mark.parametrize("kind", ["http_502", "drop", "nonsense"])
async def test_no_answer_and_nonsense_are_the_same_to_us(
    program: MiniProgram, wechat: WeChat, kind: FaultKind
) -> None:
    wechat.faults.add(Fault(endpoint="jscode2session", kind=kind))

    with pytest.raises(WeChatUnavailable):
        await program.code_to_openid("diner", wechat.logins.make_code(openid="o-1"))

    assert wechat.counts == {"jscode2session": 1}


@pytest.mark.parametrize("kind", ["delay", "drip"])
async def test_an_answer_that_takes_too_long_is_none(
    make_program: MakeProgram, wechat: WeChat, kind: FaultKind
) -> None:
    """Also when every piece of it comes in time."""
    program = make_program(wechat.url, timeout_s=0.2)
    wechat.faults.add(Fault(endpoint="jscode2session", kind=kind, seconds=3))

    with pytest.raises(WeChatUnavailable):
        await program.code_to_openid("diner", wechat.logins.make_code(openid="o-1"))


async def test_nobody_at_the_address_is_no_answer(
    make_program: MakeProgram, wechat: WeChat
) -> None:
    program = make_program(wechat.url)
    await wechat.stop()

    with pytest.raises(WeChatUnavailable):
        await program.code_to_openid("diner", "code")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"openid"',
        b'{"openid":""}',
        b'{"openid":null}',
        b'{"openid":7}',
        b'{"openid":"o 1"}',
        b'{"openid":"\xe5\xbc\xa0"}',
        b'{"openid":"' + b"o" * 65 + b'"}',
        b'{"openid":"o-1","errcode":"0"}',
        b'{"openid":"o-1"} trailing',
        b'{"openid":"\xff"}',
        b"<html></html>",
        b"[" * 100_000,
        b'{"openid":"o-1","x":' + b"[" * 100_000,
        b'{"openid":"o-1","x":"' + b"x" * ANSWER_MAX_BYTES + b'"}',
    ],
    ids=lambda body: body[:24].decode("latin-1") + f" {len(body)}",
)
async def test_an_answer_without_a_proper_openid_is_nonsense(
    make_program: MakeProgram, peer: Peer, body: bytes
) -> None:
    peer.will_say(body)

    with pytest.raises(WeChatUnavailable):
        await make_program(peer.url).code_to_openid("diner", "code")


async def test_an_errcode_of_nought_is_none(make_program: MakeProgram, peer: Peer) -> None:
    peer.will_say(b'{"errcode":0,"openid":"o-1","session_key":"x","unionid":"u"}')

    assert await make_program(peer.url).code_to_openid("diner", "code") == "o-1"


async def test_redirects_are_not_followed(
    make_program: MakeProgram, peer: Peer, wechat: WeChat
) -> None:
    peer.will_say(b"", status="302 Found", headers=f"Location: {wechat.url}/\r\n")

    with pytest.raises(WeChatUnavailable, match="HTTP 302"):
        await make_program(peer.url).code_to_openid("diner", "code")

    assert len(peer.requests) == 1


async def test_compressed_answers_are_neither_asked_for_nor_opened(
    make_program: MakeProgram, peer: Peer
) -> None:
    peer.will_say(gzip.compress(b'{"openid":"o-1"}'), headers="Content-Encoding: gzip\r\n")

    with pytest.raises(WeChatUnavailable, match="compressed"):
        await make_program(peer.url).code_to_openid("diner", "code")

    assert peer.requests[0].headers["Accept-Encoding"] == "identity"


async def test_no_proxy_of_the_machine_is_used(
    make_program: MakeProgram, wechat: WeChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    program = make_program(wechat.url)

    assert await program.code_to_openid("diner", wechat.logins.make_code(openid="o-1")) == "o-1"


@pytest.mark.parametrize("kind", ["http_502", "drop", "nonsense", "delay"])
async def test_errors_and_logs_never_hold_the_secret_or_the_code(
    make_program: MakeProgram,
    wechat: WeChat,
    caplog: pytest.LogCaptureFixture,
    kind: FaultKind,
) -> None:
    caplog.set_level(logging.DEBUG)
    program = make_program(wechat.url, timeout_s=0.2)
    wechat.faults.add(Fault(endpoint="jscode2session", kind=kind, seconds=3))
    code = wechat.logins.make_code(openid="o-1")

    with pytest.raises(WeChatUnavailable) as unavailable:
        await program.code_to_openid("diner", code)

    error: BaseException | None = unavailable.value
    told = "".join(traceback.format_exception(unavailable.value)) + caplog.text
    while error is not None:
        told += repr(error) + repr(vars(error))
        assert not hasattr(error, "request")
        error = error.__cause__ or error.__context__
    assert DINER_SECRET not in told
    assert code not in told


async def test_addresses_are_not_logged(
    make_program: MakeProgram,
    wechat: WeChat,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By this client's own doing, not by that of another which was made before."""
    monkeypatch.setattr(logging.getLogger("httpx"), "filters", [])
    program = make_program(wechat.url)

    with caplog.at_level(logging.INFO):
        await program.code_to_openid("diner", wechat.logins.make_code(openid="o-1"))

    assert DINER_SECRET not in caplog.text


# ---------------------------------------------------------------- messages


async def test_a_granted_message_arrives_once(program: MiniProgram, wechat: WeChat) -> None:
    wechat.messages.grant("o-diner", CALLED_TEMPLATE_ID)

    assert await send(program, thing3="面" * 30) is MessageResult.SENT
    assert await send(program) is MessageResult.REFUSED

    (message,) = wechat.messages.inbox
    assert (message.openid, message.page, message.lang) == ("o-diner", "pages/qu/qu", "zh_CN")
    assert message.miniprogram_state == "formal"
    assert message.data["thing3"] == "面" * 19 + "…"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"thing9": "x"}, "is wrong: 47003 thing9$"),
        ({"template": "unknown"}, "message unknown is wrong: 40037 $"),
        ({"page": "/pages/none"}, "is wrong: 41030 $"),
        ({"openid": "o-stranger"}, "is wrong: 40003 $"),
        ({"time4": "noon"}, "field time4 cannot be made to fit"),
        ({"thing3": ""}, "field thing3 cannot be made to fit"),
    ],
    ids=str,
)
async def test_a_message_that_can_never_arrive_is_our_mistake_and_is_logged(
    program: MiniProgram,
    wechat: WeChat,
    expect_log: ExpectLog,
    changes: dict[str, str],
    line: str,
) -> None:
    wechat.messages.grant("o-diner", CALLED_TEMPLATE_ID)
    expect_log(line)

    assert await send(program, **changes) is MessageResult.BAD_ARGUMENT

    assert wechat.messages.inbox == []


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ({"endpoint": "subscribe_send", "kind": "errcode", "errcode": -1}, "errcode -1"),
        ({"endpoint": "subscribe_send", "kind": "errcode", "errcode": 45009}, "errcode 45009"),
        ({"endpoint": "subscribe_send", "kind": "http_502"}, "HTTP 502"),
        ({"endpoint": "subscribe_send", "kind": "drop"}, "subscribe/send: "),
        ({"endpoint": "subscribe_send", "kind": "nonsense"}, "not understood"),
        ({"endpoint": "stable_token", "kind": "http_502"}, "stable_token: HTTP 502"),
        ({"endpoint": "stable_token", "kind": "errcode"}, "stable_token: errcode -1"),
    ],
    ids=str,
)
async def test_a_message_that_did_not_arrive_may_be_sent_again(
    program: MiniProgram, wechat: WeChat, expect_log: ExpectLog, fault: dict[str, Any], line: str
) -> None:
    wechat.messages.grant("o-diner-0123456789", CALLED_TEMPLATE_ID)
    wechat.faults.add(Fault(**fault))
    expect_log(rf"to o-d\*\*\*\*6789 waits: .*{line}")

    assert await send(program, "o-diner-0123456789") is MessageResult.RETRY
    assert await send(program, "o-diner-0123456789") is MessageResult.SENT

    assert len(wechat.messages.inbox) == 1


@pytest.mark.parametrize("body", [b"{}", b"ok", b'{"errmsg":"ok"}', b'{"errcode":"0"}'])
async def test_an_answer_without_an_errcode_does_not_count_as_sent(
    make_program: MakeProgram, peer: Peer, expect_log: ExpectLog, body: bytes
) -> None:
    peer.will_say(b'{"access_token":"t","expires_in":7200}')
    peer.will_say(body)
    expect_log("not understood")

    assert await send(make_program(peer.url)) is MessageResult.RETRY


# ---------------------------------------------------------------- mini-program codes


async def test_a_mini_program_code_is_a_whole_picture(program: MiniProgram) -> None:
    picture = await program.mini_program_code(
        "diner", scene="sellerId=7", page="pages/qu/qu", width=430
    )

    assert image_type(picture) == "image/png"


@pytest.mark.parametrize(("errcode"), [41030, 40169, 45009])
async def test_a_refused_code_is_never_a_picture(
    program: MiniProgram, wechat: WeChat, errcode: int
) -> None:
    wechat.faults.add(Fault(endpoint="getwxacodeunlimit", kind="errcode", errcode=errcode))

    with pytest.raises(WeChatRefused) as refused:
        await program.mini_program_code("diner", scene="7", page="pages/qu/qu")

    assert refused.value.errcode == errcode


async def test_a_busy_wechat_is_not_a_refusal(program: MiniProgram, wechat: WeChat) -> None:
    wechat.faults.add(Fault(endpoint="getwxacodeunlimit", kind="errcode", errcode=-1))

    with pytest.raises(WeChatUnavailable):
        await program.mini_program_code("diner", scene="7", page="pages/qu/qu")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html></html>", b'{"errcode":0}', b"\x89PNG\r\n\x1a\n half of it", b"GIF89a", b"{"],
)
async def test_what_is_no_whole_picture_is_no_answer(
    make_program: MakeProgram, peer: Peer, body: bytes
) -> None:
    peer.will_say(b'{"access_token":"t","expires_in":7200}')
    peer.will_say(body, headers="Content-Type: image/png\r\n")

    with pytest.raises(WeChatUnavailable):
        await make_program(peer.url).mini_program_code("diner", scene="7", page="pages/qu/qu")


def test_a_jpeg_is_a_picture_too() -> None:
    assert image_type(b"\xff\xd8\xff\xe0 ... \xff\xd9") == "image/jpeg"
    assert image_type(b"\xff\xd8\xff\xe0 ...") is None


@pytest.mark.parametrize(
    ("scene", "page", "width"),
    [
        ("", "pages/qu/qu", 430),
        ("x" * 33, "pages/qu/qu", 430),
        ("a%20b", "pages/qu/qu", 430),
        ("档口", "pages/qu/qu", 430),
        ("7", "/pages/qu/qu", 430),
        ("7", "pages/qu/qu?a=1", 430),
        ("7", "", 430),
        ("7", "pages/qu/qu", 279),
        ("7", "pages/qu/qu", 1281),
    ],
)
async def test_what_wechat_would_refuse_is_not_asked(
    program: MiniProgram, wechat: WeChat, scene: str, page: str, width: int
) -> None:
    with pytest.raises(ValueError, match="WeChat would refuse"):
        await program.mini_program_code("diner", scene=scene, page=page, width=width)

    assert wechat.calls == []
