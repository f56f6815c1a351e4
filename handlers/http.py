"""The HTTP server: connections in, exchanges out.

Built on the layer of Tornado below its RequestHandler (an HTTPServerConnectionDelegate), where a
request costs about half. What has no route here (pages, WebSocket upgrades) is handed on to an
ordinary tornado.web.Application.
"""

import asyncio
import itertools
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, cast

import structlog
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)

from handlers.address import masked
from handlers.answers import Answer, http_date, start_line
from handlers.errors import Problem, TooManyRequests
from handlers.request import Edge, Request, Steps, check_host, origin_form
from handlers.routing import BODY_MAX, KIB, Table

log = structlog.get_logger(__name__)

HEADER_MAX: Final = 16 * KIB
IDLE_TIMEOUT_S: Final = 60.0

# How long an answer may wait for a client that does not read.
SEND_TIMEOUT_S: Final = 60.0

# A body that is over its route's bound is read to its end up to here and thrown away, so that the
# client gets to read the 413 on a connection it can use again. Beyond, the connection is closed.
DISCARD_MAX: Final = 1024 * KIB

# Enough for the largest body and what is pipelined behind it; a flood beyond closes the connection.
READ_BUFFER_MAX: Final = 2 * DISCARD_MAX

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)


def http_server(front: "Front", *, idle_timeout_s: float = IDLE_TIMEOUT_S) -> HTTPServer:
    """A server with bounds on everything a client can make it hold.

    There is no body_timeout: Tornado's costs each request with a body a task more; the exchange
    has a plain timer of its own (Edge.body_timeout_s).
    """
    return HTTPServer(
        front,
        max_header_size=HEADER_MAX,
        max_body_size=BODY_MAX,
        max_buffer_size=READ_BUFFER_MAX,
        idle_connection_timeout=idle_timeout_s,
    )


class Front(HTTPServerConnectionDelegate):
    """Makes an Exchange for each request, and knows which are still being answered."""

    def __init__(self, table: Table, edge: Edge) -> None:
        self.table = table
        self.edge = edge
        self.new_request_id = request_ids()
        self.is_watched = edge.access_log or edge.observe is not None
        self._tasks: set[asyncio.Task[None]] = set()
        # From then on each answer is its connection's last; and then nothing is begun any more.
        self.is_stopping = False
        self.is_stopped = False

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        return Exchange(self, server_conn, cast("HTTP1Connection", request_conn))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        # The loop itself keeps only a weak reference to a task.
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, timeout_s: float) -> int:
        """Wait until the requests in hand are answered. Returns how many were not."""
        if not self._tasks:
            return 0
        _, unfinished = await asyncio.wait(self._tasks, timeout=timeout_s)
        return len(unfinished)

    async def stop(self, timeout_s: float) -> None:
        """Answer what is in hand and what connections had sent already; then begin nothing.

        What is not answered any more must not be done either.
        """
        self.is_stopping = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self._tasks and loop.time() < deadline:
            await self.drain(deadline - loop.time())
        self.is_stopped = True


class Exchange(HTTPMessageDelegate):
    """One request on its connection: reads it, runs it, writes the answer.

    Tornado calls headers_received, data_received…, then finish; or on_connection_close.
    """

    def __init__(self, front: Front, server_conn: object, conn: HTTP1Connection) -> None:
        self._front = front
        self._server_conn = server_conn
        self._conn = conn
        self._request: Request
        self._delegate: HTTPMessageDelegate | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._body_max = BODY_MAX
        self._wait_s = 0.0
        self._began = 0.0
        self._is_last = False
        self._is_abandoned = False

    # ------------------------------------------------------------ what Tornado calls

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        start = cast("RequestStartLine", start_line)
        front = self._front
        path, _, query = origin_form(start.path).partition("?")
        found = front.table.find(path)
        request = Request(front.edge, start.method, path, query, headers, found)
        request.address = front.edge.proxies.client(self._peer(), headers)
        if request.endpoint is None or request.endpoint.route.counts_address:
            self._wait_s = front.edge.wait_of_address(request.address)
        if not self._wait_s and self._is_for_fallback(request, headers):
            return self._hand_on(start, headers)
        check_host(start.version, headers)
        request.id = front.new_request_id(headers)
        if front.is_watched:
            self._began = asyncio.get_running_loop().time()
        self._request = request
        if "Content-Length" in headers or "Transfer-Encoding" in headers:
            self._expect_body(headers)
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._delegate is not None:
            return self._delegate.data_received(chunk)
        self._size += len(chunk)
        if self._size <= self._body_max:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()
        return None

    def finish(self) -> None:
        if self._delegate is not None:
            self._delegate.finish()
            return
        self._stop_timer()
        if self._front.is_stopped:
            self._conn.close()
        elif self._wait_s:
            self._refuse(TooManyRequests(self._wait_s))
        elif self._size > self._body_max:
            self._refuse(self._too_large())
        else:
            self._start(self._request.steps(b"".join(self._chunks)))

    def on_connection_close(self) -> None:
        if self._delegate is not None:
            self._delegate.on_connection_close()
        self._abandon()

    # ------------------------------------------------------------ from headers to body

    def _peer(self) -> str:
        return getattr(self._conn.context, "remote_ip", "")

    def _is_for_fallback(self, request: Request, headers: HTTPHeaders) -> bool:
        """Without a route it is for the pages; so is a GET of a path where we only take POSTs,
        like `/`, where the old dialect posts and a browser looks. No page takes a large body:
        that is refused here, in words."""
        if self._front.edge.fallback is None or request.endpoint is not None:
            return False
        if _content_length(headers) > BODY_MAX:
            return False
        if request.found is None:
            return True
        return request.method in {"GET", "HEAD"} and not request.path.startswith("/api/")

    def _hand_on(self, start: RequestStartLine, headers: HTTPHeaders) -> Awaitable[None] | None:
        fallback = self._front.edge.fallback
        assert fallback is not None
        self._conn.set_body_timeout(self._front.edge.body_timeout_s)
        self._delegate = fallback.start_request(self._server_conn, self._conn)
        return self._delegate.headers_received(start, headers)

    def _expect_body(self, headers: HTTPHeaders) -> None:
        read_max = DISCARD_MAX
        if self._request.endpoint is not None:
            route = self._request.endpoint.route
            self._body_max = route.max_body
            read_max = max(read_max, route.max_body, route.discard_max)
        length = _content_length(headers)
        if length > (self._body_max if "Expect" in headers else read_max):
            # Answered before it is read. The bound is lifted so that Tornado does not answer as
            # well; it stops reading when our answer is sent.
            self._conn.set_max_body_size(length)
            self._refuse_unread(self._too_large())
            return
        self._conn.set_max_body_size(read_max)
        self._timer = asyncio.get_running_loop().call_later(
            self._front.edge.body_timeout_s, self._body_is_late
        )

    def _body_is_late(self) -> None:
        self._refuse_unread(Problem(408, "body.late", "The body did not come in time."))

    def _refuse_unread(self, problem: Problem) -> None:
        # What is left of the body cannot be told from the next request: Tornado closes.
        self._is_last = True
        self._refuse(problem)

    def _too_large(self) -> Problem:
        return Problem(413, "body.too_large", f"At most {self._body_max} bytes are taken here.")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _abandon(self) -> None:
        self._stop_timer()
        self._is_abandoned = True

    # ------------------------------------------------------------ from body to answer

    def _start(self, steps: Steps) -> None:
        """Run the steps until one has to wait; only then a task is made of the rest.

        A task is a tenth of what a small request costs. An awaitable is always run in a task of
        its own, never in the connection's: time-outs and cancellation belong to the request.
        """
        value = None
        try:
            while True:
                step = steps.send(value)
                if hasattr(step, "__await__"):
                    self._conn.set_close_callback(self._abandon)
                    self._front.spawn(self._go_on(steps, step))
                    return
                value = step
        except StopIteration as done:
            self._write(done.value)
        except Exception as error:
            self._refuse(error)

    async def _go_on(self, steps: Steps, step: Any) -> None:
        try:
            while True:
                if hasattr(step, "__await__"):
                    try:
                        step = await step
                    except Exception as error:
                        step = steps.throw(error)
                        continue
                step = steps.send(step)
        except StopIteration as done:
            self._write(done.value)
        except Exception as error:
            self._refuse(error)

    # ------------------------------------------------------------ the answer

    def _refuse(self, error: Exception) -> None:
        self._write(self._request.refusal(error))

    def _write(self, answer: Answer) -> None:
        if not self._is_abandoned:
            try:
                headers = answer.http_headers()
            except HTTPInputError as error:
                # A header with a line break in it, say: the route's mistake, told like any other.
                answer = self._request.refusal(error)
                headers = answer.http_headers()
            self._send(answer, headers)
        if self._front.is_watched:
            self._tell(answer.status)

    def _send(self, answer: Answer, headers: HTTPHeaders) -> None:
        headers["X-Request-Id"] = self._request.id
        headers["Date"] = http_date(self._front.edge.now() // 1000)
        is_stopping = self._front.is_stopping
        if self._is_last or is_stopping:
            headers["Connection"] = "close"
        body = None if self._request.method == "HEAD" else answer.body
        sent = self._conn.write_headers(start_line(answer.status), headers, body)
        self._conn.finish()
        if is_stopping:
            sent.add_done_callback(lambda _: self._conn.close())
        if not sent.done():
            # The client's window is full. One that never reads must not hold its answer for ever.
            timer = asyncio.get_running_loop().call_later(SEND_TIMEOUT_S, self._conn.close)
            sent.add_done_callback(lambda _: timer.cancel())

    def _tell(self, status: int) -> None:
        edge, request = self._front.edge, self._request
        took_s = asyncio.get_running_loop().time() - self._began
        if edge.observe is not None:
            edge.observe(request.endpoint.route if request.endpoint else None, status, took_s)
        if edge.access_log:
            # Never the query, a header or the body: they hold tokens, names and notes.
            log.info(
                "request",
                method=request.method,
                route=request.route_name,
                status=status,
                took_ms=round(took_s * 1000, 1),
                address=masked(request.address),
                request_id=request.id,
            )


def request_ids() -> Callable[[HTTPHeaders], str]:
    """A function that gives a request its id: the client's if it is sane, else the next of ours."""
    prefix = secrets.token_hex(5)
    numbers = itertools.count(1)

    def new(headers: HTTPHeaders) -> str:
        given = headers.get("X-Request-Id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return f"{prefix}-{next(numbers):x}"

    return new


def _content_length(headers: HTTPHeaders) -> int:
    """The length announced, 0 if there is none; what is not digits is Tornado's to refuse."""
    text = headers.get("Content-Length", "")
    if not (text.isdecimal() and text.isascii()):
        return 0
    return int(text[:18])
