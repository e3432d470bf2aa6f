"""``report EXPERIMENT`` and ``report compare A B``. Neither needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from videomt_bench.cli.common import (
    DEFAULT_RESULTS,
    AsJson,
    Datasets,
    Results,
    Settings,
    emit,
    err,
    out,
    plain,
)

if TYPE_CHECKING:
    from videomt_bench.report.compare import Comparison
    from videomt_bench.report.records import Problem

DEFAULT = "experiment"


class _ExperimentByDefault(TyperGroup):
    """Takes what names no command for the experiment of a report."""

    default = DEFAULT

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = args and args[0] in self.commands
        return super().parse_args(ctx, args if known else [self.default, *args])


app = typer.Typer(
    cls=_ExperimentByDefault,
    help="Tables and figures of an experiment; or compare two variants.",
)


@app.command(DEFAULT)
def report(
    experiment: Annotated[
        str, typer.Argument(help="A shipped one, a .py file, or: compare A B (see compare --help).")
    ],
    results: Results = DEFAULT_RESULTS,
    reports: Annotated[Path, typer.Option("--out", help="Where the files go.")] = Path("reports"),
    seeds: Annotated[str | None, typer.Option(help="Only runs of these seeds: 1 or 1-6.")] = None,
    datasets: Datasets = None,
    settings: Settings = None,
    mix_protocols: Annotated[
        bool,
        typer.Option(
            "--mix-protocols",
            help="Show costs measured under another protocol than their column's, with a mark.",
        ),
    ] = False,
    use_cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Keep what was computed beside the files.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Tables and figures of an experiment from its records, beside the published numbers.

    `report compare A B` compares two variants of a results folder.
    """
    from videomt_bench.cli.sweep import parse_seeds
    from videomt_bench.sweep.experiment_file import parse_overrides
    from videomt_bench.sweep.outline import load_outline

    chosen = tuple(datasets.split(",")) if datasets else ()
    outline = load_outline(experiment, parse_overrides(settings or []), chosen)
    outline["seeds"] = parse_seeds(seeds)
    files, problems = make_report(outline, results, reports, mix_protocols, use_cache)
    listed = [{"file": problem.file, "reason": problem.reason} for problem in problems]
    emit({"files": [str(f) for f in files], "problems": listed}, as_json)


def make_report(
    outline: dict[str, Any],
    results: Path,
    reports: Path,
    mix_protocols: bool = False,
    use_cache: bool = True,
) -> tuple[list[Path], list[Problem]]:
    """Write the report of an experiment and show its tables; the files, and what was not used."""
    from videomt_bench.report.tables.table import build_report, cache_of
    from videomt_bench.report.write import terminal_table, write_tables

    cache = cache_of(reports, outline) if use_cache else None
    built = build_report(results, outline, mix_protocols=mix_protocols, cache=cache)
    for table in built.tables:
        out.print(terminal_table(table))
    files = write_tables(built.tables, reports, outline, results)
    for file in files:
        out.print(f"  {file}", soft_wrap=True, highlight=False)
    for problem in built.problems:
        line = f"[yellow]problem:[/] {plain(problem.file)}: {plain(problem.reason)}"
        err.print(line, soft_wrap=True, highlight=False)
    return files, built.problems


@app.command("compare")
def compare_variants(
    a: Annotated[str, typer.Argument(help="A variant, variant#2 for its second setting, a run.")],
    b: Annotated[str, typer.Argument(help="The other.")],
    results: Results = DEFAULT_RESULTS,
    dataset: Annotated[
        str | None, typer.Option(help="One of their data sets; default all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Two variants on the same videos: difference, 95 % interval and p of every metric.

    The method and its limits: docs/statistics.md.
    """
    from videomt_bench.report.compare import compare

    found = compare(results, a, b, dataset)
    for comparison in found:
        out.print(comparison_table(comparison))
    emit({"comparisons": [comparison.to_json() for comparison in found]}, as_json)


def comparison_table(comparison: Comparison) -> Table:
    """One line per metric, and below what the numbers cover."""
    from videomt_bench.report.compare import HEADER

    title = f"A = {comparison.a.label}, B = {comparison.b.label} on {comparison.dataset}"
    table = Table(box=None, header_style="bold", title=Text(title), title_justify="left")
    for i, column in enumerate(HEADER):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for line in comparison.lines():
        table.add_row(*(Text(cell) for cell in line))
    several = any(len(found.seeds) > 1 for found in comparison.differences)
    covers = (
        "intervals and p cover test videos and training seeds"
        if several
        else "one seed: intervals and p cover test videos, not training again"
    )
    notes = [f"percent; * p < 0.05 after correction for the metrics shown; {covers}"]
    notes += [f"they also differ in {setting}" for setting in comparison.settings]
    table.caption, table.caption_justify = Text("\n".join(notes)), "left"
    return table
