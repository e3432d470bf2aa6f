"""Mask2Former as detectron2 files have it: what MinVIS, CTVIS, CAVIS, DVIS++ and DVIS-DAQ share,
and the segmenters alone; all but the backbone.

Mask2Former: Cheng et al., CVPR 2022; MinVIS: Huang et al., NeurIPS 2022; CTVIS: Ying et al., ICCV
2023.
"""

from __future__ import annotations

from videomt_bench.weights.family import Family, empty_weight
from videomt_bench.weights.rules import Layout, Rule, Unused, layout

PIXEL_DECODER = layout(
    [
        ("input_proj.{rest}", "input_proj.{rest}"),
        ("transformer.level_embed", "level_embed"),
        ("transformer.encoder.layers.{i}.self_attn.{rest}", "layers.{i}.attention.{rest}"),
        ("transformer.encoder.layers.{i}.{rest}", "layers.{i}.{rest}"),
        ("mask_features.{p}", "mask_features.{p}"),
        ("adapter_1.weight", "lateral.0.weight"),
        ("adapter_1.norm.{p}", "lateral.1.{p}"),
        ("layer_1.weight", "output.0.weight"),
        ("layer_1.norm.{p}", "output.1.{p}"),
    ]
).within("pixel_decoder.", "segmenter.pixel_decoder.")


CROSS = layout(
    [
        ("multihead_attn.{rest}", "cross_attention.{rest}"),
        ("norm.{p}", "cross_norm.{p}"),
    ]
).within("transformer_cross_attention_layers.{i}.", "layers.{i}.")
OWN = layout(
    [
        ("self_attn.{rest}", "self_attention.{rest}"),
        ("norm.{p}", "self_norm.{p}"),
    ]
).within("transformer_self_attention_layers.{i}.", "layers.{i}.")
FFN = layout(
    [
        ("norm.{p}", "ffn_norm.{p}"),
        ("linear{j}.{p}", "linear{j}.{p}"),
    ]
).within("transformer_ffn_layers.{i}.", "layers.{i}.")
LAYERS = CROSS + OWN + FFN
"""The parts of a layer of decoders and trackers."""
HEADS = layout(
    [
        ("decoder_norm.{p}", "heads.norm.{p}"),
        ("class_embed.{p}", "heads.class_embed.{p}"),
        ("mask_embed.{rest}", "heads.mask_embed.{rest}"),
    ]
)
DECODER = (LAYERS + HEADS).within("", "segmenter.decoder.") + layout(
    [
        ("query_feat.weight", "memory.learned.weight"),
        ("query_embed.weight", "segmenter.decoder.query_positions"),
        ("level_embed.weight", "segmenter.decoder.level_embed"),
    ],
    # in files older than their version 2
    Rule(("static_query.weight",), ("memory.learned.weight",), one_way=True),
)
CRITERION = Layout((), (Unused("criterion.empty_weight", empty_weight),))
SEGMENTER = (
    PIXEL_DECODER.within("sem_seg_head.") + DECODER.within("sem_seg_head.predictor.") + CRITERION
)
"""Without the backbone, see ``backbones``."""
PREDICTOR = "sem_seg_head.predictor."
REID = layout([(PREDICTOR + "reid_embed.{rest}", "tracker.appearance.reid.{rest}")])
MARKS = (PREDICTOR + "class_embed.weight", "sem_seg_head.pixel_decoder.mask_features.weight")
REID_MARK = PREDICTOR + "reid_embed.layers.0.weight"
TRACKER = "tracker.{rest}"

FAMILIES = (
    Family(
        "minvis",
        "Mask2Former or MinVIS",
        SEGMENTER,
        marks=MARKS,
        without=(REID_MARK, TRACKER),
        variant="minvis",
    ),
)
