"""Alerts and incidents over REST: what a person must look at, and what has happened."""

from typing import Annotated

import msgspec

from accounts.alerts.messages import Clearing
from accounts.alerts.model import masked
from accounts.alerts.service import Alerts
from accounts.staff.permissions import Permission, allowed
from handlers.actors import by, signed_in
from handlers.calls import ADMIN, Call
from handlers.routing import Route
from handlers.wire import Listing, Page, rfc3339, sorted_by
from sql.alerts import ALERT_SORTS, INCIDENT_SORTS, Alert, Incident

MAY_LOOK = ADMIN | allowed(Permission.ALERTS_READ)
MAY_CLEAR = ADMIN | allowed(Permission.ALERTS_CLEAR)
MAY_READ_RAW = ADMIN | allowed(Permission.INCIDENTS_RAW)

Kind = Annotated[str, msgspec.Meta(max_length=40, description="Only those of this kind.")]


class AlertPage(Page, frozen=True):
    """open: those that are open; false: those that were cleared."""

    kind: Kind = ""
    open: bool = True


class IncidentPage(Page, frozen=True):
    kind: Kind = ""


class AlertOut(msgspec.Struct, frozen=True):
    """clearable: a person may clear it. The others end when what they tell of is well."""

    id: int
    kind: str
    subject: str
    text: str
    raised_at: str
    cleared_at: str | None
    clearable: bool


class IncidentOut(msgspec.Struct, frozen=True):
    """raw: what was received, openids cut short; null for who may not read it."""

    id: int
    kind: str
    subject: str
    text: str
    raw: str | None
    at: str


def routes(alerts: Alerts) -> list[Route]:
    def out(alert: Alert) -> AlertOut:
        return AlertOut(
            alert.id,
            alert.kind,
            alert.subject,
            alert.text,
            rfc3339(alert.raised_at),
            None if alert.cleared_at is None else rfc3339(alert.cleared_at),
            alerts.may_clear(alert),
        )

    async def page(call: Call) -> Listing[AlertOut]:
        asked: AlertPage = call.query
        total, found = await alerts.page(
            kind=asked.kind,
            is_open=asked.open,
            sort=sorted_by(asked, ALERT_SORTS, "-id"),
            offset=(asked.page - 1) * asked.page_size,
            most=asked.page_size,
        )
        return Listing([out(each) for each in found], total, asked.page, asked.page_size)

    async def clear(call: Call) -> AlertOut:
        alert_id, reason = call.params["alert_id"], call.body.reason
        return out(await alerts.clear(alert_id, by=by(call), reason=reason))

    async def incidents(call: Call) -> Listing[IncidentOut]:
        asked: IncidentPage = call.query
        total, found = await alerts.incidents(
            kind=asked.kind,
            sort=sorted_by(asked, INCIDENT_SORTS, "-id"),
            offset=(asked.page - 1) * asked.page_size,
            most=asked.page_size,
        )
        with_raw = not MAY_READ_RAW.isdisjoint(signed_in(call).roles)
        items = [_incident_out(each, with_raw=with_raw) for each in found]
        return Listing(items, total, asked.page, asked.page_size)

    area = "admin: alerts"
    return [
        Route(
            "GET",
            "/api/v1/admin/alerts",
            page,
            query=AlertPage,
            returns=Listing[AlertOut],
            who=MAY_LOOK,
            area=area,
            summary="What a person must look at, newest first",
        ),
        Route(
            "POST",
            "/api/v1/admin/alerts/{alert_id}/clear",
            clear,
            body=Clearing,
            returns=AlertOut,
            who=MAY_CLEAR,
            area=area,
            summary="Say that it was looked at and is well; not for what is watched by itself",
            errors=("alerts.not_found", "alerts.watched"),
        ),
        Route(
            "GET",
            "/api/v1/admin/incidents",
            incidents,
            query=IncidentPage,
            returns=Listing[IncidentOut],
            who=MAY_LOOK,
            area=area,
            summary="What has happened and should not have, newest first",
        ),
    ]


def _incident_out(incident: Incident, *, with_raw: bool) -> IncidentOut:
    return IncidentOut(
        incident.id,
        incident.kind,
        incident.subject,
        incident.text,
        masked(incident.raw) if with_raw else None,
        rfc3339(incident.at),
    )
