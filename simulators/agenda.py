"""What is to happen when the simulator's clock gets there: retries, refunds, deductions."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from simulators.clock import VirtualClock

# A clock set back by hand could leave a timer far in the future; it looks again at least so often.
LOOK_AGAIN_S = 3600.0


class Agenda:
    """Actions in order of time; it sleeps until `start()` and after `stop()`.

    With a standing clock nothing happens until the clock is turned; then all that is due happens
    at once, on the loop, the earliest first.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        clock.when_turned.append(self.look)

    def at(self, due_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (due_s, next(self._numbers), action))
        self.look()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.look()

    def stop(self) -> None:
        self._cancel()
        self._loop = None

    def clear(self) -> None:
        self._due.clear()
        self._cancel()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is due now."""
        return not self._due or self._due[0][0] > self._clock.now_s()

    def look(self) -> None:
        """Arrange to be woken when the next action is due, which may be now."""
        self._cancel()
        if self._loop is None or not self._due:
            return
        wait_s = self._due[0][0] - self._clock.now_s()
        if wait_s <= 0:
            self._timer = self._loop.call_soon(self._run)
        elif self._clock.is_running:
            self._timer = self._loop.call_later(min(wait_s, LOOK_AGAIN_S), self._run)

    def _run(self) -> None:
        while not self.is_idle:
            _, _, action = heapq.heappop(self._due)
            action()
        self.look()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
