from datetime import datetime

import pytest

from tests.clock import Clock


def test_it_is_noon_in_beijing_until_the_clock_is_turned(clock: Clock) -> None:
    start = clock.now()

    assert start == 1_795_147_200_000
    assert clock.now() == start


def test_the_clock_is_turned_by_hand(clock: Clock) -> None:
    start = clock.now()

    clock.advance(seconds=1.5)

    assert clock.now() == start + 1_500

    clock.advance(days=1, hours=-24, minutes=1)

    assert clock.now() == start + 61_500


def test_the_clock_can_be_set(clock: Clock) -> None:
    clock.set("1970-01-01T08:00:01.234+08:00")

    assert clock.now() == 1_234

    with pytest.raises(ValueError, match="time zone"):
        clock.set(datetime(2026, 12, 1))  # noqa: DTZ001 - what is refused here


def test_a_clock_goes_on_where_another_stands(clock: Clock) -> None:
    other = Clock()
    clock.advance(hours=13, seconds=0.123)

    other.set_ms(clock.now())

    assert other.now() == clock.now()
    assert other.day() == "2026-11-21"
