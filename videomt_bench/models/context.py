"""Appearance of queries for trackers: context-aware features and re-identification (CAVIS, Lee et
al., "Context-aware video instance segmentation", ICCV 2025).

Symbols: B frames, Q queries, D channels, d tracker width, h × w mask logits.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from videomt_bench.errors import BenchError, unknown
from videomt_bench.models.heads import MLP, c2_xavier

ContextFilter = Literal["depthwise", "dense", "sum"]
"""How mask features are averaged over their surroundings.

"depthwise": each channel by itself, as the paper describes it. "dense": as its public code does it,
one convolution of constant weights from all channels to all, so that every channel is the average
of the sum over channels. "sum": the values of "dense" from one filtered channel.
"""


class ContextFeatures(nn.Module):
    """What lies around the boundary of each query's mask: the mean of filtered mask features there.

    The boundary are the pixels of the mask (logit > 0) with a neighbour, of eight, outside it;
    what is outside the image is outside the mask. An empty mask has features of zeros.

    Args:
        dim: D.
        size: side of the averaging filter in pixels of the mask features, odd. Padded zeros count.
        mode: which filter.

    Raises:
        BenchError: an unknown mode, or a size that is not odd.
    """

    component = "context features"
    laplacian: Tensor
    kernel: Tensor

    def __init__(self, dim: int, size: int = 9, mode: ContextFilter = "depthwise") -> None:
        super().__init__()
        if mode not in get_args(ContextFilter):
            raise unknown("context filter", mode, get_args(ContextFilter))
        if size < 1 or size % 2 == 0:
            raise BenchError(f"a context filter of side {size} is not possible; valid: 1, 3, 5, …")
        self.mode = mode
        self.padding = size // 2
        laplacian = torch.full((1, 1, 3, 3), -1.0)
        laplacian[..., 1, 1] = 8
        outputs, inputs = {"depthwise": (dim, 1), "dense": (dim, dim), "sum": (1, 1)}[mode]
        kernel = torch.full((outputs, inputs, size, size), 1 / size**2)
        self.register_buffer("laplacian", laplacian, persistent=False)
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, mask_logits: Tensor, mask_features: Tensor) -> Tensor:
        """Mask logits (B, Q, h, w) and mask features (B, D, h, w) -> (B, Q, D)."""
        boundary = self.boundary(mask_logits).flatten(2)
        count = boundary.sum(-1, keepdim=True, dtype=torch.float32)
        # dividing first keeps the product in the range of half precision
        weights = boundary / (count + 1e-6)
        pooled = weights.to(mask_features.dtype) @ self.filtered(mask_features).flatten(2).mT
        return pooled.expand(-1, -1, mask_features.shape[1])

    def boundary(self, mask_logits: Tensor) -> Tensor:
        """Bool (B, Q, h, w): the inner boundary of each mask, by a Laplacian of 3 × 3."""
        masks = (mask_logits > 0).to(self.laplacian.dtype).flatten(0, 1)[:, None]
        return (conv2d(masks, self.laplacian, padding=1) > 0).view_as(mask_logits)

    def filtered(self, mask_features: Tensor) -> Tensor:
        """Averages of mask features (B, D, h, w): as many channels, with "sum" one."""
        if self.mode == "sum":
            mask_features = mask_features.sum(1, keepdim=True)
        groups = len(self.kernel) if self.mode == "depthwise" else 1
        return conv2d(mask_features, self.kernel, padding=self.padding, groups=groups)


class ReIDHead(MLP):
    """Three linear layers that tell objects apart: (..., in_dim) -> (..., dim)."""

    component = "re-ID"

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__(in_dim, dim, dim, 3)
        c2_xavier(self)


class Appearance(nn.Module):
    """Identity of each query, from itself and, where there are context features, from them.

    Args:
        dim: d, the width of queries, mask features and identities.
        context: the filter of the context features; "none" for no such features.
        size: side of that filter.
    """

    def __init__(
        self, dim: int, context: ContextFilter | Literal["none"] = "depthwise", size: int = 9
    ) -> None:
        super().__init__()
        self.context = None if context == "none" else ContextFeatures(dim, size, context)
        self.reid = ReIDHead(dim if self.context is None else 2 * dim, dim)

    def forward(self, embeddings: Tensor, mask_logits: Tensor, mask_features: Tensor) -> Tensor:
        """Normalised queries (B, Q, d), mask logits (B, Q, h, w) and mask features (B, d, h, w).

        No gradient reaches the mask logits.

        Returns:
            Identities (B, Q, d).
        """
        if self.context is None:
            return self.reid(embeddings)
        context = self.context(mask_logits.detach(), mask_features)
        return self.reid(torch.cat([embeddings, context.to(embeddings.dtype)], dim=-1))
