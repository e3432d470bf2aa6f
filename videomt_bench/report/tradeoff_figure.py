"""Accuracy against speed: every row a marker of its family, hollow where it is published."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from videomt_bench.report.label_places import Box, label_places
from videomt_bench.report.points import (
    MEASURED,
    PUBLISHED,
    Point,
    headlines,
    measured_points,
    measured_setting,
    other_published_points,
    published_points,
    published_setting,
    same_dataset,
    speed_protocol,
)
from videomt_bench.report.style import GREY, INK, PAGE, PAPER, RULE, Draw, new_figure
from videomt_bench.report.systems import FAMILIES, FRAMES, OTHER, QUERIES, TRACKER
from videomt_bench.report.table import ReportTable

MARKERS = {TRACKER: "o", FRAMES: "^", QUERIES: "s", OTHER: "D"}
FAMILY_COLOURS = {TRACKER: "#D55E00", FRAMES: "#009E73", QUERIES: "#0072B2", OTHER: INK}
LABEL = 6.0
"""Size of the labels beside the points, in points."""
OTHER_PROTOCOL = "†"


@dataclass(frozen=True)
class Panel:
    """One pair of axes: a metric of some points."""

    metric: str
    title: str
    x_label: str
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
        measured_x = _x_label(speed_protocol(rows, MEASURED))
        published_x = _x_label(speed_protocol(rows, PUBLISHED))
        setting = f"Published: {published_setting(rows)}"
        if one_panel and ours:
            x_label = "frames per second, log scale; devices differ"
            points = [*ours, *theirs]
            panels.append(Panel(metric, measured_setting(rows), x_label, points, others))
            continue
        if ours:
            title = f"Measured: {measured_setting(rows)}"
            panels.append(Panel(metric, title, measured_x, ours, []))
        if theirs or others:
            panels.append(Panel(metric, setting, published_x, theirs, others))
    return panels


def _x_label(protocol: str) -> str:
    lines = textwrap.wrap(protocol, 58, max_lines=2, placeholder=" …")
    return "\n".join(["frames per second, log scale", *lines])


def _draw(title: str, panels: Sequence[Panel], shared: bool) -> Figure:
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    metrics = " and ".join(dict.fromkeys(panel.metric for panel in panels))
    figure = new_figure(PAGE, 0.85 + 2.45 * lines, f"{title}: {metrics} against speed")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax, panel, letter in zip(axes, panels, "ABCDEFGH", strict=False):
        _axes(ax, panel, letter if len(panels) > 1 else "")
    everything = [p for panel in panels for p in (*panel.points, *panel.context)]
    handles = _legend(everything)
    figure.legend(handles=handles, loc="outside lower left", ncols=4, handletextpad=0.4)
    # where the axes are is known once they are laid out
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
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
        _front(ax, [p for p in points if p.origin == origin], panel.metric, line)
    for point in points:
        _marker(ax, point, panel.metric, faint=point in panel.context)
    wide = max(x) / min(x) > 4
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if wide else (1, 1.5, 2, 3, 4, 5, 6, 8)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_title(f"{letter}  {panel.title}".strip(), fontweight="bold")
    ax.set_xlabel(panel.x_label)
    ax.set_ylabel(f"{panel.metric}, percent")


def _fps(point: Point) -> float:
    return point.fps or 1.0


def _ends(point: Point, metric: str) -> list[float]:
    interval = point.intervals.get(metric)
    return [interval.low, interval.high] if interval else []


def _front(ax: Axes, points: Sequence[Point], metric: str, line: str) -> None:
    front = pareto_front([(_fps(p), p.accuracy[metric]) for p in points])
    if len(points) < 2:
        return
    x = [ax.get_xlim()[0], *(x for x, _ in front), front[-1][0]]
    y = [front[0][1], *(y for _, y in front), ax.get_ylim()[0]]
    ax.step(x, y, line, where="pre", color=RULE, linewidth=0.9, zorder=1)


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
    """The label of each point where it covers nothing, with a line to it where it stands far."""
    points = [*panel.points, *panel.context]
    figure: Any = ax.figure
    to_points = 72 / figure.dpi
    texts = [_label(point) for point in points]
    sizes = [_size(ax, text) for text in texts]
    data = [(_fps(p), p.accuracy[panel.metric]) for p in points]
    pixels = [(float(x), float(y)) for x, y in ax.transData.transform(data) * to_points]
    bounds = ax.bbox
    frame = Box(*(float(v) * to_points for v in (bounds.x0, bounds.y0, bounds.x1, bounds.y1)))
    bars = [
        Box(x - 1.5, min(low, high), x + 1.5, max(low, high))
        for p, (x, _) in zip(points, pixels, strict=True)
        if (ends := _ends(p, panel.metric))
        for low, high in [[float(ax.transData.transform((1, e))[1]) * to_points for e in ends]]
    ]
    boxes = label_places(pixels, sizes, frame, bars)
    for point, text, xy, spot, box in zip(points, texts, data, pixels, boxes, strict=True):
        near = (
            min(max(spot[0], box.left), box.right),
            min(max(spot[1], box.bottom), box.top),
        )
        far = (near[0] - spot[0]) ** 2 + (near[1] - spot[1]) ** 2 > 7**2
        colour = GREY if point in panel.context else INK
        centre = (box.centre[0] - spot[0], box.centre[1] - spot[1])
        if far:
            tip = (near[0] - spot[0], near[1] - spot[1])
            arrow = {"arrowstyle": "-", "color": RULE, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
            ax.annotate("", xy, tip, textcoords="offset points", arrowprops=arrow, zorder=1)
        ax.annotate(
            text,
            xy,
            centre,
            textcoords="offset points",
            ha="center",
            va="center",
            multialignment="center",
            fontsize=LABEL,
            color=colour,
            zorder=4,
        )


def _label(point: Point) -> str:
    mark = f" {OTHER_PROTOCOL}" if point.other_protocol else ""
    return "\n".join(textwrap.wrap(point.label + mark, 26, max_lines=2, placeholder=" …"))


def _size(ax: Axes, text: str) -> tuple[float, float]:
    """Width and height of a label, in points."""
    figure: Any = ax.figure
    probe = ax.text(0, 0, text, fontsize=LABEL)
    extent = probe.get_window_extent(figure.canvas.get_renderer())
    probe.remove()
    return extent.width * 72 / figure.dpi, extent.height * 72 / figure.dpi


def _legend(points: Sequence[Point]) -> list[Line2D]:
    """Shapes for families, filled or hollow for origins, lines for fronts."""
    shown = [f for f in FAMILIES if any(p.family == f for p in points)]
    handles = [
        Line2D([], [], linestyle="", marker=MARKERS[f], color=FAMILY_COLOURS[f], markersize=4.5,
               label=f)
        for f in shown
    ]  # fmt: skip
    origins = dict.fromkeys(p.origin for p in points)
    for origin, face, line in ((MEASURED, GREY, "-"), (PUBLISHED, PAPER, "--")):
        if origin in origins:
            handles.append(
                Line2D([], [], linestyle="", marker="o", markerfacecolor=face, markersize=4.5,
                       markeredgecolor=GREY, label=origin)
            )  # fmt: skip
            handles.append(Line2D([], [], color=RULE, linestyle=line, label=f"front, {origin}"))
    if any(p.intervals for p in points):
        handles.append(Line2D([], [], color=GREY, linewidth=0.9, label="95 % interval"))
    if any(p.other_protocol for p in points):
        handles.append(
            Line2D([], [], linestyle="", marker="$†$", color=INK, markersize=4,
                   label="another protocol, see the table")
        )  # fmt: skip
    return handles
