"""Which attention kernel runs: fused for timing, unfused where operators are counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def unfused_attention(model: nn.Module) -> Iterator[None]:
    """Make softmax(QKᵀ)V visible to operator counters, and restore everything afterwards.

    timm's modules take their explicit path, ``nn.MultiheadAttention`` leaves its one-operator fast
    path, and ``scaled_dot_product_attention`` decomposes into matrix products.
    """
    fused: dict[Any, bool] = {m: bool(m.fused_attn) for m in model.modules() if _has_switch(m)}
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        for module in fused:
            module.fused_attn = False
        torch.backends.mha.set_fastpath_enabled(False)
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, value in fused.items():
            module.fused_attn = value


def attention_kernel(model: nn.Module) -> str:
    """``fused``, ``unfused`` or ``mixed`` by timm's switches; ``as written`` without any."""
    switches = {bool(m.fused_attn) for m in model.modules() if _has_switch(m)}
    if not switches:
        return "as written"
    return "mixed" if len(switches) == 2 else "fused" if switches.pop() else "unfused"


def _has_switch(module: nn.Module) -> bool:
    return isinstance(getattr(module, "fused_attn", None), bool)
