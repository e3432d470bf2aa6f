"""How all figures look, and how they become files: the same bytes each time."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from videomt_bench.errors import BenchError

FORMATS = ("pdf", "svg", "png")
NO_DATE: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
    "png": {"Software": None},
}
DPI = 200
"""Of figures as PNG."""
COLUMN = 3.25
PAGE = 6.75
"""Widths of a column and of both columns of a paper, in inches."""

INK = "#1b1b1b"
GREY = "#666666"
RULE = "#bdbdbd"
BAND = "#f4f4f4"
PAPER = "#fefefe"
"""Black and white are colours of data; these are of the page, and a dark page changes them."""
BLUE = "#0072b2"
# Okabe and Ito (2008), without the yellow, which is too light for a line on white.
COLOURS = (BLUE, "#D55E00", "#009E73", "#CC79A7", INK, "#56B4E9", "#E69F00")
DASHES = ("-", "--", ":", "-.")
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "text.color": INK,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelsize": 7,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 7,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "text.parse_math": False,
    "svg.hashsalt": "videomt-bench",
    "pdf.fonttype": 42,
}

OTHER_PROTOCOL = "† another protocol, see the table"

Draw = Callable[[], Figure]


def check_format(extension: str) -> None:
    """Check the extension of a figure's file, without its dot.

    Raises:
        BenchError: it is none of ``pdf``, ``svg`` and ``png``.
    """
    if extension not in FORMATS:
        raise BenchError(
            f"a figure cannot be written as {extension!r}; valid: {', '.join(sorted(FORMATS))}"
        )


def rendered(draw: Draw, extension: str, settings: Mapping[str, Any] | None = None) -> bytes:
    """A figure as a file's content: ``pdf``, ``svg`` or ``png`` (200 dpi); the same each time.

    Args:
        draw: makes the figure; called with the style in force.
        extension: of the file, without its dot.
        settings: of matplotlib for the file, on top of the style.

    Raises:
        BenchError: another extension.
    """
    check_format(extension)
    with rc_context(STYLE):
        figure = draw()
        if figure.get_layout_engine() is not None:
            fix_layout(figure)
    style: Any = {**STYLE, **(settings or {})}
    content = io.BytesIO()
    with rc_context(style):
        figure.savefig(content, format=extension, dpi=DPI, metadata=NO_DATE[extension])
    return content.getvalue()


def fix_layout(figure: Figure) -> None:
    """Lay a figure out and keep it so: where its axes are is known from now on."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """An empty figure of a size in inches, with its title at the left."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, hspace=0.06)
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    if title:
        text = "\n".join(textwrap.wrap(title, int(width * 14), max_lines=2, placeholder=" …"))
        figure.suptitle(text, fontsize=8, fontweight="bold", x=0.01, ha="left")
    return figure


def colour(index: int) -> str:
    """The colour of the row at a position."""
    return COLOURS[index % len(COLOURS)]


def dash(index: int) -> str:
    """The line style of the row at a position: another one where colours are used again."""
    return DASHES[index // len(COLOURS) % len(DASHES)]


def two_lines(label: str, width: int) -> str:
    """A label on two lines at most."""
    return "\n".join(textwrap.wrap(label, width, max_lines=2, placeholder=" …"))


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
