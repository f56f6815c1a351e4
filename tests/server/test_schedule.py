"""When timed jobs are due."""

from datetime import datetime, timedelta

import pytest

from server.jobs import every
from server.schedule import next_month

BEIJING = "+08:00"


def millis(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-11-20T12:00:00+08:00", "2026-12-01T00:00:00+08:00"),
        ("2026-11-30T23:59:59.999+08:00", "2026-12-01T00:00:00+08:00"),
        ("2026-12-01T00:00:00+08:00", "2027-01-01T00:00:00+08:00"),
        ("2026-12-31T23:59:59+08:00", "2027-01-01T00:00:00+08:00"),
        ("2028-01-31T12:00:00+08:00", "2028-02-01T00:00:00+08:00"),
        ("2028-02-29T12:00:00+08:00", "2028-03-01T00:00:00+08:00"),
        # Beijing is eight hours ahead of the machine.
        ("2026-11-30T15:59:59+00:00", "2026-12-01T00:00:00+08:00"),
        ("2026-11-30T16:00:00+00:00", "2027-01-01T00:00:00+08:00"),
    ],
)
def test_the_month_is_due_at_its_first_moment_in_beijing(now: str, due: str) -> None:
    assert next_month(millis(now)) == millis(due)


def test_on_every_day_of_ten_years_the_next_month_is_the_next_first() -> None:
    day = datetime.fromisoformat(f"2024-01-01T13:37:00{BEIJING}")

    while day.year < 2034:
        first = (day.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0)
        assert next_month(int(day.timestamp() * 1000)) == int(first.timestamp() * 1000)
        day += timedelta(days=1)


def test_other_jobs_are_due_so_many_seconds_after_a_run_began() -> None:
    assert every(600)(1_000) == 601_000
    assert every(0.5)(1_000) == 1_500
