"""A copy of the code for the jobs of a sweep, so that later edits change nothing.

The folder's name is a hash of its content: the same code is kept once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import videomt_bench
from videomt_bench.errors import BenchError
from videomt_bench.runs.environment import SOURCE_NOTE, source
from videomt_bench.variant_files import FOLDERS_VARIABLE

LEFT_OUT = {"__pycache__", ".mypy_cache", ".ruff_cache"}
BESIDE = ("variants", "experiments")
"""Folders of a checkout that the package needs; in a wheel they are inside of it."""


@dataclass(frozen=True)
class Snapshot:
    """Where the code of a job is: ``root`` holds the package, ``variants`` the user's files."""

    root: Path
    variants: tuple[Path, ...]


def take_snapshot(results: Path) -> Snapshot:
    """Copy the package and the user's variants below the results, unless the copy is there.

    Raises:
        BenchError: the folder cannot be written, or its path cannot be searched for modules.
    """
    package = Path(videomt_bench.__file__).resolve().parent
    folders = {"videomt_bench": package}
    folders |= {n: package.parent / n for n in BESIDE if (package.parent / n).is_dir()}
    own = [Path(p) for p in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if p]
    folders |= {f"own/{i}": folder.resolve() for i, folder in enumerate(own)}
    files = {
        f"{name}/{file.relative_to(folder)}": file
        for name, folder in folders.items()
        for file in _files(folder)
    }
    note = json.dumps(source())
    root = results.resolve() / "work" / "snapshots" / _hash(files, note)
    if os.pathsep in str(root):
        raise BenchError(f"the results folder {str(results)!r} must have no {os.pathsep!r}")
    if not root.is_dir():
        _copy(files, note, [*folders], root)
    return Snapshot(root, tuple(root / f"own/{i}" for i in range(len(own))))


def _files(folder: Path) -> list[Path]:
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not LEFT_OUT & set(file.relative_to(folder).parts)
    ]


def _hash(files: dict[str, Path], note: str) -> str:
    total = hashlib.sha256(note.encode())
    for name, file in files.items():
        total.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:12]


def _copy(files: dict[str, Path], note: str, folders: list[str], root: Path) -> None:
    temporary = root.with_name(f".{root.name}.{uuid.uuid4().hex}")
    try:
        for name in folders:
            (temporary / name).mkdir(parents=True, exist_ok=True)
        for name, file in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, temporary / name)
        (temporary / SOURCE_NOTE).write_text(note, encoding="utf-8")
        try:
            os.rename(temporary, root)
        except OSError:
            if not root.is_dir():  # another launch was quicker
                raise
    except OSError as error:
        raise BenchError(f"cannot write {root}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
