"""All six data sets in their released layouts, from files to a record, by the named recipes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_data import write_all
from conftest import as_arguments
from PIL import Image
from typer.testing import CliRunner

from videomt_bench.cli import app
from videomt_bench.data.layouts import open_dataset
from videomt_bench.data.mixture import MixedClips
from videomt_bench.errors import BenchError
from videomt_bench.evaluation import tasks
from videomt_bench.evaluation.stream import InferenceSettings, VideoOutputs, run_videos
from videomt_bench.models import EncoderSpec, ModelSpec, load_variant
from videomt_bench.runs import stages
from videomt_bench.runs.clips import training_clips
from videomt_bench.runs.execute import execute
from videomt_bench.runs.record import read_record
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Store
from videomt_bench.sweep.experiment import load_experiment

INSTANCES = ("ytvis_2019", "ytvis_2021", "ytvis_2022", "ovis")
EXPERIMENTS = {**dict.fromkeys(INSTANCES, "vis"), "vipseg": "vps", "vspw": "vss"}
METRIC = {**dict.fromkeys(INSTANCES, "AP"), "vipseg": "VPQ", "vspw": "mIoU"}
RECIPES = {"step6_videomt": "videomt", "step0_cavis": "cavis"}
ENCODER = EncoderSpec("vit_tiny_conv_patch8", image_size=48, patch_size=8)


def small(root: Path) -> dict[str, Any]:
    """What makes the full recipes small; their stages, optimizers, sampling and losses stay."""
    settings: dict[str, Any] = {
        "data_root": str(root),
        "device": "cpu",
        "recipe.num_queries": 6,
        "recipe.test.short_side": 32,
        "recipe.test.precision": "fp32",
    }
    for stage in ("segmenter", "video"):
        settings |= {
            f"recipe.{stage}.augmentation": dict(short_sides=[32], max_size=64),
            f"recipe.{stage}.train.iterations": 2,
            f"recipe.{stage}.train.batch": 2,
            f"recipe.{stage}.train.precision": "fp32",
            f"recipe.{stage}.train.workers": 0,
            f"recipe.{stage}.train.losses": dict(num_points=64),
        }
    return {**settings, "recipe.video.frames": 3}


def spec_of(root: Path, dataset: str, variant: str, recipe: str | None = None) -> RunSpec:
    loaded = load_experiment(EXPERIMENTS[dataset], small(root)).select(datasets=(dataset,))
    spec = loaded.one("step6_videomt", recipe=recipe or RECIPES[variant])
    return replace(spec, variant=variant, encoder=ENCODER)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_all(root)
    return root


@pytest.mark.parametrize("variant", RECIPES)
@pytest.mark.parametrize("dataset", EXPERIMENTS)
def test_from_files_to_a_record(dataset: str, variant: str, data: Path, tmp_path: Path) -> None:
    spec = spec_of(data, dataset, variant)
    assert spec.recipe.name == RECIPES[variant]
    stages.check(spec, Store(tmp_path))
    stages.prepare_data(spec.dataset)
    execute(spec, tmp_path, ("segmenter", "video", "evaluate"))
    record = read_record(Store(tmp_path).record_path(spec.run_id))
    assert record.reason is None, record.reason
    assert set(record.stages) == {"segmenter", "video", "evaluate"}
    assert record.spec["dataset"]["name"] == dataset
    assert record.metrics[METRIC[dataset]].n == 2
    assert RunSpec.from_json(record.spec) == spec


@pytest.mark.parametrize("dataset", EXPERIMENTS)
def test_pseudo_videos_are_mixed_in(dataset: str, data: Path) -> None:
    """As many as of the data set; each turns one image, of whose objects all frames know."""
    spec = spec_of(data, dataset, "step6_videomt")
    clips = training_clips(spec.dataset, spec.recipe.video, spec.seed)
    if dataset not in INSTANCES:
        assert not isinstance(clips, MixedClips)
        return
    assert isinstance(clips, MixedClips)
    sources = [clips.locate(i)[0] for i in range(1000)]
    assert sum(sources) == pytest.approx(500, abs=60)
    clip = clips[sources.index(1)]
    assert len(clip.labels) == 2
    assert clip.present.all()
    assert not torch.equal(clip.frames[0], clip.frames[-1])


def test_a_recipe_has_a_mixture_of_its_own(data: Path) -> None:
    """DVIS learns YouTube-VIS 2019 from COCO and videos as 1 to 0.75, in every stage."""
    plain = spec_of(data, "ytvis_2019", "step6_videomt", "cavis")
    own = spec_of(data, "ytvis_2019", "step6_videomt", "dvis")
    assert own.recipe.segmenter.mixture_ratio == own.recipe.video.mixture_ratio
    for stage in (own.recipe.segmenter, own.recipe.video):
        clips = training_clips(own.dataset, stage, own.seed)
        assert isinstance(clips, MixedClips)
        assert clips.probabilities.tolist() == pytest.approx([0.75 / 1.75, 1 / 1.75])
    before = training_clips(plain.dataset, plain.recipe.video, plain.seed)
    assert isinstance(before, MixedClips)
    assert before.probabilities.tolist() == [0.5, 0.5]
    stage = replace(plain.recipe.segmenter, mixture_ratio=2.0)
    other = replace(plain, recipe=replace(plain.recipe, segmenter=stage))
    assert other.segmenter_stage != plain.segmenter_stage
    alone = replace(plain.dataset, mixture=())
    assert not isinstance(training_clips(alone, stage, 0), MixedClips)
    with pytest.raises(BenchError, match=r"mixture_ratio is 0\.0; it must be above 0, or None"):
        replace(stage, mixture_ratio=0.0)


def test_the_model_of_2021_is_tested_on_2022(data: Path, tmp_path: Path) -> None:
    """One training serves both, whichever comes first; each has its own record."""
    other, own = (spec_of(data, name, "step6_videomt") for name in ("ytvis_2022", "ytvis_2021"))
    assert other.run_id != own.run_id
    assert other.trained.run_id == own.run_id
    assert other.segmenter_stage == own.segmenter_stage
    names = ("segmenter", "video", "evaluate")
    first = execute(other, tmp_path, names)
    assert first.reason is None, first.reason
    store = Store(tmp_path)
    weights = store.stage(own.run_id).model
    made = weights.stat().st_mtime_ns
    second = execute(own, tmp_path, names)
    assert second.reason is None, second.reason
    assert weights.stat().st_mtime_ns == made
    assert first.stages["video"].id == second.stages["video"].id == own.run_id
    assert not store.stage(other.run_id).model.exists()


@pytest.mark.parametrize(
    ("dataset", "recipe"),
    [
        ("ovis", "dvis_daq"),
        ("vipseg", "dvis_plus"),
        ("ytvis_2019", "dvis_plus"),
        ("vspw", "dvis"),
        ("vspw", "videomt_public_code"),
        ("ovis", "cavis_public_code"),
    ],
)
def test_a_recipe_trains(dataset: str, recipe: str, data: Path, tmp_path: Path) -> None:
    """DVIS-DAQ by the tracker of CAVIS, which learns the same losses."""
    variants = {"dvis": "dvis", "dvis_plus": "dvis_plus", "videomt_public_code": "step6_videomt"}
    spec = spec_of(data, dataset, variants.get(recipe, "step0_cavis"), recipe)
    assert spec.recipe.name == recipe
    record = execute(spec, tmp_path, ("segmenter", "video"))
    assert record.reason is None, record.reason
    assert set(record.stages) == {"segmenter", "video"}


def test_panoptic_thresholds_are_settings(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query of class probability 0.5 is kept at 0.4 and not at the published 0.8."""
    index = open_dataset("vipseg", data / "VIPSeg", "val")
    model = load_variant("step6_videomt").build(ModelSpec(ENCODER, 124, 6))
    half = torch.full((1, 6, 125), -20.0)
    half[..., 3] = half[..., 5] = 20.0

    def confident(*arguments: Any) -> VideoOutputs:
        return replace(run_videos(*arguments), class_logits=half)

    monkeypatch.setattr(tasks, "run_videos", confident)
    settings = InferenceSettings(short_side=32, overlap_threshold=0.0, mask_threshold=0.0)
    for threshold, found in ((0.4, True), (0.8, False)):
        own = replace(settings, class_threshold=threshold)
        written = tasks.predict(model, index, tmp_path / str(threshold), own, lambda *_: None)
        pixels = [np.asarray(Image.open(f)) for f in written.files if f.suffix == ".png"]
        assert any(p.any() for p in pixels) == found


MINE = """
title = "Mine"
variants = ["step6_videomt"]
encoders = [dict(name="vit_tiny_conv_patch8", image_size=48, patch_size=8)]
datasets = ["ytvis_2019"]
recipe = dict(like="videomt")
"""


def test_one_run_from_a_file_and_flags(data: Path, tmp_path: Path) -> None:
    """train and evaluate leave the record that a sweep would."""
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    changes = small(data)
    flags = ["--root", str(changes.pop("data_root")), "--recipe", "videomt_june", "--json"]
    chosen = ["--variant", "step6_videomt", "--results", str(tmp_path / "results"), *flags]
    runner = CliRunner()
    for command, stages_done in (("train", 2), ("evaluate", 3)):
        done = runner.invoke(app, [command, str(file), *chosen, *as_arguments(changes)])
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout.splitlines()[-1])
        assert len(found["stages"]) == stages_done
    spec = load_experiment(str(file), {**small(data), "recipe.like": "videomt_june"}).runs()[0]
    assert found["run_id"] == spec.run_id
    assert found["metrics"]["AP"]["n"] == 2


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--recipe", "videomt_jun"], "unknown recipe 'videomt_jun'; did you mean 'videomt_june'"),
        (["--encoder", "vit_huge"], "unknown encoder 'vit_huge'"),
        (["--dataset", "ytvis_2020"], "unknown data set of vis 'ytvis_2020'; did you mean"),
        (["--root", "nowhere"], "looked for nowhere/ytvis_2019/train.json"),
    ],
)
def test_bad_flags_are_one_sentence(flags: list[str], sentence: str, tmp_path: Path) -> None:
    arguments = ["train", "vis", "--variant", "step6_videomt", "--results", str(tmp_path), *flags]
    with pytest.raises(BenchError) as caught:
        app(arguments, standalone_mode=False)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
