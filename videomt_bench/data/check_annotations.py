"""Checks of categories and annotations, as YouTube-VIS and COCO files have them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from videomt_bench.data.check_findings import (
    BadEntryError,
    Inspection,
    add_new,
    get,
    get_flag,
    shown,
)
from videomt_bench.data.check_images import Size
from videomt_bench.data.masks import check_segmentation
from videomt_bench.errors import BenchError


class Owner(NamedTuple):
    """What annotations belong to: a video, or an image as a video of one frame."""

    size: Size
    frames: int


Owners = dict[int, Owner | None]
"""By id; ``None`` for an entry that is itself damaged."""


def check_categories(data: dict[str, Any], json_path: Path, check: Inspection) -> dict[int, str]:
    """Names by id of the categories."""
    categories: dict[int, str] = {}
    ids: set[Any] = set()
    for i, item in enumerate(check.members(data, "categories", json_path.name)):
        with check.entry(f"{json_path.name}, categories entry {i}"):
            id_ = get(item, "id", int)
            add_new(ids, "category id", id_)
            categories[id_] = ""
            categories[id_] = get(item, "name", str)
    check.categories = len(categories)
    if not categories:
        check.add("category", f"{json_path.name} has no categories")
    return categories


def check_annotations(
    data: dict[str, Any],
    json_path: Path,
    owners: Owners,
    categories: dict[int, str],
    check: Inspection,
    still: bool = False,
) -> None:
    """Check annotations, if there are any, of tracks or (``still``) of images."""
    check.annotated = data.get("annotations") is not None
    if not check.annotated:
        return
    look = _check_still if still else _check_track
    items = check.members(data, "annotations", json_path.name)
    check.objects = len(items)
    seen: set[Any] = set()
    for i, item in enumerate(items):
        with check.entry(f"{json_path.name}, annotations entry {i}"):
            id_ = get(item, "id", int)
            add_new(seen, "annotation id", id_)
            where = f"{json_path.name}, annotation {id_}"
            with check.entry(where):
                key = "image_id" if still else "video_id"
                owner_id, category = get(item, key, int), get(item, "category_id", int)
                if category not in categories:
                    words = f"unknown category_id {category}; the file has {len(categories)}"
                    check.add("category", f"{where}: {words}")
                if owner_id not in owners:
                    raise BadEntryError("id", f"unknown {key} {owner_id}")
                get_flag(item, "iscrowd")
                if (owner := owners[owner_id]) is not None:
                    look(item, owner, where, check)


def _check_track(item: dict[str, Any], owner: Owner, where: str, check: Inspection) -> None:
    """Boxes, segmentations and areas of a track, one or null per frame."""
    for key in ("segmentations", "bboxes", "areas"):
        if key == "areas" and key not in item:
            continue  # released files have areas, but nothing here needs them
        values = get(item, key, list)
        if len(values) != owner.frames:
            words = f"it has {len(values)} {key}, but its video has {owner.frames} frames"
            raise BadEntryError("entry", words)
        is_bad = _CHECKS[key]
        for frame, value in enumerate(values):
            if value is not None and (error := is_bad(value, owner)):
                check.report(f"{where}, frame {frame}", error)


def _check_still(item: dict[str, Any], owner: Owner, where: str, check: Inspection) -> None:
    """The one box and the one segmentation of an annotation of an image."""
    for is_bad, key in ((_segmentation, "segmentation"), (_box, "bbox")):
        if error := is_bad(item.get(key), owner):
            check.report(where, error)


def _segmentation(value: Any, owner: Owner) -> BadEntryError | None:
    try:
        check_segmentation(value, *owner.size, "its segmentation")
    except BenchError as error:
        return BadEntryError("segmentation", str(error))
    return None


def _box(value: Any, owner: Owner) -> BadEntryError | None:
    if isinstance(value, list) and len(value) == 4 and all(map(_is_finite, value)):
        return None
    return BadEntryError("entry", f"its box is {shown(value)}, not [x, y, width, height]")


def _area(value: Any, owner: Owner) -> BadEntryError | None:
    if _is_finite(value) and value >= 0:
        return None
    return BadEntryError("entry", f"its area is {shown(value)}, not a number of pixels")


def _is_finite(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


_CHECKS = {"segmentations": _segmentation, "bboxes": _box, "areas": _area}
