"""Label maps stored as PNG; the files are not trusted."""

from __future__ import annotations

import io
import struct
import zlib
from enum import Enum
from pathlib import Path

import numpy as np
from PIL import Image

from videomt_bench.errors import BenchError

_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGBA"}
"""As the header of a PNG numbers them."""
_HEADER = 33
"""Bytes of the signature and the first chunk."""


class Channels(Enum):
    """What pixels a PNG may have: (colour, bit depth) of the header, and words for an error."""

    ONE = (frozenset({(0, 8), (3, 1), (3, 2), (3, 4), (3, 8)}), "one channel of 8 bits or palette")
    """The values are grey levels, or the indices of a palette."""
    RGB = (frozenset({(2, 8)}), "RGB with 8 bits")


def read_png(path: Path, root: Path, channels: Channels, size: tuple[int, int]) -> np.ndarray:
    """Decode a PNG -> uint8 (H, W) or (H, W, 3).

    Args:
        path: the file.
        root: the folder that it must not leave, not even as a link.
        channels: what pixels it must have.
        size: the (H, W) that it must have.

    Raises:
        BenchError: missing, not a PNG, damaged, outside the folder, of other channels or size.
    """
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise BenchError(f"{path} leaves {root}")
        data = path.read_bytes()
        _check_header(path, data[:_HEADER], channels, size)
        _open(data).verify()  # the checksums, which decoding leaves out
        return np.asarray(_open(data))
    except FileNotFoundError:
        raise BenchError(f"{path} is missing") from None
    except (
        OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, RuntimeError,
        struct.error, zlib.error, Image.DecompressionBombError,
    ) as error:  # fmt: skip
        raise BenchError(f"{path} cannot be read: {error}") from None


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=("PNG",))


def _check_header(path: Path, header: bytes, channels: Channels, size: tuple[int, int]) -> None:
    """Before pixels are decoded, so that a huge image costs nothing.

    The bit depth is checked here because PIL scales grey values of fewer than 8 bits.
    """
    if len(header) < _HEADER or header[:8] != b"\x89PNG\r\n\x1a\n" or header[12:16] != b"IHDR":
        raise BenchError(f"{path} is not a PNG")
    width, height, depth, colour = struct.unpack(">IIBB", header[16:26])
    valid, words = channels.value
    if (colour, depth) not in valid:
        kind = _COLOURS.get(colour, f"colour type {colour}")
        raise BenchError(f"{path} is a PNG of {kind} with {depth} bits; valid: {words}")
    if (height, width) != size:
        raise BenchError(f"{path} is {height} x {width}, but its video is {size[0]} x {size[1]}")
