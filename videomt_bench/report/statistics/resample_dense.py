"""VPQ, STQ, mIoU and mVC on many multisets of videos: all are functions of sums over videos."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from videomt_bench.evaluation.consistency import WINDOWS as VC_WINDOWS
from videomt_bench.evaluation.panoptic_stats import PanopticStats
from videomt_bench.evaluation.semantic_stats import CLASSES, SemanticStats
from videomt_bench.evaluation.vpq import WINDOWS
from videomt_bench.report.statistics.resampling import (
    Ratios,
    Scores,
    Table,
    mean_where,
    ratio,
)

Flags = npt.NDArray[np.bool_]


def panoptic_resampler(stats: PanopticStats) -> Ratios:
    """VPQ, STQ and their parts, in percent, named as ``evaluation.panoptic`` names them."""
    videos = len(stats.video_names)
    confusion = _confusion_sums(
        (stats.cell_video, stats.cell_truth, stats.cell_predicted, stats.cell_pixels),
        videos,
        len(stats.category_ids),
    )
    quality = [*np.moveaxis(stats.matches, -1, 0), stats.iou]
    parts = [part.reshape(videos, -1) for part in quality]
    table = np.concatenate(
        [*parts, *confusion, stats.association, stats.tubes], axis=1, dtype=np.float64
    )
    names = tuple(str(name) for name in stats.video_names)
    truth = _key(names, stats.category_ids, stats.is_thing, stats.tubes, confusion[1])
    return Ratios(names, table, partial(_panoptic_scores, stats.is_thing), truth)


def _confusion_sums(
    cells: tuple[npt.NDArray[np.int64], ...], videos: int, classes: int
) -> list[Table]:
    """By video: hits, true pixels and predicted pixels of each class, and pixels of none.

    (V, C) three times and (V, 1). All that IoUs need of a confusion matrix, and it adds up.
    """
    video, truth, predicted, pixels = cells

    def count(chosen: Flags, index: npt.NDArray[np.int64], width: int = classes) -> Table:
        place = video[chosen] * width + index[chosen]
        flat = np.bincount(place, pixels[chosen], videos * width)
        return flat.reshape(videos, width).astype(np.float64)

    known = predicted < classes
    every = known | True
    return [
        count(truth == predicted, truth),
        count(every, truth),
        count(known, predicted),
        count(~known, np.zeros_like(truth), 1),
    ]


def _panoptic_scores(is_thing: Flags, sums: Table) -> Scores:
    draws, classes = len(sums), len(is_thing)
    shape = (draws, len(WINDOWS), classes)
    width = len(WINDOWS) * classes
    tp, fp, fn, iou = (sums[:, i * width : (i + 1) * width].reshape(shape) for i in range(4))
    weight = tp + fp / 2 + fn / 2
    quality = iou / np.where(weight > 0, weight, 1)
    scores = {}
    for suffix, chosen in {"": is_thing | True, "_thing": is_thing, "_stuff": ~is_thing}.items():
        means = [
            mean_where(quality[:, i, chosen], weight[:, i, chosen] > 0) for i in range(len(WINDOWS))
        ]
        scores[f"VPQ{suffix}"] = 100 * np.mean(means, axis=0)
    return scores | _tracking_scores(sums[:, 4 * width :], classes)


def _tracking_scores(sums: Table, classes: int) -> Scores:
    """STQ as the official script has it and corrected; see ``evaluation.stq``."""
    hits, true, predicted, void = np.split(sums[:, : 3 * classes + 1], np.arange(1, 4) * classes, 1)
    official, every, tubes, every_tubes = sums[:, 3 * classes + 1 :].T
    union = true + predicted - hits
    iou = (hits / np.where(union > 0, union, 1)).sum(1)
    count = (union > 0).sum(1)
    segmentation = ratio(iou, np.where(count > 0, count + (void[:, 0] > 0), 0))
    without_void = ratio(iou, count)
    association = np.where(count > 0, official / np.maximum(tubes, 1), np.nan)
    all_things = ratio(every, every_tubes)
    return {
        "STQ": 100 * np.sqrt(association * segmentation),
        "AQ": 100 * association,
        "SQ": 100 * segmentation,
        "STQ_corrected": 100 * np.sqrt(all_things * without_void),
    }


def semantic_resampler(stats: SemanticStats) -> Ratios:
    """mIoU, accuracy and mVC, in percent, named as ``evaluation.semantic`` names them."""
    videos = len(stats.video_names)
    confusion = _confusion_sums(
        (stats.cell_video, stats.cell_truth, stats.cell_predicted, stats.cell_pixels),
        videos,
        CLASSES,
    )
    windows = [part.reshape(videos, -1) for part in (stats.window_sums, stats.window_counts)]
    table = np.concatenate([*confusion, *windows], axis=1, dtype=np.float64)
    names = tuple(str(name) for name in stats.video_names)
    truth = _key(names, stats.frames, stats.window_counts, confusion[1])
    return Ratios(names, table, _semantic_scores, truth)


def _semantic_scores(sums: Table) -> Scores:
    hits, true, predicted, rest = np.split(sums, np.arange(1, 4) * CLASSES, 1)
    iou = hits / (np.maximum(true, 1) + predicted - hits)
    pixels = true.sum(1)
    shape = (len(sums), len(VC_WINDOWS), 2)
    windows, counts = (part.reshape(shape) for part in np.split(rest[:, 1:], 2, 1))
    (inner8, inner16), (counts8, counts16) = windows[:, :, 0].T, counts[:, :, 0].T
    scores = {
        "mIoU": mean_where(iou, true > 0),
        "pixel_accuracy": ratio(hits.sum(1), pixels),
        "fwIoU": ratio((iou * true).sum(1), pixels),
        "mVC8": ratio(inner8, counts8),
        "mVC16": ratio(inner8 + inner16, counts8 + counts16),
        "mVC16_clean": ratio(inner16, counts16),
    }
    return {name: 100 * values for name, values in scores.items()}


def _key(names: tuple[str, ...], *arrays: npt.NDArray[np.generic]) -> bytes:
    return repr(names).encode() + b"".join(array.tobytes() for array in arrays)
