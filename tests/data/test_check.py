from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from videomt_bench.data.check import CHECKS, CheckResult, check_dataset
from videomt_bench.data.classes import BENCHMARKS
from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.generate_panoptic import make_vipseg
from videomt_bench.data.generate_semantic import make_vspw
from videomt_bench.errors import BenchError

SMALL = GeneratorSettings(2, 3, 16, 20, seed=1)
Damage = Callable[[Path], Any]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder per data set."""
    root = tmp_path_factory.mktemp("clean")
    make_ytvis(root / "generated", SMALL)
    make_vipseg(root / "vipseg", SMALL)
    make_vspw(root / "vspw", SMALL)
    make_coco(root / "coco")
    return root


def make_coco(root: Path) -> None:
    (root / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    for i in range(3):
        Image.new("RGB", (20, 16 + i)).save(root / "train2017" / f"{i}.jpg")
    images = [{"id": i, "height": 16 + i, "width": 20, "file_name": f"{i}.jpg"} for i in range(3)]
    rle = {"size": [16, 20], "counts": [100, 220]}
    shapes: list[Any] = [rle, [[1, 1, 8, 1, 8, 8]], [[1.5, 1, 8, 1, 8, 8], [9, 9, 12, 9, 12, 12]]]
    annotations = [
        {"id": i, "image_id": i, "category_id": 3, "bbox": [0, 0, 5, 5.5], "segmentation": shape}
        for i, shape in enumerate(shapes)
    ]
    document = dict(images=images, annotations=annotations, categories=[{"id": 3, "name": "car"}])
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(document))


def damaged(clean: Path, tmp_path: Path, dataset: str, damage: Damage, **options: Any) -> Any:
    root = tmp_path / dataset
    shutil.copytree(clean / dataset, root)
    damage(root)
    return check_dataset(dataset, root, "train", **options)


def edit(name: str, *path: Any, value: Any = ...) -> Damage:
    """Changes a JSON file: sets what is at ``path``, or deletes it."""

    def damage(root: Path) -> None:
        document = json.loads((root / name).read_text())
        *head, last = path
        inner = document
        for key in head:
            inner = inner[key]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
        (root / name).write_text(json.dumps(document))

    return damage


def resave(name: str, mode: str, size: tuple[int, int] | None = None) -> Damage:
    def damage(root: Path) -> None:
        image = Image.open(root / name).convert(mode)
        (image.resize(size) if size else image).save(root / name)

    return damage


def cut(name: str, keep: float = 0.5) -> Damage:
    def damage(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(keep * len(data))])

    return damage


def rename(name: str, new: str) -> Damage:
    return lambda root: (root / name).rename(root / new)


def link_out(name: str) -> Damage:
    """Replaces a file or folder by a link to a copy outside."""

    def damage(root: Path) -> None:
        outside = root.parent / "outside" / Path(name).name
        outside.parent.mkdir()
        shutil.move(root / name, outside)
        (root / name).symlink_to(outside)

    return damage


def paint(name: str, value: Any) -> Damage:
    def damage(root: Path) -> None:
        pixels = np.array(Image.open(root / name))
        pixels[0, 0] = value
        Image.fromarray(pixels).save(root / name)

    return damage


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("dataset", ["generated", "vipseg", "vspw", "coco"])
def test_a_clean_set_has_no_problems(clean: Path, dataset: str, full: bool) -> None:
    result = check_dataset(dataset, clean / dataset, "train", full=full)
    assert result.problems == ()
    assert result.ok
    assert result.annotated
    videos, frames = (3, 3) if dataset == "coco" else (2, 6)
    assert (result.videos, result.frames) == (videos, frames)
    assert sum(result.sizes.values()) == videos
    assert result.lines() == []
    json.dumps(result.to_json())


def test_the_summary(clean: Path) -> None:
    result = check_dataset("generated", clean / "generated", "train")
    document = json.loads((clean / "generated" / "train.json").read_text())
    assert (result.objects, result.categories) == (len(document["annotations"]), 4)
    assert result.sizes == {"16x20": 2}
    panoptic = check_dataset("vipseg", clean / "vipseg", "train")
    document = json.loads((clean / "vipseg" / "panoptic_gt_VIPSeg_train.json").read_text())
    tubes = {
        (video["video_id"], segment["id"])
        for video in document["annotations"]
        for frame in video["annotations"]
        for segment in frame["segments_info"]
    }
    assert (panoptic.objects, panoptic.categories) == (len(tubes), 8)
    coco = check_dataset("coco", clean / "coco", "train2017")
    assert (coco.objects, coco.sizes) == (3, {"16x20": 1, "17x20": 1, "18x20": 1})


FRAME = "train/JPEGImages/00002/00001.jpg"
RLE = {"size": [16, 20], "counts": "9"}
TRACKS: list[tuple[Damage, str, str]] = [
    (lambda r: (r / FRAME).unlink(), "missing", r"train\.json, video 2: .*00002/00001\.jpg is mis"),
    (lambda r: shutil.rmtree((r / FRAME).parent), "missing", r"video 2: the folder .*00002 is mis"),
    (lambda r: shutil.rmtree(r / "train"), "missing", r"looked for .*JPEGImages"),
    (lambda r: (r / "train.json").unlink(), "missing", r"looked for .*train\.json"),
    (cut("train.json"), "unreadable", r"train\.json is not JSON"),
    (cut(FRAME, 0.9), "unreadable", r"00002/00001\.jpg cannot be read: .*truncated"),
    (cut(FRAME, 0), "unreadable", r"00002/00001\.jpg is not JPEG or PNG"),
    (resave(FRAME, "RGB", (20, 17)), "size", r"00001\.jpg is 17 x 20, but must be 16 x 20"),
    (link_out(FRAME), "path", r"video 2: .*00001\.jpg is a link that leaves"),
    (link_out("train/JPEGImages/00002"), "missing", r"video 2: the folder .* link that leaves"),
    (edit("train.json", "videos", 1, "id", value=1), "id", "videos entry 1: the video id 1 is"),
    (edit("train.json", "videos", 1, "id"), "entry", "videos entry 1: it lacks the key 'id'"),
    (edit("train.json", "videos", 1, "id", value=[]), "entry", r"videos entry 1: 'id' is \[\]"),
    (edit("train.json", "videos", 1, "width", value=0), "size", "video 2: its size is 16 x 0"),
    (edit("train.json", "videos", 1, "length", value=9), "entry", "video 2: it lists 3 .* is 9"),
    (edit("train.json", "videos", 1, "file_names", 0), "entry", "video 2: it lists 2 frames"),
    (
        edit("train.json", "videos", 1, "file_names", 0, value="../../x.jpg"),
        "path",
        r"video 2: the file name '\.\./\.\./x\.jpg' leaves",
    ),
    (edit("train.json", "videos", 1, "file_names", 0, value="/a"), "path", "video 2: .*'/a' le"),
    (edit("train.json", "videos", 1, "file_names", 0, value=3), "path", "video 2: 3 is no file"),
    (
        edit("train.json", "videos", 1, "file_names", 0, value="00001/00000.jpg"),
        "id",
        r"video 2: the frame '00001/00000\.jpg' is there twice",
    ),
    (edit("train.json", "videos", value=[]), "entry", "no videos"),
    (edit("train.json", "categories", 1, "id", value=1), "id", "categories entry 1: .* 1 is th"),
    (edit("train.json", "categories"), "entry", r"train\.json: it lacks the key 'categories'"),
    (edit("train.json", "annotations", 1, "id", value=1), "id", "annotations entry 1: .* 1 is th"),
    (edit("train.json", "annotations", 1, "video_id", value=7), "id", "annotation 2: .*video_id 7"),
    (
        edit("train.json", "annotations", 1, "category_id", value=9),
        "category",
        "annotation 2: unknown category_id 9; the file has 4",
    ),
    (
        edit("train.json", "annotations", 1, "segmentations", 2, value=RLE),
        "segmentation",
        "annotation 2, frame 2: its segmentation is damaged",
    ),
    (
        edit("train.json", "annotations", 1, "segmentations", 2, value=[[1, 2, 3]]),
        "segmentation",
        "annotation 2, frame 2: .* polygon",
    ),
    (
        edit("train.json", "annotations", 1, "segmentations", 2, value={**RLE, "size": [9, 9]}),
        "segmentation",
        r"annotation 2, frame 2: .* size \[9, 9\]",
    ),
    (edit("train.json", "annotations", 1, "areas", 0), "entry", "annotation 2: it has 2 areas, "),
    (edit("train.json", "annotations", 1, "bboxes", 0), "entry", "annotation 2: it has 2 bboxes, "),
    (edit("train.json", "annotations", 1, "bboxes", 0, value=[1]), "entry", "frame 0: its box is"),
    (edit("train.json", "annotations", 1, "iscrowd", value=2), "entry", "annotation 2: 'iscrowd'"),
]

PAN = "panoptic_gt_VIPSeg_train.json"
MASK = "panomasksRGB/train_00002/00000000.png"
SEGMENT = ("annotations", 1, "annotations", 0, "segments_info", 0)
PANOPTIC: list[tuple[Damage, str, str]] = [
    (lambda r: (r / MASK).unlink(), "missing", r"video 'train_00002': .*00000000\.png is missing"),
    (
        lambda r: shutil.copy(r / MASK, r / MASK.replace("000.png", "009.png")),
        "extra",
        r"video 'train_00002': .*00000009\.png belongs to no image",
    ),
    (
        lambda r: (r / "images/train_00001/00000002.jpg").unlink(),
        "missing",
        r"video 'train_00001': .*00000002\.jpg is missing",
    ),
    (lambda r: shutil.rmtree((r / MASK).parent), "missing", "the folder .*train_00002 is missing"),
    (resave(MASK, "L"), "mode", r"00000000\.png is a PNG of grey with 8 bits; valid is RGB"),
    (resave(MASK, "P"), "mode", r"00000000\.png is a PNG of palette"),
    (resave(MASK, "RGB", (9, 9)), "size", r"00000000\.png is 9 x 9, but must be 16 x 20"),
    (cut(MASK), "unreadable", r"00000000\.png is damaged: it ends early"),
    (paint(MASK, (1, 2, 3)), "mask", r"00000000\.png has a segment 197121, but the JSON"),
    (paint(MASK, (1, 2, 3)), "mask", r"00000000\.png: segment \d+ has \d+ pixels, but its area"),
    (edit(PAN, *SEGMENT, "id", value=5), "mask", "has no pixel of segment 5, which the JSON lists"),
    (edit(PAN, *SEGMENT, "area", value=5), "mask", "but its area is 5"),
    (edit(PAN, *SEGMENT, "id", value=0), "id", "segments_info entry 0: the segment id 0 is not"),
    (edit(PAN, *SEGMENT, "category_id", value=7), "category", "unknown category_id 7; .* 8"),
    (edit(PAN, *SEGMENT, "category_id", value=123), "category", r"segment \d+ is of category"),
    (edit(PAN, "categories", 0, "isthing", value=1), "category", "isthing of category 0 is 1, but"),
    (edit(PAN, "categories", 0, "id", value=124), "category", "124 is not one of 0 to 123"),
    (edit(PAN, "annotations", 1), "missing", "'train_00002': frame '00000000' is not annotated"),
    (edit(PAN, "videos", 1), "extra", "the annotated video 'train_00002' is not among"),
    (edit(PAN, "videos", 1, "images", 0), "extra", "frame '00000000' is annotated, but no image"),
    (edit(PAN, "videos", 1, "video_id", value="../x"), "path", "videos entry 1: '../x' is not"),
    (edit(PAN, "videos", 1, "video_id", value="train_00001"), "id", "train_00001' is there twice"),
    (edit(PAN, "videos", 1, "images", 0, "width", value=21), "size", "frames of 2 sizes"),
    (link_out(MASK), "path", r"00000000\.png is a link that leaves"),
]

VSPW_MASK = "data/train_00002/mask/00000000.png"
VSPW_FRAME = "data/train_00002/origin/00000001.jpg"
SEMANTIC: list[tuple[Damage, str, str]] = [
    (lambda r: (r / "train.txt").write_text("train_00001"), "list", "not end with a newline"),
    (lambda r: (r / "train.txt").write_text("train_00001\r\n"), "list", r"line ends with \\r"),
    (lambda r: (r / "train.txt").write_text(""), "entry", "lists no videos"),
    (lambda r: (r / "train.txt").write_text("../x\n"), "path", "line 1: '../x' is not"),
    (lambda r: (r / "train.txt").write_text("train_00001\n" * 2), "id", "line 2: .* is there tw"),
    (lambda r: (r / "train.txt").write_text("no\n"), "missing", "video 'no': .*origin is missing"),
    (lambda r: (r / "train.txt").write_bytes(b"\xff\n"), "unreadable", "not a text file"),
    (lambda r: (r / VSPW_MASK).unlink(), "missing", r"'train_00002': .*00000000\.png is missing"),
    (lambda r: (r / VSPW_FRAME).unlink(), "extra", r"mask/00000001\.png belongs to no image"),
    (lambda r: shutil.rmtree((r / VSPW_MASK).parent), "missing", "train_00002/mask has no masks"),
    (resave(VSPW_FRAME, "RGB", (9, 9)), "size", r"00000001\.jpg is 9 x 9, but must be 16 x 20"),
    (resave(VSPW_MASK, "L", (9, 9)), "size", r"00000000\.png is 9 x 9, but must be 16 x 20"),
    (resave(VSPW_MASK, "RGB"), "mode", r"00000000\.png is a PNG of RGB with 8 bits; valid are"),
    (resave(VSPW_MASK, "1"), "mode", r"00000000\.png is a PNG of grey with 1 bits"),
    (paint(VSPW_MASK, 125), "mask", r"00000000\.png has the value 125; valid are 0 to 124"),
    (cut(VSPW_FRAME, 0.9), "unreadable", r"00000001\.jpg cannot be read: .*truncated"),
    (link_out(VSPW_FRAME), "path", r"00000001\.jpg is a link that leaves"),
]

COCO = "annotations/instances_train2017.json"
STILL: list[tuple[Damage, str, str]] = [
    (lambda r: (r / "train2017/1.jpg").unlink(), "missing", r"train2017/1\.jpg is missing"),
    (resave("train2017/1.jpg", "RGB", (9, 9)), "size", r"1\.jpg is 9 x 9, but must be 17 x 20"),
    (lambda r: shutil.rmtree(r / "train2017"), "missing", "the folder .*train.* is missing"),
    (edit(COCO, "images", 1, "file_name", value="a/b.jpg"), "path", r"entry 1: 'a/b\.jpg' is not"),
    (edit(COCO, "images", 1, "file_name", value="0.jpg"), "id", r"entry 1: .*'0\.jpg' is there tw"),
    (edit(COCO, "images", 1, "id", value=0), "id", "images entry 1: the image id 0 is there"),
    (edit(COCO, "annotations", 1, "image_id", value=9), "id", "annotation 1: unknown image_id 9"),
    (edit(COCO, "annotations", 1, "category_id", value=9), "category", "annotation 1: .* 9"),
    (edit(COCO, "annotations", 1, "segmentation", value=[[1]]), "segmentation", "annotation 1: "),
    (edit(COCO, "annotations", 1, "bbox"), "entry", "annotation 1: its box is None"),
]


@pytest.mark.parametrize(
    ("dataset", "damage", "kind", "words"),
    [
        (dataset, *case)
        for dataset, cases in (
            ("generated", TRACKS),
            ("vipseg", PANOPTIC),
            ("vspw", SEMANTIC),
            ("coco", STILL),
        )
        for case in cases
    ],
)
def test_damage_is_found_and_named(
    clean: Path, tmp_path: Path, dataset: str, damage: Damage, kind: str, words: str
) -> None:
    result = damaged(clean, tmp_path, dataset, damage)
    assert any(p.kind == kind and re.search(words, p.sentence) for p in result.problems), (
        result.problems
    )


@pytest.mark.parametrize(
    ("dataset", "damage"),
    [
        ("generated", lambda r: (r / FRAME).unlink()),
        ("generated", edit("train.json", "annotations", 1, "video_id", value=7)),
        ("generated", edit("train.json", "videos", 0, "width", value=0)),
        ("vipseg", lambda r: (r / MASK).unlink()),
        ("vspw", lambda r: (r / VSPW_MASK).unlink()),
        ("vspw", lambda r: (r / "train.txt").write_text("train_00001")),
    ],
)
def test_one_damage_is_one_problem(
    clean: Path, tmp_path: Path, dataset: str, damage: Damage
) -> None:
    assert len(damaged(clean, tmp_path, dataset, damage, full=True).problems) == 1


@pytest.mark.parametrize(
    ("dataset", "damage"),
    [
        ("vipseg", paint(MASK.replace("000.png", "001.png"), (1, 2, 3))),
        ("vspw", paint(VSPW_MASK.replace("000.png", "001.png"), 200)),
    ],
)
def test_masks_after_the_first_are_decoded_on_demand(
    clean: Path, tmp_path: Path, dataset: str, damage: Damage
) -> None:
    assert damaged(clean, tmp_path / "a", dataset, damage).ok
    assert not damaged(clean, tmp_path / "b", dataset, damage, full=True).ok


def test_damage_inside_an_image_is_found_by_decoding(clean: Path, tmp_path: Path) -> None:
    def damage(root: Path) -> None:
        data = bytearray((root / VSPW_MASK).read_bytes())
        data[len(data) // 2] ^= 255
        (root / VSPW_MASK).write_bytes(data)

    result = damaged(clean, tmp_path, "vspw", damage)
    assert [p.kind for p in result.problems] == ["unreadable"]


def test_files_without_annotations_are_no_problem(clean: Path, tmp_path: Path) -> None:
    result = damaged(clean, tmp_path, "generated", edit("train.json", "annotations"))
    assert result.ok
    assert not result.annotated
    assert result.objects is None

    def no_masks(root: Path) -> None:
        for folder in (root / "data").iterdir():
            shutil.rmtree(folder / "mask")

    result = damaged(clean, tmp_path, "vspw", no_masks)
    assert result.ok
    assert not result.annotated


def test_a_link_to_the_whole_folder_is_no_problem(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "train").mkdir(parents=True)
    shutil.copy(clean / "generated" / "train.json", tmp_path / "data")
    (tmp_path / "data" / "train" / "JPEGImages").symlink_to(
        clean / "generated" / "train" / "JPEGImages"
    )
    assert check_dataset("generated", tmp_path / "data", "train").ok


def benchmark(clean: Path, root: Path, dataset: str, split: str = "train") -> CheckResult:
    """The generated set with the classes and in the layout of a benchmark."""
    document = json.loads((clean / "generated" / "train.json").read_text())
    document["categories"] = [{"id": c.id, "name": c.name} for c in BENCHMARKS[dataset]]
    frames = root / split / ("" if dataset == "ovis" else "JPEGImages")
    shutil.copytree(clean / "generated" / "train" / "JPEGImages", frames)
    name = "annotations/annotations_{}.json" if dataset == "ovis" else "{}.json"
    (root / "annotations").mkdir()
    (root / name.format(split)).write_text(json.dumps(document))
    return check_dataset(dataset, root, split)


@pytest.mark.parametrize(
    ("dataset", "split"),
    [("ytvis_2019", "train"), ("ytvis_2021", "valid"), ("ytvis_2022", "valid"), ("ovis", "test")],
)
def test_the_layouts_of_benchmarks(clean: Path, tmp_path: Path, dataset: str, split: str) -> None:
    result = benchmark(clean, tmp_path, dataset, split)
    assert result.ok, result.problems
    assert result.categories == len(BENCHMARKS[dataset])


def test_the_classes_of_another_benchmark(clean: Path, tmp_path: Path) -> None:
    assert benchmark(clean, tmp_path, "ytvis_2021").ok
    (problem,) = check_dataset("ytvis_2019", tmp_path, "train").problems
    assert problem.kind == "category"
    assert "train.json does not look like ytvis_2019" in problem.sentence


def test_the_truth_of_ytvis_2022_is_checked_where_it_is(clean: Path, tmp_path: Path) -> None:
    assert benchmark(clean, tmp_path, "ytvis_2022", "valid").ok
    document = json.loads((tmp_path / "valid.json").read_text())
    document["annotations"][0]["segmentations"][0] = RLE
    (tmp_path / "gt_long.json").write_text(json.dumps(document))
    (problem,) = check_dataset("ytvis_2022", tmp_path, "valid").problems
    assert problem.sentence.startswith("gt_long.json, annotation 1, frame 0: ")


def test_printed_problems_are_few_and_counted(clean: Path, tmp_path: Path) -> None:
    def damage(root: Path) -> None:
        for path in (root / "train" / "JPEGImages").rglob("*.jpg"):
            path.unlink()
        edit("train.json", "annotations", 0, "category_id", value=9)(root)

    result = damaged(clean, tmp_path, "generated", damage)
    assert len(result.problems) == 7
    lines = result.lines(2)
    assert len(lines) == 4
    assert "… and 4 more of this kind (missing)" in lines
    assert any("category_id 9" in line for line in lines)


def test_order_and_progress_do_not_depend_on_threads(clean: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    damage = TRACKS[0][0]
    one = damaged(clean, tmp_path / "a", "generated", damage, workers=1)
    root = tmp_path / "a" / "generated"
    many = check_dataset(
        "generated", root, "train", workers=8, on_progress=lambda *done: calls.append(done)
    )
    assert one == many
    assert calls == [(1, 2), (2, 2)]


def test_names_cannot_write_to_the_terminal(clean: Path, tmp_path: Path) -> None:
    name = "00002/\x1b[2J\ud800.jpg"
    damage = edit("train.json", "videos", 1, "file_names", 0, value=name)
    (problem,) = damaged(clean, tmp_path, "generated", damage).problems
    assert problem.sentence.isprintable()
    problem.sentence.encode()


WRONG = (
    None, True, -1, 0, 2**70, 1.5, float("nan"), float("inf"), "", "x", "\0", "\ud800", "../x",
    "a" * 5000, [], [[]], [None], {}, {"id": 1}, [1, "a"], {"size": [16, 20], "counts": "\xff"}
)  # fmt: skip


@pytest.mark.parametrize("dataset", ["generated", "vipseg", "coco"])
def test_no_value_anywhere_raises(clean: Path, tmp_path: Path, dataset: str) -> None:
    """Puts wrong values at random places of the document."""
    rng = random.Random(0)
    root = tmp_path / dataset
    shutil.copytree(clean / dataset, root)
    (path,) = root.rglob("*train*.json")
    text = path.read_text()
    for _ in range(150):
        document = json.loads(text)
        for _ in range(rng.randint(1, 3)):
            place: Any = document
            while True:
                keys = list(place) if isinstance(place, dict) else list(range(len(place)))
                if not keys:
                    break
                key = rng.choice(keys)
                if isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.8:
                    place = place[key]
                    continue
                place[key] = rng.choice(WRONG)
                break
        path.write_text(json.dumps(document))
        result = check_dataset(dataset, root, "train", workers=1)
        assert all(p.sentence.isprintable() and len(p.sentence) < 2000 for p in result.problems)


@pytest.mark.parametrize("text", ["", "[]", "3", "[" * 100_000, '{"videos": 1}', "\xff"])
@pytest.mark.parametrize("dataset", ["generated", "vipseg", "vspw", "coco"])
def test_no_text_raises(clean: Path, tmp_path: Path, dataset: str, text: str) -> None:
    name = {"generated": "train.json", "vipseg": PAN, "vspw": "train.txt", "coco": COCO}[dataset]
    result = damaged(clean, tmp_path, dataset, lambda r: (r / name).write_text(text, "latin-1"))
    assert not result.ok


@pytest.mark.parametrize("dataset", CHECKS)
def test_an_empty_folder_and_an_unknown_split(tmp_path: Path, dataset: str) -> None:
    for split in ("train", "val", "x", "../x", "a\0b"):
        assert not check_dataset(dataset, tmp_path, split).ok


def test_a_loop_of_links(clean: Path, tmp_path: Path) -> None:
    def damage(root: Path) -> None:
        (root / FRAME).unlink()
        (root / FRAME).symlink_to(root / FRAME)

    result = damaged(clean, tmp_path, "generated", damage)
    assert len(result.problems) == 1


def test_what_does_raise(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"unknown dataset 'ytvis_2020'; did you mean 'ytvis_20"):
        check_dataset("ytvis_2020", tmp_path, "train")
    with pytest.raises(BenchError, match=r"no folder .*nowhere"):
        check_dataset("ovis", tmp_path / "nowhere", "train")
    with pytest.raises(BenchError, match="-1 threads"):
        check_dataset("ovis", tmp_path, "train", workers=-1)


def test_no_torch() -> None:
    names = ("check", "split", "generate_panoptic", "generate_semantic")
    code = "import sys;" + "".join(f"import videomt_bench.data.{n};" for n in names)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", f"{code}assert 'torch' not in sys.modules"]
    subprocess.run(command, check=True, env=environment)
