"""The VIPSeg layout: one JSON per split, and a PNG of segment ids for every frame.

A pixel of a PNG is a segment id, R + 256 G + 65536 B; 0 is nothing. The JSON gives every segment
of a frame its class; one id is one object through the whole video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from videomt_bench.data.classes import PanopticCategory, things_first
from videomt_bench.data.document import get, get_flag, get_size, is_plain_name, load_document
from videomt_bench.data.pngs import Channels, read_png
from videomt_bench.data.sources import Objects
from videomt_bench.errors import BenchError

MAX_ID = 2**24 - 1
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class PanopticVideo:
    """One video; its frames have no segments where the file has no annotations."""

    name: str
    """The folder of its frames and of its PNGs."""
    height: int
    width: int
    file_names: list[str]
    segments: list[np.ndarray] = field(default_factory=list)
    """For each frame the ids int32 of its segments, ascending, crowds left out."""
    labels: dict[int, int] = field(default_factory=dict)
    """Segment id -> contiguous class index."""


@dataclass(frozen=True)
class PanopticIndex:
    """Everything an annotation file says; the PNGs stay encoded until somebody asks for them."""

    path: Path
    frames_root: Path
    masks_root: Path
    categories: list[PanopticCategory]
    """Things, then stuff."""
    videos: list[PanopticVideo]
    annotated: bool
    """Whether the file has annotations at all."""

    def has_objects(self, video: PanopticVideo) -> bool:
        """Whether a segment that is no crowd is listed in any frame."""
        return bool(video.labels)

    def load_ids(self, video: PanopticVideo, frame: int) -> np.ndarray:
        """Segment ids int32 (height, width) of a frame, listed or not.

        Raises:
            BenchError: a PNG that is missing, damaged, not RGB, of another size than its video, or
                a link that leaves its folder.
        """
        path = self.masks_root / PurePosixPath(video.file_names[frame]).with_suffix(".png")
        size = (video.height, video.width)
        rgb = read_png(path, self.masks_root, Channels.RGB, size).astype(np.int32)
        return rgb[..., 0] | rgb[..., 1] << 8 | rgb[..., 2] << 16

    def load_objects(self, video: PanopticVideo, indices: Sequence[int] | np.ndarray) -> Objects:
        """The segments listed in any of the frames, by id. Pixels of other ids are background.

        Raises:
            BenchError: as :meth:`load_ids`.
        """
        listed = [video.segments[t] for t in indices]
        ids = np.unique(np.concatenate(listed))
        dtype = np.uint8 if len(ids) < 256 else np.int32
        regions = np.zeros((1, len(indices), video.height, video.width), dtype=dtype)
        annotated = np.zeros((len(ids), len(indices)), dtype=bool)
        for position, (frame, own) in enumerate(zip(indices, listed, strict=True)):
            objects = np.searchsorted(ids, own)
            if not len(own):
                continue
            annotated[objects, position] = True
            regions[0, position] = _renumber(self.load_ids(video, int(frame)), own, objects + 1)
        labels = np.array([video.labels[i] for i in ids.tolist()], dtype=np.int64)
        return Objects(labels, regions, annotated)


def read_vipseg(json_path: Path, frames_root: Path, masks_root: Path) -> PanopticIndex:
    """Read and check an annotation file; no image is opened.

    Raises:
        BenchError: unreadable, not JSON, a missing or malformed key, an unknown category, a frame
            that is there twice or not annotated, an id that is there twice or is of two classes, a
            name that is no single folder or file, frames of several sizes, or no videos.
    """
    data = load_document(json_path)
    categories = _categories(data, f"{json_path}")
    labels = {category.id: label for label, category in enumerate(categories)}
    annotated = data.get("annotations") is not None
    found = _annotations(data, f"{json_path}") if annotated else None
    videos: dict[str, PanopticVideo] = {}
    for item in get(data, "videos", list, f"{json_path}"):
        name = _video_name(item, f"{json_path}: a video")
        if name in videos:
            raise BenchError(f"{json_path}: two videos have the id {name!r}")
        where = f"{json_path}: video {name!r}"
        if found is not None and name not in found:
            raise BenchError(f"{where} is not annotated")
        annotation = None if found is None else found[name]
        videos[name] = _video(item, name, annotation, labels, where)
    if not videos:
        raise BenchError(f"{json_path} has no videos")
    if found is not None and (extra := found.keys() - videos.keys()):
        raise BenchError(f"{json_path} annotates video {min(extra)!r}, which it does not have")
    everything = list(videos.values())
    return PanopticIndex(json_path, frames_root, masks_root, categories, everything, annotated)


def _renumber(values: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """``old[i]`` becomes ``new[i]`` and everything else 0; ``old`` is ascending, not empty."""
    position = np.searchsorted(old, values)
    position[position == len(old)] = 0
    return np.where(old[position] == values, new[position], 0)


def _categories(data: dict[str, Any], where: str) -> list[PanopticCategory]:
    categories: dict[int, PanopticCategory] = {}
    for item in get(data, "categories", list, where):
        id_ = get(item, "id", int, f"{where}: a category")
        inner = f"{where}: category {id_}"
        if id_ in categories:
            raise BenchError(f"{where}: two categories have the id {id_}")
        if item.get("isthing") is None:
            raise BenchError(f"{inner} lacks the key 'isthing'")
        name = get(item, "name", str, inner)
        categories[id_] = PanopticCategory(id_, name, get_flag(item, "isthing", inner))
    return things_first(categories.values())


def _annotations(data: dict[str, Any], where: str) -> dict[str, dict[str, list[Any]]]:
    """Video -> stem of the frame -> its segments, unchecked."""
    videos: dict[str, dict[str, list[Any]]] = {}
    for item in get(data, "annotations", list, where):
        name = _video_name(item, f"{where}: an annotation")
        inner = f"{where}: the annotation of video {name!r}"
        if name in videos:
            raise BenchError(f"{inner} is there twice")
        frames = videos[name] = {}
        for frame in get(item, "annotations", list, inner):
            stem = _stem(frame, inner)
            if stem in frames:
                raise BenchError(f"{inner} has frame {stem!r} twice")
            frames[stem] = get(frame, "segments_info", list, f"{inner}, frame {stem!r}")
    return videos


def _video(
    item: dict[str, Any],
    name: str,
    annotation: dict[str, list[Any]] | None,
    labels: dict[int, int],
    where: str,
) -> PanopticVideo:
    stems: list[str] = []
    sizes: set[tuple[int, int]] = set()
    for image in get(item, "images", list, where):
        stems.append(_stem(image, where))
        sizes.add(get_size(image, f"{where}, frame {stems[-1]!r}"))
    if len(set(stems)) != len(stems):
        raise BenchError(f"{where} has a frame twice")
    if len(sizes) != 1:
        raise BenchError(f"{where} has frames of {len(sizes)} sizes; valid: frames, all of one")
    (size,) = sizes
    video = PanopticVideo(name, *size, [f"{name}/{stem}.jpg" for stem in stems])
    if annotation is not None and (odd := annotation.keys() ^ set(stems)):
        state = "annotated but not there" if min(odd) in annotation else "not annotated"
        raise BenchError(f"{where} has frame {min(odd)!r} {state}")
    for stem in stems:
        items = [] if annotation is None else annotation[stem]
        _add_segments(items, video, labels, f"{where}, frame {stem!r}")
    return video


def _add_segments(
    items: list[Any], video: PanopticVideo, labels: dict[int, int], where: str
) -> None:
    """Check the segments of a frame and append it to its video."""
    seen: set[int] = set()
    kept: list[int] = []
    for item in items:
        id_ = get(item, "id", int, f"{where}: a segment")
        inner = f"{where}: segment {id_}"
        if not 1 <= id_ <= MAX_ID:
            raise BenchError(f"{inner} has no valid id; valid: 1 to {MAX_ID}")
        if id_ in seen:
            raise BenchError(f"{inner} is there twice")
        seen.add(id_)
        category = get(item, "category_id", int, inner)
        if category not in labels:
            raise BenchError(f"{inner} has category {category}; valid: {sorted(labels)}")
        if get_flag(item, "iscrowd", inner):
            continue
        if video.labels.setdefault(id_, labels[category]) != labels[category]:
            raise BenchError(f"{inner} has category {category}, but another one in other frames")
        kept.append(id_)
    video.segments.append(np.array(sorted(kept), dtype=np.int32))


def _video_name(item: Any, where: str) -> str:
    """Its ``video_id``, the name of a folder; a number counts as its digits."""
    if not isinstance(item, dict) or "video_id" not in item:
        raise BenchError(f"{where} lacks the key 'video_id'")
    value = item["video_id"]
    name = str(value) if type(value) is int else value
    if not is_plain_name(name):
        raise BenchError(f"{where} has 'video_id' = {str(value)[:60]!r}, which is no folder name")
    return name


def _stem(item: Any, where: str) -> str:
    """The ``file_name`` of a frame without its suffix, which may be that of the image or PNG."""
    name = get(item, "file_name", str, f"{where}: a frame")
    if not is_plain_name(name):
        raise BenchError(f"{where} has a frame with the file name {name[:60]!r}; valid: no folders")
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
