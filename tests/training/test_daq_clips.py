"""DVIS-DAQ's training: clips of any length, and the engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from videomt_bench.data.clips import ClipBatch, ClipTargets, collate
from videomt_bench.errors import BenchError
from videomt_bench.models import OfflineVideo, load_variant
from videomt_bench.training import daq_clips
from videomt_bench.training.daq_clips import ClipLearner, TrackLearning, cut, track_losses
from videomt_bench.training.engine import TrainingModel, TrainSettings, train
from videomt_bench.training.hooks import LOSSES
from videomt_bench.training.layers import ONE_STREAM, LossSettings, Points

SETTINGS = LossSettings(num_points=32)


def batch(clips: int = 2, length: int = 5) -> ClipBatch:
    frames = torch.arange(length).view(1, -1, 1, 1, 1).expand(clips, -1, 3, 8, 8).float()
    masks = torch.zeros(1, length, 8, 8, dtype=torch.bool)
    masks[0, min(3, length - 1)] = True
    targets = [ClipTargets(torch.tensor([1]), masks, masks.flatten(2).any(2))] * clips
    return ClipBatch(frames, targets, ["a", "b"])


@pytest.mark.parametrize(("early", "starts"), [(False, {0, 1, 2, 3}), (True, {0, 1})])
def test_short_clips_begin_anywhere(early: bool, starts: set[int]) -> None:
    found = set()
    for _ in range(60):
        short = cut(batch(), TrackLearning(early_cut=early), [ONE_STREAM, ONE_STREAM])
        assert short.frames.shape[1] == 2
        for frames, one in zip(short.frames, short.targets, strict=True):
            first = int(frames[0, 0, 0, 0])
            assert int(frames[1, 0, 0, 0]) == first + 1
            assert one.present[0].tolist() == [first == 3, first + 1 == 3]
            found.add(first)
    assert found == starts
    whole = cut(batch(length=2), TrackLearning(short_frames=4), [ONE_STREAM] * 2)
    assert whole.frames.shape[1] == 2


def tiny_batch(tiny, count: int = 2) -> ClipBatch:
    clips = tiny.Clips(objects=3)
    return collate([clips[i] for i in range(count)], 8)


def frozen_model(tiny, name: str = "dvis_daq"):
    model = tiny.model(name)
    model.segmenter.requires_grad_(False).eval()
    model.memory.requires_grad_(False)
    model.tracker.train()
    return model


def generators(count: int) -> Points:
    return Points(tuple(torch.Generator().manual_seed(i) for i in range(count)))


@pytest.mark.parametrize("short", [False, True])
def test_a_batch_is_the_mean_of_its_clips(tiny, short: bool) -> None:
    model = frozen_model(tiny)
    whole = tiny_batch(tiny)
    learning = TrackLearning(score=0.2)
    mean, finite = track_losses(model, whole, learning, SETTINGS, short, generators(2))
    singles = []
    for b in range(2):
        one = ClipBatch(whole.frames[b : b + 1], whole.targets[b : b + 1], [])
        own = Points((torch.Generator().manual_seed(b),))
        singles.append(track_losses(model, one, learning, SETTINGS, short, own)[0])
    assert finite.tolist() == [True, True]
    for name, value in mean.items():
        both = (singles[0][name] + singles[1][name]) / 2
        torch.testing.assert_close(value, both, atol=1e-4, rtol=1e-4)


def test_one_clip_that_is_not_finite_is_told(tiny) -> None:
    model, data = frozen_model(tiny), tiny_batch(tiny)
    data.frames[1] = float("nan")
    assert track_losses(model, data, TrackLearning(), SETTINGS, False)[1].tolist() == [True, False]


def test_what_cannot_learn_tracks_is_one_sentence(tiny) -> None:
    data = tiny_batch(tiny)
    with pytest.raises(BenchError, match="is for DaqTracker, not for QueryIndex"):
        track_losses(tiny.model("step6_videomt"), data, TrackLearning(), SETTINGS, False)
    with pytest.raises(BenchError, match="put 'segmenter' into frozen"):
        track_losses(tiny.model("dvis_daq"), data, TrackLearning(), SETTINGS, False)
    single = ClipBatch(data.frames[:, :1], [daq_clips.frame_target(t, 0) for t in data.targets])
    with pytest.raises(BenchError, match="at least 2 frames, not of 1"):
        track_losses(frozen_model(tiny), single, TrackLearning(), SETTINGS, False)
    with pytest.raises(BenchError, match="chunk is 2"):
        TrainSettings(1, 1, matching="new_instances", chunk=2)
    with pytest.raises(BenchError, match="short_frames 1"):
        TrackLearning(short_frames=1)
    with pytest.raises(BenchError, match=r"score of tracks is 1\.5"):
        TrackLearning(score=1.5)


# The engine


@pytest.mark.parametrize("name", ["dvis_daq", "eomt_dvis_daq"])
def test_the_tracker_alone_learns_from_clips_that_grow(tiny, tmp_path, name, monkeypatch) -> None:
    model, variant = tiny.model(name), load_variant(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    lengths: list[int] = []
    learn = ClipLearner.learn

    def watched(self, frames, segmented, target):
        lengths.append(len(frames))
        return learn(self, frames, segmented, target)

    monkeypatch.setattr(ClipLearner, "learn", watched)
    settings = tiny.settings(
        iterations=4,
        matching=variant.matching,
        frozen=variant.frozen,
        tracks=TrackLearning(short_iterations=2),
    )
    train(model, tiny.Clips(), settings, tmp_path, seed=0)
    assert lengths == [2, 2, 2, 2, 3, 3, 3, 3]
    lines = [json.loads(line) for line in (Path(tmp_path) / LOSSES).read_text().splitlines()]
    names = {f"loss_{branch}{x}" for branch in ("", "slot_") for x in ("class", "mask", "dice")}
    assert set(lines[0]) == names | {"loss", "step"}
    for key, value in model.state_dict().items():
        below = any(key.startswith(f"{part}.") for part in variant.frozen)
        assert torch.equal(value, before[key]) == below, key


def squares() -> ClipBatch:
    """Three squares of one colour each that move to the right, the last one gone at the end."""
    frames = torch.zeros(1, 3, 3, 32, 32)
    masks = torch.zeros(3, 3, 32, 32, dtype=torch.bool)
    for t in range(3):
        for i in range(3):
            if (i, t) == (2, 2):
                continue
            rows, columns = slice(10 * i + 1, 10 * i + 9), slice(6 * t + 4, 6 * t + 12)
            frames[0, t, i, rows, columns] = 2.0
            masks[i, t, rows, columns] = True
    truth = ClipTargets(torch.tensor([0, 1, 2]), masks, masks.flatten(2).any(2))
    return ClipBatch(frames, [truth])


def test_a_tracker_learns_what_it_is_shown(tiny) -> None:
    """The same clip again and again: the sum of the losses falls."""
    model, data = frozen_model(tiny), squares()
    learning = TrackLearning(score=0.3)
    optimizer = torch.optim.AdamW(model.tracker.parameters(), lr=2e-3)
    history = []
    for step in range(40):
        torch.manual_seed(step)
        losses, _ = track_losses(model, data, learning, SETTINGS, step < 20)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append(float(sum(losses.values()).detach()))
    assert history[-1] < 0.75 * history[0]


def test_the_training_model_takes_the_settings(tiny) -> None:
    model = frozen_model(tiny)
    learning = TrackLearning(score=0.5)
    trained = TrainingModel(model, "new_instances", SETTINGS, tracks=learning)
    assert trained.tracks is learning
    losses = trained(tiny_batch(tiny))
    assert trained.finite.tolist() == [True, True]
    assert "loss_slot_dice" in losses
    assert TrainingModel(model, "per_frame", SETTINGS).tracks == TrackLearning()


def test_the_refiner_alone_learns_offline(tiny, tmp_path) -> None:
    model = OfflineVideo(tiny.model("dvis_daq_offline"))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    online = ("segmenter", "memory", "tracker")
    settings = tiny.settings(iterations=2, matching="whole_clip", frozen=online)
    train(model, tiny.Clips(objects=2), settings, tmp_path, seed=0)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) == (not key.startswith("refiner.")), key
