"""The tables of a report: every value tidy, one line each, and arranged as a paper prints them."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from videomt_bench.errors import BenchError
from videomt_bench.report.cache import FOLDER, Cache
from videomt_bench.report.caption import caption
from videomt_bench.report.columns import main_display
from videomt_bench.report.details import Differences, detail_display
from videomt_bench.report.differences import to_the_row_above
from videomt_bench.report.display import Display, Notes
from videomt_bench.report.records import Problem, group_runs, load_records
from videomt_bench.report.remarks import records_line, remarks
from videomt_bench.report.rows import Row, Setting, build_rows, check_experiment, settings_of
from videomt_bench.report.statistics import DRAWS
from videomt_bench.report.stored import StoredRuns
from videomt_bench.report.tidy import tidy_table
from videomt_bench.runs.record import Record

MANY = 5
"""Files with one fault that are listed one by one no more."""


@dataclass(frozen=True)
class ReportTable:
    """Everything one setting's table and figure are made of."""

    name: str
    """The experiment's name, with the setting's where there are several."""
    title: str
    caption: str
    main: Display
    detail: Display
    notes: list[tuple[str, str]]
    """The marks of the cells and their texts, in the order of first use."""
    remarks: list[str]
    """What holds for the whole table: protocols, recipes that differ, published sources."""
    provenance: list[str]
    """Which records and versions it is made of."""
    tidy: pd.DataFrame
    rows: list[Row]
    problems: list[Problem] = field(default_factory=list)
    """Records and statistics that could not be used; those of no table stand in the first."""
    differences: Differences = field(default_factory=dict)
    """(Row, main metric) -> the difference to the row above, or why there is none."""


@dataclass(frozen=True)
class Report:
    """The tables of an experiment and all that could not be used for them."""

    name: str
    title: str
    tables: list[ReportTable]

    @property
    def problems(self) -> list[Problem]:
        """Those of all tables, each once."""
        return list(dict.fromkeys(problem for table in self.tables for problem in table.problems))


def build_report(
    results: Path,
    experiment: Mapping[str, Any],
    draws: int = DRAWS,
    mix_protocols: bool = False,
    cache: Cache | None = None,
) -> Report:
    """The report of an experiment: one table per dataset setting.

    Args:
        results: the folder that holds ``records``. Without it, or without a result, the report
            has the published numbers, and a problem says so.
        experiment: ``name``, ``title``, ``rows`` [{``variant``, ``label``, and optionally
            ``encoder`` (a name), ``dataset`` (a name), ``published`` (a row of the published
            table), ``table`` (another published table than the experiment's), ``setting`` (one of
            its settings), ``weights`` (another variant, of whose published weights it has the
            runs), ``size`` (of the encoder, in words) and ``reason`` (why there can be no runs)}],
            and optionally ``published`` (a table), ``caption`` (a sentence to add),
            ``datasets`` (names, or fields to match), ``runs`` (run ids) and ``seeds``.
        draws: of the bootstrap.
        mix_protocols: show costs that were measured under another protocol than their column,
            with a mark, instead of leaving them out.
        cache: of earlier reports, see :func:`cache_of`.

    Raises:
        BenchError: a malformed experiment, or no such published table.
    """
    check_experiment(experiment)
    with _without_collection():
        records, problems = _records(results, experiment, cache)
        groups, superseded = group_runs(records)
    stored = StoredRuns(results, draws, cache=cache)
    tables = []
    for setting in settings_of(experiment, groups):
        rows = build_rows(experiment, setting, stored)
        tables.append(_build_table(experiment, setting, rows, stored, mix_protocols))
    if not any(row.records for table in tables for row in table.rows):
        problems = [Problem(experiment["name"], "no run of it has a record"), *problems]
    tables[0].problems[:0] = problems + superseded
    if cache is not None:
        cache.forget_the_rest()
    return Report(experiment["name"], experiment["title"], tables)


def build_tables(
    results: Path,
    experiment: Mapping[str, Any],
    draws: int = DRAWS,
    mix_protocols: bool = False,
) -> list[ReportTable]:
    """The tables of :func:`build_report`."""
    return build_report(results, experiment, draws, mix_protocols).tables


def _together(problems: Sequence[Problem]) -> list[Problem]:
    """Many files of one row with one fault are one problem."""
    by_reason: dict[str, list[str]] = {}
    for problem in problems:
        by_reason.setdefault(problem.reason, []).append(problem.file)
    return [
        Problem(file, reason)
        for reason, files in by_reason.items()
        for file in (files if len(files) < MANY else [f"{files[0]} and {len(files) - 1} others"])
    ]


def cache_of(out: Path, experiment: Mapping[str, Any]) -> Cache:
    """What reports of the experiment keep beside their files in ``out``; see ``cache``."""
    check_experiment(experiment)
    return Cache(out / FOLDER / experiment["name"])


@contextmanager
def _without_collection() -> Iterator[None]:
    """Millions of small objects that all stay are not worth a search for garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _records(
    results: Path, experiment: Mapping[str, Any], cache: Cache | None
) -> tuple[list[Record], list[Problem]]:
    try:
        records, problems = load_records(results, cache)
    except BenchError:
        return [], [Problem("records", "there is no such results folder")]
    if wanted := experiment.get("runs"):
        records = [record for record in records if record.run_id in set(wanted)]
    if seeds := experiment.get("seeds"):
        records = [record for record in records if record.spec["seed"] in seeds]
    return records, problems


def _build_table(
    experiment: Mapping[str, Any],
    setting: Setting,
    rows: Sequence[Row],
    stored: StoredRuns,
    mix_protocols: bool,
) -> ReportTable:
    notes = Notes()
    differences = to_the_row_above(rows, stored)
    main = main_display(rows, notes, mix_protocols)
    detail = detail_display(rows, differences, notes)
    records = [record for row in rows for record in row.records]
    return ReportTable(
        name="-".join(part for part in (experiment["name"], setting.slug) if part),
        title=experiment["title"] + (f" ({setting.slug})" if setting.slug else ""),
        caption=caption(setting, rows, str(experiment.get("caption") or "")),
        main=main,
        detail=detail,
        notes=notes.listed(),
        remarks=remarks(rows),
        provenance=[records_line(records)] if records else [],
        tidy=tidy_table(setting, rows, differences),
        rows=list(rows),
        problems=[problem for row in rows for problem in _together(row.problems)],
        differences=differences,
    )
