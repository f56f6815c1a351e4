"""A client's link over /api/v1/ws: it comes back after every loss and resumes where it was.

Source: the protocol page, "WebSocket, /api/v1/ws".
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketError, websocket_connect

from simulators.rush.ears import Ear, Event, TicketEar
from simulators.rush.ledger import Ledger
from simulators.rush.links import (
    ANSWER_WITHIN_S,
    GIVE_UP_AFTER_S,
    Backoff,
    LinkLostError,
    RefusedError,
)

LOSSES = (OSError, HTTPClientError, WebSocketError, LinkLostError, TimeoutError)
# Close codes that say how soon it makes sense to come back.
AT_LEAST_S = {1012: 0.5, 1013: 0.5, 4409: 2.0, 4429: 5.0}
NOT_SIGNED_IN = 4401
# Refusals that mean "not now" by their last word: the wish is repeated with its key.
NOT_NOW = ("limited", "unavailable", "overloaded", "commit_unknown", "busy", "expired")
NOT_NOW_WAIT_S = 1.0

SignIn = Callable[[], Awaitable[str]]


class Line:
    """`start()`, then `command(...)` and `subscribe(ear)` for as long as one likes.

    sign_in gives a token; None connects as a board, which needs none. Sign-in is asked
    again when the server says the session is over.
    """

    def __init__(
        self, base_url: str, sign_in: SignIn | None, ledger: Ledger, rng: Random, *, name: str
    ) -> None:
        self._url = base_url.replace("http", "ws", 1).rstrip("/") + "/api/v1/ws"
        self._sign_in = sign_in
        self._ledger = ledger
        self._backoff = Backoff(rng)
        self.name = name
        self.ears: dict[str, Ear] = {}
        self.is_live = asyncio.Event()
        self.live_since_s = 0.0
        self._token = ""
        self._connection: WebSocketClientConnection | None = None
        self._reading: asyncio.Future[Any] | None = None
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._subscribing: dict[int, Ear] = {}
        self._last_id = 0
        self._away_s = 0.0
        self._came_before = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._stay_connected(), name=self.name)

    async def ready(self) -> None:
        """Until it is connected. Raises LinkLostError after two minutes."""
        try:
            async with asyncio.timeout(GIVE_UP_AFTER_S):
                await self.is_live.wait()
        except TimeoutError:
            raise LinkLostError(f"{self.name}: never connected") from None

    async def close(self) -> None:
        """Hang up properly and forget the topics; start() begins anew with the same session."""
        task, self._task = self._task, None
        if self._connection is not None:
            cut(self._connection, politely=True)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.ears.clear()

    def drop(self, away_s: float) -> None:
        """Fall off the net without a word, and come back after so many (real) seconds."""
        if self._connection is not None and self.is_live.is_set():
            self._away_s = away_s
            self.is_live.clear()
            self._ledger.count("dropped")
            cut(self._connection)

    async def command(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send until there is an answer, over any number of connections, with the same key.

        Raises RefusedError; LinkLostError when there was no answer for two minutes.
        """
        try:
            async with asyncio.timeout(GIVE_UP_AFTER_S):
                return await self._until_answered(kind, fields)
        except TimeoutError:
            raise LinkLostError(f"{self.name}: no answer to {kind}") from None

    async def command_twice(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """A finger that taps twice: the same wish with the same key, at the same time."""
        self._ledger.count("repeated_taps")
        both = await asyncio.gather(self.command(kind, **fields), self.command(kind, **fields))
        return list(both)

    def subscribe(self, ear: Ear) -> None:
        """Listen from now on, and over every later connection from the ear's place."""
        self.ears[ear.topic] = ear
        if self.is_live.is_set():
            self._send_subscription(ear)

    def ack(self, topic: str, seq: int) -> None:
        self._say({"type": "ack", "topic": topic, "seq": seq})

    # ------------------------------------------------------------ the connection

    async def _stay_connected(self) -> None:
        while True:
            at_least_s = 0.0
            try:
                at_least_s = await self._one_connection()
            except RefusedError as refusal:
                self._ledger.refuse(refusal.code)
                self._token, at_least_s = "", 2.0
            except LOSSES:
                self._ledger.count("connections_failed")
            except (ValueError, TypeError, KeyError) as error:
                self._ledger.violate(f"{self.name}: a frame against the protocol: {error!r}")
            finally:
                self._hang_up()
            away_s, self._away_s = self._away_s, 0.0
            await asyncio.sleep(away_s or self._backoff.delay_s(at_least_s))

    async def _one_connection(self) -> float:
        """Until it is lost; the least time to stay away for, in seconds."""
        if self._sign_in is not None and not self._token:
            self._token = await self._sign_in()
        connection = await connect(self._url)
        self._connection = connection
        heartbeat_s = await self._introduce(connection)
        self._backoff.reset()
        self._ledger.count("reconnects" if self._came_before else "connections")
        self._came_before = True
        self.is_live.set()
        self.live_since_s = time.monotonic()
        for ear in self.ears.values():
            self._send_subscription(ear)
        await self._listen(connection, heartbeat_s)
        if connection.close_code == NOT_SIGNED_IN:
            self._token = ""
        return AT_LEAST_S.get(connection.close_code or 0, 0.0)

    async def _introduce(self, connection: WebSocketClientConnection) -> float:
        hello = await self._read(connection, ANSWER_WITHIN_S)
        proof = {"token": self._token} if self._sign_in is not None else {"board": True}
        await connection.write_message(json.dumps({"id": 0, "type": "auth"} | proof))
        answer = await self._read(connection, ANSWER_WITHIN_S)
        if not answer.get("ok"):
            raise refusal_of(answer)
        return float(hello.get("heartbeat_s", 25))

    async def _listen(self, connection: WebSocketClientConnection, heartbeat_s: float) -> None:
        while True:
            try:
                frame = await self._read(connection, heartbeat_s)
            except TimeoutError:
                self._say({"id": self._next_id(), "type": "ping"})
                frame = await self._read(connection, ANSWER_WITHIN_S)
            except LinkLostError:
                return
            self._take(frame)

    async def _read(self, connection: WebSocketClientConnection, within_s: float) -> dict[str, Any]:
        """The next frame. Raises TimeoutError, and the frame it waited for is not lost by that."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(connection.read_message())
        # Not wait_for: before Python 3.12 it swallows a cancellation that meets a frame.
        async with asyncio.timeout(within_s):
            text = await asyncio.shield(self._reading)
        self._reading = None
        if text is None:
            raise LinkLostError(f"{self.name}: closed with {connection.close_code}")
        frame = json.loads(text)
        if not isinstance(frame, dict):
            raise ValueError("a frame that is no object")
        return frame

    def _hang_up(self) -> None:
        self.is_live.clear()
        self._reading = None
        connection, self._connection = self._connection, None
        if connection is not None:
            cut(connection)
        asked, self._asked = self._asked, {}
        self._subscribing.clear()
        for answer in asked.values():
            if not answer.done():
                answer.set_exception(LinkLostError(f"{self.name}: the connection was lost"))

    # ------------------------------------------------------------ frames

    def _take(self, frame: dict[str, Any]) -> None:
        if frame.get("type") == "event":
            ear = self.ears.get(str(frame.get("topic")))
            if ear is not None:
                ear.hear(event_of(frame, ear.epoch))
            return
        asked_id = frame.get("id")
        if asked_id in self._subscribing:
            self._take_subscription(self._subscribing.pop(asked_id), frame)
        elif asked_id in self._asked:
            answer = self._asked.pop(asked_id)
            if not answer.done():
                answer.set_result(frame)

    def _take_subscription(self, ear: Ear, frame: dict[str, Any]) -> None:
        if not frame.get("ok"):
            refusal = refusal_of(frame)
            self._ledger.refuse(refusal.code)
            if refusal.code.endswith(NOT_NOW):
                loop = asyncio.get_running_loop()
                loop.call_later(NOT_NOW_WAIT_S, self._subscribe_again, ear)
            return
        data = frame["data"]
        epoch, seq = str(data["epoch"]), int(data["seq"])
        if data.get("recovered"):
            self._ledger.count("resumed")
            ear.subscribed(epoch, seq, [event_of(event, epoch) for event in data["events"]])
        else:
            self._ledger.count("snapshots")
            ear.snapshot(epoch, seq, data.get("snapshot"))
        if isinstance(ear, TicketEar):
            ear.acknowledge_again()

    def _subscribe_again(self, ear: Ear) -> None:
        if self.is_live.is_set() and self.ears.get(ear.topic) is ear:
            self._send_subscription(ear)

    def _send_subscription(self, ear: Ear) -> None:
        frame: dict[str, Any] = {"id": self._next_id(), "type": "subscribe", "topic": ear.topic}
        if ear.has_place:
            frame["since"] = {"epoch": ear.epoch, "seq": ear.seq}
        self._subscribing[frame["id"]] = ear
        self._say(frame)

    async def _until_answered(self, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        while True:
            await self.is_live.wait()
            try:
                return await self._ask(kind, fields)
            except LinkLostError:
                self._ledger.count("repeated_after_loss")
                await asyncio.sleep(0)
            except RefusedError as refusal:
                if not refusal.code.endswith(NOT_NOW):
                    raise
                self._ledger.refuse(refusal.code)
                await asyncio.sleep(NOT_NOW_WAIT_S)

    async def _ask(self, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        asked_id = self._next_id()
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[asked_id] = answer
        self._say({"id": asked_id, "type": kind, **fields})
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                frame = await answer
        except TimeoutError:
            raise LinkLostError(f"{self.name}: no answer to {kind}") from None
        finally:
            self._asked.pop(asked_id, None)
        if not frame.get("ok"):
            raise refusal_of(frame)
        data = frame.get("data")
        return data if isinstance(data, dict) else {}

    def _say(self, frame: dict[str, Any]) -> None:
        """Into the socket, or nowhere when it is gone: who needs an answer waits for it."""
        if self._connection is not None:
            with contextlib.suppress(WebSocketError):
                sent = self._connection.write_message(json.dumps(frame, ensure_ascii=False))
                asyncio.ensure_future(sent).add_done_callback(_forget)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id


async def connect(url: str) -> WebSocketClientConnection:
    """Raises what LOSSES lists. Cancelled half-way, it leaves no open socket behind."""
    request = HTTPRequest(url, connect_timeout=5, request_timeout=5)
    opening = asyncio.ensure_future(websocket_connect(request))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with contextlib.suppress(*LOSSES):
            cut(await opening)
        raise


def cut(connection: WebSocketClientConnection, *, politely: bool = False) -> None:
    """Close the TCP connection; unless politely, without the closing words of a WebSocket."""
    protocol = connection.protocol
    if protocol is None:
        return
    stream = getattr(protocol, "stream", None)
    if stream is not None and not politely:
        stream.close()
    connection.close()
    if stream is not None:
        stream.close()


def event_of(frame: dict[str, Any], epoch: str) -> Event:
    data = frame.get("data")
    return Event(
        epoch=str(frame.get("epoch", epoch)),
        seq=int(frame["seq"]),
        name=str(frame["name"]),
        data=data if isinstance(data, dict) else {},
    )


def refusal_of(frame: dict[str, Any]) -> RefusedError:
    error = frame.get("error")
    if not isinstance(error, dict):
        return RefusedError("no_reason_given")
    return RefusedError(str(error.get("code", "no_code")), str(error.get("detail", "")))


def _forget(sent: "asyncio.Future[None]") -> None:
    if not sent.cancelled():
        sent.exception()
