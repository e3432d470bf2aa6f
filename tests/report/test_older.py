"""Older records are read as if they had what came after them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from videomt_bench.report.older import completed
from videomt_bench.runs.spec import RunSpec

MEASURED = Path(__file__).parents[2] / "results" / "measured"


def specs() -> list[Any]:
    files = sorted(MEASURED.glob("*/records/*.json"))
    return [pytest.param(json.loads(f.read_text())["spec"], id=f.stem) for f in files]


@pytest.mark.parametrize("spec", specs())
def test_a_committed_record_is_complete(spec: dict[str, Any]) -> None:
    """What the settings' own defaults give; a setting that is added must be named in ``ADDED``."""
    whole, own = RunSpec.from_json(spec).to_json(), completed(spec)
    for key in ("encoder", "dataset", "recipe"):
        assert _without_execution(own[key]) == _without_execution(whole[key])


def test_what_is_there_stays() -> None:
    spec = {"dataset": {"layout": "ovis"}, "recipe": {"video": {"train": {"guided": 0.1}}}}
    own = completed(spec)
    assert own["dataset"]["layout"] == "ovis"
    assert own["recipe"]["video"]["train"]["guided"] == 0.1
    assert "segmenter" not in own["recipe"], "no table is made up"


def _without_execution(value: Any) -> Any:
    """Without what run ids leave out; an older record may lack it."""
    if isinstance(value, dict):
        out = {"root", "per_device", "workers", "checkpoint_interval", "window", "batch_videos"}
        out |= {"prefetch", "checkpointing", "compile", "deterministic", "visualizers"}
        return {k: _without_execution(v) for k, v in value.items() if k not in out}
    return [_without_execution(v) for v in value] if isinstance(value, list) else value
