"""What goes wrong on a cluster, done to a real SLURM: nothing finished is lost, no run hangs.

The loss of work is at most the interval of checkpoints; none where the process was asked to end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from videomt_bench.runs.store import Store
from videomt_bench.sweep.ledger import Ledger
from videomt_bench.sweep.status import status

INTERVAL = 5


def test_killed_with_sigkill(sweep: Any) -> None:
    """The record says so, the other run goes on, and a retry continues from the checkpoint."""
    sweep.settings["variants"] = ["told", "step6_videomt"]
    sweep.submit()
    sweep.wait_for_step(12)
    os.kill(sweep.owner()["pid"], signal.SIGKILL)
    reached = Store(sweep.results).stage(sweep.spec.run_id).progress()["step"]
    rows = sweep.wait("completed", "failed")
    assert [row.state for row in rows] == ["failed", "completed"]
    assert "killed by SIGKILL" in rows[0].reason
    assert "video" in rows[0].reason
    assert rows[0].stages["cost"] == "blocked"
    assert sweep.checkpoint() > reached - INTERVAL - 1
    before = sweep.checkpoint()
    sweep.submit(states=("failed",))
    sweep.tell()
    sweep.wait("completed")
    assert before < 60
    assert sweep.is_as_unbroken()


def test_requeued_by_the_controller(sweep: Any, slurm: Any) -> None:
    """As a preemption does it: SIGTERM, and the job is in the queue again."""
    sweep.submit()
    reached = sweep.wait_for_step(12)["step"]
    job = sweep.owner()["job"]
    slurm("scontrol", "requeue", job)
    _wait_for_record(sweep, "preempted")
    assert sweep.checkpoint() >= reached, "no iteration is lost"
    assert "SIGTERM" in sweep.record().reason
    sweep.tell()
    sweep.wait("completed")
    assert sweep.is_as_unbroken()


def test_warned_with_usr2(sweep: Any, slurm: Any) -> None:
    """The job saves and queues itself again."""
    sweep.submit()
    reached = sweep.wait_for_step(12)["step"]
    slurm("scancel", "--signal=USR2", sweep.owner()["job"])
    _wait_for_record(sweep, "preempted")
    assert sweep.checkpoint() >= reached
    assert sweep.record().reason == "received SIGUSR2; queued again (1 of 20)"
    (row,) = sweep.rows()
    assert row.state in ("waiting", "running")
    sweep.tell()
    sweep.wait("completed")
    assert sweep.is_as_unbroken()


def test_a_time_limit_hit_twice(sweep: Any) -> None:
    """Two minutes, of which the signal leaves one; the training needs three pieces."""
    sweep.settings["recipe.video.train.iterations"] = 400
    sweep.submit(given={"timeout_min": 2, "signal_delay_s": 60})
    seen = []
    while len(seen) < 2:
        _wait_for_record(sweep, "preempted", f"queued again ({len(seen) + 1} of")
        seen.append(sweep.checkpoint())
    assert 0 < seen[0] < seen[1] < 400
    sweep.tell()
    sweep.wait("completed")
    assert sweep.is_as_unbroken()


def test_the_limit_of_requeues(sweep: Any, slurm: Any) -> None:
    sweep.submit(requeues=0)
    sweep.wait_for_step(7)
    slurm("scancel", "--signal=USR2", sweep.owner()["job"])
    (row,) = sweep.wait("timed_out")
    assert "queued again 0 times, which is the limit" in row.reason
    sweep.tell()
    assert sweep.submit(states=("timed_out",))
    sweep.wait("completed")


def test_out_of_memory(sweep: Any) -> None:
    """A remedy that leaves the result as it is: smaller batches, accumulated."""
    sweep.settings["variants"] = ["told", "step6_videomt"]
    sweep.tell("hungry")
    sweep.submit(given={"timeout_min": 10, "mem": "1500M"})
    rows = sweep.wait("completed", "out_of_memory")
    assert [row.state for row in rows] == ["out_of_memory", "completed"]
    assert "more memory than it asked for" in rows[0].reason
    sweep.tell()
    remedy = {"recipe.video.train.per_device": 1}
    done = subprocess.run(
        sweep.command("retry", "--only", "out_of_memory", **remedy), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (first, *_) = json.loads(done.stdout.splitlines()[-1])["jobs"]
    assert first["given"] == {"timeout_min": 10, "mem": "1500M"}
    assert [run for run, _ in first["tasks"]] == [sweep.spec.run_id]
    sweep.wait("completed")
    assert sweep.record().spec["recipe"]["video"]["train"]["per_device"] is None


def test_a_node_is_lost(sweep: Any, slurm: Any, node: str) -> None:
    """The controller queues the job again, which continues from its checkpoint."""
    sweep.submit()
    reached = sweep.wait_for_step(12)["step"]
    owner = sweep.owner()
    slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    # this node lives: SLURM holds a job back that would start while its first copy ends
    _wait_for_end(str(owner["pid"]), f"slurmstepd: [{owner['job']}.")
    (row,) = sweep.rows()
    assert row.state == "waiting"
    assert sweep.checkpoint() > reached - INTERVAL - 1
    slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
    sweep.tell()
    sweep.wait("completed")
    assert sweep.is_as_unbroken()


def test_a_node_is_drained_while_jobs_wait(sweep: Any, slurm: Any, node: str) -> None:
    slurm("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    sweep.tell()
    sweep.submit()
    time.sleep(3)
    (row,) = sweep.rows()
    assert row.state == "waiting"
    assert row.stages == dict.fromkeys(("segmenter", "video", "evaluate", "cost"), "waiting")
    assert row.reason is not None
    slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")
    sweep.wait("completed")


def test_a_full_disk(sweep: Any) -> None:
    """The results lie on a small disk, which something else fills up."""
    sweep.results.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", sweep.results]
    ).returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        sweep.submit()
        sweep.wait_for_step(7)
        with (sweep.results / "filler").open("wb") as file:
            try:
                while True:
                    os.write(file.fileno(), b"0" * 4096)
            except OSError:
                pass
        (row,) = sweep.wait("failed")
        assert "No space left on device" in row.reason
        assert sweep.record().state == "failed"
        (sweep.results / "filler").unlink()
        sweep.tell()
        sweep.submit(states=("failed",))
        sweep.wait("completed")
        assert sweep.is_as_unbroken()
    finally:
        subprocess.run(["umount", "-l", sweep.results], check=True)


def test_no_accounting(sweep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``sacct`` fails: the queue and the records say where everything is."""
    sacct = tmp_path / "bin" / "sacct"
    sacct.parent.mkdir()
    sacct.write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    sacct.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sacct.parent}:{os.environ['PATH']}")
    sweep.settings["variants"] = ["told", "step6_videomt"]
    sweep.submit()
    sweep.wait_for_step(12)
    assert sweep.rows()[0].state == "running"
    assert sweep.rows()[0].stages["video"] == "running"
    os.kill(sweep.owner()["pid"], signal.SIGKILL)
    rows = sweep.wait("completed", "failed")
    assert [row.state for row in rows] == ["failed", "completed"]
    assert "gone without a result" in rows[0].reason


def test_refused_by_the_controller(sweep: Any, slurm: Any) -> None:
    """One sentence, and nothing is submitted."""
    for given in (["partition=nope"], ["cost.partition=nope"]):
        done = subprocess.run(
            sweep.command("run", "--executor", "slurm", "--slurm", *given),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        (line,) = [x for x in done.stderr.splitlines() if x.startswith("error:")]
        assert "SLURM refuses the jobs: invalid partition specified: nope" in line
        assert "Traceback" not in done.stderr
        assert slurm("squeue", "-h", "--me", "-t", "PD,R").stdout == ""
        assert Ledger(sweep.results).arrays() == []


def test_cancelled(sweep: Any, slurm: Any) -> None:
    sweep.submit()
    sweep.wait_for_step(7)
    done = subprocess.run(sweep.command("cancel"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout.splitlines()[-1])["cancelled"]) == 2
    (row,) = sweep.wait("preempted")
    assert "cancelled" in row.reason or "SIGTERM" in row.reason
    assert slurm("squeue", "-h", "--me", "-t", "PD,R").stdout == ""
    sweep.tell()
    sweep.submit()
    sweep.wait("completed")
    assert sweep.is_as_unbroken()


def _wait_for_end(process: str, title: str, seconds: float = 120) -> None:
    """Wait until a process is gone, and all others whose command line begins with ``title``."""
    end = time.monotonic() + seconds
    while Path("/proc", process).exists() or any(
        _command_line(entry).startswith(title) for entry in Path("/proc").iterdir()
    ):
        assert time.monotonic() < end, f"process {process} goes on"
        time.sleep(0.1)
    time.sleep(5)  # until the daemon has noticed


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _wait_for_record(sweep: Any, state: str, reason: str = "", seconds: float = 300) -> None:
    path = Store(sweep.results).record_path(sweep.spec.run_id)
    end = time.monotonic() + seconds
    while True:
        if path.is_file():
            record = sweep.record()
            if record.state == state and reason in (record.reason or ""):
                return
        assert time.monotonic() < end, [(r.state, r.reason, r.log) for r in sweep.rows()]
        if time.monotonic() % 5 < 0.2:
            status(sweep.experiment, sweep.results)
        time.sleep(0.1)
