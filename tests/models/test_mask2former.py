"""Mask2Former on a ViT: sizes, shapes, what it computes when, and the streaming contract."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from videomt_bench.errors import BenchError
from videomt_bench.models import (
    EncoderSpec,
    LearnedQueries,
    Mask2Former,
    ModelSpec,
    Variant,
    VideoSegmenter,
    build_encoder,
    load_variant,
)
from videomt_bench.models.conformance import check_variant
from videomt_bench.models.heads import MLP, PredictionHeads
from videomt_bench.models.masked_decoder import MaskedDecoder, MaskedDecoderLayer, blocked_pixels
from videomt_bench.models.pixel_decoder import PixelDecoder
from videomt_bench.models.variant import DecoderSizes

TINY = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), num_classes=4, num_queries=6)
LARGE = ModelSpec(EncoderSpec("vit_large_patch14_dinov2", 592, 16), num_classes=40)
"""592 pixels: the published ViT keeps DINOv2's grid of 37 × 37 positions."""
SMALL = DecoderSizes(dim=32, heads=4, ffn=48, layers=4, pixel_layers=1, pixel_ffn=48)


@pytest.fixture(scope="module")
def minvis_large() -> VideoSegmenter:
    """MinVIS with ViT-L, 200 queries and 40 classes, without values."""
    with torch.device("meta"):
        return load_variant("minvis").build(LARGE).eval()


@pytest.fixture
def tiny() -> Mask2Former:
    torch.manual_seed(0)
    return Mask2Former.from_spec(TINY).eval()


def millions(*modules: nn.Module) -> float:
    return sum(p.numel() for m in modules for p in m.parameters()) / 1e6


def test_parameters_are_those_of_the_published_systems(minvis_large: VideoSegmenter) -> None:
    """Against counts of the official MinVIS with a ViT-L (K 40, N 200), in the precision given."""
    segmenter, memory = minvis_large.segmenter, minvis_large.memory
    assert millions(segmenter.pixel_decoder) == pytest.approx(6.10, abs=0.005)
    assert millions(segmenter.decoder, memory) == pytest.approx(14.52, abs=0.005)
    # the published ViT keeps a mask token and a final norm that nothing uses
    assert millions(minvis_large) == pytest.approx(348.12, abs=0.005)


def test_map_shapes_at_the_papers_input_size(minvis_large: VideoSegmenter) -> None:
    features = minvis_large.segmenter.encode(torch.empty(1, 3, 448, 800, device="meta"))
    assert {name: tuple(x.shape) for name, x in features.maps.items()} == {
        "mask_features": (1, 256, 112, 200),
        "res5": (1, 256, 14, 25),
        "res4": (1, 256, 28, 50),
        "res3": (1, 256, 56, 100),
    }


def test_multiply_accumulates_are_those_of_the_published_systems() -> None:
    """Against FlopCounter's count of the official code at 448×800, within 1 %.

    The sampling of deformable attention is left out there, as here.
    """
    sizes = DecoderSizes()
    with torch.device("meta"), torch.no_grad():
        pixel_decoder = PixelDecoder([1024] * 4, sizes)
        decoder = MaskedDecoder(200, 40, sizes).eval()
        maps = [torch.empty(1, 1024, 448 // s, 800 // s) for s in (4, 8, 16, 32)]
        with FlopCounterMode(display=False) as counter:
            mask_features, levels = pixel_decoder(maps)
        assert counter.get_total_flops() / 2e9 == pytest.approx(54.6, rel=0.01)
        with FlopCounterMode(display=False) as counter:
            decoder(torch.empty(1, 200, 256), mask_features, levels)
        assert counter.get_total_flops() / 2e9 == pytest.approx(19.9, rel=0.01)


@pytest.mark.parametrize("size", [(48, 48), (48, 64), (56, 72)])
@torch.no_grad()
def test_small_inputs(tiny: Mask2Former, size: tuple[int, int]) -> None:
    features = tiny.encode(torch.randn(2, 3, *size))
    output = tiny.decode(features, torch.randn(2, 6, tiny.dim))
    assert output.mask_logits.shape == (2, 6, size[0] // 4, size[1] // 4)
    assert output.class_logits.shape == (2, 6, 5)
    assert output.queries.shape == output.embeddings.shape == (2, 6, tiny.dim)
    assert output.mask_features is features.maps["mask_features"]


@torch.no_grad()
def test_frames_of_a_batch_do_not_meet(tiny: Mask2Former) -> None:
    frames, queries = torch.randn(2, 3, 48, 64), torch.randn(2, 6, tiny.dim)
    both = tiny.decode(tiny.encode(frames), queries)
    for i in range(2):
        alone = tiny.decode(tiny.encode(frames[i : i + 1]), queries[i : i + 1])
        for name in ("class_logits", "mask_logits", "queries", "embeddings", "mask_features"):
            found, expected = getattr(both, name)[i], getattr(alone, name)[0]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_it_keeps_the_streaming_contract() -> None:
    variant = Variant("Mask2Former", Mask2Former.from_spec, LearnedQueries)
    assert not [c for c in check_variant(variant) if not c.passed]


@torch.no_grad()
def test_masks_and_embeddings_belong_together(tiny: Mask2Former) -> None:
    """Whoever reads the output can remake its logits from its embeddings and mask features."""
    output = tiny.decode(tiny.encode(torch.randn(1, 3, 48, 48)), torch.randn(1, 6, tiny.dim))
    heads = tiny.decoder.heads
    torch.testing.assert_close(output.embeddings, heads.norm(output.queries))
    torch.testing.assert_close(output.class_logits, heads.class_embed(output.embeddings))
    masks = heads.mask_embed(output.embeddings)[0] @ output.mask_features[0].flatten(1)
    torch.testing.assert_close(output.mask_logits[0].flatten(1), masks, atol=1e-5, rtol=1e-5)


def test_evaluation_computes_the_last_classes_only(tiny: Mask2Former) -> None:
    called: list[str] = []
    heads = tiny.decoder.heads
    heads.class_embed.register_forward_hook(lambda *_: called.append("classes"))
    heads.mask_product.register_forward_hook(lambda *_: called.append("masks"))
    queries, features = torch.randn(1, 6, tiny.dim), tiny.encode(torch.randn(1, 3, 48, 48))
    layers = TINY.sizes.layers
    output = tiny.decode(features, queries)
    assert output.intermediate == ()
    assert (called.count("classes"), called.count("masks")) == (1, layers + 1)
    called.clear()
    output = tiny.train().decode(features, queries)
    assert len(output.intermediate) == layers
    assert (called.count("classes"), called.count("masks")) == (layers + 1, layers + 1)
    first, _ = heads(queries, features.maps["mask_features"])
    torch.testing.assert_close(output.intermediate[0].class_logits, first.class_logits)
    torch.testing.assert_close(output.intermediate[0].mask_logits, first.mask_logits)


def test_a_random_vit_learns_and_a_pretrained_one_is_frozen(tmp_path: Path) -> None:
    learning = Mask2Former.from_spec(TINY)
    assert all(p.requires_grad for p in learning.parameters())
    file = tmp_path / "vit.pth"
    torch.save(build_encoder(TINY.encoder).vit.state_dict(), file)
    spec = ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8, weights=str(file)), 4, 6)
    frozen = Mask2Former.from_spec(spec)
    still = {n for n, p in frozen.named_parameters() if not p.requires_grad}
    assert still == {n for n, _ in frozen.named_parameters() if ".encoder.vit." in n}


def test_a_query_without_a_position_is_refused() -> None:
    decoder = MaskedDecoder(6, 4, SMALL)
    maps = [torch.randn(1, 32, s, s) for s in (2, 3, 6)]
    with pytest.raises(BenchError, match=r"8 queries enter a masked decoder.*for 6"):
        decoder(torch.randn(1, 8, 32), torch.randn(1, 32, 12, 12), maps)


def test_a_query_looks_at_its_mask_and_an_empty_one_anywhere() -> None:
    logits = torch.full((1, 3, 4, 4), -3.0)
    logits[0, 0, :2, :2] = 2.0  # the first cell of 2 × 2
    logits[0, 1, 0, 0] = 2.0  # a quarter of the first cell: its mean is below zero
    logits[0, 2] = 0.0  # exactly between: not blocked
    blocked = blocked_pixels(logits, (2, 2))
    assert blocked.tolist() == [[[False, True, True, True], [False] * 4, [False] * 4]]


@torch.no_grad()
def test_a_layer_does_not_see_blocked_pixels() -> None:
    torch.manual_seed(0)
    layer = MaskedDecoderLayer(SMALL)
    queries, positions, key = torch.randn(2, 3, 32), torch.randn(3, 32), torch.randn(2, 5, 32)
    blocked = torch.zeros(2, 3, 5, dtype=torch.bool)
    blocked[1, :, 4] = True
    changed = key.clone()
    changed[:, 4] += 1
    before = layer(queries, positions, key, key, blocked)
    after = layer(queries, positions, changed, changed, blocked)
    assert torch.equal(before[1], after[1])
    assert (before[0] - after[0]).abs().max() > 1e-2


@torch.no_grad()
def test_the_pixel_decoder_is_exact_under_autocast() -> None:
    decoder = PixelDecoder([8] * 4, SMALL).eval()
    maps = [torch.randn(1, 8, s, s) for s in (12, 6, 3, 2)]
    expected, levels = decoder(maps)
    with torch.autocast("cpu", torch.bfloat16):
        found, others = decoder(maps)
        low, _ = decoder([m.bfloat16() for m in maps])
    assert found.dtype == low.dtype == torch.float32
    assert torch.equal(found, expected)
    assert all(torch.equal(a, b) for a, b in zip(levels, others, strict=True))


def test_autocast_trains(tiny: Mask2Former) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        features = tiny.train().encode(torch.randn(1, 3, 48, 48))
        output = tiny.decode(features, torch.randn(1, 6, tiny.dim))
    assert output.queries.dtype == torch.float32
    (output.mask_logits.float().square().mean() + output.class_logits.float().mean()).backward()
    for parameter in tiny.pixel_decoder.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_initial_values() -> None:
    """Xavier bounds √(6 / (in + out)) reached, embeddings N(0, 1), biases of projections zero."""
    torch.manual_seed(0)
    sizes = DecoderSizes(layers=1, pixel_layers=1)
    decoder, pixels = MaskedDecoder(200, 40, sizes), PixelDecoder([512] * 4, sizes)
    layer = decoder.layers[0]
    for weight, fans in (
        (layer.linear1.weight, 256 + 2048),
        (layer.linear2.weight, 256 + 2048),
        (layer.cross_attention.in_proj_weight, 256 + 768),
        (layer.self_attention.out_proj.weight, 256 + 256),
        (pixels.layers[0].linear1.weight, 256 + 1024),
        (pixels.layers[0].linear2.weight, 256 + 1024),
        (pixels.input_proj[1][0].weight, 512 + 256),
    ):
        assert weight.abs().max().item() == pytest.approx((6 / fans) ** 0.5, rel=1e-3)
    for embedding in (decoder.level_embed, decoder.query_positions, pixels.level_embed):
        assert embedding.std().item() == pytest.approx(1, abs=0.1)
    assert not any(p[0].bias.any() for p in pixels.input_proj)


def test_an_mlp_has_no_relu_at_its_end() -> None:
    torch.manual_seed(0)
    mlp = MLP(3, 8, 2, 3)
    assert [tuple(layer.weight.shape) for layer in mlp.layers] == [(8, 3), (8, 8), (2, 8)]
    x = torch.randn(50, 3)
    a, b, c = mlp.layers
    expected = c(b(a(x).clamp(min=0)).clamp(min=0))
    torch.testing.assert_close(mlp(x), expected)
    assert (expected < 0).any()


@torch.no_grad()
def test_heads_of_another_mask_width() -> None:
    heads = PredictionHeads(16, 4, mask_dim=24)
    queries, features = torch.randn(2, 3, 16), torch.randn(2, 24, 5, 7)
    prediction, normed = heads(queries, features)
    assert prediction.class_logits.shape == (2, 3, 5)
    masks: Tensor = (heads.mask_embed(normed) @ features.flatten(2)).unflatten(2, (5, 7))
    torch.testing.assert_close(prediction.mask_logits, masks, atol=1e-5, rtol=1e-5)
    without, _ = heads(queries, features, classes=False)
    assert without.class_logits.shape == (2, 3, 0)
    assert torch.equal(without.mask_logits, prediction.mask_logits)
