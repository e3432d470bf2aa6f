"""Generated data sets in all layouts, and what damages them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from videomt_bench.data.check import check_dataset
from videomt_bench.data.generate import GeneratorSettings

SMALL = GeneratorSettings(2, 3, 16, 20, seed=1)
Damage = Callable[[Path], Any]

FRAME = "train/JPEGImages/00002/00001.jpg"
RLE = {"size": [16, 20], "counts": "9"}
PAN = "panoptic_gt_VIPSeg_train.json"
MASK = "panomasksRGB/train_00002/00000000.png"
VSPW_MASK = "data/train_00002/mask/00000000.png"
VSPW_FRAME = "data/train_00002/origin/00000001.jpg"
COCO = "annotations/instances_train2017.json"


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
