"""mmengine hooks: what an iteration depends on, the one checkpoint, the log of losses."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.dist import all_reduce, get_rank, is_distributed
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from videomt_bench.errors import BenchError
from videomt_bench.training.optim import set_rates
from videomt_bench.training.visualizers import Curves

if TYPE_CHECKING:
    from videomt_bench.training.engine import TrainSettings

CHECKPOINT = "checkpoint.pth"
LOSSES = "losses.jsonl"

Report = Callable[[int, int, dict[str, float]], None]
"""Called with (step, total, losses) about once a second."""


class IterationHook(Hook):
    """Sets what an iteration depends on: random state, learning rates, guidance, mask annealing."""

    priority = "VERY_HIGH"

    def __init__(self, settings: TrainSettings, accumulation: int, seed: int) -> None:
        self.settings = settings
        self.accumulation = accumulation
        self.seed = seed

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        entropy = np.random.SeedSequence((self.seed, batch_idx, get_rank()))
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0]))
        step = batch_idx // self.accumulation
        total = self.settings.iterations
        set_rates(runner.optim_wrapper.optimizer, step, total, self.settings.optim)
        trained = unwrapped(runner)
        trained.guided = step < self.settings.guided * total
        trained.short = step < trained.tracks.short_iterations
        if self.settings.masked_attention:
            trained.model.segmenter.anneal_masks(step / total)


class CheckpointHook(Hook):
    """Replaces one checkpoint file, so that a killed process leaves the old one or the new one.

    The file counts optimizer steps, so that it can be continued with another accumulation.
    """

    priority = "VERY_LOW"

    def __init__(self, folder: Path, interval: int, accumulation: int) -> None:
        self.folder = folder
        self.interval = interval * accumulation
        self.accumulation = accumulation

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if (batch_idx + 1) % self.interval == 0 and batch_idx + 1 < runner.max_iters:
            check_weights(runner, (batch_idx + 1) // self.accumulation)
            save_checkpoint(runner, self.folder)

    def after_train(self, runner: Runner) -> None:
        check_weights(runner, runner.iter // self.accumulation)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["meta"]["iter"] *= self.accumulation

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["meta"]["iter"] //= self.accumulation
        # the log history holds types that a weights-only load refuses, and nothing depends on it
        checkpoint["message_hub"] = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}


class ProgressHook(Hook):
    """Logs losses and draws their curves, and reports them about once a second.

    Logged losses are those of the whole batch: means over micro-batches and processes.
    """

    priority = "LOW"

    def __init__(
        self, report: Report, total: int, accumulation: int, log: Path, curves: Curves
    ) -> None:
        self.report = report
        self.total = total
        self.accumulation = accumulation
        self.log = log
        self.curves = curves
        self.last = 0.0
        self.every = max(1, total // 200)
        self.sums: dict[str, Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        step = runner.iter // self.accumulation
        if get_rank() == 0:
            _forget_after(self.log, step)
        self.curves.begin(step)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        step = (batch_idx + 1) // self.accumulation
        due = time.monotonic() - self.last > 1.0
        logged = step % self.every == 0 and (batch_idx + 1) % self.accumulation == 0
        losses = self._mean(batch_idx, outputs or {})
        if not (due or logged):
            return
        if due:
            self.last = time.monotonic()
        numbers = {name: float(value) for name, value in losses.items()}
        if logged and is_distributed():
            numbers = _mean_over_processes(numbers)
        if logged:
            self.curves.add(runner, step, numbers)
        if get_rank() != 0:
            return
        if logged:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **numbers}) + "\n")
        if due:
            self.report(step, self.total, numbers)

    def after_train(self, runner: Runner) -> None:
        self.curves.end()

    def _mean(self, batch_idx: int, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses of the step so far, over its micro-batches."""
        done = batch_idx % self.accumulation
        if done == 0:
            self.sums = {}
        for name, value in outputs.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        return {name: value / (done + 1) for name, value in self.sums.items()}


def _mean_over_processes(losses: dict[str, float]) -> dict[str, float]:
    values = torch.tensor([losses[name] for name in sorted(losses)])
    all_reduce(values, "mean")
    return dict(zip(sorted(losses), values.tolist(), strict=True))


def remove_unfinished(folder: Path) -> None:
    """Remove what a process left that was killed while it wrote."""
    for name in (CHECKPOINT, LOSSES):
        for file in folder.glob(f".{name}.*"):
            file.unlink(missing_ok=True)


def save_checkpoint(runner: Runner, folder: Path) -> None:
    """Write model, optimizer and iteration under a temporary name, then replace the checkpoint.

    All processes call it, so that a hook's ``before_checkpoint`` can ask them all.
    """
    runner.call_hook("before_checkpoint")
    if get_rank() != 0:
        return
    temporary = folder / f".{CHECKPOINT}.{os.getpid()}"
    try:
        runner.save_checkpoint(
            str(folder), temporary.name, by_epoch=False, save_param_scheduler=False
        )
        os.replace(temporary, folder / CHECKPOINT)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        reason = error.strerror or error
        raise BenchError(f"cannot write {folder / CHECKPOINT}: {reason}") from None


def check_weights(runner: Runner, step: int) -> None:
    """Raises BenchError: a weight is not a finite number."""
    if not all(parameter.isfinite().all() for parameter in runner.model.parameters()):
        raise BenchError(
            f"the weights are not finite numbers after iteration {step}; "
            "the last checkpoint is from before"
        )


def _forget_after(log: Path, step: int) -> None:
    """Cut from a log of losses what came after a step, and a line half-written."""
    if not log.is_file():
        return
    kept = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= step and line.endswith("\n"):
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    temporary = log.with_name(f".{log.name}.{os.getpid()}")
    temporary.write_text("".join(kept), encoding="utf-8")
    os.replace(temporary, log)


def unwrapped(runner: Runner) -> Any:
    """The model that a runner trains, without the wrapper of a process group."""
    return getattr(runner.model, "module", runner.model)
