from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from videomt_bench.report.statistics.estimates import (
    Estimate,
    PerVideo,
    bootstrap,
    estimate,
    holm,
    paired_difference,
    percentile_interval,
    video_draws,
)


def mean_of(values: list[float]) -> PerVideo:
    array = np.array(values)
    return PerVideo(len(array), lambda positions: float(array[positions].mean()))


def test_bootstrap_is_the_exact_distribution_of_a_tiny_case():
    """All 27 samples of 3 videos, each equally likely."""
    values = [0.0, 1.0, 5.0]
    exact = [
        np.mean([values[v] for v in videos]) for videos in itertools.product(range(3), repeat=3)
    ]
    (samples,) = bootstrap([mean_of(values)], n_draws=20_000)
    assert set(np.round(samples, 9)) == set(np.round(exact, 9))
    for q in (10, 25, 50, 75, 90):
        share = np.mean(samples <= np.percentile(exact, q) + 1e-9)
        assert share == pytest.approx(
            np.mean(np.array(exact) <= np.percentile(exact, q) + 1e-9), abs=0.02
        )


def test_bootstrap_equals_a_plain_loop_over_the_same_draws():
    values = np.random.default_rng(5).random((3, 8))
    samples = bootstrap([mean_of(list(v)) for v in values], n_draws=40, rng_seed=9)
    times = video_draws(8, 40, rng_seed=9)
    assert (times.sum(1) == 8).all()
    for row, line in enumerate(times):
        videos = [v for v in range(8) for _ in range(line[v])]
        assert samples[:, row] == pytest.approx([values[s][videos].mean() for s in range(3)])


def test_all_seeds_of_a_draw_share_its_videos():
    seen: list[tuple[int, ...]] = []

    def spy(positions: np.ndarray) -> float:
        seen.append(tuple(positions))
        return 0.0

    bootstrap([PerVideo(10, spy), PerVideo(10, spy)], n_draws=30)
    assert seen[:30] == seen[30:]
    assert len(set(seen)) == 30


def test_the_interval_of_a_mean_of_one_seed_is_students():
    values = np.random.default_rng(2).normal(10, 3, size=20)
    one = estimate([values.mean()], [mean_of(list(values))], n_draws=20_000)
    low, high = scipy_stats.t.interval(0.95, 19, values.mean(), values.std(ddof=1) / np.sqrt(20))
    assert one.interval is not None
    assert (one.interval.low, one.interval.high) == pytest.approx((low, high), abs=0.05)
    assert one.p_value == pytest.approx(scipy_stats.ttest_1samp(values, 0).pvalue, abs=1e-6)


def test_the_jackknife_alone_is_students_too_and_the_larger_of_both_counts():
    values = np.random.default_rng(2).normal(10, 3, size=20)
    error = values.std(ddof=1) / np.sqrt(20)
    one = estimate([values.mean()], [mean_of(list(values))], n_draws=4000)
    assert one.without_one is not None
    small = Estimate(one.per_seed, np.zeros((1, 99)), 20, one.without_one).uncertainty
    assert small is not None
    assert small.error == pytest.approx(error)
    large = Estimate(one.per_seed, 2 * one.samples[None], 20, one.without_one).uncertainty
    assert large is not None
    assert large.error == pytest.approx(2 * error, rel=0.05)


def test_the_interval_over_seeds_is_students_where_videos_do_not_matter():
    """Every video of a seed has the seed's value: nothing is left but the seeds."""
    values = [3.0, 5.0, 10.0]
    found = estimate(values, [mean_of([v] * 6) for v in values], n_draws=50)
    low, high = scipy_stats.t.interval(0.95, 2, 6.0, np.std(values, ddof=1) / np.sqrt(3))
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))


def test_seeds_and_videos_add_up():
    """A two-way layout without interaction: the variance of the mean has two parts."""
    rng = np.random.default_rng(3)
    seeds, videos = rng.normal(0, 1, 4), rng.normal(0, 9, 80)
    table = 50 + seeds[:, None] + videos
    found = estimate(table.mean(1), [mean_of(list(row)) for row in table], n_draws=4000)
    assert found.uncertainty is not None
    expected = np.var(seeds, ddof=1) / 4 + np.var(videos, ddof=1) / 80
    assert found.uncertainty.error**2 == pytest.approx(expected, rel=0.06)


def test_an_interval_over_seeds_is_never_below_that_of_the_trained_networks():
    values = np.random.default_rng(4).normal(10, 2, (3, 40))
    values -= values.mean(1, keepdims=True) - 10  # the seeds agree exactly
    found = estimate(values.mean(1), [mean_of(list(row)) for row in values], n_draws=3000)
    mean = estimate([10.0], [mean_of(list(values.mean(0)))], n_draws=3000)
    assert found.uncertainty is not None
    assert mean.uncertainty is not None
    assert found.uncertainty.error == pytest.approx(mean.uncertainty.error)


def test_estimates_are_reproducible_and_have_the_mean_and_deviation_of_the_seeds():
    runs = [mean_of([1.0, 2.0, 6.0]), mean_of([2.0, 4.0, 9.0])]
    first, second = estimate([3.0, 5.0], runs), estimate([3.0, 5.0], runs)
    assert first.interval == second.interval
    assert first.mean == 4.0
    assert first.deviation == pytest.approx(np.sqrt(2))
    assert first.of_seeds([1]).per_seed == (5.0,)
    assert first.of_seeds([1]).draws is not None
    assert len(first.samples) == 1000
    alone = estimate([3.0])
    assert (alone.deviation, alone.interval, alone.p_value, len(alone.samples)) == (
        None, None, None, 0,
    )  # fmt: skip


def test_an_interval_ends_where_values_do():
    runs = [mean_of([0.0, 0.0, 0.0, 90.0])]
    draws = bootstrap(runs)
    found = Estimate((22.5,), draws, 4, bounds=(0.0, 100.0)).interval
    assert found is not None
    assert found.low == 0.0


def test_undefined_draws_are_left_out_and_too_many_of_them_give_no_interval():
    assert percentile_interval([1.0, 2.0, 3.0, np.nan]) == percentile_interval([1.0, 2.0, 3.0])
    assert percentile_interval([1.0, np.nan, np.nan]) is None
    assert percentile_interval([]) is None
    draws = np.array([[1.0, 2.0, 3.0, 4.0]])
    some, many = draws.copy(), draws.copy()
    some[0, 0], many[0, :3] = np.nan, np.nan
    kept = Estimate((2.0,), some, 5).uncertainty
    assert kept is not None
    assert kept.error == pytest.approx(np.sqrt(5 / 4))
    assert Estimate((2.0,), many, 5).interval is None
    assert Estimate((2.0,), draws, 1).interval is None, "one video says nothing of others"


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
    assert paired_difference(high, Estimate((1.0, 2.0), np.zeros((2, 1000)), 40)) is None
    assert paired_difference(high, Estimate((1.0,), np.zeros((1, 1000)), 41)) is None
    assert paired_difference(high, Estimate((1.0,))) is None
    same = paired_difference(low, low)
    assert same is not None
    assert same.p_value == 1.0


def test_bootstrap_refuses_runs_on_other_videos():
    with pytest.raises(ValueError, match="one number of videos"):
        bootstrap([mean_of([1.0]), mean_of([1.0, 2.0])])
    with pytest.raises(ValueError, match="one number of videos"):
        bootstrap([])


def test_holm_against_its_definition():
    """Worked by hand: 0.005 · 4, 0.01 · 3, 0.03 · 2, 0.04 · 1 but never less than before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
