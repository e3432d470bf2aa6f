"""DVIS-DAQ at the paper's size: ViT-L, 480 × 864, 40 classes, 200 queries, shapes only.

The published system is counted with all tracker layers predicting. What it costs depends on how
many tracks live; the published numbers are means over videos, of which a few are 4:3 (0.988).
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from videomt_bench.cost.components import count_parameters
from videomt_bench.cost.count import MacCount, count_macs
from videomt_bench.cost.operators import ESTIMATED
from videomt_bench.models import DecoderSizes, EncoderSpec, ModelSpec, load_variant

MIXED_SIZES = 0.988
ENCODERS = {
    "dvis_daq": "vit_large_patch14_dinov2",
    "eomt_dvis_daq": "vit_large_patch14_reg4_dinov2",
}


@cache
def measured(name: str) -> tuple[dict[str, int], MacCount]:
    """Parameters by component, and the count of a frame."""
    with torch.device("meta"):
        model = load_variant(name).build(ModelSpec(EncoderSpec(ENCODERS[name]), 40, 200)).eval()
    return count_parameters(model), count_macs(model, 480, 864)


def test_dvis_daq() -> None:
    params, macs = measured("dvis_daq")
    assert sum(params.values()) == pytest.approx(366.9e6, rel=0.001, abs=0)
    assert macs.gmacs == pytest.approx(866.6, rel=0.01)
    assert macs.uncounted == {}
    assert "other" not in macs.by_component
    (note, _) = macs.notes
    assert "counted with 50 living tracks" in note
    # the facts, 2.7, of a tracker without identities
    assert params["tracker"] + params["re-ID"] == pytest.approx(18.63e6 + 3 * 65792, rel=1e-3)


def test_eomt_with_dvis_daq() -> None:
    _, macs = measured("eomt_dvis_daq")
    assert macs.gmacs == pytest.approx(703 / MIXED_SIZES, rel=0.02)
    assert macs.uncounted == {}


@pytest.mark.parametrize("tracks", [1, 30])
def test_the_tracker_by_hand(tracks: int) -> None:
    """Matrix products and convolutions of both branches, at the tracker's real sizes."""
    sizes = DecoderSizes(layers=1, pixel_layers=1)
    encoder = EncoderSpec("vit_tiny_conv_patch8", 48, 8)
    with torch.device("meta"):
        model = load_variant("dvis_daq").build(ModelSpec(encoder, 40, 60, sizes)).eval()
    model.tracker.counted = n = tracks
    count = count_macs(model, 96, 128).by_component["tracker"]
    found = sum(macs for name, macs in count.items() if name not in ESTIMATED)

    d, f, q, pixels, classes = 256, 2048, 60, 24 * 32, 41
    rows, slots = n + q, n + 5
    per_mask = 3 * d * d + classes * d + d * pixels
    cross = 2 * rows * d * d + 2 * q * d * d + 2 * rows * q * d
    own = 4 * rows * d * d + 2 * rows * rows * d
    main = 6 * (cross + own + 2 * rows * d * f) + 7 * rows * per_mask
    look = 2 * slots * d * d + 2 * q * d * d + 2 * slots * q * d
    compete = 2 * slots * d * d + 2 * slots * slots * d
    branch = 6 * (look + compete + 2 * slots * d * f) + slots * per_mask + slots * q * d
    positions = (q + n) * (pixels * d + 3 * d * d)
    expected = main + branch + positions + d * d * pixels
    assert found * 1e9 == pytest.approx(expected, rel=0.001)
