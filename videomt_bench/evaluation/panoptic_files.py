"""The VIPSeg layout on disk, truth and predictions; none of it is trusted.

A frame is an RGB PNG whose pixels are segment ids, R + 256 G + 65536 B, and a list of its segments
in a JSON file. Truth is one JSON and ``ROOT/VIDEO/FRAME.png``; predictions are
``FOLDER/pred.json`` and ``FOLDER/pan_pred/VIDEO/FRAME.png``.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from videomt_bench.errors import BenchError, unknown
from videomt_bench.evaluation.semantic_files import COLOUR_TYPES, Faults

MAX_ID = 2**24 - 1
MAX_PIXELS = 2**28
"""Of a frame."""
RGB = 2
"""As the header of a PNG numbers it."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

Pixels = npt.NDArray[np.uint8]


class Segment(NamedTuple):
    """One entry of ``segments_info``."""

    id: int
    category: int
    """Position among the categories, by id."""
    area: float = 0.0
    """In pixels, as the truth file says it; of predictions, pixels are counted instead."""
    is_crowd: bool = False


class Frame(NamedTuple):
    """Where the pixels of a frame are, and its segments in the order of the file."""

    png: Path
    segments: Sequence[Segment]


Frames = dict[str, Frame]
"""The frames of a video by their names without suffix, in order."""


@dataclass(frozen=True)
class PanopticTruth:
    """Categories by ascending id, and the frames of every video."""

    path: Path
    category_ids: tuple[int, ...]
    category_names: tuple[str, ...]
    is_thing: tuple[bool, ...]
    videos: Mapping[str, Frames]


def read_panoptic_truth(path: Path, root: Path) -> PanopticTruth:
    """Read a truth file; ``root`` is the folder of the PNGs, which are not opened.

    Raises:
        BenchError: not JSON, or an entry that is damaged, repeats or leaves ``root``; the
            sentence names the file and the entry.
    """
    data, strict = _read_object(path), Faults()
    categories: dict[int, tuple[str, bool]] = {}
    for position, entry in enumerate(_list(path, data, "categories")):
        with _entry(strict, "", f"{path}, categories entry {position}"):
            _add(categories, "category id", *_category(entry))
    ids = sorted(categories)
    found = _annotations(path, data, root, _positions(ids), Faults(), truth=True)
    videos: dict[str, Frames] = {}
    for position, entry in enumerate(_list(path, data, "videos")):
        with _entry(strict, "", f"{path}, videos entry {position}"):
            name = _video_name(_object(entry))
            _add(videos, "video", name, _in_image_order(entry, name, found))
    if not videos or not ids:
        raise BenchError(f"{path} has no videos or no categories: there is nothing to score")
    names, things = zip(*(categories[id_] for id_ in ids), strict=True)
    return PanopticTruth(path, tuple(ids), names, things, videos)


def read_panoptic_predictions(
    folder: Path, truth: PanopticTruth, faults: Faults
) -> dict[str, Frames]:
    """Read ``folder/pred.json``; the PNGs are not opened.

    Raises:
        BenchError: not JSON, or, unless ``faults`` is lenient, a video or frame that is unknown
            or missing, or an entry that is damaged, repeats or leaves the folder.
    """
    path = folder / "pred.json"
    category = _positions(truth.category_ids)
    data = _read_object(path)
    found = _annotations(path, data, folder / "pan_pred", category, faults, truth=False)
    for name in _beyond(found, truth.videos):
        faults.report("entries", BenchError(f"{path}: {unknown('video', name, truth.videos)}"))
    for name in _beyond(truth.videos, found):
        faults.report("videos", BenchError(f"{path} has no video {name!r}"))
    for name, frames in truth.videos.items():
        predicted = found.get(name, frames)
        where = f"{path}, video {name!r}"
        for frame in _beyond(predicted, frames):
            faults.report("entries", BenchError(f"{where}: {unknown('frame', frame, frames)}"))
        for frame in _beyond(frames, predicted):
            faults.report("frames", BenchError(f"{where} has no frame {frame!r}"))
    return found


class PngReader:
    """Decodes the PNGs of a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        _keep_freed_memory()

    def read(self, path: Path, size: tuple[int, int] | None = None) -> Pixels:
        """Decode a PNG -> uint8 (H, W, 3), channels in the order B, G, R.

        Args:
            path: the file, in the folder.
            size: the (H, W) that it must have.

        Raises:
            BenchError: missing, damaged, not RGB of 8 bits, of another size, or a link that
                leaves the folder.
        """
        data = self._bytes(path)
        found = _check_png(path, data)
        if size is not None and found != size:
            raise BenchError(
                f"{path} is {found[0]} x {found[1]}; the truth is {size[0]} x {size[1]}"
            )
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if pixels is None or pixels.shape != (*found, 3):
            raise BenchError(f"{path} is damaged: its pixels cannot be decoded")
        return pixels

    def _bytes(self, path: Path) -> bytes:
        try:
            if not path.resolve().is_relative_to(self._root):
                raise BenchError(f"{path} leaves {self._root}")
            return path.read_bytes()
        except FileNotFoundError:
            raise BenchError(f"{path} is missing") from None
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BenchError(f"{path} cannot be read: {reason}") from None


def _keep_freed_memory() -> None:
    """Have glibc keep the memory of an image for the next one.

    It goes by the largest block freed so far. Otherwise the pages are given back to the system
    and taken again for every image, which costs up to half the CPU time of decoding.
    """
    np.empty(2**24, np.uint8)


def codes(pixels: Pixels) -> npt.NDArray[np.uint32]:
    """(H, W, 3) -> (H, W); the lower 24 bits of a code are the segment id."""
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGBA).view("<u4")[..., 0]


def _check_png(path: Path, data: bytes) -> tuple[int, int]:
    """(H, W) of a whole PNG of 8-bit RGB, by its header and the checksums of its chunks.

    Found here, a huge image costs nothing and a damaged one does not make the decoder print.
    """
    if data[:8] != SIGNATURE or data[12:16] != b"IHDR":
        raise BenchError(f"{path} is not a PNG")
    start, kind = len(SIGNATURE), b""
    try:
        while kind != b"IEND":
            length, kind = struct.unpack_from(">I4s", data, start)
            end = start + 8 + length
            (checksum,) = struct.unpack_from(">I", data, end)
            if zlib.crc32(memoryview(data)[start + 4 : end]) != checksum:
                raise BenchError(f"{path} is damaged: wrong checksum")
            start = end + 4
        width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    except struct.error:
        raise BenchError(f"{path} is damaged: it ends early") from None
    if (depth, colour) != (8, RGB):
        mode = COLOUR_TYPES.get(colour, f"colour type {colour}")
        raise BenchError(f"{path} is a PNG of {mode} with {depth} bits; valid is RGB with 8 bits")
    if not 0 < height * width <= MAX_PIXELS:
        raise BenchError(f"{path} is {height} x {width}; valid are 1 to {MAX_PIXELS} pixels")
    return height, width


class _BadEntry(Exception):
    """What is wrong with an entry; ``_entry`` adds where it is."""


@contextmanager
def _entry(faults: Faults, kind: str, where: str) -> Iterator[None]:
    try:
        yield
    except _BadEntry as error:
        faults.report(kind, BenchError(f"{where}: {error}"))


def _annotations(
    path: Path,
    data: dict[str, Any],
    root: Path,
    category: Mapping[int, int],
    faults: Faults,
    *,
    truth: bool,
) -> dict[str, Frames]:
    """The frames of every annotated video."""
    videos: dict[str, Frames] = {}
    for position, entry in enumerate(_list(path, data, "annotations")):
        with _entry(faults, "entries", f"{path}, annotations entry {position}"):
            name = _video_name(_object(entry))
            frames = _add(videos, "video", name, {})
            for i, frame in enumerate(_member(entry, "annotations")):
                where = f"{path}, video {name!r}, annotations entry {i}"
                with _entry(faults, "entries", where):
                    stem = _frame_name(_object(frame))
                    segments: dict[int, Segment] = {}
                    _add(frames, "frame", stem, Frame(root / name / f"{stem}.png", ()))
                    for j, info in enumerate(_member(frame, "segments_info")):
                        where = f"{path}, video {name!r}, frame {stem!r}, segments_info entry {j}"
                        with _entry(faults, "segments", where):
                            segment = _segment(_object(info), category, truth)
                            _add(segments, "segment id", segment.id, segment)
                    frames[stem] = Frame(frames[stem].png, tuple(segments.values()))
    return videos


def _in_image_order(entry: dict[str, Any], name: str, found: Mapping[str, Frames]) -> Frames:
    """The annotated frames of a video in the order of its images."""
    annotated = found.get(name, {})
    ordered: Frames = {}
    for image in _member(entry, "images"):
        stem = _frame_name(_object(image))
        if stem not in annotated:
            raise _BadEntry(f"frame {stem!r} of video {name!r} is not annotated")
        _add(ordered, "frame", stem, annotated[stem])
    if not ordered or len(ordered) < len(annotated):
        raise _BadEntry(
            f"video {name!r} has {len(ordered)} images and {len(annotated)} annotated frames"
        )
    return ordered


def _category(entry: Any) -> tuple[int, tuple[str, bool]]:
    id_, is_thing = _integer(_object(entry), "id"), entry.get("isthing")
    if is_thing not in (0, 1):
        raise _BadEntry(f"isthing is {str(is_thing)[:40]!r}; valid: 0, 1")
    return id_, (str(entry.get("name", id_)), bool(is_thing))


def _segment(entry: dict[str, Any], category: Mapping[int, int], truth: bool) -> Segment:
    id_, category_id = _integer(entry, "id"), _integer(entry, "category_id")
    if not 0 <= id_ <= MAX_ID:
        raise _BadEntry(f"segment id {id_} is not one of 0 to {MAX_ID}")
    if category_id not in category:
        span = f"{min(category)} to {max(category)}"
        raise _BadEntry(
            f"unknown category_id {category_id}; the truth has {len(category)} ({span})"
        )
    if not truth:
        return Segment(id_, category[category_id])
    crowd = entry.get("iscrowd") or 0
    if crowd not in (0, 1):
        raise _BadEntry(f"iscrowd is {str(crowd)[:40]!r}; valid: 0, 1")
    return Segment(id_, category[category_id], _area(entry.get("area")), bool(crowd))


def _area(value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 2**53:
        raise _BadEntry(f"area is {str(value)[:40]!r}, not a number of pixels")
    return float(value)


def _video_name(entry: dict[str, Any]) -> str:
    value = entry.get("video_id")
    return _file_name("video_id", str(value) if type(value) is int else value)


def _frame_name(entry: dict[str, Any]) -> str:
    name = Path(_file_name("file_name", entry.get("file_name")))
    return name.stem if name.suffix.lower() in IMAGE_SUFFIXES else name.name


def _file_name(key: str, value: Any) -> str:
    """A name without folders: joined to a folder, it stays in it."""
    sound = isinstance(value, str) and value.isprintable() and not set(value) & set("/\\")
    if not sound or value in ("", ".", ".."):
        raise _BadEntry(f"{key} is {str(value)[:80]!r}, not the name of a file or folder")
    return value


def _add(table: dict[Any, Any], what: str, key: Any, value: Any) -> Any:
    if key in table:
        raise _BadEntry(f"{what} {key!r} is there twice")
    table[key] = value
    return value


def _beyond(some: Mapping[str, Any], others: Mapping[str, Any]) -> list[str]:
    """The keys that only ``some`` has, in order."""
    return [key for key in some if key not in others]


def _positions(ids: Sequence[int]) -> dict[int, int]:
    return {id_: i for i, id_ in enumerate(ids)}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BenchError(f"{path} is not a JSON object")
    return data


def _list(path: Path, data: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(data.get(key), list):
        raise BenchError(f"{path} has no list {key!r}")
    return data[key]


def _member(entry: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(entry.get(key), list):
        raise _BadEntry(f"no list {key!r}")
    return entry[key]


def _object(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise _BadEntry("not a JSON object")
    return entry


def _integer(entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    if type(value) is not int or abs(value) >= 2**63:
        raise _BadEntry(f"{key} is {str(value)[:40]!r}, not an integer")
    return value
