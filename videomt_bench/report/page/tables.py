"""Printed tables as HTML: sortable by a button in every header, notes linked from their marks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby

from videomt_bench.report.page.markup import Markup, join, tag
from videomt_bench.report.tables.display import DASH, MINUS, Cell, Column, Display

NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?=\s|$)")


def table_html(
    display: Display, name: str, label: str, notes: Mapping[str, str] | None = None
) -> Markup:
    """A table that scrolls by itself where it is too wide.

    Args:
        display: what it shows.
        name: unique on the page; begins the ids of its notes.
        label: what it is, for those who do not see it.
        notes: mark -> text; other marks are shown without a link.
    """
    looks = _looks(display)
    head = [_group_row(display.columns)] if any(c.group for c in display.columns) else []
    head.append(tag("tr", *map(_header, display.columns, looks)))
    body = [tag("tr", *_cells(row, looks, name, notes or {})) for row in display.rows]
    table = tag("table", tag("thead", *head), tag("tbody", *body), class_="sortable")
    return tag("div", table, class_="scroll", role="region", aria_label=label, tabindex=0)


def notes_html(notes: Sequence[tuple[str, str]], name: str) -> Markup | None:
    """The notes of a table, each at the id that its marks link to."""
    if not notes:
        return None
    items = [
        join(tag("dt", mark, id=_note_id(name, i)), tag("dd", text))
        for i, (mark, text) in enumerate(notes)
    ]
    return tag("dl", *items, class_="notes")


def origin_of(column: Column) -> str:
    """``published``, ``measured`` or nothing, from the group of a column."""
    first = column.group.split(",")[0].strip().lower()
    if first.startswith(("paper", "published")):
        return "published"
    return "measured" if first.startswith("measured") else ""


def sort_value(cell: Cell) -> str | None:
    """What a cell is sorted by: its first number; None where it has none."""
    found = NUMBER.match(cell.text.strip().replace(MINUS, "-").replace(",", ""))
    return found[0] if found else None


def _looks(display: Display) -> list[str]:
    """The classes of each column: text or number, measured or published, first of its group."""
    looks = []
    for i, column in enumerate(display.columns):
        cells = [row[i] for row in display.rows]
        starts = i > 0 and column.group != display.columns[i - 1].group
        kind = "number" if i > 0 and _is_numeric(cells) else "text"
        looks.append(_classes(kind, origin_of(column), "start" if starts else ""))
    return looks


def _is_numeric(cells: Sequence[Cell]) -> bool:
    return all(cell.text == DASH or sort_value(cell) is not None for cell in cells)


def _group_row(columns: Sequence[Column]) -> Markup:
    cells: list[Markup] = []
    for _, members in groupby(columns, key=lambda column: column.group):
        found = list(members)
        origin = origin_of(found[0])
        text = tag("span", found[0].group) if found[0].group else None
        kind = {"scope": "colgroup"} if found[0].group else {}
        name = "td" if text is None else "th"
        start = "start" if cells else ""
        cells.append(
            tag(name, text, colspan=len(found), class_=_classes("group", origin, start), **kind)
        )
    return tag("tr", *cells, class_="groups")


def _header(column: Column, look: str) -> Markup:
    details = [tag("span", detail, class_="detail") for detail in column.details]
    button = tag("button", tag("span", column.title), *details, type="button")
    return tag("th", button, scope="col", class_=look, aria_sort="none")


def _cells(
    row: Sequence[Cell], looks: Sequence[str], name: str, notes: Mapping[str, str]
) -> list[Markup]:
    first, *others = row
    cells = [tag("th", _content(first, name, notes), scope="row")]
    for cell, look in zip(others, looks[1:], strict=True):
        content = _content(cell, name, notes)
        value = sort_value(cell) if look.startswith("number") else None
        classes = _classes(look, "empty" if cell.text == DASH else "")
        cells.append(tag("td", content, class_=classes, data_value=value))
    return cells


def _content(cell: Cell, name: str, notes: Mapping[str, str]) -> Markup:
    """The value, the marks of its notes, and its interval or deviation on a line of its own."""
    reasons = "; ".join(notes[mark] for mark in cell.marks if mark in notes)
    return join(
        tag("span", cell.text, title=reasons or None),
        _marks(cell.marks, name, notes),
        tag("span", cell.spread, class_="spread") if cell.spread else None,
    )


def _marks(marks: Sequence[str], name: str, notes: Mapping[str, str]) -> Markup | None:
    if not marks:
        return None
    known = list(notes)
    links: list[str] = []
    for mark in marks:
        links += ["," if links else ""]
        if mark in notes:
            target = f"#{_note_id(name, known.index(mark))}"
            links.append(tag("a", mark, href=target, title=notes[mark]))
        else:
            links.append(mark)
    return tag("sup", *links)


def _note_id(name: str, index: int) -> str:
    return f"{name}-note-{index + 1}"


def _classes(*names: str) -> str:
    return " ".join(name for name in names if name)
