"""Two processes post to one ledger at once, and it is as if one had waited for the other."""

import asyncio
import itertools
import random
from typing import Any

import pytest

from payments.ledger import holds, store
from payments.ledger.model import (
    SALES,
    TICKET_REDEEMED,
    AlreadyReversed,
    Asset,
    HoldResolved,
    Journal,
    JournalDiffers,
    Lines,
    Overdrawn,
    Posting,
    hold_of,
    tickets_of,
)
from payments.ledger.service import Books
from payments.ledger.store import post, post_many
from sql.database import Database, open_database
from sql.errors import CommitUnknown, DatabaseUnavailable
from tests.clock import Clock
from tests.payments.postings import LI, balance, count, given, paid, spent, tickets
from tests.servers import MariaDB

pytestmark = pytest.mark.mariadb

Two = tuple[Database, Database]


async def at_once(*asked: "asyncio.Future[Any]") -> list[Any]:
    return await asyncio.gather(*asked, return_exceptions=True)


def kinds(outcomes: list[Any]) -> dict[type, int]:
    return {kind: sum(type(each) is kind for each in outcomes) for kind in set(map(type, outcomes))}


async def assert_sound(db: Database) -> None:
    assert await Books(db).check() == []


async def test_the_first_postings_of_all_may_come_from_both(two_dbs: Two) -> None:
    """Neither the head nor any account is there yet."""
    outcomes = await at_once(
        *(
            db.submit(post, "order", f"{number}-{n}", "paid", paid(n))
            for number, db in enumerate(two_dbs)
            for n in range(1, 101)
        )
    )

    assert kinds(outcomes) == {Journal: 200}
    assert sorted(journal.id for journal in outcomes) == list(range(1, 201))
    assert await balance(two_dbs[0], SALES) == 2 * 5050
    await assert_sound(two_dbs[1])


async def test_two_phones_spend_no_ticket_twice(two_dbs: Two) -> None:
    first, second = two_dbs
    await first.write(post, "grant", "1", "given", given(LI, 100))

    outcomes = await at_once(
        *(
            db.submit(post, "meal", f"{db is first}-{n}", "paid", spent(LI, 1))
            for n in range(80)
            for db in (first, second)
        )
    )

    assert kinds(outcomes) == {Journal: 100, Overdrawn: 60}
    assert await tickets(first) == 0
    await assert_sound(first)


async def test_the_same_posting_from_both_is_one_journal(two_dbs: Two) -> None:
    outcomes = await at_once(
        *(
            db.submit(post, "order", str(n), "paid", paid(7))
            for n in range(50)
            for db in itertools.chain(two_dbs, two_dbs)
        )
    )

    assert kinds(outcomes) == {Journal: 200}
    assert await count(two_dbs[0], "ledger_journals") == 50
    assert await balance(two_dbs[0], SALES) == 350
    await assert_sound(two_dbs[0])


async def test_of_two_postings_under_one_key_one_is_refused(two_dbs: Two) -> None:
    first, second = two_dbs

    outcomes = await at_once(
        *(
            db.submit(post, "order", str(n), "paid", paid(amount))
            for n in range(50)
            for db, amount in ((first, 1), (second, 2))
        )
    )

    assert kinds(outcomes) == {Journal: 50, JournalDiffers: 50}
    await assert_sound(first)


async def test_a_hold_is_captured_or_released_but_not_both(two_dbs: Two) -> None:
    first, second = two_dbs
    await first.write(post, "grant", "1", "given", given(LI, 1000))
    for n in range(30):
        await first.write(holds.hold, "door", str(n), tickets_of(LI), Asset.TICKET, 10)

    outcomes = await at_once(
        *itertools.chain.from_iterable(
            (
                first.submit(holds.capture, "door", str(n), amount=10, to=TICKET_REDEEMED),
                second.submit(holds.release, "door", str(n)),
            )
            for n in range(30)
        )
    )

    assert kinds(outcomes) == {Journal: 30, HoldResolved: 30}
    captured = sum(type(outcome) is Journal for outcome in outcomes[::2])
    assert await tickets(first) == 1000 - 10 * captured
    assert await balance(first, hold_of(LI, "door"), Asset.TICKET) == 0
    await assert_sound(first)


async def test_a_journal_is_taken_back_by_one_of_them(two_dbs: Two) -> None:
    first, second = two_dbs
    journals = await first.write(
        post_many, [Posting("grant", str(n), "given", given(LI, 10)) for n in range(30)]
    )
    back: Lines = list(reversed(given(LI, -10)))

    outcomes = await at_once(
        *itertools.chain.from_iterable(
            (
                first.submit(store.reverse, journal.id),
                second.submit(post, "undo", str(journal.id), "x", back, "", journal.id),
            )
            for journal in journals
            if isinstance(journal, Journal)
        )
    )

    assert kinds(outcomes) == {Journal: 30, AlreadyReversed: 30}
    assert await tickets(first) == 0
    await assert_sound(second)


async def test_both_check_while_both_post(two_dbs: Two) -> None:
    first, second = two_dbs

    async def work(db: Database, name: str) -> None:
        for n in range(10):
            await db.write(
                post_many, [Posting(name, f"{n}-{k}", "paid", paid(k)) for k in range(1, 30)]
            )

    *_, one, other = await asyncio.gather(
        work(first, "a"),
        work(second, "b"),
        Books(first, at_once=50).check(),
        Books(second, at_once=50).check(),
    )

    assert (one, other) == ([], [])
    await assert_sound(first)


@pytest.mark.torture
@pytest.mark.timeout(7200)
async def test_what_was_answered_survives_the_servers_sudden_end(
    own_mariadb: MariaDB, clock: Clock, torture_rounds: int
) -> None:
    """It is killed while journals are written; a caller that heard nothing asks again."""
    db = await open_database(own_mariadb.fresh_database(), now=clock.now)
    await db.migrate()
    chance = random.Random(2026)

    for round_ in range(torture_rounds):
        heard: dict[str, Journal] = {}
        moment = chance.randint(1, 200)

        async def work(worker: int, *, name: int, heard: dict[str, Journal], end: int) -> None:
            for n in range(1, 101):
                key = f"{name}-{worker}-{n}"
                heard[key] = await db.write(post, "order", key, "paid", paid(n))
                if len(heard) == end:
                    await asyncio.to_thread(own_mariadb.kill)

        ends = await at_once(
            *(
                asyncio.ensure_future(work(each, name=round_, heard=heard, end=moment))
                for each in range(10)
            )
        )
        await asyncio.to_thread(own_mariadb.start)

        assert kinds(ends).keys() <= {DatabaseUnavailable, CommitUnknown}
        asked = [f"{round_}-{worker}-{n}" for worker in range(10) for n in range(1, 101)]
        again = await db.write(
            post_many,
            [Posting("order", key, "paid", paid(int(key.rpartition("-")[2]))) for key in asked],
        )
        by_key = {each.biz_id: each for each in again if isinstance(each, Journal)}
        assert heard.items() <= by_key.items()
        assert await count(db, "ledger_journals") == 1000 * (round_ + 1)

    await assert_sound(db)
    await db.close()
