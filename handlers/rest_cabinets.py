"""Doors over REST: a shopper opens one and follows it; staff open one to restock or to look."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET

from accounts.staff.permissions import Permission, allowed
from devices.flow.messages import (
    SHOWN,
    DoorsOut,
    OpenDoor,
    OpenedOut,
    SessionOut,
    StaffOpen,
    StaffSessionOut,
    session_values,
)
from devices.flow.model import Opened
from devices.flow.service import Cabinets
from devices.sessions.model import DoorSession, SessionNotFound, State
from devices.sessions.store import SORTS, Wanted
from handlers.actors import by, signed_in
from handlers.calls import ADMIN, DINER, Call
from handlers.errors import FieldError, Problem
from handlers.limits import Limit
from handlers.routing import Route
from handlers.wire import Listing, Page, from_rfc3339, rfc3339, sorted_by

OpenidOf = Callable[[int], Awaitable[str]]

_OPEN: Final = ADMIN | allowed(Permission.DEVICES_OPEN)
_READ: Final = ADMIN | allowed(Permission.DEVICES_READ)

_REFUSED: Final = (
    "cabinets.qr_invalid",
    "cabinets.unpaid_order",
    "cabinets.barred",
    "devices.not_bound",
    "devices.offline",
    "devices.locked",
    "devices.in_maintenance",
    "door_session.door_busy",
    "door_session.already_open",
    "cabinets.no_tickets",
    "payments.score_unavailable",
    "payments.score_refused",
    "cabinets.last_settling",
    "cabinets.nothing_for_sale",
    "cabinets.refused",
    "payments.stopped",
    "idempotency.key_reused",
)

Time = Annotated[str, msgspec.Meta(max_length=40)]
Number = Annotated[int, msgspec.Meta(ge=0)]


class SessionPage(Page, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Sessions of staff's stores. from, before: when they were requested."""

    store_id: Number = 0
    device_id: Number = 0
    account_id: Number = 0
    state: State | None = None
    purpose: Annotated[str, msgspec.Meta(pattern=r"^(shop|restock|inspect)?$")] = ""
    from_: Time = ""
    before: Time = ""


def routes(cabinets: Cabinets, openid_of: OpenidOf, *, opening: Limit | None = None) -> list[Route]:
    """opening: how often one session may ask for a door."""
    handlers = _Handlers(cabinets, openid_of)
    return [*_shopper_routes(handlers, opening), *_staff_routes(handlers)]


def _shopper_routes(handlers: "_Handlers", opening: Limit | None) -> list[Route]:
    area = "cabinets"
    return [
        Route(
            "POST",
            "/api/v1/cabinets/open",
            handlers.open,
            body=OpenDoor,
            returns=OpenedOut,
            status=202,
            who=DINER,
            idempotent=True,
            limit=opening,
            area=area,
            summary="Open the door of a code",
            description="The door itself is heard of later: listen to door:ID, or ask for the "
            "session. A second tap continues the same session; nothing is unlocked twice.",
            errors=_REFUSED,
        ),
        Route(
            "GET",
            "/api/v1/cabinets/{qr:text}/doors",
            handlers.doors,
            returns=DoorsOut,
            who=DINER,
            area=area,
            summary="The doors of a store's code, to choose from",
            errors=("cabinets.qr_invalid", "stores.not_found"),
        ),
        Route(
            "GET",
            "/api/v1/door-sessions/current",
            handlers.current,
            returns=SessionOut,
            who=DINER,
            area=area,
            summary="One's session at a door now, else the last one",
            errors=("door_session.not_found",),
        ),
        Route(
            "GET",
            "/api/v1/door-sessions/{session_id}",
            handlers.session,
            returns=SessionOut,
            who=DINER,
            etag=handlers.etag,
            area=area,
            summary="One's own door session",
            errors=("door_session.not_found",),
        ),
    ]


def _staff_routes(handlers: "_Handlers") -> list[Route]:
    area = "admin: cabinets"
    return [
        Route(
            "POST",
            "/api/v1/admin/devices/{device_id}/open",
            handlers.open_for_staff,
            body=StaffOpen,
            returns=StaffSessionOut,
            status=202,
            who=_OPEN,
            idempotent=True,
            area=area,
            summary="Open a door to restock it or to look; no money ever comes of it",
            errors=(
                "devices.not_found",
                "devices.not_bound",
                "devices.offline",
                "door_session.door_busy",
                "door_session.already_open",
                "cabinets.refused",
                "idempotency.key_reused",
            ),
        ),
        Route(
            "GET",
            "/api/v1/admin/door-sessions",
            handlers.sessions,
            query=SessionPage,
            returns=Listing[StaffSessionOut],
            who=_READ,
            area=area,
            summary="Door sessions, newest first",
        ),
    ]


class _Handlers:
    def __init__(self, cabinets: Cabinets, openid_of: OpenidOf) -> None:
        self._cabinets = cabinets
        self._openid_of = openid_of

    async def open(self, call: Call) -> OpenedOut:
        body: OpenDoor = call.body
        account_id = signed_in(call).account_id
        opened = await self._cabinets.open(
            account_id,
            body.qr,
            body.pay_with,
            key=call.idempotency_key,
            openid=await self._openid_of(account_id) if body.pay_with == "wechat" else "",
        )
        return _opened_out(opened)

    async def doors(self, call: Call) -> DoorsOut:
        return await self._cabinets.doors(call.params["qr"])

    async def current(self, call: Call) -> SessionOut:
        session = await self._cabinets.current(signed_in(call).account_id)
        if session is None:
            raise SessionNotFound
        return session_out(session)

    async def session(self, call: Call) -> SessionOut:
        return session_out(await self._session(call))

    async def etag(self, call: Call) -> str:
        session = await self._session(call)
        return f"{session.id}.{session.version}"

    async def _session(self, call: Call) -> DoorSession:
        return await self._cabinets.session(
            call.params["session_id"], account_id=signed_in(call).account_id
        )

    async def open_for_staff(self, call: Call) -> StaffSessionOut:
        body: StaffOpen = call.body
        opened = await self._cabinets.open_for_staff(
            call.params["device_id"],
            body.door_no,
            body.purpose,
            by=by(call),
            key=call.idempotency_key,
            reason=body.reason,
        )
        return _staff_out(opened.session)

    async def sessions(self, call: Call) -> Listing[StaffSessionOut]:
        page: SessionPage = call.query
        wanted = Wanted(
            store_id=page.store_id,
            device_id=page.device_id,
            account_id=page.account_id,
            state=page.state or "",
            purpose=page.purpose,
            from_at=_time("from", page.from_),
            before_at=_time("before", page.before),
            sort=sorted_by(page, SORTS, "-id"),
        )
        total, found = await self._cabinets.page(
            wanted, by=by(call), offset=(page.page - 1) * page.page_size, most=page.page_size
        )
        return Listing([_staff_out(each) for each in found], total, page.page, page.page_size)


def _opened_out(opened: Opened) -> OpenedOut:
    return OpenedOut(
        session=session_out(opened.session), wx_open_business_view=opened.view or UNSET
    )


def session_out(session: DoorSession) -> SessionOut:
    """As its person is shown it."""
    return SessionOut(**_values(session))


def _staff_out(session: DoorSession) -> StaffSessionOut:
    return StaffSessionOut(
        **_values(session),
        vendor=session.vendor,
        store_id=session.store_id,
        account_id=session.account_id,
        vendor_order_no=session.vendor_order_no,
        manual_at=_written(session.manual_at),
    )


def _values(session: DoorSession) -> dict[str, Any]:
    return session_values(session, {name: _written(getattr(session, name)) for name in SHOWN})


def _written(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)


def _time(name: str, text: str) -> int:
    """Raises Problem for what is no time."""
    try:
        return from_rfc3339(text) if text else 0
    except ValueError as error:
        field = FieldError(f"$.{name}", str(error))
        raise Problem(400, "query.invalid", "The query is wrong.", errors=(field,)) from error
