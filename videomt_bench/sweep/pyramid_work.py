"""How much work Mask2Former on a pyramid is per pixel, counted on the meta device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from videomt_bench.models import EncoderSpec, Mask2Former, ModelSpec

SIDE = 384
"""Of the frame that is counted: whole windows of 12 in every stage of Swin but the last."""
CLASSES, QUERIES = 40, 200


@dataclass(frozen=True)
class Work:
    """Of one frame, by its pixels; the parameters are all of them."""

    macs: float
    activations: float
    """Numbers that modules without children put out."""
    parameters: int


@cache
def pyramid_work(encoder: str) -> Work:
    """Count the segmenter on an encoder that ``is_pyramid``.

    Raises:
        BenchError: it cannot be built.
    """
    with torch.device("meta"), torch.no_grad():
        model = Mask2Former.from_spec(ModelSpec(EncoderSpec(encoder), CLASSES, QUERIES)).eval()
        numbers: list[int] = []
        for module in model.modules():
            if not any(True for _ in module.children()):
                module.register_forward_hook(_counting(numbers))
        with FlopCounterMode(display=False) as counter:
            features = model.encode(torch.empty(1, 3, SIDE, SIDE))
            model.decode(features, torch.empty(1, QUERIES, model.dim))
    return Work(
        macs=counter.get_total_flops() / 2 / SIDE**2,
        activations=sum(numbers) / SIDE**2,
        parameters=sum(p.numel() for p in model.parameters()),
    )


def _counting(numbers: list[int]) -> Any:
    def hook(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            numbers.append(output.numel())

    return hook
