"""The glue to mmengine's Runner: loop, model, precision, resume; the hooks are in ``hooks``.

Everything random in an iteration follows from the seed and the iteration's number, so a resumed
training continues exactly where the last checkpoint was.
"""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size, is_distributed
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from videomt_bench.data.clips import ClipBatch, collate
from videomt_bench.errors import BenchError, unknown
from videomt_bench.models import VideoSegmenter
from videomt_bench.models.variant import Matching
from videomt_bench.training.freezing import freeze, synchronize_batch_norm
from videomt_bench.training.hooks import (
    CHECKPOINT,
    LOSSES,
    CheckpointHook,
    IterationHook,
    ProgressHook,
    Report,
    remove_unfinished,
    unwrapped,
)
from videomt_bench.training.layers import LossSettings
from videomt_bench.training.losses import clip_losses
from videomt_bench.training.optim import OptimSettings, build_optimizer
from videomt_bench.training.stopping import StopHook, after_iterations

PRECISIONS = ("fp32", "fp16", "bf16")

NOT_IN_ID = {"affects_result": False}
"""Metadata of settings that leave the result as it is, and so stay out of run ids."""


@dataclass(frozen=True)
class TrainSettings:
    """How one stage trains.

    ``batch`` is the effective number of clips per optimizer step, whatever the number of processes;
    ``per_device`` bounds how many of them one process takes at once (None: all of its share).
    Frames are padded to multiples of ``divisor``. Parts of the model named in ``frozen``, such as
    "segmenter" or "tracker.appearance", and all below them do not learn. Where a tracker predicts
    anew, its targets are matched by the segmenter's predictions for the share ``guided`` of the
    iterations, afterwards by its own.
    """

    iterations: int
    batch: int
    optim: OptimSettings = field(default_factory=OptimSettings)
    losses: LossSettings = field(default_factory=LossSettings)
    matching: Matching = "first_appearance"
    frozen: tuple[str, ...] = ()
    guided: float = 0.5
    masked_attention: bool = False
    precision: str = "fp32"
    divisor: int = 32
    per_device: int | None = field(default=None, metadata=NOT_IN_ID)
    workers: int = field(default=0, metadata=NOT_IN_ID)
    checkpoint_interval: int = field(default=1000, metadata=NOT_IN_ID)

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "divisor", "checkpoint_interval"):
            if getattr(self, name) < 1:
                raise BenchError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.guided <= 1:
            raise BenchError(f"guided is {self.guided}; it must be a share from 0 to 1")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)


class StreamSampler(Sampler[list[int]]):
    """Sample numbers of this process's micro-batches, from any micro-step on, without an end."""

    def __init__(self, batch: int, accumulation: int) -> None:
        self.batch = batch
        self.accumulation = accumulation
        self.start = 0

    def __iter__(self) -> Iterator[list[int]]:
        world, rank, step = get_world_size(), get_rank(), self.start
        while True:
            first = (step * world + rank) * self.batch
            yield list(range(first, first + self.batch))
            step += 1

    def __len__(self) -> int:
        return 2**62


class ToDevice(nn.Module):
    """mmengine's data pre-processor, reduced to moving a batch."""

    anchor: Tensor

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        return {"batch": data["batch"].to(self.device)}

    @property
    def device(self) -> torch.device:
        return self.anchor.device

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("anchor", torch.zeros(0), persistent=False)


class TrainingModel(BaseModel):
    """A video segmenter with its losses, in the form that mmengine trains.

    ``frozen`` modules of it stay in evaluation mode, so that they keep their batch statistics.
    """

    def __init__(
        self,
        model: VideoSegmenter,
        matching: Matching,
        losses: LossSettings,
        frozen: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__(data_preprocessor=ToDevice())
        self.model = model
        self.matching = matching
        self.losses = losses
        self.frozen = tuple(frozen)
        self.guided = False

    def forward(self, batch: ClipBatch, mode: str = "loss") -> dict[str, Tensor]:
        output, _ = self.model(batch.frames)
        return clip_losses(output, batch.targets, self.matching, self.losses, self.guided)

    def train(self, mode: bool = True) -> TrainingModel:
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


class TrainLoop(IterBasedTrainLoop):
    """mmengine's loop, except that resuming jumps to a sample instead of reading up to it.

    The loader's workers end with ``run``.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader, max_iters: int) -> None:
        super().__init__(runner, dataloader, max_iters)
        del self.dataloader_iterator

    def run(self) -> nn.Module:
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self.dataloader.batch_sampler.start = self._iter
        batches = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model


class TrainRunner(Runner):
    """mmengine's runner, except that models stay on their device and checkpoints are only data."""

    def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        if not is_distributed():
            return model
        device = next(model.parameters()).device
        ids = None if device.type == "cpu" else [device]
        return MMDistributedDataParallel(module=model, device_ids=ids, broadcast_buffers=False)

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        try:
            super().resume(filename, *args, **kwargs)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # damaged pickles raise anything
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise BenchError(
                f"cannot continue from {filename}: {reason}; remove the file to train anew"
            ) from None

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        with zipfile.ZipFile(filename) as archive:  # torch.load does not look at checksums
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} in it is damaged")
        checkpoint = torch.load(filename, map_location="cpu", weights_only=True)
        for part in ("meta", "state_dict", "optimizer", "message_hub"):
            if part not in checkpoint:
                raise ValueError(f"it holds no {part}")
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        unwrapped(self).load_state_dict(checkpoint["state_dict"])
        return checkpoint


class BFloat16OptimWrapper(OptimWrapper):
    """Autocast to bfloat16, which needs no loss scaling."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def train(
    model: VideoSegmenter,
    clips: Dataset[Any],
    settings: TrainSettings,
    folder: Path,
    seed: int,
    report: Report = lambda step, total, losses: None,
) -> VideoSegmenter:
    """Train a model, or continue from the checkpoint in ``folder``.

    In a process group, made by the caller, every process trains a part of each batch.

    Args:
        model: trained in place, on its device.
        clips: gives the clip of any sample number; see ``TrainClips``.
        settings: schedule, batch, losses.
        folder: checkpoint and ``losses.jsonl`` go here.
        seed: of everything random in the iterations.
        report: receives the progress.

    Raises:
        BenchError: settings that do not fit the model, the processes or the device, a checkpoint
            that cannot be read or written, losses or weights that are not finite.
        Preempted: the process was asked to end; a checkpoint of that iteration is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if get_rank() == 0:
        remove_unfinished(folder)
    shares = split_batch(settings.batch, get_world_size(), settings.per_device)
    if is_distributed() and next(model.parameters()).device.type == "cuda":
        synchronize_batch_norm(model)
    with freeze(model, settings.frozen) as frozen, after_iterations():
        _runner(model, frozen, clips, settings, folder, seed, report, *shares).train()
    return model


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


def _runner(
    model: VideoSegmenter,
    frozen: Sequence[nn.Module],
    clips: Dataset[Any],
    settings: TrainSettings,
    folder: Path,
    seed: int,
    report: Report,
    micro: int,
    accumulation: int,
) -> Runner:
    total = settings.iterations * accumulation
    loader = DataLoader(
        clips,
        batch_sampler=StreamSampler(micro, accumulation),
        num_workers=settings.workers,
        collate_fn=lambda items: {"batch": collate(items, settings.divisor)},
        pin_memory=False,
    )
    checkpoint = folder / CHECKPOINT
    resume = checkpoint.is_file()
    off = dict.fromkeys(("timer", "logger", "param_scheduler", "checkpoint", "sampler_seed"))
    device = next(model.parameters()).device
    trained = TrainingModel(model, settings.matching, settings.losses, frozen)
    return TrainRunner(
        model=trained.to(device),
        work_dir=str(folder / "engine"),
        train_dataloader=loader,
        train_cfg=dict(type=TrainLoop, max_iters=total),
        optim_wrapper=_optim_wrapper(model, settings, accumulation),
        default_hooks={**off, "runtime_info": None},
        custom_hooks=[
            IterationHook(settings, accumulation, seed),
            ProgressHook(report, settings.iterations, accumulation, folder / LOSSES),
            CheckpointHook(folder, settings.checkpoint_interval, accumulation),
            StopHook(folder, accumulation),
        ],
        load_from=str(checkpoint) if resume else None,
        resume=resume,
        log_level="ERROR",
        randomness=dict(seed=seed),
        experiment_name=f"{folder.name}-{os.getpid()}-{time.monotonic_ns()}",
        default_scope="mmengine",
    )


def _optim_wrapper(
    model: VideoSegmenter, settings: TrainSettings, accumulation: int
) -> OptimWrapper:
    clip = settings.optim.clip_norm
    arguments: dict[str, Any] = dict(
        optimizer=build_optimizer(model, settings.optim),
        accumulative_counts=accumulation,
        clip_grad=None if clip is None else dict(max_norm=clip),
    )
    if settings.precision == "fp16":
        if next(model.parameters()).device.type == "cpu":
            raise BenchError("precision fp16 is not for training on the CPU; use fp32 or bf16")
        return AmpOptimWrapper(dtype="float16", **arguments)
    return {"fp32": OptimWrapper, "bf16": BFloat16OptimWrapper}[settings.precision](**arguments)
