"""A clock that a test turns by hand."""

from datetime import datetime, timedelta

# A Friday, 12:00 in Beijing: no day, month or year is about to end.
NOON = datetime.fromisoformat("2026-11-20T12:00:00+08:00")


class Clock:
    """Stands still until it is told to move; `clock.now` is what the product is given."""

    def __init__(self, start: datetime = NOON) -> None:
        self._now = start

    def now(self) -> int:
        """Milliseconds UTC since 1970."""
        return (self._now - datetime.fromisoformat("1970-01-01T00:00:00Z")) // timedelta(
            milliseconds=1
        )

    def advance(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> None:
        self._now += timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)

    def set(self, moment: datetime | str) -> None:
        """Turn to an aware moment, forward or back: `"2026-12-01T00:00:00+08:00"`."""
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
        if moment.tzinfo is None:
            raise ValueError("a moment needs its time zone, for example +08:00")
        self._now = moment

    def day(self) -> str:
        """The date in Beijing, as 2026-11-20."""
        return self._now.astimezone(NOON.tzinfo).date().isoformat()

    def set_ms(self, moment: int) -> None:
        """Turn to a moment as `now` gives it."""
        self._now = datetime.fromtimestamp(0, NOON.tzinfo) + timedelta(milliseconds=moment)
