"""The named recipes against the check values of the papers and their public configurations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from recipe_tables import DATASETS, FAMILIES, dataset, recipe

from videomt_bench.evaluation.stream import InferenceSettings, network_size, pad_to_multiple
from videomt_bench.models import TrackSelection
from videomt_bench.runs.spec import Recipe
from videomt_bench.sweep.named import dataset_names, recipe_names

YOUTUBE, INSTANCES = DATASETS[:3], DATASETS[:4]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_one_for_every_data_set(name: str) -> None:
    for data in DATASETS:
        found = recipe(name, data)
        assert isinstance(found, Recipe)
        assert found.name == name
        for stage in (found.segmenter, found.video):
            assert stage.augmentation.short_sides
            # DVIS crops the clips of its refiner, and those of YouTube-VIS 2019 in all stages
            crops = {"dvis": ("ytvis_2019",), "minvis": ()}.get(name, INSTANCES)
            assert stage.augmentation.crop == (data in crops)
            assert stage.augmentation.final_crop is None
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
        assert own.refine.augmentation.crop is own.video.augmentation.crop
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


@pytest.mark.parametrize(
    ("name", "vipseg", "vspw"),
    [
        ("cavis", (608, 608), (608, 608)),
        ("dvis", (608, 608), (608, 608)),
        ("dvis_plus", (608, 608), (600, 720)),
        ("dvis_daq", (608, 608), (600, 720)),
    ],
)
def test_the_refiner_learns_from_crops(name: str, vipseg: Any, vspw: Any) -> None:
    """Of all public configurations on whole scenes the offline ones alone crop."""
    for data, crop in (("vipseg", vipseg), ("vspw", vspw)):
        refine = recipe(name, data).refine
        assert refine is not None
        assert refine.augmentation.final_crop == crop
        assert refine.augmentation.short_sides == tuple(range(480, 801, 32))
        assert (refine.augmentation.max_size, refine.augmentation.crop) == (1333, False)
        assert refine.frames == (21 if name in ("dvis", "dvis_plus") else 15)
        few = (name, data) != ("cavis", "vipseg")
        assert refine.train.iterations == (20000 if few else 40000)
    for data in INSTANCES:
        refine = recipe(name, data).refine
        assert refine is not None
        assert refine.augmentation.crop
        assert refine.augmentation.final_crop is None


@pytest.mark.parametrize(
    ("data", "iterations"),
    [("ytvis_2019", 6000), ("ytvis_2021", 8000), ("ytvis_2022", 8000), ("ovis", 10000)],
)
def test_minvis_learns_single_images_at_two_sizes(data: str, iterations: int) -> None:
    own = recipe("minvis", data)
    assert own.segmenter.augmentation.short_sides == (360, 480)
    assert (own.segmenter.frames, own.segmenter.train.batch) == (1, 32)
    assert own.segmenter.train.iterations == iterations
    assert (own.test.short_side, own.test.top_k) == (360, 10)
    assert own.refine is None


def test_the_mixture_of_dvis() -> None:
    """COCO and YouTube-VIS 2019 as 1 to 0.75; 1 to 1 in all other recipes and data."""
    for name in recipe_names():
        for data in DATASETS:
            own = recipe(name, data)
            special = (name, data) == ("dvis", "ytvis_2019")
            for stage in (own.segmenter, own.video, own.refine):
                if stage is not None:
                    expected = pytest.approx(1 / 0.75) if special else None
                    assert stage.mixture_ratio == expected


def test_the_refiner_of_dvis_plus_remembers_classes() -> None:
    """With its contrastive loss, which the public configurations have on YouTube-VIS and VSPW."""
    for data in DATASETS:
        refine = recipe("dvis_plus", data).refine
        assert refine is not None
        losses = refine.train.losses
        assert losses.refined_weight == (0.0 if data in ("ovis", "vipseg") else 2.0)
        assert losses.class_memory == 20


def test_labels_of_the_last_frame_in_the_public_code_of_cavis() -> None:
    own, other = recipe("cavis_public_code", "ovis"), recipe("videomt_public_code", "ovis")
    for stage in (own.segmenter, own.video, own.refine):
        assert stage is not None
        assert stage.label_quirk
        assert stage.train.losses.absent_as_no_object
    assert other.video.label_quirk
    assert not other.video.train.losses.absent_as_no_object
    plain = recipe("cavis", "ovis")
    assert not plain.video.label_quirk
    assert not plain.video.train.losses.absent_as_no_object
