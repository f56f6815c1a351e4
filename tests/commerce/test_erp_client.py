"""The ERP's client against what an ERP should not answer."""

import logging
from collections.abc import AsyncIterator, Callable

import pytest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets

from commerce.erp import ANSWER_MAX_BYTES, BatchBody, Erp, ErpRefused, ErpUnknown

BODY = BatchBody(day="2026-11-20", lines=(), line_count=0, amount_fen=0, tickets=0)


class Odd:
    """An ERP that answers what it is told to."""

    def __init__(self) -> None:
        self.status, self.headers, self.body = 200, "", b"{}"
        self.paths: list[str] = []
        self.tokens: list[str] = []

    def __call__(self, request: HTTPServerRequest) -> None:
        self.paths.append(request.uri or "")
        self.tokens.append(request.headers["Authorization"])
        connection = request.connection
        assert connection is not None
        stream = connection.detach()  # type: ignore[attr-defined]
        head = f"HTTP/1.1 {self.status} x\r\nContent-Length: {len(self.body)}\r\n{self.headers}"
        written = stream.write(f"{head}Connection: close\r\n\r\n".encode() + self.body)
        written.add_done_callback(lambda done: (done.exception(), stream.close()))


@pytest.fixture
async def odd() -> AsyncIterator[Odd]:
    odd = Odd()
    sockets = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(odd)
    server.add_sockets(sockets)
    odd.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/"  # type: ignore[attr-defined]
    yield odd
    server.stop()
    await server.close_all_connections()


@pytest.fixture
async def erp(odd: Odd) -> AsyncIterator[Erp]:
    erp = Erp(odd.url, "a-token", timeout_s=2)  # type: ignore[attr-defined]
    yield erp
    await erp.close()


def no_page(odd: Odd) -> None:
    odd.body = b'{"goods": [], "next_cursor": 7, "has_more": false}'


def long_cursor(odd: Odd) -> None:
    odd.body = b'{"goods": [], "next_cursor": "' + b"x" * 201 + b'", "has_more": false}'


def endless(odd: Odd) -> None:
    odd.body = b" " * (ANSWER_MAX_BYTES + 1)


def compressed(odd: Odd) -> None:
    odd.headers = "Content-Encoding: gzip\r\n"


def moved(odd: Odd) -> None:
    odd.status, odd.headers = 302, "Location: http://127.0.0.1:1/\r\n"


def too_often(odd: Odd) -> None:
    odd.status, odd.body = 429, b'{"code": "busy"}'


@pytest.mark.parametrize("spoil", [no_page, long_cursor, endless, compressed, moved, too_often])
async def test_an_answer_that_is_none_leaves_it_unknown(
    odd: Odd, erp: Erp, spoil: Callable[[Odd], None]
) -> None:
    spoil(odd)

    with pytest.raises(ErpUnknown) as caught:
        await erp.goods("a b/c")

    assert "a-token" not in str(caught.value)
    assert "a%20b" not in str(caught.value)
    assert odd.paths == ["/api/v1/goods?cursor=a%20b%2Fc&limit=200"]
    assert odd.tokens == ["Bearer a-token"]


async def test_a_clear_no_may_come_without_a_word(odd: Odd, erp: Erp) -> None:
    odd.status, odd.body = 403, b"<html>"
    with pytest.raises(ErpRefused) as silent:
        await erp.send_batch("S 1", BODY)
    odd.status, odd.body = 409, b'{"code": "batch.conflict", "detail": "x"}'
    with pytest.raises(ErpRefused) as spoken:
        await erp.send_batch("S 1", BODY)

    assert (silent.value.status, silent.value.reason) == (403, "")
    assert (spoken.value.status, spoken.value.reason) == (409, "batch.conflict")
    assert odd.paths == ["/api/v1/sales-batches/S%201"] * 2


async def test_no_address_is_logged(
    odd: Odd, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By this client's own doing, not by that of another which was made before."""
    monkeypatch.setattr(logging.getLogger("httpx"), "filters", [])
    odd.body = b'{"goods": [], "next_cursor": "", "has_more": false}'
    erp = Erp(odd.url, "a-token", timeout_s=2)  # type: ignore[attr-defined]
    with caplog.at_level(logging.INFO, "httpx"):
        await erp.goods("secret-cursor")
    await erp.close()

    assert caplog.text == ""


async def test_nobody_there_and_nobody_answering_are_unknown(odd: Odd, erp: Erp) -> None:
    away = Erp("http://127.0.0.1:1", "t", timeout_s=2)
    with pytest.raises(ErpUnknown, match="ConnectError"):
        await away.goods()
    await away.close()


async def test_what_can_be_read_of_a_wrong_item_is_its_sku(odd: Odd, erp: Erp) -> None:
    odd.body = (
        b'{"goods": [{"sku": "a"}, {"sku": 7}, {"sku": "a\\u0007b"}, {"sku": ""}, 8],'
        b' "next_cursor": "", "has_more": false}'
    )

    page = await erp.goods()

    assert [one.sku for one in page.unfit] == ["a", "?", "?", "?", "?"]
    assert page.goods == ()
