"""A live server for the tests of the socket: real sockets, and a record of events in memory."""

import asyncio
import base64
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Self, cast

import msgspec
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

from accounts.model import Session, SessionExpired
from handlers.connection import Command, Connection, Desk
from handlers.errors import REFUSALS
from handlers.framing import TEXT, close_frame, text_frame, unmasked
from handlers.hub import Hub
from handlers.limits import Limits
from handlers.pulse import Pulse
from handlers.socket import LiveSocket
from handlers.topics import Topic
from handlers.transport import Bounds, Counters
from handlers.upgrade import Door
from sql.events import Event, Head
from tests.clock import Clock

# A test that waits longer than this for something has failed.
PATIENCE_S = 20.0

NOTE = "no coriander, for Wang"


class Record:
    """Streams as the database has them; `tell` is called with what was appended, like after a
    commit."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.epoch = "e1"
        self.events: dict[str, list[Event]] = {}
        self.queries = 0
        # What a test wants to happen while the database is being read.
        self.meanwhile: Callable[[], None] = lambda: None

    def write(
        self,
        stream: str,
        name: str = "ticket.called",
        *,
        subject: int = 0,
        staff_only: bool = False,
    ) -> Event:
        """Append an event without telling anybody (another process did it)."""
        lines = self.events.setdefault(stream, [])
        seq = len(lines) + 1
        data = b"" if staff_only else b'{"number":%d}' % (seq % 99)
        private = b'{"number":%d,"note":"%b"}' % (seq % 99, NOTE.encode())
        event = Event(stream, self.epoch, seq, name, self.clock.now(), subject, data, private)
        lines.append(event)
        return event

    def restore(self) -> None:
        """The history is another one from now on."""
        self.epoch = "e2"
        self.events = {
            stream: [msgspec.structs.replace(event, epoch="e2") for event in events]
            for stream, events in self.events.items()
        }

    def head(self, stream: str) -> Head:
        return Head(1, stream, self.epoch, len(self.events.get(stream, [])))

    async def missed(
        self, stream: str, after: int, most: int, subject: int
    ) -> tuple[Head | None, list[Event]]:
        self.queries += 1
        head = self.head(stream)
        found = [
            event
            for event in self.events.get(stream, [])[after : after + most]
            if subject in {0, event.subject}
        ]
        await asyncio.sleep(0)
        self.meanwhile()
        await asyncio.sleep(0)
        return (head if stream in self.events else None), found

    async def snapshot(self, topic: Topic, _: Session | None) -> tuple[Head, dict[str, Any]]:
        self.queries += 1
        head = self.head(topic.stream)
        await asyncio.sleep(0)
        self.meanwhile()
        await asyncio.sleep(0)
        return head, {"of": topic.name}


class Echo(msgspec.Struct):
    text: str
    wait: bool = False


class Closed(Exception):
    """The server said goodbye (or hung up: 1006)."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Client:
    """A WebSocket client that can do everything wrong."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._next_id = 0
        # Frames that came while something else was waited for.
        self.events: list[dict[str, Any]] = []

    @classmethod
    async def connect(
        cls,
        port: int,
        *,
        path: str = "/api/v1/ws",
        early: bytes = b"",
        receive_buffer: int = 0,
        tls: ssl.SSLContext | None = None,
        **headers: Any,
    ) -> Self:
        status, client = await cls.knock(
            port, path=path, early=early, receive_buffer=receive_buffer, tls=tls, **headers
        )
        assert status == 101, status
        return client

    @classmethod
    async def knock(
        cls,
        port: int,
        *,
        path: str = "/api/v1/ws",
        early: bytes = b"",
        receive_buffer: int = 0,
        tls: ssl.SSLContext | None = None,
        **headers: Any,
    ) -> tuple[int, Self]:
        own = socket.socket()
        own.setblocking(False)
        if receive_buffer:
            # Before it connects, or the window is announced already.
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(
            sock=own, limit=2**20, ssl=tls, server_hostname="127.0.0.1" if tls else None
        )
        sent = {
            "Host": f"127.0.0.1:{port}",
            "Upgrade": "websocket",
            "Connection": "keep-alive, Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if value)
        writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode() + early)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        return int(head.split()[1]), cls(reader, writer)

    # ------------------------------------------------------------ frames

    def send_bytes(self, data: bytes) -> None:
        self.writer.write(data)

    def send_frame(self, frame: bytes) -> None:
        """A frame as a server would build it, masked."""
        self.writer.write(masked(frame))

    def send(self, **fields: Any) -> None:
        self.send_frame(text_frame(msgspec.json.encode(fields)))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame of the server: opcode and payload."""
        return await asyncio.wait_for(self._frame(), PATIENCE_S)

    async def _frame(self) -> tuple[int, bytes]:
        try:
            first, size = await self._reader.readexactly(2)
            if size >= 126:
                wide = await self._reader.readexactly(2 if size == 126 else 8)
                size = int.from_bytes(wide, "big")
            return first & 15, await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            raise Closed(1006) from None

    async def message(self) -> dict[str, Any]:
        """The next JSON message, or Closed."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                raise Closed(int.from_bytes(payload[:2], "big"))
            if opcode == TEXT:
                decoded: dict[str, Any] = msgspec.json.decode(payload)
                return decoded

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events that come first are kept."""
        self._next_id += 1
        self.send(id=self._next_id, type=kind, **fields)
        while True:
            message = await self.message()
            if message.get("id") == self._next_id:
                return message
            self.events.append(message)

    async def event(self) -> dict[str, Any]:
        if self.events:
            return self.events.pop(0)
        return await self.message()

    async def close_code(self) -> int:
        """Read on until the server closes; events that come first are kept."""
        try:
            while True:
                self.events.append(await self.message())
        except Closed as closed:
            return closed.code

    async def sign_in(self, token: str = "7") -> Self:
        assert (await self.message())["type"] == "hello"
        answer = await self.ask("auth", token=token)
        assert answer["ok"], answer
        return self

    async def as_board(self) -> Self:
        assert (await self.message())["type"] == "hello"
        assert (await self.ask("auth", board=True))["ok"]
        return self

    async def listen(self, topic: str, since: tuple[str, int] | None = None) -> dict[str, Any]:
        fields: dict[str, Any] = {"topic": topic}
        if since is not None:
            fields["since"] = {"epoch": since[0], "seq": since[1]}
        answer = await self.ask("subscribe", **fields)
        assert answer["ok"], answer
        data: dict[str, Any] = answer["data"]
        return data

    def stop_reading(self) -> None:
        cast("asyncio.ReadTransport", self.writer.transport).pause_reading()

    def read_again(self) -> None:
        cast("asyncio.ReadTransport", self.writer.transport).resume_reading()

    def hang_up(self) -> None:
        self.writer.transport.abort()

    async def leave(self) -> None:
        """Close as a browser does."""
        self.send_frame(close_frame(1000))
        assert await self.close_code() == 1000
        self.writer.close()


def masked(frame: bytes, mask: bytes = b"\x37\xfa\x21\x3d") -> bytes:
    start = 2 + {126: 2, 127: 8}.get(frame[1], 0)
    head = bytes([frame[0], frame[1] | 0x80]) + frame[2:start]
    return head + mask + unmasked(frame[start:], mask)


class Live:
    """The server of a test. Tokens are account ids; session id = 100 + account id."""

    def __init__(
        self,
        clock: Clock,
        *,
        is_lean: bool,
        bounds: Bounds | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.clock = clock
        self.record = Record(clock)
        self.pulse = Pulse()
        self.counters = Counters()
        self.hub = Hub(
            missed=self.record.missed,
            snapshot=self.record.snapshot,
            now=clock.now,
            counters=self.counters,
        )
        self.limits = Limits(enabled=False)
        self.ended: set[int] = set()
        self.acknowledged: list[tuple[int, str, int]] = []
        self.begun: list[str] = []
        self.done: list[str] = []
        self.gate = asyncio.Event()
        self.door = Door(
            self.pulse,
            base_url="http://127.0.0.1:8000",
            origins=["https://h5.example.org"],
            bounds=bounds,
            counters=self.counters,
            is_lean=is_lean,
        )
        self.desk = Desk(
            hub=self.hub,
            pulse=self.pulse,
            now=clock.now,
            authenticate=self.authenticate,
            still_valid=lambda session: session.id not in self.ended,
            may_listen=self.may_listen,
            acknowledge=self.acknowledge,
            commands=[Command("echo", Echo, self.echo), Command("fail", Echo, self.fail)],
            limits=self.limits,
            refusals=REFUSALS.also({SessionExpired: 401}),
        )
        handlers = [(r"/api/v1/ws", LiveSocket, {"desk": self.desk, "door": self.door})]
        self._server = HTTPServer(
            Application(handlers, log_function=lambda _: None), ssl_options=tls
        )
        listening, self.port = bind_unused_port()
        self._server.add_sockets([listening])
        self._clients: list[Client] = []

    # ------------------------------------------------------------ what the domain would do

    async def authenticate(self, token: str) -> Session:
        await asyncio.sleep(0)
        self.record.meanwhile()
        if not token.isdecimal() or int(token) + 100 in self.ended:
            raise SessionExpired("no such session")
        roles = frozenset({"diner", "seller"})
        return Session(int(token) + 100, int(token), roles, "diner", self.clock.now() + 3_600_000)

    async def may_listen(self, session: Session | None, topic: Topic) -> bool:
        await asyncio.sleep(0)
        if topic.stream == "stall:404":
            return False
        return session is None or not topic.name.endswith(":staff") or "seller" in session.roles

    async def acknowledge(self, session: Session, topic: Topic, seq: int) -> None:
        self.acknowledged.append((session.account_id, topic.name, seq))

    async def echo(self, session: Session, message: Echo) -> object:
        self.begun.append(message.text)
        if message.wait:
            await self.gate.wait()
        self.done.append(message.text)
        return {"text": message.text, "account_id": session.account_id}

    async def fail(self, session: Session, message: Echo) -> object:
        raise ValueError(message.text)

    # ------------------------------------------------------------ what a test does

    def connections(self) -> list[Connection]:
        return [client for client in self.hub.clients if isinstance(client, Connection)]

    def happen(self, stream: str, name: str = "ticket.called", **more: Any) -> Event:
        """Something was committed here, and told."""
        event = self.record.write(stream, name, **more)
        self.hub.tell([event])
        return event

    async def connect(self, **more: Any) -> Client:
        client = await Client.connect(self.port, **more)
        self._clients.append(client)
        return client

    async def diner(self, token: str = "7", **more: Any) -> Client:
        return await (await self.connect(**more)).sign_in(token)

    async def board(self, **more: Any) -> Client:
        return await (await self.connect(**more)).as_board()

    async def stop(self) -> None:
        self.gate.set()
        self.hub.close()
        assert await self.hub.clients.finish_work(PATIENCE_S)
        for client in self._clients:
            client.hang_up()
        self._server.stop()
        await self._server.close_all_connections()
        # Whoever did not answer the goodbye is cut off.
        self.pulse.beat(int(self.door.bounds.close_wait_s) + 1)
        for client in self._clients:
            await until(client.writer.transport.is_closing)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop work until the condition holds."""

    loop = asyncio.get_running_loop()
    latest = loop.time() + PATIENCE_S
    while not condition():
        assert loop.time() < latest, "this never came true"
        await asyncio.sleep(0)
