"""Which number is given out next, and to whom none is."""

import pytest

from queueing.model import (
    NotYourStall,
    PoolExhausted,
    QueueError,
    StallClosed,
    StallDue,
    Status,
    stall_of,
    ticket_id,
)
from queueing.pool import Pool
from tests.queueing.world import ADMIN, DINER, SECOND_SELLER, SELLER, STRANGER, SYSTEM, World, state


def test_fresh_stall_counts_from_one() -> None:
    world = World()

    tickets = [world.issue() for _ in range(3)]

    assert [ticket.number for ticket in tickets] == [1, 2, 3]
    assert [ticket.ahead for ticket in tickets] == [0, 1, 2]
    assert tickets[0].status is Status.ISSUED
    assert tickets[0].business_date == 20261120
    assert (tickets[0].issued_by, tickets[0].issued_session) == (1, 11)


def test_ticket_is_named_after_the_event_that_issued_it() -> None:
    world = World()
    world.issue_and_call()

    ticket = world.issue()

    assert ticket.id == ticket_id(7, 3) == 7 << 32 | 3
    assert stall_of(ticket.id) == 7
    assert world.pool.drafts[2].ticket == ticket.id


def test_numbers_go_round_in_order_once_rested() -> None:
    world = World()
    for _ in range(99):
        ticket = world.issue()
        world.pool.finish(ticket.id, SELLER, world.now)
    world.clock.advance(minutes=5)

    assert [world.issue().number for _ in range(4)] == [1, 2, 3, 4]


def test_number_rests_while_others_are_free() -> None:
    world = World()
    tickets = [world.issue() for _ in range(99)]
    world.pool.finish(tickets[41].id, SELLER, world.now)
    world.clock.advance(minutes=4)
    world.pool.finish(tickets[3].id, SELLER, world.now)
    world.clock.advance(minutes=1)

    # Number 4 was given out before 42, but ended only a minute ago.
    assert world.issue().number == 42


def test_number_that_rested_longest_is_taken_when_all_rest() -> None:
    world = World()
    tickets = [world.issue() for _ in range(99)]
    for index in (41, 3, 7):
        world.clock.advance(seconds=1)
        world.pool.finish(tickets[index].id, SELLER, world.now)

    assert [world.issue().number for _ in range(3)] == [42, 4, 8]


def test_rested_number_given_out_longest_ago_comes_first() -> None:
    world = World()
    tickets = [world.issue() for _ in range(99)]
    for index in (41, 3, 7):
        world.pool.finish(tickets[index].id, SELLER, world.now)
    world.clock.advance(minutes=5)

    assert [world.issue().number for _ in range(3)] == [4, 8, 42]


def test_numbers_never_used_go_on_from_the_last_issued() -> None:
    world = World()
    world.pool.finish(world.issue().id, SELLER, world.now)
    world.pool.finish(world.issue().id, SELLER, world.now)
    world.clock.advance(hours=1)
    world.restart()

    assert world.issue().number == 3


def test_numbers_never_used_begin_behind_the_last_one_of_an_older_time() -> None:
    world = World()
    world.pool = Pool(
        world.stall, epoch="e", seq=9, live=[], ended={98: 0}, used={98: ticket_id(7, 1)}, recent=[]
    )

    assert [world.issue().number for _ in range(3)] == [99, 1, 2]


def test_lowest_takes_the_lowest_free_at_once() -> None:
    world = World(pick="lowest")
    tickets = [world.issue() for _ in range(4)]
    world.pool.finish(tickets[2].id, SELLER, world.now)
    world.pool.finish(tickets[1].id, SELLER, world.now)

    assert [world.issue().number for _ in range(3)] == [2, 3, 5]


def test_new_settings_count_from_the_next_number_on() -> None:
    world = World()
    world.pool.finish(world.issue().id, SELLER, world.now)
    world.stall.pick = "lowest"

    world.pool.configure(world.stall)

    assert world.issue().number == 1


def test_hundredth_number_is_refused_and_nothing_changes() -> None:
    world = World()
    numbers = {world.issue().number for _ in range(99)}
    before = state(world.pool)

    with pytest.raises(PoolExhausted):
        world.issue()

    assert numbers == set(range(1, 100))
    assert state(world.pool) == before


def test_second_tap_gets_the_same_ticket() -> None:
    world = World()
    first = world.pool.issue(SELLER, world.now, double_tap=True)
    world.clock.advance(seconds=1.5)

    second = world.pool.issue(SELLER, world.now, double_tap=True)

    assert second == first
    assert world.told() == ["ticket.issued"]


def test_later_tap_is_another_wish() -> None:
    world = World()
    first = world.pool.issue(SELLER, world.now, double_tap=True)
    world.clock.advance(seconds=1.6)

    assert world.pool.issue(SELLER, world.now, double_tap=True).id != first.id


def test_two_taps_in_one_millisecond_are_two_wishes_where_nobody_taps_twice() -> None:
    world = World(double_tap_s=0)

    first = world.pool.issue(SELLER, world.now, double_tap=True)

    assert world.pool.issue(SELLER, world.now, double_tap=True).id != first.id


def test_clock_set_back_makes_no_later_tap_a_second_one() -> None:
    world = World()
    first = world.pool.issue(SELLER, world.now, double_tap=True)
    world.clock.advance(minutes=-5)

    assert world.pool.issue(SELLER, world.now, double_tap=True).id != first.id


def test_taps_on_two_devices_are_two_wishes() -> None:
    world = World()
    first = world.pool.issue(SELLER, world.now, double_tap=True)

    assert world.pool.issue(SECOND_SELLER, world.now, double_tap=True).id != first.id


def test_request_with_a_key_of_its_own_is_never_a_second_tap() -> None:
    world = World()

    assert world.issue().id != world.issue().id


def test_actor_without_a_session_never_taps_twice() -> None:
    world = World()
    first = world.pool.issue(SYSTEM, world.now, double_tap=True)

    assert world.pool.issue(SYSTEM, world.now, double_tap=True).id != first.id


def test_tap_after_a_cancelled_mistake_is_another_wish() -> None:
    world = World()
    older = world.issue()
    mistake = world.issue()
    world.pool.cancel(mistake.id, SELLER, world.now)
    world.pool.cancel(older.id, SELLER, world.now)

    ticket = world.pool.issue(SELLER, world.now, double_tap=True)

    assert ticket.number == 3


def test_undone_ticket_does_not_become_the_newest_of_its_session() -> None:
    world = World()
    older = world.issue()
    world.pool.finish(older.id, SELLER, world.now)
    newer = world.issue()
    world.pool.undo(older.id, SELLER, world.now)

    assert world.pool.issue(SELLER, world.now, double_tap=True).id == newer.id


def test_second_tap_is_known_after_a_restart() -> None:
    world = World()
    world.issue()
    newest = world.issue()
    world.restart()

    assert world.pool.issue(SELLER, world.now, double_tap=True) == newest


def test_settings_written_again_forget_no_number() -> None:
    world = World()
    world.pool.finish(world.issue().id, SELLER, world.now)
    world.clock.advance(hours=1)

    world.pool.configure(world.stall)

    assert world.issue().number == 2


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"balance_months": 0}, StallDue),
        ({"balance_months": -1}, StallDue),
        ({"disabled": True}, StallClosed),
    ],
)
def test_stall_that_is_not_open_gives_no_number(
    settings: dict[str, object], refusal: type[QueueError]
) -> None:
    world = World(**settings)

    with pytest.raises(refusal):
        world.issue()

    assert not world.told()
    assert not world.stall.is_open


@pytest.mark.parametrize("by", [STRANGER, DINER])
def test_only_staff_gives_out_numbers(by: object) -> None:
    world = World()

    with pytest.raises(NotYourStall):
        world.pool.issue(by, world.now)  # type: ignore[arg-type]


def test_admin_may_act_for_any_stall() -> None:
    world = World()

    assert world.issue(ADMIN).number == 1
