"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from videomt_bench.errors import BenchError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new content of ``path`` for writing; it takes the place of the old one at the end.

    Until then, and after any exception, the old file stands. Folders are made.

    Raises:
        BenchError: the folder cannot be written or the disk is full.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_json(path: Path, data: Any, indent: int | None = 1) -> None:
    """Write JSON in one step, without white space if ``indent`` is None; NaN is refused.

    Raises:
        BenchError: the folder cannot be written or the disk is full.
    """
    separators = (",", ":") if indent is None else None
    text = json.dumps(
        data, indent=indent, separators=separators, ensure_ascii=False, allow_nan=False
    )
    with replacing(path) as file:
        file.write(text.encode() + b"\n")
