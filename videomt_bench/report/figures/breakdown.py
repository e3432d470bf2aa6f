"""The figure of a cost: one stacked bar per variant, its components side by side."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from videomt_bench.cost.names import ORDER, OTHER, ordered
from videomt_bench.report.figures.style import (
    GREY,
    INK,
    PAGE,
    PAPER,
    fix_layout,
    new_figure,
    rendered,
    two_lines,
)
from videomt_bench.report.printable import printable

# Okabe and Ito (2008), two greys for what is never large
COLOURS = dict(
    zip(
        ORDER,
        (
            *("#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00"),
            *("#D55E00", INK, "#CC79A7", GREY),
        ),
        strict=True,
    )
) | {OTHER: "#BBBBBB"}
HATCHES = ("////", "....", "\\\\\\\\", "xxxx")
"""Of components that have no colour of their own."""
BAR = 0.68
LABEL = 6.0
"""Size of the labels inside the bars, in points."""
CHARACTER = 0.62
"""Mean width of a character, in sizes of its font."""

Costs = Mapping[str, Mapping[str, Any]]
"""Label of a bar -> cost, as ``measure_cost`` gives it."""


def breakdown_figure(costs: Costs, extension: str) -> bytes:
    """The figure as a file's content: ``pdf``, ``svg`` or ``png`` (200 dpi); the same each time.

    The second panel is drawn where every cost has times of its components.

    Args:
        costs: label of a bar -> cost with counts, from top to bottom; ``encoder`` may name its ViT.

    Raises:
        BenchError: another extension.
    """
    return rendered(partial(draw, costs), extension)


def is_drawable(cost: object) -> bool:
    """Whether a cost from a file has all that a bar needs, of the right kinds."""
    if not isinstance(cost, Mapping):
        return False
    components, protocol = cost.get("components"), cost.get("protocol")
    if not isinstance(components, Mapping) or not isinstance(protocol, Mapping):
        return False
    parts = list(components.values())
    return (
        all(isinstance(c, Mapping) and _is_size(c.get("gmacs")) for c in parts)
        and all(c.get("milliseconds", ...) is None or _is_size(c["milliseconds"]) for c in parts)
        and sum(c["gmacs"] for c in parts) > 0
        and isinstance(protocol.get("input"), str | Sequence)
        and {"queries", "classes", "device", "precision"} <= set(protocol)
        and all(_is_printable(text) for text in (*components, *protocol.values()))
        and _is_printable(cost.get("encoder"))
    )


def _is_printable(value: object) -> bool:
    return printable(str(value)) == str(value)


def _is_size(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0


def draw(costs: Costs) -> Figure:
    """The figure with its panels: operations, and time if it was measured."""
    tables = [cost["components"] for cost in costs.values()]
    panels = ["gmacs"]
    if all(c["milliseconds"] is not None for table in tables for c in table.values()):
        panels.append("milliseconds")
    figure = new_figure(PAGE, 1.15 + 0.27 * max(len(costs), 2), _title(costs))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    looks = _looks(tables)
    for ax, key, letter in zip(axes, panels, "AB", strict=False):
        _panel(ax, tables, key, looks)
        _captions(ax, key, letter if len(panels) > 1 else "", costs)
    axes[0].set_yticks(range(len(costs)), [two_lines(label, 26) for label in costs])
    axes[0].set_ylim(len(costs) - 0.5, -0.5)
    handles = [Patch(label=name, **look) for name, look in looks.items()]
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=min(len(handles), 5 if len(handles) > 6 else 6),
        handlelength=1.1,
        handleheight=0.9,
        columnspacing=1.6,
    )
    fix_layout(figure)
    for ax, key in zip(axes, panels, strict=True):
        _labels(ax, tables, key, looks)
    return figure


def _title(costs: Costs) -> str:
    """What the bars have in common."""
    protocols = [cost["protocol"] for cost in costs.values()]
    parts = ["Cost of a frame"]
    inputs = {str(p["input"]) for p in protocols}
    if len(inputs) == 1:
        size = protocols[0]["input"]
        several = isinstance(size, str)
        parts.append("mean of several sizes" if several else "×".join(map(str, size)))
    encoders = {cost.get("encoder") for cost in costs.values()}
    if len(encoders) == 1 and None not in encoders:
        parts.append(str(encoders.pop()))
    for name in ("queries", "classes"):
        if len({p[name] for p in protocols}) == 1:
            parts.append(f"{protocols[0][name]} {name}")
    return ", ".join(parts)


def _captions(ax: Axes, key: str, letter: str, costs: Costs) -> None:
    title = "Multiply-accumulates" if key == "gmacs" else "Time"
    ax.set_title(f"{letter}  {title}".strip(), fontweight="bold")
    if key == "gmacs":
        ax.set_xlabel("GMACs per frame")
        return
    protocols = [cost["protocol"] for cost in costs.values()]
    where = dict.fromkeys(f"{p['device']}, {p['precision']}" for p in protocols)
    names = "; ".join(where) + ", not compiled"
    ax.set_xlabel("milliseconds per frame\n" + "\n".join(textwrap.wrap(names, 50)))


def _looks(tables: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Component -> colour and hatch; the order is that of the segments."""
    names = ordered(n for t in tables for n, c in t.items() if c["gmacs"] or c["milliseconds"])
    strangers = [name for name in names if name not in COLOURS]
    looks: dict[str, dict[str, Any]] = {}
    for name in names:
        look = {"facecolor": COLOURS.get(name, "#DDDDDD"), "edgecolor": PAPER, "linewidth": 0.4}
        if name in strangers:
            hatch = HATCHES[strangers.index(name) % len(HATCHES)]
            look |= {"hatch": hatch, "edgecolor": GREY}
        looks[name] = look
    return looks


def _panel(
    ax: Axes, tables: Sequence[Mapping[str, Any]], key: str, looks: Mapping[str, dict[str, Any]]
) -> None:
    totals = []
    for y, table in enumerate(tables):
        left = 0.0
        for name, start, width in _segments(table, key, looks):
            ax.barh(y, width, BAR, left=start, **looks[name])
            left = start + width
        totals.append(left)
        ax.annotate(
            _number(left),
            (left, y),
            (3, 0),
            textcoords="offset points",
            va="center_baseline",
            color=GREY,
        )
    ax.set_xlim(0, 1.18 * max(totals))
    ax.xaxis.set_major_locator(MaxNLocator(5))


def _labels(
    ax: Axes, tables: Sequence[Mapping[str, Any]], key: str, looks: Mapping[str, dict[str, Any]]
) -> None:
    """Name and value, or the value alone, in the segments that have room for it."""
    width = ax.bbox.width / ax.figure.dpi * 72
    points = width / (ax.get_xlim()[1] - ax.get_xlim()[0])
    for y, table in enumerate(tables):
        for name, start, value in _segments(table, key, looks):
            room = value * points - 3
            number = _number(value)
            texts = [t for t in (f"{name} {number}", number) if len(t) * CHARACTER * LABEL < room]
            if texts and name in COLOURS:
                ax.text(
                    start + value / 2,
                    y,
                    texts[0],
                    ha="center",
                    va="center_baseline",
                    fontsize=LABEL,
                    color=_ink(COLOURS[name]),
                )


def _segments(
    table: Mapping[str, Any], key: str, looks: Mapping[str, Any]
) -> list[tuple[str, float, float]]:
    """Component, start and length of every part of a bar."""
    found = []
    start = 0.0
    for name in looks:
        if value := (table[name][key] if name in table else 0.0):
            found.append((name, start, value))
            start += value
    return found


def _number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ink(colour: str) -> str:
    """Black or white, whichever is read more easily on a colour (WCAG 2 relative luminance).

    On the colours of the page it is that of the paper, which changes with them.
    """
    if colour in (INK, GREY):
        return PAPER
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"
