"""Learned positions at other sizes, by the rule of DINOv2's authors, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, build_encoder
from videomt_bench.models.encoders import ViTEncoder
from videomt_bench.models.positions import dinov2_positions
from videomt_bench.runs.config import identity


def keys(distance: float) -> float:
    """Weight of a cell at a distance, in the bicubic convolution of Keys (1981), a = -3/4."""
    a, x = -0.75, abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def line(old: int, new: int) -> np.ndarray:
    """The share (new, old) of each old cell in each new one, along one axis."""
    share = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * old / (new + 0.1) - 0.5
        for j in range(math.floor(centre) - 1, math.floor(centre) + 3):
            share[i, min(max(j, 0), old - 1)] += keys(centre - j)
    return share


def resampled(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A grid (h, w, D) at another size."""
    rows, columns = (line(old, new) for old, new in zip(grid.shape[:2], size, strict=True))
    return np.einsum("ip,jq,pqd->ijd", rows, columns, grid)


@pytest.mark.parametrize("size", [(28, 50), (37, 36), (6, 8), (40, 80)])
def test_positions_by_hand(size: tuple[int, int]) -> None:
    """The sizes of frames of 448 × 800, and smaller and larger ones: no filter in any."""
    torch.manual_seed(0)
    learned = torch.randn(1, 1 + 37 * 37, 5)
    found = dinov2_positions(learned, (37, 37), size, prefix=1)
    assert torch.equal(found[:, :1], learned[:, :1])
    expected = resampled(learned[0, 1:].unflatten(0, (37, 37)).double().numpy(), size)
    np.testing.assert_allclose(found[0, 1:].numpy(), expected.reshape(-1, 5), rtol=0, atol=5e-5)


def test_positions_of_the_grid_that_they_were_learned_for_stay() -> None:
    learned = torch.randn(1, 12, 5)
    assert dinov2_positions(learned, (3, 4), (3, 4), prefix=0) is learned


def tiny(**options: object) -> VisionTransformer:
    """A ViT of two blocks for a grid of 4 × 4 patches of 16 pixels, with random tokens."""
    torch.manual_seed(0)
    sizes = dict(img_size=64, embed_dim=12, depth=2, num_heads=2, num_classes=0)
    vit = VisionTransformer(**sizes, dynamic_img_size=True, global_pool="", **options)  # type: ignore[arg-type]
    for parameter in vit.parameters():
        torch.nn.init.normal_(parameter)
    return vit.eval()


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(reg_tokens=2, no_embed_class=True),
        dict(reg_tokens=2),
        dict(class_token=False),
    ],
    ids=["class", "registers without positions", "registers", "patches alone"],
)
def test_tokens_differ_from_timms_by_the_positions_of_patches(options: dict[str, object]) -> None:
    vit = tiny(**options)
    timms, ours = (ViTEncoder(vit, 1, rule).eval() for rule in ("timm", "dinov2"))  # type: ignore[arg-type]
    frames = torch.randn(2, 3, 48, 96)

    def embedded(encoder: ViTEncoder, frames: Tensor) -> Tensor:
        with torch.no_grad():
            return encoder.embed(frames)[0]

    own = torch.randn(1, 3, 64, 64)
    assert torch.equal(embedded(timms, own), embedded(ours, own)), "at the learned size"
    prefix = vit.num_prefix_tokens
    found, patches = embedded(ours, frames), vit.patch_embed(frames).flatten(1, 2)
    assert torch.equal(found[:, :prefix], embedded(timms, frames)[:, :prefix])
    assert vit.pos_embed is not None
    learned = vit.pos_embed[0, -16:].detach().unflatten(0, (4, 4)).double().numpy()
    positions = torch.from_numpy(resampled(learned, (3, 6)).reshape(-1, 12))
    torch.testing.assert_close(
        found[:, prefix:].double(), patches.detach() + positions, atol=1e-5, rtol=0
    )
    assert (found - embedded(timms, frames)).abs().max() > 0.1


def test_rotary_encoders_have_no_such_rule() -> None:
    with torch.device("meta"), pytest.raises(BenchError, match="learned positions alone"):
        build_encoder(EncoderSpec("eva02_tiny_patch14_224", 64, positions="dinov2"))


def test_the_usual_rule_is_in_no_run_id() -> None:
    assert "positions" not in identity(EncoderSpec("vit_small_patch14_dinov2"))
    assert identity(EncoderSpec("x", positions="dinov2"))["positions"] == "dinov2"
