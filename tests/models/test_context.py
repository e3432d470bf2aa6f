"""Context features and re-ID against hand-worked pixels, loops and each other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.models.context import Appearance, ContextFeatures, ReIDHead


def logits(*masks: Tensor) -> Tensor:
    """Bool masks (h, w) -> logits (1, Q, h, w)."""
    return torch.stack(masks)[None].float() * 6 - 3


def rectangle(size: tuple[int, int], rows: slice, columns: slice) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


SQUARE = rectangle((8, 8), slice(2, 6), slice(2, 6))
FULL = torch.ones(8, 8, dtype=torch.bool)
PIXEL = rectangle((8, 8), slice(3, 4), slice(4, 5))
EMPTY = torch.zeros(8, 8, dtype=torch.bool)


def by_loops(mask: Tensor, features: Tensor, size: int, dense: bool) -> Tensor:
    """The definition, pixel by pixel: mask (h, w) and features (D, h, w) -> (D,)."""
    height, width = mask.shape
    total, count = torch.zeros(len(features), dtype=torch.float64), 0
    for y in range(height):
        for x in range(width):
            around = [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
            outside = [
                not (0 <= v < height and 0 <= u < width and bool(mask[v, u])) for v, u in around
            ]
            if not mask[y, x] or not any(outside):
                continue
            r = size // 2
            window = features[:, max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1].double()
            total += window.sum((1, 2)) / size**2
            count += 1
    total = total / (count + 1e-6)
    return total.sum().expand(len(features)) if dense else total


def test_boundaries_are_inner_and_the_image_ends_at_background() -> None:
    boundary = ContextFeatures(4).boundary(logits(SQUARE, FULL, PIXEL, EMPTY))
    assert boundary.dtype == torch.bool
    assert boundary.sum((2, 3)).tolist() == [[12, 28, 1, 0]]
    assert torch.equal(boundary[0, 0], SQUARE & ~rectangle((8, 8), slice(3, 5), slice(3, 5)))


@pytest.mark.parametrize(
    ("mode", "interior", "corner"),
    [
        ("dense", 4.0, 4 * 25 / 81),
        ("sum", 4.0, 4 * 25 / 81),
        ("depthwise", 1.0, 0.308642),
    ],
)
def test_filter_responses_to_ones(mode: str, interior: float, corner: float) -> None:
    filtered = ContextFeatures(4, 9, mode).filtered(torch.ones(1, 4, 20, 20))  # type: ignore[arg-type]
    assert filtered[0, :, 10, 10].tolist() == pytest.approx([interior] * filtered.shape[1])
    assert filtered[0, :, 0, 0].tolist() == pytest.approx([corner] * filtered.shape[1], abs=1e-6)


def test_a_hand_worked_vector() -> None:
    """A pixel in the corner and a 1 × 2 mask, filter 3 × 3 on maps of few known values."""
    features = torch.zeros(1, 2, 3, 3)
    features[0, 0, 0, 0] = 9.0
    features[0, 1] = torch.arange(9.0).view(3, 3)
    corner = rectangle((3, 3), slice(0, 1), slice(0, 1))
    pair = rectangle((3, 3), slice(1, 2), slice(0, 2))
    got = ContextFeatures(2, 3)(logits(corner, pair), features)
    # channel 1 at (0, 0): (0 + 1 + 3 + 4) / 9; at (1, 0): (0 + 1 + 3 + 4 + 6 + 7) / 9; at (1, 1): 4
    expected = torch.tensor([[[1.0, 8 / 9], [1.0, (21 / 9 + 4) / 2]]])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    summed = ContextFeatures(2, 3, "sum")(logits(corner, pair), features)
    torch.testing.assert_close(
        summed, expected.sum(-1, keepdim=True).expand(-1, -1, 2), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("mode", ["depthwise", "dense", "sum"])
def test_random_maps_against_loops(mode: str) -> None:
    torch.manual_seed(0)
    masks, features = torch.randn(2, 3, 11, 14), torch.randn(2, 5, 11, 14)
    got = ContextFeatures(5, 5, mode)(masks, features)  # type: ignore[arg-type]
    assert got.shape == (2, 3, 5)
    for b in range(2):
        for q in range(3):
            expected = by_loops(masks[b, q] > 0, features[b], 5, dense=mode != "depthwise")
            torch.testing.assert_close(got[b, q].double(), expected, atol=1e-5, rtol=1e-4)


def test_the_fast_filter_equals_the_dense_one() -> None:
    torch.manual_seed(0)
    masks, features = torch.randn(2, 7, 24, 40), torch.randn(2, 64, 24, 40)
    dense, fast = (ContextFeatures(64, 9, mode)(masks, features) for mode in ("dense", "sum"))
    assert (dense - fast).norm() < 1e-4 * dense.norm()


@pytest.mark.parametrize("mode", ["depthwise", "dense", "sum"])
def test_an_empty_mask_has_no_context(mode: str) -> None:
    context = ContextFeatures(4, 3, mode)(logits(EMPTY, PIXEL), torch.ones(1, 4, 8, 8))  # type: ignore[arg-type]
    assert context[0, 0].tolist() == [0.0] * 4
    assert (context[0, 1] > 0).all()


def test_half_precision_does_not_overflow() -> None:
    """Sums over a boundary of large features leave its range, their mean does not."""
    mask = logits(torch.ones(64, 64, dtype=torch.bool))
    context = ContextFeatures(4, 3).half()(mask.half(), torch.full((1, 4, 64, 64), 1000.0).half())
    assert context.dtype == torch.float16
    assert context.isfinite().all()
    assert 600 < float(context.mean()) < 1000


def test_gradients_reach_features_and_not_masks() -> None:
    torch.manual_seed(0)
    masks, features = logits(SQUARE).requires_grad_(), torch.randn(1, 16, 8, 8, requires_grad=True)
    Appearance(16)(torch.randn(1, 1, 16), masks, features).sum().backward()
    assert masks.grad is None
    assert features.grad is not None
    assert features.grad.abs().sum() > 0


def test_nothing_of_the_context_is_in_a_checkpoint() -> None:
    keys = {f"reid.layers.{i}.{name}" for i in range(3) for name in ("weight", "bias")}
    for context in ("depthwise", "dense", "sum", "none"):
        assert set(Appearance(8, context).state_dict()) == keys  # type: ignore[arg-type]


def test_the_head_has_the_published_shape_and_initial_weights() -> None:
    torch.manual_seed(0)
    with_context, without = Appearance(256), Appearance(256, "none")
    assert sum(p.numel() for p in with_context.parameters()) == 262_912
    assert sum(p.numel() for p in without.parameters()) == 197_376
    for layer, fan_in in zip(ReIDHead(512, 256).layers, (512, 256, 256), strict=True):
        bound = math.sqrt(3 / fan_in)
        assert layer.bias.abs().max() == 0
        assert layer.weight.abs().max() <= bound
        assert float(layer.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_the_identity_is_the_head_of_query_and_context() -> None:
    torch.manual_seed(0)
    model = Appearance(4, "depthwise", 3)
    queries, masks, features = torch.randn(1, 2, 4), logits(SQUARE, PIXEL), torch.randn(1, 4, 8, 8)
    for q, mask in enumerate((SQUARE, PIXEL)):
        x = torch.cat([queries[0, q], by_loops(mask, features[0], 3, dense=False).float()])
        for i, layer in enumerate(model.reid.layers):
            x = layer.weight @ x + layer.bias
            x = x.clamp(min=0) if i < 2 else x
        got = model(queries, masks, features)[0, q]
        torch.testing.assert_close(got, x, atol=1e-5, rtol=1e-5)


def test_impossible_filters_are_refused() -> None:
    with pytest.raises(BenchError, match=r"unknown context filter 'box'.*depthwise"):
        ContextFeatures(4, 3, "box")  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="side 4"):
        ContextFeatures(4, 4)
