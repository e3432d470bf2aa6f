"""The grid of an experiment: what single variants have otherwise, and what a report is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import as_arguments, micro_settings

from videomt_bench.errors import BenchError
from videomt_bench.runs.record import read_record
from videomt_bench.sweep.experiment import Experiment, load_experiment

TWO = ["step4_frame_by_frame", "step6_videomt"]


def demo(tmp_path: Path, **settings: Any) -> Experiment:
    return load_experiment("demo", micro_settings(tmp_path, variants=TWO, changes={}, **settings))


def test_a_change_is_of_one_variant(tmp_path: Path) -> None:
    plain = {spec.variant: spec for spec in demo(tmp_path).runs()}
    change = {"recipe": {"video": {"frames": 2, "train": {"iterations": 9}}}}
    settings = micro_settings(tmp_path, variants=TWO, changes={"step6_videomt": change})
    changed = {spec.variant: spec for spec in load_experiment("demo", settings).runs()}
    assert changed["step4_frame_by_frame"].run_id == plain["step4_frame_by_frame"].run_id
    assert changed["step6_videomt"].run_id != plain["step6_videomt"].run_id
    video = changed["step6_videomt"].recipe.video
    assert (video.frames, video.train.iterations) == (2, 9)
    assert video.train.optim == plain["step6_videomt"].recipe.video.train.optim


def test_a_variant_can_have_another_encoder(tmp_path: Path) -> None:
    name = "vit_tiny_conv_patch8"
    changes = {"step6_videomt": {"encoders": {name: {"joint_blocks": 2}}}}
    settings = micro_settings(tmp_path, variants=TWO, changes=changes)
    blocks = {r.variant: r.encoder.joint_blocks for r in load_experiment("demo", settings).runs()}
    assert blocks == {"step4_frame_by_frame": None, "step6_videomt": 2}


def test_recipes_are_an_axis_of_the_grid(tmp_path: Path) -> None:
    recipes = {"as it is": {}, "short": {"video": {"frames": 2}}}
    changes = {"step6_videomt": {"recipe": {"video": {"frames": 4, "train": {"iterations": 9}}}}}
    plain = {s.variant: s.run_id for s in demo(tmp_path).runs()}
    settings = micro_settings(tmp_path, variants=TWO, changes=changes)
    runs = load_experiment("demo", {**settings, "recipes": recipes}).runs()
    assert [r.variant for r in runs] == [v for v in TWO for _ in recipes]
    assert runs[0].run_id == plain["step4_frame_by_frame"], "no change, the same run"
    assert [r.recipe.video.frames for r in runs[1:]] == [2, 4, 2], "the row has the last word"
    assert runs[3].recipe.video.train.iterations == 9
    assert len({r.segmenter_stage for r in runs}) == 1
    wrong = {"recipes": {"odd": {"video": {"frame": 2}}}}
    with pytest.raises(BenchError, match=r"demo.recipes.odd.*frame"):
        load_experiment("demo", {**settings, **wrong})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"changes": {"step6": {}}}, "unknown variant in changes 'step6'"),
        ({"changes": {"step6_videomt": {"recipes": {}}}}, "key in changes.step6_videomt 'recipes'"),
        (
            {"changes": {"step6_videomt": {"encoders": {"vit_x": {}}}}},
            "encoder in changes.step6_videomt 'vit_x'",
        ),
        ({"sizes": {"vit_x": {}}}, "encoder in sizes 'vit_x'"),
    ],
)
def test_a_change_of_what_is_not_there(
    tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BenchError, match=sentence):
        load_experiment("demo", micro_settings(tmp_path, variants=TWO, **settings))


def test_a_change_of_an_unknown_setting(tmp_path: Path) -> None:
    changes = {"step6_videomt": {"recipe": {"video": {"frame": 2}}}}
    loaded = load_experiment("demo", micro_settings(tmp_path, variants=TWO, changes=changes))
    with pytest.raises(BenchError, match=r"step6_videomt\.recipe\.video 'frame'"):
        loaded.runs()


def test_the_rows_of_the_ablation_know_their_published_numbers() -> None:
    rows = load_experiment("ablation").rows()["rows"]
    assert len(rows) == 27
    by_label = {row["label"]: row for row in rows}
    first = by_label["0 CAVIS, ViT-B"]
    assert first["encoder"] == "vit_base_patch14_dinov2"
    assert (first["table"], first["setting"][:5]) == ("scale", "ViT-B")
    last = next(row for row in rows if row["variant"] == "step6_videomt")
    assert last["encoder"] == "vit_large_patch14_reg4_dinov2"


def test_the_cost_alone_needs_neither_data_nor_weights(tmp_path: Path) -> None:
    settings = micro_settings(tmp_path, variants=TWO, changes={})
    settings["datasets"][0] |= {"generate": [], "root": str(tmp_path / "nowhere")}
    encoder = dict(name="vit_tiny_conv_patch8", image_size=48, patch_size=8, weights="no.pth")
    settings |= {"encoders": [encoder], "cost.frames": 0}
    results = tmp_path / "results"
    arguments = ["sweep", "run", "demo", "--results", str(results), "--datasets", "micro"]
    command = [sys.executable, "-m", "videomt_bench", *arguments, *as_arguments(settings), "--json"]
    cost = [*command, "--stages", "cost", "--executor", "debug"]
    done = subprocess.run(cost, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout.splitlines()[-1])["runs"]) == 2
    for file in (results / "records").glob("*.json"):
        record = read_record(file)
        assert (record.state, set(record.stages)) == ("planned", {"cost"})
        assert record.cost is not None
        assert record.cost["fps"] == {"model": None, "end_to_end": None}
        assert record.cost["params"] > 0
    whole = subprocess.run(command, capture_output=True, text=True)
    assert whole.returncode == 2
    assert "no.pth" in whole.stderr
