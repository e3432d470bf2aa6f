"""Truncated query propagation: a clip is learned in chunks of frames, the state detached between.

Gradients go back through one chunk only, so the memory of training grows with a chunk and not with
the clip, while queries carry what they know through all of it (LVMT, arXiv 2609.34895; truncated
back-propagation through time: Williams and Peng, 1990). A chunk is a micro-batch of its own.

An object is matched in the chunk in which it first appears and keeps its query in the later ones.
The chunks before do not know of it: there its query has no object.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from videomt_bench.data.clips import ClipBatch, ClipTargets
from videomt_bench.models.contracts import VideoState


@dataclass
class Carried:
    """What a chunk leaves to the next one of its clips."""

    state: VideoState | None = None
    """Detached; None before the first chunk."""
    queries: list[Tensor] = field(default_factory=list)
    """Of each clip the queries (L, N) of the objects so far, -1 for those that found none."""


def count_chunks(frames: int, size: int) -> int:
    """Chunks of a clip; the last one may be shorter."""
    return -(-frames // size)


def chunks_of(batch: ClipBatch, size: int | None) -> list[ClipBatch]:
    """The batch in chunks of ``size`` frames; the objects of a chunk are those seen until its end.

    Objects are put in the order of their appearance, so those of a chunk begin with those of the
    chunk before.
    """
    if size is None:
        return [batch]
    ordered = [_by_appearance(target) for target in batch.targets]
    chunks = []
    for start in range(0, batch.frames.shape[1], size):
        frames = slice(start, start + size)
        targets = [_until(target, first, frames) for target, first in ordered]
        chunks.append(ClipBatch(batch.frames[:, frames], targets, batch.origins))
    return chunks


def _by_appearance(target: ClipTargets) -> tuple[ClipTargets, Tensor]:
    """The targets in the order of first appearance, and the frame of it."""
    first, order = target.present.int().argmax(1).sort(stable=True)
    ordered = ClipTargets(target.labels[order], target.masks[order], target.present[order])
    return ordered, first


def _until(target: ClipTargets, first: Tensor, frames: slice) -> ClipTargets:
    seen = int((first < frames.stop).sum())
    return ClipTargets(
        target.labels[:seen], target.masks[:seen, frames], target.present[:seen, frames]
    )
