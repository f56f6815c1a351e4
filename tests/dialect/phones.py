"""Old clients: the same query in each of the wrappings that it may come in."""

import asyncio
import base64
import json
import os
from collections.abc import Mapping
from typing import Any, Protocol, Self
from urllib.parse import quote, unquote

import httpx

from handlers.framing import TEXT, control_frame, text_frame
from tests.handlers.live import PATIENCE_S, Closed, masked

Fields = Mapping[str, Any]
Answer = dict[str, Any]


class Phone(Protocol):
    """One old client, with its own connection where there is one."""

    async def ask(self, fields: Fields) -> Answer: ...

    async def close(self) -> None: ...


def as_texts(fields: Fields) -> dict[str, str]:
    """The fields as wx.request writes them into a form."""
    return {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in fields.items()
    }


class Posts:
    """One POST a query. kind: "form", "multipart" or "json"."""

    def __init__(self, port: int, kind: str) -> None:
        self.kind = kind
        self._http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_S
        )

    async def ask(self, fields: Fields) -> Answer:
        if self.kind == "json":
            response = await self._http.post("/", json=dict(fields))
        elif self.kind == "form":
            response = await self._http.post("/?", data=as_texts(fields))
        else:
            parts = {name: (None, text) for name, text in as_texts(fields).items()}
            response = await self._http.post("/", files=parts or {"nothing": (None, "")})
        return self._read(response)

    async def post(self, fields: Fields) -> httpx.Response:
        """A form, and whatever is answered."""
        return await self._http.post("/", data=as_texts(fields))

    async def upload(self, fields: Fields, picture: bytes, *, name: str = "sellerImage") -> Answer:
        """As wx.uploadFile sends a picture."""
        files = {name: ("photo.png", picture, "image/png")}
        return self._read(await self._http.post("/", data=as_texts(fields), files=files))

    async def send(self, body: bytes, media_type: str) -> Answer:
        """A body of any kind."""
        headers = {"Content-Type": media_type}
        return self._read(await self._http.post("/", content=body, headers=headers))

    async def get(self, path: str) -> httpx.Response:
        return await self._http.get(path)

    async def close(self) -> None:
        await self._http.aclose()

    def _read(self, response: httpx.Response) -> Answer:
        assert response.status_code == 200, response
        assert response.headers["Content-Type"] == "application/json"
        answer = response.json()
        assert isinstance(answer, dict)
        return answer


class Frames:
    """A WebSocket. is_plain: frames are JSON as it is, otherwise URL-encoded."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_plain: bool
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.is_plain = is_plain

    @classmethod
    async def connect(cls, port: int, *, path: str = "/ws", is_plain: bool = True) -> Self:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "\r\n".encode()
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        assert head.startswith(b"HTTP/1.1 101"), head
        return cls(reader, writer, is_plain=is_plain)

    async def ask(self, fields: Fields) -> Answer:
        """The answer to a query, without the envelope it comes in."""
        query = fields.get("query", "")
        answer = await self.exchange(fields)
        push = answer.pop("push")
        if push == "login":
            assert answer.pop("state") == answer.get("loginSuccess", "fail")
        assert push == query, (push, fields, answer)
        return answer

    async def exchange(self, fields: Fields) -> Answer:
        text = json.dumps(fields, ensure_ascii=False)
        self.send(text if self.is_plain else encoded(text))
        return self.read(await self.text())

    def read(self, text: str) -> Answer:
        """A frame of the server: in the form of the client's own."""
        assert text.startswith("{" if self.is_plain else "%7B"), text
        assert self.is_plain or not set('+ {}"') & set(text), text
        answer = json.loads(text if self.is_plain else unquote(text, errors="strict"))
        assert isinstance(answer, dict)
        return answer

    def send(self, text: str) -> None:
        self.send_frame(text_frame(text.encode()))

    def send_frame(self, frame: bytes) -> None:
        self._writer.write(masked(frame))

    async def text(self) -> str:
        """The next text of the server; pings are answered. Raises Closed."""
        while True:
            opcode, payload = await self.frame()
            if opcode == TEXT:
                return payload.decode()
            if opcode == 8:
                raise Closed(int.from_bytes(payload[:2], "big"))
            if opcode == 9:
                self.send_frame(control_frame(10, payload))

    async def frame(self) -> tuple[int, bytes]:
        async with asyncio.timeout(PATIENCE_S):
            try:
                first, size = await self._reader.readexactly(2)
                if size >= 126:
                    wide = await self._reader.readexactly(2 if size == 126 else 8)
                    size = int.from_bytes(wide, "big")
                return first & 15, await self._reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionResetError):
                raise Closed(1006) from None

    async def is_alive(self) -> None:
        """Show the server that this end is there, by a ping, which is no frame of the dialect."""
        self.send_frame(control_frame(9, b"here"))
        opcode, payload = 0, b""
        while (opcode, payload) != (10, b"here"):
            opcode, payload = await self.frame()
            if opcode == 8:
                raise Closed(int.from_bytes(payload[:2], "big"))

    async def close(self) -> None:
        self._writer.transport.abort()


def encoded(text: str) -> str:
    """encodeURIComponent."""
    return quote(text, safe="~()*!.'")
