"""The figure of a cost: what its bars are as long as, what they say, and that it stays the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from matplotlib import rc_context
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text

from videomt_bench.cost.names import ORDER, OTHER
from videomt_bench.errors import BenchError
from videomt_bench.report.figures.breakdown import COLOURS, _ink, breakdown_figure, draw
from videomt_bench.report.figures.style import STYLE

PROTOCOL = {
    "input": [448, 800],
    "queries": 200,
    "classes": 40,
    "device": "CPU",
    "precision": "fp32",
}


def cost(gmacs, milliseconds=None):
    times = milliseconds or {}
    return {
        "components": {
            name: {"params": 1, "gmacs": value, "milliseconds": times.get(name)}
            for name, value in gmacs.items()
        },
        "protocol": PROTOCOL,
    }


COSTS = {
    "0 CAVIS": cost({"encoder": 520.0, "heads": 12.0, "memory": 0.0, "other": 3.0}),
    "a new idea": cost({"encoder": 500.0, "own part": 100.0, "memory": 0.2}),
}
TIMED = {
    "one": cost({"encoder": 5.0, "tracker": 0.0}, {"encoder": 30.0, "tracker": 70.0}),
    "two": cost({"encoder": 5.0, "tracker": 1.0}, {"encoder": 30.0, "tracker": 20.0}),
}


def drawn(costs):
    with rc_context(STYLE):
        return draw(costs)


def bars(ax):
    """Row -> (start, length, colour) of its segments."""
    rows = {}
    for patch in ax.patches:
        y = round(patch.get_y() + patch.get_height() / 2)
        rows.setdefault(y, []).append(
            (patch.get_x(), patch.get_width(), to_hex(patch.get_facecolor()).upper())
        )
    return rows


def test_a_bar_is_its_components_side_by_side():
    (ax,) = drawn(COSTS).axes
    rows = bars(ax)
    assert [x[1:] for x in rows[0]] == [
        (520, COLOURS["encoder"]),
        (12, COLOURS["heads"]),
        (3, COLOURS[OTHER]),
    ]
    for segments in rows.values():
        assert segments[0][0] == 0
        assert all(b[0] == pytest.approx(a[0] + a[1]) for a, b in pairwise(segments))
    assert [t.get_text() for t in ax.get_yticklabels()] == list(COSTS)
    assert ax.get_ylim() == (1.5, -0.5)


def test_a_second_panel_where_everything_was_timed():
    figure = drawn(TIMED)
    assert [[x[1] for x in bars(ax)[0]] for ax in figure.axes] == [[5], [30, 70]]
    assert len(drawn(TIMED | COSTS).axes) == 1


def test_large_segments_and_totals_are_labelled():
    (ax,) = drawn(COSTS).axes
    texts = {t.get_text() for t in ax.texts}
    assert {"encoder 520", "encoder 500", "535", "600"} <= texts
    assert not any("heads" in text for text in texts)


def test_labels_lie_inside_their_segments():
    figure = drawn(TIMED | {"three": cost({"encoder": 1.0, "re-ID": 0.3, "tracker": 0.9})})
    renderer = figure.canvas.get_renderer()
    (ax,) = figure.axes
    boxes = [p.get_window_extent(renderer) for p in ax.patches]
    inside = [t for t in ax.texts if type(t) is Text]
    assert len(inside) > 3
    for text in inside:
        box = text.get_window_extent(renderer)
        assert any(b.x0 <= box.x0 and box.x1 <= b.x1 and b.y0 <= box.y0 for b in boxes), text


def test_the_legend_names_what_is_drawn_in_order():
    (legend,) = drawn(COSTS).legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["encoder", "heads", "memory", "own part", "other"]
    own = legend.get_patches()[3]
    assert own.get_hatch()


def test_every_component_has_a_colour_of_its_own_and_ink_to_read():
    assert list(COLOURS) == [*ORDER, OTHER]
    assert len(set(COLOURS.values())) == len(COLOURS)

    def luminance(colour):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)
        ]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)) + 0.05

    for colour in COLOURS.values():
        a, b = sorted((luminance(colour), luminance(_ink(colour))))
        assert b / a >= 4.5


@pytest.mark.parametrize("extension", ["pdf", "svg", "png"])
def test_equal_costs_give_equal_bytes(extension):
    start = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}[extension]
    content = breakdown_figure(TIMED, extension)
    assert content.startswith(start)
    assert breakdown_figure(TIMED, extension) == content


def test_other_formats_are_refused():
    with pytest.raises(BenchError, match="'gif'; valid: pdf, png, svg"):
        breakdown_figure(COSTS, "gif")
