"""People, their sessions and a WeChat that stands still, on each kind of database."""

from collections.abc import AsyncIterator, Callable

import pytest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets

from accounts.model import App
from accounts.service import Messages, People, Sessions
from accounts.wechat import MiniProgram
from simulators.wechat import (
    DINER_APPID,
    DINER_SECRET,
    SELLER_APPID,
    SELLER_SECRET,
    WeChat,
)
from sql.database import Database
from tests.clock import Clock

SECRET = "a secret of the tests, long enough to sign with"
APPS: dict[App, tuple[str, str]] = {
    "diner": (DINER_APPID, DINER_SECRET),
    "seller": (SELLER_APPID, SELLER_SECRET),
}


@pytest.fixture
async def wechat(clock: Clock) -> AsyncIterator[WeChat]:
    sim = WeChat(start_s=clock.now() / 1000)
    await sim.start(port=0)
    yield sim
    await sim.stop()


MakeProgram = Callable[..., MiniProgram]


@pytest.fixture
async def make_program(db: Database, clock: Clock) -> AsyncIterator[MakeProgram]:
    """`make_program(url)`: a client of its own, as another process would have."""
    made = []

    def make(
        url: str, timeout_s: float = 5.0, apps: dict[App, tuple[str, str]] = APPS
    ) -> MiniProgram:
        made.append(MiniProgram(url, apps, db=db, now=clock.now, timeout_s=timeout_s))
        return made[-1]

    yield make
    for program in made:
        await program.close()


@pytest.fixture
async def program(wechat: WeChat, make_program: MakeProgram) -> MiniProgram:
    return make_program(wechat.url)


MakeSessions = Callable[..., Sessions]


@pytest.fixture
async def make_sessions(db: Database, clock: Clock) -> AsyncIterator[MakeSessions]:
    """`make_sessions()`: sessions with a memory of their own, as another process would have."""
    made = []

    def make(**settings: object) -> Sessions:
        made.append(Sessions(db, secret=SECRET, now=clock.now, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for sessions in made:
        await sessions.close()


@pytest.fixture
async def sessions(make_sessions: MakeSessions) -> Sessions:
    return make_sessions()


@pytest.fixture
async def people(db: Database, program: MiniProgram, sessions: Sessions) -> People:
    return People(db, program, sessions)


@pytest.fixture
async def messages(db: Database, program: MiniProgram) -> Messages:
    return Messages(db, program)


class Peer:
    """A server that answers each request with the next of `answers`, or hangs up."""

    def __init__(self) -> None:
        self.answers: list[bytes | None] = []
        self.requests: list[HTTPServerRequest] = []
        self.url = ""

    def __call__(self, request: HTTPServerRequest) -> None:
        self.requests.append(request)
        connection = request.connection
        assert connection is not None
        answer = self.answers.pop(0)
        stream = connection.detach()  # type: ignore[attr-defined]
        if answer is None:
            stream.close()
            return
        stream.write(answer).add_done_callback(lambda _: stream.close())

    def will_say(self, body: bytes, *, status: str = "200 OK", headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.answers.append(head.encode() + body)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """Something in WeChat's place that says what WeChat never would."""
    peer = Peer()
    server = HTTPServer(peer)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    peer.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    yield peer
    server.stop()
    await server.close_all_connections()
