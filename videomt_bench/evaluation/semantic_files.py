"""The VSPW layout on disk: lists of videos, and masks as PNG files; none of them is trusted.

Truth is ``ROOT/SPLIT.txt`` and ``ROOT/data/VIDEO/mask/FRAME.png`` (class + 1; 0 and 255 count as
nothing), predictions are ``FOLDER/VIDEO/FRAME.png`` (class). Masks have one channel of 8 bits;
of a palette PNG the indices are the values, as the official script reads it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.consistency import Mask

GREY, PALETTE = 0, 3
COLOUR_TYPES = {GREY: "grey", 2: "RGB", PALETTE: "palette", 4: "grey and alpha", 6: "RGBA"}
"""As the header of a PNG numbers them."""


@dataclass
class Faults:
    """What to do about a bad entry: stop with its sentence or, if lenient, count it and go on."""

    lenient: bool = False
    skipped: Counter[str] = field(default_factory=Counter)
    sentences: list[str] = field(default_factory=list)

    def report(self, kind: str, error: BenchError, count: int = 1) -> None:
        """Count ``error``, or raise it."""
        if not self.lenient:
            raise error
        self.skipped[kind] += count
        self.sentences.append(str(error))


@dataclass(frozen=True)
class VideoFiles:
    """The frames of one video, by the names of their files, in order."""

    name: str
    truth: Path
    predictions: Path
    frames: tuple[str, ...]


def find_videos(
    truth_root: Path, predictions: Path, split: str, faults: Faults
) -> list[VideoFiles]:
    """The videos of a split, all files present (if lenient, predicted frames may be missing).

    Raises:
        BenchError: no list, a name that is not one of a folder or repeats, a missing video, a
            missing frame, a video without frames, or a link that leaves its folder.
    """
    if not _is_name(split):
        raise BenchError(f"split {split!r} is not the name of a list such as 'val'")
    videos: dict[str, VideoFiles] = {}
    for name in read_list(truth_root / f"{split}.txt", faults):
        try:
            if name in videos:
                raise BenchError(f"{truth_root / f'{split}.txt'} lists video {name!r} twice")
            videos[name] = find_video(truth_root, predictions, name, faults)
        except BenchError as error:
            faults.report("videos", error)
    return list(videos.values())


def read_mask(path: Path, size: tuple[int, int] | None = None) -> Mask:
    """Decode a PNG -> uint8 (H, W); ``size`` is the (H, W) that it must have.

    Raises:
        BenchError: missing, not a PNG, damaged, not one channel of 8 bits, or of another size.
    """
    try:
        with path.open("rb") as file:
            _check_header(path, file.read(33), size)
            _open(file).verify()  # the checksums, which decoding leaves out
            return np.asarray(_open(file))
    except FileNotFoundError:
        raise BenchError(f"{path} is missing") from None
    except (
        OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error,
        zlib.error, Image.DecompressionBombError,
    ) as error:  # fmt: skip
        raise BenchError(f"{path} cannot be read: {error}") from None


def _open(file: BinaryIO) -> Image.Image:
    file.seek(0)
    return Image.open(file, formats=("PNG",))


def _check_header(path: Path, header: bytes, size: tuple[int, int] | None) -> None:
    """Before pixels are decoded, so that a huge image costs nothing.

    The bit depth is checked here because PIL scales grey values of fewer than 8 bits.
    """
    if len(header) < 33 or header[:8] != b"\x89PNG\r\n\x1a\n" or header[12:16] != b"IHDR":
        raise BenchError(f"{path} is not a PNG")
    width, height, depth, colour = struct.unpack(">IIBB", header[16:26])
    if colour != PALETTE and (colour, depth) != (GREY, 8):
        kind = COLOUR_TYPES.get(colour, f"colour type {colour}")
        raise BenchError(
            f"{path} is a PNG of {kind} with {depth} bits; "
            "valid are one channel of 8 bits and palette"
        )
    if size is not None and (height, width) != size:
        raise BenchError(f"{path} is {height} x {width}; its video is {size[0]} x {size[1]}")


def read_list(path: Path, faults: Faults) -> list[str]:
    """Names, one a line. The last line counts with or without its newline."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise BenchError(f"{path} is not a text file in UTF-8") from None
    names = []
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if name and not _is_name(name):
            sentence = f"{path}, line {number}: {name!r} is not the name of a folder"
            faults.report("videos", BenchError(sentence))
        elif name:
            names.append(name)
    if not names:
        raise BenchError(f"{path} lists no videos")
    return names


def _is_name(name: str) -> bool:
    """Whether it is one component of a path, on any system."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def find_video(truth_root: Path, predictions: Path, name: str, faults: Faults) -> VideoFiles:
    """The files of one video.

    Raises:
        BenchError: see :func:`find_videos`.
    """
    folder = truth_root / "data" / name / "mask"
    frames = tuple(sorted(_png_files(folder, truth_root / "data")))
    if not frames:
        raise BenchError(f"{folder} has no PNG files")
    predicted = _png_files(predictions / name, predictions)
    missing = [frame for frame in frames if frame not in predicted]
    if missing and not faults.lenient:
        raise BenchError(
            f"{predictions / name} lacks {len(missing)} of {len(frames)} frames; "
            f"the first is {missing[0]}"
        )
    return VideoFiles(name, folder, predictions / name, frames)


def _png_files(folder: Path, root: Path) -> set[str]:
    inside = root.resolve()
    try:
        if not folder.resolve().is_relative_to(inside):
            raise BenchError(f"{folder} leaves {root}")
        with os.scandir(folder) as entries:
            found = [e for e in entries if e.name.endswith(".png") and e.is_file()]
        for entry in found:
            if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(inside):
                raise BenchError(f"{entry.path} leaves {root}")
    except (OSError, RuntimeError) as error:
        raise BenchError(f"cannot list {folder}: {getattr(error, 'strerror', error)}") from None
    return {entry.name for entry in found}
