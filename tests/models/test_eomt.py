"""Parts of EoMT."""

from __future__ import annotations

import torch

from videomt_bench.models.eomt import ScaleBlock
from videomt_bench.models.heads import MaskProduct


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


def test_the_gradient_of_masks_is_that_of_the_product():
    """Of maps without, with some and with only masks that have a gradient (1e-5)."""
    torch.manual_seed(0)
    embeddings = torch.randn(3, 6, 8, requires_grad=True)
    features = torch.randn(3, 8, 4, 5, requires_grad=True)
    weight = torch.randn(3, 6, 4, 5)
    weight[0] = 0
    weight[1, [0, 2, 3]] = 0
    found = []
    for training in (False, True):
        masks = MaskProduct().train(training)(embeddings, features)
        gradients = torch.autograd.grad((masks * weight).sum(), (embeddings, features))
        found.append([masks, *gradients])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)
    assert not found[1][1][1, [0, 2, 3]].any()
    assert found[1][1][2].all()
