"""The cost of a model, with the protocol it was measured by."""

from __future__ import annotations

from typing import Any

import torch

from videomt_bench.cost.attention import attention_kernel
from videomt_bench.cost.camera import Camera
from videomt_bench.cost.clock import CLOCKS, Setting, graph_breaks, running
from videomt_bench.cost.count import count_macs
from videomt_bench.cost.memory import peak_memory_mib
from videomt_bench.errors import BenchError
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

    Returns:
        ``params``, ``gmacs``, ``gflops``, ``uncounted``, ``by_operator``, ``fps`` and
        ``milliseconds`` by clock, ``peak_memory_mib``, ``graph_breaks``, ``notes``, ``protocol``.

    Raises:
        BenchError: bad arguments, an operator that cannot be counted, or a failed compilation.
    """
    _check_size(model, height, width)
    default = "cuda" if torch.cuda.is_available() else "cpu"
    setting = Setting(device or default, precision, compile_mode)
    cost: dict[str, Any] = {
        "params": sum(p.numel() for p in model.parameters()),
        "gmacs": None,
        "gflops": None,
        "uncounted": {},
        "by_operator": {},
        "fps": dict.fromkeys(CLOCKS),
        "milliseconds": dict.fromkeys(CLOCKS),
        "peak_memory_mib": None,
        "graph_breaks": None,
        "notes": [],
        "protocol": _protocol(model, setting, (height, width)),
    }
    # timed first: counting with values would leave its own mark on the memory of the process
    if time:
        camera = Camera(source, (height, width))
        cost["protocol"] |= {"frames": frames, "warmup": warmup, "source": list(source)}
        _time(cost, model, camera, frames, warmup, setting)
    if count:
        _count(cost, model, height, width)
    return cost


def _time(
    cost: dict[str, Any],
    model: VideoSegmenter,
    camera: Camera,
    frames: int,
    warmup: int,
    setting: Setting,
) -> None:
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
    cost["peak_memory_mib"] = peak
    cost["protocol"]["memory"] = what


def _count(cost: dict[str, Any], model: VideoSegmenter, height: int, width: int) -> None:
    counted = count_macs(model, height, width)
    for name in ("gmacs", "gflops", "uncounted", "by_operator", "notes"):
        cost[name] = getattr(counted, name)
    cost["protocol"]["counter"] = "fvcore"


def _protocol(model: VideoSegmenter, setting: Setting, size: tuple[int, int]) -> dict[str, Any]:
    return {
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


def _check_size(model: VideoSegmenter, height: int, width: int) -> None:
    stride = model.segmenter.stride
    if height < 1 or width < 1 or height % stride or width % stride:
        raise BenchError(
            f"input {height}x{width} is not valid: height and width must be positive multiples "
            f"of {stride}"
        )
