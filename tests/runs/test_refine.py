"""The third stage: a refiner learns on the trained run of its online variant, which it shares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from videomt_bench.errors import BenchError
from videomt_bench.models import load_variant
from videomt_bench.runs import stages
from videomt_bench.runs.execute import execute
from videomt_bench.runs.record import STAGES, read_record
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Store
from videomt_bench.sweep.experiment import Experiment, load_experiment
from videomt_bench.sweep.launch import Request, _after, plan_jobs
from videomt_bench.sweep.ledger import Array
from videomt_bench.sweep.local import problems
from videomt_bench.sweep.plan import plan
from videomt_bench.sweep.status import status
from videomt_bench.sweep.tasks import run_tasks

VARIANTS = ["dvis_plus_offline", "dvis_plus"]
ONLINE_STAGES = ("segmenter", "video", "evaluate", "cost")


@pytest.fixture
def experiment(micro: dict[str, Any]) -> Experiment:
    loaded = load_experiment("demo", {**micro, "variants": VARIANTS, "planned_variants": []})
    refine = {**loaded.recipe["segmenter"], "frames": 3}
    recipe = {**loaded.recipe, "refine": refine}
    return replace(loaded, variants=tuple(VARIANTS), recipe=recipe)


@pytest.fixture
def both(experiment: Experiment) -> tuple[RunSpec, RunSpec]:
    """The offline run and the online one."""
    offline, online = experiment.runs()
    stages.prepare_data(online.dataset)
    return offline, online


def test_who_has_which_stages(both: tuple[RunSpec, RunSpec]) -> None:
    offline, online = both
    assert (offline.stage_names, online.stage_names) == (STAGES, ONLINE_STAGES)
    assert online.recipe.refine is None
    assert offline.online.run_id == online.run_id != offline.run_id
    assert online.online is online.trained is online
    assert offline.segmenter_stage == online.segmenter_stage
    owners = [offline.owner(name) for name in STAGES[:4]]
    assert owners == [online.segmenter_stage, online.run_id, offline.run_id, offline.run_id]


def test_from_the_data_to_both_records(both: tuple[RunSpec, RunSpec], tmp_path: Path) -> None:
    """The offline run goes first and trains the online model too, which is not trained again."""
    offline, online = both
    store = Store(tmp_path)
    first = execute(offline, tmp_path)
    assert first.state == "completed", first.reason
    assert set(first.stages) == set(STAGES)
    assert first == read_record(store.record_path(offline.run_id))
    weights = store.stage(online.run_id).model
    made = weights.stat().st_mtime_ns
    second = execute(online, tmp_path)
    assert second.state == "completed", second.reason
    assert set(second.stages) == set(ONLINE_STAGES)
    assert weights.stat().st_mtime_ns == made
    assert first.stages["video"] == second.stages["video"]
    assert first.cost is not None
    assert second.cost is not None
    refined, tracked = (stages.read_weights(store.stage(r.run_id).model) for r in both)
    own = {name for name in refined if name.startswith("refiner.")}
    assert own
    assert set(refined) == own | set(tracked)
    assert all(torch.equal(refined[name], value) for name, value in tracked.items())
    assert first.cost["params"] - second.cost["params"] == sum(refined[n].numel() for n in own)
    assert problems([first, second]) == []


def test_the_refiner_starts_from_the_online_model(
    both: tuple[RunSpec, RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline, online = both
    started: dict[str, torch.Tensor] = {}
    settings: list[Any] = []

    def untrained(model: Any, clips: Any, how: Any, *_: Any) -> Any:
        started.update(model.state_dict())
        settings.append(how)
        return model

    execute(online, tmp_path, ("segmenter", "video"))
    monkeypatch.setattr(stages, "train", untrained)
    record = execute(offline, tmp_path, ("video", "refine"))
    assert record.reason is None, record.reason
    (how,) = settings
    assert (how.matching, how.frozen) == ("whole_clip", ("segmenter", "memory", "tracker"))
    weights = stages.read_weights(Store(tmp_path).stage(online.run_id).model)
    assert all(torch.equal(started[name], value) for name, value in weights.items())


def test_without_its_online_model_it_fails(both: tuple[RunSpec, RunSpec], tmp_path: Path) -> None:
    offline, online = both
    record = execute(offline, tmp_path, ("refine",))
    assert record.state == "failed"
    assert record.reason is not None
    assert f"needs run {online.run_id}, which is not trained" in record.reason
    with pytest.raises(BenchError, match="run its refine stage first"):
        stages.load_run(offline, Store(tmp_path))


def test_recipes_that_do_not_fit(both: tuple[RunSpec, RunSpec], tmp_path: Path) -> None:
    offline, online = both
    store = Store(tmp_path)
    with pytest.raises(BenchError, match="has no refine stage"):
        stages.check(replace(offline, recipe=online.recipe), store)
    with pytest.raises(BenchError, match="'dvis_plus' has no refiner"):
        stages.check(replace(online, recipe=offline.recipe), store)


def test_the_plan_of_both(experiment: Experiment, tmp_path: Path) -> None:
    found = plan(experiment, tmp_path, ask_slurm=False)
    assert {s.stage: s.jobs for s in found.stages} == {
        "segmenter": 1,
        "video": 1,
        "refine": 1,
        "evaluate": 2,
        "cost": 2,
    }
    assert all(s.done == 0 for s in found.stages)
    online = plan(replace(experiment, variants=("dvis_plus",)), tmp_path, ask_slurm=False)
    assert [s.stage for s in online.stages] == list(ONLINE_STAGES)


def test_jobs_come_after_what_they_need(experiment: Experiment, tmp_path: Path) -> None:
    offline, online = experiment.runs()
    store = Store(tmp_path)
    waves = plan_jobs([offline, online], store, Request())
    order = [(t.spec.variant, t.stage_names) for tasks, _ in waves for t in tasks]
    assert order == [
        ("dvis_plus_offline", ("segmenter",)),
        ("dvis_plus", ("video", "evaluate")),
        ("dvis_plus_offline", ("video", "refine", "evaluate")),
        ("dvis_plus", ("cost",)),
        ("dvis_plus_offline", ("cost",)),
    ]
    earlier = Array("mine", ("video", "evaluate"), ("7_0",), ((online.run_id, online.run_id),))
    assert _after(waves[2][0], [earlier], {}) == ["7"]
    names = ("video", "refine", "evaluate")
    local = {t.stage_id: t for t in run_tasks([offline, online], store, names)}
    assert local[offline.run_id].needs == online.run_id
    assert local[online.run_id].needs == online.segmenter_stage
    assert local[online.run_id].stage_names == ("video", "evaluate")


def test_the_status_of_both(experiment: Experiment, tmp_path: Path) -> None:
    rows = status(experiment, tmp_path).rows
    assert [tuple(row.stages) for row in rows] == [STAGES, ONLINE_STAGES]


def test_a_variant_has_a_refiner_and_an_online_one_or_neither() -> None:
    offline = load_variant("dvis_plus_offline")
    assert "refiner" in offline.slots()
    for change in (dict(online=""), dict(refiner=None)):
        with pytest.raises(BenchError, match="both a refiner and the name"):
            replace(offline, **change)  # type: ignore[arg-type]
