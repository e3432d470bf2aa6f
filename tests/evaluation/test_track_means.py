"""Results that are tracks: means over their own frames, short ones out, absent frames empty."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from videomt_bench.data.clips import load_video_frames, normalize
from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.ytvis import YTVISIndex, locate_ytvis, read_ytvis
from videomt_bench.evaluation.inference import predict_videos
from videomt_bench.evaluation.panoptic_inference import PanopticSettings, panoptic_video
from videomt_bench.evaluation.stream import InferenceSettings, run_videos
from videomt_bench.evaluation.tracks import TrackMeans, masks_of
from videomt_bench.models import (
    ClipOutput,
    DaqTracker,
    EncoderSpec,
    ModelSpec,
    TrackLimits,
    TrackSelection,
    VideoSegmenter,
    load_variant,
)
from videomt_bench.models.postprocess import NO_MASK

LENGTH = 7
SPEC = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), num_classes=4, num_queries=6)
BASE = InferenceSettings(short_side=None, divisor=8, top_k=20, window=3)


def output(tracks: list[list[int]], start: int = 0) -> ClipOutput:
    """One video; the logits of track n in frame t are (n + 1)·(t + 1) and zero."""
    numbers = torch.tensor([tracks])
    times = torch.arange(start + 1, start + 1 + len(tracks))[:, None]
    first = ((numbers + 1) * times).float()
    classes = torch.stack([first, torch.zeros_like(first)], -1)
    queries = torch.zeros(*numbers.shape, 2)
    return ClipOutput(classes, torch.zeros(*numbers.shape, 1, 1), queries, queries, tracks=numbers)


def test_a_mean_is_over_the_frames_of_a_track_whatever_its_slot() -> None:
    means = TrackMeans(shortest=2)
    means.add(output([[0, 1, -1], [0, -1, 2]]), 0)
    means.add(output([[0, 2, -1], [3, -1, -1]], 2), 2)
    (logits,) = means.logits(4)
    # track 1 has one frame and is left out; track 3 has one, but the video ends with it
    assert logits[:, 0].tolist() == [2.0, 3 * 2.5, 4 * 4.0]
    assert means.wanted([torch.tensor([2, 0])])[0].tolist() == [3, 0]


def test_a_video_without_tracks_has_no_results() -> None:
    means = TrackMeans(shortest=1)
    means.add(output([[-1, -1], [-1, -1]]), 0)
    (logits,) = means.logits(2)
    assert logits.shape == (0, 2)


def test_masks_by_track() -> None:
    masks = torch.arange(3.0).view(3, 1, 1).expand(3, 2, 2)
    found = masks_of(masks, torch.tensor([5, -1, 2]), torch.tensor([2, 7, 5]))
    assert found[:, 0, 0].tolist() == [2.0, NO_MASK, 0.0]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> YTVISIndex:
    root = tmp_path_factory.mktemp("data")
    settings = GeneratorSettings(videos=3, frames=LENGTH, height=40, width=52, split="valid")
    make_ytvis(root, settings)
    return read_ytvis(*locate_ytvis(root, "valid"))


def clip(index: YTVISIndex, video: int) -> torch.Tensor:
    frames = load_video_frames(index.videos[video], index.frames_root, range(LENGTH))
    return torch.nn.functional.pad(normalize(frames), (0, 4))[None]


@pytest.fixture(scope="module")
def model(index: YTVISIndex) -> VideoSegmenter:
    """Random weights under which tracks begin late and end early."""

    def built(selection: TrackSelection) -> VideoSegmenter:
        torch.manual_seed(0)
        limits = TrackLimits(patience=2, places=8, shortest=3)
        tracker = partial(DaqTracker, limits=limits)
        variant = replace(load_variant("dvis_daq"), tracker=tracker)
        model = variant.build(replace(SPEC, selection=selection)).eval()
        for parameter in model.tracker.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)
        torch.nn.init.normal_(model.tracker.heads.class_embed.weight)
        return model

    with torch.no_grad():
        frames = torch.cat([clip(index, v) for v in range(3)])
        found, _ = built(TrackSelection(0.0, 0.0))(frames)
        scores = found.class_logits.softmax(-1)[..., :-1].amax(-1)[found.tracks >= 0].sort().values
        for i in scores.diff().argsort(descending=True)[:40].tolist():
            model = built(TrackSelection(0.0, float(scores[i] + scores[i + 1]) / 2))
            tracks = model(frames)[0].tracks
            lengths = [(tracks[0] == n).sum() for n in range(int(tracks[0].max()) + 1)]
            last = tracks[0, -1]
            if min(lengths) < 3 and bool((last >= 0).any()) and max(last) > 6:
                return model
    pytest.fail("nothing begins or ends, so nothing would be shown")


@torch.no_grad()
def plain(model: VideoSegmenter, frames: torch.Tensor) -> dict[int, tuple[torch.Tensor, dict]]:
    """Track -> its mean logits and its masks by frame; from the whole clip at once."""
    found, _ = model(frames)
    result = {}
    for number in range(int(found.tracks.max()) + 1):
        at = [(t, p) for t in range(LENGTH) for p in (found.tracks[0, t] == number).nonzero()[:, 0]]
        if len(at) < 3 and at[-1][0] != LENGTH - 1:
            continue
        logits = torch.stack([found.class_logits[0, t, p] for t, p in at]).mean(0)
        result[number] = logits, {t: found.mask_logits[0, t, p] for t, p in at}
    return result


@pytest.mark.parametrize("change", [{}, {"window": 1}, {"buffer_mib": 0}, {"window": 7}])
def test_videos_are_scored_as_if_all_was_held(
    model: VideoSegmenter, index: YTVISIndex, change: dict[str, int]
) -> None:
    expected = plain(model, clip(index, 0))
    settings = replace(BASE, **change)
    outputs = run_videos(model, index.videos[:1], index.frames_root, settings)
    logits = torch.stack([logits for logits, _ in expected.values()])
    torch.testing.assert_close(outputs.class_logits[0], logits, atol=1e-4, rtol=0)
    wanted = torch.arange(len(expected)).flip(0)
    frames = list(outputs.masks([wanted]))
    assert len(frames) == LENGTH
    absent = 0
    for t, (masks,) in enumerate(frames):
        for mask, number in zip(masks, reversed(expected), strict=True):
            own = expected[number][1].get(t)
            if own is None:
                absent += 1
                assert torch.equal(mask, torch.full_like(mask, NO_MASK))
            else:
                torch.testing.assert_close(mask, own, atol=1e-3, rtol=1e-4)
    assert absent


def test_videos_of_different_numbers_of_tracks_run_side_by_side(
    model: VideoSegmenter, index: YTVISIndex
) -> None:
    def predictions(batch: int) -> list[object]:
        settings = replace(BASE, batch=batch)
        videos, root = index.videos, index.frames_root
        found = predict_videos(model, videos, root, index.categories, settings)
        return [(p.video_id, p.category_id, round(p.score, 4), p.segmentations) for p in found]

    assert predictions(1) == predictions(3)


def test_a_panoptic_video_is_made_of_tracks(model: VideoSegmenter, index: YTVISIndex) -> None:
    outputs = run_videos(model, index.videos[:1], index.frames_root, BASE)
    settings = PanopticSettings(things=4, class_threshold=0.0, overlap_threshold=0.0)
    found = panoptic_video(outputs, (40, 52), settings)
    frames = list(found.frames)
    assert len(frames) == LENGTH
    assert set(found.labels.values()) <= set(range(4))
    assert any(frame.any() for frame in frames)
