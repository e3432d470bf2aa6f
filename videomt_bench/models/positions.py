"""Positions of maps: sines (Vaswani et al., 2017), in two dimensions as DETR has them (ECCV 2020),
and learned ones at other sizes than they were learned for."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

TEMPERATURE = 10_000.0
EPSILON = 1e-6
GRID_OFFSET = 0.1
"""Of the sides of a new grid, in patches: DINOv2's guard against a cell too few."""


def sine_positions(size: tuple[int, int], dim: int, device: torch.device) -> Tensor:
    """Positions (h·w, dim) of the cells of a map of h × w, in row order, as float32.

    Half of the channels tell the row, half the column: each axis is counted from 1 and scaled so
    that its last cell is at 2π; sine and cosine of one frequency stand side by side.
    """
    rows, columns = (_axis(length, dim // 2, device) for length in size)
    height, width = size
    grid = torch.cat(
        [rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)], dim=-1
    )
    return grid.flatten(0, 1)


def dinov2_positions(
    learned: Tensor, grid: tuple[int, int], size: tuple[int, int], prefix: int
) -> Tensor:
    """Learned positions at another size, by the rule of DINOv2's authors (Oquab et al., TMLR 2024).

    Bicubic without a filter against aliasing, by factors of (new + 0.1) / old: a little less than
    the whole grid is spread over the map. timm takes new / old, and filters where a map is smaller.

    Args:
        learned: (1, prefix + P, D), for a ``grid`` of P cells.
        grid, size: rows and columns, as learned and wanted.
        prefix: positions of tokens that are no cells; they stay.

    Returns:
        (1, prefix + h·w, D) for a ``size`` of h × w, resampled in float32.
    """
    if grid == size:
        return learned
    cells = learned[:, prefix:].float().transpose(1, 2).unflatten(2, grid)
    factors = [(new + GRID_OFFSET) / old for new, old in zip(size, grid, strict=True)]
    cells = interpolate(cells, scale_factor=factors, mode="bicubic")
    return torch.cat([learned[:, :prefix], cells.flatten(2).mT.to(learned.dtype)], 1)


def _axis(length: int, dim: int, device: torch.device) -> Tensor:
    """The positions (length, dim) along one axis."""
    place = torch.arange(1, length + 1, device=device, dtype=torch.float32)
    place = place / (length + EPSILON) * 2 * math.pi
    exponent = torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim
    angle = place[:, None] / TEMPERATURE**exponent
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
