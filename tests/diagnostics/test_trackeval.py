"""HOTA, IDF1 and CLEAR MOT equal to TrackEval, which gets IoUs that pycocotools computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nasty_videos import encoded, nasty_truth
from pycocotools import mask as coco_mask

from videomt_bench.diagnostics.association_stats import MEASURES
from videomt_bench.diagnostics.diagnose import diagnose
from videomt_bench.diagnostics.selection import Selection
from videomt_bench.evaluation.ytvis_files import Prediction, Truth, TruthObject, Video

THRESHOLD = 0.3


def sequence(objects, tracks, length):
    """One video in the form that TrackEval's metrics take; ids count what is ever visible."""
    ids, similarity = ([], []), []
    visible = [[(x, a) for x in items if (a := areas(x)).any()] for items in (objects, tracks)]
    for t in range(length):
        here = [[i for i, (_, a) in enumerate(items) if a[t]] for items in visible]
        for found, known in zip(here, ids, strict=True):
            known.append(np.array(found, int))
        masks = [
            [items[i][0][t] for i in found] for items, found in zip(visible, here, strict=True)
        ]
        if masks[0] and masks[1]:
            iou = coco_mask.iou(masks[0], masks[1], [False] * len(masks[1]))
        else:
            iou = np.zeros((len(masks[0]), len(masks[1])))
        similarity.append(np.asarray(iou))
    return {
        "num_timesteps": length,
        "num_gt_ids": len(visible[0]),
        "num_tracker_ids": len(visible[1]),
        "num_gt_dets": sum(map(len, ids[0])),
        "num_tracker_dets": sum(map(len, ids[1])),
        "gt_ids": ids[0],
        "tracker_ids": ids[1],
        "similarity_scores": similarity,
    }


def areas(masks):
    """(T,) pixels."""
    kept = [t for t, mask in enumerate(masks) if mask is not None]
    result = np.zeros(len(masks), int)
    if kept:
        result[kept] = coco_mask.area([masks[t] for t in kept])
    return result


def trackeval_values(truth, tracks_of, objects_of):
    """Our measures, computed by TrackEval; what the functions take is a video."""
    trackeval = pytest.importorskip("trackeval")
    quiet = {"PRINT_CONFIG": False}
    metrics = trackeval.metrics
    sequences = {
        str(id_): sequence(objects_of(id_), tracks_of(id_), video.length)
        for id_, video in truth.videos.items()
    }
    values = {}
    for metric in (metrics.HOTA(), metrics.Identity(quiet), metrics.CLEAR(quiet)):
        results = {id_: metric.eval_sequence(data) for id_, data in sequences.items()}
        values |= metric.combine_sequences(results)
    return {name: float(np.mean(values[name])) for name in MEASURES}


def ranked(predictions):
    """The order decides ties."""
    return sorted(predictions, key=lambda p: -p.score)


def by_class(truth, predictions):
    """For every class with a visible object."""
    table = {}
    for c in sorted(truth.categories):

        def objects(id_, c=c):
            return [
                o.segmentations for o in truth.objects if (o.video_id, o.category_id) == (id_, c)
            ]

        def tracks(id_, c=c):
            return [
                p.segmentations
                for p in ranked(predictions)
                if (p.video_id, p.category_id) == (id_, c) and p.score >= THRESHOLD
            ]

        if any(areas(o).any() for id_ in truth.videos for o in objects(id_)):
            table[c] = trackeval_values(truth, tracks, objects)
    return table


def agnostic(truth, predictions):
    """Every set of masks once."""

    def objects(id_):
        return [o.segmentations for o in truth.objects if o.video_id == id_]

    def tracks(id_):
        kept = [p for p in ranked(predictions) if p.video_id == id_ and p.score >= THRESHOLD]
        texts = [str([m and m["counts"] for m in p.segmentations]) for p in kept]
        return [p.segmentations for i, p in enumerate(kept) if texts[i] not in texts[:i]]

    return trackeval_values(truth, tracks, objects)


def assert_equal(truth, predictions):
    found = diagnose(truth, predictions, Selection(THRESHOLD))
    expected = by_class(truth, predictions)
    ours = found.by_class.by_class()
    for position, c in enumerate(sorted(truth.categories)):
        for name in MEASURES:
            if c in expected:
                assert ours[name][position] == pytest.approx(expected[c][name], abs=1e-9), name
            else:
                assert np.isnan(ours[name][position])
    summary = found.by_class.summarize()
    for name in MEASURES:
        column = [row[name] for row in expected.values()]
        total = np.sum(column) if name == "IDSW" else np.mean(column)
        assert summary[name] == pytest.approx(total, abs=1e-9)
    assert found.agnostic.summarize() == pytest.approx(agnostic(truth, predictions), abs=1e-9)


def wandering(rng, videos=3, height=40, width=60, length=15, per_video=4):
    """Objects on straight ways, and tracks that follow them, swap, pause and are imprecise."""
    y, x = np.mgrid[:height, :width]
    truth, predictions, all_videos = [], [], {}
    for v in range(videos):
        all_videos[v] = Video(v, height, width, length)
        ways = rng.uniform(0, 1, (per_video, 2, 2)) * [height, width]
        tubes = []
        for a, b in ways:
            centres = np.linspace(a, b, length)
            seen = rng.random(length) > 0.15
            radius = rng.uniform(5, 9)
            tubes.append(
                [
                    (y - cy) ** 2 + (x - cx) ** 2 < radius**2 if s else np.zeros((height, width))
                    for (cy, cx), s in zip(centres, seen, strict=True)
                ]
            )
        order = np.tile(np.arange(per_video), (length, 1))
        for _ in range(3):
            i, j = rng.choice(per_video, 2, replace=False)
            order[rng.integers(length) :, [i, j]] = order[rng.integers(length), [j, i]]
        categories = rng.integers(1, 3, per_video)
        for k, masks in enumerate(tubes):
            truth.append(TruthObject(v, int(categories[k]), encoded(masks)))
        for k in range(per_video + 2):
            masks = [
                np.roll(tubes[order[t][k % per_video]][t], rng.integers(-3, 4, 2), (0, 1))
                if rng.random() > 0.2
                else None
                for t in range(length)
            ]
            label = int(categories[k % per_video] if rng.random() < 0.8 else rng.integers(1, 3))
            predictions.append(Prediction(v, label, float(rng.uniform(0.1, 1)), encoded(masks)))
    return Truth(all_videos, {1: "a", 2: "b"}, truth), predictions


@pytest.mark.parametrize("seed", range(8))
def test_equals_trackeval(seed):
    assert_equal(*wandering(np.random.default_rng(seed)))


@pytest.mark.parametrize("seed", range(8))
def test_equals_trackeval_on_nasty_videos(seed):
    truth, predictions = nasty_truth(np.random.default_rng(seed), crowd=0, lengths=(1, 8))
    assert_equal(truth, predictions)


def test_a_resample_is_the_evaluation_of_copies():
    truth, predictions = wandering(np.random.default_rng(20), videos=4)
    draw = [3, 1, 1, 0]
    copies = {100 + i: v for i, v in enumerate(draw)}
    several = Truth(
        {i: replace(truth.videos[v], id=i) for i, v in copies.items()},
        truth.categories,
        [replace(o, video_id=i) for i, v in copies.items() for o in truth.objects
         if o.video_id == v],
    )  # fmt: skip
    found = [replace(p, video_id=i) for i, v in copies.items() for p in predictions
             if p.video_id == v]  # fmt: skip
    expected = diagnose(several, found)
    resampled = diagnose(truth, predictions)
    assert resampled.by_class.summarize(draw) == pytest.approx(
        expected.by_class.summarize(), abs=1e-12
    )
