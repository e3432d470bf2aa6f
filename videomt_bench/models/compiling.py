"""``torch.compile`` for streams: static shapes, CUDA graphs, and no failure that passes unseen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch.utils._pytree import tree_map

from videomt_bench.errors import BenchError, unknown
from videomt_bench.models.contracts import FrameFeatures, FrameOutput, VideoState
from videomt_bench.models.video import VideoSegmenter

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune")
COMPILE_ERRORS = (
    TorchDynamoException,
    *filter(None, [getattr(torch._dynamo.exc, "FailOnRecompileLimitHit", None)]),
)
MAX_SHAPES = 64
"""How many input sizes a model may be compiled for."""

T = TypeVar("T")


class CompiledVideo(VideoSegmenter):
    """A video segmenter for evaluation whose parts are compiled for each size of its input.

    Its modules are those of ``model``. ``encode`` always sees as many frames as at first with a
    size: a shorter last window is filled up with zeros, which no other frame sees.

    Args:
        model: what is compiled.
        mode: one of ``COMPILE_MODES``; all but the first use CUDA graphs on a GPU.

    Raises:
        BenchError: an unknown mode; later, the model does not compile.
    """

    def __init__(self, model: VideoSegmenter, mode: str) -> None:
        if mode not in COMPILE_MODES:
            raise unknown("compile mode", mode, COMPILE_MODES)
        super().__init__(model.segmenter, model.memory, model.tracker, model.refiner)
        self.mode = mode
        self._encode = torch.compile(super().encode, mode=mode, dynamic=False)
        self._advance = torch.compile(super().advance, mode=mode, dynamic=False)
        self._frames: dict[torch.Size, int] = {}

    def encode(self, frames: Tensor) -> FrameFeatures:
        count = len(frames)
        full = self._frames.setdefault(frames.shape[1:], count)
        if count < full:
            frames = torch.cat([frames, frames.new_zeros(full - count, *frames.shape[1:])])
        features = self._owned(self._encode, frames)
        return features.select(slice(count)) if count < full else features

    def advance(
        self, features: FrameFeatures, state: VideoState, masks: bool = True
    ) -> tuple[FrameOutput, VideoState]:
        return self._owned(self._advance, features, state, masks)

    def _owned(self, function: Any, *arguments: Any) -> Any:
        """The result, in memory of its own: CUDA graphs write the next one over it."""
        graphs = self.mode != "default" and next(self.parameters()).is_cuda
        try:
            with strict_compiler(MAX_SHAPES):
                if not graphs:
                    return function(*arguments)
                torch.compiler.cudagraph_mark_step_begin()
                return clone(function(*arguments))
        except COMPILE_ERRORS as error:
            raise not_compiled(self.mode, error) from error


def not_compiled(mode: str | None, error: Exception) -> BenchError:
    """The sentence for a failed compilation."""
    reason = " ".join(str(error).split())[:300]
    return BenchError(f"compile mode {mode!r} failed: {reason}")


@contextmanager
def strict_compiler(recompilations: int = 8) -> Iterator[None]:
    """No failed compilation runs eagerly instead, nor one that is given up as done too often."""
    settings = {
        "suppress_errors": False,
        "fail_on_recompile_limit_hit": True,
        "recompile_limit": recompilations,
    }
    known: dict[str, Any] = {k: v for k, v in settings.items() if hasattr(torch._dynamo.config, k)}
    with torch._dynamo.config.patch(known):
        yield


def clone(value: T) -> T:
    """The same value with its tensors in memory of their own; dataclasses are followed too."""
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: clone(getattr(value, f.name)) for f in fields(value)}
        return replace(value, **parts)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(clone(part) for part in value)  # type: ignore[return-value]
    return tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, value)
