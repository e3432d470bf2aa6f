"""VidEoMT as its authors publish it (Norouzi et al., CVPR 2026, arXiv 2602.17807).

Files are detectron2's. The encoder is timm's DINOv2, by timm's names, or the DINOv3 of
transformers 4.
"""

from __future__ import annotations

from videomt_bench.weights.family import (
    ENCODER,
    Family,
    empty_weight,
    mask_probabilities,
)
from videomt_bench.weights.rules import OUTER_THIRDS, THIRDS, Layout, Rule, Unused, layout

HEADS = layout(
    [
        ("q.weight", "memory.learned.weight"),
        ("query_updater.{p}", "memory.fuse.{p}"),
        ("class_head.{p}", "segmenter.class_head.{p}"),
        ("mask_head.{rest}", "segmenter.mask_head.{rest}"),
        ("upscale.{rest}", "segmenter.upscale.{rest}"),
    ],
    Unused("attn_mask_probs", mask_probabilities),
)
DINOV2 = layout([("{rest}", "{rest}")])
DINOV3_BLOCK = layout(
    [
        ("norm{i}.{p}", "norm{i}.{p}"),
        ("attention.o_proj.{p}", "attn.proj.{p}"),
        ("layer_scale{i}.lambda1", "gamma_{i}"),
        ("mlp.up_proj.{p}", "mlp.fc1.{p}"),
        ("mlp.down_proj.{p}", "mlp.fc2.{p}"),
        ("attention.q_proj.bias", "attn.q_bias"),
        ("attention.v_proj.bias", "attn.v_bias"),
    ],
    Rule(
        (
            "attention.q_proj.weight",
            "attention.k_proj.weight",
            "attention.v_proj.weight",
        ),
        ("attn.qkv.weight",),
        THIRDS,
    ),
    Rule(("attention.qkv_proj.weight",), ("attn.qkv.weight",), one_way=True),
    Rule(("attention.qkv_proj.bias",), ("attn.q_bias", "attn.v_bias"), OUTER_THIRDS, one_way=True),
)
DINOV3 = DINOV3_BLOCK.within("blocks.{k}.", "blocks.{k}.") + layout(
    [
        ("patch_embed.cls_token", "cls_token"),
        ("patch_embed.register_tokens", "reg_token"),
        ("patch_embed.patch_embeddings.{p}", "patch_embed.proj.{p}"),
        ("norm.{p}", "norm.{p}"),
    ]
)


def network(encoder: Layout) -> Layout:
    """The names of an EoMT or VidEoMT with this encoder, without what its trainer adds."""
    return HEADS + encoder.within("encoder.backbone.", ENCODER)


CRITERION = Layout((), (Unused("criterion.empty_weight", empty_weight),))
FUSED = "backbone.query_updater.weight"
MARKS = ("backbone.q.weight", "backbone.class_head.weight")
POSITIONS = "backbone.encoder.backbone.pos_embed"
V3_MARK = "backbone.encoder.backbone.patch_embed.patch_embeddings.weight"

FAMILIES = (
    Family(
        "videomt",
        "VidEoMT, official",
        network(DINOV2).within("backbone.") + CRITERION,
        marks=(*MARKS, FUSED, POSITIONS),
        variant="step6_videomt",
    ),
    Family(
        "videomt_dinov3",
        "VidEoMT on DINOv3, official",
        network(DINOV3).within("backbone.") + CRITERION,
        marks=(*MARKS, FUSED, V3_MARK),
        variant="step6_videomt",
        # of VIPSeg and VSPW: their configurations propagate normalised queries
        by_classes={124: "step6_videomt_normalized"},
    ),
    Family(
        "videomt_segmenter",
        "segmenter of VidEoMT, official",
        network(DINOV2).within("backbone.") + CRITERION,
        marks=(*MARKS, POSITIONS),
        without=(FUSED,),
        segmenter_of="step6_videomt",
    ),
    Family(
        "videomt_dinov3_segmenter",
        "segmenter of VidEoMT on DINOv3, official",
        network(DINOV3).within("backbone.") + CRITERION,
        marks=(*MARKS, V3_MARK),
        without=(FUSED,),
        segmenter_of="step6_videomt",
    ),
)
