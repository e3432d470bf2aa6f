"""Semantic scores against a slow re-statement of the definitions, and small cases by hand."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.semantic import per_class, score_vspw, summarize

CONSTANT = np.ones((2, 2), np.uint8)


def write(folder, videos, split="val"):
    """Videos: name -> (truth masks, predicted masks); a predicted None is not written."""
    for name, pair in videos.items():
        for base, masks in zip(
            (f"truth/data/{name}/mask", f"predictions/{name}"), pair, strict=True
        ):
            (folder / base).mkdir(parents=True)
            for t, mask in enumerate(masks):
                if mask is not None:
                    Image.fromarray(np.asarray(mask, np.uint8)).save(folder / base / f"{t:03d}.png")
    (folder / "truth" / f"{split}.txt").write_text("".join(f"{name}\n" for name in videos))
    return folder / "truth", folder / "predictions"


def slow_scores(videos):
    """All metrics by plain loops over pixels, classes and windows."""
    pairs = Counter()
    windows = {(c, last): [] for c in (8, 16) for last in (False, True)}
    for truths, predictions in videos:
        for truth, predicted in zip(truths, predictions, strict=True):
            if predicted is not None:
                pairs.update(zip(truth.flat, predicted.flat, strict=True))
        for c in (8, 16):
            for start in range(len(truths) - c + 1):
                if any(p is None for p in predictions[start : start + c]):
                    continue
                true, predicted = (np.stack(x[start : start + c]) for x in (truths, predictions))
                constant = (true == true[0]).all(0)
                both = constant & (predicted == predicted[0]).all(0)
                if constant.any():
                    windows[c, start + c == len(truths)].append(both.sum() / constant.sum())
    pairs = {(int(t) - 1, int(p)): n for (t, p), n in pairs.items() if 1 <= t <= 124}
    return slow_regions(pairs) | {
        "mVC8": mean(windows[8, False]),
        "mVC16": mean(windows[8, False] + windows[16, False]),
        "mVC16_clean": mean(windows[16, False]),
        "mVC8_all_windows": mean(windows[8, False] + windows[8, True]),
        "mVC16_all_windows": mean(windows[16, False] + windows[16, True]),
    }


def slow_regions(pairs):
    total = sum(pairs.values())
    ious, accuracies, weighted, hits = [], [], 0, 0
    for c in range(124):
        true = sum(n for (t, _), n in pairs.items() if t == c)
        union = sum(n for pair, n in pairs.items() if c in pair)
        if true:
            hit = pairs.get((c, c), 0)
            ious.append(hit / union)
            accuracies.append(hit / true)
            weighted += true * hit / union
            hits += hit
    return {
        "mIoU": mean(ious),
        "pixel_accuracy": hits / total if total else None,
        "class_accuracy": mean(accuracies),
        "fwIoU": weighted / total if total else None,
    }


def mean(values):
    return sum(values) / len(values) if values else None


def flicker(rng, length, size, values, rate):
    """Masks whose pixels are drawn anew with a probability of ``rate`` per frame."""
    masks = [rng.choice(values, size)]
    for _ in range(length - 1):
        masks.append(np.where(rng.random(size) < rate, rng.choice(values, size), masks[-1]))
    return [mask.astype(np.uint8) for mask in masks]


def nasty_videos(rng):
    """Lengths around the windows, one pixel to many, void, and truth values beyond the classes."""
    videos = {}
    for v, length in enumerate(rng.permutation([1, 7, 8, 9, 15, 16, 17, 19])):
        size = tuple(rng.integers(1, 9, 2))
        values = rng.choice([0, 255, 125, 254, *range(1, 125)], rng.integers(1, 6))
        truth = flicker(rng, length, size, values, rng.choice([0, 0.02, 0.2, 1]))
        guess = flicker(rng, length, size, rng.choice(124, 4), rng.choice([0, 0.02, 0.2, 1]))
        right = rng.choice([0, 0.5, 1])
        predicted = [
            np.where((rng.random(size) < right) & (t >= 1) & (t <= 124), t - 1, g)
            for t, g in zip(truth, guess, strict=True)
        ]
        videos[f"v{v} é"] = (truth, predicted)
    return videos


def close(scores, expected):
    assert scores.keys() == expected.keys()
    for name, value in expected.items():
        assert scores[name] == (value if value is None else pytest.approx(value, abs=1e-12)), name


@pytest.mark.parametrize("seed", range(6))
def test_plain_loops_agree(tmp_path, seed):
    rng = np.random.default_rng(seed)
    videos = nasty_videos(rng)
    result = score_vspw(*write(tmp_path, videos))
    close(result.metrics, slow_scores(videos.values()))
    values = np.concatenate([t.reshape(-1) for truths, _ in videos.values() for t in truths])
    assert result.truth_pixels_outside == ((values >= 125) & (values < 255)).sum()
    assert set(result.skipped.values()) == {0}


def test_any_multiset_of_videos(tmp_path):
    rng = np.random.default_rng(10)
    videos = nasty_videos(rng)
    stats = score_vspw(*write(tmp_path, videos)).stats
    names = sorted(videos)
    assert stats.video_names.tolist() == names
    for _ in range(8):
        draw = rng.integers(0, len(names), len(names)).tolist()
        close(summarize(stats, draw), slow_scores([videos[names[i]] for i in draw]))
    close(summarize(stats, []), slow_scores([]))


def test_frames_left_out_break_the_windows(tmp_path):
    rng = np.random.default_rng(11)
    videos = {
        f"v{i}": tuple(flicker(rng, 20, (4, 5), values, 0.03) for values in ([3, 4], [2, 7]))
        for i in range(4)
    }
    for v, t in ((0, 19), (1, 0), (2, 9), (2, 18)):
        videos[f"v{v}"][1][t] = None
    root, predictions = write(tmp_path, videos)
    with pytest.raises(BenchError, match=r"v0 lacks 1 of 20 frames; the first is 019\.png"):
        score_vspw(root, predictions)
    result = score_vspw(root, predictions, lenient=True)
    close(result.metrics, slow_scores(videos.values()))
    assert result.skipped == {"videos": 0, "frames": 4, "pixels": 0}
    assert len(result.faults) == 4
    assert result.stats.frames.tolist() == [19, 19, 18, 20]
    assert result.stats.skipped_frames.tolist() == [1, 1, 2, 0]


def test_values_that_are_no_class_are_misses(tmp_path):
    truth, predicted = [[1, 1, 2, 2, 0, 255]], [[0, 124, 1, 255, 200, 255]]
    root, predictions = write(tmp_path, {"a": ([truth], [predicted])})
    with pytest.raises(BenchError, match=r"a.000\.png has 2 pixels above 123"):
        score_vspw(root, predictions)
    result = score_vspw(root, predictions, lenient=True)
    assert result.metrics["mIoU"] == result.metrics["pixel_accuracy"] == 0.5
    assert result.skipped == {"videos": 0, "frames": 0, "pixels": 2}


def test_such_values_may_stand_where_the_truth_does_not_count(tmp_path):
    videos = {"a": ([[[1, 0, 255, 130]]], [[[0, 124, 255, 200]]])}
    assert score_vspw(*write(tmp_path, videos)).metrics["mIoU"] == 1


def test_scores_by_hand(tmp_path):
    # class 0: 3 true, 2 hit, 1 false; class 1: 2 true, 1 hit, 0 false; class 5 is only predicted
    truth, predicted = [[1, 1, 1, 2, 2, 0]], [[0, 0, 5, 1, 0, 1]]
    result = score_vspw(*write(tmp_path, {"a": ([truth], [predicted])}))
    assert result.metrics["mIoU"] == pytest.approx((2 / 4 + 1 / 2) / 2)
    assert result.metrics["pixel_accuracy"] == pytest.approx(3 / 5)
    assert result.metrics["class_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert result.metrics["fwIoU"] == pytest.approx(0.5)
    assert result.metrics["mVC8"] is None
    assert result.per_class()[0] == {"IoU": 0.5, "accuracy": pytest.approx(2 / 3), "n": 3}
    assert result.per_class()[5] == {"IoU": None, "accuracy": None, "n": 0}
    assert list(per_class(result.stats)) == list(range(124))


def test_official_and_clean_consistency_differ_by_hand(tmp_path):
    """17 frames: 10 windows of 8 (9 official), 2 of 16 (1 official). The last frame flips."""
    predicted = [CONSTANT] * 16 + [CONSTANT + 1]
    metrics = score_vspw(*write(tmp_path, {"a": ([CONSTANT] * 17, predicted)})).metrics
    assert metrics["mVC8"] == metrics["mVC16_clean"] == metrics["mVC16"] == 1
    assert metrics["mVC8_all_windows"] == pytest.approx(9 / 10)
    assert metrics["mVC16_all_windows"] == pytest.approx(1 / 2)

    flips_first = [CONSTANT + 1] + [CONSTANT] * 16
    metrics = score_vspw(*write(tmp_path / "b", {"a": ([CONSTANT] * 17, flips_first)})).metrics
    assert metrics["mVC8"] == pytest.approx(8 / 9)
    assert metrics["mVC16_clean"] == 0
    assert metrics["mVC16"] == pytest.approx(8 / 10)


def test_a_constant_prediction_is_consistent_for_as_long_as_it_takes(tmp_path):
    videos = {"a": ([CONSTANT] * 600, [CONSTANT + 3] * 600)}
    result = score_vspw(*write(tmp_path, videos))
    assert result.metrics["mVC16_clean"] == 1
    assert result.metrics["mIoU"] == 0
    assert result.stats.window_counts.tolist() == [[[592, 1], [584, 1]]]


def test_torch_is_not_needed():
    code = "import sys, videomt_bench.evaluation.semantic; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
