"""A run from data to record: done once, resumed where it stopped, failures kept."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from videomt_bench.errors import BenchError
from videomt_bench.evaluation.video_ap import summarize
from videomt_bench.evaluation.video_stats import VideoStats
from videomt_bench.models import load_variant
from videomt_bench.runs import stages
from videomt_bench.runs.execute import Preempted, execute
from videomt_bench.runs.record import read_record
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Store
from videomt_bench.sweep.experiment import load_experiment


@pytest.fixture
def spec(micro: dict[str, Any]) -> RunSpec:
    (spec,) = (r for r in load_experiment("demo", micro).runs() if r.variant == "step6_videomt")
    stages.prepare_data(spec.dataset)
    return spec


def test_a_whole_run(spec: RunSpec, tmp_path: Path) -> None:
    record = execute(spec, tmp_path)
    assert record.state == "completed", record.reason
    assert list(record.stages) == ["segmenter", "video", "evaluate", "cost"]
    assert record == read_record(Store(tmp_path).record_path(spec.run_id))
    assert RunSpec.from_json(record.spec) == spec
    assert torch.__version__.startswith(record.environment["packages"]["torch"])
    assert record.cost is not None
    model = load_variant("step6_videomt").build(spec.model())
    assert record.cost["params"] == sum(p.numel() for p in model.parameters())
    assert record.cost["fps"]["model"] > 0
    stats = VideoStats.load(Store(tmp_path).stats_path(spec.run_id))
    assert summarize(stats)["AP"] == record.metrics["AP"].value
    assert record.metrics["AP"].n == 4
    assert record.sources == [record.source], "all of it by one code"
    assert all(r.detail["source"] == record.source for r in record.stages.values())


def test_a_finished_run_does_nothing(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = execute(spec, tmp_path)
    before = Store(tmp_path).record_path(spec.run_id).read_bytes()
    for name in ("train_segmenter", "train_video", "evaluate", "cost"):
        monkeypatch.setattr(stages, name, lambda *_: pytest.fail("worked again"))
    assert execute(spec, tmp_path) == first
    assert Store(tmp_path).record_path(spec.run_id).read_bytes() == before


def test_the_video_stage_starts_from_the_segmenter(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = {}

    def untrained(model: Any, *_: Any) -> Any:
        started.update(model.state_dict())
        return model

    execute(spec, tmp_path, ("segmenter",))
    monkeypatch.setattr(stages, "train", untrained)
    execute(spec, tmp_path, ("video",))
    segmenter = Store(tmp_path).stage(spec.segmenter_id(load_variant(spec.variant)))
    weights = stages.read_weights(segmenter.model)
    assert weights
    assert all(torch.equal(started[name], value) for name, value in weights.items())
    assert set(started) - set(weights) == {"memory.fuse.weight", "memory.fuse.bias"}


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (RuntimeError("boom"), "failed", "RuntimeError: boom"),
        (BenchError("no such thing"), "failed", "no such thing"),
        (MemoryError(), "out_of_memory", "the machine has no memory left"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory", "CUDA out of memory"),
    ],
)
def test_a_failure_is_a_record(
    spec: RunSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    state: str,
    reason: str,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(stages, "train_video", fail)
    record = execute(spec, tmp_path, ("segmenter", "video"))
    assert (record.state, record.reason) == (state, reason)
    assert read_record(Store(tmp_path).record_path(spec.run_id)).state == state
    assert record.metrics == {}


def test_a_failed_run_can_be_run_again(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stages, "evaluate", lambda *_: 1 / 0)
        assert execute(spec, tmp_path).state == "failed"
    record = execute(spec, tmp_path)
    assert (record.state, record.reason) == ("completed", None)


def test_a_request_to_end_is_a_preemption(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "train_video", lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Preempted):
        execute(spec, tmp_path, ("segmenter", "video"))
    record = read_record(Store(tmp_path).record_path(spec.run_id))
    assert (record.state, record.reason) == ("preempted", "received SIGTERM")


def test_a_run_says_why_its_segmenter_is_not_there(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stages, "train_segmenter", lambda *_: 1 / 0)
        execute(spec, tmp_path, ("segmenter",))
    record = execute(spec, tmp_path, ("video",))
    assert record.state == "failed"
    assert record.reason is not None
    assert "which is not done: ZeroDivisionError: division by zero" in record.reason


def test_a_full_disk_is_a_record(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room that was put aside is given back before the record is written."""
    reserve = Store(tmp_path).stage(spec.run_id).path / ".reserve"
    save, seen = Store.save, []

    def full(*_: Any) -> None:
        assert reserve.stat().st_size == 1 << 18
        raise BenchError("cannot write checkpoint.pth: No space left on device")

    def watched(store: Store, record: Any) -> None:
        seen.append((record.state, reserve.exists()))
        save(store, record)

    monkeypatch.setattr(stages, "train_video", full)
    monkeypatch.setattr(Store, "save", watched)
    execute(spec, tmp_path, ("segmenter", "video"))
    record = read_record(Store(tmp_path).record_path(spec.run_id))
    assert record.reason == "cannot write checkpoint.pth: No space left on device"
    assert seen == [("running", True), ("failed", False)]


def test_two_processes_share_a_run(spec: RunSpec, tmp_path: Path) -> None:
    """The second waits and finds all done."""
    program = (
        "import sys, json; from pathlib import Path\n"
        "from videomt_bench.runs.execute import execute\n"
        "from videomt_bench.runs.spec import RunSpec\n"
        "spec = RunSpec.from_json(json.loads(sys.argv[1]))\n"
        "print(execute(spec, Path(sys.argv[2])).to_json())\n"
    )
    command = [sys.executable, "-c", program, json.dumps(spec.to_json()), str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate(timeout=200)[0] for process in both)
    assert "'state': 'completed'" in first
    assert first == second


def test_evaluating_an_untrained_run_is_one_sentence(spec: RunSpec, tmp_path: Path) -> None:
    record = execute(spec, tmp_path, ("evaluate",))
    assert record.state == "failed"
    assert record.reason is not None
    assert "is not trained yet" in record.reason


def test_weights_that_do_not_fit_are_named(spec: RunSpec, tmp_path: Path) -> None:
    model = load_variant("step6_videomt").build(spec.model())
    state = {k: v for k, v in model.state_dict().items() if "class_head" not in k}
    file = tmp_path / "weights.pth"
    torch.save({**state, "surprise": torch.zeros(1)}, file)
    with pytest.raises(BenchError, match=r"missing \['segmenter\.class_head.*\['surprise'\]"):
        stages.load_segmenter(model, file)


def test_damaged_weights_are_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(BenchError, match="cannot read weights"):
        stages.read_weights(file)


def test_looking_ahead_is_tested_with_the_training_of_the_online_run(
    spec: RunSpec, tmp_path: Path
) -> None:
    """Online, semi-online and offline: three runs and records, one training."""
    store = Store(tmp_path)
    online = execute(spec, tmp_path)
    assert online.state == "completed", online.reason
    found = {}
    for ahead in (2, None):
        test = replace(spec.recipe.test, look_ahead=ahead)
        other = replace(spec, recipe=replace(spec.recipe, test=test))
        assert other.trained == spec
        record = execute(other, tmp_path, ("segmenter", "video", "evaluate"))
        assert record.stages.keys() >= {"video", "evaluate"}, record.reason
        assert not (store.stage(other.run_id).path / "video").exists()
        found[other.run_id] = record
    assert len({spec.run_id, *found}) == 3
