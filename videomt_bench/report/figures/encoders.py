"""Accuracy against the encoder, its size or its pre-training: one line per variant and origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from videomt_bench.report.figures.direct_labels import direct_labels
from videomt_bench.report.figures.points import (
    MEASURED,
    PUBLISHED,
    Point,
    headlines,
    measured_points,
    measured_setting,
    published_points,
    published_setting,
)
from videomt_bench.report.figures.style import (
    COLUMN,
    GREY,
    INK,
    PAGE,
    PAPER,
    Draw,
    fix_layout,
    new_figure,
    two_lines,
)
from videomt_bench.report.tables.table import ReportTable

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
COLOURS = ("#D55E00", "#009E73", "#0072B2", "#CC79A7", INK, "#56B4E9", "#E69F00")
SEVERAL = 3
"""From so many sizes on a line says something."""
APART = 1.5
"""From this ratio of parameters on, sizes are an axis rather than names."""


@dataclass(frozen=True)
class Curve:
    """The points of one variant and origin, by size."""

    origin: str
    variant: str
    label: str
    points: list[Point]


def encoder_figure(table: ReportTable) -> Draw | None:
    """What draws accuracy against size or pre-training; None for less than three of them."""
    rows = table.rows
    sizes = list(dict.fromkeys(row.size for row in rows if row.size))
    metrics = headlines(rows)
    if len(sizes) < SEVERAL or not metrics:
        return None
    points = [*measured_points(rows), *published_points(rows)]
    panels = [(metric, curves(points, metric)) for metric in metrics]
    panels = [(metric, found) for metric, found in panels if found]
    settings = [
        f"{origin}: {setting(rows)}"
        for origin, setting in ((MEASURED, measured_setting), (PUBLISHED, published_setting))
        if any(c.origin == origin for _, found in panels for c in found)
    ]
    return partial(_draw, table.title, sizes, panels, settings) if panels else None


def curves(points: Sequence[Point], metric: str) -> list[Curve]:
    """One curve for each variant and origin with the metric for at least two sizes."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        if metric in point.accuracy and point.size:
            groups.setdefault((point.origin, point.variant), []).append(point)
    return [
        Curve(origin, variant, _common(found), found)
        for (origin, variant), found in groups.items()
        if len(found) > 1
    ]


def _common(points: Sequence[Point]) -> str:
    """The label that the rows of a variant have in common."""
    return points[0].label.removesuffix(f", {points[0].size}")


def by_parameters(found: Sequence[Curve]) -> bool:
    """Whether sizes are numbers of parameters: all known, and far apart within each curve."""
    params = [[p.params or 0.0 for p in curve.points] for curve in found]
    return all(min(v) > 0 and max(v) / min(v) > APART for v in params)


def _draw(
    title: str,
    sizes: Sequence[str],
    panels: Sequence[tuple[str, list[Curve]]],
    settings: Sequence[str],
) -> Figure:
    what = "size" if all(by_parameters(found) for _, found in panels) else "encoder"
    width = PAGE if len(panels) > 1 else COLUMN + 0.9
    names = " and ".join(metric for metric, _ in panels)
    figure = new_figure(width, 3.0, f"{title}: {names} against {what}")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    variants = list(dict.fromkeys(c.variant for _, found in panels for c in found))
    for ax, (metric, found) in zip(axes, panels, strict=True):
        _panel(ax, metric, found, sizes, variants)
    axes[0].annotate(
        "; ".join(settings), (0, 1), (0, 4), xycoords="axes fraction",
        textcoords="offset points", fontsize=6, color=GREY, va="bottom",
    )  # fmt: skip
    handles = _legend(panels, variants)
    figure.legend(handles=handles, loc="outside lower left", ncols=2 if len(panels) < 2 else 4)
    fix_layout(figure)
    for ax, (metric, found) in zip(axes, panels, strict=True):
        if by_parameters(found):
            _size_labels(ax, metric, found)
    return figure


def _panel(
    ax: Axes, metric: str, found: Sequence[Curve], sizes: Sequence[str], variants: Sequence[str]
) -> None:
    scale = by_parameters(found)
    for i, curve in enumerate(found):
        shift = 0.0 if scale else 0.06 * (i - (len(found) - 1) / 2)
        points = sorted(curve.points, key=lambda p: (p.params or 0) if scale else 0)
        if not scale:
            points = sorted(points, key=lambda p: sizes.index(p.size))
        x = [(p.params or 0) if scale else sizes.index(p.size) + shift for p in points]
        _curve(ax, curve, x, points, metric, variants.index(curve.variant))
    if scale:
        _parameter_axis(ax, found)
    else:
        ax.set_xticks(range(len(sizes)), [two_lines(size, 14) for size in sizes])
        ax.set_xlim(-0.35, len(sizes) - 0.65)
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.grid(axis="y", color=GREY, alpha=0.18, linewidth=0.5)
    ax.set_ylabel(f"{metric}, percent")


def _curve(
    ax: Axes, curve: Curve, x: Sequence[float], points: Sequence[Point], metric: str, index: int
) -> None:
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    filled = curve.origin == MEASURED
    ax.plot(
        x,
        [p.accuracy[metric] for p in points],
        "-" if filled else "--",
        color=colour,
        linewidth=1.1,
        marker=marker,
        markersize=4.5,
        markerfacecolor=colour if filled else PAPER,
        markeredgecolor=colour,
        zorder=3,
    )
    for place, point in zip(x, points, strict=True):
        if interval := point.intervals.get(metric):
            ax.plot([place] * 2, [interval.low, interval.high], color=colour, linewidth=0.9)


def _parameter_axis(ax: Axes, found: Sequence[Curve]) -> None:
    """A log axis of parameters."""
    params = [p.params or 1.0 for curve in found for p in curve.points]
    ax.set_xscale("log")
    ax.set_xlim(min(params) / 1.35, max(params) * 1.35)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("parameters, millions, log scale")


def _size_labels(ax: Axes, metric: str, found: Sequence[Curve]) -> None:
    """The name of the size at each point of a parameter axis."""
    points = [p for curve in found for p in curve.points]
    spots = [(p.params or 1.0, p.accuracy[metric]) for p in points]
    lines = [
        ((a.params or 1.0, a.accuracy[metric]), (b.params or 1.0, b.accuracy[metric]))
        for curve in found
        for a, b in pairwise(sorted(curve.points, key=lambda p: p.params or 0))
    ]
    direct_labels(ax, spots, [p.size for p in points], [GREY] * len(points), lines)


def _legend(panels: Sequence[tuple[str, list[Curve]]], variants: Sequence[str]) -> list[Line2D]:
    found = [curve for _, curves in panels for curve in curves]
    labels = {curve.variant: curve.label for curve in found}
    hollow = all(curve.origin == PUBLISHED for curve in found)
    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)],
               markersize=4.5, linewidth=1.1, linestyle="--" if hollow else "-",
               markerfacecolor=PAPER if hollow else COLOURS[i % len(COLOURS)],
               label=labels[variant])
        for i, variant in enumerate(variants)
    ]  # fmt: skip
    looks: dict[str, tuple[str, Any]] = {MEASURED: (GREY, "-"), PUBLISHED: (PAPER, "--")}
    for origin in dict.fromkeys(curve.origin for curve in found):
        face, line = looks[origin]
        handles.append(
            Line2D([], [], color=GREY, linestyle=line, marker="o", markersize=4.5,
                   markerfacecolor=face, label=origin)
        )  # fmt: skip
    if any(p.intervals for curve in found for p in curve.points):
        handles.append(Line2D([], [], color=GREY, linewidth=0.9, label="bar: 95 % interval"))
    return handles
