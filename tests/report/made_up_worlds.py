"""Worlds with a known truth: videos and trainings are drawn at random, again and again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from videomt_bench.evaluation.video_stats import DIAGNOSTICS, VideoStats
from videomt_bench.report.statistics.estimates import Estimate, all_but_one, video_draws
from videomt_bench.report.statistics.resample_ap import InstanceResampler
from videomt_bench.report.statistics.resampling import Ratios, Table, mean_where

CLASSES = 5
RATES = np.linspace(0.45, 0.75, CLASSES)
"""Of hits among pixels, by class."""


def mean_ratio(sums: Table) -> dict[str, np.ndarray]:
    """A mean over classes of ratios of sums, as VPQ and mIoU are."""
    hits, pixels = np.split(sums, 2, 1)
    return {"value": 100 * mean_where(hits / np.maximum(pixels, 1e-9), pixels > 0)}


def ratio_runs(
    rng: np.random.Generator,
    seeds: int,
    videos: int,
    training: float = 0.0,
    interaction: float = 0.5,
    variants: int = 1,
) -> list[list[Ratios]]:
    """Runs by variant and seed on the same videos, all of the same expected rates.

    Videos have classes that are often absent, sizes with a long tail, and a difficulty that all
    runs share; ``interaction`` is what runs have beyond it, ``training`` the deviation of a run's
    rate, in rates.
    """
    pixels = rng.lognormal(0, 0.8, (videos, CLASSES)) * (rng.random((videos, CLASSES)) < 0.6)
    difficulty = rng.normal(0, 0.12, (videos, CLASSES))
    runs = []
    for _ in range(variants):
        runs.append([])
        for _ in range(seeds):
            own = rng.normal(0, 0.12 * interaction, (videos, CLASSES))
            rates = RATES + difficulty + own + training * rng.normal()
            table = np.hstack([pixels * rates, pixels])
            names = tuple(map(str, range(videos)))
            runs[-1].append(Ratios(names, table, mean_ratio, b""))
    return runs


RATIO_TRUTH = 100 * RATES.mean()


def detection_run(
    rng: np.random.Generator,
    truth: np.ndarray,
    difficulty: np.ndarray,
    skill: float = 0.0,
    interaction: float = 0.5,
) -> InstanceResampler:
    """A run on V videos with ``truth`` (V, C) objects: easy videos have better masks and scores."""
    videos, categories = truth.shape
    video, category = (
        np.repeat(index.reshape(-1), truth.reshape(-1)) for index in np.indices(truth.shape)
    )
    own = difficulty + interaction * rng.normal(0, 1, videos)
    quality = 0.72 + 0.12 * (own[video] + skill) + rng.normal(0, 0.12, len(video))
    score = 1 / (1 + np.exp(-(8 * (quality - 0.6) + rng.normal(0, 1, len(video)))))
    wrong = rng.poisson(1.0 * np.exp(-0.3 * own))
    wrong_video = np.repeat(np.arange(videos), wrong)
    video = np.r_[video, wrong_video]
    category = np.r_[category, rng.integers(0, categories, len(wrong_video))]
    quality = np.r_[quality, np.zeros(len(wrong_video))]
    score = np.r_[score, rng.beta(1, 3, len(wrong_video))]
    order = np.lexsort((video, -score, category))
    video, category, quality, score = (a[order] for a in (video, category, quality, score))
    matched = np.repeat((quality[:, None] > np.linspace(0.5, 0.95, 10))[:, None], 4, 1)
    zeros = np.zeros((videos, len(DIAGNOSTICS)))
    stats = VideoStats(
        video_ids=np.arange(videos),
        category_ids=np.arange(categories),
        category_names=np.array([f"class {c}" for c in range(categories)]),
        truth_counts=np.repeat(truth[:, :, None], 4, 2),
        video=video,
        category=category,
        rank=np.zeros(len(video), np.int64),
        score=score,
        matched=matched,
        ignored=np.zeros_like(matched),
        object_sums=zeros,
        object_counts=zeros.astype(np.int64),
    )
    return InstanceResampler(stats)


def detection_runs(
    rng: np.random.Generator, seeds: int, videos: int, training: float = 0.0, variants: int = 1
) -> list[list[InstanceResampler]]:
    """Runs by variant and seed on the same videos; ``training`` is the deviation of their skill."""
    truth = rng.poisson(0.8, (videos, 3))
    difficulty = rng.normal(0, 1, videos)
    return [
        [detection_run(rng, truth, difficulty, training * rng.normal()) for _ in range(seeds)]
        for _ in range(variants)
    ]


def estimate_of(runs: Sequence[Ratios | InstanceResampler], metric: str, draws: int) -> Estimate:
    """The estimate that a report makes of runs on the same videos."""
    videos = len(runs[0].videos)
    every = np.ones(videos, np.int64)
    times = np.vstack([every, all_but_one(videos), video_draws(videos, draws)])
    lines = np.stack([run.scores(times)[metric] for run in runs])
    whole, without_one, drawn = np.split(lines, [1, 1 + videos], axis=1)
    return Estimate(tuple(whole[:, 0]), drawn, videos, without_one)
