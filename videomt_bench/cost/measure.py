"""The cost of a model, with the protocol it was measured by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from videomt_bench.cost.attention import attention_kernel
from videomt_bench.cost.breakdown import combine, component_times
from videomt_bench.cost.camera import Camera
from videomt_bench.cost.clock import CLOCKS, Setting, graph_breaks, running
from videomt_bench.cost.components import count_parameters
from videomt_bench.cost.count import MacCount, count_macs
from videomt_bench.cost.memory import peak_memory_mib
from videomt_bench.errors import BenchError
from videomt_bench.models.deformable import DeformableAttention, deformable_backend
from videomt_bench.models.refiner import COUNTED_FRAMES
from videomt_bench.models.video import VideoSegmenter

SOURCE = (720, 1280)
"""Height and width of the frames that the end-to-end clock decodes."""


def measure_cost(
    model: VideoSegmenter,
    height: int,
    width: int,
    *,
    frames: int = 20,
    warmup: int = 5,
    device: str | None = None,
    precision: str = "fp32",
    compile_mode: str | None = None,
    count: bool = True,
    time: bool = True,
    source: tuple[int, int] = SOURCE,
    video_frames: int = COUNTED_FRAMES,
) -> dict[str, Any]:
    """Measure one stream of ``height`` × ``width`` frames; values are JSON, missing ones None.

    Args:
        frames: how many frames are timed, after ``warmup`` frames that are not.
        device: ``cpu``, ``cuda`` or ``cuda:N``; by default a GPU if there is one. The model is
            moved there.
        precision: ``fp32``, or autocast to ``fp16`` or ``bf16`` over fp32 weights.
        compile_mode: mode of ``torch.compile``; None runs eagerly.
        count, time: what to measure.
        source: height and width of the frames that the end-to-end clock decodes.
        video_frames: length of the video of which a refiner's share is counted; in the
            protocol of a model that has one, unless it is the usual one.

    Returns:
        ``params``, ``gmacs``, ``gflops``, ``uncounted``, ``by_operator``, ``state_bytes`` of a
        stream, ``fps`` and ``milliseconds`` by clock, ``components`` (name -> ``params``,
        ``gmacs``, ``milliseconds``), ``peak_memory_mib``, ``graph_breaks``, ``notes`` and
        ``protocol``.

    Raises:
        BenchError: bad arguments, an operator that cannot be counted, or a failed compilation.
    """
    check_size(model, height, width)
    default = "cuda" if torch.cuda.is_available() else "cpu"
    setting = Setting(device or default, precision, compile_mode)
    cost: dict[str, Any] = {
        "params": sum(p.numel() for p in model.parameters()),
        "gmacs": None,
        "gflops": None,
        "uncounted": {},
        "by_operator": {},
        "state_bytes": None,
        "fps": dict.fromkeys(CLOCKS),
        "milliseconds": dict.fromkeys(CLOCKS),
        "components": {},
        "peak_memory_mib": None,
        "graph_breaks": None,
        "notes": [],
        "protocol": _protocol(model, setting, (height, width)),
    }
    # timed first: counting with values would leave its own mark on the memory of the process
    times = None
    if time:
        camera = Camera(source, (height, width))
        cost["protocol"] |= {"frames": frames, "warmup": warmup, "source": list(source)}
        times = _time(cost, model, camera, frames, warmup, setting)
    counted = _count(cost, model, height, width, video_frames) if count else None
    components = combine(count_parameters(model), counted, times)
    cost["components"] = {name: values.to_json() for name, values in components.items()}
    return cost


def count_cost(
    build: Callable[[], VideoSegmenter],
    height: int,
    width: int,
    video_frames: int = COUNTED_FRAMES,
) -> dict[str, Any]:
    """As ``measure_cost`` with nothing timed; no weight is made where shapes are enough.

    Args:
        build: makes the model.
        height, width: of a frame, in pixels.
        video_frames: see ``measure_cost``.
    """
    options: dict[str, Any] = {"device": "cpu", "time": False, "video_frames": video_frames}
    try:
        with torch.device("meta"):
            model = build().eval()
        return measure_cost(model, height, width, **options)
    # whatever goes wrong without values is tried again with them, and reported from there
    except Exception:
        return measure_cost(build().eval(), height, width, **options)


def _time(
    cost: dict[str, Any],
    model: VideoSegmenter,
    camera: Camera,
    frames: int,
    warmup: int,
    setting: Setting,
) -> dict[str, float]:
    """Fill in times and memory; returns the milliseconds of each component."""
    with running(model, setting) as stream:
        for clock in CLOCKS:
            timing = stream.time(clock, frames, warmup, camera.load, camera.finish)
            cost["fps"][clock] = timing.fps
            cost["milliseconds"][clock] = {"mean": timing.mean_ms, "median": timing.median_ms}
        # two frames: the second is a steady-state one
        peak, what = peak_memory_mib(
            lambda: stream.time("model", 2, 0, camera.load), setting.device
        )
        if setting.compile_mode is not None:
            cost["graph_breaks"] = graph_breaks()
            cost["notes"].append("components were timed uncompiled")
        times = component_times(stream, frames, min(warmup, 2), camera.load)
    cost["peak_memory_mib"] = peak
    cost["protocol"]["memory"] = what
    return times


def _count(
    cost: dict[str, Any], model: VideoSegmenter, height: int, width: int, video_frames: int
) -> MacCount:
    counted = count_macs(model, height, width, video_frames)
    for name in ("gmacs", "gflops", "uncounted", "by_operator", "state_bytes"):
        cost[name] = getattr(counted, name)
    cost["notes"] += counted.notes
    cost["protocol"]["counter"] = "fvcore"
    # records from before do not say it, and have the usual length
    if model.refiner is not None and video_frames != COUNTED_FRAMES:
        cost["protocol"]["video_frames"] = video_frames
    return counted


def _protocol(model: VideoSegmenter, setting: Setting, size: tuple[int, int]) -> dict[str, Any]:
    protocol = {
        "device": setting.device_name,
        "precision": setting.precision,
        "compile": setting.compile_mode,
        "input": list(size),
        "batch": 1,
        "classes": model.segmenter.num_classes,
        "queries": model.memory.queries(model.init_state(1).memory).shape[1],
        "clock": dict(CLOCKS),
        "attention": f"{attention_kernel(model)} when timed, unfused when counted",
        "matmul_precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if any(isinstance(m, DeformableAttention) for m in model.modules()):
        protocol["deformable_attention"] = deformable_backend(setting.device)
    return protocol


def check_size(model: VideoSegmenter, height: int, width: int, where: str = "") -> None:
    """Check that a model takes such frames; ``where`` begins the sentence if not.

    Raises:
        BenchError: height or width is no positive multiple of the segmenter's stride.
    """
    stride = model.segmenter.stride
    if height < 1 or width < 1 or height % stride or width % stride:
        raise BenchError(
            f"{where}input {height}x{width} is not valid: height and width must be positive "
            f"multiples of {stride}"
        )
