"""An inbox behind a real socket, somebody who sends callbacks, and a handler that takes notes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from sqlalchemy import func, select
from tornado.netutil import bind_sockets

from accounts.model import SessionExpired
from devices.inbox.model import InboxRow, Quarantine
from devices.inbox.service import Inbox
from devices.vendors.port import CabinetVendor, Event
from devices.vendors.xiaomai import Xiaomai
from devices.vendors.xiaomai.signing import Key
from handlers import callbacks
from handlers.http import Front, http_server
from handlers.limits import Limits
from handlers.request import Edge
from handlers.routing import Table
from sql.alerts import record_incident
from sql.database import Database, Tx
from sql.tables.devices import callback_inbox, callback_nonces
from sql.tables.payments import incidents
from tests.clock import Clock
from tests.devices.vendors import speech

NOTE = "test.note"


class Notes:
    """What events mean here: a row each, in the order in which they were handled."""

    def __init__(self) -> None:
        # Of an event with this id: how it fails, and how often yet.
        self.failures: dict[str, Exception] = {}
        self.strangers: set[str] = set()
        self.handled = 0

    def handle(self, tx: Tx, row: InboxRow, event: Event) -> None:
        self.handled += 1
        assert (row.event_id, row.event_type) == (event.event_id, type(event).__name__)
        record_incident(tx, NOTE, event.device_code, f"{event.seq}", msgspec.json.encode(event))
        if event.event_id in self.failures:
            raise self.failures[event.event_id]
        if event.device_code in self.strangers:
            raise Quarantine("nobody knows this device")


class Answered(msgspec.Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Line:
    """A connection that is kept, and what is sent on it one after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        lines = {"Host": "ours", "Content-Length": str(len(body)), **headers}
        head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items())
        self._writer.write(head.encode() + b"\r\n" + body)
        head_in = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        status, *rest = head_in.rstrip().split("\r\n")
        fields = {line.partition(": ")[0]: line.partition(": ")[2] for line in rest}
        answer = await self._reader.readexactly(int(fields["Content-Length"]))
        return Answered(int(status.split(" ")[1]), fields, answer)

    def hang_up(self) -> None:
        self._writer.close()


class Post:
    """An inbox for Xiaomai (and other vendors), reached over HTTP."""

    def __init__(self, db: Database, clock: Clock, *vendors: CabinetVendor) -> None:
        self.db = db
        self.clock = clock
        self.notes = Notes()
        self.xiaomai = Xiaomai(
            "http://127.0.0.1:9",
            Key(speech.APP_ID, "k1", "of requests"),
            endpoints={speech.ENDPOINT: [speech.SECRET, speech.OLD_SECRET]},
            now=clock.now,
        )
        self.vendors: dict[str, CabinetVendor] = {
            vendor.code: vendor for vendor in (self.xiaomai, *vendors)
        }
        self.inbox = self.open_inbox(db)
        self.port = 0
        self.lines: list[Line] = []

    def open_inbox(self, db: Database) -> Inbox:
        return Inbox(db, self.vendors, self.notes.handle, pull="orders")

    async def line(self) -> Line:
        line = Line(*await asyncio.open_connection("127.0.0.1", self.port))
        self.lines.append(line)
        return line

    async def send(
        self,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        path: str = speech.PATH,
        query: str = "",
    ) -> Answered:
        """On a new connection; signed as it should be unless headers are given."""
        line = await self.line()
        if headers is None:
            headers = speech.headers(body, now=self.clock.now(), path=path)
        try:
            return await line.send(f"{path}?{query}" if query else path, body, headers)
        finally:
            line.hang_up()

    async def told(self, event_type: str, data: object = None, /, **common: Any) -> Answered:
        return await self.send(speech.event(event_type, data, **common))

    # ------------------------------------------------------------ what is there

    async def rows(self) -> list[Any]:
        return list(await self.db.read(_rows))

    async def states(self) -> dict[str, str]:
        """By event id."""
        return {row.event_id: row.state for row in await self.rows()}

    async def noted(self, device_code: str = "XM-1") -> list[int]:
        """The seqs of a device's events, in the order in which they were handled."""
        return [int(text) for code, text in await self.db.read(_notes) if code == device_code]

    async def nonces(self) -> int:
        return await self.db.read(_count_nonces)


def _rows(tx: Tx) -> list[Any]:
    return list(tx.execute(select(callback_inbox).order_by(callback_inbox.c.id)))


def _notes(tx: Tx) -> list[tuple[str, str]]:
    query = select(incidents.c.subject, incidents.c.text).where(incidents.c.kind == NOTE)
    return [(row.subject, row.text) for row in tx.execute(query.order_by(incidents.c.id))]


def _count_nonces(tx: Tx) -> int:
    return int(tx.execute(select(func.count()).select_from(callback_nonces)).scalar_one())


@asynccontextmanager
async def posting(
    db: Database, clock: Clock, *vendors: CabinetVendor, limits: Limits | None = None
) -> AsyncIterator[Post]:
    post = Post(db, clock, *vendors)
    table = Table(callbacks.routes(post.inbox.receive, post.vendors, now=clock.now))
    edge = Edge(
        now=clock.now,
        authenticate=_nobody,
        limits=limits or Limits(enabled=False),
        access_log=False,
    )
    front = Front(table, edge)
    server = http_server(front)
    sockets = bind_sockets(0, "127.0.0.1", backlog=512)
    server.add_sockets(sockets)
    post.port = sockets[0].getsockname()[1]
    try:
        yield post
    finally:
        for line in post.lines:
            line.hang_up()
        server.stop()
        await front.drain(5)
        await server.close_all_connections()
        for vendor in post.vendors.values():
            await vendor.close()


def _nobody(_: str) -> Any:
    raise SessionExpired
