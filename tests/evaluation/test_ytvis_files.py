"""Truth and result files: what is read, and one sentence for each kind of damage."""

from __future__ import annotations

import copy
import gc
import json
from dataclasses import replace

import numpy as np
import pytest
from nasty_videos import encode, nasty_truth

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.video_ap import evaluate_videos, summarize
from videomt_bench.evaluation.ytvis_files import (
    Prediction,
    read_predictions,
    read_truth,
    write_predictions,
)

MASK = np.array([[1, 0, 0], [1, 1, 0]])


def truth_data():
    video = {"id": 7, "height": 2, "width": 3, "length": 2, "file_names": ["a/0.jpg", "a/1.jpg"]}
    annotation = {
        "id": 1,
        "video_id": 7,
        "category_id": 3,
        "iscrowd": 0,
        "segmentations": [encode(MASK), None],
        "areas": [3, None],
    }
    categories = [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}]
    return {"videos": [video], "categories": categories, "annotations": [annotation]}


def result_data():
    return [
        {"video_id": 7, "category_id": 3, "score": 0.5, "segmentations": [encode(MASK), None]},
        {"video_id": 7, "category_id": 5, "score": 1, "segmentations": [None, encode(MASK * 0)]},
    ]


@pytest.fixture
def save(tmp_path):
    def save(data, name="file.json"):
        path = tmp_path / name
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    return save


def changed(data, keys, value):
    data = copy.deepcopy(data)
    item = data
    for key in keys[:-1]:
        item = item[key]
    if value is KeyError:
        del item[keys[-1]]
    else:
        item[keys[-1]] = value
    return data


def test_reads_both(save):
    truth = read_truth(save(truth_data(), "truth.json"))
    assert truth.categories == {3: "cat", 5: "dog"}
    results = read_predictions(save(result_data()), truth)
    assert [r.score for r in results] == [0.5, 1.0]
    assert summarize(evaluate_videos(truth, results))["AP"] == pytest.approx(1)


def test_an_empty_result_list_scores_zero(save):
    truth = read_truth(save(truth_data(), "truth.json"))
    assert summarize(evaluate_videos(truth, read_predictions(save([]), truth)))["AP"] == 0


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [2, 3], "counts": [0, 2, 1, 1, 2]},
        [[0, 0, 1, 0, 1, 1, 2, 1, 2, 2, 0, 2]],
    ],
)
def test_run_lengths_as_lists_and_polygons(save, segmentation):
    data = changed(truth_data(), ("annotations", 0, "segmentations", 0), segmentation)
    del data["annotations"][0]["areas"]
    truth = read_truth(save(data, "truth.json"))
    assert truth.objects[0].areas is None
    results = read_predictions(save(result_data()), truth)
    assert summarize(evaluate_videos(truth, results))["AP"] == pytest.approx(1)


SEGMENTATIONS = ("annotations", 0, "segmentations")


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("annotations",), KeyError, "no list 'annotations'"),
        (("annotations",), None, "no list 'annotations'"),
        (("videos",), KeyError, "no list 'videos'"),
        (("categories",), 3, "no list 'categories'"),
        (("videos", 0), 3, "videos entry 0: not a JSON object but a number"),
        (("videos", 0, "height"), "2", "videos entry 0: height is '2', not an integer"),
        (("videos", 0, "width"), 0, "videos entry 0"),
        (("videos", 0, "width"), 10**12, "videos entry 0"),
        (("videos", 0, "file_names"), [], "0 frames"),
        (("categories", 1, "id"), 3, "repeat"),
        (("annotations", 0, "video_id"), 8, "annotations entry 0: unknown video_id 8"),
        (("annotations", 0, "category_id"), 4, "entry 0: unknown category_id 4"),
        (("annotations", 0, "areas"), [3], "areas"),
        (("annotations", 0, "areas"), [float("nan"), None], "areas is 'nan'"),
        (("annotations", 0, "iscrowd"), 2, "iscrowd is 2"),
        (("annotations", 0, "iscrowd"), [1], "iscrowd"),
        (SEGMENTATIONS, [None], "1 segmentations for video 7, which has 2 frames"),
        ((*SEGMENTATIONS, 1), {"size": [2, 3], "counts": [-1, 7]}, "frame 1: size or run"),
        ((*SEGMENTATIONS, 1), {"size": [2, 3], "counts": [1e9]}, "frame 1: size or run"),
        ((*SEGMENTATIONS, 1), {"size": [2, 3], "counts": [3]}, "frame 1: size or run"),
        ((*SEGMENTATIONS, 1), [[1, 2, 3, 4]], "frame 1: a polygon"),
        ((*SEGMENTATIONS, 1), [[0, 0, 1e18, 0, 1, 1]], "frame 1: a polygon"),
        ((*SEGMENTATIONS, 1), [["0", 0, 1, 0, 1, 1]], "polygon is '0'"),
        ((*SEGMENTATIONS, 1), "text", "frame 1: a mask is null"),
    ],
)
def test_damaged_truth(save, keys, value, message):
    path = save(changed(truth_data(), keys, value))
    with pytest.raises(BenchError, match=message) as caught:
        read_truth(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ((1,), [], "entry 1: not a JSON object but a list"),
        ((1, "video_id"), 8, "entry 1: unknown video_id 8"),
        ((1, "video_id"), True, "entry 1: video_id is 'True'"),
        ((1, "video_id"), {}, "entry 1: video_id"),
        ((1, "category_id"), 4, "entry 1: unknown category_id 4"),
        ((1, "category_id"), KeyError, "entry 1: category_id is 'None'"),
        ((1, "score"), float("nan"), "entry 1: score is 'nan'"),
        ((1, "score"), float("inf"), "entry 1: score is 'inf'"),
        ((1, "score"), 10**400, "entry 1: score"),
        ((1, "score"), "0.5", "entry 1: score is '0.5', not a finite number"),
        ((1, "score"), None, "entry 1: score"),
        ((1, "segmentations"), KeyError, "entry 1: 'segmentations' is not a list"),
        ((1, "segmentations"), [None] * 3, "entry 1: 3 segmentations"),
        ((1, "segmentations", 1, "size"), [3, 2], "entry 1: frame 1: mask size"),
        ((1, "segmentations", 1, "size"), 5, "entry 1: frame 1"),
        ((1, "segmentations", 1, "counts"), "~~", "entry 1: frame 1: .* decoded"),
        ((1, "segmentations", 1, "counts"), 5, "entry 1: frame 1"),
        ((1, "segmentations", 1, "counts"), "4", "entry 1: frame 1: .* not to 6"),
    ],
)
def test_damaged_results(save, keys, value, message):
    truth = read_truth(save(truth_data(), "truth.json"))
    path = save(changed(result_data(), keys, value))
    with pytest.raises(BenchError, match=message) as caught:
        read_predictions(path, truth)
    assert str(path) in str(caught.value)


def test_files_that_are_no_json(save, tmp_path):
    truth = read_truth(save(truth_data(), "truth.json"))
    for text in ("", "[", "[" * 100_000):
        with pytest.raises(BenchError, match="is not JSON"):
            read_predictions(save(text), truth)
    (tmp_path / "file.json").write_bytes(b"\xff\xfe[]")
    with pytest.raises(BenchError, match="is not JSON"):
        read_predictions(tmp_path / "file.json", truth)
    with pytest.raises(BenchError, match="not an object"):
        read_predictions(save({}), truth)
    with pytest.raises(BenchError, match="not a list"):
        read_truth(save([]))
    with pytest.raises(BenchError, match="cannot read"):
        read_truth(tmp_path / "absent.json")


def test_what_is_written_is_read_again(tmp_path, save):
    truth, predictions = nasty_truth(np.random.default_rng(2))
    path = tmp_path / "new" / "results.json"
    write_predictions(path, predictions)
    assert read_predictions(path, truth) == predictions
    as_bytes = [
        Prediction(
            np.int64(p.video_id),
            np.int64(p.category_id),
            np.float32(p.score),
            [m and {**m, "counts": m["counts"].encode()} for m in p.segmentations],
        )
        for p in predictions
    ]
    write_predictions(path, as_bytes)
    again = read_predictions(path, truth)
    assert [p.segmentations for p in again] == [p.segmentations for p in predictions]
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


def test_a_copy_with_other_masks_is_scored_by_those(save):
    truth = read_truth(save(truth_data(), "truth.json"))
    results = read_predictions(save(result_data()), truth)
    assert results[0].tube is not None
    wrong = replace(results[0], segmentations=[None, encode(MASK)])
    assert summarize(evaluate_videos(truth, [wrong]))["AP"] == 0
    shifted = replace(truth.objects[0], segmentations=[None, encode(MASK)])
    both = replace(truth, objects=[shifted])
    assert summarize(evaluate_videos(both, [wrong]))["AP"] == pytest.approx(1)


def test_reading_leaves_the_garbage_collector_as_it_was(save):
    path = save(truth_data(), "truth.json")
    read_truth(path)
    assert gc.isenabled()
    gc.disable()
    try:
        read_truth(path)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("position", [0, 4, 9])
def test_one_damaged_entry_of_many_is_named(save, position):
    truth = read_truth(save(truth_data(), "truth.json"))
    entries = [copy.deepcopy(result_data()[0]) for _ in range(10)]
    entries[position]["segmentations"][0]["counts"] = "1"
    with pytest.raises(BenchError, match=f"entry {position}: frame 0: .* not to 6"):
        read_predictions(save(entries), truth)


def test_a_bad_score_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(BenchError, match="score"):
        write_predictions(path, [Prediction(1, 1, float("nan"), [None])])
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
