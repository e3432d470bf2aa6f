"""ViT-Adapter (Chen et al., "Vision Transformer Adapter for Dense Predictions", ICLR 2023), in the
form of DVIS++ and CAVIS: the ViT runs untouched, and maps at four strides read from it.

Symbols: N frames, D encoder width; c1 to c4 are maps at strides 4, 8, 16 and 32; S cells of c2, c3
and c4 together, in this order and row by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate

from videomt_bench.errors import BenchError
from videomt_bench.models.deformable import DeformableAttention, Shapes, reference_points
from videomt_bench.models.encoders import ViTEncoder

GROUPS = 4
EXTRA_EXTRACTORS = 2
FFN_RATIO = 0.25


class SpatialPrior(nn.Module):
    """Convolutions from frames to maps at strides 4, 8, 16 and 32.

    Args:
        width: channels of the stem; the deeper maps have 2, 4 and 4 times as many.
        dim: channels D of the output.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_convolution(3, width, stride=2),
            *_convolution(width, width),
            *_convolution(width, width),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.conv2 = nn.Sequential(*_convolution(width, 2 * width, stride=2))
        self.conv3 = nn.Sequential(*_convolution(2 * width, 4 * width, stride=2))
        self.conv4 = nn.Sequential(*_convolution(4 * width, 4 * width, stride=2))
        self.project = nn.ModuleList(
            nn.Conv2d(width * factor, dim, kernel_size=1) for factor in (1, 2, 4, 4)
        )

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Frames (N, 3, H, W) -> c1 to c4, (N, D, ., .) each."""
        c1 = self.stem(frames)
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        c4 = self.conv4(c3)
        return [project(c) for project, c in zip(self.project, (c1, c2, c3, c4), strict=True)]


class ConvFFN(nn.Module):
    """A feed-forward network that looks at the neighbours of a cell, in its own map alone."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = int(dim * FFN_RATIO)
        self.fc1 = nn.Linear(dim, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, cells: Tensor, shapes: Shapes) -> Tensor:
        """Cells (N, S, D) of maps of these shapes -> (N, S, D)."""
        maps = _to_maps(self.fc1(cells), shapes)
        return self.fc2(gelu(_to_cells([self.depthwise(x) for x in maps])))


class Extractor(nn.Module):
    """One step of the maps: deformable attention to the ViT's tokens, then ``ConvFFN``."""

    def __init__(self, dim: int, heads: int, points: int) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(dim, eps=1e-6)
        self.feature_norm = nn.LayerNorm(dim, eps=1e-6)
        self.attention = DeformableAttention(dim, heads, levels=1, points=points)
        self.ffn_norm = nn.LayerNorm(dim, eps=1e-6)
        self.ffn = ConvFFN(dim)

    def forward(
        self,
        cells: Tensor,
        reference: Tensor,
        shapes: Shapes,
        tokens: Tensor,
        grid: tuple[int, int],
    ) -> Tensor:
        """Update cells.

        Args:
            cells: (N, S, D), of maps of these ``shapes``.
            reference: their centres (S, 2).
            tokens: patch tokens (N, P, D), of a ``grid`` of P patches.

        Returns:
            (N, S, D).
        """
        queries, features = self.query_norm(cells), self.feature_norm(tokens)
        cells = cells + self.attention(queries, reference, features, [grid])
        return cells + self.ffn(self.ffn_norm(cells), shapes)


class ViTAdapter(nn.Module):
    """A plain ViT as a backbone with four maps.

    The ViT's blocks run in four groups; after each group the maps read from the patch tokens, and
    after the last one twice more. There is no injector, so the ViT may be frozen.

    Args:
        encoder: the ViT, all of whose blocks are plain ones here. Its final norm is removed, as
            the outputs of the blocks are used raw.
        prior: stem width of the spatial prior.
        points: points per head of deformable attention, which has as many heads as the ViT.
        frozen: the ViT learns nothing and stays in evaluation mode.

    Attributes:
        dims: channels of the four maps, all D.

    Raises:
        BenchError: the encoder has fewer than four blocks.
    """

    component = "adapter"

    def __init__(
        self, encoder: ViTEncoder, prior: int = 64, points: int = 4, frozen: bool = False
    ) -> None:
        super().__init__()
        dim, blocks = encoder.dim, encoder.vit.blocks
        if len(blocks) < GROUPS:
            raise BenchError(
                f"an encoder of {len(blocks)} blocks is too shallow for the ViT-Adapter; "
                f"valid: {GROUPS} or more"
            )
        self.frozen = frozen
        self.dims = (dim,) * 4
        self.group_ends = [len(blocks) * (i + 1) // GROUPS for i in range(GROUPS)]
        heads: int = blocks[0].attn.num_heads
        self.prior = SpatialPrior(prior, dim)
        self.level_embed = nn.Parameter(torch.empty(3, dim))
        self.extractors = nn.ModuleList(
            Extractor(dim, heads, points) for _ in range(GROUPS + EXTRA_EXTRACTORS)
        )
        self.up = nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2)
        self.norms = nn.ModuleList(nn.BatchNorm2d(dim) for _ in range(4))
        encoder.vit.norm = nn.Identity()
        self.encoder = encoder
        self.reset_parameters()
        if frozen:
            encoder.requires_grad_(False).eval()

    def reset_parameters(self) -> None:
        """The published initialisation of everything but the ViT."""
        nn.init.normal_(self.level_embed)
        own = [child for name, child in self.named_children() if name != "encoder"]
        modules = [module for child in own for module in child.modules()]
        for module in modules:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in modules:
            if isinstance(module, DeformableAttention):
                module.reset_parameters()

    def train(self, mode: bool = True) -> ViTAdapter:
        """Set the mode; a frozen ViT stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Normalised frames (N, 3, H, W) -> maps (N, D, ., .) at strides 4, 8, 16 and 32.

        Where a side is no multiple of 32, the maps are rounded up.

        Raises:
            BenchError: H or W is no multiple of the patch size.
        """
        grid = self._grid(frames)
        with torch.no_grad() if self.frozen else nullcontext():
            groups = self.vit_features(frames)
        c1, *deep = self.prior(frames)
        cells = self._read(deep, groups, grid)
        c2, c3, c4 = _to_maps(cells, [_size(c) for c in deep])
        # the last row and column have no cell in an odd c1
        c1 = c1 + self.up(c2)[..., : c1.shape[2], : c1.shape[3]]
        return [
            norm(c + _resized(tokens.transpose(1, 2).unflatten(2, grid), _size(c)))
            for norm, c, tokens in zip(self.norms, (c1, c2, c3, c4), groups, strict=True)
        ]

    def vit_features(self, frames: Tensor) -> list[Tensor]:
        """Patch tokens (N, P, D) after each of the four groups of blocks, without any norm."""
        encoder = self.encoder
        tokens, rotation = encoder.embed(frames)
        groups = []
        for i, block in enumerate(encoder.vit.blocks, start=1):
            tokens = encoder.run(block, tokens, rotation)
            if i in self.group_ends:
                groups.append(tokens[:, encoder.num_prefix :])
        return groups

    def _read(self, maps: list[Tensor], groups: list[Tensor], grid: tuple[int, int]) -> Tensor:
        """The cells (N, S, D) of c2, c3 and c4 after all extractors."""
        shapes = [_size(c) for c in maps]
        reference = reference_points(shapes, maps[0].device)
        cells = _to_cells(
            [c + embed[:, None, None] for c, embed in zip(maps, self.level_embed, strict=True)]
        )
        sources = groups + groups[-1:] * EXTRA_EXTRACTORS
        for extractor, tokens in zip(self.extractors, sources, strict=True):
            cells = extractor(cells, reference, shapes, tokens, grid)
        return cells

    def _grid(self, frames: Tensor) -> tuple[int, int]:
        """Rows and columns of patches."""
        (height, width), patch = _size(frames), self.encoder.patch_size
        if height % patch or width % patch:
            raise BenchError(
                f"input {height}x{width} is not valid: height and width must be multiples of the "
                f"patch size {patch}"
            )
        return height // patch, width // patch


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _size(maps: Tensor) -> tuple[int, int]:
    return int(maps.shape[-2]), int(maps.shape[-1])


def _to_cells(maps: Sequence[Tensor]) -> Tensor:
    """Maps (N, C, h, w) -> their cells (N, S, C), row by row."""
    return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)


def _to_maps(cells: Tensor, shapes: Shapes) -> list[Tensor]:
    """Cells (N, S, C) -> maps (N, C, h, w)."""
    parts = cells.split([height * width for height, width in shapes], dim=1)
    return [x.transpose(1, 2).unflatten(2, s) for x, s in zip(parts, shapes, strict=True)]


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return maps if _size(maps) == size else interpolate(maps, size, mode="bilinear")
