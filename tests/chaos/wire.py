"""The bytes of a WebSocket client: enough of RFC 6455 to be an honest one, or to vanish."""

import asyncio
import base64
import os
import socket
from typing import Self

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
ABNORMAL = 1006


class NotUpgraded(Exception):
    """The server did not want to speak, or was not there."""


class Wire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.close_code: int | None = None

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int = 0) -> Self:
        """Raises NotUpgraded."""
        own = socket.socket()
        own.setblocking(False)
        if receive_buffer:
            # Before it connects, or the window is announced already.
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", port))
            reader, writer = await asyncio.open_connection(sock=own, limit=2**20)
        except OSError as error:
            own.close()
            raise NotUpgraded(str(error)) from error
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /api/v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "\r\n".encode()
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError) as error:
            writer.transport.abort()
            raise NotUpgraded(str(error)) from error
        if not head.startswith(b"HTTP/1.1 101"):
            writer.transport.abort()
            raise NotUpgraded(head.decode())
        return cls(reader, writer)

    def send(self, text: bytes) -> None:
        self._send(TEXT, text)

    def say_goodbye(self) -> None:
        self._send(CLOSE, (1000).to_bytes(2, "big"))

    def vanish(self) -> None:
        """Without a close frame."""
        self.writer.transport.abort()

    async def text(self) -> bytes | None:
        """The next text frame; None at the end, when close_code says which."""
        while True:
            try:
                opcode, payload = await self._frame()
            except (asyncio.IncompleteReadError, OSError):
                self.close_code = self.close_code or ABNORMAL
                self.vanish()
                return None
            if opcode == TEXT:
                return payload
            if opcode == PING:
                self._send(PONG, payload)
            elif opcode == CLOSE:
                self.close_code = int.from_bytes(payload[:2], "big") or ABNORMAL
                self._send(CLOSE, payload[:2])
                self.writer.close()
                return None

    async def _frame(self) -> tuple[int, bytes]:
        first, size = await self._reader.readexactly(2)
        if size >= 126:
            wide = await self._reader.readexactly(2 if size == 126 else 8)
            size = int.from_bytes(wide, "big")
        return first & 15, await self._reader.readexactly(size)

    def _send(self, opcode: int, payload: bytes) -> None:
        """Masked with zeros, which leaves the payload as it is."""
        size = len(payload)
        head = bytes([0x80 | opcode, 0x80 | min(size, 126)])
        if size >= 126:
            head += size.to_bytes(2, "big")
        self.writer.write(head + bytes(4) + payload)
