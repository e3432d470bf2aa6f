"""The ablation at the paper's size: parameters and operations of every step, and of its parts.

ViT-L, 448 × 800, 40 classes, 200 queries, shapes only. Published numbers are of VidEoMT's Table 1;
its operations are a mean over frames of which a few are 4:3, 1.2 % below those of 448 × 800.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from videomt_bench.cost.components import count_parameters
from videomt_bench.cost.count import MacCount, count_macs
from videomt_bench.cost.operators import ESTIMATED
from videomt_bench.models import EncoderSpec, ModelSpec, load_variant
from videomt_bench.models.conformance import SPEC

MIXED_SIZES = 0.988
STEPS = {
    "step0_cavis": (358.2e6, 0.001, 847, 0.01),
    "step1_eomt_segmenter": (327.5e6, 0.5 / 327.5, 699 / MIXED_SIZES, 0.015),
    "step2_no_context": (327e6, 0.003, 581 / MIXED_SIZES, 0.015),
    "step3_no_reid": (326.5e6, 0.5 / 326.5, 580 / MIXED_SIZES, 0.015),
    "step4_frame_by_frame": (316.6e6, 0.001, 572.8, 0.005),
    "step5_propagation": (316.6e6, 0.001, 572.8, 0.005),
    "step6_videomt": (317_649_961, 0, 573, 0.005),
}
"""Parameters and 10⁹ multiply-accumulates, each with its relative tolerance."""


@cache
def measured(name: str) -> tuple[dict[str, int], MacCount]:
    """Parameters by component, and the count of a frame."""
    registers = "" if name.startswith("step0") else "reg4_"
    encoder = EncoderSpec(f"vit_large_patch14_{registers}dinov2")
    with torch.device("meta"):
        model = load_variant(name).build(ModelSpec(encoder, 40, 200)).eval()
    return count_parameters(model), count_macs(model, 448, 800)


def products(name: str) -> dict[str, float]:
    """Component -> 10⁹ multiply-accumulates of matrix products and convolutions alone."""
    count = measured(name)[1].by_component
    return {
        component: sum(n for op, n in operators.items() if op not in ESTIMATED)
        for component, operators in count.items()
    }


@pytest.mark.parametrize("name", STEPS)
def test_parameters_and_operations_of_a_step(name: str) -> None:
    params, params_tolerance, gmacs, tolerance = STEPS[name]
    counted, macs = measured(name)
    assert sum(counted.values()) == pytest.approx(params, rel=params_tolerance, abs=0)
    assert macs.gmacs == pytest.approx(gmacs, rel=tolerance)
    assert macs.uncounted == {}
    total = sum(sum(operators.values()) for operators in macs.by_component.values())
    assert total == pytest.approx(macs.gmacs, rel=1e-12)
    assert "other" not in counted
    assert "other" not in macs.by_component


def test_components_of_cavis() -> None:
    """The decoupled facts, 0.1 and 2.7, which were measured by another counter on other code.

    There the heads are the decoder's, and of the ViT's position grid 37 × 37 cells are counted.
    """
    macs = products("step0_cavis")
    parts = {
        "backbone": macs["encoder"] + macs["adapter"],
        "ViT blocks": macs["encoder"] - 768 * 1024 * 1400 / 1e9,
        "pixel decoder": macs["pixel decoder"],
        "decoder": macs["decoder"] + macs["heads"],
        "context": macs["context features"],
        "tracker": macs["tracker"],
        "total": sum(macs.values()),
    }
    expected = {
        "backbone": 641.5,
        "ViT blocks": 519.6,
        "pixel decoder": 54.6,
        "decoder": 19.9,
        "context": 120.1,
        "tracker": 9.35,
        "total": 845.5,
    }
    assert parts == pytest.approx(expected, rel=0.01)
    assert macs["re-ID"] == pytest.approx(0.05, abs=0.005)
    params = measured("step0_cavis")[0]
    grid = (40**2 - 37**2) * 1024
    millions = {
        "backbone": params["encoder"] - grid + params["adapter"],
        "pixel decoder": params["pixel decoder"],
        "decoder": sum(params[x] for x in ("decoder", "heads", "memory", "re-ID")),
        "tracker": params["tracker"],
    }
    facts = {"backbone": 327.50, "pixel decoder": 6.10, "decoder": 14.78, "tracker": 9.81}
    assert {k: v / 1e6 for k, v in millions.items()} == pytest.approx(facts, rel=0.001)


def test_the_public_code_of_cavis_costs_the_same() -> None:
    """It is step 0 but for the inverse of permutations, which is no multiply-accumulate."""
    own, public = load_variant("step0_cavis"), load_variant("cavis_public_code")
    option = "inverse_matching=True, "
    assert {k: v.replace(option, "") for k, v in public.slots().items()} == own.slots()
    counts = []
    for variant in (own, public):
        model = variant.build(SPEC).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 2, 3, 48, 64))
        counts.append((counter.get_total_flops(), count_parameters(model)))
    assert counts[0] == counts[1]
    assert counts[0][0] > 0


def test_what_each_step_takes_away() -> None:
    """The differences between steps are those of 4.3: context, re-ID, tracker, fusion."""
    one, two, three, four, six = (
        products(name)
        for name in (
            *("step1_eomt_segmenter", "step2_no_context", "step3_no_reid"),
            *("step4_frame_by_frame", "step6_videomt"),
        )
    )
    assert one["context features"] == pytest.approx(120.1, rel=0.01)
    assert "context features" not in two
    assert two["re-ID"] == pytest.approx(0.04, abs=0.005)
    assert "re-ID" not in three
    assert three["tracker"] == pytest.approx(9.35 + 5.87, rel=0.01)
    assert "tracker" not in four
    assert six["memory"] == pytest.approx(200 * 1024**2 / 1e9, rel=1e-9)
    for step in (one, two, three, six):
        assert step["encoder"] + step["heads"] == pytest.approx(572.3, rel=0.001)


@pytest.mark.parametrize(
    ("lean", "step"),
    [
        ("step1_eomt_segmenter_lean", "step1_eomt_segmenter"),
        pytest.param("step0_cavis_lean", "step0_cavis", marks=pytest.mark.slow),
    ],
)
def test_the_lean_twins_save_the_dense_filter_and_the_unused_heads(lean: str, step: str) -> None:
    whole, less = products(step), products(lean)
    assert measured(lean)[0] == measured(step)[0]
    assert less["context features"] < 0.05
    # five of six layers: mask product, three layers of the mask head, class head
    unused = 5 * 200 * 256 * (112 * 200 + 3 * 256 + 41) / 1e9
    assert whole["tracker"] - less["tracker"] == pytest.approx(unused, rel=0.01)
    untouched = set(whole) - {"context features", "tracker", "heads"}
    assert {k: less[k] for k in untouched} == {k: whole[k] for k in untouched}
