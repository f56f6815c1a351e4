"""The outbox: what was asked for is delivered, tried again, or left for a person to see."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from accounts.messages import Dead, Delivered, Retry
from server.outbox import LEASE_S, PAUSES_S, TENACIOUS, Outbox
from sql import outbox as rows
from sql.database import Database, Tx
from sql.tables.core import outbox as table
from tests.clock import Clock


class Postman:
    """Answers as told, and remembers what was handed to it."""

    def __init__(self) -> None:
        self.handed: list[dict[str, Any]] = []
        self.answer: object = None
        self.error: Exception | None = None

    async def deliver(self, payload: dict[str, Any]) -> object:
        self.handed.append(payload)
        if self.error is not None:
            raise self.error
        return self.answer


@pytest.fixture
def postman() -> Postman:
    return Postman()


@pytest.fixture
def outbox(db: Database, clock: Clock, postman: Postman) -> Outbox:
    return office(db, clock, postman)


def office(db: Database, clock: Clock, postman: Postman, name: str = "one") -> Outbox:
    return Outbox(db, {"letter": postman.deliver}, now=clock.now, runner=name)


async def post(db: Database, *, kind: str = "letter", key: str = "", **payload: Any) -> None:
    await db.write(rows.enqueue, kind, payload, key=key)


async def states(db: Database) -> list[tuple[str, int, str]]:
    """State, attempts and last error of each parcel."""

    def read(tx: Tx) -> list[tuple[str, int, str]]:
        columns = (table.c.state, table.c.attempts, table.c.last_error)
        return [tuple(row) for row in tx.execute(select(*columns).order_by(table.c.id))]

    return await db.read(read)


@pytest.mark.parametrize("answer", [None, Delivered()])
async def test_what_is_due_is_delivered_once(
    db: Database, outbox: Outbox, postman: Postman, answer: object
) -> None:
    postman.answer = answer
    for number in range(30):
        await post(db, number=number)

    handled = await outbox.deliver_due()
    again = await outbox.deliver_due()

    assert (handled, again) == (30, 0)
    assert [letter["number"] for letter in postman.handed] == list(range(30))
    assert outbox.delivered == 30
    assert set(await states(db)) == {("done", 1, "")}


async def test_a_parcel_with_a_known_key_is_not_written_again(
    db: Database, outbox: Outbox, postman: Postman
) -> None:
    await post(db, key="reminder:7:1", text="first")
    await outbox.deliver_due()

    await post(db, key="reminder:7:1", text="second")
    await outbox.deliver_due()

    assert [letter["text"] for letter in postman.handed] == ["first"]


async def test_what_is_due_later_waits(
    db: Database, outbox: Outbox, postman: Postman, clock: Clock
) -> None:
    await db.write(rows.enqueue, "letter", {}, due_at=clock.now() + 5000)

    assert await outbox.deliver_due() == 0
    clock.advance(seconds=5)
    assert await outbox.deliver_due() == 1


async def test_it_is_tried_again_ever_later_and_then_given_up(
    db: Database,
    outbox: Outbox,
    postman: Postman,
    clock: Clock,
    expect_log: Callable[[str], None],
) -> None:
    expect_log("letter 1 is given up")
    postman.answer = Retry("no answer")
    await post(db)
    await outbox.deliver_due()

    for attempts, pause_s in enumerate(PAUSES_S, start=1):
        assert await states(db) == [("waiting", attempts, "no answer")]
        clock.advance(seconds=pause_s - 0.001)
        assert await outbox.deliver_due() == 0
        clock.advance(seconds=0.001)
        assert await outbox.deliver_due() == 1

    clock.advance(days=1)
    assert await outbox.deliver_due() == 0
    assert len(postman.handed) == len(PAUSES_S) + 1
    ((state, attempts, error),) = await states(db)
    assert (state, attempts) == ("dead", len(PAUSES_S) + 1)
    assert error.startswith("no answer")
    assert (outbox.delivered, outbox.dead) == (0, 1)


async def test_what_can_never_arrive_is_not_tried_again(
    db: Database,
    outbox: Outbox,
    postman: Postman,
    clock: Clock,
    expect_log: Callable[[str], None],
) -> None:
    expect_log("given up: no such person")
    postman.answer = Dead("no such person")
    await post(db)

    await outbox.deliver_due()
    clock.advance(days=1)
    await outbox.deliver_due()

    assert len(postman.handed) == 1
    assert await states(db) == [("dead", 1, "no such person")]


async def test_a_kind_nobody_delivers_is_given_up(
    db: Database, outbox: Outbox, expect_log: Callable[[str], None]
) -> None:
    expect_log("nothing delivers pigeon")
    await post(db, kind="pigeon")

    await outbox.deliver_due()

    assert await states(db) == [("dead", 1, "nothing delivers pigeon")]


async def test_a_deliverer_s_mistake_is_not_the_other_parcels_fate(
    db: Database, outbox: Outbox, postman: Postman, expect_log: Callable[[str], None]
) -> None:
    expect_log("delivering letter 1 failed")
    await post(db)
    postman.error = KeyError("grant")
    await outbox.deliver_due()
    postman.error = None

    await post(db)
    await outbox.deliver_due()

    assert await states(db) == [("waiting", 1, "KeyError: 'grant'"), ("done", 1, "")]


async def test_what_a_killed_process_had_claimed_is_delivered_when_its_lease_ends(
    db: Database, outbox: Outbox, postman: Postman, clock: Clock
) -> None:
    await post(db)
    assert len(await db.write(rows.claim, "dead", lease_s=LEASE_S)) == 1

    assert await outbox.deliver_due() == 0
    clock.advance(seconds=LEASE_S)
    assert await outbox.deliver_due() == 1

    # The attempt of the dead counts: a parcel that kills its carrier comes to an end.
    assert await states(db) == [("done", 2, "")]


async def test_two_processes_deliver_nothing_twice(
    db: Database, clock: Clock, postman: Postman
) -> None:
    for number in range(50):
        await post(db, number=number)
    one, two = office(db, clock, postman, "one"), office(db, clock, postman, "two")

    handled = [await one.deliver_due(), await two.deliver_due()]

    assert sum(handled) == 50
    assert sorted(letter["number"] for letter in postman.handed) == list(range(50))


async def test_who_was_too_slow_does_not_undo_what_another_did(
    db: Database, outbox: Outbox, postman: Postman, clock: Clock
) -> None:
    await post(db)
    (slow,) = await db.write(rows.claim, "slow", lease_s=LEASE_S)
    clock.advance(seconds=LEASE_S)
    await outbox.deliver_due()

    assert not await db.write(rows.retry, slow, "slow", due_at=clock.now(), error="late")
    assert not await db.write(rows.delivered, slow, "slow")

    assert await states(db) == [("done", 2, "")]


# ---------------------------------------------------------------- what must arrive some day


class Person:
    """Who is told of what does not arrive."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, str]] = []

    def asked(self, tx: Tx, parcel: rows.Parcel, why: str) -> None:
        self.told.append(("asked", parcel.attempts, why))

    def relieved(self, tx: Tx, parcel: rows.Parcel) -> None:
        self.told.append(("relieved", parcel.attempts, ""))


@pytest.fixture
def person() -> Person:
    return Person()


@pytest.fixture
def tenacious(db: Database, clock: Clock, postman: Postman, person: Person) -> Outbox:
    return Outbox(
        db,
        {"letter": postman.deliver},
        now=clock.now,
        runner="one",
        rhythms={"letter": TENACIOUS},
        asked=person.asked,
        relieved=person.relieved,
    )


async def test_after_the_fourth_failure_a_person_is_told_once_and_it_goes_on(
    db: Database, tenacious: Outbox, postman: Postman, person: Person, clock: Clock
) -> None:
    postman.answer = Retry("away")
    start, at = clock.now(), []
    await post(db)

    for _ in range(11):
        due_at = await db.read(rows.next_due)
        assert due_at is not None
        clock.advance(seconds=(due_at - clock.now()) / 1000)
        await tenacious.deliver_due()
        at.append((clock.now() - start) // 1000)
        assert person.told == ([("asked", 4, "away")] if len(at) >= 4 else [])

    assert at[:4] == [0, 15, 45, 105]
    assert [b - a for a, b in itertools.pairwise(at[3:])] == [
        *(300, 1_800, 7_200, 21_600),
        *(86_400, 86_400, 86_400),
    ]

    postman.answer = None
    clock.advance(days=1)
    await tenacious.deliver_due()
    assert person.told[1:] == [("relieved", 12, "")]
    assert [state for state, _, _ in await states(db)] == ["done"]


async def test_what_arrives_before_that_is_nobody_s_trouble(
    db: Database, tenacious: Outbox, postman: Postman, person: Person, clock: Clock
) -> None:
    postman.answer = Retry("away")
    await post(db)
    for pause_s in (0, 15, 30):
        clock.advance(seconds=pause_s)
        await tenacious.deliver_due()

    postman.answer = None
    clock.advance(seconds=60)
    await tenacious.deliver_due()

    assert person.told == []


async def test_what_can_never_arrive_is_told_at_once(
    db: Database,
    tenacious: Outbox,
    postman: Postman,
    person: Person,
    expect_log: Callable[[str], None],
) -> None:
    expect_log("given up: no such order")
    postman.answer = Dead("no such order")
    await post(db)

    await tenacious.deliver_due()

    assert person.told == [("asked", 1, "no such order")]


async def test_a_person_lets_it_be_tried_now_or_not_any_more(
    db: Database, tenacious: Outbox, postman: Postman, clock: Clock
) -> None:
    postman.answer = Retry("away")
    await post(db)
    await tenacious.deliver_due()

    assert await db.write(rows.hurry, 1)
    assert await tenacious.deliver_due() == 1
    assert await db.write(rows.give_up, 1, "by hand")

    clock.advance(days=2)
    assert await tenacious.deliver_due() == 0
    assert await states(db) == [("dead", 2, "by hand")]
    assert not await db.write(rows.give_up, 1, "again")
    assert not await db.write(rows.hurry, 1)


async def test_the_newest_of_those_whose_keys_begin_alike_is_found(db: Database) -> None:
    for number, key in enumerate(("a:1", "a:2", "b:1", "a%3")):
        await post(db, key=key, number=number)

    assert await db.read(rows.newest, "a:") == {"number": 1}
    assert await db.read(rows.newest, "a%") == {"number": 3}
    assert await db.read(rows.newest, "c:") is None
