"""What a ticket remembers of the last staff act on it, so that it can be taken back.

It is kept with the ticket, so an undo survives a restart. What diners do in between
(bind a note, acknowledge) is theirs and stays.
"""

import msgspec

from queueing.model import Status, Ticket

UNDO_MS = 10_000


class Before(msgspec.Struct, frozen=True, array_like=True):
    """The act, its time, and all it may overwrite. At most 160 characters as JSON."""

    act: str
    at: int
    status: Status
    queued_at: int
    called_at: int | None
    first_called_at: int | None
    calls: int
    reached_at: int | None
    unreached: bool


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Before).decode


def remember(act: str, ticket: Ticket, now: int) -> str:
    before = Before(
        act,
        now,
        ticket.status,
        ticket.queued_at,
        ticket.called_at,
        ticket.first_called_at,
        ticket.calls,
        ticket.reached_at,
        ticket.unreached,
    )
    return _encode(before).decode()


def recollect(ticket: Ticket, now: int) -> Before | None:
    """What can still be taken back, or None."""
    if not ticket.before:
        return None
    before = _decode(ticket.before)
    return before if now - before.at <= UNDO_MS else None


def restore(ticket: Ticket, before: Before) -> None:
    bound_since = before.status is Status.ISSUED and ticket.is_noted
    ticket.status = Status.NOTED if bound_since else before.status
    ticket.queued_at = before.queued_at
    ticket.called_at = before.called_at
    ticket.first_called_at = before.first_called_at
    ticket.calls = before.calls
    if before.act in ("call", "requeue"):  # The others leave what is known of the last call.
        ticket.reached_at = before.reached_at
        ticket.unreached = before.unreached
    ticket.ended_at = None
