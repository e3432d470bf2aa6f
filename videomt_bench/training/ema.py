"""An exponential moving average of the weights (Polyak and Juditsky, 1992), which is evaluated."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from videomt_bench.models.video import VideoSegmenter
from videomt_bench.training.hooks import unwrapped

EMA = "ema"


class EmaHook(Hook):
    """Averages the weights after every optimizer step, and gives the model the average at the end.

    The average begins with the weights after the first step; buffers are not averaged. Checkpoints
    hold both.
    """

    priority = "NORMAL"

    def __init__(self, model: VideoSegmenter, decay: float, accumulation: int) -> None:
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.accumulation = accumulation

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if (batch_idx + 1) % self.accumulation == 0:
            self.average.update_parameters(unwrapped(runner).model)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint[EMA] = {k: v.cpu() for k, v in self.average.state_dict().items()}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        if EMA not in checkpoint:
            raise ValueError(f"it holds no {EMA}")
        self.average.load_state_dict(checkpoint[EMA])

    @torch.no_grad()
    def after_train(self, runner: Runner) -> None:
        unwrapped(runner).model.load_state_dict(self.average.module.state_dict())
