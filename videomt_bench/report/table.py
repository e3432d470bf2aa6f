"""The tables of a report: every value tidy, one line each, and arranged as a paper prints them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from videomt_bench.report.columns import (
    COSTS,
    PAPER,
    detail_display,
    main_display,
    sample_sizes,
    shared_notes,
    size_text,
)
from videomt_bench.report.display import Display, Notes
from videomt_bench.report.protocol import cost_cell, most_frequent, words
from videomt_bench.report.records import (
    Problem,
    differing,
    group_runs,
    load_records,
    stored_values,
)
from videomt_bench.report.rows import (
    LoadStats,
    Row,
    Setting,
    build_rows,
    check_experiment,
    settings_of,
)
from videomt_bench.report.statistics import DRAWS
from videomt_bench.report.tidy import tidy_table
from videomt_bench.runs.record import Record


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
    """Which records and versions it is made of, and the files that could not be used."""
    tidy: pd.DataFrame
    rows: list[Row]


def build_tables(
    results: Path,
    experiment: Mapping[str, Any],
    load_stats: LoadStats | None = None,
    draws: int = DRAWS,
) -> list[ReportTable]:
    """The tables of an experiment, one per dataset setting.

    Args:
        results: the folder that holds ``records``.
        experiment: ``name``, ``title``, ``rows`` [{``variant``, ``label``, and optionally
            ``encoder`` (a name), ``published`` (a row of the published table), ``table`` (another
            published table than the experiment's), ``setting`` (one of its settings) and ``size``
            (of the encoder, in words)}], and optionally ``published`` (a table), ``caption`` (a
            sentence to add), ``datasets`` (names, or fields to match) and ``runs`` (run ids).
        load_stats: where the per-video statistics come from; by default from beside the record.
        draws: of the bootstrap.

    Raises:
        BenchError: no results folder, a malformed experiment, or no such published table.
    """
    check_experiment(experiment)
    records, problems = load_records(results)
    if wanted := experiment.get("runs"):
        records = [record for record in records if record.run_id in set(wanted)]
    groups, superseded = group_runs(records)
    unused = problems + superseded
    load = load_stats or partial(stored_values, results)
    return [
        _build_table(experiment, setting, build_rows(experiment, setting, load, draws), unused)
        for setting in settings_of(experiment, groups)
    ]


def _build_table(
    experiment: Mapping[str, Any], setting: Setting, rows: list[Row], problems: list[Problem]
) -> ReportTable:
    notes = Notes()
    main, detail = main_display(rows, notes), detail_display(rows, notes)
    return ReportTable(
        name="-".join(part for part in (experiment["name"], setting.slug) if part),
        title=experiment["title"] + (f" ({setting.slug})" if setting.slug else ""),
        caption=_caption(setting, rows, (main, detail), str(experiment.get("caption") or "")),
        main=main,
        detail=detail,
        notes=notes.listed(),
        remarks=_remarks(rows),
        provenance=_provenance(rows, problems),
        tidy=tidy_table(setting, rows),
        rows=rows,
    )


def _caption(setting: Setting, rows: Sequence[Row], displays: Sequence[Display], extra: str) -> str:
    """The setting in plain words, what the brackets are, and what must not be compared."""
    sentences = [_setting_sentence(setting, rows), _sample_sentence(rows)]
    if any(row.ap and row.ap.interval for row in rows):
        several = any(row.ap and len(row.ap.per_seed) > 1 for row in rows)
        what = "seeds and test videos" if several else "test videos; it leaves out training noise"
        draws = max(len(row.ap.samples) for row in rows if row.ap)
        sentences.append(f"Brackets hold the 95 % bootstrap interval ({draws} draws) over {what}.")
    if any("±" in cell.spread for display in displays for row in display.rows for cell in row):
        sentences.append("± is the standard deviation over seeds.")
    printed = sorted({cell.setting for row in rows for cell in row.published.values()})
    if printed:
        sentences.append(
            f"The paper's numbers are of another setting ({'; '.join(printed)}) and are not "
            "comparable with the measured ones cell by cell."
        )
    return " ".join(sentence for sentence in (*sentences, extra.strip()) if sentence)


def _setting_sentence(setting: Setting, rows: Sequence[Row]) -> str:
    dataset = setting.dataset
    name = str(dataset.get("name", "no dataset"))
    scene = f", scene {dataset['scene']}" if "scene" in dataset else ""
    generated = "scene" in dataset or "generated" in name
    encoders = sorted({str(r.group.spec["encoder"].get("name")) for r in rows if r.group})
    tiny = generated and any("tiny" in encoder for encoder in encoders)
    kind = "the tiny setting, a small model" if tiny else "these models"
    data = "generated data, not real video" if generated else "the dataset"
    if not encoders:
        return f"Nothing was measured yet ({name}{scene})."
    return f"Measured in {kind} ({', '.join(encoders)}), on {data} ({name}{scene})."


def _sample_sentence(rows: Sequence[Row]) -> str:
    seeds = _span(len(row.ap.per_seed) for row in rows if row.ap)
    videos = _span(n for row in rows for n in sample_sizes(row, "AP"))
    if not seeds:
        return ""
    plural = "" if seeds == "1" else "s"
    return f"Each measured AP is over {seeds} seed{plural} and {videos} test videos."


def _span(numbers: Iterable[int]) -> str:
    values = sorted(set(numbers))
    return size_text([values[0], values[-1]] if len(values) > 1 else values) if values else ""


def _remarks(rows: Sequence[Row]) -> list[str]:
    remarks = [*_protocol_remarks(rows), *_difference_remarks(rows)]
    for metric, title in PAPER.items():
        if shared := shared_notes(rows, metric):
            remarks.append(f"Paper, {title}: {'; '.join(shared)}.")
    sources = sorted({cell.source for row in rows for cell in row.published.values()})
    if sources:
        remarks.append(f"Published numbers: {'; '.join(sources)}.")
    return remarks


def _protocol_remarks(rows: Sequence[Row]) -> list[str]:
    """The whole protocol of each cost column, as its header has room for a part only."""
    remarks: dict[str, list[str]] = {}
    for metric, (title, _) in COSTS.items():
        header = most_frequent([cost_cell(row, metric) for row in rows])
        if header is not None and metric != "params":
            text = ", ".join(words(json.loads(header))) or "not recorded"
            remarks.setdefault(text, []).append(title)
    return [f"Protocol of {' and '.join(titles)}: {text}." for text, titles in remarks.items()]


def _difference_remarks(rows: Sequence[Row]) -> list[str]:
    """The fields of encoder and recipe in which rows differ: they may explain a difference."""
    used = [row for row in rows if row.group is not None]
    specs = [
        {k: v for k, v in row.group.spec.items() if k not in ("variant", "dataset")}
        for row in used
        if row.group is not None
    ]
    remarks = []
    leaves = differing(specs)
    for name in leaves[0] if leaves else ():
        by_value: dict[str, list[str]] = {}
        for row, values in zip(used, leaves, strict=True):
            by_value.setdefault(values[name], []).append(row.label)
        text = "; ".join(f"{value} ({', '.join(labels)})" for value, labels in by_value.items())
        remarks.append(f"The rows differ in {name}: {text}.")
    return remarks


def _provenance(rows: Sequence[Row], problems: Sequence[Problem]) -> list[str]:
    records = [record for row in rows for record in row.records]
    lines = [_records_line(records)] if records else []
    lines += [f"Not used: {problem.file}: {problem.reason}." for problem in problems]
    lines += [f"No interval: {p.file}: {p.reason}." for row in rows for p in row.problems]
    return [" ".join(line.split()) for line in lines]


def _records_line(records: Sequence[Record]) -> str:
    """How many records in which state, of which version and commit."""
    states = {state: sum(r.state == state for r in records) for state in (r.state for r in records)}
    count = ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in sorted(states.items()))
    sources = {
        " ".join(
            [
                f"version {r.source.get('version', 'unknown')},",
                f"commit {str(r.source.get('commit') or 'unknown')[:12]}",
                *(["with uncommitted changes"] if r.source.get("dirty") else []),
            ]
        )
        for r in records
    }
    return f"Records: {count}; {'; '.join(sorted(sources))}."
