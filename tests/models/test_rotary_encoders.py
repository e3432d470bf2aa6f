"""Encoders with rotary positions: DINOv3 and EVA-02, against timm and transformers."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from videomt_bench.data.clips import MEAN, STD
from videomt_bench.errors import BenchError
from videomt_bench.models import (
    EncoderSpec,
    EoMT,
    ModelSpec,
    VideoSegmenter,
    ViTEncoder,
    build_encoder,
    load_variant,
)
from videomt_bench.models.adapter import ViTAdapter

transformers = pytest.importorskip("transformers")
DINOV3 = "vit_tiny_patch16_dinov3_qkvb"
EVA02 = "eva02_tiny_patch14_224"
ROTARY = [DINOV3, EVA02]


def built(name: str, **settings: object) -> ViTEncoder:
    """With weights that leave no part without effect, unlike those of a fresh one."""
    torch.manual_seed(0)
    encoder = build_encoder(EncoderSpec(name, image_size=64, **settings)).eval()  # type: ignore[arg-type]
    perturb(encoder)
    return encoder


def perturb(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        scale = name.endswith(("gamma_1", "gamma_2", "lambda1"))
        parameter.data.add_(noise.abs().mul(0.3) if scale else noise.mul(0.05))


def features(encoder: ViTEncoder, frames: Tensor) -> Tensor:
    """All blocks and the norm, by hand."""
    found = encoder(frames)
    tokens = found["tokens"]
    for block in encoder.joint_blocks:
        tokens = encoder.run(block, tokens, found.get("rotation"))
    return encoder.norm(tokens)


def in_statistics_of(encoder: ViTEncoder, frames: Tensor) -> Tensor:
    """Frames in 0..1, normalised as an encoder's pre-training has them."""
    mean, std = (torch.tensor(x)[:, None, None] for x in (encoder.mean, encoder.std))
    return (frames - mean) / std


def in_statistics_of_imagenet(frames: Tensor) -> Tensor:
    mean, std = (torch.tensor(x)[:, None, None] / 255 for x in (MEAN, STD))
    return (frames - mean) / std


@pytest.mark.parametrize(
    "name", [*ROTARY, "vit_tiny_patch16_224.augreg_in21k", "deit3_small_patch16_224"]
)
@torch.no_grad()
def test_features_are_those_of_timm(name: str) -> None:
    """At a size that is not the grid's, from pixels normalised by ImageNet's statistics (1e-4)."""
    encoder, frames = built(name), torch.rand(2, 3, 64, 96)
    expected = encoder.vit.forward_features(in_statistics_of(encoder, frames))
    found = features(encoder, in_statistics_of_imagenet(frames))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    again = features(encoder, in_statistics_of(encoder, frames))
    same = encoder.mean == tuple(m / 255 for m in MEAN)
    assert same is torch.allclose(again, expected, atol=1e-3), "only ImageNet's are as they are"


def test_statistics_by_pre_training() -> None:
    clip = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    half = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    expected = {
        "eva02_tiny_patch14_224.mim_in22k": clip,
        "vit_tiny_patch16_224.augreg_in21k": half,
        "vit_base_patch16_siglip_224.webli": half,
        "vit_base_patch16_clip_224.openai": clip,
    }
    imagenet = tuple(m / 255 for m in MEAN), tuple(s / 255 for s in STD)
    same = (DINOV3, "vit_small_patch14_reg4_dinov2", "deit3_small_patch16_224.fb_in1k")
    with torch.device("meta"):
        for name in same:
            encoder = build_encoder(EncoderSpec(name))
            assert encoder.mean == pytest.approx(imagenet[0])
            assert encoder.std == pytest.approx(imagenet[1])
            assert isinstance(encoder.renormalize, nn.Identity)
        for name, statistics in expected.items():
            encoder = build_encoder(EncoderSpec(name))
            assert (encoder.mean, encoder.std) == statistics
            assert not list(encoder.renormalize.state_dict())


def test_padding_is_the_mean_colour_of_imagenet() -> None:
    encoder = built(EVA02)
    colour = torch.tensor(MEAN)[:, None, None].expand(3, 32, 32) / 255
    expected = in_statistics_of(encoder, colour)[None]
    torch.testing.assert_close(encoder.renormalize(torch.zeros(1, 3, 32, 32)), expected)


@pytest.mark.parametrize("gated", [False, True])
@torch.no_grad()
def test_dinov3_is_that_of_transformers(gated: bool, tmp_path: Path) -> None:
    """Through a file in its layout, at a size that is not square, to 1e-4."""
    name = "vit_small_plus_patch16_dinov3_qkvb" if gated else "vit_small_patch16_dinov3_qkvb"
    torch.manual_seed(0)
    config = transformers.DINOv3ViTConfig(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        intermediate_size=1536,
        hidden_act="silu" if gated else "gelu",
        use_gated_mlp=gated,
        num_register_tokens=4,
    )
    port = transformers.DINOv3ViTModel(config).eval()
    perturb(port)
    file = tmp_path / "dinov3.safetensors"
    save_file(port.state_dict(), file)
    encoder = build_encoder(EncoderSpec(name, 64, weights=str(file))).eval()
    assert encoder.report is not None
    assert encoder.report.complete
    frames = torch.randn(2, 3, 64, 96)
    expected = port(frames).last_hidden_state
    torch.testing.assert_close(features(encoder, frames), expected, atol=1e-4, rtol=1e-4)
    assert (expected[0] - expected[1]).abs().max() > 0.1


HEADS = [
    ("class_predictor.", "class_head."),
    ("mask_head.fc1.", "mask_head.0."),
    ("mask_head.fc2.", "mask_head.2."),
    ("mask_head.fc3.", "mask_head.4."),
    ("upscale_block.block.0.", "upscale.0."),
    ("upscale_block.block.1.", "upscale.1."),
]


@torch.no_grad()
def test_eomt_on_dinov3_is_that_of_transformers(tmp_path: Path) -> None:
    """Queries are not rotated: logits to 1e-3, of which the largest is above 1."""
    torch.manual_seed(0)
    config = transformers.EomtDinov3Config(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        intermediate_size=1536,
        num_blocks=3,
        image_size=96,
        num_queries=20,
        layer_norm_eps=1e-5,
        id2label={i: str(i) for i in range(10)},
    )
    port = transformers.EomtDinov3ForUniversalSegmentation(config).eval()
    perturb(port)
    port.attn_mask_probs.zero_()
    state = port.state_dict()
    encoder = {k: v for k, v in state.items() if k.startswith(("embeddings.", "layers."))}
    norm = {k: v for k, v in state.items() if k.startswith("layernorm.")}
    encoder |= {k.replace("layernorm", "norm"): v for k, v in norm.items()}
    file = tmp_path / "dinov3.safetensors"
    save_file(encoder, file)
    spec = EncoderSpec("vit_small_patch16_dinov3_qkvb", 96, weights=str(file))
    ours = EoMT.from_spec(ModelSpec(spec, 10, 20)).eval()
    heads = {
        new + k.removeprefix(old).replace("layernorm2d", "norm"): v
        for k, v in state.items()
        for old, new in HEADS
        if k.startswith(old)
    }
    missing, unexpected = ours.load_state_dict(heads, strict=False)
    assert not unexpected
    assert all(name.startswith("encoder.") for name in missing)
    frames = torch.randn(2, 3, 96, 96)
    expected = port(frames)
    queries = port.query.weight.expand(2, -1, -1)
    output = ours.decode(ours.encode(frames), queries)
    close = dict(atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(output.class_logits, expected.class_queries_logits, **close)
    torch.testing.assert_close(output.mask_logits, expected.masks_queries_logits, **close)
    assert expected.masks_queries_logits.abs().max() > 1
    # the same queries one place further: what would be if a table began at another token
    moved = ours.encode(frames)
    moved.maps["rotation"] = moved.maps["rotation"].roll(1, 1)
    other = ours.decode(moved, queries)
    assert (other.class_logits - output.class_logits).abs().max() > 1e-2


@pytest.mark.parametrize("name", ROTARY)
@torch.no_grad()
def test_only_the_last_tokens_of_a_joint_block_are_rotated(name: str) -> None:
    """As timm's own attention does it when told that the queries are prefix tokens too."""
    encoder, queries = built(name), torch.randn(2, 7, 192)
    found = encoder(torch.randn(2, 3, 64, 96))
    tokens = torch.cat([queries, found["tokens"]], dim=1)
    block = encoder.joint_blocks[0]
    told = deepcopy(block)
    told.attn.num_prefix_tokens = 7 + encoder.num_prefix
    expected = told(tokens, rope=found["rotation"][0])
    torch.testing.assert_close(encoder.run(block, tokens, found["rotation"]), expected)
    assert block.attn.num_prefix_tokens == encoder.num_prefix, "nothing is left behind"


@pytest.mark.parametrize("name", ROTARY)
@torch.no_grad()
def test_a_stream_is_its_clip(name: str) -> None:
    """Frame by frame as all at once, for two streams, and after frames of another size (1e-5)."""
    model, clip = video(name), torch.randn(2, 3, 3, 64, 96)
    whole, _ = model(clip)
    model(torch.randn(1, 2, 3, 32, 48))
    state = model.init_state(2)
    for t in range(3):
        output, state = model.step(clip[:, t], state)
        assert (output.class_logits - whole.class_logits[:, t]).abs().max() < 1e-5
        assert (output.mask_logits - whole.mask_logits[:, t]).abs().max() < 1e-4


@pytest.mark.parametrize("name", ROTARY)
@torch.no_grad()
def test_half_precision_rotates_in_single_precision(name: str) -> None:
    """Features under autocast to bfloat16 differ by its rounding alone."""
    encoder, frames = built(name), torch.rand(1, 3, 64, 96)
    expected = features(encoder, frames)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, rotation = features(encoder, frames), encoder(frames)["rotation"]
    assert rotation.dtype == torch.float32
    assert (found - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("name", ROTARY)
def test_gradients_reach_every_parameter(name: str) -> None:
    """Also where queries see the patches of their own mask alone."""
    model = video(name).train()
    model.segmenter.anneal_masks(0.0)
    output, _ = model(torch.randn(1, 2, 3, 32, 48))
    layers = [output, *output.intermediate]
    sum(x.class_logits.square().mean() + x.mask_logits.square().mean() for x in layers).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def video(name: str) -> VideoSegmenter:
    torch.manual_seed(0)
    return load_variant("step6_videomt").build(ModelSpec(EncoderSpec(name, 64), 4, 6)).eval()


def test_training_rescales_the_coordinates_of_dinov3() -> None:
    """By one factor for all frames of a call, log-uniform between 1/2 and 2."""
    encoder = build_encoder(EncoderSpec(DINOV3, 64))
    frames = torch.zeros(2, 3, 64, 64)
    still = encoder.eval().embed(frames)[1]
    assert still is not None
    assert torch.equal(still, encoder.embed(frames)[1])
    torch.manual_seed(0)
    encoder.train()
    factors = []
    for _ in range(300):
        rotation = encoder.embed(frames)[1]
        assert rotation is not None
        assert torch.equal(rotation[0], rotation[1])
        ratio = slowest_angle(rotation[0]) / slowest_angle(still[0])
        factors.append(float(ratio.mean()))
        torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), atol=1e-3, rtol=0)
    assert 0.5 <= min(factors) < 0.55
    assert 1.8 < max(factors) <= 2.0
    logs = torch.tensor(factors).log() / math.log(2)
    assert abs(float(logs.mean())) < 0.1
    assert float(logs.std()) == pytest.approx(1 / math.sqrt(3), rel=0.1)


def slowest_angle(table: Tensor) -> Tensor:
    """The angles (P,) of the lowest frequency along the height, which never goes round."""
    sine, cosine = table.chunk(2, -1)
    column = table.shape[-1] // 8 - 1
    return torch.atan2(sine[:, column], cosine[:, column])


def test_eva02_is_the_same_in_training() -> None:
    encoder = build_encoder(EncoderSpec(EVA02, 64))
    frames = torch.zeros(1, 3, 64, 64)
    still, moved = encoder.eval().embed(frames)[1], encoder.train().embed(frames)[1]
    assert still is not None
    assert torch.equal(still, moved)


@pytest.mark.parametrize("name", ROTARY)
@torch.no_grad()
def test_the_adapter_reads_what_the_blocks_give(name: str) -> None:
    encoder, frames = built(name), torch.rand(1, 3, 64, 96)
    expected = encoder.vit.forward_intermediates(
        in_statistics_of(encoder, frames), [2, 5, 8, 11], output_fmt="NLC", intermediates_only=True
    )
    adapter = ViTAdapter(encoder).eval()
    groups = adapter.vit_features(in_statistics_of_imagenet(frames))
    for found, group in zip(groups, expected, strict=True):
        torch.testing.assert_close(found, group, atol=1e-4, rtol=1e-4)
    maps = adapter(in_statistics_of_imagenet(frames))
    assert [tuple(m.shape[2:]) for m in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.mark.parametrize(
    ("name", "total", "encoder", "joint"),
    [
        ("vit_large_patch16_dinov3_qkvb.lvd1689m", 315_986_985, 303_128_576, 4),
        ("vit_small_patch16_dinov3_qkvb.lvd1689m", None, 21_600_000, 3),
        ("eva02_large_patch14_224.mim_in22k", None, 303_000_000, 4),
        ("vit_giant_patch14_reg4_dinov2.lvd142m", None, 1_136_000_000, 5),
        ("vit_7b_patch16_dinov3.lvd1689m", None, 6_716_000_000, 5),
    ],
)
def test_sizes(name: str, total: int | None, encoder: int, joint: int) -> None:
    """DINOv3-L to the parameter (YouTube-VIS: 40 classes, 200 queries); the rest to 1 %."""
    with torch.device("meta"):
        model = load_variant("step6_videomt").build(ModelSpec(EncoderSpec(name), 40, 200))
    own = sum(p.numel() for p in model.segmenter.encoder.parameters())
    assert own == pytest.approx(encoder, rel=0.01)
    assert model.segmenter.encoder.num_joint == joint
    if total is not None:
        assert sum(p.numel() for p in model.parameters()) == total


def test_other_positions_in_every_block_are_refused() -> None:
    with pytest.raises(BenchError, match="other rotary positions in every block") as caught:
        build_encoder(EncoderSpec("vit_small_patch16_rope_mixed_224"))
    assert "\n" not in str(caught.value)


def test_names_of_the_experiments_are_timms() -> None:
    for name in ("vit_large_patch16_dinov3_qkvb.lvd1689m", "eva02_large_patch14_224.mim_in22k"):
        config = timm.get_pretrained_cfg(name)
        assert config is not None
        assert config.hf_hub_id == f"timm/{name}"
