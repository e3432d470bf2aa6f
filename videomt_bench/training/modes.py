"""Ways to run a training that leave what it computes: less memory, compiled, deterministic."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from videomt_bench.errors import BenchError
from videomt_bench.models.compiling import COMPILE_ERRORS, not_compiled, strict_compiler
from videomt_bench.models.encoders import ViTEncoder
from videomt_bench.models.pyramids import PyramidEncoder
from videomt_bench.models.video import VideoSegmenter

COMPILE_MODES = ("default", "max-autotune-no-cudagraphs")
"""Of torch.compile. CUDA graphs are left out: they keep no activations for a backward pass that
comes after several frames."""

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


@contextmanager
def checkpointing(model: VideoSegmenter) -> Iterator[None]:
    """Forget activations and compute them again in the backward pass (Chen et al., 1604.06174).

    Kept are the inputs of the encoder's blocks and of the decoding of each frame. Gradients are the
    same to the last bit where the operators are deterministic.
    """
    with ExitStack() as stack:
        for block in plain_blocks(model):
            stack.enter_context(_wrapped(block, "forward", _checkpointed))
        stack.enter_context(_wrapped(model.segmenter, "decode", _checkpointed))
        yield


@contextmanager
def compiled(model: VideoSegmenter, mode: str) -> Iterator[None]:
    """Compile the encoder's plain blocks, most of the work, whose shapes are those of a batch.

    Raises:
        BenchError: a block does not compile; it is never run uncompiled then.
    """
    with ExitStack() as stack:
        stack.enter_context(strict_compiler())
        for block in plain_blocks(model):
            stack.enter_context(_wrapped(block, "forward", partial(torch.compile, mode=mode)))
        try:
            yield
        except COMPILE_ERRORS as error:
            raise not_compiled(mode, error) from error


@contextmanager
def deterministic() -> Iterator[None]:
    """Only algorithms that give the same result every time; an operator without one is an error.

    Raises:
        BenchError: the environment asks for a workspace of cuBLAS that is not deterministic.
    """
    setting = os.environ.setdefault(WORKSPACE, ":4096:8")
    if setting not in (":4096:8", ":16:8"):
        raise BenchError(f"{WORKSPACE} is {setting!r}; deterministic mode needs :4096:8 or :16:8")
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.deterministic, cudnn.benchmark = before[1:]


def plain_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of all encoders of a model that no query enters."""
    found: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, ViTEncoder):
            found += module.vit.blocks[: -module.num_joint]
        elif isinstance(module, PyramidEncoder):
            found += module.blocks
    return found


@contextmanager
def _wrapped(owner: nn.Module, name: str, wrap: Wrap) -> Iterator[None]:
    """A method of one object, wrapped for the time of the block."""
    own = vars(owner).get(name)
    setattr(owner, name, wrap(getattr(owner, name)))
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


def _checkpointed(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return function(*arguments, **options)
        return checkpoint(function, *arguments, use_reentrant=False, **options)

    return run
