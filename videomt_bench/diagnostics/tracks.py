"""Tracks made of the per-frame masks of a video, linked as predicted or in another way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from videomt_bench.diagnostics.case import VideoCase, ratio
from videomt_bench.evaluation.tubes import Floats, Integers

NONE = -1
"""In ``Tracks.source``: no mask in this frame."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """K tracks of one video; where in the frame's predictions each of their masks comes from."""

    case: VideoCase
    score: Floats
    """(K,)"""
    category: Integers
    """(K,) position of the category."""
    source: Integers
    """(K, T) the tube whose mask of this frame the track has, or NONE."""

    @staticmethod
    def as_predicted(case: VideoCase) -> Tracks:
        """Every prediction with its own masks."""
        source = np.repeat(case.tube[:, None], case.video.length, 1)
        return Tracks(case, case.score, case.category, source)

    @cached_property
    def areas(self) -> Integers:
        """(K, T) pixels."""
        padded = np.concatenate([self.case.areas, np.zeros((1, self.source.shape[1]), np.int64)])
        return np.take_along_axis(padded, self.source, 0)

    @cached_property
    def mean_area(self) -> Floats:
        """(K,) mean pixels over the frames with a mask; 0 where there is none."""
        return self.areas.sum(1) / np.maximum(np.count_nonzero(self.areas, 1), 1)

    @cached_property
    def iou(self) -> Floats:
        """(K, G) through time."""
        shared = np.zeros((len(self.score), len(self.case.crowd)), np.int64)
        for k, source in enumerate(self.source):
            frames = np.flatnonzero(source != NONE)
            if len(frames) and (source[frames] == source[frames[0]]).all():
                shared[k] = self.case.shared[source[frames[0]]][:, frames].sum(1)
            else:
                shared[k] = self.case.shared[source[frames], :, frames].sum(0)
        return ratio(shared, self.areas.sum(1)[:, None], self.case.truth_areas.sum(1))

    def __len__(self) -> int:
        return len(self.score)
