"""What a diner does: bind a dish to a number, and hear the call."""

import msgspec
import pytest

from queueing.model import (
    InvalidNote,
    InvalidNumber,
    NumberTaken,
    QueueError,
    Status,
    TicketNotCalled,
    TicketNotFound,
)
from tests.queueing.world import DINER, OTHER_DINER, SELLER, STRANGER, SYSTEM, World, state


def test_note_is_bound_to_the_number() -> None:
    world = World()
    ticket = world.issue()

    noted = world.follow(ticket, note="  牛肉面 ", grant="tmpl-1")

    assert noted.id == ticket.id
    assert noted.status is Status.NOTED
    assert noted.note == "牛肉面"
    assert (noted.diner_id, noted.diner_session) == (21, 31)
    assert (noted.grant, noted.noted_at) == ("tmpl-1", world.now)
    assert world.pool.waiting == 1
    assert world.told() == ["ticket.issued", "ticket.noted"]


def test_first_diner_wins() -> None:
    world = World()
    ticket = world.follow(world.issue())
    before = state(world.pool)

    with pytest.raises(NumberTaken):
        world.follow(ticket, OTHER_DINER)

    assert state(world.pool) == before


def test_same_wish_again_is_answered_the_same() -> None:
    world = World()
    first = world.follow(world.issue(), grant="tmpl-1")

    assert world.follow(first, grant="tmpl-1") == first
    assert world.follow(first) == first
    assert world.told() == ["ticket.issued", "ticket.noted"]


def test_diner_may_correct_the_note_until_the_call() -> None:
    world = World()
    ticket = world.follow(world.issue(), grant="tmpl-1")
    noted_at = world.now
    world.clock.advance(seconds=5)

    corrected = world.follow(ticket, note="炒饭")

    assert corrected.note == "炒饭"
    assert corrected.grant == "tmpl-1"
    assert corrected.noted_at == noted_at
    assert world.told() == ["ticket.issued", "ticket.noted", "ticket.noted"]


def test_dish_that_is_called_is_not_changed() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())

    with pytest.raises(NumberTaken):
        world.follow(ticket, note="炒饭")


def test_new_grant_is_kept_even_after_the_call() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())

    assert world.follow(ticket, grant="tmpl-1").grant == "tmpl-1"


def test_called_number_may_still_be_bound_and_stays_called() -> None:
    world = World()

    noted = world.follow(world.issue_and_call())

    assert noted.status is Status.CALLED
    assert noted.is_noted
    assert world.pool.waiting == 0


@pytest.mark.parametrize("number", [0, 2, 100, -1])
def test_number_that_is_not_live_is_invalid(number: int) -> None:
    world = World()
    world.issue()

    with pytest.raises(InvalidNumber):
        world.pool.follow(number, DINER, "牛肉面", "", world.now)


def test_nobody_cannot_bind_a_number() -> None:
    world = World()
    ticket = world.issue()

    with pytest.raises(InvalidNumber):
        world.follow(ticket, SYSTEM)


@pytest.mark.parametrize(
    ("note", "refusal"),
    [
        ("", InvalidNumber),
        (" \n", InvalidNumber),
        ("面" * 201, InvalidNote),
        ("牛肉\n面", InvalidNote),
        ("\x1b[31m面", InvalidNote),
        ("\u202e面", InvalidNote),
        ("\ud83c", InvalidNote),
    ],
)
def test_unfit_note_is_refused(note: str, refusal: type[QueueError]) -> None:
    world = World()
    ticket = world.issue()
    before = state(world.pool)

    with pytest.raises(refusal):
        world.follow(ticket, note=note)

    assert state(world.pool) == before


@pytest.mark.parametrize("note", ["0", "面" * 200, "👨‍🍳 面", "<b>&amp;'"])
def test_any_other_text_is_a_note(note: str) -> None:
    world = World()

    assert world.follow(world.issue(), note=note).note == note


# ---------------------------------------------------------------- acknowledging


def test_acknowledged_call_is_reached_once() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())
    world.clock.advance(seconds=2)

    reached = world.pool.acknowledge(ticket.id, DINER, world.now)
    world.clock.advance(seconds=2)
    again = world.pool.acknowledge(ticket.id, DINER, world.now)

    assert reached.is_reached is True
    assert reached.reached_at == world.now - 2000
    assert again == reached
    assert world.told()[-2:] == ["ticket.noted", "ticket.reached"]


def test_each_recall_is_acknowledged_anew() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())
    world.pool.acknowledge(ticket.id, DINER, world.now)
    world.pool.recall(ticket.id, SELLER, world.now)

    world.pool.acknowledge(ticket.id, DINER, world.now)

    assert world.told()[-3:] == ["ticket.reached", "ticket.recalled", "ticket.reached"]


@pytest.mark.parametrize("verb", ["requeue", "finish"])
def test_late_acknowledgement_changes_nothing(verb: str) -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())
    after = getattr(world.pool, verb)(ticket.id, SELLER, world.now)

    assert world.pool.acknowledge(ticket.id, DINER, world.now) == after


def test_what_was_not_called_cannot_be_acknowledged() -> None:
    world = World()
    ticket = world.follow(world.issue())

    with pytest.raises(TicketNotCalled):
        world.pool.acknowledge(ticket.id, DINER, world.now)


def test_only_its_diner_acknowledges_a_call() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())

    with pytest.raises(TicketNotFound):
        world.pool.acknowledge(ticket.id, OTHER_DINER, world.now)


# ---------------------------------------------------------------- what is told of it


def test_public_data_names_numbers_and_no_person() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())
    world.pool.recall(ticket.id, SELLER, world.now)

    draft = world.pool.drafts[-1]

    assert draft.public == {
        "ticket_id": ticket.id,
        "number": 1,
        "status": "called",
        "calls": 2,
        "issued_at": "2026-11-20T04:00:00.000Z",
        "called_at": "2026-11-20T04:00:00.000Z",
    }
    assert draft.private == {
        **draft.public,
        "note": "牛肉面",
        "noted": True,
        "reached": None,
        "by": "seller",
    }


def test_waiting_ticket_has_no_time_of_call() -> None:
    world = World()
    world.issue()

    assert world.pool.drafts[0].public is not None
    assert world.pool.drafts[0].public["called_at"] is None
    assert world.pool.drafts[0].private["noted"] is False


def test_whether_a_phone_was_reached_is_for_staff() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())
    world.pool.acknowledge(ticket.id, DINER, world.now)

    draft = world.pool.drafts[-1]

    assert draft.public is None
    assert draft.private["reached"] is True
    assert draft.private["by"] == "diner"


def test_no_event_tells_an_account_or_a_session() -> None:
    world = World()
    by = msgspec.structs.replace(DINER, account_id=987_001, session_id=987_002)
    ticket = world.follow(world.issue_and_call(), by)
    world.pool.acknowledge(ticket.id, by, world.now)
    world.pool.finish(ticket.id, by, world.now)

    assert b"98700" not in msgspec.json.encode(world.pool.drafts)


def test_seller_of_another_stall_hears_that_it_is_not_his() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())

    with pytest.raises(QueueError) as refusal:
        world.pool.finish(ticket.id, STRANGER, world.now)

    assert refusal.value.code == "stall.not_yours"
