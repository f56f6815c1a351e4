"""What an event says about a ticket: to everyone, and to staff and its own diner."""

from typing import Any

from queueing.calendar import rfc3339
from queueing.model import Actor, Ticket


def public_data(ticket: Ticket) -> dict[str, Any]:
    """Numbers and states, never a person."""
    called_at = ticket.called_at
    return {
        "ticket_id": ticket.id,
        "number": ticket.number,
        "status": ticket.status.value,
        "calls": ticket.calls,
        "issued_at": rfc3339(ticket.issued_at),
        "called_at": None if called_at is None else rfc3339(called_at),
    }


def private_data(ticket: Ticket, public: dict[str, Any], by: Actor) -> dict[str, Any]:
    """The same with the note, but still no account and no openid."""
    return {
        **public,
        "note": ticket.note,
        "noted": ticket.is_noted,
        "reached": ticket.is_reached,
        "by": by.kind,
    }
