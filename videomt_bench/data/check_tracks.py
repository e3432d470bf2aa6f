"""Checks of the YouTube-VIS layout: YT-VIS 2019, 2021, 2022 and OVIS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from videomt_bench.data import classes
from videomt_bench.data.check_annotations import (
    Owner,
    Owners,
    check_annotations,
    check_categories,
)
from videomt_bench.data.check_findings import (
    BadEntryError,
    Inspection,
    add_new,
    get,
    get_size,
    inner_path,
    shown,
)
from videomt_bench.data.check_images import Images, Size, check_images, resolved
from videomt_bench.errors import BenchError

TRUTH_2022 = ("gt.json", "gt_short.json", "gt_long.json")
"""The ground truth of YT-VIS 2022 valid, which is not part of the release."""


def check_tracks(check: Inspection) -> None:
    """A split of YT-VIS or OVIS: its annotation file and its frames."""
    files = check.locate()
    data = check.load(files.annotations) if files else None
    if files is None or data is None:
        return
    json_path = files.annotations
    categories = check_categories(data, json_path, check)
    _check_benchmark(categories, json_path, check)
    videos, images = _check_videos(data, json_path, files.frames, check)
    check_annotations(data, json_path, videos, categories, check)
    if check.dataset == "ytvis_2022" and check.split == "valid":
        for path in filter(Path.is_file, (check.root / name for name in TRUTH_2022)):
            _check_truth(path, videos, check)
    check.run(check_images, images)


def _check_benchmark(categories: dict[int, str], json_path: Path, check: Inspection) -> None:
    """Whether the categories are those of the benchmark; generated video has its own."""
    if categories and check.dataset in classes.BENCHMARKS:
        found = [classes.Category(*item) for item in categories.items()]
        try:
            classes.check_categories(check.dataset, found, json_path.name)
        except BenchError as error:
            check.add("category", str(error))


def _check_videos(
    data: dict[str, Any], json_path: Path, frames_root: Path, check: Inspection
) -> tuple[Owners, list[Images]]:
    """The videos by id, and the images that they must have."""
    videos: Owners = {}
    images: list[Images] = []
    ids: set[Any] = set()
    names: set[Any] = set()
    root = resolved(frames_root)
    for i, item in enumerate(check.members(data, "videos", json_path.name)):
        check.videos += 1
        with check.entry(f"{json_path.name}, videos entry {i}"):
            id_ = get(item, "id", int)
            add_new(ids, "video id", id_)
            videos[id_] = None
            where = f"{json_path.name}, video {id_}"
            with check.entry(where):
                size, listed = get_size(item), get(item, "file_names", list)
                videos[id_] = Owner(size, len(listed))
                check.frames += len(listed)
                check.sizes[size] += 1
                paths = list(_paths(listed, names, where, check))
                images.extend(_by_folder(paths, size, where, frames_root, root, check.full))
                if not listed or item.get("length", len(listed)) != len(listed):
                    length = shown(item.get("length"))
                    words = f"it lists {len(listed)} frames, and its length is {length}"
                    raise BadEntryError("entry", words)
    if not check.videos:
        check.add("entry", f"{json_path.name} has no videos")
    return videos, images


def _paths(listed: list[Any], seen: set[Any], where: str, check: Inspection) -> Iterator[str]:
    """The normalised file names that are sound and new."""
    for name in listed:
        with check.entry(where):
            path = inner_path(name)
            add_new(seen, "frame", path)
            yield path


def _by_folder(
    paths: list[str], size: Size, where: str, frames_root: Path, root: Path, full: bool
) -> list[Images]:
    """The images of a video; almost always one folder."""
    folders: dict[Path, list[str]] = {}
    for path in paths:
        whole = frames_root / path
        folders.setdefault(whole.parent, []).append(whole.name)
    return [
        Images(where, folder, names, [size] * len(names), root, full)
        for folder, names in folders.items()
    ]


def _check_truth(json_path: Path, videos: Owners, check: Inspection) -> None:
    """A file of ground truth for videos that are already known."""
    data = check.load(json_path)
    if data is None:
        return
    inner = replace(check)  # it shares the list of problems, not the counts
    categories = check_categories(data, json_path, inner)
    check_annotations(data, json_path, videos, categories, inner)
    if not inner.annotated:
        check.add("entry", f"{json_path.name} has no annotations")
