"""Which predictions count as tracks, where tracks are counted and not ranked.

A result file ranks: it holds many tubes of low score, the same one with several classes, and masks
that overlap. HOTA, IDF1 and CLEAR MOT need a decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from videomt_bench.diagnostics.association import Cell
from videomt_bench.diagnostics.case import VideoCase
from videomt_bench.errors import BenchError, unknown
from videomt_bench.evaluation.rle import Rle
from videomt_bench.evaluation.tubes import Integers
from videomt_bench.evaluation.ytvis_files import Prediction, Video

OVERLAPS = ("keep", "resolve")


@dataclass(frozen=True)
class Selection:
    """``score_threshold``: predictions below it are left out.

    ``overlaps``: ``keep`` masks as they are; ``resolve``, as MOTS asks for, gives every pixel to
    the track with the highest score, whatever its class, with one class per tube.

    Raises:
        BenchError: a threshold that is not finite, or another word.
    """

    score_threshold: float = 0.3
    overlaps: str = "keep"

    def __post_init__(self) -> None:
        if not np.isfinite(self.score_threshold):
            raise BenchError(f"the score threshold is {self.score_threshold}; a number is needed")
        if self.overlaps not in OVERLAPS:
            raise unknown("treatment of overlaps", self.overlaps, OVERLAPS)


def resolved(
    video: Video, predictions: Sequence[Prediction], score_threshold: float
) -> list[Prediction]:
    """The predictions at or above the threshold, one per tube, without overlaps.

    Masks are proved sound before: see ``tubes_of``.
    """
    best: dict[Any, Prediction] = {}
    for prediction in sorted(predictions, key=lambda p: -p.score):
        if prediction.score >= score_threshold:
            best.setdefault(_key(prediction), prediction)
    kept = list(best.values())
    columns = zip(*(prediction.segmentations for prediction in kept), strict=True)
    frames = [_without_overlaps(video, masks) for masks in columns]
    masks = zip(*frames, strict=True) if frames else ()
    return [
        replace(prediction, segmentations=list(tube), tube=None)
        for prediction, tube in zip(kept, masks, strict=True)
    ]


def _key(prediction: Prediction) -> tuple[str | bytes | None, ...]:
    return tuple(mask["counts"] if mask else None for mask in prediction.segmentations)


def _without_overlaps(video: Video, masks: Sequence[Rle | None]) -> list[Rle | None]:
    """The masks of one frame, earlier ones on top."""
    free = np.ones((video.height, video.width), bool)
    result: list[Rle | None] = []
    for mask in masks:
        visible = (coco_mask.decode(mask) > 0) & free if mask else np.zeros_like(free)
        free &= ~visible
        code = coco_mask.encode(np.asfortranarray(visible, np.uint8)) if visible.any() else None
        result.append(code and Rle(size=code["size"], counts=code["counts"].decode("ascii")))
    return result


def class_cell(case: VideoCase, category: int, score_threshold: float) -> Cell:
    """Objects and tracks of one class; tracks by descending score."""
    counted = case.counted[case.truth_category[case.counted] == category]
    rows = _ranked(case, score_threshold)
    return _cell(case, case.tube[rows[case.category[rows] == category]], counted)


def agnostic_cell(case: VideoCase, score_threshold: float) -> Cell:
    """All objects and tracks, every tube once; tracks by descending score."""
    tubes = case.tube[_ranked(case, score_threshold)]
    _, first = np.unique(tubes, return_index=True)
    return _cell(case, tubes[np.sort(first)], case.counted)


def _ranked(case: VideoCase, score_threshold: float) -> Integers:
    """The order decides ties, and must not be that of the file."""
    order = np.argsort(-case.score, kind="stable")
    return order[case.score[order] >= score_threshold]


def _cell(case: VideoCase, tubes: Integers, objects: Integers) -> Cell:
    iou = case.frame_iou[np.ix_(tubes, objects)].transpose(1, 0, 2)
    return Cell(iou, case.truth_areas[objects] > 0, case.areas[tubes] > 0)
