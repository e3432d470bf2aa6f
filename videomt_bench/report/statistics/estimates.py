"""Means over seeds, their intervals and differences; knows nothing of any metric.

The method, what it covers and its limits: ``docs/statistics.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

LEVEL = 0.95
DRAWS = 1000
RNG_SEED = 0

Positions = npt.NDArray[np.int64]
Times = npt.NDArray[np.int64]
"""(D, V) how often each video occurs in each draw."""
Samples = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PerVideo:
    """A value of one run as a function of the test videos it is computed on.

    ``value`` takes positions in ``range(n_videos)``, with repeats, and returns NaN where the
    value is undefined on them.
    """

    n_videos: int
    value: Callable[[Positions], float]

    def draws(self, times: Times) -> Samples:
        """(D,) the value on each draw of videos."""
        positions = np.arange(self.n_videos)
        return np.array([self.value(np.repeat(positions, row)) for row in times], dtype=float)


@dataclass(frozen=True)
class Interval:
    """An interval and its ends."""

    low: float
    high: float


@dataclass(frozen=True)
class Uncertainty:
    """A standard error and the degrees of freedom it was estimated with."""

    error: float
    freedom: float

    def quantile(self, level: float = LEVEL) -> float:
        """How many standard errors the interval goes to either side (Student's t)."""
        freedom = min(self.freedom, 1e6)
        return float(stdtrit(freedom, 0.5 + level / 2))


@dataclass(frozen=True, eq=False)
class Estimate:
    """A mean over seeds and, where videos could be drawn, what every seed gives on each draw."""

    per_seed: tuple[float, ...]
    draws: Samples | None = None
    """(seeds, D) of the bootstrap over videos; all seeds share the videos of a draw."""
    n_videos: int = 0
    without_one: Samples | None = None
    """(seeds, V) without each of the videos in turn."""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """The values that are possible; an interval ends there."""

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return math.fsum(self.per_seed) / len(self.per_seed)

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds (n - 1); None with a single seed."""
        return float(np.std(self.per_seed, ddof=1)) if len(self.per_seed) > 1 else None

    @property
    def samples(self) -> Samples:
        """(D,) the mean over seeds on each draw; empty where nothing was drawn."""
        return np.empty(0) if self.draws is None else self.draws.mean(0)

    @cached_property
    def uncertainty(self) -> Uncertainty | None:
        """Standard error over videos and, with two seeds or more, over trainings; else None."""
        if self.draws is None or self.n_videos < 2:
            return None
        drawn = _bootstrap_covariance(self.draws, self.n_videos)
        left_out = None if self.without_one is None else _jackknife_covariance(self.without_one)
        if drawn is None:
            return None
        larger = left_out is not None and left_out.mean() > drawn.mean()
        covariance = left_out if left_out is not None and larger else drawn
        return _uncertainty(self.per_seed, covariance, self.n_videos)

    @cached_property
    def interval(self) -> Interval | None:
        """The 95 % interval of the mean; None where nothing was drawn."""
        if (found := self.uncertainty) is None:
            return None
        reach = found.quantile() * found.error
        low, high = self.bounds
        return Interval(max(self.mean - reach, low), min(self.mean + reach, high))

    @cached_property
    def p_value(self) -> float | None:
        """Two-sided, of the mean being 0, by the same standard error; None where nothing drawn."""
        if (found := self.uncertainty) is None:
            return None
        if found.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * stdtr(min(found.freedom, 1e6), -abs(self.mean) / found.error))

    def of_seeds(self, positions: Sequence[int]) -> Estimate:
        """The same of some of the seeds, by position."""
        chosen = list(positions)
        draws, without_one = (
            None if part is None else part[chosen] for part in (self.draws, self.without_one)
        )
        per_seed = tuple(self.per_seed[i] for i in chosen)
        return replace(self, per_seed=per_seed, draws=draws, without_one=without_one)


def _bootstrap_covariance(draws: Samples, videos: int) -> Samples | None:
    """(S, S) of the seeds through their videos; None where under half of the draws are defined."""
    defined = np.isfinite(draws).all(0)
    if defined.sum() < max(2, draws.shape[1] / 2):
        return None
    return np.atleast_2d(np.cov(draws[:, defined])) * videos / (videos - 1)


def _jackknife_covariance(without_one: Samples) -> Samples | None:
    """The same by leaving out one video after the other.

    Never too small in expectation (Efron and Stein, Ann. Stat. 9, 1981), which the bootstrap is
    where a class is in few videos: it is not in all draws.
    """
    defined = np.isfinite(without_one).all(0)
    left = int(defined.sum())
    if left < 2:
        return None
    return np.atleast_2d(np.cov(without_one[:, defined])) * (left - 1) ** 2 / left


def _uncertainty(per_seed: Sequence[float], covariance: Samples, videos: int) -> Uncertainty:
    """Of a mean over S seeds as random readers and V videos as random cases.

    Obuchowski and Rockette, Commun. Stat. Simul. Comput. 24 (1995): the variance of the mean is
    that of the seeds / S plus the covariance that seeds have through their videos. The degrees of
    freedom are those of Satterthwaite, as Hillis, Stat. Med. 26 (2007), has them, with those of
    the videos added. It is never less than the variance over videos of the same trained networks.
    """
    seeds, networks = len(per_seed), float(covariance.mean())
    if seeds == 1:
        return Uncertainty(math.sqrt(networks), videos - 1)
    training = float(np.var(per_seed, ddof=1)) / seeds
    shared = float(covariance.sum() - np.trace(covariance)) / (seeds * (seeds - 1))
    shared = max(shared, networks - training, 0.0)
    total = training + shared
    parts = training**2 / (seeds - 1) + shared**2 / (videos - 1)
    return Uncertainty(math.sqrt(total), total**2 / parts if parts > 0 else videos - 1)


def video_draws(videos: int, n_draws: int = DRAWS, rng_seed: int = RNG_SEED) -> Times:
    """(D, V) multiplicities of ``n_draws`` samples of videos with replacement.

    They depend on nothing but the arguments: the seeds of a row and the rows of a table, tested
    on the same videos, are drawn alike, so that their differences are paired draw by draw.
    """
    rng = np.random.default_rng(rng_seed)
    return rng.multinomial(videos, np.full(videos, 1 / videos), size=n_draws)


def all_but_one(videos: int) -> Times:
    """(V, V) multiplicities that leave out one video after the other."""
    return 1 - np.eye(videos, dtype=np.int64)


def bootstrap(runs: Sequence[PerVideo], n_draws: int = DRAWS, rng_seed: int = RNG_SEED) -> Samples:
    """(runs, D): the value of every run on each draw of videos, which all runs share.

    Raises:
        ValueError: no runs, or runs on different numbers of videos.
    """
    if not runs or len({run.n_videos for run in runs}) != 1 or runs[0].n_videos < 1:
        raise ValueError("bootstrap needs runs on one number of videos")
    times = video_draws(runs[0].n_videos, n_draws, rng_seed)
    return np.stack([run.draws(times) for run in runs])


def percentile_interval(
    samples: Sequence[float] | Samples, level: float = LEVEL
) -> Interval | None:
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
    """The mean of ``per_seed`` and, where ``runs`` are given, its draws."""
    values = tuple(float(v) for v in per_seed)
    if not runs:
        return Estimate(values)
    draws, videos = bootstrap(runs, n_draws, rng_seed), runs[0].n_videos
    without_one = np.stack([run.draws(all_but_one(videos)) for run in runs])
    return Estimate(values, draws, videos, without_one)


def paired_difference(a: Estimate, b: Estimate) -> Estimate | None:
    """``a - b``, paired by seed and draw: both must come from the same seeds and videos.

    None where the numbers of seeds or videos differ or one of the two was not drawn.
    """
    if a.draws is None or b.draws is None or a.n_videos != b.n_videos:
        return None
    if a.draws.shape != b.draws.shape or len(a.per_seed) != len(b.per_seed):
        return None
    values = tuple(x - y for x, y in zip(a.per_seed, b.per_seed, strict=True))
    without_one = None
    if a.without_one is not None and b.without_one is not None:
        without_one = a.without_one - b.without_one
    return Estimate(values, a.draws - b.draws, a.n_videos, without_one)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm, Scand. J. Stat. 6, 1979), in the order given."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: (p_values[i], i))):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected
