"""Class names from benchmarks and from files of several kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videomt_bench.errors import BenchError
from videomt_bench.predict.classes import named_classes


@pytest.mark.parametrize(
    ("name", "count", "task"),
    [("ytvis_2019", 40, "instances"), ("ovis", 25, "instances"), ("vipseg", 124, "panoptic"),
     ("vspw", 124, "semantic")],
)  # fmt: skip
def test_benchmarks(name: str, count: int, task: str) -> None:
    classes = named_classes(name)
    assert (len(classes.categories), classes.task) == (count, task)
    stuff = [i for i in range(count) if not classes.is_thing(i)]
    assert stuff == (list(range(58, 124)) if count == 124 else [])


def test_a_benchmark_for_another_task() -> None:
    assert named_classes("vipseg", "semantic").task == "semantic"
    with pytest.raises(BenchError, match="panoptic prediction needs classes with 'isthing'"):
        named_classes("ovis", "panoptic")
    with pytest.raises(BenchError, match="unknown task 'panoptik'; did you mean 'panoptic'"):
        named_classes("ovis", "panoptik")


STUFF = [{"id": 3, "name": "sky", "isthing": 0}, {"id": 9, "name": "cat", "isthing": 1}]


@pytest.mark.parametrize(
    ("content", "names", "task"),
    [
        ("cat\ngiant panda\n\n", ["cat", "giant panda"], "instances"),
        ('["cat", "dog"]', ["cat", "dog"], "instances"),
        (json.dumps([{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}]), ["cat", "dog"],
         "instances"),
        (json.dumps({"categories": STUFF, "videos": []}), ["cat", "sky"], "panoptic"),
    ],
)  # fmt: skip
def test_files(content: str, names: list[str], task: str, tmp_path: Path) -> None:
    (tmp_path / "classes").write_text(content)
    classes = named_classes(str(tmp_path / "classes"))
    assert [c.name for c in classes.categories] == names
    assert classes.task == task


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "names no classes"),
        ("{", "is neither JSON nor text with one name a line"),
        ('{"classes": []}', "has no list 'categories'"),
        ("[1]", "class 0: not a name or an object with 'id' and 'name'"),
        ('[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]', "the ids of its classes repeat"),
        ('[{"id": 1, "name": "a", "isthing": 2}]', "isthing is '2'; valid: 0, 1"),
        ('[{"id": 1, "name": "a", "isthing": 1}, {"id": 2, "name": "b"}]', "some have not"),
        (b"\xff\xfe\x00", "is neither JSON nor text"),
    ],
)
def test_bad_files(content: str | bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "classes"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BenchError, match=sentence):
        named_classes(str(path))


def test_neither_a_benchmark_nor_a_file() -> None:
    with pytest.raises(BenchError, match=r"did you mean 'ytvis_2019'.*or a file"):
        named_classes("ytvis2019")
