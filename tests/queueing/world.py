"""A stall with a counter, diners, a hand-turned clock, and tables that are a dictionary."""

import copy
from typing import Any

import msgspec

from queueing.model import Actor, Draft, Stall, Ticket
from queueing.pool import Pool
from queueing.waiting import SAMPLES_MAX, Sample
from tests.clock import Clock

SELLER = Actor("seller", account_id=1, session_id=11)
SECOND_SELLER = Actor("seller", account_id=2, session_id=12)
STRANGER = Actor("seller", account_id=3, session_id=13)
ADMIN = Actor("admin", account_id=4, session_id=14)
SYSTEM = Actor("system")
DINER = Actor("diner", account_id=21, session_id=31)
OTHER_DINER = Actor("diner", account_id=22, session_id=32)


def stall(**settings: Any) -> Stall:
    given: dict[str, Any] = {
        "id": 7,
        "name": "兰州拉面",
        "balance_months": 3,
        "sellers": frozenset({1, 2}),
    }
    return Stall(**(given | settings))


class World:
    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.events: list[Draft] = []
        self.rows: dict[int, Ticket] = {}
        self.stall = stall(**settings)
        self.pool = self.load()

    @property
    def now(self) -> int:
        return self.clock.now()

    def load(self) -> Pool:
        """The pool as it is read from the tables."""
        rows = sorted(self.rows.values(), key=lambda ticket: ticket.id)
        samples = [
            Sample(row.first_called_at - row.issued_at, row.ahead, row.first_called_at)
            for row in rows
            if row.first_called_at is not None
        ]
        return Pool(
            self.stall,
            epoch="e",
            seq=len(self.events),
            live=[copy.copy(row) for row in rows if row.is_live],
            ended={row.number: row.ended_at for row in rows if row.ended_at is not None},
            used={row.number: row.id for row in rows},
            recent=sorted(samples, key=lambda sample: sample.called_at)[-SAMPLES_MAX:],
        )

    def store(self) -> list[Draft]:
        """Write what the pool drafted and changed; returns the events, public data first."""
        drafts = self.pool.drafts
        self.events += drafts
        assert self.pool.seq == len(self.events)
        assert self.pool.new_ids <= self.pool.changed.keys()
        assert not self.pool.new_ids & self.rows.keys()
        self.rows |= {id_: copy.copy(ticket) for id_, ticket in self.pool.changed.items()}
        self.pool.stored()
        return drafts

    def restart(self) -> None:
        self.store()
        self.pool = self.load()

    def issue(self, by: Actor = SELLER) -> Ticket:
        return self.pool.issue(by, self.now)

    def issue_and_call(self) -> Ticket:
        return self.pool.call(self.issue().id, SELLER, self.now)

    def follow(
        self, ticket: Ticket, by: Actor = DINER, note: str = "牛肉面", grant: str = ""
    ) -> Ticket:
        return self.pool.follow(ticket.number, by, note, grant, self.now)

    def adopt(self, ticket_id: int) -> None:
        self.pool.adopt(self.rows[ticket_id])

    def told(self) -> list[str]:
        """The names of the events drafted since they were last stored."""
        return [draft.name for draft in self.pool.drafts]


def state(pool: Pool) -> Any:
    """All that can be observed of a pool, to be compared with another moment's."""
    return msgspec.to_builtins(
        [
            pool.seq,
            pool.drafts,
            sorted(pool.changed.values(), key=lambda ticket: ticket.id),
            sorted(pool.new_ids),
            pool.tickets(),
            pool.waiting,
            pool.free,
        ]
    )
