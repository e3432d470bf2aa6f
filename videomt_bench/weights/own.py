"""Weights that this project writes: results of stages, and the checkpoints of a training."""

from __future__ import annotations

from videomt_bench.weights.family import Family
from videomt_bench.weights.rules import layout

FAMILIES = (
    Family(
        "ours",
        "videomt-bench",
        layout([("{rest}", "{rest}")]),
        marks=("segmenter.{rest}", "memory.learned.weight"),
        kind="ours",
        wrapped=None,
    ),
)
