"""Statistics of sales and the daily reports over REST."""

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec

from accounts.staff.permissions import Permission, allowed
from devices.reports.model import GROUPS, Group, Report, ReportKind, SalesRow
from devices.reports.service import Reports
from devices.reports.statistics.store import Wanted
from devices.reports.store import SORTS
from handlers.actors import by
from handlers.calls import ADMIN, Call, Response
from handlers.errors import FieldError, Problem
from handlers.routing import Route
from handlers.wire import Listing, Page, rfc3339, sorted_by
from payments.model import day_bounds
from queueing.calendar import business_date, iso_date, parse_date

_SALES: Final = ADMIN | allowed(Permission.SALES_READ)
_REPORTS: Final = ADMIN | allowed(Permission.REPORTS_READ)

# A statistic over more days than this is a report, not a page.
DAYS_MAX: Final = 366
_DAY_MS: Final = 86_400_000

_XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

Id = Annotated[int, msgspec.Meta(ge=0)]
Date = Annotated[str, msgspec.Meta(pattern=r"^(\d{4}-\d{2}-\d{2})?$(?!\n)")]


class SalesPeriod(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Days of Beijing, both included; without them, today. 0 and nothing leave all in.

    group_by: day, store, device, payment, or several with commas between.
    """

    from_: Date = ""
    to: Date = ""
    group_by: Annotated[str, msgspec.Meta(max_length=40)] = "day"
    store_id: Id = 0
    device_id: Id = 0
    pay_with: Annotated[str, msgspec.Meta(pattern=r"^(wechat|ticket)?$(?!\n)")] = ""


class ReportPage(Page, frozen=True, kw_only=True):
    kind: ReportKind | None = None
    day: Date = ""


class SalesRowOut(msgspec.Struct, frozen=True, kw_only=True):
    """What was not grouped by is null. Amounts are fen, tickets are counted in tickets."""

    day: str | None
    store_id: int | None
    device_id: int | None
    pay_with: str | None
    orders: int
    supplements: int
    unpaid: int
    due_fen: int
    paid_fen: int
    wechat_fen: int
    tickets: int
    refunded_fen: int
    net_fen: int
    open_fen: int


class SalesOut(msgspec.Struct, frozen=True):
    """total: of all that was asked for, also where there was no room for all rows."""

    rows: list[SalesRowOut]
    total: SalesRowOut


class ReportOut(msgspec.Struct, frozen=True):
    id: int
    kind: ReportKind
    day: str
    made_at: str


class WholeReport(ReportOut, frozen=True):
    """body: sections by name; a section is a mapping of figures, or a list of such."""

    body: dict[str, Any]


def routes(reports: Reports, now: Callable[[], int]) -> list[Route]:
    handlers = _Handlers(reports, now)
    area, at = "admin: reports", "/api/v1/admin/reports"
    found = ("reports.not_found", "reports.of_all_stores")
    return [
        Route(
            "GET",
            "/api/v1/admin/statistics/sales",
            handlers.sales,
            query=SalesPeriod,
            returns=SalesOut,
            who=_SALES,
            area="admin: statistics",
            summary="Sales by day, store, device and payment type, of the stores one sees",
        ),
        Route(
            "GET",
            at,
            handlers.page,
            query=ReportPage,
            returns=Listing[ReportOut],
            who=_REPORTS,
            area=area,
            summary="Daily operation, exception and health reports, newest first",
            errors=("reports.of_all_stores",),
        ),
        Route(
            "GET",
            f"{at}/{{report_id}}",
            handlers.report,
            returns=WholeReport,
            who=_REPORTS,
            area=area,
            summary="One report",
            errors=found,
        ),
        Route(
            "GET",
            f"{at}/{{report_id}}/report.xlsx",
            handlers.xlsx,
            who=_REPORTS,
            area=area,
            summary="The same as a spreadsheet",
            errors=found,
            media_type=_XLSX,
        ),
    ]


class _Handlers:
    def __init__(self, reports: Reports, now: Callable[[], int]) -> None:
        self._reports = reports
        self._now = now

    async def sales(self, call: Call) -> SalesOut:
        period: SalesPeriod = call.query
        from_at, before_at = self._bounds(period)
        wanted = Wanted(
            from_at=from_at,
            before_at=before_at,
            store_id=period.store_id,
            device_id=period.device_id,
            pay_with=period.pay_with,
        )
        found = await self._reports.sales(wanted, _groups(period.group_by), by=by(call))
        return SalesOut([_row_out(row) for row in found.rows], _row_out(found.total))

    def _bounds(self, period: SalesPeriod) -> tuple[int, int]:
        today = iso_date(business_date(self._now()))
        first = _day(period.from_ or period.to or today, "from")
        last = _day(period.to or period.from_ or today, "to")
        begins, ends = day_bounds(first)[0], day_bounds(last)[1]
        if not 0 < ends - begins <= DAYS_MAX * _DAY_MS:
            raise _refused("to", f"From is not after it, and at most {DAYS_MAX} days")
        return begins, ends

    async def page(self, call: Call) -> Listing[ReportOut]:
        page: ReportPage = call.query
        total, found = await self._reports.page(
            kind=page.kind or "",
            day=_day(page.day, "day") if page.day else 0,
            by=by(call),
            sort=sorted_by(page, SORTS, "-day"),
            offset=(page.page - 1) * page.page_size,
            most=page.page_size,
        )
        return Listing([_report_out(each) for each in found], total, page.page, page.page_size)

    async def report(self, call: Call) -> WholeReport:
        found = await self._reports.report(call.params["report_id"], by=by(call))
        shown = msgspec.structs.asdict(_report_out(found))
        return WholeReport(**shown, body=dict(found.body))

    async def xlsx(self, call: Call) -> Response:
        report, data = await self._reports.xlsx(call.params["report_id"], by=by(call))
        named = f'attachment; filename="{report.kind}-{report.day}.xlsx"'
        return Response(200, data, (("Content-Type", _XLSX), ("Content-Disposition", named)))


def _groups(text: str) -> list[Group]:
    """Each once, in an order of ours. Raises Problem."""
    asked = {word for word in text.split(",") if word}
    unknown = asked - set(GROUPS)
    if unknown:
        raise _refused("group_by", f"Some of {', '.join(GROUPS)}")
    return [group for group in GROUPS if group in asked]


def _day(text: str, name: str) -> int:
    try:
        return parse_date(text)
    except ValueError as error:
        raise _refused(name, str(error)) from error


def _refused(name: str, why: str) -> Problem:
    problem = FieldError(f"$.{name}", why)
    return Problem(400, "query.invalid", "The query is not what this route takes.",
                   errors=(problem,))  # fmt: skip


def _row_out(row: SalesRow) -> SalesRowOut:
    values = msgspec.structs.asdict(row)
    return SalesRowOut(**{**values, "day": None if row.day is None else iso_date(row.day)})


def _report_out(report: Report) -> ReportOut:
    return ReportOut(report.id, report.kind, iso_date(report.day), rfc3339(report.made_at))
