"""Acts on numbers, through the tables: what is kept, what is told, what is refused."""

import asyncio
from typing import Any

import pytest

from queueing.acts import VERBS, Act
from queueing.model import (
    Actor,
    InvalidNumber,
    NotYourStall,
    PoolExhausted,
    QueueEmpty,
    QueueError,
    StallClosed,
    StallDue,
    StallNotFound,
    Status,
    Ticket,
    TicketNotCalled,
    TicketNotFound,
    TicketNotLive,
    UndoTooLate,
)
from queueing.store import REMINDER, load_tickets, perform, stream_of
from tests.queueing.canteen import (
    ADMIN,
    DINER,
    OTHER_DINER,
    STRANGER,
    SYSTEM,
    Canteen,
    data,
    execute,
    private,
    seller_of,
)


async def test_a_ticket_goes_through_its_life_in_the_tables(canteen: Canteen) -> None:
    stall = await canteen.stall()
    seller, before = seller_of(stall.id), len(await canteen.stream(stall.id))

    ticket = await canteen.issue(stall.id)
    await canteen.act("follow", DINER, stall_id=stall.id, number=1, note="牛肉面", grant="tmpl")
    canteen.clock.advance(minutes=3)
    await canteen.act("call_next", stall_id=stall.id)
    await canteen.act("recall", ticket_id=ticket.id)
    await canteen.act("acknowledge", DINER, ticket_id=ticket.id)
    await canteen.act("no_show", ticket_id=ticket.id)
    await canteen.act("requeue", ticket_id=ticket.id)
    await canteen.act("call_number", stall_id=stall.id, number=1)
    await canteen.act("finish_number", stall_id=stall.id, number=1)

    kept = (await canteen.db.read(load_tickets, [ticket.id]))[ticket.id]
    assert (kept.number, kept.status, kept.calls) == (1, Status.FINISHED, 3)
    assert (kept.note, kept.diner_id, kept.diner_session) == ("牛肉面", 21, 31)
    assert (kept.issued_by, kept.issued_session) == (seller.account_id, seller.session_id)
    assert kept.first_called_at == kept.ended_at == kept.issued_at + 180_000
    assert [event.name for event in (await canteen.stream(stall.id))[before:]] == [
        "ticket.issued",
        "ticket.noted",
        "ticket.called",
        "ticket.recalled",
        "ticket.reached",
        "ticket.no_show",
        "ticket.requeued",
        "ticket.called",
        "ticket.finished",
    ]


async def test_a_ticket_is_named_for_the_event_that_issued_it(canteen: Canteen) -> None:
    stall = await canteen.stall()

    tickets = await canteen.issue_many(stall.id, 3)

    issued = {e.subject: e.seq for e in canteen.events if e.name == "ticket.issued"}
    assert {t.id: t.id & 0xFFFFFFFF for t in tickets} == issued
    assert {t.id >> 32 for t in tickets} == {stall.id}


async def test_what_was_committed_is_what_is_told_and_what_is_kept(canteen: Canteen) -> None:
    stall, other = await canteen.stall(), await canteen.stall()

    for at in (stall.id, other.id, stall.id):
        await canteen.called(at, note="面")

    for each in (stall, other):
        kept = await canteen.stream(each.id)
        assert kept == [e for e in canteen.events if e.stream == stream_of(each.id)]
        assert [event.seq for event in kept] == list(range(1, len(kept) + 1))
        assert len({event.epoch for event in kept}) == 1


async def test_a_cleared_stall_keeps_what_was_noted_or_called(canteen: Canteen) -> None:
    stall = await canteen.stall()
    called = await canteen.called(stall.id)
    noted, *plain = await canteen.issue_many(stall.id, 4)
    await canteen.act("follow", DINER, stall_id=stall.id, number=noted.number, note="面")

    cleared = await canteen.act("clear", stall_id=stall.id)

    assert {t.id for t in cleared} == {t.id for t in plain}
    live = await canteen.queues.live_tickets(stall.id)
    assert {t.id for t in live} == {called.id, noted.id}


# Refusals


async def refusals(canteen: Canteen) -> list[tuple[type[QueueError], dict[str, Any]]]:
    stall, due = await canteen.stall(), await canteen.stall(months=0)
    closed = await canteen.stall()
    await canteen.stalls.change(closed.id, {"disabled": True})
    waiting, called, gone = await canteen.issue_many(stall.id, 3)
    await canteen.act("call", ticket_id=called.id)
    await canteen.act("follow", DINER, stall_id=stall.id, number=waiting.number, note="面")
    await canteen.act("finish", ticket_id=gone.id)
    canteen.clock.advance(minutes=1)
    return [
        (NotYourStall, {"verb": "issue", "by": STRANGER, "stall_id": stall.id}),
        (NotYourStall, {"verb": "issue", "by": DINER, "stall_id": stall.id}),
        (StallDue, {"verb": "issue", "stall_id": due.id}),
        (StallClosed, {"verb": "issue", "stall_id": closed.id}),
        (StallNotFound, {"verb": "issue", "by": ADMIN, "stall_id": 77}),
        (StallNotFound, {"verb": "release_overdue", "by": SYSTEM, "stall_id": 77}),
        (QueueEmpty, {"verb": "call_next", "stall_id": due.id}),
        (TicketNotFound, {"verb": "call", "ticket_id": waiting.id + 1000}),
        (TicketNotFound, {"verb": "call", "by": ADMIN, "ticket_id": 77 << 32 | 5}),
        (TicketNotFound, {"verb": "call", "by": ADMIN, "ticket_id": 5}),
        (TicketNotFound, {"verb": "call", "by": ADMIN, "ticket_id": -1}),
        (TicketNotFound, {"verb": "call", "by": ADMIN, "ticket_id": 1 << 70}),
        (TicketNotFound, {"verb": "call", "by": ADMIN, "ticket_id": gone.id, "stall_id": due.id}),
        (NotYourStall, {"verb": "call", "by": STRANGER, "ticket_id": waiting.id}),
        (TicketNotLive, {"verb": "call", "ticket_id": gone.id}),
        (TicketNotCalled, {"verb": "recall", "ticket_id": waiting.id}),
        (TicketNotCalled, {"verb": "no_show", "ticket_id": waiting.id}),
        (TicketNotCalled, {"verb": "requeue", "ticket_id": waiting.id}),
        (TicketNotLive, {"verb": "cancel", "ticket_id": gone.id}),
        (UndoTooLate, {"verb": "undo", "ticket_id": called.id}),
        (UndoTooLate, {"verb": "undo", "ticket_id": gone.id}),
        (TicketNotFound, {"verb": "finish", "by": OTHER_DINER, "ticket_id": waiting.id}),
        (TicketNotFound, {"verb": "acknowledge", "by": OTHER_DINER, "ticket_id": waiting.id}),
        (TicketNotCalled, {"verb": "acknowledge", "by": DINER, "ticket_id": waiting.id}),
        (InvalidNumber, {"verb": "call_number", "stall_id": stall.id, "number": 50}),
        (InvalidNumber, {"verb": "finish_number", "stall_id": stall.id, "number": 0}),
        (InvalidNumber, {"verb": "follow", "by": DINER, "stall_id": stall.id, "number": 50,
                         "note": "面"}),
        (InvalidNumber, {"verb": "follow", "by": DINER, "stall_id": stall.id,
                         "number": called.number, "note": " "}),
        (TicketNotFound, {"verb": "mark_unreached", "by": SYSTEM, "ticket_id": 77 << 32 | 5}),
        (NotYourStall, {"verb": "clear", "by": DINER, "stall_id": stall.id}),
    ]  # fmt: skip


async def test_a_stream_without_its_stall_is_no_stall(canteen: Canteen) -> None:
    stall = await canteen.stall()
    await canteen.db.write(execute, f"DELETE FROM stalls WHERE id = {stall.id}")

    with pytest.raises(StallNotFound):
        await canteen.issue(stall.id)
    with pytest.raises(StallNotFound):
        await canteen.queues.snapshot(stall.id, staff=False)


async def test_a_refused_act_changes_nothing_at_all(canteen: Canteen) -> None:
    wanted = await refusals(canteen)
    assert {act["verb"] for _, act in wanted} == VERBS.keys()
    before, told = await canteen.rows(), len(canteen.events)

    for number, (refusal, act) in enumerate(wanted):
        with pytest.raises(refusal):
            await canteen.act(**act, key=f"key {number}")

    assert await canteen.rows() == before
    assert len(canteen.events) == told


async def test_acts_that_are_refused_spoil_none_that_wait_with_them(canteen: Canteen) -> None:
    wanted = await refusals(canteen)
    stall = await canteen.stall()
    acts = [canteen.act(**act) for _, act in wanted]
    good = [canteen.issue(stall.id, by=ADMIN, key=str(n)) for n in range(len(acts))]

    outcomes = await asyncio.gather(
        *(act for pair in zip(acts, good, strict=True) for act in pair), return_exceptions=True
    )

    assert [type(o) for o in outcomes[0::2]] == [refusal for refusal, _ in wanted]
    assert [t.number for t in outcomes[1::2] if isinstance(t, Ticket)] == list(
        range(1, len(good) + 1)
    )


async def test_a_repeated_act_of_state_is_answered_and_changes_nothing(canteen: Canteen) -> None:
    stall = await canteen.stall()
    finished, missing = await canteen.called(stall.id), await canteen.called(stall.id)
    (cancelled,) = await canteen.issue_many(stall.id, 1)
    acts = [("finish", finished), ("no_show", missing), ("cancel", cancelled)]
    for verb, ticket in acts:
        await canteen.act(verb, ticket_id=ticket.id)
    before = await canteen.rows()

    for verb, ticket in acts:
        await canteen.act(verb, ticket_id=ticket.id)

    assert await canteen.rows() == before


# Numbers


async def test_120_at_once_get_each_number_once_and_the_rest_none(canteen: Canteen) -> None:
    stall = await canteen.stall()

    outcomes = await asyncio.gather(
        *(canteen.issue(stall.id, by=ADMIN, key=f"{n}") for n in range(120)),
        return_exceptions=True,
    )

    numbers = [o.number for o in outcomes if isinstance(o, Ticket)]
    assert sorted(numbers) == list(range(1, 100))
    assert sum(isinstance(o, PoolExhausted) for o in outcomes) == 21


async def test_256_at_once_for_the_last_number_have_one_winner(canteen: Canteen) -> None:
    stall = await canteen.stall()
    tickets = await canteen.issue_many(stall.id, 99)

    for turn, ticket in enumerate(tickets[:5]):
        await canteen.act("finish", ticket_id=ticket.id)
        outcomes = await asyncio.gather(
            *(canteen.issue(stall.id, by=ADMIN, key=f"{turn}:{n}") for n in range(256)),
            return_exceptions=True,
        )

        assert [o.number for o in outcomes if isinstance(o, Ticket)] == [ticket.number]
        assert sum(isinstance(o, PoolExhausted) for o in outcomes) == 255


class Ledger:
    """Who holds which number, by what was answered: a number given twice is caught."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.issued = 0

    def take(self, ticket: Ticket) -> None:
        assert ticket.number not in self.held
        self.held[ticket.number] = ticket.id
        self.issued += 1


async def work(canteen: Canteen, stall_id: int, worker: int, ledger: Ledger) -> None:
    """Take, now and then call, end; over and over."""
    by = Actor("admin", account_id=1000 + worker)
    for turn in range(8):
        ticket = await canteen.issue(stall_id, by=by, key=f"{worker}:{turn}")
        ledger.take(ticket)
        if (worker + turn) % 3 == 0:
            await canteen.act("call", by, ticket_id=ticket.id)
        del ledger.held[ticket.number]
        verb = "finish" if turn % 2 else "cancel"
        await canteen.act(verb, by, ticket_id=ticket.id)


async def test_thirty_who_take_and_end_never_hold_the_same_number(canteen: Canteen) -> None:
    stall = await canteen.stall(pick="lowest")
    ledger = Ledger()

    await asyncio.gather(*(work(canteen, stall.id, n, ledger) for n in range(30)))

    seqs = [event.seq for event in await canteen.stream(stall.id)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert ledger.issued == 240
    assert await canteen.queues.live_tickets(stall.id) == []


# Events


async def test_what_everyone_hears_never_holds_a_note_or_a_person(canteen: Canteen) -> None:
    stall = await canteen.stall(person="王师傅", remind_after_s=1)
    ticket = await canteen.called(stall.id, note="不要香菜", grant="tmpl")
    canteen.clock.advance(seconds=2)
    await canteen.act("mark_unreached", SYSTEM, ticket_id=ticket.id)
    await canteen.act("acknowledge", DINER, ticket_id=ticket.id)
    await canteen.act("finish", DINER, ticket_id=ticket.id)

    told = await canteen.stream(stall.id)

    staff_only = {"ticket.reached", "ticket.unreached", "stall.renewed", "stall.signed_up"}
    assert {event.name for event in told if event.data == b""} == staff_only
    for event in told:
        assert "香菜".encode() not in event.data
        assert "王师傅".encode() not in event.data
        assert {b"diner_id", b"account", b"session", b"grant"}.isdisjoint(
            event.data.split(b'"') + event.private.split(b'"')
        )
    called = next(event for event in told if event.name == "ticket.called")
    assert data(called) == {
        "ticket_id": ticket.id,
        "number": 1,
        "status": "called",
        "calls": 1,
        "issued_at": "2026-11-20T04:00:00.000Z",
        "called_at": "2026-11-20T04:00:00.000Z",
    }
    more = {"note": "不要香菜", "noted": True, "reached": None, "by": "seller"}
    assert private(called) == data(called) | more


# Reminders


async def test_a_reminder_is_asked_for_once_and_spends_the_grant(canteen: Canteen) -> None:
    stall = await canteen.stall(remind_after_s=20)
    ticket = await canteen.called(stall.id, note="面", grant="tmpl-1")
    canteen.clock.advance(seconds=20)
    canteen.wakes.clear()

    for _ in range(2):
        await canteen.act("mark_unreached", SYSTEM, ticket_id=ticket.id)

    assert [(p.kind, p.payload) for p in await parcels(canteen)] == [
        (
            REMINDER,
            {
                "account_id": DINER.account_id,
                "template": "tmpl-1",
                "stall_id": stall.id,
                "stall": stall.name,
                "ticket_id": ticket.id,
                "number": 1,
                "note": "面",
                "called_at": ticket.called_at,
                "calls": 1,
            },
        )
    ]
    assert canteen.wakes == {"outbox"}
    assert (await canteen.db.read(load_tickets, [ticket.id]))[ticket.id].grant == ""


async def test_without_a_grant_nobody_is_reminded(canteen: Canteen) -> None:
    stall = await canteen.stall(remind_after_s=20)
    ticket = await canteen.called(stall.id, note="面")
    canteen.clock.advance(seconds=20)

    await canteen.act("mark_unreached", SYSTEM, ticket_id=ticket.id)

    assert await parcels(canteen) == []
    assert (await canteen.stream(stall.id))[-1].name == "ticket.unreached"


async def test_a_grant_given_after_an_undone_call_is_good_for_its_own_reminder(
    canteen: Canteen,
) -> None:
    stall = await canteen.stall(remind_after_s=1)
    ticket = await canteen.called(stall.id, note="面", grant="first")
    canteen.clock.advance(seconds=2)
    await canteen.act("mark_unreached", SYSTEM, ticket_id=ticket.id)
    await canteen.act("undo", ticket_id=ticket.id)
    await canteen.act("follow", DINER, stall_id=stall.id, number=1, note="面", grant="second")
    await canteen.act("call", ticket_id=ticket.id)
    canteen.clock.advance(seconds=2)

    await canteen.act("mark_unreached", SYSTEM, ticket_id=ticket.id)

    assert [p.payload["template"] for p in await parcels(canteen)] == ["first", "second"]


async def parcels(canteen: Canteen) -> Any:
    from sql import outbox

    return await canteen.db.write(outbox.claim, "test", lease_s=1)


# Ended tickets


async def test_an_ended_ticket_can_be_undone_by_a_process_that_never_saw_it(
    canteen: Canteen,
) -> None:
    stall = await canteen.stall()
    finished, cancelled = await canteen.called(stall.id, note="面"), await canteen.issue(stall.id)
    await canteen.act("finish", ticket_id=finished.id)
    await canteen.act("cancel", ticket_id=cancelled.id)
    await canteen.restart()
    canteen.clock.advance(seconds=10)

    back = await asyncio.gather(
        canteen.act("undo", ticket_id=finished.id), canteen.act("undo", ticket_id=cancelled.id)
    )

    assert [t.status for t in back] == [Status.CALLED, Status.ISSUED]
    live = await canteen.queues.live_tickets(stall.id)
    assert {t.id: (t.number, t.status, t.note) for t in live} == {
        finished.id: (finished.number, Status.CALLED, "面"),
        cancelled.id: (cancelled.number, Status.ISSUED, ""),
    }


async def test_an_undo_comes_too_late_once_the_number_has_gone_on(canteen: Canteen) -> None:
    stall = await canteen.stall(pick="lowest")
    first = await canteen.issue(stall.id, by=ADMIN)
    await canteen.act("cancel", ticket_id=first.id)
    second = await canteen.issue(stall.id, by=Actor("admin", account_id=1))
    assert second.number == first.number
    await canteen.restart()

    with pytest.raises(UndoTooLate):
        await canteen.act("undo", ticket_id=first.id)


async def test_a_late_act_on_an_old_ticket_never_touches_the_numbers_new_holder(
    canteen: Canteen,
) -> None:
    stall = await canteen.stall(pick="lowest")
    old = await canteen.called(stall.id, note="面")
    await canteen.act("finish", ticket_id=old.id)
    canteen.clock.advance(minutes=1)
    new = await canteen.called(stall.id)
    assert new.number == old.number
    before = await canteen.rows()

    await canteen.act("finish", DINER, ticket_id=old.id)
    for verb in ("recall", "no_show", "requeue", "cancel", "undo"):
        with pytest.raises(QueueError):
            await canteen.act(verb, ticket_id=old.id)

    assert await canteen.rows() == before


async def test_each_verb_can_be_asked_for_by_name() -> None:
    acts = [Act(verb=verb, by=ADMIN, stall_id=1) for verb in VERBS]

    assert len({act.act_key for act in acts}) == len(VERBS)
    assert perform.name == "perform"
