"""Hostile frames on real sockets: each fails its own connection, with the right code."""

import asyncio

import pytest

from handlers.framing import PING, PONG, close_frame, control_frame, text_frame
from tests.handlers.live import Client, Closed, Live, masked, until

UNMASKED_HELLO = text_frame(b'{"type":"ping"}')
MASK = b"\x01\x02\x03\x04"


def frame(first: int, payload: bytes = b"", *, length: bytes | None = None) -> bytes:
    """A masked frame with any first byte, and any length field."""
    size = bytes([len(payload)]) if length is None else length
    return masked(bytes([first]) + size + payload, MASK)


HOSTILE = {
    # Masking, reserved bits, opcodes.
    "a frame that is not masked": (UNMASKED_HELLO, 1002),
    "an empty frame that is not masked": (b"\x81\x00", 1002),
    **{f"reserved bit {bit:#x}": (frame(0x81 | bit, b"{}"), 1002) for bit in (0x40, 0x20, 0x10)},
    **{
        f"opcode {opcode:#x}": (frame(0x80 | opcode, b"{}"), 1002)
        for opcode in (0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF)
    },
    "a binary message": (frame(0x82, b"{}"), 1003),
    "a fragment of a binary message": (frame(0x02, b"{}"), 1003),
    # Fragments.
    "a continuation of nothing": (frame(0x80, b"{}"), 1002),
    "a fragment of nothing": (frame(0x00, b"{}"), 1002),
    "a text within a text": (frame(0x01, b"{") + frame(0x81, b"}"), 1002),
    "a binary within a text": (frame(0x01, b"{") + frame(0x82, b"}"), 1002),
    # Control frames.
    **{
        f"control frame {opcode:#x} in pieces": (frame(opcode, b"x"), 1002)
        for opcode in (0x8, 0x9, 0xA)
    },
    **{
        f"control frame {opcode:#x} of 126 bytes": (
            frame(0x80 | opcode, b"x" * 126, length=b"\x7e\x00\x7e"),
            1002,
        )
        for opcode in (0x8, 0x9, 0xA)
    },
    # Lengths.
    "a length of 125 in two bytes": (frame(0x81, b"x" * 125, length=b"\x7e\x00\x7d"), 1002),
    "a length of 200 in eight bytes": (
        frame(0x81, b"x" * 200, length=b"\x7f" + (200).to_bytes(8, "big")),
        1002,
    ),
    "a negative length": (b"\x81\xff" + b"\xff" * 8, 1002),
    "one byte too many": (masked(text_frame(b"x" * (16 * 1024 + 1))), 1009),
    "an exabyte": (b"\x81\xff\x10" + b"\x00" * 7, 1009),
    "too long in fragments": (frame(0x01, b"x" * 100) + masked(text_frame(b"x" * 16_300)), 1002),
    # Text.
    "a text that is not UTF-8": (frame(0x81, b"\xff\xfe"), 1007),
    "a text with half a character": (frame(0x81, b"\xe6\x95"), 1007),
    "a text with a surrogate": (frame(0x81, b"\xed\xa0\x80"), 1007),
    "an overlong slash": (frame(0x81, b"\xc0\xaf"), 1007),
    "fragments that are not UTF-8 together": (frame(0x01, b"\xe6") + frame(0x80, b"x"), 1007),
    # Closing.
    "a close of one byte": (frame(0x88, b"\x03"), 1002),
    **{
        f"close code {code}": (frame(0x88, code.to_bytes(2, "big")), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)
    },
    "a reason that is not UTF-8": (frame(0x88, b"\x03\xe8\xff"), 1007),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_frame_fails_its_connection_and_no_other(live: Live, name: str) -> None:
    sent, code = HOSTILE[name]
    other, hostile = await live.board(), await live.board()

    hostile.send_bytes(sent)

    assert await hostile.close_code() == code
    assert (await other.ask("ping"))["type"] == "pong"
    assert len(live.hub.clients) == 1


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 7])
async def test_a_frame_may_come_in_pieces(live: Live, cut: int) -> None:
    board = await live.board()
    sent = masked(text_frame(b'{"id":1,"type":"ping"}'))

    board.send_bytes(sent[:cut])
    await board.writer.drain()
    assert (await (await live.board()).ask("ping"))["type"] == "pong"
    board.send_bytes(sent[cut:])

    assert (await board.message())["id"] == 1


async def test_what_is_sent_right_behind_the_handshake_is_not_lost(live: Live) -> None:
    early = masked(text_frame(b'{"id":1,"type":"auth","board":true}'))

    client = await live.connect(early=early + masked(text_frame(b'{"id":2,"type":"ping"}')))

    assert (await client.message())["type"] == "hello"
    assert (await client.message())["ok"]
    assert (await client.message()) == {"id": 2, "type": "pong"}


async def test_a_ping_is_answered_with_what_it_carried(live: Live) -> None:
    board = await live.board()

    board.send_frame(control_frame(PING, b"still there?"))

    assert await board.frame() == (PONG, b"still there?")


async def test_a_ping_between_fragments_is_answered(live: Live) -> None:
    board = await live.board()

    board.send_bytes(frame(0x01, b'{"id":5,') + frame(0x89, b"?") + frame(0x80, b'"type":"ping"}'))

    assert await board.frame() == (PONG, b"?")
    assert (await board.message())["id"] == 5


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_a_flood_of_control_frames_is_ended(live: Live, opcode: int) -> None:
    board = await live.board()

    board.send_bytes(masked(control_frame(opcode, b"x")) * (live.door.bounds.controls_max + 1))

    assert await board.close_code() == 4429
    assert live.counters.dropped_fast == 1


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4000])
async def test_a_goodbye_is_answered_in_kind_and_the_socket_closed(live: Live, code: int) -> None:
    board = await live.board()

    board.send_frame(close_frame(code, "bye"))

    assert await board.close_code() == code
    with pytest.raises(Closed):
        await board.frame()
    assert len(live.hub.clients) == 0


async def test_a_goodbye_without_a_code_is_answered_without_one(live: Live) -> None:
    board = await live.board()

    board.send_frame(control_frame(0x8))

    assert await board.frame() == (0x8, b"")


async def test_what_follows_a_goodbye_is_not_looked_at(live: Live) -> None:
    diner = await live.diner()
    echo = masked(text_frame(b'{"id":9,"type":"echo","text":"late"}'))

    diner.send_bytes(masked(close_frame(1000)) + echo)

    assert await diner.close_code() == 1000
    assert live.done == []


async def test_a_client_that_hangs_up_is_gone(live: Live) -> None:
    board = await live.board()
    await board.listen("stall:7")

    board.writer.close()
    await board.writer.wait_closed()
    other = await live.board()
    live.happen("stall:7")

    assert (await other.ask("ping"))["type"] == "pong"
    assert len(live.hub.clients) == 1


# ---------------------------------------------------------------- silence


async def test_a_client_is_pinged_and_one_that_answers_stays(live: Live) -> None:
    board = await live.board()

    live.pulse.beat(20)
    for _ in range(3):
        assert await board.frame() == (PING, b"")
        board.send_frame(control_frame(PONG))
        assert (await board.ask("ping"))["type"] == "pong"
        live.pulse.beat(10)
        live.pulse.beat(10)

    assert len(live.hub.clients) == 1


async def test_a_client_that_does_not_answer_a_ping_is_cut_off(live: Live) -> None:
    board = await live.board()

    live.pulse.beat(20)
    assert len(live.hub.clients) == 1
    live.pulse.beat(10)

    assert len(live.hub.clients) == 0
    assert live.counters.dropped_dead == 1
    assert await board.close_code() == 1006


async def test_one_who_does_not_answer_a_goodbye_is_cut_off(live: Live) -> None:
    silent = await live.board()

    live.hub.close()
    assert await silent.frame() == (0x8, b"\x03\xf4restarting, come back with your seq")
    live.pulse.beat(5)

    with pytest.raises(Closed):
        await silent.frame()


# ---------------------------------------------------------------- slow readers


async def deaf(live: Live) -> Client:
    """A board that listens, with hardly any room of its own, and does not read any more."""
    client = await live.board(receive_buffer=4096)
    await client.listen("stall:7")
    client.stop_reading()
    return client


async def test_a_slow_reader_is_closed_at_its_bound_and_costs_the_others_nothing(
    live: Live,
) -> None:
    slow, healthy = await deaf(live), await live.board()
    await healthy.listen("stall:7")
    told = 0

    while not live.counters.dropped_slow:
        live.happen("stall:7", "x" * 500)
        told += 1
        assert (await healthy.event())["seq"] == told
        assert max(client.transport.buffered for client in live.connections()) <= 64 * 1024

    assert live.hub.streams() == ["stall:7"]
    assert len(live.hub.clients) == 1
    slow.read_again()
    assert await slow.close_code() == 1013
    seen = [event["seq"] for event in slow.events]
    assert seen == list(range(1, len(seen) + 1))
    back = await (await live.board()).listen("stall:7", since=("e1", seen[-1]))
    assert [event["seq"] for event in back["events"]] == list(range(seen[-1] + 1, told + 1))


async def test_a_burst_that_a_slow_reader_cannot_take_closes_it(live: Live) -> None:
    slow, healthy = await deaf(live), await live.board()
    await healthy.listen("stall:7")

    for _ in range(250):
        live.happen("stall:7", "x" * 2000)
    slow_ended = live.counters
    await until(lambda: slow_ended.dropped_slow)

    slow.read_again()
    assert await slow.close_code() == 1013


async def test_nothing_is_sent_behind_the_goodbye(live: Live) -> None:
    board = await live.board()
    [connection] = live.connections()

    connection.close(4401, "the session has ended")
    connection.transport.send(text_frame(b"late"))
    connection.transport.send_text(b"late")
    connection.close(1012, "twice")

    assert await board.frame() == (0x8, b"\x11\x31the session has ended")
    board.send_frame(close_frame(4401))
    with pytest.raises(Closed):
        await board.frame()


async def test_a_socket_that_fails_ends_its_connection(live: Live) -> None:
    slow = await deaf(live)
    [connection] = live.connections()
    while not connection.transport.is_blocked:
        live.happen("stall:7", "x" * 2000)
        await asyncio.sleep(0)

    slow.hang_up()

    await until(lambda: len(live.hub.clients) == 0)
    assert live.hub.streams() == []
