"""What a route, its caller and its body may be, seen from the socket."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog

from handlers import cookies
from handlers.address import TrustedProxies
from handlers.limits import Limit, Limits
from handlers.routing import Route
from sql.errors import CommitUnknown, DatabaseUnavailable, Overloaded
from tests.handlers.toys import NOON, Server, ToyLost, serving

DINER = {"Authorization": "Bearer diner-token"}
ADMIN = {"Authorization": "Bearer admin-token"}
BEAR = b'{"name":"bear"}'


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


# ---------------------------------------------------------------- routes and methods


async def test_a_call_carries_everything_that_was_checked(server: Server) -> None:
    reply = await server.ask(
        "POST",
        "/api/v1/toys?x=1",
        b'{"name":"bear","price_fen":5,"unknown":[1]}',
        {**DINER, "Idempotency-Key": "wish-1", "X-Request-Id": "mine-1"},
    )

    assert reply.status == 201
    assert reply.json == {
        "id": 7, "name": "bear", "made_at": "2026-11-20T04:00:00.000Z", "price_fen": 5,
    }  # fmt: skip
    (call,) = server.toys.calls
    assert (call.method, call.path, call.params) == ("POST", "/api/v1/toys", {})
    assert (call.body.name, call.body.price_fen, call.body.tags) == ("bear", 5, [])
    assert call.raw == b'{"name":"bear","price_fen":5,"unknown":[1]}'
    assert call.signed_in.account_id == 11
    assert (call.address, call.request_id) == ("127.0.0.1", "mine-1")
    assert (call.idempotency_key, call.now) == ("wish-1", NOON)


async def test_ids_of_the_path_are_integers_a_browser_can_hold(server: Server) -> None:
    largest = 2**53 - 1

    reply = await server.ask("GET", f"/api/v1/toys/{largest}")

    assert reply.json["id"] == largest
    for odd in ("0", "-1", "007", str(largest + 1), "9" * 5000, "1.0", "x", "%31", "１", "1%00"):
        path = f"/api/v1/toys/{odd}".encode().decode("latin-1")
        assert (await server.ask("GET", path)).code == "not_found"


async def test_a_trailing_slash_makes_no_difference_but_an_empty_segment_does(
    server: Server,
) -> None:
    assert (await server.ask("GET", "/api/v1/toys/7/")).status == 200
    assert (await server.ask("GET", "/api/v1//toys/7")).status == 404
    assert (await server.ask("GET", "/api/v1/toys/7//")).status == 404
    assert (await server.ask("GET", "http://toys/api/v1/toys/7")).status == 200
    assert (await server.ask("GET", "http://toys")).code == "method.not_allowed"


async def test_unknown_paths_and_methods_are_told_what_there_is(server: Server) -> None:
    missing = await server.ask("GET", "/api/v1/nothing")
    wrong = await server.ask("PATCH", "/api/v1/toys", b"{}")
    options = await server.ask("OPTIONS", "/api/v1/toys")

    assert (missing.status, missing.code) == (404, "not_found")
    assert (wrong.status, wrong.code) == (405, "method.not_allowed")
    assert wrong.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert (options.status, options.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert (await server.ask("OPTIONS", "/api/v1/nothing")).status == 404
    assert (await server.ask("BREW", "/api/v1/toys")).status == 405


async def test_head_is_get_without_the_body(server: Server) -> None:
    got = await server.ask("GET", "/api/v1/toys/7")
    head = await server.ask("HEAD", "/api/v1/toys/7")

    assert head.status == 200
    assert head.body == b""
    assert head.headers["Content-Length"] == str(len(got.body))


async def test_an_answer_without_content_has_no_body_and_no_length(server: Server) -> None:
    reply = await server.ask("DELETE", "/api/v1/toys/7", headers=ADMIN)

    assert (reply.status, reply.body) == (204, b"")
    assert "Content-Length" not in reply.headers
    assert "Transfer-Encoding" not in reply.headers


async def test_every_answer_has_an_id_a_date_and_its_safety_headers(server: Server) -> None:
    for path in ("/api/v1/toys/7", "/api/v1/nothing", "/api/v1/toys"):
        reply = await server.ask("GET", path, headers={"X-Request-Id": "bad id\t!"})

        assert re.fullmatch(r"[0-9a-f]{10}-[0-9a-f]+", reply.headers["X-Request-Id"])
        assert reply.headers["Date"] == "Fri, 20 Nov 2026 04:00:00 GMT"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["X-Frame-Options"] == "DENY"
        assert "Server" not in reply.headers


async def test_a_route_may_set_headers_twice_but_not_break_out_of_them(
    server: Server, expect_log: Callable[[str], None]
) -> None:
    expect_log("request failed")

    twice = await server.ask("POST", "/api/v1/toys/7/cookies")
    broken = await server.ask("POST", "/api/v1/toys/7/odd")

    assert [value for name, value in twice.pairs if name == "Set-Cookie"] == ["a=1", "b=2"]
    assert (twice.status, twice.body) == (201, b"null")
    assert (broken.status, broken.code) == (500, "internal")


# ---------------------------------------------------------------- bodies and queries


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        (b"", "$", "JSON is malformed at character 0"),
        (b"null", "$", "Expected `object`, got `null`"),
        (b'{"name":5}', "$.name", "Expected `str`, got `int`"),
        (b'{"name":""}', "$.name", "Expected `str` of length >= 1"),
        (b'{"name":"a","tags":["b",1]}', "$.tags[1]", "Expected `str`, got `int`"),
        (b"{}", "$", "Object missing required field `name`"),
        (b'{"name":"a","price_fen":1.5}', "$.price_fen", "Expected `int`, got `float`"),
        (b'{"name":"a","name":"b"}', "$", "A key is given twice"),
        (b'{"name":"a","x":{"y":1,"y":1}}', "$", "A key is given twice"),
        (b'{"name":"a","price_fen":9007199254740992}', "$", "An integer is larger than 2^53 - 1"),
        (b'{"name":"a","x":' + b"9" * 60_000 + b"}", "$", "An integer is larger than 2^53 - 1"),
        (b'{"name":"a","x":1e999}', "$", "A number is out of range"),
        (b'{"name":"a","x":NaN}', "$", "A number is out of range"),
        (b'{"name":"a","x":-Infinity}', "$", "A number is out of range"),
        (b'{"name":"a","x":"\xff"}', "$", "Not UTF-8"),
        (b'{"name":"\xed\xa0\x80"}', "$", "Not UTF-8"),
        (b'{"name":"\\ud800"}', "$", "Input data was truncated"),
        (b'{"name":"a","x":"\\udfff!"}', "$", "JSON is malformed"),
        (b'{"name":"a","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "$", "Nested too deeply"),
        (b"[" * 60_000, "$", "Nested too deeply"),
        (b'{"name":"a"} x', "$", "JSON is malformed at character 13"),
        (b"\xef\xbb\xbf" + BEAR, "$", "JSON is malformed"),
        (BEAR.decode().encode("utf-16"), "$", "Not UTF-8"),
        (b"{'name':'a'}", "$", "JSON is malformed at character 1"),
    ],
)
async def test_a_body_that_could_be_read_in_two_ways_or_none_is_refused(
    server: Server, body: bytes, path: str, message: str
) -> None:
    reply = await server.ask("POST", "/api/v1/toys", body, DINER)

    assert (reply.status, reply.code) == (400, "body.invalid")
    (error,) = reply.json["errors"]
    assert error["path"] == path
    assert error["message"].startswith(message)
    assert not server.toys.calls


async def test_a_long_value_is_not_sent_back(server: Server) -> None:
    reply = await server.ask("POST", "/api/v1/toys", b'{"name":"' + b"x" * 60_000 + b'"}', DINER)

    assert reply.status == 400
    assert len(reply.body) < 1000


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
    ],
)
async def test_only_plain_json_is_read(server: Server, headers: dict[str, str]) -> None:
    reply = await server.ask("POST", "/api/v1/toys", BEAR, {**DINER, **headers})

    assert (reply.status, reply.code) == (415, "body.media_type")


async def test_a_charset_beside_the_type_is_fine(server: Server) -> None:
    headers = {**DINER, "Content-Type": "Application/JSON; charset=utf-8"}

    assert (await server.ask("POST", "/api/v1/toys", BEAR, headers)).status == 201


async def test_a_body_of_which_nothing_is_required_may_be_left_out(server: Server) -> None:
    reply = await server.ask("POST", "/api/v1/toys/7/fail", headers={"Content-Type": ""})

    assert reply.code == "toy.broken"
    assert server.toys.calls[0].body.reason == ""


async def test_raw_bytes_reach_their_route_untouched(server: Server) -> None:
    body = bytes(range(256)) * 4096

    reply = await server.ask("POST", "/api/v1/pictures", body, {"Content-Type": "image/png"})

    assert reply.status == 200
    assert reply.headers["Content-Type"] == "image/png"
    assert reply.body == body


async def test_a_body_over_the_bound_is_refused_and_the_connection_stays(server: Server) -> None:
    big = b"POST /api/v1/toys HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n" + b"x" * 65_537
    small = b"GET /api/v1/toys/7 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    raw = await server.exchange(big + small)

    first, second = raw.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"413 ")
    assert b'"code":"body.too_large"' in first
    assert second.startswith(b"200 ")


async def test_a_body_far_over_the_bound_is_refused_unread(server: Server) -> None:
    for length in (1024 * 1024 + 1, 10**15, 10**300):
        head = f"POST /api/v1/toys HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"

        raw = await server.exchange(head.encode())

        assert raw.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close" in raw
        assert raw.count(b"HTTP/1.1") == 1


async def test_chunks_are_counted_like_a_length(server: Server) -> None:
    head = b"POST /api/v1/toys HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    head += b"Authorization: Bearer diner-token\r\nContent-Type: application/json\r\n"
    head += b"Connection: close\r\n\r\n"
    many = b"".join(b"1000\r\n" + b"x" * 4096 + b"\r\n" for _ in range(17)) + b"0\r\n\r\n"
    few = b"f\r\n" + BEAR + b"\r\n0\r\n\r\n"

    assert (await server.exchange(head + many)).startswith(b"HTTP/1.1 413 ")
    assert (await server.exchange(head + few)).startswith(b"HTTP/1.1 201 ")


async def test_a_query_is_read_into_its_type(server: Server) -> None:
    reply = await server.ask("GET", "/api/v1/toys?page=3&name=%E4%BD%A0+%26&from=5&else=1&&")

    assert reply.json == {"items": [], "total": 0, "page": 3, "page_size": 20}
    query = server.toys.calls[0].query
    assert (query.name, query.from_, query.sort) == ("你 &", 5, "")


@pytest.mark.parametrize(
    "query",
    [
        "page=0", "page=x", "page=", "page_size=101", "page=1&page=2", "page=" + "9" * 5000,
        "name=%ff", "sort=-created_at;", "from=9007199254740992", "&".join(map(str, range(60))),
        "from=" + "9" * 4000, "weight_kg=nan", "weight_kg=inf",
    ],
)  # fmt: skip
async def test_a_query_that_does_not_fit_is_refused(server: Server, query: str) -> None:
    reply = await server.ask("GET", f"/api/v1/toys?{query}")

    assert (reply.status, reply.code) == (400, "query.invalid")
    assert reply.json["errors"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "schlüssel"])
async def test_a_key_for_repeats_is_short_and_visible(server: Server, key: str) -> None:
    reply = await server.ask("POST", "/api/v1/toys", BEAR, {**DINER, "Idempotency-Key": key})

    assert (reply.status, reply.code) == (400, "idempotency_key.invalid")


# ---------------------------------------------------------------- who


async def test_a_token_is_looked_up_plainly_or_with_a_wait(server: Server) -> None:
    for token in ("diner-token", "diner-token!"):
        headers = {"Authorization": f"bearer {token}"}
        assert (await server.ask("POST", "/api/v1/toys", BEAR, headers)).status == 201


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("", "session.required"),
        ("Basic eDp5", "session.required"),
        ("Bearer ", "session.required"),
        ("Bearer wrong", "session.expired"),
        ("Bearer wrong!", "session.expired"),
    ],
)
async def test_who_is_not_signed_in_changes_nothing(
    server: Server, authorization: str, code: str
) -> None:
    headers = {"Authorization": authorization}

    reply = await server.ask("POST", "/api/v1/toys", BEAR, headers)

    assert (reply.status, reply.code) == (401, code)
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert not server.toys.calls


async def test_a_missing_role_is_refused(server: Server) -> None:
    reply = await server.ask("DELETE", "/api/v1/toys/7", headers=DINER)

    assert (reply.status, reply.code) == (403, "forbidden")
    assert not server.toys.calls


async def test_a_public_route_knows_a_good_token_and_ignores_a_bad_one(server: Server) -> None:
    for token in ("diner-token", "wrong", "wrong!"):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await server.ask("GET", "/api/v1/toys/7", headers=headers)).status == 200

    known = [call.session and call.session.account_id for call in server.toys.calls]
    assert known == [11, None, None]


async def test_a_cookie_signs_in_but_changes_nothing_without_its_second_half(
    server: Server,
) -> None:
    cookie = f"a=b; {cookies.SESSION_COOKIE}=admin-token"
    xsrf = cookies.xsrf_token("admin-token")

    reading = await server.ask("GET", "/api/v1/toys/7/later", headers={"Cookie": cookie})
    bare = await server.ask("DELETE", "/api/v1/toys/7", headers={"Cookie": cookie})
    foreign = await server.ask(
        "DELETE", "/api/v1/toys/7",
        headers={"Cookie": cookie, "X-XSRF-Token": cookies.xsrf_token("diner-token")},
    )  # fmt: skip
    whole = await server.ask(
        "DELETE", "/api/v1/toys/7", headers={"Cookie": cookie, "X-XSRF-Token": xsrf}
    )
    public = await server.ask("POST", "/api/v1/names/bear", BEAR, {"Cookie": cookie})

    assert [r.status for r in (reading, bare, foreign, whole, public)] == [200, 403, 403, 204, 200]
    assert bare.code == foreign.code == "xsrf.invalid"
    assert server.toys.calls[-1].session is None


# ---------------------------------------------------------------- refusals


async def test_a_refusal_of_the_domain_is_translated(server: Server) -> None:
    reply = await server.ask("POST", "/api/v1/toys/7/fail-later", headers=DINER)

    assert (reply.status, reply.code) == (409, "toy.broken")
    assert reply.json["title"] == "The toy is broken"
    assert reply.json["detail"] == "its wheel is off"

    server.toys.error = ToyLost()
    assert (await server.ask("POST", "/api/v1/toys/7/fail")).code == "toy.lost"


async def test_a_database_that_is_away_is_a_matter_of_time(server: Server) -> None:
    server.toys.error = Overloaded("10.0.0.7 has 512 waiting")

    reply = await server.ask("POST", "/api/v1/toys/7/fail")

    assert (reply.status, reply.code) == (503, "database.overloaded")
    assert reply.headers["Retry-After"] == "1"
    assert "10.0.0.7" not in reply.body.decode()


async def test_an_unknown_outcome_asks_for_a_repeat_with_the_same_key(server: Server) -> None:
    server.toys.error = CommitUnknown()

    reply = await server.ask("POST", "/api/v1/toys/7/fail")

    assert (reply.status, reply.code) == (503, "database.commit_unknown")
    assert "same Idempotency-Key" in reply.json["detail"]


async def test_sessions_that_cannot_be_looked_up_are_no_refusal_of_the_client() -> None:
    async def away(token: str) -> object:
        raise DatabaseUnavailable

    async with serving(authenticate=away) as server:
        needed = await server.ask("POST", "/api/v1/toys", BEAR, DINER)
        optional = await server.ask("GET", "/api/v1/toys/7", headers=DINER)

    assert (needed.status, needed.code) == (503, "database.unavailable")
    assert optional.status == 503
    assert not server.toys.calls


@pytest.mark.parametrize("path", ["fail", "fail-later"])
async def test_our_own_mistake_is_logged_once_and_told_to_nobody(
    server: Server, path: str, expect_log: Callable[[str], None], log_watch: Any
) -> None:
    expect_log("request failed")
    server.toys.error = ZeroDivisionError("a secret")

    reply = await server.ask("POST", f"/api/v1/toys/7/{path}", headers={"X-Request-Id": "r-1"})

    assert (reply.status, reply.code) == (500, "internal")
    assert "secret" not in reply.body.decode()
    (line,) = log_watch.lines
    assert "r-1" in line


async def test_a_route_may_refuse_in_its_own_dialect(server: Server) -> None:
    reply = await server.ask("POST", "/", b"x" * 2000)

    assert (reply.status, reply.json) == (200, {"queryErr": "BODY.TOO_LARGE"})


# ---------------------------------------------------------------- unchanged


@pytest.mark.parametrize("path", ["/api/v1/toys/7", "/api/v1/toys/7/later"])
async def test_what_the_client_has_seen_is_not_made_again(server: Server, path: str) -> None:
    first = await server.ask("GET", path, headers=DINER)
    etag = first.headers["Etag"]
    seen = [etag, '"1"', f'"0", {etag}', "*", ' W/"9",W/"1"']

    for if_none_match in seen:
        reply = await server.ask("GET", path, headers={**DINER, "If-None-Match": if_none_match})
        assert (reply.status, reply.body, reply.headers["Etag"]) == (304, b"", etag)

    assert len(server.toys.calls) == 1
    server.toys.state = "2"
    assert (await server.ask("GET", path, headers={**DINER, "If-None-Match": etag})).status == 200


async def test_what_a_session_sees_is_kept_by_nobody_else(server: Server) -> None:
    public = await server.ask("GET", "/api/v1/toys/7")
    own = await server.ask("GET", "/api/v1/toys/7/later", headers=DINER)
    server.toys.state = ""
    stateless = await server.ask("GET", "/api/v1/toys/7/later", headers=DINER)

    assert public.headers["Cache-Control"] == "no-cache"
    assert own.headers["Cache-Control"] == "private, no-cache"
    assert (stateless.status, stateless.headers["Cache-Control"]) == (200, "no-store")


# ---------------------------------------------------------------- limits, proxies, log


def tight() -> Limits:
    limits = Limits()
    limits.address = Limit(per_s=1, burst=3)
    limits.session = Limit(per_s=1, burst=2)
    return limits


async def test_too_many_requests_of_an_address_are_told_when_to_come_back() -> None:
    now = NOON
    async with serving(limits=tight(), now=lambda: now) as server:
        statuses = [(await server.ask("GET", "/api/v1/toys/7")).status for _ in range(3)]
        refused = await server.ask("GET", "/api/v1/nothing")
        now += 1000
        again = await server.ask("GET", "/api/v1/toys/7")

    assert statuses == [200, 200, 200]
    assert (refused.status, refused.code) == (429, "rate.limited")
    assert refused.headers["Retry-After"] == "1"
    assert again.status == 200


async def test_each_session_has_a_limit_of_its_own() -> None:
    limits = tight()
    limits.address = Limit(per_s=1, burst=100)
    async with serving(limits=limits) as server:
        mine = [(await server.ask("POST", "/api/v1/toys", BEAR, DINER)).status for _ in range(3)]
        other = await server.ask("GET", "/api/v1/toys/7", headers=ADMIN)

    assert mine == [201, 201, 429]
    assert other.status == 200


async def test_a_route_may_have_a_limit_besides() -> None:
    async with serving(limits=Limits()) as server:
        path = "/api/v1/toys/7/cookies"
        strangers = [(await server.ask("POST", path)).status for _ in range(3)]
        known = await server.ask("POST", path, headers=DINER)
        elsewhere = await server.ask("GET", "/api/v1/toys/7")

    assert strangers == [201, 201, 429]
    assert (known.status, elsewhere.status) == (201, 200)


async def test_a_trusted_proxy_speaks_for_its_client_and_others_do_not() -> None:
    forwarded = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9, 10.0.0.2"}
    async with serving(proxies=TrustedProxies(["127.0.0.0/8", "10.0.0.2"])) as behind:
        await behind.ask("GET", "/api/v1/toys/7", headers=forwarded)
        assert behind.toys.calls[0].address == "203.0.113.9"
    async with serving() as direct:
        await direct.ask("GET", "/api/v1/toys/7", headers=forwarded)
        assert direct.toys.calls[0].address == "127.0.0.1"


async def test_the_log_tells_the_route_and_never_a_secret() -> None:
    async with serving(access_log=True) as server:
        with structlog.testing.capture_logs() as lines:
            await server.ask("POST", "/api/v1/toys?code=s3cret", BEAR, DINER)
            await server.ask("GET", "/s3cret")

    assert [(line["route"], line["status"]) for line in lines] == [
        ("/api/v1/toys", 201),
        ("-", 404),
    ]
    assert lines[0]["address"] == "127.0.0.*"
    assert "s3cret" not in str(lines)
    assert "diner-token" not in str(lines)


async def test_every_answer_can_be_counted() -> None:
    seen: list[tuple[str, int, bool]] = []

    def observe(route: Route | None, status: int, took_s: float) -> None:
        seen.append((route.path if route else "", status, took_s >= 0))

    async with serving(observe=observe) as server:
        await server.ask("GET", "/api/v1/toys/7")
        await server.ask("GET", "/nothing")

    assert seen == [("/api/v1/toys/{toy_id}", 200, True), ("", 404, True)]


# ---------------------------------------------------------------- leaving


async def test_a_client_that_leaves_early_is_no_error_and_its_wish_is_done(
    server: Server,
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /api/v1/toys/7/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    await server.toys.arrived.wait()
    writer.transport.abort()
    await asyncio.sleep(0)

    assert await server.front.drain(0) == 1
    server.toys.gate.set()
    assert await server.front.drain(5) == 0

    assert len(server.toys.calls) == 1
    assert (await server.ask("GET", "/api/v1/toys/7")).status == 200
    del reader


async def test_nonsense_never_breaks_the_server(server: Server) -> None:
    """Generated requests on and near our routes: never a 500, never silence, and alive after."""
    seed = 20261120
    dice = random.Random(seed)
    paths = ["/api/v1/toys", "/api/v1/toys/7", "/api/v1/toys/7/fail", "/api/v1/names/a", "/", "/?"]
    bits = ["\0", "%", "..", "/", "?", "&", "=", "é", "'", '"', "{", "}", "\\", "x" * 300, "7", "-"]
    values: list[Any] = [
        b"null", b"{}", b"[]", BEAR, b'{"name":', b"\xff\xfe", b'"\\ud800"', b"1e999", b"-", b"",
        b'{"name":{"name":{}}}', b"[[[[", b'{"":0}', b"9" * 400, b"true", b"\0" * 9,
    ]  # fmt: skip
    for turn in range(400):
        path = dice.choice(paths) + "".join(dice.choices(bits, k=dice.randrange(4)))
        path = "".join(c for c in path if c > " ")
        headers = dict(
            dice.sample(
                [
                    ("Authorization", "Bearer diner-token"), ("Cookie", "=;;=" * 50),
                    ("If-None-Match", '"'), ("Idempotency-Key", "é"), ("X-Forwarded-For", ",,"),
                    ("Content-Type", "application/json;;"), ("Expect", "200-ok"), ("TE", "x"),
                ],
                k=dice.randrange(5),
            )
        )  # fmt: skip
        method = dice.choice(["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "X"])

        reply = await server.ask(method, path, dice.choice(values), headers)

        assert reply.status < 500, (seed, turn, method, path, reply.body)
    assert (await server.ask("GET", "/api/v1/toys/7")).status == 200
