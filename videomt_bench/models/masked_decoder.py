"""The masked-attention transformer decoder of Mask2Former (Cheng et al., CVPR 2022): a query looks
only at the pixels of the mask that it predicted one layer before.

Symbols: B frames, Q queries, d decoder width, C classes, h × w mask features, S pixels of a level.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from videomt_bench.errors import BenchError
from videomt_bench.models.contracts import Prediction
from videomt_bench.models.heads import PredictionHeads
from videomt_bench.models.positions import sine_positions
from videomt_bench.models.variant import DecoderSizes

LEVELS = 3


class Decoded(NamedTuple):
    """What the decoder makes of one frame's queries."""

    prediction: Prediction
    """Of the last layer."""
    intermediate: tuple[Prediction, ...]
    """Before the first layer and after each but the last, in training only."""
    queries: Tensor
    """The last layer's output (B, Q, d)."""
    embeddings: Tensor
    """The same after the norm of the heads."""


class MaskedDecoderLayer(nn.Module):
    """Masked cross-attention, self-attention and a feed-forward network, each with a norm after it.

    Args:
        sizes: ``dim``, ``heads`` and ``ffn`` are used.
    """

    def __init__(self, sizes: DecoderSizes) -> None:
        super().__init__()
        dim = sizes.dim
        self.cross_attention = nn.MultiheadAttention(dim, sizes.heads, batch_first=True)
        self.cross_norm = nn.LayerNorm(dim)
        self.self_attention = nn.MultiheadAttention(dim, sizes.heads, batch_first=True)
        self.self_norm = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, sizes.ffn)
        self.linear2 = nn.Linear(sizes.ffn, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        key: Tensor,
        value: Tensor,
        blocked: Tensor,
        padding: Tensor | None = None,
    ) -> Tensor:
        """One layer.

        Args:
            queries: (B, Q, d).
            positions: (Q, d) or (B, Q, d), added to queries, and to keys of the self-attention.
            key, value: the pixels of one level (B, S, d), with and without their positions.
            blocked: (B, Q, S), True where a query must not look.
            padding: (B, Q), True for queries that no other may see.

        Returns:
            Queries (B, Q, d).
        """
        mask = blocked.repeat_interleave(self.cross_attention.num_heads, dim=0)
        x, _ = self.cross_attention(
            queries + positions, key, value, attn_mask=mask, need_weights=False
        )
        queries = self.cross_norm(queries + x)
        placed = queries + positions
        x, _ = self.self_attention(
            placed, placed, queries, key_padding_mask=padding, need_weights=False
        )
        queries = self.self_norm(queries + x)
        return self.ffn_norm(queries + self.linear2(self.linear1(queries).relu()))


class MaskedDecoder(nn.Module):
    """Content queries of one frame -> classes and masks. Layer i looks at level i mod 3.

    What the queries contain at first comes from outside; where they belong is learned here.

    Args:
        num_queries: Q.
        num_classes: C, without no-object.
        sizes: ``dim``, ``heads``, ``ffn`` and ``layers`` are used.
    """

    component = "decoder"

    def __init__(self, num_queries: int, num_classes: int, sizes: DecoderSizes) -> None:
        super().__init__()
        self.query_positions = nn.Parameter(torch.randn(num_queries, sizes.dim))
        self.level_embed = nn.Parameter(torch.randn(LEVELS, sizes.dim))
        self.layers = nn.ModuleList(MaskedDecoderLayer(sizes) for _ in range(sizes.layers))
        self.heads = PredictionHeads(sizes.dim, num_classes)

    def forward(
        self,
        queries: Tensor,
        mask_features: Tensor,
        maps: list[Tensor],
        slots: Tensor | None = None,
    ) -> Decoded:
        """Content queries (B, Q, d), mask features (B, d, h, w), maps (B, d, ., .) from coarse on.

        ``slots`` (B, Q): whose position each query has, -1 for padding; None: query i has its own.

        Raises:
            BenchError: there are more or fewer queries than positions for them.
        """
        positions: Tensor = self.query_positions
        padding: Tensor | None = None
        if slots is None:
            self._check(queries)
        else:
            positions = positions[slots.clamp(min=0)]
            padding = None if slots.is_meta or not bool((slots < 0).any()) else slots < 0
        levels = [self._level(x, embed) for x, embed in zip(maps, self.level_embed, strict=True)]
        intermediate: list[Prediction] = []
        for i, layer in enumerate(self.layers):
            # without a loss on it, a layer's prediction is needed for its masks alone
            prediction, _ = self.heads(queries, mask_features, classes=self.training)
            intermediate.append(prediction)
            key, value = levels[i % LEVELS]
            blocked = blocked_pixels(prediction.mask_logits, _size(maps[i % LEVELS]))
            queries = layer(queries, positions, key, value, blocked, padding)
        prediction, embeddings = self.heads(queries, mask_features)
        kept = tuple(intermediate) if self.training else ()
        return Decoded(prediction, kept, queries, embeddings)

    def _level(self, x: Tensor, embed: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, S, d) of one map."""
        value = x.flatten(2).transpose(1, 2) + embed
        return value + sine_positions(_size(x), int(x.shape[1]), x.device), value

    def _check(self, queries: Tensor) -> None:
        expected = len(self.query_positions)
        if queries.shape[1] != expected:
            raise BenchError(
                f"{int(queries.shape[1])} queries enter a masked decoder that has learned "
                f"positions for {expected}; the query memory must give {expected}"
            )


def blocked_pixels(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Where queries must not look: (B, Q, S), True outside their own mask at ``size``.

    A query whose mask is empty there may look anywhere. No gradient passes.
    """
    resized = interpolate(mask_logits.detach().float(), size, mode="bilinear")
    outside = resized.sigmoid().flatten(2) < 0.5
    return outside & ~outside.all(dim=2, keepdim=True)


def _size(x: Tensor) -> tuple[int, int]:
    return int(x.shape[2]), int(x.shape[3])
