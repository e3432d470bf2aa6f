"""Video panoptic quality (Kim et al., Video Panoptic Segmentation, 2020) as VIPSeg is scored.

For every window of n frames, tubes of equal category match where their IoU, void left out, is
above 0.5. Counts are added up over all windows and videos; PQ of a category is
sum of IoU / (TP + FP / 2 + FN / 2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.panoptic_counts import Tubes, VideoCounts, weigh
from videomt_bench.evaluation.tubes import Flags, Floats, Integers

WINDOWS = (1, 2, 4, 6, 8)
"""Frames per window."""


class Matches(NamedTuple):
    """Of one video, by window length W and category C."""

    counts: Integers
    """(W, C, 3) true positives, false positives, false negatives."""
    iou: Floats
    """(W, C) sum over the true positives."""


def match_tubes(video: VideoCounts, categories: int) -> Matches:
    """Match the tubes of all windows of a video.

    Raises:
        BenchError: a true segment has a smaller ``area`` than it has pixels, so that an IoU
            is above one.
    """
    matches = Matches(
        np.zeros((len(WINDOWS), categories, 3), np.int64), np.zeros((len(WINDOWS), categories))
    )
    truth, predicted, overlaps = _Listing(video.truth), _Listing(video.predicted), _Overlaps(video)
    for i, length in enumerate(WINDOWS):
        starts = _starts(video.scored, length)
        if len(starts):
            matched = _match(
                truth.windows(starts, length),
                predicted.windows(starts, length),
                overlaps,
                overlaps.pixels[starts + length] - overlaps.pixels[starts],
                categories,
            )
            matches.counts[i], matches.iou[i] = matched
    return matches


def mean_quality(matches: Matches, is_thing: Flags) -> dict[str, float | None]:
    """VPQ and VPQ of every window length, for all categories, things and stuff.

    A mean is over the categories that occur; None where none does.
    """
    tp, fp, fn = np.moveaxis(matches.counts, -1, 0)
    weight = tp + fp / 2 + fn / 2
    quality = matches.iou / np.where(weight > 0, weight, 1)
    metrics: dict[str, float | None] = {}
    for suffix, chosen in {"": is_thing | True, "_thing": is_thing, "_stuff": ~is_thing}.items():
        means = []
        for i in range(len(WINDOWS)):
            occurs = chosen & (weight[i] > 0)
            means.append(float(quality[i, occurs].mean()) if occurs.any() else None)
        defined = [mean for mean in means if mean is not None]
        metrics[f"VPQ{suffix}"] = sum(defined) / len(means) if len(defined) == len(means) else None
        metrics |= {f"VPQ{n}{suffix}": mean for n, mean in zip(WINDOWS, means, strict=True)}
    return metrics


def class_quality(matches: Matches) -> Floats:
    """(C,) each category's mean over the window lengths in which it occurs; nan where in none."""
    tp, fp, fn = np.moveaxis(matches.counts, -1, 0)
    weight = tp + fp / 2 + fn / 2
    occurs = weight > 0
    quality = np.where(occurs, matches.iou / np.where(occurs, weight, 1), 0.0)
    lengths = occurs.sum(0)
    return np.where(lengths > 0, quality.sum(0) / np.maximum(lengths, 1), np.nan)


def _starts(scored: Flags, length: int) -> Integers:
    """First frames of the windows that have all their frames."""
    total = np.r_[0, np.cumsum(scored)]
    return np.flatnonzero(total[length:] - total[:-length] == length)


class _Windows(NamedTuple):
    """The N tubes of one side in S windows, (S, N) each.

    A tube has the category and the crowd flag of its first frame in the window.
    """

    present: Flags
    category: Integers
    is_crowd: Flags
    area: Floats
    order: Integers
    """Ascends in the order in which the frames of the window list the tubes."""


class _Listing:
    """Where the tubes of one side are listed."""

    def __init__(self, tubes: Tubes) -> None:
        self._tubes = tubes
        frames = len(tubes.category)
        listed = np.where(tubes.category >= 0, np.arange(frames)[:, None], frames)
        self._next = np.minimum.accumulate(listed[::-1])[::-1]
        self._area = _running_sum(tubes.area)

    def windows(self, starts: Integers, length: int) -> _Windows:
        tubes, first = self._tubes, self._next[starts]
        present = first < starts[:, None] + length
        at = np.where(present, first, 0)
        rank = np.take_along_axis(tubes.rank, at, 0)
        return _Windows(
            present,
            np.take_along_axis(tubes.category, at, 0),
            np.take_along_axis(tubes.is_crowd, at, 0) & present,
            self._area[starts + length] - self._area[starts],
            first * (len(tubes) + 1) + rank,
        )


class _Overlaps:
    """The P pairs of tubes that share pixels anywhere in the video."""

    def __init__(self, video: VideoCounts) -> None:
        columns = len(video.predicted) + 1
        pairs, index = np.unique(
            video.truth_tube * columns + video.predicted_tube, return_inverse=True
        )
        self.truth, self.predicted = np.divmod(pairs, columns)
        shape = (len(video.scored), len(pairs))
        cell = video.frame * len(pairs) + index
        pixels = weigh(cell, video.pixels, shape[0] * shape[1])
        self.pixels = _running_sum(pixels.reshape(shape))
        """(F + 1, P) in the frames before."""
        self._is_segment = self.predicted < len(video.predicted)
        self.segments = np.flatnonzero(self._is_segment & (self.truth < len(video.truth)))
        """Pairs of two segments, without void and ids that are not listed."""
        # the official script takes id 0 for void even where the truth lists it as a segment
        self.void = [len(video.truth), *np.flatnonzero(video.truth.ids == 0).tolist()]
        """True tubes that are void."""
        self.truth_ids = video.truth.ids

    def of(self, tube: int) -> Integers:
        """The pairs of a true tube with a predicted segment."""
        return np.flatnonzero(self._is_segment & (self.truth == tube))


def _match(
    true: _Windows, predicted: _Windows, overlaps: _Overlaps, shared: Floats, categories: int
) -> tuple[Integers, Floats]:
    """(C, 3) counts and (C,) sums of IoU over S windows; ``shared`` is (S, P) pixels."""
    void = np.zeros(predicted.area.shape)
    for tube in overlaps.void:
        pairs = overlaps.of(tube)
        void[:, overlaps.predicted[pairs]] += shared[:, pairs]
    window, pair, iou = _true_positives(true, predicted, overlaps, shared, void)
    hit = true.present & False
    hit[window, overlaps.truth[pair]] = True
    missed = true.present & ~true.is_crowd & ~hit
    right = predicted.present & False
    right[window, overlaps.predicted[pair]] = True
    ignored = void + _crowd_pixels(true, predicted, overlaps, shared, categories)
    wrong = predicted.present & ~right & (2 * ignored <= predicted.area)

    matched = true.category[window, overlaps.truth[pair]]
    found = (matched, predicted.category[wrong], true.category[missed])
    counts = np.stack([np.bincount(category, minlength=categories) for category in found], 1)
    return counts, weigh(matched, iou, categories)


def _true_positives(
    true: _Windows, predicted: _Windows, overlaps: _Overlaps, shared: Floats, void: Floats
) -> tuple[Integers, Integers, Floats]:
    """Window, pair and IoU of every match."""
    pairs = overlaps.segments
    t, p, shared = overlaps.truth[pairs], overlaps.predicted[pairs], shared[:, pairs]
    union = true.area[:, t] + predicted.area[:, p] - shared - void[:, p]
    # only a listed id 0, void itself, gets here; the official script stops at its IoU above one
    union = np.where(union < shared, union + void[:, p], union)
    same = true.category[:, t] == predicted.category[:, p]
    window, pair = np.nonzero((2 * shared > union) & (shared > 0) & same & ~true.is_crowd[:, t])
    shared, union = shared[window, pair], union[window, pair]
    if (wrong := shared > union).any():
        id_ = overlaps.truth_ids[t[pair[wrong][0]]]
        raise BenchError(f"the area of segment {id_} is smaller than its pixels")
    return window, pairs[pair], shared / union


def _crowd_pixels(
    true: _Windows, predicted: _Windows, overlaps: _Overlaps, shared: Floats, categories: int
) -> Floats:
    """(S, N) pixels that predicted tubes share with the crowd of their category.

    Of several crowds of a category only the last one listed counts, as in the official script.
    """
    pixels = np.zeros(predicted.area.shape)
    window, crowd = np.nonzero(true.is_crowd)
    last = np.full((len(pixels), categories), -1)
    np.maximum.at(last, (window, true.category[window, crowd]), true.order[window, crowd])
    for tube in np.unique(crowd).tolist():
        pairs = overlaps.of(tube)
        p = overlaps.predicted[pairs]
        same = np.take_along_axis(last, predicted.category[:, p], 1) == true.order[:, [tube]]
        pixels[:, p] += shared[:, pairs] * same
    return pixels


def _running_sum(values: Floats) -> Floats:
    """(F, N) -> (F + 1, N): sums over the frames before."""
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
