"""Seeds, intervals and files of several variants."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from strips import guess, thing, truth_of
from test_trackeval import wandering

from videomt_bench.diagnostics.diagnose import Diagnosis, diagnose
from videomt_bench.diagnostics.figures import figure_files, figures
from videomt_bench.diagnostics.selection import Selection
from videomt_bench.diagnostics.summary import summarize_variant
from videomt_bench.diagnostics.write import (
    COLUMNS,
    document,
    markdown,
    tidy_csv,
    write_diagnostics,
)
from videomt_bench.errors import BenchError
from videomt_bench.report.statistics.estimates import PerVideo, estimate

DRAWS = 20


def diagnosed(seed: int, **changes: float) -> Diagnosis:
    truth, predictions = wandering(np.random.default_rng(0), videos=4)
    rng = np.random.default_rng(seed)
    return diagnose(truth, [p for p in predictions if rng.random() < 0.8], **changes)


@pytest.fixture(scope="module")
def seeds():
    return [diagnosed(1), diagnosed(2)]


def test_a_value_is_the_mean_over_seeds(seeds):
    row = summarize_variant("x", seeds, draws=0)
    assert row.seeds == 2
    assert row.videos == 4
    for name, value in row.metrics.items():
        assert value.per_seed == tuple(d.values()[name] for d in seeds)
        assert value.interval is None
    for key, value in row.points.items():
        assert value.per_seed == tuple(d.points()[key] for d in seeds)


def assert_same(found, expected):
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.low < found.high


def test_intervals_are_those_of_the_report_s_bootstrap(seeds):
    """Every value on its own, from a function of video positions, gives the same interval."""
    row = summarize_variant("x", seeds, DRAWS)
    for name in ("AP_association", "gain_both", "HOTA", "IDSW_agnostic", "recall"):
        runs = [PerVideo(4, lambda v, d=d, name=name: d.values(v)[name]) for d in seeds]
        expected = estimate([d.values()[name] for d in seeds], runs, DRAWS)
        assert_same(row.metrics[name].interval, expected.interval)
    key = ("iou by relative time", "40–50 %")
    runs = [PerVideo(4, lambda v, d=d: d.points(v)[key]) for d in seeds]
    expected = estimate([d.points()[key] for d in seeds], runs, DRAWS)
    assert_same(row.points[key].interval, expected.interval)


def test_many_draws_at_once_equal_one_by_one(seeds):
    times = np.random.default_rng(0).multinomial(4, [0.25] * 4, size=5)
    together = seeds[0].draws(times)
    for i, row in enumerate(times):
        single = seeds[0].values(np.repeat(np.arange(4), row))
        assert {k: v[i] for k, v in together.items()} == pytest.approx(single, nan_ok=True)


def test_differences_are_paired(seeds):
    """Of a variant and itself they are exactly 0; of other numbers of seeds there are none."""
    rows = [summarize_variant(name, seeds, DRAWS) for name in "ab"]
    assert "| b | 0.0 [0.0, 0.0] | 0.0" in markdown(rows, Selection(), "diagnostics")
    rows[1] = summarize_variant("b", seeds[:1], DRAWS)
    assert "| b | – | – |" in markdown(rows, Selection(), "diagnostics")


def test_progress_ends_at_the_number_of_resamples(seeds):
    calls = []
    summarize_variant("x", seeds, 5, lambda done, total: calls.append((done, total)))
    assert {total for _, total in calls} == {10}
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1][0] <= 10


def test_result_files_of_other_videos_are_no_seed(seeds):
    other = diagnose(truth_of([thing(0, 0)], 2), [guess(0.5, 0, 0)])
    with pytest.raises(BenchError, match="'x' are of different videos"):
        summarize_variant("x", [seeds[0], other])


def test_the_files_say_the_same(seeds, tmp_path):
    rows = [summarize_variant("one | two", seeds, DRAWS), summarize_variant("b", seeds[:1], DRAWS)]
    files = write_diagnostics(rows, tmp_path / "out", Selection())
    assert {f.name for f in files} == {
        "diagnostics.md", "diagnostics.csv",
        *(f"diagnostics-{n}.{e}" for n in ("oracles", "drift", "groups")
          for e in ("pdf", "svg", "png")),
    }  # fmt: skip
    lines = list(csv.DictReader(io.StringIO(tidy_csv(rows))))
    found = {(x["variant"], x["metric"], x["bin"]): x["value"] for x in lines}
    assert len(found) == len(lines)
    ap = rows[0].metrics["AP"].mean
    assert float(found["one | two", "AP", ""]) == ap
    page = markdown(rows, Selection(), "diagnostics")
    assert f"| one \\| two | {100 * ap:.1f} [" in page
    told = document(rows, Selection())["variants"]["b"]
    assert told["metrics"]["AP"]["per_seed"] == [rows[1].metrics["AP"].mean]
    assert told["curves"]["recall by first part"]["first frame"]["n"] > 0
    assert set(COLUMNS) <= set(told["metrics"])


def test_the_same_figures_each_time(seeds):
    rows = [summarize_variant("x", seeds, DRAWS)]
    draw = figures(rows)["oracles"]
    assert figure_files(draw) == figure_files(draw)


def test_nothing_to_show_is_a_dash():
    """An object that comes late, and no prediction: no recall of objects in the first frame."""
    late = diagnose(truth_of([thing(None, 0), thing(None, 0, video=2)], 2), [])
    rows = [summarize_variant("x", [late], DRAWS)]
    page = markdown(rows, Selection(), "diagnostics")
    line = next(x for x in page.splitlines() if x.startswith("| x"))
    assert line.endswith("| 0.0 [0.0, 0.0] | – | 0.0 [0.0, 0.0] |")
    told = document(rows, Selection())["variants"]["x"]["metrics"]
    assert told["recall_first_frame"]["value"] is None


def test_without_objects_there_is_nothing_to_diagnose():
    truth = truth_of([thing(None, None), thing(0, 0, is_crowd=True)], 2)
    with pytest.raises(BenchError, match="no visible object"):
        diagnose(truth, [])


@pytest.mark.parametrize("count", [1, 9])
def test_any_number_of_variants_can_be_drawn(seeds, count):
    rows = [replace(summarize_variant("x", seeds, 0), label=f"variant {i}") for i in range(count)]
    for draw in figures(rows).values():
        assert figure_files(draw, ["png"])["png"].startswith(b"\x89PNG")
