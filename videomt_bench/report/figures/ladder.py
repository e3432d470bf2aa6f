"""The ladder of steps as a waterfall: what every row adds to the accuracy and speed above it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from videomt_bench.report.figures.points import (
    MEASURED,
    PUBLISHED,
    Point,
    headlines,
    measured_points,
    measured_setting,
    published_points,
    published_setting,
    speed_protocol,
)
from videomt_bench.report.figures.style import (
    BAND,
    GREY,
    INK,
    OTHER_PROTOCOL,
    PAGE,
    PAPER,
    Draw,
    new_figure,
    two_lines,
)
from videomt_bench.report.rows import Row
from videomt_bench.report.statistics.estimates import Interval
from videomt_bench.report.tables.display import fixed, signed
from videomt_bench.report.tables.table import ReportTable

UP, DOWN, FIRST = "#0072B2", "#D55E00", "#8a8a8a"
BAR = 0.56


@dataclass(frozen=True)
class Step:
    """A row's value, its interval and the value of the nearest row above that has one."""

    row: int
    value: float
    before: float | None
    interval: Interval | None = None
    other_protocol: bool = False
    comparable: bool = True
    """Whether both values were measured under one protocol."""


@dataclass(frozen=True)
class Block:
    """The rows of one origin: two panels side by side."""

    origin: str
    setting: str
    speeds: str
    metric: str
    points: list[Point]


def ladder_figure(table: ReportTable, rows: Sequence[Row]) -> Draw | None:
    """What draws the waterfall of ``rows``; None where fewer than two have a value.

    Measured and published values have blocks of their own; a row without a value of a block's
    origin is left out of it, and the next one is compared with the row above that.
    """
    if not (metrics := headlines(rows)):
        return None
    blocks = [
        Block(MEASURED, measured_setting(rows), speed_protocol(rows, MEASURED), metrics[0],
              measured_points(rows)),
        Block(PUBLISHED, published_setting(rows), speed_protocol(rows, PUBLISHED), metrics[0],
              published_points(rows)),
    ]  # fmt: skip
    blocks = [b for b in blocks if sum(b.metric in p.accuracy for p in b.points) > 1]
    return partial(_draw, table.title, blocks) if blocks else None


def steps(points: Sequence[Point], value: Callable[[Point], float | None]) -> list[Step]:
    """The steps from value to value, in the order of the rows."""
    found: list[Step] = []
    for i, point in enumerate(points):
        if (current := value(point)) is not None:
            found.append(Step(i, current, found[-1].value if found else None))
    return found


def speed_steps(points: Sequence[Point]) -> list[Step]:
    """The steps in frames per second; a change of protocol is no step."""
    found = steps(points, lambda point: point.fps)
    protocols = [points[s.row].other_protocol for s in found]
    return [
        replace(s, other_protocol=protocols[i], comparable=protocols[i] == protocols[max(i - 1, 0)])
        for i, s in enumerate(found)
    ]


def _draw(title: str, blocks: Sequence[Block]) -> Figure:
    heights = [0.62 + 0.23 * len(block.points) for block in blocks]
    figure = new_figure(PAGE, sum(heights) + 0.75, f"{title}: step by step")
    parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=heights)[:, 0]
    letters = iter("ABCD")
    for part, block in zip(parts, blocks, strict=True):
        left, right = part.subplots(1, 2, sharey=True, width_ratios=[1.0, 1.0])
        _accuracy(left, block, next(letters))
        _speed(right, block, next(letters))
        left.set_yticks(range(len(block.points)), [two_lines(p.label, 28) for p in block.points])
        left.set_ylim(len(block.points) - 0.5, -0.5)
    looks = {"start": FIRST, "gain": UP, "loss": DOWN}
    handles: list[Artist] = [
        Patch(facecolor=c, edgecolor=c, label=name) for name, c in looks.items()
    ]
    if any(b.origin == PUBLISHED for b in blocks):
        handles.append(Patch(facecolor=PAPER, edgecolor=GREY, label="hollow: published"))
    points = [p for b in blocks for p in b.points]
    if any(p.intervals for p in points):
        handles.append(Line2D([], [], color=INK, linewidth=0.8, label="95 % interval"))
    if any(p.other_protocol for p in points):
        handles.append(Line2D([], [], linestyle="", label=OTHER_PROTOCOL))
    figure.legend(handles=handles, loc="outside lower left", ncols=4, handlelength=1.1)
    return figure


def _accuracy(ax: Axes, block: Block, letter: str) -> None:
    metric = block.metric
    found = [
        replace(s, interval=block.points[s.row].intervals.get(metric))
        for s in steps(block.points, lambda point: point.accuracy.get(metric))
    ]
    values = [v for s in found for v in _extent(s)]
    span = max(max(values) - min(values), 1.0)
    low = max(0.0, min(values) - 0.18 * span)
    low = 0.0 if low < 0.35 * max(values) else low
    _waterfall(ax, found, block.origin, low, signed, fixed)
    ax.set_xlim(low, max(values) + 0.4 * (max(values) - low))
    ax.set_title(f"{letter}  {block.origin.capitalize()} {metric}", fontweight="bold")
    ax.set_xlabel(two_lines(f"{metric}, percent; {block.setting}", 50))


def _extent(step: Step) -> list[float]:
    ends = [step.interval.low, step.interval.high] if step.interval else []
    return [step.value, *ends]


def _speed(ax: Axes, block: Block, letter: str) -> None:
    found = speed_steps(block.points)
    ax.set_title(f"{letter}  {block.origin.capitalize()} speed", fontweight="bold")
    ax.set_xlabel(two_lines(f"frames per second; {block.speeds}".rstrip("; "), 50))
    if not found:
        ax.text(0.02, 0.5, "not measured", transform=ax.transAxes, color=GREY, va="center")
        ax.set_xticks([])
        return
    highest = max(s.value for s in found)
    digits = _speed_digits([s.value for s in found])
    _waterfall(
        ax,
        found,
        block.origin,
        0.0,
        lambda value: signed(value, digits),
        lambda value: fixed(value, digits),
    )
    ax.set_xlim(0, 1.42 * highest)


def _speed_digits(values: Sequence[float]) -> int:
    """Decimals that leave the smallest speed two digits; none where all are whole."""
    if all(value == round(value) for value in values) or min(values) >= 20:
        return 0
    return 1 if min(values) >= 1 else 3


def _colour(step: Step) -> str:
    if step.before is None or not step.comparable:
        return FIRST
    return UP if step.value >= step.before else DOWN


def _waterfall(
    ax: Axes,
    found: Sequence[Step],
    origin: str,
    low: float,
    change: Callable[[float], str],
    number: Callable[[float], str],
) -> None:
    """One bar per step from the value above to its own, joined by thin lines."""
    for y in range(0, max(s.row for s in found) + 1, 2):
        ax.axhspan(y - 0.5, y + 0.5, color=BAND, zorder=0, linewidth=0)
    above: Step | None = None
    for step in found:
        start = low if step.before is None else step.before
        colour = _colour(step)
        # a bar from the middle of an axis would show no length that means anything
        left = step.value if step.before is None and low > 0 else start
        no_change = step.before == step.value
        ax.barh(
            step.row,
            step.value - left,
            BAR,
            left=left,
            facecolor=PAPER if origin == PUBLISHED else colour,
            edgecolor=colour,
            linewidth=0.0 if no_change else 1.0 if left != step.value else 2.0,
            zorder=2,
        )
        if above is not None:
            ax.plot(
                [above.value] * 2, [above.row - BAR / 2, step.row + BAR / 2],
                color=GREY, linewidth=0.5, zorder=3,
            )  # fmt: skip
        if step.interval:
            ends = [step.interval.low, step.interval.high]
            ax.plot(ends, [step.row] * 2, color=INK, linewidth=0.8, zorder=4)
        text = number(step.value) + (" †" if step.other_protocol else "")
        if step.before is not None and step.comparable:
            text += f"  ({change(step.value - step.before)})"
        ax.annotate(
            text,
            (max(start, *_extent(step)), step.row),
            (4, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=6.5,
            zorder=5,
        )
        above = step
    ax.xaxis.set_major_locator(MaxNLocator(5))
