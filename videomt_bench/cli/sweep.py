"""``demo``, ``sweep plan | run | status | retry | cancel`` and ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from videomt_bench.cli.common import (
    DEFAULT_RESULTS,
    AsJson,
    Datasets,
    Results,
    Seeds,
    Settings,
    emit,
    out,
    plain,
)
from videomt_bench.cli.launch import (
    check_executor,
    exit_unless_done,
    launch,
    request_of,
    run_on_this_machine,
    slurm_parameters,
    stage_names,
    states_of,
    summary,
)
from videomt_bench.errors import BenchError

if TYPE_CHECKING:
    from videomt_bench.runs.record import Record
    from videomt_bench.sweep.experiment import Experiment

MORE = {"allow_extra_args": True}
"""Lets several parameters follow one ``--slurm``."""

ExecutorName = Annotated[
    str, typer.Option("--executor", help="local: on this machine; slurm; debug: in this process.")
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(
        help="Any parameter of submitit: partition=gpu gpus_per_node=4; for one stage: "
        "cost.exclusive=True."
    ),
]
Stages = Annotated[
    str | None, typer.Option(help="Some stages only; `cost` needs neither data nor weights.")
]
Jobs = Annotated[int, typer.Option(help="Processes at once on this machine; 0: one per core.")]
Requeues = Annotated[
    int | None, typer.Option(help="How often a job that is stopped is queued again; default 20.")
]

app = typer.Typer(help="Launch and watch experiments.", no_args_is_help=True)


def demo(
    results: Results = Path("runs/demo"),
    reports: Annotated[Path, typer.Option(help="Where tables and figures go.")] = Path(
        "runs/demo/reports"
    ),
    seeds: Seeds = None,
    datasets: Datasets = "generated-slots",
    jobs: Jobs = 0,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """The tiny ablation, end to end, on generated video: train, evaluate, measure, report."""
    experiment = experiment_of("demo", seeds, datasets, settings)
    request = request_of(stage_names(None), "retry", (), (), {}, None)
    records = run_on_this_machine(experiment, results, jobs, request)
    files = _report(experiment, results, reports)
    emit(summary(records, files), as_json)
    exit_unless_done(records, request.names)


@app.command("plan", context_settings=MORE)
def sweep_plan(
    context: typer.Context,
    experiment: str,
    results: Results = DEFAULT_RESULTS,
    seeds: Seeds = None,
    datasets: Datasets = None,
    executor: ExecutorName = "local",
    slurm: Slurm = None,
    stages: Stages = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """The runs, what of them is done, what the rest needs, and what is wrong; submits nothing."""
    from videomt_bench.sweep.plan import plan

    loaded = experiment_of(experiment, seeds, datasets, settings)
    names = stage_names(stages)
    given = slurm_parameters(slurm, context.args)
    to_slurm = check_executor(executor) == "slurm" or bool(given)
    found = plan(loaded, results, given if to_slurm else None, names)
    out.print(found.table())
    emit(found.to_json(), as_json)
    if found.problems:
        raise typer.Exit(1)


@app.command("run", context_settings=MORE)
def sweep_run(
    context: typer.Context,
    experiment: str,
    results: Results = DEFAULT_RESULTS,
    seeds: Seeds = None,
    datasets: Datasets = None,
    executor: ExecutorName = "local",
    slurm: Slurm = None,
    mode: Annotated[
        str,
        typer.Option(
            help="retry: all that is not complete; cached: not what failed; force: all anew; "
            "read-only: nothing."
        ),
    ] = "retry",
    requeues: Requeues = None,
    jobs: Jobs = 0,
    redo: Annotated[
        str | None, typer.Option(help="Stages to do again where done: evaluate,cost.")
    ] = None,
    stages: Stages = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Run what is not done of an experiment; a second launch continues.

    With --executor slurm it submits everything and returns.
    """
    loaded = experiment_of(experiment, seeds, datasets, settings)
    given = slurm_parameters(slurm, context.args)
    again = tuple(redo.split(",")) if redo else ()
    request = request_of(stage_names(stages), mode, again, (), given, requeues)
    launch(loaded, results, check_executor(executor), request, jobs, as_json)


@app.command("retry", context_settings=MORE)
def sweep_retry(
    context: typer.Context,
    experiment: str,
    results: Results = DEFAULT_RESULTS,
    seeds: Seeds = None,
    datasets: Datasets = None,
    only: Annotated[
        str, typer.Option(help="States to try again, separated by commas.")
    ] = "failed,timed_out,out_of_memory,preempted",
    executor: Annotated[
        str | None, typer.Option(help="As the last launch, or: local, slurm, debug.")
    ] = None,
    slurm: Slurm = None,
    requeues: Requeues = None,
    jobs: Jobs = 0,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Run again what failed, timed out or ran out of memory; finished stages are kept.

    A remedy for the last is --set recipe.video.train.per_device=1, which accumulates gradients over
    smaller batches and leaves the result as it is. SLURM parameters are those of the last launch,
    changed by the ones given.
    """
    from videomt_bench.sweep.launch import check_retry, last_request

    loaded = experiment_of(experiment, seeds, datasets, settings)
    check_retry(loaded, results)
    last = last_request(loaded, results)
    given = {**(last.given if last else {}), **slurm_parameters(slurm, context.args)}
    request = request_of(stage_names(None), "retry", (), states_of(only), given, requeues)
    chosen = executor or ("slurm" if last else "local")
    launch(loaded, results, check_executor(chosen), request, jobs, as_json)


@app.command("status")
def sweep_status(
    experiment: str,
    results: Results = DEFAULT_RESULTS,
    seeds: Seeds = None,
    datasets: Datasets = None,
    watch: Annotated[bool, typer.Option("--watch", help="Until all has ended.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.")] = 30.0,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Where every run is; works while jobs run, after them, and wherever the folder is seen."""
    from videomt_bench.sweep.status import status
    from videomt_bench.sweep.status_table import status_table
    from videomt_bench.sweep.watch import keep_showing

    loaded = experiment_of(experiment, seeds, datasets, settings)
    if watch:
        found = keep_showing(lambda: status(loaded, results), status_table, out, every)
    else:
        found = status(loaded, results)
        out.print(status_table(found))
    emit(found.to_json(), as_json)


@app.command("cancel")
def sweep_cancel(
    experiment: str,
    results: Results = DEFAULT_RESULTS,
    seeds: Seeds = None,
    datasets: Datasets = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Cancel the SLURM jobs of an experiment; what they saved stays, `sweep run` continues it."""
    from videomt_bench.sweep.launch import cancel

    ids = cancel(experiment_of(experiment, seeds, datasets, settings), results)
    out.print(f"cancelled {len(ids)} job{'s' * (len(ids) != 1)}")
    emit({"cancelled": ids}, as_json)


def report(
    experiment: str,
    results: Results = DEFAULT_RESULTS,
    reports: Annotated[Path, typer.Option("--out", help="Where the files go.")] = Path("reports"),
    seeds: Seeds = None,
    datasets: Datasets = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Tables and figures of an experiment from its records, beside the published numbers."""
    loaded = experiment_of(experiment, seeds, datasets, settings)
    files = _report(loaded, results, reports)
    emit({"files": [str(f) for f in files]}, as_json)


def experiment_of(
    name: str, seeds: str | None, datasets: str | None, settings: list[str] | None
) -> Experiment:
    """The experiment that the arguments of a command name."""
    from videomt_bench.sweep.experiment import load_experiment, parse_overrides

    loaded = load_experiment(name, parse_overrides(settings or []))
    return loaded.select(parse_seeds(seeds), tuple(datasets.split(",")) if datasets else ())


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """ "1,2,5-7" -> (1, 2, 5, 6, 7).

    Raises:
        BenchError: anything but whole numbers and ranges of them.
    """
    seeds: list[int] = []
    for part in text.split(",") if text else []:
        first, _, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or part.strip() == first)):
            raise BenchError(f"seeds {text!r} are not whole numbers, such as 1,2 or 1-6")
        seeds.extend(range(int(first), int(last or first) + 1))
    return tuple(seeds) or None


def _report(experiment: Experiment, results: Path, reports: Path) -> list[Path]:
    from videomt_bench.report.table import build_tables
    from videomt_bench.report.write import terminal_table, write_tables

    rows = experiment.rows()
    tables = build_tables(results, rows)
    for table in tables:
        out.print(terminal_table(table))
    files = write_tables(tables, reports, rows, results)
    for file in files:
        out.print(f"  {file}", soft_wrap=True, highlight=False)
    return files


def state_table(records: list[Record]) -> Table:
    """One line per run: its state and, where there is one, its AP."""
    table = Table(box=None, header_style="bold")
    for column in ("run", "state", "stages done", "AP", "reason"):
        table.add_column(column, overflow="fold")
    for record in records:
        ap = record.metrics.get("AP")
        value = "" if ap is None or ap.value is None else f"{100 * ap.value:.1f}"
        done = ", ".join(record.stages)
        table.add_row(record.run_id, record.state, done, value, plain(record.reason or ""))
    return table
