"""mIoU, accuracies and video consistency of semantic masks, as VSPW is scored.

``score_vspw`` reads every PNG once; ``summarize`` turns the statistics it keeps into the metrics
of any multiset of videos, which is what a bootstrap needs. Metrics are fractions of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.consistency import WINDOWS, Consistency, Mask
from videomt_bench.evaluation.semantic_files import Faults, VideoFiles, find_videos, read_mask
from videomt_bench.evaluation.semantic_stats import (
    CLASSES,
    Floats,
    Integers,
    SemanticStats,
)

VALUES = 256
"""A mask value is one byte; a pair (truth, predicted) has the code truth * VALUES + predicted."""


@dataclass(frozen=True)
class SemanticResult:
    """Metrics as ``summarize`` names them, and the statistics they come from."""

    metrics: dict[str, float | None]
    stats: SemanticStats
    skipped: dict[str, int]
    """``videos`` and ``frames`` left out, and ``pixels`` of a predicted value that is no class
    where the truth counts. All 0 unless lenient."""
    faults: tuple[str, ...]
    """One sentence for each thing skipped."""
    truth_pixels_outside: int
    """Pixels whose truth is 125 to 254. They count as nothing, like 0 and 255; VSPW has none."""

    def per_class(self) -> dict[int, dict[str, float | None]]:
        """See :func:`per_class`."""
        return per_class(self.stats)


def score_vspw(
    truth_root: Path,
    predictions: Path,
    *,
    split: str = "val",
    lenient: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> SemanticResult:
    """Score a folder of predicted masks against the truth of a split (see ``semantic_files``).

    A list that does not end with a newline is read as it stands; the official script cuts the
    last character of such a list.

    Args:
        truth_root: folder with ``SPLIT.txt`` and ``data``.
        predictions: folder with one folder per video. What the truth does not have is not read.
        split: name of the list of videos.
        lenient: leave bad videos and frames out instead of stopping at the first, and count
            them. No window spans a frame left out. A predicted value above 123 is counted
            as a miss. Such scores are not comparable with official ones.
        on_progress: called with (videos done, videos in all).

    Raises:
        BenchError: nothing to score, or, unless lenient, an entry that is missing, damaged, of
            another size or mode, or with a predicted value above 123 where the truth counts.
            (The official script has no such check: it adds those pixels to the next true class.)
    """
    faults = Faults(lenient)
    videos = find_videos(truth_root, predictions, split, faults)
    counts = []
    for done, video in enumerate(videos, 1):
        counts.append(score_video(video, faults))
        if on_progress is not None:
            on_progress(done, len(videos))
    counts = [one for one in counts if one.frames]
    if not counts:
        reason = f"; {faults.sentences[0]}" if faults.sentences else ""
        raise BenchError(f"no frame of {predictions} could be scored{reason}")
    stats = collect(counts)
    skipped = {kind: faults.skipped[kind] for kind in ("videos", "frames", "pixels")}
    skipped["videos"] += len(videos) - len(counts)
    outside = sum(one.truth_pixels_outside for one in counts)
    return SemanticResult(summarize(stats), stats, skipped, tuple(faults.sentences), outside)


def summarize(
    stats: SemanticStats, videos: Sequence[int] | Integers | None = None
) -> dict[str, float | None]:
    """All metrics on a selection of videos.

    * mIoU, class_accuracy: means over the classes with a true pixel; pixel_accuracy; fwIoU:
      IoU weighted by true pixels. All from one confusion matrix of all frames.
    * mVC8: mean VC over all windows of 8 frames but the last of each video, as the official
      script has it.
    * mVC16: the number the official script prints, which is the mean over its windows of 8 *and*
      of 16 frames; mVC16_clean: over those of 16 alone.
    * mVC8_all_windows, mVC16_all_windows: over the windows of 8, of 16, the last included.

    Args:
        stats: of all videos.
        videos: positions of the selected ones, with repeats; None takes each once.

    Returns:
        Fractions, None where nothing counts.

    Raises:
        BenchError: a position that does not exist.
    """
    times = stats.multiplicity(videos)
    sums = np.tensordot(times, stats.window_sums, 1)
    counts = np.tensordot(times, stats.window_counts, 1)

    def mean(*where: tuple[int, int]) -> float | None:
        """Over windows of (length, whether at the end)."""
        count = sum(int(counts[w]) for w in where)
        return float(sum(sums[w] for w in where) / count) if count else None

    (inner8, last8), (inner16, last16) = (((i, 0), (i, 1)) for i in range(len(WINDOWS)))
    return _region_metrics(stats.confusion(videos)) | {
        "mVC8": mean(inner8),
        "mVC16": mean(inner8, inner16),
        "mVC16_clean": mean(inner16),
        "mVC8_all_windows": mean(inner8, last8),
        "mVC16_all_windows": mean(inner16, last16),
    }


def per_class(
    stats: SemanticStats, videos: Sequence[int] | Integers | None = None
) -> dict[int, dict[str, float | None]]:
    """IoU, accuracy and the number of true pixels ``n`` of every class, by its id.

    IoU and accuracy are None for a class without true pixels; the means leave it out.

    Raises:
        BenchError: a position that does not exist.
    """
    classes = _classes(stats.confusion(videos))
    table: dict[int, dict[str, float | None]] = {}
    for id_, (iou, accuracy, pixels) in enumerate(zip(*classes, strict=True)):
        counted = {"IoU": float(iou), "accuracy": float(accuracy)}
        table[id_] = {k: v if pixels else None for k, v in counted.items()} | {"n": int(pixels)}
    return table


def per_video(stats: SemanticStats) -> dict[str, dict[str, float | None]]:
    """mIoU, pixel accuracy, mVC8 and mVC16 of every video on its own, by its name."""
    table = {}
    for i, name in enumerate(stats.video_names):
        values = summarize(stats, [i])
        columns = ("mIoU", "pixel_accuracy", "mVC8", "mVC16_clean")
        table[str(name)] = {key: values[key] for key in columns}
    return table


class _Classes(NamedTuple):
    """(CLASSES,) each; IoU and accuracy are 0 where a class has no true pixel."""

    iou: Floats
    accuracy: Floats
    pixels: Floats


def _classes(confusion: Floats) -> _Classes:
    true, predicted = confusion.sum(1), confusion[:, :CLASSES].sum(0)
    hits = np.diagonal(confusion)
    some = np.maximum(true, 1)
    return _Classes(hits / (some + predicted - hits), hits / some, true)


def _region_metrics(confusion: Floats) -> dict[str, float | None]:
    iou, accuracy, pixels = _classes(confusion)
    seen, total = pixels > 0, pixels.sum()
    if not total:
        return dict.fromkeys(("mIoU", "pixel_accuracy", "class_accuracy", "fwIoU"))
    return {
        "mIoU": float(iou[seen].mean()),
        "pixel_accuracy": float(np.trace(confusion) / total),
        "class_accuracy": float(accuracy[seen].mean()),
        "fwIoU": float(iou @ pixels / total),
    }


class VideoCounts(NamedTuple):
    """The row of one video in the statistics."""

    name: str
    frames: int
    skipped: int
    cells: Integers
    """(3, K) true class, predicted class or OUTSIDE, pixels: the confusion matrix."""
    truth_pixels_outside: int
    window_sums: Floats
    window_counts: Integers


def score_video(video: VideoFiles, faults: Faults) -> VideoCounts:
    """Read and count the frames of one video."""
    counter = VideoCounter()
    for frame in video.frames:
        path = video.predictions / frame
        try:
            truth = read_mask(video.truth / frame, counter.size)
            predicted = read_mask(path, (truth.shape[0], truth.shape[1]))
        except BenchError as error:
            faults.report("frames", error)
            counter.skip()
            continue
        if outside := counter.add(truth, predicted):
            sentence = (
                f"{path} has {outside} pixels above {CLASSES - 1} where the truth counts; "
                f"valid values are the classes 0 to {CLASSES - 1}"
            )
            faults.report("pixels", BenchError(sentence), outside)
    return counter.finish(video.name)


class VideoCounter:
    """Counts of one video, frame by frame: pixels by (true, predicted) value, and VC."""

    def __init__(self) -> None:
        self.size: tuple[int, int] | None = None
        """(H, W) of all frames; None before the first."""
        self._pairs = np.zeros((VALUES, VALUES))
        self._consistency = Consistency()
        self._frames = self._skipped = 0
        self._sums = np.zeros((len(WINDOWS), 2))
        self._counts = np.zeros((len(WINDOWS), 2), np.int64)

    def add(self, truth: Mask, predicted: Mask) -> int:
        """Take a frame, uint8 (H, W) each, values as in the files.

        Returns:
            How many pixels have a predicted value that is no class where the truth counts.
        """
        self.size = (truth.shape[0], truth.shape[1])
        self._frames += 1
        codes, lengths = _runs(truth, predicted)
        pairs = np.bincount(codes, lengths, VALUES * VALUES).reshape(VALUES, VALUES)
        self._pairs += pairs
        self._close_windows()
        for i, consistency in enumerate(self._consistency.add(truth, predicted)):
            if consistency is not None:
                self._sums[i, 1], self._counts[i, 1] = consistency, 1
        return int(pairs[1 : CLASSES + 1, CLASSES:].sum())

    def skip(self) -> None:
        """Leave a frame out; no window spans it."""
        self._skipped += 1
        self._close_windows()
        self._consistency = Consistency()

    def finish(self, name: str) -> VideoCounts:
        """The counts, under the name of the video."""
        pairs = self._pairs.astype(np.int64)
        counted = pairs[1 : CLASSES + 1]
        confusion = np.c_[counted[:, :CLASSES], counted[:, CLASSES:].sum(1)]
        cells = np.stack([*np.nonzero(confusion), confusion[confusion > 0]])
        outside = int(pairs[CLASSES + 1 : VALUES - 1].sum())
        return VideoCounts(
            name, self._frames, self._skipped, cells, outside, self._sums, self._counts
        )

    def _close_windows(self) -> None:
        """The windows that ended at the last frame so far do not end at the last of the video."""
        for table in (self._sums, self._counts):
            table[:, 0] += table[:, 1]
            table[:, 1] = 0


def _runs(truth: Mask, predicted: Mask) -> tuple[Integers, Integers]:
    """Code and length of each run of equal pairs; masks have far fewer runs than pixels."""
    true, value = truth.reshape(-1), predicted.reshape(-1)
    change = true[1:] != true[:-1]
    change |= value[1:] != value[:-1]
    ends = np.append(np.flatnonzero(change), len(true) - 1)
    codes = true[ends].astype(np.int64) * VALUES + value[ends]
    return codes, np.diff(ends, prepend=-1)


def collect(counts: Sequence[VideoCounts]) -> SemanticStats:
    """The statistics of videos, in any order."""
    counts = sorted(counts, key=lambda one: one.name)
    truth, predicted, pixels = np.concatenate([one.cells for one in counts], axis=1)
    return SemanticStats(
        video_names=np.array([one.name for one in counts], np.str_),
        frames=np.array([one.frames for one in counts], np.int64),
        skipped_frames=np.array([one.skipped for one in counts], np.int64),
        cell_video=np.repeat(np.arange(len(counts)), [one.cells.shape[1] for one in counts]),
        cell_truth=truth,
        cell_predicted=predicted,
        cell_pixels=pixels,
        window_sums=np.stack([one.window_sums for one in counts]),
        window_counts=np.stack([one.window_counts for one in counts]),
    )
