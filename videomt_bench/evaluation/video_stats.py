"""What has to be kept of each video to recompute every score on any selection of videos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.stats_files import load_arrays, multiplicity, save_arrays
from videomt_bench.evaluation.tubes import Flags, Floats, Integers

SCHEMA = 1
AREAS = ("all", "small", "medium", "large")
OCCLUSIONS = ("slight", "moderate", "heavy")
GROUPS = (*AREAS, *OCCLUSIONS)
"""Of objects, each scored with all others ignored; those by occlusion only if there are labels."""
THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_DETECTIONS = 100
"""Kept per video and category."""
DIAGNOSTICS = (
    "recall",
    "recall_first_frame",
    "recall_late",
    "recall_gap",
    "iou_first_quarter",
    "iou_last_quarter",
)


@dataclass(frozen=True, eq=False)
class VideoStats:
    """Sufficient statistics of V videos, C categories and N detections; flat arrays.

    A video's position is its rank by id. Detections are sorted by category, descending score,
    video position and rank, the order in which the official evaluation accumulates them.
    A = groups, which are all of GROUPS or only AREAS; T = thresholds.
    """

    video_ids: Integers
    """(V,) ascending."""
    category_ids: Integers
    """(C,) ascending."""
    category_names: npt.NDArray[np.str_]
    """(C,)"""
    truth_counts: Integers
    """(V, C, A) objects that are not ignored."""
    video: Integers
    """(N,) position of the detection's video."""
    category: Integers
    """(N,) position of the detection's category."""
    rank: Integers
    """(N,) of the detection by score within its video and category, 0 to 99."""
    score: Floats
    """(N,)"""
    matched: Flags
    """(N, A, T) whether the detection has an object."""
    ignored: Flags
    """(N, A, T) whether the detection counts neither way."""
    object_sums: Floats
    """(V, len(DIAGNOSTICS)) sums over the objects of a video (see ``recall``)."""
    object_counts: Integers
    """(V, len(DIAGNOSTICS)) how many objects each sum is over."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the A groups."""
        return GROUPS[: self.truth_counts.shape[2]]

    @cached_property
    def true_positive(self) -> Flags:
        """(N, A, T)"""
        return self.matched & ~self.ignored

    @cached_property
    def false_positive(self) -> Flags:
        """(N, A, T)"""
        return ~self.matched & ~self.ignored

    @cached_property
    def tie_starts(self) -> Integers:
        """First detection of each run that shares category, score and video."""
        keys = (self.category, self.score, self.video)
        changes = [key[1:] != key[:-1] for key in keys]
        return np.flatnonzero(np.concatenate([[True], np.logical_or.reduce(changes)])[: len(self)])

    def __len__(self) -> int:
        return len(self.score)

    def positions(self, video_ids: Iterable[int]) -> list[int]:
        """Positions of videos by id, as ``summarize`` takes them.

        Raises:
            BenchError: an id that is not among the videos.
        """
        position = {int(id_): i for i, id_ in enumerate(self.video_ids)}
        wanted = list(video_ids)
        if missing := [id_ for id_ in wanted if id_ not in position]:
            raise BenchError(f"video {missing[0]} is not among the {len(position)} videos scored")
        return [position[id_] for id_ in wanted]

    def multiplicity(self, videos: Sequence[int] | Integers | None) -> Integers:
        """(V,) how often each video occurs in a multiset of positions; None is each once.

        Raises:
            BenchError: a position outside 0..V-1.
        """
        return multiplicity(videos, len(self.video_ids))

    def save(self, path: Path) -> None:
        """Write one compressed .npz without pickle, whole or not at all.

        Raises:
            BenchError: the folder cannot be written.
        """
        save_arrays(path, SCHEMA, {f.name: getattr(self, f.name) for f in fields(self)})

    @staticmethod
    def load(path: Path) -> VideoStats:
        """Read what ``save`` wrote.

        Raises:
            BenchError: unreadable, damaged, inconsistent or of another schema.
        """
        names = [f.name for f in fields(VideoStats)]
        arrays = load_arrays(path, SCHEMA, names, "video statistics")
        if fault := _fault(arrays):
            raise BenchError(f"{path}: the video statistics are inconsistent ({fault})")
        return VideoStats(**arrays)


def _fault(arrays: dict[str, npt.NDArray[Any]]) -> str | None:
    """The first array that does not fit the others."""
    videos, categories = arrays["video_ids"].shape[:1], arrays["category_ids"].shape[:1]
    groups = arrays["truth_counts"].shape[2:3]
    if groups not in ((len(AREAS),), (len(GROUPS),)):
        return "truth_counts"
    detections, flags = arrays["score"].shape[:1], (*groups, len(THRESHOLDS))
    expected = {
        "video_ids": (videos, "i"),
        "category_ids": (categories, "i"),
        "category_names": (categories, "U"),
        "truth_counts": (videos + categories + groups, "i"),
        "video": (detections, "i"),
        "category": (detections, "i"),
        "rank": (detections, "i"),
        "score": (detections, "f"),
        "matched": (detections + flags, "b"),
        "ignored": (detections + flags, "b"),
        "object_sums": ((*videos, len(DIAGNOSTICS)), "f"),
        "object_counts": ((*videos, len(DIAGNOSTICS)), "i"),
    }
    for name, (shape, kind) in expected.items():
        if arrays[name].shape != shape or arrays[name].dtype.kind != kind:
            return name
    limits = {"video": videos, "category": categories, "rank": (MAX_DETECTIONS,)}
    for name, (limit,) in limits.items():
        if len(arrays[name]) and not (arrays[name].min() >= 0 and arrays[name].max() < limit):
            return name
    if not all(np.isfinite(arrays[name]).all() for name in ("score", "object_sums")):
        return "score or object_sums"
    keys = (arrays["rank"], arrays["video"], np.negative(arrays["score"]), arrays["category"])
    if (np.lexsort(keys) != np.arange(*detections)).any():
        return "the order of the detections"
    return None
