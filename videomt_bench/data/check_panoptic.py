"""Checks of the VIPSeg layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videomt_bench.data.check_annotations import check_categories
from videomt_bench.data.check_findings import (
    BadEntryError,
    Inspection,
    Problem,
    add_new,
    component,
    get,
    get_flag,
    get_size,
    shown,
)
from videomt_bench.data.check_images import (
    COLOUR_TYPES,
    RGB,
    Images,
    Size,
    UnreadableError,
    check_images,
    find_missing,
    list_folder,
    read_png,
    read_png_header,
    resolved,
    wrong_size,
)
from videomt_bench.data.layouts import Files
from videomt_bench.data.vipseg_classes import CLASSES, THINGS

MAX_ID = 2**24 - 1
"""The greatest segment id that three bytes hold."""

Areas = dict[int, Any]
"""The area of every segment of a frame, as the JSON has it, by segment id."""


class PanopticVideo(NamedTuple):
    """A video whose files are to be looked at."""

    where: str
    name: str
    frames: dict[str, Size]
    """By file name without suffix, in order."""
    segments: dict[str, Areas] | None
    """By file name without suffix; ``None`` without annotations."""
    images: Path
    masks: Path
    full: bool


def check_panoptic(check: Inspection) -> None:
    """A split of VIPSeg: its JSON, its images and its masks."""
    files = check.locate()
    data = check.load(files.annotations) if files else None
    if files is None or files.masks is None or data is None:
        return
    json_path = files.annotations
    categories = check_categories(data, json_path, check)
    _check_things(data, json_path, check)
    check.annotated = data.get("annotations") is not None
    segments = _check_annotations(data, json_path, categories, check) if check.annotated else None
    check.run(_check_files, _check_videos(data, files, segments, check))


def _check_things(data: dict[str, Any], json_path: Path, check: Inspection) -> None:
    for i, item in enumerate(check.members(data, "categories", json_path.name)):
        with check.entry(f"{json_path.name}, categories entry {i}"):
            id_, is_thing = get(item, "id", int), bool(get(item, "isthing", int))
            if not 0 <= id_ < CLASSES:
                words = f"the category id {id_} is not one of 0 to {CLASSES - 1}"
                raise BadEntryError("category", words)
            if is_thing != (id_ in THINGS):
                right = "a thing" if id_ in THINGS else "stuff"
                words = f"isthing of category {id_} is {int(is_thing)}, but it is {right}"
                raise BadEntryError("category", words)


def _check_videos(
    data: dict[str, Any],
    files: Files,
    segments: dict[str, dict[str, Areas]] | None,
    check: Inspection,
) -> list[PanopticVideo]:
    """The videos whose files are to be looked at."""
    assert files.masks is not None
    json_path, folders = files.annotations, (files.frames, files.masks)
    videos: list[PanopticVideo] = []
    names: set[Any] = set()
    for i, item in enumerate(check.members(data, "videos", json_path.name)):
        check.videos += 1
        with check.entry(f"{json_path.name}, videos entry {i}"):
            name = _video_name(item)
            add_new(names, "video id", name)
            where = f"{json_path.name}, video {name!r}"
            frames = _frames(get(item, "images", list), where, check)
            check.frames += len(frames)
            check.sizes.update(set(frames.values()))
            annotated = None if segments is None else segments.pop(name, {})
            if annotated is not None:
                for stem in frames.keys() - annotated.keys():
                    check.add("missing", f"{where}: frame {stem!r} is not annotated")
                for stem in annotated.keys() - frames.keys():
                    check.add("extra", f"{where}: frame {stem!r} is annotated, but no image of it")
            videos.append(PanopticVideo(where, name, frames, annotated, *folders, check.full))
    for name in segments or ():
        check.add(
            "extra", f"{json_path.name}: the annotated video {name!r} is not among the videos"
        )
    if not check.videos:
        check.add("entry", f"{json_path.name} has no videos")
    return videos


def _frames(images: list[Any], where: str, check: Inspection) -> dict[str, Size]:
    """The sizes of the frames of a video, by file name without suffix."""
    frames: dict[str, Size] = {}
    seen: set[Any] = set()
    for i, image in enumerate(images):
        with check.entry(f"{where}, images entry {i}"):
            stem = _stem(image)
            add_new(seen, "frame", stem)
            frames[stem] = get_size(image)
    if not images:
        check.add("entry", f"{where} has no images")
    if len(sizes := set(frames.values())) > 1:
        check.add("size", f"{where} has frames of {len(sizes)} sizes")
    return frames


def _check_annotations(
    data: dict[str, Any], json_path: Path, categories: dict[int, str], check: Inspection
) -> dict[str, dict[str, Areas]]:
    """Video -> frame -> segment id -> area."""
    videos: dict[str, dict[str, Areas]] = {}
    names: set[Any] = set()
    check.objects = 0
    for i, item in enumerate(check.members(data, "annotations", json_path.name)):
        with check.entry(f"{json_path.name}, annotations entry {i}"):
            name = _video_name(item)
            add_new(names, "video id", name)
            where = f"{json_path.name}, video {name!r}"
            frames = videos[name] = {}
            # of every segment id, as it may not change its class within a video
            kinds: dict[int, int] = {}
            for j, frame in enumerate(get(item, "annotations", list)):
                with check.entry(f"{where}, annotations entry {j}"):
                    stem = _stem(frame)
                    if stem in frames:
                        raise BadEntryError("id", f"the frame {stem!r} is there twice")
                    inner = f"{where}, frame {stem!r}"
                    frames[stem] = {}
                    listed = get(frame, "segments_info", list)
                    frames[stem] = _segments(listed, inner, kinds, categories, check)
            check.objects += len(kinds)
    return videos


def _segments(
    listed: list[Any], where: str, kinds: dict[int, int], categories: dict[int, str],
    check: Inspection,
) -> Areas:  # fmt: skip
    """The segments of a frame; adds their classes to ``kinds``."""
    areas: Areas = {}
    for i, item in enumerate(listed):
        with check.entry(f"{where}, segments_info entry {i}"):
            id_, category = get(item, "id", int), get(item, "category_id", int)
            if not 1 <= id_ <= MAX_ID:
                raise BadEntryError("id", f"the segment id {id_} is not one of 1 to {MAX_ID}")
            if id_ in areas:
                raise BadEntryError("id", f"the segment id {id_} is there twice")
            areas[id_] = item.get("area")
            get_flag(item, "iscrowd")
            if category not in categories:
                words = f"unknown category_id {category}; the file has {len(categories)}"
                raise BadEntryError("category", words)
            if kinds.setdefault(id_, category) != category:
                words = f"segment {id_} is of category {category}, but was of {kinds[id_]} before"
                raise BadEntryError("category", words)
    return areas


def _check_files(video: PanopticVideo) -> Iterator[Problem]:
    """The images and masks of a video."""
    names, sizes = [f"{stem}.jpg" for stem in video.frames], list(video.frames.values())
    root, folder = resolved(video.images), video.images / video.name
    yield from check_images(Images(video.where, folder, names, sizes, root, video.full))
    if video.segments is not None:
        yield from _check_masks(video, video.segments)


def _check_masks(video: PanopticVideo, segments: dict[str, Areas]) -> Iterator[Problem]:
    root, folder = resolved(video.masks), video.masks / video.name
    try:
        listing = list_folder(folder, root)
    except UnreadableError as error:
        yield Problem("missing", f"{video.where}: the folder {folder} {error}")
        return
    for name in sorted(listing.keys() - {f"{stem}.png" for stem in video.frames}):
        if name.endswith(".png"):
            yield Problem("extra", f"{video.where}: {folder / name} belongs to no image")
    for i, (stem, size) in enumerate(video.frames.items()):
        path = folder / f"{stem}.png"
        problem = find_missing(video.where, path, listing, root)
        if problem := problem or _check_header(video.where, path, size):
            yield problem
        elif (video.full or i == 0) and stem in segments:
            yield from _check_ids(video.where, path, segments[stem])


def _check_header(where: str, path: Path, size: Size) -> Problem | None:
    try:
        found, depth, colour = read_png_header(path)
    except UnreadableError as error:
        return Problem("unreadable", f"{where}: {path} {error}")
    if (depth, colour) != (8, RGB):
        kind = COLOUR_TYPES.get(colour, f"colour type {colour}")
        words = f"{path} is a PNG of {kind} with {depth} bits; valid is RGB with 8 bits"
        return Problem("mode", f"{where}: {words}")
    return wrong_size(where, path, found, size) if found != size else None


def _check_ids(where: str, path: Path, areas: Areas) -> Iterator[Problem]:
    """Whether the segments of the PNG are those of the JSON, in number of pixels too."""
    try:
        rgb = read_png(path).astype(np.int64)
    except UnreadableError as error:
        yield Problem("unreadable", f"{where}: {path} {error}")
        return
    ids, counts = np.unique(rgb @ np.array([1, 256, 65536]), return_counts=True)
    pixels = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    pixels.pop(0, None)
    for id_ in sorted(pixels.keys() - areas.keys()):
        yield Problem("mask", f"{where}: {path} has a segment {id_}, but the JSON has none")
    for id_ in sorted(areas.keys() - pixels.keys()):
        yield Problem(
            "mask", f"{where}: {path} has no pixel of segment {id_}, which the JSON lists"
        )
    for id_ in sorted(pixels.keys() & areas.keys()):
        if areas[id_] != pixels[id_]:
            words = f"segment {id_} has {pixels[id_]} pixels, but its area is {shown(areas[id_])}"
            yield Problem("mask", f"{where}: {path}: {words}")


def _video_name(item: Any) -> str:
    """The id of a video, which is the name of its folder."""
    if isinstance(item, dict) and type(item.get("video_id")) is int:
        return str(item["video_id"])
    return component(get(item, "video_id", str))


def _stem(item: Any) -> str:
    """The file name of a frame without suffix."""
    return Path(component(get(item, "file_name", str))).stem
