"""The figure of a cost: one stacked bar per variant, its components side by side."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from videomt_bench.cost.names import ORDER, OTHER, ordered
from videomt_bench.errors import BenchError
from videomt_bench.report.figure import FORMATS, GREY, NO_DATE, STYLE

# Okabe and Ito (2008), two greys for what is never large
COLOURS = dict(
    zip(
        ORDER,
        (
            *("#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00"),
            *("#D55E00", "#000000", "#CC79A7", "#666666"),
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


def check_format(extension: str) -> None:
    """Check the extension of a figure's file, without its dot.

    Raises:
        BenchError: it is none of ``pdf``, ``svg`` and ``png``.
    """
    if extension not in FORMATS:
        raise BenchError(
            f"a figure cannot be written as {extension!r}; valid: {', '.join(sorted(FORMATS))}"
        )


def breakdown_figure(costs: Costs, extension: str) -> bytes:
    """The figure as a file's content: ``pdf``, ``svg`` or ``png`` (200 dpi); the same each time.

    The second panel is drawn where every cost has times of its components.

    Args:
        costs: label of a bar -> cost with counts, from top to bottom; ``encoder`` may name its ViT.

    Raises:
        BenchError: another extension.
    """
    check_format(extension)
    with rc_context(STYLE):
        figure = draw(costs)
        content = io.BytesIO()
        figure.savefig(content, format=extension, dpi=200, metadata=NO_DATE[extension])
    return content.getvalue()


def draw(costs: Costs) -> Figure:
    """The figure with its panels: operations, and time if it was measured."""
    tables = [cost["components"] for cost in costs.values()]
    panels = ["gmacs"]
    if all(c["milliseconds"] is not None for table in tables for c in table.values()):
        panels.append("milliseconds")
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, hspace=0.06)
    figure = Figure(figsize=(7.2, 1.15 + 0.27 * max(len(costs), 2)), layout=layout)
    FigureCanvasAgg(figure)
    figure.suptitle(_title(costs), fontsize=8.5, fontweight="bold", x=0.01, ha="left")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    looks = _looks(tables)
    for ax, key, letter in zip(axes, panels, "AB", strict=False):
        _panel(ax, tables, key, looks)
        _captions(ax, key, letter if len(panels) > 1 else "", costs)
    axes[0].set_yticks(range(len(costs)), [_short(label) for label in costs])
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
    # the widths of the panels are known once they are laid out
    figure.draw_without_rendering()
    for ax, key in zip(axes, panels, strict=True):
        _labels(ax, tables, key, looks)
    return figure


def _short(label: str) -> str:
    return "\n".join(textwrap.wrap(label, 26, max_lines=2, placeholder=" …"))


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
        look = {"facecolor": COLOURS.get(name, "#DDDDDD"), "edgecolor": "white", "linewidth": 0.4}
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
    """Black or white, whichever is read more easily on a colour (WCAG 2 relative luminance)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"
