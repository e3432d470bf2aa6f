"""What has to be kept of each video to recompute mIoU and mVC on any selection of videos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.consistency import WINDOWS
from videomt_bench.evaluation.stats_files import load_arrays, multiplicity, save_arrays

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SCHEMA = 1
CLASSES = 124
"""Of VSPW."""
OUTSIDE = CLASSES
"""Column of predicted values that are no class: misses of the true class, hits of none."""


@dataclass(frozen=True, eq=False)
class SemanticStats:
    """Sufficient statistics of V videos; flat arrays. A video's position is its rank by name.

    The confusion matrices are sparse: K cells over all videos. Windows are counted apart by
    whether they end at the last frame, because the official script leaves those out.
    """

    video_names: npt.NDArray[np.str_]
    """(V,) ascending."""
    frames: Integers
    """(V,) frames scored."""
    skipped_frames: Integers
    """(V,) frames left out by a lenient reading."""
    cell_video: Integers
    """(K,) position of the cell's video; ascending."""
    cell_truth: Integers
    """(K,) true class."""
    cell_predicted: Integers
    """(K,) predicted class, or OUTSIDE."""
    cell_pixels: Integers
    """(K,)"""
    window_sums: Floats
    """(V, len(WINDOWS), 2) sums of VC over windows that end before, and at, the last frame."""
    window_counts: Integers
    """(V, len(WINDOWS), 2) how many windows each sum is over; those of 0/0 are not counted."""

    def positions(self, video_names: Iterable[str]) -> list[int]:
        """Positions of videos by name, as ``summarize`` takes them.

        Raises:
            BenchError: a name that is not among the videos.
        """
        position = {str(name): i for i, name in enumerate(self.video_names)}
        wanted = list(video_names)
        if missing := [name for name in wanted if name not in position]:
            raise BenchError(f"video {missing[0]!r} is not among the {len(position)} videos scored")
        return [position[name] for name in wanted]

    def multiplicity(self, videos: Sequence[int] | Integers | None) -> Integers:
        """(V,) how often each video occurs in a multiset of positions; None is each once.

        Raises:
            BenchError: a position outside 0..V-1.
        """
        return multiplicity(videos, len(self.video_names))

    def confusion(self, videos: Sequence[int] | Integers | None = None) -> Floats:
        """(CLASSES, CLASSES + 1) pixels by true and predicted class; the last column is OUTSIDE."""
        pixels = self.multiplicity(videos)[self.cell_video] * self.cell_pixels
        cell = self.cell_truth * (CLASSES + 1) + self.cell_predicted
        flat = np.bincount(cell, pixels, minlength=CLASSES * (CLASSES + 1))
        return flat.astype(np.float64, copy=False).reshape(CLASSES, CLASSES + 1)

    def save(self, path: Path) -> None:
        """Write one compressed .npz without pickle, whole or not at all.

        Raises:
            BenchError: the folder cannot be written.
        """
        save_arrays(path, SCHEMA, {f.name: getattr(self, f.name) for f in fields(self)})

    @staticmethod
    def load(path: Path) -> SemanticStats:
        """Read what ``save`` wrote.

        Raises:
            BenchError: unreadable, damaged, inconsistent or of another schema.
        """
        names = [f.name for f in fields(SemanticStats)]
        arrays = load_arrays(path, SCHEMA, names, "semantic statistics")
        if fault := _fault(arrays):
            raise BenchError(f"{path}: the semantic statistics are inconsistent ({fault})")
        return SemanticStats(**arrays)


def _fault(arrays: dict[str, npt.NDArray[Any]]) -> str | None:
    """The first array that does not fit the others."""
    videos, cells = arrays["video_names"].shape[:1], arrays["cell_video"].shape[:1]
    windows = (*videos, len(WINDOWS), 2)
    expected = {
        "video_names": (videos, "U"),
        "frames": (videos, "i"),
        "skipped_frames": (videos, "i"),
        "cell_video": (cells, "i"),
        "cell_truth": (cells, "i"),
        "cell_predicted": (cells, "i"),
        "cell_pixels": (cells, "i"),
        "window_sums": (windows, "f"),
        "window_counts": (windows, "i"),
    }
    for name, (shape, kind) in expected.items():
        if arrays[name].shape != shape or arrays[name].dtype.kind != kind:
            return name
    limits = {"cell_video": videos[0], "cell_truth": CLASSES, "cell_predicted": CLASSES + 1}
    for name, limit in limits.items():
        if (arrays[name] >= limit).any():
            return name
    for name in set(expected) - {"video_names"}:
        if not (arrays[name] >= 0).all():
            return name
    if (arrays["video_names"][1:] <= arrays["video_names"][:-1]).any():
        return "the order of the videos"
    # VC is at most one
    if not (arrays["window_sums"] <= arrays["window_counts"] * (1 + 1e-9)).all():
        return "window_sums"
    return None
