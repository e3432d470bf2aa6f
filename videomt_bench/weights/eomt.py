"""EoMT as its authors publish it (Kerssies et al., CVPR 2025): Lightning files, all names flat.

Files on DINOv3 are differences: of the encoder from the pre-trained one, of the rest from zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from videomt_bench.weights.family import Family
from videomt_bench.weights.rules import Layout, Unused
from videomt_bench.weights.videomt import CRITERION, DINOV2, DINOV3, network


def _mean(_: Mapping[str, Tensor]) -> Tensor:
    return torch.tensor(IMAGENET_DEFAULT_MEAN).view(1, 3, 1, 1)


def _std(_: Mapping[str, Tensor]) -> Tensor:
    return torch.tensor(IMAGENET_DEFAULT_STD).view(1, 3, 1, 1)


PIXELS = Layout(
    (),
    (
        Unused("network.encoder.pixel_mean", _mean),
        Unused("network.encoder.pixel_std", _std),
    ),
)
MARKS = ("network.q.weight", "network.class_head.weight")
FUSED = "network.query_updater.weight"
POSITIONS = "network.encoder.backbone.pos_embed"
V3_MARK = "network.encoder.backbone.patch_embed.patch_embeddings.weight"

FAMILIES = (
    Family(
        "eomt",
        "EoMT, official",
        PIXELS + network(DINOV2).within("network.") + CRITERION,
        marks=(*MARKS, POSITIONS),
        without=(FUSED,),
        segmenter_of="step6_videomt",
        wrapped=None,
    ),
    Family(
        "eomt_dinov3",
        "EoMT on DINOv3, official: differences from the pre-trained encoder",
        PIXELS + network(DINOV3).within("network.") + CRITERION,
        marks=(*MARKS, V3_MARK),
        without=(FUSED,),
        segmenter_of="step6_videomt",
        wrapped=None,
        delta=True,
    ),
)
