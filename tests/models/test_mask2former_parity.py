"""Outputs against the independent Mask2Former port in transformers, with the same random weights.

The port has no ViT-Adapter: its two decoders are compared on random maps, and as a whole model
with our adapter in the place of its backbone. All in float32.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from videomt_bench.models import EncoderSpec, Mask2Former, ModelSpec
from videomt_bench.models.masked_decoder import MaskedDecoder
from videomt_bench.models.pixel_decoder import PixelDecoder
from videomt_bench.models.positions import sine_positions
from videomt_bench.models.variant import DecoderSizes

transformers = pytest.importorskip("transformers")
from transformers.models.mask2former import modeling_mask2former as port  # noqa: E402

SIZES = DecoderSizes(dim=64, heads=4, ffn=96, layers=5, pixel_layers=3, pixel_ffn=128)
QUERIES, CLASSES, CHANNELS = 12, 7, 48
SHAPES = [(22, 34), (11, 17), (6, 9), (3, 5)]
"""Of the four maps, strides 4 to 32: no two sides are equal, none but the first are even."""
TOLERANCE = dict(atol=1e-5, rtol=0)

PIXEL_NAMES = [
    (r"^input_projections\.", "input_proj."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.", r"layers.\1.attention."),
    (r"^encoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"layers.\1.norm1."),
    (r"^encoder\.layers\.(\d+)\.final_layer_norm\.", r"layers.\1.norm2."),
    (r"^encoder\.layers\.(\d+)\.fc", r"layers.\1.linear"),
    (r"^mask_projection\.", "mask_features."),
    (r"^adapter_1\.", "lateral."),
    (r"^layer_1\.", "output."),
]
DECODER_NAMES = [
    (r"^queries_embedder\.weight$", "query_positions"),
    (r"^level_embed\.weight$", "level_embed"),
    (r"^decoder\.layers\.(\d+)\.cross_attn\.", r"layers.\1.cross_attention."),
    (r"^decoder\.layers\.(\d+)\.cross_attn_layer_norm\.", r"layers.\1.cross_norm."),
    (r"^decoder\.layers\.(\d+)\.self_attn\.", r"layers.\1.self_attention."),
    (r"^decoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"layers.\1.self_norm."),
    (r"^decoder\.layers\.(\d+)\.final_layer_norm\.", r"layers.\1.ffn_norm."),
    (r"^decoder\.layers\.(\d+)\.fc", r"layers.\1.linear"),
    (r"^decoder\.layernorm\.", "heads.norm."),
    (r"^decoder\.mask_predictor\.mask_embedder\.(\d)\.0\.", r"heads.mask_embed.layers.\1."),
]


def config() -> transformers.Mask2FormerConfig:
    return transformers.Mask2FormerConfig(
        backbone_config=transformers.SwinConfig(
            embed_dim=16,
            depths=[1] * 4,
            num_heads=[1] * 4,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=SIZES.dim,
        mask_feature_size=SIZES.dim,
        hidden_dim=SIZES.dim,
        num_attention_heads=SIZES.heads,
        encoder_layers=SIZES.pixel_layers,
        encoder_feedforward_dim=SIZES.pixel_ffn,
        decoder_layers=SIZES.layers + 1,  # the port counts the prediction before any layer
        dim_feedforward=SIZES.ffn,
        num_queries=QUERIES,
        id2label={i: str(i) for i in range(CLASSES)},
    )


def randomise(module: nn.Module) -> None:
    """No parameter keeps a value, such as zero or one, that would hide an error.

    Offsets of the sampling points are then about a cell, and every mask has both signs.
    """
    embeddings = ("level_embed", "queries_embedder", "queries_features")
    for name, parameter in module.named_parameters():
        if any(x in name for x in embeddings):
            parameter.data = torch.randn_like(parameter)
        elif parameter.dim() > 1:
            parameter.data = parameter[0].numel() ** -0.5 * torch.randn_like(parameter)
        else:
            around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.data = around + 0.2 * torch.randn_like(parameter)


def renamed(state: dict[str, Tensor], names: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    """The port's tensors under our names; q, k and v of its self-attention joined."""
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        if re.search(r"self_attn\.[kv]_proj\.", key):
            continue
        if "self_attn.q_proj." in key:
            value = torch.cat([state[key.replace("q_proj", f"{x}_proj")] for x in "qkv"])
            key = key.replace("q_proj.", "in_proj_")
        ours[next((re.sub(p, n, key) for p, n in names if re.match(p, key)), key)] = value
    return ours


def maps(batch: int = 2, shapes: Iterable[tuple[int, int]] = SHAPES) -> list[Tensor]:
    return [torch.randn(batch, CHANNELS, *shape) for shape in shapes]


@pytest.fixture(scope="module")
def pixel_decoders() -> tuple[nn.Module, PixelDecoder]:
    torch.manual_seed(0)
    theirs = port.Mask2FormerPixelDecoder(config(), [CHANNELS] * 4).eval()
    randomise(theirs)
    ours = PixelDecoder([CHANNELS] * 4, SIZES).eval()
    ours.load_state_dict(renamed(theirs.state_dict(), PIXEL_NAMES))
    return theirs, ours


@pytest.fixture(scope="module")
def masked_decoders() -> tuple[nn.Module, MaskedDecoder, Tensor]:
    """The port's decoder, ours, and the content queries that the port keeps with its decoder."""
    torch.manual_seed(1)
    theirs = port.Mask2FormerTransformerModule(SIZES.dim, config()).eval()
    randomise(theirs)
    ours = MaskedDecoder(QUERIES, CLASSES, SIZES).eval()
    state = renamed(theirs.state_dict(), DECODER_NAMES)
    queries = state.pop("queries_features.weight")
    classes = {k: v for k, v in ours.state_dict().items() if k.startswith("heads.class_embed")}
    ours.load_state_dict(state | classes)
    return theirs, ours, queries


def test_sine_positions() -> None:
    """``sine_positions`` against ``Mask2FormerSinePositionEmbedding``, 1e-6."""
    theirs = port.Mask2FormerSinePositionEmbedding(32, normalize=True)
    expected = theirs(torch.Size([1, 8, 6, 9]), "cpu", torch.float32)[0].flatten(1).T
    found = sine_positions((6, 9), 64, torch.device("cpu"))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_pixel_decoder(pixel_decoders: tuple[nn.Module, PixelDecoder]) -> None:
    """Mask features and the three maps against ``Mask2FormerPixelDecoder``, 1e-5."""
    theirs, ours = pixel_decoders
    inputs = maps()
    expected = theirs(inputs)
    mask_features, levels = ours(inputs)
    torch.testing.assert_close(mask_features, expected.mask_features, **TOLERANCE)
    assert [x.shape[2:] for x in levels] == [torch.Size(s) for s in SHAPES[:0:-1]]
    for found, wanted in zip(levels, expected.multi_scale_features, strict=True):
        torch.testing.assert_close(found, wanted, **TOLERANCE)


@torch.no_grad()
def test_masked_decoder(masked_decoders: tuple[nn.Module, MaskedDecoder, Tensor]) -> None:
    """All predictions and the last output against ``Mask2FormerTransformerModule``, 1e-5.

    Queries with an empty mask and such with a part of the pixels both occur, so that both rules
    of masked attention are seen.
    """
    theirs, ours, content = masked_decoders
    features = [torch.randn(2, SIZES.dim, *s) for s in SHAPES[:0:-1]]
    # what all pixels share makes some masks empty; logits stay below 10, where 1e-5 is ten steps
    mask_features = torch.randn(2, SIZES.dim, *SHAPES[0]) + torch.randn(SIZES.dim, 1, 1)
    mask_features = 0.2 * mask_features
    expected = theirs(features, mask_features)
    ours.train()  # nothing is drawn at random in training; it keeps what lies between
    found = ours(content.expand(2, -1, -1), mask_features, features)
    ours.eval()
    predictions = [*found.intermediate, found.prediction]
    assert len(predictions) == SIZES.layers + 1
    for ours_at, theirs_at in zip(predictions, expected.masks_queries_logits, strict=True):
        torch.testing.assert_close(ours_at.mask_logits, theirs_at, **TOLERANCE)
    last = expected.last_hidden_state
    torch.testing.assert_close(found.queries, last, **TOLERANCE)
    normed = expected.intermediate_hidden_states[-1].transpose(0, 1)
    torch.testing.assert_close(found.embeddings, normed, **TOLERANCE)

    resized = [
        interpolate(p.mask_logits, SHAPES[3 - i % 3], mode="bilinear").flatten(2)
        for i, p in enumerate(found.intermediate)
    ]
    assert any((x < 0).all(2).any() for x in resized)
    assert sum(((x < 0).any(2) & (x > 0).any(2)).sum() for x in resized) > 50


@torch.no_grad()
def test_whole_model() -> None:
    """Classes, masks and those of all layers against ``Mask2FormerForUniversalSegmentation``, 1e-5.

    Its backbone is our adapter, so that everything behind the backbone is compared at once.
    """
    torch.manual_seed(2)
    spec = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 64, 8), CLASSES, QUERIES, SIZES)
    ours = Mask2Former.from_spec(spec)
    theirs = port.Mask2FormerForUniversalSegmentation(config())
    level = theirs.model.pixel_level_module
    level.decoder = port.Mask2FormerPixelDecoder(config(), [ours.adapter.encoder.dim] * 4)
    for module in (ours.adapter, level.decoder, theirs.model.transformer_module):
        randomise(module)
    randomise(theirs.class_predictor)

    level.encoder = _Backbone(ours.adapter)
    ours.pixel_decoder.load_state_dict(renamed(level.decoder.state_dict(), PIXEL_NAMES))
    state = renamed(theirs.model.transformer_module.state_dict(), DECODER_NAMES)
    content = state.pop("queries_features.weight")
    state |= {f"heads.class_embed.{k}": v for k, v in theirs.class_predictor.state_dict().items()}
    ours.decoder.load_state_dict(state)
    frames = torch.randn(2, 3, 64, 96)
    theirs.eval(), ours.eval()
    ours.decoder.train()  # for the predictions between layers
    expected = theirs(frames, output_auxiliary_logits=True)
    found = ours.decode(ours.encode(frames), content.expand(2, -1, -1))
    last = expected.transformer_decoder_last_hidden_state
    torch.testing.assert_close(found.queries, last, **TOLERANCE)
    torch.testing.assert_close(found.embeddings, ours.decoder.heads.norm(last), **TOLERANCE)
    pairs = [(found.class_logits, found.mask_logits, expected), *_between(found, expected)]
    assert len(pairs) == SIZES.layers + 1
    for classes, masks, wanted in pairs:
        torch.testing.assert_close(classes, wanted.class_queries_logits, **TOLERANCE)
        torch.testing.assert_close(masks, wanted.masks_queries_logits, **TOLERANCE)


def _between(found, expected) -> list[tuple[Tensor, Tensor, SimpleNamespace]]:
    return [
        (p.class_logits, p.mask_logits, SimpleNamespace(**wanted))
        for p, wanted in zip(found.intermediate, expected.auxiliary_logits, strict=True)
    ]


class _Backbone(nn.Module):
    """An adapter, as the port calls a backbone."""

    def __init__(self, adapter: nn.Module) -> None:
        super().__init__()
        self.adapter = adapter

    def forward(self, frames: Tensor) -> SimpleNamespace:
        return SimpleNamespace(feature_maps=self.adapter(frames))
