"""The same key and request get the first answer again, from whichever process."""

import asyncio

import pytest

from sql import idempotency
from sql.database import Database
from sql.idempotency import (
    Asked,
    KeyReused,
    fingerprint,
    forget,
    key_id,
    known,
    once,
    once_as,
)
from sql.mysql import MySQL
from sql.transaction import Tx
from tests.clock import Clock
from tests.sql import notes
from tests.sql.notes import Refused


def add_once(tx: Tx, key: str, word: str) -> str:
    return once(tx, "account:1", key, fingerprint("add", word), notes.add, word)


async def test_a_repeat_gets_the_first_answer_and_changes_nothing(book: Database) -> None:
    first = await book.write(add_once, "key", "word")

    second = await book.write(add_once, "key", "word")

    assert first == second == "word"
    assert await book.read(notes.words) == ["word"]


async def test_a_repeat_in_the_same_batch_gets_the_first_answer(book: Database) -> None:
    answers = await asyncio.gather(*[book.write(add_once, "key", "word") for _ in range(10)])

    assert set(answers) == {"word"}
    assert await book.read(notes.words) == ["word"]


async def test_a_value_comes_again_as_it_was_and_is_known(book: Database) -> None:
    asked = Asked("account:1", "key", "mark")

    def words(tx: Tx, word: str) -> list[str]:
        return [notes.add(tx, word)]

    before = await book.read(known, list[str], asked)
    first = await book.write(once_as, list[str], asked, words, "word")
    again = await book.write(once_as, list[str], asked, words, "word")
    found = await book.read(known, list[str], asked)

    assert (before, first, again, found) == (None, ["word"], ["word"], ["word"])
    assert await book.read(known, list[str], Asked("account:1", "", "mark")) is None
    with pytest.raises(KeyReused):
        await book.read(known, list[str], Asked("account:1", "key", "other"))
    await book.write(forget, asked)
    assert await book.read(known, list[str], asked) is None
    assert await book.read(notes.words) == ["word"]


async def test_a_key_used_for_another_request_is_refused(book: Database) -> None:
    await book.write(add_once, "key", "word")

    with pytest.raises(KeyReused):
        await book.write(add_once, "key", "other")

    assert await book.read(notes.words) == ["word"]


async def test_the_same_key_of_another_person_is_another_key(book: Database) -> None:
    def add(tx: Tx, scope: str) -> str:
        return once(tx, scope, "key", "mark", notes.add, scope)

    assert await book.write(add, "account:1") == "account:1"
    assert await book.write(add, "account:2") == "account:2"


async def test_without_a_key_every_request_runs(book: Database) -> None:
    await book.write(add_once, "", "one")
    await book.write(add_once, "", "two")

    assert await book.read(notes.words) == ["one", "two"]


async def test_a_refused_request_leaves_its_key_free(book: Database) -> None:
    def refuse(tx: Tx) -> str:
        raise Refused

    def refuse_once(tx: Tx) -> str:
        return once(tx, "account:1", "key", fingerprint("add", "word"), refuse)

    with pytest.raises(Refused):
        await book.write(refuse_once)

    assert await book.write(add_once, "key", "word") == "word"


async def test_a_key_may_be_any_text(book: Database) -> None:
    for n, key in enumerate(["空", "🍜", "x" * 5000, "a\nb", "\ud800", "'; DROP TABLE notes"]):
        assert await book.write(add_once, key, f"word {n}") == f"word {n}"
        assert await book.write(add_once, key, f"word {n}") == f"word {n}"

    assert key_id("a", "b") != key_id("a\nb", "")
    assert fingerprint("1") != fingerprint(1)


@pytest.mark.mariadb
async def test_of_two_processes_racing_with_one_key_the_second_gets_the_firsts_answer(
    mysql_book: MySQL, second_book: MySQL
) -> None:
    runs: list[str] = []

    def add_slowly(tx: Tx, who: str) -> str:
        runs.append(who)
        # Until the other waits for our key, or this would be no race.
        while not is_waited_for(tx):
            pass
        return notes.add(tx, who)

    def add(tx: Tx, who: str) -> str:
        return once(tx, "account:1", "key", "mark", add_slowly, who)

    answers = await asyncio.gather(mysql_book.write(add, "one"), second_book.write(add, "two"))

    assert len(runs) == 1
    assert list(answers) == runs * 2
    assert await mysql_book.read(notes.words) == runs


@pytest.mark.mariadb
async def test_of_two_processes_racing_the_second_runs_when_the_first_is_refused(
    mysql_book: MySQL, second_book: MySQL
) -> None:
    runs: list[str] = []

    def refuse_the_first(tx: Tx, who: str) -> str:
        runs.append(who)
        if len(runs) > 1:
            return notes.add(tx, who)
        while not is_waited_for(tx):
            pass
        raise Refused

    def add(tx: Tx, who: str) -> str:
        return once(tx, "account:1", "key", "mark", refuse_the_first, who)

    answers = await asyncio.gather(
        mysql_book.write(add, "one"), second_book.write(add, "two"), return_exceptions=True
    )

    assert sorted(runs) == ["one", "two"]
    assert [type(answer) for answer in answers].count(Refused) == 1
    assert await mysql_book.read(notes.words) == [runs[1]]


@pytest.mark.mariadb
async def test_of_two_processes_racing_with_one_key_for_two_requests_one_is_refused(
    mysql_book: MySQL, second_book: MySQL
) -> None:
    def add_slowly(tx: Tx, who: str) -> str:
        while not is_waited_for(tx):
            pass
        return notes.add(tx, who)

    def add(tx: Tx, who: str) -> str:
        return once(tx, "account:1", "key", who, add_slowly, who)

    answers = await asyncio.gather(
        mysql_book.write(add, "one"), second_book.write(add, "two"), return_exceptions=True
    )

    assert [type(answer) for answer in answers].count(KeyReused) == 1
    assert await mysql_book.read(notes.count) == 1


def is_waited_for(tx: Tx) -> bool:
    """Whether another transaction waits for a lock; asked once each 0.15 s.

    The server renews what it says of its transactions only if nobody has asked for 0.1 s.
    """
    notes.value(tx, "SELECT SLEEP(0.15)")
    waiting = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    return notes.value(tx, waiting) == 1


async def test_a_list_verb_looks_up_and_keeps_many_keys_at_once(db: Database) -> None:
    rows = [(key_id("a", str(n)), "mark", f"answer {n}") for n in range(300)]

    await db.write(idempotency.keep_answers, rows)
    await db.write(idempotency.keep_answers, [])

    found = await db.read(idempotency.find_answers, [row[0] for row in rows] + ["unknown"])
    assert found == {row[0]: row[1:] for row in rows}
    assert await db.read(idempotency.find_answers, []) == {}


async def test_old_keys_are_swept_a_few_at_a_time(book: Database, clock: Clock) -> None:
    for n in range(3):
        await book.write(add_once, f"old {n}", f"old {n}")
    clock.advance(days=2)
    await book.write(add_once, "new", "new")
    old = clock.now() - 1

    def sweep(tx: Tx) -> int:
        return idempotency.sweep(tx, older_than=old, most=2)

    assert [await book.write(sweep) for _ in range(3)] == [2, 1, 0]
    assert await book.write(add_once, "new", "new") == "new"
    # A key that was swept is a new one, and here its word is taken.
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        await book.write(add_once, "old 0", "old 0")
