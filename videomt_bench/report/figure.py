"""The figure of a table: AP beside the paper's, recall by kind of object, drift over the video."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from videomt_bench.report.columns import sample_sizes, seed_values, size_text
from videomt_bench.report.rows import Row
from videomt_bench.report.table import ReportTable

FORMATS = ("pdf", "svg", "png")
NO_DATE: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
    "png": {"Software": None},
}
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#555555",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.size": 0,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "text.parse_math": False,
    "svg.hashsalt": "videomt-bench",
    "pdf.fonttype": 42,
}
# Okabe and Ito (2008), without the yellow, which is too light for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
DASHES = ("-", "--", ":", "-.")
GREY = "#666666"
ROWS = 5
"""A figure is at least as high as for so many rows."""
RECALLS = {
    "recall_first_frame": ("visible in the first frame", "o", -0.24),
    "recall_late": ("first seen late", "s", 0.0),
    "recall_gap": ("with a gap", "^", 0.24),
}
QUARTERS = ("iou_first_quarter", "iou_last_quarter")


def figure_bytes(table: ReportTable, extension: str) -> bytes:
    """The figure as a file's content: ``pdf``, ``svg`` or ``png`` (200 dpi); the same each time."""
    with rc_context(STYLE):
        figure = draw(table)
        FigureCanvasAgg(figure)
        content = io.BytesIO()
        figure.savefig(content, format=extension, dpi=200, metadata=NO_DATE[extension])
    return content.getvalue()


def draw(table: ReportTable) -> Figure:
    """The figure; panels without data are left out."""
    rows = table.rows
    paper = any("AP" in row.published for row in rows)
    recall = any(seed_values(row, metric) for row in rows for metric in RECALLS)
    drift = any(all(seed_values(row, metric) for metric in QUARTERS) for row in rows)
    lines = 2 if recall or drift else 1
    height = lines * (0.72 + 0.29 * max(len(rows), ROWS)) + 0.35
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, hspace=0.06)
    figure = Figure(figsize=(7.2, height), layout=layout)
    figure.suptitle(table.title, fontsize=8.5, fontweight="bold", x=0.01, ha="left")
    parts = figure.subfigures(lines, 1, squeeze=False)[:, 0]
    _top(parts[0], rows, paper)
    if recall or drift:
        _bottom(parts[1], rows, recall, drift)
    return figure


def _top(part: Any, rows: Sequence[Row], paper: bool) -> None:
    ratios = [2.3, 1.0] if paper else [1.0]
    axes = part.subplots(1, len(ratios), sharey=True, squeeze=False, width_ratios=ratios)[0]
    _ap(axes[0], rows)
    _rows_as_ticks(axes[0], rows)
    if paper:
        _paper(axes[1], rows)


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


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _dash(index: int) -> str:
    return DASHES[index // len(COLOURS) % len(DASHES)]


def _rows_as_ticks(ax: Axes, rows: Sequence[Row]) -> None:
    ax.set_yticks(range(len(rows)), [_short(row.label, 30) for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    for i in range(0, len(rows), 2):
        ax.axhspan(i - 0.5, i + 0.5, color="#f4f4f4", zorder=0, linewidth=0)


def _short(label: str, width: int) -> str:
    """A label on two lines at most."""
    return "\n".join(textwrap.wrap(label, width, max_lines=2, placeholder=" …"))


def _ap(ax: Axes, rows: Sequence[Row]) -> None:
    """Panel A: the mean, its interval, and a small dot per seed."""
    legend = ["AP, percent"]
    for i, row in enumerate(rows):
        if row.ap is None:
            text = textwrap.shorten(row.missing(), 48, placeholder=" …")
            ax.text(0.015, i, text, transform=ax.get_yaxis_transform(), va="center", color=GREY)
            continue
        if interval := row.ap.interval:
            legend.append("bar: 95 % interval")
            ax.plot([interval.low, interval.high], [i, i], color=_colour(i), linewidth=1.4)
        ax.plot(row.ap.mean, i, "o", color=_colour(i), markersize=5, zorder=3)
        if len(row.ap.per_seed) > 1:
            legend.append("small dots: seeds")
            height = [i + 0.27] * len(row.ap.per_seed)
            ax.plot(row.ap.per_seed, height, "o", color=_colour(i), markersize=2, alpha=0.75)
    sizes = sorted({n for row in rows for n in sample_sizes(row, "AP")})
    videos = f", {size_text(sizes)} test videos" if sizes else ""
    ax.set_title(f"A  Measured AP{videos}", fontweight="bold")
    ax.set_xlabel("; ".join(dict.fromkeys(legend)))
    if not any(row.ap for row in rows):
        ax.set_xticks([])
    else:
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _paper(ax: Axes, rows: Sequence[Row]) -> None:
    """Published AP on an axis of its own, in hollow markers: another setting."""
    cells = [(i, row.published["AP"]) for i, row in enumerate(rows) if "AP" in row.published]
    values = [cell.value for _, cell in cells]
    settings = {cell.setting for _, cell in cells}
    for i, cell in cells:
        ax.plot(cell.value, i, "D", markersize=4.5, markerfacecolor="white", markeredgecolor=GREY)
        ax.annotate(
            cell.text, (cell.value, i), (5, 0), textcoords="offset points", va="center", color=GREY
        )
    for i in range(0, len(rows), 2):
        ax.axhspan(i - 0.5, i + 0.5, color="#f4f4f4", zorder=0, linewidth=0)
    span = max(max(values) - min(values), 1.0)
    ax.set_xlim(min(values) - 0.15 * span, max(values) + 0.45 * span)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.set_title("Published AP, another setting", color=GREY)
    setting = settings.pop() if len(settings) == 1 else "several settings"
    ax.set_xlabel(f"AP, percent; {setting}".replace(", YouTube", ",\nYouTube"), color=GREY)
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
                ax.plot(low_high, [i + offset] * 2, color=_colour(i), linewidth=0.9)
            ax.plot(value.mean, i + offset, marker, color=_colour(i), markersize=3.5)
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
            _dash(i),
            color=_colour(i),
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
        ax.plot([1.03, 1.13], [end, place], color=_colour(i), linewidth=0.5, clip_on=False)
        label = textwrap.shorten(rows[i].label, 30, placeholder=" …")
        ax.text(1.16, place, label, va="center", fontsize=6)
    ax.set_xlim(-0.08, 2.5)
    ax.set_xticks([0, 1], ["first quarter", "last quarter"])
    ax.spines["bottom"].set_bounds(0, 1)
    ax.set_title("C  Drift: mask IoU per frame", fontweight="bold")
    ax.set_ylabel("IoU, percent")


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Sorted positions moved as little as needed to be ``gap`` apart, each pile centred."""
    piles: list[tuple[float, int]] = []
    for value in values:
        centre, size = value, 1
        while piles and centre - piles[-1][0] < gap * (size + piles[-1][1]) / 2:
            below, n = piles.pop()
            centre, size = (centre * size + below * n) / (size + n), size + n
        piles.append((centre, size))
    return [c + gap * (k - (n - 1) / 2) for c, n in piles for k in range(n)]
