"""The losses of a run's training stages, from the logs in its results folder."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videomt_bench.runs.record import Record

STAGES = {"segmenter": "image level", "video": "clip level", "refine": "refiner"}
LOG = "losses.jsonl"
MOST_BYTES = 64 << 20
"""A log is about 200 lines; what is larger is not read."""


@dataclass(frozen=True)
class LossCurve:
    """The total loss of one stage, by iteration."""

    stage: str
    stage_id: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]


def loss_curves(results: Path, record: Record) -> list[LossCurve]:
    """The curves of a run, from ``results/work/<stage id>/<stage>/losses.jsonl``.

    Stages without a log have none, as has everything where only the records were kept; lines that
    are damaged are skipped.
    """
    work = (results / "work").resolve()
    curves = []
    for stage in STAGES:
        result = record.stages.get(stage)
        if result is None:
            continue
        path = (work / str(result.id) / stage / LOG).resolve()
        if path.is_relative_to(work):
            points = _read(path)
            if len(points) > 1:
                steps, losses = zip(*sorted(points.items()), strict=True)
                curves.append(LossCurve(stage, str(result.id), steps, losses))
    return curves


def _read(path: Path) -> dict[int, float]:
    """Iteration -> loss; the last line of an iteration counts."""
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return {}
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    points: dict[int, float] = {}
    for line in text.splitlines():
        step, loss = _values(line)
        if step is not None and loss is not None:
            points[step] = loss
    return points


def _values(line: str) -> tuple[int | None, float | None]:
    try:
        data: Any = json.loads(line)
        step, loss = data["step"], data["loss"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, None
    numbers = [v for v in (step, loss) if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)) or loss <= 0:
        return None, None
    return int(step), float(loss)
