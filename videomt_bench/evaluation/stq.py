"""Segmentation and tracking quality (Weber et al., STEP, 2021) as VIPSeg is scored.

SQ is the mean IoU of the classes over all pixels with a true class. AQ says, for each true tube
of a thing, how well predicted tubes of things cover it, whatever their class. STQ is the root of
their product.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from videomt_bench.evaluation.panoptic_counts import VideoCounts, weigh
from videomt_bench.evaluation.tubes import Flags, Floats, Integers

RULES = ("official", "all_things")
"""Which true things AQ is over; the official script takes the first segment a video lists for a
crowd, and leaves it out if it is a thing."""


class Associations(NamedTuple):
    """Of one video. C categories; K cells of the sparse confusion matrix."""

    cells: Integers
    """(3, K) true category, predicted category or C for void, pixels."""
    quality: Floats
    """(len(RULES),) sum over the true tubes."""
    tubes: Integers
    """(len(RULES),) true tubes."""


def associate(video: VideoCounts, is_thing: Flags) -> Associations:
    """Compare the segments of a video pixel by pixel.

    A tube is an id with a category: a track whose category changes is several tubes.
    """
    void = len(is_thing)
    true = _category(video.truth.category, video.frame, video.truth_tube, void)
    predicted = _category(video.predicted.category, video.frame, video.predicted_tube, void)
    confusion = weigh(true * (void + 1) + predicted, video.pixels, (void + 1) ** 2)
    confusion = confusion.reshape(void + 1, void + 1)[:void]
    cells = np.stack([*np.nonzero(confusion), confusion[confusion > 0].astype(np.int64)])

    thing = np.append(is_thing, False)
    first = thing[true] & (video.truth_tube == 0)
    true_tube = video.truth_tube * (void + 1) + true
    predicted_tube = video.predicted_tube * (void + 1) + predicted
    sums = [
        _association(
            np.where(thing[true] & ~crowd, true_tube, -1),
            np.where(thing[predicted] & ~crowd, predicted_tube, -1),
            video.pixels,
        )
        for crowd in (first, first & False)
    ]
    quality, tubes = zip(*sums, strict=True)
    return Associations(cells, np.array(quality), np.array(tubes))


def mean_quality(confusion: Floats, quality: Floats, tubes: Integers) -> dict[str, float | None]:
    """SQ, AQ and STQ, as the official script has them and corrected (see ``panoptic``).

    Args:
        confusion: (C, C + 1) pixels; the last column is void.
        quality: (len(RULES),) sums over true tubes.
        tubes: (len(RULES),) how many.
    """
    hits = np.diagonal(confusion).astype(np.float64)
    union = confusion.sum(1) + confusion[:, :-1].sum(0) - hits
    iou = (hits / np.where(union > 0, union, 1)).sum()
    classes = np.count_nonzero(union)
    seen_void = int(confusion[:, -1].any())
    segmentation = {
        "SQ": float(iou / (classes + seen_void)) if classes else None,
        "SQ_without_void_class": float(iou / classes) if classes else None,
    }
    # without a tube the official script has an AQ of 0
    association = {
        "AQ": float(quality[0] / max(tubes[0], 1)) if classes else None,
        "AQ_all_things": float(quality[1] / tubes[1]) if tubes[1] else None,
    }
    return {
        "STQ": _root(association["AQ"], segmentation["SQ"]),
        **association,
        **segmentation,
        "STQ_all_things": _root(association["AQ_all_things"], segmentation["SQ"]),
        "STQ_without_void_class": _root(association["AQ"], segmentation["SQ_without_void_class"]),
        "STQ_corrected": _root(association["AQ_all_things"], segmentation["SQ_without_void_class"]),
    }


def _root(association: float | None, segmentation: float | None) -> float | None:
    if association is None or segmentation is None:
        return None
    return float(np.sqrt(association * segmentation))


def _category(listed: Integers, frame: Integers, tube: Integers, void: int) -> Integers:
    """(K,) categories; ``void`` for tubes beyond those listed."""
    known = tube < listed.shape[1]
    category = np.full(len(tube), void)
    category[known] = listed[frame[known], tube[known]]
    return category


def _association(true: Integers, predicted: Integers, pixels: Integers) -> tuple[float, int]:
    """Sum over true tubes and their number; tubes are numbers, -1 where there is none."""
    tube, size = _sizes(true, pixels)
    predicted_tube, predicted_size = _sizes(predicted, pixels)
    both = (true >= 0) & (predicted >= 0)
    row = np.searchsorted(tube, true[both])
    column = np.searchsorted(predicted_tube, predicted[both])
    columns = max(len(predicted_tube), 1)
    pair, shared = _sizes(row * columns + column, pixels[both])
    row, column = np.divmod(pair, columns)
    iou = shared / (size[row] + predicted_size[column] - shared)
    return float((shared * iou / size[row]).sum()), len(tube)


def _sizes(tube: Integers, pixels: Integers) -> tuple[Integers, Floats]:
    """The tubes that are not -1, ascending, and their pixels."""
    there = tube >= 0
    found, index = np.unique(tube[there], return_inverse=True)
    return found, weigh(index, pixels[there], len(found))
