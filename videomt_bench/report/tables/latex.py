"""A table as LaTeX with booktabs, ready to paste: every character of data is escaped."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence
from itertools import groupby

from videomt_bench.report.tables.display import Cell, Column, Display
from videomt_bench.report.tables.table import ReportTable

ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "[": "{[}", "]": "{]}", "*": "{*}", "`": r"\`{}",
    "-": "{-}", "–": r"\textendash{}", "—": r"\textemdash{}", "−": "$-$", "±": r"$\pm$",
    "×": r"$\times$", "Δ": r"$\Delta$", "→": r"$\rightarrow$", "≤": r"$\le$", "≥": r"$\ge$",
    "…": r"\dots{}", "†": r"\textdagger{}", "‡": r"\textdaggerdbl{}", "§": r"\textsection{}",
    "¶": r"\textparagraph{}", "·": r"\textperiodcentered{}", "’": "'", "‘": "`", "µ": r"$\mu$",
}  # fmt: skip
"""``[`` and ``*`` would be read as an argument after a line break, ``--`` as a ligature."""
HEADER_WIDTH = 12
DETAIL_WIDTH = 16
"""Characters on a line of a header."""
LABEL_WIDTH = 34
"""Of the labels of a table with many columns, in millimetres."""
MANY = 20
"""More rows than these stand closer."""
SPREAD_PARTS = re.compile(r"\s+(?=\[|p [<>=])")
END = " \\tabularnewline"
"""Ends a row also where a ragged cell has another meaning for two backslashes."""
DATA_QUOTE = r"\textquotedbl{}"


def escape(text: str) -> str:
    """``text`` as LaTeX that prints it with any engine and any font encoding."""
    return "".join(_escape_character(character) for character in text)


def _escape_character(character: str) -> str:
    if character in ESCAPES:
        return "''" if ESCAPES[character] == DATA_QUOTE else ESCAPES[character]
    if character.isspace() or unicodedata.category(character).startswith("C"):
        return " "
    if character.isascii() or _is_accented_latin(character):
        return character
    return f"{{[}}U+{ord(character):04X}{{]}}"


def _is_accented_latin(character: str) -> bool:
    """Whether any LaTeX prints it: a letter of Latin-1 that is a base letter with an accent."""
    base = unicodedata.normalize("NFKD", character)[0]
    return ord(character) < 256 and character.isalpha() and base.isascii() and base.isalpha()


def latex_table(table: ReportTable) -> str:
    """A table's parts as floats, its remarks as text; needs ``\\usepackage{booktabs}``."""
    lines = [
        "% needs \\usepackage{booktabs}",
        *[f"% {' '.join(line.split())}" for line in table.provenance],
        *_float(table.main, table, f"{table.title}. {table.caption}", table.name),
    ]
    if len(table.detail.columns) > 1:
        caption = f"{table.title}, in detail."
        lines += _float(table.detail, table, caption, f"{table.name}-detail")
    if table.remarks:
        lines += ["{\\scriptsize\\raggedright\\noindent"]
        lines += [f"{escape(remark)}\\quad" for remark in table.remarks]
        lines += ["\\par}"]
    return "\n".join(lines) + "\n"


def _float(display: Display, table: ReportTable, caption: str, name: str) -> list[str]:
    """One part of a table with the notes that its cells carry."""
    used = {mark for row in display.rows for cell in row for mark in cell.marks}
    notes = [(mark, text) for mark, text in table.notes if mark in used]
    return [
        "\\begin{table*}[t]",
        "\\centering",
        f"\\caption{{{escape(caption)}}}",
        f"\\label{{tab:{name}}}",
        "\\scriptsize",
        "\\setlength{\\tabcolsep}{3pt}",
        f"\\renewcommand{{\\arraystretch}}{{{1.15 if len(display.rows) <= MANY else 1.0}}}",
        *_tabular(display),
        *(_note_lines(notes) if notes else []),
        "\\end{table*}",
    ]


def _note_lines(notes: Sequence[tuple[str, str]]) -> list[str]:
    return [
        "\\par\\medskip",
        "\\begin{minipage}{\\linewidth}",
        "\\scriptsize\\raggedright",
        *[f"{_marks([mark])}~{escape(text)}.\\quad" for mark, text in notes],
        "\\end{minipage}",
    ]


def _tabular(display: Display) -> list[str]:
    longest = max((len(row[0].text) for row in display.rows), default=0)
    label = min(max(longest * 1.3, 20), LABEL_WIDTH if len(display.columns) > 6 else 60)
    columns = f"p{{{label:.0f}mm}}" + "r" * (len(display.columns) - 1)
    return [
        f"\\makebox[\\linewidth]{{\\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        "\\toprule",
        *_group_lines(display.columns),
        " & ".join(_header(column) for column in display.columns) + END,
        "\\midrule",
        *["\\raggedright " + " & ".join(map(_cell, row)) + END for row in display.rows],
        "\\bottomrule",
        "\\end{tabular}}",
    ]


def _group_lines(columns: Sequence[Column]) -> list[str]:
    """The line of group titles, no wider than their columns, and the rules below them."""
    titles, rules, start = [], [], 1
    for group, members in groupby(columns, key=lambda column: column.group):
        n = len(list(members))
        title = _stacked(
            [escape(t) for t in textwrap.wrap(group, max(8 * n, 12), break_on_hyphens=False)],
            "c",
            "b",
        )
        titles.append(f"\\multicolumn{{{n}}}{{c}}{{{title}}}" if group else " & " * (n - 1))
        if group:
            rules.append(f"\\cmidrule(lr){{{start}-{start + n - 1}}}")
        start += n
    return [" & ".join(titles) + END, "".join(rules)] if rules else []


def _header(column: Column) -> str:
    title = [escape(line) for line in textwrap.wrap(column.title, HEADER_WIDTH)]
    wrapped = [line for text in column.details for line in textwrap.wrap(text, DETAIL_WIDTH)]
    return _stacked([*title, *(f"{{\\tiny {escape(line)}}}" for line in wrapped)], "r", "b")


def _cell(cell: Cell) -> str:
    """The value, and below it what is known of its spread: one line for each part."""
    value = escape(cell.text) + _marks(cell.marks)
    parts = SPREAD_PARTS.split(cell.spread) if cell.spread else []
    return _stacked([value, *(f"{{\\tiny {escape(part)}}}" for part in parts)], "r", "t")


def _stacked(lines: Sequence[str], side: str, place: str) -> str:
    """Lines on top of each other in one cell."""
    if len(lines) < 2:
        return "".join(lines)
    inner = "\\\\[-1pt]".join(lines)
    return f"\\begin{{tabular}}[{place}]{{@{{}}{side}@{{}}}}{inner}\\end{{tabular}}"


def _marks(marks: Sequence[str]) -> str:
    return f"\\textsuperscript{{{escape(','.join(marks))}}}" if marks else ""
