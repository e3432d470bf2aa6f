"""Trackers without parameters: the query index, and matching of query embeddings."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from videomt_bench.models.contracts import FrameFeatures, FrameOutput, State, Tracker
from videomt_bench.models.variant import SlotSizes


class QueryIndex(Tracker):
    """No tracker: query i of every frame is track i."""

    reads_masks = False

    def __init__(self, sizes: SlotSizes | None = None) -> None:
        super().__init__()

    def init_state(self, batch: int) -> State:
        return ()

    def track(
        self, output: FrameOutput, features: FrameFeatures, state: State
    ) -> tuple[FrameOutput, State]:
        return output, state


class EmbeddingMatching(Tracker):
    """Hungarian matching of query embeddings by cosine to those of the previous frame.

    Huang et al., MinVIS, NeurIPS 2022. The reference is the previous frame alone, in track order.
    Training with per-frame matching does not see the order of queries, so it is left as it is then.
    """

    component = "tracker"
    reads_masks = False

    def __init__(self, sizes: SlotSizes | None = None) -> None:
        super().__init__()

    def init_state(self, batch: int) -> State:
        return None

    def track(
        self, output: FrameOutput, features: FrameFeatures, state: Tensor | None
    ) -> tuple[FrameOutput, State]:
        if self.training:
            return output, state
        if state is not None:
            output = output.reorder(match_embeddings(state, output.embeddings))
        return output, output.embeddings


def match_embeddings(reference: Tensor, current: Tensor) -> Tensor:
    """Permutation (B, Q) such that ``current[b, permutation[b, i]]`` continues ``reference[b, i]``.

    Both are (B, Q, D); the cost is one minus the cosine, in float32, 0 where that is not a number.
    On the meta device, where nothing can be assigned, only the shape is right.
    """
    shapes_only = reference.is_meta
    with torch.autocast("cpu" if shapes_only else reference.device.type, enabled=False):
        a, b = (_unit(x.detach().float()) for x in (reference, current))
        cost = (1 - a @ b.transpose(1, 2)).nan_to_num(0.0)
    if shapes_only:
        return cost.argmin(-1)
    return _assign(cost)


@torch.compiler.disable
def _assign(cost: Tensor) -> Tensor:
    """Columns (B, Q) of the cheapest assignments; a compiler need not try to read this."""
    columns = [linear_sum_assignment(c)[1] for c in cost.cpu().numpy()]
    return torch.stack([torch.from_numpy(c) for c in columns]).to(cost.device)


def take_slots(x: Tensor, order: Tensor) -> Tensor:
    """What ``x`` (B, Q, D) has of query ``order[b, i]``, in slot i; ``order`` is (B, Q)."""
    return x.gather(1, order[..., None].expand_as(x))


def _unit(x: Tensor) -> Tensor:
    return x / (x.norm(dim=-1, keepdim=True) + 1e-6)
