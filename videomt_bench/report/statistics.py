"""Means over seeds and bootstrap intervals over videos; knows nothing of any metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
DRAWS = 1000
RNG_SEED = 0

Positions = npt.NDArray[np.int64]
Samples = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PerVideo:
    """A value of one run as a function of the test videos it is computed on.

    ``value`` takes positions in ``range(n_videos)``, with repeats, and returns NaN where the
    value is undefined on them.
    """

    n_videos: int
    value: Callable[[Positions], float]


@dataclass(frozen=True)
class Interval:
    """A percentile interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, with the seeds' values and, where there are any, bootstrap samples."""

    per_seed: tuple[float, ...]
    samples: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return math.fsum(self.per_seed) / len(self.per_seed)

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds (n - 1); None with a single seed."""
        return float(np.std(self.per_seed, ddof=1)) if len(self.per_seed) > 1 else None

    @cached_property
    def interval(self) -> Interval | None:
        """The percentile interval of the samples; None where there are none."""
        return percentile_interval(self.samples)


def bootstrap(runs: Sequence[PerVideo], n_draws: int = DRAWS, rng_seed: int = RNG_SEED) -> Samples:
    """Bootstrap samples of the mean over runs: (n_draws,).

    Each draw takes seeds with replacement (with a single run: that run), then one sample of
    videos with replacement that all drawn seeds share. The draws depend on nothing but the
    number of runs, the number of videos and ``rng_seed``: samples of two rows tested on the same
    videos are paired, draw by draw.

    Raises:
        ValueError: no runs, or runs on different numbers of videos.
    """
    if not runs or len({run.n_videos for run in runs}) != 1 or runs[0].n_videos < 1:
        raise ValueError("bootstrap needs runs on one number of videos")
    rng = np.random.default_rng(rng_seed)
    samples = np.empty(n_draws)
    for i in range(n_draws):
        seeds, counts = np.unique(rng.integers(len(runs), size=len(runs)), return_counts=True)
        videos = rng.integers(runs[0].n_videos, size=runs[0].n_videos)
        values = [runs[s].value(videos) for s in seeds]
        samples[i] = np.dot(values, counts) / len(runs)
    return samples


def percentile_interval(samples: Sequence[float], level: float = LEVEL) -> Interval | None:
    """The central ``level`` of the samples; None where fewer than half of them are defined."""
    values = np.asarray(samples, dtype=float)
    defined = values[np.isfinite(values)]
    if len(values) == 0 or len(defined) < len(values) / 2:
        return None
    low, high = np.percentile(defined, [50 * (1 - level), 50 * (1 + level)])
    return Interval(float(low), float(high))


def estimate(
    per_seed: Sequence[float],
    runs: Sequence[PerVideo] = (),
    n_draws: int = DRAWS,
    rng_seed: int = RNG_SEED,
) -> Estimate:
    """The mean of ``per_seed`` and, where ``runs`` are given, its bootstrap samples."""
    samples = bootstrap(runs, n_draws, rng_seed).tolist() if runs else ()
    return Estimate(tuple(float(v) for v in per_seed), tuple(samples))


def paired_difference(a: Estimate, b: Estimate) -> Estimate | None:
    """``a - b``, paired by draw: the samples must come from the same seeds and videos.

    None where the numbers of seeds differ or one of the two has no samples.
    """
    if len(a.per_seed) != len(b.per_seed) or not a.samples or len(a.samples) != len(b.samples):
        return None
    values = tuple(x - y for x, y in zip(a.per_seed, b.per_seed, strict=True))
    samples = tuple(np.subtract(a.samples, b.samples).tolist())
    return Estimate(values, samples)
