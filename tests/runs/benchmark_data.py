"""The six data sets and COCO as generated files in the released layouts, with all their classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from videomt_bench.data.classes import OVIS, VIPSEG, YTVIS_2019, YTVIS_2021, Category
from videomt_bench.data.generate import GeneratorSettings, make_ytvis
from videomt_bench.data.generate_panoptic import make_vipseg
from videomt_bench.data.generate_semantic import make_vspw

SIZE = dict(frames=4, height=32, width=48, seed=3)
COCO_CLASSES = (1, 18, 22)
"""Person, dog and elephant, which each of the instance data sets has, one of them at least."""


def write_all(root: Path) -> None:
    """``root/ytvis_2019``, …, ``root/VIPSeg``, ``root/VSPW`` and ``root/coco``."""
    for name, classes in (("ytvis_2019", YTVIS_2019), ("ytvis_2021", YTVIS_2021)):
        _ytvis(root / name, classes, ("train", "valid"))
    _ytvis(root / "ytvis_2022", YTVIS_2021, ("valid",))
    _ovis(root / "ovis")
    for split, videos in (("train", 3), ("val", 2)):
        settings = GeneratorSettings(videos, split=split, **SIZE)
        _with_all_classes(make_vipseg(root / "VIPSeg" / "VIPSeg_720P", settings))
        make_vspw(root / "VSPW" / "VSPW_480p", settings)
    _coco(root / "coco")


def _ytvis(root: Path, classes: Sequence[Category], splits: tuple[str, ...]) -> None:
    for split in splits:
        settings = GeneratorSettings(3 if split == "train" else 2, split=split, **SIZE)
        file = make_ytvis(root, settings)
        document = json.loads(file.read_text())
        document["categories"] = [{"id": c.id, "name": c.name} for c in classes]
        file.write_text(json.dumps(document))


def _ovis(root: Path) -> None:
    _ytvis(root, OVIS, ("train", "valid"))
    (root / "annotations").mkdir()
    for split in ("train", "valid"):
        shutil.move(root / f"{split}.json", root / "annotations" / f"annotations_{split}.json")
        for folder in (root / split / "JPEGImages").iterdir():
            shutil.move(folder, root / split / folder.name)
        (root / split / "JPEGImages").rmdir()


def _with_all_classes(file: Path) -> None:
    """All 124 classes in place of the generator's, things for things and stuff for stuff."""
    document: dict[str, Any] = json.loads(file.read_text())
    by_kind = {kind: [c.id for c in VIPSEG if c.is_thing == kind] for kind in (False, True)}
    new = {c["id"]: by_kind[bool(c["isthing"])].pop(0) for c in document["categories"]}
    for video in document["annotations"]:
        for frame in video["annotations"]:
            for segment in frame["segments_info"]:
                segment["category_id"] = new[segment["category_id"]]
    document["categories"] = [
        dict(id=c.id, name=c.name, isthing=int(c.is_thing), color=[0, 0, 0]) for c in VIPSEG
    ]
    file.write_text(json.dumps(document))


def _coco(root: Path) -> None:
    """Three images of noise, each with two objects."""
    (root / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    images, annotations = [], []
    for i in range(1, 4):
        pixels = np.random.default_rng(i).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "train2017" / f"{i:012d}.jpg")
        images.append(dict(id=i, height=40, width=40, file_name=f"{i:012d}.jpg"))
        for k in range(2):
            left, right = (2, 18) if k else (20, 38)
            polygon = [[left, 5, right, 5, right, 35, left, 35]]
            annotation = dict(id=10 * i + k, image_id=i, category_id=COCO_CLASSES[k])
            annotations.append({**annotation, "iscrowd": 0, "segmentation": polygon})
    document = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=i, name=str(i)) for i in COCO_CLASSES],
    )
    (root / "annotations/instances_train2017.json").write_text(json.dumps(document))
