"""Which class each output of a model is: by a benchmark's name, a file, or a data set on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from videomt_bench.data.classes import (
    BENCHMARKS,
    Category,
    PanopticCategory,
    dataset_categories,
    things_first,
)
from videomt_bench.errors import BenchError, unknown

Task = Literal["instances", "panoptic", "semantic"]
TASKS: tuple[Task, ...] = get_args(Task)


@dataclass(frozen=True)
class Classes:
    """The classes of a model in the order of its outputs, and the task that they are for."""

    categories: tuple[Category, ...]
    task: Task

    def is_thing(self, label: int) -> bool:
        """Whether a class is countable; all are that are not said to be stuff."""
        category = self.categories[label]
        return category.is_thing if isinstance(category, PanopticCategory) else True

    def to_json(self) -> list[dict[str, Any]]:
        """The classes as entries of a COCO file."""
        return [
            {"id": c.id, "name": c.name, "isthing": int(self.is_thing(i))}
            for i, c in enumerate(self.categories)
        ]


def classes_of(categories: Sequence[Category], task: str | None, default: Task) -> Classes:
    """Classes for a task, or for the default.

    Raises:
        BenchError: no such task, or a panoptic one without any stuff or things named.
    """
    if task is not None and task not in TASKS:
        raise unknown("task", task, TASKS)
    chosen = cast("Task", task or default)
    if chosen == "panoptic" and not any(isinstance(c, PanopticCategory) for c in categories):
        raise BenchError("panoptic prediction needs classes with 'isthing', and these have none")
    return Classes(tuple(categories), chosen)


def named_classes(text: str, task: str | None = None) -> Classes:
    """The classes of a benchmark by its name, or of a file.

    A file is JSON, a list of names or of ``{"id", "name", "isthing"}``, or an object with such a
    list as ``categories``, as annotation files have; or text with one name a line. With
    ``isthing``, things come first, as everywhere here, and the task is panoptic.

    Raises:
        BenchError: neither a benchmark nor a file, or a malformed one.
    """
    if text in BENCHMARKS:
        dense: Task = "panoptic" if text == "vipseg" else "semantic"
        categories = dataset_categories(text)
        stuff = any(isinstance(c, PanopticCategory) for c in categories)
        return classes_of(categories, task, dense if stuff else "instances")
    path = Path(text)
    if not path.is_file():
        raise BenchError(
            f"{unknown('classes', text, BENCHMARKS)}, or a file with one name a line or in JSON"
        )
    categories = read_classes(path)
    stuff = any(isinstance(c, PanopticCategory) for c in categories)
    return classes_of(categories, task, "panoptic" if stuff else "instances")


def read_classes(path: Path) -> Sequence[Category]:
    """The classes of a file; see :func:`named_classes`.

    Raises:
        BenchError: unreadable, empty, or an entry that is no class.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if text.lstrip()[:1] in ("{", "[") else text.split("\n")
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is neither JSON nor text with one name a line: {error}") from None
    if isinstance(data, dict):
        data = data.get("categories")
    if not isinstance(data, list):
        raise BenchError(f"{path} has no list 'categories'")
    entries = [e for e in data if not isinstance(e, str) or e.strip()]
    categories = [_category(path, i, entry) for i, entry in enumerate(entries)]
    if not categories:
        raise BenchError(f"{path} names no classes")
    if len({c.id for c in categories}) < len(categories):
        raise BenchError(f"{path}: the ids of its classes repeat")
    things = [c for c in categories if isinstance(c, PanopticCategory)]
    if things and len(things) < len(categories):
        raise BenchError(f"{path}: some of its classes have 'isthing' and some have not")
    return things_first(things) if things else sorted(categories, key=lambda c: c.id)


def _category(path: Path, position: int, entry: Any) -> Category:
    if isinstance(entry, str):
        return Category(position + 1, entry.strip())
    name, id_ = (entry.get(k) if isinstance(entry, dict) else None for k in ("name", "id"))
    if not isinstance(name, str) or type(id_) is not int or not 0 <= id_ < 2**31:
        raise BenchError(f"{path}, class {position}: not a name or an object with 'id' and 'name'")
    if "isthing" not in entry:
        return Category(id_, name)
    if entry["isthing"] not in (0, 1):
        shown = str(entry["isthing"])[:40]
        raise BenchError(f"{path}, class {position}: isthing is {shown!r}; valid: 0, 1")
    return PanopticCategory(id_, name, bool(entry["isthing"]))
