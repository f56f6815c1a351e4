"""The transport of one connection: frames in, frames out, bounded, with an end.

`Transport` keeps the rules of RFC 6455 and our bounds; where its bytes come from and go to are
two small subclasses: `StreamTransport` (Tornado's IOStream, also with TLS) in handlers/stream.py
and `SocketTransport` (the bare socket: faster, and a fraction of the memory) in handlers/lean.py.
"""

from enum import IntEnum
from typing import Final, Protocol

import msgspec

from handlers.framing import (
    ABNORMAL,
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameReader,
    ProtocolError,
    close_code,
    close_frame,
    control_frame,
    text_frame,
)
from handlers.pulse import Pulse

TOO_SLOW: Final = 1013
TOO_FAST: Final = 4429


class Bounds(msgspec.Struct, frozen=True):
    """What one connection may cost, and how long it may be silent."""

    message_max: int = 16 * 1024
    # Bytes that wait for a client that does not read. A healthy phone has a few hundred here, and
    # comes back with its seq; measured without a bound: 3 MB each after 3,000 messages.
    buffer_max: int = 64 * 1024
    ping_interval_s: float = 20
    ping_timeout_s: float = 10
    close_wait_s: float = 5
    # Pings and pongs between two pings of ours. A browser sends one.
    controls_max: int = 100


class Counters:
    """Plain numbers for the metrics page; they only grow."""

    def __init__(self) -> None:
        self.opened = 0
        self.frames_in = 0
        self.frames_out = 0
        self.dropped_slow = 0
        self.dropped_dead = 0
        self.dropped_broken = 0
        self.dropped_fast = 0


class Owner(Protocol):
    """Whom a transport works for. None of these may raise."""

    def on_text(self, text: bytes) -> None:
        """A whole text message, valid UTF-8."""

    def on_drain(self) -> None:
        """A client that had been slow has taken all there was."""

    def on_close(self, code: int) -> None:
        """Once, when the connection begins to end, whoever ends it; nothing is sent any more."""


class State(IntEnum):
    OPEN = 0
    # Our close frame is on its way, the client's is waited for.
    CLOSING = 1
    # The client broke the rules: nothing it sends is looked at, but it may read our close frame.
    BROKEN = 2
    # Both close frames are exchanged.
    DONE = 3
    GONE = 4


class Transport:
    """Sends joined per tick and bounded, pings, the closing handshake."""

    __slots__ = (
        "_blocked",
        "_controls",
        "_heard",
        "_paused",
        "_pending",
        "_pinged",
        "_pulse",
        "_reader",
        "_room",
        "_state",
        "bounds",
        "buffered",
        "counters",
        "owner",
    )

    owner: Owner

    def __init__(self, pulse: Pulse, bounds: Bounds, counters: Counters) -> None:
        self.bounds = bounds
        self.counters = counters
        # Bytes offered that the socket has not taken; 0 between ticks for a client that keeps up.
        self.buffered = 0
        self._pulse = pulse
        self._reader = FrameReader(message_max=bounds.message_max)
        self._state = State.OPEN
        # Frames that wait for the end of this tick, or for a socket that would block.
        self._pending: list[bytes] | None = None
        self._blocked = False
        self._room = bounds.buffer_max
        self._paused = False
        self._heard = True
        self._pinged = False
        self._controls = 0

    def open(self, owner: Owner, early: bytes = b"") -> None:
        """Begin to work for an owner. early: what was received right behind the handshake."""
        self.owner = owner
        self.counters.opened += 1
        self._pulse.after(self.bounds.ping_interval_s, self._on_beat)
        self._start_reading()
        if early:
            self.received(early)

    @property
    def is_open(self) -> bool:
        return self._state is State.OPEN

    @property
    def is_blocked(self) -> bool:
        """Whether the socket has refused bytes that still wait."""
        return self._blocked

    # ------------------------------------------------------------ sending

    def send(self, frames: bytes) -> None:
        """Offer ready-made frames. A client that does not read is closed at its bound (1013).

        They leave at once where nothing waits before them: what one tick brings for a topic was
        joined by its channel already, and a queue in between costs a quarter of a fan-out.
        """
        if self._state is not State.OPEN:
            return
        if self._pending is None and not self._blocked:
            self.buffered = self._write(frames)
            if self.buffered:
                self._blocked = True
                if self.buffered > self._room:
                    self._drop_slow()
        elif self._blocked and self.buffered + len(frames) > self._room:
            self._drop_slow()
        else:
            self._queue(frames)

    def send_text(self, text: bytes) -> None:
        """Send one answer to this client alone.

        It may be larger than the bound, or a client could not be told the thousand events it
        missed; its owner takes no further question before `on_drain`.
        """
        if self._state is not State.OPEN:
            return
        frame = text_frame(text)
        self._room = max(self._room, self.buffered + len(frame))
        self.counters.frames_out += 1
        self._queue(frame)

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye behind what was sent already; wait for the client's, but not for ever."""
        if self._state is State.OPEN:
            self._end_with(State.CLOSING, code, reason)

    def abort(self) -> None:
        """End at once."""
        was, self._state = self._state, State.GONE
        if was is not State.GONE:
            self._pending = None
            self._shut()
        if was is State.OPEN:
            self.owner.on_close(ABNORMAL)

    def _queue(self, frames: bytes) -> None:
        self.buffered += len(frames)
        if self._pending is not None:
            self._pending.append(frames)
            return
        self._pending = [frames]
        if not self._blocked:
            self._pulse.flush_soon(self)

    def flush(self) -> None:
        """Called by the pulse at the end of the tick. What was offered becomes one send."""
        pending, self._pending = self._pending, None
        if pending is None or self._state is State.GONE:
            return
        self.buffered = self._write(pending[0] if len(pending) == 1 else b"".join(pending))
        self._blocked = self.buffered > 0
        if not self._blocked:
            self._after_sending()
        elif self.buffered > self._room and self._state is State.OPEN:
            self._drop_slow()

    def drained(self) -> None:
        """The socket took what it had refused before."""
        self._blocked, self.buffered, self._room = False, 0, self.bounds.buffer_max
        if self._pending is not None:
            self.flush()
        else:
            self._after_sending()
        if not self._blocked and self._state is State.OPEN:
            self.owner.on_drain()

    def _after_sending(self) -> None:
        if self._state is State.BROKEN:
            self._shut_sending()
        elif self._state is State.DONE:
            self.abort()

    def _drop_slow(self) -> None:
        self.counters.dropped_slow += 1
        self.buffered -= sum(map(len, self._pending or ()))
        self._pending = None
        self.close(TOO_SLOW, "come back with your seq")

    # ------------------------------------------------------------ receiving

    def received(self, data: bytes) -> None:
        """Called with what the client sent."""
        self._heard = True
        if self._state >= State.BROKEN:
            return
        try:
            for opcode, payload in self._reader.feed(data):
                if opcode == TEXT:
                    self._take_text(payload)
                else:
                    self._take_control(opcode, payload)
                if self._state >= State.BROKEN:
                    return
        except ProtocolError as error:
            self.counters.dropped_broken += 1
            self._end_with(State.BROKEN, error.code, error.reason)

    def _take_text(self, payload: bytes) -> None:
        if self._state is State.OPEN:
            self.counters.frames_in += 1
            self.owner.on_text(payload)

    def _take_control(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._end_with(State.DONE, close_code(payload))
            return
        self._controls += 1
        if self._controls > self.bounds.controls_max and self._state is State.OPEN:
            self.counters.dropped_fast += 1
            self.close(TOO_FAST, "too many control frames")
        elif opcode == PING:
            self.send(control_frame(PONG, payload))

    def pause_reading(self) -> None:
        """Leave what the client sends with the client, until `resume_reading`."""
        if not self._paused:
            self._paused = True
            self._stop_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if self._state is not State.GONE:
                self._start_reading()

    # ------------------------------------------------------------ silence, and the end

    def _on_beat(self) -> None:
        """Ping, look for a sign of life a little later, and so on while the connection is open."""
        if self._state is not State.OPEN:
            return
        if not self._pinged:
            self._pinged, self._heard, self._controls = True, False, 0
            self.send(control_frame(PING))
            self._pulse.after(self.bounds.ping_timeout_s, self._on_beat)
        elif self._heard or self._paused:
            self._pinged = False
            rest_s = self.bounds.ping_interval_s - self.bounds.ping_timeout_s
            self._pulse.after(rest_s, self._on_beat)
        else:
            self.counters.dropped_dead += 1
            self.abort()

    def _end_with(self, state: State, code: int, reason: str = "") -> None:
        """Send a close frame if none was sent yet, and go on in a state that leads to the end."""
        was, self._state = self._state, state
        if was is State.OPEN:
            # A paused client must still be able to answer the close frame.
            self.resume_reading()
            self._queue(close_frame(code, reason))
            self._pulse.after(self.bounds.close_wait_s, self.abort)
            self.owner.on_close(code)
        elif not self.buffered:
            self._after_sending()

    # ------------------------------------------------------------ what a subclass does

    def _start_reading(self) -> None:
        """Call `received` with what comes, and `abort` when the client hangs up."""
        raise NotImplementedError

    def _stop_reading(self) -> None:
        raise NotImplementedError

    def _write(self, data: bytes) -> int:
        """Send what can be sent at once; returns the bytes that wait. `drained` follows."""
        raise NotImplementedError

    def _shut_sending(self) -> None:
        """All has been sent: tell the client so (FIN), and go on reading until it hangs up.

        Closing at once would answer what it still sends with a reset, which overtakes the close
        frame.
        """
        raise NotImplementedError

    def _shut(self) -> None:
        """Give everything back, whatever is unsent."""
        raise NotImplementedError
