"""From an HTTP request to a WebSocket: what is asked of the handshake, and the 101."""

import asyncio
import base64
import binascii
import hashlib
import socket
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import urlsplit

from tornado.httputil import HTTPHeaders
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError
from tornado.web import RequestHandler

from handlers.errors import Problem
from handlers.lean import SocketTransport
from handlers.pulse import Pulse
from handlers.stream import StreamTransport
from handlers.transport import Bounds, Counters, Owner, Transport

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# What the kernel keeps for a client that does not read, besides our own bound (it doubles the
# figure for its book-keeping). Left alone it would grow to 4 MB for each of them.
KERNEL_BUFFER: Final = 64 * 1024


class Door:
    """Who may come in, and on what terms; one for all WebSocket routes of a process.

    base_url: pages of this host may connect, and those of `origins` ("https://h5.example.org").
    A request without Origin comes from no browser (the mini-program sends none) and may too.
    """

    def __init__(
        self,
        pulse: Pulse,
        *,
        base_url: str,
        origins: Iterable[str] = (),
        bounds: Bounds | None = None,
        counters: Counters | None = None,
        connections_max: int = 15_000,
        is_lean: bool = True,
    ) -> None:
        self.pulse = pulse
        self.bounds = bounds or Bounds()
        self.counters = counters or Counters()
        self.connections_max = connections_max
        self.is_lean = is_lean
        self._host = urlsplit(base_url).hostname
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    def is_from_here(self, origin: str | None) -> bool:
        if origin is None or origin.rstrip("/").lower() in self._origins:
            return True
        try:
            host = urlsplit(origin).hostname
        except ValueError:
            return False
        return host is not None and host == self._host

    def refusal(self, headers: HTTPHeaders, connections: int) -> Problem | None:
        """Why this handshake is not accepted (RFC 6455 section 4.2.1), or None."""
        if headers.get("Upgrade", "").lower() != "websocket" or "upgrade" not in _tokens(
            headers.get("Connection", "")
        ):
            return Problem(400, "socket.no_upgrade", "This address speaks WebSocket only.")
        if headers.get("Sec-WebSocket-Version") != "13":
            wanted = {"Sec-WebSocket-Version": "13"}
            return Problem(426, "socket.version", "WebSocket version 13.", headers=wanted)
        if not _is_key(headers.get("Sec-WebSocket-Key", "")):
            return Problem(400, "socket.key", "Sec-WebSocket-Key is not 16 bytes in base64.")
        if not self.is_from_here(headers.get("Origin")):
            return Problem(403, "socket.origin", "Pages of this origin may not connect.")
        if connections >= self.connections_max:
            retry = {"Retry-After": "5"}
            return Problem(503, "socket.full", "Too many connections here.", headers=retry)
        return None


async def upgrade(
    handler: RequestHandler,
    door: Door,
    owner: Callable[[Transport], Owner],
    *,
    connections: int = 0,
) -> None:
    """Answer 101 and leave HTTP; the owner has the connection from then on.

    Raises Problem when the handshake is not accepted; nothing has been answered then.
    """
    headers = handler.request.headers
    refusal = door.refusal(headers, connections)
    if refusal is not None:
        raise refusal
    handler.set_status(101)
    handler.clear_header("Content-Type")
    handler.set_header("Upgrade", "websocket")
    handler.set_header("Connection", "Upgrade")
    handler.set_header("Sec-WebSocket-Accept", _accept(headers["Sec-WebSocket-Key"]))
    finished = handler.finish()
    stream = handler.detach()
    # Nobody waits for the 101 itself: when the client is gone, the reader finds out.
    finished.add_done_callback(lambda future: future.cancelled() or future.exception())
    transport, early = await _transport(stream, door)
    if transport is not None:
        transport.open(owner(transport), early)


async def _transport(stream: IOStream, door: Door) -> tuple[Transport | None, bytes]:
    """The transport, and what was received already; None if the client has hung up."""
    if stream.closed():
        return None, b""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
    if not door.is_lean or isinstance(stream, SSLIOStream):
        return StreamTransport(stream, door.pulse, door.bounds, door.counters), b""
    try:
        # Behind this the 101 has left, also when the socket would not take it at once.
        await stream.write(b"")
        # All that was read behind the request must come along. A read that finds nothing took
        # nothing from the socket either, and ends with the stream.
        ahead = asyncio.ensure_future(stream.read_bytes(stream.max_buffer_size, partial=True))
        early = ahead.result() if ahead.done() else b""
    except StreamClosedError:
        return None, b""
    connected = stream.socket.dup()
    stream.close()
    return SocketTransport(connected, door.pulse, door.bounds, door.counters), early


def _tokens(header: str) -> set[str]:
    return {token.strip().lower() for token in header.split(",")}


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _accept(key: str) -> str:
    # SHA-1 is what the protocol asks for; nothing is secret here.
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()
