"""The beat all sockets of one loop share: sends joined per tick, deadlines once a second.

A timer or a task per connection would cost more memory than the connection itself.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from math import ceil
from typing import Final, Protocol

BEAT_S: Final = 1.0


class Sender(Protocol):
    def flush(self) -> None: ...


class Pulse:
    """Belongs to one event loop. `start` lets the real time drive it; a test calls `beat`."""

    def __init__(self, *, beat_s: float = BEAT_S) -> None:
        self._beat_s = beat_s
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Sender] = []
        self._due: defaultdict[int, list[Callable[[], None]]] = defaultdict(list)
        self._beats = 0
        self._timer: asyncio.TimerHandle | None = None

    def flush_soon(self, sender: Sender) -> None:
        """Flush once, after what else is ready in this tick: the sends in between become one."""
        if not self._waiting:
            self._loop.call_soon(self._flush_all)
        self._waiting.append(sender)

    def _flush_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for sender in waiting:
            sender.flush()

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call once, at the first beat that is not before delay_s have passed.

        There is no cancelling: the action looks whether it is still wanted.
        """
        self._due[self._beats + max(1, ceil(delay_s / self._beat_s))].append(action)

    def beat(self, times: int = 1) -> None:
        """One beat has passed (or so many)."""
        for _ in range(times):
            self._beats += 1
            for action in self._due.pop(self._beats, ()):
                action()

    def start(self) -> None:
        """Beat every second from now on. A loop that was blocked beats late, never twice."""
        self._timer = self._loop.call_later(self._beat_s, self._on_timer)

    def _on_timer(self) -> None:
        # The next one first: an action that fails must not stop the heart of all the others.
        self.start()
        self.beat()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
