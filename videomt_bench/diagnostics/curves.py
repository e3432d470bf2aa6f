"""Means over bins, kept as sums and counts per video, so that any multiset of videos has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from videomt_bench.evaluation.stats_files import multiplicity
from videomt_bench.evaluation.tubes import Flags, Floats, Integers

Bins = tuple[str, ...]
Sums = dict[str, tuple[Floats, Integers]]
"""Of one video: by the name of a curve, sums and counts per bin."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A mean by bin, such as recall by the frame of first appearance."""

    name: str
    bins: Bins
    sums: Floats
    """(V, B)"""
    counts: Integers
    """(V, B) of objects, or of object-frames."""

    def mean(self, videos: Sequence[int] | Integers | None = None) -> Floats:
        """(B,) on a multiset of video positions, None being each once; nan where nothing counts.

        Raises:
            BenchError: a position that does not exist.
        """
        times = multiplicity(videos, len(self.sums))
        counts = times @ self.counts
        total = (times @ self.sums).astype(np.float64)
        return np.divide(total, counts, out=np.full(len(counts), np.nan), where=counts > 0)

    def pooled(self, bins: Flags, videos: Sequence[int] | Integers | None = None) -> float:
        """The mean over several bins together; nan where nothing counts.

        Raises:
            BenchError: a position that does not exist.
        """
        times = multiplicity(videos, len(self.sums))
        count = float((times @ self.counts[:, bins]).sum())
        return float((times @ self.sums[:, bins]).sum()) / count if count else float("nan")

    def n(self) -> Integers:
        """(B,) what the means are over."""
        return self.counts.sum(0)


def binned(values: Floats, bins: Integers, size: int) -> tuple[Floats, Integers]:
    """Sums and counts of values by bin."""
    return np.bincount(bins, values, size), np.bincount(bins, minlength=size)


def curves(names: Mapping[str, Bins], videos: Sequence[Sums]) -> dict[str, Curve]:
    """The curves of all videos, without the bins in which no video has anything."""
    result = {}
    for name, bins in names.items():
        sums, counts = (np.stack([video[name][i] for video in videos]) for i in (0, 1))
        kept = np.flatnonzero(counts.any(0))
        labels = tuple(bins[b] for b in kept)
        result[name] = Curve(name, labels, sums[:, kept], counts[:, kept])
    return result
