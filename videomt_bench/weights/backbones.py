"""What lies under Mask2Former in detectron2 files: ViT-Adapter, ResNet or Swin.

The ViT is DINOv2 without registers, by the names of its authors, which are timm's. ResNets have
detectron2's names, Swin transformers those of their authors' code for detection.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from timm.models.swin_transformer import get_relative_position_index
from torch import Tensor

from videomt_bench.weights.family import ADAPTED_ENCODER, PYRAMID, Family, width
from videomt_bench.weights.rules import Layout, Unused, layout


def _ones(state: Mapping[str, Tensor]) -> Tensor:
    return torch.ones(width(state))


def _zeros(state: Mapping[str, Tensor]) -> Tensor:
    return torch.zeros(width(state))


def _mask_token(state: Mapping[str, Tensor]) -> Tensor:
    return torch.zeros(1, width(state))


EXTRACTORS = (
    *((f"interactions.{i}.extractor.", f"extractors.{i}.") for i in range(4)),
    *((f"interactions.3.extra_extractors.{i}.", f"extractors.{4 + i}.") for i in range(2)),
)
EXTRACTOR = layout(
    [
        ("query_norm.{p}", "query_norm.{p}"),
        ("feat_norm.{p}", "feature_norm.{p}"),
        ("attn.{rest}", "attention.{rest}"),
        ("ffn_norm.{p}", "ffn_norm.{p}"),
        ("ffn.dwconv.dwconv.{p}", "ffn.depthwise.{p}"),
        ("ffn.fc{i}.{p}", "ffn.fc{i}.{p}"),
    ]
)
ADAPTER = layout(
    [
        ("level_embed", "level_embed"),
        *((f"spm.fc{i + 1}.{{p}}", f"prior.project.{i}.{{p}}") for i in range(4)),
        ("spm.{rest}", "prior.{rest}"),
        ("up.{p}", "up.{p}"),
        *((f"norm{i + 1}.{{rest}}", f"norms.{i}.{{rest}}") for i in range(4)),
    ]
)
for there, here in EXTRACTORS:
    ADAPTER += EXTRACTOR.within(there, here)
ENCODER = layout(
    [],
    # the outputs of the blocks are used raw
    Unused("norm.weight", _ones),
    Unused("norm.bias", _zeros),
    Unused("mask_token", _mask_token),
) + layout(
    [(name, name) for name in ("cls_token", "pos_embed", "patch_embed.{rest}", "blocks.{rest}")]
)
VIT = ADAPTER.within("", "segmenter.adapter.") + ENCODER.within("vit_module.", ADAPTED_ENCODER)

NET = PYRAMID + "net."
FROZEN_NORM = layout([("{p}", "{p}"), ("running_{rest}", "running_{rest}")])
STEM = layout([("stem.conv1.weight", "conv1.weight")]) + FROZEN_NORM.within(
    "stem.conv1.norm.", "bn1."
)
RESIDUAL = (
    layout(
        [("conv{j}.weight", "conv{j}.weight"), ("shortcut.weight", "downsample.0.weight")],
        # of norms that are not frozen
        Unused("{rest}.norm.num_batches_tracked"),
    )
    + FROZEN_NORM.within("conv{j}.norm.", "bn{j}.")
    + FROZEN_NORM.within("shortcut.norm.", "downsample.1.")
)
RESNET = STEM
for stage in range(1, 5):
    RESNET += RESIDUAL.within(f"res{stage + 1}.{{i}}.", f"layer{stage}.{{i}}.")
RESNET = RESNET.within("", NET)

SWIN_DEPTHS = (2, 2, 18, 2)
"""Of the deepest that are published."""
SWIN_BLOCK = (
    "norm{k}.{p}",
    "attn.qkv.{p}",
    "attn.proj.{p}",
    "attn.relative_position_bias_table",
    "mlp.fc{k}.{p}",
)
TABLE = "layers.{}.blocks.{}.attn.relative_position_bias_table"
INDEX = "layers.{}.blocks.{}.attn.relative_position_index"


def _index(stage: int, block: int, state: Mapping[str, Tensor]) -> Tensor | None:
    """Which offset the tokens of a window have to each other, if there is such a block."""
    table = state.get(NET + TABLE.format(stage, block))
    if table is None:
        return None
    window = (math.isqrt(len(table)) + 1) // 2
    return get_relative_position_index(window, window)


SWIN = layout(
    [
        ("patch_embed.{rest}", NET + "patch_embed.{rest}"),
        *((name, NET + name) for name in (f"layers.{{i}}.blocks.{{j}}.{x}" for x in SWIN_BLOCK)),
        # timm has it at the beginning of the next stage
        *(
            (f"layers.{i}.downsample.{{rest}}", f"{NET}layers.{i + 1}.downsample.{{rest}}")
            for i in range(3)
        ),
        ("norm{i}.{p}", PYRAMID + "norms.{i}.{p}"),
    ],
    *(
        Unused(INDEX.format(i, j), partial(_index, i, j))
        for i, depth in enumerate(SWIN_DEPTHS)
        for j in range(depth)
    ),
)


@dataclass(frozen=True)
class Backbone:
    """One kind of them: its names, without their prefix, and a template of one that only it has.

    ``mark`` None: it is taken where no other fits.
    """

    names: Layout
    mark: str | None


BACKBONES = (
    Backbone(RESNET, "res2.{rest}"),
    Backbone(SWIN, "layers.{i}.blocks.{rest}"),
    Backbone(VIT, None),
)
PREFIX = "backbone."


def on_backbones(families: Iterable[Family]) -> Iterator[Family]:
    """Each family, given without its backbone, on every kind of them."""
    for family in families:
        for kind in BACKBONES:
            marks = () if kind.mark is None else (PREFIX + kind.mark,)
            names = kind.names.within(PREFIX) + family.layout
            yield replace(family, layout=names, marks=(*family.marks, *marks))
