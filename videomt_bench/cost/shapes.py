"""Tracing a model by shapes alone: the meta device, made to work under PyTorch's tracer.

A convenience: the same count comes out of a run with values, only later.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

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
    with torch.device("meta"), _TracedConvolution(), _KnownShapes():
        yield


class _KnownShapes(TorchDispatchMode):
    """Asks once for the shape of a result: layers are alike, and a step is run three times.

    On the meta device PyTorch finds most shapes in Python, operator by operator. Views, and what
    changes its arguments, are left to it each time, and so is what has values.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[Any, _Shape | tuple[_Shape, ...]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not _makes_new(func):
            return func(*args, **kwargs)
        asked = func, _described(args), _described(kwargs)
        if asked in self._known:
            return _made(self._known[asked])
        result = func(*args, **kwargs)
        every = result if isinstance(result, tuple) else (result,)
        if all(isinstance(x, Tensor) and x.is_meta for x in every):
            self._known[asked] = _described(result)
        return result


@cache
def _makes_new(func: Any) -> bool:
    """Whether an operator's results are tensors of their own, by its schema."""
    schema = func._schema
    return not any(x.alias_info for x in (*schema.arguments, *schema.returns))


@dataclass(frozen=True)
class _Shape:
    """All there is to know of a tensor without values."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


def _described(value: Any) -> Any:
    """``value`` with shapes in the place of tensors, to be looked up by."""
    if isinstance(value, Tensor):
        return _Shape(tuple(value.shape), value.stride(), value.dtype, value.device)
    if isinstance(value, list | tuple):
        return tuple(map(_described, value))
    if isinstance(value, dict):
        return tuple((name, _described(x)) for name, x in value.items())
    # 1, 1.0 and True are equal, and do not make results of one type
    return type(value), value


def _made(shape: _Shape | tuple[_Shape, ...]) -> Tensor | tuple[Tensor, ...]:
    if isinstance(shape, tuple):
        return tuple(_empty(x) for x in shape)
    return _empty(shape)


def _empty(shape: _Shape) -> Tensor:
    return torch.ops.aten.empty_strided.default(
        shape.size, shape.stride, dtype=shape.dtype, device=shape.device
    )


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
