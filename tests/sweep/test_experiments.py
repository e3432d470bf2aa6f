"""The shipped experiments: every one loads, plans and knows its published numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import micro_settings

from videomt_bench.errors import BenchError
from videomt_bench.models import load_variant
from videomt_bench.report.published import load_published, published_cells
from videomt_bench.report.tables.table import build_tables
from videomt_bench.sweep.experiment import Experiment, experiment_names, load_experiment
from videomt_bench.sweep.plan import plan

TABLES = {"propagation", "trackers", "segmenters", "pretraining", "scale", "memory"}
TABLES |= {"vis", "vps", "vss", "offline", "swin"}
TINY = "vit_tiny_conv_patch8"
PROPAGATION = (
    "from videomt_bench.models import EoMT, QueryPropagation, Variant\n"
    "VARIANT = Variant('Propagated later', EoMT.from_spec, QueryPropagation)\n"
)


def test_there_is_one_per_table_and_none_for_the_shared_parts() -> None:
    assert TABLES | {"demo"} <= set(experiment_names())
    assert not {"_base", "cavis", "ytvis_2019"} & set(experiment_names())


@pytest.mark.parametrize("name", experiment_names())
def test_it_loads_and_plans_with_unique_runs(name: str, tmp_path: Path) -> None:
    loaded = load_experiment(name)
    runs = loaded.runs()
    assert runs
    assert set(Counter(run.run_id for run in runs).values()) == {1}
    found = plan(loaded, tmp_path / "results", {}, ask_slurm=False)
    assert [run.run_id for run in found.runs] == [run.run_id for run in runs]
    assert all(stage.jobs and stage.total_hours > 0 for stage in found.stages)
    assert all(stage.memory_gib > 0 for stage in found.stages)
    assert {problem.split(" ")[0] for problem in found.problems} <= {"no"}  # no split of the data
    for line in found.missing:
        assert "does not exist yet" in line or "yet:" in line
        assert "\n" not in line


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_row_has_published_numbers(name: str) -> None:
    loaded = load_experiment(name)
    rows = loaded.rows()["rows"]
    runs = {(run.variant, run.encoder.name) for run in loaded.runs()}
    assert runs <= {(row["variant"], row.get("encoder", loaded.encoders[0].name)) for row in rows}
    assert {row["variant"] for row in rows} == set(loaded.variants), "planned ones are rows too"
    for row in rows:
        table = load_published(row.get("table", loaded.published))
        cells = published_cells(table, row.get("published", row["variant"]), row.get("setting"))
        assert cells, row
        assert all(cell.source for cell in cells.values())


@pytest.mark.parametrize("name", sorted(TABLES))
def test_planned_variants_have_published_numbers_too(name: str) -> None:
    loaded = load_experiment(name)
    known = set(load_published(loaded.published or "")["row"])
    for variant in loaded.planned_variants:
        assert loaded.changes.get(variant, {}).get("published", variant) in known


def test_the_same_run_of_two_tables_is_one_run() -> None:
    last = {
        name: next(r.run_id for r in load_experiment(name).runs() if r.variant == "step6_videomt")
        for name in experiment_names()
        if name in {"propagation", "trackers", "segmenters", "scale", "vis", "ablation"}
    }
    assert len(set(last.values())) == 1, last
    assert len(last) >= 5


def test_a_planned_variant_joins_once_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = ["step5_propagation", "later", "step6_videomt"]
    loaded = demo(tmp_path, variants=variants, planned_variants=["later"])
    before = [run.run_id for run in loaded.runs()]
    assert loaded.missing() == ["the variant 'later' does not exist yet"]
    (tmp_path / "later.py").write_text(PROPAGATION)
    monkeypatch.setenv("VIDEOMT_BENCH_VARIANTS", str(tmp_path))
    assert [run.variant for run in loaded.runs()] == variants
    assert [r.run_id for r in loaded.runs() if r.variant != "later"] == before
    assert loaded.missing() == []
    assert [row["label"] for row in loaded.rows()["rows"]][1] == "Propagated later"


def test_an_encoder_that_cannot_be_built_yet_is_missing_with_its_reason() -> None:
    settings = {"planned_encoders": ["vit_x"], "encoders": [dict(name="vit_x"), dict(name=TINY)]}
    loaded = load_experiment("demo", settings)
    assert {r.encoder.name for r in loaded.runs()} == {TINY}
    (line,) = loaded.missing()
    assert line.startswith("the encoder 'vit_x' cannot be built yet: unknown encoder 'vit_x'")


@pytest.mark.parametrize("name", ["vps", "vss"])
def test_dinov3_propagates_normalised_queries(name: str) -> None:
    """As its public configurations for VIPSeg and VSPW say, and no others."""
    loaded = load_experiment(name)
    assert not any("encoder" in line for line in loaded.missing())
    encoders = {r.variant: r.encoder.name for r in loaded.runs() if "step6" in r.variant}
    assert encoders == {
        "step6_videomt": "vit_large_patch14_reg4_dinov2",
        "step6_videomt_normalized": "vit_large_patch16_dinov3_qkvb.lvd1689m",
    }
    memory = load_variant("step6_videomt_normalized").slots()["memory"]
    assert memory == "QueryFusion(normalize=True)"


def test_every_encoder_of_the_pre_training_table_is_there() -> None:
    loaded = load_experiment("pretraining")
    runs = {(r.variant, r.encoder.name) for r in loaded.runs()}
    assert len(runs) == 10
    assert loaded.missing() == []


def test_the_data_set_decides_recipe_and_cost() -> None:
    runs = {run.dataset.name: run for run in load_experiment("vis").runs()}
    assert runs["ytvis_2019"].recipe.test.short_side == 448
    assert runs["ovis"].recipe.test.short_side == 544
    assert runs["ovis"].recipe.test.top_k == 20
    assert runs["ovis"].cost.input == (544, 992)
    assert runs["ovis"].recipe.video == runs["ytvis_2019"].recipe.video


def test_a_report_has_the_numbers_of_each_data_set(tmp_path: Path) -> None:
    tables = build_tables(tmp_path, load_experiment("vis").rows())
    assert len(tables) == 4, "the planned data set has a table of its own"
    found = {table.rows[0].published["AP"].text for table in tables}
    assert {"68.6", "63.1", "42.6", "52.5"} == {
        row.published["AP"].text
        for table in tables
        for row in table.rows
        if row.variant == "step6_videomt" and "DINOv2" in row.label
    }
    assert len(found) == 4


def test_a_selected_data_set_keeps_its_own_settings() -> None:
    loaded = load_experiment("vis").select(datasets=("ovis",))
    sides = {run.variant: run.recipe.test.short_side for run in loaded.runs()}
    assert (sides["step6_videomt"], sides["step0_cavis"]) == (544, 448)
    assert load_experiment("vis").select(datasets=("ytvis_2021",)).runs()


def demo(tmp_path: Path, **settings: Any) -> Experiment:
    return load_experiment("demo", micro_settings(tmp_path, **settings))


def test_a_variant_can_differ_on_one_data_set(tmp_path: Path) -> None:
    there = {"micro": {"test": {"short_side": 32}}}
    changes = {"step6_videomt": {"recipe": {"test": {"short_side": 40}}, "datasets": there}}
    dataset = micro_settings(tmp_path)["datasets"][0]
    datasets = [dataset, dict(dataset, name="second")]
    loaded = demo(tmp_path, changes=changes, datasets=datasets)
    sides = {
        run.dataset.name: run.recipe.test.short_side
        for run in loaded.runs()
        if run.variant == "step6_videomt"
    }
    assert sides == {"micro": 32, "second": 40}
    (alone,) = {
        run.recipe.test.short_side
        for run in loaded.select(datasets=("second",)).runs()
        if run.variant == "step6_videomt"
    }
    assert alone == 40
    with pytest.raises(BenchError, match=r"unknown data set in changes\.step6_videomt 'mikro'"):
        demo(tmp_path, changes={"step6_videomt": {"datasets": {"mikro": {}}}})


def test_only_keeps_a_variant_to_some_encoders(tmp_path: Path) -> None:
    encoders = [
        dict(name=TINY, image_size=48, patch_size=8),
        dict(name="vit_tiny_patch16_224", image_size=48),
    ]
    changes = {"step6_videomt": {"only": [TINY]}}
    runs = demo(tmp_path, encoders=encoders, changes=changes).runs()
    assert {r.encoder.name for r in runs if r.variant == "step6_videomt"} == {TINY}
    assert len({r.encoder.name for r in runs if r.variant == "step5_propagation"}) == 2


def test_on_keeps_a_variant_to_some_data_sets(tmp_path: Path) -> None:
    dataset = micro_settings(tmp_path)["datasets"][0]
    datasets = [dataset, dict(dataset, name="second"), dict(dataset, name="third")]
    changes = {"step6_videomt": {"on": ["second", "third"]}}
    loaded = demo(tmp_path, datasets=datasets, changes=changes)

    def places(experiment: Experiment, variant: str) -> set[str]:
        return {r.dataset.name for r in experiment.runs() if r.variant == variant}

    assert places(loaded, "step6_videomt") == {"second", "third"}
    assert places(loaded, "step5_propagation") == {"micro", "second", "third"}
    assert places(loaded.select(datasets=("third",)), "step6_videomt") == {"third"}
    assert places(loaded.select(datasets=("micro",)), "step6_videomt") == set()
    rows = loaded.rows()["rows"]
    found = [row.get("dataset") for row in rows if row["variant"] == "step6_videomt"]
    assert found == ["second", "third"]
    assert {row.get("dataset") for row in rows if row["variant"] == "step5_propagation"} == {None}


def test_the_refiner_of_daq_has_convolutions_where_its_authors_have_them() -> None:
    """Not on YouTube-VIS 2019; both stand beside the same published numbers."""
    loaded = load_experiment("offline")
    runs = [r for r in loaded.runs() if r.variant.startswith("dvis_daq_offline")]
    assert [(r.dataset.name, r.variant) for r in runs] == [
        ("ytvis_2019", "dvis_daq_offline"),
        ("ytvis_2021", "dvis_daq_offline_conv"),
        ("ovis", "dvis_daq_offline_conv"),
    ]
    for run in runs:
        refiner = load_variant(run.variant).slots()["refiner"]
        assert ("short_term=False" in refiner) == (run.dataset.name == "ytvis_2019")
    rows = [r for r in loaded.rows()["rows"] if r["variant"].startswith("dvis_daq_offline")]
    assert {r.get("published", r["variant"]) for r in rows} == {"dvis_daq_offline"}


@pytest.mark.parametrize("name", ["vis", "vps"])
def test_cavis_offline_adds_its_refiner_to_the_run_of_the_main_table(name: str) -> None:
    """It is in no grid, as no numbers are published, and has its settings all the same."""
    trained = {r.trained.run_id for r in load_experiment(name).runs() if r.variant == "step0_cavis"}
    runs = load_experiment(name, {"variants": ["cavis_offline"]}).runs()
    assert {r.online.run_id for r in runs} == trained
    assert {"refine" in r.stage_names for r in runs} == {True}
    row = load_experiment(name, {"variants": ["cavis_offline"]}).rows()["rows"][0]
    assert row["weights"] == "cavis_offline_public_code"


def test_a_threshold_of_the_refiner_is_not_of_its_online_run() -> None:
    """On OVIS 0.05 and 0.1; the online run is that of the experiment, whatever the former is."""
    setting = {"dataset_changes.ovis.recipe.offline_selection.score": 0.3}
    own, other = (load_experiment("offline", s) for s in ({}, setting))
    chosen = {
        (r.variant, r.dataset.name): r for r in own.runs() if r.variant.startswith("dvis_daq")
    }
    offline, online = (chosen[v, "ovis"] for v in ("dvis_daq_offline_conv", "dvis_daq"))
    assert (offline.model().selection.score, online.model().selection.score) == (0.05, 0.1)
    assert offline.online.run_id == online.run_id
    assert offline.owner("video") == online.run_id
    assert offline.owner("refine") == offline.run_id
    assert offline.online.model().selection.score == 0.1
    (changed,) = (
        r for r in other.runs() if (r.variant, r.dataset.name) == ("dvis_daq_offline_conv", "ovis")
    )
    assert changed.model().selection.score == 0.3
    assert changed.run_id != offline.run_id
    assert changed.online.run_id == online.run_id
    assert chosen["dvis_daq_offline", "ytvis_2019"].model().selection.score == 0.01


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"changes": {"step6_videomtt": {}}}, "unknown variant in changes 'step6_videomtt'"),
        (
            {"changes": {"step6_videomt": {"only": ["vit_x"]}}},
            "unknown encoder in changes.step6_videomt 'vit_x'",
        ),
        (
            {"changes": {"step6_videomt": {"on": ["mikro"]}}},
            "unknown data set in changes.step6_videomt 'mikro'",
        ),
        (
            {"changes": {"step6_videomt": {"weights": "step0_cavi"}}},
            "unknown variant in changes.step6_videomt.weights 'step0_cavi'",
        ),
        ({"dataset_changes": {"macro": {}}}, "unknown data set in dataset_changes 'macro'"),
        (
            {"dataset_changes": {"micro": {"recipes": {}}}},
            "unknown key in dataset_changes.micro 'recipes'; did you mean 'recipe'",
        ),
        ({"planned_variant": ["x"]}, "unknown key in demo 'planned_variant'"),
    ],
)
def test_a_typo_is_one_sentence(tmp_path: Path, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence) as caught:
        demo(tmp_path, **settings)
    assert "\n" not in str(caught.value)


def test_a_typo_in_a_change_of_a_data_set(tmp_path: Path) -> None:
    changes = {"micro": {"recipe": {"video": {"frame": 2}}}}
    with pytest.raises(BenchError, match=r"demo\.dataset_changes\.micro\.recipe\.video 'frame'"):
        demo(tmp_path, dataset_changes=changes).runs()


def test_a_variant_that_is_not_planned_must_exist(tmp_path: Path) -> None:
    found = plan(demo(tmp_path, variants=["step6_videomtt"]), tmp_path / "results")
    (problem,) = found.problems
    assert problem.startswith("unknown variant 'step6_videomtt'; did you mean 'step6_videomt'")
    assert not found.missing
