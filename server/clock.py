"""The clock: the only place that asks what time it is. Everything else is handed `now`."""

import time

from sql.types import Millis


def now() -> Millis:
    """Milliseconds UTC since 1970."""
    return time.time_ns() // 1_000_000
