"""The glue to mmengine's Runner: loop, model, precision, resume; the hooks are in ``hooks``.

Everything random in an iteration follows from the seed and the iteration's number, so a resumed
training continues exactly where the last checkpoint was.
"""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size, is_distributed
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from videomt_bench.data.clips import ClipBatch, collate
from videomt_bench.errors import BenchError, unknown
from videomt_bench.models import VideoSegmenter
from videomt_bench.models.variant import Matching
from videomt_bench.training.class_memory import ClassMemory, ClassMemoryHook
from videomt_bench.training.daq_clips import TrackLearning, track_losses
from videomt_bench.training.ema import EmaHook
from videomt_bench.training.finite import FiniteHook, finite_clips
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
from videomt_bench.training.modes import COMPILE_MODES, checkpointing, compiled, deterministic
from videomt_bench.training.optim import OptimSettings, build_optimizer
from videomt_bench.training.precision import BFloat16, Float16, Float32
from videomt_bench.training.sharing import (
    WHOLE,
    HostGroup,
    Share,
    Sharing,
    StreamSampler,
    split_batch,
)
from videomt_bench.training.stopping import StopHook, after_iterations
from videomt_bench.training.truncation import Carried, count_chunks
from videomt_bench.training.visualizers import VISUALIZERS, Curves

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

    The matching "whole_clip" learns a clip as one image, see ``whole_clip``.

    With a ``chunk`` clips are learned in chunks of this many frames, see ``truncation``.
    ``tracks`` is how a varying set of tracks learns where the matching is "new_instances", see
    ``daq_clips``; None: by the defaults.
    ``ema`` is the decay of a moving average of the weights, which is then what the training gives;
    ``exact_sharing`` makes results independent of how processes share a batch, see ``sharing``.
    ``prefetch`` batches wait for each of the ``workers``. ``checkpointing``, ``compile`` (a mode of
    torch.compile) and ``deterministic`` are described in ``modes``, ``visualizers`` in
    ``visualizers``.
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
    chunk: int | None = None
    ema: float | None = None
    exact_sharing: bool = False
    tracks: TrackLearning | None = None
    per_device: int | None = field(default=None, metadata=NOT_IN_ID)
    workers: int = field(default=0, metadata=NOT_IN_ID)
    prefetch: int = field(default=2, metadata=NOT_IN_ID)
    checkpoint_interval: int = field(default=1000, metadata=NOT_IN_ID)
    checkpointing: bool = field(default=False, metadata=NOT_IN_ID)
    compile: str | None = field(default=None, metadata=NOT_IN_ID)
    deterministic: bool = field(default=False, metadata=NOT_IN_ID)
    visualizers: tuple[str, ...] = field(default=(), metadata=NOT_IN_ID)

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "divisor", "prefetch", "checkpoint_interval"):
            if getattr(self, name) < 1:
                raise BenchError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.chunk is not None and self.chunk < 1:
            raise BenchError(f"chunk is {self.chunk}; it must be at least 1 frame, or None")
        if self.chunk is not None and self.matching in ("new_instances", "whole_clip"):
            raise BenchError(
                f"chunk is {self.chunk}; with the matching {self.matching!r} it must be None, as a "
                "clip is learned as one"
            )
        if not 0 <= self.guided <= 1:
            raise BenchError(f"guided is {self.guided}; it must be a share from 0 to 1")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.ema is not None and not 0 <= self.ema < 1:
            raise BenchError(f"ema is {self.ema}; it must be a decay from 0 to below 1")
        if self.compile is not None and self.compile not in COMPILE_MODES:
            raise unknown("compile mode", self.compile, COMPILE_MODES)
        for name in self.visualizers:
            if name not in VISUALIZERS:
                raise unknown("visualizer", name, VISUALIZERS)


class ToDevice(nn.Module):
    """mmengine's data pre-processor, reduced to moving a batch."""

    anchor: Tensor

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        return {**data, "batch": data["batch"].to(self.device, non_blocking=True)}

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
        tracks: TrackLearning | None = None,
    ) -> None:
        super().__init__(data_preprocessor=ToDevice())
        self.model = model
        self.matching = matching
        self.losses = losses
        self.frozen = tuple(frozen)
        self.guided = False
        self.tracks = tracks or TrackLearning()
        self.short = False
        """Whether clips are the short ones of ``tracks``."""
        self.finite = torch.zeros(0)
        """Of the last forward pass, see ``finite_clips``."""
        self.carried = Carried()
        """From the last chunk to the next one."""
        remembers = matching == "whole_clip" and losses.refined_weight and losses.class_memory
        self.memory = ClassMemory(losses.class_memory) if remembers else None

    def forward(
        self, batch: ClipBatch, share: Share = WHOLE, mode: str = "loss"
    ) -> dict[str, Tensor]:
        points = share.points(batch.frames.device)
        if self.matching == "new_instances":
            losses, self.finite = track_losses(
                self.model, batch, self.tracks, self.losses, self.short, points
            )
            return losses
        if not share.continued:
            self.carried = Carried()
        output, state = self.model(batch.frames, self.carried.state)
        self.carried.state = self.model.detach(state)
        self.finite = finite_clips(output)
        targets, how = batch.targets, (self.matching, self.losses, self.guided)
        return clip_losses(output, targets, *how, share.totals, points, self.carried, self.memory)

    def train(self, mode: bool = True) -> TrainingModel:
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


class TrainLoop(IterBasedTrainLoop):
    """mmengine's loop, except that resuming jumps to a sample instead of reading up to it.

    All micro-batches of an optimizer step are read before its first one, since losses are divided
    by numbers of the whole batch. The loader's workers end with ``run``.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader, max_iters: int) -> None:
        super().__init__(runner, dataloader, max_iters)
        del self.dataloader_iterator

    def run(self) -> nn.Module:
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        sharing = self.runner.sharing
        self.dataloader.batch_sampler.start = self._iter // sharing.chunks
        batches = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            step = [batch["batch"] for batch in islice(batches, sharing.accumulation)]
            for batch, share in sharing.step(self._iter // sharing.chunks, step):
                self.runner.model.train()
                self.run_iter({"batch": batch, "share": share})
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model


class TrainRunner(Runner):
    """mmengine's runner, except that models stay on their device and checkpoints are only data."""

    sharing: Sharing

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
        clips: gives the clip of any sample number, and with a ``chunk`` knows its ``clip_length``;
            see ``TrainClips``.
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
    with ExitStack() as stack:
        frozen = stack.enter_context(freeze(model, settings.frozen))
        runner = _runner(model, frozen, clips, settings, folder, seed, report, *shares)
        if settings.deterministic:
            stack.enter_context(deterministic())
        if settings.compile is not None:
            stack.enter_context(compiled(model, settings.compile))
        if settings.checkpointing:
            stack.enter_context(checkpointing(model))
        stack.enter_context(after_iterations())
        runner.train()
    return model


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
    group = HostGroup()
    chunk = settings.chunk
    pieces = chunk, 1 if chunk is None else count_chunks(clips.clip_length, chunk)  # type: ignore[attr-defined]
    exact = settings.exact_sharing
    sharing = Sharing(StreamSampler(micro), accumulation, exact, seed, group, *pieces)
    accumulation *= sharing.chunks
    total = settings.iterations * accumulation
    interval = settings.checkpoint_interval
    curves = Curves(settings.visualizers, folder)
    checkpoint = folder / CHECKPOINT
    resume = checkpoint.is_file()
    off = dict.fromkeys(("timer", "logger", "param_scheduler", "checkpoint", "sampler_seed"))
    device = next(model.parameters()).device
    how = settings.matching, settings.losses
    trained = TrainingModel(model, *how, frozen, settings.tracks)
    runner = TrainRunner(
        model=trained.to(device),
        work_dir=str(folder / "engine"),
        train_dataloader=_loader(clips, sharing.sampler, settings, device),
        train_cfg=dict(type=TrainLoop, max_iters=total),
        optim_wrapper=_optim_wrapper(model, settings, accumulation),
        default_hooks={**off, "runtime_info": None},
        custom_hooks=[
            IterationHook(settings, accumulation, seed),
            FiniteHook(folder, interval, accumulation, group),
            *([] if settings.ema is None else [EmaHook(model, settings.ema, accumulation)]),
            *([] if trained.memory is None else [ClassMemoryHook(trained.memory, group, device)]),
            ProgressHook(report, settings.iterations, accumulation, folder / LOSSES, curves),
            CheckpointHook(folder, interval, accumulation),
            StopHook(folder, accumulation),
        ],
        load_from=str(checkpoint) if resume else None,
        resume=resume,
        log_level="ERROR",
        randomness=dict(seed=seed),
        experiment_name=f"{folder.name}-{os.getpid()}-{time.monotonic_ns()}",
        default_scope="mmengine",
    )
    runner.sharing = sharing  # not by ``train_cfg``, which mmengine copies
    return runner


def _loader(
    clips: Dataset[Any], sampler: StreamSampler, settings: TrainSettings, device: torch.device
) -> DataLoader:
    """Its one iterator lasts as long as the training, and so do its workers."""
    return DataLoader(
        clips,
        batch_sampler=sampler,
        num_workers=settings.workers,
        collate_fn=lambda items: {"batch": collate(items, settings.divisor)},
        pin_memory=device.type == "cuda",
        prefetch_factor=settings.prefetch if settings.workers else None,
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
        return Float16(dtype="float16", **arguments)
    return {"fp32": Float32, "bf16": BFloat16}[settings.precision](**arguments)
