"""Association measures of any multiset of videos, by class and of all classes together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from videomt_bench.diagnostics.association import (
    ALPHAS,
    CLEAR_COUNTS,
    HOTA_COUNTS,
    ID_COUNTS,
    Cell,
    clear_counts,
    hota_counts,
    id_counts,
)
from videomt_bench.evaluation.stats_files import multiplicity
from videomt_bench.evaluation.tubes import Floats, Integers

MEASURES = ("HOTA", "DetA", "AssA", "LocA", "IDF1", "MOTA", "IDSW")
"""In fractions, but IDSW, the number of identity switches."""
HOTA_SIZE = len(HOTA_COUNTS) * len(ALPHAS)
SIZE = HOTA_SIZE + len(ID_COUNTS) + len(CLEAR_COUNTS)


@dataclass(frozen=True, eq=False)
class AssociationStats:
    """Counts of V videos and C classes; one class, if classes are not told apart."""

    counts: Floats
    """(V, C, SIZE)"""

    def by_class(self, videos: Sequence[int] | Integers | None = None) -> dict[str, Floats]:
        """(C,) each of MEASURES on a multiset of video positions; None is each once.

        nan where the class has no object; LocA is 1 where nothing is matched, as in TrackEval.

        Raises:
            BenchError: a position that does not exist.
        """
        times = multiplicity(videos, len(self.counts))[None]
        return {name: values[0] for name, values in self._by_class(times).items()}

    def summarize(self, videos: Sequence[int] | Integers | None = None) -> dict[str, float]:
        """Each of MEASURES: the mean over the classes with an object, of IDSW the sum.

        nan where no class has one.

        Raises:
            BenchError: a position that does not exist.
        """
        times = multiplicity(videos, len(self.counts))[None]
        return {name: float(values[0]) for name, values in self.draws(times).items()}

    def draws(self, times: Integers) -> dict[str, Floats]:
        """(D,) what ``summarize`` gives on D multisets of videos; ``times`` is (D, V)."""
        by_class = self._by_class(times)
        kept = ~np.isnan(by_class["HOTA"])
        classes = kept.sum(1)
        sums = {name: np.where(kept, values, 0).sum(1) for name, values in by_class.items()}
        means = {name: total / np.maximum(classes, 1) for name, total in sums.items()}
        summary = means | {"IDSW": sums["IDSW"]}
        return {name: np.where(classes > 0, values, np.nan) for name, values in summary.items()}

    def _by_class(self, times: Integers) -> dict[str, Floats]:
        """(D, C)"""
        videos, classes, size = self.counts.shape
        total = times.astype(np.float64) @ self.counts.reshape(videos, classes * size)
        total = total.reshape(len(times), classes, size)
        hota = total[..., :HOTA_SIZE].reshape(*total.shape[:2], len(HOTA_COUNTS), len(ALPHAS))
        values = _hota(hota) | _identity(*np.moveaxis(total[..., HOTA_SIZE:], -1, 0))
        empty = hota[..., 0, 0] + hota[..., 1, 0] == 0
        return {name: np.where(empty, np.nan, values[name]) for name in MEASURES}


def cell_counts(cell: Cell) -> Floats:
    """(SIZE,) of the class of one video."""
    if not cell.truth.any() and not cell.found.any():
        return np.zeros(SIZE)
    return np.concatenate([hota_counts(cell).ravel(), id_counts(cell), clear_counts(cell)])


def _hota(counts: Floats) -> dict[str, Floats]:
    """(D, C) the means over the thresholds."""
    tp, fn, fp, located, agreement = np.moveaxis(counts, 2, 0)
    detection = tp / np.maximum(tp + fn + fp, 1)
    association = agreement / np.maximum(tp, 1)
    location = np.where(tp > 0, located / np.maximum(tp, 1), 1)
    values = {
        "HOTA": np.sqrt(detection * association),
        "DetA": detection,
        "AssA": association,
        "LocA": location,
    }
    return {name: value.mean(2) for name, value in values.items()}


def _identity(
    id_tp: Floats, id_fn: Floats, id_fp: Floats,
    tp: Floats, fn: Floats, fp: Floats, switches: Floats,
) -> dict[str, Floats]:  # fmt: skip
    return {
        "IDF1": id_tp / np.maximum(id_tp + (id_fn + id_fp) / 2, 1),
        "MOTA": (tp - fp - switches) / np.maximum(tp + fn, 1),
        "IDSW": switches,
    }
