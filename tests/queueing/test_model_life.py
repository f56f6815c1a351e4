"""The life of a ticket at the counter: called, collected, missing, cancelled, undone."""

from collections.abc import Callable

import pytest

from queueing.model import (
    NotYourStall,
    QueueEmpty,
    QueueError,
    Status,
    Ticket,
    TicketNotCalled,
    TicketNotFound,
    TicketNotLive,
    UndoTooLate,
)
from tests.queueing.world import (
    ADMIN,
    DINER,
    OTHER_DINER,
    SELLER,
    STRANGER,
    SYSTEM,
    World,
    state,
)

Verb = Callable[[World, int], Ticket]

STAFF_VERBS = ["call", "recall", "finish", "no_show", "requeue", "cancel", "undo"]

# Stalls refuse for more reasons of their own.
MODEL = "queueing.model"


def act(world: World, verb: str, ticket: Ticket, by: object = SELLER) -> Ticket:
    done: Ticket = getattr(world.pool, verb)(ticket.id, by, world.now)
    return done


# ---------------------------------------------------------------- calling


def test_any_ticket_may_be_called_out_of_order() -> None:
    world = World()
    tickets = [world.issue() for _ in range(3)]
    world.clock.advance(minutes=2)

    called = act(world, "call", tickets[2])

    assert called.status is Status.CALLED
    assert called.calls == 1
    assert called.called_at == called.first_called_at == world.now
    assert world.pool.waiting == 2
    assert world.told()[-1] == "ticket.called"


def test_call_next_takes_who_waits_longest() -> None:
    world = World()
    first, second = world.issue(), world.issue()

    assert world.pool.call_next(SELLER, world.now).id == first.id
    assert world.pool.call_next(SELLER, world.now).id == second.id
    with pytest.raises(QueueEmpty):
        world.pool.call_next(SELLER, world.now)


def test_call_next_is_for_staff() -> None:
    world = World()
    world.issue()

    with pytest.raises(NotYourStall):
        world.pool.call_next(DINER, world.now)


def test_calling_a_called_ticket_is_a_recall() -> None:
    world = World()
    ticket = world.follow(world.issue())
    act(world, "call", ticket)
    act(world, "acknowledge", ticket, DINER)
    world.clock.advance(minutes=1)

    again = act(world, "call", ticket)

    assert again.calls == 2
    assert again.called_at == world.now
    assert again.first_called_at == world.now - 60_000
    assert again.is_reached is None
    assert world.told()[-1] == "ticket.recalled"


def test_recall_is_for_what_was_called() -> None:
    world = World()
    ticket = world.issue()

    with pytest.raises(TicketNotCalled):
        act(world, "recall", ticket)

    act(world, "call", ticket)
    assert act(world, "recall", ticket).calls == 2


@pytest.mark.parametrize("verb", ["call", "recall"])
def test_who_did_not_show_up_is_called_back(verb: str) -> None:
    world = World()
    ticket = world.issue_and_call()
    act(world, "no_show", ticket)

    back = act(world, verb, ticket)

    assert back.status is Status.CALLED
    assert back.calls == 2
    assert world.told()[-2:] == ["ticket.no_show", "ticket.called"]


# ---------------------------------------------------------------- ending


def test_finished_number_is_free_and_its_ticket_is_not_live() -> None:
    world = World()
    ticket = world.issue_and_call()

    finished = act(world, "finish", ticket)

    assert finished.status is Status.FINISHED
    assert finished.ended_at == world.now
    assert world.pool.by_number(ticket.number) is None
    assert world.pool.free == 99


def test_waiting_ticket_may_be_finished() -> None:
    world = World()

    act(world, "finish", world.issue())

    assert world.pool.waiting == 0


@pytest.mark.parametrize("verb", ["finish", "cancel"])
def test_ending_twice_ends_once(verb: str) -> None:
    world = World()
    ticket = world.issue()
    first = act(world, verb, ticket)
    before = state(world.pool)

    second = act(world, verb, ticket)

    assert second == first
    assert state(world.pool) == before


def test_finishing_once_more_after_it_was_stored_changes_nothing() -> None:
    world = World()
    ticket = world.issue()
    act(world, "finish", ticket)
    world.restart()
    with pytest.raises(TicketNotFound):
        act(world, "finish", ticket)
    world.adopt(ticket.id)

    assert act(world, "finish", ticket).status is Status.FINISHED
    assert not world.told()


@pytest.mark.parametrize("verb", ["call", "recall", "no_show", "requeue", "cancel"])
def test_ended_ticket_takes_no_further_act(verb: str) -> None:
    world = World()
    ticket = world.issue()
    act(world, "finish", ticket)

    with pytest.raises(TicketNotLive):
        act(world, verb, ticket)


def test_cancelled_ticket_cannot_be_finished() -> None:
    world = World()
    ticket = world.issue()
    act(world, "cancel", ticket)

    with pytest.raises(TicketNotLive):
        act(world, "finish", ticket)


def test_late_act_on_a_former_holder_leaves_the_next_one_alone() -> None:
    world = World(pick="lowest")
    former = world.issue_and_call()
    act(world, "finish", former)
    holder = world.issue()
    assert holder.number == former.number

    act(world, "finish", former)
    with pytest.raises(TicketNotLive):
        act(world, "call", former)

    assert world.pool.by_number(holder.number) == holder


def test_clear_cancels_what_is_neither_noted_nor_called() -> None:
    world = World()
    plain, noted, called, other = (world.issue() for _ in range(4))
    world.follow(noted)
    act(world, "call", called)

    cleared = world.pool.clear(SELLER, world.now)

    assert [ticket.id for ticket in cleared] == [plain.id, other.id]
    assert {ticket.status for ticket in cleared} == {Status.CANCELLED}
    assert {ticket.id for ticket in world.pool.tickets()} == {noted.id, called.id}


def test_clear_is_for_staff() -> None:
    with pytest.raises(NotYourStall):
        World().pool.clear(STRANGER, 0)


# ---------------------------------------------------------------- not showing up


def test_no_show_keeps_its_number() -> None:
    world = World()
    ticket = world.issue_and_call()

    missing = act(world, "no_show", ticket)
    again = act(world, "no_show", ticket)

    assert missing.status is Status.NO_SHOW
    assert again == missing
    assert world.told() == ["ticket.issued", "ticket.called", "ticket.no_show"]
    assert world.pool.by_number(ticket.number) == missing


def test_waiting_ticket_has_not_failed_to_show_up() -> None:
    world = World()

    with pytest.raises(TicketNotCalled):
        act(world, "no_show", world.issue())


def test_requeued_ticket_waits_behind_all_others() -> None:
    world = World()
    ticket, other = world.issue(), world.issue()
    act(world, "call", ticket)
    world.clock.advance(minutes=1)

    back = act(world, "requeue", ticket)

    assert back.status is Status.ISSUED
    assert back.queued_at == world.now
    assert world.pool.ahead_of(back) == 1
    assert [t.id for t in world.pool.tickets()] == [other.id, ticket.id]


def test_requeued_ticket_with_a_note_is_noted() -> None:
    world = World()
    ticket = world.follow(world.issue())
    act(world, "call", ticket)
    act(world, "no_show", ticket)

    assert act(world, "requeue", ticket).status is Status.NOTED


def test_nothing_is_known_of_a_phone_that_is_to_be_called_again() -> None:
    world = World()
    ticket = world.issue_and_call()
    world.clock.advance(seconds=20)
    world.pool.mark_unreached(ticket.id, world.now)

    assert act(world, "requeue", ticket).is_reached is None


def test_requeue_twice_moves_once() -> None:
    world = World()
    ticket = world.issue_and_call()
    first = act(world, "requeue", ticket)
    world.clock.advance(minutes=1)

    assert act(world, "requeue", ticket) == first


def test_ticket_never_called_is_not_requeued() -> None:
    world = World()

    with pytest.raises(TicketNotCalled):
        act(world, "requeue", world.issue())


# ---------------------------------------------------------------- who may


@pytest.mark.parametrize("verb", STAFF_VERBS)
def test_seller_of_another_stall_may_nothing(verb: str) -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())
    before = state(world.pool)

    with pytest.raises(NotYourStall):
        act(world, verb, ticket, STRANGER)

    assert state(world.pool) == before


@pytest.mark.parametrize("verb", ["call", "recall", "no_show", "requeue", "cancel", "undo"])
def test_diner_may_not_do_what_staff_does(verb: str) -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())

    with pytest.raises(NotYourStall):
        act(world, verb, ticket, DINER)


@pytest.mark.parametrize("by", [SELLER, ADMIN, SYSTEM, DINER])
def test_staff_and_the_own_diner_may_finish(by: object) -> None:
    world = World()
    ticket = world.follow(world.issue())

    finished = act(world, "finish", ticket, by)

    assert finished.status is Status.FINISHED


def test_another_diner_cannot_even_see_the_ticket() -> None:
    world = World()
    ticket = world.follow(world.issue())

    with pytest.raises(TicketNotFound):
        act(world, "finish", ticket, OTHER_DINER)


def test_unbound_ticket_is_no_diners() -> None:
    world = World()

    with pytest.raises(TicketNotFound):
        act(world, "finish", world.issue(), DINER)


@pytest.mark.parametrize("verb", [*STAFF_VERBS, "acknowledge"])
def test_unknown_ticket_is_not_found(verb: str) -> None:
    world = World()
    ticket = world.issue()
    ticket.id += 1

    with pytest.raises(TicketNotFound):
        act(world, verb, ticket)


def test_ticket_of_another_stall_is_not_adopted() -> None:
    world, other = World(), World(id=8)
    ticket = other.issue()

    with pytest.raises(TicketNotFound):
        world.pool.adopt(ticket)


def test_adopting_a_live_ticket_changes_nothing() -> None:
    world = World()
    ticket = world.issue()
    world.store()
    act(world, "call", ticket)

    world.adopt(ticket.id)

    assert world.pool.ticket(ticket.id).status is Status.CALLED


# ---------------------------------------------------------------- undo


def prepare_nothing(world: World, ticket: Ticket) -> None:
    pass


def prepare_call(world: World, ticket: Ticket) -> None:
    act(world, "call", ticket)


def prepare_acknowledged_call(world: World, ticket: Ticket) -> None:
    world.follow(ticket)
    act(world, "call", ticket)
    act(world, "acknowledge", ticket, DINER)


def prepare_missing(world: World, ticket: Ticket) -> None:
    prepare_acknowledged_call(world, ticket)
    act(world, "no_show", ticket)


Preparation = Callable[[World, Ticket], None]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    ("prepare", "verb"),
    [
        (prepare_nothing, "call"),
        (prepare_missing, "call"),
        (prepare_nothing, "finish"),
        (prepare_acknowledged_call, "finish"),
        (prepare_call, "no_show"),
        (prepare_call, "requeue"),
        (prepare_acknowledged_call, "requeue"),
        (prepare_missing, "requeue"),
        (prepare_nothing, "cancel"),
        (prepare_missing, "cancel"),
    ],
)
def test_undo_restores_all_that_the_act_overwrote(
    prepare: Preparation, verb: str, *, restart: bool
) -> None:
    world = World()
    world.issue()
    ticket = world.issue()
    world.issue()
    prepare(world, ticket)
    was = world.pool.ticket(ticket.id)
    order = [t.id for t in world.pool.tickets()]
    world.clock.advance(seconds=30)
    act(world, verb, ticket)
    world.clock.advance(seconds=10)
    if restart:
        world.restart()
        world.adopt(ticket.id)

    undone = act(world, "undo", ticket)

    was.before, was.changed_at = "", world.now
    assert undone == was
    assert [t.id for t in world.pool.tickets()] == order
    assert world.pool.by_number(ticket.number) == undone
    assert world.pool.free == 96
    assert world.told()[-1] == "ticket.undone"


def test_undone_issue_is_a_cancelled_ticket() -> None:
    world = World()
    ticket = world.issue()

    undone = act(world, "undo", ticket)

    assert undone.status is Status.CANCELLED
    assert world.pool.waiting == 0
    assert world.pool.free == 99


def test_undo_is_too_late_after_ten_seconds() -> None:
    world = World()
    ticket = world.issue_and_call()
    world.clock.advance(seconds=10.001)
    before = state(world.pool)

    with pytest.raises(UndoTooLate):
        act(world, "undo", ticket)

    assert state(world.pool) == before


def test_undo_is_too_late_when_the_number_has_gone_on() -> None:
    world = World(pick="lowest")
    ticket = world.issue_and_call()
    act(world, "finish", ticket)
    holder = world.issue()

    with pytest.raises(UndoTooLate):
        act(world, "undo", ticket)

    assert world.pool.by_number(ticket.number) == holder


def test_undo_is_possible_again_when_the_next_holder_is_gone() -> None:
    world = World(pick="lowest")
    ticket = world.issue_and_call()
    act(world, "finish", ticket)
    act(world, "undo", world.issue())

    assert act(world, "undo", ticket).status is Status.CALLED


def test_undone_act_cannot_be_undone_again() -> None:
    world = World()
    ticket = world.issue_and_call()
    act(world, "undo", ticket)

    with pytest.raises(UndoTooLate):
        act(world, "undo", ticket)


def test_recall_cannot_be_taken_back() -> None:
    world = World()
    ticket = world.issue_and_call()
    act(world, "recall", ticket)

    with pytest.raises(UndoTooLate):
        act(world, "undo", ticket)


def test_what_the_diner_finished_stays_finished() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())
    act(world, "finish", ticket, DINER)

    with pytest.raises(UndoTooLate):
        act(world, "undo", ticket)


def test_note_bound_since_the_call_survives_its_undo() -> None:
    world = World()
    ticket = world.issue_and_call()
    world.follow(ticket)

    undone = act(world, "undo", ticket)

    assert undone.status is Status.NOTED
    assert undone.note == "牛肉面"
    assert world.pool.waiting == 1


def test_acknowledgement_since_the_no_show_survives_its_undo() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())
    act(world, "no_show", ticket)
    act(world, "acknowledge", ticket, DINER)

    assert act(world, "undo", ticket).is_reached is True


def test_memory_fits_its_column() -> None:
    world = World()
    ticket = world.issue_and_call()
    for _ in range(20):
        act(world, "recall", ticket)
    world.follow(ticket)
    act(world, "acknowledge", ticket, DINER)

    assert len(act(world, "requeue", ticket).before) <= 160


def test_returned_ticket_is_not_touched_by_later_acts() -> None:
    world = World()
    ticket = world.issue()

    act(world, "call", ticket)

    assert ticket.status is Status.ISSUED


def test_every_refusal_has_a_code_and_a_title_of_its_own() -> None:
    refusals = [kind for kind in QueueError.__subclasses__() if kind.__module__ == MODEL]

    assert len({refusal.code for refusal in refusals}) == len(refusals)
    assert len({refusal.title for refusal in refusals}) == len(refusals)
