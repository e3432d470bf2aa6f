from __future__ import annotations

import numpy as np
import pytest
import torch

from videomt_bench.data.clips import ClipTargets
from videomt_bench.errors import BenchError
from videomt_bench.models import ClipOutput
from videomt_bench.training.layers import LayerPredictions, LossSettings
from videomt_bench.training.matching import POINT_BUDGET, match

SETTINGS = LossSettings(num_points=200)
MATCHINGS = ("first_appearance", "per_frame")


def matched(output, targets, matching="first_appearance"):
    found = match(LayerPredictions.of(output), targets, matching, SETTINGS)
    return [queries.numpy() for queries in found]


def boxes(present: list[list[int]], corners: list[tuple[int, int]], size=8) -> ClipTargets:
    """Objects of class 0, boxes of four pixels a side."""
    seen = torch.tensor(present, dtype=torch.bool)
    masks = torch.zeros(*seen.shape, size, size, dtype=torch.bool)
    for o, (top, left) in enumerate(corners):
        masks[o, seen[o], top : top + 4, left : left + 4] = True
    return ClipTargets(torch.zeros(len(seen), dtype=torch.long), masks, seen)


def predicting(masks: torch.Tensor, certainty: float = 8.0) -> ClipOutput:
    """One layer and clip whose queries predict masks (T, Q, H, W), all with the same class."""
    logits = ((masks.float() * 2 - 1) * certainty)[None]
    classes = torch.zeros(*logits.shape[:3], 4)
    return ClipOutput(classes, logits, classes, classes)


@pytest.mark.parametrize("matching", MATCHINGS)
@pytest.mark.parametrize("seed", range(4))
def test_same_as_brute_force(clips, restated, draws, matching, seed):
    """Late, leaving, returning objects; clips of 3, 0, 5 and 2 objects; every layer by itself."""
    output, targets = clips(seed, (3, 0, 5, 2))
    found = matched(output, targets, matching)
    images = [(b, t) for b, t in np.ndindex(4, 4) if _matched_in(targets[b].present, t, matching)]
    (points,) = draws
    assert len(points) == len(images)
    rows = dict(zip(images, points, strict=True))
    expected = restated.match(output, targets, matching, lambda b, t: rows[b, t])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert any((f[0] != f[1]).any() for f in found), "the layers should differ in this test"


def _matched_in(present: torch.Tensor, t: int, matching: str) -> bool:
    if matching == "per_frame":
        return bool(present[:, t].any())
    return bool((present[:, t] & ~present[:, :t].any(1)).any())


@pytest.mark.parametrize("matching", MATCHINGS)
@pytest.mark.parametrize("queries", [1, 2, 4])
def test_same_as_brute_force_with_fewer_queries_than_objects(
    clips, restated, same_points, matching, queries
):
    output, targets = clips(queries, (5, 3), queries)
    row = same_points(SETTINGS.num_points)
    expected = restated.match(output, targets, matching, lambda b, t: row)
    for ours, theirs in zip(matched(output, targets, matching), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        if matching == "first_appearance":
            for layer in ours[:, :, 0]:
                assert len(set(layer) - {-1}) == min(queries, len(layer))


def test_an_object_keeps_its_query_in_all_frames_and_shares_it_with_none(clips):
    for queries in matched(*clips(0, (5, 4, 1))):
        assert (queries >= 0).all()
        assert (queries == queries[:, :, :1]).all()
        for layer in queries[:, :, 0]:
            assert len(set(layer)) == len(layer)


def test_the_frame_of_first_appearance_decides():
    """Query 0 has the object in frame 1, where it appears, query 1 in all frames after."""
    target = boxes([[0, 1, 1, 1]], [(0, 0)])
    masks = torch.zeros(4, 2, 8, 8)
    masks[1, 0] = masks[2:, 1] = target.masks[0, 1]
    (found,) = matched(predicting(masks), [target])
    assert found.tolist() == [[[0, 0, 0, 0]]]
    (found,) = matched(predicting(masks), [target], "per_frame")
    assert found.tolist() == [[[-1, 0, 1, 1]]]


@pytest.mark.parametrize("leaves", [False, True])
def test_an_object_whose_best_query_is_taken_gets_the_second_best(leaves):
    """Also where the earlier object has left: it keeps its query."""
    target = boxes([[1, not leaves], [0, 1]], [(0, 0), (3, 3)])
    masks = torch.zeros(2, 3, 8, 8)
    masks[0, 0] = target.masks[0, 0]
    masks[1, 0] = target.masks[1, 1]
    masks[1, 2] = boxes([[1]], [(3, 2)]).masks[0, 0]
    (found,) = matched(predicting(masks), [target])
    assert found.tolist() == [[[0, 0], [2, 2]]]
    assert matched(predicting(masks), [target], "per_frame")[0][0, 1].tolist() == [-1, 0]


def test_objects_that_appear_together_are_assigned_together():
    """Object 0 takes its second best query, because object 1 has no other."""
    target = boxes([[1], [1]], [(0, 0), (0, 4)])
    masks = torch.zeros(1, 2, 8, 8)
    masks[0, 0] = target.masks[0, 0] | target.masks[1, 0]
    masks[0, 1] = target.masks[0, 0]
    masks[0, 1, :2] = False
    assert matched(predicting(masks), [target])[0].tolist() == [[[1], [0]]]


def test_the_class_decides_between_equal_masks():
    target = boxes([[1]], [(0, 0)])
    output = predicting(target.masks[:, 0].expand(1, 3, 8, 8))
    output.class_logits[0, 0, 2, 0] = 1.0
    assert matched(output, [target])[0].tolist() == [[[2]]]


def test_per_frame_matching_leaves_absent_objects_alone(clips):
    output, targets = clips(1, (5, 2))
    for queries, target in zip(matched(output, targets, "per_frame"), targets, strict=True):
        for layer in queries:
            np.testing.assert_array_equal(layer >= 0, target.present.numpy())


@pytest.mark.parametrize("matching", MATCHINGS)
def test_clips_without_objects(clips, matching):
    assert [f.shape for f in matched(*clips(0, (0, 0)), matching)] == [(3, 0, 4)] * 2


def test_maps_in_turn_are_maps_at_once(clips, monkeypatch):
    output, targets = clips(2, (4, 3))
    torch.manual_seed(1)
    at_once = matched(output, targets)
    monkeypatch.setitem(POINT_BUDGET, "cpu", 1)
    torch.manual_seed(1)
    for ours, theirs in zip(matched(output, targets), at_once, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_no_numbers_still_match(clips, value):
    """The loss is the place to notice them."""
    output, targets = clips(0, (3,))
    output.mask_logits.detach()[:, :, 1] = value
    (found,) = matched(output, targets)
    assert (found >= 0).all()


def test_an_unknown_matching_is_one_sentence(clips):
    with pytest.raises(BenchError, match=r"'per_clip'.*first_appearance.*per_frame"):
        matched(*clips(0, (1,)), "per_clip")


@pytest.mark.parametrize(("label", "query"), [(1, 0), (3, 2)])
def test_a_label_beyond_the_classes_is_matched_by_no_object(label, query):
    """Section 3.5: what the label quirk gives an object that is absent in the last frame."""
    logits = torch.zeros(1, 1, 3, 4)
    logits[0, 0, 0, 1] = logits[0, 0, 2, 3] = 5.0
    output = ClipOutput(logits, torch.zeros(1, 1, 3, 8, 8), logits, logits)
    target = boxes([[1]], [(0, 0)])
    target.labels[:] = label
    assert matched(output, [target])[0].tolist() == [[[query]]]
