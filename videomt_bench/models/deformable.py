"""Multi-scale deformable attention (Zhu et al., "Deformable DETR", ICLR 2021).

A query looks at a few points around its reference point, on maps of several sizes. Symbols:
B batch, Lq queries, M heads of width d/M, L levels of H_l × W_l cells, P points, S = sum H_l W_l.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from videomt_bench.errors import BenchError, unknown

Shapes = Sequence[tuple[int, int]]
"""Height and width of every level."""

BACKENDS = ("grid_sample", "triton")
"""``grid_sample`` runs anywhere and has gradients; ``triton`` is one CUDA kernel for inference,
which reads half precision and sums in float32."""

_forced: str | None = None


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Sample with this backend inside the ``with`` block, in all threads.

    The published systems sampled with ``grid_sample`` in half precision.

    Raises:
        BenchError: the name is unknown.
    """
    global _forced
    if name not in BACKENDS:
        raise unknown("backend of deformable attention", name, BACKENDS)
    previous, _forced = _forced, name
    try:
        yield
    finally:
        _forced = previous


def deformable_backend(device: torch.device | str) -> str:
    """The backend that samples on a device where no gradient is needed."""
    if _forced is not None:
        return _forced
    device = torch.device(device)
    usable = device.type == "cuda" and _triton_works(device)
    return "triton" if usable else "grid_sample"


def deformable_sampling(
    value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sum of bilinear samples, zero outside of a map.

    Args:
        value: (B, S, M, d/M), the cells of all levels, row by row.
        locations: (B, Lq, M, L, P, 2), x and y, 0..1 from edge to edge of a map.
        weights: (B, Lq, M, L, P).

    Returns:
        (B, Lq, d), of the type of ``value``.

    Raises:
        BenchError: the triton backend was asked for where it cannot be used.
    """
    if _backend_of(value, locations, weights) == "grid_sample":
        return _grid_sample(value, shapes, locations, weights)
    from videomt_bench.models import deformable_triton

    return deformable_triton.sample(value, shapes, locations, weights)


def reference_points(shapes: Shapes, device: torch.device | str) -> Tensor:
    """Centres of the cells of every level: (S, 2), x and y, 0..1, row by row."""
    levels = []
    for height, width in shapes:
        x = (torch.arange(width, device=device) + 0.5) / width
        y = (torch.arange(height, device=device) + 0.5) / height
        grid = (x.expand(height, width), y[:, None].expand(height, width))
        levels.append(torch.stack(grid, -1).flatten(0, 1))
    return torch.cat(levels)


class DeformableAttention(nn.Module):
    """Attention of queries to few points of a set of maps.

    Args:
        dim: width d of queries and values.
        heads, levels, points: M, L and P.

    Raises:
        BenchError: ``heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, heads: int, levels: int, points: int = 4) -> None:
        super().__init__()
        if dim % heads:
            raise BenchError(f"{heads} heads do not divide the width {dim} of deformable attention")
        self.heads = heads
        self.levels = levels
        self.points = points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Each head looks in a direction of its own, one cell further with every point."""
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        steps = torch.arange(1.0, self.points + 1)[:, None]
        offsets = head_directions(self.heads)[:, None, None] * steps
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.levels, -1, -1).flatten())

    def forward(self, query: Tensor, reference: Tensor, value: Tensor, shapes: Shapes) -> Tensor:
        """Attend from every query to the maps.

        Args:
            query: (B, Lq, d).
            reference: x and y in 0..1, broadcastable to (B, Lq, L, 2); or (Lq, 2), the same
                point on all levels.
            value: (B, S, d), the cells of all levels, row by row.

        Returns:
            (B, Lq, d).
        """
        self._check(value, shapes)
        shape = (*query.shape[:2], self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).view(*shape, 2)
        weights = self.attention_weights(query).flatten(2).view(*shape[:3], -1).softmax(-1)
        value = self.value_proj(value).unflatten(-1, (self.heads, -1))
        locations = _locations(reference, offsets, shapes)
        return self.output_proj(deformable_sampling(value, shapes, locations, weights.view(shape)))

    def _check(self, value: Tensor, shapes: Shapes) -> None:
        cells = sum(height * width for height, width in shapes)
        if len(shapes) != self.levels or cells != value.shape[1]:
            raise BenchError(
                f"{value.shape[1]} values do not fill the maps {list(shapes)} of deformable "
                f"attention; valid: {self.levels} maps with that many cells"
            )


def head_directions(heads: int) -> Tensor:
    """Unit steps (M, 2) of the heads, around the square of half side 1."""
    angles = torch.arange(heads, dtype=torch.float32) * (2 * math.pi / heads)
    directions = torch.stack([angles.cos(), angles.sin()], -1)
    return directions / directions.abs().amax(-1, keepdim=True)


def _locations(reference: Tensor, offsets: Tensor, shapes: Shapes) -> Tensor:
    """Offsets in cells (B, Lq, M, L, P, 2) around their reference, in 0..1."""
    if reference.dim() == 2:
        reference = reference[None, :, None]
    # half precision cannot tell neighbouring cells of a large map apart
    offsets = offsets.to(torch.promote_types(offsets.dtype, torch.float32))
    # x and y apart: a tensor of sizes would be copied to the GPU, and waited for, in every layer
    levels = [
        torch.stack((offset[..., 0] / width, offset[..., 1] / height), -1)
        for offset, (height, width) in zip(offsets.unbind(3), shapes, strict=True)
    ]
    return reference[:, :, None, :, None] + torch.stack(levels, 3)


def _backend_of(value: Tensor, locations: Tensor, weights: Tensor) -> str:
    # shapes alone, and traces that count operators, need operators that PyTorch knows
    if value.is_meta or torch.jit.is_tracing():
        return "grid_sample"
    learning = torch.is_grad_enabled() and any(x.requires_grad for x in (value, locations, weights))
    fits = not learning and value.dtype != torch.float64
    if _forced == "triton" and not fits:
        reason = "gradients" if learning else "float64"
        raise BenchError(
            f"the backend 'triton' of deformable attention has no {reason}; use 'grid_sample'"
        )
    return deformable_backend(value.device) if fits else "grid_sample"


def _grid_sample(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    # queries last: samples, weights and sums run along memory, which is 2 to 3 times as fast on
    # a CPU as summing points that lie side by side
    grids = (2 * locations - 1).permute(3, 0, 2, 4, 1, 5).flatten(1, 2)  # L, BM, P, Lq, 2
    shares = weights.permute(3, 0, 2, 4, 1).flatten(1, 2)  # L, BM, P, Lq
    maps = value.to(grids.dtype).permute(0, 2, 3, 1).flatten(0, 1)  # BM, d/M, S
    total: Tensor | None = None
    for level, cells in enumerate(maps.split([h * w for h, w in shapes], -1)):
        samples = grid_sample(
            cells.unflatten(-1, tuple(shapes[level])), grids[level], align_corners=False
        )
        part = (samples * shares[level][:, None]).sum(2)
        total = part if total is None else total + part
    assert total is not None
    batch, queries = locations.shape[:2]
    return total.view(batch, -1, queries).transpose(1, 2).to(value.dtype)


@torch.compiler.assume_constant_result
def _triton_works(device: torch.device) -> bool:
    return _probe_triton(device)


@lru_cache
def _probe_triton(device: torch.device) -> bool:
    """Whether Triton is there and can build a kernel, which takes a C compiler at run time."""
    if find_spec("triton") is None:
        return False
    from videomt_bench.models import deformable_triton

    try:
        deformable_triton.probe(device)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        warnings.warn(
            f"deformable attention uses grid_sample, as Triton fails on {device}: {reason}",
            stacklevel=2,
        )
        return False
    return True
