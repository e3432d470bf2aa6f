"""What has to be kept of each video to recompute VPQ and STQ on any selection of videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.stats_files import load_arrays, multiplicity, save_arrays
from videomt_bench.evaluation.stq import RULES
from videomt_bench.evaluation.tubes import Flags, Floats, Integers
from videomt_bench.evaluation.vpq import WINDOWS

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class PanopticStats:
    """Sufficient statistics of V videos and C categories; a video's position is its rank by name.

    The confusion matrices are sparse: K cells over all videos. W = windows of VPQ, R = rules of
    AQ (see ``stq``).
    """

    video_names: npt.NDArray[np.str_]
    """(V,) ascending."""
    frames: Integers
    """(V,) frames scored."""
    category_ids: Integers
    """(C,) ascending."""
    category_names: npt.NDArray[np.str_]
    """(C,)"""
    is_thing: Flags
    """(C,)"""
    matches: Integers
    """(V, W, C, 3) true positives, false positives, false negatives."""
    iou: Floats
    """(V, W, C) sum over the true positives."""
    cell_video: Integers
    """(K,) position of the cell's video; ascending."""
    cell_truth: Integers
    """(K,) position of the true category."""
    cell_predicted: Integers
    """(K,) position of the predicted category; C is void."""
    cell_pixels: Integers
    """(K,)"""
    association: Floats
    """(V, R) sum of the association quality over true tubes."""
    tubes: Integers
    """(V, R) true tubes of things."""

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
        """(C, C + 1) pixels by true and predicted category; the last column is void."""
        shape = (len(self.category_ids), len(self.category_ids) + 1)
        pixels = self.multiplicity(videos)[self.cell_video] * self.cell_pixels
        cell = self.cell_truth * shape[1] + self.cell_predicted
        flat = np.bincount(cell, pixels, shape[0] * shape[1])
        return flat.astype(np.float64, copy=False).reshape(shape)

    def save(self, path: Path) -> None:
        """Write one compressed .npz without pickle, whole or not at all.

        Raises:
            BenchError: the folder cannot be written.
        """
        save_arrays(path, SCHEMA, {f.name: getattr(self, f.name) for f in fields(self)})

    @staticmethod
    def load(path: Path) -> PanopticStats:
        """Read what ``save`` wrote.

        Raises:
            BenchError: unreadable, damaged, inconsistent or of another schema.
        """
        names = [f.name for f in fields(PanopticStats)]
        arrays = load_arrays(path, SCHEMA, names, "panoptic statistics")
        if fault := _fault(arrays):
            raise BenchError(f"{path}: the panoptic statistics are inconsistent ({fault})")
        return PanopticStats(**arrays)


def _fault(arrays: Mapping[str, npt.NDArray[Any]]) -> str | None:
    """The first array that does not fit the others."""
    videos, categories = arrays["video_names"].shape[:1], arrays["category_ids"].shape[:1]
    cells = arrays["cell_video"].shape[:1]
    by_category = (*videos, len(WINDOWS), *categories)
    expected = {
        "video_names": (videos, "U"),
        "frames": (videos, "i"),
        "category_ids": (categories, "i"),
        "category_names": (categories, "U"),
        "is_thing": (categories, "b"),
        "matches": ((*by_category, 3), "i"),
        "iou": (by_category, "f"),
        "cell_video": (cells, "i"),
        "cell_truth": (cells, "i"),
        "cell_predicted": (cells, "i"),
        "cell_pixels": (cells, "i"),
        "association": ((*videos, len(RULES)), "f"),
        "tubes": ((*videos, len(RULES)), "i"),
    }
    for name, (shape, kind) in expected.items():
        if len(shape) != arrays[name].ndim or arrays[name].shape != shape:
            return name
        if arrays[name].dtype.kind != kind:
            return name
        # the category ids are any numbers
        if kind in "if" and name != "category_ids" and not (arrays[name] >= 0).all():
            return name
    limits = {"cell_video": videos[0], "cell_truth": categories[0]}
    for name, limit in (limits | {"cell_predicted": categories[0] + 1}).items():
        if (arrays[name] >= limit).any():
            return name
    for name in ("video_names", "category_ids"):
        if (arrays[name][1:] <= arrays[name][:-1]).any():
            return f"the order of {name}"
    # an IoU and an association quality are at most one
    for name, limit in {"iou": arrays["matches"][..., 0], "association": arrays["tubes"]}.items():
        if not (arrays[name] <= limit * (1 + 1e-9)).all():
            return name
    return None
