"""Diagnoses of variants, over seeds, with bootstrap intervals over videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from videomt_bench.diagnostics.diagnose import Diagnosis
from videomt_bench.errors import BenchError
from videomt_bench.evaluation.stats_files import multiplicity
from videomt_bench.evaluation.tubes import Floats, Integers
from videomt_bench.report.statistics.estimates import DRAWS, Estimate, PerVideo, estimate

CHUNK = 50
"""Draws that are computed at once."""

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
    size, keys = len(first.video_ids), [*first.values(), *first.points()]
    progress = _Progress(draws * len(diagnoses), on_progress)
    families = [_Family(diagnosis, progress) for diagnosis in diagnoses]
    as_they_are = [family.table(np.ones((1, size), np.int64))[0] for family in families]
    estimates = {}
    for i, (key, values) in enumerate(zip(keys, np.transpose(as_they_are).tolist(), strict=True)):
        runs = [_Value(size, *family.value(i)) for family in families] if draws else []
        estimates[key] = estimate(values, runs, draws)
    by_group = np.stack([d.by_group.average_precision() for d in diagnoses], 1)
    counts = {
        (curve.name, label): n
        for curve in first.curves.values()
        for label, n in zip(curve.bins, curve.n().tolist(), strict=True)
    }
    return Summary(
        label,
        size,
        {name: estimates[name] for name in first.values()},
        {key: estimates[key] for key in first.points()},
        counts,
        {
            name: Estimate(tuple(row))
            for name, row in zip(first.by_group.groups, by_group.tolist(), strict=True)
        },
    )


@dataclass
class _Progress:
    """Resamples of all result files of a variant."""

    total: int
    on_progress: Progress | None
    done: int = 0

    def advance(self, draws: int) -> None:
        """So many more are done."""
        self.done = min(self.done + draws, self.total)
        if self.on_progress is not None:
            self.on_progress(self.done, self.total)


@dataclass(frozen=True)
class _Value(PerVideo):
    """One value of a result file, also on many draws at once."""

    of_draws: Callable[[Integers], Floats]

    def draws(self, times: Integers) -> Floats:
        """(D,) by how often each video occurs, (D, V)."""
        return self.of_draws(times)


class _Family:
    """All values of one result file together: every one of them sees the same draws."""

    def __init__(self, diagnosis: Diagnosis, progress: _Progress) -> None:
        self.diagnosis = diagnosis
        self.progress = progress
        self.known: dict[bytes, Floats] = {}

    def value(self, i: int) -> tuple[Callable[[Integers], float], Callable[[Integers], Floats]]:
        """The i-th value as a function of video positions, and of multiplicities (D, V)."""

        def of_videos(videos: Integers) -> float:
            times = multiplicity(videos, len(self.diagnosis.video_ids))
            return float(self._known(times[None])[0, i])

        return of_videos, lambda times: self._known(times)[:, i]

    def _known(self, times: Integers) -> Floats:
        key = times.tobytes()
        if key not in self.known:
            chunks = np.split(times, range(CHUNK, len(times), CHUNK))
            self.known[key] = np.concatenate([self._advanced(chunk) for chunk in chunks])
        return self.known[key]

    def _advanced(self, times: Integers) -> Floats:
        table = self.table(times)
        self.progress.advance(len(times))
        return table

    def table(self, times: Integers) -> Floats:
        """(D, values and points)"""
        values, points = self.diagnosis.draws(times), self.diagnosis.point_draws(times)
        return np.stack([*values.values(), *points.values()], 1)
