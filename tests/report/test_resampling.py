"""All draws at once against one evaluation after the other, and stored files of every task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from videomt_bench.errors import BenchError
from videomt_bench.evaluation import panoptic, semantic
from videomt_bench.evaluation.recall import summarize_objects
from videomt_bench.evaluation.video_ap import summarize
from videomt_bench.report.statistics import resample_ap, resampling
from videomt_bench.report.statistics.estimates import video_draws
from videomt_bench.report.statistics.resampling import load_resampler

from .made_up import instance_stats, panoptic_stats, semantic_stats


def instance_summary(stats, positions):
    return summarize(stats, positions) | summarize_objects(stats, positions)


TASKS = {
    "instances": (instance_stats, instance_summary, {"AP", "AP50", "AP75", "AR10", "recall_late"}),
    "panoptic": (panoptic_stats, panoptic.summarize, {"VPQ", "VPQ_thing", "STQ", "STQ_corrected"}),
    "semantic": (semantic_stats, semantic.summarize, {"mIoU", "mVC8", "mVC16", "fwIoU"}),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("task", TASKS)
def test_all_draws_at_once_equal_fifty_evaluations(
    tmp_path: Path, task: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, again, wanted = TASKS[task]
    stats = make(np.random.default_rng(seed))
    stats.save(tmp_path / "run.npz")
    resampler = load_resampler(tmp_path / "run.npz")
    videos = len(resampler.videos)
    times = video_draws(videos, 50, rng_seed=seed)
    monkeypatch.setattr(resampling, "CHUNK", 17)
    monkeypatch.setattr(resample_ap, "MOST_DRAWS", 17)
    scores = resampler.scores(times)
    assert wanted <= set(scores)
    for i, row in enumerate(times):
        expected = again(stats, np.repeat(np.arange(videos), row))
        for name, values in scores.items():
            value = np.nan if expected[name] is None else 100 * expected[name]
            assert values[i] == pytest.approx(value, abs=1e-10, rel=1e-12, nan_ok=True), name
    assert np.unique(np.round(scores[min(wanted)], 6)).size > 10


@pytest.mark.parametrize("task", TASKS)
def test_a_run_beside_itself_is_the_run_whichever_copy_is_taken(tmp_path: Path, task: str) -> None:
    stats = TASKS[task][0](np.random.default_rng(5))
    stats.save(tmp_path / "run.npz")
    resampler = load_resampler(tmp_path / "run.npz")
    both = resampler.beside(load_resampler(tmp_path / "run.npz"))
    swaps = np.random.default_rng(0).integers(0, 2, (20, len(resampler.videos)))
    swapped = both.scores(np.hstack([1 - swaps, swaps]))
    alone = resampler.scores(np.ones_like(swaps))
    for name, values in alone.items():
        assert swapped[name] == pytest.approx(values, abs=1e-10, nan_ok=True), name


def test_videos_of_two_runs_side_by_side_are_those_of_both(tmp_path: Path) -> None:
    truth = np.random.default_rng(0).integers(0, 3, (7, 2))
    runs = []
    for seed in (1, 2):
        stats = instance_stats(np.random.default_rng(seed), truth=truth)
        stats.save(tmp_path / f"{seed}.npz")
        runs.append(load_resampler(tmp_path / f"{seed}.npz"))
    assert runs[0].truth == runs[1].truth
    times = video_draws(7, 10)
    both = runs[0].beside(runs[1])
    for name, values in runs[1].scores(times).items():
        assert both.scores(np.hstack([0 * times, times]))[name] == pytest.approx(
            values, abs=1e-10, nan_ok=True
        )
    other = instance_stats(np.random.default_rng(1), truth=truth + 1)
    other.save(tmp_path / "other.npz")
    assert load_resampler(tmp_path / "other.npz").truth != runs[0].truth


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"text"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(BenchError, match=r"bad\.npz"):
        load_resampler(tmp_path / "bad.npz")
    with pytest.raises(BenchError, match="cannot read"):
        load_resampler(tmp_path / "missing.npz")
