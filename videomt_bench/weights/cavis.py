"""CAVIS as its authors publish it (Lee et al., ICCV 2025): its segmenter, and the online and the
offline model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from videomt_bench.weights.dvis import REFINER, REFINER_MARK
from videomt_bench.weights.family import Family
from videomt_bench.weights.mask2former import (
    HEADS,
    LAYERS,
    MARKS,
    PREDICTOR,
    REID,
    SEGMENTER,
)
from videomt_bench.weights.rules import Unused, layout


def _laplacian(_: Mapping[str, Tensor]) -> Tensor:
    kernel = torch.full((1, 1, 3, 3), -1.0)
    kernel[..., 1, 1] = 8
    return kernel


LAPLACIAN = PREDICTOR + "laplacian"
APPEARANCE = REID + layout([], Unused(LAPLACIAN, _laplacian))
TRACKER = layout([("ctx_query_embed.{p}", "ctx_query_embed.{p}")]) + LAYERS + HEADS
CONTEXT = "tracker.ctx_query_embed.weight"

FAMILIES = (
    Family(
        "cavis",
        "CAVIS, online",
        SEGMENTER + APPEARANCE + TRACKER.within("tracker.", "tracker."),
        marks=(*MARKS, LAPLACIAN, CONTEXT),
        without=(REFINER_MARK,),
        variant="cavis_public_code",
    ),
    Family(
        "cavis_offline",
        "CAVIS, offline",
        SEGMENTER + APPEARANCE + TRACKER.within("tracker.", "tracker.") + REFINER,
        marks=(*MARKS, LAPLACIAN, CONTEXT, REFINER_MARK),
        variant="cavis_offline_public_code",
    ),
    Family(
        "cavis_segmenter",
        "segmenter of CAVIS",
        SEGMENTER + APPEARANCE,
        marks=(*MARKS, LAPLACIAN),
        without=("tracker.{rest}",),
        segmenter_of="step0_cavis",
    ),
)
