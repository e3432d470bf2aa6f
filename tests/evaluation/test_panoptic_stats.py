import dataclasses

import numpy as np
import pytest
from nasty_panoptic import nasty_data

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.panoptic import score_vipseg, summarize
from videomt_bench.evaluation.panoptic_stats import PanopticStats


@pytest.fixture(scope="module")
def stats(tmp_path_factory):
    return score_vipseg(*nasty_data(5).write(tmp_path_factory.mktemp("data"))).stats


def test_file(tmp_path, stats):
    path = tmp_path / "new" / "stats.npz"
    stats.save(path)
    loaded = PanopticStats.load(path)
    for field in dataclasses.fields(stats):
        before, after = getattr(stats, field.name), getattr(loaded, field.name)
        assert before.dtype.kind == after.dtype.kind
        np.testing.assert_array_equal(before, after)
    assert summarize(loaded, [2, 0, 0]) == summarize(stats, [2, 0, 0])
    assert [p.name for p in path.parent.iterdir()] == ["stats.npz"]


def test_damaged_file(tmp_path, stats):
    path = tmp_path / "stats.npz"
    stats.save(path)
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 2], b"PK" + whole[9:]):
        path.write_bytes(content)
        with pytest.raises(BenchError, match=r"stats\.npz"):
            PanopticStats.load(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("matches", lambda a: a[:, :-1]),
        ("matches", lambda a: -a - 1),
        ("iou", lambda a: a + 9),
        ("iou", lambda a: a * np.nan),
        ("association", lambda a: a + 99),
        ("tubes", lambda a: a.astype(float)),
        ("cell_predicted", lambda a: a + 5),
        ("cell_truth", lambda a: a[:-1]),
        ("video_names", lambda a: a[::-1]),
        ("is_thing", lambda a: a.astype(int)),
    ],
)
def test_inconsistent_file(tmp_path, stats, name, change):
    path = tmp_path / "stats.npz"
    dataclasses.replace(stats, **{name: change(getattr(stats, name))}).save(path)
    with pytest.raises(BenchError, match="inconsistent"):
        PanopticStats.load(path)


def test_file_of_another_schema(tmp_path):
    path = tmp_path / "stats.npz"
    np.savez(path, schema=np.int64(99))
    with pytest.raises(BenchError, match="schema 99"):
        PanopticStats.load(path)


def test_positions(stats):
    names = stats.video_names.tolist()
    assert stats.positions([names[2], names[0], names[2]]) == [2, 0, 2]
    with pytest.raises(BenchError, match="'nobody'"):
        stats.positions(["nobody"])


@pytest.mark.parametrize("videos", [[3], [-1], [0.5], [[0]], ["a"]])
def test_bad_positions(stats, videos):
    with pytest.raises(BenchError):
        summarize(stats, videos)


def test_confusion_is_of_the_chosen_videos(stats):
    parts = [stats.confusion([video]) for video in range(3)]
    np.testing.assert_array_equal(stats.confusion(), sum(parts))
    np.testing.assert_array_equal(stats.confusion([1, 1]), 2 * parts[1])
