"""The page: head, tables with their figures, problems, provenance."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from videomt_bench.report.figures.choice import ReportFigure
from videomt_bench.report.page.markup import Markup, tag, trusted
from videomt_bench.report.page.provenance import dates, provenance_html, used_records
from videomt_bench.report.page.svg import inline_svg
from videomt_bench.report.page.tables import notes_html, table_html
from videomt_bench.report.rows import slug_of
from videomt_bench.report.tables.table import ReportTable

ICON = "data:,"
"""An empty picture, so that no browser asks for one."""


@dataclass(frozen=True)
class PageFigure:
    """A figure as a page shows it."""

    name: str
    caption: str
    picture: Markup
    files: str = ""
    """A digest of the picture and the files beside the page."""


def page_figure(figure: ReportFigure) -> PageFigure:
    """Draw a figure for a page."""
    picture = inline_svg(figure.draw, slug_of(figure.name), figure.caption)
    return PageFigure(figure.name, figure.caption, picture)


def html_page(
    tables: Sequence[ReportTable],
    experiment: Mapping[str, Any],
    figures: Sequence[Sequence[PageFigure]],
    problems: Sequence[str] = (),
) -> str:
    """A report as one page that opens from disk and asks no network for anything.

    Args:
        tables: see :func:`videomt_bench.report.tables.table.build_tables`.
        experiment: its ``name`` and ``title``.
        figures: of each table, drawn.
        problems: files and parts of records that could not be used, one sentence each.

    Returns:
        The text of the file. Equal arguments give an equal text.
    """
    title = str(experiment["title"])
    ids = [f"t{i}-{slug_of(table.name)}" for i, table in enumerate(tables, start=1)]
    sections = [
        _table_section(table, name, found, len(tables) > 1)
        for table, name, found in zip(tables, ids, figures, strict=True)
    ]
    body = tag(
        "body",
        tag("a", "To the tables", href=f"#{ids[0]}", class_="skip"),
        _header(title, tables, experiment),
        _navigation(tables, ids, bool(problems)),
        tag("main", *sections, _problems(problems), _provenance(tables, experiment)),
        tag("footer", "Made by videomt-bench from records and published numbers."),
        tag("script", trusted(_asset("script.js"))),
    )
    page = tag("html", _head(title), body, lang="en")
    return f"<!doctype html>\n{page}\n"


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _head(title: str) -> Markup:
    """With a policy that lets nothing in but the page's own script, known by its hash."""
    digest = base64.b64encode(hashlib.sha256(_asset("script.js").encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href=ICON),
        tag("style", trusted(_asset("style.css"))),
    )


def _header(title: str, tables: Sequence[ReportTable], experiment: Mapping[str, Any]) -> Markup:
    records = [record for _, record in used_records(tables)]
    facts = [f"{len(records)} runs" if len(records) != 1 else "1 run" if records else ""]
    facts += [dates(records)]
    if not records:
        facts = ["published numbers only"]
    return tag(
        "header",
        tag("p", f"videomt-bench report {experiment['name']}", class_="kicker"),
        tag("h1", title),
        tag("p", " · ".join(fact for fact in facts if fact), class_="small"),
        _legend(),
        tag("button", "Theme: auto", type="button", id="theme", hidden=True),
    )


def _legend() -> Markup:
    """How measured and published values look."""
    return tag(
        "p",
        tag("span", "measured", class_="key measured"),
        tag("span", "published", class_="key published"),
        tag("span", "– has a note that says why", class_="key"),
        class_="legend",
    )


def _navigation(tables: Sequence[ReportTable], ids: Sequence[str], problems: bool) -> Markup:
    names = _short_names(tables)
    links = [tag("a", name, href=f"#{i}") for name, i in zip(names, ids, strict=True)]
    if problems:
        links.append(tag("a", "Problems", href="#problems"))
    links.append(tag("a", "Provenance", href="#provenance"))
    return tag("nav", *links, aria_label="Sections")


def _short_names(tables: Sequence[ReportTable]) -> list[str]:
    """The settings of the tables, without the name of the experiment that all begin with."""
    if len(tables) == 1:
        return ["Table and figures"]
    first = tables[0].name
    common = next(
        (i for i in range(len(first), 0, -1)
         if first[i - 1] == "-" and all(t.name.startswith(first[:i]) for t in tables)),
        0,
    )  # fmt: skip
    return [table.name[common:] for table in tables]


def _table_section(
    table: ReportTable, name: str, figures: Sequence[PageFigure], several: bool
) -> Markup:
    notes = dict(table.notes)
    parts: list[Markup | None] = [
        tag("h2", table.title) if several else tag("h2", "Table"),
        tag("p", table.caption, class_="caption"),
        table_html(table.main, name, f"{table.title}: main table", notes),
    ]
    if len(table.detail.columns) > 1:
        parts.append(tag("h3", "In detail"))
        parts.append(table_html(table.detail, name, f"{table.title}: details", notes))
    if notes:
        parts += [tag("h3", "Notes"), notes_html(table.notes, name)]
    if figures:
        parts.append(tag("h3", "Figures"))
    parts += [_figure(figure) for figure in figures]
    if table.remarks:
        items = [tag("li", remark) for remark in table.remarks]
        parts += [tag("h3", "Protocols and remarks"), tag("ul", *items, class_="remarks")]
    return tag("section", *parts, id=name)


def _figure(figure: PageFigure) -> Markup:
    files_line = tag("span", f"{figure.name}.pdf, .svg, .png", class_="files")
    return tag(
        "figure",
        tag("div", figure.picture, class_="scroll", role="region", aria_label="Figure", tabindex=0),
        tag("figcaption", figure.caption, " ", files_line),
        id=f"figure-{slug_of(figure.name)}",
        data_files=figure.files or None,
    )


def _problems(problems: Sequence[str]) -> Markup | None:
    if not problems:
        return None
    items = [tag("li", problem) for problem in problems]
    return tag("section", tag("h2", "Problems"), tag("ul", *items), id="problems")


def _provenance(tables: Sequence[ReportTable], experiment: Mapping[str, Any]) -> Markup:
    lines = list(dict.fromkeys(line for table in tables for line in table.provenance))
    return tag(
        "section",
        tag("h2", "Provenance"),
        tag("ul", *(tag("li", line) for line in lines)) if lines else None,
        provenance_html(tables, experiment),
        id="provenance",
    )
