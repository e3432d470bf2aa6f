from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from videomt_bench.errors import BenchError
from videomt_bench.report.records import (
    cost_value,
    differing,
    flatten,
    group_runs,
    load_records,
    metric_value,
    setting_of,
)
from videomt_bench.report.stored import StoredRuns
from videomt_bench.runs.record import Metric, Record, StageResult

from .conftest import Save, spec


def test_bad_files_are_listed_by_name_and_the_rest_is_used(results: Path, save: Save):
    good = save("step6_videomt", 1)
    folder = results / "records"
    record = json.loads((folder / f"{good.run_id}.json").read_text())
    bad = {
        "broken.json": "{",
        "empty.json": "",
        "list.json": "[]",
        "newer.json": json.dumps({**record, "schema": 99}),
        "no-seed.json": json.dumps({**record, "spec": {**record["spec"], "seed": None}}),
        "nan.json": json.dumps({**record, "metrics": {"AP": {"value": float("nan"), "n": 3}}}),
        "text.json": json.dumps({**record, "metrics": {"AP": {"value": "high", "n": 3}}}),
        "deep.json": "[" * 100_000,
    }
    for name, text in bad.items():
        (folder / name).write_text(text)
    (folder / "latin.json").write_bytes(b"\xff\xfe{}")
    records, problems = load_records(results)
    assert [r.run_id for r in records] == [good.run_id]
    assert {p.file for p in problems} == {*bad, "latin.json"}
    reasons = {p.file: p.reason for p in problems}
    assert "99" in reasons["newer.json"]
    assert "seed" in reasons["no-seed.json"]
    assert not any(str(results) in reason for reason in reasons.values())


def test_a_missing_folder_is_an_error_and_an_empty_one_is_not(tmp_path: Path):
    with pytest.raises(BenchError, match="nowhere"):
        load_records(tmp_path / "nowhere")
    assert load_records(tmp_path) == ([], [])


def test_runs_are_grouped_by_all_but_the_seed_and_what_changes_no_result():
    records = [Record(f"r{s}", spec("a", s), "completed") for s in (3, 1, 2)]
    elsewhere = spec("a", 4, device="cuda", threads=8, cost={"input": [9, 9]})
    elsewhere["dataset"]["root"] = "/elsewhere"
    elsewhere["recipe"]["video"]["train"]["workers"] = 4
    longer = spec("a", 1)
    longer["recipe"]["video"]["train"]["iterations"] = 2000
    records += [Record("r4", elsewhere, "completed"), Record("r5", longer, "completed")]
    groups, problems = group_runs(records)
    assert sorted(group.seeds for group in groups) == [(1,), (1, 2, 3, 4)]
    assert not problems
    (split, other) = differing([group.spec for group in groups])
    assert {*split.values(), *other.values()} == {"1000", "2000"}
    assert set(split) == {"recipe.video.train.iterations"}


def test_what_changes_no_result_is_what_the_run_id_leaves_out():
    """Compared with the specification's own marks, for every field it has."""
    pytest.importorskip("torch")
    from videomt_bench.runs.spec import RunSpec

    def marked(settings):
        if not dataclasses.is_dataclass(settings):
            return [marked(s) for s in settings] if isinstance(settings, tuple) else settings
        return {
            f.name: marked(getattr(settings, f.name))
            for f in dataclasses.fields(settings)
            if f.metadata.get("affects_result", True)
        }

    data = spec("a", 1)
    train = {"iterations": 1, "batch": 1}
    stage = {"frames": 1, "train": train}
    data["recipe"] = {"name": "x", "num_queries": 2, "segmenter": stage, "video": stage}
    run = RunSpec.from_json(data)
    expected = flatten(json.loads(json.dumps(marked(run))))
    del expected["seed"]
    assert flatten(setting_of(run.to_json())) == expected


def test_of_two_runs_of_one_seed_the_newest_completed_counts():
    old = Record("old", spec("a", 1), "completed", updated="2026-01-01T00:00:00")
    new = Record("new", spec("a", 1), "completed", updated="2026-01-02T00:00:00")
    failed = Record("failed", spec("a", 1), "failed", updated="2026-01-03T00:00:00")
    groups, problems = group_runs([new, failed, old])
    assert [r.run_id for r in groups[0].records] == ["new"]
    assert {p.file for p in problems} == {"old.json", "failed.json"}


def test_only_what_a_finished_stage_measured_is_shown():
    record = Record("r", spec("a", 1), "failed", metrics={"AP": Metric(0.25, 7)})
    record.cost = {"params": 10, "fps": {"model": 5.0, "end_to_end": None}}
    assert metric_value(record, "AP") is None
    record.stages = {"evaluate": StageResult("r", "completed", 1.0)}
    assert metric_value(record, "AP") == 25.0
    assert cost_value(record, "params") is None
    record.state = "completed"
    assert cost_value(record, "params") == 10.0
    assert cost_value(record, "fps_model") == 5.0
    assert cost_value(record, "fps_end_to_end") is None
    assert metric_value(record, "AR10") is None


def test_stored_statistics_give_the_record_back(results: Path, save: Save):
    record = save("step6_videomt", 1)
    drawn = StoredRuns(results, draws=5).drawn(record)
    assert drawn.videos == record.metrics["AP"].n
    for name, metric in record.metrics.items():
        assert drawn.whole(name) == pytest.approx(100 * (metric.value or 0)), name
        assert drawn.draws(name).shape == (5,)
        assert drawn.without_one(name).shape == (12,)


@pytest.mark.parametrize("name", ["../secret.npz", "/etc/passwd", "missing.npz"])
def test_statistics_outside_the_records_are_not_read(results: Path, save: Save, name: str):
    save("step6_videomt", 1)
    record = save("step5_propagation", 1, video_stats=name)
    (results / "secret.npz").write_bytes(b"")
    with pytest.raises(BenchError, match=r"leaves the folder|cannot read"):
        StoredRuns(results).drawn(record)


def test_two_records_of_one_run_that_disagree_are_named_and_the_newest_counts(
    results: Path, save: Save
):
    record = save("step6_videomt", 1, updated="2026-01-02T00:00:00")
    data = record.to_json()
    older = {**data, "updated": "2026-01-01T00:00:00"}
    older["metrics"] = {**data["metrics"], "AP": {"value": 0.125, "n": 12, "unit": "fraction"}}
    folder = results / "records"
    (folder / "copy.json").write_text(json.dumps(older))
    (folder / "same.json").write_text(json.dumps({**data, "updated": "2026-01-01T12:00:00"}))
    records, problems = load_records(results)
    assert [r.metrics["AP"].value for r in records] == [record.metrics["AP"].value]
    reasons = {p.file: p.reason for p in problems}
    assert set(reasons) == {"copy.json", "same.json"}
    assert "disagrees on AP: 0.125 and" in reasons["copy.json"]
    (folder / "copy.json").unlink()
    _, (problem,) = load_records(results)
    assert "with the same metrics" in problem.reason
    assert f"{record.run_id}.json is used" in problem.reason


def test_runs_of_one_specification_that_disagree_say_so():
    runs = [Record(n, spec("a", 1), "completed", updated=n) for n in ("old", "the new")]
    for run, value in zip(runs, (0.25, 0.5), strict=True):
        run.metrics = {"AP": Metric(value, 3)}
    groups, (problem,) = group_runs(runs)
    assert groups[0].records == (runs[1],)
    assert problem.file == "old.json"
    assert "they disagree on AP: 0.25 and 0.5" in problem.reason


def test_records_that_share_their_settings_keep_their_own_seeds(results: Path, save: Save):
    for seed in (3, 1, 2):
        save("step6_videomt", seed)
    records, _ = load_records(results)
    (group,), _ = group_runs(records)
    assert group.seeds == (1, 2, 3)
    assert {r.spec["seed"] for r in records} == {1, 2, 3}


def test_flatten_names_every_leaf():
    assert flatten({"a": [{"b": 1}, {"b": None}], "c": [1, 2], "d": {}}) == {
        "a.0.b": "1",
        "a.1.b": "null",
        "c": "[1, 2]",
        "d": "{}",
    }
