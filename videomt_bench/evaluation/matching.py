"""Matching the detections of one video with its objects, by the rules of COCO and YouTube-VIS."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from videomt_bench.errors import BenchError
from videomt_bench.evaluation import occlusion
from videomt_bench.evaluation.recall import FOUND, object_diagnostics
from videomt_bench.evaluation.tubes import Flags, Floats, Integers, Pairs, Tube, mean_area, measure
from videomt_bench.evaluation.video_stats import AREAS, MAX_DETECTIONS, THRESHOLDS
from videomt_bench.evaluation.ytvis_files import Prediction, TruthObject, Video

AREA_LIMITS = np.array([[0, 1e10], [0, 128**2], [128**2, 256**2], [256**2, 1e10]])
"""Mean pixels per visible frame, for each of AREAS; both ends belong to the range."""
LEAST_IOU = np.minimum(THRESHOLDS, 1 - 1e-10)


class Detections(NamedTuple):
    """N detections, those of a category together and by rank; see ``VideoStats``."""

    category: Integers
    rank: Integers
    score: Floats
    matched: Flags
    ignored: Flags

    @staticmethod
    def unmatched(
        category: Sequence[int], rank: Sequence[int], score: Sequence[float], groups: int
    ) -> Detections:
        """Detections that have no object so far and are not ignored."""
        flags = (len(score), groups, len(THRESHOLDS))
        return Detections(
            np.array(category, np.int64),
            np.array(rank, np.int64),
            np.array(score, np.float64),
            np.zeros(flags, bool),
            np.zeros(flags, bool),
        )


class VideoResult(NamedTuple):
    """What one video contributes to ``VideoStats``."""

    detections: Detections
    truth_counts: Integers
    object_sums: Floats
    object_counts: Integers


def compare_video(
    video: Video,
    objects: Sequence[TruthObject],
    predictions: Sequence[Prediction],
    categories: Mapping[int, int],
    groups: int = len(AREAS),
) -> VideoResult:
    """Match the best 100 predictions per category; ``categories`` gives an id's position.

    The groups of objects are the first ``groups`` of GROUPS.

    Raises:
        BenchError: another number of masks than the video has frames, masks that are not sound or
            of another size, or a score that is not finite.
    """
    category, rank, kept = _top(predictions, categories)
    detections = Detections.unmatched(category, rank, [p.score for p in kept], groups)
    if not np.isfinite(detections.score).all():
        raise BenchError(f"video {video.id}: a score is not a finite number")
    tubes, truths = tubes_of(kept, video), tubes_of(objects, video)
    truth_category = np.array([categories[o.category_id] for o in objects], np.int64)
    crowd = np.array([o.is_crowd for o in objects], bool)
    ignored = crowd[:, None] | _in_no_group(objects, truths, groups)
    truth_counts = np.zeros((len(categories), groups), np.int64)
    np.add.at(truth_counts, truth_category, ~ignored)

    pairs = Pairs(tubes, truths)
    same_class = detections.category[:, None] == truth_category
    iou = relevant_iou(pairs, same_class)
    outside = _outside([tube.mean_area for tube in tubes], groups)
    judge(detections, iou, outside, truth_category, crowd, ignored)
    sums, counts = object_diagnostics(pairs, iou, same_class, np.flatnonzero(~crowd))
    return VideoResult(detections, truth_counts, sums, counts)


def judge(
    detections: Detections,
    iou: Floats,
    outside: Flags,
    truth_category: Integers,
    crowd: Flags,
    ignored: Flags,
) -> None:
    """Fill in which detections have an object and which are ignored.

    Args:
        detections: N, unmatched so far.
        iou: (N, G); see :func:`relevant_iou`.
        outside: (N, A) whether a detection is ignored in a group unless it has an object.
        truth_category: (G,) positions of categories.
        crowd: (G,).
        ignored: (G, A).
    """
    for c in set(detections.category.tolist()) & set(truth_category.tolist()):
        rows, columns = np.flatnonzero(detections.category == c), truth_category == c
        found = match(iou[np.ix_(rows, columns)], crowd[columns], ignored[columns])
        detections.matched[rows], detections.ignored[rows] = found
    detections.ignored[:] |= ~detections.matched & outside[..., None]


def relevant_iou(pairs: Pairs, same_class: Flags) -> Floats:
    """IoU (D, G), exact where a score can depend on it and else 0 or more.

    Those are: in one class, all that reach a threshold; and for each object its highest, in
    any class. Most pairs are known to be neither before their pixels are counted.
    """
    iou = np.zeros(same_class.shape)
    bounds = pairs.bounds
    needed = same_class & (bounds >= FOUND)
    pairs.prepare(np.argwhere(needed | (bounds == bounds.max(0, initial=0))).tolist())
    for g, column in enumerate(bounds.T.tolist()):
        highest = 0.0
        for d in np.argsort(-bounds[:, g], kind="stable").tolist():
            if column[d] > 0 and (needed[d, g] or column[d] >= highest):
                iou[d, g] = value = pairs.iou(d, g)
                highest = max(highest, value)
    return iou


def match(iou: Floats, crowd: Flags, ignored: Flags) -> tuple[Flags, Flags]:
    """Greedy matching within one category, for all groups of objects and thresholds at once.

    Detections come by descending score. Each takes the free object of highest IoU at or above
    the threshold, of equal ones the last; an ignored object only if no other is left. A crowd
    object stays free, as in COCO's code.

    Args:
        iou: (D, G); below the lowest threshold any value will do.
        crowd: (G,).
        ignored: (G, A), by group of objects.

    Returns:
        matched and ignored, (D, A, T); unmatched detections are not ignored here.
    """
    last = len(crowd) - 1
    ignored = ignored.T[:, None]
    taken = np.zeros((len(ignored), len(THRESHOLDS), len(crowd)), bool)
    matched = np.zeros((len(iou), *taken.shape[:2]), bool)
    into_ignored = np.zeros_like(matched)
    for d in np.flatnonzero((iou >= LEAST_IOU[0]).any(1)):
        row = iou[d]
        free = (row >= LEAST_IOU[:, None]) & ~taken
        counted = free & ~ignored
        pool = np.where(counted.any(-1, keepdims=True), counted, free)
        best = last - np.argmax(np.where(pool, row, -1)[..., ::-1], -1)
        group, threshold = np.nonzero(pool.any(-1))
        chosen = best[group, threshold]
        matched[d, group, threshold] = True
        into_ignored[d, group, threshold] = ignored[group, 0, chosen]
        taken[group, threshold, chosen] = ~crowd[chosen]
    return matched, into_ignored


def _top(
    predictions: Sequence[Prediction], categories: Mapping[int, int]
) -> tuple[list[int], list[int], list[Prediction]]:
    """Category and rank of the predictions kept, and these, by category and rank."""
    groups: dict[int, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        groups[categories[prediction.category_id]].append(prediction)
    best = {c: sorted(groups[c], key=lambda p: -p.score)[:MAX_DETECTIONS] for c in sorted(groups)}
    category = [c for c, group in best.items() for _ in group]
    rank = [r for group in best.values() for r in range(len(group))]
    return category, rank, [p for group in best.values() for p in group]


def tubes_of(items: Sequence[Prediction | TruthObject], video: Video) -> list[Tube]:
    """The tubes of the items, measured unless they are known.

    Raises:
        BenchError: another number of masks than the video has frames, or masks not sound.
    """
    size = video.height, video.width
    tubes: list[Tube | None] = []
    for item in items:
        masks, known = item.segmentations, item.tube
        if len(masks) != video.length:
            raise BenchError(
                f"{len(masks)} segmentations for video {video.id}, which has {video.length} frames"
            )
        # a copy of an item with other masks may carry the tube of the old ones
        fits = known is not None and known.masks is masks and known.size == size
        tubes.append(known if fits else None)
    absent = [item.segmentations for item, tube in zip(items, tubes, strict=True) if tube is None]
    try:
        measured = iter(measure(absent, size, keep_lengths=True))
    except BenchError as error:
        raise BenchError(f"video {video.id}: {error}") from None
    return [next(measured) if tube is None else tube for tube in tubes]


def _in_no_group(objects: Sequence[TruthObject], tubes: Sequence[Tube], groups: int) -> Flags:
    """(G, A) whether each object lies outside each group."""
    outside = _outside([object_area(o, t) for o, t in zip(objects, tubes, strict=True)], groups)
    if groups > len(AREAS):
        scores = [np.nan if o.occlusion is None else o.occlusion for o in objects]
        column = np.array(scores, np.float64)[:, None]
        # written so that nan is in no group
        within = (column >= occlusion.LIMITS[:, 0]) & (column <= occlusion.LIMITS[:, 1])
        outside[:, len(AREAS) :] |= ~within
    return outside


def object_area(truth: TruthObject, tube: Tube) -> float:
    """Mean pixels per visible frame, as annotated or counted."""
    return tube.mean_area if truth.areas is None else mean_area(truth.areas)


def _outside(areas: Sequence[float], groups: int) -> Flags:
    """(n, A) whether each area lies outside each range; a group by occlusion has any area."""
    column = np.array(areas, np.float64)[:, None]
    outside = (column < AREA_LIMITS[:, 0]) | (column > AREA_LIMITS[:, 1])
    return np.concatenate([outside, np.repeat(outside[:, :1], groups - len(AREAS), 1)], 1)
