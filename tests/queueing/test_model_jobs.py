"""What time does to a pool: reminders, releases, warnings."""

import pytest

from queueing.model import Status, TicketNotFound
from tests.queueing.world import DINER, SELLER, World, state

# ---------------------------------------------------------------- not reached


def test_call_is_unreached_when_its_time_has_passed() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call(), grant="tmpl-1")
    world.clock.advance(seconds=20)

    marked = world.pool.mark_unreached(ticket.id, world.now)

    assert marked.is_reached is False
    assert marked.grant == "tmpl-1"
    assert world.told()[-1] == "ticket.unreached"
    assert world.pool.drafts[-1].public is None
    assert world.pool.drafts[-1].private["by"] == "system"


def test_grant_is_spent_by_the_first_reminder() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call(), grant="tmpl-1")
    world.clock.advance(seconds=20)
    world.pool.mark_unreached(ticket.id, world.now)
    world.pool.recall(ticket.id, SELLER, world.now)
    world.clock.advance(seconds=20)

    marked = world.pool.mark_unreached(ticket.id, world.now)

    assert marked.is_reached is False
    assert marked.grant == ""
    assert world.told().count("ticket.unreached") == 2


def test_call_is_unreached_once() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call(), grant="tmpl-1")
    world.clock.advance(seconds=20)
    world.pool.mark_unreached(ticket.id, world.now)
    before = state(world.pool)

    assert world.pool.mark_unreached(ticket.id, world.now).grant == ""
    assert state(world.pool) == before


def test_reminder_that_comes_early_changes_nothing() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call(), grant="tmpl-1")
    world.clock.advance(seconds=19)
    world.pool.recall(ticket.id, SELLER, world.now)
    world.clock.advance(seconds=1)
    before = state(world.pool)

    assert world.pool.mark_unreached(ticket.id, world.now).grant == ""
    assert state(world.pool) == before


def test_reached_or_waiting_ticket_is_not_unreached() -> None:
    world = World()
    reached = world.follow(world.issue_and_call())
    waiting = world.issue()
    world.pool.acknowledge(reached.id, DINER, world.now)
    world.clock.advance(minutes=1)
    before = state(world.pool)

    world.pool.mark_unreached(reached.id, world.now)
    world.pool.mark_unreached(waiting.id, world.now)

    assert state(world.pool) == before


def test_acknowledgement_after_all_makes_it_reached() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())
    world.clock.advance(seconds=20)
    world.pool.mark_unreached(ticket.id, world.now)

    assert world.pool.acknowledge(ticket.id, DINER, world.now).is_reached is True


def test_unknown_ticket_is_not_unreached() -> None:
    with pytest.raises(TicketNotFound):
        World().pool.mark_unreached(1, 0)


# ---------------------------------------------------------------- released


def test_uncollected_number_is_released() -> None:
    world = World()
    called, missing, recalled, waiting = (world.issue() for _ in range(4))
    for ticket in (called, missing, recalled):
        world.pool.call(ticket.id, SELLER, world.now)
    world.pool.no_show(missing.id, SELLER, world.now)
    world.clock.advance(minutes=1)
    world.pool.recall(recalled.id, SELLER, world.now)
    world.clock.advance(minutes=119)

    released = world.pool.release_overdue(world.now)

    assert [ticket.id for ticket in released] == [called.id, missing.id]
    assert {ticket.status for ticket in released} == {Status.RELEASED}
    assert world.told()[-2:] == ["ticket.released", "ticket.released"]
    assert [t.id for t in world.pool.tickets()] == [recalled.id, waiting.id]
    assert world.pool.release_overdue(world.now) == []


def test_waiting_ticket_outlives_its_release_time_but_not_its_day() -> None:
    world = World()
    world.clock.set("2026-11-20T21:30:00+08:00")
    early = world.issue()
    world.clock.set("2026-11-20T23:30:00+08:00")
    late = world.issue()

    world.clock.set("2026-11-20T23:59:59.999+08:00")
    assert world.pool.release_overdue(world.now) == []

    world.clock.set("2026-11-21T00:00:00+08:00")
    assert [ticket.id for ticket in world.pool.release_overdue(world.now)] == [early.id]

    world.clock.set("2026-11-21T01:30:00+08:00")
    assert [ticket.id for ticket in world.pool.release_overdue(world.now)] == [late.id]


def test_day_that_ended_while_the_server_was_down_is_cleared_up_later() -> None:
    world = World()
    tickets = [world.issue() for _ in range(3)]
    world.restart()
    world.clock.advance(days=3)

    released = world.pool.release_overdue(world.now)

    assert [ticket.id for ticket in released] == [ticket.id for ticket in tickets]


# ---------------------------------------------------------------- health


def test_health_tells_what_is_in_use_resting_and_free() -> None:
    world = World()
    for _ in range(3):
        world.issue()
    world.pool.finish(world.issue().id, SELLER, world.now)

    health = world.pool.health(world.now)

    assert (health.in_use, health.resting, health.free) == (3, 1, 95)
    assert not health.low


def test_untouched_number_is_stuck_after_half_its_time() -> None:
    world = World()
    stuck = world.issue()
    world.clock.advance(minutes=30)
    touched = world.issue()
    world.clock.advance(minutes=30)
    world.pool.call(touched.id, SELLER, world.now)

    assert world.pool.health(world.now).stuck == [stuck.number]


# ---------------------------------------------------------------- running dry


def warnings(world: World) -> int:
    return [draft.name for draft in world.events + world.pool.drafts].count("pool.low")


def fill_up_to(world: World, free: int) -> None:
    while world.pool.free > free:
        world.issue()
        world.clock.advance(seconds=1)


def end_until(world: World, free: int) -> None:
    for ticket in world.pool.tickets():
        if world.pool.free == free:
            return
        world.pool.finish(ticket.id, SELLER, world.now)
        world.clock.advance(seconds=1)


@pytest.mark.parametrize("pick", ["cyclic", "lowest"])
@pytest.mark.parametrize("restart", [False, True])
class TestRunningDry:
    def pause(self, world: World, *, restart: bool) -> None:
        if restart:
            world.restart()

    def test_warning_comes_before_the_pool_runs_dry(self, pick: str, *, restart: bool) -> None:
        world = World(pick=pick)
        fill_up_to(world, 11)
        self.pause(world, restart=restart)
        assert warnings(world) == 0

        world.issue()

        assert warnings(world) == 1
        assert world.pool.health(world.now).low
        warning = world.pool.drafts[-1]
        assert (warning.name, warning.ticket, warning.public) == ("pool.low", 0, None)
        assert warning.private == {"free": 10, "resting": 0, "stuck": []}

    def test_warning_is_not_repeated_while_it_stays_low(self, pick: str, *, restart: bool) -> None:
        world = World(pick=pick)
        fill_up_to(world, 5)
        for free in (11, 14, 15, 12):
            end_until(world, free)
            self.pause(world, restart=restart)
            fill_up_to(world, 10)
            self.pause(world, restart=restart)

        assert warnings(world) == 1

    def test_warning_comes_again_after_a_recovery(self, pick: str, *, restart: bool) -> None:
        world = World(pick=pick)
        fill_up_to(world, 8)
        end_until(world, 16)
        self.pause(world, restart=restart)
        fill_up_to(world, 13)
        self.pause(world, restart=restart)
        fill_up_to(world, 9)

        assert warnings(world) == 2

    def test_undo_that_takes_a_number_back_may_warn(self, pick: str, *, restart: bool) -> None:
        world = World(pick=pick)
        fill_up_to(world, 12)
        ticket = world.pool.tickets()[-1]
        world.pool.finish(ticket.id, SELLER, world.now)
        self.pause(world, restart=restart)
        if restart:
            world.adopt(ticket.id)
        world.pool.undo(ticket.id, SELLER, world.now)
        fill_up_to(world, 10)

        assert warnings(world) == 1

    def test_undo_of_a_call_warns_of_nothing(self, pick: str, *, restart: bool) -> None:
        world = World(pick=pick)
        fill_up_to(world, 10)
        self.pause(world, restart=restart)
        ticket = world.pool.call_next(SELLER, world.now)
        world.pool.undo(ticket.id, SELLER, world.now)

        assert warnings(world) == 1


def test_undo_brings_the_pool_down_to_the_warning() -> None:
    world = World()
    fill_up_to(world, 12)
    first, second = world.pool.tickets()[-2:]
    world.pool.cancel(first.id, SELLER, world.now)
    world.pool.cancel(second.id, SELLER, world.now)
    fill_up_to(world, 12)
    assert warnings(world) == 0

    world.pool.undo(first.id, SELLER, world.now)
    world.pool.undo(second.id, SELLER, world.now)

    assert warnings(world) == 1


def test_pool_with_no_history_is_low_for_the_first_time() -> None:
    world = World()
    for _ in range(89):
        world.issue()
    for ticket in world.pool.drafts[:89]:
        assert ticket.name == "ticket.issued"

    assert warnings(world) == 1


def test_event_of_the_stall_itself_takes_its_place_in_the_stream() -> None:
    world = World()
    world.pool.announce("stall.changed", public={"name": "面"}, private={"name": "面"})

    assert world.pool.seq == 1
    assert world.issue().id == 7 << 32 | 2
    assert world.store()[0].ticket == 0
