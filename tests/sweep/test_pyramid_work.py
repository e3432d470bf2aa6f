"""What a plan supposes of models on pyramids, against what is counted for the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from videomt_bench.models import EncoderSpec
from videomt_bench.sweep.estimate import gmacs_per_frame
from videomt_bench.sweep.pyramid_work import pyramid_work

PAGE = Path(__file__).parents[2] / "docs" / "encoders.md"


@pytest.mark.parametrize("name", ["resnet50", "swin_tiny_patch4_window7_224"])
def test_a_plan_is_near_what_is_counted(name: str) -> None:
    """Within a tenth: windows are padded at other sizes, and norms are counted there."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^\| \[`{name}\..*$", text, re.MULTILINE)
    assert found is not None
    millions, gmacs = (float(x) for x in found[0].split(" | ")[3:5])
    assert pyramid_work(name).parameters / 1e6 == pytest.approx(millions, abs=0.1)
    assert gmacs_per_frame(EncoderSpec(name), 448 * 800) == pytest.approx(gmacs, rel=0.1)
    assert 100 < pyramid_work(name).activations < 10_000
