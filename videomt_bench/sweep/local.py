"""Runs an experiment on this machine through submitit's local executor, a few jobs at a time.

First all training and evaluation, a run as soon as its segmenter is there; then cost, one job at a
time and alone on the machine, so that its clocks are not disturbed by training.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import submitit

from videomt_bench.runs import stages
from videomt_bench.runs.execute import FAILED, execute, open_record
from videomt_bench.runs.record import Record
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Store
from videomt_bench.sweep.experiment import Experiment
from videomt_bench.sweep.launch import make_data
from videomt_bench.sweep.tasks import Task, prepare, run_tasks, segmenter_tasks
from videomt_bench.sweep.watch import View


def run_job(spec: dict[str, Any], results: str, names: Sequence[str]) -> str:
    """What a worker process runs; returns the state of the record."""
    return execute(RunSpec.from_json(spec), Path(results), names).state


def run_local(
    experiment: Experiment,
    results: Path,
    jobs: int,
    view: View,
    redo: Sequence[str] = (),
    names: Sequence[str] = stages.STAGES,
    mode: str = "retry",
    states: Sequence[str] = (),
) -> list[Record]:
    """Run everything that is not done yet and return the records of all runs.

    Args:
        experiment: what to run.
        results: records and work folders go here; a second launch continues from them.
        jobs: how many processes train at once.
        view: shows the progress.
        redo: of "evaluate" and "cost", the stages to do again where they are done.
        names: the stages to do; ("cost",) needs neither data nor weights.
        mode: one of ``tasks.MODES``.
        states: of the runs to take; empty for all.

    Raises:
        videomt_bench.errors.BenchError: something is wrong before anything has started.
    """
    store, runs = Store(results), experiment.runs()
    specs = prepare(runs, store, names, mode, redo, states)
    if specs and stages.needs_data(names):
        make_data(specs, view)
    training = segmenter_tasks(specs, store) if "segmenter" in names else []
    if clips := tuple(name for name in ("video", "refine", "evaluate") if name in names):
        training += run_tasks(specs, store, clips)
    _launch(training, "training and evaluation", jobs, store, view)
    if "cost" in names:
        # the cost of a run that failed is left out, unless cost is all that is asked for
        wait_for = None if len(names) == 1 else "evaluate"
        cost = run_tasks(specs, store, ("cost",), wait_for)
        _launch(cost, "cost, one at a time", 1, store, view)
    return [open_record(spec, store) for spec in runs]


def _launch(wave: list[Task], title: str, width: int, store: Store, view: View) -> None:
    """Run the tasks of a wave, ``width`` at a time."""
    waiting, running = list(wave), list[Task]()
    wave_ids = [task.stage_id for task in wave]
    with _ending_together(running), view.wave(title, wave_ids) as show:
        while waiting or running:
            for task in _ready(waiting, running)[: width - len(running)]:
                waiting.remove(task)
                task.job = _submit(task, store)
                running.append(task)
            for task in [t for t in running if t.job.done()]:
                running.remove(task)
                show.finished(task.stage_id, _settle(task, store))
            for task in running:
                show.progress(task.stage_id, store.stage(task.stage_id).progress())
            time.sleep(0.3)


@contextmanager
def _ending_together(running: Sequence[Task]) -> Iterator[None]:
    """Within the block a signal to end goes on to the running jobs, which save and end."""

    def end(number: int, frame: FrameType | None) -> None:
        for task in running:
            with suppress(ProcessLookupError):
                os.kill(int(task.job.job_id), signal.SIGTERM)
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    try:
        previous = [(number, signal.signal(number, end)) for number in numbers]
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)


def _ready(waiting: Sequence[Task], running: Sequence[Task]) -> list[Task]:
    """The waiting tasks whose needs have ended, or are of no task."""
    unfinished = {task.stage_id for task in (*waiting, *running)}
    return [task for task in waiting if task.needs not in unfinished]


def _submit(task: Task, store: Store) -> Any:
    executor = submitit.LocalExecutor(folder=store.root / "work" / "jobs")
    executor.update_parameters(timeout_min=60 * 24 * 30, name="videomt-bench")
    names = list(task.stage_names)
    with _environment(OMP_NUM_THREADS=str(task.spec.threads or os.cpu_count() or 1)):
        return executor.submit(run_job, task.spec.to_json(), str(store.root.resolve()), names)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables for the processes started within."""
    previous = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in previous.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _settle(task: Task, store: Store) -> str | None:
    """The reason of a failure once a job has ended, or None; a killed one gets its record here."""
    if not _has_result(task.job):
        record = open_record(task.spec, store)
        if record.state in ("planned", "running"):
            record.state = "failed"
            said = _last_line(task.job)
            record.reason = "the process ended without a result" + (f": {said}" if said else "")
            store.save(record)
    record = open_record(task.spec, store)
    return record.reason or record.state if record.state in FAILED else None


def _has_result(job: Any) -> bool:
    """Whether an ended job gave its result, for whose file submitit waits a while if it is lost."""
    if not job.paths.result_pickle.is_file():
        return False
    try:
        job.result()
    except Exception:
        return False
    return True


def _last_line(job: Any) -> str:
    lines = [line for line in (job.stderr() or "").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""


def problems(records: Sequence[Record], names: Sequence[str] = stages.STAGES) -> list[str]:
    """One sentence for each run of which not all the named stages are done."""
    missing = [r for r in records if set(names) & set(r.stage_names) - {"segmenter", *r.stages}]
    return [f"{r.run_id}: {r.state} ({r.reason})" for r in missing]


def default_jobs(threads: int) -> int:
    """How many processes of so many threads fit this machine."""
    return max(1, (os.cpu_count() or 1) // (threads or os.cpu_count() or 1))
