"""Class logits of whole videos, by slot or, where tracks begin and end, by track.

What is kept of a track is one sum of logits: as many as there were tracks, whatever their length.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from videomt_bench.models import ClipOutput, VideoSegmenter
from videomt_bench.models.postprocess import NO_MASK

Logits = Tensor | list[Tensor]
"""Of each of B videos (Q, C+1); one tensor where all have the same Q."""


class Means(Protocol):
    """Mean class logits of B videos."""

    def add(self, output: ClipOutput, start: int) -> None:
        """Take the output of a window whose first frame is ``start``."""

    def logits(self, length: int) -> Logits:
        """Those of the results that the videos have, once all frames were added."""

    def wanted(self, queries: list[Tensor]) -> list[Tensor]:
        """By what the results (K,) of each video are found in a frame."""


def means(model: VideoSegmenter) -> Means:
    """An empty mean of a model's class logits."""
    if model.tracker.numbers_tracks:
        return TrackMeans(model.tracker.shortest)
    return SlotMeans()


class SlotMeans:
    """Result q is slot q, and its mean is over all frames of the video."""

    def __init__(self) -> None:
        self.total: Tensor | None = None

    def add(self, output: ClipOutput, start: int) -> None:
        logits = output.class_logits.float().sum(1)
        self.total = logits if self.total is None else self.total + logits

    def logits(self, length: int) -> Tensor:
        assert self.total is not None
        return (self.total / length).cpu()

    def wanted(self, queries: list[Tensor]) -> list[Tensor]:
        return queries


class TrackMeans:
    """A result is a track, in order of birth, and its mean is over the frames that it has.

    Args:
        shortest: frames of a track that is a result, unless it is there in the last frame.
    """

    def __init__(self, shortest: int) -> None:
        self.shortest = shortest
        self.sums: list[Tensor] = []
        self.counts: list[Tensor] = []
        self.last: list[Tensor] = []
        self.results: list[Tensor] = []
        """Track numbers of the results of each video, known after ``logits``."""

    def add(self, output: ClipOutput, start: int) -> None:
        assert output.tracks is not None
        classes = output.class_logits.float().cpu()
        if not self.sums:
            videos = range(len(classes))
            self.sums = [torch.zeros(0, classes.shape[-1]) for _ in videos]
            self.counts, self.last = ([torch.zeros(0).long() for _ in videos] for _ in range(2))
        for b, numbers in enumerate(output.tracks.cpu()):
            self._grow(b, int(numbers.max()) + 1)
            for t, here in enumerate(numbers):
                living = here >= 0
                self.sums[b].index_add_(0, here[living], classes[b, t, living])
                self.counts[b][here[living]] += 1
                self.last[b][here[living]] = start + t

    def logits(self, length: int) -> list[Tensor]:
        kept = [
            (counts >= self.shortest) | (last == length - 1)
            for counts, last in zip(self.counts, self.last, strict=True)
        ]
        self.results = [k.nonzero()[:, 0] for k in kept]
        return [
            sums[found] / counts[found, None]
            for sums, counts, found in zip(self.sums, self.counts, self.results, strict=True)
        ]

    def wanted(self, queries: list[Tensor]) -> list[Tensor]:
        pairs = zip(self.results, queries, strict=True)
        return [found.to(chosen.device)[chosen] for found, chosen in pairs]

    def _grow(self, video: int, count: int) -> None:
        new = count - len(self.counts[video])
        if new <= 0:
            return
        sums = self.sums[video]
        self.sums[video] = torch.cat([sums, sums.new_zeros(new, sums.shape[1])])
        for values in (self.counts, self.last):
            values[video] = torch.cat([values[video], values[video].new_zeros(new)])


def masks_of(mask_logits: Tensor, tracks: Tensor, wanted: Tensor) -> Tensor:
    """Mask logits (K, h, w) of the tracks ``wanted`` (K,) in a frame; of absent ones ``NO_MASK``.

    Args:
        mask_logits: by slot (Q, h, w).
        tracks: number of the track in each slot (Q,), -1 for none.
        wanted: track numbers (K,).
    """
    same = tracks == wanted[:, None]
    masks = mask_logits[same.to(torch.uint8).argmax(1)]
    return masks.masked_fill(~same.any(1)[:, None, None], NO_MASK)
