"""The old dialect as WebSocket frames: `{"query": …}` in, `{"push": …}` out.

A frame is JSON, plain or URL-encoded as encodeURIComponent does; it is answered in kind, with
blanks as %20 (the original wrote "+", which its own clients could not read).
"""

import asyncio
from typing import Final
from urllib.parse import quote, unquote_plus

import structlog
from tornado.httputil import HTTPServerRequest
from tornado.routing import PathMatches

from accounts.model import Session, SessionExpired
from handlers.clients import NOT_SIGNED_IN
from handlers.connection import Desk
from handlers.errors import TooManyRequests
from handlers.limits import address_key
from handlers.old_bodies import Fields, read_json
from handlers.old_dialect import TIME_OUT, TOO_MANY, Answer, Dialect
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
IDLE: Final[Answer] = {"push": "timeOut"}
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
    """One old client: unknown until it signs in, then asks, one thing at a time.

    session: None before the login, and again when the session has ended; has_been_in tells
    the two apart. The client knows no close codes: it is told so at its next question.
    """

    __slots__ = (
        "_address", "_desk", "_dialect", "_has_been_in", "_heard_at", "_is_encoded", "_retired",
        "_waiting", "session", "transport",
    )  # fmt: skip

    def __init__(self, desk: Desk, dialect: Dialect, transport: Transport, *, address: str) -> None:
        self.session: Session | None = None
        self.transport = transport
        self._desk = desk
        self._dialect = dialect
        self._address = address
        self._has_been_in = False
        self._heard_at = desk.now()
        # Whether the last frame was URL-encoded.
        self._is_encoded = True
        self._waiting: list[bytes] | None = None
        self._retired: tuple[int, str] | None = None
        desk.hub.clients.add(self)
        desk.pulse.after(LOOK_EVERY_S, self._look)

    def close(self, code: int, reason: str) -> None:
        if code == NOT_SIGNED_IN:
            self._be(None)
        else:
            self.transport.close(code, reason)

    def retire(self, code: int, reason: str) -> None:
        """Close behind the answer to the query in hand; begin no other."""
        if self._waiting is None:
            self.close(code, reason)
        else:
            self._waiting.clear()
            self._retired = (code, reason)

    # ------------------------------------------------------------ what the transport calls

    def on_text(self, text: bytes) -> None:
        self._heard_at = self._desk.now()
        if self._retired is not None:
            return
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
            self._send(IDLE)
            self.close(NORMAL, "idle")
        else:
            self._desk.pulse.after(LOOK_EVERY_S, self._look)

    # ------------------------------------------------------------ one frame after the other

    async def _work(self, waiting: list[bytes]) -> None:
        while waiting and self.transport.is_open:
            text = waiting.pop(0)
            self._is_encoded = not text.lstrip().startswith((b"{", b"["))
            self._send(await self._answer(_decoded(text, is_encoded=self._is_encoded)))
            if len(waiting) < WAITING_MAX:
                self.transport.resume_reading()
        self._waiting = None
        if self._retired is not None:
            self.close(*self._retired)

    def _send(self, answer: Answer) -> None:
        text = encode(answer)
        if self._is_encoded:
            text = quote(text, safe="~()*!.'").encode()
        self.transport.send_text(text)

    async def _answer(self, fields: Fields | None) -> Answer:
        """Raises nothing: an old client knows no other answer than a frame."""
        try:
            return await self._judge(fields)
        except TooManyRequests:
            return {"push": "error", "msg": "too many requests", **TOO_MANY}
        except DatabaseError:
            return {"push": "error", "msg": "server busy", "queryErr": "Server Busy"}
        except Exception:
            # One of the doors: our own mistake must not end the client's connection.
            log.exception("frame failed")
            return {"push": "error", "msg": "server error", "queryErr": "Server Error"}

    async def _judge(self, fields: Fields | None) -> Answer:
        query = fields.text("query") if fields is not None else ""
        if fields is not None and query == "login":
            return await self._login(fields)
        if not self._has_been_in:
            self._count_stranger()
            return WHO_ARE_YOU
        if fields is not None and self._dialect.knows(query):
            return {"push": query, **await self._carry_out(query, fields)}
        self._count()
        if query == "hello":
            return HI
        return WRONG_QUERY if query else WRONG_FORMAT

    async def _carry_out(self, query: str, fields: Fields) -> Answer:
        if fields.text("sessionKey"):
            return await self._dialect.answer(fields, address=self._address)
        if self.session is None:
            return TIME_OUT
        session, still = self.session, self._desk.still_valid(self.session)
        if not (still if isinstance(still, bool) else await still):
            return TIME_OUT
        return await self._dialect.carry_out(query, fields, session)

    # ------------------------------------------------------------ who it is

    async def _login(self, fields: Fields) -> Answer:
        """With a code as over HTTP, or with the key that was given there; also once more."""
        if fields.text("code") or not fields.text("sessionKey"):
            answer = await self._dialect.answer(fields, address=self._address)
            session = await self._session(str(answer.get("sessionKey", "")))
        else:
            self._count_stranger()
            key = fields.text("sessionKey")
            session = await self._session(key)
            answer = {"loginSuccess": "success", "sessionKey": key}
            if session is None:
                answer = {"loginSuccess": "fail", "failMsg": "Login Error", **TIME_OUT}
        if session is not None:
            self._be(session)
        return {"push": "login", "state": answer.get("loginSuccess", "fail"), **answer}

    def _be(self, session: Session | None) -> None:
        """Be counted for this session from now on. A client that has left is not counted."""
        clients = self._desk.hub.clients
        clients.remove(self)
        self.session = session
        if not self.transport.is_open:
            return
        clients.add(self)
        if session is not None:
            self._has_been_in = True
            clients.sign_in(self, session)

    async def _session(self, key: str) -> Session | None:
        if not key:
            return None
        try:
            found = self._desk.authenticate(key)
            return found if isinstance(found, Session) else await found
        except SessionExpired:
            return None

    # ------------------------------------------------------------ how often

    def _count(self) -> None:
        """Raises TooManyRequests."""
        if self.session is None:
            self._count_stranger()
        else:
            self._dialect.count(self.session)

    def _count_stranger(self) -> None:
        """Raises TooManyRequests."""
        limits = self._desk.limits
        if limits.enabled:
            wait_s = limits.address.allow(address_key(self._address), self._desk.now())
            if wait_s:
                raise TooManyRequests(wait_s)


def _decoded(text: bytes, *, is_encoded: bool) -> Fields | None:
    """The fields of a frame, None when it is no JSON object. A plus is a blank, as it was to the
    original: encodeURIComponent writes one of its own as %2B."""
    if is_encoded:
        try:
            text = unquote_plus(text.decode(), errors="strict").encode()
        except UnicodeError:
            return None
    return read_json(text)
