"""Which figures a table gets: those that its experiment names, else all that have data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from videomt_bench.errors import unknown
from videomt_bench.report.figures import breakdown as breakdown_figure
from videomt_bench.report.figures.encoders import encoder_figure
from videomt_bench.report.figures.ladder import ladder_figure
from videomt_bench.report.figures.points import headlines
from videomt_bench.report.figures.results import results_figure
from videomt_bench.report.figures.style import Draw
from videomt_bench.report.figures.tradeoff import tradeoff_figure
from videomt_bench.report.figures.training import training_figure
from videomt_bench.report.printable import printable
from videomt_bench.report.rows import slug_of
from videomt_bench.report.systems import row_title
from videomt_bench.report.tables.table import ReportTable


@dataclass(frozen=True)
class Source:
    """What figures are made of: a table, its experiment and the folder of results, if any."""

    table: ReportTable
    experiment: Mapping[str, Any]
    results: Path | None


@dataclass(frozen=True)
class ReportFigure:
    """A figure: the name of its files, a sentence on what it shows, and what draws it."""

    name: str
    caption: str
    draw: Draw


def report_figures(
    table: ReportTable, experiment: Mapping[str, Any], results: Path | None = None
) -> list[ReportFigure]:
    """The figures of a table, in order; one without data is left out.

    Args:
        table: see :func:`videomt_bench.report.tables.table.build_tables`.
        experiment: its ``figures``, if there, names the kinds and their order (see ``KINDS``);
            ``published`` names the table whose other rows are drawn beside.
        results: the folder whose ``work`` may hold the logs of training.

    Raises:
        BenchError: a kind of figure that does not exist.
    """
    kinds = experiment.get("figures") or DEFAULT
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("figure", str(kind), KINDS)
    source = Source(_printable(table), experiment, results)
    return [figure for kind in dict.fromkeys(kinds) for figure in KINDS[kind](source)]


def _printable(table: ReportTable) -> ReportTable:
    """The table with titles and labels that every format can hold."""
    rows = [
        replace(
            row,
            label=printable(row_title(row.variant, row.label)),
            size=printable(row.size),
        )
        for row in table.rows
    ]
    return replace(table, title=printable(table.title), rows=rows)


def _results(source: Source) -> list[ReportFigure]:
    metric = next(iter(headlines(source.table.rows)), "")
    caption = (
        f"{metric} of every row with 95 % intervals, and where it is known recall by kind of "
        "object and drift over the video. Hollow diamonds: published."
    )
    return _named(source, "figure", caption, results_figure(source.table))


def _tradeoff(source: Source) -> list[ReportFigure]:
    caption = (
        "Accuracy against speed. Filled: measured; hollow: published; grey labels: published "
        "systems that are no rows of the table. The line is the front of what no other row beats "
        "in both."
    )
    draw = tradeoff_figure(source.table, source.experiment.get("published"))
    return _named(source, "tradeoff", caption, draw)


def _ladder(source: Source) -> list[ReportFigure]:
    """One ladder for each size of encoder that has values."""
    sizes = list(dict.fromkeys(row.size for row in source.table.rows))
    figures = []
    for size in sizes:
        rows = [row for row in source.table.rows if row.size == size]
        what = f" ({size})" if size else ""
        caption = (
            f"What each step adds or takes{what}, in the order of the rows: accuracy and speed. "
            "Filled: measured; hollow: published. A row without a value is left out."
        )
        draw = ladder_figure(source.table, rows)
        figures += _named(source, f"ladder-{slug_of(size)}".strip("-"), caption, draw)
    return figures


def _encoders(source: Source) -> list[ReportFigure]:
    caption = (
        "Accuracy against the encoder. Filled markers and solid lines: measured, with 95 % "
        "intervals; hollow markers and dashed lines: published, without."
    )
    return _named(source, "encoders", caption, encoder_figure(source.table))


def _cost(source: Source) -> list[ReportFigure]:
    """One breakdown for each size of encoder whose components were measured."""
    figures = []
    for size, costs in _costs_by_size(source.table).items():
        what = f" ({size})" if size else ""
        caption = f"Measured cost of a frame by component{what}."
        draw = partial(breakdown_figure.draw, costs)
        figures += _named(source, f"cost-{slug_of(size)}".strip("-"), caption, draw)
    return figures


def _training(source: Source) -> list[ReportFigure]:
    caption = "Training loss over the iterations of each stage, one line per run."
    return _named(source, "training", caption, training_figure(source.table, source.results))


def _named(source: Source, suffix: str, caption: str, draw: Draw | None) -> list[ReportFigure]:
    """The figure, drawn once for all its formats."""
    return [ReportFigure(f"{source.table.name}-{suffix}", caption, cache(draw))] if draw else []


def _costs_by_size(table: ReportTable) -> dict[str, dict[str, Any]]:
    """Size of the encoder -> label of a row -> its cost, where components were measured."""
    sizes: dict[str, dict[str, Any]] = {}
    for row in table.rows:
        costs = [r.cost for r in row.records if breakdown_figure.is_drawable(r.cost)]
        if costs:
            sizes.setdefault(row.size, {})[row.label] = costs[0]
    return sizes


KINDS: Mapping[str, Callable[[Source], Sequence[ReportFigure]]] = {
    "ladder": _ladder,
    "results": _results,
    "tradeoff": _tradeoff,
    "encoders": _encoders,
    "cost": _cost,
    "training": _training,
}
DEFAULT = ("results", "tradeoff", "encoders", "cost", "training")
"""A ladder says that every row is a step from the one above: an experiment has to ask for it."""
