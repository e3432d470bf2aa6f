"""Is the difference of two variants more than the choice of names for them, video by video?"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from videomt_bench.errors import BenchError
from videomt_bench.report.statistics.estimates import RNG_SEED
from videomt_bench.report.statistics.resampling import Resampler, Scores

SWAPS = 2000


def swap_test(
    a: Sequence[Resampler],
    b: Sequence[Resampler],
    swaps: int = SWAPS,
    rng_seed: int = RNG_SEED,
) -> dict[str, float]:
    """Two-sided p of every metric that both variants have.

    If the variants were the same, their results on a video could change places. Each of ``swaps``
    random choices of videos swaps them in all seeds together and computes both metrics again. The
    statement is about these trained networks: seeds do not change places.

    Args:
        a: one variant, by seed.
        b: the other, by the same seeds.

    Raises:
        BenchError: the runs were not scored against the same truth.
        ValueError: not as many runs of one as of the other.
    """
    check_same_videos([*a, *b])
    videos = len(a[0].videos)
    choice = np.random.default_rng(rng_seed).integers(0, 2, (swaps, videos))
    # the first line swaps nothing
    choice = np.vstack([np.zeros(videos, np.int64), choice])
    differences: Scores = {}
    sides = (np.hstack([1 - choice, choice]), np.hstack([choice, 1 - choice]))
    with ThreadPoolExecutor(len(sides)) as threads:
        for own, other in zip(a, b, strict=True):
            first, second = threads.map(own.beside(other).scores, sides)
            for name in first:
                found = first[name] - second[name]
                differences[name] = differences.get(name, 0.0) + found / len(a)
    return {name: _p_value(values[0], values[1:]) for name, values in differences.items()}


def _p_value(observed: float, swapped: np.ndarray) -> float:
    """The share of results at least as far from 0, the observed one among them."""
    if not np.isfinite(observed):
        return 1.0
    # what is equal but for rounding counts as equal
    reached = ~(np.abs(swapped) < abs(observed) - 1e-9)
    return float((1 + reached.sum()) / (1 + len(swapped)))


def check_same_videos(runs: Sequence[Resampler]) -> None:
    """Reject runs that cannot be paired video by video.

    Raises:
        BenchError: they have other videos, or other objects in them.
    """
    first = runs[0]
    for run in runs[1:]:
        if run.videos != first.videos:
            odd = sorted(set(run.videos) ^ set(first.videos))
            which = f"; {len(odd)} are of one alone, such as {odd[0]!r}" if odd else ""
            raise BenchError(
                f"they were tested on different videos, {len(first.videos)} and "
                f"{len(run.videos)}{which}"
            )
        if run.truth != first.truth:
            raise BenchError("they were scored against different annotations of the same videos")
