"""Whatever is wrong in a data set is found and named, and nothing raises."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from data.damage import (
    COCO,
    FRAME,
    MASK,
    PAN,
    RLE,
    VSPW_FRAME,
    VSPW_MASK,
    Damage,
    cut,
    damaged,
    edit,
    link_out,
    paint,
    resave,
)

from videomt_bench.data.check import check_dataset

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


def test_a_loop_of_links(clean: Path, tmp_path: Path) -> None:
    def damage(root: Path) -> None:
        (root / FRAME).unlink()
        (root / FRAME).symlink_to(root / FRAME)

    result = damaged(clean, tmp_path, "generated", damage)
    assert len(result.problems) == 1
