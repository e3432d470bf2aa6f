"""A variant that is not of this project: found, checked, swept and reported like a shipped one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import as_arguments, micro_settings

ROOT = Path(__file__).parents[2]
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "other-memories"
version = "1.0"

[project.entry-points."videomt_bench.variants"]
running_mean = "other_memories.running_mean"
"""


def documented() -> str:
    """The code of the page on adding a variant."""
    page = (ROOT / "docs/add_a_variant.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return block


def in_a_folder(root: Path) -> dict[str, str]:
    """Write it into a folder of its own; how that is named to the project."""
    folder = root / "my variants"
    folder.mkdir()
    (folder / "running_mean.py").write_text(documented(), encoding="utf-8")
    return {"VIDEOMT_BENCH_VARIANTS": str(folder)}


def in_a_package(root: Path) -> dict[str, str]:
    """Install a package with it, as pip does."""
    pytest.importorskip("hatchling")
    source = root / "source" / "other_memories"
    source.mkdir(parents=True)
    (source / "__init__.py").touch()
    (source / "running_mean.py").write_text(documented(), encoding="utf-8")
    (source.parent / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    install = ["-m", "pip", "install", *options, "--target", str(root / "site"), "."]
    subprocess.run([sys.executable, *install], cwd=source.parent, check=True)
    return {"PYTHONPATH": os.pathsep.join([str(root / "site"), str(ROOT)])}


@pytest.mark.parametrize("place", [in_a_folder, in_a_package], ids=["folder", "package"])
def test_a_variant_of_elsewhere(place: Any, tmp_path: Path) -> None:
    environment = {**os.environ, **place(tmp_path)}

    def run(*arguments: str) -> Any:
        command = [sys.executable, "-m", "videomt_bench", *arguments, "--json"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    found = {v["name"]: v for v in run("variants", "list")}
    assert found["running_mean"]["title"] == "running mean of queries"
    shown = run("variants", "show", "running_mean")
    assert Path(shown["file"]).is_relative_to(tmp_path)
    assert all(check["passed"] for check in run("variants", "check", "running_mean")["checks"])

    settings = as_arguments(micro_settings(tmp_path, variants=["running_mean"]))
    results = ["--results", str(tmp_path / "results")]
    runs = run("sweep", "run", "demo", "--executor", "debug", *results, *settings)["runs"]
    assert [run["state"] for run in runs] == ["completed"], runs

    run("report", "demo", *results, "--out", str(tmp_path / "reports"), *settings)
    table = (tmp_path / "reports" / "demo.md").read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("| running mean of queries")]
    assert rows
    assert all(re.search(r"\d\.\d", row) for row in rows)
