"""Checks of image files by their headers; pixels are decoded only on demand or on suspicion."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from videomt_bench.data.check_findings import Problem
from videomt_bench.data.frames import FORMATS

Size = tuple[int, int]
"""(height, width)."""

TAIL = 64
"""Bytes at the end of a file in which a whole image has its end marker."""
END_MARKERS = (b"\xff\xd9", b"IEND")
"""Of JPEG and PNG."""
GREY, RGB, PALETTE = 0, 2, 3
"""Colour types as the header of a PNG numbers them."""
COLOUR_TYPES = {GREY: "grey", RGB: "RGB", PALETTE: "palette", 4: "grey and alpha", 6: "RGBA"}


class Images(NamedTuple):
    """Images that one folder must have."""

    where: str
    """Whose images they are, for the sentences."""
    folder: Path
    names: Sequence[str]
    sizes: Sequence[Size]
    """One per name."""
    root: Path
    """The folder that links may not leave, resolved."""
    full: bool
    """Whether pixels are decoded."""
    listing: Mapping[str, bool] | None = None
    """As :func:`list_folder` gives it, where it is already known."""


class UnreadableError(Exception):
    """Why an image or a folder cannot be read, as the end of a sentence."""


def check_images(images: Images) -> Iterator[Problem]:
    """Images that are missing, unreadable, of another size, or links out of the root."""
    try:
        listing = images.listing or list_folder(images.folder, images.root)
    except UnreadableError as error:
        yield Problem("missing", f"{images.where}: the folder {images.folder} {error}")
        return
    for name, size in zip(images.names, images.sizes, strict=True):
        path = images.folder / name
        if problem := find_missing(images.where, path, listing, images.root):
            yield problem
            continue
        try:
            found = read_size(path, images.full)
        except UnreadableError as error:
            yield Problem("unreadable", f"{images.where}: {path} {error}")
            continue
        if found != size:
            yield wrong_size(images.where, path, found, size)


def find_missing(where: str, path: Path, listing: Mapping[str, bool], root: Path) -> Problem | None:
    """The problem of a file that its folder does not list, or that is a link out of ``root``."""
    if path.name not in listing:
        return Problem("missing", f"{where}: {path} is missing")
    if listing[path.name] and not _is_inside(path, root):
        return Problem("path", f"{where}: {path} is a link that leaves {root}")
    return None


def wrong_size(where: str, path: Path, found: Size, size: Size) -> Problem:
    """The problem of a file of another size."""
    return Problem(
        "size", f"{where}: {path} is {found[0]} x {found[1]}, but must be {size[0]} x {size[1]}"
    )


def list_folder(folder: Path, root: Path) -> dict[str, bool]:
    """The names in a folder, each with whether it is a link; one call to the system.

    Raises:
        UnreadableError: it is not there, cannot be listed, or is a link out of ``root``.
    """
    try:
        with os.scandir(folder) as entries:
            listing = {entry.name: entry.is_symlink() for entry in entries}
    except FileNotFoundError:
        raise UnreadableError("is missing") from None
    except (OSError, ValueError) as error:
        raise UnreadableError(f"cannot be listed: {_reason(error)}") from None
    if not _is_inside(folder, root):
        raise UnreadableError(f"is a link that leaves {root}")
    return listing


def resolved(folder: Path) -> Path:
    """Where a folder really is; as it stands if links lead nowhere."""
    try:
        return folder.resolve()
    except (OSError, ValueError, RuntimeError):
        return folder


def _is_inside(path: Path, root: Path) -> bool:
    return resolved(path).is_relative_to(root)


def read_size(path: Path, full: bool = False) -> Size:
    """(height, width) of a JPEG or PNG by its header.

    A file without the end marker of its format is decoded, to see whether it is whole.

    Raises:
        UnreadableError: it cannot be read, is of another format, or ends early.
    """
    try:
        with path.open("rb") as file:
            whole = _has_end(file)
            with Image.open(file, formats=FORMATS) as image:
                if full or not whole:
                    image.load()
                return image.height, image.width
    except UnidentifiedImageError:
        raise UnreadableError(f"is not {' or '.join(FORMATS)}") from None
    except Exception as error:  # the decoders raise all kinds on damaged files
        raise UnreadableError(f"cannot be read: {_reason(error)}") from None


def read_png_header(path: Path) -> tuple[Size, int, int]:
    """(height, width), bit depth and colour type of a PNG.

    Raises:
        UnreadableError: it cannot be read, is no PNG, or ends early.
    """
    try:
        with path.open("rb", buffering=0) as file:
            header = file.read(33)
            whole = _has_end(file)
    except (OSError, ValueError) as error:
        raise UnreadableError(f"cannot be read: {_reason(error)}") from None
    if len(header) < 33 or header[:8] != b"\x89PNG\r\n\x1a\n" or header[12:16] != b"IHDR":
        raise UnreadableError("is not a PNG")
    if not whole:
        raise UnreadableError("is damaged: it ends early")
    width, height, depth, colour = struct.unpack(">IIBB", header[16:26])
    return (height, width), depth, colour


def read_png(path: Path) -> np.ndarray:
    """The pixels of a PNG, uint8 (H, W) or (H, W, 3); of a palette, its indices.

    Raises:
        UnreadableError: it cannot be decoded.
    """
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.verify()  # the checksums, which decoding leaves out
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            return np.asarray(image)
    except Exception as error:  # the decoders raise all kinds on damaged files
        raise UnreadableError(f"is damaged: {_reason(error)}") from None


def _has_end(file: io.BufferedReader | io.FileIO) -> bool:
    """Whether the last bytes hold an end marker; leaves the file at its start."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
    tail = file.read(TAIL)
    file.seek(0)
    return any(marker in tail for marker in END_MARKERS)


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text if text.isprintable() else ascii(text)
