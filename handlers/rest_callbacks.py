"""The platforms' events over REST, for the back office: those that wait for a person, and again."""

from typing import Annotated, Final

import msgspec

from accounts.alerts.model import masked
from accounts.staff.permissions import Permission, allowed
from commerce.members.messages import Reason
from devices.inbox.kept.model import EventState, Kept, Wanted
from devices.inbox.kept.service import KeptEvents
from devices.inbox.kept.store import SORTS
from handlers.actors import by, signed_in
from handlers.calls import ADMIN, Call
from handlers.routing import Route
from handlers.wire import Listing, Page, rfc3339, sorted_by

_READ: Final = ADMIN | allowed(Permission.CALLBACKS_READ)
_PUT_BACK: Final = ADMIN | allowed(Permission.CALLBACKS_PUT_BACK)
_BODIES: Final = ADMIN | allowed(Permission.INCIDENTS_RAW)


class EventPage(Page, frozen=True, kw_only=True):
    """state: without one, what is quarantined or dead."""

    state: EventState | None = None
    vendor: Annotated[str, msgspec.Meta(max_length=16)] = ""
    device_code: Annotated[str, msgspec.Meta(max_length=50)] = ""
    event_type: Annotated[str, msgspec.Meta(max_length=40)] = ""


class PutBack(msgspec.Struct, frozen=True):
    """Why it is to be worked again, for the audit."""

    reason: Reason


class EventOut(msgspec.Struct, frozen=True, kw_only=True):
    """outcome: why it is where it is. body: the beginning of what came, openids cut short; null
    for who may not read it."""

    id: int
    vendor: str
    event_id: str
    event_type: str
    device_code: str
    state: EventState
    tries: int
    outcome: str
    body: str | None
    occurred_at: str
    received_at: str
    next_at: str | None
    ended_at: str | None


def routes(events: KeptEvents) -> list[Route]:
    async def page(call: Call) -> Listing[EventOut]:
        asked: EventPage = call.query
        total, found = await events.page(
            Wanted(
                state=asked.state or "",
                vendor=asked.vendor,
                device_code=asked.device_code,
                event_type=asked.event_type,
                sort=sorted_by(asked, SORTS, "-id"),
            ),
            offset=(asked.page - 1) * asked.page_size,
            most=asked.page_size,
        )
        items = [_out(each, call) for each in found]
        return Listing(items, total, asked.page, asked.page_size)

    async def put_back(call: Call) -> EventOut:
        again = await events.put_back(
            call.params["event_id"],
            by=by(call),
            reason=call.body.reason,
            key=call.idempotency_key,
        )
        return _out(again, call)

    area, at = "admin: callbacks", "/api/v1/admin/callbacks"
    return [
        Route(
            "GET",
            at,
            page,
            query=EventPage,
            returns=Listing[EventOut],
            who=_READ,
            area=area,
            summary="What the platforms have told and nobody has worked, newest first",
        ),
        Route(
            "POST",
            f"{at}/{{event_id}}/put-back",
            put_back,
            body=PutBack,
            returns=EventOut,
            who=_PUT_BACK,
            idempotent=True,
            area=area,
            summary="Let an event be worked once more that was quarantined or given up",
            errors=("callbacks.not_found", "callbacks.not_ended", "idempotency.key_reused"),
        ),
    ]


def _out(event: Kept, call: Call) -> EventOut:
    with_body = not _BODIES.isdisjoint(signed_in(call).roles)
    text = event.body.decode(errors="backslashreplace")
    return EventOut(
        id=event.id,
        vendor=event.vendor,
        event_id=event.event_id,
        event_type=event.event_type,
        device_code=event.device_code,
        state=event.state,
        tries=event.tries,
        outcome=event.outcome,
        body=masked(text) if with_body else None,
        occurred_at=rfc3339(event.occurred_at),
        received_at=rfc3339(event.received_at),
        next_at=None if event.next_at is None else rfc3339(event.next_at),
        ended_at=None if event.ended_at is None else rfc3339(event.ended_at),
    )
