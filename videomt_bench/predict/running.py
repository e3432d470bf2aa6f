"""Means of a stream, known at every frame, in memory that does not grow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class RunningMean:
    """The mean of all values until now; with a horizon, older ones fade.

    Args:
        horizon: the newest value weighs at least 1/horizon. None: all weigh the same, and after
            the last frame this is the mean over the video. 1: the newest value alone.
    """

    horizon: int | None = None
    count: int = 0
    mean: Tensor | None = None

    def update(self, value: Tensor) -> Tensor:
        """The mean after one more value, in its type; float64 inside."""
        self.count += 1
        weight = self.count if self.horizon is None else min(self.count, self.horizon)
        wide = value.to(torch.float64 if value.device.type != "mps" else torch.float32)
        self.mean = wide if self.mean is None else self.mean + (wide - self.mean) / weight
        return self.mean.to(value.dtype)
