"""Masks that are made after a video are those that the whole model makes."""

from __future__ import annotations

import pytest
import torch

from videomt_bench.models import EncoderSpec, EoMT, ModelSpec, load_variant

ENCODERS = (
    "vit_small_patch14_reg4_dinov2",
    "vit_small_patch16_dinov3_qkvb",
    "vit_small_patch16_224.augreg_in21k",
)


@pytest.mark.parametrize("encoder", ENCODERS)
@torch.no_grad()
def test_on_every_kind_of_encoder(encoder: str) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(EncoderSpec(encoder, 64), num_classes=4, num_queries=6)
    model, clip = load_variant("step6_videomt").build(spec).eval(), torch.randn(2, 3, 3, 64, 96)
    for parameter in model.parameters():
        # layer scales start so small that a block hardly shows
        parameter.add_(0.05 * torch.randn_like(parameter))
    segmenter, kept = model.segmenter, [4, 1]
    assert model.defers_masks
    assert isinstance(segmenter, EoMT)
    whole, state = model(clip)
    later, after = model(clip, masks=False)
    assert later.pixels is not None
    torch.testing.assert_close(later.class_logits, whole.class_logits, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(after.memory, state.memory, atol=1e-4, rtol=1e-5)
    for t in range(3):
        masks = segmenter.masks(later.embeddings[:, t, kept], later.pixels[:, t])
        torch.testing.assert_close(masks, whole.mask_logits[:, t, kept], atol=1e-4, rtol=1e-5)
