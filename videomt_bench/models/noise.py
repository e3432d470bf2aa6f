"""Noise on the queries that a referring tracker starts from, in training only (DVIS++, Zhang et
al., arXiv 2312.13305): a tracker that always starts from well aligned queries learns to copy them.

Symbols: B streams, Q queries, d width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from videomt_bench.errors import BenchError, unknown
from videomt_bench.models.trackers import take_slots

NoiseMode = Literal["none", "rs", "wa", "cc"]
"""What slot i starts from instead of the query that continues it, with p a random permutation.

"rs", random shuffling: query p(i). "wa", weighted average: w · query i + (1 - w) · query p(i), with
w uniform in 0..1 for each slot. "cc", channel cropping: the first c channels of query i and the
others of query p(i), with c uniform in 0..d for each slot. "none": nothing else.
"""


@dataclass(frozen=True)
class QueryNoise:
    """Noise of a mode, in a share ``ratio`` of the frames of each stream.

    Raises:
        BenchError: an unknown mode, or a ratio that is no probability.
    """

    mode: NoiseMode = "none"
    ratio: float = 0.5

    def __post_init__(self) -> None:
        if self.mode not in get_args(NoiseMode):
            raise unknown("noise mode", self.mode, get_args(NoiseMode))
        if not 0 <= self.ratio <= 1:
            raise BenchError(f"noise ratio is {self.ratio}; it must be a probability from 0 to 1")

    def __call__(self, queries: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        """What slots start from (B, Q, d), and the query (B, Q) that each of them stands for.

        Where a slot starts from two queries, it stands for the one that it has more of, so two
        slots may stand for the same query.

        Args:
            queries: the segmenter's (B, Q, d), in its own order.
            order: the query (B, Q) that continues each slot.
        """
        aligned = take_slots(queries, order)
        if self.mode == "none":
            return aligned, order
        batch, device = len(queries), queries.device
        noisy = torch.rand(batch, 1, device=device) < self.ratio
        start, stands_for = self._mixed(queries)
        return start.where(noisy[..., None], aligned), stands_for.where(noisy, order)

    def _mixed(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        batch, count, width = queries.shape
        other = torch.rand(batch, count, device=queries.device).argsort(1)
        shuffled = take_slots(queries, other)
        if self.mode == "rs":
            return shuffled, other
        share = torch.rand(batch, count, 1, device=queries.device)
        itself = torch.arange(count, device=queries.device).expand(batch, -1)
        if self.mode == "wa":
            start, own = torch.lerp(shuffled, queries, share.to(queries.dtype)), share >= 0.5
        else:
            cut = (share * (width + 1)).long()
            channel = torch.arange(width, device=queries.device)
            start, own = queries.where(channel < cut, shuffled), cut >= width / 2
        return start, itself.where(own[..., 0], other)
