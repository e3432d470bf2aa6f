"""Tubes: the masks of one object through a video, their areas and the IoU between tubes.

Masks are in COCO run-length encoding as pycocotools writes it. All sums are of integers, so an
IoU is that of the official evaluation to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.rle import Flags as Flags
from videomt_bench.evaluation.rle import (
    Integers,
    Lengths,
    Runs,
    Segmentations,
    check_masks,
    decode_masks,
)
from videomt_bench.evaluation.rle import Rle as Rle

MASKS_AT_ONCE = 128
"""Decoded together: enough to be quick, few enough to stay in a core's cache."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tube:
    """The masks of one object in T frames of one size, and what bounds their intersections."""

    masks: Segmentations
    size: tuple[int, int]
    """Height and width; 0, 0 if no frame has a mask."""
    frame_areas: Integers
    """(T,) pixels per frame; 0 where there is no mask."""
    spans: Integers
    """(2, T) in each frame the first pixel and the one after the last, column by column."""
    lengths: Lengths | None = None
    """(P, 2) the run lengths, where they are kept; they take more memory than the text."""

    @staticmethod
    def of(masks: Segmentations, size: tuple[int, int] | None = None) -> Tube:
        """A tube of the given masks, which are proved sound here.

        Raises:
            BenchError: a mask that cannot be decoded or is not of ``size``; None is that of the
                first mask.
        """
        if size is None:
            height, width = next((mask["size"] for mask in masks if mask), (0, 0))
            size = height, width
        return measure([masks], size)[0]

    @cached_property
    def mean_area(self) -> float:
        """Mean area over the frames with non-zero area; 0 if there is none."""
        return int(self.frame_areas.sum()) / max(int(np.count_nonzero(self.frame_areas)), 1)


def mean_area(areas: Sequence[float | None]) -> float:
    """The area of a tube as YouTube-VIS has it: the mean over frames that are not 0 or None."""
    present = [area for area in areas if area]
    return float(np.mean(present)) if present else 0.0


def measure(
    objects: Sequence[Segmentations], size: tuple[int, int], keep_lengths: bool = False
) -> list[Tube]:
    """The tubes of several objects of one video at once, which is quicker than one by one.

    Raises:
        BenchError: a mask that cannot be decoded or is not of ``size``; the sentence names the
            frame, but not the object.
    """
    step = max(MASKS_AT_ONCE // max([1, *map(len, objects)]), 1)
    blocks = (objects[i : i + step] for i in range(0, len(objects), step))
    return [tube for block in blocks for tube in _measure_block(block, size, keep_lengths)]


def _measure_block(
    objects: Sequence[Segmentations], size: tuple[int, int], keep_lengths: bool
) -> Iterator[Tube]:
    borders = list(accumulate(map(len, objects), initial=0))
    if not borders[-1]:
        nothing, none = np.zeros((2, 0), np.int64), np.zeros((0, 2), np.int32)
        yield from (Tube(masks, size, nothing[0], nothing, none) for masks in objects)
        return
    runs = _decode(objects, size)
    first = np.append(runs.first, len(runs.lengths))
    background, foreground = runs.lengths[first[1:] - 1].T
    after = np.where(foreground == 0, background, 0)
    spans = np.array([runs.lengths[first[:-1], 0], size[0] * size[1] - after], np.int64)
    for masks, (start, stop) in zip(objects, pairwise(borders), strict=True):
        lengths = runs.lengths[first[start] : first[stop]] if keep_lengths else None
        yield Tube(masks, size, runs.areas[start:stop], spans[:, start:stop], lengths)


def _decode(objects: Sequence[Segmentations], size: tuple[int, int]) -> Runs:
    try:
        return decode_masks(list(chain.from_iterable(objects)), *size)
    except BenchError:
        for masks in objects:  # for the number of the frame
            check_masks(masks, *size)
        raise


class Pairs:
    """D detections and G true tubes in T frames: bounds for all pairs, exact counts on demand.

    A missing mask counts as an empty one. Of two tubes of unequal length only the frames that
    both have are counted: the official evaluation zips them.
    """

    def __init__(self, detections: Sequence[Tube], truths: Sequence[Tube]) -> None:
        self.detections, self.truths = detections, truths
        self.frames = max((len(tube.masks) for tube in [*detections, *truths]), default=0)
        rows, columns = self._stacked(detections), self._stacked(truths)
        span = np.minimum(rows.end[:, None], columns.end)
        span -= np.maximum(rows.first[:, None], columns.first)
        area = np.minimum(rows.area[:, None], columns.area)
        self.most = np.maximum(np.minimum(span, area), 0)
        """(D, G, T) pixels that a pair can share at most."""
        self.areas = rows.area @ columns.exists.T + rows.exists @ columns.area.T
        """(D, G) the areas of both tubes together, in the frames that both have."""
        self._first_equal = first_equal(detections)
        self._shared: dict[tuple[int, int], Integers] = {}
        self._intervals: dict[Tube, Integers] = {}

    @cached_property
    def bounds(self) -> Floats:
        """(D, G) the highest IoU that is possible."""
        most = self.most.sum(2)
        union = self.areas - most
        return np.divide(most, union, out=np.zeros(union.shape), where=union > 0)

    def shared(self, d: int, g: int) -> Integers:
        """(T,) pixels shared in each frame.

        Raises:
            BenchError: masks of different sizes in one frame.
        """
        key = self._first_equal[d], g
        if key not in self._shared:
            self._shared[key] = self._count(*key)
        return self._shared[key]

    def iou(self, d: int, g: int) -> float:
        """Intersection over union through time; 0 where the union is empty."""
        shared = int(self.shared(d, g).sum())
        union = int(self.areas[d, g]) - shared
        return shared / union if union else 0.0

    def _count(self, d: int, g: int) -> Integers:
        if not self.most[d, g].any():
            return np.zeros(self.frames, np.int64)
        one, other = self.detections[d], self.truths[g]
        if one.size != other.size:
            t = np.flatnonzero(self.most[d, g])[0]
            raise BenchError(f"frame {t}: masks of different sizes cannot be compared")
        self._decode([one, other])
        borders = np.arange(self.frames + 1) * (one.size[0] * one.size[1])
        return _overlap(self._intervals[one], self._intervals[other], borders)

    def prepare(self, pairs: Iterable[Sequence[int]]) -> None:
        """Decode together the masks of pairs that will be counted, which is quicker."""
        wanted = [(self._first_equal[d], g) for d, g in pairs if self.most[d, g].any()]
        tubes = [self.detections[d] for d, _ in wanted] + [self.truths[g] for _, g in wanted]
        self._decode([tube for tube in tubes if tube.size == tubes[0].size])

    def _decode(self, tubes: Sequence[Tube]) -> None:
        new = [tube for tube in dict.fromkeys(tubes) if tube not in self._intervals]
        if absent := [tube.masks for tube in new if tube.lengths is None]:
            decoded = iter(measure(absent, new[0].size, keep_lengths=True))
        for tube in new:
            known = tube if tube.lengths is not None else next(decoded)
            self._intervals[tube] = _intervals(known)

    def _stacked(self, tubes: Sequence[Tube]) -> _Stack:
        table = np.zeros((4, len(tubes), self.frames), np.int64)
        for i, tube in enumerate(tubes):
            length = len(tube.masks)
            table[0, i, :length] = 1
            table[1, i, :length] = tube.frame_areas
            table[2:, i, :length] = tube.spans
        return _Stack(*table)


def frame_intersections(detections: Sequence[Tube], truths: Sequence[Tube]) -> Integers:
    """Pixels shared by each pair of tubes in each frame, (D, G, T); T is that of the longest.

    Raises:
        BenchError: masks of different sizes in one frame.
    """
    pairs = Pairs(detections, truths)
    shape = len(detections), len(truths), pairs.frames
    every = [pairs.shared(d, g) for d in range(shape[0]) for g in range(shape[1])]
    return np.array(every, np.int64).reshape(shape)


def tube_iou(detections: Sequence[Tube], truths: Sequence[Tube]) -> Floats:
    """Intersection over union through time of all pairs, (D, G); see :class:`Pairs`.

    Raises:
        BenchError: masks of different sizes in one frame.
    """
    pairs = Pairs(detections, truths)
    rows = [[pairs.iou(d, g) for g in range(len(truths))] for d in range(len(detections))]
    return np.array(rows, np.float64).reshape(len(detections), len(truths))


class _Stack(NamedTuple):
    """Tubes as rows of T frames."""

    exists: Integers
    area: Integers
    first: Integers
    end: Integers


def _intervals(tube: Tube) -> Integers:
    """Start and end of the foreground runs, (P, 2) in order.

    Pixel p of frame t has the number t * height * width + p.
    """
    assert tube.lengths is not None
    pixels = len(tube.masks) * tube.size[0] * tube.size[1]
    intervals = np.empty(tube.lengths.shape, np.int32 if pixels < 2**31 else np.int64)
    np.cumsum(tube.lengths[:, 0] + tube.lengths[:, 1], out=intervals[:, 1])
    np.subtract(intervals[:, 1], tube.lengths[:, 1], out=intervals[:, 0])
    return intervals


def _overlap(one: Integers, other: Integers, borders: Integers) -> Integers:
    """(T,) pixels that both have, per frame; ``borders`` (T + 1,) are where the frames begin.

    A pixel is in two intervals at most. So with all starts in order, and all ends, the i-th end
    is before the start after next, and what lies between the next start and it is shared.
    """
    # both halves are in order, and a stable sort merges them in linear time
    starts = np.sort(np.concatenate([one[:, 0], other[:, 0]]), kind="stable")[1:]
    pixels = np.sort(np.concatenate([one[:, 1], other[:, 1]]), kind="stable")
    pixels[:-1] -= starts
    pixels[-1] = 0
    np.maximum(pixels, 0, out=pixels)
    until = np.searchsorted(starts, borders.astype(starts.dtype))
    sums = np.add.reduceat(pixels, until[:-1], dtype=pixels.dtype)
    return np.where(until[1:] > until[:-1], sums, 0)


def first_equal(tubes: Sequence[Tube]) -> list[int]:
    """For each tube the first one with the same masks: a query can have several labels."""
    first: dict[tuple[bytes, bytes], int] = {}
    equal = []
    for i, tube in enumerate(tubes):
        known = first.setdefault((tube.frame_areas.tobytes(), tube.spans.tobytes()), i)
        equal.append(known if tubes[known].masks == tube.masks else i)
    return equal
