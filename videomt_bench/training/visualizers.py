"""Optional curves of a training for TensorBoard and Weights & Biases; neither is ever required."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.runner import Runner
from mmengine.visualization import TensorboardVisBackend, WandbVisBackend

from videomt_bench.errors import BenchError

VISUALIZERS = ("tensorboard", "wandb")
"""Each is the name of the package that it needs."""


def check_visualizers(names: Sequence[str]) -> None:
    """Raises BenchError: the package of a visualizer is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise BenchError(
                f"visualizer {name!r} needs the package {name}, which is not installed; "
                f"use 'pip install {name}' or leave it out"
            )


class Curves:
    """Losses, rates, seconds per iteration, memory and norm of the gradients of a training.

    Written by the first process, below ``folder``. Weights & Biases stays offline unless the
    environment variable WANDB_MODE says otherwise.
    """

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        check_visualizers(names)
        self.names = names if get_rank() == 0 else ()
        self.folder = folder
        self.backends: list[Any] = []
        self.last: tuple[int, float] | None = None

    def begin(self, step: int) -> None:
        """At the first iteration after ``step``."""
        self.last = (step, time.monotonic())
        self.backends = [self._open(name) for name in self.names]

    def add(self, runner: Runner, step: int, losses: Mapping[str, float]) -> None:
        """The numbers of a step; losses are those of the whole batch."""
        if not self.backends:
            return
        now = time.monotonic()
        before, then = self.last or (step - 1, now)
        self.last = (step, now)
        scalars = {
            **losses,
            **_rates(runner.optim_wrapper.optimizer),
            "seconds_per_iteration": (now - then) / max(1, step - before),
            "memory_mib": _memory(runner),
            "gradient_norm": float(runner.optim_wrapper.norm),
        }
        for name, backend in zip(self.names, self.backends, strict=True):
            own = {**scalars, "iteration": step} if name == "wandb" else scalars
            backend.add_scalars(own, step)

    def end(self) -> None:
        """Write out what is left."""
        for backend in self.backends:
            backend.close()
        self.backends = []

    def _open(self, name: str) -> Any:
        folder = str(self.folder / name)
        if name == "tensorboard":
            return TensorboardVisBackend(folder)
        mode = os.environ.get("WANDB_MODE", "offline")
        return WandbVisBackend(folder, init_kwargs=dict(project="videomt-bench", mode=mode))


def _rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The highest rate of the encoder and of everything else."""
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        name = "rate_encoder" if group.get("encoder") else "rate_heads"
        rates[name] = max(rates.get(name, 0.0), group["lr"])
    return rates


def _memory(runner: Runner) -> float:
    """The most memory so far, of the accelerator's allocator or of the process."""
    device = next(runner.model.parameters()).device
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
