"""What all commands share: options, consoles, and the last line in JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from videomt_bench.errors import BenchError

PIPE_WIDTH = 110
"""Columns of a table where there is no terminal to fit."""

out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True, width=None if sys.stderr.isatty() else PIPE_WIDTH)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document as the last line.")]
Results = Annotated[Path, typer.Option(help="Folder of records and work files.")]
Seeds = Annotated[str | None, typer.Option(help="Seeds instead of the experiment's: 1 or 1-6.")]
Datasets = Annotated[
    str | None, typer.Option(help="Some of the experiment's data sets: name,name.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting: dotted.key=value.")
]
DEFAULT_RESULTS = Path("runs/results")


def fail(sentence: str) -> None:
    """Say what is wrong and end with code 2."""
    err.print(f"[bold red]error:[/] {plain(sentence)}", soft_wrap=True, highlight=False)
    sys.exit(2)


def emit(document: Any, as_json: bool) -> None:
    """Print a document as the last line, if asked to."""
    if as_json:
        print(json.dumps(document, ensure_ascii=False))


def plain(text: str) -> str:
    """Text that rich prints as it is."""
    return text.replace("[", "\\[")


def parse_size(text: str) -> tuple[int, int]:
    """ "448x800" -> (448, 800).

    Raises:
        BenchError: not two positive whole numbers.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise BenchError(f"size {text!r} is not HEIGHTxWIDTH in pixels, such as 448x800")
    return int(parts[0]), int(parts[1])
