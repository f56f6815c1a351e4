"""Streams are gapless, whoever writes to them, and are read in windows."""

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError

from sql import events
from sql.database import Database
from sql.events import RESTORE_LEAP, Head, Line, append, heads, lock_streams, read_events
from sql.mysql import MySQL
from sql.transaction import Tx
from tests.clock import Clock
from tests.conftest import Told
from tests.sql import notes
from tests.sql.test_idempotency import is_waited_for


def write(tx: Tx, stream: str, *lines: Line) -> int:
    head = lock_streams(tx, [stream])[stream]
    append(tx, {stream: (head, lines)})
    return head.seq


def all_events(tx: Tx, stream: str, after: int = 0) -> list[events.Event]:
    return read_events(tx, stream, after=after)[1]


PRIVATE = '{"note":"空🍜","by":"seller"}'.encode()


async def test_what_is_told_is_what_is_recorded(db: Database, told: Told, clock: Clock) -> None:
    line = Line("ticket.called", 7, '{"note":"空🍜"}'.encode(), b'{"by":"seller"}')

    await db.write(write, "stall:1", line, Line("quiet", 0, b""))

    head, recorded = await db.read(lambda tx: read_events(tx, "stall:1", after=0))
    assert recorded == told.events
    assert head is not None
    first, second = recorded
    assert first == events.Event(
        "stall:1", head.epoch, 1, "ticket.called", clock.now(), 7, line.data, PRIVATE
    )
    assert (second.seq, second.name, second.data, second.private) == (2, "quiet", b"", b"")
    assert head.seq == 2


async def test_many_streams_are_appended_to_at_once(db: Database, told: Told) -> None:
    def write_all(tx: Tx) -> dict[str, Head]:
        found = lock_streams(tx, ["b", "a", "c", "a"])
        append(
            tx,
            {
                "a": (found["a"], [Line("one", 0, b"{}"), Line("two", 0, b"{}")]),
                "b": (found["b"], [Line("one", 0, b"{}")]),
                "c": (found["c"], []),
            },
        )
        return found

    await db.write(write_all)
    found = await db.write(write_all)

    assert {name: head.seq for name, head in found.items()} == {"a": 4, "b": 2, "c": 0}
    assert await db.read(heads, ["a", "b", "c", "d"]) == found
    assert [(event.stream, event.seq) for event in told.events] == [
        ("a", 1), ("a", 2), ("b", 1), ("a", 3), ("a", 4), ("b", 2)
    ]  # fmt: skip


async def test_appending_nothing_writes_nothing(db: Database, told: Told) -> None:
    await db.write(write, "stall:1")

    assert told.events == []
    assert (await db.read(heads, ["stall:1"]))["stall:1"].seq == 0


async def test_streams_are_made_only_where_that_is_wanted(db: Database) -> None:
    def lock(tx: Tx, make: bool) -> dict[str, Head]:
        return lock_streams(tx, ["a", "b"], make=make)

    assert await db.write(lock, False) == {}
    made = await db.write(lock, True)
    assert sorted(made) == ["a", "b"]
    assert made["a"].epoch != made["b"].epoch
    assert await db.write(lock, True) == await db.write(lock, False) == made
    assert await db.write(lambda tx: lock_streams(tx, [])) == {}


async def test_streams_are_gapless_under_many_writers(book: Database, told: Told) -> None:
    def write_some(tx: Tx, n: int) -> int:
        seq = write(tx, f"stall:{n % 3}", Line("issued", n, b"{}"))
        if n % 5 == 0:
            raise notes.Refused
        return seq

    outcomes = await asyncio.gather(
        *[book.write(write_some, n) for n in range(200)], return_exceptions=True
    )

    assert sum(isinstance(outcome, notes.Refused) for outcome in outcomes) == 40
    for stall in range(3):
        stream = f"stall:{stall}"
        recorded = await book.read(all_events, stream)
        assert [event.seq for event in recorded] == list(range(1, len(recorded) + 1))
        assert [event for event in told.events if event.stream == stream] == recorded


@pytest.mark.mariadb
async def test_streams_are_gapless_under_two_processes(
    mysql_book: MySQL, second_book: MySQL
) -> None:
    def write_both(tx: Tx, n: int) -> int:
        # In either order: the locks are taken in one.
        names = ["stall:1", "stall:2"][:: 1 if n % 2 else -1]
        found = lock_streams(tx, names)
        append(tx, {name: (found[name], [Line("issued", n, b"{}")]) for name in names})
        return found["stall:1"].seq

    books = (mysql_book, second_book)
    for book in books:
        book.batch_max = 7
    seqs = await asyncio.gather(*[books[n % 2].write(write_both, n) for n in range(200)])

    assert sorted(seqs) == list(range(1, 201))
    for stream in ("stall:1", "stall:2"):
        recorded = await mysql_book.read(all_events, stream)
        assert [event.seq for event in recorded] == list(range(1, 201))
        assert sorted(event.subject for event in recorded) == list(range(200))


@pytest.mark.mariadb
async def test_two_processes_that_make_a_stream_at_once_make_one(
    mysql_book: MySQL, second_book: MySQL
) -> None:
    turns = 0

    def make(tx: Tx) -> int:
        nonlocal turns
        turns += 1
        first = turns == 1
        seq = write(tx, "stall:1", Line("opened", 0, b"{}"))
        while first and not is_waited_for(tx):
            pass
        return seq

    seqs = await asyncio.gather(mysql_book.write(make), second_book.write(make))

    assert sorted(seqs) == [1, 2]
    assert await mysql_book.read(notes.value, "SELECT COUNT(*) FROM streams") == 1
    assert len({event.epoch for event in await mysql_book.read(all_events, "stall:1")}) == 1


@pytest.mark.mariadb
async def test_a_stream_that_another_process_holds_does_not_hold_up_the_others(
    mysql_book: MySQL, second_book: MySQL
) -> None:
    for n in range(5):
        await mysql_book.write(write, f"stall:{n}", Line("opened", 0, b"{}"))
    gone_on = False

    def hold(tx: Tx) -> None:
        lock_streams(tx, ["stall:3"])
        while not gone_on:
            notes.value(tx, "SELECT 1")

    holding = asyncio.create_task(mysql_book.write(hold))
    seq = await second_book.write(write, "stall:1", Line("called", 0, b"{}"))
    gone_on = True
    await holding

    assert seq == 2


async def test_a_stream_is_read_in_windows(db: Database) -> None:
    lines = [Line("called", n % 2, b"{}") for n in range(10)]
    await db.write(write, "stall:1", *lines)

    def read(tx: Tx, after: int, most: int, subject: int) -> list[int]:
        head, found = read_events(tx, "stall:1", after=after, most=most, subject=subject)
        assert head is not None
        assert head.seq == 10
        return [event.seq for event in found]

    assert await db.read(read, 0, 1000, 0) == list(range(1, 11))
    assert await db.read(read, 0, 3, 0) == [1, 2, 3]
    assert await db.read(read, 7, 1000, 0) == [8, 9, 10]
    assert await db.read(read, 9, 1, 0) == [10]
    assert await db.read(read, 10, 1000, 0) == []
    assert await db.read(read, 99, 1000, 0) == []
    # Of one subject: those within the window only.
    assert await db.read(read, 0, 1000, 1) == [2, 4, 6, 8, 10]
    assert await db.read(read, 3, 4, 1) == [4, 6]


async def test_a_stream_that_is_not_there_has_no_head_and_no_events(db: Database) -> None:
    assert await db.read(lambda tx: read_events(tx, "stall:1", after=0)) == (None, [])


async def test_the_keys_of_acts_and_the_subjects_of_events_are_found_in_a_streams_last_lines(
    db: Database,
) -> None:
    await db.write(
        write,
        "stall:1",
        Line("issued", 1, b"{}", act_key="too old"),
        Line("issued", 2, b"{}", act_key="a"),
        Line("called", 3, b"{}"),
        Line("noted", 4, b"{}", act_key="b"),
    )

    def look(tx: Tx) -> tuple[dict[str, int], set[int]]:
        head = heads(tx, ["stall:1"])["stall:1"]
        keys = events.act_keys(tx, head, most=3)
        return keys, events.subjects(tx, head, ["issued", "called"], most=3)

    assert await db.read(look) == ({"a": 2, "b": 4}, {2, 3})


def test_what_staff_see_is_what_everyone_sees_and_more() -> None:
    assert events.merged(b'{"a":1}', b'{"b":2}') == b'{"a":1,"b":2}'
    assert events.merged(b'{"a":1}', b"") == b""
    assert events.merged(b"", b'{"b":2}') == b'{"b":2}'


async def test_a_new_history_begins_a_leap_ahead_in_another_epoch(db: Database) -> None:
    await db.write(write, "a", Line("one", 0, b"{}"))
    await db.write(write, "b", Line("one", 0, b"{}"), Line("two", 0, b"{}"))
    before = await db.read(heads, ["a", "b"])

    await db.write(events.begin_new_history)

    after = await db.read(heads, ["a", "b"])
    assert after["a"].seq == 1 + RESTORE_LEAP
    assert after["b"].seq == 2 + RESTORE_LEAP
    epochs = {head.epoch for head in (*before.values(), *after.values())}
    assert len(epochs) == 4
    assert await db.write(write, "a", Line("two", 0, b"{}")) == 2 + RESTORE_LEAP


@pytest.mark.mariadb
async def test_a_name_too_long_for_its_column_is_an_error(mysql_book: MySQL) -> None:
    with pytest.raises(DBAPIError, match="too long"):
        await mysql_book.write(write, "s" * 65, Line("opened", 0, b"{}"))
    with pytest.raises(DBAPIError, match="too long"):
        await mysql_book.write(write, "stall:1", Line("n" * 41, 0, b"{}"))

    assert await mysql_book.read(notes.value, "SELECT COUNT(*) FROM streams") == 0
