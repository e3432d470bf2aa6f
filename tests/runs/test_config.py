"""Settings from dictionaries: types, unknown keys, ids."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from videomt_bench.errors import BenchError
from videomt_bench.models import load_variant
from videomt_bench.runs.config import build, digest, to_dict
from videomt_bench.runs.spec import RunSpec
from videomt_bench.sweep.experiment import load_experiment


@pytest.fixture
def spec(micro: dict[str, Any]) -> RunSpec:
    return load_experiment("demo", micro).runs()[0]


def test_a_specification_survives_json(spec: RunSpec) -> None:
    assert RunSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("recipe.video.train.iteratons", 5, "did you mean 'iterations'"),
        ("recipe.num_queries", "many", "must be of type int, not 'many'"),
        ("recipe.video.train.optim.warmup", [1], "must have 2 values"),
        ("recipe.video.train.matching", "nearest", "first_appearance, new_instances, per_frame"),
        ("encoder", None, "must be a table of settings, not None"),
        ("seed", True, "must be of type int"),
    ],
)
def test_bad_settings_are_one_sentence(spec: RunSpec, path: str, value: Any, message: str) -> None:
    data = spec.to_json()
    *parents, last = path.split(".")
    table = data
    for key in parents:
        table = table[key]
    table[last] = value
    with pytest.raises(BenchError, match=message):
        RunSpec.from_json(data)


def test_a_missing_key_is_named(spec: RunSpec) -> None:
    data = spec.to_json()
    del data["recipe"]["video"]["train"]["batch"]
    with pytest.raises(BenchError, match=r"recipe\.video\.train lacks the key 'batch'"):
        RunSpec.from_json(data)


def _changed(spec: RunSpec, path: str, value: Any) -> RunSpec:
    name, _, rest = path.partition(".")
    inner = _changed(getattr(spec, name), rest, value) if rest else value
    return replace(spec, **{name: inner})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("dataset.root", "elsewhere"),
        ("recipe.video.train.per_device", 1),
        ("recipe.video.train.workers", 3),
        ("recipe.video.train.checkpoint_interval", 7),
        ("recipe.test.window", 99),
        ("recipe.test.batch", 99),
        ("device", "cuda"),
        ("threads", 8),
    ],
)
def test_the_id_ignores_what_changes_no_result(spec: RunSpec, path: str, value: Any) -> None:
    assert _changed(spec, path, value).run_id == spec.run_id


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("variant", "step5_propagation"),
        ("seed", 9),
        ("encoder.image_size", 64),
        ("dataset.name", "other"),
        ("recipe.num_queries", 7),
        ("recipe.segmenter.train.iterations", 4),
        ("recipe.video.train.optim.lr", 1e-5),
        ("recipe.test.top_k", 3),
    ],
)
def test_the_id_sees_what_changes_the_result(spec: RunSpec, path: str, value: Any) -> None:
    assert _changed(spec, path, value).run_id != spec.run_id


def test_variants_with_one_segmenter_share_its_stage(micro: dict[str, Any]) -> None:
    runs = load_experiment("demo", micro).runs()
    by_stage: dict[str, set[str]] = {}
    for run in runs:
        stage = run.segmenter_id(load_variant(run.variant))
        by_stage.setdefault(stage, set()).add(run.variant)
    assert len(runs) == 8
    assert sorted(map(len, by_stage.values())) == [1, 7]
    assert {"step0_cavis"} in by_stage.values(), "only step 0 has another segmenter"
    runs = [run for run in runs if run.variant == "step6_videomt"]
    stages = {run.segmenter_id(load_variant(run.variant)) for run in runs}
    video = replace(runs[0].recipe.video.train, iterations=99)
    other = _changed(runs[0], "recipe.video.train", video)
    assert other.segmenter_id(load_variant(other.variant)) in stages


def test_a_new_setting_keeps_the_ids_of_old_runs() -> None:
    @dataclass(frozen=True)
    class Old:
        a: int
        b: float = 0.5

    @dataclass(frozen=True)
    class New:
        a: int
        b: float = 0.5
        c: str = "as before"

    assert digest(Old(1)) == digest(New(1))
    assert digest(Old(1, 0.6)) == digest(New(1, 0.6))
    assert len({digest(New(1)), digest(New(1, 0.6)), digest(New(1, c="new"))}) == 3


def test_digest_is_the_same_in_every_process(spec: RunSpec) -> None:
    """A fixed value: ids of old records must stay findable."""
    assert digest({"a": 1, "b": [1, 2.5, None]}, "x") == "7473cd0208"


def test_shipped_experiments_are_valid(tmp_path: Path) -> None:
    for name in ("demo",):
        experiment = load_experiment(name)
        assert all(RunSpec.from_json(r.to_json()) == r for r in experiment.runs())
        assert build(type(experiment), to_dict(experiment), name) == experiment


def test_committed_records_keep_their_ids() -> None:
    """A setting that is added must default to what runs did before."""
    files = sorted((Path(__file__).parents[2] / "results/measured").glob("*/records/*.json"))
    assert len(files) > 50
    for file in files:
        record = json.loads(file.read_text())
        assert RunSpec.from_json(record["spec"]).run_id == record["run_id"] == file.stem
