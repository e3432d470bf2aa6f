"""The documentation is true: its code runs, and the files it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from videomt_bench.models import load_variant
from videomt_bench.runs import stages
from videomt_bench.runs.conformance import check_in_full
from videomt_bench.runs.execute import execute
from videomt_bench.sweep.experiment import load_experiment

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_recipe_for_a_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro: dict[str, object]
) -> None:
    """Its code block is found by name, keeps the contract, trains and gets a record."""
    page = (ROOT / "docs/add_a_variant.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    folder = tmp_path / "my_variants"
    folder.mkdir()
    (folder / "running_mean.py").write_text(block, encoding="utf-8")
    monkeypatch.setenv("VIDEOMT_BENCH_VARIANTS", str(folder))
    failed = [c for c in check_in_full(load_variant("running_mean")) if not c.passed]
    assert not failed
    (spec,) = load_experiment("demo", {**micro, "variants": ["running_mean"]}).runs()
    stages.prepare_data(spec.dataset)
    record = execute(spec, tmp_path / "results")
    assert record.state == "completed", record.reason
    assert record.metrics["AP"].value is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_the_pages_exist(page: Path) -> None:
    """Every videomt-bench command and option that a page shows is one of the command line."""
    import typer

    from videomt_bench.cli import app

    root = typer.main.get_command(app)
    for line in re.findall(r"videomt-bench [^`\n|]+", page.read_text(encoding="utf-8")):
        words = line.split()[1:]
        command = root
        while hasattr(command, "commands") and words:
            word = words.pop(0)
            if word not in command.commands and hasattr(command, "default"):
                word = command.default
            assert word in command.commands, line
            command = command.commands[word]
        options = {name for parameter in command.params for name in parameter.opts}
        used = {w.split("=")[0] for w in words if w.startswith("--")}
        assert used <= options, line
