"""Diagnoses of variants, over seeds, with bootstrap intervals over videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from videomt_bench.diagnostics.diagnose import Diagnosis
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.tubes import Floats, Integers
from videomt_bench.report.statistics import DRAWS, Estimate, PerVideo, estimate

Progress = Callable[[int, int], None]
"""Called with (resamples done, resamples in all)."""


@dataclass(frozen=True, eq=False)
class Summary:
    """What is known of one variant, in fractions, but identity switches."""

    label: str
    videos: int
    metrics: Mapping[str, Estimate]
    """By the names of ``Diagnosis.values``."""
    points: Mapping[tuple[str, str], Estimate]
    """By curve and bin."""
    counts: Mapping[tuple[str, str], int]
    """Objects, or object-frames, behind each point."""
    group_ap: Mapping[str, Estimate]
    """By kind and label of a group; without intervals."""

    @property
    def seeds(self) -> int:
        """How many result files there are."""
        return len(self.metrics["AP"].per_seed)


def summarize_variant(
    label: str,
    diagnoses: Sequence[Diagnosis],
    draws: int = DRAWS,
    on_progress: Progress | None = None,
) -> Summary:
    """The means over result files of one variant, one per seed, and their intervals.

    Raises:
        BenchError: result files of different videos.
    """
    first = diagnoses[0]
    if any(not np.array_equal(d.video_ids, first.video_ids) for d in diagnoses):
        raise BenchError(f"the result files of {label!r} are of different videos")
    shared = _Shared(draws * len(diagnoses), on_progress)
    families = [_Family(diagnosis, shared) for diagnosis in diagnoses]
    size = len(first.video_ids)
    estimates = []
    for i, values in enumerate(zip(*(f.as_they_are for f in families), strict=True)):
        runs = [PerVideo(size, family.value(i)) for family in families] if draws else []
        estimates.append(estimate(values, runs, draws))
    names = len(first.values())
    by_group = np.stack([d.by_group.average_precision() for d in diagnoses], 1)
    counts = {
        (curve.name, label): n
        for curve in first.curves.values()
        for label, n in zip(curve.bins, curve.n().tolist(), strict=True)
    }
    return Summary(
        label,
        size,
        dict(zip(first.values(), estimates[:names], strict=True)),
        dict(zip(first.points(), estimates[names:], strict=True)),
        counts,
        {
            name: Estimate(tuple(row))
            for name, row in zip(first.by_group.groups, by_group.tolist(), strict=True)
        },
    )


@dataclass
class _Shared:
    """Progress of all result files of a variant."""

    total: int
    on_progress: Progress | None
    done: int = 0

    def advance(self) -> None:
        """One more resample."""
        self.done = min(self.done + 1, self.total)
        if self.on_progress is not None:
            self.on_progress(self.done, self.total)


class _Family:
    """All values of one result file at once: the draws of the bootstrap are the same for each."""

    def __init__(self, diagnosis: Diagnosis, shared: _Shared) -> None:
        self.diagnosis = diagnosis
        self.shared = shared
        self.as_they_are = self._vector(None)
        self.known: dict[bytes, Floats] = {}

    def value(self, i: int) -> Callable[[Integers], float]:
        """The i-th value as a function of video positions."""

        def of(videos: Integers) -> float:
            key = np.asarray(videos, np.int64).tobytes()
            if key not in self.known:
                self.known[key] = self._vector(videos)
                self.shared.advance()
            return float(self.known[key][i])

        return of

    def _vector(self, videos: Integers | None) -> Floats:
        values, points = self.diagnosis.values(videos), self.diagnosis.points(videos)
        return np.array([*values.values(), *points.values()])
