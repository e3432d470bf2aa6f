"""Masked attention of EoMT: when, and who attends to what."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

STEPS = 88692
SCHEDULES = {
    4: ([14782, 29564, 44346, 59128], [29564, 44346, 59128, 73910]),
    3: ([14782, 36955, 59128], [29564, 51737, 73910]),
}


@pytest.mark.parametrize("blocks", SCHEDULES)
def test_masks_anneal_as_in_eomt(tiny, blocks):
    """Section 1.6: start and end steps of each joint block, of ViT-L and of ViT-S and B."""
    segmenter = tiny.model(joint_blocks=blocks).segmenter
    starts, ends = SCHEDULES[blocks]
    for step in sorted({0, STEPS, *starts, *ends, *range(0, STEPS, 997)}):
        expected = []
        for start, end in zip(starts, ends, strict=True):
            progress = (step - start) / (end - start)
            expected.append(1.0 if step < start else 0.0 if step > end else (1 - progress) ** 0.9)
        segmenter.anneal_masks(step / STEPS)
        assert segmenter.mask_probability == pytest.approx(expected, abs=1e-5)


def joint_tokens(segmenter, batch: int = 2) -> tuple[Tensor, int]:
    """Five queries, the prefix and 4 × 4 patches; the index of the first patch."""
    tokens = segmenter.encoder(torch.randn(batch, 3, 32, 32))["tokens"]
    return torch.cat([torch.randn(batch, 5, segmenter.dim), tokens], 1), 5 + tokens.shape[1] - 16


def test_a_query_attends_to_the_patches_of_its_mask_only(tiny):
    """A change of a patch reaches the queries that see it, and all patches."""
    segmenter = tiny.model().segmenter.eval()
    x, first = joint_tokens(segmenter)
    logits = torch.full((2, 5, 16, 16), -1.0)
    logits[:, 1:3, :8, :8] = 1.0
    logits[1, 2] = 1.0
    mask = segmenter._attention_mask(logits, x, (4, 4), 1.0)
    own = mask[:, 0, :5, first:].unflatten(2, (4, 4))
    assert mask[:, 0, :5, :first].all()
    assert mask[:, 0, 5:].all()
    assert own[0, 1, :2, :2].all()
    assert own[0, 1].sum() == 4
    assert own[1, 2].all()
    assert not own[:, [0, 3, 4]].any()
    block = segmenter.encoder.joint_blocks[0]
    changed = x.clone()
    changed[:, first + 15] += 1.0
    moved = (block(changed, attn_mask=mask) - block(x, attn_mask=mask)).abs().amax(-1) > 0
    assert moved[0, :5].tolist() == [False] * 5
    assert moved[1, :5].tolist() == [False, False, True, False, False]
    assert moved[:, first:].all()


def test_queries_of_an_empty_mask_attend_to_each_other(tiny):
    segmenter = tiny.model().segmenter
    x, _ = joint_tokens(segmenter)
    mask = segmenter._attention_mask(torch.full((2, 5, 16, 16), -5.0), x, (4, 4), 1.0)
    out = segmenter.encoder.joint_blocks[0](x.requires_grad_(), attn_mask=mask)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert out.isfinite().all()
    assert gradient.isfinite().all()


def test_each_query_is_masked_with_the_probability(tiny):
    """800 queries: 0.3 within five standard deviations, and each as a whole."""
    segmenter = tiny.model().segmenter
    x, first = joint_tokens(segmenter, batch=160)
    mask = segmenter._attention_mask(torch.full((160, 5, 16, 16), -1.0), x, (4, 4), 0.3)
    patches = mask[:, 0, :5, first:]
    assert (patches.all(-1) | ~patches.any(-1)).all()
    masked = ~patches.any(-1)
    assert masked.float().mean().item() == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / 800))
    assert 0 < masked.sum(1).min() + masked.sum(1).max() < 10


def test_masking_is_for_training_only(tiny):
    model = tiny.model().eval()
    clip = torch.randn(1, 2, 3, 32, 32)
    free = model(clip)[0].mask_logits
    model.segmenter.anneal_masks(0.0)
    assert torch.equal(model(clip)[0].mask_logits, free)
    masked = model.train()(clip)[0].mask_logits
    assert not torch.equal(masked, free)
    model.segmenter.anneal_masks(1.0)
    assert torch.allclose(model(clip)[0].mask_logits, free, atol=1e-5)
