"""VidEoMT and EoMT in transformers: ``VideomtForUniversalSegmentation`` and its relatives."""

from __future__ import annotations

from videomt_bench.weights.family import (
    ENCODER,
    Family,
    empty_weight,
    mask_probabilities,
    token_of_zeros,
)
from videomt_bench.weights.rules import ONE_MORE_AXIS, THIRDS, Rule, Unused, layout
from videomt_bench.weights.videomt import DINOV3_BLOCK

HEADS = layout(
    [
        ("query.weight", "memory.learned.weight"),
        ("query_updater.{p}", "memory.fuse.{p}"),
        ("class_predictor.{p}", "segmenter.class_head.{p}"),
        ("mask_head.fc1.{p}", "segmenter.mask_head.0.{p}"),
        ("mask_head.fc2.{p}", "segmenter.mask_head.2.{p}"),
        ("mask_head.fc3.{p}", "segmenter.mask_head.4.{p}"),
        ("upscale_block.block.{i}.layernorm2d.{p}", "segmenter.upscale.{i}.norm.{p}"),
        ("upscale_block.block.{i}.{rest}", "segmenter.upscale.{i}.{rest}"),
        ("layernorm.{p}", ENCODER + "norm.{p}"),
        ("embeddings.cls_token", ENCODER + "cls_token"),
        ("embeddings.register_tokens", ENCODER + "reg_token"),
    ],
    Unused("attn_mask_probs", mask_probabilities),
    Unused("criterion.empty_weight", empty_weight),
)
DINOV2 = layout(
    [
        ("embeddings.patch_embeddings.projection.{p}", "patch_embed.proj.{p}"),
        ("layers.{i}.norm{j}.{p}", "blocks.{i}.norm{j}.{p}"),
        ("layers.{i}.attention.out_proj.{p}", "blocks.{i}.attn.proj.{p}"),
        ("layers.{i}.layer_scale{j}.lambda1", "blocks.{i}.ls{j}.gamma"),
        ("layers.{i}.mlp.fc{j}.{p}", "blocks.{i}.mlp.fc{j}.{p}"),
    ],
    Rule(
        tuple(f"layers.{{i}}.attention.{x}_proj.{{p}}" for x in "qkv"),
        ("blocks.{i}.attn.qkv.{p}",),
        THIRDS,
    ),
    Rule(("embeddings.position_embeddings.weight",), ("pos_embed",), ONE_MORE_AXIS),
).within("", ENCODER)
DINOV3 = layout([("embeddings.patch_embeddings.{p}", ENCODER + "patch_embed.proj.{p}")])
DINOV3 += DINOV3_BLOCK.within("layers.{k}.", ENCODER + "blocks.{k}.")
MASK_TOKEN = layout([], Unused("embeddings.mask_token", token_of_zeros))

MARKS = ("query.weight", "class_predictor.weight")
FUSED = "query_updater.weight"
POSITIONS = "embeddings.position_embeddings.weight"

FAMILIES = (
    Family(
        "transformers_videomt",
        "VidEoMT, transformers",
        HEADS + DINOV2 + MASK_TOKEN,
        marks=(*MARKS, FUSED, POSITIONS),
        kind="transformers",
        port="VideomtForUniversalSegmentation",
        port_kind="videomt",
        variant="step6_videomt",
    ),
    Family(
        "transformers_eomt",
        "EoMT, transformers",
        HEADS + DINOV2,
        marks=(*MARKS, POSITIONS),
        without=(FUSED,),
        kind="transformers",
        port="EomtForUniversalSegmentation",
        port_kind="eomt",
        segmenter_of="step6_videomt",
    ),
    Family(
        "transformers_eomt_dinov3",
        "EoMT on DINOv3, transformers",
        HEADS + DINOV3,
        marks=(*MARKS, "embeddings.patch_embeddings.weight"),
        without=(FUSED, POSITIONS),
        kind="transformers",
        port="EomtDinov3ForUniversalSegmentation",
        port_kind="eomt_dinov3",
        segmenter_of="step6_videomt",
    ),
)
