"""From the outputs of one frame to its segments, online: nothing waits for the end of the video.

The benchmarks rank by class logits that are averaged over the whole video. Here the average is that
of the frames until now (:class:`videomt_bench.predict.running.RunningMean`), so after the last
frame it is theirs. Masks are the benchmarks' own, pixel for pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from videomt_bench.models.postprocess import (
    class_map,
    confident_queries,
    resize_logits,
    resize_probabilities,
    winners,
)
from videomt_bench.predict.classes import Classes
from videomt_bench.predict.running import RunningMean

INSTANCE_THRESHOLD = 0.5
PANOPTIC_THRESHOLD, OVERLAP_THRESHOLD, MASK_THRESHOLD = 0.8, 0.8, 0.5
"""Of the published panoptic protocol."""


Tracks = Sequence[int] | None
"""Number of the track in each slot; None: slot q is track q."""


class Geometry(NamedTuple):
    """Height and width: of the network's input, with padding and without, and of the frame."""

    padded: tuple[int, int]
    inner: tuple[int, int]
    size: tuple[int, int]


@dataclass(frozen=True)
class Segment:
    """Something found in a frame."""

    id: int
    """The same through the video, from 1: a track, or a class of stuff."""
    label: int
    """Class index."""
    is_thing: bool
    score: float | None = None
    """Probability of the class; None where pixels are classified one by one."""
    query: int | None = None
    """The model's slot, or the number of its track; None where several make up the segment."""


@dataclass(frozen=True)
class FrameSegments:
    """The segments of a frame that have pixels in it."""

    segments: Sequence[Segment]
    owner: np.ndarray
    """uint16 (H, W): 1 + position of the segment that is on top, 0 for none."""
    masks: np.ndarray | None = None
    """bool (K, H, W), where segments may lie on top of each other."""


class Task(Protocol):
    """Makes segments of frames, one after the other."""

    def segments(
        self, classes: Tensor, masks: Tensor, geometry: Geometry, tracks: Tracks = None
    ) -> FrameSegments:
        """The segments of the next frame.

        Args:
            classes: mean class logits (Q, C+1).
            masks: mask logits (Q, h, w) of the frame.
            geometry: sizes.
            tracks: where slots are used again, the number of the track in each of them.
        """

    def restart(self, slots: Tensor) -> None:
        """Slots, bool (Q,), that hold other tracks from the next frame on."""


@dataclass
class Numbers:
    """Numbers from 1 in the order in which things first appear."""

    known: dict[object, int] = field(default_factory=dict)

    def of(self, key: object) -> int:
        """The number of something."""
        return self.known.setdefault(key, len(self.known) + 1)


@dataclass
class Instances:
    """Tracks whose masks may overlap: every slot with its best class, the best slots first."""

    classes: Classes
    top_k: int
    threshold: float = INSTANCE_THRESHOLD
    tracks: Numbers = field(default_factory=Numbers)

    def segments(
        self, classes: Tensor, masks: Tensor, geometry: Geometry, tracks: Tracks = None
    ) -> FrameSegments:
        scores, labels = classes.softmax(-1)[:, :-1].max(-1)
        order = scores.argsort(descending=True, stable=True)[: self.top_k]
        kept = order[scores[order] >= self.threshold]
        if not len(kept):
            return nothing(geometry.size)
        found = (resize_logits(masks[None, kept], *geometry)[0] > 0).cpu().numpy()
        numbers = numbered(kept, tracks)
        values = zip(numbers, labels[kept].tolist(), scores[kept].tolist(), strict=True)
        seen = [(mask, v) for mask, v in zip(found, values, strict=True) if mask.any()]
        segments = [
            Segment(self.tracks.of(query), label, True, score, query)
            for _, (query, label, score) in seen
        ]
        return _stacked(segments, np.array([m for m, _ in seen]).reshape(-1, *geometry.size))

    def restart(self, slots: Tensor) -> None:
        """Nothing is kept of a slot."""


@dataclass
class Panoptic:
    """Every pixel to one segment or none, by the published rule, with sums until now.

    The rule drops a query that wins less than ``OVERLAP_THRESHOLD`` of its mask over the video.
    """

    classes: Classes
    areas: RunningMean
    threshold: float = PANOPTIC_THRESHOLD
    numbers: Numbers = field(default_factory=Numbers)

    def segments(
        self, classes: Tensor, masks: Tensor, geometry: Geometry, tracks: Tracks = None
    ) -> FrameSegments:
        kept = confident_queries(classes, self.threshold)
        counts = torch.zeros(3, len(classes), device=classes.device)
        if not len(kept.queries):
            self.areas.update(counts)
            return nothing(geometry.size)
        probabilities = resize_probabilities(masks[None, kept.queries], *geometry)[0]
        best, inside = winners(probabilities, kept.scores, MASK_THRESHOLD)
        own = inside.gather(0, best[None])[0]
        count = len(kept.queries)
        won = best.flatten().bincount(minlength=count)
        both = best[own].bincount(minlength=count)
        counts[:, kept.queries] = torch.stack([won, inside.flatten(1).sum(1), both]).float()
        sums = self.areas.update(counts)[:, kept.queries].tolist()
        table = np.zeros(count + 1, np.uint16)
        segments: list[Segment] = []
        positions: dict[int, int] = {}
        found = kept.labels.tolist(), kept.scores.tolist()
        values = zip(numbered(kept.queries, tracks), *found, strict=True)
        for i, (query, label, score) in enumerate(values):
            a, b, c = (row[i] for row in sums)
            if not (a and b and c) or a / b < OVERLAP_THRESHOLD or not int(both[i]):
                continue
            thing = self.classes.is_thing(label)
            number = self.numbers.of(("thing", query) if thing else ("stuff", label))
            if number not in positions:
                positions[number] = len(segments) + 1
                segments.append(Segment(number, label, thing, score, query if thing else None))
            table[i + 1] = positions[number]
        owner = table[torch.where(own, best + 1, 0).cpu().numpy()]
        return FrameSegments(segments, owner)

    def restart(self, slots: Tensor) -> None:
        if self.areas.mean is not None:
            self.areas.mean[:, slots] = 0


@dataclass
class Semantic:
    """A class for every pixel; the id of a segment is 1 + its class index."""

    classes: Classes

    def segments(
        self, classes: Tensor, masks: Tensor, geometry: Geometry, tracks: Tracks = None
    ) -> FrameSegments:
        probabilities = resize_probabilities(masks[None], *geometry)[0]
        labels = class_map(probabilities, classes).cpu().numpy()
        found = np.unique(labels)
        table = np.zeros(len(self.classes.categories), np.uint16)
        table[found] = np.arange(1, len(found) + 1)
        segments = [Segment(k + 1, k, self.classes.is_thing(k)) for k in found.tolist()]
        return FrameSegments(segments, table[labels])

    def restart(self, slots: Tensor) -> None:
        """Nothing is kept of a slot."""


def numbered(slots: Tensor, tracks: Tracks) -> list[int]:
    """The numbers of the tracks in some slots (K,)."""
    return [slot if tracks is None else tracks[slot] for slot in slots.tolist()]


def nothing(size: tuple[int, int]) -> FrameSegments:
    """A frame in which nothing is found."""
    return FrameSegments([], np.zeros(size, np.uint16), np.zeros((0, *size), bool))


def _stacked(segments: Sequence[Segment], masks: np.ndarray) -> FrameSegments:
    """Smaller masks on top of larger ones."""
    owner = np.zeros(masks.shape[1:], np.uint16)
    areas = np.count_nonzero(masks, axis=(1, 2))
    for i in np.argsort(-areas, kind="stable").tolist():
        owner[masks[i]] = i + 1
    return FrameSegments(segments, owner, masks)
