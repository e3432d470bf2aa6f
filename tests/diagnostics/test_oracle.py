"""Oracles on hand-worked videos, and what must hold for any predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nasty_videos import encode, nasty_truth
from pycocotools import mask as coco_mask
from strips import case_of, guess, thing, truth_of, tube
from test_trackeval import wandering

from videomt_bench.diagnostics.diagnose import ORACLES, diagnose
from videomt_bench.diagnostics.oracle import oracle_association, oracle_both, oracle_classes
from videomt_bench.evaluation.video_ap import evaluate_videos, summarize
from videomt_bench.evaluation.ytvis_files import Prediction, Truth, TruthObject


def scores(objects, predictions, length):
    """AP as is, with oracle association, with oracle classes, with both."""
    values = diagnose(truth_of(objects, length), predictions).values()
    return [pytest.approx(values[name], abs=1e-12) for name in ("AP", *ORACLES)]


def rows(tracks):
    """(score, class position, areas per frame) of every track, the largest score first."""
    found = zip(tracks.score.tolist(), tracks.category.tolist(), tracks.areas.tolist(), strict=True)
    return sorted(found, reverse=True)


def test_a_swap_is_an_error_of_association():
    objects = [thing(0, 0, 0, 0), thing(2, 2, 2, 2)]
    found = [guess(0.9, 0, 0, 2, 2), guess(0.8, 2, 2, 0, 0)]
    assert scores(objects, found, 4) == [0, 1, 0, 1]


def test_a_wrong_class_is_not():
    objects = [thing(0, 0), thing(2, 2, category=2)]
    found = [guess(0.9, 0, 0, category=2), guess(0.8, 2, 2, category=1)]
    assert scores(objects, found, 2) == [0, 0, 1, 1]


def test_both_errors_at_once():
    """Tracks of two classes swap: neither oracle alone finds all."""
    objects = [thing(0, 0, 0, 0), thing(2, 2, 2, 2, category=2)]
    found = [guess(0.9, 0, 0, 2, 2), guess(0.8, 2, 2, 0, 0, category=2)]
    assert scores(objects, found, 4) == [0, 0, 0, 1]


def test_a_bad_mask_is_neither():
    objects, found = [thing(0, 0)], [guess(0.9, (0, 6), (0, 6))]
    assert scores(objects, found, 2) == [0.3] * 4  # IoU 0.6 passes 3 of 10 thresholds


def test_two_pieces_of_one_track_become_one():
    """The better one takes the masks of the other, which has none left and is gone."""
    pieces = [guess(0.6, 0, None, None), guess(0.9, None, 0, 0)]
    tracks = oracle_association(case_of([thing(0, 0, 0)], pieces, 3))
    assert rows(tracks) == [(0.9, 0, [10, 10, 10])]


def test_masks_change_places():
    """What has to make room goes where the right mask came from; no mask is lost."""
    found = [guess(0.9, 0, 0, (6, 4)), guess(0.5, (5, 3), (5, 2), 0)]
    tracks = oracle_association(case_of([thing(0, 0, 0)], found, 3))
    assert rows(tracks) == [(0.9, 0, [10, 10, 10]), (0.5, 0, [3, 2, 4])]


def test_a_ring_of_three():
    objects = [thing(r, r, r, r, r) for r in (0, 2, 4)]
    found = [guess(0.9, 0, 0, 0, 2, 4), guess(0.8, 2, 2, 2, 4, 0), guess(0.7, 4, 4, 4, 0, 2)]
    tracks = oracle_association(case_of(objects, found, 5))
    np.testing.assert_array_equal(np.sort(tracks.iou.max(1)), [1, 1, 1])
    assert tracks.source[:, 3].tolist() == [2, 0, 1]
    assert tracks.source[:, 4].tolist() == [1, 2, 0]


def test_an_object_without_a_track_gets_a_new_one():
    """One track is about the first object; the second object's masks make a new track."""
    objects = [thing(0, 0, 0, None, None), thing(None, None, None, 2, 2)]
    found = [guess(0.9, 0, 0, 0, 2, None), guess(0.1, (7, 1), None, None, None, 2)]
    found[1] = guess(0.1, (7, 1), (7, 1), (7, 1), (7, 1), 2)
    tracks = oracle_association(case_of(objects, found, 5))
    assert rows(tracks) == [
        (0.9, 0, [10, 10, 10, 0, 0]),
        (0.5, 0, [0, 0, 0, 10, 10]),  # scored with the mean of 0.9 and 0.1
        (0.1, 0, [1, 1, 1, 1, 0]),
    ]


def test_the_best_ranked_of_two_duplicates_is_the_object_s_track():
    """The lower one, though longer, takes nothing from it."""
    found = [guess(0.9, 0, 0, None), guess(0.2, 0, 0, 0)]
    tracks = oracle_association(case_of([thing(0, 0, 0)], found, 3))
    assert rows(tracks) == [(0.9, 0, [10, 10, 10]), (0.2, 0, [10, 10, 0])]


def test_a_mask_that_its_own_object_s_track_holds_is_not_taken():
    """Both objects are in the same place; there is one mask."""
    objects = [thing(0, 0, 0), thing((0, 9), (0, 9), None)]
    tracks = oracle_association(case_of(objects, [guess(0.9, 0, 0, 0)], 3))
    assert rows(tracks) == [(0.9, 0, [10, 10, 10])]


def test_a_mask_that_covers_less_than_half_belongs_to_nothing():
    objects = [thing(0, 0, 0)]
    found = [guess(0.9, 0, 0, None), guess(0.5, None, None, (0, 4))]
    assert rows(oracle_association(case_of(objects, found, 3))) == [
        (0.9, 0, [10, 10, 0]),
        (0.5, 0, [0, 0, 4]),
    ]
    found[1] = guess(0.5, None, None, (0, 5))
    assert rows(oracle_association(case_of(objects, found, 3))) == [(0.9, 0, [10, 10, 5])]


def test_with_oracle_classes_a_tube_has_one_class():
    """Its object's, or else its best label; the score is the best one."""
    found = [
        guess(0.9, 0, 0, category=2),
        guess(0.4, 0, 0, category=1),
        guess(0.3, 6, 6, category=2),
        guess(0.7, 6, 6, category=1),
    ]
    tracks = oracle_classes(case_of([thing(0, 0)], found, 2))
    assert rows(tracks) == [(0.9, 0, [10, 10]), (0.7, 0, [10, 10])]


def test_crowds_have_no_track():
    objects = [thing(0, 0, 0, 0, is_crowd=True)]
    found = [guess(0.9, 0, 0, None, None, category=2), guess(0.8, None, None, 0, 0)]
    case = case_of(objects, found, 4)
    assert rows(oracle_both(case)) == [(0.9, 1, [10, 10, 0, 0]), (0.8, 0, [0, 0, 10, 10])]


def test_nothing_predicted_and_nothing_there():
    assert scores([thing(0, 0)], [], 2) == [0, 0, 0, 0]
    assert len(oracle_both(case_of([], [guess(0.5, 0, 0)], 2))) == 1
    assert len(oracle_association(case_of([], [], 2))) == 0


def perfect(rng, truth):
    """The truth as predictions, the scores at random."""
    return [
        Prediction(o.video_id, o.category_id, float(rng.random()), o.segmentations)
        for o in truth.objects
    ]


def shuffled(rng, predictions, by_class):
    """In every frame anew the masks change hands, within a class or within the video."""
    result = list(predictions)
    keys = [(p.video_id, p.category_id if by_class else 0) for p in predictions]
    for key in set(keys):
        group = [i for i, k in enumerate(keys) if k == key]
        columns = zip(*(predictions[i].segmentations for i in group), strict=True)
        mixed = [[frame[j] for j in rng.permutation(len(group))] for frame in columns]
        for i, masks in zip(group, zip(*mixed, strict=True), strict=True):
            result[i] = replace(predictions[i], segmentations=list(masks))
    return result


def apart(rng):
    """Truth without overlaps: masks that hide each other a little."""
    truth, _ = wandering(rng, per_video=5)
    objects = [
        TruthObject(1, int(rng.integers(1, 3)), tube(*((r if rng.random() > 0.2 else None)
                    for _ in range(6)))) for r in range(8)
    ]  # fmt: skip
    return Truth(truth_of(objects, 6).videos, truth.categories, objects)


@pytest.mark.parametrize("seed", range(10))
def test_perfect_masks_with_shuffled_identities_are_found_again(seed):
    rng = np.random.default_rng(seed)
    truth = apart(rng)
    values = diagnose(truth, shuffled(rng, perfect(rng, truth), by_class=True)).values()
    assert values["AP"] < 0.9
    assert values["AP_association"] == values["AP_both"] == pytest.approx(1, abs=1e-12)
    values = diagnose(truth, shuffled(rng, perfect(rng, truth), by_class=False)).values()
    assert values["AP_association"] < 1
    assert values["AP_both"] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_perfect_tubes_with_shuffled_classes_are_found_again(seed):
    rng = np.random.default_rng(seed)
    truth = apart(rng)
    found = [replace(p, category_id=int(rng.integers(1, 3))) for p in perfect(rng, truth)]
    assert diagnose(truth, found).values()["AP_classes"] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_as_is_equals_the_official_ap(seed):
    truth, predictions = nasty_truth(np.random.default_rng(seed))
    found = diagnose(truth, predictions)
    official = summarize(evaluate_videos(truth, predictions))
    expected = np.nan if official["AP"] is None else official["AP"]
    assert found.values()["AP"] == pytest.approx(expected, abs=1e-15, nan_ok=True)


@pytest.mark.parametrize("seed", range(10))
def test_in_single_frames_there_is_nothing_to_associate(seed):
    truth, predictions = nasty_truth(np.random.default_rng(seed), 8, lengths=(1, 1))
    values = diagnose(truth, predictions).values()
    assert values["AP_association"] == pytest.approx(values["AP"], abs=1e-12, nan_ok=True)
    assert values["AP_both"] == pytest.approx(values["AP_classes"], abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(4))
def test_near_duplicates_of_low_score_change_nothing(seed):
    """Every object has a right track and a second one, a pixel off here and there."""
    rng = np.random.default_rng(seed)
    truth, _ = wandering(rng)

    def shaken(masks):
        return [
            encode(np.roll(coco_mask.decode(mask), rng.integers(-1, 2, 2), (0, 1)))
            for mask in masks
        ]

    found = [
        Prediction(o.video_id, o.category_id, float(score), shaken(o.segmentations))
        for o in truth.objects
        for score in (rng.uniform(0.6, 1), rng.uniform(0, 0.2))
    ]
    values = diagnose(truth, found).values()
    assert 0.5 < values["AP"] < 1
    assert values["AP_association"] == pytest.approx(values["AP"], abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_linking_keeps_every_mask_once(seed):
    """Per frame and class the tubes in use are the same before and after."""
    truth, predictions = wandering(np.random.default_rng(seed), videos=1)
    (video,) = truth.videos.values()
    from videomt_bench.diagnostics.case import video_case

    case = video_case(video, truth.objects, predictions, {1: 0, 2: 1})
    tracks = oracle_association(case)
    for c in (0, 1):
        rows_of = tracks.category == c
        for t in range(video.length):
            kept = tracks.source[rows_of, t]
            used = sorted(d for d in kept.tolist() if d >= 0 and case.areas[d, t])
            there = [d for d in case.tube[case.category == c].tolist() if case.areas[d, t]]
            assert used == sorted(there)


@pytest.mark.parametrize("seed", range(10))
def test_the_oracle_helps(seed):
    values = diagnose(*wandering(np.random.default_rng(seed))).values()
    assert values["AP_association"] > values["AP"]
    assert values["AP_both"] >= values["AP_association"] - 1e-12


def test_the_scale_of_scores_does_not_matter():
    """Where no new track is needed; also for scores that are not between 0 and 1."""
    truth, predictions = wandering(np.random.default_rng(3))
    moved = [replace(p, score=10 * p.score - 7) for p in predictions]
    names = ("AP", "AP_association", "AP_classes")
    one, other = (diagnose(truth, found).values() for found in (predictions, moved))
    assert [one[n] for n in names] == pytest.approx([other[n] for n in names], abs=1e-12)
