"""Parameters, multiply-accumulates and time of each component of a model."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import Any

import torch

from videomt_bench.cost.clock import Load, Setting, Stream, running
from videomt_bench.cost.components import count_parameters, watched
from videomt_bench.cost.count import MacCount, count_macs
from videomt_bench.cost.names import OTHER, ordered
from videomt_bench.errors import BenchError
from videomt_bench.models.video import VideoSegmenter


@dataclass(frozen=True)
class Component:
    """What one component costs; what was not measured is None."""

    params: int
    gmacs: float | None
    """10⁹ multiply-accumulates per frame, as ``MacCount.gmacs`` has them."""
    milliseconds: float | None
    """Per frame, without the components that it calls."""

    def to_json(self) -> dict[str, Any]:
        """The three values by name."""
        return asdict(self)


def breakdown(
    model: VideoSegmenter,
    height: int,
    width: int,
    *,
    frames: int = 0,
    warmup: int = 2,
    setting: Setting | None = None,
) -> dict[str, Component]:
    """The cost of every component for a frame of ``height`` × ``width`` input pixels.

    Args:
        frames: how many frames of random values are timed after ``warmup``; 0: none, no times.
        setting: device and precision; the model is moved there if it is timed.

    Returns:
        components in the order of tables; their parameters, MACs and milliseconds add up to those
        of the model's step.

    Raises:
        BenchError: an operator that cannot be counted.
    """
    times = None
    if frames:
        noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        with running(model, setting or Setting()) as stream:
            times = component_times(stream, frames, warmup, lambda _: noise)
    return combine(count_parameters(model), count_macs(model, height, width), times)


def combine(
    params: Mapping[str, int], counted: MacCount | None, times: Mapping[str, float] | None
) -> dict[str, Component]:
    """One table of what was measured; components without any cost are left out."""
    macs = {k: sum(v.values()) for k, v in counted.by_component.items()} if counted else {}
    components = {
        name: Component(
            params.get(name, 0),
            None if counted is None else macs.get(name, 0.0),
            None if times is None else times.get(name, 0.0),
        )
        for name in ordered([*params, *macs, *(times or ())])
    }
    return {n: c for n, c in components.items() if c.params or c.gmacs or c.milliseconds}


def component_times(stream: Stream, frames: int, warmup: int, load: Load) -> dict[str, float]:
    """Mean milliseconds per frame of each component, over ``frames`` frames after ``warmup``.

    See :func:`frame_times`.

    Raises:
        BenchError: no frames, or a negative warm-up.
    """
    if frames < 1 or warmup < 0:
        raise BenchError(
            f"cannot time {frames} frames after a warm-up of {warmup}; valid: at least 1 and 0"
        )
    total: Counter[str] = Counter()
    with closing(frame_times(stream, load)) as times:
        for frame in islice(times, warmup, warmup + frames):
            total.update(frame)
    return {name: total[name] / frames for name in ordered(total)}


def frame_times(stream: Stream, load: Load) -> Generator[dict[str, float], None, None]:
    """Milliseconds of each component, frame after frame of one stream, by the clock ``model``.

    The step is run uncompiled, as its borders are seen by forward hooks. Every moment of a step
    belongs to exactly one component, so that the sum is the time of the step.
    """
    model, setting = stream.model, stream.setting
    state = model.init_state(1)
    with torch.cuda.device(setting.device) if setting.on_gpu else nullcontext():
        laps = _Laps(setting.on_gpu)
        with watched(model, laps.end):
            for i in count():
                frame = load(i).to(setting.device)
                laps.start()
                _, state = model.step(frame, state)
                laps.end(OTHER)
                yield laps.milliseconds()


class _Laps:
    """Laps of one frame, each with the name of the component that ran it."""

    def __init__(self, on_gpu: bool) -> None:
        self.on_gpu = on_gpu
        self.names: list[str] = []
        self.marks: list[Any] = []

    def start(self) -> None:
        """Begin a frame with an idle device."""
        if self.on_gpu:
            torch.cuda.synchronize()
        self.names, self.marks = [], [self._now()]

    def end(self, name: str) -> None:
        """End a lap of ``name``; the next one begins."""
        self.names.append(name)
        self.marks.append(self._now())

    def milliseconds(self) -> dict[str, float]:
        """The laps of the frame, added up by name, once the device has finished them."""
        if self.on_gpu:
            torch.cuda.synchronize()
        total: dict[str, float] = {}
        for name, before, after in zip(self.names, self.marks, self.marks[1:], strict=False):
            lap = before.elapsed_time(after) if self.on_gpu else (after - before) * 1e3
            total[name] = total.get(name, 0.0) + lap
        return total

    def _now(self) -> Any:
        """An event in the stream of the GPU, or seconds of the host's clock."""
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
