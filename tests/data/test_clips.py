from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch.utils.data import DataLoader

from videomt_bench.data.augment import Augmentation
from videomt_bench.data.clips import (
    MAX_DRAWS,
    Clip,
    TrainClips,
    collate,
    load_video_frames,
    normalize,
)
from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.ytvis import YTVISIndex, locate_ytvis, read_ytvis
from videomt_bench.errors import BenchError

PLAIN = Augmentation()
VARIED = Augmentation(
    (16, 20, 26), crop=True, flip=0.5, crop_short_sides=(20, 24), crop_range=(14, 30)
)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> YTVISIndex:
    root = tmp_path_factory.mktemp("generated")
    make_ytvis(root, GeneratorSettings(6, 8, 24, 32, seed=1))
    return read_ytvis(*locate_ytvis(root, "train"))


def same(one: Clip, two: Clip) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(vars(one).values(), vars(two).values(), strict=True)
    )


def test_targets_of_a_whole_video(document: Any, dataset: Any) -> None:
    index = read_ytvis(*dataset(document))
    clip = TrainClips(index, 3, PLAIN, seed=0)[0]
    assert clip.frames.shape == (3, 3, 12, 16)
    assert clip.frames.dtype == torch.uint8
    assert clip.frames[:, 0, 0, 0].tolist() == [0, 40, 80]
    # the second object is absent in the last frame and keeps its class; the crowd is left out
    assert clip.labels.tolist() == [1, 0]
    assert clip.labels.dtype == torch.long
    assert clip.present.tolist() == [[True, True, True], [True, True, False]]
    for masks, annotation in zip(clip.masks, document["annotations"][:2], strict=True):
        for mask, rle in zip(masks, annotation["segmentations"], strict=True):
            expected = 0 if rle is None else coco_mask.decode(rle)
            assert (mask.numpy() == expected).all()


def test_official_label_of_an_object_absent_in_the_last_frame(document: Any, dataset: Any) -> None:
    index = read_ytvis(*dataset(document))
    assert TrainClips(index, 3, PLAIN, 0, label_quirk=True)[0].labels.tolist() == [1, 3]
    for i in range(20):  # frame 2 alone has no such object; in frames 0 and 1 it has its class
        clip = TrainClips(index, 1, PLAIN, 0, label_quirk=True)[i]
        assert clip.labels.tolist() == ([1] if clip.frames[0, 0, 0, 0] == 80 else [1, 0])


def test_an_object_cropped_away_is_removed(document: Any, dataset: Any) -> None:
    index = read_ytvis(*dataset(document))

    class LeftHalf(Augmentation):
        def __call__(self, frames: Any, masks: Any, rng: Any) -> Any:
            return frames[..., :8], masks[..., :8]

    clip = TrainClips(index, 3, LeftHalf(), 0)[0]
    assert clip.labels.tolist() == [1]
    assert clip.masks.shape == (1, 3, 12, 8)


def test_a_sample_depends_on_seed_and_number_alone(generated: YTVISIndex) -> None:
    forward = TrainClips(generated, 3, VARIED, seed=5)
    clips = [forward[i] for i in range(20)]
    backward = TrainClips(generated, 3, VARIED, seed=5)
    assert all(same(clips[i], backward[i]) for i in reversed(range(20)))
    assert same(TrainClips(generated, 3, VARIED, seed=5)[17], clips[17])
    other = TrainClips(generated, 3, VARIED, seed=6)
    assert not all(same(clips[i], other[i]) for i in range(5))
    with pytest.raises(IndexError):
        forward[-1]


def test_every_epoch_is_a_shuffled_pass(document: Any, dataset: Any) -> None:
    videos = [dict(document["videos"][0], id=i) for i in range(5)]
    for i, video in enumerate(videos):  # the label tells the video
        video["file_names"] = [f"{i}/{t}.jpg" for t in range(3)]
    document["categories"] = [{"id": i, "name": str(i)} for i in range(5)]
    document["annotations"] = [
        dict(document["annotations"][0], id=i, video_id=i, category_id=i) for i in range(5)
    ]
    document["videos"] = videos
    clips = TrainClips(read_ytvis(*dataset(document)), 2, PLAIN, seed=0)
    assert len(clips) == 5
    order = torch.cat([clips[i].labels for i in range(30)]).view(6, 5).tolist()
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in order)
    assert len({tuple(epoch) for epoch in order}) > 3


def test_every_window_is_drawn(generated: YTVISIndex) -> None:
    def starts(**options: bool) -> set[int]:
        clips = TrainClips(generated, 6, PLAIN, 0, **options)
        first = load_video_frames(generated.videos[0], generated.frames_root, range(8))
        found = set()
        for i in range(120):
            frame = clips[i].frames[0]
            found |= {t for t in range(8) if torch.equal(first[t], frame)}
        return found

    assert starts() == {0, 1, 2}
    assert starts(include_last=False) == {0, 1}


def test_some_clips_run_backwards(generated: YTVISIndex) -> None:
    """Of the clips a share; frames, masks and presence turn together, the rest is the same clip."""
    plain, turned = (TrainClips(generated, 4, PLAIN, 0, reverse=p) for p in (0.0, 1.0))
    sometimes = TrainClips(generated, 4, PLAIN, 0, reverse=0.5)
    backwards = 0
    for i in range(60):
        one, other = plain[i], turned[i]
        assert torch.equal(other.frames, one.frames.flip(0))
        assert torch.equal(other.masks, one.masks.flip(1))
        assert torch.equal(other.present, one.present.flip(1))
        assert torch.equal(other.labels, one.labels)
        backwards += torch.equal(sometimes[i].frames, other.frames)
    assert backwards == pytest.approx(30, abs=12)
    with pytest.raises(BenchError, match=r"reverse is 1\.5; it must be"):
        TrainClips(generated, 4, PLAIN, 0, reverse=1.5)


def test_frames_near_a_reference(generated: YTVISIndex) -> None:
    clips = TrainClips(generated, 3, PLAIN, 0, span=2)
    own = {
        video.name: load_video_frames(video, generated.frames_root, range(8))
        for video in generated.videos
    }
    drawn = set()
    for i in range(60):
        frames = clips[i].frames
        for whole in own.values():
            where = [[t for t in range(8) if torch.equal(f, whole[t])] for f in frames]
            if all(where):
                drawn.add(tuple(found[0] for found in where))
    assert all(a <= b <= c <= a + 4 for a, b, c in drawn)
    assert any(c - a > 2 for a, _, c in drawn)  # not consecutive
    with pytest.raises(BenchError, match="seed 0 and span -1"):
        TrainClips(generated, 3, PLAIN, 0, span=-1)


def test_videos_without_objects(document: Any, dataset: Any) -> None:
    document["annotations"][0]["segmentations"] = [None] * 3
    document["annotations"][1]["segmentations"][1] = None  # one frame of one video is left
    index = read_ytvis(*dataset(document))
    clips = TrainClips(index, 1, PLAIN, 0)
    assert len(clips) == 1
    assert all(clips[i].labels.tolist() == [0] for i in range(30))
    everything = TrainClips(index, 1, PLAIN, 0, drop_empty=False)
    assert len(everything) == 2
    empty = [clip for clip in map(everything.__getitem__, range(30)) if not len(clip.labels)]
    assert empty
    assert empty[0].masks.shape == (0, 1, 12, 16)
    assert empty[0].present.shape == (0, 1)


def test_redraws_are_bounded(document: Any, dataset: Any) -> None:
    calls = []

    class Nothing(Augmentation):
        def __call__(self, frames: Any, masks: Any, rng: Any) -> Any:
            calls.append(1)
            return frames, torch.zeros_like(masks)

    clip = TrainClips(read_ytvis(*dataset(document)), 2, Nothing(), 0)[0]
    assert len(clip.labels) == 0
    assert len(calls) == MAX_DRAWS


@pytest.mark.parametrize("only_crowd", [True, False])
def test_nothing_to_train_on(document: Any, dataset: Any, only_crowd: bool) -> None:
    document["annotations"] = document["annotations"][2:] if only_crowd else []
    index = read_ytvis(*dataset(document))
    for drop_empty in (True, False):
        with pytest.raises(BenchError, match=r"train\.json has no annotated videos"):
            TrainClips(index, 2, PLAIN, 0, drop_empty=drop_empty)


@pytest.mark.parametrize(("length", "seed"), [(0, 0), (2, -1)])
def test_settings_out_of_range(generated: YTVISIndex, length: int, seed: int) -> None:
    with pytest.raises(BenchError, match=f"{length} frames with seed {seed}"):
        TrainClips(generated, length, PLAIN, seed)


def test_collate_normalises_and_pads() -> None:
    rng = np.random.default_rng(0)
    clips = []
    for n, h, w in ((2, 10, 20), (0, 17, 9)):
        frames = torch.from_numpy(rng.integers(0, 256, (3, 3, h, w), dtype=np.uint8))
        masks = torch.from_numpy(rng.random((n, 3, h, w)) < 0.5)
        clips.append(Clip(frames, torch.arange(n), masks, masks.flatten(2).any(2)))
    batch = collate(clips, 8)
    assert batch.frames.shape == (2, 3, 3, 24, 24)
    assert batch.frames.dtype == torch.float32
    for padded, target, clip in zip(batch.frames, batch.targets, clips, strict=True):
        h, w = clip.frames.shape[-2:]
        for channel, (mean, std) in enumerate(
            ((123.675, 58.395), (116.28, 57.12), (103.53, 57.375))
        ):
            expected = (clip.frames[:, channel].double() - mean) / std
            assert torch.allclose(padded[:, channel, :h, :w].double(), expected, atol=1e-5)
        assert padded[..., h:, :].abs().sum() == padded[..., w:].abs().sum() == 0
        assert target.masks.shape == (len(clip.labels), 3, 24, 24)
        assert torch.equal(target.masks[..., :h, :w], clip.masks)
        assert target.masks.sum() == clip.masks.sum()
        assert torch.equal(target.labels, clip.labels)
        assert torch.equal(target.present, clip.present)
    moved = batch.to("meta")
    assert moved.frames.is_meta
    assert moved.targets[0].masks.is_meta


def test_collate_refuses() -> None:
    frames = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    empty = torch.zeros(0, 2, 8, 8, dtype=torch.bool)
    clip = Clip(frames, torch.zeros(0).long(), empty, empty.flatten(2).any(2))
    shorter = Clip(frames[:1], clip.labels, empty[:, :1], clip.present[:, :1])
    for clips, divisor in (([], 8), ([clip, shorter], 8), ([clip], 0)):
        with pytest.raises(BenchError, match="cannot batch"):
            collate(clips, divisor)


def test_normalize_leaves_its_input() -> None:
    frames = torch.full((3, 2, 2), 255.0)
    normalize(frames)
    assert (frames == 255).all()


def test_load_video_frames(generated: YTVISIndex) -> None:
    video, root = generated.videos[0], generated.frames_root
    frames = load_video_frames(video, root, [7, 0])
    assert frames.shape == (2, 3, 24, 32)
    assert frames.dtype == torch.uint8
    assert frames.is_contiguous()
    assert load_video_frames(video, root, range(8), size=(12, 16)).shape == (8, 3, 12, 16)


def test_works_in_a_data_loader(generated: YTVISIndex) -> None:
    clips = TrainClips(generated, 3, PLAIN, seed=2)
    loader = DataLoader(
        clips, batch_sampler=[[7, 8], [40, 3]], collate_fn=lambda c: collate(c, 16), num_workers=1
    )
    batches = list(loader)
    expected = [collate([clips[i], clips[j]], 16) for i, j in ((7, 8), (40, 3))]
    for one, two in zip(batches, expected, strict=True):
        assert torch.equal(one.frames, two.frames)
        assert torch.equal(one.targets[1].masks, two.targets[1].masks)


def test_a_missing_frame_is_named(document: Any, dataset: Any) -> None:
    json_path, root = dataset(document)
    (Path(root) / "cat" / "00001.jpg").unlink()
    with pytest.raises(BenchError, match=r"00001\.jpg.*missing"):
        TrainClips(read_ytvis(json_path, root), 3, PLAIN, 0)[0]
