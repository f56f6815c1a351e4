"""The load generator distrusts the server: it must see each kind of mistake it looks for."""

import asyncio
import itertools
import json
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from bench import generator
from bench.generator import Figures, LoadFailed, line

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the generator is C")

ISSUE = '{"id":@id@,"type":"ticket.issue","stall_id":@stall@,"key":"@nonce@"}'
FINISH = '{"id":@id@,"type":"ticket.finish","ticket_id":@ticket@}'
AUTH = '{"id":1,"type":"auth","token":"@key@"}'
SUBSCRIBE = '{"id":2,"type":"subscribe","topic":"stall:7"@since@}'
RECALL = '{"id":@id@,"type":"ticket.recall","ticket_id":1}'


class Stall:
    """A stall in memory that makes the mistakes it is told to make."""

    def __init__(self) -> None:
        self.mistakes: set[str] = set()
        # In turn, which is long enough apart for the few callers of these tests.
        self.numbers = itertools.cycle(range(1, 100))
        self.tickets = 0
        self.seq = 0
        self.subscribers: set[Socket] = set()
        self.requests: defaultdict[str, int] = defaultdict(int)
        # The X-Sign headers of the last request with a query.
        self.signs: dict[str, list[str]] = {}

    def issue(self) -> dict[str, int]:
        number = 1 if "same number" in self.mistakes else next(self.numbers)
        if "same id" not in self.mistakes or not self.tickets:
            self.tickets += 1
        return {"id": self.tickets, "number": number}

    async def event(self) -> None:
        self.seq += 2 if "gap" in self.mistakes and self.seq == 5 else 1
        event = {"type": "event", "topic": "stall:7", "epoch": "e", "seq": self.seq, "data": {}}
        await asyncio.gather(*(subscriber.say(event) for subscriber in self.subscribers))

    def subscribed(self, since: dict[str, Any] | None) -> dict[str, Any]:
        answer: dict[str, Any] = {"epoch": "e", "seq": self.seq}
        if since is None:
            return answer | {"recovered": False, "snapshot": {}}
        first = since["seq"] + (2 if "forgets" in self.mistakes else 1)
        missed = [{"seq": seq, "data": {"id": 9}} for seq in range(first, self.seq + 1)]
        return answer | {"recovered": True, "events": missed}


class Socket(WebSocketHandler):
    def initialize(self, stall: Stall) -> None:
        self.stall = stall

    async def open(self) -> None:
        self.set_nodelay(True)
        await self.say({"type": "hello", "protocol": 1})

    async def say(self, message: dict[str, Any]) -> None:
        # A generator that has measured enough goes without a word.
        with suppress(WebSocketClosedError):
            await self.write_message(json.dumps(message))

    async def on_message(self, message: str | bytes) -> None:
        frame = json.loads(message)
        data: dict[str, Any] = {}
        match frame["type"]:
            case "subscribe":
                data = self.stall.subscribed(frame.get("since"))
                self.stall.subscribers.add(self)
            case "ticket.issue":
                data = self.stall.issue()
            case "ticket.recall":
                await self.stall.event()
        ok = frame["type"] != "auth" or "refuses" not in self.stall.mistakes
        await self.say({"id": frame["id"], "type": "result", "ok": ok, "data": data})

    def on_close(self) -> None:
        self.stall.subscribers.discard(self)


class OldDialect(RequestHandler):
    def initialize(self, stall: Stall) -> None:
        self.stall = stall

    def post(self) -> None:
        query = self.get_body_argument("query")
        self.stall.requests[query] += 1
        self.stall.signs[query] = self.request.headers.get_list("X-Sign")
        if query == "fetch":
            self.finish({"fetchSuccess": "success", "marchSn": self.stall.issue()["number"]})
        else:
            assert 1 <= int(self.get_body_argument("marchSn")) <= 99
            self.finish({"doneSuccess": "success"})


@pytest.fixture
def stall() -> Stall:
    return Stall()


@pytest.fixture
async def port(stall: Stall) -> AsyncIterator[int]:
    socket, port = bind_unused_port()
    server = HTTPServer(
        Application([("/ws", Socket, {"stall": stall}), ("/", OldDialect, {"stall": stall})])
    )
    server.add_sockets([socket])
    yield port
    server.stop()
    await server.close_all_connections()


async def take(port: int, *, apart: bool = False) -> Figures:
    plan = [line(path="/ws", greeted="yes", say=AUTH, stall=7, issue=ISSUE, finish=FINISH)]
    return await asyncio.to_thread(
        generator.run,
        "take",
        port,
        plan,
        connections=8,
        warmup=0.1,
        seconds=0.2,
        apart=apart,
    )


async def fan_out(port: int, **options: float) -> Figures:
    subscriber = line(path="/ws", greeted="yes", say=[AUTH, SUBSCRIBE])
    publisher = line(path="/ws", greeted="yes", say=AUTH, publish=RECALL)
    return await asyncio.to_thread(
        generator.run,
        "fanout",
        port,
        [subscriber],
        publishers=[publisher],
        connections=5,
        warmup=0.1,
        seconds=0.3,
        **options,
    )


async def come_back(port: int) -> Figures:
    subscriber = line(path="/ws", greeted="yes", say=[AUTH, SUBSCRIBE])
    publisher = line(path="/ws", greeted="yes", say=AUTH, publish=RECALL)
    return await asyncio.to_thread(
        generator.run,
        "resume",
        port,
        [subscriber],
        publishers=[publisher],
        connections=5,
        missed=3,
    )


@pytest.mark.parametrize("apart", [False, True])
async def test_honest_numbers_raise_no_complaint(port: int, apart: bool) -> None:
    figures = await take(port, apart=apart)

    assert figures["count"] > 0
    assert figures["duplicates"] == figures["failures"] == 0


@pytest.mark.parametrize("mistake", ["same number", "same id"])
async def test_a_number_or_id_that_comes_twice_is_counted(
    port: int, stall: Stall, mistake: str
) -> None:
    stall.mistakes.add(mistake)

    figures = await take(port)

    assert figures["duplicates"] > 0


async def test_the_old_dialect_is_spoken_as_forms(port: int, stall: Stall) -> None:
    plan = [
        line(
            wire="http",
            path="/",
            header="Content-Type: application/x-www-form-urlencoded",
            stall=7,
            key="0" * 40,
            issue="query=fetch&sessionKey=@key@",
            finish="query=done&isseller=yes&sessionKey=@key@&marchSn=@number@",
        )
    ]

    figures = await asyncio.to_thread(
        generator.run, "take", port, plan, connections=4, warmup=0.1, seconds=0.2
    )

    assert figures["duplicates"] == figures["failures"] == 0
    assert stall.requests["fetch"] == stall.requests["done"] > 0


async def test_another_status_than_the_expected_is_a_failure(port: int) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    plan = [line(wire="http", path="/", header=form, body="query=done&marchSn=1")]

    figures = await asyncio.to_thread(
        generator.run, "http", port, plan, connections=2, status=304, warmup=0, seconds=0.1
    )

    assert figures["failures"] == figures["count"] > 0


@pytest.mark.parametrize(("said", "fails"), [("doneSuccess", False), ("no such word", True)])
async def test_an_answer_must_say_what_is_expected(port: int, said: str, fails: bool) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    plan = [line(wire="http", path="/", header=form, body="query=done&marchSn=1", expect=said)]

    figures = await asyncio.to_thread(
        generator.run, "http", port, plan, connections=2, warmup=0, seconds=0.1
    )

    assert figures["failures"] == (figures["count"] if fails else 0)
    assert figures["answers"] == figures["count"] - figures["failures"]
    assert figures["count"] > 0


async def test_of_several_bodies_each_is_posted_once(port: int, stall: Stall) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    plan = [
        line(
            wire="http", path="/", header=form, body=[f"query=q{n}{c}&marchSn=1" for n in range(9)]
        )
        for c in "ab"
    ]

    figures = await asyncio.to_thread(
        generator.run, "http", port, plan, connections=2, warmup=0, seconds=0.3
    )

    assert stall.requests == {f"q{n}{c}": 1 for n in range(9) for c in "ab"}
    assert (figures["answers"], figures["starved"]) == (18, 2)


async def test_a_body_may_have_headers_of_its_own(port: int, stall: Stall) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    start = line(wire="http", path="/", header=form)
    said: list[tuple[dict[str, str], str]] = [
        ({"X-Sign": "1", "X-Other": "a"}, "query=one&marchSn=1"),
        ({}, "query=two&marchSn=1"),
        ({"X-Sign": "3"}, "query=three&marchSn=1"),
    ]

    figures = await asyncio.to_thread(
        generator.run,
        "http",
        port,
        [f"{start}\t{generator.posts(said)}"],
        connections=1,
        warmup=0,
        seconds=0.2,
    )

    assert stall.signs == {"one": ["1"], "two": [], "three": ["3"]}
    assert (figures["answers"], figures["starved"]) == (3, 1)


async def test_a_refused_sign_in_ends_the_measurement(port: int, stall: Stall) -> None:
    stall.mistakes.add("refuses")

    with pytest.raises(LoadFailed, match="refused"):
        await take(port)


@pytest.mark.parametrize("options", [{"rate": 100.0}, {"window": 4.0}])
async def test_every_delivery_is_heard_once(
    port: int, stall: Stall, options: dict[str, float]
) -> None:
    figures = await fan_out(port, **options)

    assert figures["count"] > 0
    assert figures["gaps"] == figures["missing"] == figures["unexpected"] == 0


async def test_a_gap_in_the_sequence_is_seen(port: int, stall: Stall) -> None:
    stall.mistakes.add("gap")

    figures = await fan_out(port, rate=100)

    assert figures["gaps"] == 5
    assert figures["missing"] == 0


async def test_all_that_was_missed_comes_after_the_return(port: int) -> None:
    figures = await come_back(port)

    assert figures["recovered"] == 5 * 3
    assert figures["wrong"] == figures["missing"] == figures["snapshots"] == 0


async def test_an_event_missing_after_the_return_is_seen(port: int, stall: Stall) -> None:
    stall.mistakes.add("forgets")

    figures = await come_back(port)

    assert figures["wrong"] >= 5
