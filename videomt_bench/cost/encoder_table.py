"""The table of ``docs/encoders.md``: ``python -m videomt_bench.cost.encoder_table [NAME ...]``.

Names, normalisation, weights and licences are timm's; sizes are counted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import timm
import torch
from timm.data.constants import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_INCEPTION_MEAN,
    IMAGENET_INCEPTION_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

from videomt_bench.cost.measure import count_cost
from videomt_bench.models import EncoderSpec, ModelSpec, load_variant
from videomt_bench.models.encoders import build_encoder

PRETRAINING = {
    "DINOv2, registers": [
        f"vit_{size}_patch14_reg4_dinov2.lvd142m" for size in ("small", "base", "large", "giant")
    ],
    "DINOv2": [f"vit_{size}_patch14_dinov2.lvd142m" for size in ("small", "base", "large")],
    "DINOv3": [
        *(f"vit_{size}_patch16_dinov3_qkvb.lvd1689m" for size in ("small", "base", "large")),
        "vit_huge_plus_patch16_dinov3_qkvb.lvd1689m",
    ],
    "EVA-02": [f"eva02_{size}_patch14_224.mim_in22k" for size in ("small", "base", "large")],
    "IN-21K": [f"vit_{size}_patch16_224.augreg_in21k" for size in ("small", "base", "large")],
    "IN-1K": [f"deit3_{size}_patch16_224.fb_in1k" for size in ("small", "base", "large")],
    "CLIP": ["vit_base_patch16_clip_224.openai", "vit_large_patch14_clip_224.openai"],
    "SigLIP": ["vit_base_patch16_siglip_256.webli", "vit_large_patch16_siglip_256.webli"],
}
"""Pre-training -> names in timm."""
STATISTICS = {
    (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD): "ImageNet",
    (IMAGENET_INCEPTION_MEAN, IMAGENET_INCEPTION_STD): "0.5, 0.5",
    (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD): "CLIP",
}
"""Mean and standard deviation of the frames -> a short name."""
SIZE = (448, 800)
MODEL = ("step6_videomt", 40, 200)
"""Variant, classes and queries of the model on each encoder."""
HEADER = (
    "name",
    "pre-training",
    "parameters (M)",
    "VidEoMT (M)",
    "GMACs",
    "mean, std",
    "patch",
    "prefix",
    "joint",
    "licence",
)
NUMBERS = (2, 3, 4, 6, 7, 8)


def row(name: str, pretraining: str) -> list[str]:
    """The cells of an encoder, by ``HEADER``.

    Raises:
        BenchError: no such encoder.
    """
    variant, classes, queries = MODEL
    sizes = ModelSpec(EncoderSpec(name), classes, queries)
    with torch.device("meta"):
        encoder = build_encoder(sizes.encoder)
    cost = count_cost(lambda: load_variant(variant).build(sizes), *SIZE)
    config = timm.get_pretrained_cfg(name)
    return [
        f"[`{name}`](https://huggingface.co/{config.hf_hub_id})",
        pretraining,
        f"{sum(p.numel() for p in encoder.parameters()) / 1e6:.1f}",
        f"{cost['params'] / 1e6:.1f}",
        f"{cost['gmacs']:.1f}",
        _statistics(encoder.mean, encoder.std),
        name.partition("_patch")[2].split("_")[0],
        str(encoder.num_prefix),
        f"{encoder.num_joint} of {len(encoder.vit.blocks)}",
        config.license,
    ]


def table(names: Sequence[str] = ()) -> str:
    """The Markdown table of some of the encoders, or of all."""
    lines = [HEADER, ["---:" if i in NUMBERS else "---" for i in range(len(HEADER))]]
    for pretraining, all_names in PRETRAINING.items():
        lines += [row(name, pretraining) for name in all_names if not names or name in names]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _statistics(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    return STATISTICS.get((mean, std), f"{mean}, {std}")


if __name__ == "__main__":
    print(table(sys.argv[1:]))
