"""Framing: what bytes make a request, and what must never be taken for two or for half of one."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from handlers import http
from tests.handlers.toys import Server, serving

GET = b"GET /api/v1/toys/7 HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /api/v1/names/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LAST = GET + b"Connection: close\r\n\r\n"
BEAR = b'{"name":"bear"}'


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


def statuses(raw: bytes) -> list[int]:
    return [int(part[:3]) for part in raw.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    "raw",
    [
        # lengths
        POST + b"Content-Length: 15\r\nContent-Length: 16\r\n\r\n" + BEAR,
        POST + b"Content-Length: +15\r\n\r\n" + BEAR,
        POST + b"Content-Length: -15\r\n\r\n" + BEAR,
        POST + b"Content-Length: 0x0f\r\n\r\n" + BEAR,
        POST + b"Content-Length: 1_5\r\n\r\n" + BEAR,
        POST + b"Content-Length: 15 15\r\n\r\n" + BEAR,
        POST + b"Content-Length: 15, 16\r\n\r\n" + BEAR,
        POST + b"Content-Length: \xb2\r\n\r\n" + BEAR,
        POST + b"Content-Length:\r\n\r\n" + BEAR,
        POST + b"Content-Length : 15\r\n\r\n" + BEAR,
        # encodings
        POST + b"Content-Length: 15\r\nTransfer-Encoding: chunked\r\n\r\n" + BEAR,
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\n\r\n",
        # hosts
        b"GET /api/v1/toys/7 HTTP/1.1\r\n\r\n",
        GET + b"Host: y\r\n\r\n",
        b"GET /api/v1/toys/7 HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET /api/v1/toys/7 HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /api/v1/toys/7 HTTP/1.1\r\nHost: a, b\r\n\r\n",
        # lines
        GET + b"X: a\r\n b\r\n\r\n",
        GET + b"X\x00: a\r\n\r\n",
        GET + b"X: a\x00b\r\n\r\n",
        GET + b"no colon\r\n\r\n",
        GET + b": no name\r\n\r\n",
        b"GET /api/v1/toys/7\r\nHost: x\r\n\r\n",
        b"GET  /api/v1/toys/7 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/toys/7 HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET /api/v1/toys/7 HTTP/1.10\r\nHost: x\r\n\r\n",
        b"G\x00T /api/v1/toys/7 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/toys/\x017 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
async def test_a_request_framed_in_two_ways_is_refused_and_ends_the_connection(
    server: Server, raw: bytes
) -> None:
    answer = await server.exchange(raw + GET + b"\r\n")

    assert statuses(answer) == [400]
    assert not server.toys.calls


async def test_headers_have_a_bound(server: Server) -> None:
    fitting = GET + b"X: " + b"x" * 15_000 + b"\r\nConnection: close\r\n\r\n"
    endless = GET + b"X: " + b"x" * 17_000 + b"\r\n\r\n"

    assert statuses(await server.exchange(fitting)) == [200]
    assert statuses(await server.exchange(endless)) in ([], [400])


async def test_many_headers_and_long_cookies_cost_little(server: Server) -> None:
    repeated = GET + b"X: y\r\n" * 1000 + b"Connection: close\r\n\r\n"
    cookie = GET + b"Cookie: " + b"a=b;" * 3900 + b"\r\nConnection: close\r\n\r\n"

    began = time.monotonic()
    answers = [await server.exchange(raw) for raw in (repeated, cookie)]

    assert [statuses(answer) for answer in answers] == [[200], [200]]
    # A quadratic reading of them takes seconds.
    assert time.monotonic() - began < 1


async def test_requests_sent_at_once_are_answered_in_order(server: Server) -> None:
    server.toys.gate.set()
    posts = POST + b"Content-Length: 15\r\n\r\n" + BEAR
    waits = b"POST /api/v1/toys/5/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"

    raw = await server.exchange(GET + b"\r\n" + waits + posts + b"\r\n" + LAST)

    assert statuses(raw) == [200, 200, 200, 200]
    assert [call.method for call in server.toys.calls] == ["GET", "POST", "POST", "GET"]


async def test_an_old_client_is_served_and_let_go(server: Server) -> None:
    bare = b"GET /api/v1/toys/7 HTTP/1.0\r\n\r\n"
    staying = b"GET /api/v1/toys/7 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"

    one = await server.exchange(bare + bare)
    two = await server.exchange(staying + bare)

    assert statuses(one) == [200]
    assert statuses(two) == [200, 200]
    assert two.count(b"Connection: Keep-Alive") == 1
    assert b"Transfer-Encoding" not in one


async def test_connection_close_is_honoured(server: Server) -> None:
    raw = await server.exchange(GET + b"Connection: close\r\n\r\n" + GET + b"\r\n")

    assert statuses(raw) == [200]
    assert b"Connection: close" in raw


async def test_a_client_that_asks_first_is_told_to_go_on_or_not(server: Server) -> None:
    expecting = POST + b"Expect: 100-continue\r\nContent-Length: "

    good = await server.exchange(expecting + b"15\r\nConnection: close\r\n\r\n" + BEAR)
    bad = await server.exchange(expecting + b"65537\r\n\r\n")

    assert statuses(good) == [100, 200]
    assert statuses(bad) == [413]


async def test_a_body_on_a_get_is_read_past(server: Server) -> None:
    raw = await server.exchange(GET + b"Content-Length: 15\r\n\r\n" + BEAR + LAST)

    assert statuses(raw) == [200, 200]


async def test_a_body_that_comes_too_slowly_is_not_waited_for() -> None:
    async with serving(body_timeout_s=0.05) as server:
        for body in (b"", b'{"na'):
            raw = await server.exchange(POST + b"Content-Length: 15\r\n\r\n" + body)
            assert statuses(raw) == [408]
            assert b'"code":"body.late"' in raw
        assert not server.toys.calls


async def test_headers_that_come_too_slowly_are_not_waited_for() -> None:
    async with serving(idle_timeout_s=0.05) as server:
        assert await server.exchange(GET[:20]) == b""
        assert await server.exchange(b"") == b""


async def test_a_client_that_never_reads_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SEND_TIMEOUT_S", 0.05)
    # More answers than the sockets between us can hold.
    picture = b"POST /api/v1/pictures HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        closed = False
        for _ in range(50):
            writer.write(picture + b"x" * 1_000_000)
            try:
                await asyncio.wait_for(writer.drain(), 5)
            except ConnectionError:
                closed = True
                break
        writer.transport.abort()

        assert closed
        assert (await server.ask("GET", "/api/v1/toys/7")).status == 200
        del reader


async def test_half_a_body_and_goodbye_changes_nothing(server: Server) -> None:
    raw = await server.exchange(POST + b"Content-Length: 15\r\n\r\n" + BEAR[:5], then_leave=True)

    assert raw == b""
    assert not server.toys.calls
