"""A transport over the bare socket: Tornado did HTTP and the 101, from here on it is not needed.

A connection that is idle costs its socket, a reader in the loop and this object, and no task;
a frame that was built once goes straight to the socket. Needs a loop that watches file
descriptors (`add_reader`: asyncio on Unix, uvloop), and no TLS.
"""

import asyncio
import socket
from contextlib import suppress
from typing import Final

from handlers.pulse import Pulse
from handlers.transport import Bounds, Counters, Transport

READ_MAX: Final = 16 * 1024


class SocketTransport(Transport):
    """Owns a non-blocking, connected TCP socket."""

    __slots__ = ("_loop", "_rest", "_socket")

    def __init__(
        self, connected: socket.socket, pulse: Pulse, bounds: Bounds, counters: Counters
    ) -> None:
        super().__init__(pulse, bounds, counters)
        self._loop = asyncio.get_running_loop()
        self._socket = connected
        self._rest = b""
        # Nagle's algorithm would hold a call back until the client acknowledged the one before.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _start_reading(self) -> None:
        self._loop.add_reader(self._socket, self._on_readable)

    def _stop_reading(self) -> None:
        self._loop.remove_reader(self._socket)

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(READ_MAX)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self.received(data)
        else:
            self.abort()

    def _write(self, data: bytes) -> int:
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            # The reader sees the same in a moment and ends the connection there.
            return 0
        if sent < len(data):
            self._rest = data[sent:]
            self._loop.add_writer(self._socket, self._on_writable)
        return len(data) - sent

    def _on_writable(self) -> None:
        try:
            sent = self._socket.send(self._rest)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        self._rest = self._rest[sent:]
        self.buffered -= sent
        if not self._rest:
            self._loop.remove_writer(self._socket)
            self.drained()

    def _shut_sending(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def _shut(self) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
