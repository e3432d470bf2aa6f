"""The VSPW layout: a list of videos per split, and a PNG of classes for every frame.

A pixel of ``data/VIDEO/mask/FRAME.png`` is a class + 1; some values stand for no class.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from videomt_bench.data.classes import VIPSEG, PanopticCategory
from videomt_bench.data.document import is_plain_name
from videomt_bench.data.frames import image_size
from videomt_bench.data.pngs import Channels, read_png
from videomt_bench.data.sources import Objects
from videomt_bench.errors import BenchError

IGNORED = (0, 253, 254, 255)
"""Values without a class. Official are 0 and 255; public readers of the release meet the others."""


@dataclass(frozen=True)
class SemanticVideo:
    """One video. The layout says no size: that of the first frame is read when it is needed."""

    name: str
    root: Path
    """The folder of all videos."""
    file_names: list[str]
    annotated: bool

    @property
    def height(self) -> int:
        """Pixels."""
        return self._size[0]

    @property
    def width(self) -> int:
        """Pixels."""
        return self._size[1]

    @cached_property
    def _size(self) -> tuple[int, int]:
        return image_size(self.root / self.file_names[0], self.root, self.name)


@dataclass(frozen=True)
class SemanticIndex:
    """The videos of a split; images and PNGs stay encoded until somebody asks for them."""

    path: Path
    frames_root: Path
    videos: list[SemanticVideo]
    categories: Sequence[PanopticCategory] = VIPSEG
    """Things, then stuff."""
    _labels: np.ndarray = field(init=False, repr=False, compare=False)
    """Value of a PNG -> contiguous class index, -1 for none and -2 for no valid value."""

    def __post_init__(self) -> None:
        labels = np.full(256, -2, dtype=np.int16)
        labels[list(IGNORED)] = -1
        for label, category in enumerate(self.categories):
            labels[category.id + 1] = label
        object.__setattr__(self, "_labels", labels)

    @property
    def annotated(self) -> bool:
        """Whether the videos have masks at all."""
        return all(video.annotated for video in self.videos)

    def has_objects(self, video: SemanticVideo) -> bool:
        """Whether the video has masks."""
        return video.annotated

    def load_labels(self, video: SemanticVideo, frame: int) -> np.ndarray:
        """Contiguous class indices int (height, width) of a frame, -1 for none.

        Raises:
            BenchError: a PNG that is missing, damaged, not of one channel, of another size than its
                video, with values that are no class, or a link that leaves its folder.
        """
        image = PurePosixPath(video.file_names[frame])
        path = self.frames_root / video.name / "mask" / f"{image.stem}.png"
        size = (video.height, video.width)
        values = read_png(path, self.frames_root, Channels.ONE, size)
        labels = self._labels[values]
        if (labels == -2).any():
            value = int(values[labels == -2][0])
            valid = f"{', '.join(map(str, IGNORED))} and classes from 1 to {len(self.categories)}"
            raise BenchError(f"{path} has the value {value}; valid: {valid}")
        return labels

    def load_objects(self, video: SemanticVideo, indices: Sequence[int] | np.ndarray) -> Objects:
        """One object for every class that has a pixel in any of the frames, by class index.

        Raises:
            BenchError: as :meth:`load_labels`.
        """
        maps = np.stack([self.load_labels(video, int(t)) for t in indices])
        seen = np.zeros((len(self.categories) + 1, len(indices)), dtype=bool)
        for position, labels in enumerate(maps):
            seen[np.bincount(labels.ravel() + 1, minlength=len(seen)) > 0, position] = True
        classes = np.flatnonzero(seen[1:].any(1))
        numbers = np.zeros(len(seen), dtype=np.uint8)
        numbers[classes + 1] = np.arange(1, len(classes) + 1)
        return Objects(classes, numbers[maps + 1][None], seen[classes + 1])


def read_vspw(list_path: Path, frames_root: Path) -> SemanticIndex:
    """The videos of a list, with the names of their frames; no image is opened.

    A video without a folder ``mask``, as in a test split, is not annotated.

    Raises:
        BenchError: no list or an empty one, a name that is no single folder or repeats, a video
            without frames, a frame without mask or a mask without frame, or a link that leaves
            ``frames_root``.
    """
    videos: dict[str, SemanticVideo] = {}
    for name in _read_list(list_path):
        if name in videos:
            raise BenchError(f"{list_path} lists video {name!r} twice")
        videos[name] = _video(frames_root, name)
    return SemanticIndex(list_path, frames_root, list(videos.values()))


def _read_list(path: Path) -> list[str]:
    """Names, one a line. The last line counts with or without its newline."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise BenchError(f"{path} is not a text file in UTF-8") from None
    names = [line.strip() for line in lines if line.strip()]
    for name in names:
        if not is_plain_name(name):
            raise BenchError(f"{path} has the line {name[:60]!r}, which is no folder name")
    if not names:
        raise BenchError(f"{path} lists no videos")
    return names


def _video(root: Path, name: str) -> SemanticVideo:
    frames = _stems(root / name / "origin", root, ".jpg")
    if not frames:
        raise BenchError(f"{root / name / 'origin'} has no frames")
    masks = root / name / "mask"
    annotated = masks.is_dir()
    if annotated and (odd := set(frames) ^ set(_stems(masks, root, ".png"))):
        lacking = "mask" if min(odd) in frames else "frame"
        raise BenchError(
            f"video {name!r} in {root} has no {lacking} {min(odd)!r} "
            f"({len(odd)} frames lack one or the other)"
        )
    return SemanticVideo(name, root, [f"{name}/origin/{stem}.jpg" for stem in frames], annotated)


def _stems(folder: Path, root: Path, suffix: str) -> list[str]:
    """The names of the files of a folder without their suffix, sorted; hidden files are none."""
    try:
        if not folder.resolve().is_relative_to(root.resolve()):
            raise BenchError(f"{folder} leaves {root}")
        names = os.listdir(folder)
    except (OSError, RuntimeError) as error:
        raise BenchError(f"cannot list {folder}: {getattr(error, 'strerror', error)}") from None
    own = (name for name in names if name.endswith(suffix) and not name.startswith("."))
    return sorted(name[: -len(suffix)] for name in own)
