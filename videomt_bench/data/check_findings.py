"""What a check collects: problems as sentences, counts, and safe ways into untrusted JSON."""

from __future__ import annotations

import json
import os.path
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from videomt_bench.data.document import MAX_SIDE
from videomt_bench.data.layouts import Files, locate
from videomt_bench.errors import BenchError

Task = TypeVar("Task")
Progress = Callable[[int, int], None]

MAX_THREADS = 16


class Problem(NamedTuple):
    """One thing that is wrong."""

    kind: str
    """A word for the sort of problem, such as ``missing`` or ``size``."""
    sentence: str
    """Names the file and the entry."""


class BadEntryError(Exception):
    """What is wrong with an entry; :meth:`Inspection.entry` adds where it is."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


@dataclass
class Inspection:
    """One check: what to look at, and the problems and counts found so far."""

    dataset: str
    root: Path
    split: str
    full: bool = False
    """Whether the pixels of all images are decoded."""
    workers: int = 0
    """Threads; 0: by the cores at hand."""
    on_progress: Progress | None = None
    """Called with (folders of images done, in all)."""
    problems: list[Problem] = field(default_factory=list)
    videos: int = 0
    frames: int = 0
    objects: int | None = None
    """Tracks, or annotations of still images; ``None`` without annotations or in semantic data."""
    categories: int | None = None
    """How many classes the files list; ``None`` where they list none."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Videos by (height, width)."""
    annotated: bool = False

    def add(self, kind: str, sentence: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(kind, sentence))

    @contextmanager
    def entry(self, where: str) -> Iterator[None]:
        """Ends what is inside at the first :class:`BadEntryError`, and notes it."""
        try:
            yield
        except BadEntryError as error:
            self.report(where, error)

    def report(self, where: str, error: BadEntryError) -> None:
        """Note what is wrong with an entry."""
        self.add(error.kind, f"{where}: {error}")

    def locate(self) -> Files | None:
        """The files of the split, or ``None`` and a problem."""
        try:
            return locate(self.dataset, self.root, self.split)
        except BenchError as error:
            self.add("missing", str(error))
        return None

    def first_file(self, candidates: Sequence[Path]) -> Path | None:
        """The first file that exists."""
        for path in candidates:
            if path.is_file():
                return path
        self.add("missing", f"no file {' or '.join(map(str, candidates))}")
        return None

    def load(self, path: Path) -> dict[str, Any] | None:
        """A JSON object, or ``None`` and a problem."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            self.add("unreadable", f"{path} cannot be read: {error.strerror or error}")
        except (ValueError, RecursionError) as error:
            self.add("unreadable", f"{path} is not JSON: {error}")
        else:
            if isinstance(data, dict):
                return data
            self.add("unreadable", f"{path} holds no object with keys")
        return None

    def members(self, data: dict[str, Any], key: str, where: str) -> list[Any]:
        """A list of a document; empty, with a problem, if it is not there or is no list."""
        with self.entry(where):
            return get(data, key, list)
        return []

    def run(self, check: Callable[[Task], Iterable[Problem]], tasks: Sequence[Task]) -> None:
        """Check tasks in threads and note their problems, in the order of the tasks."""
        threads = self.workers or min(MAX_THREADS, 4 * (os.cpu_count() or 1))
        with ThreadPoolExecutor(threads) as pool:
            for done, problems in enumerate(
                pool.map(lambda task: list(check(task)), tasks), start=1
            ):
                self.problems.extend(problems)
                if self.on_progress is not None:
                    self.on_progress(done, len(tasks))


def get(item: Any, key: str, kind: type) -> Any:
    """``item[key]``, of the given type.

    Raises:
        BadEntryError: it is not.
    """
    if not isinstance(item, dict):
        raise BadEntryError("entry", "it is not an object with keys")
    if key not in item:
        raise BadEntryError("entry", f"it lacks the key {key!r}")
    value = item[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadEntryError("entry", f"{key!r} is {shown(value)}, not of type {kind.__name__}")
    return value


def get_size(item: Any) -> tuple[int, int]:
    """(height, width) of an entry.

    Raises:
        BadEntryError: missing, or out of range.
    """
    height, width = get(item, "height", int), get(item, "width", int)
    if not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise BadEntryError(
            "size", f"its size is {height} x {width}; valid: 1 to {MAX_SIDE} pixels"
        )
    return height, width


def add_new(seen: set[Any], what: str, key: Any) -> None:
    """Add an id to those seen.

    Raises:
        BadEntryError: it is there already.
    """
    if key in seen:
        raise BadEntryError("id", f"the {what} {shown(key)} is there twice")
    seen.add(key)


def get_flag(item: dict[str, Any], key: str) -> bool:
    """A flag that may be missing.

    Raises:
        BadEntryError: neither 0 nor 1.
    """
    value = item.get(key, 0)
    if not isinstance(value, int) or value not in (0, 1):
        raise BadEntryError("entry", f"{key!r} is {shown(value)}; valid: 0, 1")
    return bool(value)


def inner_path(name: Any) -> str:
    """A normalised file name that does not leave its folder.

    Raises:
        BadEntryError: it does, or it is no file name.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise BadEntryError("path", f"{shown(name)} is no file name")
    path = os.path.normpath(name)
    if os.path.isabs(name) or path == "." or path.split(os.sep)[0] == "..":
        raise BadEntryError("path", f"the file name {shown(name)} leaves its data folder")
    return path


def component(name: Any) -> str:
    """The name of a file or folder, without folders.

    Raises:
        BadEntryError: it is not.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise BadEntryError("path", f"{shown(name)} is not the name of a file or folder")
    return name


def shown(value: Any) -> str:
    """A value of a file, short and printable."""
    try:
        text = ascii(value)
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= 80 else f"{text[:77]}..."
