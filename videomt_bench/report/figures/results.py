"""The figure of a table: AP beside the paper's, recall by kind of object, drift over the video."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from videomt_bench.report.figures.points import headlines, published_setting, same_dataset
from videomt_bench.report.figures.style import (
    BAND,
    GREY,
    PAGE,
    PAPER,
    Draw,
    colour,
    dash,
    new_figure,
    spread,
    two_lines,
)
from videomt_bench.report.printable import printable
from videomt_bench.report.rows import Row
from videomt_bench.report.tables.columns import sample_sizes, seed_values, size_text
from videomt_bench.report.tables.table import ReportTable

ROWS = 5
"""A figure is at least as high as for so many rows."""
DOTS = 30
"""More seeds than these have no dot each."""
RECALLS = {
    "recall_first_frame": ("visible in the first frame", "o", -0.24),
    "recall_late": ("first seen late", "s", 0.0),
    "recall_gap": ("with a gap", "^", 0.24),
}
QUARTERS = ("iou_first_quarter", "iou_last_quarter")


def results_figure(table: ReportTable) -> Draw | None:
    """What draws the main metric of every row; None where it was not measured."""
    metric = next(iter(headlines(table.rows)), "")
    measured = any(metric in row.estimates for row in table.rows)
    return partial(draw, table, metric) if measured else None


def draw(table: ReportTable, metric: str) -> Figure:
    """The figure; panels without data are left out."""
    rows = table.rows
    paper = any(metric in row.published for row in rows)
    recall = any(seed_values(row, m) for row in rows for m in RECALLS)
    drift = any(all(seed_values(row, m) for m in QUARTERS) for row in rows)
    lines = 2 if recall or drift else 1
    height = lines * (0.72 + 0.29 * max(len(rows), ROWS)) + 0.35
    figure = new_figure(PAGE, height, table.title)
    parts = figure.subfigures(lines, 1, squeeze=False)[:, 0]
    _top(parts[0], rows, metric, paper)
    if recall or drift:
        _bottom(parts[1], rows, recall, drift)
    return figure


def _top(part: Any, rows: Sequence[Row], metric: str, paper: bool) -> None:
    ratios = [2.3, 1.0] if paper else [1.0]
    axes = part.subplots(1, len(ratios), sharey=True, squeeze=False, width_ratios=ratios)[0]
    _accuracy(axes[0], rows, metric)
    _rows_as_ticks(axes[0], rows)
    if paper:
        _paper(axes[1], rows, metric)


def _bottom(part: Any, rows: Sequence[Row], recall: bool, drift: bool) -> None:
    count = int(recall) + int(drift)
    ratios = [1.25, 1.0] if count == 2 else [1.0]
    axes = list(part.subplots(1, count, squeeze=False, width_ratios=ratios)[0])
    if recall:
        ax = axes.pop(0)
        _recall(ax, rows)
        _rows_as_ticks(ax, rows)
    if drift:
        _drift(axes.pop(0), rows)


def _rows_as_ticks(ax: Axes, rows: Sequence[Row]) -> None:
    ax.set_yticks(range(len(rows)), [two_lines(row.label, 30) for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    for i in range(0, len(rows), 2):
        ax.axhspan(i - 0.5, i + 0.5, color=BAND, zorder=0, linewidth=0)


def _accuracy(ax: Axes, rows: Sequence[Row], metric: str) -> None:
    """Panel A: the mean, its interval, and a small dot per seed."""
    legend = [f"{metric}, percent"]
    for i, row in enumerate(rows):
        estimate = row.estimates.get(metric)
        if estimate is None:
            text = textwrap.shorten(printable(row.missing()), 48, placeholder=" …")
            ax.text(0.015, i, text, transform=ax.get_yaxis_transform(), va="center", color=GREY)
            continue
        if interval := estimate.interval:
            legend.append("bar: 95 % interval")
            ax.plot([interval.low, interval.high], [i, i], color=colour(i), linewidth=1.4)
        ax.plot(estimate.mean, i, "o", color=colour(i), markersize=5, zorder=3)
        if 1 < len(estimate.per_seed) <= DOTS:
            legend.append("small dots: seeds")
            height = [i + 0.27] * len(estimate.per_seed)
            ax.plot(estimate.per_seed, height, "o", color=colour(i), markersize=2, alpha=0.75)
    sizes = sorted({n for row in rows for n in sample_sizes(row, metric)})
    videos = f", {size_text(sizes)} test videos" if sizes else ""
    ax.set_title(f"A  Measured {metric}{videos}", fontweight="bold")
    ax.set_xlabel("; ".join(dict.fromkeys(legend)))
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _paper(ax: Axes, rows: Sequence[Row], metric: str) -> None:
    """Published values on an axis of their own, in hollow markers: another setting."""
    cells = [(i, row.published[metric]) for i, row in enumerate(rows) if metric in row.published]
    values = [cell.value for _, cell in cells]
    for i, cell in cells:
        ax.plot(cell.value, i, "D", markersize=4.5, markerfacecolor=PAPER, markeredgecolor=GREY)
        ax.annotate(
            cell.text, (cell.value, i), (5, 0), textcoords="offset points", va="center", color=GREY
        )
    for i in range(0, len(rows), 2):
        ax.axhspan(i - 0.5, i + 0.5, color=BAND, zorder=0, linewidth=0)
    span = max(max(values) - min(values), 1.0)
    ax.set_xlim(min(values) - 0.15 * span, max(values) + 0.45 * span)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    where = "" if same_dataset(rows) else ", another setting"
    ax.set_title(f"Published {metric}{where}", color=GREY)
    text = f"{metric}, percent; {published_setting(rows)}"
    ax.set_xlabel(text.replace(", YouTube", ",\nYouTube"), color=GREY)
    ax.tick_params(axis="x", colors=GREY)


def _recall(ax: Axes, rows: Sequence[Row]) -> None:
    """Panel B: recall per kind of object; the shape is the kind, the bar the interval."""
    handles = []
    bars = False
    for metric, (title, marker, offset) in RECALLS.items():
        sizes = sorted({n for row in rows for n in sample_sizes(row, metric)})
        if not sizes:
            continue
        handles.append(
            Line2D([], [], linestyle="", marker=marker, color=GREY, markersize=3.5,
                   label=f"{title} (n = {size_text(sizes)})")
        )  # fmt: skip
        for i, row in enumerate(rows):
            if metric not in row.estimates:
                continue
            value = row.estimates[metric]
            if interval := value.interval:
                bars = True
                low_high = [interval.low, interval.high]
                ax.plot(low_high, [i + offset] * 2, color=colour(i), linewidth=0.9)
            ax.plot(value.mean, i + offset, marker, color=colour(i), markersize=3.5)
    ax.set_title("B  Recall by kind of object", fontweight="bold")
    ax.set_xlabel("recall, percent" + ("; bar: 95 % interval" if bars else ""))
    ax.figure.legend(handles=handles, loc="outside lower left", ncols=3, handletextpad=0.3)


def _drift(ax: Axes, rows: Sequence[Row]) -> None:
    """Panel C: IoU per frame in the first and the last quarter of the video."""
    ends: list[tuple[float, int]] = []
    for i, row in enumerate(rows):
        if not all(metric in row.estimates for metric in QUARTERS):
            continue
        first, last = (row.estimates[metric].mean for metric in QUARTERS)
        ax.plot(
            [0, 1],
            [first, last],
            dash(i),
            color=colour(i),
            marker="o",
            markersize=3,
            linewidth=1.2,
        )
        ends.append((last, i))
    low, high = ax.get_ylim()
    gap = 0.45 / max(len(rows), ROWS) * (high - low)  # a line of text
    ends.sort()
    places = spread([end for end, _ in ends], gap)
    for (end, i), place in zip(ends, places, strict=True):
        ax.plot([1.03, 1.13], [end, place], color=colour(i), linewidth=0.5, clip_on=False)
        label = textwrap.shorten(rows[i].label, 26, placeholder=" …")
        ax.text(1.16, place, label, va="center", fontsize=6)
    ax.set_xlim(-0.08, 2.5)
    ax.set_xticks([0, 1], ["first quarter", "last quarter"])
    ax.spines["bottom"].set_bounds(0, 1)
    ax.set_title("C  Drift: mask IoU per frame", fontweight="bold")
    ax.set_ylabel("IoU, percent")
