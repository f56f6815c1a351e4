"""From the handshake to the goodbye: who may come in, what may be said when."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from handlers.channel import RING
from handlers.clients import PER_ACCOUNT_MAX
from handlers.connection import STRIKES_MAX, SUBSCRIPTIONS_MAX, UNREAD_MAX, WAITING_MAX
from handlers.framing import text_frame
from handlers.limits import Limit
from tests.clock import Clock
from tests.handlers.live import Client, Live, masked, until

# ---------------------------------------------------------------- the handshake


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 101),
        ({"Origin": "http://127.0.0.1:8000"}, 101),
        ({"Origin": "http://127.0.0.1:5173"}, 101),
        ({"Origin": "https://h5.example.org"}, 101),
        ({"Origin": "https://H5.example.org/"}, 101),
        ({"Origin": "http://h5.example.org"}, 403),
        ({"Origin": "https://evil.example.org"}, 403),
        ({"Origin": "https://127.0.0.1.evil.example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Upgrade": ""}, 400),
        ({"Upgrade": "h2c"}, 400),
        ({"Connection": "keep-alive"}, 400),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Version": ""}, 426),
        ({"Sec-WebSocket-Key": "x"}, 400),
        ({"Sec-WebSocket-Key": "AAAA"}, 400),
        ({"Sec-WebSocket-Key": ""}, 400),
        ({"Sec-WebSocket-Key": "\xe6\x95\xb0" * 8}, 400),
    ],
)
async def test_a_handshake_is_accepted_or_told_why_not(
    live: Live, headers: dict[str, Any], status: int
) -> None:
    got, client = await Client.knock(live.port, **headers)

    assert got == status
    client.hang_up()


async def test_nobody_is_let_in_beyond_the_bound(live: Live) -> None:
    live.door.connections_max = 2
    await live.board()
    await live.board()

    status, client = await Client.knock(live.port)

    assert status == 503
    client.hang_up()


async def test_the_answer_proves_that_the_key_was_read(live: Live) -> None:
    # The example of RFC 6455, section 1.3.
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(
        b"GET /api/v1/ws HTTP/1.1\r\nHost: here\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )

    head = await reader.readuntil(b"\r\n\r\n")

    assert b"Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert b"deflate" not in head
    writer.transport.abort()


# ---------------------------------------------------------------- signing in


async def test_everyone_is_greeted(live: Live) -> None:
    client = await live.connect()

    assert await client.message() == {
        "type": "hello",
        "protocol": 1,
        "heartbeat_s": 25,
        "server_time": "2026-11-20T04:00:00.000Z",
    }


async def test_signing_in_tells_who_one_is(live: Live) -> None:
    client = await live.connect()
    await client.message()

    answer = await client.ask("auth", token="7")

    assert answer["data"] == {"account_id": 7, "roles": ["diner", "seller"]}


async def test_a_page_may_sign_in_with_its_cookie(live: Live) -> None:
    client = await live.connect(Cookie="theme=dark; callme_session=12")
    await client.message()

    assert (await client.ask("auth"))["data"]["account_id"] == 12


async def test_who_does_not_sign_in_within_ten_seconds_is_sent_away(live: Live) -> None:
    silent, signed_in, board = await live.connect(), await live.diner(), await live.board()

    live.pulse.beat(9)
    assert len(live.hub.clients) == 3
    live.pulse.beat(1)

    assert await silent.close_code() == 4401
    assert (await signed_in.ask("ping"))["type"] == "pong"
    assert (await board.ask("ping"))["type"] == "pong"


async def test_a_token_of_no_session_is_refused_and_the_socket_closed(live: Live) -> None:
    client = await live.connect()
    await client.message()

    answer = await client.ask("auth", token="nobody")

    assert answer["error"]["code"] == "session.expired"
    assert await client.close_code() == 4401


async def test_one_who_is_sent_away_while_signing_in_is_not_counted(live: Live) -> None:
    client = await live.connect()
    live.record.meanwhile = live.hub.close

    client.send(id=1, type="auth", token="7")

    assert await client.close_code() == 1012
    assert await live.hub.clients.finish_work(5)
    assert len(live.hub.clients) == 0
    live.hub.end_session(107)


async def test_clients_that_hang_up_during_the_handshake_leave_nothing_behind(live: Live) -> None:
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", live.port)) as gone:
            # Closing sends a reset instead of a farewell.
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.sendall(
                b"GET /api/v1/ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            await asyncio.sleep(0)

    stays = await live.board()

    assert (await stays.ask("ping"))["type"] == "pong"
    await until(lambda: len(live.hub.clients) == 1)


@pytest.mark.parametrize("kind", ["echo", "subscribe", "unsubscribe", "ack"])
async def test_nothing_is_done_before_signing_in(live: Live, kind: str) -> None:
    client = await live.connect()
    await client.message()

    answer = await client.ask(kind, text="early", topic="stall:7", seq=1)

    assert answer["error"]["code"] == "auth.required"
    assert live.done == []
    assert live.record.queries == 0


async def test_one_signs_in_once(live: Live) -> None:
    board, diner = await live.board(), await live.diner()

    assert (await board.ask("auth", token="7"))["error"]["code"] == "auth.repeated"
    assert (await diner.ask("auth", board=True))["error"]["code"] == "auth.repeated"


@pytest.mark.parametrize(
    "topic", ["stall:7:staff", "ticket:30064771073", "me", "cabinets", "cabinet:3", "door:4"]
)
async def test_a_board_sees_public_topics_only(live: Live, topic: str) -> None:
    board = await live.board()

    answer = await board.ask("subscribe", topic=topic)

    assert answer["error"]["code"] == "topic.not_found"
    assert (await board.ask("subscribe", topic="auction-item:5"))["ok"]


async def test_a_board_gives_no_orders(live: Live) -> None:
    board = await live.board()

    assert (await board.ask("echo", text="hi"))["error"]["code"] == "auth.required"
    assert (await board.ask("ack", topic="stall:7", seq=1))["error"]["code"] == "auth.required"
    assert live.done == []


@pytest.mark.parametrize(
    "topic",
    [
        "", "stall", "stall:", "stall:0", "stall:-1", "stall:07", "stall:7:", "stall:7:admin",
        "stall:٧", "stall:404", "ticket:5", "ticket:30064771073:staff", "account:7", "tickets",
        "stall:99999999999999999999", " stall:7", "stall:7\n", "door:1:staff", "me:7",
    ],
)  # fmt: skip
async def test_what_is_not_there_and_what_is_anothers_look_alike(live: Live, topic: str) -> None:
    diner = await live.diner()

    answer = await diner.ask("subscribe", topic=topic)

    assert answer["error"]["code"] == "topic.not_found"
    assert live.hub.streams() == []


# ---------------------------------------------------------------- sessions


async def test_a_session_that_ends_takes_its_sockets_along(live: Live) -> None:
    first, second, other = await live.diner("7"), await live.diner("7"), await live.diner("8")

    live.hub.end_session(107)

    assert await first.close_code() == 4401
    assert await second.close_code() == 4401
    assert (await other.ask("ping"))["type"] == "pong"


async def test_a_command_of_an_ended_session_does_nothing(live: Live) -> None:
    diner = await live.diner()
    live.ended.add(107)

    answer = await diner.ask("echo", text="late")

    assert answer["error"]["code"] == "session.expired"
    assert await diner.close_code() == 4401
    assert live.done == []


async def test_the_sessions_with_sockets_can_be_looked_after(live: Live) -> None:
    first, _, _ = await live.diner("7"), await live.diner("7"), await live.diner("8")

    assert sorted(live.hub.clients.session_ids()) == [107, 108]

    live.hub.end_session(107)
    assert await first.close_code() == 4401


async def test_one_device_too_many_replaces_the_oldest(live: Live) -> None:
    oldest = await live.diner("7")
    others = [await live.diner("7") for _ in range(PER_ACCOUNT_MAX - 1)]
    stranger = await live.diner("8")

    newest = await live.diner("7")

    assert await oldest.close_code() == 4409
    for client in (*others, stranger, newest):
        assert (await client.ask("ping"))["type"] == "pong"
    assert len(live.hub.clients) == PER_ACCOUNT_MAX + 1


async def test_a_restart_sends_everyone_away_to_come_back(live: Live) -> None:
    clients = [await live.connect(), await live.diner(), await live.board()]

    live.hub.close()

    assert [await client.close_code() for client in clients] == [1012] * 3
    assert len(live.hub.clients) == 0


async def test_a_restart_waits_for_the_command_in_hand(live: Live) -> None:
    diner = await live.diner()
    diner.send(id=1, type="echo", text="in hand", wait=True)
    diner.send(id=2, type="echo", text="not begun")
    await until(lambda: live.begun == ["in hand"])

    live.hub.close()
    assert not await live.hub.clients.finish_work(0)
    live.gate.set()

    assert await live.hub.clients.finish_work(5)
    assert live.done == ["in hand"]
    assert await live.hub.clients.finish_work(0)


# ---------------------------------------------------------------- asking


async def test_commands_are_answered_in_order_one_at_a_time(live: Live) -> None:
    diner = await live.diner()
    for number in range(1, 6):
        diner.send(id=number, type="echo", text=str(number), wait=number == 1)
    await until(lambda: live.counters.frames_in == 1 + 5)
    assert live.begun == ["1"]

    live.gate.set()

    answers = [await diner.message() for _ in range(5)]
    assert [answer["id"] for answer in answers] == [1, 2, 3, 4, 5]
    assert live.done == ["1", "2", "3", "4", "5"]


async def test_one_who_waits_holds_nobody_else_up(live: Live) -> None:
    waits, other = await live.diner("7"), await live.diner("8")
    waits.send(id=1, type="echo", text="slow", wait=True)

    assert (await other.ask("echo", text="quick"))["data"]["text"] == "quick"


async def test_commands_beyond_the_bound_wait_with_the_client_and_none_is_lost(live: Live) -> None:
    diner = await live.diner()
    diner.send(id=0, type="echo", text="first", wait=True)
    count = 20 * WAITING_MAX

    for number in range(1, count + 1):
        diner.send(id=number, type="echo", text="x" * 1000)
    await until(lambda: live.counters.frames_in > WAITING_MAX)
    [connection] = live.connections()
    assert (await (await live.board()).ask("ping"))["type"] == "pong"
    # What was received in one piece with the last is held too.
    assert live.counters.frames_in < WAITING_MAX + 2 * 17 + 4
    live.gate.set()

    answers = [await diner.message() for _ in range(count + 1)]
    assert [answer["id"] for answer in answers] == list(range(count + 1))
    assert connection.transport.is_open


async def test_one_who_asks_and_does_not_read_is_not_asked_for_more(live: Live) -> None:
    board = await live.board(receive_buffer=4096)
    for _ in range(RING):
        live.record.write("stall:7")
    await board.listen("stall:7", since=("e1", 0))
    board.stop_reading()
    [connection] = live.connections()

    for number in range(50):
        board.send(id=number, type="subscribe", topic="stall:7", since={"epoch": "e1", "seq": 0})
    await until(lambda: connection.transport.is_blocked)
    size_of_an_answer = 100 * RING
    assert connection.transport.buffered < UNREAD_MAX + size_of_an_answer
    board.read_again()

    answers = [await board.message() for _ in range(50)]
    assert [answer["id"] for answer in answers] == list(range(50))
    assert all(len(answer["data"]["events"]) == RING for answer in answers)


async def test_one_who_asks_and_hangs_up_unread_leaves_nothing_behind(live: Live) -> None:
    board = await live.board(receive_buffer=4096)
    for _ in range(RING):
        live.record.write("stall:7")
    board.stop_reading()
    [connection] = live.connections()
    for number in range(50):
        board.send(id=number, type="subscribe", topic="stall:7", since={"epoch": "e1", "seq": 0})
    await until(lambda: connection.transport.is_blocked)

    board.hang_up()

    await until(lambda: len(live.hub.clients) == 0)
    assert await live.hub.clients.finish_work(5)
    assert live.hub.streams() == []


@pytest.mark.parametrize("frame_id", [0, -5, 2**63, "", "a" * 64, "数", None])
async def test_an_id_comes_back_as_it_was_sent(live: Live, frame_id: int | str | None) -> None:
    diner = await live.diner()

    diner.send(id=frame_id, type="echo", text="hi")
    answer = await diner.message()

    assert (answer["id"], answer["ok"]) == (frame_id, True)


async def test_unknown_fields_are_ignored(live: Live) -> None:
    diner = await live.diner()

    assert (await diner.ask("echo", text="hi", color="red", nested={"a": [1]}))["ok"]


async def test_an_unknown_type_is_answered_with_an_error(live: Live) -> None:
    diner = await live.diner()

    answer = await diner.ask("ticket.eat")

    assert (answer["ok"], answer["error"]["code"]) == (False, "type.unknown")


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b"null", b"7", b'"hi"', b"{}", b'{"type":7}', b'{"type":null}',
        b'{"type":"ping","id":1.5}', b'{"type":"ping","id":true}', b'{"type":"ping","id":[]}',
        b'{"type":"ping","id":"%b"}' % (b"a" * 65), b'{"type":"ping","id":%b}' % (b"1" * 65),
        b'{"type":"ping","id":NaN}', b'{"type":"ping"} x', b'{"a":' + b"[" * 8000,
        b'{"a":' + b"[" * 8000 + b"]" * 8000 + b"}", b'{"type":"\\ud800"}',
    ],
)  # fmt: skip
async def test_a_broken_frame_is_answered_without_an_id(live: Live, text: bytes) -> None:
    diner = await live.diner()

    diner.send_frame(text_frame(text))
    answer = await diner.message()

    assert answer["id"] is None
    assert (answer["ok"], answer["error"]["code"]) == (False, "frame.invalid")
    assert (await diner.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("echo", {}),
        ("echo", {"text": 7}),
        ("subscribe", {}),
        ("subscribe", {"topic": "stall:7", "since": 5}),
        ("subscribe", {"topic": "stall:7", "since": {"epoch": "e1", "seq": -1}}),
        ("subscribe", {"topic": "stall:7", "since": {"epoch": "e1", "seq": 2**53}}),
        ("subscribe", {"topic": "stall:7", "since": {"epoch": 1, "seq": 1}}),
        ("ack", {"topic": "stall:7"}),
    ],
)
async def test_a_frame_that_lacks_what_its_type_needs_is_told_so(
    live: Live, kind: str, fields: dict[str, object]
) -> None:
    diner = await live.diner()

    answer = await diner.ask(kind, **fields)

    assert answer["error"]["code"] == "frame.invalid"
    assert "$" in answer["error"]["detail"] or "field" in answer["error"]["detail"]


async def test_one_who_only_sends_broken_frames_is_sent_away(live: Live) -> None:
    diner = await live.diner()

    for _ in range(STRIKES_MAX + 1):
        diner.send_frame(text_frame(b"{"))

    assert await diner.close_code() == 1008


async def test_a_broken_frame_now_and_then_is_forgiven(live: Live, clock: Clock) -> None:
    diner = await live.diner()

    for _ in range(3 * STRIKES_MAX):
        diner.send_frame(text_frame(b"{"))
        await diner.message()
        clock.advance(seconds=11)

    assert (await diner.ask("ping"))["type"] == "pong"


async def test_a_mistake_of_ours_is_logged_and_tells_nothing(
    live: Live, expect_log: Callable[[str], None]
) -> None:
    diner = await live.diner()
    expect_log("command failed")

    answer = await diner.ask("fail", text="the password is swordfish")

    assert answer["error"]["code"] == "internal"
    assert "swordfish" not in str(answer)
    assert (await diner.ask("ping"))["type"] == "pong"


async def test_too_many_topics_are_refused(live: Live) -> None:
    board = await live.board()
    for number in range(1, SUBSCRIPTIONS_MAX + 1):
        await board.listen(f"stall:{500 + number}")

    answer = await board.ask("subscribe", topic="stall:7")

    assert answer["error"]["code"] == "topic.too_many"


# ---------------------------------------------------------------- pace


async def test_too_fast_is_warned_and_then_sent_away(live: Live) -> None:
    live.limits.enabled = True
    live.limits.session = Limit(per_s=1, burst=3)
    hasty, other = await live.diner("7"), await live.diner("8")

    answers = [await hasty.ask("echo", text="quick") for _ in range(3 + STRIKES_MAX)]
    hasty.send(id=99, type="echo", text="once more")

    assert [answer["ok"] for answer in answers] == [True] * 3 + [False] * STRIKES_MAX
    assert answers[-1]["error"]["code"] == "rate.limited"
    assert await hasty.close_code() == 4429
    assert (await other.ask("ping"))["type"] == "pong"


async def test_one_who_slows_down_is_served_again(live: Live, clock: Clock) -> None:
    live.limits.enabled = True
    live.limits.session = Limit(per_s=1, burst=1)
    diner = await live.diner()
    assert (await diner.ask("echo", text="one"))["ok"]
    assert not (await diner.ask("echo", text="two"))["ok"]

    clock.advance(seconds=2)

    assert (await diner.ask("echo", text="three"))["ok"]


async def test_boards_of_one_address_share_a_limit(live: Live) -> None:
    live.limits.enabled = True
    live.limits.address = Limit(per_s=1, burst=5)
    first, second = await live.board(), await live.board()

    answers = [await client.ask("ping") for client in (first, second, first, second)]

    assert [answer["type"] for answer in answers] == ["pong", "pong", "pong", "result"]


# ---------------------------------------------------------------- acknowledging


async def test_a_call_that_reached_its_diner_is_acknowledged_silently(live: Live) -> None:
    ticket_id = (7 << 32) | 1
    diner = await live.diner()
    await diner.listen(f"ticket:{ticket_id}")
    live.happen("stall:7", subject=ticket_id)
    event = await diner.event()

    diner.send(type="ack", topic=event["topic"], seq=event["seq"])
    answer = await diner.ask("ack", topic=event["topic"], seq=event["seq"])

    assert (answer["ok"], answer.get("data")) == (True, None)
    assert live.acknowledged == [(7, f"ticket:{ticket_id}", 1)] * 2


async def test_what_one_may_not_hear_one_cannot_acknowledge(live: Live) -> None:
    diner = await live.diner()

    answer = await diner.ask("ack", topic="stall:404", seq=1)

    assert answer["error"]["code"] == "topic.not_found"
    assert live.acknowledged == []


async def test_frames_are_counted(live: Live) -> None:
    board = await live.board()
    await board.listen("stall:7")
    live.happen("stall:7")
    await board.event()

    board.send_bytes(masked(text_frame(b'{"type":"ping","id":9}')))
    await board.message()

    counted = live.counters
    assert (counted.opened, counted.frames_in, counted.frames_out) == (1, 3, 5)
