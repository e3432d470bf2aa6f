"""Gradients through whole models."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from videomt_bench.data.clips import ClipTargets
from videomt_bench.models import load_variant, load_variants
from videomt_bench.models.conformance import SPEC
from videomt_bench.training.layers import LossSettings
from videomt_bench.training.losses import clip_losses
from videomt_bench.training.optim import OptimSettings, parameter_groups

SETTINGS = LossSettings(num_points=16)


@pytest.fixture
def batch(clips) -> tuple[Tensor, list[ClipTargets]]:
    """Frames of the size in ``conformance`` and their targets."""
    _, targets = clips(0, (3, 0))
    padded = [replace(t, masks=torch.nn.functional.pad(t.masks, (0, 48, 0, 32))) for t in targets]
    return torch.randn(2, 4, 3, 48, 64), padded


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", [v.name for v in load_variants() if v.refiner is None])
def test_every_trained_parameter_learns(tiny, name, masked, batch):
    """Every parameter of an optimizer group has a gradient that is finite and not zero."""
    variant = load_variant(name)
    model = tiny.awake(variant.build(SPEC)).train()
    if masked:
        model.segmenter.anneal_masks(0.25)
    frames, targets = batch
    losses = clip_losses(model(frames)[0], targets, variant.matching, SETTINGS)
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    trained = {n for g in parameter_groups(model, OptimSettings()) for n in g["names"]}
    assert trained == set(gradients)
    assert [n for n, g in gradients.items() if g is None] == []
    assert [n for n, g in gradients.items() if not g.isfinite().all()] == []
    assert [n for n, g in gradients.items() if not (g != 0).any()] == []


@pytest.mark.parametrize(
    ("name", "linked"),
    [("step4_frame_by_frame", False), ("step5_propagation", True), ("step6_videomt", True)],
)
def test_gradients_flow_through_time(name, linked, batch):
    """The last frame teaches the first one where queries are propagated, over three steps."""
    model = load_variant(name).build(SPEC).train()
    frames = batch[0].requires_grad_()
    output, _ = model(frames)
    (gradient,) = torch.autograd.grad(output.mask_logits[:, -1].square().mean(), frames)
    assert gradient[:, -1].abs().max() > 0
    for t in range(3):
        assert (gradient[:, t].abs().max() > 0) == linked


def test_the_fusion_layer_learns_from_later_frames_only(batch):
    model = load_variant("step6_videomt").build(SPEC).train()
    for t in range(3):
        output, _ = model(batch[0])
        loss = output.class_logits[:, t].square().mean()
        (gradient,) = torch.autograd.grad(loss, model.memory.fuse.weight)
        assert (gradient.abs().max() > 0) == (t > 0)
