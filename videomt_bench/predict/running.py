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
    since: Tensor | None = None
    """After how many values each row began, where some have begun anew."""

    def update(self, value: Tensor) -> Tensor:
        """The mean after one more value, in its type; float64 inside."""
        self.count += 1
        weight: int | Tensor = self.count if self.horizon is None else min(self.count, self.horizon)
        if self.since is not None:
            own = (self.count - self.since).clamp(max=weight)
            weight = own.view(-1, *[1] * (value.dim() - 1))
        wide = value.to(torch.float64 if value.device.type != "mps" else torch.float32)
        self.mean = wide if self.mean is None else self.mean + (wide - self.mean) / weight
        return self.mean.to(value.dtype)

    def restart(self, rows: Tensor) -> None:
        """Forget the values of some rows of the first axis, bool (Q,)."""
        if self.mean is None:
            return
        if self.since is None:
            self.since = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
        self.since = self.since.where(~rows, self.count)
