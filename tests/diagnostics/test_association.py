"""HOTA, IDF1 and identity switches worked out by hand, and which tracks are counted."""

from __future__ import annotations

import numpy as np
import pytest
from strips import SIZE, case_of, guess, strip, thing, truth_of, tube

from videomt_bench.diagnostics.association import Cell, clear_counts, hota_counts, id_counts
from videomt_bench.diagnostics.diagnose import diagnose
from videomt_bench.diagnostics.selection import Selection, agnostic_cell, class_cell, resolved
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.ytvis_files import Prediction, Video


def measures(objects, predictions, length, **selection):
    found = diagnose(truth_of(objects, length), predictions, Selection(**selection))
    return found.by_class.summarize(), found.agnostic.summarize()


def test_a_swap_in_the_middle():
    """Two objects, four frames, identities swapped after two: half of every track agrees."""
    objects = [thing(0, 0, 0, 0), thing(2, 2, 2, 2)]
    found = [guess(0.9, 0, 0, 2, 2), guess(0.8, 2, 2, 0, 0)]
    values, everything = measures(objects, found, 4)
    # each pair shares 2 of 4 + 4 - 2 frames
    assert values["AssA"] == pytest.approx(2 / 6)
    assert values["DetA"] == values["LocA"] == 1
    assert values["HOTA"] == pytest.approx(np.sqrt(2 / 6))
    assert values["IDF1"] == 0.5
    assert values["IDSW"] == 2
    assert values["MOTA"] == pytest.approx((8 - 2) / 8)
    assert everything == values


def test_a_missed_object_and_a_false_track():
    objects = [thing(0, 0, 0, 0), thing(2, 2, None, None)]
    found = [guess(0.9, 0, 0, 0, 0), guess(0.8, 5, 5, None, None)]
    values, _ = measures(objects, found, 4)
    assert values["DetA"] == pytest.approx(4 / 8)
    assert values["AssA"] == 1
    assert values["IDF1"] == pytest.approx(4 / 6)
    assert values["MOTA"] == pytest.approx((4 - 2) / 6)
    assert values["IDSW"] == 0


def test_localisation_counts_by_threshold():
    """An IoU of 0.5 passes 10 of the 19 thresholds."""
    values, _ = measures([thing(0, 0)], [guess(0.9, (0, 5), (0, 5))], 2)
    assert values["DetA"] == pytest.approx(10 / 19)
    # where nothing is matched LocA is 1, as in TrackEval
    assert values["LocA"] == pytest.approx((10 * 0.5 + 9) / 19)


def test_what_is_never_found_or_never_there():
    values, _ = measures([thing(0, 0)], [], 2)
    assert (values["HOTA"], values["IDF1"], values["MOTA"]) == (0, 0, 0)
    objects = [thing(None, None), thing(2, 2, category=2)]
    found = diagnose(truth_of(objects, 2), [guess(0.9, 0, 0), guess(0.9, 2, 2, category=2)])
    assert np.isnan([column[0] for column in found.by_class.by_class().values()]).all()
    assert found.by_class.summarize()["DetA"] == 1
    assert found.agnostic.summarize()["DetA"] == 0.5


def test_crowds_and_other_classes_are_left_out():
    objects = [thing(0, 0), thing(2, 2, is_crowd=True), thing(4, 4, category=2)]
    found = [guess(0.9, 0, 0), guess(0.9, 4, 4)]
    values, everything = measures(objects, found, 2)
    assert values["DetA"] == pytest.approx((2 / 4 + 0) / 2)
    assert everything["DetA"] == 1


def test_the_threshold_selects_tracks():
    objects, found = [thing(0, 0)], [guess(0.9, 0, 0), guess(0.3, 5, 5), guess(0.29, 6, 6)]
    assert measures(objects, found, 2, score_threshold=0.5)[0]["DetA"] == 1
    assert measures(objects, found, 2)[0]["DetA"] == pytest.approx(2 / 4)


def test_a_tube_with_two_classes_is_one_track():
    case = case_of([thing(0, 0)], [guess(0.9, 0, 0), guess(0.8, 0, 0, category=2)], 2)
    assert len(agnostic_cell(case, 0.3).found) == 1
    assert len(class_cell(case, 0, 0.3).found) == len(class_cell(case, 1, 0.3).found) == 1


def test_overlaps_are_resolved_by_score():
    wide, narrow = [strip(0, 10), None], [strip(0, 4), strip(1, 4)]
    found = [
        Prediction(1, 1, 0.5, wide),
        Prediction(1, 2, 0.9, narrow),
        Prediction(1, 1, 0.8, narrow),  # the same tube, lower
        Prediction(1, 1, 0.2, tube(5, 5)),
    ]
    kept = resolved(Video(1, *SIZE, 2), found, 0.3)
    assert [(p.category_id, p.score) for p in kept] == [(2, 0.9), (1, 0.5)]
    case = case_of([], kept, 2)
    assert case.areas.tolist() == [[4, 4], [6, 0]]


def test_resolving_reaches_the_measures():
    """A second mask over the first is a false positive unless the first one hides it."""
    objects, found = [thing(0, 0)], [guess(0.9, 0, 0), guess(0.8, (0, 9), (0, 9))]
    assert measures(objects, found, 2)[0]["DetA"] == pytest.approx(2 / 4)
    assert measures(objects, found, 2, overlaps="resolve")[0]["DetA"] == 1


def test_bad_selections():
    with pytest.raises(BenchError, match=r"resolv.*valid: keep, resolve"):
        Selection(overlaps="resolv")
    with pytest.raises(BenchError, match="score threshold is nan"):
        Selection(float("nan"))


def test_a_switch_needs_another_track():
    """An object that is lost and comes back with the same track has not switched."""
    iou = np.zeros((1, 2, 4))
    iou[0, 0] = [1, 0, 0, 1]
    iou[0, 1] = [0, 0, 0, 0]
    cell = Cell(iou, np.ones((1, 4), bool), iou[0] > 0)
    assert clear_counts(cell).tolist() == [2, 2, 0, 0]
    iou[0, :, 3] = [0, 1]
    cell = Cell(iou, np.ones((1, 4), bool), iou[0] > 0)
    assert clear_counts(cell).tolist() == [2, 2, 0, 1]


def test_a_link_is_kept_while_it_holds():
    """CLEAR MOT stays with the track of the frame before, though another one fits better."""
    iou = np.array([[[0.9, 0.6], [0.0, 0.95]]])
    cell = Cell(iou, np.ones((1, 2), bool), iou[0] > 0)
    assert clear_counts(cell).tolist() == [2, 0, 1, 0]


def test_the_order_of_tracks_does_not_matter():
    rng = np.random.default_rng(0)
    iou = rng.random((3, 4, 12)) * (rng.random((3, 4, 12)) > 0.4)
    truth, found = np.ones((3, 12), bool), np.ones((4, 12), bool)
    order = [2, 0, 3, 1]
    for counts in (hota_counts, id_counts, clear_counts):
        expected = counts(Cell(iou, truth, found))
        np.testing.assert_allclose(counts(Cell(iou[:, order], truth, found[order])), expected)
