"""A table as LaTeX with booktabs, ready to paste: every character of data is escaped."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from itertools import groupby

from videomt_bench.report.display import Cell, Column, Display
from videomt_bench.report.table import ReportTable

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
    """Both parts of a table; needs ``\\usepackage{booktabs}``."""
    lines = [
        "% needs \\usepackage{booktabs}",
        *[f"% {' '.join(line.split())}" for line in table.provenance],
        "\\begin{table*}[t]",
        "\\centering",
        f"\\caption{{{escape(table.title)}. {escape(table.caption)}}}",
        f"\\label{{tab:{table.name}}}",
        "\\scriptsize",
        "\\setlength{\\tabcolsep}{3pt}",
        "\\renewcommand{\\arraystretch}{1.15}",
        *_tabular(table.main),
        "\\par\\medskip",
        *_tabular(table.detail),
        "\\par\\medskip",
        "\\begin{minipage}{\\linewidth}",
        "\\scriptsize\\raggedright",
        *[f"{_marks([mark])}~{escape(text)}.\\quad" for mark, text in table.notes],
        "\\par",
        *[f"{escape(remark)}\\quad" for remark in table.remarks],
        "\\end{minipage}",
        "\\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _tabular(display: Display) -> list[str]:
    columns = "p{26mm}" + "r" * (len(display.columns) - 1)
    return [
        f"\\makebox[\\linewidth]{{\\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        "\\toprule",
        *_group_lines(display.columns),
        " & ".join(_header(column) for column in display.columns) + " \\\\",
        "\\midrule",
        *["\\raggedright " + " & ".join(map(_cell, row)) + " \\\\" for row in display.rows],
        "\\bottomrule",
        "\\end{tabular}}",
    ]


def _group_lines(columns: Sequence[Column]) -> list[str]:
    """The line of group titles and the rules below them."""
    titles, rules, start = [], [], 1
    for group, members in groupby(columns, key=lambda column: column.group):
        n = len(list(members))
        titles.append(f"\\multicolumn{{{n}}}{{c}}{{{escape(group)}}}" if group else " & " * (n - 1))
        if group:
            rules.append(f"\\cmidrule(lr){{{start}-{start + n - 1}}}")
        start += n
    return [" & ".join(titles) + " \\\\", "".join(rules)] if rules else []


def _header(column: Column) -> str:
    texts = (column.title, *column.details)
    lines = [escape(line) for text in texts for line in textwrap.wrap(text, HEADER_WIDTH)]
    if len(lines) == 1:
        return lines[0]
    stacked = "\\\\".join(lines)
    return f"\\begin{{tabular}}[b]{{@{{}}r@{{}}}}{stacked}\\end{{tabular}}"


def _cell(cell: Cell) -> str:
    value = escape(cell.text) + _marks(cell.marks)
    if not cell.spread:
        return value
    spread = f"{{\\tiny {escape(cell.spread)}}}"
    return f"\\begin{{tabular}}[t]{{@{{}}r@{{}}}}{value}\\\\{spread}\\end{{tabular}}"


def _marks(marks: Sequence[str]) -> str:
    return f"\\textsuperscript{{{escape(','.join(marks))}}}" if marks else ""
