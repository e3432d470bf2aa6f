"""A training stream that mixes data sets, each by its share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from videomt_bench.data.clips import Clip, TrainClips
from videomt_bench.errors import BenchError

BLOCK = 4096
"""Samples whose streams are drawn at once."""


class MixedClips(Dataset[Clip]):
    """An endless stream; every sample comes from one of several streams, drawn by their ratios.

    A stream is read in its own order without gaps, so each of its epochs is a pass over all of its
    videos. Sample ``i`` depends on the seeds and on ``i`` alone. ``len`` is the number of videos of
    all streams.

    Args:
        streams: over data sets of the same classes, with clips of one length.
        ratios: of the streams, in any unit; 1 and 1 take as many clips from either.
        seed: of the draws.

    Raises:
        BenchError: not one ratio for every stream, a ratio that is not positive, other classes,
            other clip lengths, or a negative seed.
    """

    def __init__(self, streams: Sequence[TrainClips], ratios: Sequence[float], seed: int) -> None:
        _check(streams, ratios, seed)
        self.streams = list(streams)
        self.clip_length = streams[0].clip_length
        self.probabilities = np.array(ratios, dtype=np.float64) / sum(ratios)
        self.seed = seed
        self._block = -1
        self._choices = np.empty(0, dtype=np.int64)
        self._before = [np.zeros(len(streams), dtype=np.int64)]
        """How many samples of each stream come before a block."""

    def __len__(self) -> int:
        return sum(len(stream) for stream in self.streams)

    def __getitem__(self, i: int) -> Clip:
        """Sample ``i`` >= 0 of the stream; it may exceed ``len``."""
        stream, position = self.locate(i)
        return self.streams[stream][position]

    def locate(self, i: int) -> tuple[int, int]:
        """Which stream sample ``i`` comes from, and which sample of that stream it is."""
        if i < 0:
            raise IndexError(f"sample {i} of a stream that begins at 0")
        block, offset = divmod(i, BLOCK)
        if block != self._block:
            self._block, self._choices = block, self._draw(block)
        stream = int(self._choices[offset])
        while len(self._before) <= block:
            counts = np.bincount(self._draw(len(self._before) - 1), minlength=len(self.streams))
            self._before.append(self._before[-1] + counts)
        earlier = int(np.count_nonzero(self._choices[:offset] == stream))
        return stream, int(self._before[block][stream]) + earlier

    def _draw(self, block: int) -> np.ndarray:
        # the 2 keeps this generator apart from those of the streams
        rng = np.random.default_rng([self.seed, block, 2])
        return rng.choice(len(self.streams), BLOCK, p=self.probabilities)


def _check(streams: Sequence[TrainClips], ratios: Sequence[float], seed: int) -> None:
    if not streams or len(streams) != len(ratios):
        raise BenchError(f"cannot mix {len(streams)} data sets by {len(ratios)} ratios")
    if not all(0 < ratio < float("inf") for ratio in ratios) or seed < 0:
        raise BenchError(
            f"cannot mix data sets by the ratios {list(ratios)} with seed {seed}; "
            "valid: positive numbers, at least 0"
        )
    first = streams[0]
    for stream in streams[1:]:
        if [c.id for c in stream.source.categories] != [c.id for c in first.source.categories]:
            raise BenchError(
                f"cannot mix {first.source.path} and {stream.source.path}: "
                "their categories have other ids"
            )
        if stream.clip_length != first.clip_length:
            raise BenchError(
                f"cannot mix clips of {first.clip_length} and of {stream.clip_length} frames"
            )
