"""Listening and coming back: every event of a topic, in order, once."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from handlers.channel import MISSED_MAX, PORTION, RING
from handlers.hub import KEEP_S
from handlers.topics import find_topic
from sql.events import Head
from tests.clock import Clock
from tests.handlers.live import NOTE, Client, Live, until

STALL = "stall:7"


def seqs(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]


async def next_seqs(client: Client, count: int) -> list[int]:
    return [(await client.event())["seq"] for _ in range(count)]


def happens(live: Live, times: int) -> Callable[[], None]:
    def happen() -> None:
        for _ in range(times):
            live.happen(STALL)

    return happen


# ---------------------------------------------------------------- what an event looks like


async def test_everyone_concerned_hears_a_call(live: Live) -> None:
    ticket_id = (7 << 32) | 1
    diner, seller, board = await live.diner("1"), await live.diner("2"), await live.board()
    await diner.listen(f"ticket:{ticket_id}")
    await seller.listen(f"{STALL}:staff")
    await board.listen(STALL)

    live.happen(STALL, subject=ticket_id)

    assert await board.event() == {
        "type": "event",
        "topic": STALL,
        "epoch": "e1",
        "seq": 1,
        "name": "ticket.called",
        "at": "2026-11-20T04:00:00.000Z",
        "data": {"number": 1},
    }
    assert (await diner.event())["data"] == {"number": 1, "note": NOTE}
    told_to_the_seller = await seller.event()
    assert told_to_the_seller["topic"] == "stall:7:staff"
    assert told_to_the_seller["data"] == {"number": 1, "note": NOTE}


async def test_a_note_is_never_on_the_public_topic(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)

    live.happen(STALL, "ticket.noted", subject=5)
    live.happen(STALL, "ticket.reached", subject=5, staff_only=True)
    live.happen("stall:8", "ticket.noted", subject=6)

    frames = [(await board.frame())[1] for _ in range(2)]
    again = await (await live.board()).listen(STALL, since=("e1", 0))
    cold = await (await live.board()).listen("stall:8", since=("e1", 0))
    assert NOTE.encode() not in b"".join(frames)
    assert NOTE not in str(again) + str(cold)
    assert len(again["events"]) == 2
    assert len(cold["events"]) == 1


async def test_what_only_staff_may_know_leaves_no_gap_in_public(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)

    live.happen(STALL)
    live.happen(STALL, "ticket.reached", staff_only=True)
    live.happen(STALL)

    events = [await board.event() for _ in range(3)]
    assert seqs(events) == [1, 2, 3]
    assert (events[1]["name"], events[1]["data"]) == ("stall.quiet", {})


async def test_a_ticket_hears_only_of_itself(live: Live) -> None:
    mine, other = (7 << 32) | 1, (7 << 32) | 2
    diner = await live.diner()
    await diner.listen(f"ticket:{mine}")

    for subject in (other, mine, 0, other, mine):
        live.happen(STALL, subject=subject)

    assert await next_seqs(diner, 2) == [2, 5]
    back = await (await live.diner()).listen(f"ticket:{mine}", since=("e1", 2))
    assert back["seq"] == 5
    assert seqs(back["events"]) == [5]


async def test_me_is_the_account_that_is_signed_in(live: Live) -> None:
    diner = await live.diner("42")
    await diner.listen("me")

    live.happen("account:41")
    live.happen("account:42")

    event = await diner.event()
    assert (event["topic"], event["seq"]) == ("me", 1)


async def test_nothing_comes_after_unsubscribe(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)
    await board.ask("unsubscribe", topic=STALL)

    live.happen(STALL)

    assert (await board.ask("ping"))["type"] == "pong"
    assert board.events == []
    assert live.hub.streams() == []


async def test_subscribing_again_doubles_nothing(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)
    live.happen(STALL)
    again = await board.listen(STALL, since=("e1", 1))

    live.happen(STALL)
    await board.ask("ping")

    assert again["events"] == []
    assert seqs(board.events) == [1, 2]


# ---------------------------------------------------------------- coming back


async def test_fifty_missed_events_come_exactly_once_from_memory(live: Live) -> None:
    stays = await live.board()
    await stays.listen(STALL)
    phone = await live.diner()
    await phone.listen(STALL)
    live.happen(STALL)
    await phone.event()
    phone.hang_up()
    for _ in range(50):
        live.happen(STALL)
    queries = live.record.queries

    phone = await live.diner()
    back = await phone.listen(STALL, since=("e1", 1))

    assert (back["recovered"], back["epoch"], back["seq"]) == (True, "e1", 51)
    assert seqs(back["events"]) == list(range(2, 52))
    live.happen(STALL)
    assert await next_seqs(phone, 1) == [52]
    assert live.record.queries == queries


async def test_fifty_missed_events_come_exactly_once_from_the_database(live: Live) -> None:
    for _ in range(51):
        live.record.write(STALL)

    phone = await live.diner()
    back = await phone.listen(STALL, since=("e1", 1))

    assert back["recovered"]
    assert seqs(back["events"]) == list(range(2, 52))
    live.happen(STALL)
    assert await next_seqs(phone, 1) == [52]


async def test_what_is_older_than_memory_comes_from_the_database(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)
    for _ in range(RING + 100):
        live.happen(STALL)

    back = await (await live.diner()).listen(f"{STALL}:staff", since=("e1", 50))

    assert back["recovered"]
    assert seqs(back["events"]) == list(range(51, RING + 101))


async def test_an_event_looks_the_same_live_and_missed(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)
    live.happen(STALL)
    event = await board.event()

    back = await (await live.board()).listen(STALL, since=("e1", 0))

    shared = {key: event[key] for key in ("seq", "name", "at", "data")}
    assert back["events"] == [shared]


async def test_a_thousand_missed_events_come_and_one_more_is_a_snapshot(live: Live) -> None:
    for _ in range(MISSED_MAX + 1):
        live.record.write(STALL)
    board = await live.board()

    whole = await board.listen(STALL, since=("e1", 1))
    broken = await board.listen(STALL, since=("e1", 0))

    assert seqs(whole["events"]) == list(range(2, MISSED_MAX + 2))
    assert (broken["recovered"], broken["seq"]) == (False, MISSED_MAX + 1)
    assert broken["snapshot"] == {"of": STALL}
    assert "events" not in broken
    assert "snapshot" not in whole


@pytest.mark.parametrize("since", [("another", 3), ("e1", 4), ("e1", 2**53 - 1), ("", 0)])
async def test_a_place_that_never_was_is_answered_with_a_snapshot(
    live: Live, since: tuple[str, int]
) -> None:
    for _ in range(3):
        live.record.write(STALL)
    board = await live.board()

    cold = await board.listen(STALL, since=since)
    warm = await board.listen(STALL, since=since)

    assert cold == warm == {"epoch": "e1", "seq": 3, "recovered": False, "snapshot": {"of": STALL}}


async def test_many_who_missed_nothing_cost_one_query_together(live: Live) -> None:
    for _ in range(5):
        live.record.write(STALL)
    boards = [await live.board() for _ in range(20)]

    answers = await asyncio.gather(*(board.listen(STALL, since=("e1", 5)) for board in boards))

    assert all(answer["recovered"] and answer["events"] == [] for answer in answers)
    assert live.record.queries == 1


async def test_a_stream_is_remembered_for_a_while_after_its_last_listener(
    live: Live, clock: Clock
) -> None:
    phone = await live.diner()
    await phone.listen(STALL)
    phone.hang_up()
    await until(lambda: live.hub.streams() == [])
    live.happen(STALL)
    clock.advance(seconds=KEEP_S - 1)
    live.hub.sweep()
    queries = live.record.queries

    back = await (await live.diner()).listen(STALL, since=("e1", 0))

    assert seqs(back["events"]) == [1]
    assert live.record.queries == queries


async def test_a_stream_nobody_comes_back_to_is_forgotten(live: Live, clock: Clock) -> None:
    phone = await live.diner()
    await phone.listen(STALL)
    stays = await live.diner("8")
    await stays.listen("stall:8")
    phone.hang_up()
    await until(lambda: live.hub.streams() == ["stall:8"])
    queries = live.record.queries

    clock.advance(seconds=KEEP_S)
    live.hub.sweep()
    await (await live.diner()).listen(STALL, since=("e1", 0))
    await (await live.diner()).listen("stall:8", since=("e1", 0))

    # A stream without events has no place to come back to: looked for, then pictured.
    assert live.record.queries == queries + 2


# ---------------------------------------------------------------- several processes


async def test_what_another_process_wrote_in_between_is_fetched_first(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)
    live.happen(STALL)

    live.record.write(STALL)
    live.record.write(STALL)
    live.happen(STALL)
    live.happen(STALL)

    assert await next_seqs(board, 5) == [1, 2, 3, 4, 5]


async def test_a_doorbell_fetches_what_it_rang_for(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)
    live.record.write(STALL)
    live.record.write(STALL)

    live.hub.doorbell(STALL, 2)
    live.hub.doorbell(STALL, 1)
    live.hub.doorbell("stall:8", 1)

    assert await next_seqs(board, 2) == [1, 2]


async def test_an_event_that_was_fetched_and_is_then_told_comes_once(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)
    first, second = live.record.write(STALL), live.record.write(STALL)
    # The doorbell of the one overtakes our own telling of the other.
    live.record.meanwhile = lambda: live.hub.tell([first])

    live.hub.doorbell(STALL, 2)
    live.hub.tell([first, first, second])
    assert await next_seqs(board, 2) == [1, 2]
    live.hub.tell([second, first])
    live.happen(STALL)

    assert await next_seqs(board, 1) == [3]


async def test_the_slow_poll_finds_what_no_doorbell_told(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)
    live.record.write(STALL)

    assert live.hub.streams() == [STALL]
    live.hub.check({STALL: live.record.head(STALL), "stall:8": live.record.head("stall:8")})

    assert await next_seqs(board, 1) == [1]


async def test_far_behind_is_caught_up_in_several_reads(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)
    behind = 2 * PORTION + 10
    for _ in range(behind):
        live.record.write(STALL)

    live.hub.doorbell(STALL, behind)

    assert await next_seqs(board, behind) == list(range(1, behind + 1))


async def test_a_doorbell_for_what_is_not_there_is_believed_once(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)
    live.happen(STALL)
    queries = live.record.queries

    live.hub.doorbell(STALL, 1_000_000)
    await until(lambda: live.record.queries == queries + 1)
    live.happen(STALL)

    assert await next_seqs(board, 2) == [1, 2]
    assert live.record.queries == queries + 1


async def test_a_stream_nobody_listens_to_is_not_read(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)
    await board.ask("unsubscribe", topic=STALL)
    queries = live.record.queries
    live.record.write(STALL)

    live.hub.doorbell(STALL, 1)
    live.happen(STALL)
    back = await board.listen(STALL, since=("e1", 0))

    assert seqs(back["events"]) == [1, 2]
    assert live.record.queries == queries + 1


async def test_a_database_that_is_away_only_delays(
    live: Live, expect_log: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    board = await live.board()
    await board.listen(STALL)
    live.record.write(STALL)

    def fail() -> None:
        raise TimeoutError

    expect_log("cannot catch up")
    live.record.meanwhile = fail
    queries = live.record.queries
    live.hub.doorbell(STALL, 1)
    await until(lambda: live.record.queries == queries + 1)
    await board.ask("ping")
    live.record.meanwhile = lambda: None
    live.happen(STALL)

    assert await next_seqs(board, 2) == [1, 2]


@pytest.mark.parametrize("how", ["told", "doorbell", "check"])
async def test_a_restored_history_sends_everyone_to_start_again(live: Live, how: str) -> None:
    board = await live.board()
    await board.listen(STALL)
    live.happen(STALL)
    await board.event()
    live.record.restore()

    match how:
        case "told":
            live.happen(STALL)
        case "doorbell":
            live.record.write(STALL)
            live.hub.doorbell(STALL, 2)
        case _:
            live.hub.check({STALL: live.record.head(STALL)})

    assert await board.close_code() == 1012
    back = await (await live.board()).listen(STALL, since=("e1", 1))
    assert (back["recovered"], back["epoch"]) == (False, "e2")


# ---------------------------------------------------------------- events while subscribing


@pytest.mark.parametrize("since", [None, ("e1", 0), ("another", 0)])
@pytest.mark.parametrize("is_known", [True, False])
async def test_nothing_is_lost_or_doubled_while_subscribing(
    live: Live, since: tuple[str, int] | None, is_known: bool
) -> None:
    if is_known:
        await (await live.board()).listen(STALL)
    for _ in range(3):
        live.record.write(STALL)
    live.hub.tell(live.record.events[STALL])
    # Two come while the database is being read, on top of what it answers.
    live.record.meanwhile = happens(live, 2)
    board = await live.board()

    answer = await board.listen(STALL, since=since)
    live.record.meanwhile = lambda: None
    live.happen(STALL)
    last = live.record.head(STALL).seq
    live_seqs = await next_seqs(board, last - answer["seq"])

    assert live_seqs == list(range(answer["seq"] + 1, last + 1))
    assert answer["recovered"] == (since == ("e1", 0))
    if answer["recovered"]:
        assert seqs(answer["events"]) == list(range(1, answer["seq"] + 1))
    await board.ask("ping")
    assert board.events == []


async def test_a_listener_that_joins_during_a_fan_out_gets_each_event_once(live: Live) -> None:
    first, second = await live.board(), await live.board()
    await first.listen(STALL)

    for _ in range(5):
        live.happen(STALL)
    second.send(id=99, type="subscribe", topic=STALL, since={"epoch": "e1", "seq": 2})
    for _ in range(5):
        live.happen(STALL)
    answer = await second.message()
    last = answer["data"]["seq"]

    assert seqs(answer["data"]["events"]) == list(range(3, last + 1))
    assert await next_seqs(second, 10 - last) == list(range(last + 1, 11))
    assert await next_seqs(first, 10) == list(range(1, 11))


async def test_one_who_begins_in_the_middle_of_a_round_gets_the_rest_of_it(live: Live) -> None:
    board = await live.board()
    [connection] = live.connections()
    topic = find_topic(STALL, None)
    subscription, answer = await live.hub.join(connection.transport, topic, None, None)

    happens(live, 2)()
    live.hub.start(subscription, answer)
    happens(live, 2)()

    assert answer.seq == 0
    assert await next_seqs(board, 4) == [1, 2, 3, 4]
    live.hub.leave(subscription)
    live.hub.leave(subscription)
    assert live.hub.streams() == []


async def test_a_restart_while_subscribing_ends_it(live: Live) -> None:
    board = await live.board()
    live.record.meanwhile = live.hub.close

    board.send(id=9, type="subscribe", topic=STALL)

    assert await board.close_code() == 1012
    assert await live.hub.clients.finish_work(5)
    assert live.hub.streams() == []


async def test_a_doorbell_that_rings_while_the_stream_is_being_read_is_answered(live: Live) -> None:
    for _ in range(3):
        live.record.write(STALL)
    board = await live.board()

    def another_process_writes() -> None:
        live.record.meanwhile = lambda: None
        live.record.write(STALL)
        live.hub.doorbell(STALL, 4)

    live.record.meanwhile = another_process_writes
    back = await board.listen(STALL, since=("e1", 1))

    assert seqs(back["events"]) == [2, 3]
    assert await next_seqs(board, 1) == [4]


async def test_a_history_with_a_hole_is_told_as_broken(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)
    live.happen(STALL)
    # Somebody deleted events that nobody here had read yet.
    for _ in range(PORTION + 5):
        live.record.write(STALL)
    del live.record.events[STALL][1:]
    live.record.head = lambda stream: Head(1, stream, "e1", PORTION + 6)  # type: ignore[method-assign]

    live.hub.doorbell(STALL, PORTION + 6)

    assert await board.close_code() == 1012


async def test_a_stall_that_never_rests_is_answered_with_a_reason(live: Live) -> None:
    board = await live.board()
    await board.listen(STALL)
    live.record.meanwhile = happens(live, RING + 1)

    answer = await (await live.diner()).ask("subscribe", topic=STALL)

    assert answer["error"]["code"] == "stream.busy"
    assert live.hub.streams() == [STALL]


async def test_one_who_hangs_up_while_subscribing_leaves_nothing_behind(live: Live) -> None:
    board = await live.board()
    gone = asyncio.Event()

    def hang_up() -> None:
        board.hang_up()
        gone.set()

    live.record.meanwhile = hang_up
    board.send(id=9, type="subscribe", topic=STALL)
    await gone.wait()

    await until(lambda: len(live.hub.clients) == 0)
    await until(lambda: live.hub.streams() == [])


async def test_heads_of_streams_never_heard_of_are_no_error(live: Live) -> None:
    live.hub.check({"stall:1": Head(1, "stall:1", "e1", 5)})
    live.happen("stall:1")

    assert live.hub.streams() == []
