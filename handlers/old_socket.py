"""The old dialect as WebSocket frames: `{"query": …}` in, `{"push": …}` out.

A frame is JSON, plain or URL-encoded as encodeURIComponent does; it is answered in kind, with
blanks as %20 (the original wrote "+", which its own clients could not read).
"""

import asyncio
from typing import Final
from urllib.parse import quote, unquote

import structlog
from tornado.httputil import HTTPServerRequest
from tornado.routing import PathMatches

from accounts.model import Session, SessionExpired
from handlers.connection import Desk
from handlers.errors import TooManyRequests
from handlers.limits import address_key
from handlers.old_bodies import Fields, read_json
from handlers.old_dialect import TOO_MANY, Answer, Dialect
from handlers.socket import LiveSocket
from handlers.transport import Owner, Transport
from handlers.upgrade import Door
from handlers.wire import encode
from sql.errors import DatabaseError

log = structlog.get_logger(__name__)

IDLE_S: Final = 600.0
LOOK_EVERY_S: Final = 60.0
NORMAL: Final = 1000
# Frames that wait while one is carried out; a client of the original sends one at a time.
WAITING_MAX: Final = 64

WHO_ARE_YOU: Final[Answer] = {"push": "whoareyou"}
HI: Final[Answer] = {"push": "hi"}
TIME_OUT: Final[Answer] = {"push": "timeOut"}
WRONG_QUERY: Final[Answer] = {"push": "error", "msg": "wrong query"}
WRONG_FORMAT: Final[Answer] = {"push": "error", "msg": "wrong format"}


class UpgradeOf(PathMatches):
    """Matches a path only when the request asks for a WebSocket: `/` is a page otherwise."""

    def match(self, request: HTTPServerRequest) -> dict[str, object] | None:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return None
        return super().match(request)


class OldSocket(LiveSocket):
    """Route: `Rule(UpgradeOf(r"/(?:ws)?"), OldSocket, {"desk": …, "door": …, "dialect": …})`."""

    def initialize(self, desk: Desk, door: Door, dialect: Dialect) -> None:  # type: ignore[override]
        super().initialize(desk, door)
        self.dialect = dialect

    def owner(self, transport: Transport) -> Owner:
        return OldConnection(self.desk, self.dialect, transport, address=self.address)


class OldConnection:
    """One old client: unknown until it signs in, then asks, one thing at a time."""

    __slots__ = ("_address", "_desk", "_dialect", "_heard_at", "_waiting", "session", "transport")

    def __init__(self, desk: Desk, dialect: Dialect, transport: Transport, *, address: str) -> None:
        self.session: Session | None = None
        self.transport = transport
        self._desk = desk
        self._dialect = dialect
        self._address = address
        self._heard_at = desk.now()
        self._waiting: list[bytes] | None = None
        desk.hub.clients.add(self)
        desk.pulse.after(LOOK_EVERY_S, self._look)

    def close(self, code: int, reason: str) -> None:
        self.transport.close(code, reason)

    # ------------------------------------------------------------ what the transport calls

    def on_text(self, text: bytes) -> None:
        self._heard_at = self._desk.now()
        if self._waiting is None:
            self._waiting = [text]
            self._desk.hub.clients.work(asyncio.create_task(self._work(self._waiting)))
            return
        self._waiting.append(text)
        if len(self._waiting) >= WAITING_MAX:
            self.transport.pause_reading()

    def on_drain(self) -> None:
        """Answers are small and one at a time: nothing waits for it."""

    def on_close(self, _code: int) -> None:
        self._desk.hub.clients.remove(self)

    def _look(self) -> None:
        """Once a minute, as the original did: has the client been heard within ten?"""
        if not self.transport.is_open:
            return
        if self._desk.now() - self._heard_at > IDLE_S * 1000:
            self._send(TIME_OUT, False)
            self.close(NORMAL, "idle")
        else:
            self._desk.pulse.after(LOOK_EVERY_S, self._look)

    # ------------------------------------------------------------ one frame after the other

    async def _work(self, waiting: list[bytes]) -> None:
        while waiting and self.transport.is_open:
            text = waiting.pop(0)
            is_encoded = not text.lstrip().startswith((b"{", b"["))
            self._send(await self._answer(_decoded(text, is_encoded=is_encoded)), is_encoded)
            if len(waiting) < WAITING_MAX:
                self.transport.resume_reading()
        self._waiting = None

    def _send(self, answer: Answer, is_encoded: bool) -> None:
        text = encode(answer)
        self.transport.send_text(quote(text, safe="~()*!.'").encode() if is_encoded else text)

    async def _answer(self, fields: Fields | None) -> Answer:
        """Raises nothing: an old client knows no other answer than a frame."""
        try:
            return await self._judge(fields)
        except TooManyRequests:
            return {"push": "error", **TOO_MANY}
        except DatabaseError:
            return {"push": "error", "queryErr": "Server Busy", "msg": "server busy"}
        except Exception:
            # One of the doors: our own mistake must not end the client's connection.
            log.exception("frame failed")
            return {"push": "error", "queryErr": "Server Error", "msg": "server error"}

    async def _judge(self, fields: Fields | None) -> Answer:
        query = fields.text("query") if fields is not None else ""
        if fields is not None and query == "login":
            return await self._login(fields)
        if self.session is None:
            self._count_stranger()
            return WHO_ARE_YOU
        if fields is None or not query:
            return WRONG_FORMAT
        if query == "hello":
            return HI
        if not self._dialect.knows(query):
            return WRONG_QUERY
        return {"push": query, **await self._carry_out(query, fields)}

    async def _carry_out(self, query: str, fields: Fields) -> Answer:
        if fields.text("sessionKey"):
            return await self._dialect.answer(fields, address=self._address)
        session = self.session
        assert session is not None
        still = self._desk.still_valid(session)
        if not (still if isinstance(still, bool) else await still):
            return {"queryErr": "Session Time Out"}
        return await self._dialect.carry_out(query, fields, session)

    async def _login(self, fields: Fields) -> Answer:
        """With a code as over HTTP, or with the key that was given there."""
        if fields.text("code") or not fields.text("sessionKey"):
            answer = await self._dialect.answer(fields, address=self._address)
        else:
            answer = {"loginSuccess": "success", "sessionKey": fields.text("sessionKey")}
        session = await self._session(str(answer.get("sessionKey", "")))
        if session is None and answer.get("loginSuccess") == "success":
            answer = {"loginSuccess": "fail", "failMsg": "Login Error"}
        if session is not None and self.session is None:
            self.session = session
            self._desk.hub.clients.sign_in(self, session)
        return {"push": "login", "state": answer.get("loginSuccess", "fail"), **answer}

    async def _session(self, key: str) -> Session | None:
        if not key:
            return None
        try:
            found = self._desk.authenticate(key)
            return found if isinstance(found, Session) else await found
        except SessionExpired:
            return None

    def _count_stranger(self) -> None:
        limits = self._desk.limits
        if limits.enabled:
            wait_s = limits.address.allow(address_key(self._address), self._desk.now())
            if wait_s:
                raise TooManyRequests(wait_s)


def _decoded(text: bytes, *, is_encoded: bool) -> Fields | None:
    """The fields of a frame, None when it is no JSON object."""
    if is_encoded:
        try:
            text = unquote(text.decode(), errors="strict").encode()
        except UnicodeError:
            return None
    return read_json(text)
