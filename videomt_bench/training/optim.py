"""AdamW in the two manners of the field: layer-wise decay with EoMT's two-stage warm-up and
polynomial decay, or the steps of Mask2Former and the decoupled systems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import AdamW

from videomt_bench.errors import BenchError
from videomt_bench.models.adapter import ViTAdapter
from videomt_bench.models.encoders import ViTEncoder
from videomt_bench.models.pyramids import PyramidEncoder

DROP = 0.1
"""What the rate is multiplied by at a milestone."""
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
EMBEDDINGS = ("level_embed", "pos_embed", "query_positions", "relative_position_bias_table")
"""Parameters that are embeddings without a module of their own."""


@dataclass(frozen=True)
class OptimSettings:
    """Rates, their course, weight decay and clipping.

    ``warmup`` is (a, b): heads warm up for a steps, the encoder waits a and warms up for b. Then
    the rates fall as a polynomial of ``power``, or, with ``milestones`` (shares of the iterations),
    to a tenth at each. ``backbone_factor`` multiplies the rates of encoders and adapters.
    ``decay_all`` False takes norms and embeddings out of the weight decay. ``slow_final_norm``
    gives an encoder's final norm the rate of its first block.
    """

    lr: float = 1e-4
    weight_decay: float = 0.05
    layer_decay: float = 0.6
    warmup: tuple[int, int] = (500, 1000)
    power: float = 0.9
    clip_norm: float | None = None
    milestones: tuple[float, ...] = ()
    backbone_factor: float = 1.0
    decay_all: bool = True
    slow_final_norm: bool = False

    def __post_init__(self) -> None:
        if not all(0 < share < 1 for share in self.milestones):
            raise BenchError(
                f"milestones {list(self.milestones)} must be shares of the iterations, "
                "between 0 and 1"
            )


def schedule(step: int, total: int, settings: OptimSettings, encoder: bool) -> float:
    """The learning-rate factor of a step (from 0) out of ``total``, for heads or the encoder."""
    a, b = settings.warmup
    start, length = (a, b) if encoder else (0, a)
    if step < start:
        return 0.0
    if step < start + length:
        return (step - start) / length
    if settings.milestones:
        return DROP ** sum(step >= round(share * total) for share in settings.milestones)
    done = (step - start - length) / max(1, total - start - length)
    return float((1 - min(done, 1.0)) ** settings.power)


def parameter_groups(model: nn.Module, settings: OptimSettings) -> list[dict[str, Any]]:
    """Groups of equal rate: ``params``, ``names``, ``rate`` (lr at factor 1) and ``encoder``.

    Block i of a plain ViT of n blocks gets lr · d^(n-1-i); its embeddings the rate of block 0; its
    final norm, pyramids and everything outside encoders the full rate. Weight decay applies to
    all, unless the settings take norms and embeddings out; such groups have a ``weight_decay`` of
    0.
    """
    encoders = _prefixes(model, (ViTEncoder, PyramidEncoder))
    backbones = encoders | _prefixes(model, ViTAdapter)
    undecayed = set() if settings.decay_all else _norms_and_embeddings(model)
    groups: dict[tuple[bool, float, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        prefix = next((p for p in encoders if name.startswith(p)), None)
        depth = 0
        if prefix is not None and isinstance(encoder := encoders[prefix], ViTEncoder):
            own = name[len(prefix) :]
            slow = settings.slow_final_norm and own.startswith("vit.norm.")
            depth = len(encoder.vit.blocks) - 1 if slow else _depth(own, encoder)
        rate = settings.lr * settings.layer_decay**depth
        if any(name.startswith(p) for p in backbones):
            rate *= settings.backbone_factor
        group: dict[str, Any] = dict(
            params=[], names=[], rate=rate, lr=rate, encoder=prefix is not None
        )
        if name in undecayed:
            group["weight_decay"] = 0.0
        group = groups.setdefault((prefix is not None, rate, name in undecayed), group)
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def _prefixes(model: nn.Module, kind: Any) -> dict[str, Any]:
    """Modules of a kind by how the names of their parameters begin."""
    return {
        f"{name}." if name else "": module
        for name, module in model.named_modules()
        if isinstance(module, kind)
    }


def _norms_and_embeddings(model: nn.Module) -> set[str]:
    """The names of parameters of norm layers and of learned embeddings."""
    found = {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, (*NORMS, nn.Embedding))
        for own, _ in module.named_parameters(recurse=False)
    }
    return found | {n for n, _ in model.named_parameters() if n.split(".")[-1] in EMBEDDINGS}


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
