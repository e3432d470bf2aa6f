"""Names and shapes of published checkpoints, from their authors' files; nothing of ours is used.

Sizes are those of ViT-L by default. A shape is what ``torch`` says; names are complete.
"""

from __future__ import annotations

from weights.published_encoders import (
    RESNET_WIDTHS,
    adapter,
    dinov2,
    dinov3,
    dinov3_block,
    resnet,
    swin,
    swin_tiny,
)
from weights.shapes import Shapes, linear, merged, norm, under

# VidEoMT and EoMT


def eomt_heads(dim: int, classes: int, queries: int, joint: int, fusion: bool) -> Shapes:
    shapes: Shapes = {"attn_mask_probs": (joint,), "q.weight": (queries, dim)}
    shapes |= linear("query_updater", dim, dim) if fusion else {}
    shapes |= linear("class_head", classes + 1, dim)
    for i in (0, 2, 4):
        shapes |= linear(f"mask_head.{i}", dim, dim)
    for u in (0, 1):
        shapes |= linear(f"upscale.{u}.conv1", dim, dim, 2, 2) | norm(f"upscale.{u}.norm", dim)
        shapes |= {f"upscale.{u}.conv2.weight": (dim, 1, 3, 3)}
    return shapes


def videomt(
    dim: int = 1024,
    depth: int = 24,
    joint: int = 4,
    grid: int = 40,
    classes: int = 40,
    queries: int = 200,
    fusion: bool = True,
) -> Shapes:
    network = eomt_heads(dim, classes, queries, joint, fusion)
    network |= under("encoder.backbone.", dinov2(dim, depth, grid))
    return under("backbone.", network) | {"criterion.empty_weight": (classes + 1,)}


def videomt_dinov3(
    dim: int = 1024,
    depth: int = 24,
    joint: int = 4,
    classes: int = 40,
    queries: int = 200,
    fusion: bool = True,
    fused: bool = False,
) -> Shapes:
    network = eomt_heads(dim, classes, queries, joint, fusion)
    network |= under("encoder.backbone.", dinov3(dim, depth, fused))
    return under("backbone.", network) | {"criterion.empty_weight": (classes + 1,)}


def eomt(dim: int = 1024, depth: int = 24, joint: int = 4, v3: bool = False) -> Shapes:
    network = eomt_heads(dim, 133, 200, joint, fusion=False)
    encoder = dinov3(dim, depth) if v3 else dinov2(dim, depth, 40)
    network |= under("encoder.backbone.", encoder)
    network |= {"encoder.pixel_mean": (1, 3, 1, 1), "encoder.pixel_std": (1, 3, 1, 1)}
    return under("network.", network) | {"criterion.empty_weight": (134,)}


def port_heads(dim: int, classes: int, queries: int, joint: int, fusion: bool) -> Shapes:
    shapes: Shapes = {
        "attn_mask_probs": (joint,),
        "embeddings.cls_token": (1, 1, dim),
        "embeddings.register_tokens": (1, 4, dim),
        "query.weight": (queries, dim),
        "criterion.empty_weight": (classes + 1,),
    }
    if fusion:
        shapes |= linear("query_updater", dim, dim)
        shapes |= {"embeddings.mask_token": (1, 1, dim)}
    shapes |= norm("layernorm", dim) | linear("class_predictor", classes + 1, dim)
    for i in (1, 2, 3):
        shapes |= linear(f"mask_head.fc{i}", dim, dim)
    for u in (0, 1):
        block = f"upscale_block.block.{u}."
        shapes |= linear(block + "conv1", dim, dim, 2, 2) | norm(block + "layernorm2d", dim)
        shapes |= {block + "conv2.weight": (dim, 1, 3, 3)}
    return shapes


def port(
    dim: int = 1024, depth: int = 24, joint: int = 4, grid: int = 40, fusion: bool = True
) -> Shapes:
    """``VideomtForUniversalSegmentation``; without fusion ``EomtForUniversalSegmentation``."""
    shapes = port_heads(dim, 40, 200, joint, fusion)
    shapes |= linear("embeddings.patch_embeddings.projection", dim, 3, 16, 16)
    shapes |= {"embeddings.position_embeddings.weight": (grid**2, dim)}
    for i in range(depth):
        layer = f"layers.{i}."
        shapes |= norm(layer + "norm1", dim) | norm(layer + "norm2", dim)
        for x in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}attention.{x}", dim, dim)
        shapes |= {f"{layer}layer_scale{j}.lambda1": (dim,) for j in (1, 2)}
        shapes |= linear(layer + "mlp.fc1", 4 * dim, dim) | linear(layer + "mlp.fc2", dim, 4 * dim)
    return shapes


def port_dinov3(dim: int = 1024, depth: int = 24, joint: int = 4) -> Shapes:
    """``EomtDinov3ForUniversalSegmentation``."""
    shapes = port_heads(dim, 40, 200, joint, fusion=False)
    shapes |= linear("embeddings.patch_embeddings", dim, 3, 16, 16)
    for i in range(depth):
        shapes |= dinov3_block(f"layers.{i}.", dim)
    return shapes


# ViT-Adapter, Mask2Former and the trackers behind it


def on(backbone: str, shapes: Shapes) -> Shapes:
    """A model on ViT-Adapter -> the same on ``r50``, ``r101``, ``swin_l`` or ``swin_t``."""
    own, widths = {
        "r50": (resnet(50), RESNET_WIDTHS),
        "r101": (resnet(101), RESNET_WIDTHS),
        "swin_l": (swin(), (192, 384, 768, 1536)),
        "swin_t": (swin_tiny(), (96, 192, 384, 768)),
    }[backbone]
    rest = {k: v for k, v in shapes.items() if not k.startswith("backbone.")}
    rest |= under("sem_seg_head.pixel_decoder.", pixel_decoder(widths))
    return under("backbone.", own) | rest


def pixel_decoder(widths: tuple[int, ...], dim: int = 256) -> Shapes:
    res2, *deep = widths
    shapes: Shapes = {"transformer.level_embed": (3, dim)}
    for i, inputs in enumerate(reversed(deep)):
        shapes |= linear(f"input_proj.{i}.0", dim, inputs, 1, 1) | norm(f"input_proj.{i}.1", dim)
    for i in range(6):
        layer = f"transformer.encoder.layers.{i}."
        shapes |= linear(layer + "self_attn.sampling_offsets", 192, dim)
        shapes |= linear(layer + "self_attn.attention_weights", 96, dim)
        shapes |= linear(layer + "self_attn.value_proj", dim, dim)
        shapes |= linear(layer + "self_attn.output_proj", dim, dim)
        shapes |= linear(layer + "linear1", 1024, dim) | linear(layer + "linear2", dim, 1024)
        shapes |= norm(layer + "norm1", dim) | norm(layer + "norm2", dim)
    shapes |= linear("mask_features", dim, dim, 1, 1)
    shapes |= {"adapter_1.weight": (dim, res2, 1, 1)} | norm("adapter_1.norm", dim)
    return shapes | {"layer_1.weight": (dim, dim, 3, 3)} | norm("layer_1.norm", dim)


def attention(place: str, name: str, dim: int) -> Shapes:
    shapes: Shapes = {
        f"{place}{name}.in_proj_weight": (3 * dim, dim),
        f"{place}{name}.in_proj_bias": (3 * dim,),
    }
    return shapes | linear(f"{place}{name}.out_proj", dim, dim) | norm(place + "norm", dim)


def ffn(place: str, dim: int) -> Shapes:
    shapes = linear(place + "linear1", 2048, dim) | linear(place + "linear2", dim, 2048)
    return shapes | norm(place + "norm", dim)


def transformer(layers: int, dim: int) -> Shapes:
    parts = []
    for i in range(layers):
        parts += [
            attention(f"transformer_cross_attention_layers.{i}.", "multihead_attn", dim),
            attention(f"transformer_self_attention_layers.{i}.", "self_attn", dim),
            ffn(f"transformer_ffn_layers.{i}.", dim),
        ]
    return merged(parts)


def heads(dim: int, classes: int, read: int | None = None) -> Shapes:
    shapes = norm("decoder_norm", dim) | linear("class_embed", classes + 1, read or dim)
    shapes |= linear("mask_embed.layers.0", dim, dim) | linear("mask_embed.layers.1", dim, dim)
    return shapes | linear("mask_embed.layers.2", 256, dim)


def mask2former(dim: int = 1024, depth: int = 24, classes: int = 40, queries: int = 200) -> Shapes:
    predictor = transformer(9, 256) | heads(256, classes)
    predictor |= {
        "query_feat.weight": (queries, 256),
        "query_embed.weight": (queries, 256),
        "level_embed.weight": (3, 256),
    }
    return merged(
        [
            under("backbone.", adapter(dim, depth, heads=dim // 64)),
            under("sem_seg_head.pixel_decoder.", pixel_decoder((dim,) * 4)),
            under("sem_seg_head.predictor.", predictor),
            {"criterion.empty_weight": (classes + 1,)},
        ]
    )


def reid(inputs: int) -> Shapes:
    place = "sem_seg_head.predictor.reid_embed.layers."
    shapes = linear(place + "0", 256, inputs)
    return shapes | linear(place + "1", 256, 256) | linear(place + "2", 256, 256)


def ctvis(**sizes: int) -> Shapes:
    return mask2former(**sizes) | reid(256)


def cavis_segmenter(**sizes: int) -> Shapes:
    laplacian: Shapes = {"sem_seg_head.predictor.laplacian": (1, 1, 3, 3)}
    return mask2former(**sizes) | reid(512) | laplacian


def cavis(classes: int = 40, **sizes: int) -> Shapes:
    tracker = transformer(6, 256) | heads(256, classes) | linear("ctx_query_embed", 256, 512)
    return cavis_segmenter(classes=classes, **sizes) | under("tracker.", tracker)


def cavis_offline(classes: int = 40, **sizes: int) -> Shapes:
    return cavis(classes=classes, **sizes) | refiner(256, classes, convolutions=True)


def dvis_plus(classes: int = 40, **sizes: int) -> Shapes:
    tracker = transformer(6, 512) | heads(512, classes, read=1024)
    for i in range(3):
        tracker |= linear(f"ref_proj.layers.{i}", 512, 512)
    tracker |= linear("mask_feature_proj", 256, 256, 1, 1)
    return ctvis(classes=classes, **sizes) | under("tracker.", tracker)


def refiner(dim: int, classes: int, convolutions: bool) -> Shapes:
    shapes = heads(dim, classes) | linear("activation_proj", 1, dim)
    for i in range(6):
        for kind in ("obj_self", "time_self"):
            shapes |= attention(f"transformer_{kind}_attention_layers.{i}.", "self_attn", dim)
        place = f"transformer_cross_attention_layers.{i}."
        shapes |= attention(place, "multihead_attn", dim) | ffn(f"transformer_ffn_layers.{i}.", dim)
        if convolutions:
            shapes |= linear(f"conv_short_aggregate_layers.{i}.0", dim, dim, 5)
            shapes |= linear(f"conv_short_aggregate_layers.{i}.2", dim, dim, 3)
            shapes |= norm(f"conv_norms.{i}", dim)
    return under("refiner.", shapes)


def dvis_plus_offline(classes: int = 40, **sizes: int) -> Shapes:
    return dvis_plus(classes=classes, **sizes) | refiner(512, classes, convolutions=True)


def dvis(classes: int = 40, **sizes: int) -> Shapes:
    tracker = transformer(6, 256) | heads(256, classes)
    return mask2former(classes=classes, **sizes) | under("tracker.", tracker)


def daq(classes: int = 40, **sizes: int) -> Shapes:
    dim = 256
    tracker = transformer(6, dim) | heads(dim, classes)
    tracker |= linear("mask_feature_proj", dim, dim, 1, 1)
    for i in range(3):
        tracker |= linear(f"pos_embed.layers.{i}", dim, dim)
    tracker |= {"new_ins_embeds.weight": (1, dim), "bg_slots.weight": (5, dim)}
    for i in range(6):
        place = f"slot_cross_attention_layers.{i}."
        tracker |= attention(place, "multihead_attn", dim)
        tracker |= norm(place + "slot_attn.norm_inputs", dim)
        tracker |= norm(place + "slot_attn.project_q.0", dim)
        tracker |= linear(place + "slot_attn.project_q.1", dim, dim, bias=False)
        tracker |= linear(place + "slot_attn.project_k", dim, dim, bias=False)
        tracker |= ffn(f"slot_ffn_layers.{i}.", dim)
    shapes = ctvis(classes=classes, **sizes) | under("tracker.", tracker)
    shapes["daq_criterion.empty_weight"] = shapes.pop("criterion.empty_weight")
    return shapes


def daq_offline(classes: int = 40, **sizes: int) -> Shapes:
    """For YouTube-VIS 2019."""
    return daq(classes=classes, **sizes) | refiner(256, classes, convolutions=False)


def daq_offline_conv(classes: int = 40, **sizes: int) -> Shapes:
    """For YouTube-VIS 2021 and, with ViT-L, for OVIS."""
    return daq(classes=classes, **sizes) | refiner(256, classes, convolutions=True)
