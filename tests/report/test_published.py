from __future__ import annotations

from pathlib import Path

import pytest

from videomt_bench.errors import BenchError
from videomt_bench.report import published
from videomt_bench.report.published import COLUMNS, load_published, other_rows, published_cells
from videomt_bench.report.tables.table import build_tables
from videomt_bench.sweep.outline import load_outline


def test_every_published_cell_has_value_unit_setting_and_source():
    for name in ("ablation", "propagation", "scale"):
        table = load_published(name)
        assert set(COLUMNS) <= set(table.columns)
        assert (table["table"] == name).all()
        assert (table["value"] > 0).all()
        assert table["source"].str.contains("arXiv 2602.17807 Tab").all()
        assert (table[["unit", "setting"]] != "").all().all()
        assert not table.duplicated(["row", "setting", "metric"]).any()


def test_the_ladder_is_the_one_of_table_1():
    """Spelled out a second time, from the paper."""
    ladder = {
        "step0_cavis": ("68.9", "358", "838", "15"),
        "step1_eomt_segmenter": ("68.1", "328", "699", "42"),
        "step2_no_context": ("68.4", "327", "581", "72"),
        "step3_no_reid": ("68.0", "326", "580", "74"),
        "step4_frame_by_frame": ("61.3", "316", "565", "162"),
        "step5_propagation": ("63.9", "316", "565", "162"),
        "step6_videomt": ("68.6", "318", "566", "160"),
    }
    table = load_published("ablation")
    assert set(table["row"]) == set(ladder)
    for row, texts in ladder.items():
        cells = published_cells(table, row)
        assert tuple(cells[m].text for m in ("AP", "params", "gmacs", "fps")) == texts


def test_tables_agree_where_they_print_the_same_cell():
    large = "ViT-L, DINOv2, YouTube-VIS 2019"
    ladder, scale = load_published("ablation"), load_published("scale")
    for row in ("step0_cavis", "step1_eomt_segmenter", "step6_videomt"):
        a, b = published_cells(ladder, row), published_cells(scale, row, large)
        assert {m: c.value for m, c in a.items()} == {m: c.value for m, c in b.items()}
    mechanisms = load_published("propagation")
    for row in ("step4_frame_by_frame", "step5_propagation", "step6_videomt"):
        for metric, cell in published_cells(mechanisms, row).items():
            assert cell.value == published_cells(ladder, row)[metric].value


def test_cells_that_sources_disagree_on_carry_a_note():
    scale = load_published("scale")
    cell = published_cells(scale, "step0_cavis", "ViT-B, DINOv2, YouTube-VIS 2019")["gmacs"]
    assert any("recount" in note for note in cell.notes)


def test_a_row_of_several_settings_is_never_picked_silently():
    with pytest.raises(BenchError, match="several settings"):
        published_cells(load_published("scale"), "step6_videomt")
    with pytest.raises(BenchError, match="ViT-L"):
        published_cells(load_published("scale"), "step6_videomt", "ViT-H")
    assert published_cells(load_published("ablation"), "no such row") == {}


def test_an_unknown_table_is_named_with_the_valid_ones():
    with pytest.raises(BenchError, match=r"'ablaton'; did you mean 'ablation'"):
        load_published("ablaton")


def test_a_damaged_table_is_an_error_with_its_name(tmp_path: Path, monkeypatch):
    (tmp_path / "bad.csv").write_text("table,row\nx,y\n")
    monkeypatch.setattr(published, "shipped", lambda folder: tmp_path)
    with pytest.raises(BenchError, match=r"bad\.csv"):
        load_published("bad")


def test_other_rows_are_what_a_table_has_besides_on_the_same_data_sets():
    table = load_published("vis")
    known = [
        published_cells(table, "step6_videomt", f"ViT-L, {e}, OVIS") for e in ("DINOv2", "DINOv3")
    ]
    found = {(row, encoder): cells for row, encoder, cells in other_rows("vis", known)}
    assert {row for row, _ in found} == {
        "minvis", "dvis", "dvis_plus", "dvis_daq", "step0_cavis", "lomm", "pmt", "lvmt"
    }  # fmt: skip
    assert found["lvmt", "DINOv3"]["AP"].text == "56.7"
    assert found["minvis", "Swin-L"]["AP"].text == "39.4"
    assert list(other_rows("vis", [])) == []


def test_a_main_table_ends_with_the_systems_that_no_row_builds(tmp_path: Path):
    outline = load_outline("vps")
    (table,) = build_tables(tmp_path, outline)
    rows = {row.label: row for row in table.rows}
    assert rows["PMT, DINOv3"].published["VPQ"].text == "55.5"
    assert rows["PMT, DINOv3"].missing() == "not run: no row of the experiment builds this system"
    assert rows["DVIS++, DINOv2"].missing() == "not run"
    without = build_tables(tmp_path, {**outline, "others": False})[0].rows
    assert "PMT, DINOv3" not in {row.label for row in without}
