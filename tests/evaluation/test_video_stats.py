"""Statistics survive a file, and a damaged file is one sentence."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from nasty_videos import nasty_truth

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.recall import summarize_objects
from videomt_bench.evaluation.video_ap import evaluate_videos, summarize
from videomt_bench.evaluation.video_stats import VideoStats


@pytest.fixture(scope="module")
def stats():
    return evaluate_videos(*nasty_truth(np.random.default_rng(1)))


def test_a_file_keeps_everything(stats, tmp_path):
    path = tmp_path / "sub" / "run.npz"
    stats.save(path)
    again = VideoStats.load(path)
    for field in fields(VideoStats):
        before, after = getattr(stats, field.name), getattr(again, field.name)
        assert before.dtype == after.dtype
        assert np.array_equal(before, after)
    chosen = [0, 4, 4, 5]
    assert summarize(again, chosen) == summarize(stats, chosen)
    assert summarize_objects(again, chosen) == summarize_objects(stats, chosen)
    assert [p.name for p in path.parent.iterdir()] == ["run.npz"]


def test_groups_by_occlusion_survive_too(tmp_path):
    truth, found = nasty_truth(np.random.default_rng(1), occlusion=True)
    stats = evaluate_videos(truth, found)
    assert stats.groups[4:] == ("slight", "moderate", "heavy")
    stats.save(tmp_path / "x.npz")
    assert summarize(VideoStats.load(tmp_path / "x.npz")) == summarize(stats)
    replace(stats, truth_counts=stats.truth_counts[..., :5]).save(tmp_path / "x.npz")
    with pytest.raises(BenchError, match=r"inconsistent.*truth_counts"):
        VideoStats.load(tmp_path / "x.npz")


def test_no_predictions_survive_too(tmp_path):
    truth, _ = nasty_truth(np.random.default_rng(1))
    evaluate_videos(truth, []).save(tmp_path / "x.npz")
    assert summarize(VideoStats.load(tmp_path / "x.npz"))["AP"] == 0


def test_positions_are_ranks_of_ids(stats):
    ids = stats.video_ids.tolist()
    assert ids == sorted(ids)
    assert stats.positions([ids[3], ids[0], ids[3]]) == [3, 0, 3]
    with pytest.raises(BenchError, match="-1"):
        stats.positions([-1])


@pytest.mark.parametrize("bad", [[-1], [6], [0.5], [[0]]])
def test_bad_positions(stats, bad):
    with pytest.raises(BenchError, match="position"):
        summarize(stats, bad)


@pytest.mark.parametrize(
    "change",
    [
        {"rank": np.array([1.5])},
        {"video": np.array([99])},
        {"category": np.array([-1])},
        {"truth_counts": np.zeros((1, 1, 4), np.int64)},
        {"matched": np.zeros((3, 4, 9), bool)},
    ],
)
def test_inconsistent_arrays(stats, change, tmp_path):
    name, value = next(iter(change.items()))
    value = np.resize(value, len(stats)) if name in ("rank", "video", "category") else value
    replace(stats, **{name: value}).save(tmp_path / "x.npz")
    with pytest.raises(BenchError, match=f"inconsistent.*{name}"):
        VideoStats.load(tmp_path / "x.npz")


def test_unsorted_detections_and_nan_scores(stats, tmp_path):
    replace(stats, score=stats.score[::-1].copy()).save(tmp_path / "x.npz")
    with pytest.raises(BenchError, match="order"):
        VideoStats.load(tmp_path / "x.npz")
    replace(stats, score=np.full(len(stats), np.nan)).save(tmp_path / "x.npz")
    with pytest.raises(BenchError, match="score"):
        VideoStats.load(tmp_path / "x.npz")


def test_damaged_files(stats, tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(BenchError, match="No such file"):
        VideoStats.load(path)
    stats.save(path)
    data = path.read_bytes()
    for damage in (b"", b"junk", data[:-50], data[: len(data) // 2], data[:300] + data[400:]):
        path.write_bytes(damage)
        with pytest.raises(BenchError, match=r"x\.npz"):
            VideoStats.load(path)
    np.savez(path, schema=np.int64(99))
    with pytest.raises(BenchError, match="schema 99"):
        VideoStats.load(path)
    np.savez(path, **{f.name: np.array([None]) for f in fields(VideoStats)}, schema=np.int64(1))
    with pytest.raises(BenchError, match="not a file of video statistics"):
        VideoStats.load(path)
    np.save(tmp_path / "y.npy", np.zeros(3))
    with pytest.raises(BenchError, match="not a file"):
        VideoStats.load(tmp_path / "y.npy")


def test_a_folder_that_cannot_be_written(stats, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write"):
        stats.save(tmp_path / "file" / "x.npz")
