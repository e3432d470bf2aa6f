"""Object diagnostics on hand-made videos, and resampled against copies."""

from __future__ import annotations

import numpy as np
import pytest
from nasty_videos import encoded, nasty_truth
from slow_video_ap import duplicated, slow_iou

from videomt_bench.evaluation.recall import summarize_objects
from videomt_bench.evaluation.video_ap import evaluate_videos
from videomt_bench.evaluation.ytvis_files import Prediction, Truth, TruthObject, Video

SIZE = (6, 6)
LENGTH = 12


def tube(frames, rows=slice(0, 2)):
    masks = [np.zeros(SIZE) if t in frames else None for t in range(LENGTH)]
    for mask in masks:
        if mask is not None:
            mask[rows] = 1
    return encoded(masks)


def diagnose(objects, predictions):
    truth = Truth({1: Video(1, *SIZE, LENGTH)}, {1: "a", 2: "b"}, objects)
    return summarize_objects(evaluate_videos(truth, predictions))


def test_the_kinds_of_objects():
    always, late = range(LENGTH), range(4, LENGTH)
    gap = [0, 1, 2, 6, 7, 8]
    objects = [
        TruthObject(1, 1, tube(always)),
        TruthObject(1, 1, tube(late, slice(2, 4))),
        TruthObject(1, 1, tube(gap, slice(4, 6))),
        TruthObject(1, 1, tube(range(3, LENGTH), slice(5, 6))),  # frame 3 of 12 is not late
        TruthObject(1, 1, tube([])),  # never visible
        TruthObject(1, 1, tube(always), is_crowd=True),
    ]
    found = [
        Prediction(1, 1, 0.1, tube(late, slice(2, 4))),
        Prediction(1, 2, 0.9, tube(always)),  # wrong class
        Prediction(1, 1, 0.9, tube(gap[:3], slice(4, 6))),  # IoU 0.5 is enough
    ]
    values = diagnose(objects, found)
    assert values["recall_n"] == 4
    assert values["recall"] == 2 / 4
    assert (values["recall_first_frame"], values["recall_first_frame_n"]) == (1 / 2, 2)
    assert (values["recall_late"], values["recall_late_n"]) == (1.0, 1)
    assert (values["recall_gap"], values["recall_gap_n"]) == (1.0, 1)


def test_drift_is_the_iou_of_the_best_prediction_per_quarter():
    objects = [TruthObject(1, 1, tube(range(LENGTH)))]
    fading = tube(range(6))[:9] + tube(range(LENGTH), slice(0, 1))[9:]
    values = diagnose(objects, [Prediction(1, 2, 0.1, fading), Prediction(1, 1, 0.9, tube([0]))])
    assert (values["iou_first_quarter"], values["iou_last_quarter"]) == (1.0, 0.5)
    values = diagnose(objects, [])
    assert (values["iou_first_quarter"], values["iou_last_quarter_n"]) == (0.0, 1)


def test_nothing_to_find():
    values = diagnose([], [])
    assert values["recall"] is None
    assert values["recall_n"] == 0


@pytest.mark.parametrize("seed", range(8))
def test_recall_against_plain_loops_and_copies(seed):
    rng = np.random.default_rng(seed)
    truth, predictions = nasty_truth(rng)
    chosen = rng.integers(0, 6, 9).tolist()
    values = summarize_objects(evaluate_videos(truth, predictions), chosen)
    copied = evaluate_videos(*duplicated(truth, predictions, chosen))
    assert values == pytest.approx(summarize_objects(copied), abs=1e-12)

    many, results = duplicated(truth, predictions, chosen)
    objects = [
        o for o in many.objects if not o.is_crowd and slow_iou(o.segmentations, o.segmentations)
    ]
    hits = [
        any(
            slow_iou(p.segmentations, o.segmentations) >= 0.5
            for p in results
            if (p.video_id, p.category_id) == (o.video_id, o.category_id)
        )
        for o in objects
    ]
    assert values["recall_n"] == len(hits)
    assert values["recall"] == pytest.approx(np.mean(hits) if hits else None)
