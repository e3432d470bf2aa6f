"""Stops a training whose losses or gradients are no finite numbers, and says which, and of what."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.models.contracts import ClipOutput
from videomt_bench.training.hooks import CHECKPOINT, unwrapped
from videomt_bench.training.sharing import HostGroup

GRADIENTS = "gradients"
FINE = "all losses are finite"


def finite_clips(output: ClipOutput) -> Tensor:
    """Bool (B,): whether the classes of a clip, which depend on all of its features, are finite."""
    return output.class_logits.detach().isfinite().flatten(1).all(1)


@dataclass
class _Look:
    """The numbers of a micro-batch, on their way to the host."""

    step: int
    names: list[str]
    values: Tensor
    """Losses, and the norm of the gradients after an optimizer step."""
    clips: Tensor
    origins: list[str]
    earlier: list[str]
    """Clips of the same step in micro-batches before."""
    arrived: Any = None

    def wait(self) -> bool:
        """Whether all numbers are finite."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return bool(self.values.isfinite().all())

    def __str__(self) -> str:
        values = dict(zip(self.names, self.values.tolist(), strict=True))
        values.pop(GRADIENTS, None)
        bad = [f"{name} is {x}" for name, x in values.items() if not isfinite(x)]
        fine = [name for name, x in values.items() if isfinite(x)]
        if not bad:
            return f"{FINE}, of {'; '.join(self.earlier + self.origins)}"
        guilty = [o for o, ok in zip(self.origins, self.clips.tolist(), strict=False) if not ok]
        others = f" ({', '.join(fine)} finite)" if fine else ""
        terms = [term for term in bad if not term.startswith("loss is")] or bad
        return f"{', '.join(terms)}{others}, of {'; '.join(guilty or self.origins)}"


class FiniteHook(Hook):
    """Looks at the losses of every iteration, and at the norm of the gradients of every step.

    On an accelerator it looks one iteration late: the numbers are copied without waiting, and the
    matching of the next iteration waits for the device in any case. Nothing is late where a
    checkpoint follows. fp16 has infinite gradients by design while its scale adapts, so there only
    the losses count. In a process group all processes stop after the same iteration.
    """

    priority = "ABOVE_NORMAL"

    def __init__(self, folder: Path, interval: int, accumulation: int, group: HostGroup) -> None:
        self.folder = folder
        self.interval = interval * accumulation
        self.accumulation = accumulation
        self.group = group
        self.pending: _Look | None = None
        self.earlier: list[str] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._check()
        self.pending = look = self._look(runner, batch_idx, data_batch, outputs)
        if look.arrived is None or (batch_idx + 1) % self.interval == 0:
            self._check()

    def after_train(self, runner: Runner) -> None:
        self._check()

    def _look(
        self, runner: Runner, batch_idx: int, data_batch: Any, outputs: dict[str, Tensor]
    ) -> _Look:
        origins = data_batch["batch"].origins if data_batch else []
        if batch_idx % self.accumulation == 0:
            self.earlier = []
        numbers = {name: value.detach().float() for name, value in outputs.items()}
        norm = runner.optim_wrapper.norm
        if (batch_idx + 1) % self.accumulation == 0 and not runner.optim_wrapper.scaled:
            numbers[GRADIENTS] = norm
        values = torch.stack(list(numbers.values()))
        clips = unwrapped(runner).finite
        look = _Look(
            batch_idx // self.accumulation + 1,
            list(numbers),
            values.to("cpu", non_blocking=True),
            clips.to("cpu", non_blocking=True),
            origins,
            self.earlier,
        )
        if values.is_cuda:
            look.arrived = torch.cuda.Event()
            look.arrived.record()
        self.earlier = self.earlier + origins
        return look

    def _check(self) -> None:
        """Raises BenchError: numbers of the pending look are not finite, in any process."""
        if self.pending is None:
            return
        look, self.pending = self.pending, None
        bad = torch.tensor(int(not look.wait()))
        if not int(self.group.max(bad)):
            return
        texts = self.group.gather(None if look.wait() else str(look))
        said = {rank: text for rank, text in enumerate(texts) if text}
        what = "gradients are not finite numbers"
        if causes := {rank: text for rank, text in said.items() if not text.startswith(FINE)}:
            said, what = causes, "loss is not a finite number"
        named = [f"process {r}: {text}" if len(texts) > 1 else text for r, text in said.items()]
        where = "; ".join(named)
        raise BenchError(f"the {what} at iteration {look.step}: {where}; {self._kept()}")

    def _kept(self) -> str:
        file = self.folder / CHECKPOINT
        if not file.is_file():
            return "there is no checkpoint yet"
        step = torch.load(file, map_location="cpu", weights_only=True, mmap=True)["meta"]["iter"]
        return f"the last good checkpoint, of iteration {step}, is {file}"
