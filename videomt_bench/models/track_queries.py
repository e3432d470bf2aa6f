"""Track queries as in TrackFormer (Meinhardt et al., CVPR 2022), in the place of query propagation.

A detection with a high score starts a track, whose output query enters the next frame beside all
learned queries; a track that is absent for some frames ends. So the set of queries varies, up to
twice the learned ones (VidEoMT, arXiv 2602.17807, Tab. A: score 0.8, NMS 0.9, 5 frames).

Here a track takes the slot of the learned query that detected it: query i and its track are slot i
of the output, the track while there is one. So a track keeps its index, as in all variants, and the
first-appearance matching supervises it; a slot holds one track at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from videomt_bench.models.contracts import Cost, FrameFeatures, FrameOutput, State, Tracker
from videomt_bench.models.memories import LearnedQueries
from videomt_bench.models.variant import SlotSizes

IOU_STRIDE = 4
"""Masks are compared on every fourth pixel of every fourth row."""


@dataclass(frozen=True)
class TrackRules:
    """When tracks begin and end: probability of a class, IoU of masks, frames of patience."""

    score: float = 0.8
    overlap: float = 0.9
    patience: int = 5


class Tracks(NamedTuple):
    """The tracks of B streams, one place for each of Q slots."""

    queries: Tensor
    """What a track carries into the next frame (B, Q, D)."""
    active: Tensor
    """Where there is a track: bool (B, Q)."""
    absent: Tensor
    """For how many frames a track was not seen: long (B, Q)."""


def no_tracks(batch: int, count: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """``active`` and ``absent`` of streams without tracks."""
    active = torch.zeros(batch, count, dtype=torch.bool, device=device)
    return active, active.long()


def entering(active: Tensor) -> Tensor:
    """Slots (B, n) of the tracks that enter a frame, -1 where a stream has fewer than n."""
    count = 0 if active.is_meta else int(active.sum(1).max())
    order = (~active).to(torch.uint8).argsort(dim=1, stable=True)[:, :count]
    return order.where(active.gather(1, order), -1)


def by_slot(output: FrameOutput, slots: Tensor, count: int) -> FrameOutput:
    """The output of ``count`` learned queries and of tracks in ``slots`` -> one of ``count`` slots.

    A slot is given by its track where it has one, otherwise by its learned query.
    """
    batch, tracks = slots.shape
    source = torch.arange(count + 1, device=slots.device).repeat(batch, 1)
    numbers = torch.arange(count, count + tracks, device=slots.device).expand(batch, -1)
    # one place more takes what is only padding
    source = source.scatter(1, slots.where(slots >= 0, count), numbers)[:, :count]
    return output.reorder(source)


@torch.no_grad()
def follow(
    active: Tensor, absent: Tensor, seen: FrameOutput, rules: TrackRules
) -> tuple[Tensor, Tensor]:
    """``active`` and ``absent`` after a frame, whose output is given by slot."""
    score = seen.class_logits.float().softmax(-1)[..., :-1].amax(-1)
    found = score > rules.score
    absent = (absent + 1).where(active & ~found, 0)
    lasting = active & (absent < rules.patience)
    # tracks before detections, then by score
    rank = torch.where(found, score + active.float(), -1.0)
    better = rank[:, None] > rank[:, :, None]
    double = (better & found[:, None] & (_overlaps(seen.mask_logits) > rules.overlap)).any(2)
    return (lasting | found) & ~(double & found), absent


def _overlaps(mask_logits: Tensor) -> Tensor:
    """IoU (B, Q, Q) of masks (B, Q, h, w)."""
    masks = (mask_logits[..., ::IOU_STRIDE, ::IOU_STRIDE] > 0).flatten(2).float()
    both = masks @ masks.mT
    areas = masks.sum(-1)
    return both / (areas[:, :, None] + areas[:, None] - both).clamp(min=1)


class TrackQueries(LearnedQueries):
    """The learned queries and those of the tracks enter a frame.

    Args:
        sizes: Q and D.
        rules: when tracks begin and end.
    """

    reads_masks = True

    def __init__(self, sizes: SlotSizes, rules: TrackRules = TrackRules()) -> None:
        super().__init__(sizes)
        self.rules = rules

    def init_state(self, batch: int) -> Tracks:
        learned = self.first_queries(batch)
        return Tracks(learned, *no_tracks(batch, learned.shape[1], learned.device))

    def queries(self, state: Tracks) -> Tensor:
        slots = entering(state.active).clamp(min=0)
        learned = self.first_queries(len(slots))
        carried = state.queries.gather(1, slots[..., None].expand(-1, -1, learned.shape[2]))
        return torch.cat([learned, carried], 1)

    def slots(self, state: Tracks) -> Tensor:
        tracks = entering(state.active)
        own = torch.arange(len(self.learned.weight), device=tracks.device)
        return torch.cat([own.expand(len(tracks), -1), tracks], 1)

    def update(self, state: Tracks, output: FrameOutput) -> Tracks:
        _, active, absent = state
        seen = by_slot(output, entering(active), active.shape[1])
        return Tracks(seen.queries, *follow(active, absent, seen, self.rules))

    def cost(self) -> Cost:
        """Nothing to add, but something to know."""
        return Cost(notes=["counted without tracks; each track in a frame adds one query"])


class TrackSlots(Tracker):
    """Gives the output of ``TrackQueries`` by slot; it follows the same tracks.

    Args:
        sizes: Q.
        rules: those of the memory.
    """

    component = "tracker"

    def __init__(self, sizes: SlotSizes, rules: TrackRules = TrackRules()) -> None:
        super().__init__()
        self.count = sizes.num_queries
        self.rules = rules

    def init_state(self, batch: int) -> State:
        return batch

    def track(
        self, output: FrameOutput, features: FrameFeatures, state: State
    ) -> tuple[FrameOutput, State]:
        if isinstance(state, int):
            state = no_tracks(state, self.count, output.queries.device)
        active, absent = state
        seen = by_slot(output, entering(active), self.count)
        return seen, follow(active, absent, seen, self.rules)
