"""Layer-wise decay for every family of encoders."""

from __future__ import annotations

import pytest
import torch

from videomt_bench.models import EncoderSpec, ModelSpec, load_variant
from videomt_bench.training.optim import OptimSettings, parameter_groups

EMBEDDINGS = {"cls_token", "reg_token", "pos_embed", "patch_embed", "norm_pre"}
OTHERS = 21
"""Parameters outside the encoder, as the public VidEoMT has them."""


@pytest.mark.parametrize(
    ("name", "depth", "parameters"),
    [
        ("vit_large_patch14_reg4_dinov2", 24, 343),
        ("vit_large_patch16_dinov3_qkvb", 24, 6 + 24 * 15),
        ("vit_small_patch16_dinov3", 12, 6 + 12 * 13),
        ("vit_giant_patch14_reg4_dinov2", 40, 7 + 40 * 14),
        ("eva02_large_patch14_224", 24, 6 + 24 * 19),
        ("vit_large_patch16_224.augreg_in21k", 24, 6 + 24 * 12),
        ("deit3_large_patch16_224", 24, 6 + 24 * 14),
        ("vit_large_patch14_clip_224.openai", 24, 7 + 24 * 12),
    ],
)
def test_rates_by_block(name: str, depth: int, parameters: int) -> None:
    """0.6 to the number of blocks above; embeddings as block 0, final norm and heads in full."""
    settings = OptimSettings()
    with torch.device("meta"):
        model = load_variant("step6_videomt").build(ModelSpec(EncoderSpec(name), 40))
    groups = parameter_groups(model, settings)
    assert sum(len(g["names"]) for g in groups if not g["encoder"]) == OTHERS
    own = [(n, g["rate"]) for g in groups if g["encoder"] for n in g["names"]]
    assert len(own) == len({n for n, _ in own}) == parameters
    for parameter, rate in own:
        kind, *rest = parameter.removeprefix("segmenter.encoder.vit.").split(".")
        blocks = {"blocks": depth - 1 - int(rest[0]) if kind == "blocks" else 0, "norm": 0}
        assert kind in EMBEDDINGS or kind in blocks, parameter
        expected = settings.lr * settings.layer_decay ** blocks.get(kind, depth - 1)
        assert rate == pytest.approx(expected, rel=1e-9), parameter
