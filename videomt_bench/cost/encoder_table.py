"""The tables of ``docs/encoders.md``: ``python -m videomt_bench.cost.encoder_table [NAME ...]``.

Names, normalisation, weights and licences are timm's; sizes are counted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

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
from videomt_bench.models import (
    EncoderSpec,
    LearnedQueries,
    Mask2Former,
    ModelSpec,
    SlotSizes,
    VideoSegmenter,
    load_variant,
)
from videomt_bench.models.encoders import build_encoder
from videomt_bench.models.pyramids import PaddedBlock, build_pyramid

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
PYRAMIDS = {
    "IN-1K": [
        *("resnet50.tv_in1k", "resnet101.tv_in1k"),
        *(f"swin_{size}_patch4_window7_224.ms_in1k" for size in ("tiny", "small")),
    ],
    "IN-22K": [f"swin_{size}_patch4_window12_384.ms_in22k" for size in ("base", "large")],
}
"""The same of those with maps at four strides, which Mask2Former takes."""
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
PYRAMID_HEADER = (
    "name",
    "pre-training",
    "parameters (M)",
    "Mask2Former (M)",
    "GMACs",
    "channels",
    "window",
    "licence",
)
PYRAMID_NUMBERS = (2, 3, 4, 6)


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


def pyramid_row(name: str, pretraining: str) -> list[str]:
    """The cells of an encoder that ``is_pyramid``, by ``PYRAMID_HEADER``.

    Raises:
        BenchError: no such encoder.
    """
    _, classes, queries = MODEL
    sizes = ModelSpec(EncoderSpec(name), classes, queries)
    with torch.device("meta"):
        encoder = build_pyramid(sizes.encoder)
    cost = count_cost(lambda: _frame_by_frame(sizes), *SIZE)
    config = timm.get_pretrained_cfg(name)
    blocks = [block for block in encoder.blocks if isinstance(block, PaddedBlock)]
    windows = {block.window_size[0] for block in blocks}
    return [
        f"[`{name}`](https://huggingface.co/{config.hf_hub_id})",
        pretraining,
        f"{sum(p.numel() for p in encoder.parameters()) / 1e6:.1f}",
        f"{cost['params'] / 1e6:.1f}",
        f"{cost['gmacs']:.1f}",
        ", ".join(map(str, encoder.dims)),
        ", ".join(map(str, windows)) or "–",
        config.license,
    ]


def _frame_by_frame(sizes: ModelSpec) -> VideoSegmenter:
    """Mask2Former alone, which nothing has to be computed for to count it."""
    segmenter = Mask2Former.from_spec(sizes)
    slots = SlotSizes(sizes.num_queries, segmenter.dim, sizes.num_classes, sizes.sizes)
    return VideoSegmenter(segmenter, LearnedQueries(slots))


def table(names: Sequence[str] = ()) -> str:
    """The Markdown table of some of the plain ViTs, or of all."""
    return _table(HEADER, NUMBERS, row, PRETRAINING, names)


def pyramid_table(names: Sequence[str] = ()) -> str:
    """The Markdown table of some of the pyramids, or of all."""
    return _table(PYRAMID_HEADER, PYRAMID_NUMBERS, pyramid_row, PYRAMIDS, names)


def _table(
    header: Sequence[str],
    numbers: Sequence[int],
    make: Callable[[str, str], list[str]],
    encoders: Mapping[str, Sequence[str]],
    names: Sequence[str],
) -> str:
    lines = [list(header), ["---:" if i in numbers else "---" for i in range(len(header))]]
    for pretraining, all_names in encoders.items():
        lines += [make(name, pretraining) for name in all_names if not names or name in names]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _statistics(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    return STATISTICS.get((mean, std), f"{mean}, {std}")


if __name__ == "__main__":
    print(table(sys.argv[1:]), pyramid_table(sys.argv[1:]), sep="\n\n")
