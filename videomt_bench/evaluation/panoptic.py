"""VPQ and STQ of panoptic predictions, as VIPSeg is scored.

``score_vipseg`` decodes every PNG once; ``summarize`` turns the statistics it keeps into the
metrics of any multiset of videos, which is what a bootstrap needs. Metrics are fractions of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from videomt_bench.errors import BenchError
from videomt_bench.evaluation import stq, vpq
from videomt_bench.evaluation.panoptic_counts import PairCounter, VideoCounts, count_video
from videomt_bench.evaluation.panoptic_files import (
    PanopticTruth,
    PngReader,
    read_panoptic_predictions,
    read_panoptic_truth,
)
from videomt_bench.evaluation.panoptic_stats import PanopticStats
from videomt_bench.evaluation.semantic_files import Faults
from videomt_bench.evaluation.tubes import Flags, Integers

SKIPPED = ("videos", "frames", "entries", "segments", "ids", "truth_segments", "truth_ids")


@dataclass(frozen=True)
class PanopticResult:
    """Metrics as ``summarize`` names them, and the statistics they come from."""

    metrics: dict[str, float | None]
    stats: PanopticStats
    skipped: dict[str, int]
    """All 0 unless lenient. Left out of the score: ``videos`` and ``frames``. Not used:
    ``entries`` of pred.json (a video or frame that is unknown, repeats or is damaged) and
    ``segments`` (damaged, of an unknown category, or without pixels). Taken as void: ``ids`` in
    a PNG that pred.json does not list. Of the truth, ``truth_segments`` without pixels count by
    their area, and ``truth_ids`` that are not listed count as neither segment nor void in VPQ
    and as void in STQ, all as in the official scripts."""
    faults: tuple[str, ...]
    """One sentence for each thing skipped."""


def score_vipseg(
    truth_json: Path,
    truth_dir: Path,
    predictions: Path,
    *,
    lenient: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> PanopticResult:
    """Score a folder of panoptic predictions (see ``panoptic_files``). Memory is that of a video.

    Frames are paired by name; the official scripts pair them by their place in the files.

    Args:
        truth_json: panoptic_gt_VIPSeg_val.json or a file like it.
        truth_dir: its PNGs, panomasksRGB.
        predictions: folder with ``pred.json`` and ``pan_pred``.
        lenient: skip what is bad instead of stopping at it, and count it (see ``PanopticResult``).
            No window spans a frame left out. Such scores are not comparable with official ones.
        on_progress: called with (videos done, videos in all).

    Raises:
        BenchError: nothing to score, or, unless lenient, an entry or a PNG that is missing,
            unknown, damaged, repeats, or of another size or mode, or a PNG whose ids are not
            those its JSON lists.
    """
    faults = Faults(lenient)
    truth = read_panoptic_truth(truth_json, truth_dir)
    found = read_panoptic_predictions(predictions, truth, faults)
    readers = PngReader(truth_dir), PngReader(predictions / "pan_pred")
    counter, is_thing = PairCounter(), np.array(truth.is_thing)
    videos = []
    for done, (name, frames) in enumerate(sorted(truth.videos.items()), 1):
        if name in found:
            predicted = [found[name].get(frame) for frame in frames]
            counts = count_video(counter, list(frames.values()), predicted, readers, faults)
            videos.append(score_video(truth, name, counts, is_thing))
        if on_progress is not None:
            on_progress(done, len(truth.videos))
    faults.skipped["videos"] += sum(video.frames == 0 for video in videos)
    videos = [video for video in videos if video.frames]
    if not videos:
        reason = f"; {faults.sentences[0]}" if faults.sentences else ""
        raise BenchError(f"no frame of {predictions} could be scored{reason}")
    stats = collect(truth, videos)
    skipped = {kind: faults.skipped[kind] for kind in SKIPPED}
    return PanopticResult(summarize(stats), stats, skipped, tuple(faults.sentences))


def summarize(
    stats: PanopticStats, videos: Sequence[int] | Integers | None = None
) -> dict[str, float | None]:
    """All metrics on a selection of videos.

    * VPQn, VPQn_thing, VPQn_stuff: mean over the categories that occur in windows of n frames,
      for n = 1, 2, 4, 6, 8. VPQ, VPQ_thing, VPQ_stuff: means over n.
    * STQ, AQ, SQ: as the official script has them. Two of its habits change numbers: the first
      segment that a video lists does not count in AQ if it is a thing, and a void prediction on
      a true pixel adds a class of IoU 0 to SQ.
    * AQ_all_things, SQ_without_void_class: without these habits. STQ_all_things,
      STQ_without_void_class: with one of the two corrected; STQ_corrected: with both.

    Args:
        stats: of all videos.
        videos: positions of the selected ones, with repeats; None takes each once. The result
            is the one of evaluating the copies as videos of their own.

    Returns:
        Fractions, None where nothing counts; VPQ is None where a VPQn is.

    Raises:
        BenchError: a position that does not exist.
    """
    times = stats.multiplicity(videos)
    matches = vpq.Matches(np.tensordot(times, stats.matches, 1), np.tensordot(times, stats.iou, 1))
    associations = stq.mean_quality(
        stats.confusion(videos),
        np.tensordot(times, stats.association, 1),
        np.tensordot(times, stats.tubes, 1),
    )
    return vpq.mean_quality(matches, stats.is_thing) | associations


def per_class(
    stats: PanopticStats, videos: Sequence[int] | Integers | None = None
) -> dict[str, dict[str, float | None]]:
    """VPQ and the number of true one-frame segments ``n`` of every category, by its name.

    VPQ is the mean over the window lengths in which the category occurs, None where in none.

    Raises:
        BenchError: a position that does not exist.
    """
    times = stats.multiplicity(videos)
    counts, iou = np.tensordot(times, stats.matches, 1), np.tensordot(times, stats.iou, 1)
    quality = vpq.class_quality(vpq.Matches(counts, iou))
    segments = (counts[0, :, 0] + counts[0, :, 2]).astype(int)
    return {
        str(name): {"VPQ": None if np.isnan(value) else float(value), "n": int(n)}
        for name, value, n in zip(stats.category_names, quality, segments, strict=True)
    }


def per_video(stats: PanopticStats) -> dict[str, dict[str, float | None]]:
    """VPQ, STQ, AQ and SQ of every video on its own, by its name."""
    table = {}
    for i, name in enumerate(stats.video_names):
        values = summarize(stats, [i])
        table[str(name)] = {key: values[key] for key in ("VPQ", "VPQ1", "STQ", "AQ", "SQ")}
    return table


class VideoScore(NamedTuple):
    """The row of one video in the statistics."""

    name: str
    frames: int
    matches: vpq.Matches
    associations: stq.Associations


def score_video(
    truth: PanopticTruth, name: str, counts: VideoCounts, is_thing: Flags
) -> VideoScore:
    """What the statistics keep of a video's counts."""
    try:
        matches = vpq.match_tubes(counts, len(is_thing))
    except BenchError as error:
        raise BenchError(f"{truth.path}, video {name!r}: {error}") from None
    return VideoScore(name, int(counts.scored.sum()), matches, stq.associate(counts, is_thing))


def collect(truth: PanopticTruth, videos: Sequence[VideoScore]) -> PanopticStats:
    """The statistics of videos, which are in ascending order of name."""
    cells = [video.associations.cells for video in videos]
    true, predicted, pixels = np.concatenate(cells, axis=1)
    return PanopticStats(
        video_names=np.array([video.name for video in videos], np.str_),
        frames=np.array([video.frames for video in videos], np.int64),
        category_ids=np.array(truth.category_ids, np.int64),
        category_names=np.array(truth.category_names, np.str_),
        is_thing=np.array(truth.is_thing),
        matches=np.stack([video.matches.counts for video in videos]),
        iou=np.stack([video.matches.iou for video in videos]),
        cell_video=np.repeat(np.arange(len(videos)), [one.shape[1] for one in cells]),
        cell_truth=true,
        cell_predicted=predicted,
        cell_pixels=pixels,
        association=np.stack([video.associations.quality for video in videos]),
        tubes=np.stack([video.associations.tubes for video in videos]),
    )
