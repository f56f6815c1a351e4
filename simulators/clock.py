"""The simulators' own clock: it runs with the machine's, and can be set, turned on or stopped."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

# China has had no summer time since 1991; a fixed offset needs no zone database.
BEIJING = timezone(timedelta(hours=8))


class VirtualClock:
    """Seconds UTC since 1970. Given a start it stands still until it is turned by hand."""

    def __init__(self, start_s: float | None = None) -> None:
        self._start_s = start_s
        self.when_turned: list[Callable[[], None]] = []
        self.reset()

    def reset(self) -> None:
        self._stands_at_s = self._start_s
        self._ahead_s = 0.0
        self._tell()

    def now_s(self) -> float:
        if self._stands_at_s is not None:
            return self._stands_at_s
        return time.time() + self._ahead_s

    @property
    def is_running(self) -> bool:
        return self._stands_at_s is None

    def set(self, now_s: float) -> None:
        if self._stands_at_s is not None:
            self._stands_at_s = now_s
        else:
            self._ahead_s = now_s - time.time()
        self._tell()

    def advance(self, seconds: float) -> None:
        self.set(self.now_s() + seconds)

    def stop(self) -> None:
        self._stands_at_s = self.now_s()
        self._tell()

    def run(self) -> None:
        now_s, self._stands_at_s = self.now_s(), None
        self.set(now_s)

    def _tell(self) -> None:
        for listener in self.when_turned:
            listener()

    def beijing_day(self) -> str:
        return datetime.fromtimestamp(self.now_s(), BEIJING).date().isoformat()


def utc_text(at_s: float) -> str:
    """RFC 3339 with milliseconds, in UTC."""
    text = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
