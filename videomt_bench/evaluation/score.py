"""Files in, metrics out: the truth and predictions of any origin, in the YouTube-VIS layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.recall import summarize_objects
from videomt_bench.evaluation.semantic_files import Faults
from videomt_bench.evaluation.video_ap import evaluate_videos, summarize
from videomt_bench.evaluation.video_stats import DIAGNOSTICS, VideoStats
from videomt_bench.evaluation.ytvis_files import (
    Prediction,
    Truth,
    read_predictions,
    read_truth,
    read_videos,
)

Progress = Callable[[int, int], None]
"""Called with (videos done, videos in all)."""


class Score(NamedTuple):
    """A metric in fractions of one, None where nothing counts, and the number n behind it."""

    value: float | None
    n: int
    """Videos for AP and AR, objects for recall and drift."""
    unit: str = "fraction"


@dataclass(frozen=True)
class YtvisResult:
    """Metrics, and the statistics they come from."""

    metrics: dict[str, Score]
    stats: dict[str, VideoStats]
    """By the name of the list of videos: ``all``, or ``short`` and ``long``."""
    skipped: dict[str, int]
    """``entries`` of the result file left out; 0 unless lenient."""
    faults: tuple[str, ...]
    """One sentence for each thing skipped."""


def score_ytvis(
    truth: Path, predictions: Path, *, lenient: bool = False, on_progress: Progress | None = None
) -> YtvisResult:
    """Video AP and AR, with those by occlusion where the truth has labels, and the diagnostics.

    Args:
        truth: annotations with ground truth, of YouTube-VIS, OVIS or a data set in their layout.
        predictions: the result file.
        lenient: skip bad entries of the result file instead of stopping at one, and count them.
            Such scores are not comparable with official ones. A damaged truth and a file that is
            no result file at all remain errors.
        on_progress: called with (videos done, videos in all).

    Raises:
        BenchError: see :func:`read_truth` and :func:`read_predictions`.
    """
    known, faults = read_truth(truth), Faults(lenient)
    found = read_predictions(predictions, known, faults)
    stats = evaluate_videos(known, found, on_progress)
    return _result(scores(stats), {"all": stats}, faults)


def score_ytvis_2022(
    truth: Path,
    short: Path,
    long: Path,
    predictions: Path,
    *,
    lenient: bool = False,
    on_progress: Progress | None = None,
) -> YtvisResult:
    """mAP, and AP, AP50, AP75, AR1, AR10 of the short (_S) and the long videos (_L).

    The protocol of YouTube-VIS 2022 as the DVIS++ and VidEoMT repositories score it: each list
    is evaluated on its own and mAP is the mean of both APs. Papers print AP_L and AR10_L.

    Args:
        truth: all videos (gt.json); its annotations, if any, are not used.
        short: annotations of the short videos (gt_short.json).
        long: of the long videos (gt_long.json).
        predictions: one result file for all videos.
        lenient: see :func:`score_ytvis`.
        on_progress: called with (videos done, videos in all).

    Raises:
        BenchError: see :func:`read_truth` and :func:`read_predictions`; or a video of a list
            that is not one of ``truth``.
    """
    known, faults = read_videos(truth), Faults(lenient)
    parts = {"short": read_truth(short), "long": read_truth(long)}
    for path, part in zip((short, long), parts.values(), strict=True):
        _check_part(path, part, known)
    found = read_predictions(predictions, known, faults)
    total, done = sum(len(part.videos) for part in parts.values()), 0

    def report(now: int, _: int) -> None:
        if on_progress is not None:
            on_progress(done + now, total)

    stats, metrics = {}, {}
    for name, part in parts.items():
        stats[name] = evaluate_videos(part, _restricted(found, part), report)
        done += len(part.videos)
        values, videos = summarize(stats[name]), len(part.videos)
        for metric in ("AP", "AP50", "AP75", "AR1", "AR10"):
            metrics[f"{metric}_{name[0].upper()}"] = Score(values[metric], videos)
    both = [metrics["AP_S"].value, metrics["AP_L"].value]
    mean = None if None in both else sum(value or 0.0 for value in both) / 2
    return _result({"mAP": Score(mean, total)} | metrics, stats, faults)


def score_files(truth: Path, predictions: Path, stats: Path | None = None) -> dict[str, Score]:
    """The metrics of :func:`score_ytvis`, strict; ``stats`` is where to keep the statistics.

    Raises:
        BenchError: see :func:`score_ytvis`.
    """
    result = score_ytvis(truth, predictions)
    if stats is not None:
        result.stats["all"].save(stats)
    return result.metrics


def scores(stats: VideoStats) -> dict[str, Score]:
    """All metrics of stored statistics."""
    videos = len(stats.video_ids)
    metrics = {name: Score(value, videos) for name, value in summarize(stats).items()}
    objects = summarize_objects(stats)
    return metrics | {
        name: Score(objects[name], int(objects[f"{name}_n"] or 0)) for name in DIAGNOSTICS
    }


def _result(metrics: dict[str, Score], stats: dict[str, VideoStats], faults: Faults) -> YtvisResult:
    skipped = {"entries": faults.skipped["entries"]}
    return YtvisResult(metrics, stats, skipped, tuple(faults.sentences))


def _check_part(path: Path, part: Truth, known: Truth) -> None:
    for id_, video in part.videos.items():
        if known.videos.get(id_) != video:
            raise BenchError(f"{path}: video {id_} is not, or not like this, among all videos")


def _restricted(predictions: list[Prediction], part: Truth) -> list[Prediction]:
    """Those of the part's videos and categories, as the official evaluation looks them up."""
    return [
        p for p in predictions if p.video_id in part.videos and p.category_id in part.categories
    ]
