"""Results as files that grow with the video, and what is made of them at its end.

``frames.jsonl`` has one JSON object per frame, written whole, so the file is valid at any time. The
files of the benchmarks are made from it at the end, reading it line by line: memory depends on the
number of tracks, which the model bounds, and not on the length of the video.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from videomt_bench.data.masks import encode_masks
from videomt_bench.errors import BenchError
from videomt_bench.files import replacing
from videomt_bench.predict.classes import Classes
from videomt_bench.predict.segments import FrameSegments
from videomt_bench.predict.source import SourceFrame

FRAMES_FILE = "frames.jsonl"
RESULT_FILE = "results.json"
VIDEO_ID = 1
"""Of the one video in a result file."""
OPEN_FILES = 64
"""Tracks that are gathered in one pass over the frames."""

Final = Mapping[int, tuple[int, float]]
"""Query -> class index and probability, over the whole video."""


class FrameLines:
    """Appends to ``frames.jsonl``.

    Raises:
        BenchError: the file cannot be made.
    """

    def __init__(self, folder: Path, classes: Classes) -> None:
        self.path = folder / FRAMES_FILE
        self.classes = classes
        try:
            self._file: BinaryIO = open(self.path, "wb", buffering=0)  # noqa: SIM115 (closed below)
        except OSError as error:
            raise BenchError(f"cannot write {self.path}: {error.strerror or error}") from None

    def write(self, frame: SourceFrame, found: FrameSegments) -> None:
        """Append one frame.

        Raises:
            BenchError: the disk is full.
        """
        entry: dict[str, Any] = {"frame": frame.index, "name": frame.name}
        entry["time"] = round(frame.time, 6)
        if self.classes.task == "instances":
            entry["tracks"] = self._tracks(found)
        else:
            entry["segments"] = self._segments(found)
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"
        try:
            self._file.write(line.encode())
        except OSError as error:
            raise BenchError(f"cannot write {self.path}: {error.strerror or error}") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _tracks(self, found: FrameSegments) -> list[dict[str, Any]]:
        assert found.masks is not None
        codes = encode_masks(found.masks)
        boxes = coco_mask.toBbox(codes).astype(int).tolist() if codes else []
        return [
            {
                "track": segment.id,
                "query": segment.query,
                "category_id": self.classes.categories[segment.label].id,
                "score": segment.score,
                "bbox": box,
                "segmentation": code,
            }
            for segment, code, box in zip(found.segments, codes, boxes, strict=True)
        ]

    def _segments(self, found: FrameSegments) -> list[dict[str, Any]]:
        """What lists of COCO panoptic segmentation have, plus score and query where there are."""
        areas = np.bincount(found.owner.ravel(), minlength=len(found.segments) + 1)
        entries = []
        for i, segment in enumerate(found.segments, start=1):
            if not areas[i]:
                continue
            rows = np.flatnonzero((found.owner == i).any(1))
            columns = np.flatnonzero((found.owner == i).any(0))
            left, top = int(columns[0]), int(rows[0])
            entry = {
                "id": segment.id,
                "category_id": self.classes.categories[segment.label].id,
                "isthing": int(segment.is_thing),
                "iscrowd": 0,
                "area": int(areas[i]),
                "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
            }
            if segment.score is not None:
                entry |= {"score": segment.score, "query": segment.query}
            entries.append(entry)
        return entries


def write_map(path: Path, found: FrameSegments, classes: Classes) -> None:
    """The map of a frame as a PNG in the layout of its benchmark.

    Panoptic: RGB, id = R + 256 G + 65536 B, 0 for none. Semantic: one channel of data set class
    ids, 16 bits where 8 do not suffice.

    Raises:
        BenchError: the disk is full.
    """
    if classes.task == "panoptic":
        table = np.array([0, *(s.id for s in found.segments)], np.uint32)
        ids = table[found.owner]
        pixels = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
    else:
        wide = max(c.id for c in classes.categories) > 255
        names = [classes.categories[s.label].id for s in found.segments]
        pixels = np.array([0, *names], np.uint16 if wide else np.uint8)[found.owner]
    save_png(path, pixels)


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Write an image; whole or not at all.

    Raises:
        BenchError: the disk is full.
    """
    with replacing(path) as file:
        Image.fromarray(pixels).save(file, format="PNG", compress_level=1)


def read_lines(folder: Path) -> Iterator[dict[str, Any]]:
    """The frames of ``frames.jsonl``, one at a time; the torn last line of a killed run is skipped.

    Raises:
        BenchError: there is no such file.
    """
    path = folder / FRAMES_FILE
    try:
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield json.loads(line)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None


def write_tracks(folder: Path, classes: Classes, final: Final) -> Path:
    """``results.json`` as YouTube-VIS has it: one entry per track, one mask or null per frame.

    Class and score of a track are those over the whole video, as the benchmark has them; its masks
    are those of the frames in which it was shown.

    Raises:
        BenchError: the disk is full.
    """
    queries: dict[int, int] = {}
    length = 0
    for entry in read_lines(folder):
        length += 1
        queries.update({track["track"]: track["query"] for track in entry["tracks"]})
    tracks = sorted(queries)
    path = folder / RESULT_FILE
    with replacing(path) as target:
        target.write(b"[")
        for start in range(0, len(tracks), OPEN_FILES):
            some = tracks[start : start + OPEN_FILES]
            with ExitStack() as stack:
                masks = _gathered(folder, some, length, stack)
                for track, text in zip(some, masks, strict=True):
                    label, score = final[queries[track]]
                    head = {
                        "video_id": VIDEO_ID,
                        "score": score,
                        "category_id": classes.categories[label].id,
                    }
                    target.write(b",\n" if track != tracks[0] else b"\n")
                    target.write(json.dumps(head)[:-1].encode() + b', "segmentations": [')
                    _copy(text, target)
                    target.write(b"]}")
        target.write(b"\n]\n")
    return path


def _gathered(
    folder: Path, tracks: Sequence[int], length: int, stack: ExitStack
) -> list[IO[bytes]]:
    """For each track a file with its masks, separated by commas, at its beginning."""
    files: dict[int, IO[bytes]] = {}
    for track in tracks:
        files[track] = stack.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
    for position, entry in enumerate(read_lines(folder)):
        found = {track["track"]: track["segmentation"] for track in entry["tracks"]}
        for track, file in files.items():
            text = json.dumps(found[track], separators=(",", ":")) if track in found else "null"
            file.write(f",{text}".encode() if position else text.encode())
    for file in files.values():
        file.seek(0)
    return list(files.values())


def _copy(source: IO[bytes], target: BinaryIO) -> None:
    while block := source.read(1 << 16):
        target.write(block)


def write_panoptic(folder: Path, video: str) -> Path:
    """``pred.json`` beside the PNGs, as VIPSeg has it.

    Raises:
        BenchError: the disk is full.
    """
    path = folder / "predictions" / "pred.json"
    with replacing(path) as target:
        target.write(b'{"annotations": [{"video_id": %s,' % json.dumps(video).encode())
        target.write(b' "annotations": [')
        for position, entry in enumerate(read_lines(folder)):
            frame = {"file_name": f"{entry['name']}.png", "segments_info": entry["segments"]}
            target.write(b",\n" if position else b"\n")
            target.write(json.dumps(frame, ensure_ascii=False).encode())
        target.write(b"\n]}]}\n")
    return path
