"""Outputs against the independent VidEoMT port in transformers, with the same weights."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from videomt_bench.models import EncoderSpec, ModelSpec, VideoSegmenter, load_variant

transformers = pytest.importorskip("transformers")
SIZE, QUERIES, CLASSES, FRAMES = 96, 20, 40, 4

NAMES = [
    (r"^embeddings\.cls_token$", "encoder.vit.cls_token"),
    (r"^embeddings\.register_tokens$", "encoder.vit.reg_token"),
    (r"^embeddings\.patch_embeddings\.projection\.", "encoder.vit.patch_embed.proj."),
    (r"^embeddings\.position_embeddings\.weight$", "encoder.vit.pos_embed"),
    (r"^layers\.(\d+)\.layer_scale(\d)\.lambda1$", r"encoder.vit.blocks.\1.ls\2.gamma"),
    (r"^layers\.(\d+)\.attention\.out_proj\.", r"encoder.vit.blocks.\1.attn.proj."),
    (r"^layers\.(\d+)\.", r"encoder.vit.blocks.\1."),
    (r"^layernorm\.", "encoder.vit.norm."),
    (r"^class_predictor\.", "class_head."),
    (r"^mask_head\.fc1\.", "mask_head.0."),
    (r"^mask_head\.fc2\.", "mask_head.2."),
    (r"^mask_head\.fc3\.", "mask_head.4."),
    (r"^upscale_block\.block\.(\d)\.layernorm2d\.", r"upscale.\1.norm."),
    (r"^upscale_block\.block\.", "upscale."),
]
UNUSED = {"embeddings.mask_token", "criterion.empty_weight", "attn_mask_probs"}


def from_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the port's tensors to ours, q, k and v joined."""
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        if key in UNUSED:
            continue
        if key == "query.weight":
            ours["memory.learned.weight"] = value
        elif key.startswith("query_updater."):
            ours[key.replace("query_updater", "memory.fuse")] = value
        elif found := re.match(r"layers\.(\d+)\.attention\.q_proj\.(\w+)", key):
            parts = [state[key.replace("q_proj", f"{x}_proj")] for x in "qkv"]
            name = f"segmenter.encoder.vit.blocks.{found[1]}.attn.qkv.{found[2]}"
            ours[name] = torch.cat(parts)
        elif not re.search(r"\.[kv]_proj\.", key):
            pattern, name = next((p, n) for p, n in NAMES if re.match(p, key))
            value = value[None] if key.startswith("embeddings.position") else value
            ours["segmenter." + re.sub(pattern, name, key)] = value
    return ours


@pytest.fixture(scope="module")
def models() -> tuple[torch.nn.Module, VideoSegmenter]:
    torch.manual_seed(0)
    config = transformers.VideomtConfig(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        num_blocks=3,
        image_size=SIZE,
        num_queries=QUERIES,
        id2label={i: str(i) for i in range(CLASSES)},
    )
    port = transformers.VideomtForUniversalSegmentation(config).eval()
    for parameter in port.parameters():
        # the port initialises some of them to zeros and ones, which would hide an error
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    port.attn_mask_probs.zero_()
    spec = ModelSpec(EncoderSpec("vit_small_patch14_reg4_dinov2", SIZE), CLASSES, QUERIES)
    ours = load_variant("step6_videomt").build(spec).eval()
    ours.load_state_dict(from_transformers(port.state_dict()))
    return port, ours


def test_outputs_over_a_clip(models: tuple[torch.nn.Module, VideoSegmenter]) -> None:
    port, ours = models
    clip = torch.randn(1, FRAMES, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = port(pixel_values_videos=clip)
        output, _ = ours(clip)
    # the port gives frames first
    torch.testing.assert_close(
        output.class_logits[0], expected.class_queries_logits, atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        output.mask_logits[0], expected.masks_queries_logits, atol=1e-4, rtol=0
    )
    # the clip is no repetition of one frame: the memory is seen to matter
    assert (output.class_logits[0, 1:] - output.class_logits[0, :1]).abs().max() > 1e-2


def test_a_wrong_fusion_is_seen(models: tuple[torch.nn.Module, VideoSegmenter]) -> None:
    port, ours = models
    clip = torch.randn(1, 2, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = port(pixel_values_videos=clip).class_queries_logits
        ours.memory.normalize = True
        output, _ = ours(clip)
        ours.memory.normalize = False
    assert (output.class_logits[0, 1] - expected[1]).abs().max() > 1e-3
