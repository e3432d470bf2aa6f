"""How an effective batch is shared by processes and micro-batches, and the step stays that of one.

Losses are divided by numbers of the whole batch, so that averaged gradients are those of the whole
batch. Points sampled at random and padding depend on how the batch is shared, unless it is shared
exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size, is_distributed
from torch.utils.data import Sampler

from videomt_bench.data.clips import ClipBatch, ClipTargets
from videomt_bench.errors import BenchError
from videomt_bench.training.layers import ONE_STREAM, Points
from videomt_bench.training.losses import Totals
from videomt_bench.training.truncation import chunks_of


class StreamSampler(Sampler[list[int]]):
    """Sample numbers of this process's micro-batches, from any micro-step on, without an end."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.start = 0

    def __iter__(self) -> Iterator[list[int]]:
        step = self.start
        while True:
            yield self.samples(step)
            step += 1

    def samples(self, step: int) -> list[int]:
        """Those of one micro-step."""
        first = (step * get_world_size() + get_rank()) * self.batch
        return list(range(first, first + self.batch))

    def __len__(self) -> int:
        return 2**62


def split_batch(batch: int, world: int, per_device: int | None) -> tuple[int, int]:
    """Clips per process at once, and micro-steps per optimizer step, for an effective batch.

    Raises:
        BenchError: the batch cannot be shared equally.
    """
    if batch % world:
        raise BenchError(f"batch {batch} cannot be shared by {world} processes; use a multiple")
    share = batch // world
    micro = share if per_device is None else min(per_device, share)
    if micro < 1 or share % micro:
        raise BenchError(
            f"{share} clips per process cannot be taken {per_device} at a time; use a divisor"
        )
    return micro, share // micro


@dataclass(frozen=True)
class Share:
    """What a micro-batch has to know of the whole batch."""

    totals: Totals | None = None
    """None: it is the whole batch."""
    continued: bool = False
    """Whether the clips are those of the micro-batch before, in their next chunk."""
    seeds: tuple[int, ...] | None = None
    """Of the random points of each clip; None: they are drawn for the micro-batch."""

    def points(self, device: torch.device) -> Points:
        """Where its random points come from."""
        if self.seeds is None:
            return ONE_STREAM
        return Points(tuple(torch.Generator(device).manual_seed(seed) for seed in self.seeds))


WHOLE = Share()


class HostGroup:
    """The processes, talking through the host's memory, so that no accelerator has to wait."""

    def __init__(self) -> None:
        self.group: Any = None
        if is_distributed():
            self.group = torch.distributed.new_group(backend="gloo")
        self.size = get_world_size()

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over the processes, in place."""
        return self._reduce(value, torch.distributed.ReduceOp.SUM)

    def max(self, value: torch.Tensor) -> torch.Tensor:
        """The maximum over the processes, in place."""
        return self._reduce(value, torch.distributed.ReduceOp.MAX)

    def gather(self, value: Any) -> list[Any]:
        """What every process has, in the order of their ranks."""
        if self.group is None:
            return [value]
        values = [None] * self.size
        torch.distributed.all_gather_object(values, value, self.group)
        return values

    def _reduce(self, value: torch.Tensor, operation: Any) -> torch.Tensor:
        if self.group is not None:
            torch.distributed.all_reduce(value, operation, self.group)
        return value


@dataclass(frozen=True)
class Sharing:
    """Prepares the micro-batches of an optimizer step.

    ``exact``: random points depend on the seed and a clip's number, and all micro-batches are
    padded to one size, so that results depend on the sharing by rounding alone. ``accumulation``
    counts batches of clips; each gives ``chunks`` micro-batches of ``chunk`` frames.
    """

    sampler: StreamSampler
    accumulation: int
    exact: bool
    seed: int
    group: HostGroup
    chunk: int | None = None
    chunks: int = 1

    def step(self, first: int, batches: Sequence[ClipBatch]) -> list[tuple[ClipBatch, Share]]:
        """The micro-batches of this process; ``first`` is the number of the first batch."""
        if self.exact:
            shapes = torch.tensor([batch.frames.shape[-2:] for batch in batches])
            size = self.group.max(shapes.amax(0)).tolist()
            batches = [batch.padded(*size) for batch in batches]
        pieces = [chunks_of(batch, self.chunk) for batch in batches]
        totals = self._totals([piece for clips in pieces for piece in clips])
        return [
            (piece, Share(totals, k > 0, self._seeds(first + i, k) if self.exact else None))
            for i, clips in enumerate(pieces)
            for k, piece in enumerate(clips)
        ]

    def _totals(self, batches: Sequence[ClipBatch]) -> Totals | None:
        """Of the whole batch, divided by its parts; None: it has one."""
        parts = len(batches) * self.group.size
        if parts == 1:
            return None
        own = torch.stack([_targets(batch.targets) for batch in batches]).sum(0)
        first, frame, clip = (n / parts for n in self.group.sum(own).tolist())
        return {"first_appearance": first, "per_frame": frame, "whole_clip": clip}

    def _seeds(self, step: int, chunk: int) -> tuple[int, ...]:
        # the 2 keeps these generators apart from those of the data and of the iterations
        entropies = ((self.seed, sample, chunk, 2) for sample in self.sampler.samples(step))
        return tuple(
            int(np.random.SeedSequence(e).generate_state(1, np.uint64)[0] >> 1) for e in entropies
        )


def _targets(targets: Sequence[ClipTargets]) -> torch.Tensor:
    """Numbers of targets by first appearance, which has absent ones, by frame and by clip (3,)."""
    whole = sum(target.present.numel() for target in targets)
    seen = sum(int(target.present.sum()) for target in targets)
    objects = sum(int(target.present.any(1).sum()) for target in targets)
    return torch.tensor([whole, seen, objects])
