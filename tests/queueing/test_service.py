"""What people and machines see of the queues: never older than what was answered."""

import asyncio
import random
from typing import Any

import pytest

from queueing.acts import Act
from queueing.messages import queue_out
from queueing.model import (
    Actor,
    InvalidNumber,
    NotYourStall,
    Status,
    Ticket,
    TicketNotCalled,
    TicketNotFound,
)
from queueing.service import SNAPSHOT_AGE_MS, SNAPSHOTS_MAX, number_of
from queueing.store import load_tickets, read_pool, stream_of
from sql import events, outbox
from sql.errors import CommitUnknown
from tests.queueing.canteen import (
    ADMIN,
    DINER,
    OTHER_DINER,
    STRANGER,
    Canteen,
    seller_of,
)
from tests.queueing.test_stalls import LostAnswers
from tests.queueing.test_store_memory import step


async def kept(canteen: Canteen, ticket: Ticket) -> Ticket:
    return (await canteen.db.read(load_tickets, [ticket.id]))[ticket.id]


# Acts by name


async def test_the_verbs_of_the_service_do_what_they_say(canteen: Canteen) -> None:
    stall = await canteen.stall()
    queues, seller = canteen.queues, seller_of(stall.id)

    ticket = await queues.issue(stall.id, seller, key="k")
    noted = await queues.follow(stall.id, 1, DINER, note=" 面 ", grant="tmpl")
    assert (noted.id, noted.note, noted.grant) == (ticket.id, "面", "tmpl")
    called = await queues.call_next(stall.id, seller)
    assert (called.id, called.status) == (ticket.id, Status.CALLED)
    recalled = await queues.change("recall", ticket.id, seller)
    assert recalled.calls == 2
    assert (await queues.call_number(stall.id, 1, seller)).calls == 3
    assert (await queues.finish_number(stall.id, 1, seller)).status is Status.FINISHED
    await queues.issue(stall.id, seller, key="k2")
    assert [t.status for t in await queues.clear(stall.id, seller)] == [Status.CANCELLED]
    assert await queues.clear(stall.id, seller) == []


async def test_a_diner_finishes_his_own_and_no_later_holder(canteen: Canteen) -> None:
    stall = await canteen.stall(pick="lowest")
    mine = await canteen.called(stall.id, note="面")

    finished = await canteen.queues.finish_own(stall.id, 1, DINER)
    (later,) = await canteen.issue_many(stall.id, 1)
    again = await canteen.queues.finish_own(stall.id, 1, DINER)

    assert finished.id == again.id == mine.id
    assert later.number == 1
    assert (await kept(canteen, later)).status is Status.ISSUED
    with pytest.raises(TicketNotFound):
        await canteen.queues.finish_own(stall.id, 1, OTHER_DINER)


async def test_a_diners_tickets_are_found_by_number_and_by_diner(canteen: Canteen) -> None:
    stall, other = await canteen.stall(pick="lowest"), await canteen.stall()
    old = await canteen.called(stall.id, note="面")
    await canteen.act("finish", ticket_id=old.id)
    assert await canteen.queues.open_ticket(DINER) is None
    new = await canteen.called(stall.id, note="饭")
    newest = await canteen.called(other.id, note="汤")

    assert (await canteen.queues.own_ticket(stall.id, 1, DINER)).id == new.id
    assert (await canteen.queues.live_ticket(stall.id, 1)).id == new.id
    open_one = await canteen.queues.open_ticket(DINER)
    assert open_one is not None
    assert open_one.id == newest.id
    for by, number in ((DINER, 2), (OTHER_DINER, 1)):
        with pytest.raises(TicketNotFound):
            await canteen.queues.own_ticket(stall.id, number, by)
    with pytest.raises(TicketNotFound):
        await canteen.queues.live_ticket(stall.id, 2)


@pytest.mark.parametrize("text", ["1", "01", "9", "99"])
async def test_a_number_is_read_as_an_old_client_writes_it(text: str) -> None:
    assert number_of(text) == int(text)


@pytest.mark.parametrize("text", ["", "0", "00", "100", "-1", "+1", "1.0", " 1", "１", "²", "a"])
async def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidNumber):
        number_of(text)


# Acknowledging


async def seq_of_last(canteen: Canteen, stall_id: int, name: str) -> int:
    return [e.seq for e in await canteen.stream(stall_id) if e.name == name][-1]


async def test_only_the_last_call_counts_as_shown(canteen: Canteen) -> None:
    stall = await canteen.stall()
    ticket = await canteen.called(stall.id, note="面")
    first = await seq_of_last(canteen, stall.id, "ticket.called")
    # In the very millisecond of the first.
    await canteen.act("recall", ticket_id=ticket.id)
    second = await seq_of_last(canteen, stall.id, "ticket.recalled")

    await canteen.queues.acknowledge(ticket.id, DINER, seq=first)
    assert (await kept(canteen, ticket)).reached_at is None
    await canteen.queues.acknowledge(ticket.id, DINER, seq=second)

    assert (await kept(canteen, ticket)).reached_at == canteen.clock.now()


async def test_a_call_that_was_undone_is_not_the_one_made_after_it(canteen: Canteen) -> None:
    stall = await canteen.stall()
    ticket = await canteen.called(stall.id, note="面")
    undone = await seq_of_last(canteen, stall.id, "ticket.called")
    await canteen.act("undo", ticket_id=ticket.id)
    canteen.clock.advance(seconds=1)
    await canteen.act("call", ticket_id=ticket.id)

    await canteen.queues.acknowledge(ticket.id, DINER, seq=undone)

    assert (await kept(canteen, ticket)).reached_at is None


async def test_without_a_seq_the_last_call_is_meant(canteen: Canteen) -> None:
    stall = await canteen.stall()
    ticket = await canteen.called(stall.id, note="面")

    await canteen.queues.acknowledge(ticket.id, DINER)

    assert (await kept(canteen, ticket)).is_reached
    assert (await canteen.stream(stall.id))[-1].name == "ticket.reached"


async def test_what_is_no_call_of_the_ticket_is_not_acknowledged(canteen: Canteen) -> None:
    stall = await canteen.stall()
    ticket = await canteen.called(stall.id, note="面")
    await canteen.issue_many(stall.id, 1)
    call = await seq_of_last(canteen, stall.id, "ticket.called")
    before = await canteen.rows()

    for seq in (call - 1, call + 1, call + 100, 2**53 - 1):
        await canteen.queues.acknowledge(ticket.id, DINER, seq=seq)
    await canteen.queues.acknowledge(77 << 32 | 5, DINER, seq=call)

    assert await canteen.rows() == before


async def test_nobody_acknowledges_for_another(canteen: Canteen) -> None:
    stall = await canteen.stall()
    ticket = await canteen.called(stall.id, note="面")
    call = await seq_of_last(canteen, stall.id, "ticket.called")
    await canteen.act("recall", ticket_id=ticket.id)
    before = await canteen.rows()

    for seq in (0, call, call + 1):
        with pytest.raises(TicketNotFound):
            await canteen.queues.acknowledge(ticket.id, OTHER_DINER, seq=seq)
        with pytest.raises(NotYourStall):
            await canteen.queues.acknowledge(ticket.id, seller_of(stall.id), seq=seq)

    assert await canteen.rows() == before


async def test_what_was_not_called_cannot_be_acknowledged(canteen: Canteen) -> None:
    stall = await canteen.stall()
    (ticket,) = await canteen.issue_many(stall.id, 1)
    await canteen.queues.follow(stall.id, 1, DINER, note="面")

    with pytest.raises(TicketNotCalled):
        await canteen.queues.acknowledge(ticket.id, DINER)


# A ticket


async def test_a_ticket_is_shown_to_its_diner_and_to_staff(canteen: Canteen) -> None:
    stall, other = await canteen.stall(), await canteen.stall()
    first, second = await canteen.issue_many(stall.id, 2)
    await canteen.queues.follow(stall.id, 2, DINER, note="面")

    for by in (DINER, seller_of(stall.id), ADMIN):
        shown = await canteen.queues.ticket(second.id, by)
        assert (shown.id, shown.note, shown.ahead) == (second.id, "面", 1)
        assert await canteen.queues.may_follow(second.id, by)
    for by in (OTHER_DINER, seller_of(other.id), STRANGER, Actor("diner")):
        for ticket_id in (first.id, second.id, second.id + 100, 77 << 32, 0):
            with pytest.raises(TicketNotFound):
                await canteen.queues.ticket(ticket_id, by)
            assert not await canteen.queues.may_follow(ticket_id, by)


async def test_a_waiting_ticket_shows_its_place_and_the_wait(canteen: Canteen) -> None:
    stall = await canteen.stall()
    seller = seller_of(stall.id)
    tickets = await canteen.issue_many(stall.id, 12)
    for _ in range(9):
        canteen.clock.advance(minutes=2)
        await canteen.queues.call_next(stall.id, seller)

    shown = await canteen.queues.ticket(tickets[11].id, seller)
    queue = await canteen.queues.queue(stall.id, staff=True)
    called = await canteen.queues.ticket(tickets[0].id, seller)

    # Each place in the queue took two minutes; two are before it.
    assert shown.ahead == 2
    assert shown.wait == (await place_in(canteen, tickets[11]))
    assert (shown.wait.from_min, shown.wait.to_min) == (6, 6)  # type: ignore[union-attr]
    assert queue.waiting == 3
    assert not isinstance(called.ahead, int)


async def place_in(canteen: Canteen, ticket: Ticket) -> Any:
    """The wait as the whole pool tells it."""
    pool = await canteen.db.read(read_pool, ticket.stall_id)
    pace = pool.pace(canteen.clock.now())
    assert pace is not None
    return pace.wait(pool.ahead_of(ticket))


async def test_a_requeued_ticket_waits_behind_those_who_came_later(canteen: Canteen) -> None:
    stall = await canteen.stall()
    seller = seller_of(stall.id)
    first, *_ = await canteen.issue_many(stall.id, 3)
    await canteen.queues.call_next(stall.id, seller)
    canteen.clock.advance(seconds=1)

    await canteen.queues.change("requeue", first.id, seller)

    assert (await canteen.queues.ticket(first.id, seller)).ahead == 2


# Snapshots and versions


async def assert_snapshots_are_fresh(canteen: Canteen, stall_id: int) -> None:
    pool = await canteen.db.read(read_pool, stall_id)
    for staff in (True, False):
        head, shown = await canteen.queues.snapshot(stall_id, staff=staff)
        assert (head.name, head.epoch, head.seq) == (stream_of(stall_id), pool.epoch, pool.seq)
        fresh = queue_out(pool, canteen.clock.now(), staff=staff)
        assert shown == fresh
        assert shown == await canteen.queues.queue(stall_id, staff=staff)
    assert await canteen.queues.version(stall_id) == f"{pool.epoch}.{pool.seq}"


async def test_a_snapshot_is_what_the_tables_say_whatever_happens(canteen: Canteen) -> None:
    stall, other = await canteen.stall(), await canteen.stall(pick="lowest")
    chance = random.Random(8)

    for _ in range(30):
        canteen.clock.advance(seconds=chance.choice([0, 0, 6, 300]))
        await asyncio.gather(
            *(step(canteen, chance, chance.choice([stall.id, other.id])) for _ in range(3)),
            return_exceptions=True,
        )
        await assert_snapshots_are_fresh(canteen, stall.id)
        await assert_snapshots_are_fresh(canteen, other.id)


@pytest.mark.mariadb
async def test_a_snapshot_is_fresh_though_another_process_writes(
    two: tuple[Canteen, Canteen],
) -> None:
    stall = await two[0].stall()
    chance = random.Random(9)

    for turn in range(16):
        await asyncio.gather(
            *(step(two[turn % 2], chance, stall.id) for _ in range(3)), return_exceptions=True
        )
        await assert_snapshots_are_fresh(two[(turn + 1) % 2], stall.id)
    assert two[0].queues.known_version(stall.id) is None


async def test_nothing_is_read_for_a_queue_that_nobody_touched(
    canteen: Canteen, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall = await canteen.stall()
    await canteen.issue_many(stall.id, 3)
    for staff in (True, False):
        await canteen.queues.snapshot(stall.id, staff=staff)
    reads = 0

    async def counted(*args: Any, **named: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read(*args, **named)

    read = canteen.db.read
    monkeypatch.setattr(canteen.db, "read", counted)
    for staff in (True, False, True):
        await canteen.queues.snapshot(stall.id, staff=staff)
    assert reads == 0

    canteen.clock.advance(seconds=SNAPSHOT_AGE_MS / 1000)
    await canteen.queues.snapshot(stall.id, staff=True)
    assert reads == 1


async def test_a_clock_that_went_back_makes_snapshots_anew(canteen: Canteen) -> None:
    stall = await canteen.stall()
    await canteen.issue_many(stall.id, 1)
    canteen.clock.advance(minutes=10)
    await canteen.queues.snapshot(stall.id, staff=True)

    canteen.clock.advance(minutes=-5)

    await assert_snapshots_are_fresh(canteen, stall.id)


async def test_snapshots_kept_do_not_grow_without_end(canteen: Canteen) -> None:
    stall = await canteen.stall()
    _, shown = await canteen.queues.snapshot(stall.id, staff=False)
    for n in range(SNAPSHOTS_MAX):
        canteen.queues._snapshots[1000 + n, False] = ("x", 0, shown)

    await canteen.queues.snapshot(stall.id, staff=True)

    assert len(canteen.queues._snapshots) == 1


async def test_the_version_of_an_unknown_stall_is_empty_and_not_kept(canteen: Canteen) -> None:
    assert await canteen.queues.version(77) == ""
    assert canteen.queues.known_version(77) is None

    stall = await canteen.stall()

    assert canteen.queues.known_version(stall.id) == await canteen.queues.version(stall.id) != ""


async def test_what_happens_to_an_account_is_no_stalls_version(canteen: Canteen) -> None:
    stall = await canteen.stall()
    before = await canteen.queues.version(stall.id)

    canteen.queues.told(
        [events.Event(f"account:{stall.id}", "e", 99, "session.ended", 0, 0, b"{}", b"")]
    )

    assert await canteen.queues.version(stall.id) == before


async def test_after_a_restart_a_version_is_read_once(canteen: Canteen) -> None:
    stall = await canteen.stall()
    before = canteen.queues.known_version(stall.id)
    await canteen.restart()
    assert canteen.queues.known_version(stall.id) is None

    assert await canteen.queues.version(stall.id) == before

    assert canteen.queues.known_version(stall.id) == before


async def test_a_version_read_before_a_change_does_not_hide_the_change(
    canteen: Canteen, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall = await canteen.stall()
    await canteen.restart()
    read = canteen.db.read

    async def read_slowly(*args: Any, **named: Any) -> Any:
        found = await read(*args, **named)
        await canteen.issue_many(stall.id, 1)
        return found

    monkeypatch.setattr(canteen.db, "read", read_slowly)
    await canteen.queues.version(stall.id)
    monkeypatch.undo()

    await assert_snapshots_are_fresh(canteen, stall.id)


async def test_after_a_lost_answer_the_version_is_asked_for_until_the_next_event(
    canteen: Canteen, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall = await canteen.stall()
    await canteen.issue_many(stall.id, 1)
    # The commit is done, but nobody is told: neither the caller nor those who listen.
    told, db = canteen.db._told, canteen.db
    monkeypatch.setattr(canteen.db, "_told", None)
    canteen.queues._db = LostAnswers(db)  # type: ignore[assignment]
    with pytest.raises(CommitUnknown):
        await canteen.queues.clear(stall.id, seller_of(stall.id))
    with pytest.raises(CommitUnknown):
        await canteen.queues.issue(stall.id, seller_of(stall.id), key="k")
    canteen.queues._db = db
    monkeypatch.setattr(canteen.db, "_told", told)

    assert canteen.queues.known_version(stall.id) is None
    await assert_snapshots_are_fresh(canteen, stall.id)
    await canteen.issue_many(stall.id, 1)
    assert canteen.queues.known_version(stall.id) is not None
    await assert_snapshots_are_fresh(canteen, stall.id)


# Who works where


async def test_the_stall_of_a_seller_is_never_an_old_one(canteen: Canteen) -> None:
    stall = await canteen.stall()
    seller = seller_of(stall.id)
    assert await canteen.queues.stall_of(seller) == stall.id
    assert await canteen.queues.stall_of(seller) == stall.id

    await canteen.stalls.release_sellers(stall.id)
    with pytest.raises(NotYourStall):
        await canteen.queues.stall_of(seller)
    other = await canteen.stall()
    await canteen.stalls.release_sellers(other.id)
    await canteen.stalls.sign_up(seller, phone=other.phone)

    assert await canteen.queues.stall_of(seller) == other.id


async def test_who_runs_a_stall_is_learned_from_the_event_when_nobody_says_so(
    canteen: Canteen,
) -> None:
    """The one who made the change may have gone away before its commit."""
    canteen.stalls._sellers_changed = lambda: None
    stall = await canteen.stall()
    seller = seller_of(stall.id)
    assert await canteen.queues.is_staff(seller, stall.id)

    await canteen.stalls.release_sellers(stall.id)

    assert not await canteen.queues.is_staff(seller, stall.id)


async def test_a_stall_read_before_its_seller_left_is_not_remembered(
    canteen: Canteen, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall = await canteen.stall()
    seller = seller_of(stall.id)
    read = canteen.db.read

    async def read_slowly(*args: Any, **named: Any) -> Any:
        found = await read(*args, **named)
        await canteen.stalls.release_sellers(stall.id)
        return found

    monkeypatch.setattr(canteen.db, "read", read_slowly)
    await canteen.queues.stall_of(seller)
    monkeypatch.undo()

    with pytest.raises(NotYourStall):
        await canteen.queues.stall_of(seller)


@pytest.mark.mariadb
async def test_who_left_in_another_process_has_left_here(two: tuple[Canteen, Canteen]) -> None:
    stall = await two[0].stall()
    seller = seller_of(stall.id)
    assert await two[0].queues.stall_of(seller) == stall.id

    await two[1].stalls.release_sellers(stall.id)

    with pytest.raises(NotYourStall):
        await two[0].queues.stall_of(seller)


async def test_who_is_staff_of_a_stall(canteen: Canteen) -> None:
    stall, other = await canteen.stall(), await canteen.stall()

    staff = {
        by.kind: await canteen.queues.is_staff(by, stall.id)
        for by in (ADMIN, DINER, seller_of(stall.id))
    }

    assert staff == {"admin": True, "diner": False, "seller": True}
    assert not await canteen.queues.is_staff(seller_of(other.id), stall.id)
    assert not await canteen.queues.is_staff(STRANGER, stall.id)


# Reminders


async def test_calls_nobody_acknowledged_are_marked_once(canteen: Canteen) -> None:
    stall, slow = await canteen.stall(remind_after_s=20), await canteen.stall(remind_after_s=60)
    plain = await canteen.called(stall.id)
    granted = await canteen.called(stall.id, note="面", grant="tmpl")
    await canteen.called(slow.id)
    reached = await canteen.called(slow.id, note="饭")
    await canteen.queues.acknowledge(reached.id, DINER)
    canteen.clock.advance(seconds=19.999)
    assert await canteen.queues.mark_unreached() == 0
    canteen.clock.advance(seconds=0.001)

    assert await canteen.queues.mark_unreached() == 2
    assert await canteen.queues.mark_unreached() == 0

    assert [(await kept(canteen, t)).is_reached for t in (plain, granted)] == [False, False]
    assert len(await canteen.db.write(outbox.claim, "test", lease_s=1)) == 1
    canteen.clock.advance(seconds=40)
    assert await canteen.queues.mark_unreached() == 1


async def parcel(canteen: Canteen) -> dict[str, Any]:
    """What the outbox holds for the one call that nobody acknowledged."""
    await canteen.queues.mark_unreached()
    (found,) = await canteen.db.write(outbox.claim, "test", lease_s=1)
    return found.payload


async def test_a_reminder_goes_to_whom_the_call_did_not_reach(canteen: Canteen) -> None:
    stall = await canteen.stall(remind_after_s=20)
    await canteen.called(stall.id, note="面", grant="tmpl")
    canteen.clock.advance(seconds=20)
    payload = await parcel(canteen)

    assert await canteen.queues.deliver_reminder(payload) == "sent"

    assert canteen.reminders == [payload]


@pytest.mark.parametrize("verb", ["acknowledge", "finish", "no_show", "requeue", "too late"])
async def test_a_reminder_of_no_use_any_more_is_not_sent(canteen: Canteen, verb: str) -> None:
    stall = await canteen.stall(remind_after_s=20)
    ticket = await canteen.called(stall.id, note="面", grant="tmpl")
    canteen.clock.advance(seconds=20)
    payload = await parcel(canteen)

    if verb == "acknowledge":
        await canteen.queues.acknowledge(ticket.id, DINER)
    elif verb == "too late":
        canteen.clock.advance(minutes=30)
    else:
        await canteen.act(verb, ticket_id=ticket.id)

    assert await canteen.queues.deliver_reminder(payload) is None
    assert canteen.reminders == []


async def test_a_reminder_of_a_ticket_that_never_was_is_not_sent(canteen: Canteen) -> None:
    payload = {"ticket_id": 77 << 32 | 5, "called_at": canteen.clock.now()}

    assert await canteen.queues.deliver_reminder(payload) is None


async def test_a_reminder_is_sent_though_the_number_was_called_once_more(
    canteen: Canteen,
) -> None:
    stall = await canteen.stall(remind_after_s=20)
    ticket = await canteen.called(stall.id, note="面", grant="tmpl")
    canteen.clock.advance(seconds=20)
    payload = await parcel(canteen)
    await canteen.act("recall", ticket_id=ticket.id)

    assert await canteen.queues.deliver_reminder(payload) == "sent"


# The end of the day


async def test_what_was_called_and_not_collected_is_released_in_time(canteen: Canteen) -> None:
    stall, patient = await canteen.stall(), await canteen.stall(release_after_min=1440)
    called = await canteen.called(stall.id)
    kept_one = await canteen.called(patient.id)
    (waiting,) = await canteen.issue_many(stall.id, 1)
    canteen.clock.advance(minutes=119)
    assert await canteen.queues.release_overdue() == 0
    canteen.clock.advance(minutes=1)

    assert await canteen.queues.release_overdue() == 1
    assert await canteen.queues.release_overdue() == 0

    assert (await kept(canteen, called)).status is Status.RELEASED
    assert (await kept(canteen, kept_one)).status is Status.CALLED
    assert (await kept(canteen, waiting)).status is Status.ISSUED


async def test_an_earlier_days_numbers_are_freed_after_downtime_at_midnight(
    canteen: Canteen,
) -> None:
    stalls = [await canteen.stall() for _ in range(3)]
    canteen.clock.set("2026-11-20T21:00:00+08:00")
    for stall in stalls:
        await canteen.issue_many(stall.id, 30)
        await canteen.called(stall.id)
    await canteen.restart()
    canteen.clock.set("2026-11-23T07:00:00+08:00")
    (early,) = await canteen.issue_many(stalls[0].id, 1)

    assert await canteen.queues.release_overdue() == 3 * 31

    for stall in stalls:
        live = await canteen.queues.live_tickets(stall.id)
        assert [t.id for t in live] == ([early.id] if stall is stalls[0] else [])
        seqs = [event.seq for event in await canteen.stream(stall.id)]
        assert seqs == list(range(1, len(seqs) + 1))
    figures = await canteen.queues.statistics(from_date=20261120, to_date=20261120)
    assert (figures.issued, figures.called, figures.released) == (93, 3, 93)


async def test_a_ticket_of_shortly_before_midnight_is_not_freed_at_midnight(
    canteen: Canteen,
) -> None:
    stall = await canteen.stall()
    canteen.clock.set("2026-11-20T23:59:00+08:00")
    (ticket,) = await canteen.issue_many(stall.id, 1)
    canteen.clock.set("2026-11-21T00:01:00+08:00")

    assert await canteen.queues.release_overdue() == 0

    assert (await canteen.queues.change("call", ticket.id, ADMIN)).status is Status.CALLED


# Statistics


async def test_days_begin_at_midnight_in_beijing(canteen: Canteen) -> None:
    stall, other = await canteen.stall(), await canteen.stall()
    for moment in ("2026-11-20T23:59:59.999+08:00", "2026-11-21T00:00:00+08:00"):
        canteen.clock.set(moment)
        await canteen.issue_many(stall.id, 1)
    await canteen.issue_many(other.id, 1)

    assert canteen.queues.business_date() == 20261121
    counts = {
        (first, last, at): (
            await canteen.queues.statistics(from_date=first, to_date=last, stall_id=at)
        ).issued
        for first, last in ((20261119, 20261119), (20261120, 20261120), (20261120, 20261121))
        for at in (None, stall.id)
    }
    assert counts == {
        (20261119, 20261119, None): 0,
        (20261119, 20261119, stall.id): 0,
        (20261120, 20261120, None): 1,
        (20261120, 20261120, stall.id): 1,
        (20261120, 20261121, None): 3,
        (20261120, 20261121, stall.id): 2,
    }


async def test_figures_come_from_what_happened(canteen: Canteen) -> None:
    stall = await canteen.stall()
    seller = seller_of(stall.id)
    await canteen.issue_many(stall.id, 4)
    for _ in range(3):
        canteen.clock.advance(minutes=2)
        await canteen.queues.call_next(stall.id, seller)
    canteen.clock.advance(minutes=1)
    await canteen.queues.finish_number(stall.id, 1, seller)
    await canteen.queues.clear(stall.id, seller)
    canteen.clock.advance(hours=3)
    await canteen.queues.release_overdue()

    figures = await canteen.queues.statistics(
        from_date=20261120, to_date=20261120, stall_id=stall.id
    )

    assert (figures.from_, figures.to, figures.stall_id) == ("2026-11-20", "2026-11-20", stall.id)
    assert (figures.issued, figures.called, figures.finished) == (4, 3, 1)
    assert (figures.cancelled, figures.released, figures.abandonment) == (1, 2, 2 / 3)
    assert (figures.wait.count, figures.wait.median_s) == (3, 240)
    assert (figures.service.count, figures.service.median_s) == (1, 300)
    assert [(hour.hour, hour.issued, hour.called) for hour in figures.hours] == [(12, 4, 3)]


async def test_missed_events_are_those_behind_a_seq(canteen: Canteen) -> None:
    stall = await canteen.stall()
    first, second = await canteen.issue_many(stall.id, 2)
    name, whole = stream_of(stall.id), await canteen.stream(stall.id)

    head, behind = await canteen.queues.missed(name, whole[-3].seq, 100, 0)
    _, of_second = await canteen.queues.missed(name, 0, 100, second.id)
    nowhere = await canteen.queues.missed("stall:77", 0, 100, 0)

    assert head is not None
    assert head.seq == whole[-1].seq
    assert behind == whole[-2:]
    assert [event.subject for event in behind] == [first.id, second.id]
    assert of_second == whole[-1:]
    assert nowhere == (None, [])


async def test_an_act_is_named_for_the_stall_it_is_at() -> None:
    assert Act(verb="issue", by=ADMIN, stall_id=7).stall == 7
    assert Act(verb="call", by=ADMIN, ticket_id=7 << 32 | 5).stall == 7


# What no stall can be called


@pytest.mark.parametrize("stall_id", [2**31, 2**32, 2**53 - 1])
async def test_an_impossible_stall_has_nothing(canteen: Canteen, stall_id: int) -> None:
    queues = canteen.queues

    figures = await queues.statistics(from_date=20261101, to_date=20261130, stall_id=stall_id)

    assert figures.issued == 0
    with pytest.raises(TicketNotFound):
        await queues.own_ticket(stall_id, 7, DINER)
    with pytest.raises(TicketNotFound):
        await queues.live_ticket(stall_id, 7)
    assert await queues.version(stall_id) == ""
