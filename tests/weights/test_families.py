"""Every name and shape of the published checkpoints, at ViT-L size, without any value.

The lists are in ``published.py``; their lengths are those counted in the authors' files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
import torch
from weights import published
from weights.shapes import Shapes

from videomt_bench.errors import BenchError
from videomt_bench.models import VideoSegmenter, variant_names
from videomt_bench.weights import build_model, fitted, identify
from videomt_bench.weights.converting import in_layout
from videomt_bench.weights.identify import FAMILIES

DINOV2, DINOV3 = "vit_large_patch14_reg4_dinov2", "vit_large_patch16_dinov3_qkvb"
ADAPTED = "vit_large_patch14_dinov2"


@dataclass(frozen=True)
class Case:
    """A published checkpoint, and what it must be taken for."""

    family: str
    shapes: Shapes
    tensors: int
    variant: str | None
    encoder: str
    classes: int = 40
    size: int = 640
    parameters: int | None = None


CASES = [
    Case("videomt", published.videomt(), 366, "step6_videomt", DINOV2, parameters=317_649_961),
    Case(
        "videomt",
        published.videomt(grid=80, classes=124),
        366,
        "step6_videomt",
        DINOV2,
        classes=124,
        size=1280,
        parameters=322_651_261,
    ),
    Case("videomt_segmenter", published.videomt(fusion=False), 364, None, DINOV2),
    Case(
        "videomt_dinov3",
        published.videomt_dinov3(),
        437,
        "step6_videomt",
        DINOV3,
        parameters=315_986_985,
    ),
    Case(
        "videomt_dinov3",
        published.videomt_dinov3(fused=True),
        437 - 24 * 3,
        "step6_videomt",
        DINOV3,
        parameters=315_986_985,
    ),
    Case(
        "videomt_dinov3",
        published.videomt_dinov3(classes=124),
        437,
        "step6_videomt_normalized",
        DINOV3,
        classes=124,
        parameters=316_073_085,
    ),
    Case("videomt_dinov3_segmenter", published.videomt_dinov3(fusion=False), 435, None, DINOV3),
    Case("eomt", published.eomt(), 366, None, DINOV2, classes=133),
    Case("eomt_dinov3", published.eomt(v3=True), 437, None, DINOV3, classes=133),
    Case(
        "transformers_videomt",
        published.port(),
        463,
        "step6_videomt",
        DINOV2,
        parameters=317_649_961,
    ),
    Case(
        "transformers_eomt",
        published.port(fusion=False),
        460,
        None,
        DINOV2,
        parameters=316_600_361,
    ),
    Case(
        "transformers_eomt_dinov3",
        published.port_dinov3(),
        435,
        None,
        DINOV3,
        parameters=314_937_385,
    ),
    Case("minvis", published.mask2former(), 823, "minvis", ADAPTED, size=592),
    Case("dvis_plus_segmenter", published.ctvis(), 829, None, ADAPTED, size=592),
    Case("cavis_segmenter", published.cavis_segmenter(), 830, None, ADAPTED, size=592),
    Case("cavis", published.cavis(), 950, "cavis_public_code", ADAPTED, size=592),
    Case(
        "cavis_offline",
        published.cavis_offline(),
        950 + 192,
        "cavis_offline_public_code",
        ADAPTED,
        size=592,
    ),
    Case("dvis", published.dvis(), 941, "dvis", ADAPTED, size=592),
    Case(
        "dvis_offline",
        published.dvis() | published.refiner(256, 40, convolutions=True),
        941 + 192,
        "dvis_offline",
        ADAPTED,
        size=592,
    ),
    Case("dvis_plus", published.dvis_plus(), 955, "dvis_plus", ADAPTED, size=592),
    Case(
        "dvis_plus_offline",
        published.dvis_plus_offline(),
        1147,
        "dvis_plus_offline",
        ADAPTED,
        size=592,
    ),
    Case("dvis_daq", published.daq(), 1065, "dvis_daq", ADAPTED, size=592),
    Case("dvis_daq_offline", published.daq_offline(), 1221, "dvis_daq_offline", ADAPTED, size=592),
    Case(
        "dvis_daq_offline_conv",
        published.daq_offline_conv(),
        1065 + 192,
        "dvis_daq_offline_conv",
        ADAPTED,
        size=592,
    ),
]


def meta(shapes: Shapes) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def name_of(case: Case) -> str:
    return f"{case.family}-{case.tensors}-{case.classes}"


def test_every_family_has_a_case() -> None:
    missing = {f.name for f in FAMILIES} - {c.family for c in CASES}
    assert missing == {"ours"}


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_what_a_file_is(case: Case) -> None:
    assert len(case.shapes) == case.tensors
    info = identify(meta(case.shapes), "a file").info
    assert info.family == case.family
    assert info.variant == case.variant
    assert (info.variant is None) != (info.segmenter_of is None)
    assert info.encoder == case.encoder
    assert (info.image_size, info.patch_size) == (case.size, 16)
    assert (info.num_classes, info.num_queries) == (case.classes, 200)
    assert info.tensors == case.tensors
    # what is on a ViT-Adapter is published with code that resamples positions as DINOv2's does
    rule = "dinov2" if case.encoder == ADAPTED else "timm"
    assert info.positions == info.spec().encoder.positions == rule
    if case.parameters is not None:
        assert info.parameters == case.parameters


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_every_tensor_has_its_place(case: Case) -> None:
    """All of the file's are known, all of the model's are filled, none is left."""
    weights = identify(meta(case.shapes), "a file")
    needed = weights.info.variant or weights.info.segmenter_of
    assert needed in variant_names()
    with torch.device("meta"):
        model = build_model(weights.info)
    report = fitted(model, weights)[1]
    assert report.complete, str(report)
    assert len(report.matched) == len(model.state_dict()) == len(weights.state)
    assert set(report.unused) <= case.shapes.keys()
    for name in report.unused:
        assert name.endswith(UNUSED), name


UNUSED = (
    "attn_mask_probs",
    "empty_weight",
    "mask_token",
    "pixel_mean",
    "pixel_std",
    "vit_module.norm.weight",
    "vit_module.norm.bias",
    "laplacian",
)
"""What no model here needs."""


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_written_as_it_was_read(case: Case) -> None:
    """All names and shapes come back, but for projections that were fused."""
    weights = identify(meta(case.shapes), "a file")
    layout = weights.family.layout
    back = layout.to_theirs(weights.state)
    assert back.unknown == ()
    shapes = {name: tuple(value.shape) for name, value in back.state.items()}
    fused = any("qkv_proj" in name for name in case.shapes)
    assert shapes == (published.videomt_dinov3() if fused else case.shapes)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_as_ours_and_back(case: Case) -> None:
    weights = identify(meta(case.shapes), "a file")
    ours = identify(in_layout(weights, "ours")[1], "ours")
    assert ours.info.family == "ours"
    assert ours.state.keys() == weights.state.keys()
    if not weights.family.delta:
        family, state = in_layout(ours, case.family)
        assert family is weights.family
        assert state.keys() == weights.family.layout.to_theirs(weights.state).state.keys()


@pytest.mark.parametrize(
    ("family", "to", "expected"),
    [
        ("videomt", "transformers", "transformers_videomt"),
        ("transformers_videomt", "official", "videomt"),
        ("videomt_segmenter", "transformers", "transformers_eomt"),
        ("transformers_eomt", "official", "eomt"),
        ("transformers_eomt", "videomt_segmenter", "videomt_segmenter"),
        ("eomt", "transformers", "transformers_eomt"),
        ("eomt_dinov3", "transformers", "transformers_eomt_dinov3"),
        ("transformers_eomt_dinov3", "official", "videomt_dinov3_segmenter"),
    ],
)
def test_between_publishers(family: str, to: str, expected: str) -> None:
    case = next(c for c in CASES if c.family == family)
    found, state = in_layout(identify(meta(case.shapes), "a file"), to)
    assert found.name == expected
    wanted = next(c for c in CASES if c.family == expected)
    if wanted.classes == case.classes:
        assert {k: tuple(v.shape) for k, v in state.items()} == wanted.shapes


@pytest.mark.parametrize(
    ("family", "to"),
    [
        ("videomt_dinov3", "transformers"),
        ("cavis", "transformers"),
        ("videomt", "eomt"),
        ("eomt", "videomt"),
        ("eomt", "cavis"),
    ],
)
def test_what_has_no_such_layout(family: str, to: str) -> None:
    case = next(c for c in CASES if c.family == family)
    with pytest.raises(BenchError, match="cannot be written as") as caught:
        in_layout(identify(meta(case.shapes), "a file"), to)
    assert "\n" not in str(caught.value)


def test_an_unknown_tensor_is_named_and_not_lost() -> None:
    shapes = published.cavis() | {"tracker.extra.weight": (3,)}
    del shapes["backbone.up.bias"]
    shapes["sem_seg_head.predictor.query_embed.weight"] = (100, 256)
    weights = identify(meta(shapes), "a file")
    with torch.device("meta"):
        model = build_model(weights.info)
    report = fitted(model, weights)[1]
    assert report.unexpected == ("tracker.extra.weight",)
    assert report.missing == ("segmenter.adapter.up.bias",)
    assert report.other_shape == ("segmenter.decoder.query_positions 100×256 for 200×256",)
    with pytest.raises(BenchError, match=r"would be lost, such as tracker\.extra\.weight"):
        in_layout(weights, "ours")


def test_older_mask2former() -> None:
    shapes = published.mask2former()
    place = "sem_seg_head.predictor."
    shapes[place + "static_query.weight"] = shapes.pop(place + "query_feat.weight")
    weights = identify(meta(shapes), "a file")
    assert weights.renamed.unknown == ()
    assert weights.info.num_queries == 200
    assert place + "query_feat.weight" in weights.family.layout.to_theirs(weights.state).state


SMALL = {
    "videomt": published.videomt(dim=384, depth=12, joint=3, classes=3, queries=5),
    "dvis_plus": published.dvis_plus(dim=384, depth=12, classes=3, queries=5),
}


TELLING = (
    "query_feat.weight",
    "predictor.class_embed.weight",
    "vit_module.pos_embed",
    "vit_module.patch_embed.proj.weight",
    "blocks.0.norm1.weight",
)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("family", list(SMALL))
def test_odd_shapes_are_never_a_traceback(family: str, shape: tuple[int, ...]) -> None:
    """One tensor of each kind in turn: a sentence, or the name of it in the report."""
    shapes = SMALL[family]
    with torch.device("meta"):
        model = build_model(identify(meta(shapes), "a file").info)
    kinds = {re.sub(r"\d+", "0", name): name for name in shapes}
    if family == "dvis_plus":  # those whose sizes tell what the file is
        kinds = {k: v for k, v in kinds.items() if k.endswith(TELLING)}
    for name in kinds.values():
        if not name.endswith(("num_batches_tracked", *UNUSED)):
            assert _amiss(model, shapes | {name: shape}), name


def _amiss(model: VideoSegmenter, shapes: Shapes) -> bool:
    try:
        return not fitted(model, identify(meta(shapes), "a file"))[1].complete
    except BenchError as error:
        return "\n" not in str(error)
