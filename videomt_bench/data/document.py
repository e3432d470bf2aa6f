"""Annotation files: JSON whose every value is checked before use; the files are not trusted."""

from __future__ import annotations

import json
import os.path
from pathlib import Path
from typing import Any

from videomt_bench.errors import BenchError

MAX_SIDE = 65535
"""Pixels; the most a JPEG can have."""


def load_document(path: Path) -> dict[str, Any]:
    """The object of an annotation file.

    Raises:
        BenchError: unreadable, or no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BenchError(f"{path} is not an annotation file: it holds no object with keys")
    return data


def get(item: Any, key: str, kind: type, where: str) -> Any:
    """``item[key]``, which must be of the given type; ``where`` begins the error."""
    if not isinstance(item, dict) or key not in item:
        raise BenchError(f"{where} lacks the key {key!r}")
    value = item[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BenchError(f"{where} has {key!r} = {str(value)[:60]!r}, which is no {kind.__name__}")
    return value


def get_flag(item: Any, key: str, where: str) -> bool:
    """``item[key]``, which must be 0 or 1; false where the key is missing or null."""
    value = item.get(key)
    if value is None:
        return False
    if value not in (0, 1):
        raise BenchError(f"{where} has {key!r} = {str(value)[:60]!r}; valid: 0, 1")
    return bool(value)


def get_size(item: Any, where: str) -> tuple[int, int]:
    """Its height and width in pixels."""
    height, width = (get(item, key, int, where) for key in ("height", "width"))
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise BenchError(f"{where} has size {height} x {width}; valid: 1 to {MAX_SIDE} pixels")
    return height, width


def check_inside(name: Any, where: str) -> str:
    """A path relative to the data folder that does not leave it."""
    if not isinstance(name, str) or not name:
        raise BenchError(f"{where} has a frame that is no file name: {str(name)[:60]!r}")
    path = os.path.normpath(name)
    if os.path.isabs(name) or path == "." or path.split(os.sep)[0] == ".." or "\0" in name:
        raise BenchError(f"{where} has the file name {name!r}, which is not inside its data folder")
    return name


def is_plain_name(name: Any) -> bool:
    """Whether it is one component of a path, on any system."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")
