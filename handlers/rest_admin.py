"""The administrator's routes: stalls, months, statistics, jobs."""

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec

from accounts.staff.permissions import Permission, allowed
from handlers.actors import actor
from handlers.calls import ADMIN, Call
from handlers.errors import FieldError, Problem
from handlers.routing import Route
from handlers.wire import Listing, Page, rfc3339
from queueing.messages import (
    Renewal,
    StallForSeller,
    StallNew,
    StallPatch,
    given,
    stall_for_seller,
)
from queueing.model import Stall
from queueing.service import Queues
from queueing.stalls.model import MonthEntry
from queueing.stalls.service import Stalls
from queueing.statistics import StatisticsOut
from sql.jobs import Run

ReadRuns = Callable[[str, int, int], Awaitable[tuple[int, list[Run]]]]

# A statistic over more days than this is a report, not a page.
DAYS_MAX = 366

Date = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}$(?!\n)")]


class Period(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Business dates of Beijing, both included; without them, today."""

    from_: Date | None = None
    to: Date | None = None
    stall_id: Annotated[int, msgspec.Meta(ge=1)] | None = None


class RenewalOut(msgspec.Struct, frozen=True):
    stall_id: int
    balance_months: int


class MonthOut(msgspec.Struct, frozen=True):
    """period: the month charged (YYYY-MM), null for a renewal."""

    at: str
    period: str | None
    months: int
    balance_after: int
    reason: str


class JobPage(Page, frozen=True):
    job: Annotated[str, msgspec.Meta(max_length=40, description="Only runs of this job.")] = ""


class RunOut(msgspec.Struct, frozen=True):
    """finished_at null: it runs now, or its process ended in the middle."""

    id: int
    job: str
    due_at: str
    started_at: str
    finished_at: str | None
    result: str
    error: str


def routes(queues: Queues, stalls: Stalls, read_runs: ReadRuns) -> list[Route]:
    handlers = _Handlers(queues, stalls, read_runs)
    return [*_stall_routes(handlers), *_other_routes(handlers)]


def _stall_routes(handlers: "_Handlers") -> list[Route]:
    area = "admin: stalls"
    return [
        Route(
            "GET",
            "/api/v1/admin/stalls",
            handlers.list_stalls,
            query=Page,
            returns=Listing[StallForSeller],
            who=ADMIN | allowed(Permission.STALLS_READ),
            area=area,
            summary="All stalls",
        ),
        Route(
            "POST",
            "/api/v1/admin/stalls",
            handlers.create,
            body=StallNew,
            returns=StallForSeller,
            status=201,
            who=ADMIN | allowed(Permission.STALLS_CHANGE),
            area=area,
            summary="Make a stall",
            errors=("stall.phone_taken",),
        ),
        Route(
            "PATCH",
            "/api/v1/admin/stalls/{stall_id}",
            handlers.change,
            body=StallPatch,
            returns=StallForSeller,
            who=ADMIN | allowed(Permission.STALLS_CHANGE),
            area=area,
            summary="Change a stall, disable it, set its sign-up code",
            errors=("stall.not_found", "stall.phone_taken"),
        ),
        Route(
            "POST",
            "/api/v1/admin/stalls/{stall_id}/renewals",
            handlers.renew,
            body=Renewal,
            returns=RenewalOut,
            status=201,
            who=ADMIN | allowed(Permission.MONTHS_GIVE),
            idempotent=True,
            area=area,
            summary="Add months by hand, with a reason",
            errors=("stall.not_found", "idempotency.key_reused"),
        ),
        Route(
            "GET",
            "/api/v1/admin/stalls/{stall_id}/months",
            handlers.months,
            returns=list[MonthOut],
            who=ADMIN | allowed(Permission.STALLS_READ),
            area=area,
            summary="The stall's account of months, newest first",
            errors=("stall.not_found",),
        ),
        Route(
            "DELETE",
            "/api/v1/admin/stalls/{stall_id}/sellers",
            handlers.release_sellers,
            returns=StallForSeller,
            who=ADMIN | allowed(Permission.STALLS_CHANGE),
            area=area,
            summary="Take the stall back from its seller, so that it can be signed up anew",
            errors=("stall.not_found",),
        ),
    ]


def _other_routes(handlers: "_Handlers") -> list[Route]:
    return [
        Route(
            "GET",
            "/api/v1/admin/statistics/queue",
            handlers.statistics,
            query=Period,
            returns=StatisticsOut,
            who=ADMIN | allowed(Permission.STATISTICS_READ),
            area="admin: statistics",
            summary="Numbers, waits and abandonment over business dates",
        ),
        Route(
            "GET",
            "/api/v1/admin/jobs",
            handlers.jobs,
            query=JobPage,
            returns=Listing[RunOut],
            who=ADMIN | allowed(Permission.JOBS_READ),
            area="admin: jobs",
            summary="Runs of the timed jobs, newest first",
        ),
    ]


class _Handlers:
    def __init__(self, queues: Queues, stalls: Stalls, read_runs: ReadRuns) -> None:
        self._queues = queues
        self._stalls = stalls
        self._read_runs = read_runs

    async def list_stalls(self, call: Call) -> Listing[StallForSeller]:
        page: Page = call.query
        total, found = await self._stalls.page(
            offset=(page.page - 1) * page.page_size, most=page.page_size
        )
        return Listing([self._out(stall) for stall in found], total, page.page, page.page_size)

    async def create(self, call: Call) -> StallForSeller:
        values = given(call.body)
        months = values.pop("months")
        assert isinstance(months, int)
        return self._out(await self._stalls.create(values, months=months, by=actor(call)))

    async def change(self, call: Call) -> StallForSeller:
        stall_id = call.params["stall_id"]
        return self._out(await self._stalls.change(stall_id, given(call.body), by=actor(call)))

    async def renew(self, call: Call) -> RenewalOut:
        renewed = await self._stalls.renew(
            call.params["stall_id"],
            months=call.body.months,
            reason=call.body.reason,
            by=actor(call),
            key=call.idempotency_key,
        )
        return RenewalOut(renewed.stall_id, renewed.balance_months)

    async def months(self, call: Call) -> list[MonthOut]:
        stall = await self._stalls.get(call.params["stall_id"])
        return [_month_out(entry) for entry in await self._stalls.months(stall.id)]

    async def release_sellers(self, call: Call) -> StallForSeller:
        stall_id = call.params["stall_id"]
        return self._out(await self._stalls.release_sellers(stall_id, by=actor(call)))

    async def statistics(self, call: Call) -> StatisticsOut:
        first, last = _dates(call.query, today=self._queues.business_date())
        return await self._queues.statistics(
            from_date=first, to_date=last, stall_id=call.query.stall_id
        )

    async def jobs(self, call: Call) -> Listing[RunOut]:
        page: JobPage = call.query
        total, found = await self._read_runs(
            page.job, (page.page - 1) * page.page_size, page.page_size
        )
        return Listing([_run_out(run) for run in found], total, page.page, page.page_size)

    def _out(self, stall: Stall) -> StallForSeller:
        return stall_for_seller(stall, image_url=self._stalls.image_url(stall))


def _month_out(entry: MonthEntry) -> MonthOut:
    period = None if entry.period is None else f"{entry.period // 100}-{entry.period % 100:02d}"
    return MonthOut(rfc3339(entry.at), period, entry.months, entry.balance_after, entry.reason)


def _run_out(run: Run) -> RunOut:
    finished_at = None if run.finished_at is None else rfc3339(run.finished_at)
    return RunOut(
        run.id,
        run.job,
        rfc3339(run.due_at),
        rfc3339(run.started_at),
        finished_at,
        run.result,
        run.error,
    )


def _dates(period: Period, *, today: int) -> tuple[int, int]:
    """The period as YYYYMMDD. Raises Problem for what is no date, or too long."""
    last = _date("to", period.to) if period.to else _from_number(today)
    first = _date("from", period.from_) if period.from_ else last
    if not dt.timedelta(0) <= last - first <= dt.timedelta(days=DAYS_MAX):
        raise _wrong("from", f"From must not be after to, nor more than {DAYS_MAX} days before.")
    return _number(first), _number(last)


def _date(name: str, text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise _wrong(name, str(error)) from error


def _wrong(name: str, why: str) -> Problem:
    return Problem(
        400, "query.invalid", "The period is wrong.", errors=(FieldError(f"$.{name}", why),)
    )


def _number(date: dt.date) -> int:
    return date.year * 10_000 + date.month * 100 + date.day


def _from_number(number: int) -> dt.date:
    return dt.date(number // 10_000, number // 100 % 100, number % 100)
