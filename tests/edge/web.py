"""An HTTP client that sends exactly what it is told, and says what came back."""

import asyncio
from collections.abc import Iterable
from typing import Any, Self

import msgspec

# An answer that takes longer than this is not one.
PATIENCE_S = 20.0

Headers = Iterable[tuple[str, str]]


class HungUp(Exception):
    """The server closed the connection without an answer."""


class Answer(msgspec.Struct, frozen=True):
    """headers: names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    def header(self, name: str) -> str:
        return next((value for each, value in self.headers if each == name), "")

    @property
    def is_last(self) -> bool:
        return self.header("connection") == "close"


class Web:
    """One connection after another to one server; kept as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.connections = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def ask(
        self, method: str, target: str, body: object = None, headers: Headers = (), token: str = ""
    ) -> Answer:
        """body: bytes as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes) else b""
        lines = [("Host", "callme"), *headers]
        if body is not None and not isinstance(body, bytes):
            raw = msgspec.json.encode(body)
            lines.append(("Content-Type", "application/json"))
        if token:
            lines.append(("Authorization", f"Bearer {token}"))
        if raw or method not in {"GET", "HEAD", "OPTIONS", "DELETE"}:
            lines.append(("Content-Length", str(len(raw))))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        request = f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + raw
        return await self.send(request, has_body=method != "HEAD")

    async def send(self, request: bytes, *, has_body: bool = True) -> Answer:
        """Raises HungUp. Sent once more on a new connection when the old one was closed unasked."""
        is_fresh = self._writer is None
        try:
            return await asyncio.wait_for(self._exchange(request, has_body), PATIENCE_S)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.hang_up()
            if is_fresh:
                raise HungUp from error
        return await self.send(request, has_body=has_body)

    async def _exchange(self, request: bytes, has_body: bool) -> Answer:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", self._port, limit=2**21
            )
            self.connections += 1
        self._writer.write(request)
        answer = await self._read(self._reader, has_body)
        while answer.status == 100:
            answer = await self._read(self._reader, has_body)
        if answer.is_last:
            self.hang_up()
        return answer

    async def _read(self, reader: asyncio.StreamReader, has_body: bool) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.rstrip("\r\n").split("\r\n")
        headers = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
        answer = Answer(int(status_line.split(" ")[1]), headers, b"")
        size = int(answer.header("content-length") or 0)
        if not has_body or answer.status in {100, 204, 304}:
            return answer
        if answer.header("transfer-encoding") == "chunked":
            return msgspec.structs.replace(answer, body=await _chunks(reader))
        return msgspec.structs.replace(answer, body=await reader.readexactly(size))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body
