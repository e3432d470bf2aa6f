"""The page of a report: no data becomes markup, nothing is fetched, browsers open it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from videomt_bench.report.figures.choice import report_figures
from videomt_bench.report.page import html_page, page_figure, provenance
from videomt_bench.report.page.markup import escaped, tag
from videomt_bench.report.page.provenance import (
    commands,
    number_ranges,
    provenance_html,
    used_records,
)
from videomt_bench.report.page.tables import sort_value, table_html
from videomt_bench.report.tables.display import Cell, Column, Display
from videomt_bench.report.tables.table import build_tables

from .conftest import EXPERIMENT, Save, saves_to

HOSTILE = "<script>window.hit=1</script>\"'><img src=x onerror=window.hit=1>&amp;</style>\x00]]>-->"
HALF = "\x1b\ud800"
"""A control character and half a character, which no file format can hold."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = (360, 1280)
VOID = {"meta", "link", "br", "col", "img", "input"}


class Parsed(HTMLParser):
    """Elements, attributes and text of a page; fails where elements do not close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self._open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self._open.pop() == name

    def handle_data(self, data):
        if self._open:
            self.text.setdefault(self._open[-1], []).append(data)

    def values(self, attribute: str) -> list[str]:
        return [a[attribute] or "" for _, a in self.elements if attribute in a]


def fill(folder: Path) -> Path:
    save = saves_to(folder)
    for seed in (1, 2):
        save("step6_videomt", seed, 0.6)
        save("step5_propagation", seed, 0.4)
    save("step4_frame_by_frame", 1, state="failed", reason=HOSTILE)
    (folder / "results" / "records" / "broken.json").write_text("{")
    return folder / "results"


@pytest.fixture
def full(tmp_path: Path) -> Path:
    return fill(tmp_path)


def page_of(results: Path, out: Path, **changes: Any) -> str:
    experiment = {**EXPERIMENT, **changes}
    tables = build_tables(results, experiment, draws=20)
    figures = [[page_figure(f) for f in report_figures(t, experiment)] for t in tables]
    page = html_page(tables, experiment, figures, ["broken.json: not JSON"])
    (out / "made-up.html").write_text(page, encoding="utf-8")
    return page


def hostile_experiment() -> dict[str, Any]:
    rows = [{**row, "label": f"{row['label']} {HALF}{HOSTILE}"} for row in EXPERIMENT["rows"]]
    return {"rows": rows, "title": f"T {HOSTILE}", "caption": HOSTILE}


def test_nothing_of_a_record_becomes_markup(full: Path, save: Save, tmp_path: Path):
    environment = {"python": HOSTILE, HOSTILE: {"torch": HOSTILE}, "gpu": HOSTILE}
    source = {"version": HOSTILE, "commit": HOSTILE, "dirty": HOSTILE}
    save("step6_videomt", 3, environment=environment, source=source, updated=HOSTILE)
    page = page_of(full, tmp_path, **hostile_experiment())
    parsed = Parsed(page)
    assert [name for name, _ in parsed.elements].count("script") == 1
    assert "window.hit" not in "".join(parsed.text["script"])
    assert not [name for name, _ in parsed.elements if name in ("img", "iframe", "object")]
    assert not [key for _, attributes in parsed.elements for key in attributes if key[:2] == "on"]
    for place in ("h1", "title", "span", "dd", "li", "text"):
        assert any("<script>" in text for text in parsed.text[place]), place
    assert not re.search("[\x00\x1b\ud800]", page)


def test_nothing_is_fetched(full: Path, tmp_path: Path):
    page = page_of(full, tmp_path)
    parsed = Parsed(page)
    links = [*parsed.values("href"), *parsed.values("src")]
    assert all(link.startswith("#") or link == "data:," for link in links)
    addresses = set(re.findall(r"(?:https?:)?//[^\s\"'<>)]+", page))
    assert not [a for a in addresses if "www.w3.org" not in a and a.startswith("http")]
    assert not re.search(r"@import|url\((?!#)", page)
    policies = [a["content"] for _, a in parsed.elements if "http-equiv" in a]
    assert policies[0].startswith("default-src 'none'; ")


def test_ids_are_unique_and_links_lead_somewhere(full: Path, save: Save, tmp_path: Path):
    save("step6_videomt", 1, spec={"dataset": {"name": "generated-other", "num_classes": 4}})
    parsed = Parsed(page_of(full, tmp_path))
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    targets = [link.removeprefix("#") for link in parsed.values("href") if link.startswith("#")]
    assert len(targets) > 10
    assert set(targets) <= set(ids)
    references = re.findall(r"url\(#([^)]+)\)", " ".join(parsed.values("clip-path")))
    assert references
    assert set(references) <= set(ids)
    assert sum(name == "svg" for name, _ in parsed.elements) > 1


def test_the_page_says_where_it_comes_from(full: Path, save: Save, tmp_path: Path):
    save(
        "step6_videomt", 3,
        environment={"python": "3.11.7", "packages": {"torch": "2.14.1"}, "gpu": "NVIDIA H100"},
        source={"version": "0.1.0", "commit": "0123456789abcdef", "dirty": True},
        updated="2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    page = page_of(full, tmp_path)
    for text in (
        "step6_videomt-generated-slots-s3", "0123456789abcdef", "with uncommitted changes",
        "NVIDIA H100", "torch 2.14.1", "3.11.7", "2026-01-02", "broken.json",
        "videomt-bench sweep run made-up --seeds 1-3 --datasets generated-slots",
        "videomt-bench report made-up", "arXiv 2602.17807 Tab. 1",
    ):  # fmt: skip
        assert text in page, text
    assert "03:04:05" not in page


def test_many_runs_are_names_alone(full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(provenance, "LISTED", 2)
    (table,) = build_tables(full, EXPERIMENT, draws=20)
    page = provenance_html([table], EXPERIMENT)
    runs = [record.run_id for _, record in used_records([table])]
    assert len(runs) == 5
    assert all(run in page for run in runs)
    lines, rest = page.split("And ")
    assert lines.count("<tr>") == 3
    assert "step4_frame_by_frame-generated-slots-s1" in lines, "what failed comes first"
    assert rest.count("-generated-slots-s") == 3


def test_commands_say_what_was_run(save: Save, results: Path):
    records = [save("step6_videomt", seed) for seed in (1, 2, 5)]
    run, report = commands({"name": "x y"}, records)
    assert run.startswith("videomt-bench sweep run 'x y' --seeds 1-2,5 --datasets generated-slots ")
    assert report == "videomt-bench report 'x y' --results RESULTS --out REPORTS"
    assert number_ranges([3, 1, 2, 2, 7]) == "1-3,7"
    assert commands({"name": "x"}, [])[0] == "videomt-bench sweep run x --results RESULTS"


def test_a_page_without_runs_shows_what_was_published(results: Path, tmp_path: Path):
    page = page_of(results, tmp_path)
    assert "published numbers only" in page
    assert "No runs: every number is published." in page
    assert "<svg" in page
    assert "68.6" in page


def test_cells_are_sorted_by_their_number():
    values = {"12.3": "12.3", "−1.2": "-1.2", "+0.4": "+0.4", "1,234": "1234", "76 (n 5)": "76"}
    assert {text: sort_value(Cell(text)) for text in values} == values
    for text in ("–", "", "595ffd8d", "2026-11-22", "a 1"):
        assert sort_value(Cell(text)) is None, text


def test_a_table_tells_measured_from_published():
    columns = [
        Column("label", "Row"),
        Column("AP", "AP", ("95 % interval",), "measured"),
        Column("paper_AP", "AP", (), "paper, ViT-L"),
        Column("who", "Who"),
    ]
    rows = [
        [Cell("a"), Cell("12.0", ("a",), "[10, 14]"), Cell("68.9"), Cell("x1")],
        [Cell("b"), Cell("–", ("a", "*")), Cell("61.3"), Cell("2026-01-02")],
    ]
    html = table_html(Display(columns, rows), "t", "A table", {"a": 'not "run"'})
    parsed = Parsed(html)
    cells = [a for name, a in parsed.elements if name == "td" and "colspan" not in a]
    assert [a["class"] for a in cells[:3]] == [
        "number measured start", "number published start", "text start"
    ]  # fmt: skip
    assert cells[3]["class"] == "number measured start empty"
    assert [a.get("data-value") for a in cells] == ["12.0", "68.9", None, None, "61.3", None]
    assert parsed.values("title").count('not "run"') == 4
    assert parsed.values("href") == ["#t-note-1"] * 2
    assert {a["aria-sort"] for name, a in parsed.elements if "aria-sort" in a} == {"none"}
    spans = [a.get("colspan") for _, a in parsed.elements if "colspan" in a]
    assert spans == ["1", "1", "1", "1"]


def test_attributes_and_children_are_escaped():
    assert tag("a", "<b>", tag("i", "x"), title='"', hidden=True, id=None) == (
        '<a title="&quot;" hidden>&lt;b&gt;<i>x</i></a>'
    )
    assert escaped("a\x07\ud800b") == "a  b"


def test_pages_are_small_and_the_same_each_time(full: Path, tmp_path: Path):
    first = page_of(full, tmp_path)
    assert page_of(full, tmp_path) == first
    assert len(first.encode()) < 2 << 20
    (table,) = build_tables(full, EXPERIMENT, draws=20)
    assert table.title in first


# in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with sync.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        running = playwright.chromium.launch(executable_path=found, args=arguments)
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a page with hostile names."""
    folder = tmp_path_factory.mktemp("page")
    page_of(fill(folder), folder, **hostile_experiment())
    return (folder / "made-up.html").as_uri()


Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Open]:
    """Opens the page; at the end there was no console error and no request but for the file."""
    complaints: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_page(width: int = 1280, scheme: str = "light") -> Any:
        size = {"width": width, "height": 800}
        context = browser.new_context(viewport=size, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [r for r in requests if r not in (address, "data:,")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_opens_it_from_disk(opened: Open, width: int, scheme: str):
    page = opened(width, scheme)
    assert page.evaluate("window.hit") is None
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    outside = page.evaluate(
        """() => [...document.querySelectorAll("main *, header *, nav *")].filter(e =>
            !e.closest(".scroll, pre, nav, details") &&
            e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    # figures have a size, and their text can be read
    boxes = page.evaluate(
        """() => [...document.querySelectorAll("figure svg")].map(s => {
            const box = s.getBoundingClientRect();
            const text = s.querySelector("text");
            return [box.width, box.height, parseFloat(getComputedStyle(text).fontSize) *
                    box.width / s.viewBox.baseVal.width];
        })"""
    )
    assert len(boxes) > 1
    assert all(w > 300 and h > 100 and size >= 7 for w, h, size in boxes)


def test_clicks_sort_a_table_and_bring_its_order_back(opened: Open):
    page = opened()
    columns = page.locator("table.sortable").first
    column = columns.locator("thead tr:last-child th.published").first
    place = column.evaluate("th => th.cellIndex")

    def values() -> list[str]:
        return columns.locator("tbody tr").evaluate_all(
            f"rows => rows.map(row => row.cells[{place}].dataset.value)"
        )

    assert values() == ["61.3", "63.9", "68.6"]
    expected = {
        "descending": ["68.6", "63.9", "61.3"],
        "ascending": ["61.3", "63.9", "68.6"],
        "none": ["61.3", "63.9", "68.6"],
    }
    column.locator("button").focus()
    for state, order in expected.items():
        page.keyboard.press("Enter")
        assert column.get_attribute("aria-sort") == state
        assert values() == order
    # cells without a number stay at the end, whichever way
    measured = columns.locator("thead tr:last-child th.measured").first
    place = measured.evaluate("th => th.cellIndex")
    for _ in range(2):
        measured.locator("button").click()
        assert values()[-1] is None
        assert None not in values()[:2]


def test_the_theme_follows_the_system_and_the_button(opened: Open):
    def colours(page: Any) -> tuple[str, str]:
        body, text = "getComputedStyle(document.body).backgroundColor", "figure svg text"
        ink = f"getComputedStyle(document.querySelector('{text}')).fill"
        return page.evaluate(body), page.evaluate(ink)

    light, dark = colours(opened(scheme="light")), colours(opened(scheme="dark"))
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    page = opened(scheme="light")
    button = page.locator("#theme")
    seen = []
    for _ in range(3):
        button.click()
        seen.append((button.inner_text(), colours(page)))
    assert seen == [("Theme: light", light), ("Theme: dark", dark), ("Theme: auto", light)]
    button.click()
    button.click()
    page.reload()
    assert colours(page) == dark


def test_paper_is_light(opened: Open):
    page = opened(scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden()
