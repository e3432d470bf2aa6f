"""Settings in which rows differ, said once and briefly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from videomt_bench.report.rows import Row
from videomt_bench.report.tables.remarks import remarks
from videomt_bench.report.tables.table import build_report
from videomt_bench.sweep.outline import load_outline

MEASURED = Path(__file__).parents[2] / "results" / "measured"


def rows_of(results: Path, name: str) -> list[Row]:
    return build_report(results, load_outline(name)).tables[0].rows


def test_27_rows_of_three_sizes_are_one_short_sentence():
    (line,) = [r for r in remarks(rows_of(MEASURED / "cost", "ablation")) if "differ" in r]
    assert len(line) < 700
    assert line.startswith("The rows differ in settings: 0 CAVIS and 0 CAVIS, lean vs the others: ")
    assert line.count("CAVIS") == 2, "both variants, without their sizes"
    sizes = "vit_large_patch14_dinov2 / vit_base_patch14_dinov2 / vit_small_patch14_dinov2 vs "
    assert f"encoder.image_size 592 vs 640, name {sizes}" in line
    assert "recipe.segmenter.frames 3 vs 1, span 2 vs null;" in line
    assert "recipe.*.train.optim.backbone_factor 0.1 vs 1.0, " in line, "both stages at once"


def made_up(label: str, size: str, **encoder: Any) -> Row:
    from videomt_bench.report.records import Group

    spec = {"variant": label, "encoder": encoder, "dataset": {}, "recipe": {}}
    name = f"{label}, {size}" if size else label
    return Row(label, label, name, Group(spec, ()), {}, {}, (), size)


def test_rows_that_differ_by_size_alone_are_not_named():
    rows = [made_up(label, size, name=size) for size in "LB" for label in ("a", "b")]
    assert remarks(rows) == ["By encoder size, the rows differ in encoder.name L / B."]


def test_few_rows_are_all_named_and_long_values_cut():
    rows = [made_up("a", "", weights="x" * 99), made_up("b", "", weights="y")]
    cut = f"{'x' * 59}…"
    assert remarks(rows) == [f"The rows differ in settings: a vs b: encoder.weights {cut} vs y."]
    (line,) = remarks([*rows, made_up("c", "", weights="z")])
    assert line == (
        f"The rows differ in settings. a: encoder.weights {cut}. "
        "b: encoder.weights y. c: encoder.weights z."
    )
    assert remarks(rows[:1]) == []
