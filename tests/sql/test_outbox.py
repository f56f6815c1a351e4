"""A parcel is delivered by whoever holds its lease, and ends."""

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError

from sql import outbox
from sql.database import Database
from sql.mysql import MySQL
from sql.outbox import Parcel, claim, dead, delivered, enqueue, next_due, retry
from sql.transaction import Tx
from tests.clock import Clock
from tests.conftest import Told
from tests.sql import notes


def send(tx: Tx, n: int, key: str = "", due_at: int | None = None) -> None:
    enqueue(tx, "greeting", {"n": n, "to": "空🍜"}, due_at=due_at, key=key)


def take(tx: Tx, runner: str = "one", most: int = 20) -> list[Parcel]:
    return claim(tx, runner, lease_s=30, most=most)


def state(tx: Tx, n: int) -> object:
    return notes.value(tx, f"SELECT state FROM outbox WHERE id = {n}")


async def test_a_parcel_is_claimed_once_and_delivered(
    db: Database, told: Told, clock: Clock
) -> None:
    await db.write(send, 1)

    (parcel,) = await db.write(take)

    assert told.wakes == {"outbox"}
    assert parcel.kind == "greeting"
    assert parcel.payload == {"n": 1, "to": "空🍜"}
    assert (parcel.attempts, parcel.created_at) == (1, clock.now())
    assert await db.write(take) == []
    assert await db.write(delivered, parcel, "one")
    assert await db.read(state, parcel.id) == "done"
    assert await db.read(next_due) is None
    # Told twice, it is not ended twice.
    assert not await db.write(delivered, parcel, "one")


async def test_parcels_come_in_the_order_they_are_due(db: Database, clock: Clock) -> None:
    for n, late in enumerate([3, 1, 2]):
        await db.write(send, n, due_at=clock.now() + late * 1000)
    await db.write(send, 9, due_at=clock.now() - 1000)
    assert await db.read(next_due) == clock.now() - 1000

    clock.advance(seconds=2)
    first = await db.write(take, "one", 2)
    rest = await db.write(take, "one", 2)

    assert [parcel.payload["n"] for parcel in (*first, *rest)] == [9, 1, 2]
    clock.advance(seconds=1)
    assert [parcel.payload["n"] for parcel in await db.write(take)] == [0]


@pytest.mark.parametrize(("late", "wakes"), [(-1000, {"outbox"}), (0, {"outbox"}), (1, set())])
async def test_what_is_due_wakes_the_runner(
    db: Database, told: Told, clock: Clock, late: int, wakes: set[str]
) -> None:
    await db.write(send, 1, due_at=clock.now() + late)

    assert told.wakes == wakes


async def test_a_lease_that_runs_out_gives_the_parcel_to_the_next(
    db: Database, clock: Clock
) -> None:
    await db.write(send, 1)
    (first,) = await db.write(take, "one")
    clock.advance(seconds=29)
    assert await db.write(take, "two") == []

    clock.advance(seconds=1)
    (second,) = await db.write(take, "two")

    assert second.attempts == 2
    # The first comes back late: the parcel is no longer its own to mark.
    assert not await db.write(delivered, first, "one")
    assert not await db.write(dead, first, "one", "late")
    assert not await db.write(lambda tx: retry(tx, first, "one", due_at=0, error="late"))
    assert await db.read(state, second.id) == "waiting"
    assert await db.write(delivered, second, "two")


async def test_the_same_runner_cannot_mark_what_it_claimed_before(
    db: Database, clock: Clock
) -> None:
    await db.write(send, 1)
    (first,) = await db.write(take)
    clock.advance(seconds=30)
    (second,) = await db.write(take)

    assert not await db.write(delivered, first, "one")
    assert await db.write(delivered, second, "one")


async def test_a_failed_delivery_is_tried_again_when_it_is_due(db: Database, clock: Clock) -> None:
    await db.write(send, 1)
    (parcel,) = await db.write(take)
    later = clock.now() + 5000

    assert await db.write(lambda tx: retry(tx, parcel, "one", due_at=later, error="x" * 999))

    assert await db.read(next_due) == later
    assert await db.write(take) == []
    clock.advance(seconds=5)
    (again,) = await db.write(take)
    assert again.attempts == 2
    kept = await db.read(notes.value, "SELECT last_error FROM outbox")
    assert kept == "x" * 400


async def test_a_parcel_given_up_stays_to_be_seen(db: Database, clock: Clock) -> None:
    await db.write(send, 1)
    (parcel,) = await db.write(take)

    assert await db.write(dead, parcel, "one", "空" * 500)

    clock.advance(days=99)
    assert await db.write(take) == []
    assert await db.write(lambda tx: outbox.sweep(tx, older_than=clock.now())) == 0
    assert await db.read(state, parcel.id) == "dead"
    assert await db.read(notes.value, "SELECT last_error FROM outbox") == "空" * 400


async def test_a_key_is_sent_once(db: Database) -> None:
    await db.write(send, 1, "reminder:7")
    await db.write(send, 2, "reminder:7")
    await db.write(send, 3, "reminder:8")
    await asyncio.gather(*[db.write(send, n, "reminder:9") for n in range(4, 9)])
    await db.write(send, 10)
    await db.write(send, 11)

    parcels = await db.write(take)

    assert [parcel.payload["n"] for parcel in parcels] == [1, 3, 4, 10, 11]


async def test_a_parcel_of_a_refused_change_is_never_sent(db: Database, told: Told) -> None:
    def send_and_refuse(tx: Tx) -> None:
        send(tx, 1)
        raise notes.Refused

    await asyncio.gather(db.write(send_and_refuse), db.write(state, 1), return_exceptions=True)

    assert await db.write(take) == []
    assert told.wakes == set()


async def test_delivered_parcels_are_swept_a_few_at_a_time(db: Database, clock: Clock) -> None:
    for n in range(3):
        await db.write(send, n)
    for parcel in await db.write(take):
        await db.write(delivered, parcel, "one")
    await db.write(send, 9)

    def sweep(tx: Tx) -> int:
        return outbox.sweep(tx, older_than=clock.now(), most=2)

    assert await db.write(sweep) == 0
    clock.advance(seconds=1)
    assert [await db.write(sweep) for _ in range(3)] == [2, 1, 0]
    assert [parcel.payload["n"] for parcel in await db.write(take)] == [9]


@pytest.mark.mariadb
async def test_two_runners_racing_never_hold_the_same_parcel(
    mysql_book: MySQL, second_book: MySQL
) -> None:
    await asyncio.gather(*[mysql_book.write(send, n) for n in range(100)])

    async def run(book: MySQL, runner: str) -> list[int]:
        mine: list[int] = []
        while parcels := await book.write(take, runner, 7):
            for parcel in parcels:
                assert await book.write(delivered, parcel, runner)
                mine.append(parcel.payload["n"])
        return mine

    ones, twos = await asyncio.gather(run(mysql_book, "one"), run(second_book, "two"))

    assert sorted(ones + twos) == list(range(100))
    assert ones
    assert twos


@pytest.mark.mariadb
async def test_a_key_too_long_for_its_column_is_an_error(mysql_book: MySQL) -> None:
    with pytest.raises(DBAPIError, match="too long"):
        await mysql_book.write(send, 1, "k" * 121)

    assert await mysql_book.write(take) == []
