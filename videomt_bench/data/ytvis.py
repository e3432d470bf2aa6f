"""The YouTube-VIS layout, used by YT-VIS 2019, 2021 and 2022 and by generated video.

One JSON per split (``videos``, ``categories``, ``annotations``; an annotation is a track with one
box and one segmentation per frame) and one folder of frames per video. Masks stay encoded until
somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from videomt_bench.data.classes import Category
from videomt_bench.data.document import check_inside, get, get_size, load_document
from videomt_bench.data.masks import Segmentation, check_size, decode_mask, decode_masks
from videomt_bench.data.sources import Objects
from videomt_bench.errors import BenchError

__all__ = [
    "Category",
    "Track",
    "Video",
    "YTVISIndex",
    "decode_mask",
    "locate_ytvis",
    "read_ytvis",
    "track_masks",
]


@dataclass(frozen=True)
class Track:
    """One object through one video."""

    id: int
    category_id: int
    label: int
    """Contiguous class index."""
    segmentations: list[Segmentation | None]
    """One per frame of the video; ``None`` where the object is absent."""
    iscrowd: bool


@dataclass(frozen=True)
class Video:
    """One video; ``tracks`` is empty where the file has no annotations."""

    id: int
    name: str
    """The folder of its frames."""
    height: int
    width: int
    file_names: list[str]
    tracks: list[Track] = field(default_factory=list)


@dataclass(frozen=True)
class YTVISIndex:
    """Everything an annotation file says."""

    json_path: Path
    frames_root: Path
    categories: list[Category]
    videos: list[Video]
    annotated: bool
    """Whether the file has annotations at all; released validation files have none."""

    @property
    def path(self) -> Path:
        """The annotation file."""
        return self.json_path

    def has_objects(self, video: Video) -> bool:
        """Whether a track that is no crowd is present in any frame."""
        return any(_seen(track, range(len(video.file_names))) for track in video.tracks)

    def load_objects(self, video: Video, indices: Sequence[int] | np.ndarray) -> Objects:
        """The tracks, crowds left out, that are present in any of the frames, in file order.

        Raises:
            BenchError: a damaged segmentation.
        """
        tracks = [track for track in video.tracks if _seen(track, indices)]
        shape = (len(tracks), len(indices))
        masks = np.zeros((*shape, video.height, video.width), dtype=bool)
        annotated = np.zeros(shape, dtype=bool)
        for i, track in enumerate(tracks):
            masks[i] = track_masks(video, track, indices)
            annotated[i] = [track.segmentations[t] is not None for t in indices]
        labels = np.array([track.label for track in tracks], dtype=np.int64)
        return Objects(labels, masks, annotated)


def locate_ytvis(root: Path, split: str) -> tuple[Path, Path]:
    """The annotation file and the folder of frames of a split.

    The file is ``root/SPLIT.json`` or ``root/SPLIT/instances.json``, the first that exists.

    Raises:
        BenchError: neither file exists, or there is no folder ``root/SPLIT/JPEGImages``.
    """
    candidates = (root / f"{split}.json", root / split / "instances.json")
    json_path = next((path for path in candidates if path.is_file()), None)
    if json_path is None:
        raise BenchError(
            f"no YouTube-VIS split {split!r} in {root}: looked for {candidates[0]} "
            f"and {candidates[1]}"
        )
    frames_root = root / split / "JPEGImages"
    if not frames_root.is_dir():
        raise BenchError(f"{json_path} has no frames: looked for the folder {frames_root}")
    return json_path, frames_root


def read_ytvis(json_path: Path, frames_root: Path) -> YTVISIndex:
    """Read and check an annotation file; no image is opened and no mask is decoded.

    A track is present in a frame iff both its box and its segmentation are non-null there.

    Raises:
        BenchError: unreadable, not JSON, a missing or malformed key, an unknown category or video,
            a wrong number of segmentations, an RLE of another size than its video, a file name
            that leaves ``frames_root``, or no videos.
    """
    json_path, frames_root = Path(json_path), Path(frames_root)
    data = load_document(json_path)
    categories = _categories(data, f"{json_path}")
    videos: dict[int, Video] = {}
    for item in get(data, "videos", list, f"{json_path}"):
        video = _video(item, f"{json_path}: a video")
        if video.id in videos:
            raise BenchError(f"{json_path}: two videos have the id {video.id}")
        videos[video.id] = video
    if not videos:
        raise BenchError(f"{json_path} has no videos")
    annotated = data.get("annotations") is not None
    if annotated:
        labels = {category.id: label for label, category in enumerate(categories)}
        for item in get(data, "annotations", list, f"{json_path}"):
            _add_track(item, videos, labels, json_path)
    return YTVISIndex(json_path, frames_root, categories, list(videos.values()), annotated)


def track_masks(video: Video, track: Track, frames: Sequence[int] | np.ndarray) -> np.ndarray:
    """The masks bool (T, height, width) of a track in some frames, empty where it is absent.

    Raises:
        BenchError: a damaged segmentation.
    """
    return decode_masks(
        [track.segmentations[t] for t in frames],
        video.height,
        video.width,
        f"the segmentation of annotation {track.id} of video {video.name!r}",
    )


def _seen(track: Track, indices: Sequence[int] | np.ndarray) -> bool:
    return not track.iscrowd and any(track.segmentations[t] is not None for t in indices)


def _categories(data: dict[str, Any], where: str) -> list[Category]:
    categories = [
        Category(
            get(item, "id", int, f"{where}: a category"),
            get(item, "name", str, f"{where}: a category"),
        )
        for item in get(data, "categories", list, where)
    ]
    if len({c.id for c in categories}) != len(categories):
        raise BenchError(f"{where}: two categories have the same id")
    return sorted(categories, key=lambda category: category.id)


def _video(item: Any, where: str) -> Video:
    video_id = get(item, "id", int, where)
    where = f"{where[: -len('a video')]}video {video_id}"
    height, width = get_size(item, where)
    file_names = get(item, "file_names", list, where)
    if not file_names:
        raise BenchError(f"{where} has no frames")
    for name in file_names:
        check_inside(name, where)
    folder = str(PurePosixPath(file_names[0]).parent)
    return Video(video_id, folder if folder != "." else str(video_id), height, width, file_names)


def _add_track(
    item: Any, videos: dict[int, Video], labels: dict[int, int], json_path: Path
) -> None:
    """Check an annotation and append it to its video."""
    track_id = get(item, "id", int, f"{json_path}: an annotation")
    where = f"{json_path}: annotation {track_id}"
    video_id = get(item, "video_id", int, where)
    category_id = get(item, "category_id", int, where)
    if video_id not in videos:
        raise BenchError(f"{where} is of video {video_id}, which the file does not have")
    if category_id not in labels:
        raise BenchError(f"{where} has category {category_id}; valid: {sorted(labels)}")
    video = videos[video_id]
    segmentations = _segmentations(item, video, where)
    iscrowd = bool(item.get("iscrowd", 0))
    video.tracks.append(Track(track_id, category_id, labels[category_id], segmentations, iscrowd))


def _segmentations(item: dict[str, Any], video: Video, where: str) -> list[Segmentation | None]:
    """One segmentation per frame, ``None`` where it or the box is null."""
    where = f"{where} of video {video.id}"
    length = len(video.file_names)
    segmentations, boxes = (get(item, key, list, where) for key in ("segmentations", "bboxes"))
    for key, value in (("segmentations", segmentations), ("bboxes", boxes)):
        if len(value) != length:
            raise BenchError(f"{where} has {len(value)} {key}, but the video has {length} frames")
    for frame, segmentation in enumerate(segmentations):
        if isinstance(segmentation, dict):
            check_size(segmentation, video.height, video.width, f"{where}: RLE {frame}")
    pairs = zip(segmentations, boxes, strict=True)
    return [segmentation if box is not None else None for segmentation, box in pairs]
