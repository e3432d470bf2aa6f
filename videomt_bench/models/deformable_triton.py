"""Sampling of multi-scale deformable attention as a Triton kernel, for inference.

No samples are kept: a program sums those of a block of queries of one head in float32, whatever
the type it reads. The maths is that of ``deformable.deformable_sampling``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

BLOCK_QUERIES = 16


def sample(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """The weighted sum of samples (B, Lq, d); arguments as of ``deformable_sampling``."""
    sizes = [int(side) for shape in shapes for side in shape]
    return _sample(value.contiguous(), sizes, locations.contiguous(), weights.contiguous())


def probe(device: torch.device) -> None:
    """Build and run the kernel once, on four cells; raises whatever stands in the way."""
    value = torch.ones(1, 4, 1, 16, device=device)
    places = torch.full((1, 1, 1, 1, 1, 2), 0.5, device=device)
    sample(value, [(2, 2)], places, torch.ones(1, 1, 1, 1, 1, device=device)).sum().item()


# an operator of its own: torch.compile calls it and does not look inside
@torch.library.custom_op("videomt_bench::deformable_sampling", mutates_args=())
def _sample(value: Tensor, sizes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    batch, tokens, heads, width = value.shape
    queries, levels, points = locations.shape[1], locations.shape[3], locations.shape[4]
    # sums of several levels are kept in float32 between their kernels
    dtype = value.dtype if levels == 1 else torch.float32
    out = value.new_empty((batch, queries, heads * width), dtype=dtype)
    grid = (triton.cdiv(queries, BLOCK_QUERIES), heads, batch)
    start = 0
    for level in range(levels):
        rows, columns = sizes[2 * level : 2 * level + 2]
        with _on(value.device):
            _level_kernel[grid](
                *(value, locations, weights, out, queries, tokens, start, rows, columns, level),
                heads=heads,
                width=width,
                levels=levels,
                points=points,
                block=BLOCK_QUERIES,
                block_width=triton.next_power_of_2(width),
                first=level == 0,
            )
        start += rows * columns
    return out.to(value.dtype)


@_sample.register_fake
def _(value: Tensor, sizes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    return value.new_empty(value.shape[0], locations.shape[1], value.shape[2] * value.shape[3])


def _on(device: torch.device) -> Any:
    """Triton launches on the current GPU, which may be another than that of the tensors."""
    return torch.cuda.device(device if device.type == "cuda" else -1)


@triton.jit
def _level_kernel(  # type: ignore[no-untyped-def]
    value,
    locations,
    weights,
    out,
    queries,
    tokens,
    start,
    rows,
    columns,
    level,
    heads: tl.constexpr,
    width: tl.constexpr,
    levels: tl.constexpr,
    points: tl.constexpr,
    block: tl.constexpr,
    block_width: tl.constexpr,
    first: tl.constexpr,
):
    """Samples of one level for a block of queries of one head, added to ``out``."""
    query = tl.program_id(0) * block + tl.arange(0, block)
    head = tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)
    channel = tl.arange(0, block_width)
    queried = query < queries
    used = (channel < width)[None, :]
    row = (batch * queries + query) * heads + head
    cells = value + ((batch * tokens + start) * heads + head) * width
    places = out + row[:, None] * width + channel[None, :]
    total = tl.zeros((block, block_width), dtype=tl.float32)
    for point in range(points):
        at = (row * levels + level) * points + point
        weight = tl.load(weights + at, mask=queried, other=0.0).to(tl.float32)
        # cell centres lie at half-integers
        x = tl.load(locations + 2 * at, mask=queried, other=0.0).to(tl.float32) * columns - 0.5
        y = tl.load(locations + 2 * at + 1, mask=queried, other=0.0).to(tl.float32) * rows - 0.5
        left = tl.floor(x)
        top = tl.floor(y)
        for corner in tl.static_range(4):
            column = left + corner % 2
            line = top + corner // 2
            share = weight * (1 - tl.abs(x - column)) * (1 - tl.abs(y - line))
            inside = (column >= 0) & (column < columns) & (line >= 0) & (line < rows) & queried
            cell = (line * columns + column).to(tl.int32)
            read = tl.load(
                cells + cell[:, None] * (heads * width) + channel[None, :],
                mask=inside[:, None] & used,
                other=0.0,
            )
            total += share[:, None] * read.to(tl.float32)
    written = queried[:, None] & used
    if not first:
        total += tl.load(places, mask=written, other=0.0)
    tl.store(places, total.to(out.dtype.element_ty), mask=written)
