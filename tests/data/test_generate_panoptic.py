from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from PIL import Image

from videomt_bench.data.check import check_dataset
from videomt_bench.data.generate import GeneratorSettings
from videomt_bench.data.generate_panoptic import make_vipseg
from videomt_bench.data.layouts import open_dataset
from videomt_bench.data.scenes import COLOURS
from videomt_bench.data.stuff import CATEGORIES, STUFF_IDS, THING_IDS, draw_stuff_scene
from videomt_bench.data.vipseg_classes import STUFF, THINGS
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.panoptic import score_vipseg

SMALL = GeneratorSettings(6, 9, 24, 32, seed=4, scene="crossing")


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def ids(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        red, green, blue = np.asarray(image).astype(int).transpose(2, 0, 1)
    return red + 256 * green + 65536 * blue


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vipseg")
    make_vipseg(root, SMALL)
    make_vipseg(root, replace(SMALL, split="val", videos=2))
    return root


def test_the_classes_are_numbered_as_in_vipseg() -> None:
    assert set(THING_IDS) <= THINGS
    assert set(STUFF_IDS) <= STUFF
    assert len(THING_IDS) == len(COLOURS)
    assert [c.id for c in CATEGORIES] == sorted({*THING_IDS, *STUFF_IDS})


def test_the_json_agrees_with_the_pngs(made: Path) -> None:
    data = json.loads((made / "panoptic_gt_VIPSeg_train.json").read_text())
    things = {c["id"]: bool(c["isthing"]) for c in data["categories"]}
    assert things == {c.id: c.is_thing for c in CATEGORIES}
    assert all(len(c["color"]) == 3 for c in data["categories"])
    assert [v["video_id"] for v in data["videos"]] == [f"train_{i:05d}" for i in range(1, 7)]
    void, crowds = 0, 0
    for video, annotation in zip(data["videos"], data["annotations"], strict=True):
        assert video["video_id"] == annotation["video_id"]
        kinds: dict[int, int] = {}
        frames = zip(video["images"], annotation["annotations"], strict=True)
        for image, frame in frames:
            assert image["id"] == frame["image_id"] == Path(image["file_name"]).stem
            assert (image["width"], image["height"]) == (32, 24)
            png = ids(made / "panomasksRGB" / video["video_id"] / frame["file_name"])
            jpg = made / "images" / video["video_id"] / f"{image['id']}.jpg"
            with Image.open(jpg) as picture:
                assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (32, 24))
            assert png.shape == (24, 32)
            void += (png == 0).sum()
            assert {s["id"] for s in frame["segments_info"]} == set(np.unique(png)) - {0}
            for segment in frame["segments_info"]:
                rows, columns = np.nonzero(png == segment["id"])
                left, top, width, height = segment["bbox"]
                assert segment["area"] == len(rows) > 0
                assert (left, left + width - 1) == (columns.min(), columns.max())
                assert (top, top + height - 1) == (rows.min(), rows.max())
                assert (
                    kinds.setdefault(segment["id"], segment["category_id"])
                    == (segment["category_id"])
                )
                crowds += segment["iscrowd"]
                assert not segment["iscrowd"] or things[segment["category_id"]]
        stuff = [category for category in kinds.values() if not things[category]]
        assert len(set(stuff)) == len(stuff) >= 2
        assert any(things[category] for category in kinds.values())
    assert 0 < void < 0.2 * 6 * 9 * 24 * 32
    assert crowds


def test_stuff_is_a_tint_and_regions_are_large() -> None:
    shares = []
    for i in range(20):
        scene = draw_stuff_scene(replace(SMALL, height=48, width=48), i)
        tones = {}
        for number, category in enumerate(scene.categories, start=1):
            region = scene.labels == number
            shares.append(region.mean())
            if category in STUFF_IDS and region.sum() > 200:
                colour = scene.frames[region].mean(0)
                tones[category] = colour - colour.mean()
        directions = {0: (1, -1, 0), 28: (-1, 1, 0), 66: (1, 1, -2), 121: (-1, -1, 2)}
        unit = {k: np.array(v) / np.linalg.norm(v) for k, v in directions.items()}
        for category, tone in tones.items():
            assert max(unit, key=lambda k: unit[k] @ tone) == category
        assert scene.labels.max() == len(scene.categories)
    assert np.mean(shares) > 0.1


def test_same_settings_same_bytes_and_other_seeds_other_bytes(tmp_path: Path) -> None:
    few = replace(SMALL, videos=2)
    for name, settings in (("a", few), ("b", few), ("c", replace(few, seed=5))):
        make_vipseg(tmp_path / name, settings)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_a_video_does_not_depend_on_how_many_there_are(tmp_path: Path, made: Path) -> None:
    make_vipseg(tmp_path, replace(SMALL, videos=2))
    few, many = contents(tmp_path), contents(made)
    few.pop("panoptic_gt_VIPSeg_train.json")
    assert few.items() <= many.items()


def test_the_same_data_is_left_alone_and_other_data_is_refused(tmp_path: Path) -> None:
    settings = replace(SMALL, videos=1)
    path = make_vipseg(tmp_path, settings)
    calls: list[int] = []
    before = contents(tmp_path)
    assert make_vipseg(tmp_path, settings, lambda done, total: calls.append(done)) == path
    assert not calls
    with pytest.raises(BenchError, match=r"panoptic_gt_VIPSeg_train\.json is other .*seed is 4"):
        make_vipseg(tmp_path, replace(settings, seed=1))
    assert contents(tmp_path) == before


def test_an_interrupted_make_has_no_json(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_vipseg(tmp_path, SMALL, interrupt)
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"split": "valid"}, "'valid'.*train, val"), ({"videos": 0}, "videos = 0")],
)
def test_settings_out_of_range(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(BenchError, match=words):
        make_vipseg(tmp_path / "data", replace(SMALL, **change))
    assert not (tmp_path / "data").exists()


def test_a_clean_set_has_no_problems(made: Path) -> None:
    for split, videos in (("train", 6), ("val", 2)):
        result = check_dataset("vipseg", made, split, full=True)
        assert result.problems == ()
        assert (result.videos, result.frames, result.categories) == (videos, videos * 9, 8)
        assert result.annotated


def test_the_reader_takes_it(made: Path) -> None:
    index = open_dataset("vipseg", made, "val")
    assert len(index.videos) == 2
    objects = index.load_objects(index.videos[0], [0, 4])  # type: ignore[arg-type]
    assert objects.labels.max() < len(CATEGORIES)


def test_the_truth_scores_one(made: Path, tmp_path: Path) -> None:
    copytree(made / "panomasksRGB", tmp_path / "pan_pred")
    truth = made / "panoptic_gt_VIPSeg_train.json"
    (tmp_path / "pred.json").write_text(truth.read_text())
    result = score_vipseg(truth, made / "panomasksRGB", tmp_path)
    assert result.metrics["VPQ"] == pytest.approx(1, abs=1e-12)
    assert result.metrics["VPQ_thing"] == result.metrics["VPQ_stuff"] == pytest.approx(1, abs=1e-12)
    assert result.metrics["STQ"] == result.metrics["STQ_corrected"] == pytest.approx(1, abs=1e-12)
    assert not any(result.skipped.values())
