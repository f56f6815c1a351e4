"""How devices are now over REST, and what is told to one: settings, the sale lock, a new start."""

from typing import Annotated, Any, Final

import msgspec

from accounts.staff.permissions import Permission, allowed
from devices.fleet.messages import Because
from devices.fleet.model import Device, Link, Service, Status
from devices.fleet.store import DevicesWanted
from devices.presence.messages import DoorLive, ParamsPatch, live, wanted
from devices.presence.model import PARAMS, temperature
from devices.presence.service import Presence
from handlers.actors import by
from handlers.calls import ADMIN, Call
from handlers.errors import FieldError, Problem
from handlers.routing import Route
from handlers.wire import Listing, Page, from_rfc3339, rfc3339, sorted_by

_READ: Final = ADMIN | allowed(Permission.DEVICES_READ)
_CHANGE: Final = ADMIN | allowed(Permission.DEVICES_CHANGE)
_SORTS: Final = ("id", "code", "name", "store_id", "link", "link_since", "last_seen_at")

# A day has 288 samples at rest.
HISTORY_MAX: Final = 2000
DAY_MS: Final = 86_400_000

Time = Annotated[str, msgspec.Meta(max_length=40, description="RFC 3339, as 2026-11-20T04:05:06Z.")]


class LivePage(Page, frozen=True):
    """store_id 0: of any store. keyword: in the code or name."""

    store_id: Annotated[int, msgspec.Meta(ge=0)] = 0
    link: Link | None = None
    service: Service | None = None
    keyword: Annotated[str, msgspec.Meta(max_length=100)] = ""


class HistoryQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """from is within, before is not; without them, the last day."""

    from_: Time = ""
    before: Time = ""


class TemperatureOut(msgspec.Struct, frozen=True):
    """c10: tenths of a degree. is_stale: too old to be believed, to be shown grey."""

    c10: int | None
    at: str | None
    is_stale: bool


class ParamsOut(msgspec.Struct, frozen=True):
    """desired: what is wanted; pending: what of it is not reported yet. pushes: how often sent."""

    desired: dict[str, int]
    desired_version: int
    desired_at: str | None
    desired_by: int
    pending: dict[str, int]
    pushes: int


class LiveOut(msgspec.Struct, frozen=True):
    """sale_lock: offline, manual, or "" when it may sell. reported: what it said last.

    asked_at: when its vendor was asked during this silence and could not say that it lives.
    """

    device_id: int
    vendor: str
    code: str
    name: str
    store_id: int | None
    status: Status
    service: Service
    link: Link
    link_since: str
    last_seen_at: str | None
    asked_at: str | None
    flapping: bool
    sale_lock: str
    sale_lock_by: int
    sale_lock_at: str | None
    faults: int
    doors: list[DoorLive]
    temperature: TemperatureOut
    reported: dict[str, Any]
    params: ParamsOut
    version: int


class SampleOut(msgspec.Struct, frozen=True):
    at: str
    reported: dict[str, Any]


class HistoryOut(msgspec.Struct, frozen=True):
    """is_whole: nothing was left out at the end."""

    items: list[SampleOut]
    is_whole: bool


def routes(presence: Presence) -> list[Route]:
    handlers = _Handlers(presence)
    return [*_looks(handlers), *_acts(handlers)]


def _looks(handlers: "_Handlers") -> list[Route]:
    area, at = "admin: devices", "/api/v1/admin/devices"
    return [
        Route(
            "GET",
            f"{at}/live",
            handlers.listed,
            query=LivePage,
            returns=Listing[LiveOut],
            who=_READ,
            area=area,
            summary="How the devices of the stores one sees are now",
            etag=handlers.listed_etag,
        ),
        Route(
            "GET",
            f"{at}/{{device_id}}/live",
            handlers.one,
            returns=LiveOut,
            who=_READ,
            area=area,
            summary="How a device is now",
            errors=("devices.not_found",),
            etag=handlers.one_etag,
        ),
        Route(
            "GET",
            f"{at}/{{device_id}}/telemetry",
            handlers.history,
            query=HistoryQuery,
            returns=HistoryOut,
            who=_READ,
            area=area,
            summary="What a device reported: each change, and every five minutes",
            errors=("devices.not_found",),
        ),
    ]


def _acts(handlers: "_Handlers") -> list[Route]:
    area, one = "admin: devices", "/api/v1/admin/devices/{device_id}"
    common = ("devices.not_found", "devices.not_bound")
    return [
        Route(
            "PATCH",
            f"{one}/params",
            handlers.set_params,
            body=ParamsPatch,
            returns=LiveOut,
            who=_CHANGE,
            idempotent=True,
            area=area,
            summary="Say what a device is to be like; pending until it reports so",
            errors=(
                *common,
                "devices.param_unknown",
                "devices.params_changed",
                "devices.vendor_not_set",
                "idempotency.key_reused",
            ),
        ),
        Route(
            "POST",
            f"{one}/lock",
            handlers.lock,
            body=Because,
            returns=LiveOut,
            who=_CHANGE,
            area=area,
            summary="Let a device sell nothing",
            errors=common,
        ),
        Route(
            "POST",
            f"{one}/unlock",
            handlers.unlock,
            body=Because,
            returns=LiveOut,
            who=_CHANGE,
            area=area,
            summary="Let a device sell again, whatever has stopped it",
            errors=common,
        ),
        Route(
            "POST",
            f"{one}/reboot",
            handlers.reboot,
            body=Because,
            returns=LiveOut,
            status=202,
            who=_CHANGE,
            idempotent=True,
            area=area,
            summary="Start a device anew",
            errors=(
                *common,
                "devices.command_refused",
                "devices.command_unclear",
                "devices.vendor_not_set",
                "idempotency.key_reused",
            ),
        ),
    ]


class _Handlers:
    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    # Looking

    async def listed(self, call: Call) -> Listing[LiveOut]:
        page: LivePage = call.query
        total, found = await self._presence.page(
            DevicesWanted(
                store_id=page.store_id,
                link=page.link or "",
                service=page.service or "",
                keyword=page.keyword,
                sort=sorted_by(page, _SORTS),
            ),
            by=by(call),
            offset=(page.page - 1) * page.page_size,
            most=page.page_size,
        )
        shown = [self._out(each, call.now) for each in found]
        return Listing(shown, total, page.page, page.page_size)

    async def listed_etag(self, call: Call) -> str:
        """With the minute: what is stale becomes so by itself."""
        return f"{await self._presence.state()}-{call.now // 60_000}"

    async def one(self, call: Call) -> LiveOut:
        device = await self._presence.device(call.params["device_id"], by=by(call))
        return self._out(device, call.now)

    async def one_etag(self, call: Call) -> str:
        device = await self._presence.device(call.params["device_id"], by=by(call))
        seen = f"{device.version}-{device.last_seen_at}-{device.reported_at}-{device.updated_at}"
        return f"{seen}-{call.now // 60_000}"

    async def history(self, call: Call) -> HistoryOut:
        asked: HistoryQuery = call.query
        until = _time("before", asked.before) if asked.before else call.now + 1
        since = _time("from", asked.from_) if asked.from_ else until - DAY_MS
        rows = await self._presence.history(
            call.params["device_id"], by=by(call), since=since, until=until, most=HISTORY_MAX + 1
        )
        shown = [SampleOut(rfc3339(at), reported) for at, reported in rows[:HISTORY_MAX]]
        return HistoryOut(shown, is_whole=len(rows) <= HISTORY_MAX)

    # Telling it

    async def set_params(self, call: Call) -> LiveOut:
        asked: ParamsPatch = call.body
        values = wanted(asked)
        if not values:
            why = "One of " + ", ".join(PARAMS) + " is needed."
            raise Problem(400, "body.invalid", why, errors=(FieldError("$", why),))
        changed = await self._presence.set_params(
            call.params["device_id"],
            values,
            by=by(call),
            reason=asked.reason,
            version=asked.desired_version,
            key=call.idempotency_key,
        )
        return self._out(changed, call.now)

    async def lock(self, call: Call) -> LiveOut:
        device_id, reason = call.params["device_id"], call.body.reason
        return self._out(await self._presence.lock(device_id, by=by(call), reason=reason), call.now)

    async def unlock(self, call: Call) -> LiveOut:
        device_id, reason = call.params["device_id"], call.body.reason
        unlocked = await self._presence.unlock(device_id, by=by(call), reason=reason)
        return self._out(unlocked, call.now)

    async def reboot(self, call: Call) -> LiveOut:
        device_id, reason = call.params["device_id"], call.body.reason
        told = await self._presence.reboot(
            device_id, by=by(call), reason=reason, key=call.idempotency_key
        )
        return self._out(told, call.now)

    # Out

    def _out(self, device: Device, now: int) -> LiveOut:
        heartbeat_s = self._presence.times.heartbeat_s
        seen, warmth = live(device, now), temperature(device, now=now, heartbeat_s=heartbeat_s)
        return LiveOut(
            device_id=device.id,
            vendor=device.vendor,
            code=device.code,
            name=device.name,
            store_id=device.store_id,
            status=device.status,
            service=device.service,
            link=device.link,
            link_since=rfc3339(device.link_since),
            last_seen_at=_shown(device.last_seen_at),
            asked_at=_shown(device.asked_at),
            flapping=seen.flapping,
            sale_lock=device.sale_lock,
            sale_lock_by=device.sale_lock_by,
            sale_lock_at=_shown(device.sale_lock_at),
            faults=device.faults,
            doors=seen.doors,
            temperature=TemperatureOut(warmth.c10, _shown(warmth.at), warmth.is_stale),
            reported=seen.reported,
            params=ParamsOut(
                device.desired,
                device.desired_version,
                _shown(device.desired_at),
                device.desired_by,
                seen.pending,
                device.desired_pushes,
            ),
            version=device.version,
        )


def _shown(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)


def _time(name: str, text: str) -> int:
    """Raises Problem for what is no time."""
    try:
        return from_rfc3339(text)
    except ValueError as error:
        errors = (FieldError(f"$.{name}", str(error)),)
        raise Problem(400, "query.invalid", "The query is wrong.", errors=errors) from error
