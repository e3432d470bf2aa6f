"""A sweep on this machine, in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import as_arguments, micro_settings

from videomt_bench.runs.record import Record, read_record

VARIANTS = ["step4_frame_by_frame", "step6_videomt"]


def command(results: Path, settings: dict[str, Any]) -> list[str]:
    arguments = ["sweep", "run", "demo", "--results", str(results), "--datasets", "micro"]
    return [sys.executable, "-m", "videomt_bench", *arguments, "--json", *as_arguments(settings)]


def long_training(iterations: int) -> dict[str, Any]:
    """Settings of one run that lasts long enough to be interrupted."""
    return {
        "variants": ["step6_videomt"],
        "recipe.video.train.iterations": iterations,
        "recipe.video.train.checkpoint_interval": 5,
    }


def records(results: Path) -> dict[str, Record]:
    found = [read_record(file) for file in (results / "records").glob("*.json")]
    return {record.spec["variant"]: record for record in found}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("a folder with 'quotes' and ä")
    settings = micro_settings(root, variants=VARIANTS)
    done = subprocess.run(
        command(root / "results", settings), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert [run["state"] for run in runs] == ["completed", "completed"]
    return root / "results", settings


@pytest.fixture
def prepared(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A folder of results where the image stage is done and nothing else."""
    work = tmp_path / "results" / "work"
    for folder in (finished[0] / "work").glob("segmenter-*"):
        shutil.copytree(folder, work / folder.name)
    return tmp_path / "results", finished[1]


def test_every_run_has_a_complete_record(finished: tuple[Path, dict[str, Any]]) -> None:
    found = records(finished[0])
    assert set(found) == set(VARIANTS)
    for record in found.values():
        assert record.state == "completed"
        assert set(record.stages) == {"segmenter", "video", "evaluate", "cost"}
    segmenters = {record.stages["segmenter"].id for record in found.values()}
    assert len(segmenters) == 1


def test_a_second_launch_does_nothing(finished: tuple[Path, dict[str, Any]]) -> None:
    results, settings = finished
    files = sorted((results / "records").iterdir())
    before = [(f.name, f.stat().st_mtime_ns) for f in files]
    done = subprocess.run(command(results, settings), capture_output=True, text=True, check=True)
    assert [(f.name, f.stat().st_mtime_ns) for f in files] == before
    assert "job" not in done.stderr


def test_a_stage_can_be_done_again(finished: tuple[Path, dict[str, Any]]) -> None:
    results, settings = finished
    before = records(results)["step6_videomt"]
    one = {**settings, "variants": ["step6_videomt"]}
    again = [*command(results, one), "--redo", "cost"]
    subprocess.run(again, capture_output=True, text=True, check=True)
    after = records(results)["step6_videomt"]
    assert after.state == "completed"
    assert after.stages["video"] == before.stages["video"]
    assert after.stages["cost"].seconds != before.stages["cost"].seconds


def test_a_run_that_fails_leaves_the_others_alone(
    prepared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    results, settings = prepared
    mine = tmp_path / "variants"
    mine.mkdir()
    (mine / "broken.py").write_text(
        "from videomt_bench.models import EoMT, QueryPropagation, Variant\n"
        "class Broken(QueryPropagation):\n"
        "    def update(self, state, output):\n"
        "        raise ValueError('this idea does not work')\n"
        "VARIANT = Variant('broken', EoMT.from_spec, Broken)\n"
    )
    settings = {**settings, "variants": ["broken", "step4_frame_by_frame"]}
    done = subprocess.run(
        command(results, settings),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "VIDEOMT_BENCH_VARIANTS": str(mine)},
    )
    assert done.returncode == 1, done.stderr
    found = records(results)
    assert found["step4_frame_by_frame"].state == "completed"
    assert found["broken"].state == "failed"
    assert found["broken"].reason == "ValueError: this idea does not work"
    assert found["broken"].metrics == {}
    assert "this idea does not work" in done.stderr


def test_a_killed_job_is_a_record_and_continues(prepared: tuple[Path, dict[str, Any]]) -> None:
    """SIGKILL of the training process: the sweep says so; a second launch finishes the run."""
    results, settings = prepared
    settings = {**settings, **long_training(40)}
    with subprocess.Popen(command(results, settings), stderr=subprocess.PIPE, text=True) as sweep:
        _kill_when(results, "*/video/checkpoint.pth")
        _, text = sweep.communicate(timeout=120)
    assert sweep.returncode == 1
    (record,) = records(results).values()
    assert record.state == "failed"
    assert record.reason is not None
    assert "the process ended without a result" in record.reason
    assert "the process ended without a result" in text
    done = subprocess.run(command(results, settings), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (record,) = records(results).values()
    assert (record.state, record.reason) == ("completed", None)
    lines = (results / "work" / record.run_id / "video" / "losses.jsonl").read_text().splitlines()
    assert {json.loads(line)["step"] for line in lines} == set(range(1, 41))


def test_a_sweep_that_is_asked_to_end_takes_its_jobs_with_it(
    prepared: tuple[Path, dict[str, Any]],
) -> None:
    """SIGTERM to the command: the training saves, says so and ends; a second launch continues."""
    results, settings = prepared
    settings = {**settings, **long_training(400)}
    with subprocess.Popen(command(results, settings), stderr=subprocess.DEVNULL) as sweep:
        _wait_for(results, "*/video/checkpoint.pth")
        sweep.send_signal(signal.SIGTERM)
        assert sweep.wait(30) == 128 + signal.SIGTERM
    deadline = time.monotonic() + 60
    while _jobs(results):
        assert time.monotonic() < deadline, "the job goes on alone"
        time.sleep(0.1)
    (record,) = records(results).values()
    assert (record.state, record.reason) == ("preempted", "received SIGTERM")


def _kill_when(results: Path, pattern: str) -> None:
    """Kill the job's process once a checkpoint is there."""
    _wait_for(results, pattern)
    jobs = _jobs(results)
    assert jobs
    for job in jobs:
        os.kill(job, signal.SIGKILL)


def _wait_for(results: Path, pattern: str) -> None:
    deadline = time.monotonic() + 90
    while not list((results / "work").glob(pattern)):
        assert time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.05)


def _jobs(results: Path) -> list[int]:
    """The processes that run jobs of this folder, found by their command lines."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"submitit.core._submit" in line and any(
                str(results).encode() in part for part in line
            ):
                found.append(int(entry.name))
    return found
