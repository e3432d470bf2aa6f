"""AdamW with layer-wise decay and the two-stage warm-up with polynomial decay of EoMT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import AdamW

from videomt_bench.models.encoders import ViTEncoder


@dataclass(frozen=True)
class OptimSettings:
    """``warmup`` is (a, b): heads warm up for a steps, the encoder waits a and warms up for b."""

    lr: float = 1e-4
    weight_decay: float = 0.05
    layer_decay: float = 0.6
    warmup: tuple[int, int] = (500, 1000)
    power: float = 0.9
    clip_norm: float | None = None


def schedule(step: int, total: int, settings: OptimSettings, encoder: bool) -> float:
    """The learning-rate factor of a step (from 0) out of ``total``, for heads or the encoder."""
    a, b = settings.warmup
    start, length = (a, b) if encoder else (0, a)
    if step < start:
        return 0.0
    if step < start + length:
        return (step - start) / length
    done = (step - start - length) / max(1, total - start - length)
    return float((1 - min(done, 1.0)) ** settings.power)


def parameter_groups(model: nn.Module, settings: OptimSettings) -> list[dict[str, Any]]:
    """Groups of equal rate: ``params``, ``names``, ``rate`` (lr at factor 1) and ``encoder``.

    Block i of an encoder of n blocks gets lr · d^(n-1-i); its embeddings the rate of block 0; its
    final norm and everything outside encoders the full rate. Weight decay applies to all.
    """
    encoders = {
        f"{name}." if name else "": module
        for name, module in model.named_modules()
        if isinstance(module, ViTEncoder)
    }
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        prefix = next((p for p in encoders if name.startswith(p)), None)
        depth = 0 if prefix is None else _depth(name[len(prefix) :], encoders[prefix])
        rate = settings.lr * settings.layer_decay**depth
        key = (prefix is not None, rate)
        group = groups.setdefault(
            key, dict(params=[], names=[], rate=rate, lr=rate, encoder=prefix is not None)
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def build_optimizer(model: nn.Module, settings: OptimSettings) -> AdamW:
    """AdamW (betas 0.9, 0.999) over ``parameter_groups``."""
    groups = parameter_groups(model, settings)
    for group in groups:
        del group["names"]
    return AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay)


def set_rates(optimizer: AdamW, step: int, total: int, settings: OptimSettings) -> None:
    """Set every group's rate for a step."""
    factors = {e: schedule(step, total, settings, e) for e in (False, True)}
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * factors[group["encoder"]]


def _depth(name: str, encoder: ViTEncoder) -> int:
    """How many blocks lie above a parameter of the encoder."""
    blocks = len(encoder.vit.blocks)
    parts = name.split(".")
    if parts[:2] == ["vit", "blocks"]:
        return blocks - 1 - int(parts[2])
    return 0 if parts[:2] == ["vit", "norm"] else blocks - 1
