"""What was measured, and whether it reached its goal."""

from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from bench.generator import Figures, LoadFailed
from bench.machine import Watch, settle

OURS = "callme"


class Row(msgspec.Struct, kw_only=True):
    """One contender at one piece of work: the median of some rounds."""

    work: str
    who: str
    unit: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    note: str = ""
    others: float = 0.0
    """What other programs took of the cores meanwhile, from 0 to 1."""


class Goal(msgspec.Struct):
    """is_reached is None when something it needs was not measured."""

    text: str
    got: str
    is_reached: bool | None


class Outcome(msgspec.Struct, kw_only=True):
    """One benchmark, as it stands in docs/bench/results.json."""

    id: str
    title: str
    rows: list[Row]
    goals: list[Goal]
    made_on: str = ""
    machine: str = ""
    is_quick: bool = False

    def row(self, who: str, work: str = "") -> Row:
        """The row of a contender, empty if there is none; the first unless a work is named."""
        for row in self.rows:
            if row.who == who and work in {"", row.work}:
                return row
        return Row(work=work, who=who, unit="")


class Entry(msgspec.Struct, kw_only=True):
    """Something to be measured once a round. `figure` names the result that counts.

    pid: the server, which is left to come to rest before; database: what works for it.
    """

    work: str
    who: str
    unit: str
    measure: Callable[[], Figures]
    pid: int | None = None
    database: int | None = None
    figure: str = "rate"


# Counted by the generator; anything but zero is told beside the figure.
FAULTS = (
    "duplicates",
    "failures",
    "gaps",
    "missing",
    "unexpected",
    "closed",
    "starved",
    "wrong",
    "snapshots",
)


# Above this share the figures say as much about the neighbours as about the server.
OTHERS_MAX = 0.1


def interleaved(rounds: int, entries: Sequence[Entry]) -> list[Row]:
    """Measure all entries, round after round, so that a drift of the machine meets all alike."""
    figures: list[list[Figures]] = [[] for _ in entries]
    failures: dict[int, str] = {}
    for number in range(rounds):
        for place, entry in enumerate(entries):
            if place in failures:
                continue
            if entry.pid is not None:
                settle(entry.pid)
            watch = Watch([pid for pid in (entry.pid, entry.database) if pid is not None])
            try:
                measured = entry.measure()
            except LoadFailed as failure:
                failures[place] = str(failure)[:300]
                continue
            others = 0.0 if entry.pid is None else watch.others()
            figures[place].append(measured | {"others": others})
            print(
                f"  round {number + 1}: {entry.work}, {entry.who}: "
                f"{measured.get(entry.figure, 0):,.6g} {entry.unit}",
                flush=True,
            )
    return [
        _row(entry, measured, failures.get(place, ""))
        for place, (entry, measured) in enumerate(zip(entries, figures, strict=True))
    ]


def _row(entry: Entry, measured: list[Figures], failure: str) -> Row:
    row = Row(work=entry.work, who=entry.who, unit=entry.unit, note=failure)
    if not measured:
        return row
    values = [figures[entry.figure] for figures in measured]
    row.value, row.low, row.high = median(values), min(values), max(values)
    for name in ("p50_ms", "p99_ms"):
        if all(name in figures for figures in measured):
            setattr(row, name, median(figures[name] for figures in measured))
    row.others = median(figures["others"] for figures in measured)
    faults = {name: sum(figures.get(name, 0) for figures in measured) for name in FAULTS}
    told = [f"{count:.0f} {name}" for name, count in faults.items() if count]
    codes = {figures.get("close_code", 0) for figures in measured} - {0}
    told += [f"close code {code:.0f}" for code in codes]
    busy = f"others took {row.others:.0%} of the cores" if row.others > OTHERS_MAX else ""
    row.note = "; ".join([*filter(None, [failure, busy]), *told])
    return row


def absent_rows(absent: dict[str, str], *, work: str, unit: str) -> list[Row]:
    return [Row(work=work, who=who, unit=unit, note=why) for who, why in absent.items()]


def ratio_goal(text: str, ours: Row, peer: Row, at_least: float) -> Goal:
    """Our figure must be that many times the peer's."""
    if ours.value is None or not peer.value:
        return Goal(text, "not measured", None)
    ratio = ours.value / peer.value
    return Goal(text, f"{ratio:.2f} ×", ratio >= at_least)


def most_goal(text: str, value: float | None, most: float, unit: str) -> Goal:
    if value is None:
        return Goal(text, "not measured", None)
    return Goal(text, f"{value:,.4g} {unit}", value <= most)


def least_goal(text: str, value: float | None, least: float, unit: str) -> Goal:
    if value is None:
        return Goal(text, "not measured", None)
    return Goal(text, f"{value:,.4g} {unit}", value >= least)


def none_goal(text: str, rows: Sequence[Row], fault: str) -> Goal:
    """Nothing of that kind may have happened."""
    if any(row.value is None for row in rows):
        return Goal(text, "not measured", None)
    noted = [row.note for row in rows if fault in row.note]
    return Goal(text, "; ".join(noted) or "none", not noted)
