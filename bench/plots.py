"""A picture for each benchmark: one panel a piece of work, one bar a contender."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bench.results import OURS, Outcome, Row

OUR_COLOUR = "#c8452d"
PEER_COLOUR = "#8a94a6"


def draw(outcome: Outcome, path: Path) -> None:
    works = list(dict.fromkeys(row.work for row in outcome.rows))
    panels = [[row for row in outcome.rows if row.work == work] for work in works]
    heights = [max(len(panel), 2) for panel in panels]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(8, 0.9 + 0.75 * len(panels) + 0.34 * sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    figure.suptitle(f"{outcome.id}: {outcome.title}", fontsize=11)
    for axis, work, panel in zip(axes[:, 0], works, panels, strict=True):
        _panel(axis, work, panel)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _panel(axis: Axes, work: str, rows: Sequence[Row]) -> None:
    values = [row.value or 0.0 for row in rows]
    colours = [OUR_COLOUR if row.who.startswith(OURS) else PEER_COLOUR for row in rows]
    bars = axis.barh(range(len(rows)), values, color=colours, height=0.62)
    axis.bar_label(bars, [_label(row) for row in rows], padding=4, fontsize=8)
    axis.set_yticks(range(len(rows)), [row.who for row in rows], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, max([*values, 1e-9]) * 1.35)
    axis.set_title(f"{work} [{rows[0].unit}]", fontsize=9, loc="left")
    axis.tick_params(axis="x", labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _label(row: Row) -> str:
    if row.value is None:
        return row.note[:40] or "not measured"
    figure = f"{row.value:,.0f}" if row.value >= 100 else f"{row.value:.3g}"
    if row.p99_ms is None or row.unit == "ms":
        return figure
    return f"{figure}  (p99 {row.p99_ms:.1f} ms)"
