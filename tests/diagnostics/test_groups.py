"""Kinds of objects, and AP by kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nasty_videos import nasty_truth
from strips import case_of, guess, thing, truth_of

from videomt_bench.diagnostics.diagnose import diagnose
from videomt_bench.diagnostics.groups import box_overlap, object_groups, quarters
from videomt_bench.evaluation.video_ap import evaluate_videos, summarize


def members(objects, length):
    """Kind and label -> which objects."""
    groups = object_groups(truth_of(objects, length))
    table = groups.members[1]
    return {
        (group.kind, group.label): np.flatnonzero(table[:, i]).tolist()
        for i, group in enumerate(groups.groups)
    }


def test_size_length_and_gap():
    objects = [
        thing((0, 2), None, None, None),
        thing((1, 4), (1, 4), None, None),
        thing((2, 6), (2, 6), None, (2, 6)),
        thing((3, 8), (3, 8), (3, 8), (3, 8)),
    ]
    found = members(objects, 4)
    assert found["size", "small"] == [0, 1, 2, 3]
    assert ("size", "medium") not in found
    shares = [found["size, % of the frame", t] for t in ("≤ 2.5", "2.5–5", "5–7.5", "> 7.5")]
    assert shares == [[0], [1], [2], [3]]
    assert found["length, frames", "≤ 1"] == [0]
    assert found["length, frames", "> 3"] == [3]
    assert found["gap", "none"] == [0, 1, 3]
    assert found["gap", "returns"] == [2]


def test_annotated_areas_decide_the_size():
    objects = [thing(0, areas=[128**2]), thing(1, areas=[128**2 + 1]), thing(2)]
    found = members(objects, 1)
    assert found["size", "small"] == [0, 2]
    assert found["size", "medium"] == [0, 1]  # both ends belong, as in COCO


def test_labelled_occlusion():
    objects = [thing(0, occlusion=0.25), thing(1, occlusion=0.6), thing(2)]
    found = members(objects, 1)
    assert found["occlusion", "slight"] == found["occlusion", "moderate"] == [0]
    assert found["occlusion", "heavy"] == [1]


def test_overlap_of_boxes():
    """Rows 0 and 1 against row 1: half of the tall one is covered, all of the flat one."""
    objects = [thing((0, 10, 2), (0, 10, 2)), thing(1, 5), thing(None, (4, 3))]
    case = case_of(objects, [], 2)
    tubes = case.truth_tubes
    assert box_overlap(tubes, [False] * 3).tolist() == [0.25, 0.5, 0]
    assert box_overlap(tubes, [False, True, False]).tolist() == [0, 0.5, 0]
    assert box_overlap([], []).tolist() == []


def test_quarters_merge_where_values_are_equal():
    assert quarters(np.array([1.0, 2, 3, 4])) == [(-np.inf, 1), (1, 2), (2, 3), (3, np.inf)]
    assert quarters(np.array([5.0] * 9)) == [(-np.inf, np.inf)]
    assert quarters(np.array([1.0] + [5] * 9)) == [(-np.inf, np.inf)]
    assert quarters(np.array([])) == []


def test_quarters_hold_every_value_once():
    values = np.random.default_rng(0).integers(0, 6, 50).astype(float)
    held = [(low < values) & (values <= high) for low, high in quarters(values)]
    assert (np.sum(held, 0) == 1).all()


def test_ap_and_recall_by_group():
    """The short object is found, the long one is not."""
    objects = [thing(0, 0, 0, 0), thing(2, None, None, None)]
    found = [guess(0.9, 2, None, None, None), guess(0.5, 0, None, None, None)]
    result = diagnose(truth_of(objects, 4), found)
    ap = dict(zip(result.by_group.groups, result.by_group.average_precision(), strict=True))
    assert ap["length, frames: ≤ 1"] == pytest.approx(1)
    assert ap["length, frames: > 1"] == 0
    curve = result.curves["recall by group"]
    recall = dict(zip(curve.bins, curve.mean(), strict=True))
    assert recall["length, frames: ≤ 1"] == 1
    assert recall["length, frames: > 1"] == 0


@pytest.mark.parametrize("seed", range(10))
def test_sizes_and_occlusions_equal_the_official_ap(seed):
    truth, predictions = nasty_truth(np.random.default_rng(seed), occlusion=True)
    official = summarize(evaluate_videos(truth, predictions))
    found = diagnose(truth, predictions).by_group
    ap = dict(zip(found.groups, found.average_precision().tolist(), strict=True))
    names = {
        "size: small": "APs", "size: medium": "APm", "size: large": "APl",
        "occlusion: slight": "AP_so", "occlusion: moderate": "AP_mo", "occlusion: heavy": "AP_ho",
    }  # fmt: skip
    compared = 0
    for ours, theirs in names.items():
        if ours in ap and official[theirs] is not None:
            assert ap[ours] == pytest.approx(official[theirs], abs=1e-12)
            compared += 1
    assert compared


def test_groups_are_those_of_the_whole_truth():
    """The same for every variant: predictions have no part in them."""
    truth, predictions = nasty_truth(np.random.default_rng(0))
    one, other = (diagnose(truth, found).groups for found in (predictions, predictions[:3]))
    assert [g.label for g in one.groups] == [g.label for g in other.groups]
    empty = replace(truth, objects=[])
    assert object_groups(empty).groups == []
