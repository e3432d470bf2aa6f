"""The three figures: what oracles gain, drift through the video, and kinds of objects.

In the style of the report's figures: colour-blind safe, at print size, the same bytes each time.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox, ScaledTranslation

from videomt_bench.diagnostics.summary import Summary
from videomt_bench.report.figures.style import COLOURS, DASHES, FORMATS, GREY, NO_DATE, STYLE
from videomt_bench.report.statistics.estimates import Estimate

WIDTH = 7.2
"""Inches."""
ORACLE_MARKS = {
    "AP": ("as predicted", "o"),
    "AP_association": ("oracle association", "^"),
    "AP_classes": ("oracle classes", "s"),
    "AP_both": ("both", "D"),
}
ASSOCIATION_MARKS = {"HOTA": "o", "DetA": "^", "AssA": "s", "IDF1": "D"}
DRIFT_PANELS = {
    "A  Recall by first appearance": ("recall by first part", "the object is first seen in"),
    "B  IoU of the object's own track": ("iou by relative time", "part of the video, %"),
    "C  Seen by any mask": ("seen by relative time", "part of the video, %"),
    "D  Kept by its own track": (
        "kept by frames since it appeared",
        "frames since the object appeared",
    ),
}
LEAST = 5
"""Percent that an axis shows at least."""
MANY = 4
"""Variants; more make fainter bands."""
STAND_INS = {"size": "size, % of the frame", "occlusion": "box overlap, %"}
"""What the figure leaves out where the first is known; the tables have both."""
SHAPES = ("o", "^", "s", "D", "v", "P", "X", "<")
"""One more than there are colours: of 56 variants no two look the same."""


def figures(rows: Sequence[Summary]) -> dict[str, Callable[[], Figure]]:
    """What draws each figure, by name."""
    return {
        "oracles": lambda: oracle_figure(rows),
        "drift": lambda: drift_figure(rows),
        "groups": lambda: group_figure(rows),
    }


def figure_files(
    draw: Callable[[], Figure], extensions: Sequence[str] = FORMATS
) -> dict[str, bytes]:
    """A figure as files: ``pdf``, ``svg`` and ``png`` (200 dpi); the same bytes each time."""
    files = {}
    with rc_context(STYLE):
        figure = draw()
        FigureCanvasAgg(figure)
        _lay_out(figure)
        for extension in extensions:
            content = io.BytesIO()
            figure.savefig(content, format=extension, dpi=200, metadata=NO_DATE[extension])
            files[extension] = content.getvalue()
    return files


def _lay_out(figure: Figure) -> None:
    """Once for all formats. The solver's last bits vary, so the places are rounded."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        ax.set_position(Bbox(ax.get_position().get_points().round(5)))


def oracle_figure(rows: Sequence[Summary]) -> Figure:
    """A row per variant: AP as it is and with oracles, beside the quality of its association."""
    figure = _figure(0.85 + 0.42 * max(len(rows), 3))
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1.0])
    _marks(left, rows, ORACLE_MARKS)
    _marks(right, rows, {name: (name, mark) for name, mark in ASSOCIATION_MARKS.items()})
    bars = "; bar: 95 % interval" if any(row.metrics["AP"].interval for row in rows) else ""
    left.set_title("A  AP with errors of one kind put right", fontweight="bold")
    right.set_title("B  Association", fontweight="bold")
    left.set_xlabel(f"AP, percent{bars}")
    right.set_xlabel("percent")
    labels = [_wrapped(row.label, 30) for row in rows]
    left.set_yticks(range(len(rows)), labels)
    right.set_yticks([])
    return figure


def _marks(ax: Axes, rows: Sequence[Summary], marks: Mapping[str, tuple[str, str]]) -> None:
    offsets = np.linspace(-0.3, 0.3, len(marks))
    for i, row in enumerate(rows):
        if i % 2 == 0:
            ax.axhspan(i - 0.5, i + 0.5, color="#f4f4f4", zorder=0, linewidth=0)
        for offset, (name, (_, mark)) in zip(offsets, marks.items(), strict=True):
            value = row.metrics[name]
            if interval := value.interval:
                ends = [100 * interval.low, 100 * interval.high]
                ax.plot(ends, [i + offset] * 2, linewidth=0.9, color=_colour(i))
            ax.plot(100 * value.mean, i + offset, zorder=3, **_marker(mark, _colour(i)))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    low, high = ax.dataLim.intervalx
    ax.set_xlim(min(0, low), max(LEAST, 1.03 * high))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    handles = [Line2D([], [], label=label, **_marker(mark, GREY)) for label, mark in marks.values()]
    below = ax.transAxes + ScaledTranslation(0, -0.33, ax.figure.dpi_scale_trans)
    ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below,
        ncols=4, handletextpad=0.1, columnspacing=1.0,
    )  # fmt: skip


def _marker(mark: str, colour: str) -> dict[str, Any]:
    """The circle is filled: it is what was measured."""
    return {
        "linestyle": "",
        "marker": mark,
        "color": colour,
        "markersize": 3.8,
        "markerfacecolor": colour if mark == "o" else "white",
        "markeredgewidth": 0.9,
        "clip_on": False,
    }


def drift_figure(rows: Sequence[Summary]) -> Figure:
    """What is found, kept and seen as the video goes on; bands and bars are intervals."""
    figure = _figure(4.2 + 0.14 * _legend_lines(rows))
    panels = figure.subplots(2, 2).ravel()
    for ax, (title, (curve, label)) in zip(panels, DRIFT_PANELS.items(), strict=True):
        bins = [key for key in rows[0].points if key[0] == curve]
        if curve.startswith("recall"):
            _points(ax, rows, [[row.points[key] for key in bins] for row in rows])
            ticks = [f"{_wrapped(key[1], 8)}\nn = {rows[0].counts[key]}" for key in bins]
        else:
            _lines(ax, rows, [[row.points[key] for key in bins] for row in rows])
            ticks = [key[1].removesuffix(" %") for key in bins]
        _from_zero(ax)
        step = 2 if len(ticks) > 8 else 1
        ax.set_xticks(range(0, len(ticks), step), ticks[::step])
        ax.set_title(title, fontweight="bold")
        ax.set_xlabel(label)
        ax.set_ylabel("percent")
    _legend(figure, rows)
    return figure


def group_figure(rows: Sequence[Summary]) -> Figure:
    """Recall, with intervals, and AP by kind of object."""
    kinds = _kinds(rows[0])
    figure = _figure(3.6 + 0.14 * _legend_lines(rows))
    ratios = [1 + len(labels) for labels in kinds.values()]
    panels = figure.subplots(2, len(kinds), squeeze=False, sharey="row", width_ratios=ratios)
    for column, (kind, labels) in enumerate(kinds.items()):
        recall, ap = panels[:, column]
        keys = [("recall by group", f"{kind}: {label}") for label in labels]
        _points(recall, rows, [[row.points[key] for key in keys] for row in rows])
        _points(ap, rows, [[row.group_ap[name] for _, name in keys] for row in rows])
        ticks = [
            f"{label}\nn = {rows[0].counts[key]}" for label, key in zip(labels, keys, strict=True)
        ]
        recall.set_xticks(range(len(labels)), [""] * len(labels))
        ap.set_xticks(range(len(labels)), ticks, fontsize=5.5)
        recall.set_title(_wrapped(kind, 6 + 5 * len(labels)), fontsize=7)
    for shared in panels[:, 0]:
        _from_zero(shared)
    panels[0, 0].set_ylabel("recall, percent")
    panels[1, 0].set_ylabel("AP, percent")
    _legend(figure, rows)
    return figure


def _kinds(row: Summary) -> dict[str, list[str]]:
    """The kinds that tell objects apart, with two groups or more, and no stand-in of another."""
    kinds: dict[str, list[str]] = {}
    for curve, name in row.points:
        if curve == "recall by group":
            kind, _, label = name.partition(": ")
            kinds.setdefault(kind, []).append(label)
    several = {kind: labels for kind, labels in kinds.items() if len(labels) > 1} or kinds
    replaced = {STAND_INS.get(kind) for kind in several}
    return {kind: labels for kind, labels in several.items() if kind not in replaced}


def _points(ax: Axes, rows: Sequence[Summary], values: Sequence[Sequence[Estimate]]) -> None:
    """Categories side by side, the variants of each next to each other."""
    offsets = np.linspace(-0.32, 0.32, len(rows)) if len(rows) > 1 else [0.0]
    for i, (offset, estimates) in enumerate(zip(offsets, values, strict=True)):
        for x, value in enumerate(estimates):
            if interval := value.interval:
                ends = [100 * interval.low, 100 * interval.high]
                ax.plot([x + offset] * 2, ends, linewidth=0.8, color=_colour(i))
            ax.plot(
                x + offset, 100 * value.mean, _shape(i), markersize=2.8, color=_colour(i),
                zorder=3, clip_on=False,
            )  # fmt: skip
    for x in range(0, len(values[0]), 2):
        ax.axvspan(x - 0.5, x + 0.5, color="#f4f4f4", zorder=0, linewidth=0)
    ax.set_xlim(-0.5, len(values[0]) - 0.5)


def _lines(ax: Axes, rows: Sequence[Summary], values: Sequence[Sequence[Estimate]]) -> None:
    opacity = 0.13 if len(rows) <= MANY else 0.07
    for i, estimates in enumerate(values):
        means = [100 * value.mean for value in estimates]
        x = np.arange(len(means))
        ax.plot(
            x, means, linestyle=_dash(i), marker=_shape(i), markersize=2.5, linewidth=1.1,
            color=_colour(i), clip_on=False,
        )  # fmt: skip
        bounds = [value.interval for value in estimates]
        low = [100 * b.low if b else np.nan for b in bounds]
        high = [100 * b.high if b else np.nan for b in bounds]
        ax.fill_between(x, low, high, color=_colour(i), alpha=opacity, linewidth=0)


def _from_zero(ax: Axes) -> None:
    ax.set_ylim(0, max(LEAST, ax.get_ylim()[1]))


def _legend(figure: Figure, rows: Sequence[Summary]) -> None:
    handles = [
        Line2D([], [], linestyle=_dash(i), marker=_shape(i), markersize=2.8, linewidth=1.1,
               color=_colour(i), label=textwrap.shorten(row.label, 55, placeholder=" …"))
        for i, row in enumerate(rows)
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower left", ncols=2)


def _legend_lines(rows: Sequence[Summary]) -> int:
    return (len(rows) + 1) // 2


def _figure(height: float) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05, hspace=0.04, wspace=0.03)
    return Figure(figsize=(WIDTH, height), layout=layout)


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, max_lines=2, placeholder=" …"))


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _dash(index: int) -> Any:
    return DASHES[index // len(COLOURS) % len(DASHES)]


def _shape(index: int) -> str:
    return SHAPES[index % len(SHAPES)]
