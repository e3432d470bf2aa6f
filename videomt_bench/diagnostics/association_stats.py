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
        times = multiplicity(videos, len(self.counts))
        total = np.tensordot(times.astype(np.float64), self.counts, 1)
        hota = total[:, :HOTA_SIZE].reshape(-1, len(HOTA_COUNTS), len(ALPHAS))
        values = _hota(hota) | _identity(*total[:, HOTA_SIZE:].T)
        empty = hota[:, 0, 0] + hota[:, 1, 0] == 0
        return {name: np.where(empty, np.nan, values[name]) for name in MEASURES}

    def summarize(self, videos: Sequence[int] | Integers | None = None) -> dict[str, float]:
        """Each of MEASURES: the mean over the classes with an object, of IDSW the sum.

        nan where no class has one.

        Raises:
            BenchError: a position that does not exist.
        """
        values = self.by_class(videos)
        kept = ~np.isnan(values["HOTA"])
        if not kept.any():
            return dict.fromkeys(MEASURES, float("nan"))
        summary = {name: float(column[kept].mean()) for name, column in values.items()}
        return summary | {"IDSW": float(values["IDSW"][kept].sum())}


def cell_counts(cell: Cell) -> Floats:
    """(SIZE,) of the class of one video."""
    if not cell.truth.any() and not cell.found.any():
        return np.zeros(SIZE)
    return np.concatenate([hota_counts(cell).ravel(), id_counts(cell), clear_counts(cell)])


def _hota(counts: Floats) -> dict[str, Floats]:
    """(C,) the means over the thresholds."""
    tp, fn, fp, located, agreement = counts.transpose(1, 0, 2)
    detection = tp / np.maximum(tp + fn + fp, 1)
    association = agreement / np.maximum(tp, 1)
    location = np.where(tp > 0, located / np.maximum(tp, 1), 1)
    values = {
        "HOTA": np.sqrt(detection * association),
        "DetA": detection,
        "AssA": association,
        "LocA": location,
    }
    return {name: value.mean(1) for name, value in values.items()}


def _identity(
    id_tp: Floats, id_fn: Floats, id_fp: Floats,
    tp: Floats, fn: Floats, fp: Floats, switches: Floats,
) -> dict[str, Floats]:  # fmt: skip
    return {
        "IDF1": id_tp / np.maximum(id_tp + (id_fn + id_fp) / 2, 1),
        "MOTA": (tp - fp - switches) / np.maximum(tp + fn, 1),
        "IDSW": switches,
    }
