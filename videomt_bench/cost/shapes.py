"""Tracing a model by shapes alone: the meta device, made to work under PyTorch's tracer.

A convenience: the same count comes out of a run with values, only later.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Module = TypeVar("Module", bound=nn.Module)


def on_meta(model: Module) -> Module:
    """A copy whose parameters and buffers have shapes and no values; no weight is copied."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=False)
        for p in model.parameters()
    }
    memo |= {id(b): torch.empty_like(b, device="meta") for b in model.buffers()}
    return copy.deepcopy(model, memo)


@contextmanager
def shapes_only() -> Iterator[None]:
    """New tensors are made on the meta device, and convolutions there work under the tracer."""
    with torch.device("meta"), _TracedConvolution():
        yield


class _TracedConvolution(TorchFunctionMode):
    """Calls ``_convolution`` at once, the one convolution that the tracer records.

    What is called above it runs with the tracer on, and on the meta device it checks sizes in
    Python, where the tracer's sizes are tensors and fail.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("conv1d", "conv2d", "conv3d"):
            func = _convolution
        elif name in ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"):
            func = _transposed_convolution
        return func(*args, **(kwargs or {}))


def _convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    output_padding: Any = 0,
    transposed: bool = False,
) -> Tensor:
    dims = weight.dim() - 2
    stride, padding, dilation, output_padding = (
        [int(x)] * dims if isinstance(x, int) else [int(y) for y in x]
        for x in (stride, padding, dilation, output_padding)
    )
    unused = (False, False, False, False)
    return torch._convolution(
        input, weight, bias, stride, padding, dilation, transposed, output_padding, groups, *unused
    )


def _transposed_convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    return _convolution(
        input, weight, bias, stride, padding, dilation, groups, output_padding, True
    )
