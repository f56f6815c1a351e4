"""The free numbers of one stall, and which of them comes next.

cyclic  the number whose last ticket was issued longest ago; one never used comes
        before all others, in order, going on from the last issued. A number rests
        for a while after its ticket ended, so that a late diner never meets the
        next one's dish; when only resting ones are left, the one that has rested
        longest is taken.
lowest  the lowest free number, as the original did.
"""

from collections.abc import Collection, Mapping
from heapq import heapify, heappop, heappush

from queueing.model import NUMBERS


class FreeNumbers:
    """Two heaps, so that taking the next number never looks at all of them."""

    def __init__(
        self,
        pick: str,
        *,
        rest_ms: int,
        taken: Collection[int],
        used: Mapping[int, int],
        ended: Mapping[int, int],
    ) -> None:
        """used: number → id of its last ticket; ended: number → when a ticket last ended."""
        self._lowest = pick == "lowest"
        self._rest_ms = rest_ms
        self._ranks = _ranks(used)
        self._ready: list[tuple[int, int]] = []  # (rank, number): the order of choice.
        self._resting: list[tuple[int, int]] = []  # (ended at, number).
        for number in NUMBERS:
            if number not in taken:
                self.give_back(number, ended_at=ended.get(number))

    def __len__(self) -> int:
        return len(self._ready) + len(self._resting)

    def take_next(self, now: int, *, ticket_id: int) -> int:
        """Take the number that is next in turn for the ticket; there must be one."""
        self._wake(now)
        _, number = heappop(self._ready or self._resting)
        self._ranks[number] = ticket_id
        return number

    def take(self, number: int) -> None:
        """Take this very number back. Rare (an undo), so it may look at all of them."""
        self._ready = _without(self._ready, number)
        self._resting = _without(self._resting, number)

    def give_back(self, number: int, *, ended_at: int | None) -> None:
        """Free a number whose ticket ended then, or (None) that has nothing to rest from."""
        if self._lowest:
            heappush(self._ready, (number, number))
        elif ended_at is None:
            heappush(self._ready, (self._ranks[number], number))
        else:
            heappush(self._resting, (ended_at, number))

    def resting(self, now: int) -> int:
        self._wake(now)
        return len(self._resting)

    def _wake(self, now: int) -> None:
        rested = now - self._rest_ms
        resting = self._resting
        while resting and resting[0][0] <= rested:
            _, number = heappop(resting)
            heappush(self._ready, (self._ranks[number], number))


def _without(heap: list[tuple[int, int]], number: int) -> list[tuple[int, int]]:
    kept = [entry for entry in heap if entry[1] != number]
    heapify(kept)
    return kept


def _ranks(used: Mapping[int, int]) -> dict[int, int]:
    """Ids of last tickets, which grow with time; below them all, the numbers never used."""
    last = max(used, key=used.__getitem__, default=0)
    count = len(NUMBERS)
    return {number: used.get(number, (number - last - 1) % count - count) for number in NUMBERS}
