"""Sweeps on SLURM, with commands that stand for it: what is submitted, and that it runs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from videomt_bench.cli.launch import slurm_parameters
from videomt_bench.errors import BenchError
from videomt_bench.runs.execute import open_record
from videomt_bench.runs.record import StageResult
from videomt_bench.runs.stages import STAGES
from videomt_bench.runs.store import Store
from videomt_bench.sweep import slurm
from videomt_bench.sweep.experiment import Experiment
from videomt_bench.sweep.launch import Request, cancel, check_retry, run_here, submit
from videomt_bench.sweep.ledger import Ledger
from videomt_bench.sweep.snapshot import take_snapshot
from videomt_bench.sweep.status import Row, Status, status
from videomt_bench.sweep.status_table import status_table
from videomt_bench.sweep.watch import View, keep_showing

Make = Callable[..., Experiment]
GOLDEN = Path(__file__).parent / "golden"


def launch(experiment: Experiment, results: Path, **request: Any) -> list[Any]:
    return submit(experiment, results, Request(**request), View(Console(file=StringIO())))


def test_the_tiny_ablation_runs_as_arrays(
    fake_slurm: Any, micro_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder with a hostile name; an edit after the submission changes nothing."""
    folder = tmp_path / 'it\'s a "folder" with ä, $HOME and `x`'
    mine = folder / "my variants"
    mine.mkdir(parents=True)
    source = (
        "from videomt_bench.models import EoMT, QueryPropagation, Variant\n"
        "VARIANT = Variant('mine', EoMT.from_spec, QueryPropagation)\n"
    )
    (mine / "mine.py").write_text(source)
    monkeypatch.setenv("VIDEOMT_BENCH_VARIANTS", str(mine))
    monkeypatch.chdir(folder)
    results = Path("results")
    experiment = micro_experiment(Path(), "mine", "step6_videomt")
    arrays = launch(experiment, results)
    (mine / "mine.py").write_text("this is no Python")
    assert [(a.stage_names, len(a.tasks)) for a in arrays] == [
        (("segmenter",), 1),
        (("video", "evaluate"), 2),
        (("cost",), 2),
    ]
    assert len(fake_slurm.calls("sbatch")) == 3
    fake_slurm.wait()
    (mine / "mine.py").write_text(source)
    found = status(experiment, results)
    assert [row.state for row in found.rows] == ["completed", "completed"], found.to_json()
    assert all(set(row.stages.values()) == {"done"} for row in found.rows)
    assert all(row.metric.startswith("AP ") for row in found.rows)
    assert launch(experiment, results) == []
    for spec in experiment.runs():
        record = open_record(spec, Store(results))
        assert record.source["commit"] is None or re.fullmatch(
            "[0-9a-f]{40}", record.source["commit"]
        )


@pytest.mark.parametrize("name", ["segmenter", "video", "cost"])
def test_the_text_for_sbatch(
    idle_slurm: Any, micro_experiment: Make, tmp_path: Path, name: str
) -> None:
    experiment = micro_experiment(tmp_path, device="cuda", **{"cost.device": "cuda"})
    given = {
        "partition": "gpu",
        "gpus_per_node": 2,
        "nodes": 2,
        "mem_gb": 64,
        "timeout_min": 240,
        "array_parallelism": 8,
        "cost.constraint": "h100",
        "setup": "module load cuda",
        "additional_parameters": {"begin": "now+1hour"},
    }
    arrays = launch(experiment, tmp_path / "results", given=given)
    assert [a.stage_names for a in arrays] == [("segmenter",), ("video",), ("evaluate",), ("cost",)]
    number = 1 + [a.stage_names[0] for a in arrays].index(name)
    text = idle_slurm.script(number)
    text = text.replace(str(tmp_path), "ROOT").replace(sys.executable, "PYTHON")
    text = re.sub(r"snapshots/\w{12}", "snapshots/HASH", text)
    golden = GOLDEN / f"{name}.sh"
    assert text == golden.read_text(encoding="utf-8")


def test_a_refused_submission_leaves_nothing(
    idle_slurm: Any, micro_experiment: Make, tmp_path: Path
) -> None:
    """The second array is refused, so the first one is taken back."""
    experiment = micro_experiment(tmp_path)
    with pytest.raises(BenchError, match=r"^SLURM refuses the jobs: invalid partition .*nope"):
        launch(experiment, tmp_path / "results", given={"video.partition": "nope"})
    assert idle_slurm.calls("scancel") == ["scancel 1"]
    assert Ledger(tmp_path / "results").arrays() == []
    assert {f.read_text() for f in idle_slurm.root.glob("*.state")} == {"CANCELLED"}
    assert {row.state for row in status(experiment, tmp_path / "results").rows} == {"planned"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"partion": "gpu"}, "unknown SLURM parameter 'partion'; did you mean 'partition'"),
        ({"vdeo.partition": "gpu"}, "did you mean 'video'"),
        ({"mem_gb": "lots"}, "mem_gb must be of type int or float, not 'lots'"),
        ({"nodes": True}, "nodes must be of type int, not True"),
        ({"additional_parameters": 3}, "must be of type dict"),
    ],
)
def test_parameters_that_do_not_fit(
    idle_slurm: Any, micro_experiment: Make, tmp_path: Path, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BenchError, match=sentence):
        launch(micro_experiment(tmp_path), tmp_path / "results", given=given)
    assert idle_slurm.calls("sbatch") == []


def test_no_slurm_here(
    micro_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="there is no SLURM here"):
        launch(micro_experiment(tmp_path), tmp_path / "results")


def test_what_waits_is_not_submitted_again(
    idle_slurm: Any, micro_experiment: Make, tmp_path: Path
) -> None:
    """A second experiment that needs the same segmenter waits for the job of the first."""
    results = tmp_path / "results"
    experiment = micro_experiment(tmp_path, "step6_videomt")
    assert len(launch(experiment, results)) == 3
    assert launch(experiment, results) == []
    more = micro_experiment(tmp_path, "step6_videomt", "step5_propagation")
    arrays = launch(more, results)
    assert [a.stage_names for a in arrays] == [("video", "evaluate"), ("cost",)]
    assert "#SBATCH --dependency=afterany:1\n" in idle_slurm.script(4)
    found = status(more, results)
    assert [row.state for row in found.rows] == ["waiting", "waiting"]
    assert found.rows[0].stages == dict.fromkeys(found.rows[0].stages, "waiting")


def test_status_asks_once(idle_slurm: Any, micro_experiment: Make, tmp_path: Path) -> None:
    results = tmp_path / "results"
    experiment = micro_experiment(tmp_path)
    launch(experiment, results)
    idle_slurm.set_state("1", "COMPLETED")
    before = len(idle_slurm.calls("squeue")), len(idle_slurm.calls("sacct"))
    status(experiment, results)
    after = len(idle_slurm.calls("squeue")), len(idle_slurm.calls("sacct"))
    assert (after[0] - before[0], after[1] - before[1]) == (1, 1)


def lost(experiment: Experiment, results: Path, fake: Any, ending: str, log: str = "") -> Status:
    """The status after all jobs have ended, the segmenter's in its own way."""
    launch(experiment, results)
    (Ledger(results).logs / "1_0_log.err").write_text(log)
    fake.set_state("1", ending)
    for task in ("2_0", "2_1", "3_0", "3_1"):
        fake.set_state(task, "COMPLETED")
    return status(experiment, results)


@pytest.mark.parametrize(
    ("ending", "log", "state", "reason"),
    [
        ("TIMEOUT", "", "timed_out", "the time limit ended the job"),
        ("OUT_OF_MEMORY", "", "out_of_memory", "more memory than it asked for"),
        ("FAILED", "slurmstepd: error: Detected 1 oom_kill event", "out_of_memory", "more memory"),
        ("NODE_FAIL", "", "failed", "lost its node node1"),
        ("CANCELLED", "", "preempted", "the job was cancelled"),
        ("FAILED", "OSError: No space left on device", "failed", "the disk is full"),
        (
            "FAILED",
            "ImportError: no torch",
            "failed",
            "last line of its log: ImportError: no torch",
        ),
    ],
)
def test_a_lost_job_is_a_record(
    idle_slurm: Any,
    micro_experiment: Make,
    tmp_path: Path,
    ending: str,
    log: str,
    state: str,
    reason: str,
) -> None:
    experiment = micro_experiment(tmp_path)
    found = lost(experiment, tmp_path / "results", idle_slurm, ending, log)
    for row in found.rows:
        record = open_record(row_spec(experiment, row.run_id), Store(tmp_path / "results"))
        assert (record.state, row.state) == (state, state)
        assert reason in (record.reason or "")
        assert "segmenter in job 1" in (record.reason or "")
        assert row.stages["segmenter"] == "failed"
        assert row.log == ([log] if log else [])


def row_spec(experiment: Experiment, run_id: str) -> Any:
    (spec,) = [s for s in experiment.runs() if s.run_id == run_id]
    return spec


def test_without_accounting_the_records_and_the_queue_say_it(
    idle_slurm: Any, micro_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SLURM_NO_ACCOUNTING", "1")
    experiment = micro_experiment(tmp_path)
    found = lost(experiment, tmp_path / "results", idle_slurm, "FAILED", "Bus error")
    assert {row.state for row in found.rows} == {"failed"}
    assert all("gone without a result" in (row.reason or "") for row in found.rows)
    assert all("Bus error" in (row.reason or "") for row in found.rows)


def test_where_slurm_is_not_seen_the_files_say_it(
    idle_slurm: Any, micro_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine that sees the folder: nothing is taken for lost."""
    results = tmp_path / "results"
    experiment = micro_experiment(tmp_path)
    launch(experiment, results)
    spec = experiment.runs()[0]
    store = Store(results)
    record = open_record(spec, store)
    record.state, record.reason = "failed", "no such thing"
    store.save(record)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = status(experiment, results)
    assert [row.state for row in found.rows] == ["failed", "planned"]
    assert found.rows[0].reason == "no such thing"
    assert found.slurm is False
    console = Console(file=StringIO(), width=200)
    console.print(status_table(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "no such thing" in text
    assert "SLURM does not answer" in text


def test_progress_is_shown(idle_slurm: Any, micro_experiment: Make, tmp_path: Path) -> None:
    results = tmp_path / "results"
    experiment = micro_experiment(tmp_path, "step6_videomt")
    launch(experiment, results)
    idle_slurm.set_state("1", "RUNNING")
    (task,) = Ledger(results).arrays()[0].tasks
    folder = Store(results).stage(task[1])
    folder.report("segmenter", 100, 600, {"loss": 4.5})
    folder._first = ("segmenter", 100, folder._first[2] - 20)
    folder.report("segmenter", 200, 600, {"loss": 4.25})
    (row,) = status(experiment, results).rows
    assert (row.state, row.stage, row.step, row.total) == ("running", "segmenter", 200, 600)
    assert row.metric == "loss 4.250"
    assert row.eta_seconds == pytest.approx(80, abs=5)
    assert row.stages["video"] == "waiting"


def test_modes(idle_slurm: Any, micro_experiment: Make, tmp_path: Path) -> None:
    results = tmp_path / "results"
    experiment = micro_experiment(tmp_path)
    store = Store(results)
    first, second = experiment.runs()
    done = StageResult(first.run_id, "completed", 1.0)
    record = open_record(first, store)
    record.state, record.stages = "completed", dict.fromkeys(("video", "evaluate", "cost"), done)
    store.save(record)
    record = open_record(second, store)
    record.state, record.reason = "failed", "no"
    store.save(record)
    assert launch(experiment, results, mode="read-only") == []
    assert launch(experiment, results, mode="cached") == []
    arrays = launch(experiment, results, mode="retry")
    assert [[run for run, _ in a.tasks] for a in arrays] == [[second.run_id]] * 3
    cancel(experiment, results)
    arrays = launch(experiment, results, mode="force")
    assert [len(a.tasks) for a in arrays] == [1, 2, 2]
    assert not store.record_path(first.run_id).exists()
    with pytest.raises(BenchError, match="unknown mode 'forse'; did you mean 'force'"):
        launch(experiment, results, mode="forse")


def test_retry_takes_what_failed(idle_slurm: Any, micro_experiment: Make, tmp_path: Path) -> None:
    """With a remedy that leaves the result as it is; other settings are refused."""
    results = tmp_path / "results"
    lost(micro_experiment(tmp_path), results, idle_slurm, "OUT_OF_MEMORY")
    remedy = {"recipe.segmenter.train.per_device": 1, "recipe.video.train.per_device": 1}
    experiment = micro_experiment(tmp_path, **remedy)
    check_retry(experiment, results)
    arrays = launch(experiment, results, states=("out_of_memory",))
    assert [len(a.tasks) for a in arrays] == [1, 2, 2]
    assert launch(experiment, results, states=("timed_out",)) == []
    with pytest.raises(BenchError, match="a retry can change only what leaves the result as it is"):
        check_retry(micro_experiment(tmp_path, **{"recipe.num_queries": 7}), results)


def test_cancel(idle_slurm: Any, micro_experiment: Make, tmp_path: Path) -> None:
    results = tmp_path / "results"
    experiment = micro_experiment(tmp_path)
    launch(experiment, results)
    assert cancel(experiment, results) == ["1", "2_0", "2_1", "3_0", "3_1"]
    found = status(experiment, results)
    assert {row.state for row in found.rows} == {"preempted"}
    assert all("cancelled" in (row.reason or "") for row in found.rows)
    assert cancel(experiment, results) == []
    assert len(launch(experiment, results)) == 3


def test_several_parameters_follow_one_option() -> None:
    given = slurm_parameters(["partition=gpu"], ["gpus_per_node=4", "cost.exclusive=True"])
    assert given == {"partition": "gpu", "gpus_per_node": 4, "cost.exclusive": True}
    for options, more in ((None, ["nodes=2"]), (["nodes=2"], ["slots"])):
        with pytest.raises(BenchError, match=r"unexpected argument .*; SLURM parameters follow"):
            slurm_parameters(options, more)


def test_watching_ends_when_all_has_ended() -> None:
    """Off a terminal it prints once, in the end."""
    looks = [
        Status([Row("a", state, dict.fromkeys(STAGES, "done"), metric="AP 12.5")], None)
        for state in ("waiting", "running", "completed")
    ]
    console = Console(file=StringIO(), width=200)
    found = keep_showing(lambda: looks.pop(0), status_table, console, 0.0)
    assert found.counts() == {"completed": 1}
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("AP 12.5") == 1
    assert "1 run: 1 completed" in text


def test_large_sweeps_are_split(idle_slurm: Any, micro_experiment: Make, tmp_path: Path) -> None:
    seeds = list(range(slurm.LARGEST_ARRAY + 1))
    experiment = micro_experiment(tmp_path, "step6_videomt", seeds=seeds)
    arrays = launch(experiment, tmp_path / "results", names=("cost",))
    assert [len(a.tasks) for a in arrays] == [1000, 1]


def test_the_debug_executor_runs_here(micro_experiment: Make, tmp_path: Path) -> None:
    experiment = micro_experiment(tmp_path, "step6_videomt")
    (record,) = run_here(
        experiment, tmp_path / "results", Request(), View(Console(file=StringIO()))
    )
    assert record.state == "completed", record.reason


def test_a_snapshot_holds_what_a_job_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDEOMT_BENCH_VARIANTS", raising=False)
    first = take_snapshot(tmp_path)
    assert take_snapshot(tmp_path) == first
    assert (first.root / "videomt_bench" / "__init__.py").is_file()
    assert not list(first.root.rglob("__pycache__"))
    assert json.loads((first.root / "videomt_bench_source.json").read_text())["version"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "a.py").write_text("1")
    monkeypatch.setenv("VIDEOMT_BENCH_VARIANTS", str(mine))
    second = take_snapshot(tmp_path)
    assert second.root != first.root
    assert [(folder / "a.py").read_text() for folder in second.variants] == ["1"]
