"""Ends a process that is asked to end: between two iterations of a training, at once elsewhere."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.runner import Runner

from videomt_bench.training.hooks import check_weights, save_checkpoint

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
"""SIGTERM: the process will be killed. SIGUSR2: SLURM's warning, it may ask to be queued again."""


class Preempted(Exception):
    """The process was asked to end; the last checkpoint stands.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"received {signal.Signals(number).name}")
        self.number = number


class _Request:
    """What this process was asked; there is one, as there is one set of signal handlers."""

    number: int | None = None
    waits = False


@contextmanager
def heeding_signals() -> Iterator[None]:
    """Turn the first request to end into ``Preempted`` for the time of the block."""
    _Request.number, _Request.waits = None, False
    try:
        previous = [(number, signal.signal(number, _on_signal)) for number in SIGNALS]
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)


@contextmanager
def after_iterations() -> Iterator[None]:
    """Within the block a request waits for the end of the iteration, see ``StopHook``."""
    _Request.waits = True
    try:
        yield
    finally:
        _Request.waits = False


def raise_if_requested() -> None:
    """Raises Preempted: a request came while it had to wait."""
    if _Request.number is not None:
        raise Preempted(_Request.number)


def _on_signal(number: int, frame: FrameType | None) -> None:
    first = _Request.number is None
    if first or number == signal.SIGUSR2:
        _Request.number = number
    if first and not _Request.waits:
        raise Preempted(number)


class StopHook(Hook):
    """Saves and raises ``Preempted`` after an optimizer step, in all processes after the same one.

    A training that is at its end ends instead.
    """

    priority = "LOWEST"

    def __init__(self, folder: Path, accumulation: int) -> None:
        self.folder = folder
        self.accumulation = accumulation
        self.group: Any = None

    def before_train(self, runner: Runner) -> None:
        if is_distributed():  # on the CPU, so that no iteration waits for the accelerator
            self.group = torch.distributed.new_group(backend="gloo")

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        done = batch_idx + 1
        if done % self.accumulation or done >= runner.max_iters:
            return
        if number := self._request():
            check_weights(runner, done // self.accumulation)
            save_checkpoint(runner, self.folder)
            if self.group is not None:
                torch.distributed.barrier(self.group)
            raise Preempted(number)

    def _request(self) -> int:
        """The signal that any process received, or 0."""
        number = _Request.number or 0
        if self.group is None:
            return number
        agreed = torch.tensor(number)
        torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX, self.group)
        return int(agreed)
