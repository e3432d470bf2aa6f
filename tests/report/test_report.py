"""A whole report: what it does with bad input, without results, again, and without torch."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from videomt_bench.evaluation import panoptic, semantic
from videomt_bench.report import stored
from videomt_bench.report.differences import Difference
from videomt_bench.report.records import Problem
from videomt_bench.report.tables.table import build_report, cache_of
from videomt_bench.report.write import write_tables
from videomt_bench.runs.record import Metric
from videomt_bench.sweep.experiment_file import experiment_names
from videomt_bench.sweep.outline import load_outline

from .conftest import BARE, EXPERIMENT, Save
from .made_up import panoptic_stats, semantic_stats

ROOT = Path(__file__).parents[2]
FRAME, PROPAGATION, FUSION = (row["variant"] for row in EXPERIMENT["rows"])
WITHOUT_TORCH = """
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm"):
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Absent())
sys.argv = ["videomt-bench", *sys.argv[1:]]
runpy.run_module("videomt_bench", run_name="__main__")
"""


@pytest.fixture
def full(results: Path, save: Save) -> Path:
    for seed in (1, 2):
        save(FUSION, seed, 0.6)
        save(PROPAGATION, seed, 0.4)
    return results


def test_bad_records_are_problems_by_name_and_the_rest_is_made(full: Path, tmp_path: Path):
    folder = full / "records"
    good = json.loads((folder / f"{FUSION}-generated-slots-s1.json").read_text())
    (folder / "newer.json").write_text(json.dumps({**good, "schema": 99}))
    (folder / "empty.json").write_text("")
    (folder / "damaged.json").write_text('{"schema": 1, ')
    newest = {**good, "updated": "2026-01-01T00:00:00"}
    (folder / f"{FUSION}-generated-slots-s1.json").write_text(json.dumps(newest))
    other = {**good, "updated": "2020-01-01T00:00:00"}
    other["metrics"] = {"AP": {"value": 0.01, "n": 12, "unit": "fraction"}}
    (folder / "other.json").write_text(json.dumps(other))
    report = build_report(full, EXPERIMENT, draws=20)
    files = [problem.file for problem in report.problems]
    assert files[:3] == ["damaged.json", "empty.json", "newer.json"]
    assert any("disagrees on AP" in problem.reason for problem in report.problems)
    assert report.tables[0].main.rows[2][1].text != "–"
    write_tables(report.tables, tmp_path / "out", BARE)
    text = (tmp_path / "out" / "made-up.md").read_text()
    assert "### Problems" in text
    for file in files:
        assert file.replace("_", r"\_") in text.partition("### Problems")[2]


def test_without_results_the_published_numbers_are_shown_and_the_reason(tmp_path: Path):
    report = build_report(tmp_path / "nowhere", EXPERIMENT)
    assert report.problems == [
        Problem("made-up", "no run of it has a record"),
        Problem("records", "there is no such results folder"),
    ]
    (table,) = report.tables
    keys = [column.key for column in table.main.columns]
    assert [row[keys.index("paper_AP")].text for row in table.main.rows] == ["61.3", "63.9", "68.6"]
    assert table.notes[0][1] == "not run"


@pytest.mark.parametrize("name", experiment_names())
def test_every_shipped_experiment_gives_a_report_of_nothing(name: str, tmp_path: Path):
    outline = load_outline(name)
    report = build_report(tmp_path, outline)
    for table in report.tables:
        assert table.rows
        keys = [column.key for column in table.main.columns]
        published = any(key.startswith("paper_") for key in keys)
        assert published == bool(outline["published"]), table.name
        assert not any(key.startswith("delta_") for key in keys)
    main = {"vps": {"VPQ", "STQ"}, "vss": {"mIoU", "mVC16"}}.get(name, {"AP"})
    assert main <= {column.key for column in report.tables[0].main.columns}


def test_only_some_seeds(full: Path):
    (table,) = build_report(full, {**EXPERIMENT, "seeds": (2,)}, draws=20).tables
    assert [record.spec["seed"] for record in table.rows[2].records] == [2]


def test_a_row_that_cannot_be_run_yet_says_so(tmp_path: Path):
    later = {"variants": ["later", "step6_videomt"], "planned_variants": ["later"]}
    later |= {"changes": {"later": {"published": "eomt_dvis_plus"}}}
    (table,) = build_report(tmp_path, load_outline("trackers", later)).tables
    (row,) = [row for row in table.rows if row.variant == "later"]
    assert row.missing() == "not run: the variant does not exist yet"
    assert row.published["AP"].value > 0


def test_a_report_from_the_cache_is_the_same_and_draws_nothing(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    plain = build_report(full, EXPERIMENT, draws=20)
    first = build_report(full, EXPERIMENT, draws=20, cache=cache_of(out, EXPERIMENT))

    def refuse(*_: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(stored, "load_resampler", refuse)
    monkeypatch.setattr(stored, "swap_test", refuse)
    again = build_report(full, EXPERIMENT, draws=20, cache=cache_of(out, EXPERIMENT))
    for report in (first, again):
        csv = [t.tidy.to_csv() for t in report.tables]
        assert csv == [t.tidy.to_csv() for t in plain.tables]
        assert [t.main for t in report.tables] == [t.main for t in plain.tables]
        assert [t.detail for t in report.tables] == [t.detail for t in plain.tables]
    with pytest.raises(AssertionError, match="drawn again"):
        build_report(full, EXPERIMENT, draws=21, cache=cache_of(out, EXPERIMENT))


def test_a_cache_is_not_trusted(full: Path, save: Save, tmp_path: Path):
    out = tmp_path / "out"
    plain = build_report(full, EXPERIMENT, draws=20).tables[0]
    build_report(full, EXPERIMENT, draws=20, cache=cache_of(out, EXPERIMENT))
    kept = sorted((out / ".report-cache" / "made-up").iterdir())
    assert {f.suffix for f in kept} == {".json", ".npz"}
    assert (out / ".report-cache" / ".gitignore").read_text() == "*\n"
    for content in (b"", b"[]", b'{"AP": 7}', b'{"version": 1, "records": {"x": 3}}', b"\xff"):
        for file in kept:
            file.write_bytes(content)
        report = build_report(full, EXPERIMENT, draws=20, cache=cache_of(out, EXPERIMENT))
        assert report.tables[0].main == plain.main
        assert report.tables[0].detail == plain.detail
    for file in kept:
        if file.suffix == ".npz":
            arrays = dict(np.load(file))
            np.savez(file, **{**arrays, "values": arrays["values"][:, :-1]})
    report = build_report(full, EXPERIMENT, draws=20, cache=cache_of(out, EXPERIMENT))
    assert report.tables[0].main == plain.main


def test_a_changed_run_is_read_again_and_the_old_entries_go(full: Path, save: Save, tmp_path: Path):
    out = tmp_path / "out"
    before = build_report(full, EXPERIMENT, draws=20, cache=cache_of(out, EXPERIMENT)).tables[0]
    count = len(list((out / ".report-cache" / "made-up").iterdir()))
    save(FUSION, 1, 0.1)
    after = build_report(full, EXPERIMENT, draws=20, cache=cache_of(out, EXPERIMENT)).tables[0]
    assert after.main.rows[2][1] != before.main.rows[2][1]
    assert after.main.rows[2] == build_report(full, EXPERIMENT, draws=20).tables[0].main.rows[2]
    assert len(list((out / ".report-cache" / "made-up").iterdir())) == count


def test_measured_minus_published_where_the_setting_is_the_same(full: Path, save: Save):
    real = {
        "encoder": {"name": "vit_large_patch14_reg4_dinov2", "weights": "timm"},
        "dataset": {"name": "ytvis_2019", "layout": "ytvis_2019", "root": "x"},
    }
    record = save("step6_videomt", 1, 0.6, spec=real, run_id="real")
    experiment = {**EXPERIMENT, "datasets": ["ytvis_2019"]}
    (table,) = build_report(full, experiment, draws=20).tables
    cells = dict(zip((c.key for c in table.main.columns), table.main.rows[2], strict=True))
    difference = 100 * (record.metrics["AP"].value or 0) - 68.6
    assert float(cells["delta_AP"].text.replace("−", "-")) == pytest.approx(difference, abs=0.051)
    assert cells["delta_params"].text == "−317"
    assert "delta_fps" not in cells, "a CPU is no H100"
    assert "another setting" not in table.caption
    line = table.tidy.query("origin == 'measured - paper' and metric == 'AP'").iloc[0]
    assert line["value"] == pytest.approx(difference)
    real["encoder"]["weights"] = None
    save("step6_videomt", 1, 0.6, spec=real, run_id="real")
    (table,) = build_report(full, experiment, draws=20).tables
    assert "delta_AP" not in [c.key for c in table.main.columns]


@pytest.mark.parametrize(
    ("make", "summary", "published", "main"),
    [
        (panoptic_stats, panoptic.summarize, "vps", ["VPQ", "STQ"]),
        (semantic_stats, semantic.summarize, "vss", ["mIoU", "mVC8", "mVC16"]),
    ],
    ids=["panoptic", "semantic"],
)
def test_dense_tasks_have_intervals_and_tested_differences(
    results: Path, save: Save, make, summary, published: str, main: list[str]
):
    values = {}
    for variant, seed in ((FRAME, 1), (FRAME, 2), (FUSION, 1), (FUSION, 2)):
        # the same videos and truth, other results
        stats = make(np.random.default_rng(0))
        rng = np.random.default_rng([seed, variant == FUSION])
        if published == "vps":
            stats = dataclasses.replace(stats, iou=stats.iou * rng.uniform(0.6, 1, stats.iou.shape))
        else:
            order = rng.permutation(stats.cell_predicted)
            scale = rng.uniform(0.6, 1, stats.window_sums.shape)
            stats = dataclasses.replace(
                stats, cell_predicted=order, window_sums=stats.window_sums * scale
            )
        scores = summary(stats)
        metrics = {name: Metric(value, len(stats.frames)) for name, value in scores.items()}
        record = save(variant, seed, metrics=metrics)
        stats.save(results / "records" / f"{record.run_id}.npz")
        values[variant, seed] = scores
    rows = [{"variant": v, "label": v} for v in (FRAME, FUSION)]
    experiment = {**EXPERIMENT, "rows": rows, "published": None}
    (table,) = build_report(results, experiment, draws=50).tables
    assert not table.problems
    shown = [column.key for column in table.main.columns][1 : 1 + len(main)]
    assert shown == main
    for i, metric in enumerate(main, start=1):
        mean = np.mean([100 * values[FUSION, seed][metric] for seed in (1, 2)])
        cell = table.main.rows[1][i]
        assert cell.text == f"{mean:.1f}"
        assert re.fullmatch(r"± \d+\.\d \(n 2\) \[.*, .*\]", cell.spread), cell
        found = table.differences[1, metric]
        assert isinstance(found, Difference)
        assert found.seeds == (1, 2)
        assert found.p_corrected is not None
    keys = [column.key for column in table.detail.columns]
    assert set(keys) > {f"difference_{metric}" for metric in main}
    lines = table.tidy.query("origin == 'measured'")
    assert lines[lines["metric"].isin(main)]["low"].notna().all()


def without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


def test_reports_are_made_without_torch(tmp_path: Path):
    results = ROOT / "results" / "measured" / "cost"
    done = without_torch(
        "report", "propagation", "--results", str(results), "--out", str(tmp_path),
        "--mix-protocols", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout.splitlines()[-1])["files"]
    assert {str(tmp_path / f"propagation{x}") for x in (".md", "-tradeoff.png")} <= set(files)
    assert "318" in (tmp_path / "propagation.md").read_text()
    wrong = without_torch("report", "ablaton")
    assert wrong.returncode == 2
    assert "did you mean 'ablation'" in wrong.stderr
    assert without_torch("report", "--help").returncode == 0
