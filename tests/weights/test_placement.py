"""Is a tensor where its name says? Outputs after loading, against models that read the official
names: the Mask2Former of transformers, and plain re-statements from the authors' descriptions.

Encoders are small; decoders and trackers have their real sizes.
"""

from __future__ import annotations

import re
import tempfile
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import batch_norm, conv2d, layer_norm, linear, max_pool2d
from weights import published
from weights.shapes import Shapes

from videomt_bench.models import FrameFeatures, FrameOutput, VideoSegmenter
from videomt_bench.weights import build_model, inspect_weights, load_weights

CLASSES, QUERIES, DIM = 7, 12, 384
TOLERANCE = dict(atol=1e-4, rtol=1e-4)
EXACT = dict(atol=1e-6, rtol=1e-6)
State = dict[str, Tensor]


def random_state(shapes: Shapes) -> State:
    """Outputs of the size of their inputs, offsets of about a cell, and norms of about one."""
    torch.manual_seed(0)
    state: State = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape)
        elif len(shape) > 1 and "embed.weight" not in name and "query_" not in name:
            fan_in = shape[0] if "up." in name else torch.Size(shape[1:]).numel()
            state[name] = fan_in**-0.5 * torch.randn(shape)
        elif len(shape) > 1:
            state[name] = torch.randn(shape)
        else:
            around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            state[name] = around + 0.2 * torch.randn(shape)
    return state


def exact(family: str) -> tuple[State, VideoSegmenter]:
    """The same in float64, as six layers of random weights amplify what rounding leaves."""
    state, model = loaded(family)
    return {k: v.double() for k, v in state.items()}, deepcopy(model).double()


@cache
def loaded(family: str) -> tuple[State, VideoSegmenter]:
    """The tensors of a file by their official names, and our model after loading it."""
    shapes = getattr(published, family)(dim=DIM, depth=12, classes=CLASSES, queries=QUERIES)
    state = random_state(shapes)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model_final.pth"
        torch.save({"model": state, "iteration": 1}, file)
        model = build_model(inspect_weights(file)).eval()
        assert load_weights(file, model).complete
    return state, model


class Official:
    """Operations by the official names below a prefix."""

    def __init__(self, state: State, prefix: str) -> None:
        self.state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

    def linear(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return layer_norm(x, weight.shape, weight, bias)

    def mlp(self, name: str, x: Tensor) -> Tensor:
        for i in (0, 1):
            x = self.linear(f"{name}.layers.{i}", x).relu()
        return self.linear(f"{name}.layers.2", x)

    def attention(self, name: str, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        module = nn.MultiheadAttention(query.shape[-1], 8, batch_first=True).to(query.dtype)
        own = {
            k.removeprefix(f"{name}."): v for k, v in self.state.items() if k.startswith(f"{name}.")
        }
        module.load_state_dict(own)
        return module(query, key, value, need_weights=False)[0]

    def referring_layer(
        self, i: int, residual: Tensor, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        """Spec of CAVIS and DVIS++: cross-attention with a residual of its own, post-norm."""
        cross = f"transformer_cross_attention_layers.{i}."
        own, ffn = f"transformer_self_attention_layers.{i}.", f"transformer_ffn_layers.{i}."
        x = self.attention(cross + "multihead_attn", query, key, value)
        x = self.norm(cross + "norm", residual + x)
        x = self.norm(own + "norm", x + self.attention(own + "self_attn", x, x, x))
        hidden = self.linear(ffn + "linear1", x).relu()
        return self.norm(ffn + "norm", x + self.linear(ffn + "linear2", hidden))


def frame() -> FrameOutput:
    """What a segmenter might give: masks of both signs."""
    torch.manual_seed(1)
    queries, embeddings = torch.randn(2, 1, QUERIES, 256, dtype=torch.float64)
    masks = functional.interpolate(torch.randn(1, QUERIES, 4, 6), (12, 18), mode="bicubic")
    return FrameOutput(
        torch.randn(1, QUERIES, CLASSES + 1),
        masks.double(),
        queries=queries,
        embeddings=embeddings,
        mask_features=torch.randn(1, 256, 12, 18, dtype=torch.float64),
    )


FEATURES = FrameFeatures({}, (48, 72))


@torch.no_grad()
def test_cavis_in_a_first_frame() -> None:
    state, model = exact("cavis")
    output = frame()
    tracked, _ = model.tracker.track(output, FEATURES, model.tracker.init_state(1))
    tracker = Official(state, "tracker.")
    n, s = output.embeddings, output.queries
    context = model.tracker.appearance.context(output.mask_logits, output.mask_features)
    r = Official(state, "sem_seg_head.predictor.").mlp("reid_embed", torch.cat([n, context], -1))
    key = tracker.linear("ctx_query_embed", torch.cat([n, r], -1))
    x, query = n, key
    for i in range(6):
        if i:
            query = tracker.linear("ctx_query_embed", torch.cat([x, r], -1))
        x = tracker.referring_layer(i, x, query, key, s)
    x = tracker.norm("decoder_norm", x)
    classes = tracker.linear("class_embed", x)
    masks = torch.einsum("bqd,bdhw->bqhw", tracker.mlp("mask_embed", x), output.mask_features)
    torch.testing.assert_close(tracked.class_logits, classes, **EXACT)
    torch.testing.assert_close(tracked.mask_logits, masks, **EXACT)


@torch.no_grad()
def test_dvis_plus_in_a_first_frame() -> None:
    state, model = exact("dvis_plus")
    output = frame()
    tracked, _ = model.tracker.track(output, FEATURES, model.tracker.init_state(1))
    tracker = Official(state, "tracker.")
    r = Official(state, "sem_seg_head.predictor.").mlp("reid_embed", output.embeddings)
    e = torch.cat([output.queries, r], -1)
    reference = tracker.mlp("ref_proj", e)
    x = e
    for i in range(6):
        x = tracker.referring_layer(i, x, tracker.mlp("ref_proj", x) if i else reference, e, e)
    x = tracker.norm("decoder_norm", x)
    classes = tracker.linear("class_embed", torch.cat([reference, x], -1))
    weight, bias = (tracker.state[f"mask_feature_proj.{p}"] for p in ("weight", "bias"))
    pixels = conv2d(output.mask_features, weight, bias)
    masks = torch.einsum("bqd,bdhw->bqhw", tracker.mlp("mask_embed", x), pixels)
    torch.testing.assert_close(tracked.class_logits, classes, **EXACT)
    torch.testing.assert_close(tracked.mask_logits, masks, **EXACT)


@torch.no_grad()
def test_the_spatial_prior_of_the_adapter() -> None:
    """Three convolutions, a pooling, three strides, and a projection for each of the four maps."""
    state, model = loaded("mask2former")
    spm = Official(state, "backbone.spm.").state

    def step(x: Tensor, conv: str, norm: str, stride: int) -> Tensor:
        x = conv2d(x, spm[f"{conv}.weight"], stride=stride, padding=1)
        names = ("running_mean", "running_var", "weight", "bias")
        return batch_norm(x, *(spm[f"{norm}.{name}"] for name in names)).relu()

    frames = torch.randn(1, 3, 64, 96)
    x = frames
    for i, stride in ((0, 2), (3, 1), (6, 1)):
        x = step(x, f"stem.{i}", f"stem.{i + 1}", stride)
    maps = [max_pool2d(x, 3, 2, 1)]
    for n in (2, 3, 4):
        maps.append(step(maps[-1], f"conv{n}.0", f"conv{n}.1", 2))
    found = model.segmenter.adapter.prior(frames)
    for n, (x, ours) in enumerate(zip(maps, found, strict=True), start=1):
        expected = conv2d(x, spm[f"fc{n}.weight"], spm[f"fc{n}.bias"])
        torch.testing.assert_close(ours, expected, **TOLERANCE)


# the two decoders, against transformers, whose names for the official ones are these

PIXEL_NAMES = [
    (r"^adapter_1\.norm\.", "adapter_1.1."),
    (r"^adapter_1\.weight", "adapter_1.0.weight"),
    (r"^layer_1\.norm\.", "layer_1.1."),
    (r"^layer_1\.weight", "layer_1.0.weight"),
    (r"^mask_features\.", "mask_projection."),
    (r"^input_proj\.", "input_projections."),
    (r"^transformer\.", ""),
    (r"(layers\.\d+)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"(layers\.\d+)\.norm2\.", r"\1.final_layer_norm."),
    (r"\.linear(\d)\.", r".fc\1."),
]
DECODER_NAMES = [
    (r"^query_feat\.", "queries_features."),
    (r"^query_embed\.", "queries_embedder."),
    (
        r"^transformer_(cross|self)_attention_layers\.(\d+)\.norm\.",
        r"decoder.layers.\2.\1_attn_layer_norm.",
    ),
    (
        r"^transformer_cross_attention_layers\.(\d+)\.multihead_attn\.",
        r"decoder.layers.\1.cross_attn.",
    ),
    (r"^transformer_self_attention_layers\.(\d+)\.self_attn\.", r"decoder.layers.\1.self_attn."),
    (r"^transformer_ffn_layers\.(\d+)\.norm\.", r"decoder.layers.\1.final_layer_norm."),
    (r"^transformer_ffn_layers\.(\d+)\.linear(\d)\.", r"decoder.layers.\1.fc\2."),
    (r"^decoder_norm\.", "decoder.layernorm."),
    (r"^mask_embed\.layers\.(\d)\.", r"decoder.mask_predictor.mask_embedder.\1.0."),
]


def renamed(state: State, names: list[tuple[str, str]]) -> State:
    result: State = {}
    for name, value in state.items():
        for pattern, new in names:
            name = re.sub(pattern, new, name)
        if found := re.fullmatch(r"(.*\.self_attn\.)in_proj_(weight|bias)", name):
            for x, part in zip("qkv", value.chunk(3), strict=True):
                result[f"{found[1]}{x}_proj.{found[2]}"] = part
        else:
            result[name] = value
    return result


@torch.no_grad()
def test_both_decoders_of_mask2former() -> None:
    """Mask features, classes and masks of ``Mask2FormerForUniversalSegmentation``'s parts, 1e-4."""
    pytest.importorskip("transformers")
    from transformers import Mask2FormerConfig, SwinConfig
    from transformers.models.mask2former import modeling_mask2former as port

    state, model = loaded("mask2former")
    features = ["stage1", "stage2", "stage3", "stage4"]
    config = Mask2FormerConfig(
        backbone_config=SwinConfig(
            embed_dim=16, depths=[1] * 4, num_heads=[1] * 4, out_features=features
        ),
        num_queries=QUERIES,
        id2label={i: str(i) for i in range(CLASSES)},
    )
    pixel_decoder = port.Mask2FormerPixelDecoder(config, [DIM] * 4).eval()
    own = Official(state, "sem_seg_head.pixel_decoder.").state
    pixel_decoder.load_state_dict(renamed(own, PIXEL_NAMES))
    decoder = port.Mask2FormerTransformerModule(256, config).eval()
    predictor = Official(state, "sem_seg_head.predictor.")
    own = {k: v for k, v in predictor.state.items() if not k.startswith("class_embed")}
    decoder.load_state_dict(renamed(own, DECODER_NAMES))

    torch.manual_seed(3)
    maps = [torch.randn(1, DIM, *size) for size in ((22, 34), (11, 17), (6, 9), (3, 5))]
    expected = pixel_decoder(maps)
    pixels, levels = model.segmenter.pixel_decoder(maps)
    torch.testing.assert_close(pixels, expected.mask_features, **TOLERANCE)
    result = decoder(expected.multi_scale_features, expected.mask_features)
    queries = model.memory.queries(model.memory.init_state(1))
    found = model.segmenter.decoder(queries, pixels, levels)
    masks = result.masks_queries_logits[-1]
    torch.testing.assert_close(found.prediction.mask_logits, masks, atol=1e-3, rtol=1e-4)
    normed = result.intermediate_hidden_states[-1].transpose(0, 1)
    classes = predictor.linear("class_embed", normed)
    torch.testing.assert_close(found.prediction.class_logits, classes, **TOLERANCE)
