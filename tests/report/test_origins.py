"""Rows of one variant say where their weights are from."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from videomt_bench.report.origins import distinctions
from videomt_bench.report.records import group_runs
from videomt_bench.report.systems import OTHER, family_of
from videomt_bench.report.tables.table import build_tables
from videomt_bench.runs.record import Record
from videomt_bench.shipped import shipped
from videomt_bench.sweep.outline import load_outline

TRAINED: dict[str, Any] = {
    "variant": "step6_videomt",
    "encoder": {"name": "vit"},
    "dataset": {"name": "ovis"},
    "recipe": {
        "name": "videomt",
        "segmenter": {"frames": 1},
        "video": {"frames": 5},
        "test": {"short_side": 448},
        "segmenter_weights": None,
    },
    "seed": 0,
    "weights": None,
}


def record(name: str, **changes: Any) -> Record:
    """A record whose specification has these values, by dotted key with ``__``."""
    spec = deepcopy(TRAINED)
    for key, value in changes.items():
        *path, last = key.split("__")
        place = spec
        for part in path:
            place = place[part]
        place[last] = value
    return Record(name, spec, "completed")


def file(name: str, content: str) -> dict[str, Any]:
    return {"file": f"/somewhere/{name}", "sha256": content * 64, "allow": []}


def words(*records: Record) -> dict[str, str]:
    groups, _ = group_runs(records)
    found = distinctions(groups)
    return {group.records[0].run_id: text for group, text in zip(groups, found, strict=True)}


def test_one_row_needs_no_words_unless_it_is_published() -> None:
    assert words(record("a")) == {"a": ""}
    assert words(record("a", weights=file("x.pth", "1"))) == {"a": "published weights x.pth"}


def test_origins_are_told_apart_by_file_and_not_by_the_settings_of_training() -> None:
    found = words(
        record("trained"),
        record("tested", weights=file("x.pth", "1"), recipe__video={"frames": 7}),
        record("started", recipe__segmenter_weights=file("s.pth", "2")),
    )
    assert found == {
        "trained": "",
        "tested": "published weights x.pth",
        "started": "from the segmenter s.pth",
    }


def test_settings_are_compared_within_one_origin() -> None:
    found = words(
        record("trained"),
        record("a", weights=file("x.pth", "1")),
        record("b", weights=file("x.pth", "1"), recipe__test={"short_side": 480}),
        record("c", weights=file("y.pth", "3")),
    )
    assert found == {
        "trained": "",
        "a": "published weights x.pth, recipe.test.short_side 448",
        "b": "published weights x.pth, recipe.test.short_side 480",
        "c": "published weights y.pth, recipe.test.short_side 448",
    }


def test_files_of_one_name_are_told_apart_by_their_content() -> None:
    found = words(*(record(c, weights=file("model.safetensors", c)) for c in "12"))
    assert found == {c: f"published weights model.safetensors {c * 8}" for c in "12"}


def test_neither_the_place_of_a_file_nor_a_recipe_of_training_makes_a_row() -> None:
    own = record("a", weights=file("x.pth", "1"))
    moved = {**file("x.pth", "1"), "file": "/elsewhere/x.pth"}
    assert len(words(own, record("b", weights=moved))) == 1
    other = record("c", weights=file("x.pth", "1"), recipe__video={"frames": 7})
    assert len(words(own, other)) == 1


PLAIN = "vit_large_patch14_dinov2"


@pytest.mark.parametrize(
    ("experiment", "dataset", "variant", "row", "label", "metric", "expected"),
    [
        ("vis", "ovis", "cavis_public_code", "step0_cavis",
         "0 CAVIS, DINOv2 (cavis_public_code, published weights x.pth)", "AP", "53.2"),
        ("vps", "vipseg", "cavis_public_code", "step0_cavis",
         "0 CAVIS, DINOv2 (cavis_public_code, published weights x.pth)", "VPQ", "56.9"),
        ("offline", "ovis", "dvis_daq_offline_conv", "dvis_daq_offline_conv",
         "DVIS-DAQ (offline, convolutions) (published weights x.pth)", "AP", "57.1"),
    ],
)  # fmt: skip
def test_published_weights_stand_beside_the_published_numbers(
    experiment: str, dataset: str, variant: str, row: str, label: str, metric: str,
    expected: str, save: Any, results: Path,
) -> None:  # fmt: skip
    """Of CAVIS in the row of step 0, as its authors' code is another variant; in no other row, and
    a run that was trained here is not of that row."""
    own: dict[str, Any] = dict(encoder={"name": PLAIN}, dataset={"name": dataset})
    save(variant, 0, run_id="tested", spec=dict(own, weights=file("x.pth", "1")))
    if row != variant:
        save(variant, 0, run_id="trained", spec=own)
    tables = build_tables(results, load_outline(experiment))
    (found,) = [r for table in tables for r in table.rows if r.records]
    assert (found.variant, found.label) == (row, label)
    assert [r.run_id for r in found.records] == ["tested"]
    assert found.published[metric].text == expected


def test_every_shipped_variant_has_a_family() -> None:
    """Figures mark points by it; a new variant of this project is named in ``systems``."""
    names = [file.stem for file in shipped("variants").glob("*.py")]
    assert len(names) > 30
    assert [name for name in names if family_of(name) == OTHER] == []
