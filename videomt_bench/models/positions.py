"""Sine positions of maps (Vaswani et al., 2017), in two dimensions as DETR has them (ECCV 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TEMPERATURE = 10_000.0
EPSILON = 1e-6


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


def _axis(length: int, dim: int, device: torch.device) -> Tensor:
    """The positions (length, dim) along one axis."""
    place = torch.arange(1, length + 1, device=device, dtype=torch.float32)
    place = place / (length + EPSILON) * 2 * math.pi
    exponent = torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim
    angle = place[:, None] / TEMPERATURE**exponent
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
