"""Models whose tracks begin and end: what a place had before is not what it has now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_videos import pictures, source_of, tiny_classes, write_folder
from torch import Tensor, nn

from videomt_bench.evaluation.stream import InferenceSettings
from videomt_bench.models import ClipOutput
from videomt_bench.predict.outputs import Wanted
from videomt_bench.predict.predictor import Predictor, Ranking
from videomt_bench.predict.run import predict
from videomt_bench.predict.running import RunningMean
from videomt_bench.predict.source import open_folder

SIDE = 32
NUMBERS = [[0, 1], [0, 1], [0, 2], [3, 2], [3, -1]]
"""Of the track in each of two places, frame after frame."""
LABELS = [0, 1, 2, 3]


class Scripted(nn.Module):
    """Track n is of class n, more surely with every frame of the video, in columns of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.refiner = None

    def forward(self, clip: Tensor, state: int | None) -> tuple[ClipOutput, int]:
        start = state or 0
        length = clip.shape[1]
        numbers = torch.tensor(NUMBERS[start : start + length])
        classes = torch.zeros(1, length, 2, 5)
        masks = torch.full((1, length, 2, SIDE // 4, SIDE // 4), -5.0)
        for t, row in enumerate(numbers.tolist()):
            for place, n in enumerate(row):
                if n < 0:
                    classes[0, t, place, -1] = 10
                else:
                    classes[0, t, place, n] = 5.0 + start + t
                    masks[0, t, place, :, 2 * n : 2 * n + 2] = 5
        queries = torch.zeros(1, length, 2, 1)
        return ClipOutput(classes, masks, queries, queries, tracks=numbers[None]), start + length


def predictor(window: int, task: str = "instances") -> Predictor:
    settings = InferenceSettings(short_side=None, divisor=8, top_k=5, window=window)
    ranking = Ranking(threshold=0.3)
    return Predictor(Scripted(), tiny_classes(task), settings, {}, ranking)


def score(logits: list[float]) -> float:
    """Of one class with a mean logit, the four others and no-object at 0."""
    return float(torch.tensor([sum(logits) / len(logits), 0, 0, 0, 0]).softmax(0)[0])


@pytest.mark.parametrize("window", [1, 2, 5])
@pytest.mark.parametrize("task", ["instances", "panoptic"])
def test_tracks_in_one_place_are_not_one(tmp_path: Path, window: int, task: str) -> None:
    write_folder(tmp_path / "clip", pictures(5, SIDE, SIDE))
    stream = predictor(window, task).stream()
    found = [segments for _, segments in stream.run(open_folder(tmp_path / "clip").frames)]
    shown = [{(s.id, s.query, s.label) for s in frame.segments} for frame in found]
    # ids from 1 in the order of appearance, which is that of the numbers; stuff is of no track
    thing = stream.task.classes.is_thing
    numbers = {n: n if task == "instances" or thing(n) else None for n in range(4)}
    assert shown == [{(n + 1, numbers[n], n) for n in row if n >= 0} for row in NUMBERS]
    scores = {s.label: s.score for s in found[3].segments}
    assert scores == pytest.approx({3: score([8.0]), 2: score([7.0, 8.0])})


def test_results_have_the_score_of_each_track_at_its_end(tmp_path: Path) -> None:
    target = tmp_path / "out"
    predict(predictor(2), source_of(pictures(5, SIDE, SIDE)), target, Wanted(video=False))
    results = json.loads((target / "results.json").read_text())
    assert len(results) == 4
    expected = [score([5, 6, 7]), score([5, 6]), score([7, 8]), score([8, 9])]
    assert [r["score"] for r in results] == pytest.approx(expected)
    there = [[s is not None for s in r["segmentations"]] for r in results]
    assert there == [[n in row for row in NUMBERS] for n in range(4)]


@pytest.mark.parametrize("horizon", [None, 2])
def test_rows_that_begin_anew_have_means_of_their_own(horizon: int | None) -> None:
    mean, second = RunningMean(horizon), RunningMean(horizon)
    values = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0))
    first = RunningMean(horizon)
    for t, value in enumerate(values):
        if t == 3:
            mean.restart(torch.tensor([False, True]))
            second = RunningMean(horizon)
        found = mean.update(value)
        torch.testing.assert_close(found[0], first.update(value)[0])
        torch.testing.assert_close(found[1], second.update(value)[1])
