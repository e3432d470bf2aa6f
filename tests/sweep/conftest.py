"""A SLURM that is none: commands on the path that run jobs as processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import micro_settings

from videomt_bench.sweep.experiment import Experiment, load_experiment

sys.path.append(str(Path(__file__).parent))  # helper modules; at the end, as in other rooms
FAKE = Path(__file__).parent / "fake_slurm" / "fake.py"
COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "srun")


class FakeSlurm:
    """Its state, and what was asked of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def calls(self, command: str) -> list[str]:
        """The calls of a command so far."""
        file = self.root / "calls"
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        return [line for line in lines if line.split(" ")[0] == command]

    def set_state(self, task: str, state: str) -> None:
        """Let a job be in a state."""
        (self.root / f"{task}.state").write_text(state)

    def script(self, number: int) -> str:
        """What sbatch was given."""
        return (self.root / f"{number}.sh").read_text(encoding="utf-8")

    def wait(self, seconds: float = 240) -> None:
        """Wait until nothing waits or runs."""
        end = time.monotonic() + seconds
        while any(f.read_text() in ("PENDING", "RUNNING") for f in self.root.glob("*.state")):
            assert time.monotonic() < end, "the jobs do not end"
            time.sleep(0.2)


@pytest.fixture
def fake_slurm(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> FakeSlurm:
    """Puts the commands first on the path."""
    folder = tmp_path_factory.mktemp("fake_slurm")
    for name in COMMANDS:
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" {name} "$@"\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder / "state"))
    return FakeSlurm(folder / "state")


@pytest.fixture
def idle_slurm(fake_slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """One whose jobs wait until a test says otherwise."""
    monkeypatch.setenv("FAKE_SLURM_IDLE", "1")
    return fake_slurm


@pytest.fixture
def micro_experiment() -> Callable[..., Experiment]:
    """The demo in its micro form, below a folder."""

    def make(root: Path, *variants: str, **changes: Any) -> Experiment:
        names = variants or ("step4_frame_by_frame", "step6_videomt")
        return load_experiment("demo", micro_settings(root, variants=list(names), **changes))

    return make
