"""The JSON that crosses a WebSocket, both ways: envelopes, answers, events."""

from typing import Annotated, Final, TypeVar

import msgspec

from handlers.errors import Problem
from handlers.framing import text_frame
from handlers.wire import INTEGER_MAX, rfc3339
from sql.events import Event

PROTOCOL: Final = 1
HEARTBEAT_S: Final = 25
ID_MAX: Final = 64

Id = int | str | None
Seq = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
T = TypeVar("T")

_encoder: Final = msgspec.json.Encoder()

# ---------------------------------------------------------------- from the client


class Envelope(msgspec.Struct, frozen=True):
    """What every frame of a client has; the rest belongs to its type."""

    type: str = ""
    id: int | str | None = None


class Auth(msgspec.Struct, frozen=True):
    token: str = ""
    board: bool = False


class Since(msgspec.Struct, frozen=True):
    """The last event a client saw."""

    epoch: str
    seq: Seq


class Subscribe(msgspec.Struct, frozen=True):
    topic: str
    since: Since | None = None


class Unsubscribe(msgspec.Struct, frozen=True):
    topic: str


class Ack(msgspec.Struct, frozen=True):
    """The client has shown this event to its person."""

    topic: str
    seq: Seq


_envelope: Final = msgspec.json.Decoder(Envelope)


class FrameInvalid(Exception):
    """The frame is no JSON object of the type it says it is."""

    code = "frame.invalid"
    title = "The frame cannot be understood"

    def __init__(self, detail: str) -> None:
        super().__init__(detail[:200])


def read_envelope(text: bytes) -> Envelope:
    """Raises FrameInvalid."""
    envelope = read(text, _envelope)
    if len(str(envelope.id)) > ID_MAX:
        raise FrameInvalid("An id has at most 64 characters")
    return envelope


def read(text: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Raises FrameInvalid."""
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, ValueError) as error:
        raise FrameInvalid(str(error)) from error
    except RecursionError as error:
        raise FrameInvalid("Nested too deeply") from error


# ---------------------------------------------------------------- to the client


def hello(now: int) -> bytes:
    return _encoder.encode(
        {
            "type": "hello",
            "protocol": PROTOCOL,
            "heartbeat_s": HEARTBEAT_S,
            "server_time": rfc3339(now),
        }
    )


def result(frame_id: Id, data: object) -> bytes:
    answer: dict[str, object] = {"id": frame_id, "type": "result", "ok": True}
    if data is not None:
        answer["data"] = data
    return _encoder.encode(answer)


def refusal(frame_id: Id, problem: Problem) -> bytes:
    error: dict[str, object] = {
        "code": problem.code,
        "title": problem.title,
        "detail": problem.detail,
    }
    if problem.errors:
        error["errors"] = problem.errors
    return _encoder.encode({"id": frame_id, "type": "result", "ok": False, "error": error})


def pong(frame_id: Id) -> bytes:
    return _encoder.encode({"id": frame_id, "type": "pong"})


# ---------------------------------------------------------------- events

# An event is encoded once for everyone who sees the same of it. Its data is JSON already, so a
# frame is only bytes joined: `{"type":"event","topic":…,"epoch":…,` + `"seq":…,…,"data":…}`.


def event_start(topic: str, epoch: str) -> bytes:
    """What the event frames of one topic begin with."""
    return b'{"type":"event","topic":%b,"epoch":%b,' % (
        _encoder.encode(topic),
        _encoder.encode(epoch),
    )


def event_rest(event: Event, name: str, data: bytes) -> bytes:
    return b'"seq":%d,"name":%b,"at":"%b","data":%b}' % (
        event.seq,
        _encoder.encode(name),
        rfc3339(event.at).encode(),
        data,
    )


def event_frame(start: bytes, rest: bytes) -> bytes:
    """The WebSocket frame, header and all."""
    return text_frame(start + rest)


def event_item(rest: bytes) -> msgspec.Raw:
    """An event as it stands in the answer to a subscribe."""
    return msgspec.Raw(b"{" + rest)
