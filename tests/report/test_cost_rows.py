"""Rows of several encoder sizes, and records with a cost and no result yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from videomt_bench.report.tables.table import build_tables
from videomt_bench.report.write import write_report
from videomt_bench.runs.record import StageResult

from .conftest import EXPERIMENT, PROTOCOL, Save

SIZES = {"L": "vit_large", "B": "vit_base"}
EXPERIMENT_BY_SIZE = EXPERIMENT | {
    "rows": [
        {
            "variant": "step6_videomt",
            "label": f"6 fusion, ViT-{letter}",
            "encoder": encoder,
            "size": f"ViT-{letter}",
            "table": "ablation" if letter == "L" else "scale",
            "setting": f"ViT-{letter}, DINOv2, YouTube-VIS 2019",
        }
        for letter, encoder in SIZES.items()
    ]
}


def cost_of(gmacs: float) -> dict[str, Any]:
    parts = {"encoder": 0.75 * gmacs, "heads": 0.25 * gmacs}
    components = {k: {"params": 10, "gmacs": v, "milliseconds": None} for k, v in parts.items()}
    protocol = PROTOCOL | {"queries": 200, "classes": 40}
    return {"params": 20, "gmacs": gmacs, "protocol": protocol, "components": components}


@pytest.fixture
def counted(results: Path, save: Save) -> Path:
    for (letter, encoder), gmacs in zip(SIZES.items(), (573.0, 184.4), strict=True):
        run = f"step6_videomt-{letter}"
        save(
            "step6_videomt",
            0,
            spec={"encoder": {"name": encoder}},
            run_id=run,
            state="planned",
            stages={"cost": StageResult(run, "completed", 1.0)},
            cost=cost_of(gmacs),
        )
    return results


def test_each_row_has_the_numbers_of_its_size(counted: Path) -> None:
    (table,) = build_tables(counted, EXPERIMENT_BY_SIZE, draws=20)
    keys = [column.key for column in table.main.columns]
    cells = [dict(zip(keys, row, strict=True)) for row in table.main.rows]
    assert [c["gmacs"].text for c in cells] == ["573", "184"]
    assert [c["paper_AP"].text for c in cells] == ["68.6", "58.2"]
    assert [c["paper_gmacs"].text for c in cells] == ["566", "182"]
    assert all(c["AP"].text == "–" for c in cells)
    assert table.rows[0].missing() == "not run yet"


def test_a_figure_of_costs_for_each_size(counted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = {f.name for f in write_report(counted, out, EXPERIMENT_BY_SIZE, draws=20)}
    assert {f"made-up-cost-vit-{x}.{e}" for x in "lb" for e in ("png", "pdf", "svg")} < files
    assert "made-up-figure.png" not in files, "there is no result to show"
    text = (out / "made-up.md").read_text()
    assert "(made-up-cost-vit-l.png)" in text
    assert "made-up-figure" not in text
    assert Image.open(out / "made-up-cost-vit-l.png").width == 1350
