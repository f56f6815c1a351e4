"""Days and months of Beijing, and the one way to write a moment."""

import datetime as dt
import functools
import zoneinfo

BEIJING = zoneinfo.ZoneInfo("Asia/Shanghai")

HOUR_MS = 3_600_000

BEIJING_AHEAD_H = 8
"""Without summer time since 1991."""


def business_date(now_ms: int, day_start_hour: int = 0) -> int:
    """The day (YYYYMMDD) a moment belongs to, when days begin at day_start_hour."""
    return _date_of_hour(now_ms // HOUR_MS - day_start_hour)


def hour_of(now_ms: int) -> int:
    """The hour of the day, 0 to 23."""
    return (now_ms // HOUR_MS + BEIJING_AHEAD_H) % 24


def iso_date(business_date: int) -> str:
    """20261120 → 2026-11-20"""
    return f"{business_date // 10_000}-{business_date // 100 % 100:02d}-{business_date % 100:02d}"


def parse_date(text: str) -> int:
    """2026-11-20 → 20261120. Raises ValueError for what is no date, or another spelling."""
    day = dt.date.fromisoformat(text)
    if day.isoformat() != text:
        raise ValueError(f"{text} is not written like {day.isoformat()}")
    return day.year * 10_000 + day.month * 100 + day.day


@functools.lru_cache(maxsize=64)
def _date_of_hour(hour: int) -> int:
    # Beijing is a whole number of hours from UTC, so one answer serves the hour.
    day = dt.datetime.fromtimestamp(hour * 3600, BEIJING)
    return day.year * 10_000 + day.month * 100 + day.day


def month_of(now_ms: int) -> int:
    """The month (YYYYMM) of a moment."""
    return business_date(now_ms) // 100


def months_between(after: int, up_to: int) -> list[int]:
    """The months (YYYYMM) that came after one, up to and with another; none if it is later."""
    first, last = _count(after) + 1, _count(up_to)
    return [month // 12 * 100 + month % 12 + 1 for month in range(first, last + 1)]


def month_start(month: int) -> int:
    """The moment the month (YYYYMM) begins."""
    begins = dt.datetime(month // 100, month % 100, 1, tzinfo=BEIJING)
    return int(begins.timestamp()) * 1000


def _count(month: int) -> int:
    year, number = divmod(month, 100)
    if not 1 <= number <= 12:
        raise ValueError(f"{month} is not a month")
    return year * 12 + number - 1


@functools.lru_cache(maxsize=4096)
def rfc3339(ms: int) -> str:
    """2026-11-20T04:05:06.789Z"""
    second, rest = divmod(ms, 1000)
    return f"{_second(second)}.{rest:03d}Z"


@functools.lru_cache(maxsize=4096)
def _second(second: int) -> str:
    # A ticket's times are written with every event about it, hence the cache.
    return dt.datetime.fromtimestamp(second, dt.UTC).isoformat()[:19]


def beijing_minute(ms: int) -> str:
    """2026-11-20 12:05, as a person in Beijing reads it."""
    at = dt.datetime.fromtimestamp(ms // 1000, BEIJING)
    return at.strftime("%Y-%m-%d %H:%M")
