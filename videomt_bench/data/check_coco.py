"""Checks of COCO and of its subsets that are used as videos of one frame."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from videomt_bench.data.check_annotations import (
    Owner,
    Owners,
    check_annotations,
    check_categories,
)
from videomt_bench.data.check_findings import (
    Inspection,
    add_new,
    component,
    get,
    get_size,
)
from videomt_bench.data.check_images import (
    Images,
    Size,
    UnreadableError,
    check_images,
    list_folder,
    resolved,
)

IMAGES_AT_ONCE = 1000


def check_coco(check: Inspection) -> None:
    """A split of COCO, such as train2017, or a subset of one, such as coco2ovis_train."""
    root, split = check.root, check.split
    names = (f"instances_{split}.json", f"instances_{split}2017.json", f"{split}.json")
    folders = (root / "annotations", root)
    json_path = check.first_file([folder / name for folder in folders for name in names])
    data = check.load(json_path) if json_path else None
    if json_path is None or data is None:
        return
    categories = check_categories(data, json_path, check)
    images, sizes = _check_images(data, json_path, check)
    check_annotations(data, json_path, images, categories, check, still=True)
    # the subsets that are used as videos are of train2017
    places = (split, f"{split}2017", *(["train2017"] if split.endswith("train") else []))
    folder = next((root / place for place in places if (root / place).is_dir()), root / split)
    inside = resolved(folder)
    try:
        listing = list_folder(folder, inside)
    except UnreadableError as error:
        check.add("missing", f"{json_path.name}: the folder {folder} {error}")
        return
    left, tasks = iter(sizes.items()), []
    while part := dict(islice(left, IMAGES_AT_ONCE)):
        these = list(part), list(part.values())
        tasks.append(Images(json_path.name, folder, *these, inside, check.full, listing))
    check.run(check_images, tasks)


def _check_images(
    data: dict[str, Any], json_path: Path, check: Inspection
) -> tuple[Owners, dict[str, Size]]:
    """The images by id, and the sizes of their files."""
    images: Owners = {}
    sizes: dict[str, Size] = {}
    ids: set[Any] = set()
    names: set[Any] = set()
    for i, item in enumerate(check.members(data, "images", json_path.name)):
        check.videos += 1
        check.frames += 1
        with check.entry(f"{json_path.name}, images entry {i}"):
            id_ = get(item, "id", int)
            add_new(ids, "image id", id_)
            images[id_] = None
            size = get_size(item)
            images[id_] = Owner(size, 1)
            check.sizes[size] += 1
            name = component(get(item, "file_name", str))
            add_new(names, "file", name)
            sizes[name] = size
    if not check.videos:
        check.add("entry", f"{json_path.name} has no images")
    return images, sizes
