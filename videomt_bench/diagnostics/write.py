"""Diagnoses as files: one Markdown page, one CSV, three figures; and a table for a terminal."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from videomt_bench.diagnostics.figures import figure_files, figures
from videomt_bench.diagnostics.selection import Selection
from videomt_bench.diagnostics.summary import Summary
from videomt_bench.files import replacing
from videomt_bench.report.statistics.estimates import (
    Estimate,
    Interval,
    paired_difference,
)
from videomt_bench.report.tables.display import DASH, fixed, interval_text

COLUMNS = {
    "AP": "AP",
    "AP_association": "AP, oracle association",
    "AP_classes": "AP, oracle classes",
    "AP_both": "AP, both oracles",
    "HOTA": "HOTA",
    "DetA": "DetA",
    "AssA": "AssA",
    "LocA": "LocA",
    "IDF1": "IDF1",
    "MOTA": "MOTA",
    "IDSW": "ID switches",
    "recall": "Recall",
    "recall_first_frame": "Recall, first frame",
    "recall_later": "Recall, later",
}
SHORT = {
    "AP": "AP\nas is",
    "AP_association": "AP\nassoc.",
    "AP_classes": "AP\nclasses",
    "AP_both": "AP\nboth",
    "HOTA": "\nHOTA",
    "DetA": "\nDetA",
    "AssA": "\nAssA",
    "IDF1": "\nIDF1",
    "IDSW": "ID\nsw.",
    "recall_first_frame": "recall\nfirst",
    "recall_later": "recall\nlater",
}
"""The columns of the terminal."""
COUNTS = ("IDSW", "IDSW_agnostic")
"""Metrics that are numbers of things, not fractions."""
AGNOSTIC = ("HOTA", "DetA", "AssA", "LocA", "IDF1", "MOTA", "IDSW")
GAINS = {"gain_association": "association", "gain_classes": "classes", "gain_both": "both"}
CSV_HEADER = ("variant", "metric", "bin", "value", "low", "high", "deviation", "seeds", "n")


def terminal_table(rows: Sequence[Summary]) -> Table:
    """The main columns, in percent."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("variant", min_width=16, max_width=30, overflow="fold", vertical="bottom")
    for title in SHORT.values():
        table.add_column(Text(title), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(Text(row.label), *(_number(name, row.metrics[name].mean) for name in SHORT))
    return table


def write_diagnostics(
    rows: Sequence[Summary], out: Path, selection: Selection, name: str = "diagnostics"
) -> list[Path]:
    """Write ``<name>.md``, ``<name>.csv`` and three figures as pdf, svg and png below ``out``.

    Raises:
        BenchError: ``out`` cannot be written.
    """
    files = {
        f"{name}.md": markdown(rows, selection, name).encode(),
        f"{name}.csv": tidy_csv(rows).encode(),
    }
    for figure, draw in figures(rows).items():
        files |= {f"{name}-{figure}.{end}": found for end, found in figure_files(draw).items()}
    for file, content in files.items():
        with replacing(out / file) as opened:
            opened.write(content)
    return [out / file for file in files]


def document(rows: Sequence[Summary], selection: Selection) -> dict[str, Any]:
    """Everything as one JSON document, in fractions."""
    return {
        "score_threshold": selection.score_threshold,
        "overlaps": selection.overlaps,
        "variants": {
            row.label: {
                "videos": row.videos,
                "seeds": row.seeds,
                "metrics": {name: _json(value) for name, value in row.metrics.items()},
                "curves": _nested(row),
                "AP_by_group": {name: _json(value) for name, value in row.group_ap.items()},
            }
            for row in rows
        },
    }


def _nested(row: Summary) -> dict[str, dict[str, Any]]:
    curves: dict[str, dict[str, Any]] = {}
    for key, value in row.points.items():
        curves.setdefault(key[0], {})[key[1]] = {**_json(value), "n": row.counts[key]}
    return curves


def _json(value: Estimate) -> dict[str, Any]:
    interval = value.interval
    return {
        "value": _finite(value.mean),
        "low": interval and interval.low,
        "high": interval and interval.high,
        "per_seed": [_finite(v) for v in value.per_seed],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def tidy_csv(rows: Sequence[Summary]) -> str:
    """One line per value, in fractions; ``n`` counts objects, or objects in frames."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for row in rows:
        for metric, label, value, n in _values(row):
            low, high = (
                (value.interval.low, value.interval.high) if value.interval else (None, None)
            )
            shown = [_exact(number) for number in (value.mean, low, high, value.deviation)]
            writer.writerow([row.label, metric, label, *shown, row.seeds, n])
    return text.getvalue()


def _exact(number: float | None) -> str:
    return "" if number is None or not math.isfinite(number) else repr(float(number))


def _values(row: Summary) -> Iterator[tuple[str, str, Estimate, int | str]]:
    for name, value in row.metrics.items():
        yield name, "", value, ""
    for name, value in row.group_ap.items():
        yield "AP by group", name, value, row.counts.get(("recall by group", name), "")
    for key, value in row.points.items():
        yield *key, value, row.counts[key]


def markdown(rows: Sequence[Summary], selection: Selection, name: str) -> str:
    """The page with all tables and figures."""
    agnostic = {f"{key}_agnostic": COLUMNS[key] for key in AGNOSTIC}
    kept = "as they are" if selection.overlaps == "keep" else "resolved by score"
    parts = [
        ["# Diagnostics"],
        [f"In percent, with 95 % intervals; {_size(rows)}. HOTA and what follows count predictions "
         f"with a score of {selection.score_threshold:g} or more, overlaps {kept}. The definitions "
         "are in docs/diagnostics.md."],
        _metric_table(rows, COLUMNS),
        _difference_table(rows),
        ["## Segmentation against association", "", _image(name, "oracles"), ""],
        ["What AP gains from an oracle of …"],
        _metric_table(rows, GAINS),
        ["## Association without regard to class"],
        _metric_table(rows, agnostic),
        ["## Drift", "", _image(name, "drift")],
        *(_curve_table(rows, curve) for curve in dict.fromkeys(c for c, _ in rows[0].points)),
        ["## Kinds of objects", "", _image(name, "groups")],
        _group_table(rows),
    ]  # fmt: skip
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _size(rows: Sequence[Summary]) -> str:
    seeds = sorted({row.seeds for row in rows})
    runs = " to ".join(str(n) for n in (seeds if len(seeds) == 1 else (seeds[0], seeds[-1])))
    return f"{rows[0].videos} videos, {runs} result file{'s' * (runs != '1')} per variant"


def _image(name: str, figure: str) -> str:
    return f"![{figure}]({name}-{figure}.png)"


def _metric_table(rows: Sequence[Summary], columns: dict[str, str]) -> list[str]:
    cells = [[_cell(name, row.metrics[name]) for name in columns] for row in rows]
    return _lines(["variant", *columns.values()], [r.label for r in rows], cells)


def _difference_table(rows: Sequence[Summary]) -> list[str]:
    """Every row minus the first one, on the same draws of videos."""
    if len(rows) < 2:
        return []
    cells = [[_difference(name, row, rows[0]) for name in COLUMNS] for row in rows[1:]]
    labels = [row.label for row in rows[1:]]
    title = f"Minus {_escaped(rows[0].label)}, on the same videos:"
    return [title, "", *_lines(["variant", *COLUMNS.values()], labels, cells)]


def _difference(name: str, row: Summary, first: Summary) -> str:
    """A dash where the numbers of seeds differ, or nothing was drawn."""
    found = paired_difference(row.metrics[name], first.metrics[name])
    return DASH if found is None else _cell(name, found)


def _curve_table(rows: Sequence[Summary], curve: str) -> list[str]:
    if curve == "recall by group":
        return []
    bins = [label for name, label in rows[0].points if name == curve]
    titles = [f"{label} (n = {rows[0].counts[curve, label]})" for label in bins]
    cells = [[_cell(curve, row.points[curve, label]) for label in bins] for row in rows]
    title = curve[0].upper() + curve[1:]
    return [f"### {title}", "", *_lines(["variant", *titles], [r.label for r in rows], cells)]


def _group_table(rows: Sequence[Summary]) -> list[str]:
    """A row per group: recall and AP of every variant."""
    labels = [label for curve, label in rows[0].points if curve == "recall by group"]
    header = ["kind", "n"]
    header += [f"{what}, {row.label}" for what in ("recall", "AP") for row in rows]
    cells = [
        [
            str(rows[0].counts["recall by group", label]),
            *(_cell("recall", row.points["recall by group", label]) for row in rows),
            *(_cell("AP", row.group_ap[label]) for row in rows),
        ]
        for label in labels
    ]
    return _lines(header, labels, cells)


def _lines(
    header: Sequence[str], labels: Sequence[str], cells: Sequence[Sequence[str]]
) -> list[str]:
    rules = [":---"] + ["---:"] * (len(header) - 1)
    rows = [[label, *row] for label, row in zip(labels, cells, strict=True)]
    return [f"| {' | '.join(map(_escaped, line))} |" for line in (header, rules, *rows)]


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _cell(name: str, value: Estimate) -> str:
    text = _number(name, value.mean)
    if value.interval is None or text == DASH:
        return text
    factor = 1 if name in COUNTS else 100
    low, high = factor * value.interval.low, factor * value.interval.high
    return f"{text} {interval_text(Interval(low, high))}"


def _number(name: str, value: float) -> str:
    if not math.isfinite(value):
        return DASH
    return fixed(value, 0 if value == int(value) else 1) if name in COUNTS else fixed(100 * value)
