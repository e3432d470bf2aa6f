"""mmengine's optimizer wrappers, one for each precision; all of them know the gradients' norm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor, nn


class Float32(OptimWrapper):
    """No conversion."""

    scaled = False
    """Whether gradients are infinite now and then by design."""
    norm: Tensor = torch.zeros(())
    """Of all gradients in the last optimizer step, before clipping."""

    def step(self, **kwargs: Any) -> None:
        self.norm = gradient_norm(self.optimizer)
        super().step(**kwargs)


class BFloat16(Float32):
    """Autocast to bfloat16, which needs no loss scaling."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


class Float16(AmpOptimWrapper):
    """Autocast to float16, with a loss scale that adapts; checkpoints hold it."""

    scaled = True
    norm: Tensor = torch.zeros(())

    def step(self, **kwargs: Any) -> None:
        self.norm = gradient_norm(self.optimizer) / self.loss_scaler.get_scale()
        super().step(**kwargs)


def gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """The Euclidean norm of all gradients together, on their device."""
    gradients = [
        p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
    ]
    if not gradients:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
