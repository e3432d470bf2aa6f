"""Where frames come from: a folder of images, a video file or a camera, one frame at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from videomt_bench.data.frames import FORMATS
from videomt_bench.errors import BenchError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
FOLDER_RATE = 24.0
"""Frames per second of a folder, which says nothing of time."""


@dataclass(frozen=True)
class SourceFrame:
    """One frame of a video."""

    index: int
    name: str
    """Without suffix; no other frame of the video has it."""
    time: float
    """Seconds since the first frame."""
    pixels: np.ndarray
    """RGB uint8 (H, W, 3), upright."""


@dataclass
class Source:
    """A video that is read once, frame after frame, all of one size.

    Reading raises a :class:`BenchError` where the video is damaged; the frames before are good.
    """

    name: str
    """Of the video, fit for a folder."""
    rate: float
    """Frames per second, on average."""
    length: int | None
    """How many frames there are, as far as the source says; None for a camera."""
    frames: Iterator[SourceFrame]
    live: bool = False
    """Whether frames come when they are made, without end."""


def open_source(text: str, rate: float | None = None) -> Source:
    """Open a folder of frames, a video file or, by a whole number, a camera.

    Args:
        text: a path that exists, or the index of a camera.
        rate: frames per second of a folder, instead of ``FOLDER_RATE``.

    Raises:
        BenchError: nothing is there, or there is no video in it.
    """
    path = Path(text)
    if path.is_dir():
        return open_folder(path, FOLDER_RATE if rate is None else rate)
    if path.exists():
        from videomt_bench.predict.video_source import open_video

        return open_video(path)
    if text.isdecimal():
        from videomt_bench.predict.camera import open_camera

        return open_camera(int(text))
    raise BenchError(
        f"there is no source {text!r}; valid: a folder of JPEG or PNG frames, a video file, "
        "or the number of a camera, such as 0"
    )


def open_folder(folder: Path, rate: float = FOLDER_RATE) -> Source:
    """The JPEG and PNG files of a folder in natural order: frame 9 comes before frame 10.

    Raises:
        BenchError: there are none, or two differ in their suffix alone.
    """
    files = sorted(
        (f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file()),
        key=lambda file: natural_key(file.name),
    )
    if not files:
        raise BenchError(f"the folder {folder} has no JPEG or PNG frames")
    seen: dict[str, Path] = {}
    for file in files:
        if seen.setdefault(file.stem, file) != file:
            raise BenchError(
                f"the frames {seen[file.stem].name} and {file.name} of {folder} have one name; "
                "their results would be one file"
            )
    return Source(folder.resolve().name or "frames", rate, len(files), _images(files, rate))


def natural_key(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers within names by their value."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if i % 2 else (-1, part.lower()) for i, part in enumerate(parts)]


def check_size(first: SourceFrame | None, pixels: np.ndarray, where: str) -> None:
    """Raise a :class:`BenchError` unless a frame has the size of the first."""
    if first is not None and first.pixels.shape != pixels.shape:
        (height, width), (h, w) = first.pixels.shape[:2], pixels.shape[:2]
        raise BenchError(
            f"{where} is {h} x {w}, but its video began with {height} x {width} pixels"
        )


def _images(files: list[Path], rate: float) -> Iterator[SourceFrame]:
    first: SourceFrame | None = None
    for index, file in enumerate(files):
        pixels = _read(file)
        check_size(first, pixels, f"the frame {file}")
        frame = SourceFrame(index, file.stem, index / rate, pixels)
        first = first or frame
        yield frame


def _read(file: Path) -> np.ndarray:
    try:
        with Image.open(file, formats=FORMATS) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BenchError(f"the frame {file} cannot be read: {error}") from None
