"""What holds for a whole table: protocols, settings in which rows differ, sources, records."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from videomt_bench.report.protocol import cost_cell, most_frequent, words
from videomt_bench.report.records import differing
from videomt_bench.report.rows import Row
from videomt_bench.report.tables.columns import COSTS, PAPER, shared_notes, shown_costs
from videomt_bench.runs.record import Record

LONGEST = 60
"""Characters of a setting's value."""
MANY = 4
"""Rows that are 'the others' rather than named."""


def remarks(rows: Sequence[Row]) -> list[str]:
    """One line each."""
    lines = [*_protocol_remarks(rows), *_setting_remarks(rows)]
    for metric, title in PAPER.items():
        if shared := shared_notes(rows, metric):
            lines.append(f"Paper, {title}: {'; '.join(shared)}.")
    sources = sorted({cell.source for row in rows for cell in row.published.values()})
    if sources:
        lines.append(f"Published numbers: {'; '.join(sources)}.")
    return lines


def _protocol_remarks(rows: Sequence[Row]) -> list[str]:
    """The whole protocol of each cost column, as its header has room for a part only."""
    found: dict[str, list[str]] = {}
    for metric in shown_costs(rows):
        title, _ = COSTS[metric]
        header = most_frequent([cost_cell(row, metric) for row in rows])
        if header is not None and metric != "params":
            text = ", ".join(words(json.loads(header))) or "not recorded"
            found.setdefault(text, []).append(title)
    return [f"Protocol of {' and '.join(titles)}: {text}." for text, titles in found.items()]


def _setting_remarks(rows: Sequence[Row]) -> list[str]:
    """The fields of encoder and recipe in which rows differ: they may explain a difference.

    Rows that differ alike are named once, and the encoder sizes of a row together.
    """
    used = [row for row in rows if row.group is not None]
    specs = [
        {k: v for k, v in row.group.spec.items() if k not in ("variant", "dataset")}
        for row in used
        if row.group is not None
    ]
    leaves = differing(specs)
    by_parts: dict[tuple[tuple[str, ...], ...], list[tuple[str, list[str]]]] = {}
    for name in leaves[0] if leaves else ():
        parts = _parts(used, [values[name] for values in leaves])
        by_parts.setdefault(tuple(parts), []).append((name, list(parts.values())))
    return [_sentence(parts, fields) for parts, fields in by_parts.items()]


def _parts(rows: Sequence[Row], values: Sequence[str]) -> Mapping[tuple[str, ...], str]:
    """Rows without their sizes -> the value or, over the sizes, the values that they have."""
    by_row: dict[str, list[str]] = {}
    for row, value in zip(rows, values, strict=True):
        found = by_row.setdefault(_without_size(row), [])
        if _short(value) not in found:
            found.append(_short(value))
    by_value: dict[str, list[str]] = {}
    for label, found in by_row.items():
        by_value.setdefault(" / ".join(found), []).append(label)
    return {tuple(labels): value for value, labels in by_value.items()}


def _without_size(row: Row) -> str:
    return row.label.removesuffix(f", {row.size}") if row.size else row.label


def _short(value: str) -> str:
    return value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"


def _sentence(parts: Sequence[tuple[str, ...]], fields: Sequence[tuple[str, Sequence[str]]]) -> str:
    if len(parts) == 1:
        listed = "; ".join(f"{name} {values[0]}" for name, values in fields)
        return f"By encoder size, the rows differ in {listed}."
    most = max(parts, key=len)
    ordered = sorted(parts, key=lambda labels: _are_others(labels, most))
    named = ["the others" if _are_others(labels, most) else _listed(labels) for labels in ordered]
    at = [parts.index(labels) for labels in ordered]
    if len(parts) == 2:
        listed = _folded([(name, " vs ".join(values[i] for i in at)) for name, values in fields])
        return f"The rows differ in settings: {' vs '.join(named)}: {listed}."
    texts = [
        f"{which}: {_folded([(name, values[i]) for name, values in fields])}"
        for i, which in zip(at, named, strict=True)
    ]
    return f"The rows differ in settings. {'. '.join(texts)}."


def _are_others(labels: Sequence[str], most: Sequence[str]) -> bool:
    return labels is most and len(most) >= MANY


def _folded(fields: Sequence[tuple[str, str]]) -> str:
    """Settings of one path said together, and those that both stages share once."""
    stages: dict[tuple[str, str], list[str]] = {}
    for name, value in fields:
        general = re.sub(r"^recipe\.(segmenter|video)\.", "recipe.*.", name)
        stages.setdefault((general, value), []).append(name)
    by_path: dict[str, list[str]] = {}
    for (general, value), names in stages.items():
        path, _, leaf = (general if len(names) > 1 else names[0]).rpartition(".")
        by_path.setdefault(path, []).append(f"{leaf} {value}")
    return "; ".join(f"{path}.{', '.join(leaves)}" for path, leaves in by_path.items())


def _listed(labels: Sequence[str]) -> str:
    return " and ".join(labels) if len(labels) < 3 else " | ".join(labels)


def records_line(records: Sequence[Record]) -> str:
    """How many records in which state, of which version and commit."""
    states = Counter(record.state for record in records)
    count = ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in sorted(states.items()))
    sources = {
        " ".join(
            [
                f"version {source.get('version', 'unknown')},",
                f"commit {str(source.get('commit') or 'unknown')[:12]}",
                *(["with uncommitted changes"] if source.get("dirty") else []),
            ]
        )
        for record in records
        for source in record.sources
    }
    return f"Records: {count}; {'; '.join(sorted(sources))}."
