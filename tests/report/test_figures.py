"""What the figures draw: values where they belong, filled or hollow, with legible labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from videomt_bench.errors import BenchError
from videomt_bench.report.figures.choice import DEFAULT, KINDS, report_figures
from videomt_bench.report.figures.encoders import encoder_figure
from videomt_bench.report.figures.label_places import Box, label_places
from videomt_bench.report.figures.ladder import UP, ladder_figure, speed_steps, steps
from videomt_bench.report.figures.losses import loss_curves
from videomt_bench.report.figures.points import (
    MEASURED,
    Point,
    headlines,
    measured_points,
    other_published_points,
    published_points,
    same_dataset,
)
from videomt_bench.report.figures.style import PAPER, STYLE, rendered
from videomt_bench.report.figures.tradeoff import pareto_front, tradeoff_figure
from videomt_bench.report.figures.training import smooth, training_figure
from videomt_bench.report.published import load_published
from videomt_bench.report.systems import OTHER, QUERIES, TRACKER, family_of, row_title
from videomt_bench.report.tables.table import ReportTable, build_tables
from videomt_bench.runs.record import StageResult
from videomt_bench.sweep.experiment import load_experiment

from .conftest import EXPERIMENT, Save

PAPER_TABLES = (
    "ablation", "propagation", "trackers", "segmenters", "pretraining", "scale",
    "vis", "vps", "vss",
)  # fmt: skip


def drawn(draw: Any) -> Figure:
    with rc_context(STYLE):
        return draw()


def table_of(results: Path, **changes: Any) -> ReportTable:
    return build_tables(results, {**EXPERIMENT, **changes}, draws=20)[0]


@pytest.fixture
def measured(results: Path, save: Save) -> Path:
    for seed in (1, 2):
        save("step6_videomt", seed, 0.6)
        save("step5_propagation", seed, 0.4)
    return results


def markers(ax: Any) -> list[tuple[float, float, bool]]:
    """(x, y, whether it is filled) of every single marker."""
    return [
        (
            float(line.get_xdata()[0]),
            float(line.get_ydata()[0]),
            line.get_markerfacecolor() != PAPER,
        )
        for line in ax.lines
        if len(line.get_xdata()) == 1
    ]


def texts_of(figure: Figure) -> list[Text]:
    return [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]


# accuracy against speed


def test_the_front_is_what_no_point_beats_in_both():
    rng = np.random.default_rng(0)
    points = [(float(a), float(b)) for a, b in rng.integers(0, 8, (60, 2))]
    brute = {
        p for p in points
        if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)
    }  # fmt: skip
    assert pareto_front(points) == sorted(brute)
    assert pareto_front([]) == []


def test_measured_is_filled_and_published_hollow(measured: Path):
    table = table_of(measured)
    figure = drawn(tradeoff_figure(table))
    ours, theirs = figure.axes
    by_row = {row.variant: row for row in table.rows}
    expected = {
        (120.0, by_row[v].ap.mean, True) for v in ("step5_propagation", "step6_videomt")
    }  # fmt: skip
    assert set(markers(ours)) == expected
    assert set(markers(theirs)) == {(162, 61.3, False), (162, 63.9, False), (160, 68.6, False)}
    assert ours.get_xscale() == theirs.get_xscale() == "log"
    bars = [line for line in ours.lines if len(line.get_xdata()) == 2]
    ends = {tuple(map(float, line.get_ydata())) for line in bars}
    interval = by_row["step6_videomt"].ap.interval
    assert (interval.low, interval.high) in ends


def test_one_data_set_is_one_panel(results: Path, save: Save):
    dataset = {"name": "ytvis_2019", "root": "x", "num_classes": 40}
    for variant in ("step5_propagation", "step6_videomt"):
        save(variant, 1, spec={"dataset": dataset})
    table = table_of(results)
    assert same_dataset(table.rows)
    (ax,) = drawn(tradeoff_figure(table)).axes
    assert {filled for _, _, filled in markers(ax)} == {True, False}


def test_other_published_systems_of_the_data_set_are_drawn_too(results: Path):
    experiment = {**load_experiment("vps").rows(), "others": False}
    (table,) = build_tables(results, experiment)
    others = other_published_points(table.rows, "vps")
    known = {tuple(sorted(p.accuracy.items())) for p in published_points(table.rows)}
    found = {tuple(sorted(p.accuracy.items())) for p in others}
    lines = load_published("vps")
    assert len(known | found) == len(lines[lines["metric"] == "VPQ"])
    assert not known & found
    assert {"PMT, DINOv2", "LVMT, DINOv3"} <= {p.label for p in others}
    figure = drawn(tradeoff_figure(table, "vps"))
    assert [ax.get_ylabel() for ax in figure.axes] == ["VPQ, percent", "STQ, percent"]
    assert len(markers(figure.axes[0])) == len(known | found)


def test_families_are_markers():
    assert family_of("step0_cavis") == TRACKER
    assert family_of("step6_videomt") == QUERIES
    assert family_of("my_idea") == OTHER
    assert row_title("dvis_plus", "dvis_plus, DINOv2") == "DVIS++, DINOv2"
    assert row_title("step0_cavis", "0 CAVIS, ViT-L") == "0 CAVIS, ViT-L"


def boxes(figure: Figure, ax: Any) -> list[Any]:
    renderer = figure.canvas.get_renderer()
    found = [t for t in ax.texts if isinstance(t, Annotation) and t.get_text()]
    return [Text.get_window_extent(t, renderer) for t in found]


@pytest.mark.parametrize("name", PAPER_TABLES)
def test_labels_cover_neither_each_other_nor_the_edge(results: Path, name: str):
    for table in build_tables(results, load_experiment(name).rows()):
        draw = tradeoff_figure(table, name)
        assert draw is not None
        figure = drawn(draw)
        figure.draw_without_rendering()
        for ax in figure.axes:
            places = boxes(figure, ax)
            for a, b in combinations(places, 2):
                width = min(a.x1, b.x1) - max(a.x0, b.x0)
                height = min(a.y1, b.y1) - max(a.y0, b.y0)
                assert width <= 1 or height <= 1, (table.name, a, b)
            for box in places:
                assert ax.bbox.x0 - 2 <= box.x0
                assert box.x1 <= ax.bbox.x1 + 2


def test_labels_of_a_crowd_find_places():
    spots = [(50.0 + 3 * i, 50.0 + (i % 3)) for i in range(8)]
    places = label_places(spots, [(30.0, 8.0)] * 8, Box(0, 0, 140, 100))
    assert all(a.overlap(b) == 0 for a, b in combinations(places, 2))
    assert all(box.outside(Box(0, 0, 140, 100)) == pytest.approx(0) for box in places)
    assert label_places([], [], Box(0, 0, 1, 1)) == []


# the ladder


def point(label: str, ap: float | None, fps: float | None, other: bool = False) -> Point:
    accuracy = {} if ap is None else {"AP": ap}
    return Point(MEASURED, label, label, "", accuracy, {}, fps, None, other)


def test_steps_start_at_the_nearest_row_above_with_a_value():
    points = [point("a", 10, 5), point("b", None, 6), point("c", 12, None), point("d", 11, 9, True)]
    found = steps(points, lambda p: p.accuracy.get("AP"))
    assert [(s.row, s.value, s.before) for s in found] == [(0, 10, None), (2, 12, 10), (3, 11, 12)]
    speeds = speed_steps(points)
    assert [(s.value, s.before, s.comparable) for s in speeds] == [
        (5, None, True), (6, 5, True), (9, 6, False)
    ]  # fmt: skip


def test_a_ladder_adds_up_to_its_rows(measured: Path):
    table = table_of(measured)
    figure = drawn(ladder_figure(table, table.rows))
    ap, _, published_ap, published_fps = figure.axes
    bars = [(p.get_x(), p.get_width()) for p in published_ap.patches if p.get_height() < 1]
    assert [round(x + w, 3) for x, w in bars] == [61.3, 63.9, 68.6]
    assert [round(x, 3) for x, _ in bars[1:]] == [61.3, 63.9]
    faces = {to_hex(p.get_facecolor()) for p in published_ap.patches if p.get_height() < 1}
    assert faces == {PAPER}
    ours = [p for p in ap.patches if p.get_height() < 1]
    means = [row.ap.mean for row in table.rows if row.ap]
    assert [p.get_x() + p.get_width() for p in ours] == pytest.approx(means)
    assert to_hex(ours[1].get_facecolor()) == UP.lower()
    labels = {t.get_text() for t in published_fps.texts}
    assert labels == {"162", "162  (0)", "160  (−2)"}
    # the row that was not run is no row of the measured block
    assert len(ap.get_yticks()) == 2


def test_a_ladder_needs_two_values(results: Path):
    table = table_of(results, published=None)
    assert ladder_figure(table, table.rows) is None
    assert report_figures(table, {**EXPERIMENT, "figures": ["ladder"]}) == []


# encoders


def rows_of(sizes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"variant": v, "label": f"{v}, {s}", "size": s.split(", ")[-1],
         "setting": f"{s}, YouTube-VIS 2019"}
        for s in sizes
        for v in ("step0_cavis", "step6_videomt")
    ]  # fmt: skip


PRETRAININGS = ["DINOv3", "DINOv2", "EVA-02", "IN-21K", "IN-1K"]
ENCODERS = {
    "scale": [f"ViT-{s}, DINOv2" for s in "LBS"],
    "pretraining": [f"ViT-L, {p}" for p in PRETRAININGS],
}


@pytest.mark.parametrize(
    ("name", "x", "ap"),
    [
        ("scale", [25, 95, 318], [52.8, 58.2, 68.6]),
        ("pretraining", None, [68.9, 68.6, 67.8, 60.8, 56.7]),
    ],
)
def test_accuracy_against_encoders(results: Path, name: str, x: Any, ap: Sequence[float]):
    rows = rows_of(ENCODERS[name])
    if name == "scale":
        rows = [row | {"size": row["setting"][:5]} for row in rows]
    table = table_of(results, published=name, rows=rows)
    (ax,) = drawn(encoder_figure(table)).axes
    curves = {
        tuple(np.asarray(line.get_ydata(), float)): list(line.get_xdata())
        for line in ax.lines
        if len(line.get_xdata()) > 2
    }
    (values,) = [values for values in curves if set(ap) <= set(values)]
    if x is None:
        ticks = [t.get_text() for t in ax.get_xticklabels()]
        assert [ticks[round(place)] for place in curves[values]] == PRETRAININGS
    else:
        assert curves[values] == x
        assert ax.get_xscale() == "log"


def test_few_encoders_are_no_figure(measured: Path):
    assert encoder_figure(table_of(measured)) is None


# training


def write_log(results: Path, stage_id: str, stage: str, lines: Sequence[str]) -> None:
    folder = results / "work" / stage_id / stage
    folder.mkdir(parents=True)
    (folder / "losses.jsonl").write_text("\n".join(lines))


def test_curves_are_read_from_the_logs(results: Path, save: Save):
    record = save("step6_videomt", 1)
    record.stages = {
        "segmenter": StageResult("seg", "completed", 1.0),
        "video": StageResult("../../seg", "completed", 1.0),
    }
    lines = [json.dumps({"step": s, "loss": 100.0 / s, "loss_mask": 1.0}) for s in range(1, 6)]
    odd = ["{", "[]", '{"step": 1}', '{"step": "x", "loss": 1}', '{"step": 9, "loss": NaN}']
    write_log(results, "seg", "segmenter", [*odd, *lines, '{"step": 5, "loss": 7}'])
    write_log(results.parent, "seg", "video", lines)
    (curve,) = loss_curves(results, record)
    assert curve.stage == "segmenter"
    assert curve.steps == (1, 2, 3, 4, 5)
    assert curve.losses == (100.0, 50.0, 100 / 3, 25.0, 7.0)


def test_a_shared_stage_is_one_line(results: Path, save: Save):
    lines = [json.dumps({"step": s, "loss": 100.0 / s}) for s in range(1, 50)]
    write_log(results, "seg", "segmenter", lines)
    for variant in ("step5_propagation", "step6_videomt"):
        write_log(results, variant, "video", lines)
        stages = {
            "segmenter": StageResult("seg", "completed", 1.0),
            "video": StageResult(variant, "completed", 1.0),
            "evaluate": StageResult(variant, "completed", 1.0),
            "cost": StageResult(variant, "completed", 1.0),
        }
        save(variant, 1, stages=stages)
    table = table_of(results)
    figure = drawn(training_figure(table, results))
    left, right = figure.axes
    long = [[line for line in ax.lines if len(line.get_xdata()) == 49] for ax in (left, right)]
    assert [len(found) for found in long] == [2, 4]
    assert [t.get_text() for t in left.texts] == ["5 + query propagation and 1 more"]
    assert training_figure(table, None) is None
    assert training_figure(table, results / "nowhere") is None


def test_a_running_median_keeps_a_line():
    values = [float(v) for v in range(100)]
    assert smooth(values)[5:95] == values[5:95]
    assert max(smooth([1.0] * 50 + [99.0] + [1.0] * 50)) == 1.0


# all of them


def test_experiments_choose_their_figures(measured: Path):
    table = table_of(measured)
    names = [f.name for f in report_figures(table, EXPERIMENT)]
    assert names == ["made-up-figure", "made-up-tradeoff"]
    chosen = report_figures(table, {**EXPERIMENT, "figures": ["ladder", "results"]})
    assert [f.name for f in chosen] == ["made-up-ladder", "made-up-figure"]
    with pytest.raises(BenchError, match="'pie'"):
        report_figures(table, {**EXPERIMENT, "figures": ["pie"]})
    assert set(DEFAULT) == set(KINDS) - {"ladder"}


def test_damaged_costs_are_no_figure(measured: Path, save: Save):
    for cost in ({"components": [1]}, {"components": {"a": 1}, "protocol": {}}, {"components": {}}):
        save("step4_frame_by_frame", 1, cost=cost)
        table = table_of(measured)
        assert "made-up-cost" not in [f.name for f in report_figures(table, EXPERIMENT)]


@pytest.mark.parametrize("name", PAPER_TABLES)
def test_published_numbers_alone_are_figures(results: Path, name: str):
    experiment = load_experiment(name).rows()
    for table in build_tables(results, experiment):
        figures = report_figures(table, experiment, results)
        assert figures
        for figure in figures:
            shown = drawn(figure.draw)
            shown.draw_without_rendering()
            assert shown.get_figwidth() <= 6.75
            assert min(t.get_fontsize() for t in texts_of(shown)) >= 6.0
            assert figure.caption


def test_figures_are_the_same_each_time(measured: Path):
    table = table_of(measured)
    """Those that a report has by default are compared as its files."""
    experiment = {**EXPERIMENT, "figures": ["ladder"]}
    first, second = (
        [
            rendered(f.draw, kind)
            for f in report_figures(table, experiment)
            for kind in ("svg", "pdf")
        ]
        for _ in range(2)
    )
    assert first == second


def test_the_main_metric_is_that_of_the_task(results: Path):
    for name, expected in {"vis": ("AP",), "vps": ("VPQ", "STQ"), "vss": ("mIoU", "mVC16")}.items():
        for table in build_tables(results, load_experiment(name).rows()):
            assert headlines(table.rows) == expected
    assert measured_points(table.rows) == []
