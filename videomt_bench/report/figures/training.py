"""Training curves: the total loss over the iterations of each stage, one line per run."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from videomt_bench.report.figures.losses import STAGES, LossCurve, loss_curves
from videomt_bench.report.figures.style import PAGE, Draw, colour, dash, new_figure, spread
from videomt_bench.report.rows import Row
from videomt_bench.report.tables.table import ReportTable

MOST = 8
"""Runs of a row that have a curve, the first ones."""
WINDOW = 0.04
"""Share of a curve that each point of its smooth line is the median of."""


def training_figure(table: ReportTable, results: Path | None) -> Draw | None:
    """What draws the losses of the rows' runs; None where no log is left."""
    if results is None:
        return None
    stages: dict[str, dict[str, list[tuple[int, LossCurve]]]] = {}
    for i, row in enumerate(table.rows):
        for record in row.records[:MOST]:
            for curve in loss_curves(results, record):
                by_id = stages.setdefault(curve.stage, {})
                by_id.setdefault(curve.stage_id, []).append((i, curve))
    return partial(_draw, table.title, table.rows, stages) if stages else None


def smooth(values: Sequence[float], share: float = WINDOW) -> list[float]:
    """The running median over a share of the values, shorter at both ends."""
    half = max(1, round(share * len(values) / 2))
    return [float(np.median(values[max(0, i - half) : i + half + 1])) for i in range(len(values))]


def _draw(
    title: str,
    rows: Sequence[Row],
    stages: Mapping[str, Mapping[str, Sequence[tuple[int, LossCurve]]]],
) -> Figure:
    shown = [stage for stage in STAGES if stage in stages]
    figure = new_figure(PAGE, 3.0, f"{title}: training loss")
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for ax, stage, letter in zip(axes, shown, "AB", strict=False):
        _panel(ax, rows, stages[stage])
        mark = f"{letter}  " if len(shown) > 1 else ""
        ax.set_title(f"{mark}{STAGES[stage].capitalize()}", fontweight="bold")
    axes[0].set_ylabel("total loss, log scale")
    figure.supxlabel(
        "Faint: as logged; strong: running median. Totals hold other terms from row to row: "
        "compare shapes, not heights.",
        fontsize=6, x=0.01, ha="left",
    )  # fmt: skip
    return figure


def _panel(
    ax: Axes, rows: Sequence[Row], runs: Mapping[str, Sequence[tuple[int, LossCurve]]]
) -> None:
    ax.set_yscale("log")
    ends: list[tuple[float, int, str]] = []
    labelled: set[tuple[int, ...]] = set()
    for found in runs.values():
        users = tuple(dict.fromkeys(i for i, _ in found))
        curve = found[0][1]
        first = users[0]
        line = smooth(curve.losses)
        ax.plot(curve.steps, curve.losses, color=colour(first), alpha=0.22, linewidth=0.5)
        ax.plot(curve.steps, line, dash(first), color=colour(first), linewidth=1.1)
        if users not in labelled:
            labelled.add(users)
            ends.append((line[-1], first, _label([rows[i].label for i in users])))
    last = max(curve.steps[-1] for found in runs.values() for _, curve in found)
    ax.set_xlim(0, last * 1.75)
    ax.set_xlabel("iteration")
    ax.spines["bottom"].set_bounds(0, last)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_xticks([t for t in ax.get_xticks() if 0 <= t <= last])
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.yaxis.set_minor_formatter(NullFormatter())
    _line_labels(ax, ends, last)


def _label(labels: Sequence[str]) -> str:
    """The rows that share a curve: the first one and the number of the others."""
    text = labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"
    return textwrap.shorten(text, 34, placeholder=" …")


def _line_labels(ax: Axes, ends: list[tuple[float, int, str]], last: int) -> None:
    """The name of each line at its end, moved apart where lines end together."""
    low, high = np.log(ax.get_ylim())
    ends.sort()
    gap = 0.055 * (high - low)
    places = spread([float(np.log(value)) for value, _, _ in ends], gap)
    for (value, i, label), place in zip(ends, places, strict=True):
        y = float(np.exp(place))
        ax.plot([1.01 * last, 1.06 * last], [value, y], color=colour(i), linewidth=0.5)
        ax.text(1.08 * last, y, label, va="center", fontsize=6)
