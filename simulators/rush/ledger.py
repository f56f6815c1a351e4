"""What happened, and what must never happen: counts, live numbers, violations."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

VIOLATIONS_KEPT = 100
LATENCIES_KEPT = 10_000
# The server itself frees a number that nobody collected for two hours.
SURELY_LIVE_S = 100 * 60.0


class Holder(msgspec.Struct):
    """Who holds a number. may_have_ended: somebody has at least asked to end it."""

    label: str
    since_s: float
    may_have_ended: bool = False


def print_to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


class Ledger:
    """All actors write into this one; whatever breaks a promise is printed at once."""

    def __init__(
        self,
        tell: Callable[[str], None] = print_to_stderr,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.violations: list[str] = []
        self.latencies_ms: list[float] = []
        self._tell = tell
        self._now_s = now_s
        self._holders: dict[tuple[int, int], Holder] = {}

    def count(self, what: str, times: int = 1) -> None:
        self.counts[what] += times

    def refuse(self, code: str) -> None:
        self.counts["refused"] += 1
        self.refused[code] += 1

    def violate(self, what: str) -> None:
        """Something happened that must never happen."""
        self.counts["violations"] += 1
        if len(self.violations) < VIOLATIONS_KEPT:
            self.violations.append(what)
        self._tell(f"VIOLATION: {what}")

    def issued(self, stall_id: int, number: int, label: str) -> None:
        """The server said this number is now this customer's and nobody else's."""
        self.count("issued")
        if not 1 <= number <= 99:
            self.violate(f"stall {stall_id} issued {number}, which is no number of a pool")
        holder = self._holders.get((stall_id, number))
        if holder is not None and self._is_surely_live(holder):
            self.violate(
                f"stall {stall_id} issued {number} to {label} while {holder.label} holds it"
            )
        self._holders[stall_id, number] = Holder(label, self._now_s())

    def ending(self, stall_id: int, number: int) -> None:
        """Somebody is about to end it: from here on the server may give it out again."""
        holder = self._holders.get((stall_id, number))
        if holder is not None:
            holder.may_have_ended = True

    def is_held(self, stall_id: int, number: int) -> bool:
        holder = self._holders.get((stall_id, number))
        return holder is not None and self._is_surely_live(holder)

    def heard_within(self, latency_ms: float) -> None:
        """From the seller's tap to the diner's phone."""
        self.latencies_ms.append(latency_ms)
        del self.latencies_ms[:-LATENCIES_KEPT]

    def report(self) -> dict[str, Any]:
        return {
            "counts": dict(sorted(self.counts.items())),
            "refused": dict(self.refused.most_common()),
            "call_to_phone_ms": self._latencies(),
            "violations": list(self.violations),
        }

    def _latencies(self) -> dict[str, float]:
        ordered = sorted(self.latencies_ms)
        if not ordered:
            return {}
        return {
            name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
        }

    def _is_surely_live(self, holder: Holder) -> bool:
        return not holder.may_have_ended and self._now_s() - holder.since_s < SURELY_LIVE_S
