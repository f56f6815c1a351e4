"""A transport over Tornado's IOStream: works with TLS and on every event loop."""

import asyncio
import socket
from contextlib import suppress
from typing import Final

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from handlers.pulse import Pulse
from handlers.transport import Bounds, Counters, Transport

READ_MAX: Final = 16 * 1024


class StreamTransport(Transport):
    """Takes a stream over from an HTTP connection, with whatever was read ahead."""

    __slots__ = ("_reading", "_stream", "_wanted")

    def __init__(self, stream: IOStream, pulse: Pulse, bounds: Bounds, counters: Counters) -> None:
        super().__init__(pulse, bounds, counters)
        self._stream = stream
        self._wanted = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        # Nagle's algorithm would hold a call back until the client acknowledged the one before.
        stream.set_nodelay(True)

    def _start_reading(self) -> None:
        self._wanted.set()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())

    def _stop_reading(self) -> None:
        self._wanted.clear()

    async def _read(self) -> None:
        with suppress(StreamClosedError):
            while True:
                await self._wanted.wait()
                self.received(await self._stream.read_bytes(READ_MAX, partial=True))
                # What was read ahead is there at once; a flood must not keep the loop to itself.
                await asyncio.sleep(0)
        self.abort()

    def _write(self, data: bytes) -> int:
        try:
            written = self._stream.write(data)
        except StreamClosedError:
            return 0
        if written.done():
            return 0
        written.add_done_callback(self._on_written)
        return len(data)

    def _on_written(self, written: "asyncio.Future[None]") -> None:
        if not written.cancelled() and written.exception() is None:
            self.drained()

    def _shut_sending(self) -> None:
        if isinstance(self._stream, SSLIOStream):
            # TLS has no half of a connection that could be shut.
            self.abort()
            return
        with suppress(OSError):
            self._stream.socket.shutdown(socket.SHUT_WR)

    def _shut(self) -> None:
        self._wanted.set()
        self._stream.close()
