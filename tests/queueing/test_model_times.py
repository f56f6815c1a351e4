"""Days and months of Beijing, and honest waits."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing import calendar
from queueing.waiting import MINUTE_MS, Sample, Wait, estimate
from tests.queueing.world import SELLER, World


def ms(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp() * 1000)


# ---------------------------------------------------------------- calendar


@pytest.mark.parametrize(
    ("moment", "day_start_hour", "date"),
    [
        ("2026-11-20T23:59:59.999+08:00", 0, 20261120),
        ("2026-11-21T00:00:00+08:00", 0, 20261121),
        ("2026-11-20T16:00:00Z", 0, 20261121),
        ("2026-11-21T03:59:59+08:00", 4, 20261120),
        ("2026-11-21T04:00:00+08:00", 4, 20261121),
        ("2028-02-29T12:00:00+08:00", 0, 20280229),
    ],
)
def test_business_date_is_the_day_in_beijing(moment: str, day_start_hour: int, date: int) -> None:
    assert calendar.business_date(ms(moment), day_start_hour) == date


def test_month_begins_at_midnight_in_beijing() -> None:
    start = calendar.month_start(202612)

    assert start == ms("2026-11-30T16:00:00Z")
    assert calendar.month_of(start) == 202612
    assert calendar.month_of(start - 1) == 202611


@pytest.mark.parametrize(
    ("after", "up_to", "months"),
    [
        (202611, 202611, []),
        (202611, 202612, [202612]),
        (202611, 202702, [202612, 202701, 202702]),
        (202612, 202611, []),
        (202612, 202701, [202701]),
    ],
)
def test_months_between_never_go_backwards(after: int, up_to: int, months: list[int]) -> None:
    assert calendar.months_between(after, up_to) == months


@pytest.mark.parametrize("month", [202600, 202613])
def test_what_is_no_month_is_refused(month: int) -> None:
    with pytest.raises(ValueError, match=str(month)):
        calendar.months_between(month, 202701)


@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_moment_written_is_the_moment(moment: int) -> None:
    text = calendar.rfc3339(moment)

    assert text.endswith("Z")
    assert len(text) == 24
    assert round(dt.datetime.fromisoformat(text).timestamp() * 1000) == moment


@given(st.integers(min_value=ms("1992-01-01T00:00:00Z"), max_value=4_102_444_800_000))
def test_hours_and_days_agree_with_the_time_zone(moment: int) -> None:
    beijing = dt.datetime.fromtimestamp(moment / 1000, calendar.BEIJING)

    assert calendar.hour_of(moment) == beijing.hour
    assert calendar.iso_date(calendar.business_date(moment)) == beijing.date().isoformat()


def test_date_is_read_as_it_is_written() -> None:
    assert calendar.parse_date(calendar.iso_date(20260203)) == 20260203


def test_minute_is_told_as_people_in_beijing_read_it() -> None:
    assert calendar.beijing_minute(ms("2026-11-20T16:05:59Z")) == "2026-11-21 00:05"


@pytest.mark.parametrize("text", ["2026-02-30", "20260203", "2026-W06-2", "2026-2-3", "today", ""])
def test_what_is_no_date_or_spelt_otherwise_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the texts are Python's own
        calendar.parse_date(text)


# ---------------------------------------------------------------- waits


def samples(*minutes_per_place: float) -> list[Sample]:
    return [Sample(int(minutes * MINUTE_MS * 3), 2, 0) for minutes in minutes_per_place]


def test_wait_is_a_range_of_what_the_last_tickets_took() -> None:
    learned = samples(1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 60.0)

    assert estimate(learned, 0) == Wait(1, 2, 11)
    assert estimate(learned, 9) == Wait(12, 18, 11)


def test_thin_data_is_met_with_silence() -> None:
    assert estimate(samples(*[1.0] * 7), 0) is None
    assert estimate(samples(*[1.0] * 8), 0) == Wait(1, 1, 8)


def test_range_too_wide_to_help_is_not_told() -> None:
    assert estimate(samples(*[1.0] * 5, *[4.0] * 5), 0) == Wait(1, 4, 10)
    assert estimate(samples(*[1.0] * 5, *[4.1] * 5), 0) is None


def test_dish_ready_at_once_takes_up_to_a_minute() -> None:
    assert estimate(samples(*[0.0] * 8), 3) == Wait(0, 1, 8)


@given(
    st.lists(st.integers(0, 100 * MINUTE_MS), min_size=8, max_size=40),
    st.integers(0, 98),
)
def test_range_holds_the_middle_of_what_was_seen(waits: list[int], ahead: int) -> None:
    wait = estimate([Sample(wait_ms, 0, 0) for wait_ms in waits], ahead)

    if wait is not None:
        middle = sorted(waits)[len(waits) // 2] * (ahead + 1) / MINUTE_MS
        assert wait.from_min <= middle <= wait.to_min


def serve(world: World, count: int) -> None:
    for _ in range(count):
        ticket = world.issue()
        world.clock.advance(minutes=2)
        world.pool.call(ticket.id, SELLER, world.now)


@pytest.mark.parametrize("restart", [False, True])
def test_stall_learns_from_its_own_calls(*, restart: bool) -> None:
    world = World()
    serve(world, 8)
    if restart:
        world.restart()
    pace = world.pool.pace(world.now)

    assert pace is not None
    assert pace.wait(1) == Wait(4, 4, 8)


def test_old_calls_say_nothing_about_now() -> None:
    world = World()
    serve(world, 8)
    world.clock.advance(hours=2, minutes=50)

    assert world.pool.pace(world.now) is None


def test_only_the_last_forty_calls_count() -> None:
    world = World()
    serve(world, 45)

    pace = world.pool.pace(world.now)

    assert pace is not None
    assert pace.based_on == 40


def test_recall_and_second_call_teach_nothing() -> None:
    world = World()
    serve(world, 7)
    ticket = world.issue_and_call()
    world.pool.undo(ticket.id, SELLER, world.now)
    other = world.pool.tickets()[0]
    world.pool.recall(other.id, SELLER, world.now)
    world.pool.requeue(other.id, SELLER, world.now)
    world.pool.call(other.id, SELLER, world.now)

    assert world.pool.pace(world.now) is None


def test_undone_call_that_is_no_longer_among_the_samples_is_forgotten_already() -> None:
    world = World()
    ticket = world.issue_and_call()
    world.clock.advance(seconds=1)
    for _ in range(40):
        world.issue_and_call()

    assert world.pool.undo(ticket.id, SELLER, world.now).calls == 0
