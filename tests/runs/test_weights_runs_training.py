"""Video training that starts from a published segmenter, on a tiny encoder: the same code and names
as on the published ones."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_data import write_all
from conftest import as_arguments
from typer.testing import CliRunner
from weight_files import TEST, call, save_official, videomt

from videomt_bench.cli import app
from videomt_bench.errors import BenchError
from videomt_bench.runs.stages import read_weights
from videomt_bench.runs.store import Store
from videomt_bench.runs.weights import WeightsFile
from videomt_bench.sweep.experiment import load_experiment

TINY = "vit_tiny_conv_patch8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data``, and segmenters for 40 and 124 classes."""
    root = tmp_path_factory.mktemp("segmenters")
    write_all(root / "data")
    for classes in (40, 124):
        model = videomt(TINY, classes, seed=3)
        save_official(model, root / f"segmenter_{classes}.pth", segmenter=True)
    return root


def training(folder: Path) -> dict[str, Any]:
    """What makes the experiment ``scale`` small, but for its encoder."""
    settings: dict[str, Any] = {**TEST, "data_root": str(folder / "data")}
    for stage in ("segmenter", "video"):
        settings |= {
            f"recipe.{stage}.augmentation": dict(short_sides=[32], max_size=48),
            f"recipe.{stage}.train.iterations": 1,
            f"recipe.{stage}.train.batch": 1,
            f"recipe.{stage}.train.precision": "fp32",
            f"recipe.{stage}.train.workers": 0,
            f"recipe.{stage}.train.losses": dict(num_points=64),
        }
    return {**settings, "recipe.video.frames": 2, "recipe.video.train.optim.warmup": [0, 0]}


def train(folder: Path, results: Path, file: str, *more: object) -> dict[str, Any]:
    place = ("--encoder", TINY, "--results", results)
    chosen = ("--variant", "step6_videomt", "--segmenter-weights", folder / file)
    return call("train", "scale", *chosen, *place, *more, settings=training(folder))


def test_the_clips_stage_starts_from_a_published_segmenter(folder: Path, tmp_path: Path) -> None:
    record = train(folder, tmp_path, "segmenter_40.pth")
    assert list(record["stages"]) == ["segmenter", "video"]
    stage = record["stages"]["segmenter"]
    found = stage["detail"]["weights"]
    assert found["family"] == "videomt_segmenter"
    assert not {"missing", "unexpected", "other_shape"} & set(found)
    kept = read_weights(Store(tmp_path).stage(stage["id"]).model)
    state = torch.load(folder / "segmenter_40.pth", weights_only=True)["model"]
    assert torch.equal(kept["memory.learned.weight"], state["backbone.q.weight"])
    block = "blocks.4.attn.qkv.weight"
    theirs = state["backbone.encoder.backbone." + block]
    assert torch.equal(kept["segmenter.encoder.vit." + block], theirs)
    learned = read_weights(Store(tmp_path).stage(record["run_id"]).model)
    assert not torch.equal(learned["memory.learned.weight"], kept["memory.learned.weight"])
    assert torch.allclose(learned["segmenter.encoder.vit." + block], theirs, atol=1e-3)
    again = call(
        *("evaluate", "scale", "--variant", "step6_videomt", "--encoder", TINY),
        *("--segmenter-weights", folder / "segmenter_40.pth", "--results", tmp_path),
        settings=training(folder),
    )
    assert again["run_id"] == record["run_id"]
    assert again["metrics"]["AP"]["n"] == 2


def test_a_class_head_of_another_size_starts_anew_only_when_told(
    folder: Path, tmp_path: Path
) -> None:
    given: list[object] = ["train", "scale", "--variant", "step6_videomt", "--encoder", TINY]
    given += ["--results", tmp_path, "--segmenter-weights", folder / "segmenter_124.pth"]
    done = CliRunner().invoke(app, [str(x) for x in (*given, *as_arguments(training(folder)))])
    assert done.exit_code == 2
    (path,) = (tmp_path / "records").glob("*.json")
    reason = json.loads(path.read_text())["reason"]
    assert "segmenter.class_head.weight 125×96 for 41×96" in reason
    record = train(folder, tmp_path, "segmenter_124.pth", "--allow", "class_head")
    assert record["run_id"] != path.stem
    found = record["stages"]["segmenter"]["detail"]["weights"]
    assert [x.split(" ")[0] for x in found["other_shape"]] == [
        "segmenter.class_head.weight",
        "segmenter.class_head.bias",
    ]


def test_an_experiment_names_a_segmenter(folder: Path) -> None:
    """For all runs of a sweep; its content is in the ids of the stage and of the run."""
    setting = {"recipe.segmenter_weights.file": str(folder / "segmenter_40.pth")}
    plain = load_experiment("scale", training(folder)).one("step6_videomt")
    own = load_experiment("scale", {**training(folder), **setting}).one("step6_videomt")
    expected = hashlib.sha256((folder / "segmenter_40.pth").read_bytes()).hexdigest()
    file = own.recipe.segmenter_weights
    assert file is not None
    assert file.sha256 == expected
    assert len({plain.run_id, own.run_id}) == len({plain.segmenter_stage, own.segmenter_stage}) == 2
    other = replace(own.recipe, segmenter_weights=WeightsFile("elsewhere.pth", expected))
    assert replace(own, recipe=other).run_id == own.run_id
    assert replace(own, recipe=other).segmenter_stage == own.segmenter_stage
    assert own.model().encoder.weights is None


def test_a_segmenter_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(BenchError, match=r"cannot read the weights 'nowhere.pth'"):
        load_experiment("scale", {"recipe.segmenter_weights.file": "nowhere.pth"})
