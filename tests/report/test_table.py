from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videomt_bench.errors import BenchError
from videomt_bench.report.tables.comparable import measured_setting
from videomt_bench.report.tables.display import Display, Notes, fixed, signed, significant
from videomt_bench.report.tables.table import ReportTable, build_tables
from videomt_bench.runs.record import Metric

from .conftest import EXPERIMENT, PROTOCOL, Save

FRAME, PROPAGATION, FUSION = (row["variant"] for row in EXPERIMENT["rows"])


def build(results: Path, draws: int = 40, **changes: Any) -> ReportTable:
    (table,) = build_tables(results, {**EXPERIMENT, **changes}, draws=draws)
    return table


def column(display: Display, key: str) -> list[str]:
    (i,) = [i for i, c in enumerate(display.columns) if c.key == key]
    return [row[i].text for row in display.rows]


def notes_of(table: ReportTable, display: Display, key: str, row: int) -> list[str]:
    (i,) = [i for i, c in enumerate(display.columns) if c.key == key]
    return [text for mark, text in table.notes if mark in display.rows[row][i].marks]


def test_numbers_come_from_the_records(results: Path, save: Save):
    records = [save(FUSION, seed, 0.5) for seed in (1, 2, 3)]
    save(FRAME, 1, 0.3)
    table = build(results)
    mean = np.mean([r.metrics["AP"].value for r in records])
    assert column(table.main, "AP")[2] == f"{100 * mean:.1f}"
    spreads = [row[1].spread for row in table.main.rows]
    assert [re.findall(r"\(n \d\)", text) for text in spreads] == [["(n 1)"], [], ["(n 3)"]]
    deviation = np.std([100 * (r.metrics["AP"].value or 0) for r in records], ddof=1)
    assert spreads[2].startswith(f"± {deviation:.1f} (n 3) [")
    assert column(table.main, "n_videos") == ["12", "–", "12"]
    assert column(table.main, "params")[2] == "0.812"
    assert column(table.main, "gmacs")[2] == "0.0512"
    assert column(table.main, "fps_model")[2] == "120"
    assert column(table.main, "fps_end_to_end")[2] == "80.0"
    recall = np.mean([r.metrics["recall_late"].value for r in records])
    assert column(table.detail, "recall_late")[2] == f"{100 * recall:.1f}"
    line = table.tidy.query("row == @FUSION and metric == 'AP' and origin == 'measured'").iloc[0]
    assert line["value"] == pytest.approx(100 * mean)
    assert line["low"] < line["value"] < line["high"]
    assert len(line["seed_values"].split()) == 3


def test_rows_keep_the_order_and_labels_of_the_experiment(results: Path, save: Save):
    save(PROPAGATION, 1)
    save("another_variant", 1)
    table = build(results)
    assert column(table.main, "label") == [row["label"] for row in EXPERIMENT["rows"]]


def test_a_missing_row_is_a_dash_with_its_reason(results: Path, save: Save):
    save(FRAME, 1, state="failed", reason="loss is\nnot finite")
    save(PROPAGATION, 1, state="out_of_memory")
    table = build(results)
    assert column(table.main, "AP") == ["–", "–", "–"]
    reasons = [notes_of(table, table.main, "AP", i) for i in range(3)]
    assert reasons == [["failed: loss is not finite"], ["out of memory"], ["not run"]]
    assert notes_of(table, table.main, "fps_model", 1) == ["out of memory"]
    lines = table.tidy.query("origin == 'measured' and metric == 'AP'")
    assert lines["value"].isna().all()
    assert list(lines["note"]) == ["failed: loss is not finite", "out of memory", "not run"]


def test_a_lost_seed_is_named(results: Path, save: Save):
    save(FUSION, 1)
    save(FUSION, 2, state="timed_out", reason="limit of 4 h")
    table = build(results)
    assert table.main.rows[2][1].spread.startswith("(n 1) [")
    assert notes_of(table, table.main, "AP", 2) == ["1 of 2 seeds; seed 2: timed out: limit of 4 h"]


def test_published_cells_stand_beside_with_their_setting(results: Path, save: Save):
    save(FUSION, 1)
    table = build(results)
    assert column(table.main, "paper_AP") == ["61.3", "63.9", "68.6"]
    assert column(table.main, "paper_gmacs") == ["565", "565", "566"]
    groups = {c.group for c in table.main.columns if c.key.startswith("paper")}
    assert groups == {"paper, ViT-L, DINOv2, YouTube-VIS 2019"}
    rows = [*EXPERIMENT["rows"], {"variant": "frame_by_frame_matched", "label": "x"}]
    other = build(results, rows=rows)
    assert column(other.main, "paper_AP")[3] == "–"
    assert notes_of(other, other.main, "paper_AP", 3) == ["no published number"]
    assert "paper_AP" not in [c.key for c in build(results, published=None).main.columns]


def test_a_published_row_of_several_settings_needs_one(results: Path):
    rows = [{"variant": FUSION, "label": size, "setting": f"ViT-{size}, DINOv2, YouTube-VIS 2019"}
            for size in "LBS"]  # fmt: skip
    table = build(results, published="scale", rows=rows)
    assert column(table.main, "paper_AP") == ["68.6", "58.2", "52.8"]
    assert notes_of(table, table.main, "paper_AP", 1) == [
        "paper: published for ViT-B, DINOv2, YouTube-VIS 2019"
    ]


def test_the_caption_says_what_was_measured_and_how(results: Path, save: Save):
    for seed in (1, 2):
        save(FUSION, seed)
    caption = build(results).caption
    for words in (
        "tiny setting", "generated data", "2 seeds and 12 test videos", "95 % bootstrap",
        "another setting", "not comparable",
    ):  # fmt: skip
        assert words in caption
    assert "tiny" not in build(results, rows=[{"variant": "other", "label": "o"}]).caption


def test_real_data_are_not_called_generated(results: Path, save: Save):
    save(FUSION, 1, spec={"dataset": {"name": "ytvis_2019"}})
    caption = build(results).caption
    assert "generated" not in caption
    assert "tiny setting" not in caption
    assert "leaves out training noise" in caption


def save_two_protocols(save: Save) -> None:
    for variant in (FRAME, FUSION):
        save(variant, 1)
    cost = save(PROPAGATION, 1).cost or {}
    save(PROPAGATION, 1, cost={**cost, "protocol": {**PROTOCOL, "device": "H100"}})


def test_a_cost_of_another_protocol_is_left_out_and_the_rest_stays(results: Path, save: Save):
    save_two_protocols(save)
    table = build(results)
    assert column(table.main, "fps_model") == ["120", "–", "120"]
    assert notes_of(table, table.main, "fps_model", 1) == [
        "protocol differs from the column's: H100, fp32, 48×48, eager, threads 1"
    ]
    assert column(table.main, "gmacs") == ["0.0512"] * 3, "a count does not depend on the device"
    assert column(table.main, "AP")[1] != "–"


def test_cost_headers_name_the_protocol_and_mixed_in_ones_get_a_dagger(results: Path, save: Save):
    save_two_protocols(save)
    (table,) = build_tables(results, EXPERIMENT, draws=40, mix_protocols=True)
    assert column(table.main, "fps_model") == ["120", "120", "120"]
    header = {c.key: c for c in table.main.columns}
    assert header["fps_model"].details == ("cpu", "fp32", "48×48", "eager")
    assert header["gmacs"].details == ("48×48",)
    assert header["fps_model"].title != header["fps_end_to_end"].title
    assert notes_of(table, table.main, "fps_model", 1) == [
        "measured under another protocol: H100, fp32, 48×48, eager, threads 1"
    ]
    i = [c.key for c in table.main.columns].index("fps_model")
    assert table.main.rows[1][i].marks == ("†",)
    assert notes_of(table, table.main, "fps_model", 0) == []
    assert notes_of(table, table.main, "gmacs", 1) == []


def test_seeds_timed_under_different_protocols_are_not_averaged(results: Path, save: Save):
    for seed in (1, 2):
        save(FUSION, seed)
    fps = {"model": 9000.0, "end_to_end": 9000.0}
    save(FUSION, 3, cost={"fps": fps, "protocol": {**PROTOCOL, "device": "H100"}})
    table = build(results)
    assert column(table.main, "fps_model")[2] == "120"
    assert "2 of 3 seeds" in notes_of(table, table.main, "fps_model", 2)[0]


def test_operators_that_were_not_counted_are_named(results: Path, save: Save):
    cost = save(FUSION, 1).cost or {}
    save(FUSION, 1, cost={**cost, "uncounted": {"aten::roll": 3}})
    table = build(results)
    assert notes_of(table, table.main, "gmacs", 2) == ["without the uncounted operators aten::roll"]


def test_runs_of_another_recipe_are_a_row_of_their_own(results: Path, save: Save):
    save(FUSION, 1)
    longer = {"recipe": {"name": "tiny", "video": {"train": {"iterations": 9, "workers": 0}}}}
    save(FUSION, 1, spec=longer, run_id="longer")
    table = build(results)
    labels = column(table.main, "label")[2:]
    assert labels == [
        "6 + query fusion = VidEoMT (recipe.video.train.iterations 1000)",
        "6 + query fusion = VidEoMT (recipe.video.train.iterations 9)",
    ]
    assert any("differ in settings" in r and "iterations 9" in r for r in table.remarks)
    only = build(results, runs=["longer"])
    assert column(only.main, "label")[2] == "6 + query fusion = VidEoMT"


def test_recipes_of_the_experiment_are_rows(results: Path, save: Save):
    for iterations in (9, 1000):
        train = {"iterations": iterations, "workers": 0}
        recipe = {"name": "tiny", "video": {"train": train}}
        save(FUSION, 1, spec={"recipe": recipe}, run_id=f"i{iterations}")
    row = {"variant": FUSION, "label": "longest", "recipe": "longest"}
    rows = [
        {**row, "settings": {"video": {"train": {"iterations": 5000}}}},
        {**row, "label": "short", "settings": {"video": {"train": {"iterations": 9}}}},
        {**row, "label": "as it is", "settings": {}},
    ]
    (table,) = build_tables(results, {**EXPERIMENT, "rows": rows}, draws=40)
    assert column(table.main, "label") == ["longest", "short", "as it is"]
    found = {r.label: [record.run_id for record in r.records] for r in table.rows}
    assert found == {"longest": [], "short": ["i9"], "as it is": ["i1000"]}
    published = [bool(r.published) for r in table.rows]
    assert published == [False, False, True], "a setting of one's own was not published"


def test_settings_get_a_table_each_in_the_experiments_order(results: Path, save: Save):
    for scene in ("slots", "crossing"):
        dataset = {"name": f"generated-{scene}", "root": scene}
        save(FUSION, 1, spec={"dataset": dataset}, run_id=scene)
    names = [t.name for t in build_tables(results, EXPERIMENT, draws=5)]
    assert names == ["made-up-generated-crossing", "made-up-generated-slots"]
    ordered = {**EXPERIMENT, "datasets": ["generated-slots", {"name": "generated-new"}]}
    tables = build_tables(results, ordered, draws=5)
    assert [t.name for t in tables] == ["made-up-generated-slots", "made-up-generated-new"]
    assert column(tables[1].main, "AP") == ["–"] * 3
    assert "Nothing was measured" in tables[1].caption


def test_differences_are_paired_over_the_seeds_that_both_have(results: Path, save: Save):
    for seed in (1, 2):
        save(FRAME, seed, 0.3)
        save(PROPAGATION, seed, 0.6)
    save(FUSION, 1, 0.6)
    table = build(results)
    ap = table.tidy.query("metric == 'AP' and origin == 'measured'")["value"].tolist()
    assert column(table.detail, "difference")[1] == signed(ap[1] - ap[0])
    assert column(table.detail, "difference")[0] == "–"
    assert column(table.detail, "difference")[2] != "–"
    assert notes_of(table, table.detail, "difference", 2)[-1].startswith("of one seed")
    assert "(n 1)" in table.detail.rows[2][1].spread
    lines = table.tidy.query("origin == 'to the row above'")
    assert list(lines["note"]) == ["seeds 1 2", "seeds 1"]
    assert (lines["p_corrected"] >= lines["p"]).all()


def test_statistics_that_do_not_fit_the_record_give_no_interval(results: Path, save: Save):
    record = save(FUSION, 1)
    wrong = {**record.metrics, "AP": Metric(0.99, 12)}
    save(FUSION, 1, metrics=wrong)
    table = build(results)
    assert column(table.main, "AP")[2] == "99.0"
    (note,) = notes_of(table, table.main, "AP", 2)
    assert re.search(r"no interval: .*statistics give AP .* the record 99\.00", note)
    assert [p.file for p in table.problems] == [f"{record.run_id}.json"]
    save(FUSION, 1, video_stats=None)
    table = build(results)
    assert "stores no per-video statistics" in notes_of(table, table.main, "AP", 2)[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "../x"}, "'../x'"),
        ({"title": None}, "title"),
        ({"rows": []}, "rows"),
        ({"rows": [{"label": "x"}]}, "variant"),
        ({"published": "nope"}, "'nope'"),
    ],
)
def test_a_malformed_experiment_is_one_sentence(results: Path, change: dict, words: str):
    with pytest.raises(BenchError, match=re.escape(words)):
        build_tables(results, {**EXPERIMENT, **change})


def test_number_formats():
    assert fixed(-0.04) == "0.0"
    assert fixed(-1.25, 2) == "−1.25"
    assert [signed(v) for v in (1.26, -1.26, 0.01)] == ["+1.3", "−1.3", "0.0"]
    assert [significant(v) for v in (0.0512, 1.234, 99.96, 838, 1234.5)] == [
        "0.0512", "1.23", "100.0", "838", "1234",
    ]  # fmt: skip
    notes = Notes()
    marks = [notes.letter(f"note {i}") for i in range(28)]
    assert marks[:2] + marks[25:] == ["a", "b", "z", "aa", "ab"]
    assert notes.letter("note 1") == "b"
    assert [notes.dagger(f"p{i}") for i in range(5)] == ["†", "‡", "§", "¶", "††"]


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ("vit_large_patch14_reg4_dinov2", "ViT-L, DINOv2, OVIS"),
        ("eva02_large_patch14_224.mim_m38m", "ViT-L, EVA-02, OVIS"),
        ("swin_large_patch4_window12_384.ms_in22k", "Swin-L, OVIS"),
        ("resnet50.tv_in1k", "resnet50.tv_in1k, IN-1K, OVIS"),
    ],
)
def test_a_setting_is_in_the_words_of_published_tables(encoder: str, words: str):
    assert (
        measured_setting(
            {"encoder": {"name": encoder}, "dataset": {"name": "ovis", "layout": "ovis"}}
        )
        == words
    )
