"""Whole sweeps on a real SLURM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from videomt_bench.sweep.ledger import Ledger


def ended(slurm: Any, job: str) -> list[tuple[str, str, str]]:
    """(state, start, end) of the tasks of a job, once the accounting knows their ends."""
    for _ in range(30):
        done = slurm("sacct", "-n", "-P", "-X", "-j", job, "-o", "State,Start,End")
        if "RUNNING" not in done.stdout:
            break
        time.sleep(1)
    return [tuple(line.split("|")) for line in done.stdout.splitlines()]


def test_the_tiny_ablation(sweep: Any, slurm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays in order, from a folder with spaces, quotes and letters beyond ASCII."""
    folder = sweep.root / 'it\'s a "sweep" für ümläute 試'
    folder.mkdir()
    monkeypatch.chdir(folder)
    sweep.results = folder / "the results"
    variants = ["frame_by_frame_matched", "step4_frame_by_frame", "step5_propagation"]
    sweep.settings |= {"variants": [*variants, "step6_videomt"], "seeds": [1, 2]}
    sweep.settings["recipe.video.train.iterations"] = 3
    (dataset,) = sweep.settings["datasets"]
    sweep.settings["datasets"] = [{**dataset, "root": "data of ours"}]
    words = ["--slurm", "partition=debug", "timeout_min=10", "array_parallelism=3"]
    done = subprocess.run(
        sweep.command("run", "--executor", "slurm", *words), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    jobs = json.loads(done.stdout.splitlines()[-1])["jobs"]
    assert [(job["stage_names"], len(job["job_ids"])) for job in jobs] == [
        (["segmenter"], 2),
        (["video", "evaluate"], 8),
        (["cost"], 8),
    ]
    rows = sweep.wait("completed", seconds=480)
    assert len(rows) == 8
    first, second, third = (ended(slurm, job["job_ids"][0].partition("_")[0]) for job in jobs)
    assert {state for state, _, _ in (*first, *second, *third)} == {"COMPLETED"}
    assert max(end for _, _, end in first) <= min(start for _, start, _ in second)
    assert max(end for _, _, end in second) <= min(start for _, start, _ in third)
    again = subprocess.run(sweep.command("status"), capture_output=True, text=True)
    found = json.loads(again.stdout.splitlines()[-1])
    assert [run["state"] for run in found["runs"]] == ["completed"] * 8
    assert "8 completed" in again.stdout


def test_two_sweeps_at_once(sweep: Any) -> None:
    """They share a segmenter and a run; each run is done once and no result is lost."""
    sweep.tell()
    programs = [
        sweep.command("run", "--executor", "slurm", variants=variants)
        for variants in (["step6_videomt", "told"], ["step6_videomt", "step5_propagation"])
    ]
    both = [
        subprocess.Popen(p, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for p in programs
    ]
    for process in both:
        assert process.wait(120) == 0, process.stderr.read().decode()
    sweep.settings["variants"] = ["step6_videomt", "told", "step5_propagation"]
    rows = sweep.wait("completed")
    assert len(rows) == 3
    for spec in sweep.experiment.runs():
        record = sweep.record(spec)
        assert set(record.stages) == {"segmenter", "video", "evaluate", "cost"}
        assert record.metrics
    assert len(list((sweep.results / "records").glob("*.json"))) == 3
    assert len(Ledger(sweep.results).arrays()) >= 4


def test_two_processes_train_as_one(sweep: Any) -> None:
    """Losses of two processes (gloo) and of one, at the same effective batch (1e-4).

    All videos have two objects: the loss of classes is a weighted mean over the clips of a process,
    as in the published code, which is the mean over all clips where the weights are the same.
    """
    sweep.tell("same_points")
    (dataset,) = sweep.settings["datasets"]
    alike = dict(objects=[2, 2], late=0.0, early=0.0, gap=0.0)
    splits = [{**split, "physics": alike} for split in dataset["generate"]]
    sweep.settings["datasets"] = [{**dataset, "generate": splits}]
    sweep.settings["recipe.video.train.iterations"] = 8
    given = {"timeout_min": 10, "tasks_per_node": 2}
    arrays = sweep.submit(given=given)
    names = [array.stage_names[0] for array in arrays]
    assert names == ["segmenter", "video", "evaluate", "cost"]
    sweep.wait("completed")
    ours, theirs = sweep.losses(), _alone(sweep)
    assert [line["step"] for line in ours] == list(range(1, 9))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=1e-4)


def test_two_processes_stop_together(sweep: Any, slurm: Any) -> None:
    """After the same iteration, and continue together."""
    sweep.submit(given={"timeout_min": 10, "tasks_per_node": 2})
    sweep.wait_for_step(7)
    slurm("scancel", "--signal=USR2", sweep.owner()["job"])
    sweep.tell()
    sweep.wait("completed")
    assert len(sweep.losses()) == 60


def test_one_of_two_processes_is_killed(sweep: Any) -> None:
    """The other one does not wait for ever, and the record has a reason."""
    sweep.submit(given={"timeout_min": 10, "tasks_per_node": 2})
    sweep.wait_for_step(7)
    os.kill(_second_process(sweep), signal.SIGKILL)
    (row,) = sweep.wait("failed", seconds=120)
    assert row.reason
    sweep.tell()
    sweep.submit(given={"timeout_min": 10, "tasks_per_node": 2}, states=("failed",))
    sweep.wait("completed")
    assert [line["step"] for line in sweep.losses()] == list(range(1, 61))


def _second_process(sweep: Any) -> int:
    """The process of rank 1 of the sweep's job."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            ours = str(sweep.results / "work" / "jobs").encode() in words
            if ours and b"submitit.core._submit" in words and b"SLURM_PROCID=1" in environment:
                return int(entry.name)
    raise AssertionError("there is no second process")


def _alone(sweep: Any) -> list[dict[str, Any]]:
    """The losses of the same run in one process."""
    other = Path(sweep.root / "alone")
    program = sweep.command("run", "--executor", "debug", "--stages", "segmenter,video")
    program[program.index(str(sweep.results))] = str(other)
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file = other / "work" / sweep.spec.run_id / "video" / "losses.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]
