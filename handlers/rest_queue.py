"""Stalls, their queues and tickets over REST."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from accounts.staff.permissions import Permission, allowed
from handlers.actors import actor, actor_of, signed_in
from handlers.calls import ADMIN, SIGNED_IN, Call, Response
from handlers.errors import TooManyRequests
from handlers.frames import event_item, event_rest
from handlers.limits import Limits
from handlers.routing import Route
from handlers.topics import redacted
from queueing.messages import (
    Follow,
    QueueOut,
    StallForSeller,
    StallOut,
    TicketOut,
    stall_for_seller,
    stall_out,
    ticket_out,
)
from queueing.model import (
    Actor,
    InvalidNumber,
    NotYourStall,
    NumberTaken,
    Stall,
    StallNotFound,
    Ticket,
    TicketNotFound,
)
from queueing.service import Queues
from queueing.stalls.service import Stalls

STAFF = frozenset({"seller", "admin"})
READERS = ADMIN | allowed(Permission.TICKETS_READ)

# What one answer of the event list holds at most.
EVENTS_MAX = 1000

# The last part of a ticket's address, and the act it means.
ACTS = {
    "call": "call",
    "recall": "recall",
    "finish": "finish",
    "no-show": "no_show",
    "requeue": "requeue",
    "cancel": "cancel",
    "undo": "undo",
}
SUMMARIES = {
    "call": "Call the ticket; calling again is a recall",
    "recall": "Call again a ticket that was called",
    "finish": "The dish is collected: by the stall's staff or the ticket's own diner",
    "no-show": "Nobody came; the number is kept",
    "requeue": "Back to the end of the queue",
    "cancel": "Cancel the ticket; its number rests, then returns",
    "undo": "Take back the last act on the ticket, within ten seconds",
}
ACT_ERRORS = ("ticket.not_found", "ticket.not_live", "ticket.not_called")


class After(msgspec.Struct, frozen=True):
    after: Annotated[int, msgspec.Meta(ge=0, description="The last seq that was seen.")] = 0


class StallList(msgspec.Struct, frozen=True):
    items: list[StallOut]
    total: int


class EventOut(msgspec.Struct, frozen=True):
    """data: what the event tells, as on the stall's public topic."""

    seq: int
    name: str
    at: str
    data: dict[str, Any]


class EventList(msgspec.Struct, frozen=True):
    """seq: where the stream stands; when the last event is older, ask again after it."""

    epoch: str
    seq: int
    events: list[EventOut]


def routes(queues: Queues, stalls: Stalls, limits: Limits) -> list[Route]:
    handlers = _Handlers(queues, stalls, limits)
    return [*_stall_routes(handlers), *_ticket_routes(handlers)]


def _stall_routes(handlers: "_Handlers") -> list[Route]:
    return [
        Route(
            "GET",
            "/api/v1/stalls",
            handlers.list_stalls,
            returns=StallList,
            area="stalls",
            summary="Stalls that are open",
        ),
        Route(
            "GET",
            "/api/v1/stalls/{stall_id}",
            handlers.stall,
            returns=StallOut,
            area="stalls",
            summary="A stall; to its seller and to administrators with months and settings",
            errors=("stall.not_found",),
        ),
        Route(
            "GET",
            "/api/v1/stalls/{stall_id}/queue",
            handlers.queue,
            returns=QueueOut,
            etag=handlers.queue_etag,
            area="stalls",
            summary="The live queue; to the stall's staff with notes and pool health",
            errors=("stall.not_found",),
        ),
        Route(
            "GET",
            "/api/v1/stalls/{stall_id}/events",
            handlers.events,
            query=After,
            returns=EventList,
            area="stalls",
            summary=f"Public events behind a seq, at most {EVENTS_MAX}",
            errors=("stall.not_found",),
        ),
        Route(
            "POST",
            "/api/v1/stalls/{stall_id}/call-next",
            handlers.call_next,
            returns=TicketOut,
            who=STAFF,
            idempotent=True,
            area="tickets",
            summary="Call the one who has waited longest",
            errors=("queue.empty", "stall.not_found"),
        ),
        Route(
            "POST",
            "/api/v1/stalls/{stall_id}/clear",
            handlers.clear,
            returns=list[TicketOut],
            who=STAFF,
            area="tickets",
            summary="Cancel all numbers that are neither bound nor called",
            errors=("stall.not_found",),
        ),
    ]


def _ticket_routes(handlers: "_Handlers") -> list[Route]:
    acts = [
        Route(
            "POST",
            f"/api/v1/tickets/{{ticket_id}}/{path}",
            handlers.act(verb),
            returns=TicketOut,
            who=SIGNED_IN if verb == "finish" else STAFF,
            idempotent=True,
            area="tickets",
            summary=SUMMARIES[path],
            errors=(*ACT_ERRORS, "undo.too_late") if verb == "undo" else ACT_ERRORS,
        )
        for path, verb in ACTS.items()
    ]
    return [
        Route(
            "POST",
            "/api/v1/stalls/{stall_id}/tickets",
            handlers.issue,
            returns=TicketOut,
            status=201,
            who=STAFF,
            idempotent=True,
            area="tickets",
            summary="Give out the next number",
            errors=("stall.due", "stall.closed", "pool.exhausted", "stall.not_found"),
        ),
        Route(
            "POST",
            "/api/v1/stalls/{stall_id}/follow",
            handlers.follow,
            body=Follow,
            returns=TicketOut,
            who=SIGNED_IN,
            idempotent=True,
            area="tickets",
            summary="Bind oneself and a note to a number; the first diner wins",
            errors=("ticket.invalid_number", "ticket.invalid_note", "ticket.taken"),
        ),
        Route(
            "GET",
            "/api/v1/tickets/{ticket_id}",
            handlers.ticket,
            returns=TicketOut,
            who=SIGNED_IN | READERS,
            area="tickets",
            summary="A ticket, with how many are ahead and how long it may take",
            errors=("ticket.not_found",),
        ),
        *acts,
    ]


class _Handlers:
    def __init__(self, queues: Queues, stalls: Stalls, limits: Limits) -> None:
        self._queues = queues
        self._stalls = stalls
        self._limits = limits

    # Stalls

    async def list_stalls(self, _: Call) -> StallList:
        found = await self._stalls.open_stalls()
        items = [stall_out(stall, image_url=self._stalls.image_url(stall)) for stall in found]
        return StallList(items, len(items))

    async def stall(self, call: Call) -> StallOut | StallForSeller:
        stall = await self._stalls.get(call.params["stall_id"])
        show = stall_for_seller if _is_staff(call, stall) else stall_out
        return show(stall, image_url=self._stalls.image_url(stall))

    # The queue

    def queue_etag(self, call: Call) -> Any:
        """The version of the stall's stream; free for who is not signed in."""
        if call.session is None:
            return self._queues.known_version(call.params["stall_id"]) or self._version(call)
        return self._version(call)

    async def _version(self, call: Call) -> str | None:
        version = await self._queues.version(call.params["stall_id"])
        if version and await self._is_staff_of(call):
            return f"{version}.staff"
        return version or None

    async def queue(self, call: Call) -> QueueOut:
        staff = await self._is_staff_of(call)
        return await self._queues.queue(call.params["stall_id"], staff=staff)

    async def _is_staff_of(self, call: Call) -> bool:
        if call.session is None:
            return False
        return await self._queues.is_staff(actor(call), call.params["stall_id"])

    async def events(self, call: Call) -> Response | EventList:
        stall_id, after = call.params["stall_id"], call.query.after
        head, found = await self._queues.missed(f"stall:{stall_id}", after, EVENTS_MAX, 0)
        if head is None:
            raise StallNotFound
        shown = [event_item(event_rest(e, *redacted(e, is_public=True))) for e in found]
        return Response(200, {"epoch": head.epoch, "seq": head.seq, "events": shown})

    # Tickets

    async def issue(self, call: Call) -> TicketOut:
        ticket = await self._queues.issue(
            call.params["stall_id"], actor(call), key=call.idempotency_key
        )
        return _private(ticket)

    async def follow(self, call: Call) -> TicketOut:
        session, body = signed_in(call), call.body
        with guarded_numbers(self._limits, session.id, call.now):
            ticket = await self._queues.follow(
                call.params["stall_id"],
                body.number,
                actor_of(session),
                note=body.note,
                grant=body.grant,
                key=call.idempotency_key,
            )
        return _private(ticket)

    async def ticket(self, call: Call) -> TicketOut:
        return await self._queues.ticket(call.params["ticket_id"], actor(call))

    async def call_next(self, call: Call) -> TicketOut:
        ticket = await self._queues.call_next(
            call.params["stall_id"], actor(call), key=call.idempotency_key
        )
        return _private(ticket)

    async def clear(self, call: Call) -> list[TicketOut]:
        cleared = await self._queues.clear(call.params["stall_id"], actor(call))
        return [_private(ticket) for ticket in cleared]

    def act(self, verb: str) -> Callable[[Call], Any]:
        async def act(call: Call) -> TicketOut:
            ticket_id, key = call.params["ticket_id"], call.idempotency_key
            return _private(await change_ticket(self._queues, verb, ticket_id, actor(call), key))

        return act


async def change_ticket(
    queues: Queues, verb: str, ticket_id: int, by: Actor, key: str = ""
) -> Ticket:
    """An act on a ticket; one at another's stall, or at none, is like one that is not there."""
    try:
        return await queues.change(verb, ticket_id, by, key=key)
    except (NotYourStall, StallNotFound):
        raise TicketNotFound from None


class guarded_numbers:  # noqa: N801 - read as a verb: `with guarded_numbers(…)`.
    """Count wrong numbers of a session, so that nobody finds a stranger's dish by guessing.

    Raises TooManyRequests on entering when there were too many.
    """

    def __init__(self, limits: Limits, session_id: int, now: int) -> None:
        self._limits = limits
        self._key = str(session_id)
        self._now = now

    def __enter__(self) -> None:
        if not self._limits.enabled:
            return
        wait_s = self._limits.wrong_numbers.wait(self._key, self._now)
        if wait_s:
            raise TooManyRequests(wait_s)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._limits.enabled and kind in (InvalidNumber, NumberTaken):
            self._limits.wrong_numbers.allow(self._key, self._now)


def _is_staff(call: Call, stall: Stall) -> bool:
    session = call.session
    if session is None:
        return False
    if not READERS.isdisjoint(session.roles):
        return True
    return "seller" in session.roles and session.account_id in stall.sellers


def _private(ticket: Ticket) -> TicketOut:
    """For who has just acted on it: staff, or the ticket's own diner."""
    return ticket_out(ticket, private=True)
