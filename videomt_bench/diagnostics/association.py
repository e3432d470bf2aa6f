"""How well tracks keep identities: HOTA, IDF1 and CLEAR MOT on masks.

HOTA and its parts DetA, AssA and LocA: Luiten et al., HOTA, IJCV 2020, arXiv 2009.07736. IDF1:
Ristani et al., Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking, 2016,
arXiv 1609.01775. MOTA and identity switches: Bernardin and Stiefelhagen, Evaluating Multiple
Object Tracking Performance: The CLEAR MOT Metrics, 2008.

The unit is a *cell*: the tracks and objects of one video, of one class or of all. G objects, D
tracks and T frames; similarity is the mask IoU (G, D, T).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from videomt_bench.evaluation.tubes import Flags, Floats, Integers

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""The 19 localisation thresholds of HOTA."""
SAME = 0.5
"""IoU from which a mask and an object match, for IDF1 and CLEAR MOT."""
EPSILON = float(np.finfo(np.float64).eps)
HOTA_COUNTS = ("tp", "fn", "fp", "loc", "ass")
"""Per threshold: detections matched, missed and false; sums over the matched ones of their IoU and
of how well the two tracks agree."""
ID_COUNTS = ("id_tp", "id_fn", "id_fp")
CLEAR_COUNTS = ("clear_tp", "clear_fn", "clear_fp", "switches")


class Cell(NamedTuple):
    """Objects and tracks of one video."""

    iou: Floats
    """(G, D, T); 0 where one of the two has no mask."""
    truth: Flags
    """(G, T) where an object has a mask."""
    found: Flags
    """(D, T) where a track has a mask."""

    def frames(self) -> Iterator[tuple[int, Integers, Integers, Floats]]:
        """Frames with both objects and tracks: which frame, which of each, their IoU."""
        for t in np.flatnonzero(self.truth.any(0) & self.found.any(0)).tolist():
            rows, columns = np.flatnonzero(self.truth[:, t]), np.flatnonzero(self.found[:, t])
            yield t, rows, columns, self.iou[rows[:, None], columns, t]


def hota_counts(cell: Cell) -> Floats:
    """(len(HOTA_COUNTS), len(ALPHAS)); section 3 of the paper."""
    lengths, found = cell.truth.sum(1), cell.found.sum(1)
    alignment = _alignment(cell, lengths, found)
    matches: list[tuple[Integers, Integers, Floats]] = []
    for _, rows, columns, iou in cell.frames():
        value = alignment[rows[:, None], columns] * iou
        i, j = linear_sum_assignment(value, maximize=True)
        matches.append((rows[i], columns[j], iou[i, j]))
    counts = np.zeros((len(HOTA_COUNTS), len(ALPHAS)))
    if matches:
        g, d, iou = (np.concatenate(column) for column in zip(*matches, strict=True))
        counts[[0, 3, 4]] = _matched(g, d, iou, lengths, found)
    counts[1], counts[2] = lengths.sum() - counts[0], found.sum() - counts[0]
    return counts


def _alignment(cell: Cell, lengths: Integers, found: Integers) -> Floats:
    """(G, D) how well whole tracks agree, before any are matched.

    Frame after frame, since equal tracks have to stay equal to the last bit: rounding would decide
    between them in every frame anew.
    """
    possible = np.zeros((len(lengths), len(found)))
    for _, rows, columns, iou in cell.frames():
        total = iou.sum(0) + iou.sum(1)[:, None] - iou
        part = np.divide(iou, total, out=np.zeros_like(iou), where=total > EPSILON)
        possible[rows[:, None], columns] += part
    return possible / np.maximum(lengths[:, None] + found - possible, 1)


def _matched(g: Integers, d: Integers, iou: Floats, lengths: Integers, found: Integers) -> Floats:
    """(3, len(ALPHAS)) sums over matched detections: of 1, of their IoU, of how tracks agree."""
    passed = np.searchsorted(ALPHAS - EPSILON, iou, side="right")  # how many thresholds
    bins = len(ALPHAS) + 1
    pairs, which = np.unique(g * len(found) + d, return_inverse=True)
    by_pair = np.bincount(which * bins + passed, minlength=len(pairs) * bins)
    shared = _from_above(by_pair.reshape(-1, bins))
    either = lengths[pairs // len(found)] + found[pairs % len(found)]
    agreement = shared * shared / np.maximum(either[:, None] - shared, 1)
    located = _from_above(np.bincount(passed, iou, bins)[None])[0]
    return np.stack([shared.sum(0), located, agreement.sum(0)])


def _from_above(by_passed: Floats | Integers) -> Floats:
    """Sums over the matches that pass at least 1, 2, … thresholds."""
    return by_passed[:, ::-1].cumsum(1)[:, ::-1][:, 1:].astype(np.float64)


def id_counts(cell: Cell) -> Floats:
    """(len(ID_COUNTS),): the assignment of tracks to objects that leaves the fewest errors."""
    frames = (cell.iou >= SAME).sum(2)
    matched = int(frames[linear_sum_assignment(frames, maximize=True)].sum())
    totals = int(cell.truth.sum()), int(cell.found.sum())
    return np.array([matched, totals[0] - matched, totals[1] - matched], np.float64)


def clear_counts(cell: Cell) -> Floats:
    """(len(CLEAR_COUNTS),): frame by frame; a link of the frame before is kept if it still holds.

    A switch is a match of an object with another track than the one that last had it.
    """
    last, before = np.full((2, len(cell.truth)), -1)
    matched = switches = 0
    for _, rows, columns, iou in cell.frames():
        holds = iou >= SAME - EPSILON
        kept = columns == before[rows, None]
        i, j = linear_sum_assignment(np.where(holds, 1000.0 * kept + iou, 0), maximize=True)
        i, j = i[holds[i, j]], j[holds[i, j]]
        objects, tracks = rows[i], columns[j]
        switches += int(((last[objects] >= 0) & (last[objects] != tracks)).sum())
        matched += len(objects)
        before[:] = -1
        last[objects] = before[objects] = tracks
    missed, false = int(cell.truth.sum()) - matched, int(cell.found.sum()) - matched
    return np.array([matched, missed, false, switches], np.float64)
