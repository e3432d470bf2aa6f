"""Records: typed, versioned, whole or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from videomt_bench.errors import BenchError
from videomt_bench.files import write_json
from videomt_bench.report.tables.remarks import records_line
from videomt_bench.runs.record import Metric, Record, StageResult, read_record


@pytest.fixture
def record() -> Record:
    return Record(
        "a-s1-0",
        {"variant": "a", "seed": 1},
        "completed",
        stages={"video": StageResult("a-s1-0", "completed", 1.5)},
        metrics={"AP": Metric(0.5, 10)},
    )


def test_a_record_survives_its_file(tmp_path: Path, record: Record) -> None:
    file = tmp_path / "r.json"
    write_json(file, record.to_json())
    assert read_record(file) == record


def test_a_second_write_replaces_the_first(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    write_json(file, {"a": 1, "b": 2})
    write_json(file, {"a": 3})
    assert json.loads(file.read_text()) == {"a": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "schema 99; this version reads up to 1"),
        ({"schema": "1"}, "schema '1'"),
        ({"state": "fine"}, "state 'fine'"),
        ({"surprise": 1}, r"unknown keys \['surprise'\]"),
        ({"metrics": {"AP": {"score": 1}}}, "malformed metric"),
        ({"metrics": 3}, "malformed metric"),
    ],
)
def test_bad_records_are_one_sentence(
    tmp_path: Path, record: Record, change: dict[str, object], message: str
) -> None:
    file = tmp_path / "r.json"
    write_json(file, {**record.to_json(), **change})
    with pytest.raises(BenchError, match=message):
        read_record(file)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00"])
def test_damaged_files_are_one_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "r.json"
    file.write_text(content)
    with pytest.raises(BenchError):
        read_record(file)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "r.json"
    write_json(file, record.to_json())
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BenchError, match="No space left on device"):
        write_json(file, {"other": 1})
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_value_that_is_no_number_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "r.json", {"AP": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_record_names_the_code_of_every_stage_once() -> None:
    old, new = ({"version": "0.1.0", "commit": c, "dirty": False} for c in "ab")
    stages = {
        "segmenter": StageResult("s", "completed", 1, {"source": old}),
        "video": StageResult("a-s1-0", "completed", 1, {"source": old}),
        "evaluate": StageResult("a-s1-0", "completed", 1, {"videos": 3}),
        "cost": StageResult("a-s1-0", "completed", 1, {"source": new}),
    }
    record = Record("a-s1-0", {}, "completed", stages=stages, source=new)
    assert record.sources == [old, new]
    assert "commit a; version 0.1.0, commit b." in records_line([record])
    assert Record("a-s1-0", {}, "completed", source=old).sources == [old]
