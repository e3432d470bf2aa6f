"""DVIS, DVIS++ and their segmenter as their authors publish them.

DVIS: Zhang et al., ICCV 2023; DVIS++: Zhang et al., TPAMI 2025; the segmenter of the latter is that
of CTVIS (Ying et al., ICCV 2023). Offline models have a temporal refiner besides.
"""

from __future__ import annotations

from videomt_bench.weights.family import Family
from videomt_bench.weights.mask2former import (
    CROSS,
    FFN,
    HEADS,
    LAYERS,
    MARKS,
    REID,
    REID_MARK,
    SEGMENTER,
    TRACKER,
)
from videomt_bench.weights.rules import layout

TIME = "transformer_time_self_attention_layers.{i}."
OBJECTS = "transformer_obj_self_attention_layers.{i}."
REFINER = (
    layout(
        [
            (TIME + "self_attn.{rest}", "layers.{i}.time_attention.{rest}"),
            (TIME + "norm.{p}", "layers.{i}.time_norm.{p}"),
            (OBJECTS + "self_attn.{rest}", "layers.{i}.self_attention.{rest}"),
            (OBJECTS + "norm.{p}", "layers.{i}.self_norm.{p}"),
            ("conv_short_aggregate_layers.{i}.{j}.{p}", "layers.{i}.conv.{j}.{p}"),
            ("conv_norms.{i}.{p}", "layers.{i}.conv_norm.{p}"),
            ("activation_proj.{p}", "activation_proj.{p}"),
        ]
    )
    + CROSS
    + FFN
    + HEADS
).within("refiner.", "refiner.")
REFINER_MARK = "refiner.activation_proj.weight"
REFERRING = (LAYERS + HEADS).within("tracker.", "tracker.")
PROJECTIONS = layout(
    [
        ("ref_proj.{rest}", "ref_proj.{rest}"),
        ("mask_feature_proj.{p}", "mask_feature_proj.{p}"),
    ]
).within("tracker.", "tracker.")
PLUS = SEGMENTER + REID + PROJECTIONS + REFERRING
LAYERS_MARK = "tracker.transformer_cross_attention_layers.0.norm.weight"
CONTEXT = "tracker.ctx_query_embed.weight"
REFERENCE = "tracker.ref_proj.layers.0.weight"
LAPLACIAN = "sem_seg_head.predictor.laplacian"
INVERSE = (
    "the public code used these weights with the inverse of each permutation, which the variant "
    "does not: DvisTracker(inverse_matching=True)"
)

FAMILIES = (
    Family(
        "dvis_plus",
        "DVIS++, online",
        PLUS,
        marks=(*MARKS, REFERENCE),
        without=(REFINER_MARK,),
        variant="dvis_plus",
    ),
    Family(
        "dvis_plus_offline",
        "DVIS++, offline",
        PLUS + REFINER,
        marks=(*MARKS, REFERENCE, REFINER_MARK),
        variant="dvis_plus_offline",
    ),
    Family(
        "dvis",
        "DVIS, online",
        SEGMENTER + REFERRING,
        marks=(*MARKS, LAYERS_MARK),
        without=(REID_MARK, REFERENCE, CONTEXT, REFINER_MARK),
        variant="dvis",
        notes=(INVERSE,),
    ),
    Family(
        "dvis_offline",
        "DVIS, offline",
        SEGMENTER + REFERRING + REFINER,
        marks=(*MARKS, LAYERS_MARK, REFINER_MARK),
        without=(REID_MARK, REFERENCE, CONTEXT),
        variant="dvis_offline",
        notes=(INVERSE,),
    ),
    Family(
        "dvis_plus_segmenter",
        "segmenter of DVIS++, CTVIS",
        SEGMENTER + REID,
        marks=(*MARKS, REID_MARK),
        without=(TRACKER, LAPLACIAN),
        segmenter_of="dvis_plus",
    ),
)
