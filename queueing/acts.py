"""An act on a stall's numbers, as it is handed to the transaction."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import msgspec

from queueing.model import Actor, InvalidNumber, Ticket, stall_of
from queueing.pool import Pool

Outcome = Ticket | list[Ticket]

KEY_LENGTH = 22


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """verb is a name in VERBS; an act names its stall or its ticket, which names the stall.

    key: made by the client; the same account asking again with it gets the first answer.
    calls, called_at: which call is acknowledged; 0 for the last one.
    """

    verb: str
    by: Actor
    stall_id: int = 0
    ticket_id: int = 0
    number: int = 0
    note: str = ""
    grant: str = ""
    key: str = ""
    calls: int = 0
    called_at: int = 0

    @property
    def stall(self) -> int:
        return self.stall_id or stall_of(self.ticket_id)

    @property
    def act_key(self) -> tuple[str, str]:
        """What the client's key is known by at this stall, and what was asked with it.

        22 and 10 characters, kept with the event the act caused.
        """
        key = f"{self.by.account_id}\n{self.key}".encode("utf-8", "surrogatepass")
        asked = (self.verb, self.ticket_id, self.number, self.note, self.grant, self.called_at)
        return _digest(key)[:KEY_LENGTH], _digest(repr(asked).encode("utf-8", "surrogatepass"))[:10]

    def on(self, pool: Pool, now: int) -> Outcome:
        """Do it. Raises a QueueError and has then changed nothing."""
        return VERBS[self.verb](pool, self, now)


def _digest(text: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text).digest()[:18]).decode()


def _live_id(pool: Pool, number: int) -> int:
    """The ticket that holds the number now. Raises InvalidNumber."""
    ticket = pool.by_number(number)
    if ticket is None:
        raise InvalidNumber
    return ticket.id


def _acknowledge(pool: Pool, act: Act, now: int) -> Ticket:
    """A phone that shows an earlier call has not shown the last one.

    Its count alone does not name a call: one that is undone gives its count to the next.
    """
    ticket = pool.ticket(act.ticket_id)
    is_last = (ticket.calls, ticket.called_at) == (act.calls, act.called_at)
    if act.calls and not is_last and ticket.diner_id == act.by.account_id:
        return ticket
    return pool.acknowledge(act.ticket_id, act.by, now)


VERBS: dict[str, Callable[[Pool, Act, int], Outcome]] = {
    "issue": lambda pool, act, now: pool.issue(act.by, now, double_tap=not act.key),
    "follow": lambda pool, act, now: pool.follow(act.number, act.by, act.note, act.grant, now),
    "call": lambda pool, act, now: pool.call(act.ticket_id, act.by, now),
    "call_next": lambda pool, act, now: pool.call_next(act.by, now),
    "recall": lambda pool, act, now: pool.recall(act.ticket_id, act.by, now),
    "finish": lambda pool, act, now: pool.finish(act.ticket_id, act.by, now),
    "no_show": lambda pool, act, now: pool.no_show(act.ticket_id, act.by, now),
    "requeue": lambda pool, act, now: pool.requeue(act.ticket_id, act.by, now),
    "cancel": lambda pool, act, now: pool.cancel(act.ticket_id, act.by, now),
    "undo": lambda pool, act, now: pool.undo(act.ticket_id, act.by, now),
    "clear": lambda pool, act, now: pool.clear(act.by, now),
    "acknowledge": _acknowledge,
    "mark_unreached": lambda pool, act, now: pool.mark_unreached(act.ticket_id, now),
    "release_overdue": lambda pool, _, now: pool.release_overdue(now),
    # The old dialect knows numbers only.
    "call_number": lambda pool, act, now: pool.call(_live_id(pool, act.number), act.by, now),
    "finish_number": lambda pool, act, now: pool.finish(_live_id(pool, act.number), act.by, now),
}
