"""Frames per second of a stream, by two clocks.

``model`` times ``VideoSegmenter.step`` alone, its input already on the device, as the papers do.
``end_to_end`` also times getting the frame (decode, resize, normalise, pad), the copy to the device
and the finish (masks at source size, back on the host).
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor

from videomt_bench.cost.modes import evaluating
from videomt_bench.errors import BenchError, unknown
from videomt_bench.models.compiling import (
    COMPILE_ERRORS,
    COMPILE_MODES,
    clone,
    not_compiled,
    strict_compiler,
)
from videomt_bench.models.contracts import FrameOutput, VideoState
from videomt_bench.models.video import VideoSegmenter

CLOCKS = {
    "model": "step() alone, frame by frame with its state, input on the device",
    "end_to_end": "decode, resize, normalise, pad, copy to the device, step(), "
    "masks at source size, copy back",
}
PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}

Step = Callable[[Tensor, VideoState], tuple[FrameOutput, VideoState]]
Load = Callable[[int], Tensor]
"""Frame number -> normalised frame (1, 3, H, W) on the host."""
Finish = Callable[[FrameOutput], Any]
"""Does what has to be done with the output of a frame, results on the host."""


@dataclass(frozen=True)
class Setting:
    """How a model is run: device, autocast precision and ``torch.compile`` mode.

    Raises:
        BenchError: an unknown name, or a device that is not there.
    """

    device: str = "cpu"
    precision: str = "fp32"
    compile_mode: str | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.compile_mode is not None and self.compile_mode not in COMPILE_MODES:
            raise unknown("compile mode", self.compile_mode, COMPILE_MODES)
        kind, _, index = self.device.partition(":")
        if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
            raise unknown("device", self.device, ("cpu", "cuda", "cuda:N"))
        if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
            raise BenchError(
                f"device {self.device!r} is not there; {torch.cuda.device_count()} GPUs are visible"
            )

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def device_name(self) -> str:
        """The GPU or the processor, as it calls itself."""
        return torch.cuda.get_device_name(self.device) if self.on_gpu else _processor()


@dataclass(frozen=True)
class Timing:
    """Milliseconds per frame, warm-up left out."""

    milliseconds: tuple[float, ...]

    @property
    def mean_ms(self) -> float:
        return mean(self.milliseconds)

    @property
    def median_ms(self) -> float:
        return median(self.milliseconds)

    @property
    def fps(self) -> float:
        """1000 / mean milliseconds: every frame weighs the same."""
        return 1000 / self.mean_ms


def fps(
    model: VideoSegmenter,
    frames: int,
    load: Load,
    finish: Finish | None = None,
    *,
    clock: str = "model",
    warmup: int = 5,
    setting: Setting | None = None,
) -> Timing:
    """Time ``frames`` frames of one stream, after ``warmup`` frames that do not count.

    A frame during which something was compiled starts the warm-up again.
    The model is moved to the setting's device. The ``end_to_end`` clock needs ``finish``.

    Raises:
        BenchError: bad arguments, or the model does not compile; it is never run uncompiled then.
    """
    with running(model, setting or Setting()) as stream:
        return stream.time(clock, frames, warmup, load, finish)


@dataclass(frozen=True)
class Stream:
    """A model made ready to run one stream; one compilation serves several clocks."""

    model: VideoSegmenter
    step: Step
    setting: Setting

    def time(
        self, clock: str, frames: int, warmup: int, load: Load, finish: Finish | None = None
    ) -> Timing:
        """Time a stream from its first frame; see ``fps``."""
        if clock not in CLOCKS:
            raise unknown("clock", clock, CLOCKS)
        if frames < 1 or warmup < 0:
            raise BenchError(
                f"cannot time {frames} frames after a warm-up of {warmup}; valid: at least 1 and 0"
            )
        if clock == "end_to_end" and finish is None:
            raise BenchError("the clock 'end_to_end' needs a finish function")
        state = self.model.init_state(1)
        times: list[float] = []
        for i in count():
            compiled = _compilations()
            if clock == "model":
                frame = load(i).to(self.setting.device)
                elapsed, (_, state) = _kernel_time(self.setting, self.step, frame, state)
            else:
                elapsed, state = _wall_time(self.setting, self._whole, i, state, load, finish)
            times.append(elapsed)
            if _compilations() != compiled:
                times.clear()
            elif len(times) == warmup + frames:
                break
        return Timing(tuple(times[warmup:]))

    def _whole(self, i: int, state: VideoState, load: Load, finish: Finish) -> VideoState:
        output, state = self.step(load(i).to(self.setting.device), state)
        finish(output)
        return state


def _wall_time(setting: Setting, work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Milliseconds on the host's clock, and the result."""
    _synchronize(setting)
    start = time.perf_counter()
    result = work(*arguments)
    _synchronize(setting)
    return (time.perf_counter() - start) * 1e3, result


def _kernel_time(setting: Setting, work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Milliseconds between two events of the GPU, or on the host's clock; and the result."""
    if not setting.on_gpu:
        return _wall_time(setting, work, *arguments)
    with torch.cuda.device(setting.device):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        _synchronize(setting)
        before.record()
        result = work(*arguments)
        after.record()
        _synchronize(setting)
        return before.elapsed_time(after), result


def _synchronize(setting: Setting) -> None:
    if setting.on_gpu:
        torch.cuda.synchronize(setting.device)


@contextmanager
def running(model: VideoSegmenter, setting: Setting) -> Iterator[Stream]:
    """A model under a setting: evaluation mode, no gradients, autocast, compiled.

    Weights stay fp32 under autocast. The model stays on the setting's device.
    """
    dtype = PRECISIONS[setting.precision]
    kind = setting.device.partition(":")[0]
    autocast = nullcontext() if dtype is None else torch.autocast(kind, dtype)
    model.to(setting.device)
    try:
        with evaluating(model), torch.no_grad(), autocast, strict_compiler():
            step = _compiled(model, setting) if setting.compile_mode else model.step
            yield Stream(model, step, setting)
    except COMPILE_ERRORS as error:
        raise not_compiled(setting.compile_mode, error) from error


def _compiled(model: VideoSegmenter, setting: Setting) -> Step:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    step = torch.compile(model.step, mode=setting.compile_mode)
    if not setting.on_gpu or setting.compile_mode == "default":
        return step

    # CUDA graphs reuse the memory of their outputs, and the state must outlive the next frame
    def with_own_state(frame: Tensor, state: VideoState) -> tuple[FrameOutput, VideoState]:
        torch.compiler.cudagraph_mark_step_begin()
        output, state = step(frame, state)
        return output, clone(state)

    return with_own_state


def _compilations() -> int:
    """How often anything was compiled so far."""
    return int(torch._dynamo.utils.counters["frames"]["total"])


def graph_breaks() -> int:
    """How often the compiled step left the graph, since it was last compiled."""
    return sum(torch._dynamo.utils.counters["graph_break"].values())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    return f"CPU {names[0] if names else platform.processor() or platform.machine()}"
