"""``diagnose``: why one variant is better than another. Files are read without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
)
from videomt_bench.errors import BenchError

if TYPE_CHECKING:
    from videomt_bench.diagnostics.selection import Selection
    from videomt_bench.diagnostics.summary import Summary
    from videomt_bench.runs.predictions import InstanceFiles


def diagnose(
    experiment: Annotated[
        str | None, typer.Argument(help="An experiment whose runs are evaluated; or --truth.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="Annotations, with ground truth.")] = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option(help="NAME=results.json; again for each variant, a name twice: seeds."),
    ] = None,
    target: Annotated[Path, typer.Option("--out", help="Where the files go.")] = Path(
        "reports/diagnostics"
    ),
    results: Results = DEFAULT_RESULTS,
    seeds: Seeds = None,
    datasets: Datasets = None,
    settings: Settings = None,
    score_threshold: Annotated[
        float, typer.Option(help="Lower scores are no tracks for HOTA, IDF1 and MOTA.")
    ] = 0.3,
    overlaps: Annotated[
        str, typer.Option(help="Of these tracks: keep, or resolve (a pixel has one track).")
    ] = "keep",
    draws: Annotated[int, typer.Option(min=0, help="Bootstrap resamples; 0: no intervals.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Why a variant is better: oracles of association and class, HOTA and IDF1, drift, and kinds of
    objects; a table, a page, a CSV and figures."""
    from videomt_bench.diagnostics.selection import Selection

    selection = Selection(score_threshold, overlaps)
    if experiment is None and truth is not None and predictions:
        rows = _rows(truth, _by_name(predictions), selection, draws)
        document = _shown(rows, target, selection)
    elif experiment is not None and truth is None and not predictions:
        document = {}
        for found in _of_experiment(experiment, results, seeds, datasets, settings):
            rows = _rows(found.truth, found.predictions, selection, draws)
            out.print(f"[bold]{found.dataset}[/]")
            document[found.dataset] = _shown(rows, target / found.dataset, selection)
    else:
        raise BenchError("give an experiment, or --truth with one or more --predictions NAME=FILE")
    emit(document, as_json)


def _by_name(predictions: Sequence[str]) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for given in predictions:
        name, equals, file = given.partition("=")
        if not (name.strip() and equals and file):
            raise BenchError(f"--predictions {given!r} is not of the form NAME=results.json")
        files.setdefault(name.strip(), []).append(Path(file))
    return files


def _of_experiment(
    name: str,
    results: Path,
    seeds: str | None,
    datasets: str | None,
    settings: list[str] | None,
) -> list[InstanceFiles]:
    from videomt_bench.cli.sweep import experiment_of
    from videomt_bench.runs.predictions import instance_files
    from videomt_bench.runs.store import Store

    runs = experiment_of(name, seeds, datasets, settings).runs()
    found = instance_files(runs, Store(results))
    for files in found:
        for run_id in files.missing:
            err.print(f"without predictions, left out: {run_id}", markup=False, soft_wrap=True)
    return found


def _rows(
    truth: Path, files: Mapping[str, Sequence[Path]], selection: Selection, draws: int
) -> list[Summary]:
    """One per variant."""
    from videomt_bench.diagnostics.diagnose import diagnose as diagnose_predictions
    from videomt_bench.diagnostics.groups import object_groups
    from videomt_bench.diagnostics.summary import summarize_variant
    from videomt_bench.evaluation.ytvis_files import read_predictions, read_truth
    from videomt_bench.sweep.watch import View

    known, view, rows = read_truth(truth), View(err), []
    groups = object_groups(known)
    for name, paths in files.items():
        found = []
        for path in paths:
            with view.bar(f"{name} · {path.name}") as report:
                read = read_predictions(path, known)
                found.append(diagnose_predictions(known, read, selection, report, groups))
        with view.bar(f"{name} · intervals") as report:
            rows.append(summarize_variant(name, found, draws, report))
    return rows


def _shown(rows: Sequence[Summary], target: Path, selection: Selection) -> dict[str, Any]:
    from videomt_bench.diagnostics.write import document, terminal_table, write_diagnostics

    out.print(terminal_table(rows))
    files = write_diagnostics(rows, target, selection)
    for file in files:
        out.print(f"  {file}", soft_wrap=True, highlight=False)
    return {**document(rows, selection), "files": [str(file) for file in files]}
