"""Video AP on many multisets of videos at once.

A detection of a video that is drawn k times counts k times in a row. Within such a run of true
positives precision only rises, so the envelope of precision is decided at its end, and cumulative
sums of multiplicities give it for all draws together. Only detections of one video that share
category and score take turns in their copies; those are spelled out copy by copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from videomt_bench.evaluation.tubes import Flags, Integers
from videomt_bench.evaluation.video_ap import AP50, AP75, MAX_PER_VIDEO, RECALLS
from videomt_bench.evaluation.video_stats import DIAGNOSTICS, THRESHOLDS, VideoStats
from videomt_bench.report.statistics.estimates import Times
from videomt_bench.report.statistics.resampling import (
    Ratios,
    Resampler,
    Scores,
    Table,
    chunked,
    mean_where,
    ratio,
)

EVERY = 0
"""The position of all objects among the groups of objects."""
LEAST_DRAWS, MOST_DRAWS, ELEMENTS = 64, 2048, 1 << 20
"""How many draws are computed at once: about so many elements for the largest category."""
Counts = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class InstanceResampler:
    """AP, AP50, AP75, average recalls and the object diagnostics, in percent."""

    stats: VideoStats

    @property
    def videos(self) -> tuple[str, ...]:
        """The ids of the videos."""
        return tuple(str(id_) for id_ in self.stats.video_ids)

    @property
    def truth(self) -> bytes:
        """Equal for runs that were scored against the same truth."""
        stats = self.stats
        parts = (stats.video_ids, stats.category_ids, stats.truth_counts[:, :, EVERY])
        return b"|".join(np.ascontiguousarray(part).tobytes() for part in parts)

    def scores(self, times: Times) -> Scores:
        """See :class:`videomt_bench.report.statistics.resampling.Resampler`."""
        largest = max((len(category.video) for category in self._categories), default=0)
        at_once = min(MOST_DRAWS, max(LEAST_DRAWS, ELEMENTS // max(largest, 1)))
        return chunked(self._precisions, times, at_once) | self._sums.scores(times)

    def beside(self, other: Resampler) -> InstanceResampler:
        """See :class:`videomt_bench.report.statistics.resampling.Resampler`.

        Detections of equal score keep the order that they have in a run of their own.
        """
        assert isinstance(other, InstanceResampler)
        a, b = self.stats, other.stats
        videos = len(a.video_ids)
        names = ("truth_counts", "category", "rank", "score", "matched", "ignored",
                 "object_sums", "object_counts")  # fmt: skip
        both = {n: np.concatenate([getattr(a, n), getattr(b, n)]) for n in names}
        both["video"] = np.concatenate([a.video, b.video + videos])
        own = np.concatenate([a.video, b.video])
        order = np.lexsort((both["rank"], both["video"], own, -both["score"], both["category"]))
        for name in ("video", "category", "rank", "score", "matched", "ignored"):
            both[name] = both[name][order]
        return InstanceResampler(replace(a, video_ids=np.arange(2 * videos), **both))

    def _precisions(self, times: npt.NDArray[np.generic]) -> Scores:
        """AP, AP50 and AP75 of one chunk of draws."""
        counts = np.ascontiguousarray(times.T, np.int32)
        objects = (times @ self.stats.truth_counts[:, :, EVERY].astype(np.float64)).astype(int)
        total = np.zeros((len(THRESHOLDS), counts.shape[1]))
        for category in self._categories:
            total += category.precision(counts, objects[:, category.position])
        counted = (objects > 0).sum(1)
        total = 100 * ratio(total, np.broadcast_to(counted, total.shape))
        return {"AP": total.mean(0), "AP50": total[AP50], "AP75": total[AP75]}

    @cached_property
    def _categories(self) -> list[_Category]:
        return list(_categories(self.stats))

    @cached_property
    def _sums(self) -> Ratios:
        """Average recalls and diagnostics, which are functions of sums."""
        stats = self.stats
        objects = stats.truth_counts[:, :, EVERY].astype(np.float64)
        hits = stats.true_positive[:, EVERY].sum(1)
        place = stats.video * objects.shape[1] + stats.category
        found = [
            np.bincount(place, hits * (stats.rank < k), objects.size).reshape(objects.shape)
            for k in MAX_PER_VIDEO.values()
        ]
        table = np.concatenate([objects, *found, stats.object_sums, stats.object_counts], 1)
        return Ratios(self.videos, table, _sum_scores, b"")


def _sum_scores(sums: Table) -> Scores:
    parts, diagnostics = len(MAX_PER_VIDEO) + 1, len(DIAGNOSTICS)
    classes = (sums.shape[1] - 2 * diagnostics) // parts
    objects, *found = np.split(sums[:, : parts * classes], parts, 1)
    scores = {
        name: mean_where(hits / np.maximum(objects, 1) / len(THRESHOLDS), objects > 0)
        for name, hits in zip(MAX_PER_VIDEO, found, strict=True)
    }
    values, counts = np.split(sums[:, parts * classes :], 2, 1)
    scores |= dict(zip(DIAGNOSTICS, ratio(values, counts).T, strict=True))
    return {name: 100 * values for name, values in scores.items()}


@dataclass(frozen=True, eq=False)
class _Category:
    """The detections of one category in descending score; n of them."""

    position: int
    """Among the categories."""
    video: Integers
    """(n,)"""
    hit: Flags
    """(n, T) true positives."""
    kept: Flags
    """(n, T) true and false positives: what is not ignored."""
    takes_turns: Flags
    """(n,) whether the copies take turns with those of others of equal score and video."""
    first: Integers
    """(n,) where they do, the first of those detections; else the detection itself."""

    def precision(self, counts: Counts, objects: Integers) -> Table:
        """(T, D) average precision; 0 where there are no objects.

        Args:
            counts: (V, D) how often each video is drawn.
            objects: (D,) true objects on the drawn videos.
        """
        average = np.zeros((self.hit.shape[1], counts.shape[1]))
        detection, weights = self._spelled_out(counts)
        hit, kept = self.hit[detection], self.kept[detection]
        most = weights[hit.any(1)].sum(0, dtype=np.int64).max(initial=0)
        reached = _Reached(objects, int(most))
        seen_by: dict[bytes, Counts] = {}
        for t in range(hit.shape[1]):
            rows = np.flatnonzero(hit[:, t])
            if not len(rows):
                continue
            key = kept[:, t].tobytes()
            if key not in seen_by:
                seen_by[key] = np.cumsum(weights * kept[:, t, None], axis=0, dtype=np.int32)
            true = np.cumsum(weights[rows], axis=0, dtype=np.int32)
            # the spacing is that of the official script: no division by zero
            precision = true / (seen_by[key][rows] + np.spacing(1))
            envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
            points = np.diff(reached(true), axis=0, prepend=0.0)
            average[t] = np.einsum("nd,nd->d", envelope, points)
        return np.where(objects > 0, average / len(RECALLS), 0.0)

    def _spelled_out(self, counts: Counts) -> tuple[Integers, Counts]:
        """Which detection each of N rows is, and (N, D) how often it counts there."""
        rows = np.arange(len(self.video))
        if not self.takes_turns.any():
            return rows, counts[self.video]
        copies = np.where(self.takes_turns, int(counts.max()), 1)
        detection = np.repeat(rows, copies)
        turn = np.arange(len(detection)) - np.repeat(np.cumsum(copies) - copies, copies)
        order = np.lexsort((detection, turn, self.first[detection]))
        detection, turn = detection[order], turn[order]
        weights = counts[self.video[detection]]
        once = weights > turn[:, None]
        return detection, np.where(self.takes_turns[detection][:, None], once, weights)


class _Reached:
    """How many points of the recall grid are reached, by true positives and objects of a draw."""

    def __init__(self, objects: Integers, most: int) -> None:
        """Prepare for up to ``most`` true positives; ``objects`` is (D,)."""
        totals, row = np.unique(np.maximum(objects, 1), return_inverse=True)
        recall = np.arange(most + 1) / totals[:, None]
        points = np.searchsorted(RECALLS, recall, side="right").astype(np.float64)
        points[:, 0] = 0  # without a true positive not even that of recall 0
        self._table = points.reshape(-1)
        self._start = row.reshape(-1) * (most + 1)

    def __call__(self, true: Counts) -> Table:
        """(h, D) points reached by (h, D) true positives so far."""
        return self._table[self._start + true]


def _categories(stats: VideoStats) -> Iterator[_Category]:
    """The categories that have objects."""
    bounds = np.searchsorted(stats.category, np.arange(len(stats.category_ids) + 1))
    hit, kept = stats.true_positive[:, EVERY], ~stats.ignored[:, EVERY]
    length = np.diff(stats.tie_starts, append=len(stats))
    hits = np.repeat(np.bincount(np.repeat(np.arange(len(length)), length), hit.any(1)), length)
    takes_turns = (np.repeat(length, length) > 1) & (hits > 0)
    first = np.where(takes_turns, np.repeat(stats.tie_starts, length), np.arange(len(stats)))
    for c, (low, high) in enumerate(pairwise(bounds)):
        if stats.truth_counts[:, c, EVERY].any():
            part = slice(low, high)
            own = (takes_turns[part], first[part] - low)
            yield _Category(c, stats.video[part], hit[part], kept[part], *own)
