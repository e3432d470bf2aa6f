"""Parts of EoMT."""

from __future__ import annotations

import torch

from videomt_bench.models.eomt import ScaleBlock


def test_the_upscaling_of_training_is_that_of_inference():
    """Values and all gradients (1e-5 of the largest)."""
    torch.manual_seed(0)
    block = ScaleBlock(12)
    x = torch.randn(2, 20, 12).transpose(1, 2).unflatten(2, (4, 5)).requires_grad_()
    weight = torch.randn(2, 12, 8, 10)
    found = []
    for training in (False, True):
        y = block.train(training)(x)
        gradients = torch.autograd.grad((y * weight).sum(), [x, *block.parameters()])
        found.append([y, *gradients])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=1e-5 * float(a.detach().abs().max()))
