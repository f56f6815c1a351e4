"""Frames without a socket: in pieces, in heaps, at every length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.framing import (
    CLOSE,
    FRAGMENTS_MAX,
    NO_CODE,
    PING,
    PONG,
    TEXT,
    FrameReader,
    ProtocolError,
    close_code,
    close_frame,
    control_frame,
    text_frame,
    unmasked,
)
from tests.handlers.live import masked

MESSAGE_MAX = 70_000


def read(*chunks: bytes, message_max: int = MESSAGE_MAX) -> list[tuple[int, bytes]]:
    reader = FrameReader(message_max=message_max)
    return [frame for chunk in chunks for frame in reader.feed(chunk)]


def fragment(first: int, payload: bytes) -> bytes:
    return masked(bytes([first, len(payload)]) + payload)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 0xFFFF, 0x10000])
def test_a_text_of_any_length_is_read_as_it_was_built(size: int) -> None:
    text = b"x" * size

    assert read(masked(text_frame(text))) == [(TEXT, text)]


@given(st.lists(st.text(max_size=300), max_size=8), st.lists(st.integers(1, 400), min_size=1))
def test_however_the_bytes_are_cut_the_messages_are_the_same(
    texts: list[str], cuts: list[int]
) -> None:
    sent = b"".join(masked(text_frame(text.encode())) for text in texts)
    chunks: list[bytes] = []
    at = 0
    while at < len(sent):
        size = cuts[len(chunks) % len(cuts)]
        chunks.append(sent[at : at + size])
        at += size

    assert read(*chunks) == [(TEXT, text.encode()) for text in texts]


def test_a_control_frame_between_fragments_is_read_first() -> None:
    sent = fragment(0x01, "数".encode()[:1]) + masked(control_frame(PING, b"?"))
    sent += fragment(0x00, "数".encode()[1:]) + fragment(0x80, b"!")

    assert read(sent) == [(PING, b"?"), (TEXT, "数!".encode())]


def test_after_a_fragmented_message_another_may_come() -> None:
    sent = fragment(0x01, b"a") + fragment(0x80, b"b") + fragment(0x01, b"c") + fragment(0x80, b"")

    assert read(sent) == [(TEXT, b"ab"), (TEXT, b"c")]


def test_a_message_in_endless_pieces_is_given_up() -> None:
    reader = FrameReader(message_max=100)
    sent = fragment(0x01, b"") + fragment(0x00, b"") * FRAGMENTS_MAX

    with pytest.raises(ProtocolError) as caught:
        list(reader.feed(sent))
    assert caught.value.code == 1009


def test_fragments_together_are_bounded() -> None:
    with pytest.raises(ProtocolError) as caught:
        read(fragment(0x01, b"x" * 60) + fragment(0x80, b"x" * 41), message_max=100)
    assert caught.value.code == 1009


def test_what_is_too_long_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ProtocolError) as caught:
        read(bytes([0x81, 0xFF]) + (1 << 40).to_bytes(8, "big"))
    assert caught.value.code == 1009


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_twice_is_nothing(payload: bytes, mask: bytes) -> None:
    assert unmasked(unmasked(payload, mask), mask) == payload
    assert unmasked(payload, mask) == bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_break_the_protocol(data: bytes) -> None:
    code = 0
    try:
        frames = read(data)
    except ProtocolError as error:
        code, frames = error.code, []

    assert code in {0, 1002, 1003, 1007, 1009}
    assert all(opcode in {TEXT, CLOSE, PING, PONG} for opcode, _ in frames)


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1013, 3000, 4401, 4999])
def test_a_close_code_is_read_as_it_was_built(code: int) -> None:
    [(opcode, payload)] = read(masked(close_frame(code, "再见")))

    assert (opcode, close_code(payload)) == (CLOSE, code)


def test_a_close_without_a_code_has_none() -> None:
    assert close_code(b"") == NO_CODE
    assert close_frame(NO_CODE) == control_frame(CLOSE)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535])
def test_a_close_code_that_must_not_be_sent_is_refused(code: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        close_code(code.to_bytes(2, "big"))
    assert caught.value.code == 1002


def test_a_long_reason_is_cut_to_what_a_close_frame_holds() -> None:
    [(_, payload)] = read(masked(close_frame(4401, "x" * 200)))

    assert len(payload) == 125
