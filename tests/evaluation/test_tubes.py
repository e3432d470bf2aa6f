"""Tubes against per-frame integer areas, bit for bit, and checks of damaged run lengths."""

from __future__ import annotations

import numpy as np
import pytest
from nasty_videos import box_tube, encode, encoded
from pycocotools import mask as coco_mask
from slow_video_ap import pixel_areas, slow_area, slow_iou

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.matching import relevant_iou
from videomt_bench.evaluation.rle import check_masks, decode_masks
from videomt_bench.evaluation.tubes import Pairs, Tube, frame_intersections, measure, tube_iou


def random_tube(rng, height, width, length):
    if rng.random() < 0.5:
        return encoded(box_tube(rng, height, width, length))
    density = rng.random(length)
    masks = [rng.random((height, width)) < p for p in density]
    return [None if rng.random() < 0.2 else encode(mask) for mask in masks]


@pytest.mark.parametrize("seed", range(20))
def test_iou_is_the_per_frame_sum_to_the_last_bit(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(1, 60, 2))
    detections = [random_tube(rng, height, width, int(rng.integers(1, 6))) for _ in range(5)]
    truths = [random_tube(rng, height, width, int(rng.integers(1, 6))) for _ in range(3)]
    iou = tube_iou([Tube.of(m) for m in detections], [Tube.of(m) for m in truths])
    expected = [[slow_iou(d, g) for g in truths] for d in detections]
    assert iou.tolist() == expected  # tubes of unequal length too


@pytest.mark.parametrize("seed", range(20))
def test_no_pair_exceeds_its_bound_and_what_counts_is_exact(seed):
    rng = np.random.default_rng(seed)
    tubes = [random_tube(rng, 9, 11, 5) for _ in range(9)]
    tubes = [tubes[i] for i in rng.integers(0, 9, 12)]  # with repeats
    pairs = Pairs([Tube.of(m) for m in tubes[:8]], [Tube.of(m) for m in tubes[8:]])
    exact = tube_iou(pairs.detections, pairs.truths)
    assert (exact <= pairs.bounds).all()
    same_class = rng.random(exact.shape) < 0.5
    iou = relevant_iou(pairs, same_class)
    assert ((iou == exact) | (iou == 0)).all()
    assert (iou == exact)[same_class & (exact >= 0.5)].all()
    assert (iou.max(0) == exact.max(0)).all()
    assert (iou.argmax(0) == exact.argmax(0)).all()


def test_long_videos_of_large_frames_stay_exact():
    """Beyond 2^31 pixels."""
    size = [2**14, 2**14]
    mask = coco_mask.frPyObjects({"size": size, "counts": [1, 2**27, 2**27 - 1]}, *size)
    other = coco_mask.frPyObjects({"size": size, "counts": [7, 2**27 + 5, 2**27 - 12]}, *size)
    shared = frame_intersections([Tube.of([mask] * 9)], [Tube.of([other] * 9)])
    assert shared.tolist() == [[[2**27 - 6] * 9]]


def test_large_frames_stay_exact():
    rng = np.random.default_rng(0)
    a, b = (rng.random((2160, 3840)) < p for p in (0.5, 0.6))
    shared = frame_intersections([Tube.of([encode(a)])], [Tube.of([encode(b)])])
    assert shared.tolist() == [[[int((a & b).sum())]]]


def test_areas_and_their_mean():
    masks = encoded([np.ones((3, 4)), None, np.zeros((3, 4)), np.eye(3, 4)])
    tube = Tube.of(masks)
    assert tube.frame_areas.tolist() == [12, 0, 0, 3]
    assert tube.mean_area == slow_area(pixel_areas(masks)) == 7.5
    assert Tube.of([None, None]).mean_area == 0


def test_empty_sides():
    tube = Tube.of([None])
    assert tube_iou([], [tube]).shape == (0, 1)
    assert tube_iou([tube], []).shape == (1, 0)
    assert tube_iou([tube], [tube]).tolist() == [[0.0]]


def test_masks_of_two_sizes_are_an_error():
    with pytest.raises(BenchError, match="frame 0"):
        tube_iou([Tube.of([encode(np.ones((3, 4)))])], [Tube.of([encode(np.ones((4, 3)))])])


@pytest.mark.parametrize("seed", range(10))
def test_several_objects_at_once_are_as_one_by_one(seed):
    rng = np.random.default_rng(seed)
    objects = [random_tube(rng, 7, 9, int(rng.integers(0, 5))) for _ in range(6)]
    for tube, masks in zip(measure(objects, (7, 9)), objects, strict=True):
        single = Tube.of(masks, (7, 9))
        assert tube.masks is masks
        assert tube.frame_areas.tolist() == single.frame_areas.tolist()
        assert tube.spans.tolist() == single.spans.tolist()
    bad = [None, {"size": [7, 9], "counts": "5"}]
    with pytest.raises(BenchError, match="frame 1"):
        measure([*objects, bad], (7, 9))


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_are_those_of_the_pixels(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(1, 300, 2))
    frames = [rng.random((height, width)) < p for p in (0, 0.02, 0.5, 0.99, 1)]
    frames += [np.zeros((height, width), bool) for _ in range(2)]
    frames[-1][-1, -1] = True  # ends with the object
    masks = [*map(encode, frames), None]
    runs = decode_masks(masks, height, width)
    assert runs.areas.tolist() == [int(frame.sum()) for frame in frames] + [0]
    parts = np.split(runs.lengths, runs.first[1:])
    for part, frame in zip(parts, [*frames, np.zeros((height, width))], strict=True):
        pixels = np.repeat(np.tile([0, 1], len(part)), part.ravel())
        assert pixels.tolist() == frame.ravel(order="F").astype(int).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_sound_masks_pass(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(1, 200, 2))
    masks = random_tube(rng, height, width, 6)
    check_masks(masks, height, width)
    as_bytes = [m and {**m, "counts": m["counts"].encode()} for m in masks]
    check_masks(as_bytes, height, width)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_character_is_found_or_harmless(seed):
    """After any change of the text, either an error or what pycocotools decodes, cleanly."""
    rng = np.random.default_rng(seed)
    good = encode(rng.random((9, 11)) < rng.random())
    text = list(good["counts"])
    text[rng.integers(len(text))] = chr(rng.integers(1, 128))
    bad = {**good, "counts": "".join(text[: len(text) - int(rng.integers(0, 2))])}
    try:
        check_masks([None, good, bad], 9, 11)
    except BenchError as error:
        assert "frame 2" in str(error)  # noqa: PT017
    else:
        assert coco_mask.decode(bad).shape == (9, 11)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"size": [2, 2], "counts": "4"}, "size"),
        ({"size": [3, 4], "counts": "P"}, "cannot be decoded"),
        ({"size": [3, 4], "counts": "é"}, "ASCII"),
        ({"size": [3, 4], "counts": ""}, "ASCII"),
        ({"size": [3, 4], "counts": None}, "ASCII"),
        ({"size": [3, 4], "counts": "PPPPPPPPPP0"}, "cannot be decoded"),
        ({"size": [3, 4], "counts": "\x7f"}, "cannot be decoded"),
        ({"size": [3, 4], "counts": " <"}, "cannot be decoded"),
        ({"size": [3, 4], "counts": "5"}, "add up to 5, not to 12"),
        ({"size": [3, 4], "counts": "=O"}, "negative"),
    ],
)
def test_damage_is_named(mask, message):
    sound = encode(np.ones((3, 4)))
    with pytest.raises(BenchError, match=message) as caught:
        check_masks([sound, None, mask, sound], 3, 4)
    assert "frame 2" in str(caught.value)
