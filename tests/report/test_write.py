from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from videomt_bench.errors import BenchError
from videomt_bench.report.figures import files as figure_files
from videomt_bench.report.figures.style import rendered, spread
from videomt_bench.report.tables.latex import escape, latex_table
from videomt_bench.report.tables.table import build_tables
from videomt_bench.report.write import terminal_table, write_report
from videomt_bench.sweep.experiment import load_experiment

from .conftest import BARE, EXPERIMENT, saves_to

NASTY = r"50% of $x_1 & y^2 ~ {a} #3 \bad | <b> [2] *z* `q` é 中"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results that no test changes."""
    folder = tmp_path_factory.mktemp("full")
    save, results = saves_to(folder), folder / "results"
    for seed in (1, 2):
        save("step6_videomt", seed, 0.6)
        save("step5_propagation", seed, 0.4)
    save("step4_frame_by_frame", 1, state="failed", reason=NASTY)
    (results / "records" / "broken.json").write_text("{")
    return results


@pytest.fixture(scope="module")
def files(full: Path) -> list[Path]:
    """A whole report, in a folder that was not there."""
    return write_report(full, full.parent / "new" / "out", EXPERIMENT, draws=20)


def test_all_files_are_written_and_hold_the_table(full: Path, files: list[Path]):
    out = full.parent / "new" / "out"
    assert [f.name for f in files] == [
        "made-up.md", "made-up.csv", "made-up.tex", "made-up.html",
        "made-up-figure.pdf", "made-up-figure.svg", "made-up-figure.png",
        "made-up-tradeoff.pdf", "made-up-tradeoff.svg", "made-up-tradeoff.png",
    ]  # fmt: skip
    assert sorted(f.name for f in files) == sorted(p.name for p in out.iterdir())
    text = (out / "made-up.md").read_text()
    (table,) = build_tables(full, EXPERIMENT, draws=20)
    ap = table.main.rows[2][1]
    assert f"| {ap.text} {ap.spread} |".replace("[", r"\[").replace("]", r"\]") in text
    assert "broken.json" in text
    csv = pd.read_csv(out / "made-up.csv")
    assert {"measured", "paper"} <= set(csv["origin"])
    image = Image.open(out / "made-up-figure.png")
    assert image.width == 1350
    assert image.convert("RGBA").getchannel("A").getextrema() == (255, 255)


def test_reports_are_the_same_byte_for_byte(full: Path, files: list[Path], tmp_path: Path):
    again = write_report(full, tmp_path, EXPERIMENT, draws=20)
    for a, b in zip(files, again, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
        assert not re.search(rb"CreationDate|<dc:date>|tEXtSoftware", a.read_bytes()), a.name


def test_figures_that_are_there_are_not_made_again(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One figure in two formats is enough to see it."""
    made: list[str] = []
    kinds = ("svg", "png")
    experiment = {**EXPERIMENT, "figures": ["results"]}

    def counted(draw: Any, kind: str) -> bytes:
        made.append(kind)
        return rendered(draw, kind)

    monkeypatch.setattr(figure_files, "rendered", counted)
    monkeypatch.setattr(figure_files, "FORMATS", kinds)
    files = write_report(full, tmp_path, experiment, draws=20)
    assert made == [*kinds]
    before = {file: file.read_bytes() for file in files}
    write_report(full, tmp_path, experiment, draws=20)
    assert made == [*kinds]
    # a file that is damaged or away is made again, and so is a figure of other values
    (tmp_path / "made-up-figure.png").write_bytes(b"")
    write_report(full, tmp_path, experiment, draws=20)
    assert made == [*kinds] * 2
    (tmp_path / "made-up-figure.svg").unlink()
    write_report(full, tmp_path, experiment, draws=20)
    assert made == [*kinds] * 3
    assert {file: file.read_bytes() for file in files} == before
    write_report(full, tmp_path, {**experiment, "title": "Another title"}, draws=20)
    assert made == [*kinds] * 4


def test_a_report_of_nothing_is_a_table_of_reasons(results: Path, tmp_path: Path):
    write_report(results, tmp_path / "out", BARE)
    text = (tmp_path / "out" / "made-up.md").read_text()
    assert text.count("–<sup>a</sup>") >= 3
    assert "<sup>a</sup> not run" in text


def test_a_folder_that_cannot_be_written_is_one_sentence(full: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write"):
        write_report(full, tmp_path / "file" / "out", BARE, draws=5)


def test_markdown_rows_have_as_many_cells_as_the_header(full: Path, tmp_path: Path):
    rows = [{**EXPERIMENT["rows"][2], "label": "a | b\n<script>"}, EXPERIMENT["rows"][0]]
    write_report(full, tmp_path, {**BARE, "rows": rows}, draws=5)
    text = (tmp_path / "made-up.md").read_text()
    lines = [re.sub(r"\\\|", "", line) for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines[:4]} == {lines[0].count("|")}
    assert "<script>" not in text


def test_every_special_character_is_escaped():
    for character in r"&%$#_{}~^\<>|":
        assert escape(character) not in (character, ""), character
    assert escape("a_b & 5%") == r"a\_b \& 5\%"
    assert escape("\\") == r"\textbackslash{}"
    assert escape("[1]") == "{[}1{]}"
    assert escape("†−±×") == r"\textdagger{}$-$$\pm$$\times$"
    assert escape("é") == "é"
    assert escape("中\n\x00") == "{[}U+4E2D{]}  "


def test_latex_is_well_formed(full: Path, tmp_path: Path):
    write_report(full, tmp_path, BARE, draws=5)
    text = (tmp_path / "made-up.tex").read_text()
    for environment in ("table*", "tabular", "minipage"):
        assert text.count(f"\\begin{{{environment}}}") == text.count(f"\\end{{{environment}}}")
    for rule in ("\\toprule", "\\midrule", "\\bottomrule"):
        assert text.count(rule) == text.count("\\begin{table*}") == 2
    assert escape("50% of $x_1") in text
    bare = re.sub(r"\\.", "", "\n".join(x for x in text.splitlines() if not x.startswith("%")))
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"[%#_^~]", re.sub(r"~", "", bare))


def compiled(folder: Path, name: str) -> str:
    """The log of LaTeX for a document with nothing but booktabs and a pasted report."""
    (folder / "main.tex").write_text(
        "\\documentclass[twocolumn]{article}\\usepackage{booktabs}\\begin{document}"
        f"\\input{{{name}.tex}}\\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex is here")


@needs_latex
def test_latex_compiles(full: Path, tmp_path: Path):
    (table,) = build_tables(full, EXPERIMENT, draws=5)
    printable = "".join(chr(i) for i in range(32, 256)) + "–—−±×Δ→≤≥…†‡§¶·’‘µ中"
    mark = next(mark for row in table.main.rows for cell in row for mark in cell.marks)
    table.notes[:] = [(m, printable if m == mark else text) for m, text in table.notes]
    table.remarks.append(printable)
    (tmp_path / "made-up.tex").write_text(latex_table(table))
    assert "Float too large" not in compiled(tmp_path, "made-up")


@needs_latex
@pytest.mark.parametrize("name", ["ablation", "vps", "vss"])
def test_latex_of_published_numbers_compiles(results: Path, tmp_path: Path, name: str):
    tables = build_tables(results, load_experiment(name).rows())
    (tmp_path / "paper.tex").write_text("\n".join(map(latex_table, tables)))
    compiled(tmp_path, "paper")


def test_the_terminal_table_fits_100_columns(full: Path):
    (table,) = build_tables(full, EXPERIMENT, draws=20)
    file = io.StringIO()
    Console(file=file, width=100).print(terminal_table(table))
    text = file.getvalue()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    for row in table.main.rows[1:]:
        assert f"{row[1].text} {row[1].spread}" in text
        assert row[0].text[:15] in text
    assert "68.6" in text
    assert "failed: 50% of $x_1" in text


def test_spread_keeps_order_distance_and_centre():
    places = spread([1.0, 1.1, 1.2, 9.0], 1.0)
    assert [b - a >= 1 - 1e-9 for a, b in pairwise(places)] == [True] * 3
    assert sum(places[:3]) / 3 == pytest.approx(1.1)
    assert places[3] == 9.0
    assert spread([], 1.0) == []


def test_the_room_never_imports_torch():
    code = (
        "import sys, videomt_bench.report.write, videomt_bench.evaluation.video_ap;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("name", "metrics"), [("vps", ("VPQ", "STQ")), ("vss", ("mIoU", "mVC16"))])
def test_the_terminal_table_has_the_metrics_of_its_task(
    tmp_path: Path, name: str, metrics: tuple[str, str]
):
    (table,) = build_tables(tmp_path, load_experiment(name).rows())
    file = io.StringIO()
    Console(file=file, width=100).print(terminal_table(table))
    for metric in metrics:
        assert file.getvalue().count(metric) >= 2, "measured and published"
