"""The mmengine metric gives the same numbers for one and for two processes."""

from __future__ import annotations

import json
import math

import metric_process
import numpy as np
import pytest
import torch
from nasty_videos import nasty_truth
from test_score import save_truth

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.mmengine_metric import PerVideoMetric, VideoAP
from videomt_bench.evaluation.score import score_ytvis
from videomt_bench.evaluation.ytvis_files import write_predictions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metric")
    truth, found = nasty_truth(np.random.default_rng(2), videos=5)
    save_truth(folder / "gt.json", truth)
    write_predictions(folder / "results.json", found)
    return folder


def expected(folder):
    scores = score_ytvis(folder / "gt.json", folder / "results.json").metrics
    return {f"ytvis/{k}": math.nan if v.value is None else v.value for k, v in scores.items()}


def test_one_process(folder):
    metric_process.evaluate_share(0, [range(5)], folder, "gpu")
    got = json.loads((folder / "gpu-1-0.json").read_text())
    assert got == pytest.approx(expected(folder), abs=0, nan_ok=True)


@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_two_processes_with_padded_videos(folder, device):
    # the first share repeats a video within itself, the second one of the other
    arguments = ([[0, 2, 4, 0], [1, 3, 0]], str(folder), device)
    torch.multiprocessing.spawn(metric_process.evaluate_share, arguments, nprocs=2)
    for rank in (0, 1):
        got = json.loads((folder / f"{device}-2-{rank}.json").read_text())
        assert got == pytest.approx(expected(folder), abs=0, nan_ok=True)


def test_a_missing_video_is_an_error(folder):
    metric = VideoAP(folder / "gt.json")
    first = min(metric.comparison.truth.videos)
    metric.process(None, [{"video_id": first, "predictions": []}])
    with pytest.raises(BenchError, match="4 of the truth's 5 videos have no result"):
        metric.evaluate(5)
    with pytest.raises(BenchError, match="video -3 is not"):
        metric.process(None, [{"video_id": -3, "predictions": []}])


def test_another_metric_needs_two_functions():
    class Frames(PerVideoMetric):
        default_prefix = "count"

        def compare(self, sample):
            return int(sample["frames"])

        def summarize(self, videos):
            return {"frames": float(sum(videos.values())), "nothing": None}

    metric = Frames()
    metric.process(None, [{"video_id": name, "frames": n} for name, n in ("a1", "b2", "a1")])
    values = metric.evaluate(2)
    assert values["count/frames"] == 3
    assert math.isnan(values["count/nothing"])
    assert metric.results == []
