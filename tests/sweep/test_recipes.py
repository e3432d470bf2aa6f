"""The named recipes against the check values of the papers and their public configurations."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recipe_tables import DATASETS, FAMILIES, PAGE, dataset, filled, recipe

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.stream import InferenceSettings, network_size, pad_to_multiple
from videomt_bench.models import (
    EncoderSpec,
    ModelSpec,
    TrackSelection,
    VideoSegmenter,
    load_variant,
)
from videomt_bench.models.conformance import check_variant
from videomt_bench.models.encoders import SMALL_ENCODERS
from videomt_bench.runs.spec import Recipe
from videomt_bench.runs.stages import STAGES
from videomt_bench.runs.store import Store
from videomt_bench.sweep.experiment import load_experiment
from videomt_bench.sweep.launch import Request, _after, plan_jobs
from videomt_bench.sweep.ledger import Array
from videomt_bench.sweep.named import dataset_names, named_dataset, named_recipe, recipe_names
from videomt_bench.sweep.plan import plan
from videomt_bench.sweep.tasks import run_tasks
from videomt_bench.training.engine import TrainSettings
from videomt_bench.training.freezing import freeze
from videomt_bench.training.optim import OptimSettings, parameter_groups, schedule

YOUTUBE, INSTANCES = DATASETS[:3], DATASETS[:4]
LARGE = "vit_large_patch14_reg4_dinov2"


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_one_for_every_data_set(name: str) -> None:
    for data in DATASETS:
        found = recipe(name, data)
        assert isinstance(found, Recipe)
        assert found.name == name
        for stage in (found.segmenter, found.video):
            assert stage.augmentation.short_sides
            assert stage.augmentation.crop == (data in INSTANCES)
            assert stage.drop_empty == (data in INSTANCES)
            assert stage.train.precision == "fp16"
        assert found.num_queries == 200


# iterations on clips: the table of public configurations, the statement of the paper, the zoo
ITERATIONS = {
    "videomt": (160, 160, 160, 160, 40, 20),
    "videomt_june": (60, 160, 160, 160, 40, 40),
    "videomt_june_small": (40, 160, 160, 160, 40, 40),
    "videomt_february": (60, 40, 40, 160, 40, 40),
    "videomt_dinov3": (160, 160, 160, 160, 40, 40),
    "cavis": (160, 160, 160, 160, 40, 20),
    "dvis_plus": (40, 40, 40, 40, 20, 20),
    "dvis_daq": (160, 160, 160, 160, 90, 20),
}
SHORT_SIDES = {
    "videomt": (448, 448, 448, 544, 720, 720),
    "videomt_dinov3": (480, 480, 480, 544, 720, 720),
    "cavis": (448, 448, 448, 448, 720, 720),
    "dvis_plus": (480, 480, 480, 480, 720, 720),
    "dvis_daq": (480, 480, 480, 544, 720, 720),
    "dvis_daq_480": (480, 480, 480, 480, 720, 720),
    "minvis": (360, 360, 360, 360, 720, 720),
}


@pytest.mark.parametrize("name", ITERATIONS)
def test_iterations_on_clips(name: str) -> None:
    found = tuple(recipe(name, d).video.train.iterations // 1000 for d in DATASETS)
    assert found == ITERATIONS[name]


@pytest.mark.parametrize("name", SHORT_SIDES)
def test_test_sizes(name: str) -> None:
    assert tuple(recipe(name, d).test.short_side for d in DATASETS) == SHORT_SIDES[name]


def test_what_all_stages_on_clips_share() -> None:
    for name in FAMILIES:
        for data in DATASETS:
            video = recipe(name, data).video
            assert (video.frames, video.train.batch, video.span) == (5, 8, None)
            assert (video.include_last, video.ordered, video.label_quirk) == (True, True, False)


def test_top_k_and_thresholds() -> None:
    kept = {n: [recipe(n, d).test.top_k for d in INSTANCES] for n in FAMILIES}
    assert kept["videomt"] == kept["cavis"] == kept["dvis_plus"] == [10, 10, 10, 20]
    assert kept["dvis_daq"] == [20, 20, 20, 20]
    for name in FAMILIES:
        test = recipe(name, "vipseg").test
        found = (test.class_threshold, test.overlap_threshold, test.mask_threshold)
        assert found == (0.8, 0.8, 0.5)


def test_augmentation() -> None:
    sides = (320, 352, 392, 416, 448, 480, 512, 544, 576, 608, 640)
    for data in DATASETS:
        own = recipe("videomt", data).video.augmentation
        assert own.flip == 0.5
        if data in INSTANCES:
            assert (own.short_sides, own.max_size) == (sides, 768)
            assert (own.crop_short_sides, own.crop_range) == ((400, 500, 600), (384, 600))
            assert own.crop_probability == 0.5
        else:
            assert own.short_sides == tuple(range(480, 801, 32))
            assert own.max_size == 1333


def test_segmenter_stages_of_the_decoupled_systems() -> None:
    """Frames, span, batch, iterations and rate (CAVIS; CTVIS in DVIS++ with ViT-L)."""
    for data in DATASETS:
        own = recipe("cavis", data).segmenter
        assert (own.frames, own.span) == (3, 2)
        assert (own.train.batch, own.train.iterations, own.train.optim.lr) == (8, 40000, 1e-4)
        own = recipe("dvis_plus", data).segmenter
        few = (11, None, 16, 16000, 5e-5, (0.375, 0.75))
        many = (4, 8, 16, 20000, 1e-4, (0.7, 0.9))
        optim = own.train.optim
        found = (own.frames, own.span, own.train.batch, own.train.iterations, optim.lr)
        assert (*found, optim.milestones) == (few if data in INSTANCES else many)
        assert own.train.matching == "per_frame"
        assert recipe("dvis_daq", data).segmenter == own


def test_the_tracks_of_daq() -> None:
    """Short clips for 10,000 iterations; thresholds by data set (DVIS-DAQ's public settings)."""
    for name in ("dvis_daq", "dvis_daq_480"):
        for data in DATASETS:
            own = recipe(name, data)
            learned, rules = own.video.train.tracks, own.selection or TrackSelection()
            assert learned is not None
            assert (learned.short_iterations, learned.short_frames) == (10000, 2)
            dense, ovis = data in DATASETS[4:], data == "ovis"
            assert learned.score == (0.1 if ovis else 0.01 if dense else 0.02)
            assert learned.disappearance is not dense
            assert not learned.early_cut
            assert not learned.shared_gone
            expected = TrackSelection(0.01, 0.1, 0.01) if ovis else TrackSelection(0.01, 0.01, None)
            assert rules == expected
            refined = TrackSelection(0.01, 0.05, 0.01) if ovis else None
            assert own.offline_selection == refined
    refined = [recipe("dvis_daq", d).refine for d in DATASETS[:4]]
    assert [(r.frames, r.train.iterations) for r in refined if r] == [(15, 160000)] * 3 + [
        (15, 80000)
    ]
    assert all(r is not None and r.reverse == 0.5 for r in refined)
    quirks = recipe("dvis_daq_public_code", "ovis").video.train.tracks
    assert quirks is not None
    assert quirks.early_cut
    assert quirks.shared_gone
    assert recipe("dvis_plus", "ovis").video.train.tracks is None


def test_the_refiner_of_cavis() -> None:
    """15 frames, 160,000 iterations and on VIPSeg 40,000, where frames are cropped to 608 × 608
    (CAVIS's public settings)."""
    for data in DATASETS:
        own = recipe("cavis", data).refine
        assert own is not None
        assert (own.frames, own.span, own.reverse, own.train.batch) == (15, None, 0.5, 8)
        assert own.train.optim.milestones == (0.7,)
        assert own.train.losses.refined_weight == 0.0
        dense = data in DATASETS[4:]
        iterations = {"vipseg": 40000, "vspw": 20000}.get(data, 160000)
        assert own.train.iterations == iterations
        assert own.drop_empty is not dense
        if not dense:
            assert own.augmentation == recipe("cavis", data).video.augmentation
            continue
        frames, masks = torch.zeros(2, 3, 720, 1280), torch.zeros(1, 2, 720, 1280)
        for seed in range(4):
            cropped, _ = own.augmentation(frames, masks, np.random.default_rng(seed))
            width = cropped.shape[-1]
            assert width == 608
            assert cropped.shape[-2] in {min(608, s) for s in range(480, 801, 32)}
    quirks = recipe("cavis_public_code", "vipseg").refine
    assert quirks is not None
    assert (quirks.include_last, quirks.ordered, quirks.present_everywhere) == (False, False, True)


@pytest.mark.parametrize("name", ["dvis", "dvis_plus", "dvis_daq", "dvis_daq_480"])
def test_no_other_refiner_has_settings_of_that_of_cavis(name: str) -> None:
    for data in DATASETS[4:]:
        own = recipe(name, data)
        assert own.refine is not None
        assert own.refine.augmentation == own.video.augmentation
        assert (own.refine.include_last, own.refine.ordered) == (True, True)


def test_contrastive_losses() -> None:
    """CAVIS learns references on YouTube-VIS alone, DVIS++ everywhere but on VIPSeg."""

    def weights(name: str, data: str) -> tuple[float, float]:
        losses = recipe(name, data).video.train.losses
        return losses.reference_weight, losses.reference_cosine_weight

    assert {weights("cavis", d) for d in YOUTUBE} == {(2.0, 2.0)}
    assert {weights("cavis", d) for d in DATASETS[3:]} == {(0.0, 0.0)}
    assert {weights("dvis_plus", d) for d in DATASETS if d != "vipseg"} == {(2.0, 0.0)}
    assert weights("dvis_plus", "vipseg") == (0.0, 0.0)
    assert {weights("dvis_daq", d) for d in DATASETS} == {(0.0, 0.0)}
    losses = recipe("dvis_plus", "ovis").segmenter.train.losses
    assert (losses.identity_weight, losses.identity_cosine_weight) == (2.0, 3.0)
    assert (losses.prototype_weight, losses.prototype_cosine_weight) == (0.0, 0.0)


def test_data_and_mixture() -> None:
    assert sorted(DATASETS) == dataset_names()
    layouts = {"ytvis_2019": "coco2ytvis2019", "ytvis_2021": "coco2ytvis2021", "ovis": "coco2ovis"}
    for name in DATASETS:
        own = dataset(name)
        mixed = [(m.layout, m.root, m.split, m.ratio) for m in own.training.mixture]
        layout = layouts.get(own.training.layout)
        assert mixed == ([(layout, "datasets/coco", "train", 1.0)] if layout else [])
    assert dataset("ytvis_2022").trained_on == dataset("ytvis_2021")
    moved = dataset("ytvis_2022").below("/data")
    assert {root for _, root, _ in moved.splits()} == {
        "/data/ytvis_2021",
        "/data/coco",
        "/data/ytvis_2022",
    }


@pytest.mark.parametrize(
    ("source", "name", "data", "inner", "padded"),
    [
        ((720, 1280), "videomt", "ytvis_2019", (448, 796), (448, 800)),
        ((1080, 1920), "videomt", "ytvis_2021", (448, 796), (448, 800)),
        ((480, 640), "videomt", "ytvis_2022", (448, 597), (448, 608)),
        ((720, 1280), "videomt_dinov3", "ytvis_2019", (480, 853), (480, 864)),
        ((720, 1280), "dvis_plus", "ytvis_2019", (480, 853), (480, 864)),
        ((1080, 1920), "videomt", "ovis", (544, 967), (544, 992)),
        ((720, 1280), "videomt", "vipseg", (720, 1280), (736, 1280)),
        ((480, 853), "videomt", "vspw", (720, 1280), (736, 1280)),
    ],
)
def test_printed_sizes_at_the_network(
    source: tuple[int, int], name: str, data: str, inner: Any, padded: Any
) -> None:
    class Video:
        height, width = source

    settings: InferenceSettings = recipe(name, data).test
    assert network_size(Video(), settings) == inner  # type: ignore[arg-type]
    frame = pad_to_multiple(torch.zeros(*inner, device="meta"), settings.divisor)
    assert tuple(frame.shape) == padded


def course(name: str, data: str, stage: str) -> tuple[int, OptimSettings]:
    train: TrainSettings = getattr(recipe(name, data), stage).train
    return train.iterations, train.optim


@pytest.mark.parametrize(
    ("name", "data", "stage", "drops"),
    [
        ("cavis", "ytvis_2019", "segmenter", [28000]),
        ("cavis", "ovis", "video", [112000]),
        ("cavis", "vipseg", "video", [28000]),
        ("dvis_plus", "ytvis_2021", "segmenter", [6000, 12000]),
        ("dvis_plus", "vspw", "segmenter", [14000, 18000]),
        ("dvis_plus", "vipseg", "video", [14000]),
        ("dvis_daq", "ytvis_2019", "video", [112000]),
        ("dvis_daq", "vipseg", "video", [66000]),
    ],
)
def test_rates_fall_at_the_published_steps(
    name: str, data: str, stage: str, drops: list[int]
) -> None:
    total, optim = course(name, data, stage)
    for encoder in (False, True):
        assert schedule(0, total, optim, encoder) == 1, "no warm-up"
        for count, drop in enumerate(drops):
            assert schedule(drop - 1, total, optim, encoder) == pytest.approx(0.1**count)
            assert schedule(drop, total, optim, encoder) == pytest.approx(0.1 ** (count + 1))


def test_printed_values_of_the_polynomial() -> None:
    total, optim = course("videomt_june", "ytvis_2019", "video")
    assert (total, optim) == (60000, OptimSettings())
    printed = {250: (0.5, 0), 1000: (0.9924, 0.5), 1500: (0.9849, 1), 30000: (0.5399, 0.5482)}
    for step, values in printed.items():
        found = [schedule(step, total, optim, encoder) for encoder in (False, True)]
        assert found == pytest.approx(values, abs=5e-5)


def on_meta(variant: str, encoder: str) -> VideoSegmenter:
    with torch.device("meta"):
        spec = ModelSpec(EncoderSpec(encoder, 640, 16), num_classes=40)
        return load_variant(variant).build(spec)


def rates(model: VideoSegmenter, optim: OptimSettings) -> dict[str, float]:
    return {n: g["rate"] for g in parameter_groups(model, optim) for n in g["names"]}


def test_groups_of_videomt_large() -> None:
    """343 encoder and 21 other parameters; block i at 1e-4 · 0.6^(23 - i)."""
    model = on_meta("step6_videomt", LARGE)
    optim = course("videomt", "ytvis_2019", "video")[1]
    found = rates(model, optim)
    encoder = {n: r for n, r in found.items() if ".encoder." in n}
    assert (len(encoder), len(found) - len(encoder)) == (343, 21)
    printed = {23: 1.0, 22: 0.6, 21: 0.36, 20: 0.216, 16: 0.0280, 12: 3.6e-3, 8: 4.7e-4, 0: 7.9e-6}
    for block, factor in printed.items():
        own = {r for n, r in encoder.items() if f".blocks.{block}." in n}
        assert len(own) == 1
        assert own.pop() == pytest.approx(1e-4 * factor, rel=0.02)
    norms = {r for n, r in encoder.items() if ".vit.norm." in n}
    assert norms == {1e-4}
    slow = rates(model, replace(optim, slow_final_norm=True))
    changed = {n for n in found if found[n] != slow[n]}
    assert changed == {n for n in encoder if ".vit.norm." in n}
    assert [slow[n] for n in changed] == pytest.approx([1e-4 * 0.6**23] * 2)
    assert course("videomt_dinov3_public_code", "vspw", "video")[1].slow_final_norm


def test_groups_of_cavis_large() -> None:
    """Of the segmenter stage: 22.95 M in the adapter at a tenth of the rate, 20.88 M beside it;
    of the video stage the 9,812,265 of the tracker. Norms and embeddings do not decay."""
    model = on_meta("step0_cavis", "vit_large_patch14_dinov2")
    model.segmenter.adapter.encoder.requires_grad_(False)
    optim = course("cavis", "ytvis_2019", "segmenter")[1]
    assert (optim.clip_norm, optim.weight_decay, optim.warmup) == (0.01, 0.05, (0, 0))
    image = VideoSegmenter(model.segmenter, model.memory, model.tracker.image_stage())
    groups = parameter_groups(image, optim)
    sums = {1e-4: 0, 1e-5: 0}
    for group in groups:
        sums[round(group["rate"], 12)] += sum(p.numel() for p in group["params"])
    assert sums[1e-5] / 1e6 == pytest.approx(22.95, abs=0.005)
    assert sums[1e-4] / 1e6 == pytest.approx(6.10 + 14.78, abs=0.02)
    for group in groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            bare = group.get("weight_decay") == 0
            if parameter.dim() > 2:
                assert not bare, name
            if "norm" in name.split(".")[-2] or "learned" in name or "level_embed" in name:
                assert bare, name
    with freeze(model, load_variant("step0_cavis").frozen):
        groups = parameter_groups(model, course("cavis", "ytvis_2019", "video")[1])
    assert {group["rate"] for group in groups} == {1e-4}
    assert sum(p.numel() for g in groups for p in g["params"]) == 9_812_265


def test_the_old_optimizer_is_the_default() -> None:
    settings = OptimSettings()
    for group in parameter_groups(on_meta("step0_cavis", next(iter(SMALL_ENCODERS))), settings):
        assert "weight_decay" not in group


def test_an_experiment_names_a_recipe_and_changes_it() -> None:
    plain = load_experiment("vis").runs()[-1].recipe
    june = load_experiment("vis", {"recipe.like": "videomt_june"})
    by_data = {r.dataset.name: r.recipe for r in june.runs() if r.variant == "step6_videomt"}
    assert by_data["ytvis_2019"].video.train.iterations == 60000
    assert by_data["ovis"] == replace(plain, name="videomt_june")
    cavis = [r for r in june.runs() if r.variant == "step0_cavis"]
    assert {r.recipe.name for r in cavis} == {"cavis"}, "a variant's own recipe stays"
    fewer = load_experiment("vis", {"recipe.video.train.iterations": 7}).runs()
    assert {r.recipe.video.train.iterations for r in fewer} == {7}


def test_one_run_by_its_parts() -> None:
    loaded = load_experiment("vis", {"data_root": "/data"}).select(datasets=("ovis",))
    found = loaded.one("step0_cavis", "vit_base_patch14_dinov2", "cavis_public_code")
    assert found.recipe == replace(recipe("cavis_public_code", "ovis"), refine=None)
    assert (found.encoder.name, found.encoder.image_size) == ("vit_base_patch14_dinov2", 640)
    assert found.dataset.root == "/data/ovis"
    assert loaded.one("step0_cavis", LARGE).encoder.name == "vit_large_patch14_dinov2"
    assert loaded.one("step6_videomt").recipe == recipe("videomt", "ovis")


@pytest.mark.parametrize(
    ("experiment", "settings", "sentence"),
    [
        ("vis", {"recipe.like": "videomt_jun"}, "unknown recipe 'videomt_jun'; did you mean"),
        ("vis", {"recipe": 3}, "vis.recipe must be a table of settings, not 3"),
        ("vis", {"recipe.vidoe": 1}, "unknown key in vis.recipe 'vidoe'; did you mean 'video'"),
        ("vis", {"datasets": ["ytvis_2020"]}, "unknown data set 'ytvis_2020'; did you mean"),
        ("tiny", {"recipe.like": "videomt"}, "'generated'; valid: ovis, vipseg, vspw, ytvis_2019"),
        ("vis", {"recipe.video.reverse": 2.0}, "reverse is 2.0; it must be a probability"),
        ("vis", {"recipe.video.train.optim.milestones": [0.7, 28000]}, "between 0 and 1"),
    ],
)
def test_a_bad_name_is_one_sentence(
    experiment: str, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BenchError, match=re.escape(sentence)) as caught:
        load_experiment(experiment, settings)
    assert "\n" not in str(caught.value)


def test_a_bad_choice_for_one_run_is_one_sentence() -> None:
    vis, tiny = load_experiment("vis"), load_experiment("tiny")
    with pytest.raises(BenchError, match="unknown recipe 'cavi'; did you mean 'cavis'"):
        vis.one("step0_cavis", None, "cavi")
    with pytest.raises(BenchError, match="unknown encoder 'vit_huge'"):
        vis.one("step0_cavis", "vit_huge")
    with pytest.raises(BenchError, match="the recipe of tiny is written out, so 'cavis' cannot"):
        tiny.one("step0_cavis", None, "cavis")


def test_named_settings_cannot_be_changed_by_accident() -> None:
    named_dataset("ovis")["root"] = "elsewhere"
    named_recipe("videomt", "ovis")["video"]["frames"] = 99
    assert named_dataset("ovis")["root"] == "datasets/ovis"
    assert named_recipe("videomt", "ovis")["video"]["frames"] == 5


def test_the_page_has_the_tables_of_the_recipes() -> None:
    """To write them again: python tests/sweep/recipe_tables.py"""
    text = Path(PAGE).read_text(encoding="utf-8")
    assert text.count("<!-- table:") == 2
    assert filled(text) == text


def test_training_that_two_runs_share_is_one_job(tmp_path: Path) -> None:
    """YouTube-VIS 2022 is tested after the training of 2021, on SLURM and on this machine."""
    loaded = load_experiment("vis").select(datasets=("ytvis_2021", "ytvis_2022"))
    own, other = (
        r for r in loaded.runs() if (r.variant, r.encoder.name) == ("step6_videomt", LARGE)
    )
    found = plan(loaded, tmp_path, names=STAGES[:4], ask_slurm=False)
    jobs = {stage.stage: stage.jobs for stage in found.stages}
    assert jobs["evaluate"] == 2 * jobs["video"] == 2 * jobs["segmenter"]
    store = Store(tmp_path)
    waves = plan_jobs([other, own], store, Request(names=STAGES[:4]))
    assert [[t.spec.run_id for t in tasks] for tasks, _ in waves[1:]] == [
        [own.run_id],
        [other.run_id],
    ]
    earlier = Array("vis", ("video", "evaluate"), ("7_0",), ((own.run_id, own.run_id),))
    assert _after(waves[2][0], [earlier], {}) == ["7"]
    assert _after(waves[1][0], [earlier], {}) == []
    local = {t.stage_id: t.needs for t in run_tasks([other, own], store, ("video", "evaluate"))}
    assert local == {own.run_id: own.segmenter_stage, other.run_id: own.run_id}
    alone = run_tasks([other], store, ("video", "evaluate"))
    assert [t.needs for t in alone] == [own.segmenter_stage]


def python_blocks(page: str) -> list[str]:
    text = (PAGE.parent / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_experiment_in_the_page_loads(tmp_path: Path) -> None:
    (block,) = (b for b in python_blocks("experiments.md") if "title" in b)
    (tmp_path / "mine.py").write_text(block)
    (spec,) = load_experiment(str(tmp_path / "mine.py")).runs()
    assert spec.recipe.name == "videomt_june"
    assert spec.recipe.video.train.iterations == 20000
    assert spec.dataset == dataset("ytvis_2019")


def test_the_variant_in_the_page_trains_as_the_public_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = (b for b in python_blocks("recipes.md") if "VARIANT" in b)
    (tmp_path / "public_code.py").write_text(block)
    monkeypatch.setenv("VIDEOMT_BENCH_VARIANTS", str(tmp_path))
    variant = load_variant("public_code")
    assert not [check for check in check_variant(variant) if not check.passed]
    model = variant.build(ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), 4, 6))
    assert model.segmenter.normalize_intermediate is False
    assert model.memory.normalize is True
    assert variant.slots()["segmenter"] != load_variant("step6_videomt").slots()["segmenter"]
