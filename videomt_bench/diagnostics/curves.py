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
        return self.draws(multiplicity(videos, len(self.sums))[None])[0]

    def draws(self, times: Integers) -> Floats:
        """(D, B) the means on D multisets of videos; ``times`` (D, V) is how often each occurs."""
        return _ratio(times @ self.sums, times @ self.counts)

    def pooled(self, bins: Flags, times: Integers) -> Floats:
        """(D,) the means over several bins together."""
        return _ratio((times @ self.sums[:, bins]).sum(1), (times @ self.counts[:, bins]).sum(1))

    def n(self) -> Integers:
        """(B,) what the means are over."""
        return self.counts.sum(0)


def _ratio(sums: Floats, counts: Integers) -> Floats:
    defined = counts > 0
    return np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=defined)


def binned(values: Floats, bins: Integers, size: int) -> tuple[Floats, Integers]:
    """Sums and counts of values by bin."""
    sums = np.bincount(bins, weights=values, minlength=size).astype(np.float64)
    return sums, np.bincount(bins, minlength=size).astype(np.int64)


def curves(names: Mapping[str, Bins], videos: Sequence[Sums]) -> dict[str, Curve]:
    """The curves of all videos, without the bins in which no video has anything."""
    result = {}
    for name, bins in names.items():
        sums = np.stack([video[name][0] for video in videos])
        counts = np.stack([video[name][1] for video in videos])
        kept = np.flatnonzero(counts.any(0))
        labels = tuple(bins[b] for b in kept)
        result[name] = Curve(name, labels, sums[:, kept], counts[:, kept])
    return result
