"""The pool in memory is never the truth, only a copy of it: checked at each transaction."""

import asyncio
import random
from collections.abc import Callable

import pytest
from sqlalchemy.exc import IntegrityError

from queueing.acts import Act
from queueing.model import NotYourStall, PoolExhausted, StallClosed, Status, Ticket
from queueing.pool import Pool
from queueing.store import RECENT, perform, read_pool
from sql import events
from sql.database import Tx
from tests.queueing.canteen import ADMIN, DINER, SYSTEM, Canteen, execute, scalar
from tests.queueing.test_store import Ledger, work
from tests.queueing.world import state


def remembered(canteen: Canteen, stall_id: int) -> Pool | None:
    held = canteen.db.memory.get(("stall", stall_id))
    pool: Pool | None = held.pool if held else None
    return pool


async def assert_memory_is_true(canteen: Canteen, stall_id: int) -> None:
    """What is in memory and what is in the tables would go on in the same way."""
    pool, fresh = remembered(canteen, stall_id), await canteen.db.read(read_pool, stall_id)
    if pool is None or (pool.epoch, pool.seq) != (fresh.epoch, fresh.seq):
        return
    now = canteen.clock.now()
    assert state(pool) == state(fresh)
    assert pool.health(now) == fresh.health(now)
    assert (pool.stall, pool.epoch) == (fresh.stall, fresh.epoch)


async def test_memory_is_used_while_nobody_else_writes(canteen: Canteen) -> None:
    stall = await canteen.stall()
    await canteen.issue_many(stall.id, 1)
    pool = remembered(canteen, stall.id)

    await canteen.issue_many(stall.id, 5)

    assert pool is not None
    assert remembered(canteen, stall.id) is pool
    await assert_memory_is_true(canteen, stall.id)


async def test_memory_is_forgotten_when_the_transaction_is_rolled_back(canteen: Canteen) -> None:
    stall = await canteen.stall()
    await canteen.issue_many(stall.id, 2)

    def act_and_fail(tx: Tx) -> None:
        perform(tx, [Act(verb="issue", by=ADMIN, stall_id=stall.id)])
        raise ValueError("whatever")

    with pytest.raises(ValueError, match="whatever"):
        await canteen.db.write(act_and_fail)

    assert remembered(canteen, stall.id) is None
    (ticket,) = await canteen.issue_many(stall.id, 1)
    assert ticket.number == 3


async def test_what_fails_beside_an_act_takes_nothing_of_it_away(canteen: Canteen) -> None:
    stall = await canteen.stall()

    def fail(tx: Tx) -> None:
        perform(tx, [Act(verb="issue", by=ADMIN, stall_id=stall.id)])
        raise ValueError("whatever")

    outcomes = await asyncio.gather(
        canteen.issue_many(stall.id, 3),
        canteen.db.write(fail),
        canteen.issue_many(stall.id, 3),
        canteen.db.write(fail),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [list, ValueError, list, ValueError]
    await assert_memory_is_true(canteen, stall.id)
    live = await canteen.queues.live_tickets(stall.id)
    assert sorted(ticket.number for ticket in live) == [1, 2, 3, 4, 5, 6]


async def test_new_settings_of_the_stall_count_at_once(canteen: Canteen) -> None:
    stall = await canteen.stall()
    first, *_ = await canteen.issue_many(stall.id, 3)
    await canteen.act("finish", ticket_id=first.id)

    await canteen.stalls.change(stall.id, {"pick": "lowest"})
    (lowest,) = await canteen.issue_many(stall.id, 1)
    await canteen.stalls.change(stall.id, {"pick": "cyclic"})
    (next_one,) = await canteen.issue_many(stall.id, 1)

    assert (lowest.number, next_one.number) == (1, 4)


async def test_a_seller_taken_from_the_stall_is_refused_at_once(canteen: Canteen) -> None:
    stall = await canteen.stall()
    await canteen.issue(stall.id)

    await canteen.stalls.release_sellers(stall.id)

    with pytest.raises(NotYourStall):
        await canteen.issue(stall.id)


async def test_a_restart_goes_on_where_it_was(canteen: Canteen) -> None:
    stall = await canteen.stall()
    tickets = await canteen.issue_many(stall.id, 40)
    for ticket in tickets[::2]:
        await canteen.act("finish", ticket_id=ticket.id)
    before = remembered(canteen, stall.id)
    assert before is not None

    await canteen.restart()
    await canteen.issue_many(stall.id, 1)

    after = remembered(canteen, stall.id)
    assert after is not before
    assert sorted(t.number for t in await canteen.queues.live_tickets(stall.id)) == [
        *range(2, 41, 2),
        41,
    ]


async def test_a_number_rests_over_a_restart_from_when_it_ended_last(canteen: Canteen) -> None:
    stall = await canteen.stall()
    tickets = await canteen.issue_many(stall.id, 99)
    first = tickets[0]
    await canteen.act("finish", ticket_id=first.id)
    (second,) = await canteen.issue_many(stall.id, 1)
    assert second.number == first.number
    await canteen.act("cancel", ticket_id=second.id)
    await canteen.act("undo", ticket_id=first.id)
    canteen.clock.advance(hours=1)
    await canteen.act("finish", ticket_id=first.id)
    await canteen.act("finish", ticket_id=tickets[50].id)

    await canteen.restart()

    health = (await canteen.db.read(read_pool, stall.id)).health(canteen.clock.now())
    assert (health.resting, health.free) == (2, 0)


async def test_a_number_issued_long_ago_rests_too_when_it_ended_just_now(
    canteen: Canteen,
) -> None:
    stall = await canteen.stall()
    old, other = await canteen.issue_many(stall.id, 2)
    for _ in range(RECENT // 50 + 1):
        tickets = await canteen.issue_many(stall.id, 50)
        await asyncio.gather(
            *(canteen.act("finish", ADMIN, ticket_id=ticket.id) for ticket in tickets)
        )
        canteen.clock.advance(minutes=6)
    await canteen.act("finish", ticket_id=old.id)
    before = remembered(canteen, stall.id)
    assert before is not None

    await canteen.restart()

    pool = await canteen.db.read(read_pool, stall.id)
    now = canteen.clock.now()
    assert pool.health(now) == before.health(now)
    assert pool.health(now).resting == 1
    assert [t.id for t in pool.tickets()] == [other.id]


async def test_an_epoch_that_changed_is_another_history(canteen: Canteen) -> None:
    stall = await canteen.stall()
    (first,) = await canteen.issue_many(stall.id, 1)

    await canteen.db.write(events.begin_new_history)
    (second,) = await canteen.issue_many(stall.id, 1)

    assert second.number == 2
    assert second.id - first.id == events.RESTORE_LEAP + 1


async def test_whatever_happens_memory_is_true(canteen: Canteen) -> None:
    stall, other = await canteen.stall(rest_s=5), await canteen.stall(pick="lowest")
    chance = random.Random(5)

    for _ in range(60):
        canteen.clock.advance(seconds=chance.choice([0, 1, 4, 30]))
        await asyncio.gather(
            *(step(canteen, chance, chance.choice([stall.id, other.id])) for _ in range(4)),
            return_exceptions=True,
        )
        await assert_memory_is_true(canteen, stall.id)
        await assert_memory_is_true(canteen, other.id)
    assert remembered(canteen, stall.id) is not None


async def step(canteen: Canteen, chance: random.Random, stall_id: int) -> None:
    """Something that may happen at a stall."""
    live = await canteen.queues.live_tickets(stall_id)
    ticket = chance.choice(live) if live else None
    verb = chance.choice(["issue", "issue", "issue", "call", "finish", "cancel", "undo", "no_show",
                          "requeue", "follow", "clear", "settings"])  # fmt: skip
    if verb == "issue":
        await canteen.issue_many(stall_id, chance.choice([1, 1, 30]))
    elif verb == "clear":
        await canteen.act("clear", stall_id=stall_id)
    elif verb == "settings":
        await canteen.stalls.change(stall_id, {"double_tap_s": chance.choice([0, 2.5])})
    elif verb == "follow" and ticket:
        await canteen.act("follow", DINER, stall_id=stall_id, number=ticket.number, note="面")
    elif ticket:
        await canteen.act(verb, ticket_id=ticket.id)


# The database's own promise


def lie(canteen: Canteen, stall_id: int, do: Callable[[Pool], None]) -> None:
    pool = remembered(canteen, stall_id)
    assert pool is not None
    do(pool)


async def test_the_unique_key_stops_a_number_from_being_issued_twice(canteen: Canteen) -> None:
    stall, other = await canteen.stall(), await canteen.stall()
    (held,) = await canteen.issue_many(stall.id, 1)
    lie(canteen, stall.id, lambda pool: pool._free.give_back(held.number, ended_at=None))
    lie(canteen, stall.id, lambda pool: pool._free._ready.sort(key=lambda entry: entry[1]))
    before = await canteen.rows()

    with pytest.raises(IntegrityError):
        await canteen.issue_many(stall.id, 1)

    assert await canteen.rows() == before
    (ticket,) = await canteen.issue_many(stall.id, 1)
    assert ticket.number == 2
    assert (await canteen.issue_many(other.id, 1))[0].number == 1


async def test_the_unique_key_stops_an_old_ticket_from_taking_its_number_back(
    canteen: Canteen,
) -> None:
    stall = await canteen.stall(pick="lowest")
    (old,) = await canteen.issue_many(stall.id, 1)
    await canteen.act("cancel", ticket_id=old.id)
    (new,) = await canteen.issue_many(stall.id, 1)
    assert new.number == old.number

    def forget_the_holder(pool: Pool) -> None:
        del pool._live[new.number]

    lie(canteen, stall.id, forget_the_holder)
    before = await canteen.rows()

    with pytest.raises(IntegrityError):
        await canteen.act("undo", ticket_id=old.id)

    assert await canteen.rows() == before


async def test_a_lie_at_one_stall_spoils_no_other_in_the_same_transaction(
    canteen: Canteen,
) -> None:
    stall, other = await canteen.stall(), await canteen.stall()
    (held,) = await canteen.issue_many(stall.id, 1)
    lie(canteen, stall.id, lambda pool: pool._free.give_back(held.number, ended_at=None))
    lie(canteen, stall.id, lambda pool: pool._free._ready.sort(key=lambda entry: entry[1]))

    outcomes = await asyncio.gather(
        canteen.issue(other.id, by=ADMIN, key="1"),
        canteen.issue(stall.id, by=ADMIN, key="2"),
        canteen.issue(other.id, by=ADMIN, key="3"),
        return_exceptions=True,
    )

    # Alone, the spoilt stall reads its tables anew, and all is well.
    assert [o.number for o in outcomes if isinstance(o, Ticket)] == [1, 2, 2]


async def test_a_ticket_that_is_not_in_the_tables_is_an_error_not_a_silence(
    canteen: Canteen,
) -> None:
    stall = await canteen.stall()
    (ticket,) = await canteen.issue_many(stall.id, 1)
    await canteen.db.write(execute, "UPDATE tickets SET live_number = NULL")
    await canteen.db.write(execute, "DELETE FROM tickets")
    if canteen.db.dialect == "mysql":
        return  # There an update of many rows is an INSERT, which would bring it back.

    with pytest.raises(AssertionError, match="0 of 1 tickets"):
        await canteen.act("call", ticket_id=ticket.id)


# Two processes


@pytest.mark.mariadb
async def test_what_another_process_wrote_is_seen_at_once(two: tuple[Canteen, Canteen]) -> None:
    stall = await two[0].stall()
    tickets = []

    for turn in range(6):
        tickets += await two[turn % 2].issue_many(stall.id, 2)
        await two[(turn + 1) % 2].act("call", ticket_id=tickets[-1].id)

    assert [ticket.number for ticket in tickets] == list(range(1, 13))
    seqs = [event.seq for event in await two[1].stream(stall.id)]
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.mariadb
async def test_settings_changed_by_another_process_count_at_once(
    two: tuple[Canteen, Canteen],
) -> None:
    stall = await two[0].stall()
    await two[0].issue_many(stall.id, 1)

    await two[1].stalls.change(stall.id, {"disabled": True})

    with pytest.raises(StallClosed):
        await two[0].issue(stall.id)


@pytest.mark.mariadb
async def test_two_processes_at_once_never_hold_the_same_number(
    two: tuple[Canteen, Canteen],
) -> None:
    stall = await two[0].stall(pick="lowest")
    ledger = Ledger()

    await asyncio.gather(*(work(two[n % 2], stall.id, n, ledger) for n in range(30)))

    assert ledger.issued == 240
    seqs = [event.seq for event in await two[0].stream(stall.id)]
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.mariadb
async def test_two_processes_share_99_numbers_fairly(two: tuple[Canteen, Canteen]) -> None:
    stall = await two[0].stall()

    outcomes = await asyncio.gather(
        *(two[n % 2].issue(stall.id, by=ADMIN, key=f"{n}") for n in range(120)),
        return_exceptions=True,
    )

    numbers = [o.number for o in outcomes if isinstance(o, Ticket)]
    assert sorted(numbers) == list(range(1, 100))
    assert sum(isinstance(o, PoolExhausted) for o in outcomes) == 21


async def test_the_last_of_a_pool_is_remembered_with_its_actor(canteen: Canteen) -> None:
    stall = await canteen.stall()
    called = await canteen.called(stall.id)
    canteen.clock.advance(hours=3)

    released = await canteen.act("release_overdue", SYSTEM, stall_id=stall.id)

    assert [(t.id, t.status) for t in released] == [(called.id, Status.RELEASED)]
    assert b'"by":"system"' in (await canteen.stream(stall.id))[-1].private
    assert await canteen.db.read(scalar, "SELECT live_number FROM tickets") is None
