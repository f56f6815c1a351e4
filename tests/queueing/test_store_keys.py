"""Idempotency keys of acts: one effect, equal answers, whatever goes wrong on the way."""

import asyncio
from typing import Any

import pytest

from queueing.acts import Act
from queueing.messages import ticket_out
from queueing.model import Actor, PoolExhausted, QueueEmpty, Ticket
from queueing.store import KEYS_IN, perform
from sql.idempotency import KeyReused
from tests.queueing.canteen import ADMIN, DINER, Canteen, seller_of


async def test_a_repeat_with_its_key_gets_the_first_answer_for_ever(canteen: Canteen) -> None:
    stall = await canteen.stall()
    first = await canteen.issue(stall.id, key="k")
    await canteen.act("finish", ticket_id=first.id)
    await canteen.restart()
    canteen.clock.advance(hours=20)
    before = await canteen.rows()

    again = await canteen.issue(stall.id, key="k")

    assert ticket_out(again, private=True) == ticket_out(first, private=True)
    assert await canteen.rows() == before


async def test_fifty_at_once_with_one_key_have_one_effect_and_one_answer(canteen: Canteen) -> None:
    stall = await canteen.stall()

    tickets = await asyncio.gather(*(canteen.issue(stall.id, key="k") for _ in range(50)))

    assert all(ticket == tickets[0] for ticket in tickets)
    assert len(await canteen.queues.live_tickets(stall.id)) == 1


@pytest.mark.parametrize("verb", ["call", "finish", "cancel", "no_show"])
async def test_the_answer_is_the_first_one_whatever_became_of_the_ticket(
    canteen: Canteen, verb: str
) -> None:
    stall = await canteen.stall()
    ticket = await canteen.issue(stall.id)
    await canteen.queues.follow(stall.id, ticket.number, DINER, note="面")
    await canteen.act("call", ticket_id=ticket.id)
    await canteen.act("acknowledge", ticket_id=ticket.id, by=DINER)
    first = await canteen.act(verb, ticket_id=ticket.id, key="k")
    canteen.clock.advance(seconds=3)
    await canteen.act("undo", ticket_id=ticket.id) if verb != "call" else None
    await canteen.act("call", ticket_id=ticket.id)

    again = await canteen.act(verb, ticket_id=ticket.id, key="k")

    assert ticket_out(again, private=True) == ticket_out(first, private=True)


async def test_keys_are_known_for_hours_of_a_rush_and_no_longer(canteen: Canteen) -> None:
    stall = await canteen.stall()
    first = await canteen.issue(stall.id, key="k")
    rounds = (KEYS_IN - 1) // 2
    for _ in range(rounds):
        ticket = await canteen.issue(stall.id, key=str(_))
        await canteen.act("finish", ticket_id=ticket.id)

    assert (await canteen.issue(stall.id, key="k")).id == first.id
    await canteen.issue_many(stall.id, 2)
    assert (await canteen.issue(stall.id, key="k")).id != first.id


@pytest.mark.parametrize(
    "other",
    [
        {"verb": "call_next"},
        {"number": 1},
        {"note": "面"},
        {"grant": "tmpl"},
        {"ticket_id": 1},
    ],
)
async def test_a_key_used_for_another_request_is_refused(
    canteen: Canteen, other: dict[str, Any]
) -> None:
    stall = await canteen.stall()
    asked: dict[str, Any] = {"verb": "issue", "stall_id": stall.id, "key": "k"}
    await canteen.act(**asked)
    before = await canteen.rows()

    with pytest.raises(KeyReused):
        await canteen.act(**(asked | other))

    assert await canteen.rows() == before


async def test_a_key_belongs_to_its_stall(canteen: Canteen) -> None:
    one, two = await canteen.stall(), await canteen.stall()

    here = await canteen.issue(one.id, by=ADMIN, key="k")
    there = await canteen.issue(two.id, by=ADMIN, key="k")

    assert (here.stall_id, there.stall_id) == (one.id, two.id)


async def test_the_same_key_of_another_account_is_another_key(canteen: Canteen) -> None:
    stall = await canteen.stall()

    first = await canteen.issue(stall.id, key="k")
    second = await canteen.issue(stall.id, by=ADMIN, key="k")

    assert first.id != second.id


async def test_the_same_key_from_another_device_of_the_account_is_the_same(
    canteen: Canteen,
) -> None:
    stall = await canteen.stall()
    seller = seller_of(stall.id)
    first = await canteen.issue(stall.id, key="k")

    second = await canteen.issue(
        stall.id, by=Actor("seller", account_id=seller.account_id, session_id=777), key="k"
    )

    assert second == first


async def test_a_refused_act_does_not_burn_its_key(canteen: Canteen) -> None:
    stall = await canteen.stall()
    with pytest.raises(QueueEmpty):
        await canteen.act("call_next", stall_id=stall.id, key="k")
    ticket = await canteen.issue(stall.id)

    called = await canteen.act("call_next", stall_id=stall.id, key="k")

    assert called.id == ticket.id


async def test_a_key_refused_once_in_a_batch_is_still_good_in_the_same_batch(
    canteen: Canteen,
) -> None:
    stall = await canteen.stall()
    tickets = await canteen.issue_many(stall.id, 99)

    outcomes = await asyncio.gather(
        canteen.issue(stall.id, key="k"),
        canteen.act("finish", ticket_id=tickets[4].id),
        canteen.issue(stall.id, key="k"),
        canteen.issue(stall.id, key="k"),
        return_exceptions=True,
    )

    assert isinstance(outcomes[0], PoolExhausted)
    assert outcomes[2] == outcomes[3]
    assert isinstance(outcomes[2], Ticket)
    assert outcomes[2].number == 5


async def test_a_key_may_hold_whatever_a_client_sends(canteen: Canteen) -> None:
    stall = await canteen.stall()

    for key in ("", "a" * 10_000, "\x00", "'; DROP TABLE tickets;--", "\ud800", "取号"):
        first = await canteen.issue(stall.id, by=ADMIN, key=key)
        canteen.clock.advance(seconds=2)
        second = await canteen.issue(stall.id, by=ADMIN, key=key)
        assert (first == second) == bool(key)


async def test_an_act_whose_transaction_was_lost_left_no_key(canteen: Canteen) -> None:
    stall = await canteen.stall()
    act = Act(verb="issue", by=seller_of(stall.id), stall_id=stall.id, key="k")

    def act_and_fail(tx: Any) -> None:
        (ticket,) = perform(tx, [act])
        assert isinstance(ticket, Ticket)
        raise ConnectionError("after the act, before the commit")

    with pytest.raises(ConnectionError):
        await canteen.db.write(act_and_fail)
    ticket = await canteen.queues.act(act)

    assert (ticket.number, ticket.id & 0xFFFF) == (1, 5)
    assert [event.seq for event in await canteen.stream(stall.id)] == [1, 2, 3, 4, 5]


# Two processes


@pytest.mark.mariadb
async def test_one_key_in_two_processes_has_one_effect(two: tuple[Canteen, Canteen]) -> None:
    stall = await two[0].stall()

    tickets = await asyncio.gather(
        *(two[n % 2].issue(stall.id, by=ADMIN, key="k") for n in range(40))
    )

    assert all(ticket == tickets[0] for ticket in tickets)
    assert len(await two[0].queues.live_tickets(stall.id)) == 1


async def test_a_diners_key_binds_once(canteen: Canteen) -> None:
    stall = await canteen.stall()
    ticket = await canteen.issue(stall.id)

    bound = [
        await canteen.queues.follow(stall.id, ticket.number, DINER, note="面", key="k")
        for _ in range(2)
    ]

    assert bound[0] == bound[1]
    with pytest.raises(KeyReused):
        await canteen.queues.follow(stall.id, ticket.number, DINER, note="饭", key="k")


async def test_keys_in_memory_do_not_grow_without_end(canteen: Canteen) -> None:
    stall = await canteen.stall()
    by = Actor("admin", account_id=1)
    first = await canteen.issue(stall.id, by=by, key="again and again")

    for turn in range(KEYS_IN // 2 + 60):
        key = "again and again" if turn == KEYS_IN // 2 else f"{turn}"
        ticket = await canteen.issue(stall.id, by=by, key=key)
        await canteen.act("finish", by, ticket_id=ticket.id, key=f"end {turn}")

    keys = canteen.db.memory.get(("stall", stall.id)).keys
    oldest = (await canteen.stream(stall.id))[-1].seq - KEYS_IN
    assert min(seq for _, seq in keys.values()) > oldest > first.id & 0xFFFFFFFF


async def test_an_act_that_changes_nothing_needs_no_key_to_be_repeated(canteen: Canteen) -> None:
    stall = await canteen.stall()
    ticket = await canteen.called(stall.id)
    await canteen.act("finish", ticket_id=ticket.id)
    before = await canteen.rows()

    for _ in range(2):
        again = await canteen.act("finish", ticket_id=ticket.id, key="k")
        assert again.status == "finished"

    assert await canteen.rows() == before
