"""Statistics of runs that never were, with everything that makes scores awkward."""

from __future__ import annotations

import numpy as np

from videomt_bench.evaluation.panoptic_stats import PanopticStats
from videomt_bench.evaluation.semantic_stats import CLASSES, SemanticStats
from videomt_bench.evaluation.video_stats import DIAGNOSTICS, VideoStats


def instance_stats(
    rng: np.random.Generator,
    videos: int = 12,
    categories: int = 3,
    per_video: int = 8,
    quality: float = 0.6,
    truth: np.ndarray | None = None,
    decimals: int = 1,
) -> VideoStats:
    """Many equal scores, ignored detections, categories without objects in some videos.

    ``truth`` is (V, C) objects; drawn if not given.
    """
    if truth is None:
        truth = rng.integers(0, 3, (videos, categories))
    videos, categories = truth.shape
    count = videos * per_video
    video = np.repeat(np.arange(videos), per_video)
    category = rng.integers(0, categories, count)
    score = np.round(rng.random(count), decimals)
    order = np.lexsort((rng.random(count), video, -score, category))
    video, category, score = video[order], category[order], score[order]
    rank = np.zeros(count, np.int64)
    matched, ignored = np.zeros((2, count, 4, 10), bool)
    for v in range(videos):
        for c in range(categories):
            own = np.flatnonzero((video == v) & (category == c))
            rank[own] = np.arange(len(own))
            for t in range(10):
                free = truth[v, c]
                for i in own:
                    if rng.random() < 0.05:
                        ignored[i, :, t] = True
                        matched[i, :, t] = rng.random() < 0.5
                    elif free and rng.random() < quality * (1 - t / 12) * (0.4 + 0.6 * score[i]):
                        matched[i, :, t] = True
                        free -= 1
    objects = np.repeat(truth[:, :, None], 4, 2)
    objects[:, :, 1:] = truth[:, :, None] * (rng.random((videos, categories, 3)) < 0.5)
    counts = rng.integers(0, 3, (videos, len(DIAGNOSTICS)))
    return VideoStats(
        video_ids=np.arange(1, videos + 1),
        category_ids=np.arange(1, categories + 1),
        category_names=np.array([f"class {c}" for c in range(categories)]),
        truth_counts=objects,
        video=video,
        category=category,
        rank=rank,
        score=score,
        matched=matched,
        ignored=ignored,
        object_sums=rng.random(counts.shape) * counts,
        object_counts=counts,
    )


def panoptic_stats(rng: np.random.Generator, videos: int = 9, categories: int = 5) -> PanopticStats:
    """Rare categories; things first."""
    matches = rng.integers(0, 4, (videos, 5, categories, 3))
    matches *= rng.random((videos, 1, categories, 1)) < 0.5
    cells = [(v, t, p) for v in range(videos) for t in range(categories)
             for p in range(categories + 1) if rng.random() < 0.2]  # fmt: skip
    cell_video, truth, predicted = np.array(cells, np.int64).T
    tubes = rng.integers(0, 4, (videos, 2))
    return PanopticStats(
        video_names=np.array([f"v{v:03}" for v in range(videos)]),
        frames=rng.integers(1, 9, videos),
        category_ids=np.arange(categories) * 3,
        category_names=np.array([f"class {c}" for c in range(categories)]),
        is_thing=np.arange(categories) < categories // 2,
        matches=matches,
        iou=matches[..., 0] * rng.uniform(0.5, 1, matches.shape[:-1]),
        cell_video=cell_video,
        cell_truth=truth,
        cell_predicted=predicted,
        cell_pixels=rng.integers(1, 10**7, len(cells)),
        association=tubes * rng.random(tubes.shape),
        tubes=tubes,
    )


def semantic_stats(rng: np.random.Generator, videos: int = 10) -> SemanticStats:
    """Videos too short for windows of 16, a few classes each."""
    cells = [(v, t, p) for v in range(videos) for t in rng.choice(CLASSES, 4, False)
             for p in {int(t), int(rng.integers(CLASSES + 1))}]  # fmt: skip
    cells.sort()
    cell_video, truth, predicted = np.array(cells, np.int64).T
    counts = rng.integers(0, 6, (videos, 2, 2))
    return SemanticStats(
        video_names=np.array([f"v{v:03}" for v in range(videos)]),
        frames=rng.integers(1, 30, videos),
        skipped_frames=np.zeros(videos, np.int64),
        cell_video=cell_video,
        cell_truth=truth,
        cell_predicted=predicted,
        cell_pixels=rng.integers(1, 10**7, len(cells)),
        window_sums=rng.random(counts.shape) * counts,
        window_counts=counts,
    )
