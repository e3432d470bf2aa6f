from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.scenes import COLOURS, SCENES, Physics, Scene, make_scene
from videomt_bench.data.ytvis import locate_ytvis, read_ytvis
from videomt_bench.errors import BenchError

SMALL = GeneratorSettings(3, 6, 24, 32, seed=4)


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def scenes(kind: str, count: int = 20, **changes: Any) -> list[Scene]:
    physics = replace(SCENES[kind], **changes)
    return [make_scene(kind, physics, 24, 48, 48, np.random.default_rng(i)) for i in range(count)]


def test_same_settings_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        make_ytvis(tmp_path / name, SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(contents(tmp_path / "a")) == 3 * 6 + 1


def test_a_video_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    few, many = (make_ytvis(tmp_path / str(n), replace(SMALL, videos=n)).parent for n in (2, 4))
    frames = {k: v for k, v in contents(many).items() if k.endswith(".jpg")}
    kept = {k: v for k, v in frames.items() if "/00003/" not in k and "/00004/" not in k}
    assert kept == {k: v for k, v in contents(few).items() if k.endswith(".jpg")}
    one, two = (json.loads((root / "train.json").read_text()) for root in (few, many))
    assert one["annotations"] == [a for a in two["annotations"] if a["video_id"] <= 2]


@pytest.mark.parametrize("change", [{"split": "valid"}, {"seed": 5}, {"scene": "crossing"}])
def test_other_settings_other_videos(tmp_path: Path, change: dict[str, Any]) -> None:
    one = make_ytvis(tmp_path / "a", SMALL)
    two = make_ytvis(tmp_path / "b", replace(SMALL, **change))
    frames = [
        next((path.parent / path.stem / "JPEGImages" / "00001").iterdir()).read_bytes()
        for path in (one, two)
    ]
    assert frames[0] != frames[1]


def test_the_json_agrees_with_pycocotools_and_the_files(tmp_path: Path) -> None:
    path = make_ytvis(tmp_path, SMALL)
    data = json.loads(path.read_text())
    assert [(c["id"], c["name"]) for c in data["categories"]] == list(enumerate(COLOURS, start=1))
    assert [(v["width"], v["height"], v["length"]) for v in data["videos"]] == [(32, 24, 6)] * 3
    assert [a["id"] for a in data["annotations"]] == list(range(1, len(data["annotations"]) + 1))
    for video in data["videos"]:
        for name in video["file_names"]:
            with Image.open(tmp_path / "train" / "JPEGImages" / name) as image:
                assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (32, 24))
    for annotation in data["annotations"]:
        assert annotation["iscrowd"] == 0
        columns = (annotation[key] for key in ("segmentations", "bboxes", "areas"))
        for rle, box, area in zip(*columns, strict=True):
            if rle is None:
                assert box is area is None
                continue
            mask = coco_mask.decode(rle)
            ys, xs = np.nonzero(mask)
            assert area == mask.sum() >= 4
            assert box == [
                xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1
            ]  # fmt: skip
        assert any(area for area in annotation["areas"])


def test_its_own_reader_takes_it(tmp_path: Path) -> None:
    make_ytvis(tmp_path, replace(SMALL, split="valid"))
    index = read_ytvis(*locate_ytvis(tmp_path, "valid"))
    assert [c.name for c in index.categories] == list(COLOURS)
    assert all(video.tracks for video in index.videos)


def test_a_class_is_a_colour() -> None:
    table = np.array(list(COLOURS.values()), dtype=float)
    directions = table - table.mean(1, keepdims=True)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for scene in scenes("slots"):
        for label, masks in zip(scene.classes, scene.masks, strict=True):
            if masks.any():
                colour = scene.frames[masks].mean(0)
                assert np.argmax(directions @ (colour - colour.mean())) == label


def test_objects_hide_each_other_and_tiny_rests_are_absent() -> None:
    overlaps = 0
    for scene in scenes("slots"):
        assert (scene.masks.sum(0) <= 1).all()
        areas = scene.masks.sum((2, 3))
        assert ((areas == 0) | (areas >= 4)).all()
        overlaps += ((areas > 0) & (areas < 0.6 * areas.max(1, keepdims=True))).sum()
    assert overlaps > 50


def test_life_of_objects() -> None:
    def alive(**chances: float) -> np.ndarray:
        calm: dict[str, Any] = dict(late=0.0, gap=0.0, early=0.0, objects=(2, 2), radius=(6, 6))
        made = scenes("slots", 60, **{**calm, **chances})
        # of the topmost object, which nothing hides
        return np.stack([scene.masks[-1].any((1, 2)) for scene in made])

    assert alive().all()
    late = alive(late=1.0)
    first = late.argmax(1)
    assert set(first) <= set(range(1, 17))
    assert len(set(first)) > 10
    assert late[:, 16:].all()
    early = alive(early=1.0)
    assert early[:, :12].all()
    assert not early[:, -1].any()
    gap = alive(gap=1.0)
    assert gap[:, 0].all()
    assert gap[:, -1].all()
    assert set((~gap).sum(1)) == {1, 2, 3}
    assert (np.abs(np.diff(gap.astype(int), axis=1)).sum(1) == 2).all()  # one gap each


def test_the_first_object_is_never_late() -> None:
    made = scenes("slots", late=1.0, objects=(1, 1))
    assert all(scene.masks[0, 0].any() for scene in made)


def test_look_alikes() -> None:
    assert all(len(set(s.classes)) == 1 for s in scenes("slots", look_alike=1.0))
    assert any(len(set(s.classes)) > 1 for s in scenes("slots", look_alike=0.0))


def test_objects_stay_inside_and_keep_their_speed() -> None:
    for scene in scenes("slots", objects=(1, 1), late=0.0, gap=0.0, early=0.0):
        areas = scene.masks[0].sum((1, 2))
        assert areas.min() > 0.8 * areas.max()
        ys, xs = (np.array([np.nonzero(m)[axis].mean() for m in scene.masks[0]]) for axis in (0, 1))
        steps = np.hypot(np.diff(ys), np.diff(xs))
        assert steps.max() < 6.8
        assert np.median(steps) > 0.9


def test_crossing_objects_are_many_and_change_sides() -> None:
    made = scenes("crossing", 40, late=0.0, gap=0.0, early=0.0)
    assert {len(s.classes) for s in made} == {4, 5}
    crossings = []
    for scene in made:
        assert len(set(scene.classes)) == 1
        for masks in scene.masks:
            seen = masks.any((1, 2)).nonzero()[0]
            centres = np.array([np.argwhere(masks[t]).mean(0) for t in seen]) - 23.5
            main = np.linalg.svd(centres)[2][0]
            side = np.sign(centres @ main)
            crossings.append((np.diff(side) != 0).sum())
    assert np.mean(np.array(crossings) >= 1) > 0.8


@pytest.mark.parametrize("kind", SCENES)
@pytest.mark.parametrize("size", [(1, 16, 16), (2, 17, 40), (5, 96, 64)])
def test_any_size(kind: str, size: tuple[int, int, int]) -> None:
    for seed in range(5):
        scene = make_scene(kind, SCENES[kind], *size, np.random.default_rng(seed))
        assert scene.frames.shape == (*size, 3)
        assert scene.masks.shape[1:] == size
        assert scene.masks.any()


def test_lengths_grow_with_the_frame() -> None:
    def mean_area(side: int) -> float:
        made = [
            make_scene("slots", SCENES["slots"], 2, side, side, np.random.default_rng(i))
            for i in range(10)
        ]
        return float(np.mean([s.masks[-1, 0].sum() for s in made]))

    assert mean_area(96) / mean_area(48) == pytest.approx(4, rel=0.1)


def test_identical_data_is_left_alone(tmp_path: Path) -> None:
    path = make_ytvis(tmp_path, SMALL)
    frame = tmp_path / "train" / "JPEGImages" / "00001" / "00000.jpg"
    frame.write_bytes(b"touched")
    before = path.stat().st_mtime_ns
    calls: list[int] = []
    assert make_ytvis(tmp_path, SMALL, lambda done, total: calls.append(done)) == path
    assert frame.read_bytes() == b"touched"
    assert path.stat().st_mtime_ns == before
    assert calls == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"videos": 4}, "videos is 3, not 4"),
        ({"seed": 9}, "seed"),
        ({"physics": Physics(gap=0.1)}, "physics"),
    ],
)
def test_other_data_is_not_overwritten(tmp_path: Path, change: Any, words: str) -> None:
    make_ytvis(tmp_path, SMALL)
    before = contents(tmp_path)
    with pytest.raises(BenchError, match=rf"train\.json is other data.*{words}"):
        make_ytvis(tmp_path, replace(SMALL, **change))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("text", ["", "[]", '{"videos": []}', '{"info": {"settings": 1}}'])
def test_a_foreign_json_is_not_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(BenchError, match=r"train\.json is other data"):
        make_ytvis(tmp_path, SMALL)
    assert contents(tmp_path) == {"train.json": text.encode()}


def test_an_interrupted_make_is_not_taken_for_a_finished_one(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 3
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_ytvis(tmp_path / "a", SMALL, interrupt)
    assert not (tmp_path / "a" / "train.json").exists()
    assert len(contents(tmp_path / "a")) == 2 * 6
    make_ytvis(tmp_path / "a", SMALL)
    make_ytvis(tmp_path / "b", SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def _full(path: Path, content: bytes) -> int:
    with path.open("wb") as file:
        file.write(content[:10])
    raise OSError(28, "No space left on device")


def _file_in_the_way(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    root.write_text("")


def _disk_full(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setattr(Path, "write_bytes", _full)


@pytest.mark.parametrize("obstacle", [_file_in_the_way, _disk_full])
def test_a_folder_that_cannot_be_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    obstacle: Callable[[pytest.MonkeyPatch, Path], None],
) -> None:
    root = tmp_path / "data"
    obstacle(monkeypatch, root)
    with pytest.raises(BenchError, match=r"cannot write generated video to .*data"):
        make_ytvis(root, SMALL)
    assert not any(contents(root).values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"videos": 0}, "videos = 0"),
        ({"frames": 0}, "frames = 0"),
        ({"height": 15}, "height = 15.*16"),
        ({"width": 3}, "width = 3"),
        ({"seed": -1}, "seed = -1"),
        ({"split": "test"}, "'test'.*train, valid"),
        ({"scene": "crosing"}, "did you mean 'crossing'"),
        ({"physics": Physics(gap=1.5)}, "gap = 1.5"),
        ({"physics": Physics(objects=(4, 2))}, r"objects = \(4, 2\)"),
        ({"physics": Physics(objects=(0, 2))}, r"objects = \(0, 2\)"),
        ({"physics": Physics(objects=(9, 900))}, "objects"),
        ({"physics": Physics(radius=(0.0, 2.0))}, "radius"),
        ({"physics": Physics(pixel_noise=float("nan"))}, "pixel_noise"),
    ],
)
def test_settings_out_of_range(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(BenchError, match=words):
        make_ytvis(tmp_path / "data", replace(SMALL, **change))
    assert not (tmp_path / "data").exists()


def test_a_long_video_of_several_objects(tmp_path: Path) -> None:
    """pycocotools 2.0.11 cannot give the areas of more than 255 masks at once under numpy 2."""
    path = make_ytvis(tmp_path, replace(SMALL, videos=1, frames=300, height=24, width=24))
    for track in json.loads(path.read_text())["annotations"]:
        for area, rle in zip(track["areas"], track["segmentations"], strict=True):
            assert area == (None if rle is None else int(coco_mask.area(rle)))
