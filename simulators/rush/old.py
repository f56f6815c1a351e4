"""Clients of the old dialect: forms over POST /, and frames over a WebSocket at /ws.

Source: the original's mini-program (2017), whose phones still speak like this.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Protocol
from urllib.parse import quote, unquote

import httpx
from tornado.websocket import WebSocketClientConnection, WebSocketError

from simulators.rush.desk import Desk
from simulators.rush.ledger import Ledger
from simulators.rush.line import LOSSES, connect, cut
from simulators.rush.links import (
    ANSWER_WITHIN_S,
    GIVE_UP_AFTER_S,
    Backoff,
    LinkLostError,
    RefusedError,
)

TIMED_OUT = "Session Time Out"
NOT_SIGNED_IN = frozenset({TIMED_OUT, "whoareyou", "timeOut"})
NOT_NOW = frozenset({"Too Many Requests", "API Error"})


class Transport(Protocol):
    """How a query reaches the server; session_ends tells that a new link needs a new login."""

    async def ask(self, fields: dict[str, str]) -> dict[str, Any]: ...

    def drop(self) -> None: ...

    async def close(self) -> None: ...


class Forms:
    """One POST a query, as wx.request sends it with the form header."""

    def __init__(self, http: httpx.AsyncClient, base_url: str) -> None:
        self._http = http
        self._url = base_url.rstrip("/") + "/"

    async def ask(self, fields: dict[str, str]) -> dict[str, Any]:
        try:
            response = await self._http.post(self._url, data=fields)
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise LinkLostError(f"POST {self._url}: {error!r}") from error
        if response.status_code != 200 or not isinstance(answer, dict):
            raise LinkLostError(f"POST {self._url}: {response.status_code}")
        return answer

    def drop(self) -> None:
        """A form has no connection that could be lost between two queries."""

    async def close(self) -> None:
        """The client it posts with belongs to somebody else."""


class Frames:
    """{"query": …} frames; answers carry the query's name as "push".

    is_plain: sends plain JSON; otherwise URL-encoded, as the original's client did.
    """

    def __init__(
        self, base_url: str, pushed: Callable[[dict[str, Any]], None], *, is_plain: bool
    ) -> None:
        self._url = base_url.replace("http", "ws", 1).rstrip("/") + "/ws"
        self._pushed = pushed
        self._is_plain = is_plain
        self._connection: WebSocketClientConnection | None = None
        self._waiting: dict[str, deque[asyncio.Future[dict[str, Any]]]] = {}
        self._listener: asyncio.Task[None] | None = None

    async def ask(self, fields: dict[str, str]) -> dict[str, Any]:
        connection = self._connection or await self._connect()
        query = fields["query"]
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(query, deque()).append(answer)
        text = json.dumps(fields, ensure_ascii=False)
        try:
            await connection.write_message(text if self._is_plain else quote(text, safe="~()*!.'"))
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await answer
        except (WebSocketError, TimeoutError) as error:
            self._lose()
            raise LinkLostError(f"{query}: {error!r}") from error

    def drop(self) -> None:
        self._lose()

    async def close(self) -> None:
        if self._connection is not None:
            cut(self._connection, politely=True)
        listener = self._listener
        self._lose()
        if listener is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await listener

    async def _connect(self) -> WebSocketClientConnection:
        try:
            connection = await connect(self._url)
        except LOSSES as error:
            raise LinkLostError(f"{self._url}: {error!r}") from error
        self._connection = connection
        self._listener = asyncio.create_task(self._listen(connection))
        return connection

    async def _listen(self, connection: WebSocketClientConnection) -> None:
        while True:
            text = await connection.read_message()
            if text is None:
                break
            frame = decoded(text if isinstance(text, str) else text.decode())
            if not self._deliver(frame):
                self._pushed(frame)
        if self._connection is connection:
            self._lose()

    def _deliver(self, frame: dict[str, Any]) -> bool:
        """Hand a frame to whoever waits for it. Complaints go to the oldest query."""
        push = str(frame.get("push", ""))
        queue = self._waiting.get(push)
        if not queue and push in {"whoareyou", "error", "timeOut", ""}:
            queue = next((waiting for waiting in self._waiting.values() if waiting), None)
        if not queue:
            return False
        answer = queue.popleft()
        if not answer.done():
            answer.set_result(frame)
        return True

    def _lose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            cut(connection)
        listener, self._listener = self._listener, None
        if listener is not None and listener is not asyncio.current_task():
            listener.cancel()
        waiting, self._waiting = self._waiting, {}
        for answer in [answer for queue in waiting.values() for answer in queue]:
            if not answer.done():
                answer.set_exception(LinkLostError("the old socket was lost"))


class OldSession:
    """A person who speaks the old dialect: signs in when asked to, and repeats what was lost."""

    def __init__(
        self, transport: Transport, desk: Desk, ledger: Ledger, rng: Random, openid: str
    ) -> None:
        self._transport = transport
        self._desk = desk
        self._ledger = ledger
        self._backoff = Backoff(rng)
        self.openid = openid
        self.is_seller = openid.startswith("demo-seller")
        self._key = ""

    async def ask(self, query: str, **fields: object) -> dict[str, Any]:
        """Raises RefusedError with the failMsg; LinkLostError after two minutes of silence."""
        try:
            async with asyncio.timeout(GIVE_UP_AFTER_S):
                return await self._until_answered(query, fields)
        except TimeoutError:
            raise LinkLostError(f"{self.openid}: no answer to {query}") from None

    def drop(self) -> None:
        self._ledger.count("dropped")
        self._transport.drop()

    async def close(self) -> None:
        await self._transport.close()

    async def _until_answered(self, query: str, fields: dict[str, object]) -> dict[str, Any]:
        while True:
            try:
                if not self._key:
                    await self._sign_in()
                texts = {name: str(value) for name, value in fields.items()}
                asked = {"query": query, "sessionKey": self._key, **texts}
                answer = checked(query, await self._transport.ask(asked))
            except LinkLostError:
                self._ledger.count("repeated_after_loss")
                await asyncio.sleep(self._backoff.delay_s())
            except RefusedError as refusal:
                await self._get_over(refusal)
            else:
                self._backoff.reset()
                return answer

    async def _get_over(self, refusal: RefusedError) -> None:
        """Wait or sign in again where that helps. Raises the refusal where it does not."""
        if refusal.code in NOT_SIGNED_IN:
            self._key = ""
        elif refusal.code not in NOT_NOW:
            raise refusal
        self._ledger.count("put_off")
        await asyncio.sleep(self._backoff.delay_s())

    async def _sign_in(self) -> None:
        app = "seller" if self.is_seller else "diner"
        asked = {"query": "login", "code": await self._desk.code(self.openid, app)}
        if self.is_seller:
            asked["isseller"] = "yes"
        answer = checked("login", await self._transport.ask(asked))
        self._key = str(answer.get("sessionKey", ""))
        self._ledger.count("sign_ins")


def checked(query: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, when it is a success. Raises RefusedError."""
    if "queryErr" in answer:
        raise RefusedError(str(answer["queryErr"]))
    verdict = answer.get(f"{query}Success", answer.get("state"))
    if verdict == "success":
        return answer
    reason = answer.get("failMsg") or answer.get("msg") or answer.get("push")
    raise RefusedError(str(reason or "no reason given"))


def decoded(text: str) -> dict[str, Any]:
    """A frame, plain or URL-encoded. What is neither is an error frame of our making."""
    try:
        value = json.loads(text if text.lstrip().startswith("{") else unquote(text))
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"push": "error", "msg": "not a frame"}
