"""Tables on the screen, docs/bench/RESULTS.md, and what they are made from."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from bench.machine import BUILD, ROOT
from bench.plots import draw
from bench.results import Goal, Outcome, Row

DOCS = ROOT / "docs" / "bench"
# What a quick run finds is for the eye, not for the documents.
QUICK = BUILD / "quick"


def print_outcome(outcome: Outcome) -> None:
    for row in outcome.rows:
        print(
            f"  {row.work:<34} {row.who:<22} {_value(row):>12} {row.unit:<14} "
            f"{_ms(row.p50_ms):>8} {_ms(row.p99_ms):>8}  {row.note}"
        )
    for goal in outcome.goals:
        print(f"  goal {goal.text}: {goal.got}, {_verdict(goal)}")


def save(outcome: Outcome) -> Path:
    """Put the outcome in the place of the last with its id, write all again; where, is told."""
    folder = QUICK if outcome.is_quick else DOCS
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / "results.json"
    outcomes: list[Outcome] = []
    if store.exists():
        outcomes = msgspec.json.decode(store.read_bytes(), type=list[Outcome])
    outcomes = [one for one in outcomes if one.id != outcome.id] + [outcome]
    outcomes.sort(key=lambda one: int(one.id[1:]))
    store.write_bytes(msgspec.json.format(msgspec.json.encode(outcomes), indent=1) + b"\n")
    (folder / "RESULTS.md").write_text(_document(outcomes))
    draw(outcome, folder / f"{outcome.id.lower()}.png")
    return folder


def _document(outcomes: Iterable[Outcome]) -> str:
    introduction = (
        "# Results of the benchmarks\n\n"
        "Made by `python -m bench`, see [bench/README.md](../../bench/README.md). Each figure is "
        "the median of its rounds; all contenders of a table were measured in turn in one run, "
        "on the same core. Absolute figures differ from machine to machine and from day to day; "
        "the ratios are what counts.\n"
    )
    return "\n".join([introduction, *map(_section, outcomes)])


def _section(outcome: Outcome) -> str:
    lines = [
        f"## {outcome.id}: {outcome.title}\n",
        "| work | who | figure | low – high | p50 ms | p99 ms | |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {row.work} | {row.who} | {_value(row)} {row.unit} | {_span(row)} | "
        f"{_ms(row.p50_ms)} | {_ms(row.p99_ms)} | {row.note} |"
        for row in outcome.rows
    ]
    if outcome.goals:
        lines += ["", "| goal | got | |", "|---|---:|---|"]
        lines += [f"| {goal.text} | {goal.got} | {_verdict(goal)} |" for goal in outcome.goals]
    lines += [
        "",
        f"![{outcome.title}]({outcome.id.lower()}.png)",
        "",
        f"{outcome.made_on}; {outcome.machine}.",
        "",
    ]
    return "\n".join(lines)


def _verdict(goal: Goal) -> str:
    if goal.is_reached is None:
        return "–"
    return "reached" if goal.is_reached else "**not reached**"


def _value(row: Row) -> str:
    return _number(row.value)


def _span(row: Row) -> str:
    if row.low is None or row.high is None:
        return ""
    return f"{_number(row.low)} – {_number(row.high)}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
