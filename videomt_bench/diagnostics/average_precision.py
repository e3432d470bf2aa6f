"""Video AP of linked or relabelled tracks, and of kinds of objects, as per-video statistics.

The rules are those of ``evaluation.video_ap``, which does the counting; nothing is decoded again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from videomt_bench.diagnostics.case import VideoCase
from videomt_bench.diagnostics.groups import Groups
from videomt_bench.diagnostics.tracks import Tracks
from videomt_bench.evaluation.matching import (
    AREA_LIMITS,
    Detections,
    VideoResult,
    judge,
    object_area,
)
from videomt_bench.evaluation.tubes import Flags, Floats, Integers
from videomt_bench.evaluation.video_ap import Comparison, category_scores
from videomt_bench.evaluation.video_stats import DIAGNOSTICS, MAX_DETECTIONS, VideoStats

NO_GROUPS = Groups((), {})


@dataclass(frozen=True, eq=False)
class GroupStats(VideoStats):
    """Statistics of all objects and of any groups of them, A = 1 + B."""

    names: tuple[str, ...] = ("all",)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the A groups."""
        return self.names

    def of_all(self) -> GroupStats:
        """The statistics of all objects alone."""
        return replace(
            self,
            names=self.names[:1],
            truth_counts=self.truth_counts[:, :, :1],
            matched=self.matched[:, :1],
            ignored=self.ignored[:, :1],
        )

    def average_precision(self, videos: Sequence[int] | Integers | None = None) -> Floats:
        """(A,) AP on a multiset of video positions; nan where a group has no object.

        Raises:
            BenchError: a position that does not exist.
        """
        scores = category_scores(self, videos)
        counted = scores.objects > 0
        return np.array(
            [
                precision[:, kept].mean() if kept.any() else np.nan
                for precision, kept in zip(scores.precision, counted, strict=True)
            ]
        )


def draws_of_all(stats: GroupStats, times: Integers) -> Floats:
    """(D,) AP of all objects on D multisets of videos; ``times`` (D, V): how often each occurs."""
    positions = np.arange(times.shape[1])
    return np.array([stats.average_precision(np.repeat(positions, row))[0] for row in times])


def video_result(tracks: Tracks, categories: int, groups: Groups = NO_GROUPS) -> VideoResult:
    """Match the best 100 tracks per category with the objects; of all objects, then by group."""
    case = tracks.case
    order, rank = _best(tracks)
    size = 1 + len(groups.groups)
    detections = Detections.unmatched(
        tracks.category[order].tolist(), rank.tolist(), tracks.score[order].tolist(), size
    )
    members = np.ones((len(case.objects), size), bool)
    outside = np.zeros((len(order), size), bool)
    if groups.groups:
        members[:, 1:] = groups.members[case.video.id]
        outside[:, 1:] = groups.outside(tracks.mean_area[order], case.video)
    ignored = _never_counted(case)[:, None] | ~members
    counts = np.zeros((categories, size), np.int64)
    np.add.at(counts, case.truth_category, ~ignored)
    judge(detections, tracks.iou[order], outside, case.truth_category, case.crowd, ignored)
    nothing = np.zeros(len(DIAGNOSTICS))
    return VideoResult(detections, counts, nothing, nothing.astype(np.int64))


def group_stats(
    comparison: Comparison, results: Mapping[int, VideoResult], groups: Groups = NO_GROUPS
) -> GroupStats:
    """The statistics of all videos."""
    stats = comparison.stats(results)
    names = ("all", *(f"{group.kind}: {group.label}" for group in groups.groups))
    return GroupStats(**{f.name: getattr(stats, f.name) for f in fields(VideoStats)}, names=names)


def _never_counted(case: VideoCase) -> Flags:
    """(G,) crowds, and objects beyond the official range of areas, which only annotations reach."""
    objects = zip(case.objects, case.truth_tubes, strict=True)
    area = np.array([object_area(*known) for known in objects], np.float64)
    return case.crowd | (area < AREA_LIMITS[0, 0]) | (area > AREA_LIMITS[0, 1])


def _best(tracks: Tracks) -> tuple[Integers, Integers]:
    """The tracks kept, by category and rank, and their ranks."""
    order = np.lexsort((-tracks.score, tracks.category))
    category = tracks.category[order]
    rank = np.arange(len(order)) - np.searchsorted(category, category)
    kept = rank < MAX_DETECTIONS
    return order[kept], rank[kept]
