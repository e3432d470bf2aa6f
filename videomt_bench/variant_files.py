"""Where variants are: the shipped files, the user's folders, entry points of other packages.

Nothing here runs a variant's file, so that a report knows the names of its rows without torch.
"""

from __future__ import annotations

import ast
import importlib.util
import os
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from videomt_bench.errors import BenchError
from videomt_bench.shipped import shipped

FOLDERS_VARIABLE = "VIDEOMT_BENCH_VARIANTS"
"""Folders of one's own variants, separated as in PATH."""
ENTRY_POINTS = "videomt_bench.variants"
"""Entry-point group: name -> a module or file-backed package that defines ``VARIANT``."""


def variant_files() -> dict[str, Path]:
    """Name -> file of every variant in the shipped and the user's folders; the user's win."""
    extra = [Path(p) for p in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if p]
    for folder in extra:
        if not folder.is_dir():
            raise BenchError(f"{FOLDERS_VARIABLE} names {str(folder)!r}, which is not a folder")
    files: dict[str, Path] = {}
    for folder in [shipped("variants"), *extra]:
        files.update(_files_in(folder, folder.stat().st_mtime_ns))
    return files


@lru_cache
def _files_in(folder: Path, changed: int) -> dict[str, Path]:
    """The files of a folder as it was changed last."""
    return {f.stem: f for f in sorted(folder.glob("*.py")) if not f.stem.startswith("_")}


def variant_titles() -> dict[str, str]:
    """Name -> title of every variant, as its file spells it; the name where it does not."""
    others = {e.name: _file_of(e) for e in entry_points(group=ENTRY_POINTS)}
    return {name: _title(file) or name for name, file in {**others, **variant_files()}.items()}


def _file_of(entry: EntryPoint) -> Path | None:
    try:
        spec = importlib.util.find_spec(entry.module)
    except Exception:  # finding a module may run its package
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _title(file: Path | None) -> str | None:
    """The ``title`` of ``VARIANT = Variant(title="…")`` in a file."""
    try:
        tree = ast.parse(file.read_bytes()) if file else ast.Module([], [])
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        value = getattr(node, "value", None)
        if "VARIANT" in names and isinstance(value, ast.Call):
            named = [keyword.value for keyword in value.keywords if keyword.arg == "title"]
            for title in (*named, *value.args[:1]):
                if isinstance(title, ast.Constant):
                    return str(title.value)
    return None
