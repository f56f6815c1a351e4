"""How long it takes: an honest range from the stall's own last tickets, or silence."""

import math
from collections.abc import Iterable

import msgspec

SAMPLES_MAX = 40
SAMPLE_AGE_MS = 3 * 3_600_000
"""Lunch says nothing about supper."""

SAMPLES_MIN = 8
SPREAD_MAX = 4.0
"""A range wider than this (say 3 to 13 minutes) tells a hungry person nothing."""

MINUTE_MS = 60_000


class Sample(msgspec.Struct, frozen=True):
    """One ticket's wait until its first call, with ahead others before it."""

    wait_ms: int
    ahead: int
    called_at: int


class Wait(msgspec.Struct, frozen=True):
    from_min: int
    to_min: int
    based_on: int
    """How many tickets the range was learned from."""


class Pace(msgspec.Struct, frozen=True):
    """What one place in the queue took: the 20th and the 80th percentile."""

    low_ms: float
    high_ms: float
    based_on: int

    def wait(self, ahead: int) -> Wait:
        """The range for one who has so many before him, outwards to whole minutes."""
        places = ahead + 1
        return Wait(
            from_min=math.floor(self.low_ms * places / MINUTE_MS),
            to_min=max(1, math.ceil(self.high_ms * places / MINUTE_MS)),
            based_on=self.based_on,
        )


def estimate(samples: Iterable[Sample], ahead: int) -> Wait | None:
    learned = pace(samples)
    return learned.wait(ahead) if learned else None


def pace(samples: Iterable[Sample]) -> Pace | None:
    """None while there are too few samples, or they disagree too much to be of use."""
    per_place = sorted(max(0, sample.wait_ms) / (sample.ahead + 1) for sample in samples)
    count = len(per_place)
    if count < SAMPLES_MIN:
        return None
    low = per_place[math.floor(0.2 * (count - 1))]
    high = per_place[math.ceil(0.8 * (count - 1))]
    if high > SPREAD_MAX * low:
        return None
    return Pace(low, high, count)
