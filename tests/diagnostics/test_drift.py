"""Recall by first appearance and masks by time, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from nasty_videos import nasty_truth
from strips import guess, thing, truth_of

from videomt_bench.diagnostics.diagnose import diagnose
from videomt_bench.evaluation.recall import summarize_objects
from videomt_bench.evaluation.video_ap import evaluate_videos

EMPTY = [None] * 8


def curves(objects, predictions, length=8):
    found = diagnose(truth_of(objects, length), predictions)
    return {
        name: {
            label: (mean, n)
            for label, mean, n in zip(
                curve.bins, curve.mean().tolist(), curve.n().tolist(), strict=True
            )
        }
        for name, curve in found.curves.items()
    }


def frames(row, *seen):
    return [row if t in seen else None for t in range(8)]


def test_recall_by_first_appearance():
    objects = [
        thing(*frames(0, *range(8))),
        thing(*frames(1, *range(8))),
        thing(*frames(2, 1, 2, 3)),
        thing(*frames(3, 2, 3, 4)),
        thing(*frames(4, 7)),
        thing(*EMPTY),
        thing(*frames(5, *range(8)), is_crowd=True),
    ]
    found = [
        guess(0.1, *frames(0, *range(8))),
        guess(0.9, *frames(1, *range(8)), category=2),  # wrong class
        guess(0.9, *frames(2, 1, 2)),  # IoU 2 / 3
        guess(0.9, *frames(4, 6)),
    ]
    table = curves(objects, found)
    values = diagnose(truth_of(objects, 8), found).values()
    names = ("recall", "recall_first_frame", "recall_later")
    assert [values[name] for name in names] == [2 / 5, 1 / 2, 1 / 3]
    assert table["recall by first part"] == {
        "first frame": (1 / 2, 2),
        "1st quarter": (1, 1),
        "2nd quarter": (0, 1),
        "4th quarter": (0, 1),
    }
    assert table["recall by first frame"] == {
        "0": (1 / 2, 2),
        "1": (1, 1),
        "2–3": (0, 1),
        "4–7": (0, 1),
    }


def test_kept_and_seen():
    """The track loses the object after four frames; another one sees it in the last two."""
    objects = [thing(*[0] * 8)]
    found = [guess(0.9, 0, 0, 0, 0, *[(0, 4)] * 4, category=2), guess(0.1, *frames(0, 6, 7))]
    table = curves(objects, found)
    assert [m for m, _ in table["iou by frame"].values()] == pytest.approx([1, 1, 1, 0.4])
    assert table["kept by frame"] == {"0": (1, 1), "1": (1, 1), "2–3": (1, 2), "4–7": (0, 4)}
    assert table["seen by frame"]["4–7"] == (0.5, 4)
    assert table["kept by frames since it appeared"] == table["kept by frame"]
    relative = table["seen by relative time"]
    assert [m for m, _ in relative.values()] == [1, 1, 1, 1, 0, 0, 1, 1]


def test_time_since_it_appeared():
    objects = [thing(*frames(0, 3, 4, 5, 6, 7))]
    table = curves(objects, [guess(0.5, *frames(0, 3, 4))])
    assert table["iou by frames since it appeared"] == {
        "0": (1, 1),
        "1": (1, 1),
        "2–3": (0, 2),
        "4–7": (0, 1),
    }
    assert table["iou by frame"] == {"2–3": (1, 1), "4–7": (0.25, 4)}


def test_without_predictions_everything_is_zero():
    table = curves([thing(*[0] * 8)], [])
    assert {m for curve in table.values() for m, _ in curve.values()} == {0.0}


@pytest.mark.parametrize("seed", range(10))
def test_agrees_with_the_recall_of_the_scorer(seed):
    truth, predictions = nasty_truth(np.random.default_rng(seed))
    expected = summarize_objects(evaluate_videos(truth, predictions))
    found = diagnose(truth, predictions)
    for name in ("recall", "recall_first_frame"):
        assert found.values()[name] == pytest.approx(expected[name], abs=1e-12)
    first = found.curves["recall by first part"]
    assert first.n()[0] == expected["recall_first_frame_n"]
    assert first.n().sum() == expected["recall_n"]


@pytest.mark.parametrize("name", ["recall by first frame", "iou by frame", "recall by group"])
def test_a_resample_is_a_mean_over_copies(name):
    truth, predictions = nasty_truth(np.random.default_rng(1), videos=5)
    curve = diagnose(truth, predictions).curves[name]
    draw = [4, 4, 2, 3]
    expected = curve.sums[draw].sum(0) / np.maximum(curve.counts[draw].sum(0), 1)
    mean = curve.mean(draw)
    kept = curve.counts[draw].any(0)
    np.testing.assert_allclose(mean[kept], expected[kept], atol=1e-15)
    assert np.isnan(mean[~kept]).all()
