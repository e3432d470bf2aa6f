"""Tensors of transformers' backbones and of its Mask2Former -> the names of detectron2 files.

Written from the two lists of names; nothing of ours is used.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

State = dict[str, Tensor]
Names = list[tuple[str, str]]

SWIN: Names = [
    (r"^swin\.embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^swin\.embeddings\.norm\.", "patch_embed.norm."),
    (r"^swin\.encoder\.", ""),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.relative_position_bias\.", ".attn."),
]
PIXEL_DECODER: Names = [
    (r"^input_projections\.", "input_proj."),
    (r"^level_embed$", "transformer.level_embed"),
    (r"^encoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"transformer.encoder.layers.\1.norm1."),
    (r"^encoder\.layers\.(\d+)\.final_layer_norm\.", r"transformer.encoder.layers.\1.norm2."),
    (r"^encoder\.layers\.(\d+)\.fc", r"transformer.encoder.layers.\1.linear"),
    (r"^encoder\.", "transformer.encoder."),
    (r"^mask_projection\.", "mask_features."),
    (r"^(adapter_1|layer_1)\.0\.", r"\1."),
    (r"^(adapter_1|layer_1)\.1\.", r"\1.norm."),
]
CROSS, OWN, FFN = (f"transformer_{x}_layers." for x in ("cross_attention", "self_attention", "ffn"))
DECODER: Names = [
    (r"^queries_embedder\.", "query_embed."),
    (r"^queries_features\.", "query_feat."),
    (r"^decoder\.layers\.(\d+)\.cross_attn\.", CROSS + r"\1.multihead_attn."),
    (r"^decoder\.layers\.(\d+)\.cross_attn_layer_norm\.", CROSS + r"\1.norm."),
    (r"^decoder\.layers\.(\d+)\.self_attn\.", OWN + r"\1.self_attn."),
    (r"^decoder\.layers\.(\d+)\.self_attn_layer_norm\.", OWN + r"\1.norm."),
    (r"^decoder\.layers\.(\d+)\.final_layer_norm\.", FFN + r"\1.norm."),
    (r"^decoder\.layers\.(\d+)\.fc", FFN + r"\1.linear"),
    (r"^decoder\.layernorm\.", "decoder_norm."),
    (r"^decoder\.mask_predictor\.mask_embedder\.(\d)\.0\.", r"mask_embed.layers.\1."),
]


def swin(state: State) -> State:
    """``SwinBackbone`` -> Swin of the authors' code for detection, without its indices."""
    found = renamed(state, SWIN, ".attention.{}_proj.", ".attn.qkv.")
    for stage in range(4):
        for x in ("weight", "bias"):
            found[f"norm{stage}.{x}"] = found.pop(f"hidden_states_norms.stage{stage + 1}.{x}")
    return {k: v for k, v in found.items() if not k.startswith("swin.layernorm.")}


def resnet(state: State) -> State:
    """``ResNetBackbone`` -> detectron2's, with frozen norms."""
    result: State = {}
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        name = name.replace("embedder.embedder.", "stem.conv1.")
        if found := re.match(r"encoder\.stages\.(\d)\.layers\.(\d+)\.(.*)", name):
            stage, block, rest = int(found[1]) + 2, found[2], found[3]
            rest = re.sub(r"^layer\.(\d)\.", lambda m: f"conv{int(m[1]) + 1}.", rest)
            name = f"res{stage}.{block}.{rest}"
        result[name.replace(".convolution.", ".").replace(".normalization.", ".norm.")] = value
    return result


def mask2former(state: State) -> State:
    """``Mask2FormerForUniversalSegmentation`` but for its backbone."""

    def below(prefix: str) -> State:
        return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

    pixel_decoder = renamed(below("model.pixel_level_module.decoder."), PIXEL_DECODER)
    decoder = renamed(
        below("model.transformer_module."), DECODER, ".self_attn.{}_proj.", ".self_attn.in_proj_"
    )
    decoder |= {f"class_embed.{k}": v for k, v in below("class_predictor.").items()}
    head = "sem_seg_head."
    return {f"{head}pixel_decoder.{k}": v for k, v in pixel_decoder.items()} | {
        f"{head}predictor.{k}": v for k, v in decoder.items()
    }


def renamed(state: State, names: Names, parts: str = "", whole: str = "") -> State:
    """Renamed by patterns, and queries, keys and values of the template ``parts`` joined."""
    result: State = {}
    joined = parts.format("q") if parts else None
    for key, value in state.items():
        if joined and any(parts.format(x) in key for x in "kv"):
            continue
        if joined and joined in key:
            value = torch.cat([state[key.replace(joined, parts.format(x))] for x in "qkv"])
        name = key
        for pattern, new in names:
            name = re.sub(pattern, new, name)
        result[name.replace(joined, whole) if joined else name] = value
    return result
