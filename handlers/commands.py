"""What can be asked over the WebSocket: the same acts as over REST."""

from collections.abc import Callable
from typing import Annotated

import msgspec

from accounts.model import Session
from handlers.actors import actor_of
from handlers.calls import SIGNED_IN
from handlers.connection import Command
from handlers.errors import Problem
from handlers.limits import Limits
from handlers.rest_queue import ACTS, STAFF, change_ticket, guarded_numbers
from handlers.wire import INTEGER_MAX
from queueing.messages import TicketOut, ticket_out
from queueing.service import Queues

Id = Annotated[int, msgspec.Meta(ge=1, le=INTEGER_MAX)]
Key = Annotated[str, msgspec.Meta(max_length=200)]


class OfStall(msgspec.Struct, frozen=True):
    """key: made by the client; a repeat with it gets the first answer again."""

    stall_id: Id
    key: Key = ""


class OfTicket(msgspec.Struct, frozen=True):
    ticket_id: Id
    key: Key = ""


class FollowFrame(msgspec.Struct, frozen=True, kw_only=True):
    """As the body of the REST route, with the stall it is at."""

    stall_id: Id
    number: Annotated[int, msgspec.Meta(ge=1, le=99)]
    note: Annotated[str, msgspec.Meta(max_length=200)]
    grant: Annotated[str, msgspec.Meta(max_length=64)] = ""
    key: Key = ""


def commands(queues: Queues, limits: Limits, now: Callable[[], int]) -> list[Command]:
    """now: milliseconds UTC, for the limit on wrong numbers."""

    async def issue(session: Session, frame: OfStall) -> TicketOut:
        _require(STAFF, session)
        ticket = await queues.issue(frame.stall_id, actor_of(session), key=frame.key)
        return ticket_out(ticket, private=True)

    async def call_next(session: Session, frame: OfStall) -> TicketOut:
        _require(STAFF, session)
        ticket = await queues.call_next(frame.stall_id, actor_of(session), key=frame.key)
        return ticket_out(ticket, private=True)

    async def follow(session: Session, frame: FollowFrame) -> TicketOut:
        _require(SIGNED_IN, session)
        with guarded_numbers(limits, session.id, now()):
            ticket = await queues.follow(
                frame.stall_id,
                frame.number,
                actor_of(session),
                note=frame.note,
                grant=frame.grant,
                key=frame.key,
            )
        return ticket_out(ticket, private=True)

    def act(verb: str) -> Command:
        async def change(session: Session, frame: OfTicket) -> TicketOut:
            _require(SIGNED_IN if verb == "finish" else STAFF, session)
            by = actor_of(session)
            ticket = await change_ticket(queues, verb, frame.ticket_id, by, frame.key)
            return ticket_out(ticket, private=True)

        return Command(f"ticket.{verb}", OfTicket, change)

    return [
        Command("ticket.issue", OfStall, issue),
        Command("ticket.call_next", OfStall, call_next),
        Command("ticket.follow", FollowFrame, follow),
        *(act(verb) for verb in ACTS.values()),
    ]


def _require(roles: frozenset[str], session: Session) -> None:
    if roles.isdisjoint(session.roles):
        raise Problem(403, "forbidden", "Your role does not allow this.")
