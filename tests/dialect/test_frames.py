"""The old dialect as frames: the envelope, the encodings, silence, and what is no frame."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from handlers.framing import text_frame
from server.app import App
from simulators.faults import Fault
from simulators.wechat import WeChat
from tests.clock import Clock
from tests.dialect.canteen import Canteen
from tests.dialect.phones import Frames, encoded
from tests.handlers.live import Closed, masked, until

WHO = {"push": "whoareyou"}
HI = {"push": "hi"}
WRONG_QUERY = {"push": "error", "msg": "wrong query"}
WRONG_FORMAT = {"push": "error", "msg": "wrong format"}

Connect = Callable[..., Awaitable[Frames]]


@pytest.fixture(params=["plain", "encoded"])
def is_plain(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "plain")


@pytest.fixture
async def connect(app: App, is_plain: bool) -> AsyncIterator[Connect]:
    clients = []

    async def connect(path: str = "/ws") -> Frames:
        clients.append(await Frames.connect(app.port, path=path, is_plain=is_plain))
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()


@pytest.fixture
async def phone(connect: Connect, canteen: Canteen) -> Frames:
    """Signed in as wang."""
    client = await connect()
    answer = await client.exchange({"query": "login", "code": canteen.code("wang"), "id": 7})
    assert answer.pop("sessionKey")
    assert answer == {"push": "login", "state": "success", "loginSuccess": "success"}
    return client


async def say(client: Frames, text: str) -> dict[str, Any]:
    """Send a text that is no JSON object as it is; the answer in whichever form."""
    client.send(text if client.is_plain and text[:1] in "{[" else encoded(text))
    return await answer_of(client)


async def answer_of(client: Frames) -> dict[str, Any]:
    text = await client.text()
    return Frames.read(_reader(plain=text.startswith("{")), text)


def _reader(*, plain: bool) -> Frames:
    reader = Frames.__new__(Frames)
    reader.is_plain = plain
    return reader


@pytest.mark.parametrize("path", ["/", "/ws"])
async def test_before_the_login_every_frame_is_asked_who_it_is(
    connect: Connect, canteen: Canteen, path: str
) -> None:
    client = await connect(path)
    key = await canteen.sign_in("chen")

    for fields in (
        {"query": "hello"},
        {"query": "fetch"},
        {"query": "fetch", "sessionKey": key},
        {"query": "accessToken", "id": 1},
        {"query": ["login"]},
        {},
    ):
        assert await client.exchange(fields) == WHO, fields
    for text in ("", "hello", "{", "[1,2]", "null", "%", "%ff", '{"query":', "\x00", "中文"):
        assert await say(client, text) == WHO, text


async def test_a_login_by_key_takes_over_the_session_of_a_post(
    connect: Connect, canteen: Canteen
) -> None:
    client = await connect()
    key = await canteen.sign_in("chen")

    wrong = await client.exchange({"query": "login", "sessionKey": "f" * 40})
    still_out = await client.exchange({"query": "hello"})
    right = await client.exchange({"query": "login", "sessionKey": key})

    failed = {"push": "login", "state": "fail", "loginSuccess": "fail", "failMsg": "Login Error"}
    assert wrong == {**failed, "queryErr": "Session Time Out"}
    assert still_out == WHO
    assert right == {
        "push": "login",
        "state": "success",
        "loginSuccess": "success",
        "sessionKey": key,
    }
    answer = await client.exchange({"query": "fetch"})
    assert answer == {"push": "fetch", "fetchSuccess": "success", "marchSn": 1}


async def test_a_refused_code_lets_nobody_in(connect: Connect, canteen: Canteen) -> None:
    client = await connect()
    canteen.fail("jscode2session", "nonsense")

    unavailable = await client.exchange({"query": "login", "code": canteen.code("wang")})
    refused = await client.exchange({"query": "login", "code": "made up"})

    failed = {"push": "login", "state": "fail", "loginSuccess": "fail"}
    assert unavailable == {**failed, "failMsg": "API Error"}
    assert refused == {**failed, "failMsg": "Login Error"}
    assert await client.exchange({"query": "hello"}) == WHO


async def test_hello_wrong_query_and_wrong_format(phone: Frames) -> None:
    assert await phone.exchange({"query": "hello"}) == HI
    queries: list[Any] = ["accessToken", "", None, 5, "Fetch", "fetch ", "login2", [], {}, "中文"]
    for query in queries:
        answer = await phone.exchange({"query": query, "id": 1})
        has_query = isinstance(query, int) or (isinstance(query, str) and query)
        assert answer == (WRONG_QUERY if has_query else WRONG_FORMAT), query
    assert await phone.exchange({"no": "query"}) == WRONG_FORMAT
    for text in ("hello", "{", "[]", '{"query":"hello"', "12", "null", '"hello"', "\x00"):
        assert await say(phone, text) == WRONG_FORMAT, text
    assert await phone.exchange({"query": "hello"}) == HI


async def test_the_app_token_is_given_to_nobody_for_ever(phone: Frames, canteen: Canteen) -> None:
    token = await canteen.app.wechat.access_token("diner")
    admin = await canteen.admin()

    for key in ("", canteen.keys[admin]):
        phone.send(f'{{"query":"accessToken","id":1,"sessionKey":"{key}"}}')
        text = await phone.text()
        assert token not in text
        assert text == '{"push":"error","msg":"wrong query"}'


async def test_chinese_and_blanks_survive_in_both_forms(
    phone: Frames, canteen: Canteen, is_plain: bool
) -> None:
    note = "牛肉面 不要 香菜 + 100% “辣” 🌶"
    await canteen.sign_in("chen")
    number = await canteen.fetch()

    await phone.exchange({"query": "push", "sellerId": 1, "marchSn": number, "noteContent": note})
    text = '{"query":"menu","sellerId":"2"}'
    phone.send(text if is_plain else encoded(text))
    answer = await phone.text()

    assert phone.read(answer)["takenMenuName"] == note
    if not is_plain:
        assert "%20%E4%B8%8D%E8%A6%81%20" in answer
        assert "+" not in answer


async def test_a_plus_in_an_encoded_frame_is_a_blank(phone: Frames) -> None:
    phone.send("%7B%22query%22:+%22hello%22%7D")

    assert await phone.text() == encoded('{"push":"hi"}')


async def test_each_frame_is_answered_in_its_own_form(phone: Frames) -> None:
    phone.send(encoded('{"query":"hello"}'))
    phone.send('{"query":"hello"}')
    phone.send('  {"query":"hello"}')

    texts = [await phone.text() for _ in range(3)]

    assert texts == ["%7B%22push%22%3A%22hi%22%7D", '{"push":"hi"}', '{"push":"hi"}']


async def test_many_frames_at_once_are_answered_in_their_order(
    phone: Frames, canteen: Canteen
) -> None:
    queries = ["hello", "seller_list", "nothing", "menu"] * 50
    frames = []
    for query in queries:
        text = f'{{"query":"{query}","sellerId":1}}'
        frames.append(masked(text_frame((text if phone.is_plain else encoded(text)).encode())))
    phone._writer.write(b"".join(frames))

    answers = [phone.read(await phone.text())["push"] for _ in queries]

    assert answers == ["hi", "seller_list", "error", "menu"] * 50


async def test_every_query_as_a_frame_is_the_posts_answer_and_push(
    phone: Frames, canteen: Canteen
) -> None:
    """Those that change nothing, or refuse: asked twice they answer twice the same."""
    await canteen.send("wang", {"query": "login", "code": canteen.code("wang")})
    for query in (
        *("seller_list", "menu", "fetch", "note", "push", "hungry", "call", "done", "signup"),
        *("info", "admin", "renew", "update", "clear", "qrcode"),
    ):
        fields = {"query": query, "sellerId": 1, "marchSn": 5, "noteContent": "x", "telNum": "1"}
        posted = await canteen.send("wang", fields)

        assert await phone.exchange(fields) == {"push": query, **posted}
        keyed = {**fields, "sessionKey": canteen.keys["wang"]}
        assert await phone.exchange(keyed) == {"push": query, **posted}


# ---------------------------------------------------------------- silence


@pytest.fixture
def by_hand(app: App) -> App:
    """No second passes by itself."""
    app.pulse.stop()
    return app


async def pass_seconds(app: App, clock: Clock, seconds: int, *clients: Frames) -> None:
    """Turn the clock and beat the pulse, while the clients' machines show that they are there."""
    for _ in range(0, seconds, 10):
        clock.advance(seconds=10)
        app.pulse.beat(10)
        for client in clients:
            await client.is_alive()


async def test_ten_minutes_of_silence_end_in_time_out(
    phone: Frames, by_hand: App, clock: Clock
) -> None:
    await pass_seconds(by_hand, clock, 600, phone)
    assert await phone.exchange({"query": "hello"}) == HI
    await pass_seconds(by_hand, clock, 650, phone)

    await pass_seconds(by_hand, clock, 10)

    assert phone.read(await phone.text()) == {"push": "timeOut"}
    with pytest.raises(Closed) as end:
        await phone.text()
    assert end.value.code == 1000


async def test_any_frame_counts_as_a_beat_and_a_silent_newcomer_is_let_go(
    connect: Connect, by_hand: App, clock: Clock
) -> None:
    talker, newcomer = await connect(), await connect()
    for _ in range(13):
        await pass_seconds(by_hand, clock, 50, talker, newcomer)
        assert await say(talker, "nonsense") == WHO

    await pass_seconds(by_hand, clock, 10)

    assert await answer_of(newcomer) == {"push": "timeOut"}
    with pytest.raises(Closed) as end:
        await newcomer.text()
    assert end.value.code == 1000
    assert await say(talker, "nonsense") == WHO


# ---------------------------------------------------------------- the session's end


async def test_an_ended_session_is_told_in_words_and_a_login_mends_it(
    phone: Frames, canteen: Canteen, clock: Clock
) -> None:
    clock.advance(seconds=3601)
    await canteen.app._rejudge()

    over = await phone.exchange({"query": "seller_list"})
    again = await phone.exchange({"query": "menu", "sellerId": 1})
    hello = await phone.exchange({"query": "hello"})
    login = await phone.exchange({"query": "login", "code": canteen.code("wang")})

    assert over == {"push": "seller_list", "queryErr": "Session Time Out"}
    assert again == {"push": "menu", "queryErr": "Session Time Out"}
    assert hello == HI
    assert login["state"] == "success"
    assert (await phone.exchange({"query": "seller_list"}))["seller_listSuccess"] == "success"


async def test_the_end_is_seen_at_the_next_question_also_before_the_sweep(
    phone: Frames, clock: Clock
) -> None:
    clock.advance(seconds=3601)

    answer = await phone.exchange({"query": "seller_list"})

    assert answer == {"push": "seller_list", "queryErr": "Session Time Out"}


async def test_a_second_login_is_another_person_from_then_on(
    phone: Frames, canteen: Canteen
) -> None:
    refused = await phone.exchange({"query": "fetch"})
    login = {"query": "login", "isseller": "yes", "code": canteen.code("chen")}
    assert (await phone.exchange(login))["balanceMon"] == "3"

    answer = await phone.exchange({"query": "fetch"})

    assert refused["failMsg"] == "Due Date Error"
    assert answer == {"push": "fetch", "fetchSuccess": "success", "marchSn": 1}


async def test_sockets_are_counted_for_who_they_are_and_no_longer(
    connect: Connect, canteen: Canteen, app: App
) -> None:
    client = await connect()
    clients = app.hub.clients
    for who in ("wang", "zhao", "wang"):
        await client.exchange({"query": "login", "code": canteen.code(who)})
    assert len(clients) == 1
    assert sum(map(len, clients._of_account.values())) == 1

    client.send_frame(b"\x88\x02\x03\xe8")
    with pytest.raises(Closed):
        await client.text()

    assert len(clients) == 0
    assert not clients._of_account
    assert not clients._of_session


async def test_a_client_that_leaves_during_its_login_is_not_counted(
    connect: Connect, canteen: Canteen, app: App, wechat: WeChat
) -> None:
    client = await connect()
    signed_in = wechat.counts["jscode2session"]
    wechat.faults.add(Fault(endpoint="jscode2session", kind="delay", seconds=0.2))
    text = f'{{"query":"login","code":"{canteen.code("wang")}"}}'
    client.send(text if client.is_plain else encoded(text))
    await until(lambda: wechat.counts["jscode2session"] > signed_in)
    client.send_frame(b"\x88\x02\x03\xe8")

    with pytest.raises(Closed):
        await client.text()
    assert await app.hub.clients.finish_work(10)

    assert not app.hub.clients._of_account
    assert len(app.hub.clients) == 0


# ---------------------------------------------------------------- what is no frame


async def test_a_frame_may_be_sixteen_kibibytes_and_no_more(phone: Frames) -> None:
    empty = len('{"query":"hello","x":""}')

    phone.send(f'{{"query":"hello","x":"{"x" * (16_384 - empty)}"}}')
    assert await phone.text() == '{"push":"hi"}'
    phone.send(f'{{"query":"hello","x":"{"x" * (16_385 - empty)}"}}')
    with pytest.raises(Closed) as end:
        await phone.text()

    assert end.value.code == 1009


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x82\x02{}", 1003),
        (b"\x81\x02\xff\xfe", 1007),
        (b"\xc1\x02{}", 1002),
        (b"\x83\x00", 1002),
    ],
)
async def test_binary_and_broken_frames_end_the_connection(
    phone: Frames, canteen: Canteen, frame: bytes, code: int
) -> None:
    phone.send_frame(frame)

    with pytest.raises(Closed) as end:
        await phone.text()

    assert end.value.code == code


# ---------------------------------------------------------------- how often


@pytest.fixture
def limited(settings: dict[str, str]) -> dict[str, str]:
    settings["CALLME_LIMITS__ENABLED"] = "true"
    settings["CALLME_LIMITS__ADDRESS_BURST"] = "30"
    settings["CALLME_LIMITS__ADDRESS_PER_S"] = "1"
    return settings


async def test_floods_are_refused_before_and_after_the_login(
    limited: dict[str, str], connect: Connect, canteen: Canteen
) -> None:
    client = await connect()
    too_many = {
        "push": "error",
        "msg": "too many requests",
        "queryErr": "Too Many Requests",
    }

    strange = [await client.exchange({"query": "hello"}) for _ in range(30)]
    by_key = await client.exchange({"query": "login", "sessionKey": "f" * 40})
    canteen.clock.advance(seconds=60)
    await client.exchange({"query": "login", "code": canteen.code("wang")})
    known = [await client.exchange({"query": "hello"}) for _ in range(201)]

    posted = await canteen.posts()
    answers = [await posted.ask({"query": "seller_list"}) for _ in range(100)]
    assert answers[-1] == {"queryErr": "Too Many Requests"}
    assert (strange[0], strange[-1], by_key) == (WHO, too_many, too_many)
    assert (known[0], known[-1]) == (HI, too_many)
