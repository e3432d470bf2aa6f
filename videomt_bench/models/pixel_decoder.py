"""The pixel decoder of Mask2Former (Cheng et al., CVPR 2022): deformable self-attention over three
scales (Zhu et al., Deformable DETR, ICLR 2021) and one top-down step to stride 4.

Symbols: N frames, d decoder width, S tokens of all three scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from videomt_bench.models.deformable import DeformableAttention, reference_points
from videomt_bench.models.positions import sine_positions
from videomt_bench.models.variant import DecoderSizes

LEVELS = 3
POINTS = 4
XAVIER = nn.init.xavier_uniform_
FAN_IN = partial(nn.init.kaiming_uniform_, a=1)
"""Variance 1 / fan-in: what Caffe2, and Mask2Former after it, calls Xavier."""


class PixelDecoderLayer(nn.Module):
    """Deformable self-attention and a feed-forward network, each followed by its norm.

    Args:
        sizes: ``dim``, ``heads`` and ``pixel_ffn`` are used.
    """

    def __init__(self, sizes: DecoderSizes) -> None:
        super().__init__()
        self.attention = DeformableAttention(sizes.dim, sizes.heads, LEVELS, POINTS)
        self.norm1 = nn.LayerNorm(sizes.dim)
        self.linear1 = nn.Linear(sizes.dim, sizes.pixel_ffn)
        self.linear2 = nn.Linear(sizes.pixel_ffn, sizes.dim)
        self.norm2 = nn.LayerNorm(sizes.dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self, x: Tensor, positions: Tensor, reference: Tensor, shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Tokens (N, S, d) and what is added to them as queries (S, d) -> tokens (N, S, d)."""
        x = self.norm1(x + self.attention(x + positions, reference, x, shapes))
        return self.norm2(x + self.linear2(self.linear1(x).relu()))


class PixelDecoder(nn.Module):
    """Four maps of an encoder -> mask features and three maps for the masked decoder.

    It runs in the precision of its parameters, float32, also where autocast is on: the sampling
    positions of deformable attention suffer from less.

    Args:
        in_dims: channels of the four input maps, res2 to res5.
        sizes: ``dim``, ``heads``, ``pixel_layers`` and ``pixel_ffn`` are used.
    """

    component = "pixel decoder"

    def __init__(self, in_dims: Sequence[int], sizes: DecoderSizes) -> None:
        super().__init__()
        dim = sizes.dim
        res2, *deep = in_dims
        self.input_proj = nn.ModuleList(
            nn.Sequential(_initialised(nn.Conv2d(channels, dim, 1), XAVIER), _group_norm(dim))
            for channels in reversed(deep)
        )
        self.level_embed = nn.Parameter(torch.randn(LEVELS, dim))
        self.layers = nn.ModuleList(PixelDecoderLayer(sizes) for _ in range(sizes.pixel_layers))
        lateral = nn.Conv2d(res2, dim, 1, bias=False)
        output = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.lateral = nn.Sequential(_initialised(lateral, FAN_IN), _group_norm(dim))
        self.output = nn.Sequential(_initialised(output, FAN_IN), _group_norm(dim), nn.ReLU())
        self.mask_features = _initialised(nn.Conv2d(dim, dim, 1), FAN_IN)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Maps res2 to res5 (N, in_dims[i], ., .), at strides 4, 8, 16 and 32.

        Returns mask features (N, d, h, w) at stride 4, and maps (N, d, ., .) in the order res5,
        res4, res3.
        """
        with _without_autocast(maps[0].device):
            res2, *deep = (x.to(self.level_embed.dtype) for x in maps)
            levels = [p(x) for p, x in zip(self.input_proj, reversed(deep), strict=True)]
            encoded = self._encode(levels)
            lateral = self.lateral(res2)
            size = (int(lateral.shape[2]), int(lateral.shape[3]))
            top = lateral + interpolate(encoded[-1], size, mode="bilinear")
            return self.mask_features(self.output(top)), encoded

    def _encode(self, levels: list[Tensor]) -> list[Tensor]:
        """Let the tokens of all levels attend to each other; the shapes stay."""
        device, dim = levels[0].device, self.level_embed.shape[1]
        shapes = [(int(x.shape[2]), int(x.shape[3])) for x in levels]
        positions = torch.cat(
            [
                sine_positions(shape, dim, device) + embed
                for shape, embed in zip(shapes, self.level_embed, strict=True)
            ]
        )
        # every token looks around its own centre, in all levels
        reference = reference_points(shapes, device)[None, :, None]
        x = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        for layer in self.layers:
            x = layer(x, positions, reference, shapes)
        tokens = x.split([height * width for height, width in shapes], dim=1)
        return [t.transpose(1, 2).unflatten(2, s) for t, s in zip(tokens, shapes, strict=True)]


def _initialised(conv: nn.Conv2d, rule: Callable[[Tensor], object]) -> nn.Conv2d:
    """Weights by a rule, biases zero."""
    rule(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _group_norm(dim: int) -> nn.GroupNorm:
    """32 groups, or as many as divide a small width."""
    return nn.GroupNorm(math.gcd(32, dim), dim)


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """The precision of the parameters, on devices that have another one."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
