"""What a stall's past tickets tell: how many, how long, how many in vain.

Everything is learned from the tickets themselves, which are never deleted.
"""

import math
from collections.abc import Iterable, Sequence

import msgspec

from queueing.calendar import hour_of, iso_date
from queueing.model import Status


class Visit(msgspec.Struct, frozen=True):
    """What counts of a ticket."""

    status: Status
    issued_at: int
    first_called_at: int | None
    ended_at: int | None


class Durations(msgspec.Struct, frozen=True):
    """Half of them took no longer than median_s, nine in ten no longer than p90_s."""

    count: int
    median_s: int | None
    p90_s: int | None


class HourOut(msgspec.Struct, frozen=True):
    """An hour of the day, Beijing, over all days asked for."""

    hour: int
    issued: int
    called: int


class StatisticsOut(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
    from_: str
    to: str
    stall_id: int | None
    """None: all stalls together."""
    issued: int
    called: int
    finished: int
    cancelled: int
    released: int
    hours: list[HourOut]
    wait: Durations
    """From the number's issue to its first call."""
    service: Durations
    """From the first call to the collecting."""
    abandonment: float | None
    """The share of called tickets, once ended, that nobody collected; None without any."""


def statistics(
    visits: Iterable[Visit], *, from_date: int, to_date: int, stall_id: int | None = None
) -> StatisticsOut:
    """from_date, to_date: the business dates (YYYYMMDD) the visits are of."""
    visits = list(visits)
    called = [visit for visit in visits if visit.first_called_at is not None]
    return StatisticsOut(
        from_=iso_date(from_date),
        to=iso_date(to_date),
        stall_id=stall_id,
        issued=len(visits),
        called=len(called),
        finished=_count(visits, Status.FINISHED),
        cancelled=_count(visits, Status.CANCELLED),
        released=_count(visits, Status.RELEASED),
        hours=_hours(visits),
        wait=durations([_between(visit.issued_at, visit.first_called_at) for visit in called]),
        service=durations(
            [
                _between(visit.first_called_at, visit.ended_at)
                for visit in called
                if visit.status is Status.FINISHED
            ]
        ),
        abandonment=_abandonment(called),
    )


def durations(lengths_ms: Sequence[int]) -> Durations:
    ordered = sorted(lengths_ms)
    if not ordered:
        return Durations(0, None, None)
    return Durations(len(ordered), _percentile_s(ordered, 0.5), _percentile_s(ordered, 0.9))


def _percentile_s(ordered: Sequence[int], share: float) -> int:
    return round(ordered[math.ceil(share * len(ordered)) - 1] / 1000)


def _hours(visits: Iterable[Visit]) -> list[HourOut]:
    """The hours from the first to the last with a ticket, busy or not."""
    issued, called = [0] * 24, [0] * 24
    for visit in visits:
        issued[hour_of(visit.issued_at)] += 1
        if visit.first_called_at is not None:
            called[hour_of(visit.first_called_at)] += 1
    busy = [hour for hour in range(24) if issued[hour] or called[hour]]
    if not busy:
        return []
    return [HourOut(hour, issued[hour], called[hour]) for hour in range(busy[0], busy[-1] + 1)]


def _abandonment(called: Iterable[Visit]) -> float | None:
    collected = _count(called, Status.FINISHED)
    abandoned = _count(called, Status.RELEASED)
    if not collected + abandoned:
        return None
    return abandoned / (collected + abandoned)


def _count(visits: Iterable[Visit], status: Status) -> int:
    return sum(visit.status is status for visit in visits)


def _between(since: int | None, until: int | None) -> int:
    return max(0, (until or 0) - (since or 0))
