"""From the arguments of ``sweep run | retry | plan`` to a launch, and what it says in the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from videomt_bench.cli.common import emit, err, out, plain
from videomt_bench.errors import BenchError, unknown

if TYPE_CHECKING:
    from videomt_bench.runs.record import Record
    from videomt_bench.sweep.experiment import Experiment
    from videomt_bench.sweep.launch import Request


def slurm_parameters(options: list[str] | None, more: Sequence[str]) -> dict[str, Any]:
    """The SLURM parameters of ``--slurm a=1 b=2 --slurm c=3``.

    Raises:
        BenchError: one is not of the form key=value, or submitit does not know it.
    """
    from videomt_bench.sweep.experiment import parse_overrides

    for word in more:
        if word.startswith("-") or "=" not in word or not options:
            raise BenchError(f"unexpected argument {word!r}; SLURM parameters follow --slurm")
    given = parse_overrides([*(options or []), *more])
    if given:
        from videomt_bench.sweep.slurm import check_given

        check_given(given)
    return given


def stage_names(text: str | None) -> tuple[str, ...]:
    """The stages that ``--stages`` names, or all."""
    from videomt_bench.runs.stages import STAGES

    return tuple(text.split(",")) if text else STAGES


def states_of(text: str) -> tuple[str, ...]:
    """The states that ``--only`` names.

    Raises:
        BenchError: one that is not for trying again.
    """
    from videomt_bench.runs.execute import FAILED

    states = tuple(text.split(","))
    for state in states:
        if state not in FAILED:
            raise unknown("state to try again", state, FAILED)
    return states


def check_executor(name: str) -> str:
    """Raises BenchError: there is no such executor."""
    from videomt_bench.sweep.launch import EXECUTORS

    if name not in EXECUTORS:
        raise unknown("executor", name, EXECUTORS)
    return name


def request_of(
    names: tuple[str, ...],
    mode: str,
    redo: tuple[str, ...],
    states: tuple[str, ...],
    given: dict[str, Any],
    requeues: int | None,
) -> Request:
    """What a command asks for."""
    from videomt_bench.sweep.launch import REQUEUES, Request

    limit = REQUEUES if requeues is None else requeues
    return Request(names, mode, redo, states, given, limit)


def launch(
    experiment: Experiment,
    results: Path,
    executor: str,
    request: Request,
    jobs: int,
    as_json: bool,
) -> None:
    """Run or submit, say what was done, and end with code 1 where a run did not get done."""
    from videomt_bench.sweep.launch import run_here, submit
    from videomt_bench.sweep.watch import View

    if executor == "slurm":
        arrays = submit(experiment, results, request, View(err))
        for array in arrays:
            stages, tasks = " and ".join(array.stage_names), len(array.tasks)
            first = array.job_ids[0].partition("_")[0]
            out.print(f"job {first}: {stages} of {tasks} run{'s' * (tasks != 1)}")
        if not arrays:
            out.print("nothing to submit: all is done or in the queue")
        emit({"jobs": [vars(array) for array in arrays]}, as_json)
        return
    if executor == "debug":
        records = run_here(experiment, results, request, View(err))
        _say_problems(records, request.names)
    else:
        records = run_on_this_machine(experiment, results, jobs, request)
    emit(summary(records, []), as_json)
    exit_unless_done(records, request.names)


def run_on_this_machine(
    experiment: Experiment, results: Path, jobs: int, request: Request
) -> list[Record]:
    from videomt_bench.sweep.local import default_jobs, run_local
    from videomt_bench.sweep.watch import View

    width = jobs or default_jobs(experiment.threads)
    records = run_local(
        experiment,
        results,
        width,
        View(err),
        request.redo,
        request.names,
        request.mode,
        request.states,
    )
    _say_problems(records, request.names)
    return records


def _say_problems(records: list[Record], names: Sequence[str]) -> None:
    from videomt_bench.sweep.local import problems

    for problem in problems(records, names):
        err.print(f"[red]{plain(problem)}[/]", soft_wrap=True)


def exit_unless_done(records: list[Record], names: Sequence[str]) -> None:
    from videomt_bench.sweep.local import problems

    if problems(records, names):
        raise typer.Exit(1)


def summary(records: list[Record], files: list[Path]) -> dict[str, Any]:
    runs = [
        {"run_id": r.run_id, "state": r.state, "AP": r.metrics["AP"].value if r.metrics else None}
        for r in records
    ]
    return {"runs": runs, "files": [str(f) for f in files]}
