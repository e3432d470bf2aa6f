"""Weights that this project writes: results of stages, checkpoints of a training, and files that
were converted.

What is of one whose authors do not resample positions as timm does says so in a word beside the
tensors: in the metadata of a safetensors file, beside the key ``model`` in a PyTorch file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from videomt_bench.errors import unknown
from videomt_bench.models.encoders import PositionRule
from videomt_bench.weights.family import Family
from videomt_bench.weights.rules import layout

POSITIONS = "positions"

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


def words_of(positions: PositionRule) -> dict[str, str]:
    """What a file says of its positions; nothing of timm's rule, which all others have."""
    return {} if positions == "timm" else {POSITIONS: positions}


def positions_in(words: Mapping[str, str], source: str) -> PositionRule:
    """The rule for positions that a file says, or timm's.

    Raises:
        BenchError: it says one that there is not.
    """
    said = words.get(POSITIONS, "timm")
    for rule in get_args(PositionRule):
        if said == rule:
            return rule
    raise unknown(f"rule for positions in {source!r}", said, get_args(PositionRule))
