"""YouTube-VIS and OVIS truth files and result files, read with every entry checked.

Truth: ``videos``, ``categories`` and ``annotations`` (with ``areas`` and ``iscrowd``). Results: a
list of {video_id, score, category_id, segmentations}, one mask or null per frame.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.occlusion import LABELS, occlusion_score
from videomt_bench.evaluation.rle import MAX_PIXELS, Rle, Segmentations
from videomt_bench.evaluation.semantic_files import Faults
from videomt_bench.evaluation.tubes import Tube, measure
from videomt_bench.evaluation.ytvis_masks import read_masks, read_number
from videomt_bench.files import write_json


@dataclass(frozen=True)
class Video:
    """The size of a video; ``length`` is in frames."""

    id: int
    height: int
    width: int
    length: int


@dataclass(frozen=True)
class TruthObject:
    """One annotated object; ``areas`` per frame, or None to count the pixels of the masks."""

    video_id: int
    category_id: int
    segmentations: Segmentations
    areas: Sequence[float | None] | None = None
    is_crowd: bool = False
    occlusion: float | None = None
    """See ``occlusion.occlusion_score``."""
    tube: Tube | None = field(default=None, compare=False, repr=False)
    """What reading the masks has found out about them."""


@dataclass(frozen=True)
class Prediction:
    """One predicted tube with one label."""

    video_id: int
    category_id: int
    score: float
    segmentations: Segmentations
    tube: Tube | None = field(default=None, compare=False, repr=False)
    """What reading the masks has found out about them."""


Owned = TypeVar("Owned", TruthObject, Prediction)


@dataclass(frozen=True)
class Truth:
    """What predictions are compared with. Objects keep the order of the file."""

    videos: Mapping[int, Video]
    categories: Mapping[int, str]
    objects: Sequence[TruthObject]


def read_truth(path: Path) -> Truth:
    """Read a truth file.

    Raises:
        BenchError: not JSON, no ``annotations`` (as in the released validation files), or an
            entry that is damaged; the sentence names the file and the entry.
    """
    data = _read_object(path)
    if not isinstance(data.get("annotations"), list):
        raise BenchError(
            f"{path} has no list 'annotations', so nothing can be scored against it; "
            "released validation files come without"
        )
    videos, categories = _videos_and_categories(path, data)
    objects = _entries(path, data, "annotations", lambda x: _object(x, videos, categories))
    _check_labelled(path, data["annotations"])
    measured = _measured(path, "annotations entry", enumerate(objects), videos, Faults())
    return Truth(videos, categories, measured)


def read_videos(path: Path) -> Truth:
    """Read only the videos and categories of a file, which needs no annotations.

    Raises:
        BenchError: see :func:`read_truth`.
    """
    return Truth(*_videos_and_categories(path, _read_object(path)), [])


def read_predictions(path: Path, truth: Truth, faults: Faults | None = None) -> list[Prediction]:
    """Read a result file; an empty list is valid. ``faults`` says what a bad entry leads to.

    Raises:
        BenchError: not a JSON list, or, unless lenient, an entry with an unknown video or
            category, a score that is no finite number, or masks that do not fit the video.
    """
    data, faults = _read_json(path), faults or Faults()
    if not isinstance(data, list):
        raise BenchError(f"{path}: a result file is a JSON list, not {_kind(data)}")
    found = _parse(path, "entry", data, lambda x: _prediction(x, truth), faults)
    return _measured(path, "entry", found, truth.videos, faults)


def write_predictions(path: Path, results: Iterable[Prediction]) -> None:
    """Write a result file as the evaluation servers take it; whole or not at all.

    Raises:
        BenchError: a score that is no finite number, or a folder that cannot be written.
    """
    entries = [
        {
            "video_id": int(result.video_id),
            "score": read_number("score", result.score),
            "category_id": int(result.category_id),
            "segmentations": [_json_mask(mask) for mask in result.segmentations],
        }
        for result in results
    ]
    write_json(path, entries, indent=None)


def _json_mask(mask: Rle | None) -> dict[str, Any] | None:
    if not mask:
        return None
    counts = mask["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(n) for n in mask["size"]], "counts": text}


def _read_json(path: Path) -> Any:
    try:
        with _no_collection():
            return json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not JSON: {error}") from None


def _read_object(path: Path) -> dict[str, Any]:
    data = _read_json(path)
    if not isinstance(data, dict):
        raise BenchError(f"{path}: a truth file is a JSON object, not {_kind(data)}")
    return data


def _videos_and_categories(
    path: Path, data: Mapping[str, Any]
) -> tuple[dict[int, Video], dict[int, str]]:
    videos = {video.id: video for video in _entries(path, data, "videos", _video)}
    categories = dict(_entries(path, data, "categories", _category))
    if len(videos) != len(data["videos"]) or len(categories) != len(data["categories"]):
        raise BenchError(f"{path}: the ids of its videos or categories repeat")
    return videos, categories


@contextmanager
def _no_collection() -> Iterator[None]:
    """Reading makes many objects and no garbage; looking for it doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _entries(path: Path, data: Mapping[str, Any], key: str, parse: Callable[..., Any]) -> list[Any]:
    if not isinstance(data.get(key), list):
        raise BenchError(f"{path} has no list {key!r}")
    return [item for _, item in _parse(path, f"{key} entry", data[key], parse, Faults())]


def _parse(
    path: Path, what: str, entries: Sequence[Any], parse: Callable[..., Any], faults: Faults
) -> Iterator[tuple[int, Any]]:
    """Every parsed entry with its position, from 0; a fault names both the file and that."""
    for position, entry in enumerate(entries):
        try:
            if not isinstance(entry, dict):
                raise BenchError(f"not a JSON object but {_kind(entry)}")
            item = parse(entry)
        except BenchError as error:
            faults.report("entries", BenchError(f"{path}, {what} {position}: {error}"))
        else:
            yield position, item


def _measured(
    path: Path,
    what: str,
    items: Iterable[tuple[int, Owned]],
    videos: Mapping[int, Video],
    faults: Faults,
) -> list[Owned]:
    """The items with their tubes; those whose masks are not sound are faults."""
    measured: list[Owned] = []
    for id_, group in groupby(items, key=lambda item: item[1].video_id):
        owned = list(group)
        try:
            measured += _with_tubes([item for _, item in owned], videos[id_])
        except BenchError:
            for position, item in owned:
                try:
                    measured += _with_tubes([item], videos[id_])
                except BenchError as error:
                    faults.report("entries", BenchError(f"{path}, {what} {position}: {error}"))
    return measured


def _with_tubes(items: list[Owned], video: Video) -> list[Owned]:
    tubes = measure([item.segmentations for item in items], (video.height, video.width))
    return [replace(item, tube=tube) for item, tube in zip(items, tubes, strict=True)]


def _check_labelled(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    labelled = ["occlusion" in entry for entry in entries]
    if any(labelled) and not all(labelled):
        position = labelled.index(False)
        raise BenchError(f"{path}, annotations entry {position}: no 'occlusion', which others have")


def _video(entry: dict[str, Any]) -> Video:
    names = entry.get("file_names")
    length = len(names) if isinstance(names, list) else _integer(entry, "length")
    id_, height, width = (_integer(entry, key) for key in ("id", "height", "width"))
    video = Video(id_, height, width, length)
    if min(video.height, video.width, video.length) < 1 or video.height * video.width > MAX_PIXELS:
        raise BenchError(
            f"{video.length} frames of {video.height} x {video.width} pixels; valid are at least "
            f"one frame and 1 to {MAX_PIXELS} pixels"
        )
    return video


def _category(entry: dict[str, Any]) -> tuple[int, str]:
    return _integer(entry, "id"), str(entry.get("name", entry["id"]))


def _object(
    entry: dict[str, Any], videos: Mapping[int, Video], categories: Mapping[int, str]
) -> TruthObject:
    video = videos[_known(entry, "video_id", videos)]
    category_id = _known(entry, "category_id", categories)
    masks = read_masks(entry, video)
    areas = entry.get("areas")
    if areas is not None:
        if not isinstance(areas, list) or len(areas) != video.length:
            raise BenchError(f"'areas' is not a list of {video.length} numbers or null")
        areas = [None if area is None else read_number("areas", area) for area in areas]
    crowd = entry.get("iscrowd") or 0
    if crowd not in (0, 1):
        raise BenchError(f"iscrowd is {crowd!r}; valid: 0, 1")
    occlusion = _occlusion(entry["occlusion"], video) if "occlusion" in entry else None
    return TruthObject(video.id, category_id, masks, areas, bool(crowd), occlusion)


def _occlusion(labels: object, video: Video) -> float | None:
    if not isinstance(labels, list) or len(labels) != video.length:
        raise BenchError(f"'occlusion' is not a list of {video.length} labels or null")
    for label in labels:
        if label is not None and not (isinstance(label, str) and label in LABELS):
            raise BenchError(f"occlusion is {str(label)[:40]!r}; valid: {', '.join(LABELS)}, null")
    return occlusion_score(labels)


def _prediction(entry: dict[str, Any], truth: Truth) -> Prediction:
    video = truth.videos[_known(entry, "video_id", truth.videos)]
    category_id = _known(entry, "category_id", truth.categories)
    score = read_number("score", entry.get("score"))
    return Prediction(video.id, category_id, score, read_masks(entry, video))


def _known(entry: dict[str, Any], key: str, valid: Mapping[int, Any]) -> int:
    value = _integer(entry, key)
    if value not in valid:
        span = f"{min(valid)} to {max(valid)}" if valid else "none"
        raise BenchError(f"unknown {key} {value}; the truth has {len(valid)} ({span})")
    return value


def _integer(entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    if type(value) is not int or abs(value) >= 2**63:
        raise BenchError(f"{key} is {str(value)[:40]!r}, not an integer")
    return value


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "a string", type(None): "null"}.get(
        type(value), "a number"
    )
