"""A real SLURM on this machine, and runs that take as long as a test wants them to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import as_arguments, micro_settings
from rich.console import Console

from videomt_bench.runs.claim import owner_of
from videomt_bench.runs.execute import execute
from videomt_bench.runs.record import Record, read_record
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Store
from videomt_bench.sweep.experiment import Experiment, load_experiment
from videomt_bench.sweep.launch import Request, submit
from videomt_bench.sweep.ledger import Array
from videomt_bench.sweep.status import Row, status
from videomt_bench.sweep.watch import View

HERE = Path(__file__).parent
ITERATIONS = 60
INTERVAL = 5
"""Iterations between two checkpoints: the most that may be lost."""

VARIANT = '''
import time
from pathlib import Path

import torch

from videomt_bench.models import EoMT, QueryPropagation, Variant

FOLDER = Path({folder!r})
SEEN = []
RAND = torch.rand


def same_points(*size, **options):
    """Points that do not depend on how a batch is shared by processes."""
    if size[-1] != 2 or "generator" in options:
        return RAND(*size, **options)
    row = RAND(size[-2], 2, generator=torch.Generator().manual_seed(size[-2]))
    return row.expand(*size).clone()


if (FOLDER / "same_points").exists():
    torch.rand = same_points


class Told(QueryPropagation):
    """Does what files in a folder say: waits, takes memory."""

    def update(self, state, output):
        if (FOLDER / "slow").exists():
            time.sleep(0.15)
        while (FOLDER / "hungry").exists():
            SEEN.append(bytearray(200 << 20))
            time.sleep(0.3)
        return super().update(state, output)


VARIANT = Variant("told", EoMT.from_spec, Told)
'''


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(autouse=True, scope="session")
def _cluster() -> Iterator[None]:
    """SLURM runs, and no job of an earlier test does."""
    if shutil.which("sbatch") is None or command("scontrol", "ping").returncode:
        pytest.fail("SLURM does not run here; `make test-slurm` installs and starts it")
    yield
    command("scancel", "--me")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120)


class Sweep:
    """An experiment in a folder of its own: variants ``told`` and ``step6_videomt``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.results = root / "results"
        (root / "variants").mkdir(parents=True)
        (root / "variants" / "told.py").write_text(VARIANT.format(folder=str(root)))
        self.settings: dict[str, Any] = micro_settings(root, variants=["told"])
        self.settings["recipe.video.train.iterations"] = ITERATIONS
        self.settings["recipe.video.train.checkpoint_interval"] = INTERVAL
        self.tell("slow")

    def tell(self, *words: str) -> None:
        """What the variant ``told`` shall do from now on."""
        for word in ("slow", "hungry", "same_points"):
            (self.root / word).unlink(missing_ok=True)
        for word in words:
            (self.root / word).touch()

    @property
    def experiment(self) -> Experiment:
        return load_experiment("demo", self.settings)

    @property
    def spec(self) -> RunSpec:
        return self.experiment.runs()[0]

    def submit(self, **request: Any) -> list[Array]:
        request.setdefault("given", {"timeout_min": 10})
        silent = View(Console(file=StringIO()))
        return submit(self.experiment, self.results, Request(**request), silent)

    def command(self, *arguments: str, **options: Any) -> list[str]:
        """A command line of ``sweep``."""
        first, *rest = arguments
        where = ["--results", str(self.results), "--datasets", "micro", "--json"]
        program = [sys.executable, "-m", "videomt_bench", "sweep", first, "demo", *where]
        return [*program, *as_arguments({**self.settings, **options}), *rest]

    def rows(self) -> list[Row]:
        return status(self.experiment, self.results).rows

    def record(self, spec: RunSpec | None = None) -> Record:
        return read_record(Store(self.results).record_path((spec or self.spec).run_id))

    def wait(self, *states: str, seconds: float = 600) -> list[Row]:
        """Look at the status until all runs are in one of these states."""
        end = time.monotonic() + seconds
        while True:
            rows = self.rows()
            if all(row.state in states for row in rows):
                return rows
            assert time.monotonic() < end, [(r.state, r.stages, r.reason, r.log) for r in rows]
            time.sleep(1)

    def wait_for_step(self, step: int, seconds: float = 600) -> dict[str, Any]:
        """Wait until the video training has come so far; returns its progress."""
        end = time.monotonic() + seconds
        while True:
            found = Store(self.results).stage(self.spec.run_id).progress()
            if found and found["stage"] == "video" and found["step"] >= step:
                return found
            assert time.monotonic() < end, (found, [(r.state, r.reason) for r in self.rows()])
            time.sleep(0.1)

    def owner(self) -> dict[str, Any]:
        """The process that trains."""
        found = owner_of(Store(self.results).stage(self.spec.run_id).path)
        assert found is not None
        return found

    def checkpoint(self) -> int:
        """The iteration that the last checkpoint is from."""
        file = Store(self.results).stage(self.spec.run_id).path / "video" / "checkpoint.pth"
        return torch.load(file, weights_only=True)["meta"]["iter"]

    def losses(self) -> list[dict[str, Any]]:
        file = Store(self.results).stage(self.spec.run_id).path / "video" / "losses.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()]

    def weights(self) -> dict[str, torch.Tensor]:
        return torch.load(Store(self.results).stage(self.spec.run_id).model, weights_only=True)

    def unbroken(self) -> Sweep:
        """The same run in one piece, outside of SLURM."""
        other = Sweep(self.root / "unbroken")
        other.settings = self.settings
        record = execute(self.spec, other.results, ("segmenter", "video", "evaluate"))
        assert record.reason is None
        return other

    def is_as_unbroken(self) -> bool:
        """Whether weights, logged losses and scores are those of the run in one piece."""
        self.tell()
        other = self.unbroken()
        ours, theirs = self.weights(), other.weights()
        same = all(torch.equal(ours[name], theirs[name]) for name in theirs)
        scores = self.record().metrics == other.record().metrics
        return same and scores and self.losses() == other.losses()


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    made = Sweep(tmp_path / "sweep")
    monkeypatch.setenv("VIDEOMT_BENCH_VARIANTS", str(made.root / "variants"))
    monkeypatch.chdir(made.root)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield made
    torch.set_num_threads(threads)
    command("scancel", "--me")


@pytest.fixture
def slurm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command of SLURM."""
    return command


@pytest.fixture
def node() -> Iterator[str]:
    """The one node, in service again after the test."""
    name = os.uname().nodename.partition(".")[0]
    yield name
    command("scontrol", "update", f"NodeName={name}", "State=RESUME")
