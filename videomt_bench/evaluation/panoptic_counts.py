"""Pixels of every pair (true segment, predicted segment) in every frame of a video.

All panoptic metrics follow from these counts, so each PNG is decoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.panoptic_files import MAX_ID, Frame, Pixels, PngReader, Segment, codes
from videomt_bench.evaluation.semantic_files import Faults
from videomt_bench.evaluation.tubes import Flags, Floats, Integers

BLOCK = 2**16
"""Pixels compared at a time, few enough for the cache of a core."""


class Tubes:
    """The N segment ids of a video, in the order in which its JSON first lists them.

    Arrays are (F, N): one row per frame. ``area`` is in pixels.
    """

    def __init__(self, frames: Sequence[Sequence[Segment]]) -> None:
        self.index: dict[int, int] = {}
        for segments in frames:
            for segment in segments:
                self.index.setdefault(segment.id, len(self.index))
        shape = (len(frames), len(self.index))
        self.ids: Integers = np.fromiter(self.index, np.int64, len(self.index))
        self.category: Integers = np.full(shape, -1)
        """Position of the category; -1 where the frame does not list the segment."""
        self.area: Floats = np.zeros(shape)
        self.is_crowd: Flags = np.zeros(shape, bool)
        self.rank: Integers = np.zeros(shape, np.int64)
        """Position in the frame's list."""
        for f, segments in enumerate(frames):
            if segments:
                ids, category, area, crowd = zip(*segments, strict=True)
                row = (f, [self.index[id_] for id_ in ids])
                self.category[row], self.area[row], self.is_crowd[row] = category, area, crowd
                self.rank[row] = np.arange(len(segments))

    def __len__(self) -> int:
        return len(self.index)

    def of(self, segments: Sequence[Segment]) -> Integers:
        """Which tubes the segments of a frame belong to."""
        return np.array([self.index[segment.id] for segment in segments], np.int64)


class VideoCounts(NamedTuple):
    """K pixel counts of a video of F frames; flat arrays."""

    truth: Tubes
    predicted: Tubes
    scored: Flags
    """(F,) False for frames that a lenient reading leaves out."""
    frame: Integers
    """(K,)"""
    truth_tube: Integers
    """(K,) len(truth) for void, len(truth) + 1 for ids that the JSON does not list."""
    predicted_tube: Integers
    """(K,) len(predicted) for void, which is every pixel without a listed segment."""
    pixels: Integers
    """(K,)"""


class PairCounter:
    """Counts pairs of ids in frames; one object serves any number of them."""

    def __init__(self) -> None:
        self._table = np.zeros(MAX_ID + 1, np.int32)
        """Position by id, all 0 between the calls."""

    def count(self, truth: Pixels, predicted: Pixels, ids: tuple[Integers, Integers]) -> Integers:
        """Pixels by pair -> (n + 2, m + 2) for lists of n true and m predicted ``ids``.

        Row and column 0 are ids that are not listed, then come the listed ones, then void.
        """
        lengths, true, value = _runs(truth, predicted)
        shape = (len(ids[0]) + 2, len(ids[1]) + 2)
        cell = self._positions(true, ids[0]) * shape[1] + self._positions(value, ids[1])
        return weigh(cell, lengths, shape[0] * shape[1]).astype(np.int64).reshape(shape)

    def _positions(self, found: Integers, listed: Integers) -> Integers:
        table = self._table
        table[0] = len(listed) + 1
        table[listed] = np.arange(1, len(listed) + 1)
        positions = table[found].astype(np.int64)
        table[listed] = table[0] = 0
        return positions


def _runs(truth: Pixels, predicted: Pixels) -> tuple[Integers, Integers, Integers]:
    """Length, true id and predicted id of each run of equal pairs; there are few of them."""
    images = truth.reshape(1, -1, 3), predicted.reshape(1, -1, 3)
    runs = []
    for start in range(0, images[0].shape[1], BLOCK):
        true, value = (codes(image[:, start : start + BLOCK])[0] for image in images)
        change = true[1:] != true[:-1]
        change |= value[1:] != value[:-1]
        ends = np.append(np.flatnonzero(change), len(change))
        runs.append((ends + start, true[ends], value[ends]))
    ends, true, value = (np.concatenate(column) for column in zip(*runs, strict=True))
    return np.diff(ends, prepend=-1), true & MAX_ID, value & MAX_ID


def count_video(
    counter: PairCounter,
    truth: Sequence[Frame],
    predicted: Sequence[Frame | None],
    readers: tuple[PngReader, PngReader],
    faults: Faults,
) -> VideoCounts:
    """Decode the frames of a video and count them; None is a frame without prediction.

    Raises:
        BenchError: unless ``faults`` is lenient, a PNG that cannot be read, or that does not
            have the ids its JSON lists.
    """
    sides = (
        Tubes([frame.segments for frame in truth]),
        Tubes([frame.segments if frame else () for frame in predicted]),
    )
    scored = np.zeros(len(truth), bool)
    entries = [np.zeros((4, 0), np.int64)]
    for f, (true, value) in enumerate(zip(truth, predicted, strict=True)):
        pair = _read_pair(true, value, readers, faults) if value else None
        if value is None or pair is None:
            continue
        tubes = sides[0].of(true.segments), sides[1].of(value.segments)
        ids = sides[0].ids[tubes[0]], sides[1].ids[tubes[1]]
        counts = counter.count(*pair, ids)
        _check_ids(true.png, pair[0], ids[0], counts.sum(1), "truth_", faults)
        _check_ids(value.png, pair[1], ids[1], counts.sum(0), "", faults)
        sides[1].area[f, tubes[1]] = counts.sum(0)[1:-1]
        row, column = np.nonzero(counts)
        tube_of_row = np.r_[len(sides[0]) + 1, tubes[0], len(sides[0])]
        tube_of_column = np.r_[len(sides[1]), tubes[1], len(sides[1])]
        frame = np.full(len(row), f)
        entries.append(
            np.stack([frame, tube_of_row[row], tube_of_column[column], counts[row, column]])
        )
        scored[f] = True
    sides[1].category[sides[1].area == 0] = -1
    return VideoCounts(*sides, scored, *np.concatenate(entries, axis=1))


def weigh(index: Integers, weights: Integers | Floats, length: int) -> Floats:
    """(length,) sums of the weights by index; ``np.bincount`` gives integers for an empty one."""
    return np.bincount(index, weights, length).astype(np.float64, copy=False)


def _read_pair(
    true: Frame, predicted: Frame, readers: tuple[PngReader, PngReader], faults: Faults
) -> tuple[Pixels, Pixels] | None:
    try:
        pixels = readers[0].read(true.png)
        return pixels, readers[1].read(predicted.png, (pixels.shape[0], pixels.shape[1]))
    except BenchError as error:
        faults.report("frames", error)
        return None


def _check_ids(
    png: Path, image: Pixels, listed: Integers, pixels: Integers, prefix: str, faults: Faults
) -> None:
    """That a PNG has the ids its JSON lists and no other; ``pixels`` as ``count`` orders them."""
    if pixels[0]:
        extra = np.setdiff1d(codes(image) & MAX_ID, np.append(listed, 0))
        sentence = f"{png} has segment ids that its JSON does not list: {_shown(extra)}"
        faults.report(f"{prefix}ids", BenchError(sentence), len(extra))
    if len(missing := listed[pixels[1:-1] == 0]):
        sentence = f"{png} has no pixel of segment ids that its JSON lists: {_shown(missing)}"
        faults.report(f"{prefix}segments", BenchError(sentence), len(missing))


def _shown(ids: Integers) -> str:
    return ", ".join(map(str, ids[:5].tolist())) + (", …" if len(ids) > 5 else "")
