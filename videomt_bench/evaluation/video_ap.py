"""Video AP and AR as YouTube-VIS defines them (Yang et al., Video Instance Segmentation, 2019).

``evaluate_videos`` compares masks, once; ``summarize`` turns the statistics it returns into the
scores of any multiset of videos, which is what a bootstrap needs. Scores are fractions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.matching import Detections, VideoResult, compare_video
from videomt_bench.evaluation.recall import summarize_objects
from videomt_bench.evaluation.tubes import Floats, Integers
from videomt_bench.evaluation.video_stats import (
    AREAS,
    DIAGNOSTICS,
    GROUPS,
    MAX_DETECTIONS,
    THRESHOLDS,
    VideoStats,
)
from videomt_bench.evaluation.ytvis_files import Owned, Prediction, Truth

RECALLS = np.linspace(0, 1, 101)
MAX_PER_VIDEO = {"AR1": 1, "AR10": 10, "AR100": MAX_DETECTIONS}
"""Detections per video and category that an average recall looks at."""
AP50, AP75 = 0, 5
"""Positions in THRESHOLDS."""
SUFFIXES = ("", "s", "m", "l", "_so", "_mo", "_ho")
"""In names of scores, for each of GROUPS."""


class Scores(NamedTuple):
    """Scores per category; only where ``objects`` is not 0 have they a meaning."""

    precision: Floats
    """(A, T, C) mean precision over the recall grid."""
    recall: dict[int, Floats]
    """(A, T, C) final recall by the number of detections per video and category."""
    objects: Integers
    """(A, C) objects that count."""


class Comparison:
    """Compares the predictions of one video after the other, in any order, with the truth."""

    def __init__(self, truth: Truth) -> None:
        """Prepare.

        Raises:
            BenchError: no video or no category, or an object of an unknown video or category.
        """
        if not truth.videos or not truth.categories:
            raise BenchError("the truth has no videos or no categories: there is nothing to score")
        self.truth = truth
        self._category_ids = sorted(truth.categories)
        self._position = {id_: i for i, id_ in enumerate(self._category_ids)}
        self._objects = by_video(truth, truth.objects)
        labelled = any(object_.occlusion is not None for object_ in truth.objects)
        self._groups = len(GROUPS if labelled else AREAS)

    def compare(self, video_id: int, predictions: Sequence[Prediction]) -> VideoResult:
        """Match all predictions of a video with its objects.

        Raises:
            BenchError: an unknown video, or a prediction of another video or an unknown
                category, with a score that is not finite, or with masks that are damaged or do
                not fit the video.
        """
        by_video(self.truth, predictions)
        if others := {p.video_id for p in predictions} - {video_id}:
            raise BenchError(f"a prediction of video {others.pop()} among those of {video_id}")
        if video_id not in self.truth.videos:
            raise BenchError(f"video {video_id} is not among the truth's videos")
        video, objects = self.truth.videos[video_id], self._objects[video_id]
        return compare_video(video, objects, predictions, self._position, self._groups)

    def stats(self, results: Mapping[int, VideoResult]) -> VideoStats:
        """The statistics of all videos of the truth, from what ``compare`` returned for each.

        Raises:
            BenchError: a video of the truth that is missing.
        """
        video_ids = sorted(self.truth.videos)
        if missing := [id_ for id_ in video_ids if id_ not in results]:
            raise BenchError(
                f"{len(missing)} of the truth's {len(video_ids)} videos have no result; "
                f"the first is video {missing[0]}"
            )
        videos = [results[id_] for id_ in video_ids]
        columns = zip(*(video.detections for video in videos), strict=True)
        every = Detections(*(np.concatenate(column) for column in columns))
        owner = np.repeat(np.arange(len(videos)), [len(video.detections.score) for video in videos])
        order = np.lexsort((every.rank, owner, -every.score, every.category))
        names = [self.truth.categories[id_] for id_ in self._category_ids]
        return VideoStats(
            video_ids=np.array(video_ids, np.int64),
            category_ids=np.array(self._category_ids, np.int64),
            category_names=np.array(names, np.str_),
            truth_counts=np.stack([video.truth_counts for video in videos]),
            video=owner[order],
            **{name: column[order] for name, column in every._asdict().items()},
            object_sums=np.stack([video.object_sums for video in videos]),
            object_counts=np.stack([video.object_counts for video in videos]),
        )


def evaluate_videos(
    truth: Truth,
    predictions: Iterable[Prediction],
    on_progress: Callable[[int, int], None] | None = None,
) -> VideoStats:
    """Match the predictions of every video of ``truth`` with its objects.

    ``on_progress`` is called with (videos done, videos in all).

    Raises:
        BenchError: see :class:`Comparison`.
    """
    comparison, results = Comparison(truth), {}
    found = by_video(truth, predictions)
    for done, id_ in enumerate(truth.videos, 1):
        results[id_] = comparison.compare(id_, found[id_])
        if on_progress is not None:
            on_progress(done, len(truth.videos))
    return comparison.stats(results)


def summarize(
    stats: VideoStats, videos: Sequence[int] | Integers | None = None
) -> dict[str, float | None]:
    """AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm and ARl on a selection of videos.

    Where the truth has occlusion labels, also AP_so, AP_mo, AP_ho, AR_so, AR_mo and AR_ho: of
    slightly, moderately and heavily occluded objects (see ``occlusion``).

    Args:
        stats: of all videos.
        videos: positions of the selected ones, with repeats; None takes each once. The result
            is the one of evaluating the copies as videos of their own, by ascending position.

    Returns:
        The scores, None where no object counts.

    Raises:
        BenchError: a position that does not exist.
    """
    scores = category_scores(stats, videos)
    counted = scores.objects > 0

    def mean(values: Floats, group: int = 0) -> float | None:
        """Over thresholds and the categories with an object in the group."""
        return float(values[..., counted[group]].mean()) if counted[group].any() else None

    precision, all_kept = scores.precision, scores.recall[MAX_DETECTIONS]
    named = dict(zip(SUFFIXES, range(len(stats.groups)), strict=False))
    summary = {f"AP{suffix}": mean(precision[a], a) for suffix, a in named.items()}
    summary |= {"AP50": mean(precision[0, AP50]), "AP75": mean(precision[0, AP75])}
    summary |= {name: mean(scores.recall[k][0]) for name, k in MAX_PER_VIDEO.items()}
    return summary | {f"AR{s}": mean(all_kept[a], a) for s, a in named.items() if s}


def per_category(
    stats: VideoStats, videos: Sequence[int] | Integers | None = None
) -> dict[int, dict[str, float | None]]:
    """AP, AP50, AP75, AR1, AR10 and the number of objects ``n`` of every category, by its id.

    Raises:
        BenchError: a position that does not exist.
    """
    scores = category_scores(stats, videos)
    columns = {
        "AP": scores.precision[0].mean(0),
        "AP50": scores.precision[0, AP50],
        "AP75": scores.precision[0, AP75],
        "AR1": scores.recall[1][0].mean(0),
        "AR10": scores.recall[10][0].mean(0),
    }
    table: dict[int, dict[str, float | None]] = {}
    for c, id_ in enumerate(stats.category_ids.tolist()):
        n = int(scores.objects[0, c])
        table[id_] = {key: float(values[c]) if n else None for key, values in columns.items()}
        table[id_]["n"] = n
    return table


def per_video(stats: VideoStats) -> dict[int, dict[str, float | None]]:
    """The scores of every video on its own, by its id.

    AP, AP50, AP75, AR1, AR10, how many objects ``n`` and ``detections`` there are, and the
    diagnostics of ``recall``. The AP of a data set is not the mean of these.
    """
    objects = stats.truth_counts[:, :, 0].sum(1)
    detections = np.bincount(stats.video, minlength=len(stats.video_ids))
    table: dict[int, dict[str, float | None]] = {}
    for i, id_ in enumerate(stats.video_ids.tolist()):
        scores, diagnostics = summarize(stats, [i]), summarize_objects(stats, [i])
        table[id_] = {name: scores[name] for name in ("AP", "AP50", "AP75", "AR1", "AR10")}
        table[id_] |= {"n": int(objects[i]), "detections": int(detections[i])}
        table[id_] |= {name: diagnostics[name] for name in DIAGNOSTICS}
    return table


def category_scores(stats: VideoStats, videos: Sequence[int] | Integers | None = None) -> Scores:
    """The scores of every category on a multiset of video positions (see ``summarize``).

    The envelope of the precision at any recall is the largest precision at this or a later true
    positive, so only true positives are followed.
    """
    times = stats.multiplicity(videos)
    objects = np.tensordot(times, stats.truth_counts, 1).T
    shape = (len(stats.groups), len(THRESHOLDS), len(stats.category_ids))
    total = np.repeat(objects, shape[1], 0).reshape(-1)
    hits = _hits(stats, _accumulated(stats, times))

    precision = _envelope(hits.true / (hits.false + hits.true + np.spacing(1)), hits.group)
    reached = np.searchsorted(RECALLS, hits.true / total[hits.group], side="right")
    reached_before = np.where(hits.true == 1, 0, np.roll(reached, 1))
    weighted = precision * (reached - reached_before)
    average = np.bincount(hits.group, weighted, len(total)) / len(RECALLS)

    found = {
        k: np.bincount(hits.group[hits.rank < k], minlength=len(total))
        for k in MAX_PER_VIDEO.values()
    }
    recall = {k: (n / np.maximum(total, 1)).reshape(shape) for k, n in found.items()}
    return Scores(average.reshape(shape), recall, objects)


class _Hits(NamedTuple):
    """True positives of all areas, thresholds and categories, each group in descending score."""

    group: Integers
    """Which (area, threshold, category), flattened; ascending."""
    true: Integers
    """True positives of the group so far, this one included."""
    false: Integers
    """False positives of the group so far."""
    rank: Integers


def _hits(stats: VideoStats, order: Integers) -> _Hits:
    columns, categories = len(stats.groups) * len(THRESHOLDS), len(stats.category_ids)
    true_positive = stats.true_positive.reshape(-1, columns)[order].T
    false_positive = stats.false_positive.reshape(-1, columns)[order].T
    category = stats.category[order]
    column, row = np.nonzero(true_positive)
    group = column * categories + category[row]
    size = np.bincount(group, minlength=columns * categories)
    true = np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size) + 1
    false = np.zeros((columns, len(order) + 1), np.int64)
    np.cumsum(false_positive, axis=1, out=false[:, 1:])
    start = np.searchsorted(category, np.arange(categories))[category[row]]
    return _Hits(group, true, false[column, row] - false[column, start], stats.rank[order][row])


def _accumulated(stats: VideoStats, times: Integers) -> Integers:
    """Detections in the order of the official accumulation, each as often as its video.

    Detections of one video that share a score stay together in each of its copies.
    """
    starts = stats.tie_starts
    lengths = np.diff(starts, append=len(stats))
    copies = times[stats.video[starts]]
    starts, lengths = np.repeat(starts, copies), np.repeat(lengths, copies)
    offset = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - offset, lengths)


def _envelope(values: Floats, group: Integers) -> Floats:
    """The maximum of this and all later values of the same group, in steps of 1, 2, 4, …"""
    values, step = values.copy(), 1
    while (linked := np.flatnonzero(group[step:] == group[:-step])).size:
        values[linked] = np.maximum(values[linked], values[linked + step])
        step *= 2
    return values


def by_video(truth: Truth, items: Iterable[Owned]) -> dict[int, list[Owned]]:
    """The items of every video, in their order; none for a video without.

    Raises:
        BenchError: an item of an unknown video or category.
    """
    groups: dict[int, list[Owned]] = defaultdict(list)
    for item in items:
        if item.video_id not in truth.videos:
            raise BenchError(f"video {item.video_id} is not among the truth's videos")
        if item.category_id not in truth.categories:
            raise BenchError(f"category {item.category_id} is not among the truth's categories")
        groups[item.video_id].append(item)
    return groups
