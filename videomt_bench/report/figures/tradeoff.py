"""Accuracy against speed: every row a marker of its family, hollow where it is published."""

from __future__ import annotations

import textwrap
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
    other_published_points,
    published_datasets,
    published_points,
    published_setting,
    same_dataset,
    speed_protocol,
)
from videomt_bench.report.figures.style import (
    GREY,
    INK,
    OTHER_PROTOCOL,
    PAGE,
    PAPER,
    RULE,
    Draw,
    fix_layout,
    new_figure,
)
from videomt_bench.report.systems import FAMILIES, FRAMES, OTHER, QUERIES, TRACKER
from videomt_bench.report.tables.table import ReportTable

MARKERS = {TRACKER: "o", FRAMES: "^", QUERIES: "s", OTHER: "D"}
FAMILY_COLOURS = {TRACKER: "#D55E00", FRAMES: "#009E73", QUERIES: "#0072B2", OTHER: INK}
LOOKS: tuple[tuple[str, str, Any], ...] = ((MEASURED, GREY, "-"), (PUBLISHED, PAPER, "--"))
"""Origin, fill of its markers, line of its front."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes: a metric of some points."""

    metric: str
    title: str
    speeds: str
    """How the frames per second were measured."""
    points: list[Point]
    context: list[Point]
    """Published points that are no rows of the table."""


def tradeoff_figure(table: ReportTable, published: str | None = None) -> Draw | None:
    """What draws accuracy against speed; None where fewer than two rows have both.

    Args:
        table: the table whose rows are drawn.
        published: a published table whose other rows on the same data set are drawn too.
    """
    panels = _panels(table, published)
    if not any(len(panel.points) + len(panel.context) > 1 for panel in panels):
        return None
    return partial(_draw, table.title, panels, same_dataset(table.rows))


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one beats in both coordinates, by the first one."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points), key=lambda p: (-p[0], -p[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front[::-1]


def _panels(table: ReportTable, published: str | None) -> list[Panel]:
    """Published and measured points share a panel where they are of one data set."""
    rows = table.rows
    measured, printed = measured_points(rows), published_points(rows)
    context = other_published_points(rows, published)
    one_panel = same_dataset(rows)
    panels = []
    for metric in headlines(rows):
        ours, theirs, others = (
            [p for p in points if p.fps and metric in p.accuracy]
            for points in (measured, printed, context)
        )
        printed_setting = ", ".join(published_datasets(rows)) if others else published_setting(rows)
        if one_panel and ours:
            speeds = [speed_protocol(rows, origin) for origin in (MEASURED, PUBLISHED)]
            both = f"measured: {speeds[0]}; published: {speeds[1]}"
            points = [*ours, *theirs]
            panels.append(Panel(metric, measured_setting(rows), both, points, others))
            continue
        if ours:
            title = f"Measured: {measured_setting(rows)}"
            panels.append(Panel(metric, title, speed_protocol(rows, MEASURED), ours, []))
        if theirs or others:
            title = f"Published: {printed_setting}"
            panels.append(Panel(metric, title, speed_protocol(rows, PUBLISHED), theirs, others))
    return panels


def _draw(title: str, panels: Sequence[Panel], shared: bool) -> Figure:
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    metrics = " and ".join(dict.fromkeys(panel.metric for panel in panels))
    figure = new_figure(PAGE, 0.85 + 2.8 * lines, f"{title}: {metrics} against speed")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax, panel, letter in zip(axes, panels, "ABCDEFGH", strict=False):
        _axes(ax, panel, letter if len(panels) > 1 else "")
        speeds = textwrap.wrap(panel.speeds, 120 // columns, max_lines=2, placeholder=" …")
        ax.set_xlabel("\n".join(["frames per second, log scale", *speeds]))
    everything = [p for panel in panels for p in (*panel.points, *panel.context)]
    handles = _legend(everything)
    figure.legend(handles=handles, loc="outside lower left", ncols=4, handletextpad=0.4)
    fix_layout(figure)
    for ax, panel in zip(axes, panels, strict=False):
        _labels(ax, panel)
    return figure


def _axes(ax: Axes, panel: Panel, letter: str) -> None:
    points = [*panel.context, *panel.points]
    x = [_fps(p) for p in points]
    y = [p.accuracy[panel.metric] for p in points]
    ends = [e for p in points for e in _ends(p, panel.metric)]
    ax.set_xscale("log")
    margin = max((max(x) / min(x)) ** 0.14, 1.2)
    ax.set_xlim(min(x) / margin, max(x) * margin)
    pad = max(0.14 * (max([*y, *ends]) - min([*y, *ends])), 0.4)
    ax.set_ylim(min([*y, *ends]) - pad, max([*y, *ends]) + pad)
    for origin, line in ((MEASURED, "-"), (PUBLISHED, "--")):
        if corners := _stairs(ax, points, panel.metric, origin):
            ax.plot(*zip(*corners, strict=True), line, color=RULE, linewidth=0.9, zorder=1)
    for point in points:
        _marker(ax, point, panel.metric, faint=point in panel.context)
    wide = max(x) / min(x) > 4
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if wide else (1, 1.5, 2, 3, 4, 5, 6, 8)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_title(f"{letter}  {panel.title}".strip(), fontweight="bold")
    ax.set_ylabel(f"{panel.metric}, percent")


def _fps(point: Point) -> float:
    return point.fps or 1.0


def _ends(point: Point, metric: str) -> list[float]:
    interval = point.intervals.get(metric)
    return [interval.low, interval.high] if interval else []


def _stairs(
    ax: Axes, points: Sequence[Point], metric: str, origin: str
) -> list[tuple[float, float]]:
    """The corners of the line around all that a front beats; none for a single point."""
    own = [p for p in points if p.origin == origin and not p.other_protocol]
    if len(own) < 2:
        return []
    front = pareto_front([(_fps(p), p.accuracy[metric]) for p in own])
    corners = [(ax.get_xlim()[0], front[0][1])]
    for x, y in front:
        corners += [(corners[-1][0], y), (x, y)]
    return [*corners[1:], (front[-1][0], ax.get_ylim()[0])]


def _marker(ax: Axes, point: Point, metric: str, faint: bool) -> None:
    colour = FAMILY_COLOURS[point.family]
    x, y = _fps(point), point.accuracy[metric]
    if ends := _ends(point, metric):
        ax.plot([x, x], ends, color=colour, linewidth=0.9, zorder=2)
    filled = point.origin == MEASURED
    ax.plot(
        x,
        y,
        MARKERS[point.family],
        markersize=3.8 if faint else 4.8,
        markerfacecolor=colour if filled else PAPER,
        markeredgecolor=colour,
        markeredgewidth=0.8 if faint else 1.1,
        zorder=3,
    )


def _labels(ax: Axes, panel: Panel) -> None:
    """The name of each point, away from other names, intervals and the fronts."""
    points = [*panel.points, *panel.context]
    lines: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for origin in (MEASURED, PUBLISHED):
        lines += pairwise(_stairs(ax, points, panel.metric, origin))
    for point in points:
        if ends := _ends(point, panel.metric):
            lines.append(((_fps(point), ends[0]), (_fps(point), ends[1])))
    direct_labels(
        ax,
        [(_fps(p), p.accuracy[panel.metric]) for p in points],
        [_label(p) for p in points],
        [GREY if p in panel.context else INK for p in points],
        lines,
    )


def _label(point: Point) -> str:
    mark = "\N{NO-BREAK SPACE}†" if point.other_protocol else ""
    return "\n".join(textwrap.wrap(point.label + mark, 26, max_lines=2, placeholder=" …"))


def _legend(points: Sequence[Point]) -> list[Line2D]:
    """Shapes for families, filled or hollow for origins, lines for fronts."""
    shown = [f for f in FAMILIES if any(p.family == f for p in points)]
    origins = {p.origin for p in points}
    handles = [
        Line2D([], [], linestyle="", marker=MARKERS[f], color=FAMILY_COLOURS[f], markersize=4.5,
               markerfacecolor=FAMILY_COLOURS[f] if MEASURED in origins else PAPER, label=f)
        for f in shown
    ]  # fmt: skip
    for origin, face, line in LOOKS:
        if origin in origins:
            handles.append(
                Line2D([], [], linestyle="", marker="o", markerfacecolor=face, markersize=4.5,
                       markeredgecolor=GREY, label=origin)
            )  # fmt: skip
            handles.append(Line2D([], [], color=RULE, linestyle=line, label=f"front, {origin}"))
    if any(p.intervals for p in points):
        handles.append(Line2D([], [], color=GREY, linewidth=0.9, label="95 % interval"))
    if any(p.other_protocol for p in points):
        handles.append(Line2D([], [], linestyle="", label=OTHER_PROTOCOL))
    return handles
