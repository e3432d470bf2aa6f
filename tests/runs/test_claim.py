"""One process at a time works in a stage folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from videomt_bench.errors import BenchError
from videomt_bench.runs import claim
from videomt_bench.runs.claim import OWNER, claimed, is_alive, me

WORKER = """
import sys, time
from pathlib import Path
from videomt_bench.runs.claim import claimed
folder = Path(sys.argv[1])
for _ in range(5):
    with claimed(folder):
        inside = folder / "inside"
        inside.touch(exist_ok=False)
        time.sleep(0.02)
        inside.unlink()
"""


def test_processes_take_turns(tmp_path: Path) -> None:
    program = [sys.executable, "-c", WORKER, str(tmp_path)]
    workers = [subprocess.Popen(program) for _ in range(4)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_is_succeeded_at_once(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / OWNER).write_text(json.dumps({**me(), "pid": dead.pid}))
    assert not is_alive(tmp_path)
    start = time.monotonic()
    with claimed(tmp_path):
        assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()
    assert time.monotonic() - start < 2


def test_a_requeued_job_succeeds_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first attempt was on a node that is lost."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    (tmp_path / OWNER).write_text(json.dumps({**me(), "host": "another"}))
    assert is_alive(tmp_path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert not is_alive(tmp_path)
    with claimed(tmp_path):
        assert json.loads((tmp_path / OWNER).read_text())["job"] == "7_3"


def test_a_silent_machine_is_succeeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not one that gives signs of life."""
    monkeypatch.setattr(claim, "STALE", 0.6)
    monkeypatch.setattr(claim, "POLL", 0.05)
    file = tmp_path / OWNER
    file.write_text(json.dumps({**me(), "host": "another"}))
    end = time.monotonic() + 1.5

    def live() -> None:
        while time.monotonic() < end:
            os.utime(file)
            time.sleep(0.1)

    other = threading.Thread(target=live)
    other.start()
    with claimed(tmp_path):
        assert time.monotonic() > end
    other.join()


def test_an_owner_shows_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "BEAT", 0.05)
    with claimed(tmp_path):
        before = (tmp_path / OWNER).stat().st_mtime_ns
        time.sleep(0.3)
        assert (tmp_path / OWNER).stat().st_mtime_ns > before


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="cannot write"), claimed(tmp_path / "file"):
        pass
