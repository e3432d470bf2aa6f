"""A micro form of the demo: the same code, seconds instead of minutes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


def micro_settings(root: Path, **changes: Any) -> dict[str, Any]:
    """Overrides of the demo experiment: few small videos, few iterations."""
    common = dict(frames=6, height=48, width=48, seed=7, scene="slots")
    dataset = dict(
        name="micro",
        root=str(root / "data"),
        num_classes=4,
        generate=[
            dict(split="train", videos=6, **common),
            dict(split="valid", videos=4, **common),
        ],
    )
    settings: dict[str, Any] = {
        "datasets": [dataset],
        "recipe.num_queries": 6,
        "recipe.segmenter.train.iterations": 3,
        "recipe.segmenter.train.batch": 2,
        "recipe.video.train.iterations": 3,
        "recipe.video.train.batch": 2,
        "recipe.video.frames": 3,
        "cost.frames": 2,
        "cost.warmup": 1,
    }
    return {**settings, **changes}


@pytest.fixture
def micro(tmp_path: Path) -> dict[str, Any]:
    """Settings of a micro experiment below the test's folder."""
    return micro_settings(tmp_path)


def as_arguments(settings: dict[str, Any]) -> list[str]:
    """The settings as ``--set`` arguments of the command line."""
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value!r}")]
