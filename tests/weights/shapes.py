"""Names and shapes of layers, by what ``torch`` calls their tensors."""

from __future__ import annotations

from collections.abc import Iterable

Shapes = dict[str, tuple[int, ...]]


def under(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + name: shape for name, shape in shapes.items()}


def linear(name: str, outputs: int, inputs: int, *kernel: int, bias: bool = True) -> Shapes:
    shapes: Shapes = {f"{name}.weight": (outputs, inputs, *kernel)}
    return shapes | ({f"{name}.bias": (outputs,)} if bias else {})


def norm(name: str, width: int, batch: bool = False) -> Shapes:
    shapes: Shapes = {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    if batch:
        shapes |= {f"{name}.running_mean": (width,), f"{name}.running_var": (width,)}
        shapes[f"{name}.num_batches_tracked"] = ()
    return shapes


def merged(parts: Iterable[Shapes]) -> Shapes:
    result: Shapes = {}
    for part in parts:
        assert result.keys().isdisjoint(part)
        result |= part
    return result
