"""Where the shipped folders are: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

from videomt_bench.errors import BenchError


def shipped(folder: str) -> Path:
    """The folder ``variants``, ``experiments`` or ``results/published`` of this installation."""
    package = Path(__file__).resolve().parent
    for base in (package / "_shipped", package.parent):
        if (base / folder).is_dir():
            return base / folder
    raise BenchError(f"this installation has no folder {folder!r}; install videomt-bench again")
