"""Write labels beside the points of a pair of axes, where they cover nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes

from videomt_bench.report.figures.label_places import Box, label_places
from videomt_bench.report.figures.style import RULE

LABEL = 6.0
"""Size of the labels, in points."""
STEP = 8.0
"""Length of the pieces that a slanted line is kept clear of, in points."""
NEAR = 7.0
"""A label farther from its point than this gets a line to it, in points."""

Spot = tuple[float, float]


def direct_labels(
    ax: Axes,
    spots: Sequence[Spot],
    texts: Sequence[str],
    colours: Sequence[str],
    lines: Sequence[tuple[Spot, Spot]] = (),
) -> None:
    """Label points; the layout of the figure must be final.

    Args:
        ax: where the points are.
        spots: the points, in data coordinates.
        texts: their labels.
        colours: of the labels.
        lines: what no label should cross, in data coordinates.
    """
    figure: Any = ax.figure
    scale = 72 / figure.dpi

    def placed(points: Sequence[Spot]) -> list[Spot]:
        return [(float(x), float(y)) for x, y in ax.transData.transform(points) * scale]

    bounds = ax.bbox
    frame = Box(*(float(v) * scale for v in (bounds.x0, bounds.y0, bounds.x1, bounds.y1)))
    points = placed(spots)
    sizes = [_size(ax, text) for text in texts]
    walls = [box for line in lines for box in _walls(*placed(line))]
    boxes = label_places(points, sizes, frame, walls)
    for spot, text, colour, point, box in zip(spots, texts, colours, points, boxes, strict=True):
        _write(ax, spot, text, colour, point, box)


def _walls(a: Spot, b: Spot) -> list[Box]:
    """Boxes along a line: one if it is level or upright, else a chain of small ones."""
    width, height = abs(b[0] - a[0]), abs(b[1] - a[1])
    pieces = 1 if min(width, height) < 1 else round(max(width, height) / STEP) or 1
    x = [a[0] + (b[0] - a[0]) * i / pieces for i in range(pieces + 1)]
    y = [a[1] + (b[1] - a[1]) * i / pieces for i in range(pieces + 1)]
    return [
        Box(min(x0, x1) - 0.7, min(y0, y1) - 0.7, max(x0, x1) + 0.7, max(y0, y1) + 0.7)
        for (x0, x1), (y0, y1) in zip(pairwise(x), pairwise(y), strict=True)
    ]


def _size(ax: Axes, text: str) -> tuple[float, float]:
    """Width and height of a label, in points."""
    figure: Any = ax.figure
    probe = ax.text(0, 0, text, fontsize=LABEL)
    extent = probe.get_window_extent(figure.canvas.get_renderer())
    probe.remove()
    return extent.width * 72 / figure.dpi, extent.height * 72 / figure.dpi


def _write(ax: Axes, spot: Spot, text: str, colour: str, point: Spot, box: Box) -> None:
    """The label in its box, with a line to its point where it stands far from it."""
    dx = min(max(point[0], box.left), box.right) - point[0]
    dy = min(max(point[1], box.bottom), box.top) - point[1]
    if dx**2 + dy**2 > NEAR**2:
        arrow = {"arrowstyle": "-", "color": RULE, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
        ax.annotate("", spot, (dx, dy), textcoords="offset points", arrowprops=arrow, zorder=1)
    centre = (box.centre[0] - point[0], box.centre[1] - point[1])
    side = "left" if dx > 0 else "right" if dx < 0 else "center"
    ax.annotate(
        text,
        spot,
        centre,
        textcoords="offset points",
        ha="center",
        va="center",
        multialignment=side,
        fontsize=LABEL,
        color=colour,
        zorder=4,
    )
