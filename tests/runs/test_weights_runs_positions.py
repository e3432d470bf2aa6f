"""Whose rule resamples learned positions where a run starts from a file on ViT-Adapter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import micro_settings

from videomt_bench.cli import published
from videomt_bench.models import LearnedQueries, SlotSizes, VideoSegmenter, load_variant
from videomt_bench.report.older import completed
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.stages import prepare_data, train_segmenter
from videomt_bench.runs.store import Store
from videomt_bench.runs.weights import WeightsFile, weights_file
from videomt_bench.sweep.experiment import load_experiment
from videomt_bench.weights import convert_weights, inspect_weights

SEGMENTER = "recipe.segmenter_weights"


def run(**settings: Any) -> RunSpec:
    """CAVIS on the tiny encoder, whose positions are learned for 48 pixels."""
    return load_experiment("tiny", settings).one("step0_cavis")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A segmenter as the authors of CAVIS write it, and the same as ours, converted and plain."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    spec = run()
    model = load_variant("step0_cavis").build(spec.model())
    sizes = SlotSizes(12, model.segmenter.dim, 4)
    part = model.tracker.image_stage()
    segmenter = VideoSegmenter(model.segmenter, LearnedQueries(sizes), part)
    paths = {name: folder / f"{name}.pth" for name in ("theirs", "ours", "plain")}
    torch.save(segmenter.state_dict(), paths["plain"])
    convert_weights(paths["plain"], "cavis_segmenter", paths["theirs"])
    convert_weights(paths["theirs"], "ours", paths["ours"])
    return paths


def rule(spec: RunSpec) -> str:
    """That of the model which is trained, and tested after it."""
    with torch.device("meta"):
        model = load_variant(spec.variant).build(spec.model())
    return model.segmenter.adapter.encoder.positions


@pytest.mark.parametrize(
    ("file", "settings", "expected"),
    [
        ("theirs", {}, "dinov2"),
        ("ours", {}, "dinov2"),
        ("plain", {}, "timm"),
        ("theirs", {f"{SEGMENTER}.positions": "timm"}, "timm"),
        ("plain", {f"{SEGMENTER}.positions": "dinov2"}, "dinov2"),
        ("plain", {"encoders.0.positions": "dinov2"}, "dinov2"),
    ],
)
def test_an_experiment_on_a_published_segmenter(
    file: str, settings: dict[str, Any], expected: str, files: dict[str, Path]
) -> None:
    """The rule is that of the file's authors, unless another is written beside the file."""
    spec = run(**{f"{SEGMENTER}.file": str(files[file]), **settings})
    assert rule(spec) == expected
    assert rule(RunSpec.from_json(spec.to_json())) == expected
    assert RunSpec.from_json(spec.to_json()).run_id == spec.run_id


def test_the_command_line_takes_the_rule_of_the_file_too(files: dict[str, Path]) -> None:
    assert rule(run()) == "timm"
    assert rule(published.from_segmenter(run(), files["theirs"], [])) == "dinov2"
    assert rule(published.testing(run(), files["theirs"])) == "dinov2"
    # a tested file takes no rule from the segmenter that its experiment trains on
    started = published.from_segmenter(run(), files["theirs"], [])
    assert rule(published.testing(started, files["plain"])) == "timm"


def test_ids_change_only_with_the_rule(files: dict[str, Path]) -> None:
    """Runs that exist know the hash of their file and no rule: they stay what they are."""
    named = {f"{SEGMENTER}.file": str(files["theirs"])}
    new = run(**named)
    old = replace(new.recipe, segmenter_weights=weights_file(files["theirs"]))
    older = replace(new, recipe=old)
    document = older.to_json()
    del document["recipe"]["segmenter_weights"]["positions"]
    assert RunSpec.from_json(document).run_id == older.run_id
    assert rule(RunSpec.from_json(document)) == "timm"
    assert completed(document)["recipe"] == older.to_json()["recipe"]
    without = run().to_json()
    del without["weights"], without["recipe"]["segmenter_weights"]
    assert completed(without)["recipe"] == run().to_json()["recipe"]
    assert completed(without)["weights"] is None
    told = run(**named, **{f"{SEGMENTER}.positions": "timm"})
    assert told.run_id == older.run_id != new.run_id
    assert told.segmenter_stage == older.segmenter_stage != new.segmenter_stage
    plain = run(**{f"{SEGMENTER}.file": str(files["plain"])})
    own = replace(plain.recipe, segmenter_weights=weights_file(files["plain"]))
    assert replace(plain, recipe=own).run_id == plain.run_id


def test_a_known_file_is_not_read_again() -> None:
    file = WeightsFile("elsewhere.pth", "ab" * 32)
    assert file.placed() == file


@pytest.mark.parametrize("chosen", [None, "timm"])
def test_the_stage_says_where_a_rule_is_not_that_of_the_authors(
    chosen: str | None, files: dict[str, Path], tmp_path: Path
) -> None:
    settings = {k: v for k, v in micro_settings(tmp_path).items() if k == "datasets"}
    own = {"file": str(files["theirs"]), "positions": chosen}
    spec = run(**settings, **{f"{SEGMENTER}.{k}": v for k, v in own.items() if v})
    prepare_data(spec.dataset)
    found = train_segmenter(spec, Store(tmp_path)).detail["weights"]
    assert found["family"] == "cavis_segmenter"
    note = "positions are resampled as 'timm' has it; its authors have 'dinov2'"
    assert found.get("notes", []) == ([note] if chosen else [])
    assert inspect_weights(files["theirs"]).positions == "dinov2"
