"""Steps 0 to 3 as variants: the contract, published sizes, and lean rows that change nothing."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from videomt_bench.cost.count import count_macs
from videomt_bench.models import (
    CavisTracker,
    EncoderSpec,
    EoMT,
    LearnedQueries,
    ModelSpec,
    Variant,
    load_variant,
)
from videomt_bench.models.conformance import SPEC

DINOV2 = "vit_large_patch14_dinov2", 592
REGISTERS = "vit_large_patch14_reg4_dinov2", 640
STEPS = ["step0_cavis", "step1_eomt_segmenter", "step2_no_context", "step3_no_reid"]
LEAN = ["step0_cavis", "step1_eomt_segmenter"]
TRACKER = 9_812_265
REID_WITH_CONTEXT, REID = 262_912, 197_376
PROJECTIONS = 2 * (1024 * 256 + 256)
REFERENCE_EMBEDDING = 512 * 256 + 256


def large(encoder: tuple[str, int]) -> ModelSpec:
    """ViT-L, YouTube-VIS 2019, the published number of queries."""
    return ModelSpec(EncoderSpec(*encoder), num_classes=40, num_queries=200)


@pytest.mark.parametrize(
    ("name", "encoder", "millions", "tolerance", "tracker"),
    [
        ("step0_cavis", DINOV2, 358.2, 0.001, TRACKER + REID_WITH_CONTEXT),
        (
            "step1_eomt_segmenter",
            REGISTERS,
            327.5,
            0.002,
            TRACKER + REID_WITH_CONTEXT + PROJECTIONS,
        ),
        ("step2_no_context", REGISTERS, 327.0, 0.003, TRACKER + REID + PROJECTIONS),
        ("step3_no_reid", REGISTERS, 326.5, 0.002, TRACKER - REFERENCE_EMBEDDING + PROJECTIONS),
    ],
)
def test_published_parameters(
    name: str, encoder: tuple[str, int], millions: float, tolerance: float, tracker: int
) -> None:
    with torch.device("meta"):
        model = load_variant(name).build(large(encoder))
    assert sum(p.numel() for p in model.tracker.parameters()) == tracker
    count = sum(p.numel() for p in model.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=tolerance)


@pytest.mark.filterwarnings("ignore:TF32")
@pytest.mark.parametrize(
    ("name", "gmacs", "context"),
    [
        ("step1_eomt_segmenter", 707.7, 120.1),
        ("step2_no_context", 587.6, 0.0),
        ("step3_no_reid", 587.6, 0.0),
        pytest.param("step0_cavis", 845.5, 120.1, marks=pytest.mark.slow),
    ],
)
def test_products_of_a_frame(name: str, gmacs: float, context: float) -> None:
    """At 448 × 800: the widths that explain the published 838, 699, 581 and 580, which are means
    over frames of several shapes."""
    with torch.device("meta"):
        model = load_variant(name).build(large(DINOV2 if name == "step0_cavis" else REGISTERS))
    count = count_macs(model.eval(), 448, 800)
    assert count.gflops / 2 == pytest.approx(gmacs, rel=0.001)
    assert sum(count.by_component.get("context features", {}).values()) == pytest.approx(
        context, abs=0.1
    )
    assert count.uncounted == {}


@pytest.mark.filterwarnings("ignore:TF32")
def test_heads_that_are_left_aside_are_counted_where_they_run() -> None:
    """What leads to no output is left out by a tracer: the segmenter's masks, which always run,
    and those of the tracker's layers before its last, which run where unused heads are asked for.
    """
    counts = {}
    for unused in (False, True):
        part = partial(CavisTracker, context="none", unused_heads=unused)
        model = Variant("", EoMT.from_spec, LearnedQueries, part).build(SPEC).eval()
        macs = count_macs(model, 48, 64).by_operator
        counts[unused] = round(1e9 * macs["einsum"])
        dim = model.segmenter.dim
    sizes, product = SPEC.sizes, SPEC.num_queries * 12 * 16
    assert counts[False] == product * (dim + sizes.dim)
    assert counts[True] == product * (dim + sizes.tracker_layers * sizes.dim)


@pytest.mark.parametrize("name", LEAN)
@torch.no_grad()
def test_a_lean_row_is_the_same_model(name: str) -> None:
    torch.manual_seed(0)
    full = load_variant(name).build(SPEC).eval()
    lean = load_variant(f"{name}_lean").build(SPEC).eval()
    lean.load_state_dict(full.state_dict(), strict=True)
    clip = torch.randn(2, 5, 3, 48, 64)
    (a, _), (b, _) = full(clip), lean(clip)
    for field in ("class_logits", "mask_logits", "queries", "identity"):
        x, y = getattr(a, field), getattr(b, field)
        assert (x - y).abs().max() <= 1e-4 * x.abs().max(), field
    assert a.order is not None
    assert b.order is not None
    assert torch.equal(a.order, b.order)


def test_lean_rows_differ_in_nothing_but_the_work() -> None:
    for name in LEAN:
        full, lean = load_variant(name), load_variant(f"{name}_lean")
        same = ("segmenter", "memory", "matching", "frozen", "joint_stage")
        assert all(getattr(full, field) == getattr(lean, field) for field in same)


def test_what_learns_when() -> None:
    """CAVIS freezes its segmenter and what learned with it; the steps on EoMT freeze nothing."""
    cavis, *others = (load_variant(name) for name in STEPS)
    assert cavis.joint_stage
    model = cavis.build(SPEC)
    left = {
        name.split(".")[0]
        for name, _ in model.named_parameters()
        if not name.startswith(tuple(f"{part}." for part in cavis.frozen))
    }
    assert left == {"tracker"}
    stage = model.tracker.image_stage()
    assert stage is not None
    assert {f"tracker.{k}" for k in stage.state_dict()} == {
        k for k in model.state_dict() if k.startswith("tracker.appearance.")
    }
    assert not any(v.frozen or v.joint_stage for v in others)
