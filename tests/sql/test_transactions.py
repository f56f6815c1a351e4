"""What holds for a function in a transaction, on whichever database."""

import asyncio
from collections.abc import Callable, Sequence
from threading import Event as Flag

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from sql.database import Database, list_verb, open_database
from sql.errors import Overloaded
from sql.events import Event
from sql.transaction import Tx
from tests.clock import Clock
from tests.conftest import Told
from tests.sql import notes
from tests.sql.notes import Refused


async def test_functions_asked_for_together_share_one_commit(book: Database) -> None:
    commits = book.commits

    await asyncio.gather(*[book.write(notes.add, f"word {n}") for n in range(20)])

    assert book.commits == commits + 1
    assert await book.read(notes.count) == 20


async def test_a_function_that_raises_undoes_only_itself(book: Database, told: Told) -> None:
    outcomes = await asyncio.gather(
        book.write(notes.add_and_tell, "first"),
        book.write(notes.add_and_refuse, "second"),
        book.write(notes.add_and_tell, "third"),
        return_exceptions=True,
    )

    assert outcomes[0] == 1
    assert isinstance(outcomes[1], Refused)
    assert outcomes[2] == 2
    assert await book.read(notes.words) == ["first", "third"]
    assert told.names == ["first", "third"]
    assert told.wakes == {"first", "third"}


async def test_a_function_that_is_alone_and_raises_leaves_nothing(
    book: Database, told: Told
) -> None:
    with pytest.raises(Refused):
        await book.write(notes.add_and_refuse, "word")

    assert await book.read(notes.words) == []
    assert told.events == []
    assert told.wakes == set()


async def test_arguments_are_handed_on_and_the_value_comes_back(book: Database) -> None:
    def join(tx: Tx, first: str, *, second: str) -> str:
        return first + second

    assert await book.write(join, "a", second="b") == "ab"
    assert await book.read(join, "a", second="b") == "ab"


async def test_requests_of_a_list_verb_are_given_to_it_together(book: Database) -> None:
    outcomes = await asyncio.gather(
        book.write(notes.add_all, "a"),
        book.write(notes.add, "between"),
        book.write(notes.add_all, "b"),
        book.write(notes.add_all, "unwelcome"),
        return_exceptions=True,
    )

    assert list(outcomes[:3]) == [3, "between", 3]
    assert isinstance(outcomes[3], Refused)
    assert sorted(await book.read(notes.words)) == ["a", "b", "between"]


@pytest.mark.parametrize("beside", [[], ["beside"]])
async def test_a_request_that_spoils_a_list_verb_spoils_only_its_own(
    book: Database, beside: list[str]
) -> None:
    outcomes = await asyncio.gather(
        *[book.write(notes.add_all, word) for word in ("a", "bad", "b")],
        *[book.write(notes.add, word) for word in beside],
        return_exceptions=True,
    )

    # Each was given to the verb alone.
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], Refused)
    assert outcomes[2] == 1
    assert sorted(await book.read(notes.words)) == ["a", "b", *beside]


async def test_a_list_verb_that_loses_an_outcome_is_an_error_of_its_callers_only(
    book: Database,
) -> None:
    @list_verb
    def forgetful(tx: Tx, wanted: Sequence[str]) -> Sequence[str | Exception]:
        notes.add(tx, wanted[0])
        return []

    outcomes = await asyncio.gather(
        book.write(forgetful, "lost"), book.write(notes.add, "kept"), return_exceptions=True
    )

    assert isinstance(outcomes[0], ValueError)
    assert await book.read(notes.words) == ["kept"]


async def test_a_list_verb_can_be_called_within_another_function(book: Database) -> None:
    def both(tx: Tx) -> Sequence[int | Exception]:
        return notes.add_all(tx, ["a", "b"])

    assert await book.write(both) == [2, 2]


async def test_more_functions_than_a_batch_holds_are_all_done(book: Database) -> None:
    book.batch_max = 7
    commits = book.commits

    await asyncio.gather(*[book.write(notes.add, f"word {n}") for n in range(50)])

    assert book.commits == commits + 8
    assert await book.read(notes.count) == 50


async def test_functions_that_come_while_another_batch_runs_share_the_next(
    book: Database,
) -> None:
    commits = book.commits
    first = asyncio.ensure_future(book.write(notes.add, "first"))
    await asyncio.sleep(0)
    seconds = []
    for n in range(5):
        # Each in a tick of its own.
        seconds.append(asyncio.ensure_future(book.write(notes.add, f"word {n}")))
        await asyncio.sleep(0)

    await asyncio.gather(first, *seconds)

    assert await book.read(notes.count) == 6
    assert book.commits <= commits + 6
    assert book.outstanding == 0


async def test_a_function_may_catch_an_error_of_its_own_and_go_on(book: Database) -> None:
    def add_or_find(tx: Tx, word: str) -> str:
        try:
            return notes.add(tx, word)
        except IntegrityError:
            return "was there"

    await book.write(notes.add, "word")

    assert await book.write(add_or_find, "word") == "was there"
    again = await asyncio.gather(book.write(add_or_find, "word"), book.write(add_or_find, "new"))
    assert list(again) == ["was there", "new"]
    assert await book.read(notes.words) == ["word", "new"]


async def test_a_refused_value_that_speaks_of_lost_connections_is_refused_once(
    book: Database,
) -> None:
    runs = 0

    def add(tx: Tx, word: str) -> None:
        nonlocal runs
        runs += 1
        notes.add(tx, word)

    for word in ("connection was killed", "already closed", "database is locked"):
        await book.write(notes.add, word[:20])
        runs = 0

        with pytest.raises(IntegrityError):
            await book.write(add, word[:20])

        assert runs == 1


async def test_a_word_that_python_would_not_put_into_a_future_is_told_as_an_error(
    book: Database,
) -> None:
    def stop(tx: Tx) -> str:
        return next(iter([]))

    stopped, added = await asyncio.gather(
        book.write(stop), book.write(notes.add, "after"), return_exceptions=True
    )

    assert isinstance(stopped, RuntimeError)
    assert added == "after"


# Telling


async def test_events_are_told_after_the_commit_and_before_the_answer(book: Database) -> None:
    order: list[str] = []

    def told(events: list[Event], wakes: set[str]) -> None:
        order.append(f"told {events[0].name}")

    def write(tx: Tx) -> None:
        notes.tell(tx, "written")
        order.append("ran")

    book._told = told
    await book.write(write)
    order.append("answered")

    assert order == ["ran", "told written", "answered"]


async def test_events_are_told_in_the_order_of_their_commits(book: Database, told: Told) -> None:
    book.batch_max = 3

    seqs = await asyncio.gather(*[book.write(notes.add_and_tell, f"w{n}") for n in range(30)])

    assert seqs == list(range(1, 31))
    assert [event.seq for event in told.events] == seqs
    assert told.wakes == {f"w{n}" for n in range(30)}


async def test_a_wake_without_an_event_is_told(book: Database, told: Told) -> None:
    def wake(tx: Tx) -> None:
        tx.wake("sweep")

    await book.write(wake)

    assert told.wakes == {"sweep"}


async def test_a_listener_that_raises_does_no_harm(
    book: Database, expect_log: Callable[[str], None]
) -> None:
    def stumble(events: list[Event], wakes: set[str]) -> None:
        raise RuntimeError("the listener stumbled")

    book._told = stumble
    expect_log("telling of committed events failed")

    assert await book.write(notes.add_and_tell, "word") == 1
    assert await book.read(notes.words) == ["word"]


async def test_without_a_listener_nothing_is_told(sqlite_url: str, clock: Clock) -> None:
    database = await open_database(sqlite_url, now=clock.now)
    await database.migrate()

    assert await database.write(notes.tell, "word") == 1

    await database.close()


# Callers that go away, and too many of them


async def test_a_caller_cancelled_before_the_start_changes_nothing(book: Database) -> None:
    caller = asyncio.create_task(book.write(notes.add, "unwanted"))
    await asyncio.sleep(0)
    caller.cancel()
    beside = await book.write(notes.add, "wanted")

    assert beside == "wanted"
    assert await book.read(notes.words) == ["wanted"]
    assert caller.cancelled()
    assert book.outstanding == 0


async def test_when_all_callers_are_cancelled_nothing_is_committed(book: Database) -> None:
    commits = book.commits
    caller = asyncio.create_task(book.write(notes.add, "unwanted"))
    await asyncio.sleep(0)
    caller.cancel()
    # What is closed has finished all.
    await book.close()

    assert book.commits == commits
    assert book.outstanding == 0


async def test_a_caller_cancelled_while_its_function_runs_does_not_stop_it(
    book: Database, told: Told
) -> None:
    loop = asyncio.get_running_loop()
    caller: asyncio.Task[int]

    def add(tx: Tx) -> int:
        loop.call_soon_threadsafe(caller.cancel)
        return notes.add_and_tell(tx, "word")

    caller = asyncio.create_task(book.write(add))
    with pytest.raises(asyncio.CancelledError):
        await caller
    # The next transaction comes after it.
    await book.write(notes.add, "after")

    assert await book.read(notes.words) == ["word", "after"]
    assert told.names == ["word"]


async def test_more_waiting_functions_than_the_bound_are_refused(book: Database) -> None:
    book.waiting_max = 10

    outcomes = await asyncio.gather(
        *[book.write(notes.add, f"word {n}") for n in range(15)], return_exceptions=True
    )

    assert sum(isinstance(outcome, Overloaded) for outcome in outcomes) == 5
    assert await book.read(notes.count) == 10
    assert await book.write(notes.add, "later") == "later"


async def test_more_waiting_readers_than_the_bound_are_refused(book: Database) -> None:
    book.reading_max = 4

    outcomes = await asyncio.gather(
        *[book.read(notes.count) for _ in range(6)], return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [int] * 4 + [Overloaded] * 2
    assert await book.read(notes.count) == 0


async def test_what_waits_at_closing_is_done_and_what_comes_later_is_refused(
    book: Database, database_url: str, clock: Clock
) -> None:
    waiting = asyncio.gather(*[book.write(notes.add, f"word {n}") for n in range(5)])
    await asyncio.sleep(0)
    closing = asyncio.create_task(book.close())
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await book.write(notes.add, "late")
    with pytest.raises(Overloaded):
        await book.read(notes.count)
    await closing
    await book.close()

    assert len(await waiting) == 5
    again = await open_database(database_url, now=clock.now)
    assert await again.read(notes.count) == 5
    await again.close()


async def test_closing_lets_a_batch_under_way_finish(
    book: Database, database_url: str, clock: Clock
) -> None:
    book.batch_max = 2
    waiting = asyncio.gather(*[book.write(notes.add, f"word {n}") for n in range(9)])
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    await book.close()

    assert len(await waiting) == 9


# Memory


async def test_what_is_remembered_is_there_in_the_next_transaction(book: Database) -> None:
    assert await book.write(count_up) == 1
    assert await book.write(count_up) == 2


def count_up(tx: Tx, *, fail: bool = False) -> int:
    """Count in a list that is changed in place, as the pools of stalls are."""
    kept: list[int] | None = tx.recall("count")
    if kept is None:
        kept = [0]
        tx.remember("count", kept)
    kept[0] += 1
    if fail:
        raise Refused
    return kept[0]


async def test_what_a_function_remembered_is_forgotten_when_it_fails(book: Database) -> None:
    await book.write(count_up)

    with pytest.raises(Refused):
        await book.write(count_up, fail=True)

    assert await book.write(count_up) == 1


async def test_what_a_failed_function_changed_is_forgotten_though_its_batch_commits(
    book: Database,
) -> None:
    await book.write(count_up)

    await asyncio.gather(
        book.write(count_up, fail=True), book.write(notes.add, "beside"), return_exceptions=True
    )

    assert await book.write(count_up) == 1


async def test_a_reader_has_no_memory(book: Database) -> None:
    await book.write(count_up)

    assert await book.read(count_up) == 1
    assert await book.read(count_up) == 1
    assert await book.write(count_up) == 2


async def test_the_oldest_memories_make_room(book: Database) -> None:
    book.memory.most = 2

    def remember(tx: Tx, key: str) -> None:
        tx.remember(key, key)

    def recall(tx: Tx) -> list[object]:
        return [tx.recall(key) for key in ("a", "b", "c")]

    for key in ("a", "b", "c"):
        await book.write(remember, key)

    assert await book.write(recall) == [None, "b", "c"]
    book.memory.clear()
    assert await book.write(recall) == [None, None, None]


# Reading


async def test_a_reader_can_change_nothing(book: Database) -> None:
    await book.write(notes.add, "word")

    with pytest.raises(DBAPIError):
        await book.read(notes.rename, "word", "other")
    with pytest.raises(DBAPIError):
        await book.read(notes.add, "another")
    with pytest.raises(DBAPIError):
        await book.read(notes.run, "DROP TABLE notes")

    assert await book.read(notes.words) == ["word"]


async def test_what_a_reading_function_raises_is_raised_to_its_caller(book: Database) -> None:
    def refuse(tx: Tx) -> None:
        raise Refused

    with pytest.raises(Refused):
        await book.read(refuse)
    with pytest.raises(DBAPIError):
        await book.read(notes.run, "SELECT nothing FROM nowhere")

    assert await book.read(notes.count) == 0


async def test_a_reader_sees_one_moment_throughout(book: Database) -> None:
    loop = asyncio.get_running_loop()
    await book.write(notes.add, "before")
    written = Flag()

    def write_meanwhile() -> None:
        task = asyncio.ensure_future(book.write(notes.add, "meanwhile"))
        task.add_done_callback(lambda _: written.set())

    def look_twice(tx: Tx) -> tuple[int, int]:
        first = notes.count(tx)
        loop.call_soon_threadsafe(write_meanwhile)
        while not written.is_set():
            # On MySQL this lets the loop go on; on SQLite we are in a thread of our own.
            notes.value(tx, "SELECT 1")
        return first, notes.count(tx)

    assert await book.read(look_twice) == (1, 1)
    assert await book.read(notes.count) == 2


async def test_readers_never_see_half_a_batch(book: Database) -> None:
    done = False
    seen: list[int] = []

    async def look() -> None:
        while not done:
            seen.append(await book.read(notes.count))

    lookers = [asyncio.create_task(look()) for _ in range(3)]
    for n in range(20):
        await asyncio.gather(*[book.write(notes.add, f"{n} {m}") for m in range(10)])
    done = True
    await asyncio.gather(*lookers)

    assert seen
    assert {number % 10 for number in seen} == {0}


async def test_a_cancelled_reader_leaves_its_connection_to_the_next(book: Database) -> None:
    for _ in range(10):
        readers = [asyncio.create_task(book.read(notes.count)) for _ in range(10)]
        await asyncio.sleep(0.001)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    assert await book.read(notes.count) == 0


async def test_the_time_is_the_one_handed_down(db: Database, clock: Clock) -> None:
    def now(tx: Tx) -> int:
        return tx.now

    assert await db.write(now) == clock.now()
    clock.advance(days=1)
    assert await db.write(now) == clock.now()
    assert await db.read(now) == clock.now()


async def test_another_kind_of_url_is_refused(clock: Clock) -> None:
    for url in ("postgresql://localhost/callme", "sqlite://", "callme.db", ""):
        with pytest.raises(ValueError, match="sqlite:/// or mysql://"):
            await open_database(url, now=clock.now)
