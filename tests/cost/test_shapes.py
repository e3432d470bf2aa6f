"""Shapes that were found once are those that PyTorch finds each time."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from videomt_bench.cost import shapes
from videomt_bench.cost.count import count_macs
from videomt_bench.cost.shapes import shapes_only

WHOLE = torch.empty(2, 3, dtype=torch.int64, device="meta")
HALF = torch.empty(2, 3, dtype=torch.float16, device="meta")
MAPS = torch.empty(1, 4, 6, 8, device="meta").to(memory_format=torch.channels_last)
OPERATIONS = {
    "a whole number": lambda: WHOLE + 1,
    "a fraction": lambda: WHOLE + 1.0,
    "a truth value": lambda: WHOLE + True,
    "another type": lambda: HALF + 1,
    "other strides": lambda: HALF.t() + 1,
    "other axes": lambda: MAPS.transpose(1, 3) + 1,
    "a list": lambda: torch.cat([HALF, HALF]),
    "a longer list": lambda: torch.cat([HALF, HALF, HALF]),
    "several results": lambda: torch.topk(HALF, 2),
    "an option": lambda: torch.topk(HALF, 2, dim=0),
    "a new tensor": lambda: torch.zeros(4, dtype=torch.int32),
    "a norm": lambda: nn.functional.layer_norm(MAPS, [8]),
    "resampling": lambda: nn.functional.interpolate(MAPS, (3, 5), mode="bilinear"),
    "attention": lambda: nn.functional.scaled_dot_product_attention(MAPS, MAPS, MAPS),
}


def described(result: Tensor | tuple[Tensor, ...]) -> list[tuple[object, ...]]:
    every = [result] if isinstance(result, Tensor) else result
    return [(x.shape, x.stride(), x.dtype, x.device.type) for x in every]


def test_shapes_types_and_strides_are_those_of_pytorch() -> None:
    expected = {}
    with torch.device("meta"):
        for name, operation in OPERATIONS.items():
            expected[name] = described(operation())
    # an operator more than once in between, so that one may be taken for another
    with shapes_only():
        for _ in range(2):
            found = {name: described(operation()) for name, operation in OPERATIONS.items()}
            assert found == expected


def test_each_result_is_a_tensor_of_its_own() -> None:
    with shapes_only():
        first, second = HALF + 1, HALF + 1
        assert first is not second
        view = first.view(6)
        assert view._base is first
        changed = first.add_(1)
        assert changed is first


def test_values_are_kept_where_there_are_some() -> None:
    with shapes_only():
        ones, twos = (torch.full((2,), float(n), device="cpu") for n in (1, 2))
        assert (ones + ones).tolist() == [2, 2]
        assert (twos + twos).tolist() == [4, 4]


@pytest.mark.parametrize("size", [(32, 48), (48, 32)])
def test_counts_are_equal_to_the_last_digit(videomt, monkeypatch, size) -> None:
    model = videomt("vit_tiny_conv_patch8", 7, device="meta").eval()
    found = count_macs(model, *size)
    monkeypatch.setattr(shapes, "_KnownShapes", nullcontext)
    assert count_macs(model, *size) == found
