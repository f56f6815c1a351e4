"""A week at a stall: one long run of a seeded crowd, and what must be true at its end."""

import random

import pytest

from queueing.model import Actor, PoolExhausted, QueueError, Status, Ticket
from tests.queueing.world import SELLER, World

DAYS = 7
ENDED = {"finished", "cancelled", "released"}
DINERS = [Actor("diner", account_id=100 + n, session_id=1000 + n) for n in range(60)]


class Week:
    """Diners come in waves; some bind a note, some vanish, some come late; staff errs."""

    def __init__(self, seed: int, pick: str) -> None:
        self.random = random.Random(seed)
        self.world = World(pick=pick)
        self.exhausted = 0
        self.refusals: set[str] = set()

    def run(self) -> None:
        for day in range(DAYS):
            self.world.clock.set(f"2026-11-{20 + day}T10:30:00+08:00")
            for minute in range(180):
                self.minute(rush=60 <= minute < 120)
            self.world.clock.advance(hours=4)
            self.world.pool.release_overdue(self.world.now)
        self.world.clock.advance(days=1)
        self.world.pool.release_overdue(self.world.now)
        self.world.store()

    def minute(self, *, rush: bool) -> None:
        for _ in range(self.random.randint(0, 9 if rush else 2)):
            self.arrive()
        for _ in range(self.random.randint(0, 8 if rush else 3)):
            self.serve()
        if self.random.random() < 0.3:
            self.world.pool.release_overdue(self.world.now)
        if self.random.random() < 0.1:
            self.world.restart()
        self.world.store()
        self.world.clock.advance(seconds=60)

    def arrive(self) -> None:
        try:
            ticket = self.world.issue()
        except PoolExhausted:
            self.exhausted += 1
            assert len(self.world.pool.tickets()) == 99
            return
        assert ticket.number not in {t.number for t in self.live() if t.id != ticket.id}
        if self.random.random() < 0.8:
            diner = self.random.choice(DINERS)
            self.world.follow(ticket, diner, note=f"面 {self.random.randint(1, 9)}")

    def serve(self) -> None:
        live = self.live()
        if not live:
            return
        ticket = self.random.choice(live[:12])
        verb = self.random.choices(
            ["call", "finish", "no_show", "requeue", "cancel", "undo", "collect", "late"],
            [8, 5, 1, 1, 1, 1, 5, 2],
        )[0]
        try:
            self.act(verb, ticket)
        except QueueError as refusal:
            self.refusals.add(refusal.code)

    def act(self, verb: str, ticket: Ticket) -> None:
        pool, now = self.world.pool, self.world.now
        own = Actor("diner", ticket.diner_id, ticket.diner_session)
        if verb == "collect":
            pool.acknowledge(ticket.id, own, now)
            pool.finish(ticket.id, own, now)
        elif verb == "late":
            self.come_late(ticket)
        else:
            getattr(pool, verb)(ticket.id, SELLER, now)

    def come_late(self, holder: Ticket) -> None:
        """A former holder of the number finishes once more; the present one keeps it."""
        former = [
            row
            for row in self.world.rows.values()
            if row.number == holder.number and row.status is Status.FINISHED
        ]
        for row in former[-1:]:
            self.world.pool.adopt(row)
            self.world.pool.finish(row.id, SELLER, self.world.now)
        assert self.world.pool.by_number(holder.number) == holder

    def live(self) -> list[Ticket]:
        return self.world.pool.tickets()


@pytest.mark.parametrize("pick", ["cyclic", "lowest"])
@pytest.mark.parametrize("seed", range(3))
def test_week_at_a_stall_leaves_nothing_undone(seed: int, pick: str) -> None:
    week = Week(seed, pick)

    week.run()

    world = week.world
    rows = list(world.rows.values())
    issued = [event for event in world.events if event.name == "ticket.issued"]
    assert len(rows) == len(issued) > 1500
    assert week.refusals == {"ticket.not_called", "ticket.not_found", "undo.too_late"}
    assert not world.pool.tickets()
    assert world.pool.free == 99
    assert not any(row.is_live for row in rows)
    assert {row.id & 0xFFFFFFFF for row in rows} == {
        seq for seq, event in enumerate(world.events, 1) if event.name == "ticket.issued"
    }
    assert {row.business_date for row in rows} == {20261120 + day for day in range(DAYS)}


@pytest.mark.parametrize("seed", range(3))
def test_no_number_is_given_out_while_it_rests_and_others_are_free(seed: int) -> None:
    week = Week(seed, "cyclic")

    week.run()

    free_since = dict.fromkeys(range(1, 100), 0)
    too_early = []
    for event in week.world.events:
        ticket = week.world.rows.get(event.ticket)
        if ticket is None:
            continue
        if event.name == "ticket.issued":
            rested = ticket.issued_at - 300_000
            if (
                free_since.pop(ticket.number)
                > rested
                >= min(free_since.values(), default=rested + 1)
            ):
                too_early.append(ticket)
        elif event.private["status"] in ENDED:
            free_since[ticket.number] = ticket.ended_at or 0
        else:  # An undo, perhaps, that took the number back.
            free_since.pop(ticket.number, None)
    assert too_early == []
