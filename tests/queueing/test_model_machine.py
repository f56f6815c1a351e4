"""Whatever sellers and diners do, in any order, the promises of the pool hold."""

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from queueing.model import QueueError, Status, Ticket
from queueing.pool import Pool
from tests.queueing.world import (
    ADMIN,
    DINER,
    OTHER_DINER,
    SECOND_SELLER,
    SELLER,
    STRANGER,
    World,
    state,
)

STAFF = st.sampled_from([SELLER, SECOND_SELLER, ADMIN])
ANYBODY = st.sampled_from([SELLER, ADMIN, STRANGER, DINER, OTHER_DINER])
DINERS = st.sampled_from([DINER, OTHER_DINER])
VERBS = st.sampled_from(["call", "recall", "finish", "no_show", "requeue", "cancel", "undo"])
TICKETS = st.integers(0, 6)  # Counted from the newest.

# Which state may follow which, by which event; undo leads back along any of them.
STEPS = {
    "ticket.noted": {("issued", "noted"), ("noted", "noted"), ("called", "called"),
                     ("no_show", "no_show")},
    "ticket.called": {("issued", "called"), ("noted", "called"), ("no_show", "called")},
    "ticket.recalled": {("called", "called")},
    "ticket.no_show": {("called", "no_show")},
    "ticket.requeued": {(was, now) for was in ("called", "no_show") for now in ("issued", "noted")},
    "ticket.finished": {(was, "finished") for was in ("issued", "noted", "called", "no_show")},
    "ticket.cancelled": {(was, "cancelled") for was in ("issued", "noted", "called", "no_show")},
    "ticket.released": {(was, "released") for was in ("issued", "noted", "called", "no_show")},
    "ticket.reached": {("called", "called"), ("no_show", "no_show")},
    "ticket.unreached": {("called", "called")},
}  # fmt: skip


class Counter(RuleBasedStateMachine):
    @initialize(pick=st.sampled_from(["cyclic", "lowest"]), busy=st.sampled_from([0, 85, 97]))
    def open(self, pick: str, busy: int) -> None:
        self.world = World(pick=pick)
        self.ids: list[int] = []
        self.numbers: dict[int, int] = {}
        self.status: dict[int, str] = {}
        self.seen = 0  # Events whose step was judged.
        for _ in range(busy):
            self.keep(self.world.issue())

    # What people do

    @rule(double_tap=st.booleans(), by=ANYBODY)
    def issue(self, double_tap: bool, by: Any) -> None:
        expected = self.next_number()

        ticket = self.attempt(lambda pool: pool.issue(by, self.world.now, double_tap=double_tap))

        if ticket is not None and ticket.id not in self.ids:
            assert ticket.number == expected
            self.keep(ticket)

    @rule(which=TICKETS, verb=VERBS, by=STAFF)
    def act_as_staff(self, which: int, verb: str, by: Any) -> None:
        self.act(which, verb, by)

    @rule(which=TICKETS, verb=VERBS, by=ANYBODY)
    def act_as_anybody(self, which: int, verb: str, by: Any) -> None:
        self.act(which, verb, by)

    @rule(by=STAFF)
    def call_next(self, by: Any) -> None:
        self.attempt(lambda pool: pool.call_next(by, self.world.now))

    @rule(by=ANYBODY)
    def clear(self, by: Any) -> None:
        self.attempt(lambda pool: pool.clear(by, self.world.now))

    @rule(
        which=TICKETS,
        by=DINERS,
        note=st.sampled_from(["面", "饭", "", "\n"]),
        grant=st.sampled_from(["", "tmpl"]),
    )
    def follow(self, which: int, by: Any, note: str, grant: str) -> None:
        number = self.numbers.get(self.id(which), which)
        holder = self.world.pool.by_number(number)

        ticket = self.attempt(lambda pool: pool.follow(number, by, note, grant, self.world.now))

        if ticket is not None:
            assert holder is not None
            assert holder.diner_id in (0, by.account_id)
            assert (ticket.id, ticket.diner_id, ticket.note) == (holder.id, by.account_id, note)

    @rule(which=TICKETS, by=DINERS)
    def acknowledge(self, which: int, by: Any) -> None:
        self.act(which, "acknowledge", by)

    @rule(which=TICKETS, by=DINERS)
    def collect(self, which: int, by: Any) -> None:
        self.act(which, "finish", by)

    # What time and machines do

    @rule(seconds=st.sampled_from([0.2, 3, 20, 301, 7200, 86_400]))
    def wait(self, seconds: float) -> None:
        self.world.clock.advance(seconds=seconds)

    @rule(which=TICKETS)
    def remind(self, which: int) -> None:
        self.adopt(which)
        self.attempt(lambda pool: pool.mark_unreached(self.id(which), self.world.now))

    @rule()
    def release(self) -> None:
        self.attempt(lambda pool: pool.release_overdue(self.world.now))

    @precondition(lambda self: self.world.pool.drafts)
    @rule()
    def store(self) -> None:
        self.world.store()

    @rule()
    def restart(self) -> None:
        """The pool read from the tables is the one that was in memory, and goes on like it."""
        self.world.store()
        kept, self.world.pool = self.world.pool, self.world.load()
        assert state(self.world.pool) == state(kept)
        assert self.world.pool.pace(self.world.now) == kept.pace(self.world.now)
        assert self.world.pool.health(self.world.now) == kept.health(self.world.now)
        assert self.following(self.world.load()) == self.following(kept)

    # What always holds

    @invariant()
    def each_number_is_held_once_and_none_is_lost(self) -> None:
        pool = self.world.pool
        live = pool.tickets()
        assert len({ticket.number for ticket in live}) == len(live)
        assert all(ticket.is_live and 1 <= ticket.number <= 99 for ticket in live)
        assert len(live) + pool.free == 99
        health = pool.health(self.world.now)
        assert health.in_use + health.resting + health.free == 99

    @invariant()
    def queue_is_who_waits_in_their_order(self) -> None:
        pool = self.world.pool
        waiting = [ticket for ticket in pool.tickets() if ticket.is_waiting]
        assert pool.waiting == len(waiting)
        assert [pool.ahead_of(ticket) for ticket in waiting] == list(range(len(waiting)))

    @invariant()
    def status_moves_along_the_steps(self) -> None:
        told = self.world.events + self.world.pool.drafts
        for draft in told[self.seen :]:
            if draft.ticket:
                status = draft.private["status"]
                was = self.status.get(draft.ticket)
                if draft.name == "ticket.issued":
                    assert (was, status) == (None, "issued")
                elif draft.name != "ticket.undone":
                    assert (was, status) in STEPS[draft.name]
                self.status[draft.ticket] = status
        self.seen = len(told)

    @invariant()
    def times_and_states_agree(self) -> None:
        for ticket in self.world.pool.tickets():
            assert (ticket.status is Status.NOTED) <= ticket.is_noted
            assert (ticket.status is Status.ISSUED) <= (not ticket.is_noted)
            assert ticket.is_noted == bool(ticket.diner_id) == bool(ticket.note)
            assert (ticket.calls > 0) == (ticket.called_at is not None)
            assert ticket.ended_at is None

    # How it is done

    def act(self, which: int, verb: str, by: Any) -> None:
        self.adopt(which)
        others = {t.id: t for t in self.world.pool.tickets() if t.id != self.id(which)}

        self.attempt(lambda pool: getattr(pool, verb)(self.id(which), by, self.world.now))

        after = {t.id: t for t in self.world.pool.tickets() if t.id != self.id(which)}
        assert after == others

    def attempt(self, act: Callable[[Pool], Any]) -> Any:
        """Do it, and again if that changes nothing; refused, it must have left no trace."""
        pool = self.world.pool
        before, drafted = state(pool), len(pool.drafts)
        try:
            outcome = act(pool)
        except QueueError:
            assert state(pool) == before
            return None
        if len(pool.drafts) == drafted:
            assert state(pool) == before
        return outcome

    def keep(self, ticket: Ticket) -> None:
        self.ids.append(ticket.id)
        self.numbers[ticket.id] = ticket.number

    def id(self, which: int) -> int:
        return self.ids[-1 - which] if which < len(self.ids) else which

    def adopt(self, which: int) -> None:
        row: Ticket | None = self.world.rows.get(self.id(which))
        if row is not None:
            self.world.pool.adopt(row)

    def following(self, pool: Pool) -> list[int]:
        """The next numbers in turn, looked up in a pool that is thrown away."""
        return [pool.issue(SELLER, self.world.now).number for _ in range(min(5, pool.free))]

    def next_number(self) -> int:
        """The rule for the next number, told plainly and slowly."""
        world = self.world
        rows = world.rows | world.pool.changed
        held = {ticket.number for ticket in world.pool.tickets()}
        free = [number for number in range(1, 100) if number not in held]
        if not free or world.stall.pick == "lowest":
            return min(free, default=0)
        last: dict[int, int] = {}
        ended: dict[int, int] = {}
        for _, row in sorted(rows.items()):
            last[row.number] = row.id
            if row.ended_at is not None:
                ended[row.number] = row.ended_at
        newest = max(last, key=lambda number: last[number], default=0)
        rested = [n for n in free if n not in ended or ended[n] + 300_000 <= world.now]
        if not rested:
            return min(free, key=lambda number: (ended[number], number))
        return min(rested, key=lambda n: (last.get(n, 0), (n - newest - 1) % 99))


Counter.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCounter = Counter.TestCase
