"""What happened at the cabinets, and what must never happen."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from simulators.rush.ledger import print_to_stderr

KEPT = 10_000
VIOLATIONS_KEPT = 100


class Notes:
    """All shoppers write into this one; whatever breaks a promise is printed at once."""

    def __init__(self, tell: Callable[[str], None] = print_to_stderr) -> None:
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.violations: list[str] = []
        self.spans_s: dict[str, list[float]] = {"unlocked": [], "settled": []}
        self._tell = tell

    def count(self, what: str, times: int = 1) -> None:
        self.counts[what] += times

    def refuse(self, code: str) -> None:
        self.count("refused")
        self.refused[code] += 1

    def violate(self, what: str) -> None:
        """Something happened that must never happen."""
        self.count("violations")
        if len(self.violations) < VIOLATIONS_KEPT:
            self.violations.append(what)
        self._tell(f"VIOLATION: {what}")

    def took(self, what: str, seconds: float) -> None:
        """From the scan until the door was unlocked, from its closing until it was settled."""
        self.spans_s[what].append(seconds)
        del self.spans_s[what][:-KEPT]

    def report(self) -> dict[str, Any]:
        return {
            "counts": dict(sorted(self.counts.items())),
            "refused": dict(self.refused.most_common()),
            "seconds": {name: _spread(spans) for name, spans in self.spans_s.items()},
            "violations": list(self.violations),
        }


def _spread(spans: list[float]) -> dict[str, float]:
    ordered = sorted(spans)
    if not ordered:
        return {}
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }
