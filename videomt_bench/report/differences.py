"""Differences of two variants on the same videos and seeds, and which of them are beyond noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from videomt_bench.errors import BenchError
from videomt_bench.report.records import PREFERRED
from videomt_bench.report.rows import Row
from videomt_bench.report.statistics.estimates import Estimate, holm, paired_difference
from videomt_bench.report.stored import StoredRuns

SIGNIFICANT = 0.05


@dataclass(frozen=True, eq=False)
class Difference:
    """One variant minus another in one metric, over the seeds that both have."""

    metric: str
    estimate: Estimate
    seeds: tuple[int, ...]
    p_videos: float | None = None
    """By permutation over videos: about these trained networks."""
    p_corrected: float | None = None
    """``p`` after Holm's correction for the comparisons it stands among."""

    @property
    def p(self) -> float | None:
        """About the variants: with two seeds or more never less than over seeds and videos."""
        if self.p_videos is None or len(self.seeds) == 1:
            return self.p_videos
        over_seeds = self.estimate.p_value
        return None if over_seeds is None else max(self.p_videos, over_seeds)

    @property
    def is_beyond_noise(self) -> bool:
        """Whether it stays significant after the correction."""
        return self.p_corrected is not None and self.p_corrected < SIGNIFICANT


def difference(a: Row, b: Row, metric: str, stored: StoredRuns) -> Difference:
    """``a`` minus ``b``, seed by seed and video by video.

    Raises:
        BenchError: one of them was not measured, they share no seed, or the videos differ.
    """
    for row in (a, b):
        if metric not in row.estimates:
            raise BenchError(f"{row.label}: {row.missing()}")
    own, other = a.seeds(metric), b.seeds(metric)
    seeds = tuple(seed for seed in own if seed in other)
    if not seeds:
        raise BenchError("no pair of runs on the same seeds")
    estimates = [
        row.estimates[metric].of_seeds([all_.index(seed) for seed in seeds])
        for row, all_ in ((a, own), (b, other))
    ]
    records = [[r for r in row.records if r.spec["seed"] in seeds] for row in (a, b)]
    if any(estimate.draws is None for estimate in estimates):
        sizes = [sorted({r.metrics[metric].n for r in side}) for side in records]
        if sizes[0] != sizes[1]:
            raise BenchError(f"they were tested on different videos, {sizes[0]} and {sizes[1]}")
        values = zip(estimates[0].per_seed, estimates[1].per_seed, strict=True)
        return Difference(metric, Estimate(tuple(x - y for x, y in values)), seeds)
    p_values = stored.p_values(*records)
    paired = paired_difference(*estimates)
    assert paired is not None, "runs on the same videos are paired"
    return Difference(metric, paired, seeds, p_values[metric])


def to_the_row_above(
    rows: Sequence[Row], stored: StoredRuns
) -> dict[tuple[int, str], Difference | str]:
    """Row and main metric -> the difference to the row above it, or why there is none.

    The first row of another encoder size has no row above it.

    The p-values are corrected for the number of all these comparisons.
    """
    found: dict[tuple[int, str], Difference | str] = {}
    for i, (above, row) in enumerate(pairwise(rows), start=1):
        if row.size != above.size:
            continue
        for metric in main_metrics(rows):
            try:
                found[i, metric] = difference(row, above, metric, stored)
            except BenchError as error:
                found[i, metric] = str(error)
    return corrected(found)


def corrected(
    differences: Mapping[tuple[int, str], Difference | str],
) -> dict[tuple[int, str], Difference | str]:
    """The same with p-values corrected for their number."""
    tested = {k: d for k, d in differences.items() if isinstance(d, Difference) and d.p is not None}
    p_values = holm([d.p for d in tested.values() if d.p is not None])
    return {
        **differences,
        **{k: replace(tested[k], p_corrected=p) for k, p in zip(tested, p_values, strict=True)},
    }


def main_metrics(rows: Sequence[Row]) -> list[str]:
    """The main metrics that any row has, measured or published; AP where there are none."""
    found = [m for m in PREFERRED if any(m in r.estimates or m in r.published for r in rows)]
    return found or ["AP"]
