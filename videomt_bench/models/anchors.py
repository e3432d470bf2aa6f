"""Dynamic anchors: where queries are, from the features under their masks, and how a track's anchor
follows its object (DVIS-DAQ, arXiv 2404.00086). The anchor of a track is fused over time, guided by
similarity as in CTVIS (arXiv 2307.12616) and its forerunner (arXiv 2203.14208).

Symbols: B streams, Q queries, n tracks, d tracker width, h × w mask logits.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from videomt_bench.models.heads import MLP

MEMORY = 9
"""How many earlier positions of a track are compared with a new one."""


class PositionEmbedding(MLP):
    """The mean feature under each mask, and three linear layers.

    Args:
        dim: d.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, dim, 3)

    def under(self, mask_logits: Tensor, mask_features: Tensor) -> Tensor:
        """Mask logits (B, Q, h, w) and mask features (B, d, h, w) -> positions (B, Q, d).

        A mask is where its probability is above one half; that of an empty one has features of
        zeros. No gradient reaches the mask logits.
        """
        inside = (mask_logits > 0).flatten(2)
        area = inside.sum(-1, keepdim=True, dtype=torch.float32)
        # dividing first keeps the product in the range of half precision
        weights = (inside / (area + 1e-8)).to(mask_features.dtype)
        return self(weights @ mask_features.flatten(2).mT)


class Anchors(NamedTuple):
    """The anchors of n tracks; further axes in front are possible."""

    fused: Tensor
    """(n, d)."""
    past: Tensor
    """The latest positions (n, MEMORY, d), in any order."""
    stored: Tensor
    """How many positions there were (n,), long."""

    @staticmethod
    def none(count: int, like: Tensor) -> Anchors:
        """Anchors of tracks without a position yet; ``like`` (..., d) tells width and device."""
        dim = like.shape[-1]
        stored = torch.zeros(count, dtype=torch.long, device=like.device)
        return Anchors(like.new_zeros(count, dim), like.new_zeros(count, MEMORY, dim), stored)

    def take(self, rows: Tensor) -> Anchors:
        """Those of some tracks (k,)."""
        return Anchors(*(x[rows] for x in self))

    def extended(self, count: int) -> Anchors:
        """With ``count`` tracks more that have no position yet."""
        new = Anchors.none(count, self.fused)
        return Anchors(*(torch.cat([a, b]) for a, b in zip(self, new, strict=True)))

    def updated(self, positions: Tensor, seen: Tensor) -> Anchors:
        """After a frame with positions (n, d) of the tracks that were ``seen`` in it, bool (n,).

        The more alike the new position is to those before, the more of it the anchor takes; the
        first one it takes as it is.
        """
        positions = positions.to(self.fused.dtype)
        numbers = torch.arange(MEMORY, device=positions.device)
        known = (numbers < self.stored[:, None]).to(positions.dtype)
        cosine = cosine_similarity(self.past, positions[:, None], dim=-1, eps=1e-6) * known
        mean = cosine.sum(1) / known.sum(1).clamp(min=1)
        share = mean.clamp(min=0).where(self.stored > 0, 1.0)[:, None]
        fused = (1 - share) * self.fused + share * positions
        newest = seen[:, None] & (numbers == self.stored[:, None] % MEMORY)
        return Anchors(
            fused.where(seen[:, None], self.fused),
            positions[:, None].where(newest[..., None], self.past),
            self.stored + seen,
        )
