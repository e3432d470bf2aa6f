"""Published checkpoints on ResNets and Swin transformers: every name and shape, without any value.

The lists in ``published.py`` are detectron2's names and those of Swin for detection.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from weights import published
from weights import published_encoders as encoders
from weights.published import on
from weights.shapes import Shapes

from videomt_bench.errors import BenchError
from videomt_bench.models import VideoSegmenter
from videomt_bench.weights import build_model, fitted, identify
from videomt_bench.weights.converting import in_layout

ENCODERS = {
    "r50": "resnet50",
    "r101": "resnet101",
    "swin_t": "swin_tiny_patch4_window7_224",
    "swin_l": "swin_large_patch4_window12_384",
}
QUERIES = {"r50": 100, "r101": 100, "swin_t": 100, "swin_l": 200}
SYSTEMS: dict[str, tuple[Callable[..., Shapes], str]] = {
    "minvis": (published.mask2former, "minvis"),
    "dvis_plus_segmenter": (published.ctvis, "dvis_plus"),
    "cavis_segmenter": (published.cavis_segmenter, "step0_cavis"),
    "cavis": (published.cavis, "cavis_public_code"),
    "cavis_offline": (published.cavis_offline, "cavis_offline_public_code"),
    "dvis": (published.dvis, "dvis"),
    "dvis_plus": (published.dvis_plus, "dvis_plus"),
    "dvis_plus_offline": (published.dvis_plus_offline, "dvis_plus_offline"),
    "dvis_daq": (published.daq, "dvis_daq"),
    "dvis_daq_offline": (published.daq_offline, "dvis_daq_offline"),
    "dvis_daq_offline_conv": (published.daq_offline_conv, "dvis_daq_offline_conv"),
}
CASES = [(family, "r50") for family in SYSTEMS]
CASES += [(f, "swin_l") for f in ("minvis", "cavis", "dvis_plus_offline", "dvis_daq_offline_conv")]
CASES += [("minvis", "r101"), ("minvis", "swin_t")]
"""All systems on one, some on the other, and other sizes once."""


def shapes_of(family: str, backbone: str) -> Shapes:
    return on(backbone, SYSTEMS[family][0](queries=QUERIES[backbone]))


def meta(shapes: Shapes) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def test_the_lists_are_as_long_as_the_authors_files() -> None:
    """53 convolutions with four values of a norm each; 24 blocks of 14, 3 mergings, 4 norms."""
    assert len(encoders.resnet(50)) == 53 * 5
    assert len(encoders.swin()) == 24 * 14 + 3 * 3 + 4 * 2 + 4


@pytest.mark.parametrize(("family", "backbone"), CASES)
def test_what_a_file_is(family: str, backbone: str) -> None:
    info = identify(meta(shapes_of(family, backbone)), "a file").info
    assert info.family == family
    assert (info.variant or info.segmenter_of) == SYSTEMS[family][1]
    assert info.encoder == ENCODERS[backbone]
    assert (info.image_size, info.patch_size) == (0, 0)
    assert (info.num_classes, info.num_queries) == (40, QUERIES[backbone])
    assert "encoder" in info.parts
    assert "adapter" not in info.parts


@pytest.mark.parametrize(("family", "backbone"), CASES)
def test_every_tensor_has_its_place_and_goes_back(family: str, backbone: str) -> None:
    """All of the file's are known, all of the model's are filled, and all are written again."""
    shapes = shapes_of(family, backbone)
    weights = identify(meta(shapes), "a file")
    with torch.device("meta"):
        model = build_model(weights.info)
    report = fitted(model, weights)[1]
    assert report.complete, str(report)
    assert len(report.matched) == len(model.state_dict()) == len(weights.state)
    for name in report.unused:
        assert name.endswith(("empty_weight", "laplacian", "relative_position_index"))
    assert parameters_of(model) == weights.info.parameters

    ours = identify(in_layout(weights, "ours")[1], "ours")
    assert (ours.info.family, ours.info.encoder) == ("ours", ENCODERS[backbone])
    found, state = in_layout(ours, family)
    assert found is weights.family
    assert {name: tuple(value.shape) for name, value in state.items()} == shapes


@pytest.mark.parametrize("backbone", ["r50", "swin_t"])
def test_official_is_the_layout_of_its_own_backbone(backbone: str) -> None:
    shapes = shapes_of("minvis", backbone)
    family, state = in_layout(identify(meta(shapes), "a file"), "official")
    assert family.name == "minvis"
    assert state.keys() == shapes.keys()


def parameters_of(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_the_index_of_relative_positions_is_that_of_the_authors() -> None:
    """Written from its definition: rows and columns between two tokens, from the most negative."""
    weights = identify(meta(shapes_of("minvis", "swin_t")), "a file")
    state = weights.family.layout.to_theirs(weights.state).state
    found = state["backbone.layers.3.blocks.1.attn.relative_position_index"]
    window = 7
    cells = [(y, x) for y in range(window) for x in range(window)]
    wanted = [
        [(a[0] - b[0] + window - 1) * (2 * window - 1) + a[1] - b[1] + window - 1 for b in cells]
        for a in cells
    ]
    assert found.tolist() == wanted


def test_counters_of_norms_that_learn_are_not_needed() -> None:
    shapes = shapes_of("minvis", "r50") | {"backbone.res2.0.conv1.norm.num_batches_tracked": ()}
    weights = identify(meta(shapes), "a file")
    assert weights.renamed.unknown == ()
    assert any(name.endswith("num_batches_tracked") for name in weights.renamed.unused)


@pytest.mark.parametrize(
    ("backbone", "gone", "sentence"),
    [
        ("r50", "backbone.res4.5.", r"no ResNet of \(3, 4, 5, 3\) bottleneck blocks is known"),
        ("swin_t", "backbone.layers.2.blocks.5.", r"of 7 and \(2, 2, 5, 2\) blocks is known"),
    ],
)
def test_another_size_is_one_sentence(backbone: str, gone: str, sentence: str) -> None:
    shapes = {k: v for k, v in shapes_of("minvis", backbone).items() if not k.startswith(gone)}
    with pytest.raises(BenchError, match=sentence) as caught:
        identify(meta(shapes), "a file")
    assert "\n" not in str(caught.value)


def test_a_file_for_another_encoder_is_refused_by_name() -> None:
    """A ResNet's for a model on Swin, and the other way round to a ViT with its adapter."""
    resnet = identify(meta(shapes_of("minvis", "r50")), "a file")
    swin = identify(meta(shapes_of("minvis", "swin_t")), "a file")
    vit = identify(meta(published.mask2former()), "a file")
    for weights, other in ((resnet, swin), (resnet, vit), (vit, resnet)):
        with torch.device("meta"):
            model = build_model(other.info)
        report = fitted(model, weights)[1]
        assert any(name.startswith("segmenter.") for name in report.missing)
        assert any(name.startswith("segmenter.") for name in report.unexpected)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        ("swin_t", "layers.0.blocks.0.norm1.weight"),
        ("swin_t", "layers.0.blocks.0.attn.relative_position_bias_table"),
        ("swin_t", "layers.3.blocks.1.attn.relative_position_bias_table"),
        ("r50", "stem.conv1.weight"),
        ("r50", "res2.0.conv1.norm.running_var"),
    ],
)
def test_odd_shapes_are_never_a_traceback(backbone: str, name: str, shape: tuple[int, ...]) -> None:
    """A sentence, or the name of the tensor in the report."""
    shapes = shapes_of("minvis", backbone)
    assert amiss(minvis(backbone), shapes | {f"backbone.{name}": shape})


@cache
def minvis(backbone: str) -> VideoSegmenter:
    with torch.device("meta"):
        return build_model(identify(meta(shapes_of("minvis", backbone)), "a file").info)


def amiss(model: VideoSegmenter, shapes: Shapes) -> bool:
    try:
        return len(fitted(model, identify(meta(shapes), "a file"))[1].other_shape) == 1
    except BenchError as error:
        return "\n" not in str(error)
