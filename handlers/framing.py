"""WebSocket frames (RFC 6455, server side): reading what clients send, building what we send.

No socket and no clock here, so that every byte a client can think of can be tried in a test.
"""

from collections.abc import Iterator
from typing import Final

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_CONTINUATION: Final = 0x0
_FIN: Final = 0x80
_RESERVED: Final = 0x70
_OPCODE: Final = 0x0F
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_CONTROL: Final = 0x08
_CONTROL_MAX: Final = 125

# Codes of RFC 6455 section 7.4.1 and of its registry that may stand in a close frame.
NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED: Final = 1003
NO_CODE: Final = 1005
ABNORMAL: Final = 1006
NOT_UTF8: Final = 1007
TOO_BIG: Final = 1009

# A message of 16 KiB in pieces of nothing would never end; no client of ours needs more than one.
FRAGMENTS_MAX: Final = 64


class ProtocolError(Exception):
    """The client broke the protocol; the connection is failed with this close code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def text_frame(payload: bytes) -> bytes:
    """One whole, unmasked text message."""
    size = len(payload)
    if size <= _CONTROL_MAX:
        return b"\x81%c%b" % (size, payload)
    if size <= 0xFFFF:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), payload)


def control_frame(opcode: int, payload: bytes = b"") -> bytes:
    """payload: at most 125 bytes."""
    return b"%c%c%b" % (_FIN | opcode, len(payload), payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """A code that must not be sent (none was given, say) makes a close frame without one."""
    if not _may_be_sent(code):
        return control_frame(CLOSE)
    return control_frame(CLOSE, code.to_bytes(2, "big") + reason.encode()[: _CONTROL_MAX - 2])


def close_code(payload: bytes) -> int:
    """The code a close frame carries, NO_CODE for an empty one. Raises ProtocolError."""
    if not payload:
        return NO_CODE
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not _may_be_sent(code):
        raise ProtocolError(PROTOCOL_ERROR, "a close code that must not be sent")
    _check_utf8(payload[2:])
    return code


def _may_be_sent(code: int) -> bool:
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def unmasked(payload: bytes, mask: bytes) -> bytes:
    # One exclusive-or of two long integers: 16 KiB take 10 µs, and no loop runs in Python.
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(
        size, "little"
    )


def _check_utf8(text: bytes) -> None:
    if text.isascii():
        return
    try:
        text.decode()
    except UnicodeDecodeError:
        raise ProtocolError(NOT_UTF8, "a text that is not UTF-8") from None


class FrameReader:
    """Makes whole messages and control frames of the bytes received, in their order."""

    __slots__ = ("_held", "_message", "_message_max", "_needed", "_pieces")

    def __init__(self, *, message_max: int) -> None:
        self._message_max = message_max
        # Bytes of a frame that is not complete, and how many are needed to go on. None when idle:
        # ten thousand connections are idle nearly always.
        self._held: bytearray | None = None
        self._needed = 0
        # The fragments of a message that is not complete, joined, and how many they were.
        self._message: bytearray | None = None
        self._pieces = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yields (TEXT | CLOSE | PING | PONG, payload); a text is whole and valid UTF-8.

        Raises ProtocolError where the client broke the rules; then no more may be fed.
        """
        if self._held is not None:
            self._held += data
            if len(self._held) < self._needed:
                return
            data, self._held = bytes(self._held), None
        position, end = 0, len(data)
        while position < end:
            start, size = self._measure(data, position)
            stop = start + size
            if end < stop:
                self._held, self._needed = bytearray(data[position:]), stop - position
                return
            payload = unmasked(data[start:stop], data[start - 4 : start])
            first, position = data[position], stop
            if first & _CONTROL:
                yield first & _OPCODE, payload
            elif first == _FIN | TEXT:
                _check_utf8(payload)
                yield TEXT, payload
            elif (whole := self._joined(first, payload)) is not None:
                yield TEXT, whole

    def _measure(self, data: bytes, position: int) -> tuple[int, int]:
        """Where a frame's payload starts and how long it is.

        When the header is not complete: an end that lies behind what is there.
        """
        have = len(data) - position
        if have < 2:
            return position + 2, 0
        first, second = data[position], data[position + 1]
        self._check_head(first, second)
        size = second & _LENGTH
        wide = {126: 2, 127: 8}.get(size, 0)
        start = position + 2 + wide
        if have < 2 + wide:
            return start, 0
        if wide:
            size = int.from_bytes(data[position + 2 : start], "big")
            if size <= (_CONTROL_MAX if wide == 2 else 0xFFFF) or size >> 63:
                raise ProtocolError(PROTOCOL_ERROR, "a length that is not written as it must be")
        if not first & _CONTROL and size + len(self._message or b"") > self._message_max:
            raise ProtocolError(TOO_BIG, "a message that is too big")
        return start + 4, size

    def _check_head(self, first: int, second: int) -> None:
        opcode = first & _OPCODE
        if first & _RESERVED:
            raise ProtocolError(PROTOCOL_ERROR, "reserved bits are set")
        if opcode not in {_CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG}:
            raise ProtocolError(PROTOCOL_ERROR, "an opcode that is not known")
        if not second & _MASKED:
            raise ProtocolError(PROTOCOL_ERROR, "a frame that is not masked")
        if opcode & _CONTROL:
            if not first & _FIN or second & _LENGTH > _CONTROL_MAX:
                raise ProtocolError(PROTOCOL_ERROR, "a control frame that is too long or in pieces")
        elif (opcode == _CONTINUATION) != (self._message is not None):
            raise ProtocolError(PROTOCOL_ERROR, "a fragment where none belongs")
        elif opcode == BINARY:
            raise ProtocolError(UNSUPPORTED, "text only")

    def _joined(self, first: int, payload: bytes) -> bytes | None:
        if self._message is None:
            self._message, self._pieces = bytearray(), 0
        self._message += payload
        self._pieces += 1
        if self._pieces > FRAGMENTS_MAX:
            raise ProtocolError(TOO_BIG, "a message in too many pieces")
        if not first & _FIN:
            return None
        whole, self._message = bytes(self._message), None
        _check_utf8(whole)
        return whole
