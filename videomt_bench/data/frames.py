"""Frames of a video, from image files to uint8 arrays; the files are not trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from videomt_bench.errors import BenchError

FORMATS = ("JPEG", "PNG")
"""Others are refused: PIL starts outside programs for some."""


class FrameFiles(Protocol):
    """The frames of a video as files of one size."""

    @property
    def name(self) -> str:
        """Names the video in an error."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def file_names(self) -> Sequence[str]:
        """Relative to the folder of the frames, in order."""


def read_frames(
    video: FrameFiles,
    frames_root: Path,
    indices: Sequence[int] | np.ndarray,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Decode frames -> RGB uint8 (T, h, w, 3). A frame asked for again is decoded once.

    ``size`` is (h, w): frames are resized to it bilinearly by PIL, on uint8, as the official
    inference does; without it they keep the size of the video.

    Raises:
        BenchError: a frame is missing, damaged, of another size than its video, or a link that
            leaves ``frames_root``.
    """
    height, width = size or (video.height, video.width)
    frames = np.empty((len(indices), height, width, 3), dtype=np.uint8)
    root = frames_root.resolve()
    positions: dict[int, int] = {}
    for position, index in enumerate(indices):
        earlier = positions.setdefault(int(index), position)
        if earlier < position:
            frames[position] = frames[earlier]
            continue
        path = frames_root / video.file_names[index]
        _check_link(path, root, video.name)
        frames[position] = np.asarray(_read(path, video, (width, height)))
    return frames


def image_size(path: Path, frames_root: Path, video: str) -> tuple[int, int]:
    """Height and width of a frame, from its header alone.

    Raises:
        BenchError: as :func:`read_frames`.
    """
    _check_link(path, frames_root.resolve(), video)
    with _opened(path, video) as image:
        return image.height, image.width


def _read(path: Path, video: FrameFiles, size: tuple[int, int]) -> Image.Image:
    """One RGB image, resized to ``size`` = (width, height) where it differs."""
    with _opened(path, video.name) as image:
        # before the pixels are decoded: a huge image costs nothing
        if image.size != (video.width, video.height):
            raise BenchError(
                f"the frame {path} is {image.height} x {image.width}, but its video "
                f"{video.name!r} is {video.height} x {video.width}"
            )
        rgb = image.convert("RGB")
    return rgb if rgb.size == size else rgb.resize(size, Image.Resampling.BILINEAR)


@contextmanager
def _opened(path: Path, video: str) -> Iterator[Image.Image]:
    """An image, its pixels not decoded; an error on the way becomes a :class:`BenchError`."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except FileNotFoundError:
        raise BenchError(f"the frame {path} of video {video!r} is missing") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BenchError(f"the frame {path} of video {video!r} cannot be read: {error}") from None


def _check_link(path: Path, root: Path, video: str) -> None:
    if not path.resolve().is_relative_to(root):
        raise BenchError(f"the frame {path} of video {video!r} leaves {root}")
