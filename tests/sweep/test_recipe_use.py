"""How experiments, single runs, jobs and pages use the named recipes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recipe_tables import PAGE, dataset, filled, recipe

from videomt_bench.errors import BenchError
from videomt_bench.models import EncoderSpec, ModelSpec, load_variant
from videomt_bench.models.conformance import check_variant
from videomt_bench.runs.stages import STAGES
from videomt_bench.runs.store import Store
from videomt_bench.sweep.experiment import load_experiment
from videomt_bench.sweep.launch import Request, _after, plan_jobs
from videomt_bench.sweep.ledger import Array
from videomt_bench.sweep.named import named_dataset, named_recipe
from videomt_bench.sweep.plan import plan
from videomt_bench.sweep.tasks import run_tasks

LARGE = "vit_large_patch14_reg4_dinov2"


def test_an_experiment_names_a_recipe_and_changes_it() -> None:
    plain = load_experiment("vis").runs()[-1].recipe
    june = load_experiment("vis", {"recipe.like": "videomt_june"})
    by_data = {r.dataset.name: r.recipe for r in june.runs() if r.variant == "step6_videomt"}
    assert by_data["ytvis_2019"].video.train.iterations == 60000
    assert by_data["ovis"] == replace(plain, name="videomt_june")
    cavis = [r for r in june.runs() if r.variant == "step0_cavis"]
    assert {r.recipe.name for r in cavis} == {"cavis"}, "a variant's own recipe stays"
    fewer = load_experiment("vis", {"recipe.video.train.iterations": 7}).runs()
    assert {r.recipe.video.train.iterations for r in fewer} == {7}


def test_one_run_by_its_parts() -> None:
    loaded = load_experiment("vis", {"data_root": "/data"}).select(datasets=("ovis",))
    found = loaded.one("step0_cavis", "vit_base_patch14_dinov2", "cavis_public_code")
    assert found.recipe == recipe("cavis_public_code", "ovis").online
    assert (found.encoder.name, found.encoder.image_size) == ("vit_base_patch14_dinov2", 640)
    assert found.dataset.root == "/data/ovis"
    assert loaded.one("step0_cavis", LARGE).encoder.name == "vit_large_patch14_dinov2"
    assert loaded.one("step6_videomt").recipe == recipe("videomt", "ovis")


@pytest.mark.parametrize(
    ("experiment", "settings", "sentence"),
    [
        ("vis", {"recipe.like": "videomt_jun"}, "unknown recipe 'videomt_jun'; did you mean"),
        ("vis", {"recipe": 3}, "vis.recipe must be a table of settings, not 3"),
        ("vis", {"recipe.vidoe": 1}, "unknown key in vis.recipe 'vidoe'; did you mean 'video'"),
        ("vis", {"datasets": ["ytvis_2020"]}, "unknown data set 'ytvis_2020'; did you mean"),
        ("tiny", {"recipe.like": "videomt"}, "'generated'; valid: ovis, vipseg, vspw, ytvis_2019"),
        ("vis", {"recipe.video.reverse": 2.0}, "reverse is 2.0; it must be a probability"),
        ("vis", {"recipe.video.train.optim.milestones": [0.7, 28000]}, "between 0 and 1"),
    ],
)
def test_a_bad_name_is_one_sentence(
    experiment: str, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BenchError, match=re.escape(sentence)) as caught:
        load_experiment(experiment, settings)
    assert "\n" not in str(caught.value)


def test_a_bad_choice_for_one_run_is_one_sentence() -> None:
    vis, tiny = load_experiment("vis"), load_experiment("tiny")
    with pytest.raises(BenchError, match="unknown recipe 'cavi'; did you mean 'cavis'"):
        vis.one("step0_cavis", None, "cavi")
    with pytest.raises(BenchError, match="unknown encoder 'vit_huge'"):
        vis.one("step0_cavis", "vit_huge")
    with pytest.raises(BenchError, match="the recipe of tiny is written out, so 'cavis' cannot"):
        tiny.one("step0_cavis", None, "cavis")


def test_named_settings_cannot_be_changed_by_accident() -> None:
    named_dataset("ovis")["root"] = "elsewhere"
    named_recipe("videomt", "ovis")["video"]["frames"] = 99
    assert named_dataset("ovis")["root"] == "datasets/ovis"
    assert named_recipe("videomt", "ovis")["video"]["frames"] == 5


def test_the_page_has_the_tables_of_the_recipes() -> None:
    """To write them again: python tests/sweep/recipe_tables.py"""
    text = Path(PAGE).read_text(encoding="utf-8")
    assert text.count("<!-- table:") == 2
    assert filled(text) == text


def test_training_that_two_runs_share_is_one_job(tmp_path: Path) -> None:
    """YouTube-VIS 2022 is tested after the training of 2021, on SLURM and on this machine."""
    loaded = load_experiment("vis").select(datasets=("ytvis_2021", "ytvis_2022"))
    own, other = (
        r for r in loaded.runs() if (r.variant, r.encoder.name) == ("step6_videomt", LARGE)
    )
    found = plan(loaded, tmp_path, names=STAGES[:4], ask_slurm=False)
    jobs = {stage.stage: stage.jobs for stage in found.stages}
    assert jobs["evaluate"] == 2 * jobs["video"] == 2 * jobs["segmenter"]
    store = Store(tmp_path)
    waves = plan_jobs([other, own], store, Request(names=STAGES[:4]))
    assert [[t.spec.run_id for t in tasks] for tasks, _ in waves[1:]] == [
        [own.run_id],
        [other.run_id],
    ]
    earlier = Array("vis", ("video", "evaluate"), ("7_0",), ((own.run_id, own.run_id),))
    assert _after(waves[2][0], [earlier], {}) == ["7"]
    assert _after(waves[1][0], [earlier], {}) == []
    local = {t.stage_id: t.needs for t in run_tasks([other, own], store, ("video", "evaluate"))}
    assert local == {own.run_id: own.segmenter_stage, other.run_id: own.run_id}
    alone = run_tasks([other], store, ("video", "evaluate"))
    assert [t.needs for t in alone] == [own.segmenter_stage]


def python_blocks(page: str) -> list[str]:
    text = (PAGE.parent / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_experiment_in_the_page_loads(tmp_path: Path) -> None:
    (block,) = (b for b in python_blocks("experiments.md") if "title" in b)
    (tmp_path / "mine.py").write_text(block)
    (spec,) = load_experiment(str(tmp_path / "mine.py")).runs()
    assert spec.recipe.name == "videomt_june"
    assert spec.recipe.video.train.iterations == 20000
    assert spec.dataset == dataset("ytvis_2019")


def test_the_variant_in_the_page_trains_as_the_public_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = (b for b in python_blocks("recipes.md") if "VARIANT" in b)
    (tmp_path / "public_code.py").write_text(block)
    monkeypatch.setenv("VIDEOMT_BENCH_VARIANTS", str(tmp_path))
    variant = load_variant("public_code")
    assert not [check for check in check_variant(variant) if not check.passed]
    model = variant.build(ModelSpec(EncoderSpec("vit_tiny_conv_patch8", 48, 8), 4, 6))
    assert model.segmenter.normalize_intermediate is False
    assert model.memory.normalize is True
    assert variant.slots()["segmenter"] != load_variant("step6_videomt").slots()["segmenter"]
