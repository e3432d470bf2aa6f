from __future__ import annotations

import itertools

import numpy as np
import pytest

from videomt_bench.report.statistics import (
    Estimate,
    PerVideo,
    bootstrap,
    estimate,
    paired_difference,
    percentile_interval,
)


def mean_of(values: list[float]) -> PerVideo:
    array = np.array(values)
    return PerVideo(len(array), lambda positions: float(array[positions].mean()))


def test_bootstrap_is_the_exact_distribution_of_a_tiny_case():
    """All 27 samples of 3 videos and all 4 of 2 seeds, each equally likely."""
    a, b = [0.0, 1.0, 5.0], [2.0, 2.0, 9.0]
    exact = [
        np.mean([np.mean([run[v] for v in videos]) for run in runs])
        for runs in itertools.product([a, b], repeat=2)
        for videos in itertools.product(range(3), repeat=3)
    ]
    samples = bootstrap([mean_of(a), mean_of(b)], n_draws=20_000)
    assert set(np.round(samples, 9)) == set(np.round(exact, 9))
    for q in (10, 25, 50, 75, 90):
        share = np.mean(samples <= np.percentile(exact, q) + 1e-9)
        assert share == pytest.approx(
            np.mean(np.array(exact) <= np.percentile(exact, q) + 1e-9), abs=0.02
        )
    assert samples.mean() == pytest.approx(np.mean(exact), abs=0.02)


def test_bootstrap_equals_a_plain_loop_over_the_same_draws():
    rng = np.random.default_rng(5)
    values = rng.random((3, 8))
    samples = bootstrap([mean_of(list(v)) for v in values], n_draws=40, rng_seed=9)
    again = np.random.default_rng(9)
    for sample in samples:
        seeds, videos = again.integers(3, size=3), again.integers(8, size=8)
        assert sample == pytest.approx(np.mean([values[s][videos].mean() for s in seeds]))


def test_all_seeds_of_a_draw_share_its_videos():
    """Two runs that cancel out video by video leave no spread over videos."""
    values = np.random.default_rng(0).normal(size=10)
    same = bootstrap([mean_of(list(values)), mean_of(list(values))], n_draws=50)
    alone = bootstrap([mean_of(list(values))], n_draws=2000)
    assert np.std(same) == pytest.approx(np.std(alone), rel=0.3)
    seen: list[np.ndarray] = []

    def spy(positions: np.ndarray) -> float:
        seen.append(positions)
        return 0.0

    bootstrap([PerVideo(10, spy), PerVideo(10, spy)], n_draws=30)
    distinct = {tuple(positions) for positions in seen}
    assert len(distinct) == 30


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        samples = bootstrap([mean_of(list(rng.normal(10, 3, size=60)))], 200, trial)
        interval = percentile_interval(samples)
        assert interval is not None
        hits += interval.low <= 10 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_seeds_that_differ_widen_the_interval():
    values = list(np.random.default_rng(2).normal(10, 1, size=50))
    shifted = [v + 5 for v in values]
    one = percentile_interval(bootstrap([mean_of(values)]))
    two = percentile_interval(bootstrap([mean_of(values), mean_of(shifted)]))
    assert one is not None
    assert two is not None
    assert two.high - two.low > 3 * (one.high - one.low)


def test_estimate_is_reproducible_and_has_the_mean_and_deviation_of_the_seeds():
    runs = [mean_of([1.0, 2.0, 6.0]), mean_of([2.0, 4.0, 9.0])]
    first, second = estimate([3.0, 5.0], runs), estimate([3.0, 5.0], runs)
    assert first == second
    assert first.mean == 4.0
    assert first.deviation == pytest.approx(np.sqrt(2))
    assert estimate([3.0]).deviation is None
    assert estimate([3.0]).interval is None


def test_undefined_draws_are_left_out_and_too_many_of_them_give_no_interval():
    assert percentile_interval([1.0, 2.0, 3.0, np.nan]) == percentile_interval([1.0, 2.0, 3.0])
    assert percentile_interval([1.0, np.nan, np.nan]) is None
    assert percentile_interval([]) is None


def test_a_paired_difference_is_that_of_the_draws():
    values = np.random.default_rng(3).normal(10, 5, size=40)
    low = estimate([values.mean()], [mean_of(list(values))])
    high = estimate([values.mean() + 1], [mean_of(list(values + 1))])
    difference = paired_difference(high, low)
    assert difference is not None
    assert difference.mean == pytest.approx(1)
    interval = difference.interval
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((1, 1))
    assert paired_difference(high, Estimate((1.0, 2.0), low.samples)) is None
    assert paired_difference(high, Estimate((1.0,))) is None


def test_bootstrap_refuses_runs_on_other_videos():
    with pytest.raises(ValueError, match="one number of videos"):
        bootstrap([mean_of([1.0]), mean_of([1.0, 2.0])])
    with pytest.raises(ValueError, match="one number of videos"):
        bootstrap([])
