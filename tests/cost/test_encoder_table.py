"""The tables of encoders in the documentation are what the code counts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from videomt_bench.cost.encoder_table import (
    PRETRAINING,
    PYRAMIDS,
    pyramid_table,
    row,
    table,
)
from videomt_bench.models.encoders import is_pyramid

PAGE = Path(__file__).parents[2] / "docs" / "encoders.md"
ROWS = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| [`")]


@pytest.mark.filterwarnings("ignore:TF32")
def test_a_small_row_is_counted_anew() -> None:
    name = "vit_small_patch16_dinov3_qkvb.lvd1689m"
    (line,) = (line for line in ROWS if f"[`{name}`]" in line)
    header, _, counted = table([name]).splitlines()
    assert counted == line
    assert header in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_has_every_encoder_once() -> None:
    names = [re.match(r"\| \[`(.+?)`\]", line)[1] for line in ROWS]  # type: ignore[index]
    assert names == [n for table in (PRETRAINING, PYRAMIDS) for ns in table.values() for n in ns]
    assert [n for n in names if is_pyramid(n)] == [n for ns in PYRAMIDS.values() for n in ns]


@pytest.mark.filterwarnings("ignore:TF32")
def test_the_row_of_resnet50_is_counted_anew() -> None:
    (line,) = (line for line in ROWS if "[`resnet50." in line)
    header, _, counted = pyramid_table(["resnet50.tv_in1k"]).splitlines()
    assert counted == line
    assert header in PAGE.read_text(encoding="utf-8").splitlines()


def test_rotary_attention_is_counted() -> None:
    """DINOv3 differs from DINOv2 in the positions alone, which cost next to nothing."""
    gmacs = {
        re.match(r"\| \[`(.+?)`\]", line)[1]: float(line.split(" | ")[4])  # type: ignore[index]
        for line in ROWS
    }
    for size in ("small", "base", "large"):
        ours = gmacs[f"vit_{size}_patch16_dinov3_qkvb.lvd1689m"]
        assert ours == pytest.approx(gmacs[f"vit_{size}_patch14_reg4_dinov2.lvd142m"], rel=0.002)


def test_no_such_encoder() -> None:
    from videomt_bench.errors import BenchError

    with pytest.raises(BenchError, match="unknown encoder 'vit_x'"):
        row("vit_x", "")
