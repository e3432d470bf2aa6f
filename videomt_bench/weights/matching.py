"""What fits and what does not, each by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from videomt_bench.errors import unknown
from videomt_bench.models.encoder_weights import WeightReport
from videomt_bench.weights.rules import Renamed

PARTS: dict[str, tuple[str, ...]] = {
    "class_head": (
        "segmenter.class_head.",
        "segmenter.decoder.heads.class_embed.",
        "tracker.heads.class_embed.",
        "refiner.heads.class_embed.",
    ),
    "queries": ("memory.learned.", "segmenter.decoder.query_positions"),
    "memory": ("memory.",),
    "tracker": ("tracker.",),
    "refiner": ("refiner.",),
    "segmenter": ("segmenter.",),
}
"""What may be left out of a loading, by name, and the tensors that belong to it."""


@dataclass(frozen=True)
class MatchReport(WeightReport):
    """How the tensors of a file and those of a model go together.

    Names are the model's; what no mapping table knows, and ``unused``, have those of the file.
    """

    unused: tuple[str, ...] = ()
    """In the file, known, and needed by no model here, such as the weights of a loss."""
    notes: tuple[str, ...] = ()
    """What was changed on the way, such as resampled positions."""

    def allowed(self, parts: Sequence[str]) -> bool:
        """Whether nothing is amiss outside of these parts or beginnings of names.

        Raises:
            BenchError: a part that no model has.
        """
        prefixes = [prefix for part in parts for prefix in _prefixes(part)]
        amiss = [*self.missing, *self.unexpected, *(x.split(" ")[0] for x in self.other_shape)]
        return all(name.startswith(tuple(prefixes)) for name in amiss)

    def to_json(self) -> dict[str, list[str]]:
        """All lists, as JSON values."""
        return {name: list(value) for name, value in vars(self).items()}


def match(own: Mapping[str, Tensor], found: Renamed, notes: Sequence[str] = ()) -> MatchReport:
    """Compare a model's tensors with those of a file by our names; no value is looked at."""
    state = found.state
    other = [k for k in state if k in own and state[k].shape != own[k].shape]
    surplus = [k for k in state if k not in own]
    return MatchReport(
        matched=tuple(k for k in own if k in state and k not in set(other)),
        missing=tuple(k for k in own if k not in state),
        unexpected=(*surplus, *found.unknown),
        other_shape=tuple(f"{k} {_shape(state[k])} for {_shape(own[k])}" for k in other),
        unused=found.unused,
        notes=tuple(notes),
    )


def _prefixes(part: str) -> tuple[str, ...]:
    if part in PARTS:
        return PARTS[part]
    if "." not in part:
        raise unknown("part of a model", part, PARTS)
    return (part,)


def _shape(value: Tensor) -> str:
    return "×".join(map(str, value.shape)) or "scalar"
