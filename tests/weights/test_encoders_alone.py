"""Files of an encoder alone: what they are, what of them fits, and their way into an encoder.

ViTs have timm's names here, ResNets those of timm and torchvision or detectron2's, Swin
transformers timm's or their authors', for classification and for detection.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor
from weights import published_encoders as encoders
from weights.shapes import Shapes, linear, norm

from videomt_bench import cli
from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, ModelSpec, load_variant
from videomt_bench.models.pyramids import PyramidEncoder, build_pyramid
from videomt_bench.models.variant import DecoderSizes
from videomt_bench.weights import describe, identify, load_weights
from videomt_bench.weights.matching import MatchReport

SWIN_T = "swin_tiny_patch4_window7_224"
SWIN_S = "swin_small_patch4_window7_224"
SIZES = DecoderSizes(dim=32, heads=4, ffn=48, layers=3, pixel_layers=1, pixel_ffn=48)
State = dict[str, Tensor]
T = TypeVar("T")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_small_patch14_reg4_dinov2", 518),
        ("vit_small_patch14_dinov2", 518),
        ("vit_small_patch16_dinov3_qkvb", 640),
        ("vit_small_patch16_dinov3", 640),
        ("deit3_small_patch16_224", 224),
        ("eva02_small_patch14_224", 224),
        ("vit_base_patch16_clip_224", 224),
        ("vit_small_patch16_224", 224),
        ("vit_base_patch16_siglip_256", 256),
    ],
)
def test_encoders_of_timm_are_known(name: str, size: int) -> None:
    info = identify(timms(name), "a file").info
    assert (info.family, info.encoder, info.image_size) == ("encoder", name, size)
    assert (info.variant, info.num_classes, info.num_queries) == (None, None, None)
    assert info.parts == ("encoder",)


def timms(name: str) -> State:
    """timm's own model with its head, without values."""
    with torch.device("meta"):
        return timm.create_model(name).state_dict()


def meta(shapes: Shapes) -> State:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def swin_for_classes() -> State:
    """The names of the Swin authors' files of classifiers."""
    own = {k: v for k, v in encoders.swin_tiny().items() if not re.match(r"norm\d", k)}
    own |= norm("norm", 768) | linear("head", 1000, 768)
    return meta(own | {"layers.0.blocks.1.attn_mask": (64, 49, 49)})


def below(state: Mapping[str, T]) -> dict[str, T]:
    return {f"backbone.{name}": value for name, value in state.items()}


FILES: dict[str, tuple[Callable[[], State], str, int, set[str]]] = {
    "timm, R18": (lambda: timms("resnet18"), "resnet18", 100, {"fc.weight", "fc.bias"}),
    "timm, R50": (lambda: timms("resnet50"), "resnet50", 265, {"fc.weight", "fc.bias"}),
    "detectron2": (lambda: meta(encoders.resnet(50)), "resnet50", 265, set()),
    "detectron2, with a head": (
        lambda: meta(encoders.resnet(101) | linear("stem.fc", 1000, 2048)),
        "resnet101",
        520,
        {"stem.fc.weight", "stem.fc.bias"},
    ),
    "below, detectron2": (lambda: below(meta(encoders.resnet(50))), "resnet50", 265, set()),
    "timm, Swin": (
        lambda: timms(SWIN_T),
        SWIN_T,
        169,
        {"norm.weight", "norm.bias", "head.fc.weight", "head.fc.bias"},
    ),
    "authors, for classes": (
        swin_for_classes,
        SWIN_T,
        169,
        {"norm.weight", "norm.bias", "head.weight", "head.bias", "layers.0.blocks.1.attn_mask"},
    ),
    "authors, for detection": (lambda: meta(encoders.swin_tiny()), SWIN_T, 177, set()),
    "below, for detection": (lambda: below(meta(encoders.swin_tiny())), SWIN_T, 177, set()),
}
"""What makes a file, its encoder, how many tensors that has, and what is left aside."""
NO_WEIGHTS = ("num_batches_tracked", "relative_position_index")


@pytest.mark.parametrize("name", FILES)
def test_a_pyramid_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, encoder, tensors, heads = FILES[name]
    state = make()
    info, report = described(state, monkeypatch)
    assert (info.family, info.encoder, info.parts) == ("encoder", encoder, ("encoder",))
    assert (info.image_size, info.patch_size, info.num_classes) == (0, 0, None)
    assert report.complete, str(report)
    assert len(report.matched) == tensors
    assert {x for x in report.unused if not x.endswith(NO_WEIGHTS)} == heads
    assert len(report.unused) + tensors == len(state) == info.tensors
    with torch.device("meta"):
        own = build_pyramid(EncoderSpec(encoder))
    norms = sum(p.numel() for p in own.norms.parameters()) if tensors != 177 else 0
    assert info.parameters == sum(p.numel() for p in own.parameters()) - norms


def described(state: State, monkeypatch: pytest.MonkeyPatch) -> tuple:
    """What ``describe`` says of a file with these tensors."""
    weights = identify(dict(state), "a file")
    monkeypatch.setattr("videomt_bench.weights.describing.open_weights", lambda _: weights)
    info, report = describe("a.pth")
    assert isinstance(report, MatchReport)
    return info, report


def test_the_head_of_a_vit_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    _, report = described(timms("vit_small_patch16_224"), monkeypatch)
    assert (report.complete, report.unused) == (True, ("head.weight", "head.bias"))


# into an encoder


def random_state(shapes: Shapes) -> State:
    torch.manual_seed(0)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def loaded(name: str, state: State, folder: Path, partial: bool = False) -> PyramidEncoder:
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "x.safetensors")
    file = str(folder / "x.safetensors")
    return build_pyramid(EncoderSpec(name, weights=file, partial=partial))


def as_detectron2(state: Mapping[str, Tensor]) -> State:
    """torchvision's names -> detectron2's, one replacement after the other, as it converts them."""
    result = {}
    for name, value in state.items():
        name = name if "layer" in name else f"stem.{name}"
        for i in (1, 2, 3, 4):
            name = name.replace(f"layer{i}", f"res{i + 1}")
        for i in (1, 2, 3):
            name = name.replace(f"bn{i}", f"conv{i}.norm")
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        result[name] = value
    return result


def test_detectron2s_names_are_those_of_its_files() -> None:
    with torch.device("meta"):
        names = as_detectron2(torchvision.models.resnet50().state_dict())
    frozen = {name for name in names if "tracked" not in name and "fc" not in name}
    assert frozen == encoders.resnet(50).keys()


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_detectron2s_resnet_is_torchvisions(prefix: str, tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18().state_dict()
    theirs = {k: torch.randn_like(v) if v.is_floating_point() else v for k, v in theirs.items()}
    state = {prefix + k: v for k, v in as_detectron2(theirs).items()}
    encoder = loaded("resnet18", state, tmp_path)
    assert encoder.report is not None
    assert encoder.report.complete
    own = encoder.net.state_dict()
    assert len(own) == 100
    assert all(torch.equal(own[name], theirs[name]) for name in own)


def test_swin_for_detection_brings_the_norms_of_its_maps(tmp_path: Path) -> None:
    state, prefix = random_state(below(encoders.swin_tiny())), "backbone."
    encoder = loaded(SWIN_T, state, tmp_path)
    assert encoder.report is not None
    assert encoder.report.complete
    for i in range(4):
        assert torch.equal(encoder.norms[i].weight, state[f"{prefix}norm{i}.weight"])
        assert torch.equal(encoder.norms[i].bias, state[f"{prefix}norm{i}.bias"])
    merging, theirs = encoder.net.layers[2].downsample, f"{prefix}layers.1.downsample."
    assert torch.equal(merging.reduction.weight, state[theirs + "reduction.weight"])
    table = "blocks.5.attn.relative_position_bias_table"
    own = encoder.net.layers[2].get_parameter(table)
    assert torch.equal(own, state[f"{prefix}layers.2.{table}"])
    del state[f"{prefix}norm2.bias"]
    with pytest.raises(BenchError, match=r"176 of 177 tensors match, 1 missing \(norm2\.bias\)"):
        loaded(SWIN_T, state, tmp_path)


def test_less_than_all_fails_unless_told(tmp_path: Path) -> None:
    state = resnet18()
    del state["backbone.res3.0.shortcut.norm.bias"]
    state["backbone.surplus"] = torch.ones(2)
    state["backbone.res4.1.conv2.weight"] = torch.ones(256, 256, 1, 1)
    with pytest.raises(BenchError) as caught:
        loaded("resnet18", state, tmp_path)
    for part in (
        "98 of 100 tensors match",
        "1 missing (layer2.0.downsample.1.bias)",
        "1 unexpected (surplus)",
        "(layer3.1.conv2.weight 256×256×1×1 for 256×256×3×3)",
        "partial=True loads what fits",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match="98 of 100 tensors match"):
        encoder = loaded("resnet18", state, tmp_path, partial=True)
    own = encoder.net.get_parameter("layer2.0.downsample.0.weight")
    assert torch.equal(own, state["backbone.res3.0.shortcut.weight"])


def resnet18() -> State:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18().state_dict()
    theirs = {k: v for k, v in theirs.items() if not k.endswith("num_batches_tracked")}
    return below(as_detectron2(theirs))


@pytest.mark.parametrize(
    ("encoder", "other", "sentence"),
    [
        (SWIN_T, SWIN_S, r"169 of 169 .* 156 unexpected \(layers\.2\.blocks\.1"),
        (SWIN_T, "resnet18", r"0 of 169 .* 100 unexpected \(bn1\.bias"),
        ("resnet18", "resnet34", r"100 of 100 .* 80 unexpected \(layer1\.2\."),
    ],
)
def test_another_encoders_file_is_refused_by_name(
    encoder: str, other: str, sentence: str, tmp_path: Path
) -> None:
    values = {name: torch.zeros(value.shape) for name, value in timms(other).items()}
    with pytest.raises(BenchError, match=sentence) as caught:
        loaded(encoder, values, tmp_path)
    assert "\n" not in str(caught.value)


def test_two_names_for_one_tensor_are_not_lost_in_silence(tmp_path: Path) -> None:
    state = resnet18()
    state["res2.0.conv1.weight"] = torch.ones(64, 64, 3, 3)
    with pytest.raises(BenchError, match=r"0 of 100 .* 103 unexpected \(backbone\."):
        loaded("resnet18", state, tmp_path)


def test_detectron2s_own_file_is_a_pickle(tmp_path: Path) -> None:
    file = tmp_path / "R-50.pkl"
    file.write_bytes(b"\x80\x04.")
    with pytest.raises(BenchError, match="are a pickle, which can run code when it is read"):
        build_pyramid(EncoderSpec("resnet50", weights=str(file)))


def test_into_a_model(tmp_path: Path) -> None:
    """What it cannot know must be allowed, as with a ViT."""
    state = resnet18()
    torch.save(state, tmp_path / "r18.pth")
    model = load_variant("minvis").build(ModelSpec(EncoderSpec("resnet18"), 3, 5, SIZES))
    with pytest.raises(BenchError, match=r"100 of .* missing \(segmenter\.pixel_decoder"):
        load_weights(tmp_path / "r18.pth", model)
    allow = ("segmenter.pixel_decoder.", "segmenter.decoder.", "queries")
    assert load_weights(tmp_path / "r18.pth", model, allow).unexpected == ()
    own = model.segmenter.encoder.net.layer4[1].conv2.weight
    assert torch.equal(own, state["backbone.res5.1.conv2.weight"])


def test_inspect_says_what_fits_and_what_is_left_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def inspect(state: State) -> tuple[int, str]:
        torch.save({"model": state}, tmp_path / "r18.pth")
        arguments = ["weights", "inspect", str(tmp_path / "r18.pth"), "--names", "--json"]
        monkeypatch.setattr(sys, "argv", ["videomt-bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), capsys.readouterr().out

    state = torchvision.models.resnet18().state_dict()
    code, text = inspect(state)
    assert code == 0
    for words in ("an encoder alone (encoder)", "resnet18", "100 of 100 tensors match"):
        assert words in text
    assert "not needed    fc.weight, fc.bias, bn1.num_batches_tracked" in text
    assert json.loads(text.splitlines()[-1])["match"]["unused"][:2] == ["fc.weight", "fc.bias"]
    del state["layer1.0.bn1.bias"]
    code, text = inspect(state | {"surplus": torch.ones(1)})
    assert code == 1
    assert "missing: layer1.0.bn1.bias" in text
    assert "unexpected: surplus" in text
    assert "unused: fc.bias" in text


def test_a_size_that_is_not_known_is_one_sentence() -> None:
    state = {k: v for k, v in timms("resnet50").items() if not k.startswith("layer3.5.")}
    with pytest.raises(
        BenchError, match=r"no ResNet of \(3, 4, 5, 3\) bottleneck blocks"
    ) as caught:
        identify(state, "a file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
@pytest.mark.parametrize("last", ["norm1.weight", "attn.relative_position_bias_table"])
def test_odd_shapes_are_never_a_traceback(last: str, shape: tuple[int, ...]) -> None:
    state = meta(encoders.swin_tiny()) | meta({f"layers.0.blocks.0.{last}": shape})
    with pytest.raises(BenchError) as caught:
        identify(state, "a file")
    assert "\n" not in str(caught.value)
