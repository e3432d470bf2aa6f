"""Sweeps: submitting and looking at 1,000 runs, and what the runner adds to an iteration.

    python tests/benchmarks/bench_sweep.py

Not a test: it asserts nothing about time. SLURM is the tests' stand-in, whose commands are Python
scripts. Times are of the calls, without the start of Python and the imports. For an iteration both
sides run in turn in one process on one core with the same model, clips and optimizer, and the
smallest CPU time of each counts; the ratio is the number to keep.
"""

# ruff: noqa: E402  (the path and the thread count come before the imports)

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch
from conftest import micro_settings
from rich.console import Console

from videomt_bench.data.clips import TrainClips, collate
from videomt_bench.models import load_variant
from videomt_bench.runs import stages
from videomt_bench.runs.clips import open_split
from videomt_bench.runs.execute import open_record
from videomt_bench.runs.record import Metric, StageResult
from videomt_bench.runs.store import Store
from videomt_bench.sweep.experiment import load_experiment
from videomt_bench.sweep.launch import Request, submit
from videomt_bench.sweep.status import status
from videomt_bench.sweep.watch import View
from videomt_bench.training.engine import TrainSettings, train
from videomt_bench.training.losses import clip_losses
from videomt_bench.training.optim import build_optimizer, set_rates

FAKE = ROOT / "tests" / "sweep" / "fake_slurm" / "fake.py"


def stand_in(folder: Path) -> Path:
    """Put SLURM's stand-in on the path; returns its state."""
    for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol", "srun"):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" {name} "$@"\n')
        (folder / name).chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
    os.environ |= {"FAKE_SLURM": str(folder / "state"), "FAKE_SLURM_IDLE": "1"}
    return folder / "state"


def bench_sweep(folder: Path, runs: int) -> dict[str, Any]:
    """Submit runs × (training, cost), then look at them with half of them done."""
    state = stand_in(folder)
    settings = micro_settings(folder, variants=["step4_frame_by_frame", "step6_videomt"])
    settings["seeds"] = list(range(runs // 2))
    experiment = load_experiment("demo", settings)
    stages.prepare_data(experiment.datasets[0])
    results = folder / "results"
    start, cpu = time.monotonic(), time.process_time()
    arrays = submit(experiment, results, Request(), View(Console(file=StringIO())))
    submitting, submitting_cpu = time.monotonic() - start, time.process_time() - cpu
    store = Store(results)
    for i, spec in enumerate(experiment.runs()):
        record = open_record(spec, store)
        record.environment = {"packages": dict.fromkeys("abcdefgh", "1.0"), "cpu": "a processor"}
        record.metrics = {f"metric_{n}": Metric(0.5, 100) for n in range(20)}
        if i % 2:
            record.state = "completed"
            done = StageResult(spec.run_id, "completed", 1.0)
            record.stages = dict.fromkeys(stages.STAGES, done)
            store.save(record)
        store.stage(spec.run_id).report("video", 10, 100, {"loss": 3.0})
    for file in state.glob("1_*.state"):
        file.write_text("COMPLETED")
    calls = (state / "calls").read_text().splitlines()
    start, cpu = time.monotonic(), time.process_time()
    found = status(experiment, results)
    looking, looking_cpu = time.monotonic() - start, time.process_time() - cpu
    asked = (state / "calls").read_text().splitlines()[len(calls) :]
    return {
        "runs": len(found.rows),
        "tasks": sum(len(a.tasks) for a in arrays),
        "sbatch_calls": sum(line.startswith("sbatch") for line in calls),
        "submit_seconds": round(submitting, 2),
        "submit_cpu_seconds": round(submitting_cpu, 2),
        "status_seconds": round(looking, 2),
        "status_cpu_seconds": round(looking_cpu, 2),
        "status_calls": [line.partition(" ")[0] for line in asked],
        "states": found.counts(),
    }


def bench_iteration(folder: Path, iterations: int, repeats: int) -> dict[str, Any]:
    """An iteration of the demo's video stage, in the runner and in a bare loop.

    What a training does once is left out: an iteration is the difference of a long and a short
    training. Checkpoints count with their share, one in ``checkpoint_interval`` iterations.
    """
    settings = micro_settings(folder)
    demo = load_experiment("demo", {"datasets": settings["datasets"]})
    (spec,) = [s for s in demo.runs() if s.variant == "step6_videomt"]
    stages.prepare_data(spec.dataset)
    clips = TrainClips(
        open_split(spec.dataset, "train"),
        spec.recipe.video.frames,
        spec.recipe.video.augmentation,
        spec.seed,
    )
    training = spec.video_training(load_variant(spec.variant))
    interval, short = training.checkpoint_interval, iterations // 4
    cases = {
        "runner": lambda n: replace(training, iterations=n, checkpoint_interval=n),
        "bare": lambda n: replace(training, iterations=n),
        "saving": lambda n: replace(training, iterations=n, checkpoint_interval=n // 2),
    }
    times: dict[tuple[str, int], list[float]] = {}
    for i in range(repeats):
        for name, settings_of in cases.items():
            for length in (short, iterations):
                torch.manual_seed(0)
                model = load_variant(spec.variant).build(spec.model())
                start = time.process_time()
                if name == "bare":
                    bare_loop(model, clips, settings_of(length))
                else:
                    where = folder / f"{name}-{length}-{i}"
                    train(model, clips, settings_of(length), where, 0)
                times.setdefault((name, length), []).append(time.process_time() - start)
    best = {key: min(values) for key, values in times.items()}
    runner, bare = (
        (best[name, iterations] - best[name, short]) / (iterations - short)
        for name in ("runner", "bare")
    )
    saving = max(0.0, best["saving", iterations] - best["runner", iterations])
    return {
        "runner_ms": round(1000 * runner, 1),
        "bare_ms": round(1000 * bare, 1),
        "checkpoint_ms": round(1000 * saving, 1),
        "overhead_percent": round(100 * ((runner + saving / interval) / bare - 1), 2),
    }


def bare_loop(model: Any, clips: Any, training: TrainSettings) -> None:
    """Load, forward, losses, backward, clip, step; nothing else."""
    model.train()
    optimizer = build_optimizer(model, training.optim)
    for step in range(training.iterations):
        torch.manual_seed(step)
        set_rates(optimizer, step, training.iterations, training.optim)
        numbers = range(step * training.batch, (step + 1) * training.batch)
        batch = collate([clips[n] for n in numbers], training.divisor)
        output, _ = model(batch.frames)
        losses = clip_losses(output, batch.targets, training.matching, training.losses)
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.optim.clip_norm)
        optimizer.step()
        optimizer.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--iterations", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(bench_sweep(Path(name), arguments.runs)), flush=True)
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(bench_iteration(Path(name), arguments.iterations, arguments.repeats)))


if __name__ == "__main__":
    main()
