"""``demo``, ``sweep plan | run`` and ``report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    err,
    out,
    plain,
)
from videomt_bench.errors import BenchError

if TYPE_CHECKING:
    from videomt_bench.runs.record import Record
    from videomt_bench.sweep.experiment import Experiment

app = typer.Typer(help="Launch and watch experiments.", no_args_is_help=True)


def demo(
    results: Results = Path("runs/demo"),
    reports: Annotated[Path, typer.Option(help="Where tables and figures go.")] = Path(
        "runs/demo/reports"
    ),
    seeds: Seeds = None,
    datasets: Datasets = "generated-slots",
    jobs: Annotated[int, typer.Option(help="Processes at once; 0: one per core.")] = 0,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """The tiny ablation, end to end, on generated video: train, evaluate, measure, report."""
    experiment = experiment_of("demo", seeds, datasets, settings)
    from videomt_bench.runs.stages import STAGES

    records = _sweep(experiment, results, jobs, (), STAGES)
    files = _report(experiment, results, reports)
    emit(_summary(records, files), as_json)
    _exit_unless_done(records, STAGES)


@app.command("plan")
def sweep_plan(
    experiment: str,
    results: Results = DEFAULT_RESULTS,
    seeds: Seeds = None,
    datasets: Datasets = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """The runs of an experiment, and what of them is done."""
    from videomt_bench.runs.execute import open_record
    from videomt_bench.runs.store import Store

    specs = experiment_of(experiment, seeds, datasets, settings).runs()
    records = [open_record(spec, Store(results)) for spec in specs]
    out.print(state_table(records))
    runs = [{"run_id": r.run_id, "state": r.state, "stages": list(r.stages)} for r in records]
    emit(runs, as_json)


@app.command("run")
def sweep_run(
    experiment: str,
    results: Results = DEFAULT_RESULTS,
    seeds: Seeds = None,
    datasets: Datasets = None,
    jobs: Annotated[int, typer.Option(help="Processes at once; 0: one per core.")] = 0,
    redo: Annotated[
        str | None, typer.Option(help="Stages to do again where done: evaluate,cost.")
    ] = None,
    stages: Annotated[
        str | None, typer.Option(help="Some stages only; `cost` needs neither data nor weights.")
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Run what is not done of an experiment on this machine; a second launch continues."""
    from videomt_bench.runs.stages import STAGES

    loaded = experiment_of(experiment, seeds, datasets, settings)
    names = tuple(stages.split(",")) if stages else STAGES
    records = _sweep(loaded, results, jobs, tuple(redo.split(",")) if redo else (), names)
    emit(_summary(records, []), as_json)
    _exit_unless_done(records, names)


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


def _sweep(
    experiment: Experiment, results: Path, jobs: int, redo: Sequence[str], names: Sequence[str]
) -> list[Record]:
    from videomt_bench.sweep.local import default_jobs, problems, run_local
    from videomt_bench.sweep.watch import View

    width = jobs or default_jobs(experiment.threads)
    records = run_local(experiment, results, width, View(err), redo, names)
    for problem in problems(records, names):
        err.print(f"[red]{plain(problem)}[/]", soft_wrap=True)
    return records


def _exit_unless_done(records: list[Record], names: Sequence[str]) -> None:
    from videomt_bench.sweep.local import problems

    if problems(records, names):
        raise typer.Exit(1)


def _report(experiment: Experiment, results: Path, reports: Path) -> list[Path]:
    from videomt_bench.report.table import build_tables
    from videomt_bench.report.write import terminal_table, write_tables

    tables = build_tables(results, experiment.rows())
    for table in tables:
        out.print(terminal_table(table))
    files = write_tables(tables, reports, experiment.name)
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


def _summary(records: list[Record], files: list[Path]) -> dict[str, Any]:
    runs = [
        {"run_id": r.run_id, "state": r.state, "AP": r.metrics["AP"].value if r.metrics else None}
        for r in records
    ]
    return {"runs": runs, "files": [str(f) for f in files]}
