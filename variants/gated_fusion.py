"""VidEoMT's fusion with a gate: each channel of a query decides how much of the past it takes.

Motivated by Tab. A of VidEoMT (arXiv 2602.17807): queries without an object had better start anew.
"""

import torch
from torch import Tensor, nn

from videomt_bench.models import EoMT, FrameOutput, QueryFusion, SlotSizes, Variant


class GatedFusion(QueryFusion):
    """Q_t = g (W Q_{t-1} + b) + Q_learned, g from 0 to 2 by the query itself, about 1 at first."""

    def __init__(self, sizes: SlotSizes) -> None:
        super().__init__(sizes)
        self.norm = nn.LayerNorm(sizes.dim)
        self.gate = nn.Linear(sizes.dim, sizes.dim)
        nn.init.zeros_(self.gate.bias)

    def update(self, state: Tensor, output: FrameOutput) -> Tensor:
        past = self.propagated(output)
        gate = 2 * torch.sigmoid(self.gate(self.norm(past)))
        return gate * self.fuse(past) + self.learned.weight


VARIANT = Variant(title="gated fusion", segmenter=EoMT.from_spec, memory=GatedFusion)
