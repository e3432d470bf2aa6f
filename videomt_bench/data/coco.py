"""COCO images as training data of instance benchmarks: each is a video of one frame.

Classes that a benchmark shares with COCO are mapped to its own. ``ImageMotion`` of
:mod:`videomt_bench.data.augment` then turns copies of an image into a pseudo-video.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from videomt_bench.data.classes import Category, dataset_categories
from videomt_bench.data.document import check_inside, get, get_flag, get_size, load_document
from videomt_bench.data.masks import check_size, decode_masks
from videomt_bench.data.sources import Objects
from videomt_bench.errors import BenchError, unknown

_TO_YTVIS_2021 = {
    1: 26, 2: 23, 3: 5, 4: 23, 5: 1, 7: 36, 8: 37, 9: 4, 16: 3, 17: 6, 18: 9, 19: 19, 21: 7, 22: 12,
    23: 2, 24: 40, 25: 18, 34: 14, 35: 31, 36: 31, 41: 29, 42: 33, 43: 34,
}  # fmt: skip
CATEGORY_MAPS: Mapping[str, Mapping[int, int]] = {
    "ytvis_2019": {
        1: 1, 2: 21, 3: 6, 4: 21, 5: 28, 7: 17, 8: 29, 9: 34, 17: 14, 18: 8, 19: 18, 21: 15, 22: 32,
        23: 20, 24: 30, 25: 22, 35: 33, 36: 33, 41: 5, 42: 27, 43: 40,
    },
    "ytvis_2021": _TO_YTVIS_2021,
    "ytvis_2022": _TO_YTVIS_2021,
    "ovis": {
        1: 1, 2: 21, 3: 25, 4: 22, 5: 23, 6: 25, 8: 25, 9: 24, 17: 3, 18: 4, 19: 5, 20: 6, 21: 7,
        22: 8, 23: 9, 24: 10, 25: 11,
    },
}  # fmt: skip
"""Benchmark -> COCO id -> id of the benchmark (the released code of VITA, DVIS and VidEoMT).
Bicycles count as motorbikes in YT-VIS; cars, buses and trucks as vehicles in OVIS."""


@dataclass(frozen=True)
class CocoObject:
    """One object of an image."""

    id: int
    label: int
    """Contiguous class index of the benchmark."""
    segmentation: str
    """As JSON text, a fraction of the memory of its lists."""


@dataclass(frozen=True)
class CocoImage:
    """An image as a video of one frame."""

    name: str
    height: int
    width: int
    file_names: list[str]
    objects: list[CocoObject] = field(default_factory=list)


@dataclass(frozen=True)
class CocoIndex:
    """The images with objects of a benchmark's classes."""

    path: Path
    frames_root: Path
    categories: Sequence[Category]
    """Of the benchmark."""
    videos: list[CocoImage]

    def has_objects(self, video: CocoImage) -> bool:
        """Always: images without objects are left out."""
        return bool(video.objects)

    def load_objects(self, video: CocoImage, indices: Sequence[int] | np.ndarray) -> Objects:
        """All objects of an image, the same in all of its copies.

        Raises:
            BenchError: a damaged segmentation.
        """
        masks = np.zeros((len(video.objects), video.height, video.width), dtype=bool)
        for mask, item in zip(masks, video.objects, strict=True):
            where = f"the segmentation of annotation {item.id} of image {video.name!r}"
            segmentation = json.loads(item.segmentation)
            mask[:] = decode_masks([segmentation], video.height, video.width, where)[0]
        labels = np.array([item.label for item in video.objects], dtype=np.int64)
        copies = len(indices)
        annotated = np.ones((len(masks), copies), dtype=bool)
        return Objects(labels, np.repeat(masks[:, None], copies, axis=1), annotated)


def read_coco(json_path: Path, frames_root: Path, benchmark: str) -> CocoIndex:
    """Read ``instances_train2017.json`` and keep what a benchmark can use.

    Crowds, objects of other classes and polygons of fewer than three points are left out, and then
    images without objects. No image is opened and no mask is decoded.

    Args:
        json_path: the annotation file.
        frames_root: the folder of the images.
        benchmark: a key of :data:`CATEGORY_MAPS`.

    Raises:
        BenchError: unreadable, not JSON, a missing or malformed key, an id that is there twice, an
            annotation of an unknown image or category, an RLE of another size than its image, a
            file name that leaves ``frames_root``, no such benchmark, or nothing left.
    """
    if benchmark not in CATEGORY_MAPS:
        raise unknown("benchmark with COCO classes", benchmark, CATEGORY_MAPS)
    categories = dataset_categories(benchmark)
    labels = {category.id: label for label, category in enumerate(categories)}
    mapped = {coco_id: labels[id_] for coco_id, id_ in CATEGORY_MAPS[benchmark].items()}
    data = load_document(json_path)
    valid = {
        get(item, "id", int, f"{json_path}: a category")
        for item in get(data, "categories", list, f"{json_path}")
    }
    images = _images(data, f"{json_path}")
    seen: set[int] = set()
    for item in get(data, "annotations", list, f"{json_path}"):
        _add_object(item, images, valid, mapped, seen, f"{json_path}")
    kept = [image for image in images.values() if image.objects]
    if not kept:
        raise BenchError(f"{json_path} has no objects of the classes of {benchmark}")
    return CocoIndex(json_path, frames_root, categories, kept)


def _images(data: dict[str, Any], where: str) -> dict[int, CocoImage]:
    images: dict[int, CocoImage] = {}
    for item in get(data, "images", list, where):
        id_ = get(item, "id", int, f"{where}: an image")
        if id_ in images:
            raise BenchError(f"{where}: two images have the id {id_}")
        inner = f"{where}: image {id_}"
        name = check_inside(get(item, "file_name", str, inner), inner)
        images[id_] = CocoImage(name, *get_size(item, inner), [name])
    return images


def _add_object(
    item: Any,
    images: dict[int, CocoImage],
    valid: set[int],
    mapped: dict[int, int],
    seen: set[int],
    where: str,
) -> None:
    """Check an annotation and, if it is of use, append it to its image."""
    id_ = get(item, "id", int, f"{where}: an annotation")
    where = f"{where}: annotation {id_}"
    if id_ in seen:
        raise BenchError(f"{where} is there twice")
    seen.add(id_)
    image_id = get(item, "image_id", int, where)
    category = get(item, "category_id", int, where)
    if image_id not in images:
        raise BenchError(f"{where} is of image {image_id}, which the file does not have")
    if category not in valid:
        raise BenchError(f"{where} has category {category}, which the file does not have")
    if category not in mapped or get_flag(item, "iscrowd", where):
        return
    if "segmentation" not in item:
        raise BenchError(f"{where} lacks the key 'segmentation'")
    image, segmentation = images[image_id], item["segmentation"]
    if isinstance(segmentation, dict):
        check_size(segmentation, image.height, image.width, where)
    elif isinstance(segmentation, list):
        segmentation = [p for p in segmentation if not isinstance(p, list) or len(p) >= 6]
    if segmentation:
        text = json.dumps(segmentation, separators=(",", ":"))
        image.objects.append(CocoObject(id_, mapped[category], text))
