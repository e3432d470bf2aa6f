"""Semantic statistics survive a file, and a damaged file is one sentence."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.semantic import VideoCounter, collect, summarize
from videomt_bench.evaluation.semantic_stats import SemanticStats


@pytest.fixture(scope="module")
def stats():
    rng = np.random.default_rng(0)
    counts = []
    for name in ("c", "a", "b"):
        counter = VideoCounter()
        for _ in range(18):
            counter.add(*rng.integers(1, 3, (2, 4, 5)).astype(np.uint8))
        counts.append(counter.finish(name))
    return collect(counts)


def test_a_file_keeps_everything(stats, tmp_path):
    path = tmp_path / "sub" / "run.npz"
    stats.save(path)
    again = SemanticStats.load(path)
    for field in fields(SemanticStats):
        before, after = getattr(stats, field.name), getattr(again, field.name)
        assert before.dtype == after.dtype
        assert np.array_equal(before, after)
    assert summarize(again, [0, 2, 2]) == summarize(stats, [0, 2, 2])
    assert [p.name for p in path.parent.iterdir()] == ["run.npz"]


def test_positions_are_ranks_of_names(stats):
    assert stats.positions(["c", "a", "c"]) == [2, 0, 2]
    with pytest.raises(BenchError, match="'x'"):
        stats.positions(["x"])


@pytest.mark.parametrize("bad", [[-1], [3], [0.5], [[0]]])
def test_bad_positions(stats, bad):
    with pytest.raises(BenchError, match="position"):
        summarize(stats, bad)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": np.array([1, 2])},
        {"frames": np.array([1.0, 2, 3])},
        {"video_names": np.array(["a", "c", "b"])},
        {"video_names": np.array(["a", "a", "b"])},
        {"video_names": np.array(["a", "b", 3], object)},
        {"cell_video": np.array([3])},
        {"cell_truth": np.array([124])},
        {"cell_truth": np.array([-1])},
        {"cell_predicted": np.array([125])},
        {"cell_pixels": np.array([-1])},
        {"window_sums": np.full((3, 2, 2), np.nan)},
        {"window_sums": np.full((3, 2, 2), 99.0)},
        {"window_counts": np.zeros((3, 3, 2), np.int64)},
    ],
)
def test_inconsistent_files(stats, tmp_path, change):
    ((name, values),) = change.items()
    if name.startswith("cell"):
        whole = getattr(stats, name).copy()
        whole[-1:] = values
        change = {name: whole}
    replace(stats, **change).save(tmp_path / "x.npz")
    with pytest.raises(BenchError, match=r"inconsistent|damaged"):
        SemanticStats.load(tmp_path / "x.npz")


def test_other_files(stats, tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(BenchError, match="cannot read"):
        SemanticStats.load(path)
    np.savez(path, schema=np.int64(99))
    with pytest.raises(BenchError, match="schema 99"):
        SemanticStats.load(path)
    stats.save(path)
    data = path.read_bytes()
    for kept in (0, 10, len(data) // 2, len(data) - 5):
        path.write_bytes(data[:kept])
        with pytest.raises(BenchError, match=r"damaged|cannot read"):
            SemanticStats.load(path)
    with pytest.raises(BenchError, match="cannot write"):
        stats.save(path / "below-a-file.npz")
