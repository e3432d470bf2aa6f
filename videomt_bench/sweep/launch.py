"""Submits an experiment to SLURM, everything at once, and returns; or runs it in this process."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videomt_bench.errors import BenchError
from videomt_bench.runs import stages
from videomt_bench.runs.execute import execute, open_record
from videomt_bench.runs.record import Record
from videomt_bench.runs.spec import RunSpec
from videomt_bench.runs.store import Store, now
from videomt_bench.sweep import slurm
from videomt_bench.sweep.experiment import Experiment
from videomt_bench.sweep.fate import look_up, settle
from videomt_bench.sweep.job import run_job
from videomt_bench.sweep.ledger import Array, Job, Ledger
from videomt_bench.sweep.snapshot import take_snapshot
from videomt_bench.sweep.tasks import Task, prepare, run_tasks, segmenter_tasks
from videomt_bench.sweep.watch import View

EXECUTORS = ("local", "slurm", "debug")
REQUEUES = 20
LENT = ("video", "refine")
"""Stages that a run may have of another one."""


@dataclass(frozen=True)
class Request:
    """What to do of an experiment.

    ``names`` are the stages, ``redo`` those of "evaluate" and "cost" to do again, ``states`` of
    runs to take (empty: all), ``given`` the SLURM parameters asked for and ``requeues`` how often
    a job may be queued again.
    """

    names: tuple[str, ...] = stages.STAGES
    mode: str = "retry"
    redo: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    given: dict[str, Any] = field(default_factory=dict)
    requeues: int = REQUEUES


def make_data(specs: Sequence[RunSpec], view: View) -> None:
    """Generate the data sets that are generated, and read all of them once."""
    for dataset in {s.dataset.name: s.dataset for s in specs}.values():
        with view.bar(f"data {dataset.name}") as report:
            stages.prepare_data(dataset, report)


def submit(experiment: Experiment, results: Path, request: Request, view: View) -> list[Array]:
    """Submit what is not done and not in the queue yet, one array per stage and shape of job.

    Raises:
        BenchError: something is wrong; then nothing is submitted.
    """
    slurm.check_given(request.given)
    store, ledger = Store(results.resolve()), Ledger(results.resolve())
    specs = experiment.runs()
    jobs = look_up(ledger, specs, store)
    if request.mode != "read-only":
        settle(specs, store, jobs, ledger)
    specs = prepare(specs, store, request.names, request.mode, request.redo, request.states)
    plan = plan_jobs(specs, store, request, jobs.live())
    if not plan:
        return []
    if stages.needs_data(request.names):
        make_data(specs, view)
    snapshot = take_snapshot(results)
    arrays: list[Array] = []
    try:
        with slurm.Submission(ledger.logs, snapshot) as submission:
            for tasks, values in plan:
                after = _after(tasks, arrays, jobs.live())
                arguments = [_arguments(task, store, request) for task in tasks]
                ids = submission.array(run_job, arguments, values, after)
                array = _entry(experiment.name, tasks, ids, values, request)
                arrays.append(array)
                ledger.add(array)
    except BaseException:
        for array in arrays:
            ledger.remove(array)
        raise
    return arrays


def plan_jobs(
    specs: Sequence[RunSpec],
    store: Store,
    request: Request,
    live: Collection[tuple[str, str]] = (),
) -> list[tuple[list[Task], dict[str, Any]]]:
    """The arrays to submit, in order: their tasks and the parameters for submitit.

    Args:
        specs: the runs to do.
        store: what of them is done.
        request: stages and SLURM parameters.
        live: (stage id or run id, stage) of what is in the queue already.
    """
    waves: list[list[Task]] = []
    if "segmenter" in request.names:
        busy = {owner for owner, name in live if name == "segmenter"}
        waves.append(segmenter_tasks(specs, store, busy))
    shapes: dict[tuple[str, ...], list[RunSpec]] = {}
    for spec in specs:
        for names in slurm.split_stages(request.names, spec, request.given):
            if names != ("segmenter",):
                shapes.setdefault(names, []).append(spec)
    later: list[tuple[int, int, list[Task]]] = []
    for names, own in shapes.items():
        wait_for = None
        if names == ("cost",) and "evaluate" not in request.names and len(request.names) > 1:
            wait_for = "evaluate"
        tasks = run_tasks(own, store, names, wait_for)
        tasks = [t for t in tasks if not _is_live(t, store, live)]
        first = stages.STAGES.index(names[0])
        later += [(first, n, [t for t in tasks if len(_lenders(t.spec)) == n]) for n in range(3)]
    waves += [tasks for *_, tasks in sorted(later, key=lambda wave: wave[:2])]
    return [part for wave in waves for part in _by_shape(wave, request)]


def _lenders(spec: RunSpec) -> set[str]:
    """The other runs whose training a run is tested with or continues; they come before it."""
    return {spec.trained.run_id, spec.online.run_id} - {spec.run_id}


def _is_live(task: Task, store: Store, live: Collection[tuple[str, str]]) -> bool:
    done = open_record(task.spec, store).stages
    missing = [name for name in task.stage_names if name not in done]
    return all((task.spec.run_id, name) in live for name in missing)


def _by_shape(wave: Sequence[Task], request: Request) -> list[tuple[list[Task], dict[str, Any]]]:
    groups: dict[str, tuple[list[Task], dict[str, Any]]] = {}
    for task in wave:
        values = slurm.parameters(task.stage_names, task.spec, request.given)
        groups.setdefault(json.dumps(values, sort_keys=True), ([], values))[0].append(task)
    size = slurm.LARGEST_ARRAY
    return [
        (tasks[i : i + size], values)
        for tasks, values in groups.values()
        for i in range(0, len(tasks), size)
    ]


def _after(
    tasks: Sequence[Task], arrays: Sequence[Array], live: dict[tuple[str, str], Job]
) -> list[str]:
    """The arrays and jobs that must have ended before these tasks start."""
    first = stages.STAGES.index(tasks[0].stage_names[0])
    wanted = {t.spec.run_id for t in tasks} | {t.spec.segmenter_stage for t in tasks}
    borrowed = {lender for t in tasks for lender in _lenders(t.spec)}
    ids = {
        array.job_ids[0].partition("_")[0]
        for array in arrays
        for run_id, stage_id in array.tasks
        if (wanted & {run_id, stage_id} and stages.STAGES.index(array.stage_names[0]) < first)
        or (run_id in borrowed and set(LENT) & set(array.stage_names))
    }
    ids |= {
        job.id
        for (owner, name), job in live.items()
        if (owner in wanted and stages.STAGES.index(name) < first)
        or (owner in borrowed and name in LENT)
    }
    return sorted(ids)


def _arguments(task: Task, store: Store, request: Request) -> tuple[Any, ...]:
    needs = "evaluate" if task.stage_names == ("cost",) and len(request.names) > 1 else None
    names = list(task.stage_names)
    folder = str(Path.cwd())
    return task.spec.to_json(), str(store.root), names, folder, request.requeues, needs


def _entry(
    experiment: str,
    tasks: Sequence[Task],
    ids: Sequence[str],
    values: dict[str, Any],
    request: Request,
) -> Array:
    return Array(
        experiment=experiment,
        stage_names=tasks[0].stage_names,
        job_ids=tuple(ids),
        tasks=tuple((task.spec.run_id, task.stage_id) for task in tasks),
        given=request.given,
        parameters=values,
        submitted=now(),
    )


def run_here(experiment: Experiment, results: Path, request: Request, view: View) -> list[Record]:
    """Run what is not done in this process, one stage after the other, for a debugger."""
    store, specs = Store(results), experiment.runs()
    todo = prepare(specs, store, request.names, request.mode, request.redo, request.states)
    if todo and stages.needs_data(request.names):
        make_data(todo, view)
    for spec in todo:
        execute(spec, results, request.names)
    return [open_record(spec, store) for spec in specs]


def last_request(experiment: Experiment, results: Path) -> Array | None:
    """The last submission of an experiment, whose SLURM parameters a retry takes over."""
    arrays = [a for a in Ledger(results).arrays() if a.experiment == experiment.name]
    return arrays[-1] if arrays else None


def check_retry(experiment: Experiment, results: Path) -> None:
    """Raises BenchError: no run has a record, which happens where a setting changes the results."""
    store = Store(results)
    if not any(store.record_path(spec.run_id).is_file() for spec in experiment.runs()):
        raise BenchError(
            f"no run of {experiment.name} with these settings has a record in {results}; a retry "
            "can change only what leaves the result as it is, such as recipe.video.train.per_device"
        )


def cancel(experiment: Experiment, results: Path) -> list[str]:
    """Cancel all jobs of an experiment's runs and say so in their records; returns the job ids.

    Raises:
        BenchError: SLURM does not answer.
    """
    store, ledger, specs = Store(results), Ledger(results), experiment.runs()
    live = look_up(ledger, specs, store).live()
    own = {s.run_id for s in specs}
    ids = sorted({job.id for job in live.values() if job.run_id in own})
    if not ids:
        return []
    slurm.cancel(ids)
    for spec in specs:
        if any(job.run_id == spec.run_id for job in live.values()):
            record = open_record(spec, store)
            if record.state != "completed":
                record.state, record.reason = "preempted", "the job was cancelled"
                store.save(record)
    return ids
