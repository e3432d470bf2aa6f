from __future__ import annotations

import json
import random
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.split import split_dataset
from videomt_bench.data.ytvis import read_ytvis
from videomt_bench.errors import BenchError


def document(*classes: tuple[int, ...]) -> dict[str, Any]:
    """One video per tuple, with one object of each class in it."""
    videos = [
        {"id": 10 + i, "height": 4, "width": 4, "file_names": [f"v{i}/0.jpg"], "length": 1}
        for i in range(len(classes))
    ]
    pairs = [(10 + i, label) for i, labels in enumerate(classes) for label in labels]
    annotations = [
        {
            "id": n,
            "video_id": video,
            "category_id": label,
            "segmentations": [None],
            "bboxes": [None],
        }
        for n, (video, label) in enumerate(pairs, start=1)
    ]
    labels = sorted({label for labels in classes for label in labels} | {1})
    categories = [{"id": label, "name": f"c{label}"} for label in labels]
    return dict(
        info={"year": 2019},
        licenses=[{"x": 1}],
        videos=videos,
        annotations=annotations,
        categories=categories,
    )


def write(path: Path, data: dict[str, Any]) -> Path:
    path.write_text(json.dumps(data))
    return path


def parts(path: Path, out: Path, **options: Any) -> list[dict[str, Any]]:
    result = split_dataset(path, out, **{"fraction": 0.2, "seed": 0, **options})
    return [json.loads(p.read_text()) for p in (result.kept, result.held)]


def many(n: int = 60) -> dict[str, Any]:
    rng = random.Random(3)
    return document(*(tuple(rng.sample(range(1, 13), rng.randint(1, 3))) for _ in range(n)))


def test_every_video_is_in_one_part_and_its_annotations_follow(tmp_path: Path) -> None:
    data = many()
    kept, held = parts(write(tmp_path / "train.json", data), tmp_path)
    for key in ("videos", "annotations"):
        assert sorted(x["id"] for x in kept[key] + held[key]) == [x["id"] for x in data[key]]
        assert all(item in data[key] for item in kept[key] + held[key])
    assert len(held["videos"]) == 12
    for part in (kept, held):
        ids = [video["id"] for video in part["videos"]]
        assert ids == sorted(ids)
        assert {a["video_id"] for a in part["annotations"]} == set(ids)
        assert part["categories"] == data["categories"]
        assert part["licenses"] == data["licenses"]
        assert part["info"]["year"] == 2019
    origin = {"file": "train.json", "fraction": 0.2, "seed": 0}
    assert held["info"]["hold_out"] == {**origin, "part": "held"}
    assert kept["info"]["hold_out"] == {**origin, "part": "kept"}


@pytest.mark.parametrize("seed", range(5))
def test_every_class_of_two_videos_or_more_is_in_both(tmp_path: Path, seed: int) -> None:
    path = write(tmp_path / "train.json", many())
    result = split_dataset(path, tmp_path, fraction=0.2, seed=seed)
    for part in (result.kept, result.held):
        found = {a["category_id"] for a in json.loads(part.read_text())["annotations"]}
        assert found == set(range(1, 13))
    assert result.one_sided == ()
    assert result.videos == (48, 12)


def test_as_many_classes_on_both_sides_as_any_choice_has(tmp_path: Path) -> None:
    """Against trying all choices, on small sets."""
    rng = random.Random(0)
    short = 0
    for trial in range(60):
        data = document(*(tuple(rng.sample(range(1, 6), rng.randint(1, 2))) for _ in range(7)))
        classes: dict[int, set[int]] = {video["id"]: set() for video in data["videos"]}
        for annotation in data["annotations"]:
            classes[annotation["video_id"]].add(annotation["category_id"])

        def both(held: set[int], classes: dict[int, set[int]] = classes) -> int:
            inside = set().union(*(classes[v] for v in held))
            return len(inside & set().union(*(classes[v] for v in classes if v not in held)))

        out = tmp_path / str(trial)
        _, held = parts(write(tmp_path / "train.json", data), out, fraction=0.4, seed=trial)
        best = max(both(set(choice)) for choice in combinations(classes, 3))
        short += best - both({video["id"] for video in held["videos"]})
    assert short <= 3  # it is greedy


def test_the_choice_depends_on_seed_and_content_only(tmp_path: Path) -> None:
    data = many()
    first = parts(write(tmp_path / "train.json", data), tmp_path / "a")
    random.Random(1).shuffle(data["videos"])
    random.Random(2).shuffle(data["annotations"])
    again = parts(write(tmp_path / "train.json", data), tmp_path / "b")
    other = parts(write(tmp_path / "train.json", data), tmp_path / "c", seed=1)
    ids = [{v["id"] for v in part[1]["videos"]} for part in (first, again, other)]
    assert ids[0] == ids[1] != ids[2]


def test_seeds_hold_out_different_videos_evenly(tmp_path: Path) -> None:
    path = write(tmp_path / "train.json", document(*[(1,)] * 10))
    count: Counter[int] = Counter()
    for seed in range(100):
        _, held = parts(path, tmp_path / str(seed), fraction=0.3, seed=seed)
        count.update(video["id"] for video in held["videos"])
    assert sum(count.values()) == 300
    assert min(count.values()) > 15
    assert max(count.values()) < 45


def test_what_is_impossible_is_said(tmp_path: Path) -> None:
    data = document((1,), (1,), (1, 2), (3,), (3,), (4,), (4,))
    result = split_dataset(write(tmp_path / "train.json", data), tmp_path, fraction=0.15, seed=0)
    assert result.videos == (6, 1)
    assert "class 2 (c2): its only video is in the kept part" in result.one_sided
    assert len(result.one_sided) == 3
    assert any("its 2 videos are in the kept part" in words for words in result.one_sided)


def test_the_last_video_of_a_class_stays_where_there_is_a_choice(tmp_path: Path) -> None:
    data = document(*[(1,)] * 6, (1, 2), (3,), (1, 4), (1, 4))
    for seed in range(10):
        kept, _ = parts(write(tmp_path / "train.json", data), tmp_path / f"{seed}", seed=seed)
        assert {1, 2, 3, 4} == {a["category_id"] for a in kept["annotations"]}


def test_frames_stay_where_they_are(tmp_path: Path) -> None:
    path = make_ytvis(tmp_path, GeneratorSettings(5, 3, 16, 16))
    result = split_dataset(path, tmp_path, fraction=0.4, seed=0)
    for part, videos in zip((result.kept, result.held), result.videos, strict=True):
        index = read_ytvis(part, tmp_path / "train" / "JPEGImages")
        assert len(index.videos) == videos
        assert all((index.frames_root / n).is_file() for v in index.videos for n in v.file_names)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "train",
        "train.json",
        "train_held.json",
        "train_kept.json",
    ]


def test_the_same_split_is_left_alone_and_another_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "train.json", many())
    result = split_dataset(path, tmp_path, fraction=0.2, seed=0)
    before = (result.kept.stat().st_mtime_ns, result.held.read_bytes())
    assert split_dataset(path, tmp_path, fraction=0.2, seed=0) == result
    result.kept.unlink()
    with pytest.raises(BenchError, match=r"train_held\.json has other content"):
        split_dataset(path, tmp_path, fraction=0.2, seed=1)
    assert not result.kept.exists()
    assert result.held.read_bytes() == before[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fraction": 0.0}, "0.0 of the videos"),
        ({"fraction": 1.0}, "below 1"),
        ({"fraction": float("nan")}, "nan"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    path = write(tmp_path / "train.json", many())
    with pytest.raises(BenchError, match=words):
        parts(path, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"videos": 5}, "videos"),
        ({"videos": [{"id": "x"}]}, "'id'"),
        ({"videos": [{"id": 1}, {"id": 1}]}, "two videos have the id 1"),
        ({"videos": [{"id": 10}], "annotations": []}, "1 videos"),
        ({"annotations": None}, "no annotations"),
        ({"annotations": [{"video_id": 10}]}, "category_id"),
        ({"annotations": [{"video_id": 99, "category_id": 1}]}, "video 99"),
        ({"annotations": [{"video_id": 10, "category_id": 99}]}, "category 99"),
        ({"categories": [3]}, "category"),
    ],
)
def test_bad_files(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = write(tmp_path / "train.json", {**many(5), **change})
    with pytest.raises(BenchError, match=words):
        parts(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
