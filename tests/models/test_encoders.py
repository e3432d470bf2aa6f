"""Encoders by name: sizes, resampling of patches and positions, weights, errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, ModelSpec, build_encoder, load_variant

SMALL = "vit_small_patch14_reg4_dinov2"


@pytest.mark.parametrize(
    ("name", "parameters", "joint"),
    [
        ("vit_small_patch14_reg4_dinov2", 24_087_977, 3),
        ("vit_base_patch14_reg4_dinov2", 94_182_185, 3),
        ("vit_large_patch14_reg4_dinov2", 317_649_961, 4),
    ],
)
def test_parameters_of_videomt_as_published(name: str, parameters: int, joint: int) -> None:
    with torch.device("meta"):
        model = load_variant("step6_videomt").build(ModelSpec(EncoderSpec(name), 40, 200))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.segmenter.encoder.num_joint == joint


def test_features_are_those_of_timm() -> None:
    """All blocks and the norm, run by hand, give timm's own features at another input size."""
    torch.manual_seed(0)
    encoder = build_encoder(EncoderSpec(SMALL, image_size=64)).eval()
    frames = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        tokens = encoder(frames)["tokens"]
        for block in encoder.joint_blocks:
            tokens = encoder.run(block, tokens)
        assert torch.equal(encoder.norm(tokens), encoder.vit.forward_features(frames))


def test_weights_of_patch_14_are_resampled_from_a_file(tmp_path: Path) -> None:
    source = timm.create_model(SMALL, num_classes=0, img_size=70)
    for parameter in source.parameters():
        parameter.data.normal_(std=0.02)
    file = tmp_path / "dinov2.pth"
    torch.save(source.state_dict(), file)
    encoder = build_encoder(EncoderSpec(SMALL, image_size=96, weights=str(file)))
    vit = encoder.vit
    assert vit.patch_embed.proj.weight.shape == (384, 3, 16, 16)
    assert vit.pos_embed.shape == (1, 36, 384)
    expected = timm.layers.resample_patch_embed(source.patch_embed.proj.weight, [16, 16])
    torch.testing.assert_close(vit.patch_embed.proj.weight, expected)
    positions = timm.layers.resample_abs_pos_embed(source.pos_embed, [6, 6], num_prefix_tokens=0)
    torch.testing.assert_close(vit.pos_embed, positions)
    assert torch.equal(vit.blocks[3].attn.qkv.weight, source.blocks[3].attn.qkv.weight)


def test_a_missing_weight_file_is_one_sentence() -> None:
    with pytest.raises(BenchError, match=r"'nowhere\.pth' are not a file"):
        build_encoder(EncoderSpec(SMALL, weights="nowhere.pth"))


def test_a_damaged_weight_file_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "bad.pth"
    file.write_bytes(b"not weights")
    with pytest.raises(BenchError, match="cannot be loaded"):
        build_encoder(EncoderSpec(SMALL, weights=str(file)))


def test_code_in_a_weight_file_is_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (tmp_path / "executed",))

    file = tmp_path / "hostile.pth"
    torch.save({"model": Payload()}, file)
    with pytest.raises(BenchError, match="cannot be loaded"):
        build_encoder(EncoderSpec(SMALL, weights=str(file)))
    assert not (tmp_path / "executed").exists()


def test_an_unknown_encoder_names_near_ones() -> None:
    with pytest.raises(BenchError, match="did you mean 'vit_small_patch14_reg4_dinov2'"):
        build_encoder(EncoderSpec("vit_small_patch14_reg4_dinov3"))


def test_an_input_that_is_no_multiple_of_the_patch() -> None:
    encoder = build_encoder(EncoderSpec("vit_tiny_conv_patch8", 48, 8))
    with pytest.raises(BenchError, match=r"50x48 is not valid.*multiples of the patch size 8"):
        encoder(torch.zeros(1, 3, 50, 48))


@pytest.mark.parametrize("joint", [-1, 6, 9])
def test_joint_blocks_out_of_range(joint: int) -> None:
    with pytest.raises(BenchError, match="valid: 1 to 5"):
        build_encoder(EncoderSpec("vit_tiny_conv_patch8", 48, 8, joint_blocks=joint))
