"""Video AP against plain loops, TrackEval and, on videos of one frame, COCOeval."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from nasty_videos import box_tube, encode, encoded, nasty_truth
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from slow_video_ap import (
    IOUS,
    RANGES,
    area_of,
    duplicated,
    pixel_areas,
    slow_area,
    slow_match,
    slow_video_ap,
)

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.matching import match
from videomt_bench.evaluation.video_ap import evaluate_videos, per_category, per_video, summarize
from videomt_bench.evaluation.ytvis_files import Prediction, Truth, TruthObject, Video


def assert_same(got, expected, tolerance):
    for name, value in expected.items():
        if value is None or got[name] is None:
            assert value is got[name], name
        else:
            assert got[name] == pytest.approx(value, abs=tolerance), name


def only_names(scores):
    return {name: value for name, value in scores.items() if isinstance(name, str)}


@pytest.mark.parametrize("seed", range(25))
def test_equals_the_plain_loops(seed):
    truth, predictions = nasty_truth(np.random.default_rng(seed), occlusion=seed % 2 == 1)
    stats = evaluate_videos(truth, predictions)
    expected = slow_video_ap(truth, predictions)
    assert set(summarize(stats)) == set(only_names(expected))
    assert_same(summarize(stats), only_names(expected), 1e-12)
    rows = per_category(stats)
    for c in truth.categories:
        assert rows[c]["AP"] == pytest.approx(expected.get(("AP", c)), abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_a_video_on_its_own(seed):
    truth, predictions = nasty_truth(np.random.default_rng(seed))
    table = per_video(evaluate_videos(truth, predictions))
    for id_, video in truth.videos.items():
        objects = [o for o in truth.objects if o.video_id == id_]
        found = [p for p in predictions if p.video_id == id_]
        expected = slow_video_ap(Truth({id_: video}, truth.categories, objects), found)
        row = table[id_]
        assert_same(row, {k: expected[k] for k in ("AP", "AP50", "AP75", "AR1", "AR10")}, 1e-12)
        counted = [o for o in objects if not o.is_crowd and area_of(o) <= 1e10]
        assert (row["n"], row["detections"]) == (len(counted), len(found))


def test_reports_progress():
    truth, predictions = nasty_truth(np.random.default_rng(0))
    calls = []
    evaluate_videos(truth, predictions, lambda *call: calls.append(call))
    assert calls == [(i, 6) for i in range(1, 7)]


@pytest.mark.parametrize("seed", range(30))
def test_matching_with_equal_ious(seed):
    rng = np.random.default_rng(seed)
    n, m = (int(k) for k in rng.integers(1, 7, 2))
    iou = rng.choice([0, 0.3, 0.5, 0.6, 0.75, 0.8999999999999999, 1.0], (n, m))
    crowd, sizes = rng.random(m) < 0.2, rng.choice([1, 128**2, 128**2 + 1, 256**2, 1e11], m)
    objects = [SimpleNamespace(is_crowd=bool(c)) for c in crowd]
    detections = [SimpleNamespace() for _ in range(n)]
    areas = {id(d): 5 for d in detections}
    areas |= {id(o): size for o, size in zip(objects, sizes, strict=True)}
    limits = list(RANGES.values())
    ignored = [
        [c or not lo <= s <= hi for lo, hi in limits] for c, s in zip(crowd, sizes, strict=True)
    ]
    matched, into_ignored = match(iou, crowd, np.array(ignored))
    for a, limit in enumerate(limits):
        for t, threshold in enumerate(IOUS):
            expected, _ = slow_match(detections, objects, iou, areas, limit, threshold)
            assert matched[:, a, t].tolist() == [hit for hit, _ in expected]
            assert (into_ignored | ~matched)[:, a, t].tolist() == [i or not h for h, i in expected]


@pytest.mark.parametrize("seed", range(12))
def test_a_multiset_of_videos_equals_videos_copied(seed):
    rng = np.random.default_rng(seed)
    truth, predictions = nasty_truth(rng, videos=5)
    stats = evaluate_videos(truth, predictions)
    for positions in ([], [2], [3, 1, 3, 3], rng.integers(0, 5, 8).tolist()):
        copies = duplicated(truth, predictions, positions)
        assert_same(summarize(stats, positions), only_names(slow_video_ap(*copies)), 1e-12)


def test_ties_within_a_copied_video_stay_interleaved():
    """Hit, miss, hit, miss is not hit, hit, miss, miss."""
    mask, other = np.zeros((4, 4)), np.zeros((4, 4))
    mask[:2], other[2:] = 1, 1
    truth = Truth({1: Video(1, 4, 4, 1)}, {1: "a"}, [TruthObject(1, 1, [encode(mask)])])
    found = [Prediction(1, 1, 0.5, [encode(m)]) for m in (mask, other)]
    stats = evaluate_videos(truth, found)
    # Two hits of two objects, precision 1 and 2/3: 51 recall points at the first, 50 after.
    assert summarize(stats, [0, 0])["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-12)
    assert summarize(stats)["AP"] == pytest.approx(1.0, abs=1e-12)


def test_keeps_a_hundred_detections_per_video_and_category():
    rng = np.random.default_rng(0)
    tube = encoded(box_tube(rng, 8, 8, 3))
    miss = [encode(np.eye(8)[::-1])] * 3
    truth = Truth({5: Video(5, 8, 8, 3)}, {1: "a"}, [TruthObject(5, 1, tube)])
    found = [Prediction(5, 1, 1 - i / 200, miss) for i in range(100)]
    late = [*found, Prediction(5, 1, 0.1, tube)]
    early = [*found[:99], Prediction(5, 1, 0.1, tube)]
    assert summarize(evaluate_videos(truth, late))["AP"] == 0
    assert summarize(evaluate_videos(truth, early))["AR100"] == 1
    assert summarize(evaluate_videos(truth, early))["AR10"] == 0


def test_no_predictions_give_zero_and_no_objects_give_none():
    truth, _ = nasty_truth(np.random.default_rng(3), crowd=0)
    truth = replace(truth, objects=[replace(o, areas=None) for o in truth.objects])
    scores = summarize(evaluate_videos(truth, []))
    assert scores["AP"] == scores["AR100"] == 0
    assert scores["APl"] is None  # frames of at most 12 x 12 hold no large object
    empty = evaluate_videos(replace(truth, objects=[]), [])
    assert set(summarize(empty).values()) == {None}


def test_bad_input_is_one_sentence():
    truth, predictions = nasty_truth(np.random.default_rng(3))
    video = min(truth.videos)
    one = replace(predictions[0], video_id=video)
    for bad, word in (
        (replace(one, video_id=-1), "video -1"),
        (replace(one, category_id=99), "category 99"),
        (replace(one, segmentations=[None] * 99), "99 segmentations"),
        (replace(one, segmentations=[None] * truth.videos[video].length, score=np.nan), "finite"),
    ):
        with pytest.raises(BenchError, match=word):
            evaluate_videos(truth, [bad])
    with pytest.raises(BenchError, match="0 to 5"):
        summarize(evaluate_videos(truth, []), [6])


def coco_scores(truth, predictions):
    """COCOeval on videos of one frame, with the area ranges of YouTube-VIS."""
    images = [{"id": v.id, "height": v.height, "width": v.width} for v in truth.videos.values()]
    annotations = [
        {
            "id": i + 1,
            "image_id": o.video_id,
            "category_id": o.category_id,
            "segmentation": o.segmentations[0],
            "area": slow_area(o.areas or pixel_areas(o.segmentations)),
            "bbox": [0, 0, 1, 1],
            "iscrowd": 0,
        }
        for i, o in enumerate(truth.objects)
    ]
    results = [
        {
            "image_id": p.video_id,
            "category_id": p.category_id,
            "score": p.score,
            "segmentation": p.segmentations[0],
        }
        for p in predictions
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        categories = [{"id": c} for c in truth.categories]
        coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "segm")
        ranges = [[0, 1e10], [0, 128**2], [128**2, 256**2], [256**2, 1e10]]
        evaluation.params.areaRng = ranges
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    values = [None if value == -1 else float(value) for value in evaluation.stats]
    return dict(zip(names, values, strict=True))


@pytest.mark.parametrize("seed", range(15))
def test_one_frame_equals_cocoeval(seed):
    """No crowd: COCO's IoU with a crowd object is another one than that of videos."""
    truth, predictions = nasty_truth(np.random.default_rng(seed), 12, lengths=(1, 1), crowd=0)
    objects = [o for o in truth.objects if o.segmentations[0]]
    truth = replace(truth, objects=objects)
    predictions = [p for p in predictions if p.segmentations[0]]
    scores = summarize(evaluate_videos(truth, predictions))
    assert_same(scores, coco_scores(truth, predictions), 1e-9)


def trackeval_scores(truth, predictions, folder):
    """AP per category over the thresholds: all areas, small, medium, large."""
    trackeval = pytest.importorskip("trackeval")
    _write_trackeval(truth, predictions, folder)
    quiet = {"PRINT_CONFIG": False}
    dataset = trackeval.datasets.YouTubeVIS(
        {
            **quiet,
            "GT_FOLDER": f"{folder}/",
            "TRACKERS_FOLDER": f"{folder}/results_",
            "SPLIT_TO_EVAL": "split",
        }
    )
    dataset.global_tid_counter = 1  # an id of 0 reads as "not matched" in its matching
    metric = trackeval.metrics.TrackMAP(
        {
            **quiet,
            "AREA_RANGES": [[0, 1e10], [0, 128**2], [128**2, 256**2], [256**2, 1e10]],
            "AREA_RANGE_LABELS": ["area_all", "area_s", "area_m", "area_l"],
            "USE_TIME_RANGES": False,
            "IOU_THRESHOLDS": np.linspace(0.5, 0.95, 10),
            "MAX_DETECTIONS": 100,
        }
    )
    table = {}
    for name in truth.categories.values():
        sequences = {}
        for sequence in dataset.seq_list:
            raw = dataset.get_raw_seq_data("model", sequence)
            data = dataset.get_preprocessed_seq_data(raw, name)
            sequences[sequence] = metric.eval_sequence(data)
        table[name] = metric.combine_sequences(sequences)
    return table


def _write_trackeval(truth, predictions, folder):
    truth_folder = folder / "youtube_vis_split"
    result_folder = folder / "results_youtube_vis_split" / "model" / "data"
    truth_folder.mkdir(parents=True)
    result_folder.mkdir(parents=True)
    videos = [
        {"id": v.id, "file_names": [f"{v.id:04}/{t}.jpg" for t in range(v.length)]}
        for v in truth.videos.values()
    ]
    annotations = [
        {
            "id": i + 1,
            "video_id": o.video_id,
            "category_id": o.category_id,
            "height": truth.videos[o.video_id].height,
            "width": truth.videos[o.video_id].width,
            "iscrowd": int(o.is_crowd),
            "areas": o.areas or pixel_areas(o.segmentations),
            "segmentations": [_uncompressed(mask) for mask in o.segmentations],
        }
        for i, o in enumerate(truth.objects)
    ]
    categories = [{"id": c, "name": name} for c, name in truth.categories.items()]
    data = {"videos": videos, "categories": categories, "annotations": annotations}
    (truth_folder / "gt.json").write_text(json.dumps(data))
    results = [vars(p) for p in predictions]
    (result_folder / "results.json").write_text(json.dumps(results))


def _uncompressed(mask):
    """TrackEval takes only run lengths as lists from a truth file."""
    if mask is None:
        return None
    pixels = coco_mask.decode(mask).flatten(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    lengths = np.diff([0, *changes, len(pixels)]).tolist()
    return {"size": mask["size"], "counts": [0, *lengths] if pixels[0] else lengths}


def track_map(table, which, positions):
    """Mean over positions in the thresholds and categories that have objects."""
    values = [row[which][positions] for row in table.values()]
    kept = np.concatenate([v[v > -1] for v in values])
    return float(kept.mean()) if len(kept) else None


@pytest.mark.parametrize("seed", range(10))
def test_equals_trackeval(seed, tmp_path):
    """Without crowd objects: in TrackEval one takes a single detection, officially any number.

    Its range "all" has no upper bound, so the official one is passed as a range of its own.
    """
    truth, predictions = nasty_truth(np.random.default_rng(seed), crowd=0)
    table = trackeval_scores(truth, predictions, tmp_path)
    expected = {
        "AP": track_map(table, "AP_area_all", slice(None)),
        "AP50": track_map(table, "AP_area_all", slice(0, 1)),
        "AP75": track_map(table, "AP_area_all", slice(5, 6)),
        "AR100": track_map(table, "AR_area_all", slice(None)),
    }
    for letter in "sml":
        expected[f"AP{letter}"] = track_map(table, f"AP_area_{letter}", slice(None))
        expected[f"AR{letter}"] = track_map(table, f"AR_area_{letter}", slice(None))
    assert_same(summarize(evaluate_videos(truth, predictions)), expected, 1e-9)


def test_a_crowd_object_takes_any_number_of_detections(tmp_path):
    mask, thing = np.zeros((4, 4)), np.zeros((4, 4))
    mask[:2], thing[3] = 1, 1
    truth = Truth(
        {1: Video(1, 4, 4, 1)},
        {1: "a"},
        [TruthObject(1, 1, [encode(mask)], is_crowd=True), TruthObject(1, 1, [encode(thing)])],
    )
    found = [Prediction(1, 1, s, [encode(mask)]) for s in (0.9, 0.8, 0.7)]
    found.append(Prediction(1, 1, 0.6, [encode(thing)]))
    assert summarize(evaluate_videos(truth, found))["AP"] == pytest.approx(1.0, abs=1e-12)
    # TrackEval counts the second and third as false: the known difference.
    table = trackeval_scores(truth, found, tmp_path)
    assert track_map(table, "AP_area_all", slice(None)) == pytest.approx(1 / 3, abs=1e-9)
