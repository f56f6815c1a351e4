"""What may happen to a request, and the patience that goes with it."""

import asyncio
from random import Random

ANSWER_WITHIN_S = 10.0
# A client that got no answer for so long gives its wish up; a restart takes far less.
GIVE_UP_AFTER_S = 120.0
BACKOFF_FIRST_S = 0.3
BACKOFF_LONGEST_S = 8.0


class LinkLostError(Exception):
    """No answer: whether it was done is not known."""


class RefusedError(Exception):
    """An answer, and it was no. code is the server's word for the reason."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code} {detail}".strip())
        self.code = code


class Pace:
    """Simulated seconds; speed 2 makes noon pass twice as fast. Time-outs are never scaled."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)


class Backoff:
    """Doubling and random, so that a whole canteen does not return in one moment."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.failures = 0

    def delay_s(self, at_least_s: float = 0.0) -> float:
        most = min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * 2 ** min(self.failures, 10))
        self.failures += 1
        return at_least_s + self._rng.uniform(most / 2, most)

    def reset(self) -> None:
        self.failures = 0
