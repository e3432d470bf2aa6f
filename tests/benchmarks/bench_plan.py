"""Time to plan an experiment of many runs, half of which are done.

    python tests/benchmarks/bench_plan.py
    python tests/benchmarks/bench_plan.py --runs 4000 --profile

Not a test: it asserts nothing about time. The smallest of three times counts; imports and the
controller of a cluster are not part of it.
"""

# ruff: noqa: E402  (the path and the thread count come before the imports)

from __future__ import annotations

import argparse
import cProfile
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from videomt_bench.runs.record import Metric, Record, StageResult
from videomt_bench.runs.stages import STAGES
from videomt_bench.runs.store import Store
from videomt_bench.sweep.experiment import Experiment, load_experiment
from videomt_bench.sweep.limits import Limits
from videomt_bench.sweep.plan import Plan, plan


def experiment(runs: int) -> Experiment:
    """The demo with as many seeds as it takes."""
    demo = load_experiment("demo")
    rows = len(demo.variants) * len(demo.datasets)
    return load_experiment("demo", {"seeds": list(range(runs // rows))})


def finish_half(loaded: Experiment, results: Path) -> None:
    """Write the records of every second run."""
    store = Store(results)
    for spec in loaded.runs()[::2]:
        stages = {
            n: StageResult(spec.run_id, "completed", 100.0, {"iterations": 600}) for n in STAGES
        }
        metrics = {name: Metric(0.5, 200) for name in ("AP", "AP50", "AP75", "AR1", "AR10")}
        cost = {"params": 1, "gmacs": 1.0, "by_operator": {str(i): float(i) for i in range(200)}}
        record = Record(spec.run_id, spec.to_json(), "completed", None, stages, metrics, None, cost)
        store.save(record)


def timed(runs: int, results: Path) -> tuple[float, Plan]:
    """Load and plan; seconds and the plan."""
    start = time.perf_counter()
    found = plan(experiment(runs), results, {"gpus_per_node": 1}, limits=Limits())
    json.dumps(found.to_json())
    return time.perf_counter() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        finish_half(experiment(arguments.runs), results)
        seconds, found = min((timed(arguments.runs, results) for _ in range(3)), key=lambda t: t[0])
        done = sum(not run.todo for run in found.runs)
        print(f"{len(found.runs)} runs, {done} done: planned in {seconds:.2f} s")
        if arguments.profile:
            cProfile.runctx("timed(arguments.runs, results)", globals(), locals(), sort="cumtime")


if __name__ == "__main__":
    main()
