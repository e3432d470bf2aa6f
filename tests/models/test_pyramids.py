"""ResNets and Swin transformers with four maps against torchvision's and transformers' own, and the
windows of Swin against a re-statement token by token."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.ops import FrozenBatchNorm2d
from weights import port_names

from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, Mask2Former, ModelSpec, build_encoder, load_variant
from videomt_bench.models.encoders import encoder_names, is_pyramid
from videomt_bench.models.pyramids import PaddedBlock, PyramidEncoder, build_pyramid
from videomt_bench.models.variant import DecoderSizes
from videomt_bench.weights.backbones import SWIN
from videomt_bench.weights.family import PYRAMID

SWIN_T, SWIN_L = "swin_tiny_patch4_window7_224", "swin_large_patch4_window12_384"
SIZES = DecoderSizes(dim=32, heads=4, ffn=48, layers=3, pixel_layers=1, pixel_ffn=48)
TOLERANCE = dict(atol=1e-4, rtol=0)


def randomise(module: nn.Module) -> None:
    """No tensor keeps a value that would hide an error; activations keep their scale."""
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            continue
        if value.dim() > 1 and "table" not in name:
            value.normal_(std=value[0].numel() ** -0.5)
        else:
            value.normal_(std=0.2)
            if name.endswith(("weight", "running_var")):
                value.add_(1).abs_()


@torch.no_grad()
def test_resnet50_is_torchvisions(tmp_path: Path) -> None:
    """With frozen batch norms, from a file with torchvision's names and head, at odd sizes."""
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(norm_layer=FrozenBatchNorm2d)
    randomise(theirs)
    save_file(theirs.state_dict(), tmp_path / "r50.safetensors")
    ours = build_pyramid(EncoderSpec("resnet50", weights=str(tmp_path / "r50.safetensors")))
    assert ours.report is not None
    assert ours.report.complete
    frames = torch.randn(2, 3, 68, 100)
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(frames))))
    found = ours.train()(frames)
    assert ours.dims == tuple(m.shape[1] for m in found) == (256, 512, 1024, 2048)
    for i, layer in enumerate((theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4)):
        x = layer(x)
        assert x.std() > 0.05
        torch.testing.assert_close(found[i], x, **TOLERANCE)


def test_batch_norms_are_frozen() -> None:
    """Neither statistics nor factors learn, in training either; all else does."""
    encoder = build_pyramid(EncoderSpec("resnet18")).train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    assert len(before) == 20 * 4
    sum(x.square().mean() for x in encoder(torch.randn(2, 3, 64, 64))).backward()
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    names = [name for name, parameter in encoder.named_parameters() if parameter.dim() == 1]
    assert names == []
    assert all(p.grad is not None and bool(p.grad.any()) for p in encoder.parameters())


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "test_resnet"])
@torch.no_grad()
def test_random_weights_keep_the_scale(name: str) -> None:
    """Without norms that learn, sixteen blocks would add up to 10³ and more."""
    torch.manual_seed(0)
    for x in build_pyramid(EncoderSpec(name))(torch.randn(1, 3, 64, 96)):
        assert 0.01 < x.std() < 10


def swin_of_transformers(**config: object) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    out = [f"stage{i}" for i in range(1, 5)]
    return transformers.SwinBackbone(
        transformers.SwinConfig(out_features=out, drop_path_rate=0.0, **config)
    ).eval()


@torch.no_grad()
def test_swin_tiny_is_that_of_transformers() -> None:
    """All maps, where no side of any stage is a multiple of the window, with odd sides too."""
    torch.manual_seed(0)
    theirs = swin_of_transformers(
        embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7
    )
    randomise(theirs)
    ours = build_pyramid(EncoderSpec(SWIN_T)).eval()
    state = SWIN.to_ours(port_names.swin(theirs.state_dict())).state
    ours.load_state_dict({k.removeprefix(PYRAMID): v for k, v in state.items()})
    frames = torch.randn(1, 3, 256, 292)
    expected, found = theirs(frames).feature_maps, ours(frames)
    assert [tuple(x.shape[2:]) for x in found] == [(64, 73), (32, 37), (16, 19), (8, 10)]
    for a, b in zip(found, expected, strict=True):
        assert b.std() > 0.5
        torch.testing.assert_close(a, b, **TOLERANCE)


@pytest.mark.parametrize("size", [(8, 12), (9, 5), (3, 3), (4, 7)])
@pytest.mark.parametrize("shift", [0, 2])
@torch.no_grad()
def test_windows_token_by_token(size: tuple[int, int], shift: int) -> None:
    """A block's attention from its definition, where maps are larger and smaller than a window.

    The padded map is shifted as a ring; a token sees the tokens of its window that came from the
    same side of the seam, and padding that is there, with the keys and values of a zero vector.
    """
    torch.manual_seed(1)
    window, heads, dim = 4, 2, 8
    (height, width) = size
    block = PaddedBlock(
        dim, size, heads, window_size=window, shift_size=shift, always_partition=True,
        dynamic_mask=True,
    )  # fmt: skip
    randomise(block)
    x = torch.randn(1, height, width, dim)
    found = block._attn(x)[0]

    rows, columns = (-(-side // window) * window for side in size)
    attn, padded = block.attn, torch.zeros(rows, columns, dim)
    padded[:height, :width] = x[0]
    q, k, v = attn.qkv(padded).view(rows, columns, 3, heads, -1).unbind(2)

    def place(y: int, z: int) -> tuple[int, ...]:
        """Window and sides of the seam of a token of the padded map."""
        a, b = (y - shift) % rows, (z - shift) % columns
        return a // window, b // window, int(y < shift), int(z < shift)

    def offset(one: int, other: int, side: int) -> int:
        return (one - shift) % side % window - (other - shift) % side % window

    cells = [(y, z) for y in range(rows) for z in range(columns)]
    for y in range(height):
        for z in range(width):
            seen = [c for c in cells if place(*c) == place(y, z)]
            scores = torch.stack([(q[y, z] * k[c]).sum(-1) * (dim // heads) ** -0.5 for c in seen])
            index = [
                (offset(y, c[0], rows) + window - 1) * (2 * window - 1)
                + offset(z, c[1], columns) + window - 1
                for c in seen
            ]  # fmt: skip
            weights = (scores + attn.relative_position_bias_table[index]).softmax(0)
            mixed = sum(w[:, None] * v[c] for w, c in zip(weights, seen, strict=True))
            wanted = attn.proj(torch.as_tensor(mixed).flatten())
            torch.testing.assert_close(found[y, z], wanted, atol=1e-5, rtol=0)


def test_published_sizes() -> None:
    """Of Mask2Former (arXiv 2112.01527, Tab. 1 and 2, COCO, 80 classes): millions of parameters."""
    published = {"resnet50": (100, 44), "resnet101": (100, 63), SWIN_T: (100, 47),
                 "swin_small_patch4_window7_224": (100, 69),
                 "swin_base_patch4_window12_384": (100, 107), SWIN_L: (200, 216)}  # fmt: skip
    for name, (queries, millions) in published.items():
        with torch.device("meta"):
            model = load_variant("minvis").build(ModelSpec(EncoderSpec(name), 80, queries))
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.51)


@pytest.mark.parametrize(
    ("name", "dims"),
    [("resnet50", (256, 512, 1024, 2048)), (SWIN_L, (192, 384, 768, 1536))],
)
def test_map_shapes_at_the_published_test_size(name: str, dims: tuple[int, ...]) -> None:
    with torch.device("meta"):
        model = Mask2Former.from_spec(ModelSpec(EncoderSpec(name), 40, 100)).eval()
        maps = model.backbone(torch.empty(2, 3, 480, 864))
        features = model.encode(torch.empty(2, 3, 480, 864))
    shapes = [tuple(x.shape) for x in maps]
    assert shapes == [(2, d, 480 // s, 864 // s) for d, s in zip(dims, (4, 8, 16, 32), strict=True)]
    assert features.maps["mask_features"].shape == (2, 256, 120, 216)


@pytest.mark.parametrize("name", ["test_resnet", SWIN_T])
@pytest.mark.parametrize("size", [(64, 32), (36, 100)])
def test_mask2former_takes_any_multiple_of_4(name: str, size: tuple[int, int]) -> None:
    spec = ModelSpec(EncoderSpec(name), 5, 7, SIZES)
    model = Mask2Former.from_spec(spec).eval()
    assert model.stride == 4
    with torch.no_grad():
        output = model.decode(model.encode(torch.randn(1, 3, *size)), torch.randn(1, 7, 32))
    assert output.mask_logits.shape == (1, 7, size[0] // 4, size[1] // 4)
    with pytest.raises(BenchError, match="34x64 is not valid: height and width must be multiples"):
        model.encode(torch.randn(1, 3, 34, 64))


def test_a_pyramid_has_no_adapter_and_learns_with_weights(tmp_path: Path) -> None:
    state = build_pyramid(EncoderSpec("test_resnet")).net.state_dict()
    save_file(state, tmp_path / "x.safetensors")
    encoder = EncoderSpec("test_resnet", weights=str(tmp_path / "x.safetensors"))
    model = Mask2Former.from_spec(ModelSpec(encoder, 5, 7, SIZES))
    assert isinstance(model.backbone, PyramidEncoder)
    assert not any("adapter" in name for name, _ in model.named_modules())
    assert all(p.requires_grad for p in model.parameters())


def test_normalisation_is_that_of_its_pre_training() -> None:
    """All of the public configurations have ImageNet's; the frames come with it."""
    for name in ("resnet50.tv_in1k", "resnet50.a1_in1k", f"{SWIN_T}.ms_in22k"):
        with torch.device("meta"):
            assert isinstance(build_pyramid(EncoderSpec(name)).renormalize, nn.Identity)


def test_swins_own_layout_is_read(tmp_path: Path) -> None:
    """That of its authors: mergings end a stage, and indices and masks are in the file."""
    ours = build_pyramid(EncoderSpec(SWIN_T))
    state = {
        re.sub(r"(\d)\.downsample", lambda m: f"{int(m[1]) - 1}.downsample", name): value
        for name, value in ours.net.state_dict().items()
    }
    assert "layers.0.downsample.norm.weight" in state
    state |= {
        "layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.long),
        "norm.weight": torch.ones(768),
        "head.weight": torch.ones(3, 768),
    }
    file = tmp_path / "swin.pth"
    torch.save({"model": state}, file)
    again = build_pyramid(EncoderSpec(SWIN_T, weights=str(file)))
    assert again.report is not None
    assert again.report.complete
    wanted = ours.net.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in again.net.state_dict().items())


@pytest.mark.parametrize("variant", ["step6_videomt", "step1_eomt_segmenter", "eomt_dvis_plus"])
@pytest.mark.parametrize("name", ["resnet50", SWIN_L])
def test_eomt_refuses_pyramids(variant: str, name: str) -> None:
    with pytest.raises(BenchError, match=f"'{name}' is not a plain ViT") as caught:
        load_variant(variant).build(ModelSpec(EncoderSpec(name), 4, 5))
    assert "\n" not in str(caught.value)
    assert "Mask2Former" in str(caught.value)


def test_names() -> None:
    assert {"resnet50", SWIN_L, "vit_large_patch14_dinov2"} <= set(encoder_names())
    assert is_pyramid("resnet50.tv_in1k")
    assert not is_pyramid("vit_large_patch14_dinov2")
    with pytest.raises(BenchError, match="did you mean 'resnet50'"):
        build_encoder(EncoderSpec("resnet5"))
    with pytest.raises(BenchError, match="resnet50"):
        build_encoder(EncoderSpec("resnet50"))


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    state = build_pyramid(EncoderSpec("test_resnet")).net.state_dict()
    gone = next(iter(state))
    save_file({k: v for k, v in state.items() if k != gone}, tmp_path / "x.safetensors")
    with pytest.raises(BenchError, match=f"1 missing \\({gone}\\)"):
        build_pyramid(EncoderSpec("test_resnet", weights=str(tmp_path / "x.safetensors")))
