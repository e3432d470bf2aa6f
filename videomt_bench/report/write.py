"""Write a report: Markdown, CSV, LaTeX and figures; and the same table for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from videomt_bench.files import replacing
from videomt_bench.report.breakdown_figure import breakdown_figure
from videomt_bench.report.display import Cell, Column, Display
from videomt_bench.report.figure import FORMATS, figure_bytes
from videomt_bench.report.latex import latex_table
from videomt_bench.report.rows import slug_of
from videomt_bench.report.statistics import DRAWS
from videomt_bench.report.table import ReportTable, build_tables

MARKDOWN = {"\\": "\\\\", "|": "\\|", "<": "&lt;", ">": "&gt;"} | {c: f"\\{c}" for c in "*_`[]"}
TERMINAL = {
    "label": "Row",
    "AP": "AP [95 %]",
    "n_seeds": "Seeds",
    "recall_late": "Late",
    "recall_gap": "Gap",
    "params": "M",
    "gmacs": "GMACs",
    "fps_model": "FPS",
    "paper_AP": "AP",
    "paper_fps": "FPS",
}
"""The columns of the terminal and their short titles."""


def write_report(
    results: Path, out: Path, experiment: Mapping[str, Any], draws: int = DRAWS
) -> list[Path]:
    """Write ``<name>.md``, ``.csv``, ``.tex`` and figures as pdf, svg and png below ``out``.

    ``-figure`` shows results; ``-cost``, one for each size of encoder, the cost by component.

    With several dataset settings the three texts hold one table per setting, and each setting has
    a figure of its own, ``<name>-<setting>-figure``. Equal records give equal bytes.

    Args:
        results: the folder that holds ``records``.
        out: made if it is not there.
        experiment: see :func:`videomt_bench.report.table.build_tables`.
        draws: of the bootstrap.

    Returns:
        The files written.

    Raises:
        BenchError: no results, a malformed experiment, or ``out`` cannot be written.
    """
    tables = build_tables(results, experiment, draws=draws)
    return write_tables(tables, out, str(experiment["name"]))


def write_tables(tables: Sequence[ReportTable], out: Path, name: str) -> list[Path]:
    """Write tables that are built already; see :func:`write_report`."""
    csv = pd.concat([table.tidy for table in tables]).to_csv(index=False, lineterminator="\n")
    files = {
        f"{name}.md": "\n".join(markdown(table) for table in tables).encode(),
        f"{name}.csv": csv.encode(),
        f"{name}.tex": "\n".join(latex_table(table) for table in tables).encode(),
    }
    for table in tables:
        files |= {
            f"{figure}.{extension}": content(extension)
            for figure, content in _figures(table).items()
            for extension in FORMATS
        }
    return [_write(out / file, content) for file, content in files.items()]


def _figures(table: ReportTable) -> dict[str, Callable[[str], bytes]]:
    """Name -> what draws it: results where there are any, and the costs by component."""
    figures: dict[str, Callable[[str], bytes]] = {}
    costs = _costs_by_size(table)
    if any(row.ap for row in table.rows) or not costs:
        figures[f"{table.name}-figure"] = partial(figure_bytes, table)
    for size, bars in costs.items():
        slug = "-".join(part for part in (table.name, "cost", slug_of(size)) if part)
        figures[slug] = partial(breakdown_figure, bars)
    return figures


def _costs_by_size(table: ReportTable) -> dict[str, dict[str, Any]]:
    """Size of the encoder -> label of a row -> its cost, where components were measured."""
    sizes: dict[str, dict[str, Any]] = {}
    for row in table.rows:
        costs = [r.cost for r in row.records if r.cost and r.cost.get("components")]
        if costs:
            sizes.setdefault(row.size, {})[row.label] = costs[0]
    return sizes


def _write(path: Path, content: bytes) -> Path:
    with replacing(path) as file:
        file.write(content)
    return path


def markdown(table: ReportTable) -> str:
    """A table with its caption, notes and figure as Markdown."""
    notes = [f"- <sup>{mark}</sup> {_escape(text)}" for mark, text in table.notes]
    remarks = [f"- {_escape(remark)}" for remark in (*table.remarks, *table.provenance)]
    parts = [
        [f"## {_escape(table.title)}"],
        [_escape(table.caption)],
        _markdown_table(table.main),
        _markdown_table(table.detail) if len(table.detail.columns) > 1 else [],
        [f"![{_escape(table.title)}]({figure}.png)" for figure in _figures(table)],
        notes,
        remarks,
        ["### Problems"] if table.problems else [],
        [f"- {_escape(f'{problem.file}: {problem.reason}.')}" for problem in table.problems],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _markdown_table(display: Display) -> list[str]:
    header = [_escape(_full_title(column)) for column in display.columns]
    rules = [":---"] + ["---:"] * (len(header) - 1)
    rows = [[_markdown_cell(cell) for cell in row] for row in display.rows]
    return [f"| {' | '.join(line)} |" for line in (header, rules, *rows)]


def _full_title(column: Column) -> str:
    details = [column.group] if column.group.startswith("paper") else []
    details += column.details
    return f"{column.title} ({', '.join(details)})" if details else column.title


def _markdown_cell(cell: Cell) -> str:
    marks = f"<sup>{','.join(cell.marks)}</sup>" if cell.marks else ""
    return _escape(f"{cell.text} {cell.spread}") + marks


def _escape(text: str) -> str:
    return "".join(MARKDOWN.get(character, character) for character in " ".join(text.split()))


def terminal_table(table: ReportTable) -> Table:
    """The main columns for a terminal; fits 100 characters a line."""
    cells = dict(_columns(table.main))
    cells |= {key: column for key, column in _columns(table.detail) if key not in cells}
    shown = Table(
        title=Text(table.title), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    keys = [key for key in TERMINAL if key in cells]
    used = {mark for key in keys for cell in cells[key] for mark in cell.marks}
    notes = [f"{mark}: {text}" for mark, text in table.notes if mark in used]
    shown.caption = Text("\n".join([table.caption, *notes]))
    shown.caption_justify = "left"
    for key in keys:
        title = ("paper\n" if key.startswith("paper_") else "") + TERMINAL[key]
        right = key != "label"
        shown.add_column(
            Text(title),
            justify="right" if right else "left",
            no_wrap=right,
            min_width=None if right else 22,
            max_width=None if right else 30,
            overflow="fold",
        )
    for i in range(len(table.main.rows)):
        shown.add_row(*(_terminal_cell(key, cells[key][i]) for key in keys))
    return shown


def _columns(display: Display) -> list[tuple[str, list[Cell]]]:
    return [
        (column.key, [row[i] for row in display.rows]) for i, column in enumerate(display.columns)
    ]


def _terminal_cell(key: str, cell: Cell) -> Text:
    text = Text(f"{cell.text} {cell.spread}".strip() if key == "AP" else cell.text)
    return text.append(" " + ",".join(cell.marks), style="dim") if cell.marks else text
