"""Counts per window of time, as the vendor limits its interfaces."""

from collections.abc import Hashable


class Quota:
    """At most `most` strokes per key and window; windows are counted off from 1970."""

    def __init__(self, most: int, window_s: int) -> None:
        self.most = most
        self.window_s = window_s
        self._window = -1
        self._strokes: dict[Hashable, int] = {}

    def allows(self, key: Hashable, now_s: float) -> bool:
        window = int(now_s // self.window_s)
        if window != self._window:
            self._window, self._strokes = window, {}
        self._strokes[key] = self._strokes.get(key, 0) + 1
        return self._strokes[key] <= self.most
