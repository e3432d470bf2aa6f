"""What a refiner is given of DVIS-DAQ: the best tracks through the video, then linked queries."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from videomt_bench.data.clips import load_video_frames, normalize
from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.ytvis import locate_ytvis, read_ytvis
from videomt_bench.evaluation.stream import InferenceSettings, run_videos
from videomt_bench.models import EncoderSpec, ModelSpec, OfflineVideo, daq_offline, load_variant
from videomt_bench.models.daq_offline import (
    TrackedFrames,
    best_tracks,
    linked,
    through_time,
    whole_tracks,
)

D = 3
NUMBERS = torch.tensor([[0, 1, -1], [0, -1, 2], [3, -1, 2]])
"""Of the tracks in three places, in three frames."""


def video() -> TrackedFrames:
    """Track n has the query (n, t, 0) and the anchor (n, t, 1) in frame t."""
    times = torch.arange(3.0).view(3, 1).expand(3, 3)
    queries = torch.stack([NUMBERS.float(), times, torch.zeros(3, 3)], -1)
    anchors = torch.stack([NUMBERS.float(), times, torch.ones(3, 3)], -1)
    logits = torch.zeros(3, 3, 3)
    logits[..., 0] = torch.tensor([1.0, 5.0, 3.0, 2.0, 0.0])[NUMBERS]
    logits[0, 0, 0] = 7.0
    frame_queries = torch.randn(3, 4, D, generator=torch.Generator().manual_seed(0))
    return TrackedFrames(NUMBERS, logits, queries, anchors, frame_queries)


def test_the_best_tracks_by_their_mean() -> None:
    """Means 4, 5, 3 and 2 of tracks 0 to 3."""
    whole = video()
    assert best_tracks(whole.numbers, whole.score_logits, 40).tolist() == [1, 0, 2, 3]
    assert best_tracks(whole.numbers, whole.score_logits, 2).tolist() == [1, 0]
    nobody = torch.full((3, 3), -1)
    assert best_tracks(nobody, whole.score_logits, 2).tolist() == []


def test_a_track_has_its_last_anchor_where_it_is_not() -> None:
    rows = through_time(video(), torch.tensor([2, 0]))
    assert rows[:, 0].tolist() == [[2, 2, 1], [2, 1, 0], [2, 2, 0]]
    assert rows[:, 1].tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_linked_queries_follow_their_likes() -> None:
    first = torch.eye(3)
    moved = first[[2, 0, 1]] + 0.1
    again = moved[[1, 2, 0]] * 3
    rows = linked(torch.stack([first, moved, again]))
    assert rows.argmax(-1).tolist() == [[0, 1, 2]] * 3


@pytest.mark.parametrize("most", [40, 2])
def test_parts_of_a_video_are_one_video(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daq_offline, "BEST", most)
    whole = TrackedFrames(*(x[None] for x in video()))
    parts = [TrackedFrames(*(x[:, t : t + 1] for x in whole)) for t in range(3)]
    rows, memory = whole_tracks(parts)
    assert rows.shape == (1, 3, 4, D)
    assert torch.equal(memory, whole.frame_queries)
    numbers = [1, 0, 2, 3][:most]
    assert rows[0, 0, : len(numbers), 0].tolist() == numbers
    others = linked(video().frame_queries)[:, : 4 - len(numbers)]
    assert torch.equal(rows[0, :, len(numbers) :], others)


@torch.no_grad()
def test_windows_give_what_all_frames_at_once_give(tmp_path) -> None:
    make_ytvis(tmp_path, GeneratorSettings(videos=1, frames=5, height=40, width=48, split="valid"))
    index = read_ytvis(*locate_ytvis(tmp_path, "valid"))
    torch.manual_seed(0)
    spec = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), num_classes=4, num_queries=6)
    model = load_variant("dvis_daq_offline").build(spec).eval()
    frames: Tensor = normalize(load_video_frames(index.videos[0], index.frames_root, range(5)))
    whole, _ = OfflineVideo(model)(frames[None])
    settings = InferenceSettings(short_side=None, divisor=8, window=2, buffer_mib=0)
    found = run_videos(model, index.videos, index.frames_root, settings)
    assert found.online is None
    torch.testing.assert_close(found.class_logits[0], whole.class_logits[0, 0], atol=1e-4, rtol=0)
    for t, (masks,) in enumerate(found.masks([torch.tensor([5, 0])])):
        torch.testing.assert_close(masks, whole.mask_logits[0, t, [5, 0]], atol=1e-3, rtol=1e-3)
