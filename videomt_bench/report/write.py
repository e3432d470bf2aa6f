"""Write a report: Markdown, CSV, LaTeX, HTML, figures; and the same table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from videomt_bench.files import replacing
from videomt_bench.report.figures.choice import ReportFigure, report_figures
from videomt_bench.report.figures.files import digest_of, figure_files
from videomt_bench.report.page import PageFigure, html_page, page_figure
from videomt_bench.report.statistics.estimates import DRAWS
from videomt_bench.report.tables.display import Cell, Column, Display
from videomt_bench.report.tables.latex import latex_table
from videomt_bench.report.tables.table import ReportTable, build_tables

MARKDOWN = {"\\": "\\\\", "|": "\\|", "<": "&lt;", ">": "&gt;"} | {c: f"\\{c}" for c in "*_`[]"}
TERMINAL = {
    "label": "Row",
    "AP": "AP [95 %]",
    "VPQ": "VPQ [95 %]",
    "STQ": "STQ",
    "mIoU": "mIoU [95 %]",
    "mVC16": "mVC16",
    "recall_late": "Late",
    "recall_gap": "Gap",
    "params": "M",
    "gmacs": "GMACs",
    "fps_model": "FPS",
    "paper_AP": "AP",
    "paper_VPQ": "VPQ",
    "paper_STQ": "STQ",
    "paper_mIoU": "mIoU",
    "paper_mVC16": "mVC16",
    "paper_fps": "FPS",
}
"""The columns of the terminal and their short titles."""


def write_report(
    results: Path, out: Path, experiment: Mapping[str, Any], draws: int = DRAWS
) -> list[Path]:
    """Write ``<name>.md``, ``.csv``, ``.tex``, ``.html`` and figures as pdf, svg, png in ``out``.

    With several dataset settings the four texts hold one table per setting, and each setting has
    figures of its own, ``<name>-<setting>-<kind>``. The page holds its figures itself. Equal
    records give equal bytes.

    Args:
        results: the folder that holds ``records``.
        out: made if it is not there.
        experiment: see :func:`videomt_bench.report.tables.table.build_tables`, and for its
            ``figures`` :func:`videomt_bench.report.figures.choice.report_figures`.
        draws: of the bootstrap.

    Returns:
        The files written.

    Raises:
        BenchError: no results, a malformed experiment, or ``out`` cannot be written.
    """
    return write_tables(build_tables(results, experiment, draws=draws), out, experiment, results)


def write_tables(
    tables: Sequence[ReportTable],
    out: Path,
    experiment: Mapping[str, Any],
    results: Path | None = None,
) -> list[Path]:
    """Write tables that are built already; see :func:`write_report`.

    Without ``results`` there are no curves of training.
    """
    name = str(experiment["name"])
    unused = dict.fromkeys(problem for table in tables for problem in table.problems)
    problems = [f"{problem.file}: {problem.reason}" for problem in unused]
    figures = [report_figures(table, experiment, results) for table in tables]
    pictures: dict[str, bytes] = {}
    old_page = _old(out / f"{name}.html")
    drawn = [_drawn(found, out, old_page, pictures) for found in figures]
    csv = pd.concat([table.tidy for table in tables]).to_csv(index=False, lineterminator="\n")
    texts = [markdown(table, found) for table, found in zip(tables, figures, strict=True)]
    files = {
        f"{name}.md": _bytes("\n".join(texts)),
        f"{name}.csv": _bytes(csv),
        f"{name}.tex": _bytes("\n".join(map(latex_table, tables))),
        f"{name}.html": _bytes(html_page(tables, experiment, drawn, problems)),
    }
    return [_write(out / file, content) for file, content in {**files, **pictures}.items()]


def _drawn(
    figures: Sequence[ReportFigure], out: Path, old_page: str, pictures: dict[str, bytes]
) -> list[PageFigure]:
    """Figures for the page; their files go to ``pictures``."""
    drawn = []
    for figure in figures:
        shown = page_figure(figure)
        made = figure_files(figure.draw, shown.picture, out / figure.name, old_page)
        pictures |= {f"{figure.name}.{kind}": content for kind, content in made.items()}
        drawn.append(replace(shown, files=digest_of(shown.picture, made)))
    return drawn


def _old(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _bytes(text: str) -> bytes:
    """UTF-8, with a question mark for what it cannot hold: half a character from a record."""
    return text.encode("utf-8", "replace")


def _write(path: Path, content: bytes) -> Path:
    with replacing(path) as file:
        file.write(content)
    return path


def markdown(table: ReportTable, figures: Sequence[ReportFigure] = ()) -> str:
    """A table with its caption, notes and figures as Markdown."""
    notes = [f"- <sup>{mark}</sup> {_escape(text)}" for mark, text in table.notes]
    remarks = [f"- {_escape(remark)}" for remark in (*table.remarks, *table.provenance)]
    parts = [
        [f"## {_escape(table.title)}"],
        [_escape(table.caption)],
        _markdown_table(table.main),
        _markdown_table(table.detail) if len(table.detail.columns) > 1 else [],
        [f"![{_escape(figure.caption)}]({figure.name}.png)" for figure in figures],
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
    spread = "95 %" in TERMINAL[key]
    text = Text(f"{cell.text} {cell.spread}".strip() if spread else cell.text)
    return text.append(" " + ",".join(cell.marks), style="dim") if cell.marks else text
