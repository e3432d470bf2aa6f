"""One video as the diagnostics see it: how much every mask shares with every object, per frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.matching import tubes_of
from videomt_bench.evaluation.tubes import Flags, Floats, Integers, Pairs, Tube, first_equal
from videomt_bench.evaluation.ytvis_files import Prediction, TruthObject, Video


@dataclass(frozen=True, eq=False)
class VideoCase:
    """N predictions on D different tubes, G objects, T frames.

    A query that is predicted with several classes is one tube with several predictions.
    """

    video: Video
    objects: Sequence[TruthObject]
    truth_tubes: Sequence[Tube]
    truth_category: Integers
    """(G,) position of the object's category."""
    crowd: Flags
    """(G,)"""
    score: Floats
    """(N,)"""
    category: Integers
    """(N,) position of the predicted category."""
    tube: Integers
    """(N,) which of the D tubes."""
    shared: Integers
    """(D, G, T) pixels that a tube shares with an object."""
    areas: Integers
    """(D, T) pixels of a tube."""
    truth_areas: Integers
    """(G, T)"""

    @cached_property
    def frame_iou(self) -> Floats:
        """(D, G, T); 0 where both are empty."""
        union = self.areas[:, None] + self.truth_areas - self.shared
        return self.shared / np.maximum(union, 1)

    @cached_property
    def tube_iou(self) -> Floats:
        """(D, G) through time."""
        return ratio(self.shared.sum(2), self.areas.sum(1)[:, None], self.truth_areas.sum(1))

    @cached_property
    def counted(self) -> Integers:
        """Objects that are visible and no crowd."""
        return np.flatnonzero(~self.crowd & (self.truth_areas > 0).any(1))


def ratio(shared: Integers, areas: Integers, truth_areas: Integers) -> Floats:
    """Intersection over union; 0 where the union is empty."""
    union = areas + truth_areas - shared
    return shared / np.maximum(union, 1)


def video_case(
    video: Video,
    objects: Sequence[TruthObject],
    predictions: Sequence[Prediction],
    categories: Mapping[int, int],
) -> VideoCase:
    """Count what every tube shares with every object; ``categories`` gives an id's position.

    Raises:
        BenchError: another number of masks than the video has frames, masks that are not sound or
            of another size, or a score that is not finite.
    """
    score = np.array([p.score for p in predictions], np.float64)
    if not np.isfinite(score).all():
        raise BenchError(f"video {video.id}: a score is not a finite number")
    tubes, truths = tubes_of(predictions, video), tubes_of(objects, video)
    first, which = np.unique(np.array(first_equal(tubes), np.int64), return_inverse=True)
    kept = [tubes[i] for i in first]
    return VideoCase(
        video,
        objects,
        truths,
        np.array([categories[o.category_id] for o in objects], np.int64),
        np.array([o.is_crowd for o in objects], bool),
        score,
        np.array([categories[p.category_id] for p in predictions], np.int64),
        which.astype(np.int64),
        _shared(kept, truths, video.length),
        _areas(kept, video.length),
        _areas(truths, video.length),
    )


def _areas(tubes: Sequence[Tube], frames: int) -> Integers:
    return np.array([tube.frame_areas for tube in tubes], np.int64).reshape(len(tubes), frames)


def _shared(tubes: Sequence[Tube], truths: Sequence[Tube], frames: int) -> Integers:
    shared = np.zeros((len(tubes), len(truths), frames), np.int64)
    pairs = Pairs(tubes, truths)
    near = np.argwhere(pairs.most.any(2)).tolist()
    pairs.prepare(near)
    for d, g in near:
        shared[d, g] = pairs.shared(d, g)
    return shared
